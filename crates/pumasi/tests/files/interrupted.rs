//! Commands and hubs that end in the middle.

use std::fs;
use std::os::unix::fs::FileExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::scene::{Person, Scene, noise};

/// Starts a command and ends it as a power cut would.
pub(super) fn cut(person: &Person<'_>, arguments: &[&str], after: Duration) {
    let mut child = person.command(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(after);
    let _ = child.kill();
    child.wait().unwrap();
}

#[test]
fn a_put_that_was_cut_off_goes_on() {
    let scene = Scene::new();
    let alice = scene.person("alice");
    for n in 0..3_000 {
        alice.write(&format!("d/{:02}/{n}", n % 20), noise(n, 2_000));
    }
    alice.write("d/large", noise(77, 40 << 20));
    for after in [60, 150, 300] {
        cut(&alice, &["put", "d", ":d"], Duration::from_millis(after));
        if !alice.run(&["ls", ":d"]).status.success() {
            continue;
        }
        // What is there is whole, whatever is missing.
        for path in alice.names(":d").iter().take(5) {
            let name = path.strip_prefix("d/").unwrap();
            let stored = alice.run(&["cat", &format!(":{path}")]).stdout;
            assert!(stored == fs::read(alice.path(&format!("d/{name}"))).unwrap(), "{path}");
        }
    }
    let put = alice.json(&["put", "d", ":d"]);
    assert_eq!(put["files"].as_u64().unwrap() + put["same"].as_u64().unwrap(), 3_001, "{put}");
    alice.ok(&["get", ":d", "back"]);
    for n in [0, 1_234, 2_999] {
        let name = format!("{:02}/{n}", n % 20);
        assert!(fs::read(alice.path(&format!("back/{name}"))).unwrap() == noise(n, 2_000), "{name}");
    }
    assert!(fs::read(alice.path("back/large")).unwrap() == noise(77, 40 << 20));
}

#[test]
fn a_get_that_was_cut_off_goes_on_where_it_ended() {
    let scene = Scene::new();
    let alice = scene.person("alice");
    let large = noise(5, 96 << 20);
    alice.write("large", &large);
    alice.ok(&["put", "large", ":large"]);
    let part = alice.path("back/.large.pumasi-part");
    fs::create_dir(alice.path("back")).unwrap();
    let mut child = alice.command(&["get", ":large", "back/"]).stderr(Stdio::null()).spawn().unwrap();
    let until = Instant::now() + Duration::from_secs(60);
    let enough = || fs::metadata(&part).is_ok_and(|part| part.len() > 8 << 20);
    while !enough() && child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < until, "nothing arrives");
        std::thread::sleep(Duration::from_millis(1));
    }
    let _ = child.kill();
    child.wait().unwrap();
    if !alice.path("back/large").exists() {
        let there = fs::metadata(&part).unwrap().len();
        let got = alice.json(&["get", ":large", "back/"]);
        let moved = got["moved"].as_u64().unwrap();
        assert!(moved <= (96 << 20) - there, "{moved} bytes travelled although {there} were there");
    }
    assert!(fs::read(alice.path("back/large")).unwrap() == large);
    assert!(!part.exists());

    // A beginning that is of something else is noticed.
    fs::remove_file(alice.path("back/large")).unwrap();
    fs::write(&part, noise(6, 1 << 20)).unwrap();
    alice.ok(&["get", ":large", "back/"]);
    assert!(fs::read(alice.path("back/large")).unwrap() == large);
}

#[test]
fn a_hub_that_crashes_during_a_put_loses_nothing_that_it_took() {
    let mut scene = Scene::new();
    let person = scene.person("alice");
    for n in 0..4_000 {
        person.write(&format!("d/{:02}/{n}", n % 20), noise(n, 3_000));
    }
    let mut child =
        person.command(&["put", "d", ":d"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let home = person.path("");
    let token = person.token();
    std::thread::sleep(Duration::from_millis(250));
    scene.crash();
    // The command goes on by itself when the hub is back in time, or else when it is given again.
    let _ = child.wait().unwrap();
    let person = scene.again(&token, &home);
    person.ok(&["put", "d", ":d"]);
    assert_eq!(person.json(&["du", ":d"])["total"]["files"], 4_000);
    person.ok(&["get", ":d", "back"]);
    for n in (0..4_000).step_by(97) {
        let name = format!("{:02}/{n}", n % 20);
        assert!(fs::read(person.path(&format!("back/{name}"))).unwrap() == noise(n, 3_000), "{name}");
    }
}

/// Segments are sent three at once and have 16 MiB and a chunk at most: so much of what came may be of one that was not whole.
const UNDER_WAY: u64 = 3 * (19 << 20);
const LARGE: usize = 200 << 20;
/// What encryption adds to that, at most.
const SEALED_EXTRA: u64 = 100_000;

/// Starts a put of the file `large`, and waits until the hub has a good part of it.
fn begin(scene: &Scene, person: &Person<'_>, arguments: &[&str]) -> (std::process::Child, u64) {
    person.write("large", noise(11, LARGE));
    let before = scene.received();
    let mut put = person.command(arguments);
    let mut child = put.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let came = scene.received() - before;
        if came > 110 << 20 {
            return (child, came);
        }
        assert!(Instant::now() < until && child.try_wait().unwrap().is_none(), "{came} bytes came");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_large_put_that_is_killed_sends_only_what_is_missing() {
    let scene = Scene::new();
    let alice = scene.person("alice");
    alice.ok(&["key", "new"]);
    for (arguments, place) in [
        (&["put", "large", ":plain"][..], ":plain"),
        (&["put", "large", ":sealed", "--encrypt"][..], ":sealed"),
    ] {
        let before = scene.received();
        let (mut child, _) = begin(&scene, &alice, arguments);
        let _ = child.kill();
        child.wait().unwrap();
        std::thread::sleep(Duration::from_millis(300));
        let came = scene.received() - before;
        alice.ok(arguments);
        let rest = scene.received() - before - came;
        let whole = LARGE as u64 + SEALED_EXTRA;
        assert!(rest <= whole - (came - UNDER_WAY), "{rest} bytes came although {came} had come");
        alice.ok(&["get", place, "back/"]);
        assert!(fs::read(alice.path("back").join(&place[1..])).unwrap() == noise(11, LARGE));
    }
}

#[test]
fn a_file_that_changes_on_its_way_is_left_out_and_others_are_not() {
    let scene = Scene::new();
    let alice = scene.person("alice");
    alice.ok(&["key", "new"]);
    alice.write("small", "another");
    for (arguments, there) in [
        (&["put", "large", "small", ":plain/"][..], ":plain"),
        (&["put", "large", "small", ":sealed/", "--encrypt"][..], ":sealed"),
    ] {
        let (mut child, _) = begin(&scene, &alice, arguments);
        let file = fs::File::options().write(true).open(alice.path("large")).unwrap();
        file.write_all_at(b"changed!", LARGE as u64 - 8).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(7));
        assert_eq!(alice.names(there), [format!("{}/small", &there[1..])]);
    }
}

#[test]
fn a_file_that_is_damaged_in_the_hub_keeps_no_other_from_coming() {
    let mut scene = Scene::new();
    let alice = scene.person("alice");
    let packs = scene.hub_folder().join("blobs/packs");
    alice.write("d/damaged", noise(1, 5 << 20));
    alice.ok(&["put", "d", ":d"]);
    let all = fs::read_dir(&packs).unwrap().map(|pack| pack.unwrap().path());
    let pack = all.max_by_key(|pack| fs::metadata(pack).unwrap().len()).unwrap();
    for (name, length) in [("d/large", 3 << 20), ("d/small", 10), ("d/z/other", 20)] {
        alice.write(name, noise(length as u64, length));
    }
    alice.ok(&["put", "d", ":d"]);
    let (home, token) = (alice.path(""), alice.token());
    // What it has in memory is sound.
    scene.crash();
    let file = fs::File::options().read(true).write(true).open(pack).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 1_000).unwrap();
    file.write_all_at(&[byte[0] ^ 1], 1_000).unwrap();
    let alice = scene.again(&token, &home);
    let (code, error) = alice.fails(&["get", ":d", "back"]);
    // The hub breaks off, or knows by then that it has not all of it.
    assert!(matches!(code, 5 | 7), "{code} {error}");
    assert!(error.contains("left out: ") || error.contains("refused: "), "{error}");
    assert!(error.contains("d/damaged") || error.contains("back/damaged"), "{error}");
    assert!(!alice.path("back/damaged").exists());
    for (name, length) in [("large", 3 << 20), ("small", 10), ("z/other", 20)] {
        let back = fs::read(alice.path("back").join(name)).unwrap();
        assert!(back == noise(length as u64, length), "{name}");
    }
}

#[test]
fn a_large_put_outlives_the_hub_and_sends_only_what_is_missing() {
    let mut scene = Scene::new();
    let person = scene.person("alice");
    let (home, token) = (person.path(""), person.token());
    let (mut child, came) = begin(&scene, &person, &["put", "large", ":large"]);
    scene.crash();
    // The command goes on by itself when the hub is back in time, or else when it is given again.
    let went_on = child.wait().unwrap().success();
    let person = scene.again(&token, &home);
    if !went_on {
        person.ok(&["put", "large", ":large"]);
    }
    let rest = scene.received();
    assert!(rest <= LARGE as u64 - (came - UNDER_WAY), "{rest} bytes came although {came} had come");
    person.ok(&["get", ":large", "back"]);
    assert!(fs::read(person.path("back")).unwrap() == noise(11, LARGE));
}
