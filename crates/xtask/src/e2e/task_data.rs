//! Inputs that lie in the hub, results that stay there, and what travels to machines.

use std::path::Path;
use std::sync::Arc;

use pumasi_api::client::Source;
use pumasi_api::wire;
use pumasi_types::Hash;
use serde_json::{Value, json};

use super::{Scene, eventually, example, program, stderr};
use crate::faults::Clock;
use crate::pool::{Pool, block_on};
use crate::s3::noise;
use crate::shared::{self, counter, share};

/// A guest that writes what comes on standard input.
const CAT: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 2)
    (func (export "_start")
        (loop $more
            (i32.store (i32.const 0) (i32.const 65536))
            (i32.store (i32.const 4) (i32.const 65536))
            (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
            (if (i32.load (i32.const 8)) (then
                (i32.store (i32.const 4) (i32.load (i32.const 8)))
                (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 12)))
                (br $more))))))"#;

fn cat(scene: &Scene) -> String {
    scene.file("cat.wasm", &wat::parse_str(CAT).expect("the module is sound"))
}

/// The names of the files below a place.
fn names(scene: &Scene, place: &str) -> Vec<String> {
    let listed: Value =
        serde_json::from_str(&scene.succeed(&["ls", place, "--recursive", "--json"])).expect("JSON");
    let entries = listed["entries"].as_array().expect("a list").iter();
    entries.map(|entry| entry["path"].as_str().expect("a path").to_owned()).collect()
}

#[test]
fn inputs_and_results_stay_in_the_hub() {
    let scene = Scene::new(1);
    let guest = cat(&scene);
    for (name, text) in [("a.txt", "alpha"), ("b.txt", "beta"), ("c.md", "gamma"), ("deep/d.txt", "delta")] {
        let path = scene.path("q").join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("it can be made");
        std::fs::write(path, text).expect("it can be written");
    }
    scene.succeed(&["put", &scene.path("q").to_string_lossy(), ":q"]);
    let run = |arguments: &[&str]| scene.succeed(&[&["run", &guest, "--budget", "50"], arguments].concat());
    run(&["--each", ":q/*.txt", "--out", ":matched"]);
    assert_eq!(names(&scene, ":matched"), ["matched/a.txt.out", "matched/b.txt.out"]);
    assert_eq!(scene.succeed(&["cat", ":matched/b.txt.out"]), "beta");
    run(&["--each", ":q/*/d.*", ":q/c.md", "--out", ":picked"]);
    assert_eq!(names(&scene, ":picked"), ["picked/c.md.out", "picked/d.txt.out"]);
    run(&["--each", ":q", "--out", ":all/"]);
    assert_eq!(names(&scene, ":all").len(), 4, "all below a folder");
    for (bad, why) in [(":q/*.zip", "no file at :q/*.zip"), (":none", "no 'none'"), ("nobody:x", "no space")]
    {
        let output = scene.cli(&["run", &guest, "--budget", "5", "--each", bad]);
        assert!(!output.status.success() && stderr(&output).contains(why), "{bad}: {}", stderr(&output));
    }
    let output = scene.cli(&["run", &guest, "--budget", "5", "--tasks", "2", "--out", "nobody:x"]);
    assert!(stderr(&output).contains("no space"), "before anything is paid: {}", stderr(&output));

    // What a job has found is the input of the next; job 3 had four tasks.
    run(&["--each-result", "3", "--out", ":again"]);
    // Bytes without a place are named by their hash, by who holds them.
    let told = scene.succeed(&["put", &scene.file("kept", b"kept"), "--json"]);
    let kept: Value = serde_json::from_str(&told).expect("JSON");
    let hash = kept[0]["hash"].as_str().expect("a hash");
    run(&["--each", hash, "--out", ":kept"]);
    assert_eq!(scene.succeed(&["cat", &format!(":kept/{hash}.out")]), "kept");
    let nobody = Hash::of(b"what nobody has").to_string();
    let output = scene.cli(&["run", &guest, "--budget", "5", "--tasks", "1", "--in", &nobody]);
    assert!(stderr(&output).contains("you hold no such bytes"), "{}", stderr(&output));
    assert_eq!(names(&scene, ":again").len(), 4);
    assert_eq!(scene.succeed(&["cat", ":again/d.txt.out"]), "delta");
    let again = scene.succeed(&["fetch", "3", "--out", ":all"]);
    assert!(again.contains("0 files put, 4 already there"), "{again}");
    for (bad, why) in [("99:0", "job 99"), ("3:nobody", "has no task"), ("3:a.txt:x", "left no file 'x'")] {
        let output = scene.cli(&["run", &guest, "--budget", "5", "--tasks", "1", "--in-result", bad]);
        assert!(!output.status.success() && stderr(&output).contains(why), "{bad}: {}", stderr(&output));
    }
    scene.check_books();
    scene.check_hub_log();
}

/// A program that opens its shared file finds it alike wherever it comes from.
#[test]
fn a_shared_input_may_lie_in_a_space_or_be_a_result() {
    let scene = Scene::new(1);
    let guest = cat(&scene);
    let (sw, targets) = (example("smith-waterman/sw.wasm"), example("smith-waterman/targets.fasta"));
    let query = example("smith-waterman/queries/B1ER33.fasta");
    let run = |shared: &[&str]| {
        let out = tempfile::tempdir().expect("a folder");
        let folder = out.path().to_string_lossy();
        let one = ["run", &sw, "--each", &query, "--budget", "50", "--no-estimate", "--out", &folder];
        scene.succeed(&[&one[..], shared].concat());
        std::fs::read_to_string(out.path().join("B1ER33.fasta.out")).expect("a result")
    };
    let expected = run(&["--in", &targets]);
    assert!(expected.lines().count() > 0, "it is related to something");
    scene.succeed(&["put", &targets, ":data/targets.fasta"]);
    assert_eq!(run(&["--in", ":data/targets.fasta"]), expected);
    let hash = Hash::of(&std::fs::read(&targets).expect("the example is there"));
    assert_eq!(run(&["--in", &format!("targets.fasta={hash}")]), expected, "who put it holds it");
    scene.succeed(&["run", &guest, "--each", &targets, "--budget", "5", "--name", "copy"]);
    let jobs: wire::Jobs = serde_json::from_str(&scene.succeed(&["jobs", "--json"])).expect("JSON");
    let copy = jobs.jobs.iter().find(|job| job.name == "copy").expect("the job").id;
    assert_eq!(run(&["--in-result", &format!("targets.fasta={copy}:0")]), expected);
    assert_eq!(run(&["--in-result", &format!("targets.fasta={copy}:targets.fasta")]), expected);
}

#[test]
fn an_input_travels_once_to_each_machine() {
    let options = shared::Options { mib: 64, tasks: 200, machines: 2, dev: true };
    let shared = share(&program(), &options).expect("it is shared");
    println!("{shared:?}");
}

/// Bytes of all files below a folder; those that go meanwhile do not count.
fn bytes_below(folder: &Path) -> u64 {
    let items = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let bytes = |item: std::fs::DirEntry| match item.metadata() {
        Ok(meta) if meta.is_dir() => bytes_below(&item.path()),
        Ok(meta) => meta.len(),
        Err(_) => 0,
    };
    items.map(bytes).sum()
}

#[test]
fn a_machine_keeps_no_more_than_it_may() {
    const MIB: u64 = 1 << 20;
    let scene = Scene::new(0);
    let guest = cat(&scene);
    let owner = scene.pool.open_account("owner", "owner").expect("an account opens");
    let limits = ["--cores", "1", "--memory", "1GiB", "--cache-size", "8MiB", "--cache", "7MiB"];
    let _worker = scene.pool.join(&owner, "keeper", &limits).expect("a worker starts");
    scene.pool.wait_for_workers(1).expect("it joins");
    let folder = scene.path("keeper");
    let sent = || counter(&scene.pool, "input_bytes").expect("a counter");
    let run = |input: &str| {
        scene
            .succeed(&["run", &guest, "--tasks", "2", "--in", input, "--budget", "50", "--fuel", "10000000"]);
    };
    for n in 0..4 {
        let file = scene.file("input", &noise(&format!("kept {n}"), 3 * MIB as usize));
        scene.succeed(&["put", &file, &format!(":in/{n}")]);
        run(&format!(":in/{n}"));
        eventually("it lets go of what is too much", || bytes_below(&folder) <= 7 * MIB + 64 * 1024);
    }
    assert!(bytes_below(&folder) > 5 * MIB, "it keeps what it may");
    let before = sent();
    run(":in/3");
    assert!(sent() - before < MIB, "what it keeps is not sent again: {}", sent() - before);
    run(":in/0");
    assert!(sent() - before >= 3 * MIB, "what it let go of is");
}

#[test]
fn a_large_output_comes_in_segments_and_goes_into_a_space() {
    let scene = Scene::new(1);
    let guest = cat(&scene);
    let bytes = noise("large", 40 << 20);
    let file = scene.file("large", &bytes);
    scene.succeed(&["put", &file, ":large"]);
    let received = || counter(&scene.pool, "received_bytes").expect("a counter");
    let before = received();
    scene.succeed(&["run", &guest, "--each", ":large", "--budget", "50", "--out", ":results"]);
    let came = received() - before;
    assert!((40 << 20..41 << 20).contains(&came), "the output came once, and nothing from here: {came}");
    let output = scene.cli(&["cat", ":results/large.out"]);
    assert!(output.stdout == bytes, "{}", stderr(&output));
}

/// What jobs keep counts as long as they do, longer than what was sent counts by itself.
#[test]
fn inputs_of_jobs_count_until_the_jobs_are_forgotten() {
    const DAY: i64 = 24 * 3600;
    let arguments = ["--max-upload", "16MiB", "--unfiled-limit", "20MiB"];
    let mut pool = Pool::prepare(&program(), &arguments).expect("a pool");
    let Some(clock) = Clock::in_folder(pool.dir.path()) else {
        return println!("skipped: the package faketime is not installed");
    };
    pool.hub_env = clock.environment();
    pool.start_hub().expect("the hub starts");
    let scene = Scene::on(pool, 0);
    let client = scene.pool.client(&scene.researcher).expect("a client");
    let send = |bytes: Vec<u8>| {
        let (hash, source) = (Hash::of(&bytes), Source::Bytes(bytes.into()));
        let sent = block_on(client.put_blob(&source, hash, Arc::new(|_| ())));
        sent.map(|stored| stored.hash).map_err(|error| error.code().map(str::to_owned))
    };
    let put = |seed: &str| send(noise(seed, 12 << 20));
    let module = send(std::fs::read(example("noop/noop.wasm")).expect("the example")).expect("it is sent");
    let input = put("input").expect("it is sent");
    let body = json!({
        "module": module, "tasks": 1, "budget": "2", "limits": {"fuel": 1000},
        "engine": "nobody-has-this", "files": [{"name": "input", "hash": input}],
    });
    let job: wire::Job = block_on(client.post("/v1/jobs", &body, None)).expect("a job");
    let refused = Err(Some("unfiled_limit".to_owned()));
    assert_eq!(put("more"), refused);
    // Its claim is forgotten, the job is not. The store is looked through for that.
    let later = |days: i64| {
        clock.set(days * DAY);
        let output =
            scene.pool.cli(&scene.pool.operator).args(["account", "issue", "researcher", "1"]).output();
        assert!(output.expect("the binary runs").status.success());
        let output = scene.pool.cli(&scene.pool.operator).args(["hub-store", "gc"]).output();
        assert!(output.expect("the binary runs").status.success());
    };
    later(5);
    assert_eq!(put("more"), refused, "the job keeps it");
    scene.succeed(&["cancel", &job.id.to_string()]);
    later(36);
    assert!(put("more").is_ok(), "nobody keeps it any more");
}
