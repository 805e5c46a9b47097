//! Clients of S3 as they are used everywhere, against a real hub: boto3, awscli, rclone, s3fs; ten thousand small requests;
//! a hub that is killed while it puts an object together, and one whose disk is full.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use pumasi_api::wire::access::{AccessBy, AccessEntries, AccessEntry, AccessWhat};
use pumasi_api::wire::s3::S3Key;
use pumasi_sigv4::Signer;

use super::disk::SmallDisk;
use super::{eventually, program};
use crate::Outcome;
use crate::faults::Clock;
use crate::pool::{Pool, block_on};
use crate::process::Guarded;
use crate::python::{self, run, script};
use crate::s3::{Endpoint, Link, noise};

/// A hub with somebody who has a key.
struct Shop {
    pool: Pool,
    token: String,
    key: S3Key,
}

impl Shop {
    fn open(arguments: &[&str]) -> Shop {
        Shop::on(Pool::start(&program(), arguments).expect("a hub starts"))
    }

    fn on(pool: Pool) -> Shop {
        let token = pool.open_account("ann", "researcher").expect("an account opens");
        let key = make_key(&pool, &token);
        Shop { pool, token, key }
    }

    /// A program that finds hub and key in its environment.
    fn with_key(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env("AWS_ACCESS_KEY_ID", &self.key.access_key)
            .env("AWS_SECRET_ACCESS_KEY", &self.key.secret_key)
            .env("AWS_ENDPOINT_URL", self.url())
            .env("AWS_REGION", "us-east-1")
            .env("AWS_CA_BUNDLE", self.certificate())
            .env("AWS_MAX_ATTEMPTS", "1")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("HOME", self.pool.dir.path())
            .stdin(Stdio::null());
        command
    }

    /// Where it is, by the name that stands in its certificate.
    fn url(&self) -> String {
        let scheme = if self.pool.fingerprint.is_empty() { "http" } else { "https" };
        format!("{scheme}://{}", self.pool.address.replace("127.0.0.1", "localhost"))
    }

    fn certificate(&self) -> PathBuf {
        self.pool.data.join("tls.cert.pem")
    }

    fn endpoint(&self) -> Endpoint {
        let S3Key { access_key, secret_key } = self.key.clone();
        Endpoint { address: self.pool.address.clone(), signer: Signer { access_key, secret_key } }
    }

    fn folder(&self, name: &str) -> PathBuf {
        let folder = self.pool.dir.path().join(name);
        std::fs::create_dir_all(&folder).expect("a folder");
        folder
    }

    /// Runs a script that takes where the hub is, a key, somebody else's, and the certificate.
    fn run_checks(&self, python: &std::path::Path, name: &str) -> String {
        let other = self.pool.open_account("ben", "researcher").expect("an account opens");
        let other = make_key(&self.pool, &other);
        let mut command = script(python, name);
        command.args([&self.url(), &self.key.access_key, &self.key.secret_key]);
        command.args([&other.access_key, &other.secret_key]).arg(self.certificate());
        let output = command.stdin(Stdio::null()).output().expect("python runs");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}\n{error}");
        said
    }

    fn check_log(&self) {
        let said = self.pool.hub_log();
        assert!(!said.contains("panicked") && !said.contains("fault "), "{said}");
        assert!(!said.contains(&self.key.secret_key), "the log tells a secret");
    }
}

fn make_key(pool: &Pool, token: &str) -> S3Key {
    pool.ask(token, &["s3-key"]).expect("a key")
}

/// The interpreter that has boto3 and awscli, installed below `target` once; none where it cannot be had.
fn clients() -> Option<&'static PathBuf> {
    static PYTHON: OnceLock<Option<PathBuf>> = OnceLock::new();
    let install = || python::with("s3-clients", "boto3, awscli", &["boto3", "awscli"]);
    let python = PYTHON.get_or_init(|| install().map_err(|error| println!("skipped: {error}")).ok());
    python.as_ref()
}

/// Whether a program is there that `cargo xtask test` installs.
fn has(program: &str) -> bool {
    let there = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if there.is_err() {
        println!("skipped: {program} is not there; `cargo xtask test` installs it");
    }
    there.is_ok()
}

/// A tree of files with odd names and sizes.
fn write_tree(folder: &std::path::Path) {
    for (name, length) in [
        ("empty", 0),
        ("a b+c&.txt", 10),
        ("물/개.txt", 1_000),
        ("deep/er/and/deeper/file", 70_000),
        ("big", 20 << 20),
    ] {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, noise(name, length)).expect("a file");
    }
}

fn same(left: &std::path::Path, right: &std::path::Path) {
    run(Command::new("diff").arg("-r").arg(left).arg(right)).expect("the same files");
}

#[test]
fn boto3_finds_what_is_offered_and_nothing_else() {
    let Some(python) = clients() else { return };
    let shop = Shop::open(&[]);
    shop.run_checks(python, "s3/boto.py");
    shop.check_log();
    // A key that was revoked opens nothing, and no key opens the rest of the hub.
    let client = shop.pool.client(&shop.key.secret_key).expect("a client");
    let me: Result<serde_json::Value, _> = block_on(client.get("/v1/me"));
    assert!(me.is_err(), "a secret key is no token");
    run(shop.pool.cli(&shop.token).args(["s3-key", "--revoke", &shop.key.access_key]))
        .expect("it is revoked");
    let refused = block_on(async { shop.endpoint().connect().await?.ask("GET", "/", "", b"").await });
    assert!(refused.is_err() || refused.is_ok_and(|answer| answer.status == 403));
}

#[test]
fn the_public_suite_passes_but_for_what_is_expected() {
    let Some(python) = clients() else { return };
    // With a domain, requests that nobody signed are for S3 as well.
    let shop = Shop::open(&["--s3-domain", "localhost", "--requests-per-s", "1000000"]);
    let said = shop.run_checks(python, "s3/suite/run.py");
    println!("{}", said.lines().last().unwrap_or_default());
    shop.check_log();
}

#[test]
fn the_aws_command_line_works() {
    let Some(python) = clients() else { return };
    let shop = Shop::open(&[]);
    let aws = |arguments: &[&str]| {
        let mut command = shop.with_key(python);
        let program = python.with_file_name("aws");
        run(command.arg(program).args(arguments)).unwrap_or_else(|error| panic!("aws {arguments:?}: {error}"))
    };
    let (tree, back) = (shop.folder("tree"), shop.folder("back"));
    write_tree(&tree);
    let (tree_text, back_text) = (tree.to_string_lossy(), back.to_string_lossy());
    aws(&["s3", "mb", "s3://awscli"]);
    aws(&["s3", "sync", &tree_text, "s3://awscli/tree"]);
    assert!(aws(&["s3", "ls", "s3://awscli/tree/"]).contains("PRE deep/"));
    assert_eq!(aws(&["s3", "sync", &tree_text, "s3://awscli/tree"]).trim(), "", "nothing is sent twice");
    aws(&["s3", "sync", "s3://awscli/tree", &back_text]);
    same(&tree, &back);
    aws(&["s3", "cp", "s3://awscli/tree/big", "s3://awscli/copy"]);
    aws(&["s3", "mv", "s3://awscli/copy", "s3://awscli/moved"]);
    assert!(aws(&["s3", "ls", "s3://awscli", "--recursive", "--summarize"]).contains("Total Objects: 6"));
    aws(&["s3api", "put-object", "--bucket", "awscli", "--key", "dir/"]);
    aws(&["s3", "rm", "s3://awscli", "--recursive"]);
    aws(&["s3", "rb", "s3://awscli"]);
    aws(&["s3", "mb", "s3://versions"]);
    let enabled = "Status=Enabled";
    aws(&["s3api", "put-bucket-versioning", "--bucket", "versions", "--versioning-configuration", enabled]);
    for name in ["empty", "a b+c&.txt"] {
        aws(&["s3", "cp", &tree.join(name).to_string_lossy(), "s3://versions/k"]);
    }
    aws(&["s3", "rm", "s3://versions/k"]);
    let listed = aws(&["s3api", "list-object-versions", "--bucket", "versions", "--output", "text"]);
    assert_eq!(listed.lines().filter(|line| line.starts_with("VERSIONS")).count(), 2, "{listed}");
    assert_eq!(listed.lines().filter(|line| line.starts_with("DELETEMARKERS")).count(), 1, "{listed}");
    shop.check_log();
}

#[test]
fn rclone_works() {
    if !has("rclone") {
        return;
    }
    let shop = Shop::open(&[]);
    let rclone = |arguments: &[&str]| {
        let mut command = shop.with_key("rclone");
        command
            .args(["--retries", "1", "--low-level-retries", "1", "--ca-cert"])
            .arg(shop.certificate())
            // It stops at this one, and has an option of its own.
            .env_remove("AWS_CA_BUNDLE")
            .env("RCLONE_CONFIG_HUB_TYPE", "s3")
            .env("RCLONE_CONFIG_HUB_PROVIDER", "Other")
            .env("RCLONE_CONFIG_HUB_ENDPOINT", shop.url())
            .env("RCLONE_CONFIG_HUB_ENV_AUTH", "true");
        run(command.args(arguments)).unwrap_or_else(|error| panic!("rclone {arguments:?}: {error}"))
    };
    let (tree, back) = (shop.folder("tree"), shop.folder("back"));
    write_tree(&tree);
    let (tree_text, back_text) = (tree.to_string_lossy(), back.to_string_lossy());
    rclone(&["mkdir", "hub:rclone"]);
    rclone(&["sync", "--s3-chunk-size", "5M", "--s3-upload-cutoff", "6M", &tree_text, "hub:rclone/tree"]);
    rclone(&["check", "--download", &tree_text, "hub:rclone/tree"]);
    rclone(&["check", &tree_text, "hub:rclone/tree"]);
    rclone(&["sync", "hub:rclone/tree", &back_text]);
    same(&tree, &back);
    let modified =
        |folder: &std::path::Path| std::fs::metadata(folder.join("empty")).and_then(|one| one.modified());
    let (before, after) = (modified(&tree).expect("a time"), modified(&back).expect("a time"));
    assert!(before.duration_since(after).unwrap_or_else(|error| error.duration()) < Duration::from_millis(2));
    rclone(&["moveto", "hub:rclone/tree/big", "hub:rclone/moved"]);
    assert_eq!(rclone(&["lsf", "-R", "hub:rclone", "--files-only"]).lines().count(), 5);
    rclone(&["purge", "hub:rclone"]);
    assert!(!rclone(&["lsd", "hub:"]).contains("rclone"));
    shop.check_log();
}

#[test]
fn the_python_package_s3fs_works() {
    // It wants a boto of a version of its own.
    let python = match python::with("s3-fsspec", "s3fs", &["s3fs>=2025"]) {
        Ok(python) => python,
        Err(error) => return println!("skipped: {error}"),
    };
    let shop = Shop::open(&[]);
    let mut command = script(&python, "s3/python_s3fs.py");
    command.args([&shop.url(), &shop.key.access_key, &shop.key.secret_key]).arg(shop.certificate());
    let said = run(command.stdin(Stdio::null())).expect("what it was promised");
    assert_eq!(said.trim(), "ok");
    shop.check_log();
}

/// A bucket that is mounted, until it is dropped.
struct Mounted(PathBuf, Guarded);

impl Drop for Mounted {
    fn drop(&mut self) {
        // What is not mounted any more needs nothing.
        let _ = Command::new("fusermount").arg("-uz").arg(&self.0).stderr(Stdio::null()).status();
    }
}

#[test]
fn a_bucket_can_be_mounted_by_s3fs() {
    if !has("s3fs") {
        return;
    }
    let shop = Shop::open(&["--no-tls"]);
    block_on(async { shop.endpoint().connect().await?.ask("PUT", "/mounted", "", b"").await?.done() })
        .expect("a bucket");
    let (tree, place) = (shop.folder("tree"), shop.folder("place"));
    write_tree(&tree);
    let mut command = shop.with_key("s3fs");
    command.arg("mounted").arg(&place).args(["-f", "-o", "use_path_request_style", "-o", "multipart_size=5"]);
    command.args(["-o", &format!("url={}", shop.url()), "-o", "endpoint=us-east-1", "-o", "retries=1"]);
    let log = std::fs::File::create(shop.pool.dir.path().join("s3fs.log")).expect("a file");
    command.stdout(log.try_clone().expect("a handle")).stderr(log);
    let mut mounted = Mounted(place.clone(), Guarded::spawn(&mut command).expect("s3fs starts"));
    let is_mounted =
        || std::fs::read_to_string("/proc/mounts").is_ok_and(|all| all.contains(&*place.to_string_lossy()));
    let until = Instant::now() + Duration::from_secs(60);
    while !is_mounted() {
        if !mounted.1.is_alive() || Instant::now() > until {
            let said = std::fs::read_to_string(shop.pool.dir.path().join("s3fs.log")).unwrap_or_default();
            assert!(said.contains("fuse") || said.contains("permitted"), "{said}");
            println!("skipped: this system mounts nothing: {said}");
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let inside = place.join("tree");
    run(Command::new("cp").arg("-r").arg(&tree).arg(&inside)).expect("files are copied in");
    same(&tree, &inside);
    std::fs::rename(inside.join("big"), place.join("moved")).expect("a file is moved");
    std::fs::rename(inside.join("deep"), inside.join("moved")).expect("a folder is moved");
    assert_eq!(std::fs::read(place.join("moved")).expect("a file"), noise("big", 20 << 20));
    assert_eq!(std::fs::read(inside.join("moved/er/and/deeper/file")).expect("a file").len(), 70_000);
    std::fs::OpenOptions::new()
        .append(true)
        .open(inside.join("empty"))
        .and_then(|mut file| std::io::Write::write_all(&mut file, b"more"))
        .expect("a file grows");
    assert_eq!(std::fs::read(inside.join("empty")).expect("a file"), b"more");
    std::fs::remove_dir_all(&inside).expect("all of it goes");
    assert_eq!(std::fs::read_dir(&place).expect("a folder").count(), 1);
    shop.check_log();
}

/// Small requests of each kind.
const SMALL: usize = 10_000;
/// Connections at once. Each is used all the time, so that the hub never finds one idle.
const LINKS: usize = 100;

#[test]
fn ten_thousand_small_requests_are_all_answered() {
    let shop = Shop::open(&["--no-tls", "--requests-per-s", "1000000"]);
    let endpoint = shop.endpoint();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let mut link = endpoint.connect().await.expect("a connection");
        link.ask("PUT", "/small", "", b"")
            .await
            .and_then(|answer| answer.done().map(drop))
            .expect("a bucket");
        for method in ["PUT", "GET", "DELETE"] {
            let started = Instant::now();
            let next = Arc::new(std::sync::atomic::AtomicUsize::new(0));
            let workers = (0..LINKS).map(|_| {
                let (endpoint, next) = (endpoint.clone(), Arc::clone(&next));
                tokio::spawn(async move {
                    small(&endpoint, method, &next).await.map_err(|error| error.to_string())
                })
            });
            let mut done = 0;
            for worker in workers.collect::<Vec<_>>() {
                done += worker.await.expect("no panic").expect("every request is answered");
            }
            assert_eq!(done, SMALL);
            println!("{method}: {:.0} a second", SMALL as f64 / started.elapsed().as_secs_f64());
        }
        let mut link = endpoint.connect().await.expect("a connection");
        let list = link.ask("GET", "/small", "list-type=2", b"").await.expect("an answer");
        let list = String::from_utf8(list.done().expect("a list")).expect("text");
        assert!(list.contains("<KeyCount>0</KeyCount>"), "{list}");
    });
    shop.check_log();
}

#[test]
fn who_reads_by_s3_and_who_is_refused_is_told_to_whom_the_bucket_belongs() {
    let shop = Shop::open(&["--no-tls"]);
    let other = shop.pool.open_account("ben", "researcher").expect("an account opens");
    let S3Key { access_key, secret_key } = make_key(&shop.pool, &other);
    let other = Endpoint { signer: Signer { access_key, secret_key }, ..shop.endpoint() };
    let told: Outcome<AccessEntries> = block_on(async {
        let mut link = shop.endpoint().connect().await?;
        for (method, path, body) in
            [("PUT", "/seen", ""), ("PUT", "/seen/a", "bytes"), ("GET", "/seen/a", "")]
        {
            link.ask(method, path, "", body.as_bytes()).await?.done()?;
        }
        assert_eq!(other.connect().await?.ask("GET", "/seen/a", "", b"").await?.status, 404);
        Ok(shop.pool.client(&shop.token)?.accesses(Some("seen"), None, 100).await?)
    });
    let told = told.expect("requests are answered").entries;
    for (name, refused) in [("ann", None), ("ben", Some("no_space"))] {
        let is_told = |entry: &AccessEntry| {
            let where_to = (entry.space.as_deref(), entry.path.as_deref());
            (entry.by, entry.what, where_to)
                == (Some(AccessBy::S3), AccessWhat::Read, (Some("seen"), Some("a")))
                && (entry.account_name.as_deref(), entry.refused.as_deref()) == (Some(name), refused)
        };
        assert_eq!(told.iter().filter(|entry| is_told(entry)).count(), 1, "{name}: {told:?}");
    }
    assert_eq!(told.len(), 2, "what was put is in the log of commands: {told:?}");
    shop.check_log();
}

/// Takes numbers until there are no more, and does one request for each.
async fn small(endpoint: &Endpoint, method: &str, next: &std::sync::atomic::AtomicUsize) -> Outcome<usize> {
    let mut link = endpoint.connect().await?;
    for done in 0.. {
        let n = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        if n >= SMALL {
            return Ok(done);
        }
        let (path, body) = (format!("/small/{}/{n}", n % 100), format!("the small object {n}"));
        let sent = if method == "PUT" { body.as_bytes() } else { b"" };
        let got = link.ask(method, &path, "", sent).await.and_then(|answer| answer.done());
        let got = got.map_err(|error| format!("{method} {path}: {error}"))?;
        if method == "GET" && got != body.as_bytes() {
            return Err(format!("{path} has other bytes").into());
        }
    }
    Ok(0)
}

/// Requests that are under way at once, each on a connection of its own.
const CROWD: usize = 10_000;

#[test]
fn ten_thousand_requests_at_once_are_all_answered() {
    let shop = Shop::open(&["--no-tls", "--requests-per-s", "1000000"]);
    let endpoint = shop.endpoint();
    // Where a process may have fewer connections, there are fewer.
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let count = limit.map_or(CROWD, |limit| CROWD.min(limit.saturating_sub(500) as usize));
    let done: Outcome = block_on(async {
        endpoint.connect().await?.ask("PUT", "/crowd", "", b"").await?.done()?;
        let mut links = Vec::with_capacity(count);
        for _ in 0..count {
            links.push(endpoint.connect().await?);
        }
        let asked = links.iter_mut().enumerate().map(|(n, link)| crowded(link, n));
        let answered = futures_util::future::join_all(asked).await;
        let failed: Vec<String> = answered.into_iter().filter_map(Result::err).collect();
        let some = &failed[..failed.len().min(3)];
        assert!(failed.is_empty(), "{} of {count} were not done: {some:?}", failed.len());
        Ok(())
    });
    done.expect("a bucket and connections");
    println!("{count} at once");
    shop.check_log();
}

/// Puts an object and gets it, among many. Each link goes on at once: the hub ends those that are idle for a while.
async fn crowded(link: &mut Link, n: usize) -> Result<(), String> {
    let (path, body) = (format!("/crowd/{}/{n}", n % 100), format!("object {n} of a crowd"));
    let mut got = Vec::new();
    for (method, sent) in [("PUT", body.as_bytes()), ("GET", &b""[..])] {
        let answered = link.ask(method, &path, "", sent).await.and_then(|answer| answer.done());
        got = answered.map_err(|error| format!("{method} {path}: {error}"))?;
    }
    if got == body.as_bytes() { Ok(()) } else { Err(format!("{path} has other bytes")) }
}

/// Begins an upload in parts; its id.
async fn begin_parts(link: &mut Link, path: &str) -> Outcome<String> {
    let begun = String::from_utf8(link.ask("POST", path, "uploads=", b"").await?.done()?)?;
    let id = begun.split("<UploadId>").nth(1).and_then(|rest| rest.split('<').next());
    Ok(id.ok_or("no id")?.to_owned())
}

/// Sends part `n`, from 0.
async fn send_part(link: &mut Link, path: &str, id: &str, n: usize, part: &[u8]) -> Outcome {
    link.ask("PUT", path, &format!("partNumber={}&uploadId={id}", n + 1), part).await?.done().map(drop)
}

/// The parts that came, as the hub lists them, and the list that completes an object of them.
async fn list_parts(link: &mut Link, path: &str, id: &str) -> Outcome<(Vec<usize>, String)> {
    let told = String::from_utf8(link.ask("GET", path, &format!("uploadId={id}"), b"").await?.done()?)?;
    let between = |open: &str, close: &str| -> Vec<String> {
        let found = told.split(open).skip(1).filter_map(|rest| rest.split(close).next());
        found.map(str::to_owned).collect()
    };
    let (numbers, tags) = (between("<PartNumber>", "</PartNumber>"), between("<ETag>", "</ETag>"));
    let part = |(n, tag)| format!("<Part><PartNumber>{n}</PartNumber><ETag>{tag}</ETag></Part>");
    let list: String = numbers.iter().zip(tags).map(part).collect();
    let numbers = numbers.iter().map(|n| n.parse()).collect::<Result<Vec<usize>, _>>()?;
    Ok((numbers, format!("<CompleteMultipartUpload>{list}</CompleteMultipartUpload>")))
}

/// The parts of an object, sent; id, and the list that completes it.
async fn send_parts(link: &mut Link, path: &str, parts: &[Vec<u8>]) -> Outcome<(String, String)> {
    let id = begin_parts(link, path).await?;
    for (n, part) in parts.iter().enumerate() {
        send_part(link, path, &id, n, part).await?;
    }
    let (_, list) = list_parts(link, path, &id).await?;
    Ok((id, list))
}

#[test]
fn a_hub_killed_while_parts_come_keeps_those_that_it_acknowledged() {
    let mut shop = Shop::open(&["--no-tls"]);
    let parts: Vec<Vec<u8>> = (0..6).map(|n| noise(&format!("piece {n}"), 5 << 20)).collect();
    let endpoint = shop.endpoint();
    let made: Outcome =
        block_on(async { endpoint.connect().await?.ask("PUT", "/parts", "", b"").await?.done().map(drop) });
    made.expect("a bucket");
    for (round, wait) in [15, 50, 90, 140, 200, 300].into_iter().enumerate() {
        let path = format!("/parts/object-{round}");
        let id = block_on(async { begin_parts(&mut endpoint.connect().await?, &path).await });
        let id = id.expect("an upload begins");
        let sending = {
            let (endpoint, path, id, parts) = (endpoint.clone(), path.clone(), id.clone(), parts.clone());
            // How many were acknowledged before the hub died.
            std::thread::spawn(move || {
                let is_sent = |(n, part): (usize, &Vec<u8>)| {
                    let send = async { send_part(&mut endpoint.connect().await?, &path, &id, n, part).await };
                    block_on(send).is_ok()
                };
                parts.iter().enumerate().take_while(|one| is_sent(*one)).count()
            })
        };
        std::thread::sleep(Duration::from_millis(wait));
        shop.pool.hub().expect("a hub").kill().expect("it was alive");
        let told = sending.join().expect("no panic");
        shop.pool.start_hub().expect("it starts again");
        let whole: Outcome<Vec<u8>> = block_on(async {
            let mut link = endpoint.connect().await?;
            let (listed, _) = list_parts(&mut link, &path, &id).await?;
            assert!(
                (1..=told).all(|n| listed.contains(&n)),
                "{told} were acknowledged, there are {listed:?}"
            );
            for (n, part) in parts.iter().enumerate().skip(told) {
                send_part(&mut link, &path, &id, n, part).await?;
            }
            let (_, list) = list_parts(&mut link, &path, &id).await?;
            link.ask("POST", &path, &format!("uploadId={id}"), list.as_bytes()).await?.done()?;
            link.ask("GET", &path, "", b"").await?.done()
        });
        assert!(whole.expect("it goes on") == parts.concat(), "round {round}: other bytes");
        println!("killed after {wait} ms: {told} of {} parts had come", parts.len());
    }
    shop.check_log();
}

#[test]
fn a_client_killed_in_the_middle_of_a_part_leaves_nothing_of_it() {
    let shop = Shop::open(&["--no-tls"]);
    let endpoint = shop.endpoint();
    let [first, other, second] = ["first", "other", "second"].map(|name| noise(name, 5 << 20));
    let (path, whole) = ("/halves/object", [&first[..], &second].concat());
    let done: Outcome = block_on(async {
        let mut link = endpoint.connect().await?;
        link.ask("PUT", "/halves", "", b"").await?.done()?;
        let id = begin_parts(&mut link, path).await?;
        send_part(&mut link, path, &id, 0, &first).await?;
        // One that is there already, and one that is not.
        for (number, part) in [(1, &other), (2, &second)] {
            let query = format!("partNumber={number}&uploadId={id}");
            endpoint.connect().await?.break_off("PUT", path, &query, part).await?;
        }
        // If there were anything of them, it would come about now.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let (listed, _) = list_parts(&mut link, path, &id).await?;
        assert_eq!(listed, [1]);
        send_part(&mut link, path, &id, 1, &second).await?;
        let (_, list) = list_parts(&mut link, path, &id).await?;
        link.ask("POST", path, &format!("uploadId={id}"), list.as_bytes()).await?.done()?;
        let read = link.ask("GET", path, "", b"").await?.done()?;
        assert!(read == whole, "the object has other bytes");
        Ok(())
    });
    done.expect("it goes on");
    shop.check_log();
}

#[test]
fn a_hub_killed_while_it_completes_an_object_has_all_of_it_or_none() {
    let mut shop = Shop::open(&["--no-tls"]);
    let parts: Vec<Vec<u8>> = (0..8).map(|n| noise(&format!("part {n}"), 6 << 20)).collect();
    let whole = parts.concat();
    let endpoint = shop.endpoint();
    let ask = |method: &'static str, path: String, query: String, body: Vec<u8>| {
        let endpoint = endpoint.clone();
        block_on(async move { endpoint.connect().await?.ask(method, &path, &query, &body).await })
    };
    ask("PUT", "/killed".into(), String::new(), Vec::new())
        .and_then(|answer| answer.done())
        .expect("a bucket");
    // Sooner and later: before it is put together, in the middle, about when it is done.
    for (round, wait) in [0, 30, 90, 200, 350, 500, 800].into_iter().enumerate() {
        let path = format!("/killed/object-{round}");
        let (id, list) = block_on(async { send_parts(&mut endpoint.connect().await?, &path, &parts).await })
            .expect("parts are sent");
        let completing = {
            let (endpoint, path, id, list) = (endpoint.clone(), path.clone(), id.clone(), list.clone());
            std::thread::spawn(move || {
                let answer = block_on(async move {
                    let mut link = endpoint.connect().await?;
                    link.ask("POST", &path, &format!("uploadId={id}"), list.as_bytes()).await
                });
                answer.is_ok_and(|answer| answer.status == 200 && !answer.body.is_empty())
            })
        };
        std::thread::sleep(Duration::from_millis(wait));
        shop.pool.hub().expect("a hub").kill().expect("it was alive");
        let was_told = completing.join().expect("no panic");
        shop.pool.start_hub().expect("it starts again");
        let found = ask("GET", path.clone(), String::new(), Vec::new()).expect("an answer");
        match found.status {
            200 => assert!(found.body == whole, "it is there and has other bytes"),
            404 => assert!(!was_told, "it was acknowledged and is not there"),
            status => panic!("status {status}"),
        }
        // Whoever heard nothing asks again, until it is there.
        let query = format!("uploadId={id}");
        eventually("the object is completed", || {
            let answer = ask("POST", path.clone(), query.clone(), list.clone().into_bytes());
            answer.is_ok_and(|answer| answer.status == 200)
        });
        let found = ask("GET", path, String::new(), Vec::new()).expect("an answer");
        assert!(found.status == 200 && found.body == whole);
        println!(
            "killed after {wait} ms: {}",
            if was_told { "was acknowledged" } else { "was not acknowledged" }
        );
    }
    shop.check_log();
}

/// Days after which what was deleted and is claimed no more is collected.
const COLLECTED_AFTER_S: i64 = 5 * 24 * 3600;

#[test]
fn a_full_disk_refuses_objects_and_takes_them_again_when_some_were_deleted() {
    let mut pool = Pool::prepare(&program(), &["--no-tls"]).expect("a pool");
    let Some(clock) = Clock::in_folder(pool.dir.path()) else {
        return println!("skipped: the package faketime is not installed");
    };
    pool.hub_env = clock.environment();
    let Some(_disk) = SmallDisk::mount(&mut pool, 170) else { return };
    pool.start_hub().expect("the hub starts");
    let shop = Shop::on(pool);
    let ask = |method: &str, path: &str, query: &str, body: &[u8]| {
        let asked = async { shop.endpoint().connect().await?.ask(method, path, query, body).await };
        let answer = block_on(asked).unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        (answer.status, answer.body)
    };
    let object = |n: usize| noise(&format!("object {n}"), 4 << 20);
    ask("PUT", "/full", "", b"");
    let mut count = 0;
    let (status, said) = loop {
        let answer = ask("PUT", &format!("/full/{count}"), "", &object(count));
        if answer.0 != 200 {
            break answer;
        }
        count += 1;
        assert!(count < 100, "the disk does not fill");
    };
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(status == 507 && said.contains("<Code>InsufficientStorage</Code>"), "{status}: {said}");
    assert!(count > 3 && said.contains("disk is full"), "{count}: {said}");
    let begun = String::from_utf8(ask("POST", "/full/parts", "uploads=", b"").1).expect("text");
    let id = begun.split("<UploadId>").nth(1).and_then(|rest| rest.split('<').next()).expect("an id");
    let (status, said) =
        ask("PUT", "/full/parts", &format!("partNumber=1&uploadId={id}"), &noise("p", 5 << 20));
    assert_eq!(status, 507, "{}", String::from_utf8_lossy(&said));
    let parts = ask("GET", "/full/parts", &format!("uploadId={id}"), b"").1;
    assert!(!String::from_utf8_lossy(&parts).contains("<Part>"), "a part that did not come is not there");
    for path in [format!("/full/{count}"), "/full/parts".to_owned()] {
        assert_eq!(ask("GET", &path, "", b"").0, 404, "{path}");
    }
    for n in 0..count {
        assert!(ask("GET", &format!("/full/{n}"), "", b"") == (200, object(n)), "object {n}");
        assert_eq!(ask("DELETE", &format!("/full/{n}"), "", b"").0, 204);
    }
    clock.set(COLLECTED_AFTER_S);
    // Its entry tells the log what time it is.
    shop.pool.open_account("late", "researcher").expect("an account opens");
    run(shop.pool.cli(&shop.pool.operator).args(["hub-store", "gc"])).expect("it collects");
    clock.set(0);
    for n in 0..count {
        assert_eq!(ask("PUT", &format!("/full/{n}"), "", &object(n)).0, 200, "object {n} of {count}");
    }
    assert!(ask("GET", "/full/0", "", b"") == (200, object(0)));
    shop.check_log();
}
