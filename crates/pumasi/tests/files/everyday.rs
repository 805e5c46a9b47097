//! What people do with files every day.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use super::scene::{Scene, noise};

#[test]
fn a_file_goes_there_and_comes_back_just_so() {
    let scene = Scene::new();
    let alice = scene.person("alice");
    let large = noise(1, 3_000_000);
    alice.write("large.bin", &large);
    alice.write("empty", "");
    alice.write("tool.sh", "#!/bin/sh\n");
    let tool = alice.path("tool.sh");
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
    let then = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::new(1_234_567_890, 123_456_789);
    fs::File::options().write(true).open(&tool).unwrap().set_modified(then).unwrap();

    let put = alice.json(&["put", "large.bin", "empty", "tool.sh", ":files/"]);
    assert_eq!((&put["files"], &put["bytes"]), (&3.into(), &3_000_010.into()), "{put}");
    assert_eq!(alice.names(":"), ["files/empty", "files/large.bin", "files/tool.sh"]);
    assert!(alice.ok(&["ls", ":files"]).contains("tool.sh*"));

    alice.ok(&["get", ":files", "back"]);
    assert!(fs::read(alice.path("back/large.bin")).unwrap() == large);
    assert_eq!(alice.read("back/empty"), "");
    let metadata = fs::metadata(alice.path("back/tool.sh")).unwrap();
    assert_eq!(metadata.modified().unwrap(), then);
    assert_ne!(metadata.permissions().mode() & 0o111, 0);
    assert_eq!(alice.ok(&["cat", ":files/tool.sh"]), "#!/bin/sh\n");

    let again = alice.json(&["get", ":files", "back"]);
    assert_eq!((&again["files"], &again["same"]), (&0.into(), &3.into()), "{again}");
    let again = alice.json(&["put", "large.bin", ":files/"]);
    assert_eq!((&again["moved"], &again["same"]), (&0.into(), &1.into()), "{again}");
}

#[test]
fn standard_input_gets_the_name_that_it_is_given() {
    let scene = Scene::new();
    let alice = scene.person("alice");
    let mut child = alice.command(&["put", "-", ":notes/today.txt"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"piped").unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(alice.ok(&["cat", ":notes/today.txt"]), "piped");
    assert_eq!(alice.fails(&["put", "-", ":notes/"]).0, 2);
}

#[test]
fn what_was_removed_or_overwritten_comes_back() {
    let scene = Scene::new();
    let alice = scene.person("alice");
    for content in ["one", "two!", "three"] {
        alice.write("a.txt", content);
        alice.ok(&["put", "a.txt", ":a.txt"]);
    }
    let versions = alice.json(&["versions", ":a.txt"]);
    let versions = versions["versions"].as_array().unwrap();
    assert_eq!(versions.len(), 3);
    assert!(alice.ok(&["versions", ":a.txt"]).contains("  alice  "), "people have names");
    let oldest = versions[2]["version"].to_string();
    assert_eq!(alice.ok(&["cat", ":a.txt", "--version", &oldest]), "one");
    alice.ok(&["versions", ":a.txt", "--restore", &oldest]);
    assert_eq!(alice.ok(&["cat", ":a.txt"]), "one");

    alice.ok(&["rm", ":a.txt"]);
    assert_eq!(alice.fails(&["cat", ":a.txt"]).0, 6);
    assert!(alice.ok(&["trash"]).contains("a.txt"));
    alice.ok(&["undo", ":a.txt"]);
    assert_eq!(alice.ok(&["cat", ":a.txt"]), "one");
    alice.ok(&["rm", ":a.txt"]);
    alice.ok(&["undo", ":", "--to", ":b/c.txt"]);
    assert_eq!(alice.names(":"), ["b/c.txt"]);
    alice.ok(&["rm", ":b", "--recursive", "--forever"]);
    assert_eq!(alice.fails(&["undo", ":b"]).0, 6);

    let said = |arguments: &[&str]| String::from_utf8(alice.run(arguments).stderr).unwrap();
    alice.ok(&["space", "make", "scratch", "--keep", "0s"]);
    for place in [":a.txt", "scratch:a.txt"] {
        alice.ok(&["put", "a.txt", place]);
    }
    assert!(said(&["rm", ":a.txt"]).contains("to the trash"));
    assert_eq!(said(&["rm", "scratch:a.txt"]), "removed scratch:a.txt for good\n");
    assert_eq!(alice.fails(&["undo", "scratch:a.txt"]).0, 6);
}

#[test]
fn files_are_moved_copied_and_counted() {
    let scene = Scene::new();
    let alice = scene.person("alice");
    alice.write("d/a", "12345");
    alice.write("d/sub/b", "678");
    alice.ok(&["put", "d", ":d"]);
    alice.ok(&["cp", ":d", ":e"]);
    alice.ok(&["mv", ":d/a", ":d/sub/"]);
    assert_eq!(alice.names(":"), ["d/sub/a", "d/sub/b", "e/a", "e/sub/b"]);
    let sums = alice.json(&["du", ":"]);
    assert_eq!((&sums["total"]["bytes"], &sums["total"]["files"]), (&16.into(), &4.into()), "{sums}");
    let (code, error) = alice.fails(&["mv", ":e/a", ":d/sub/a"]);
    assert!(code == 5 && error.contains("is there already"), "{code} {error}");
    alice.ok(&["mv", ":e/a", ":d/sub/a", "--replace"]);
    let moved = alice.run(&["mv", ":e/sub/b", ":e/\u{1b}[2Jb"]);
    assert!(moved.status.success() && !moved.stderr.contains(&0x1b), "names command no terminal");
    let (code, error) = alice.fails(&["rm", ":d"]);
    assert!(code == 5 && error.contains("--recursive"), "{code} {error}");
    alice.ok(&["rm", ":d", ":e", "--recursive"]);
    assert_eq!(alice.names(":"), [""; 0]);
    alice.ok(&["mkdir", ":kept/empty"]);
    assert!(alice.ok(&["ls", ":kept"]).contains("empty/"));
}

#[test]
fn members_may_do_what_they_were_let() {
    let scene = Scene::new();
    let (alice, bob, eve) = (scene.person("alice"), scene.person("bob"), scene.person("eve"));
    alice.ok(&["space", "make", "lab", "--keep", "7d"]);
    alice.write("a", "shared");
    alice.ok(&["put", "a", "lab:a"]);
    for person in [&bob, &eve] {
        let (code, error) = person.fails(&["cat", "lab:a"]);
        assert!(code == 6 || code == 4, "{code} {error}");
    }
    alice.ok(&["space", "member", "lab", "bob", "read"]);
    assert_eq!(bob.ok(&["cat", "lab:a"]), "shared");
    bob.write("b", "mine");
    let (code, error) = bob.fails(&["put", "b", "lab:b"]);
    assert!(matches!(code, 4 | 5) && error.contains("write"), "{code} {error}");
    alice.ok(&["space", "member", "lab", "bob", "write"]);
    bob.ok(&["put", "b", "lab:b"]);
    bob.ok(&["cp", "lab:a", ":copy"]);
    alice.ok(&["space", "member", "lab", "bob", "none"]);
    assert_ne!(bob.fails(&["ls", "lab:"]).0, 0);
    assert_eq!(bob.ok(&["cat", ":copy"]), "shared");
    assert!(alice.ok(&["space", "ls"]).contains("lab"));
    assert_ne!(eve.fails(&["ls", "lab:"]).0, 0);
}

#[test]
fn what_does_not_fit_is_refused_before_it_is_sent() {
    let scene = Scene::new();
    let (alice, operator) = (scene.person("alice"), scene.operator());
    alice.ok(&["space", "make", "small"]);
    operator.ok(&["space", "change", "small", "--quota", "1000B"]);
    alice.write("a", noise(1, 800));
    alice.write("b", noise(2, 800));
    alice.ok(&["put", "a", "small:a"]);
    let (code, error) = alice.fails(&["put", "b", "small:b"]);
    assert_eq!(code, 5, "{error}");
    assert!(error.contains("200 B of 1000 B are left") && error.contains("hint: "), "{error}");
    alice.ok(&["rm", "small:a"]);
    let (code, error) = alice.fails(&["put", "b", "small:b"]);
    assert!(code == 5 && error.contains("trash"), "the trash counts: {error}");
    alice.ok(&["trash", "small:", "--empty"]);
    alice.ok(&["put", "b", "small:b"]);
    // What only the hub can know is refused in the same way.
    let (code, error) = alice.fails(&["cp", "small:b", "small:c"]);
    assert!(code == 5 && error.contains("hint: make room: "), "{code} {error}");
}

#[test]
fn what_is_too_long_for_the_hub_is_refused_before_it_is_sent() {
    let scene = Scene::with(&["--max-upload", "40MiB"]);
    let alice = scene.person("alice");
    alice.write("d/small", "fits");
    fs::File::create(alice.path("d/large")).unwrap().set_len(64 << 20).unwrap();
    let (code, error) = alice.fails(&["put", "d", ":d"]);
    assert_eq!(code, 5, "{error}");
    assert!(
        error.contains(":d/large") && error.contains("it has 64 MiB") && error.contains("40 MiB"),
        "{error}"
    );
    assert!(error.contains("--max-upload") && error.contains("hint: "), "{error}");
    assert_eq!((scene.received(), alice.names(":").len()), (0, 0));
    fs::remove_file(alice.path("d/large")).unwrap();
    alice.ok(&["put", "d", ":d"]);
    assert_eq!(alice.names(":"), ["d/small"]);
}

#[test]
fn what_lies_there_is_put_again_though_the_hub_takes_less_now() {
    let mut scene = Scene::with(&["--max-upload", "100MiB"]);
    let alice = scene.person("alice");
    fs::File::create(alice.path("large")).unwrap().set_len(64 << 20).unwrap();
    alice.ok(&["put", "large", ":large"]);
    let (home, token) = (alice.path(""), alice.token());
    scene.crash_into(&["--max-upload", "40MiB"]);
    let alice = scene.again(&token, &home);
    // It is read again: a file that was not touched since it was put is not even looked at.
    fs::set_permissions(alice.path("large"), fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(alice.json(&["put", "large", ":large"])["same"], 1);
}

#[test]
fn a_link_is_made_listed_and_ended() {
    let scene = Scene::new();
    let alice = scene.person("alice");
    alice.write("a", "x");
    alice.ok(&["put", "a", ":a"]);
    let link = alice.json(&["share", ":a", "--expires", "1h", "--downloads", "3"]);
    assert!(link["url"].as_str().unwrap().starts_with("http://127.0.0.1:"), "{link}");
    let links = alice.json(&["links"]);
    assert_eq!((&links["links"][0]["left"], &links["links"][0]["path"]), (&3.into(), &"a".into()), "{links}");
    // The password is a line on standard input where there is no terminal.
    let mut share = alice.command(&["share", ":a", "--password", "--json"]);
    let mut child = share.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all("물개\n".as_bytes()).unwrap();
    let made = child.wait_with_output().unwrap();
    let closed: serde_json::Value = serde_json::from_slice(&made.stdout).unwrap();
    let links = alice.json(&["links"]);
    let has_password = |id: &serde_json::Value| {
        let links = links["links"].as_array().unwrap();
        links.iter().find(|link| link["id"] == *id).unwrap()["password"].clone()
    };
    assert_eq!((has_password(&closed["id"]), has_password(&link["id"])), (true.into(), false.into()));
    assert_eq!(alice.fails(&["share", ":a", "--password"]).0, 2, "without one there is no link");
    alice.ok(&["unshare", &format!(":{}", closed["id"])]);

    let number = format!(":{}", link["id"]);
    alice.ok(&["unshare", &number]);
    assert_eq!(alice.json(&["links"])["links"], serde_json::json!([]));
    assert_ne!(alice.fails(&["unshare", &number]).0, 0);
}

#[test]
fn the_log_tells_who_did_what() {
    let scene = Scene::new();
    let (alice, bob) = (scene.person("alice"), scene.person("bob"));
    alice.write("a", "x");
    alice.ok(&["space", "make", "lab", "--keep", "7d"]);
    alice.ok(&["put", "a", "lab:a"]);
    alice.ok(&["space", "member", "lab", "bob", "write"]);
    bob.ok(&["mv", "lab:a", "lab:b"]);
    let link = alice.json(&["share", "lab:b"]);
    let url = link["url"].as_str().unwrap().strip_prefix("http://").unwrap();
    let (hub, page) = url.split_once('/').unwrap();
    let mut stream = std::net::TcpStream::connect(hub).unwrap();
    write!(stream, "GET /{page}/raw HTTP/1.1\r\nhost: {hub}\r\nconnection: close\r\n\r\n").unwrap();
    let answer = std::io::read_to_string(stream).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\nx"), "{answer}");
    bob.ok(&["rm", "lab:b"]);
    alice.ok(&["undo", "lab:b"]);

    let text = alice.ok(&["log", "show", scene.hub_folder().to_str().unwrap(), "--json"]);
    let entries = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let requests = entries.flat_map(|entry| entry["requests"].as_array().unwrap().clone());
    let of_files = |request: serde_json::Value| {
        let kind = request["command"]["Files"].as_object()?.keys().next()?.clone();
        Some((request["caller"].as_u64()?, kind))
    };
    let did: Vec<(u64, String)> = requests.filter_map(of_files).collect();
    let number = |account: serde_json::Value| account["id"].as_u64().unwrap();
    let (a, b) = (number(alice.json(&["account"])), number(bob.json(&["account"])));
    for (who, what) in [
        (a, "CreateSpace"),
        (a, "PutFiles"),
        (a, "SetMember"),
        (b, "Move"),
        (a, "AddLink"),
        (b, "Remove"),
        (a, "Restore"),
    ] {
        assert!(did.iter().any(|(by, kind)| *by == who && kind == what), "{who} {what}: {did:?}");
    }
    assert!(did.iter().any(|(_, kind)| kind == "UseLink"), "{did:?}");
}

#[test]
fn an_operator_sees_who_saves_how_much() {
    let scene = Scene::new();
    let (alice, bob, operator) = (scene.person("alice"), scene.person("bob"), scene.operator());
    for person in [&alice, &bob] {
        person.write("same", noise(1, 30_000));
        person.ok(&["put", "same", ":same"]);
    }
    bob.write("own", noise(2, 10_000));
    bob.ok(&["put", "own", ":own"]);
    let told = operator.json(&["hub-store", "stats", "--spaces"]);
    assert_eq!(told["logical_bytes"], 70_000, "{told}");
    let keys = ["name", "owner_name", "logical_bytes", "own_bytes", "shared_bytes", "saved_bytes"];
    let row = |space: &serde_json::Value| keys.map(|key| space[key].to_string()).join(" ");
    let rows: Vec<String> = told["spaces"].as_array().unwrap().iter().map(row).collect();
    let alices = r#""alice" "alice" 30000 0 30000 30000"#;
    assert_eq!(rows, [alices, r#""bob" "bob" 40000 10000 30000 30000"#], "{told}");
    let shown = operator.ok(&["hub-store", "stats", "--spaces"]);
    assert!(shown.contains("stored") && shown.contains("SAVES") && shown.contains("bob"), "{shown}");
    assert_eq!(operator.json(&["hub-store", "stats"]).get("spaces"), None);
    let (_, error) = alice.fails(&["hub-store", "stats", "--spaces"]);
    assert!(error.contains("operators"), "{error}");
}

#[test]
fn owners_see_who_reads_and_who_was_refused() {
    let scene = Scene::new();
    let (alice, bob, operator) = (scene.person("alice"), scene.person("bob"), scene.operator());
    alice.write("f", "mine");
    alice.ok(&["put", "f", ":f"]);
    alice.ok(&["cat", ":f"]);
    assert_ne!(bob.fails(&["ls", "alice:"]).0, 0);
    let told = alice.json(&["space", "access"]);
    let is = |entry: &serde_json::Value, wanted: [&str; 3]| {
        ["account_name", "what", "refused"].map(|key| entry[key].as_str().unwrap_or_default()) == wanted
    };
    let entries = told["entries"].as_array().unwrap();
    assert!(entries.iter().any(|entry| is(entry, ["bob", "list", "no_space"])), "{told}");
    assert!(entries.iter().any(|entry| is(entry, ["alice", "read", ""])), "{told}");
    let shown = operator.ok(&["space", "access", "--all", "--limit", "500"]);
    assert!(shown.contains("list: no_space") && shown.contains("127.0.0.1"), "{shown}");
    assert!(bob.fails(&["space", "access", "alice"]).1.contains("alice"));
    assert!(bob.fails(&["space", "access", "--all"]).1.contains("operators"));
}

#[test]
fn bytes_without_a_place_have_only_their_hash() {
    let scene = Scene::new();
    let (alice, eve) = (scene.person("alice"), scene.person("eve"));
    alice.write("a", "only mine");
    let stored = alice.json(&["put", "a"]);
    let hash = stored[0]["hash"].as_str().unwrap();
    assert_eq!(alice.ok(&["get", hash]), "only mine");
    assert_eq!(alice.ok(&["get", hash, "-"]), "only mine");
    let (code, error) = alice.fails(&["get", ":a", "-"]);
    assert!(code == 2 && error.contains("pumasi cat"), "{code} {error}");
    assert_ne!(eve.fails(&["get", hash]).0, 0, "nobody reads by knowing a hash");
    let mut put = alice.command(&["put", "-", "--json"]);
    let mut child = put.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"piped").unwrap();
    let stored: serde_json::Value =
        serde_json::from_slice(&child.wait_with_output().unwrap().stdout).unwrap();
    assert_eq!(alice.ok(&["get", stored[0]["hash"].as_str().unwrap()]), "piped");
}
