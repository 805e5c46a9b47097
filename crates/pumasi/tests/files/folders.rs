//! Whole folders: many files, odd names, links, holes.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, symlink};

use super::scene::{Scene, noise};

#[test]
fn a_folder_of_odd_things_comes_back_as_it_was() {
    let scene = Scene::new();
    let alice = scene.person("alice");
    let odd =
        ["a b", "-rf", "한글 이름", "new\nline", "q\"'\\", "%41", "a:b", ".hidden", "*?[x]", "\u{1f600}"];
    for (n, name) in odd.iter().enumerate() {
        alice.write(&format!("odd/{name}/{name}"), format!("{n}"));
    }
    alice.write(&format!("odd/{}", "x".repeat(255)), "long");
    fs::create_dir_all(alice.path("odd/none/at/all")).unwrap();
    let put = alice.json(&["put", "odd", ":odd"]);
    assert_eq!(put["files"], 11, "{put}");
    alice.ok(&["get", ":odd", "back"]);
    for (n, name) in odd.iter().enumerate() {
        assert_eq!(alice.read(&format!("back/{name}/{name}")), format!("{n}"));
    }
    assert!(
        alice.path("back/none/at/all").is_dir() && alice.path(&format!("back/{}", "x".repeat(255))).exists()
    );
}

#[test]
fn what_cannot_be_stored_is_named_and_the_rest_is_stored() {
    let scene = Scene::new();
    let alice = scene.person("alice");
    alice.write("d/good", "1");
    fs::write(alice.path("d").join(OsStr::from_bytes(b"bad\xff")), "2").unwrap();
    let (code, error) = alice.fails(&["put", "d", ":d"]);
    assert!(code == 7 && error.contains("left out: d/bad") && error.contains("not UTF-8"), "{code} {error}");
    assert_eq!(alice.names(":"), ["d/good"]);
}

#[test]
fn links_are_stored_as_links_and_lead_nobody_astray() {
    let scene = Scene::new();
    let alice = scene.person("alice");
    alice.write("secret", "not to be stored");
    alice.write("d/file", "1");
    symlink("../secret", alice.path("d/out")).unwrap();
    symlink("..", alice.path("d/up")).unwrap();
    alice.ok(&["put", "d", ":d"]);
    assert_eq!(alice.names(":"), ["d/file", "d/out", "d/up"]);
    assert_eq!(alice.ok(&["cat", ":d/out"]), "", "only what it leads to is stored");
    assert!(alice.ok(&["ls", ":d"]).contains("out -> ../secret"));

    let (code, error) = alice.fails(&["get", ":d", "back"]);
    assert!(code == 7 && error.contains("--links"), "{code} {error}");
    assert!(fs::symlink_metadata(alice.path("back/out")).is_err());
    alice.ok(&["get", ":d", "linked", "--links"]);
    assert_eq!(fs::read_link(alice.path("linked/out")).unwrap(), std::path::Path::new("../secret"));

    // A folder of the store in place of a link that leads out: the link is not followed.
    alice.write("e/up/trap", "!");
    alice.ok(&["put", "e", ":e"]);
    let output = alice.run(&["get", ":e", "linked"]);
    assert_eq!(output.status.code(), Some(7), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!alice.path("trap").exists());
    assert_eq!(alice.read("secret"), "not to be stored");
}

#[test]
fn holes_stay_holes() {
    let scene = Scene::new();
    let alice = scene.person("alice");
    let file = fs::File::create(alice.path("disk.img")).unwrap();
    file.set_len(64 << 20).unwrap();
    file.write_all_at(b"begin", 0).unwrap();
    file.write_all_at(b"end", (64 << 20) - 3).unwrap();
    file.write_all_at(&noise(3, 100_000), 10 << 20).unwrap();
    alice.ok(&["put", "disk.img", ":"]);
    alice.ok(&["get", ":disk.img", "back.img"]);
    assert!(fs::read(alice.path("disk.img")).unwrap() == fs::read(alice.path("back.img")).unwrap());
    let blocks = fs::metadata(alice.path("back.img")).unwrap().blocks();
    assert!(blocks * 512 < 2 << 20, "{blocks} blocks of 512 bytes are on disk");
}

#[test]
fn thousands_of_files_are_put_changed_and_fetched() {
    let scene = Scene::new();
    let alice = scene.person("alice");
    let count = 5_000;
    for n in 0..count {
        alice.write(&format!("many/{:02}/{n}", n % 50), format!("file {n}"));
    }
    let put = alice.json(&["put", "many", ":many"]);
    assert_eq!(put["files"], count, "{put}");
    alice.write("many/07/7", "changed");
    let again = alice.json(&["put", "many", ":many"]);
    assert_eq!((&again["files"], &again["same"]), (&1.into(), &(count - 1).into()), "{again}");
    let got = alice.json(&["get", ":many", "back"]);
    assert_eq!(got["files"], count, "{got}");
    assert_eq!(alice.read("back/07/7"), "changed");
    assert_eq!(alice.read("back/49/4999"), "file 4999");
    assert_eq!(alice.json(&["du", ":many"])["total"]["files"], count);
}
