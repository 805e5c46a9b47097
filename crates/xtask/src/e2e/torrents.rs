//! Peers and servers as they are used everywhere, against a real hub: libtorrent finds it and is found, by its tracker and in
//! its DHT, and both give; pyftpdlib serves files over FTP.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::OnceLock;

use pumasi_api::wire::downloads::{Download, DownloadState};
use serde::Deserialize;

use super::{eventually, program};
use crate::pool::{Pool, free_port};
use crate::python::{self, or_skip, run, script};
use crate::s3::noise;

/// The interpreter that has libtorrent and pyftpdlib; none where they cannot be had.
fn others() -> Option<&'static PathBuf> {
    static PYTHON: OnceLock<Option<PathBuf>> = OnceLock::new();
    let install =
        || python::with("torrent-peers", "libtorrent, pyftpdlib", &["libtorrent==2.1.1", "pyftpdlib==2.2.0"]);
    PYTHON.get_or_init(|| or_skip(install())).as_ref()
}

/// A program that ends with its input.
struct Other {
    child: Child,
    says: BufReader<ChildStdout>,
}

impl Other {
    fn start(command: &mut Command) -> Other {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python is there");
        let says = BufReader::new(child.stdout.take().expect("a pipe"));
        Other { child, says }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.says.read_line(&mut line).expect("a pipe");
        line
    }

    fn say(&mut self) {
        let input = self.child.stdin.as_mut().expect("a pipe");
        input.write_all(b"\n").expect("it listens");
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        // One that has ended already needs nothing.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where peers that know each other are, and what they give.
#[derive(Deserialize)]
struct Peers {
    node: u16,
    peer: u16,
    tracker: u16,
    hash: String,
}

#[derive(Deserialize)]
struct Told {
    asked: Vec<String>,
}

fn write_tree(folder: &Path) {
    for (name, length) in [("dir/a.bin", 3 << 20), ("dir/b/물.txt", 100_000), ("dir/empty", 0)] {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, noise(name, length)).expect("a file");
    }
}

/// Has the hub fetch something, and takes it from there.
fn fetch(pool: &Pool, token: &str, source: &str, name: &str) -> (Download, PathBuf) {
    let place = format!(":{name}/");
    let done: Download = pool
        .ask(token, &["fetch-url", source, &place, "--wait"])
        .unwrap_or_else(|error| panic!("{source}: {error}"));
    assert_eq!(done.state, DownloadState::Done, "{done:?}");
    let back = pool.dir.path().join(name);
    run(pool.cli(token).args(["get", &format!(":{name}"), &back.to_string_lossy()])).expect("it is there");
    (done, back)
}

fn same(left: &Path, right: &Path) {
    run(Command::new("diff").arg("-r").arg(left).arg(right)).expect("the same files");
}

#[test]
fn a_real_client_gives_to_the_hub_and_is_given_to() {
    let Some(python) = others() else { return };
    let shared = tempfile::tempdir().expect("a folder");
    write_tree(shared.path());
    let mut other = Other::start(script(python, "torrents/peers.py").arg("seed").arg(shared.path()));
    let peers: Peers = serde_json::from_str(&other.line()).expect("it says where it is");
    let own = free_port().expect("a port");
    let mut arguments = vec!["--seed-ratio".to_owned(), "3".to_owned()];
    arguments.extend(["--torrent-listen".to_owned(), format!("127.0.0.1:{own}")]);
    for port in [peers.node, peers.peer, peers.tracker] {
        arguments.extend(["--downloads-from".to_owned(), format!("127.0.0.1:{port}")]);
    }
    arguments.extend(["--dht-bootstrap".to_owned(), format!("127.0.0.1:{}", peers.node)]);
    let pool = Pool::start(&program(), &arguments.iter().map(String::as_str).collect::<Vec<_>>());
    let mut pool = pool.expect("a hub starts");
    let token = pool.open_account("ann", "researcher").expect("an account opens");

    // Only the DHT knows who has it.
    let bare = format!("magnet:?xt=urn:btih:{}", peers.hash);
    let (found, back) = fetch(&pool, &token, &bare, "dht");
    same(&shared.path().join("dir"), &back.join("dir"));
    eventually("the way is remembered", || pool.data.join("downloads/dht.nodes").exists());
    run(pool.cli(&token).args(["downloads", "cancel", &found.id.to_string()])).expect("it is given no more");

    pool.forget_arguments(2);
    pool.restart_hub(&["--no-dht"]).expect("it starts again");
    // The same by its tracker, and back from there: nobody else has it any more. By another account: what the first one
    // had is linked for it without asking anybody.
    let token = pool.open_account("ben", "researcher").expect("an account opens");
    let torrent = shared.path().join("dir.torrent");
    let (done, back) = fetch(&pool, &token, &torrent.to_string_lossy(), "tracker");
    same(&shared.path().join("dir"), &back.join("dir"));
    other.say();
    let told: Told = serde_json::from_str(&other.line()).expect("it says what was asked");
    // Each byte of its name is escaped.
    let ours: Vec<&String> =
        told.asked.iter().filter(|asked| asked.contains("peer_id=%2D%50%55%30")).collect();
    let said = |what: &str| ours.iter().any(|asked| asked.contains(what));
    assert!(said("event=completed") && said(&format!("port={own}&")), "{:?}", told.asked);
    let taken = pool.dir.path().join("taken");
    let magnet = format!("{bare}&tr=http://127.0.0.1:{}/announce", peers.tracker);
    run(script(python, "torrents/peers.py").args(["take", &magnet]).arg(&taken))
        .expect("it comes from the hub");
    same(&shared.path().join("dir"), &taken.join("dir"));
    eventually("the hub says how much it gave", || {
        let all: Vec<Download> = pool.ask(&token, &["downloads"]).expect("downloads");
        let one = all.iter().find(|one| one.id == done.id);
        one.is_some_and(|one| one.given_bytes >= Some(3 << 20))
    });
    let log = pool.hub_log();
    assert!(!log.contains("panicked") && !log.contains("fault "), "{log}");
}

#[test]
fn files_come_from_a_real_ftp_server() {
    let Some(python) = others() else { return };
    let served = tempfile::tempdir().expect("a folder");
    write_tree(served.path());
    let mut other = Other::start(script(python, "torrents/ftp.py").arg(served.path()));
    let address = format!("127.0.0.1:{}", other.line().trim());
    let pool = Pool::start(&program(), &["--no-dht", "--downloads-from", &address]).expect("a hub starts");
    let token = pool.open_account("ann", "researcher").expect("an account opens");
    for (name, encoded, to) in [
        ("dir/a.bin", "dir/a.bin", "1"),
        ("dir/b/물.txt", "dir/b/%EB%AC%BC.txt;type=i", "2"),
        ("dir/empty", "dir/empty", "3"),
    ] {
        let (_, back) = fetch(&pool, &token, &format!("ftp://{address}/{encoded}"), to);
        let path = served.path().join(name);
        let own = back.join(path.file_name().expect("a name"));
        assert!(std::fs::read(own).expect("a file") == std::fs::read(path).expect("a file"), "{name}");
    }
    let missing =
        pool.cli(&token).args(["fetch-url", &format!("ftp://{address}/missing"), "--wait"]).output();
    let missing = missing.expect("the binary runs");
    let told = String::from_utf8_lossy(&missing.stdout);
    assert!(!missing.status.success() && told.contains("answered 550"), "{told}");
}
