//! The program as a process, for what needs no hub: exit codes, where results and messages go, damage.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use pumasi_types::Hash;
use tempfile::TempDir;

/// A home of its own, so that no profile of the person who tests is used or changed.
struct Home(TempDir);

impl Home {
    fn new() -> Home {
        Home(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn file(&self, name: &str, content: &str) -> String {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pumasi"));
        command.env_clear().env("HOME", self.path()).args(arguments).stdin(Stdio::null());
        command.current_dir(self.path());
        command
    }

    /// Exit code and stderr.
    fn fails(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.run(arguments);
        assert!(output.stdout.is_empty(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    }
}

/// A port where nobody listens.
fn nobody() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[test]
fn help_and_version_go_to_stdout() {
    let home = Home::new();
    for arguments in [&["--help"][..], &["--version"], &["help", "run"], &["run", "--help"]] {
        let output = home.run(arguments);
        assert!(output.status.success() && output.stderr.is_empty(), "{arguments:?}: {output:?}");
        assert!(!output.stdout.contains(&0x1b), "no colour without a terminal");
    }
    let help = String::from_utf8(home.run(&["--help"]).stdout).unwrap();
    assert!(help.contains("130  interrupted with Ctrl-C"), "{help}");
}

#[test]
fn usage_is_2() {
    let home = Home::new();
    assert_eq!(home.fails(&[]).0, 2);
    assert_eq!(home.fails(&["fly"]).0, 2);
    let (code, text) = home.fails(&["jobs"]);
    assert_eq!(code, 2);
    assert_eq!(text, "error: no hub is given\nhint: `pumasi login HUB` once, or give --hub or PUMASI_HUB\n");
    let (code, text) = home.fails(&["jobs", "--hub", "pool.example", "--token", "t"]);
    assert_eq!(code, 2);
    assert!(
        text.starts_with("error: the certificate of the hub at https://pool.example:7878 is not known"),
        "{text}"
    );
    let (code, text) = home.fails(&["join", "--hub", "http://127.0.0.1:1"]);
    assert_eq!(code, 2, "{text}");
}

#[test]
fn an_unreachable_hub_is_3() {
    let home = Home::new();
    let hub = nobody();
    let (code, text) = home.fails(&["jobs", "--hub", &hub, "--token", "t"]);
    assert_eq!(code, 3);
    let expected =
        format!("error: cannot list jobs: cannot reach the hub at {hub}: cannot connect: Connection refused");
    assert!(text.starts_with(&expected), "{text}");
    assert!(text.contains("\nhint: "), "{text}");
    let (code, text) = home.fails(&["login", &hub, "--token", "t"]);
    assert_eq!(code, 3, "{text}");
    assert!(!home.path().join(".config").exists(), "nothing is remembered of a login that failed");
}

#[test]
fn the_environment_names_the_hub() {
    let home = Home::new();
    let hub = nobody();
    let output = home.command(&["jobs"]).env("PUMASI_HUB", &hub).env("PUMASI_TOKEN", "t").output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&output.stderr).contains(&hub), "{output:?}");
}

#[test]
fn an_unknown_profile_is_6_and_a_broken_one_7() {
    let home = Home::new();
    assert_eq!(home.fails(&["jobs", "--profile", "x"]).0, 6);
    let path = home.file(".config/pumasi/profiles.toml", "[profiles.x]\ntoken = \"very secret\"\n");
    let (code, text) = home.fails(&["jobs", "--profile", "x"]);
    assert_eq!(code, 7);
    assert!(text.contains(&path) && !text.contains("very secret"), "{text}");
}

#[test]
fn local_files_are_7() {
    let home = Home::new();
    let hub = nobody();
    let (code, text) = home.fails(&["run", "missing.wasm", "--budget", "1", "--hub", &hub, "--token", "t"]);
    assert_eq!(code, 7);
    assert!(text.starts_with("error: cannot read missing.wasm: No such file"), "{text}");
    let (code, text) = home.fails(&["put", "missing", "--hub", &hub, "--token", "t"]);
    assert_eq!((code, text.contains("missing")), (7, true), "{text}");
    let (code, text) = home.fails(&["log", "verify", "missing"]);
    assert_eq!((code, text.contains("missing")), (7, true), "{text}");
    let program = home.file("p.wasm", "");
    let pattern = "data/*.fa";
    let arguments = ["run", &program, "--each", pattern, "--budget", "1", "--hub", &hub, "--token", "t"];
    let (code, text) = home.fails(&arguments);
    assert_eq!(code, 7);
    assert!(text.starts_with("error: cannot read data/*.fa: no file matches"), "{text}");
}

#[test]
fn a_program_that_is_no_guest_is_refused_before_anything_is_sent() {
    let home = Home::new();
    let program = home.file("p.wasm", "not WebAssembly");
    let (code, text) = home.fails(&["run", &program, "--budget", "1", "--hub", &nobody(), "--token", "t"]);
    assert_eq!(code, 1);
    assert!(text.starts_with(&format!("error: cannot run {program}: ")), "{text}");
    assert!(text.contains("docs/guests.md"), "{text}");
}

#[test]
fn errors_can_be_json() {
    let home = Home::new();
    let (code, text) = home.fails(&["jobs", "--json", "--profile", "x"]);
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, value["error"]["exit"].as_i64()), (6, Some(6)));
    assert_eq!(value["error"]["message"], "there is no profile 'x'");
}

#[test]
fn completions_are_complete() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish"] {
        let output = home.run(&["completions", shell]);
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && script.contains("each-line"), "{shell}");
    }
    assert_eq!(home.fails(&["completions", "abacus"]).0, 2);
}

#[test]
fn the_files_of_a_torrent_are_listed_with_their_numbers() {
    let home = Home::new();
    let files = "d6:lengthi5e4:pathl1:a5:b.txteed6:lengthi7e4:pathl5:c.txtee";
    let info = format!("d5:filesl{files}e4:name5:album12:piece lengthi16384e6:pieces20:{}e", "x".repeat(20));
    let torrent = home.file("album.torrent", &format!("d4:info{info}e"));
    let output = home.run(&["fetch-url", &torrent, "--list", "--json"]);
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let file = |number, bytes, path| serde_json::json!({ "number": number, "bytes": bytes, "path": path });
    assert_eq!(told["files"], serde_json::json!([file(0, 5, "album/a/b.txt"), file(1, 7, "album/c.txt")]));
    let shown = String::from_utf8(home.run(&["fetch-url", &torrent, "--list"]).stdout).unwrap();
    assert!(shown.contains("NUMBER") && shown.contains("album/c.txt"), "{shown}");
    let text = home.file("text", "no torrent");
    let (code, error) = home.fails(&["fetch-url", &text, "--list"]);
    assert!(code == 1 && error.contains("it is not a torrent file"), "{code} {error}");
    let (code, error) = home.fails(&["fetch-url", "MAGNET:?xt=urn:btih:00", "--list"]);
    assert!(code == 2 && error.contains("known only to its peers"), "{code} {error}");
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let home = Home::new();
    let mut child =
        home.command(&["completions", "bash"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_machine_that_cannot_join_says_why() {
    let home = Home::new();
    let data = home.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("machine.key"), "short").unwrap();
    fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).unwrap();
    let hub = nobody();
    let join = |arguments: &[&str]| {
        let data = data.to_str().unwrap();
        let all =
            [&["join", &hub, "--token", "t", "--memory", "64MiB", "--data", data, "-q"], arguments].concat();
        home.fails(&all)
    };
    let (code, text) = join(&["--cores", "1"]);
    assert_eq!(code, 7, "{text}");
    assert!(text.contains("is not a machine key"), "{text}");
    let (code, text) = join(&["--cores", "0"]);
    assert_eq!(code, 2, "{text}");
}

#[test]
fn what_is_no_receipt_proves_nothing() {
    let home = Home::new();
    let key = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    let verify = |path: &str| home.run(&["receipt", "verify", path, "--key", key]);
    assert_eq!(verify("missing").status.code(), Some(7));
    let file = home.file("receipts/1.tlog-proof", "c2sp.org/tlog-proof@v1\nindex 0\n");
    for path in [file.as_str(), "receipts"] {
        let output = verify(path);
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(said.contains("1.tlog-proof: NOT verified: "), "{said}");
        assert_eq!(output.status.code(), Some(1));
    }
    let (code, error) = home.fails(&["receipt", "show", &file]);
    assert!(code == 1 && error.contains("1.tlog-proof cannot be used: "), "{error}");
    let policy = home.file("policy.txt", "quorum W\n");
    let (code, error) = home.fails(&["receipt", "verify", &file, "--policy", &policy]);
    assert!(code == 1 && error.contains("'W' is not defined"), "{error}");
}

#[test]
fn only_a_folder_with_keys_gets_new_ones() {
    let home = Home::new();
    let empty = home.path().join("empty");
    for command in ["rotate-key", "retire-key"] {
        let (code, error) = home.fails(&["proof", command, "--data", empty.to_str().unwrap()]);
        assert!(code == 7 && error.contains("there are none"), "{error}");
    }
    assert!(!empty.exists());
}

#[test]
fn a_store_takes_and_gives_streams() {
    let home = Home::new();
    let store = |arguments: &[&str], input: &[u8]| {
        let mut command = home.command(&["store"]);
        let mut child = command
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Whoever needs no input may have gone before it came.
        let _ = child.stdin.take().unwrap().write_all(input);
        let output = child.wait_with_output().unwrap();
        (output.status.code().unwrap(), output.stdout, String::from_utf8(output.stderr).unwrap())
    };
    let works = |arguments: &[&str], input: &[u8]| {
        let (code, out, error) = store(arguments, input);
        assert_eq!(code, 0, "{arguments:?}: {error}");
        out
    };
    let json = |arguments: &[&str], input: &[u8]| -> serde_json::Value {
        serde_json::from_slice(&works(&[arguments, &["--json"]].concat(), input)).unwrap()
    };
    let (code, _, error) = store(&["ls"], b"");
    assert!(code == 7 && error.contains("pumasi-store"), "{error}");

    home.file("data/a.txt", "the same");
    home.file("data/below/b.txt", "the same");
    assert_eq!(json(&["put", "data"], b"")["files"], 2);
    std::os::unix::fs::symlink("data/a.txt", home.path().join("way")).unwrap();
    // A link, and a file that holds the same bytes.
    assert_eq!(json(&["put", "way"], b"")["kind"], "link");
    works(&["put", "-", "--name", "text"], b"data/a.txt");
    assert!(works(&["get", "text", "-"], b"") == b"data/a.txt");
    works(&["get", "way", "way-back"], b"");
    assert_eq!(fs::read_link(home.path().join("way-back")).unwrap(), Path::new("data/a.txt"));
    let noise: Vec<u8> =
        (0..5_000_000_u64).flat_map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()).collect();
    let put = json(&["put", "-", "--name", "noise"], &noise);
    assert_eq!(put["hash"], Hash::of(&noise).to_string());
    assert_eq!(json(&["put", "-", "--name", "again"], &noise)["new_bytes"], 0);
    assert!(works(&["get", "noise", "-"], b"") == noise);
    works(&["get", "data", "back"], b"");
    assert_eq!(fs::read_to_string(home.path().join("back/below/b.txt")).unwrap(), "the same");
    let names: Vec<_> =
        json(&["ls"], b"").as_array().unwrap().iter().map(|named| named["name"].clone()).collect();
    assert_eq!(names, ["again", "data", "noise", "text", "way"]);

    for (arguments, wanted) in [
        (&["put", "-"][..], "give one with --name"),
        (&["get", "data", "-"], "is a folder"),
        (&["get", "way", "-"], "cannot write way to standard output: it is a symbolic link"),
        (&["get", "nobody", "x"], "nobody"),
        (&["get", "noise", "back"], "back"),
        (&["put", "nowhere"], "nowhere"),
    ] {
        let (code, out, error) = store(arguments, b"");
        assert!(code != 0 && out.is_empty() && error.contains(wanted), "{arguments:?}: {code} {error}");
    }
    let mut unreadable = home.command(&["store", "put", "-", "--name", "folder"]);
    let output = unreadable.stdin(fs::File::open(home.path()).unwrap()).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && error.contains("cannot read standard input"), "{error}");
}

/// The hub is the process that was started, so whoever supervises it knows its number.
#[cfg(target_os = "linux")]
#[test]
fn a_hub_has_few_arenas_unless_it_is_told_otherwise() {
    let few = std::thread::available_parallelism().unwrap().get().clamp(2, 8).to_string();
    for (given, wanted) in [(None, few.as_str()), (Some("9"), "9")] {
        let home = Home::new();
        let mut command = home.command(&["serve", "--no-tls", "--listen", "127.0.0.1:0", "--data", "hub"]);
        command.envs(given.map(|arenas| ("MALLOC_ARENA_MAX", arenas)));
        let mut hub = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut said = String::new();
        BufReader::new(hub.stdout.take().unwrap()).read_line(&mut said).unwrap();
        let environment = fs::read(format!("/proc/{}/environ", hub.id())).unwrap();
        hub.kill().unwrap();
        hub.wait().unwrap();
        assert!(said.starts_with("hub at http://127.0.0.1:"), "{said}");
        let wanted = format!("MALLOC_ARENA_MAX={wanted}");
        let found = environment.split(|byte| *byte == 0).any(|line| line == wanted.as_bytes());
        assert!(found, "{wanted} is not in {:?}", String::from_utf8_lossy(&environment));
    }
}

/// Numbers that compress a little, in lines.
fn numbers(from: u32, count: u32) -> String {
    (from..from + count).map(|n| format!("{n}\n")).collect()
}

#[test]
fn a_store_tells_who_saves_what_and_names_damage() {
    let home = Home::new();
    let run = |arguments: &[&str]| home.run(&[&["store"][..], arguments, &["--dir", "s"]].concat());
    let ok = |arguments: &[&str]| {
        let output = run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let stats = || serde_json::from_str::<serde_json::Value>(&ok(&["stats", "--names", "--json"])).unwrap();
    home.file("a/own", &numbers(300_000, 300_000));
    for shared in ["a/same", "b/same"] {
        home.file(shared, &numbers(100_000, 100_000));
    }
    for name in ["a", "b"] {
        ok(&["put", name]);
    }
    let told = stats();
    let number = |value: &serde_json::Value| value.as_u64().unwrap_or_else(|| panic!("{told}"));
    assert!(
        number(&told["logical_bytes"]) > 3_500_000 && number(&told["unique_bytes"]) < 3_000_000,
        "{told}"
    );
    assert!(number(&told["stored_bytes"]) < number(&told["unique_bytes"]), "{told}");
    let (a, b) = (&told["names"][0], &told["names"][1]);
    assert_eq!((&a["name"], &b["name"]), (&"a".into(), &"b".into()));
    assert!(number(&a["logical_bytes"]) > 2_800_000 && number(&b["logical_bytes"]) > 700_000, "{told}");
    assert!((2_100_000..2_200_000).contains(&number(&a["own_bytes"])), "{told}");
    assert_eq!(number(&a["saved_bytes"]), number(&a["logical_bytes"]) - number(&a["own_bytes"]), "{told}");
    assert!(number(&b["own_bytes"]) < 1_000, "all but its listing is in `a` as well: {told}");
    assert!(ok(&["stats", "--names"]).contains("SAVES"));

    ok(&["check", "--read-data"]);
    let packs = fs::read_dir(home.path().join("s/packs")).unwrap().map(|pack| pack.unwrap().path());
    let pack = packs.max_by_key(|pack| fs::metadata(pack).unwrap().len()).unwrap();
    let mut bytes = fs::read(&pack).unwrap();
    bytes[1_000] ^= 1;
    fs::write(&pack, bytes).unwrap();
    ok(&["check"]);
    let damaged = run(&["check", "--read-data"]);
    let said = String::from_utf8(damaged.stdout).unwrap();
    let object = format!("packs/{}", pack.file_name().unwrap().to_str().unwrap());
    assert_eq!(damaged.status.code(), Some(1), "{said}");
    assert!(said.contains("problem: ") && said.contains(&object), "{said}");
    let repaired = run(&["repair"]);
    assert_eq!(repaired.status.code(), Some(1), "something is lost: {repaired:?}");
    assert!(home.path().join("s/damaged").join(pack.file_name().unwrap()).exists());
    ok(&["check", "--read-data"]);
    for name in ["a", "b"] {
        ok(&["put", name]);
        ok(&["get", name, &format!("{name}-back")]);
    }
    for file in ["own", "same"] {
        let read = |folder: &str| fs::read(home.path().join(folder).join(file)).unwrap();
        assert!(read("a") == read("a-back"), "{file} comes back when it was put again");
    }

    ok(&["rm", "a"]);
    assert_eq!(run(&["rm", "a"]).status.code(), Some(6));
    ok(&["gc", "--grace", "0"]);
    assert!(stats()["unique_bytes"].as_u64() < Some(1_000_000), "{}", stats());
    ok(&["check", "--read-data"]);
    ok(&["get", "b", "b-again"]);

    // The rest is told though nobody knows what lies in the folder any more; only nothing is removed then.
    for pack in fs::read_dir(home.path().join("s/packs")).unwrap() {
        fs::remove_file(pack.unwrap().path()).unwrap();
    }
    let told = run(&["stats", "--names"]);
    let warned = String::from_utf8(told.stderr).unwrap();
    assert!(told.status.success() && warned.contains("what lies in b is not counted"), "{warned}");
    assert!(!run(&["gc"]).status.success());
}
