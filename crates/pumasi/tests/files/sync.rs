//! A folder here and one in a space that are kept the same.

use std::fs;
use std::time::Duration;

use super::interrupted::cut;
use super::scene::Scene;

#[test]
fn two_machines_have_the_same_after_both_synced() {
    let scene = Scene::new();
    let alice = scene.person("alice");
    let other = alice.elsewhere("other");
    for (name, content) in [("f/a", "1"), ("f/sub/b", "2"), ("f/sub/c", "3")] {
        alice.write(name, content);
    }
    fs::create_dir_all(alice.path("f/empty")).unwrap();
    alice.ok(&["sync", "f", ":shared"]);
    other.ok(&["sync", "f", ":shared"]);
    assert_eq!((other.read("f/a"), other.read("f/sub/b")), ("1".into(), "2".into()));
    assert!(other.path("f/empty").is_dir());

    // Changed here, removed there, new on both.
    alice.write("f/a", "1 changed");
    alice.write("f/new here", "4");
    fs::remove_file(other.path("f/sub/b")).unwrap();
    other.write("f/deep/er/new there", "5");
    other.ok(&["sync", "f", ":shared"]);
    alice.ok(&["sync", "f", ":shared"]);
    other.ok(&["sync", "f", ":shared"]);
    for person in [&alice, &other] {
        assert_eq!(person.read("f/a"), "1 changed");
        assert_eq!(person.read("f/new here"), "4");
        assert_eq!(person.read("f/deep/er/new there"), "5");
        assert!(!person.path("f/sub/b").exists());
    }
    assert!(alice.ok(&["trash"]).contains("sub/b"), "what was removed can be had back");
    let nothing = alice.json(&["sync", "f", ":shared", "--dry-run"]);
    assert_eq!(nothing, serde_json::json!([]), "a third run has nothing to do");

    fs::remove_dir_all(alice.path("f/sub")).unwrap();
    alice.ok(&["sync", "f", ":shared"]);
    other.ok(&["sync", "f", ":shared"]);
    assert!(!other.path("f/sub").exists(), "a folder goes with what lay in it");
}

#[test]
fn what_both_changed_is_kept_twice() {
    let scene = Scene::new();
    let alice = scene.person("alice");
    let other = alice.elsewhere("other");
    alice.write("f/report.txt", "first");
    alice.ok(&["sync", "f", ":f"]);
    other.ok(&["sync", "f", ":f"]);
    alice.write("f/report.txt", "by alice");
    other.write("f/report.txt", "by the other");
    alice.ok(&["sync", "f", ":f"]);
    let synced = other.json(&["sync", "f", ":f"]);
    assert_eq!(synced["conflicts"], 1, "{synced}");
    alice.ok(&["sync", "f", ":f"]);
    for person in [&alice, &other] {
        assert_eq!(person.read("f/report.txt"), "by alice");
        let names: Vec<_> = fs::read_dir(person.path("f"))
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        let copy = names.iter().find(|name| name.contains("(conflict")).unwrap();
        assert_eq!(person.read(&format!("f/{copy}")), "by the other");
        assert!(copy.ends_with(".txt") && names.len() == 2, "{names:?}");
    }
    // A change wins over a removal.
    alice.write("f/report.txt", "still needed");
    fs::remove_file(other.path("f/report.txt")).unwrap();
    alice.ok(&["sync", "f", ":f"]);
    other.ok(&["sync", "f", ":f"]);
    assert_eq!(other.read("f/report.txt"), "still needed");
}

#[test]
fn a_disk_that_is_not_mounted_empties_no_space() {
    let scene = Scene::new();
    let alice = scene.person("alice");
    for n in 0..30 {
        alice.write(&format!("f/{n}"), "x");
    }
    alice.ok(&["sync", "f", ":f"]);
    fs::rename(alice.path("f"), alice.path("aside")).unwrap();
    fs::create_dir(alice.path("f")).unwrap();
    let (code, error) = alice.fails(&["sync", "f", ":f"]);
    assert!(code == 5 && error.contains("30 of 30 files would be removed in :f"), "{code} {error}");
    assert_eq!(alice.names(":f").len(), 30);
    alice.ok(&["sync", "f", ":f", "--delete-many"]);
    assert_eq!(alice.names(":").len(), 0);
}

#[test]
fn a_sync_that_was_cut_off_makes_no_conflicts() {
    let scene = Scene::new();
    let alice = scene.person("alice");
    let other = alice.elsewhere("other");
    for n in 0..2_000 {
        alice.write(&format!("f/{}/{n}", n % 10), format!("content {n}"));
    }
    for person in [&alice, &other] {
        for after in [40, 100, 200] {
            cut(person, &["sync", "f", ":f"], Duration::from_millis(after));
        }
        person.ok(&["sync", "f", ":f"]);
    }
    let synced = alice.json(&["sync", "f", ":f"]);
    assert_eq!((&synced["files"], &synced["left_out"]), (&0.into(), &serde_json::json!([])), "{synced}");
    for n in (0..2_000).step_by(61) {
        assert_eq!(other.read(&format!("f/{}/{n}", n % 10)), format!("content {n}"));
    }
    assert_eq!(alice.names(":f").len(), 2_000);
}
