//! Stored bytes that change: the hub refuses or recovers as the operator's guide says, and names the file.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::disk::{check_orders, order_until_refused};
use super::{Scene, start_error, stderr};

/// A stopped hub whose log has two segments.
struct Patient {
    scene: Scene,
    /// The segments, oldest first, and how far each is used.
    segments: Vec<(PathBuf, u64)>,
}

impl Patient {
    fn new() -> (Patient, std::collections::BTreeMap<u64, u64>) {
        let mut scene = Scene::with(0, &["--requests-per-s", "100000"]);
        scene.succeed(&["account", "transfer", "operator", "1"]);
        let (done, refused) = order_until_refused(&scene, 0, 620);
        assert!(refused.is_none(), "{refused:?}");
        for _ in 0..5 {
            scene.succeed(&["account", "transfer", "operator", "1"]);
        }
        scene.pool.hub().expect("a hub").stop(Duration::from_secs(60)).expect("it ends");
        let mut patient = Patient { scene, segments: Vec::new() };
        patient.segments = patient.used();
        assert_eq!(patient.segments.len(), 2, "{:?}", patient.segments);
        (patient, done)
    }

    fn verify(&self, arguments: &[&str]) -> std::process::Output {
        let folder = self.scene.pool.data.to_string_lossy().into_owned();
        self.scene.cli(&[&["log", "verify", &folder], arguments].concat())
    }

    fn used(&self) -> Vec<(PathBuf, u64)> {
        let report: Value = serde_json::from_slice(&self.verify(&["--json"]).stdout).expect("JSON");
        let segment =
            |one: &Value| (one["path"].as_str().unwrap().into(), one["used_bytes"].as_u64().unwrap());
        report["segments"].as_array().expect("segments").iter().map(segment).collect()
    }

    /// Spoils a file of the log: both the hub and `log verify` must name `told`. Then all is as before.
    fn is_refused(&mut self, what: &str, file: &Path, told: &str, spoil: impl FnOnce(&Path)) {
        let original = fs::read(file).expect("the file is there");
        spoil(file);
        let output = self.verify(&[]);
        let seen = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(1), "{what}: {seen}");
        assert!(seen.contains("DAMAGED") && seen.contains(told), "{what}: '{told}' is missing in {seen}");
        let said = start_error(&mut self.scene.pool);
        assert!(said.contains(told), "{what}: '{told}' is missing in {said}");
        assert!(said.contains("restore"), "{what}: no remedy in {said}");
        fs::write(file, original).expect("the file can be written");
        assert_eq!(self.verify(&[]).status.code(), Some(0), "{what}: a hub that refuses changes nothing");
    }
}

fn flip(at: u64) -> impl Fn(&Path) {
    move |path| {
        let mut bytes = fs::read(path).expect("the file is there");
        bytes[at as usize] ^= 0x20;
        fs::write(path, bytes).expect("the file can be written");
    }
}

fn cut(to: u64) -> impl Fn(&Path) {
    move |path| {
        fs::File::options().write(true).open(path).and_then(|file| file.set_len(to)).expect("it is cut")
    }
}

fn name(path: &Path) -> String {
    path.file_name().expect("a file").to_string_lossy().into_owned()
}

#[test]
fn damage_is_refused_or_healed_as_the_guide_says() {
    let (mut patient, done) = Patient::new();
    let [(first, first_used), (last, last_used)] = [patient.segments[0].clone(), patient.segments[1].clone()];
    let (first_name, last_name) = (name(&first), name(&last));
    let at = |name: &str, offset: u64| format!("{name} is damaged at byte {offset}");
    patient.is_refused(
        "a bit in the middle",
        &last,
        &format!("{last_name} is damaged at byte"),
        flip(last_used / 2),
    );
    let end = last_used - 4096;
    patient.is_refused("a bit at the end", &last, &format!("{last_name} is damaged at byte"), flip(end));
    patient.is_refused("the last header", &last, &at(&last_name, 0), flip(50));
    patient.is_refused("the first header", &first, &at(&first_name, 0), flip(50));
    patient.is_refused("a cut segment", &last, &last_name, cut(last_used / 2 / 4096 * 4096));
    patient.is_refused("an empty segment", &last, &last_name, cut(0));
    let remove = |path: &Path| fs::remove_file(path).expect("it was there");
    patient.is_refused("no first segment", &first, "lacks the segment file that holds entry 1:", remove);
    patient.is_refused("no last segment", &last, "entry", remove);
    let mark = patient.scene.pool.data.join("log/mark");
    patient.is_refused("the mark", &mark, "mark", flip(20));

    // What a snapshot covers is not read at the start, but without snapshots it is, and `verify` always sees it.
    let snapshots = patient.scene.pool.data.join("snapshots");
    let aside = patient.scene.pool.dir.path().join("aside");
    fs::rename(&snapshots, &aside).expect("they are there");
    patient.is_refused(
        "an old bit",
        &first,
        &format!("{first_name} is damaged at byte"),
        flip(first_used / 2),
    );
    patient.is_refused("an old cut", &first, &first_name, cut(first_used / 2 / 4096 * 4096));
    let _ = fs::remove_dir_all(&snapshots);
    fs::rename(&aside, &snapshots).expect("they are there");

    heals_what_is_derived(&mut patient.scene);
    cuts_a_torn_tail(&mut patient);
    check_orders(&patient.scene, &done);
    patient.scene.check_books();
    patient.scene.check_hub_log();
}

/// Snapshots and the journal are made from the log: damage to them costs time only.
fn heals_what_is_derived(scene: &mut Scene) {
    let before = scene.pool.hub_log().len();
    let snapshots = scene.pool.data.join("snapshots");
    for file in fs::read_dir(snapshots).expect("a folder") {
        flip(3000)(&file.expect("a file").path());
    }
    let journal = scene.pool.data.join("transfers.journal");
    let records = fs::metadata(&journal).expect("a journal").len() / 128 - 1;
    assert!(records >= 6, "{records} transfers");
    flip(128 * records + 40)(&journal);
    scene.pool.start_hub().expect("it starts from the log alone");
    let said = scene.pool.hub_log().split_off(before);
    assert!(said.contains("cannot be used"), "it says nothing of the snapshots: {said}");
    statement_is_whole(scene);

    // One record in the middle is noticed when it is read; a new start from the log heals it.
    scene.pool.hub().expect("a hub").stop(Duration::from_secs(60)).expect("it ends");
    flip(128 * 4 + 30)(&journal);
    scene.pool.start_hub().expect("it starts");
    let output = scene.cli(&["statement", "--limit", "1000"]);
    if !output.status.success() {
        let said = stderr(&output);
        let fault = said.lines().next().and_then(|line| line.rsplit(' ').next()).unwrap_or_default();
        let log = scene.pool.hub_log();
        let line = log.lines().find(|line| line.contains(&format!("fault {fault}"))).unwrap_or(&said);
        assert!(["transfer", "damaged", "remove"].iter().all(|word| line.contains(word)), "{line}");
        scene.pool.hub().expect("a hub").stop(Duration::from_secs(60)).expect("it ends");
        fs::remove_file(&journal).expect("it is there");
        scene.pool.start_hub().expect("it makes the journal anew");
    }
    statement_is_whole(scene);
}

fn statement_is_whole(scene: &Scene) {
    let statement: pumasi_api::wire::Statement =
        scene.pool.ask(&scene.researcher, &["statement", "--limit", "1000"]).expect("a statement");
    assert_eq!(statement.lines.len(), 7, "{statement:?}");
}

/// What was being written when the hub was killed was never acknowledged, and is cut off.
fn cuts_a_torn_tail(patient: &mut Patient) {
    patient.scene.pool.hub().expect("a hub").kill().expect("it was alive");
    let (last, used) = patient.used().pop().expect("a segment");
    let mut bytes = fs::read(&last).expect("the segment");
    bytes[used as usize..used as usize + 5000].fill(0x5a);
    fs::write(&last, bytes).expect("the file can be written");
    let before = patient.scene.pool.hub_log().len();
    patient.scene.pool.start_hub().expect("it starts");
    let said = patient.scene.pool.hub_log().split_off(before);
    assert!(said.contains("cut 5000 bytes") || said.contains("cut 8192 bytes"), "{said}");
    assert_eq!(patient.verify(&[]).status.code(), Some(0));
}
