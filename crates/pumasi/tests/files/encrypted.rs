//! Files that are encrypted before they leave the machine.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Stdio;

use super::scene::{Person, Scene, noise};

/// Gives somebody the key of somebody else.
fn share_key(from: &Person<'_>, to: &Person<'_>) {
    let mut child = to.command(&["key", "add"]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(from.ok(&["key", "show"]).as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

/// Whether any file below a folder has these bytes in it.
fn is_in(needle: &[u8], folder: &Path) -> bool {
    fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return is_in(needle, &path);
        }
        fs::read(&path).unwrap_or_default().windows(needle.len()).any(|window| window == needle)
    })
}

#[test]
fn the_hub_has_no_byte_of_it_and_it_comes_back_just_so() {
    let scene = Scene::new();
    let alice = scene.person("alice");
    let (code, error) = alice.fails(&["put", "x", ":x", "--encrypt"]);
    assert!(code == 6 && error.contains("pumasi key new"), "{code} {error}");
    let made = alice.json(&["key", "new"]);
    let file = Path::new(made["file"].as_str().unwrap());
    assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);

    let marker = b"a marker that nobody else may find, incompressible 8f1c33";
    let mut large = noise(3, 40 << 20);
    large[20 << 20..(20 << 20) + marker.len()].copy_from_slice(marker);
    alice.write("d/large", &large);
    alice.write("d/medium", noise(4, 3_000_000));
    alice.write("d/small", marker);
    alice.write("d/empty", "");
    let sparse = fs::File::create(alice.path("d/sparse")).unwrap();
    sparse.set_len(8 << 20).unwrap();
    sparse.write_all_at(b"middle", 5 << 20).unwrap();
    std::os::unix::fs::symlink("small", alice.path("d/link")).unwrap();
    fs::set_permissions(alice.path("d/small"), PermissionsExt::from_mode(0o755)).unwrap();

    let put = alice.json(&["put", "d", ":d", "--encrypt"]);
    assert_eq!(put["files"], 6, "{put}");
    assert!(!is_in(marker, &scene.hub_folder()), "the hub has something of it");
    let again = alice.json(&["put", "d", ":d", "--encrypt"]);
    assert_eq!((&again["same"], &again["moved"]), (&6.into(), &0.into()), "{again}");
    // The same content under another name is stored already.
    let copy = alice.json(&["put", "d/large", ":copy", "--encrypt"]);
    assert_eq!((&copy["files"], &copy["moved"]), (&1.into(), &0.into()), "{copy}");

    alice.ok(&["get", ":d", "back", "--links"]);
    for name in ["large", "medium", "small", "empty", "sparse", "link"] {
        let [here, back] = ["d", "back"].map(|folder| fs::read(alice.path(folder).join(name)).unwrap());
        assert!(here == back, "{name}");
    }
    assert!(fs::metadata(alice.path("back/sparse")).unwrap().blocks() * 512 < 1 << 20, "holes stay holes");
    assert_ne!(fs::metadata(alice.path("back/small")).unwrap().mode() & 0o111, 0);
    let got = alice.json(&["get", ":d", "back", "--links"]);
    assert_eq!(got["same"], 5, "only the link is made again: {got}");
    assert_eq!(alice.ok(&["cat", ":d/small"]).as_bytes(), marker);

    let listed = alice.json(&["ls", ":d"]);
    let small =
        listed["entries"].as_array().unwrap().iter().find(|entry| entry["path"] == "d/small").unwrap();
    let of = |name: &str| &small["encrypted"][name];
    assert_eq!((of("size"), of("key")), (&marker.len().into(), &made["key"]), "{small}");
    assert!(small["file"]["size"].as_u64().unwrap() > 300, "padded: {small}");
    assert!(alice.ok(&["ls", ":d"]).contains("small*  (encrypted with default)"));
}

#[test]
fn whoever_has_no_key_is_told_which_and_gets_only_what_lies_there() {
    let scene = Scene::new();
    let (alice, bob) = (scene.person("alice"), scene.person("bob"));
    let key = alice.json(&["key", "new", "--print-recovery"])["key"].as_str().unwrap().to_owned();
    alice.ok(&["space", "make", "lab"]);
    alice.ok(&["space", "member", "lab", "bob", "write"]);
    alice.write("a.txt", "for us both");
    alice.ok(&["put", "a.txt", "lab:", "--encrypt"]);

    let (code, error) = bob.fails(&["cat", "lab:a.txt"]);
    assert!(code == 4 && error.contains(&key) && error.contains("key add"), "{code} {error}");
    let (code, error) = bob.fails(&["get", "lab:a.txt"]);
    assert!(code == 7 && error.contains(&key) && !bob.path("a.txt").exists(), "{code} {error}");
    assert!(bob.ok(&["ls", "lab:"]).contains(&format!("(encrypted with key {key}, which is not here)")));
    bob.write("other.txt", "in the clear");
    let (code, error) = bob.fails(&["put", "other.txt", "lab:a.txt"]);
    assert!(code == 7 && error.contains("cannot be replaced"), "nothing is laid open by mistake: {error}");

    bob.ok(&["get", "lab:a.txt", "raw", "--raw"]);
    let raw = fs::read(bob.path("raw")).unwrap();
    assert!(raw.starts_with(b"PUMASISL") && raw.len() == 92 + 256 + 28);
    assert_eq!(bob.run(&["cat", "lab:a.txt", "--raw"]).stdout, raw);
    let (code, error) = bob.fails(&["key", "open", "raw"]);
    assert!(code == 4 && error.contains(&key), "{code} {error}");

    share_key(&alice, &bob);
    assert_eq!(bob.ok(&["cat", "lab:a.txt"]), "for us both");
    assert_eq!(bob.ok(&["key", "open", "raw"]), "for us both");
    bob.ok(&["key", "open", "raw", "plain"]);
    assert_eq!(bob.read("plain"), "for us both");
    // What replaces it stays encrypted, without being asked.
    bob.ok(&["put", "other.txt", "lab:a.txt"]);
    assert_eq!(alice.ok(&["cat", "lab:a.txt"]), "in the clear");
    assert!(alice.run(&["cat", "lab:a.txt", "--raw"]).stdout.starts_with(b"PUMASISL"));
    let versions = alice.json(&["versions", "lab:a.txt"]);
    let older = versions["versions"][1]["version"].to_string();
    assert_eq!(alice.ok(&["cat", "lab:a.txt", "--version", &older]), "for us both");

    let mut changed = raw;
    let last = changed.len() - 1;
    changed[last] ^= 1;
    bob.write("raw", &changed);
    let (code, error) = bob.fails(&["key", "open", "raw", "new"]);
    assert!(code == 1 && error.contains("changed") && !bob.path("new").exists(), "{code} {error}");

    // One that ends with a block of nothing but padding, without that block.
    bob.write("long", noise(1, 5_000_000));
    bob.ok(&["put", "long", "lab:long", "--encrypt"]);
    bob.ok(&["get", "lab:long", "long.raw", "--raw"]);
    let file = fs::File::options().write(true).open(bob.path("long.raw")).unwrap();
    file.set_len(file.metadata().unwrap().len() - (65_536 + 28)).unwrap();
    let (code, error) = bob.fails(&["key", "open", "long.raw", "new"]);
    assert!(code == 1 && error.contains("changed") && !bob.path("new").exists(), "{code} {error}");
    let mut later = fs::read(bob.path("raw")).unwrap();
    later[8] = 2;
    bob.write("raw", &later);
    let (code, error) = bob.fails(&["key", "open", "raw"]);
    assert!(code == 1 && error.contains("later version"), "{code} {error}");
}

#[test]
fn passphrases_make_the_same_key_on_every_machine() {
    let scene = Scene::new();
    let alice = scene.person("alice");
    let new = |person: &Person<'_>, passphrase: &str| {
        let command = ["key", "new", "family", "--passphrase", "--json"];
        let mut child =
            person.command(&command).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(passphrase.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let id = |said: &str| serde_json::from_str::<serde_json::Value>(said).unwrap()["key"].clone();
    assert_eq!(new(&alice, "short\n").0, Some(2));
    let (code, first) = new(&alice, "correct horse battery\n");
    assert_eq!(code, Some(0));
    let (_, second) = new(&alice.elsewhere("laptop"), "correct horse battery\n");
    let (_, third) = new(&alice.elsewhere("tablet"), "correct horse buttery\n");
    assert!(id(&first) == id(&second) && id(&first) != id(&third));
    assert_eq!(new(&alice, "another passphrase\n").0, Some(2), "no key is overwritten");
    let (code, error) = alice.fails(&["key", "new", "--passphrase"]);
    assert!(code == 2 && error.contains("a name of its own"), "{code} {error}");
    let many = alice.json(&["key", "new", "work"]);
    let keys = alice.json(&["key", "ls"]);
    assert_eq!((&keys["keys"][0]["name"], &keys["keys"][1]["key"]), (&"family".into(), &many["key"]));
    alice.write("a", "x");
    let (code, error) = alice.fails(&["put", "a", ":a", "--encrypt"]);
    assert!(code == 2 && error.contains("--encrypt=NAME"), "{code} {error}");
    alice.ok(&["put", "a", ":a", "--encrypt=work"]);
    alice.ok(&["put", "a", ":b", "--encrypt=family"]);
    // A broken one stops only what needs it.
    alice.write(".config/pumasi/keys/broken.key", "pumasi-key-1 12");
    let listed = alice.run(&["ls"]);
    assert!(listed.status.success() && String::from_utf8_lossy(&listed.stderr).contains("broken.key"));
    assert!(alice.ok(&["key", "ls"]).contains("unreadable"));
    let (code, error) = alice.fails(&["put", "a", ":a", "--encrypt=broken"]);
    assert!(code == 7 && error.contains("broken.key"), "{code} {error}");
    let listed = alice.json(&["ls"]);
    let blob = |n: usize| listed["entries"][n]["file"]["blob"].clone();
    assert_ne!(blob(0), blob(1), "nothing is shared between keys");
}

#[test]
fn encrypted_folders_are_kept_the_same() {
    let scene = Scene::new();
    let alice = scene.person("alice");
    let other = alice.elsewhere("other");
    alice.ok(&["key", "new"]);
    for (name, content) in [("f/a", "1"), ("f/b", "2")] {
        alice.write(name, content);
    }
    alice.write("f/large", noise(5, 1 << 20));
    alice.ok(&["sync", "f", ":f", "--encrypt"]);
    assert_eq!(alice.json(&["sync", "f", ":f", "--encrypt", "--dry-run"]), serde_json::json!([]));

    // Without the key nothing is fetched, removed or laid open.
    let output = other.run(&["sync", "f", ":f"]);
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(alice.names(":f").len(), 3);
    share_key(&alice, &other);
    other.ok(&["sync", "f", ":f"]);
    assert_eq!((other.read("f/a"), other.read("f/b")), ("1".into(), "2".into()));

    // It stays encrypted, without being asked, whoever changes it.
    other.write("f/a", "1 changed");
    fs::remove_file(other.path("f/b")).unwrap();
    let synced = other.json(&["sync", "f", ":f"]);
    assert_eq!((&synced["files"], &synced["removed"]), (&1.into(), &1.into()), "{synced}");
    assert!(alice.run(&["cat", ":f/a", "--raw"]).stdout.starts_with(b"PUMASISL"));
    let synced = alice.json(&["sync", "f", ":f"]);
    assert_eq!((&synced["files"], &synced["removed"], synced.get("conflicts")), (&1.into(), &1.into(), None));
    assert_eq!(alice.read("f/a"), "1 changed");

    // What was plain becomes encrypted, and nobody takes that for a change.
    alice.write("g/a", "plain at first");
    alice.ok(&["sync", "g", ":g"]);
    other.ok(&["sync", "g", ":g"]);
    let pushed = alice.json(&["sync", "g", ":g", "--encrypt"]);
    assert_eq!(pushed["files"], 1, "{pushed}");
    let pulled = other.json(&["sync", "g", ":g"]);
    assert_eq!((pulled.get("conflicts"), &pulled["left_out"]), (None, &serde_json::json!([])), "{pulled}");
    assert_eq!(other.json(&["sync", "g", ":g", "--dry-run"]), serde_json::json!([]));
    alice.write("g/a", "by alice");
    other.write("g/a", "by the other");
    alice.ok(&["sync", "g", ":g"]);
    assert_eq!(other.json(&["sync", "g", ":g"])["conflicts"], 1);
}

#[test]
fn whoever_takes_the_encryption_away_is_not_sent_the_file() {
    let scene = Scene::new();
    let alice = scene.person("alice");
    alice.ok(&["key", "new"]);
    alice.write("f/a", "secret");
    alice.write("f/b", "secret, too");
    alice.write("plain", "laid there");
    alice.ok(&["sync", "f", ":f", "--encrypt"]);
    alice.ok(&["put", "plain", ":plain"]);
    alice.ok(&["cp", ":plain", ":f/a", "--replace"]);
    alice.ok(&["cp", ":plain", ":f/b", "--replace"]);
    alice.write("f/a", "secret and new");
    fs::remove_file(alice.path("f/b")).unwrap();
    for more in [&[][..], &["--encrypt"][..]] {
        let (code, error) = alice.fails(&[&["sync", "f", ":f"], more].concat());
        assert!(code == 7 && error.matches("was encrypted there").count() == 2, "{code} {error}");
    }
    assert_eq!(
        (alice.ok(&["cat", ":f/a"]), alice.read("f/a")),
        ("laid there".into(), "secret and new".into())
    );
    assert!(!alice.path("f/b").exists());
    // Either side can be chosen.
    alice.ok(&["put", "f/a", ":f/a", "--encrypt"]);
    alice.ok(&["get", ":f/b", "f/b"]);
    alice.ok(&["sync", "f", ":f"]);
    assert!(alice.run(&["cat", ":f/a", "--raw"]).stdout.starts_with(b"PUMASISL"));
}

#[test]
fn fetching_an_encrypted_file_goes_on_where_it_was_cut_off() {
    let scene = Scene::new();
    let alice = scene.person("alice");
    alice.ok(&["key", "new"]);
    let large = noise(8, 96 << 20);
    alice.write("large", &large);
    alice.ok(&["put", "large", ":large", "--encrypt"]);

    let part = alice.path("back/.large.pumasi-part");
    fs::create_dir(alice.path("back")).unwrap();
    fs::write(&part, &large[..50_000_000]).unwrap();
    let got = alice.json(&["get", ":large", "back/"]);
    let moved = got["moved"].as_u64().unwrap();
    assert!(moved < (96 << 20) - 49_000_000 + 100_000, "{moved} bytes travelled");
    assert!(fs::read(alice.path("back/large")).unwrap() == large && !part.exists());

    // A beginning that is of something else is noticed.
    fs::remove_file(alice.path("back/large")).unwrap();
    fs::write(&part, noise(6, 1 << 20)).unwrap();
    alice.ok(&["get", ":large", "back/"]);
    assert!(fs::read(alice.path("back/large")).unwrap() == large);
}
