//! A folder of a hundred thousand files that goes to a hub and comes back, both cut off on the way.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::{Scene, eventually};
use crate::process::Guarded;

const FILES: u64 = 100_000;
const FOLDERS: u64 = 100;
/// So many have come when it is cut off.
const CUT_AT: u64 = 20_000;

/// The content of a file: others for each, some empty, some in more than one chunk.
fn content(n: u64) -> String {
    match n % 1_000 {
        0 => String::new(),
        1 => format!("line {n}\n").repeat(20_000),
        _ => format!("file {n}\n").repeat((n % 50) as usize + 1),
    }
}

fn path_of(folder: &Path, n: u64) -> PathBuf {
    folder.join(format!("{:02}/{n}", n % FOLDERS))
}

/// How many files have their names below a folder of such folders; what is under way has a dot before its own.
fn count(folder: &Path) -> u64 {
    let items = |folder: &Path| std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let is_whole = |item: &std::fs::DirEntry| !item.file_name().to_string_lossy().starts_with('.');
    items(folder).map(|inner| items(&inner.path()).filter(is_whole).count() as u64).sum()
}

/// Ends a command as a power cut would when `there` says that enough came; how much that is then.
fn cut(mut command: Command, there: impl Fn() -> u64) -> u64 {
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut running = Guarded::spawn(&mut command).expect("it starts");
    let mut came = 0;
    while came < CUT_AT {
        // However slow the machine is.
        eventually("more of it comes", || there() > came);
        came = there();
    }
    running.kill().expect("it is ours");
    let there = there();
    println!("cut off at {there} files");
    there
}

#[test]
fn a_hundred_thousand_files_go_on_where_they_were_cut_off() {
    let scene = Scene::new(0);
    let (from, back) = (scene.path("many"), scene.path("back"));
    for n in 0..FOLDERS {
        std::fs::create_dir_all(from.join(format!("{n:02}"))).expect("a folder");
    }
    for n in 0..FILES {
        std::fs::write(path_of(&from, n), content(n)).expect("a file");
    }
    let command = |arguments: &[&str]| {
        let mut command = scene.pool.cli(&scene.researcher);
        command.args(arguments);
        command
    };
    let json = |arguments: &[&str]| -> Value {
        let output = command(arguments).arg("--json").output().expect("the binary runs");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {error}");
        serde_json::from_slice(&output.stdout).expect("JSON")
    };
    let number = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("no number: {value}"));
    let in_space = || {
        let output = command(&["du", ":many", "--json"]).output().expect("the binary runs");
        let sums: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        sums["total"]["files"].as_u64().unwrap_or(0)
    };
    let (source, target) = (from.to_string_lossy(), back.to_string_lossy());

    let there = cut(command(&["put", &source, ":many"]), in_space);
    let put = json(&["put", &source, ":many"]);
    assert_eq!(number(&put["files"]) + number(&put["same"]), FILES, "{put}");
    assert!(number(&put["same"]) >= there, "what lay there was sent again: {there}, {put}");
    assert_eq!(in_space(), FILES);

    let there = cut(command(&["get", ":many", &target]), || count(&back));
    let got = json(&["get", ":many", &target]);
    assert_eq!(number(&got["files"]) + number(&got["same"]), FILES, "{got}");
    assert!(number(&got["same"]) >= there, "what was here was fetched again: {there}, {got}");
    for n in 0..FILES {
        let read = std::fs::read(path_of(&back, n)).unwrap_or_else(|error| panic!("file {n}: {error}"));
        assert!(read == content(n).as_bytes(), "file {n} has other bytes");
    }
    scene.check_hub_log();
}
