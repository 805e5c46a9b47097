//! What a worker leaves on its owner's disk: nothing that tells what it worked on.

mod common;

use std::path::Path;
use std::process::{Child, Command, Stdio};

use common::*;
use pumasi_api::link::{self, from_hub};
use pumasi_api::output::TaskOutput;
use pumasi_types::Hash;
use pumasi_worker::engine::Compiler;
use pumasi_worker::{JoinOptions, join};

/// In every input, in the module's data, and so in every output.
const MARKER: &str = "a-secret-of-the-researcher";
const HUB: &str = "PUMASI_TEST_HUB";
const DATA: &str = "PUMASI_TEST_DATA";

/// A large text, so that it does not stay in memory alone.
fn secret(of: &str) -> Vec<u8> {
    format!("{MARKER} {of} ").into_bytes().repeat(8_000)
}

/// Files below a folder, and those among them that have the marker in them or in their name.
fn look_through(dir: &Path) -> (usize, Vec<String>) {
    let (mut count, mut found, mut waiting) = (0, Vec::new(), vec![dir.to_owned()]);
    while let Some(folder) = waiting.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries.map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                waiting.push(path);
                continue;
            }
            // It may be gone by now.
            let Ok(bytes) = std::fs::read(&path) else { continue };
            count += 1;
            let has = bytes.windows(MARKER.len()).any(|part| part == MARKER.as_bytes());
            if has || path.to_string_lossy().contains(MARKER) {
                found.push(path.display().to_string());
            }
        }
    }
    (count, found)
}

fn inputs_in(dir: &Path) -> usize {
    std::fs::read_dir(dir.join("inputs")).map_or(0, Iterator::count)
}

/// A process that ends with the test, also with one that fails.
struct Process(Child);

impl Process {
    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A worker in a process of its own, which is this program again.
fn start(hub: &FakeHub, dir: &Path) -> Process {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "works_in_a_process_of_its_own", "--ignored"])
        .env(HUB, hub.address())
        .env(DATA, dir)
        .stdout(Stdio::null())
        .spawn();
    Process(child.unwrap())
}

#[tokio::test]
#[ignore = "`start` runs it in a process of its own for nothing_readable_is_on_disk_during_a_run_after_it_and_after_a_kill"]
async fn works_in_a_process_of_its_own() {
    let (hub, dir) = (std::env::var(HUB).unwrap(), std::env::var(DATA).unwrap());
    let program = env!("CARGO_BIN_EXE_compile-guest").into();
    let options = JoinOptions {
        compiler: Compiler::Child { program, arguments: Vec::new() },
        cores: Some(1),
        memory: Some("256MiB".parse().unwrap()),
        ..JoinOptions::new(client_of(&hub, TOKEN), &dir)
    };
    measured(Path::new(&dir));
    join(options).await.unwrap();
}

/// A job with secrets everywhere; its second task does not end.
async fn secret_job(hub: &FakeHub, link: &Link) {
    let (own, shared) = (hub.blobs.put(secret("own")), hub.blobs.put(secret("shared")));
    let lines = format!(
        "{{\"name\":\"{MARKER}\",\"arg\":\"{MARKER}\",\"file\":\"{own}\"}}\n\
         {{\"name\":\"second\",\"file\":\"{shared}\"}}\n{}",
        format!("{{\"name\":\"{MARKER}\"}}\n").repeat(5_000)
    );
    // Reads everything, writes it, and stays in a loop when it is the second task.
    let text = ECHO.replacen("(module", &format!("(module (data (i32.const 262000) \"{MARKER}\")"), 1);
    let text = text.replacen("(memory (export \"memory\") 4)", "(memory (export \"memory\") 5)", 1);
    let last = text.rfind("))").unwrap();
    let endless = "(if (i32.eq (i32.load8_u (i32.const 65541)) (i32.const 49)) (then (loop (br 0))))";
    let text = format!("{}{endless}{}", &text[..last], &text[last..]);
    let echo = job(1, hub.blobs.put(wasm(&text)));
    link.say(from_hub::Message::Job(link::Job {
        args: vec!["{index}".to_owned(), "{arg}".to_owned()],
        files: vec![link::File { name: format!("shared/{MARKER}"), hash: shared.as_bytes().to_vec() }],
        task_list: hub.blobs.put(lines).as_bytes().to_vec(),
        fuel: u64::MAX,
        ..echo
    }))
    .await;
    link.assign(1, &[1], &[0]).await;
}

async fn first_result(hub: &FakeHub, link: &mut Link) {
    let results = link.results(1).await;
    assert_eq!(results[&1].fault, None);
    let output = match &results[&1] {
        RunResult { output, .. } if !output.is_empty() => output.clone().into(),
        RunResult { hash, .. } => hub.blobs.get(*hash).expect("it was uploaded"),
    };
    let stdout = TaskOutput::decode(output).unwrap().stdout;
    assert!(stdout.ends_with(&secret("own")), "the run saw its input");
}

#[tokio::test]
async fn nothing_readable_is_on_disk_during_a_run_after_it_and_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let mut hub = FakeHub::start().await;
    let mut worker = start(&hub, dir.path());
    let (mut link, _) = hub.welcome(&[]).await;
    secret_job(&hub, &link).await;
    first_result(&hub, &mut link).await;
    let (files, found) = look_through(dir.path());
    assert!(found.is_empty(), "{found:?}");
    // Module, shared file, list and the tasks' own, those at least that are large.
    assert!(files >= 3 && inputs_in(dir.path()) >= 3, "{files} files");
    let names: Vec<_> = std::fs::read_dir(dir.path().join("inputs")).unwrap().collect();
    let is_hash = |name: &std::ffi::OsStr| name.to_str().unwrap().parse::<Hash>().is_ok();
    assert!(!names.into_iter().any(|entry| is_hash(&entry.unwrap().file_name())), "hashes tell as well");

    link.assign(1, &[2], &[1]).await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    // Killed in the middle of the second run.
    worker.kill();
    drop(link);
    assert!(inputs_in(dir.path()) >= 3, "nobody was there to remove them");
    let (_, found) = look_through(dir.path());
    assert!(found.is_empty(), "{found:?}");
    let mut worker = start(&hub, dir.path());
    let (link, held) = hub.welcome(&[]).await;
    assert!(held.is_empty());
    assert_eq!(inputs_in(dir.path()), 0, "the leftovers are gone");
    worker.kill();
    drop(link);
}

#[tokio::test]
async fn a_job_that_is_over_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut hub = FakeHub::start().await;
    let worker = Worker::start(&hub, dir.path());
    let (mut link, _) = hub.welcome(&[]).await;
    secret_job(&hub, &link).await;
    first_result(&hub, &mut link).await;
    assert!(inputs_in(dir.path()) >= 3);
    link.say(from_hub::Message::Stop(link::Stop { runs: Vec::new(), jobs: vec![1] })).await;
    soon(async {
        while inputs_in(dir.path()) > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    })
    .await;
    worker.stop();
    drop(link);
    worker.ended().await.unwrap();
    assert_eq!(look_through(dir.path()), (3, Vec::new()), "lock, key and speed");
}
