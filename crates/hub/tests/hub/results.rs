//! Results that become inputs of other jobs and files in spaces, for their owner and nobody else.

use crate::common::*;
use bytes::Bytes;
use pumasi_api::client::{HubClient, ListOf};
use pumasi_api::output::{EMPTY, OutputFile, TaskOutput};
use pumasi_api::wire;
use pumasi_api::wire::files::{NewSpace, PutFile, PutFiles, StoredBlobs};
use pumasi_api::wire::results::{ClaimedPart, PlacedResult, ResultPart, ResultPut, WantedPart};
use pumasi_types::{Ending, FilePath, Hash, JobId, TaskIndex};

fn path(text: &str) -> FilePath {
    text.parse().unwrap()
}

/// What the tasks of the job produced, but for the last, which nobody has run.
fn outputs() -> [TaskOutput; 3] {
    let file = |path: &str, bytes: Vec<u8>| OutputFile { path: path.to_owned(), bytes: bytes.into() };
    let large: Vec<u8> = (0..600_000_u32).flat_map(|n| n.to_le_bytes()).collect();
    [
        TaskOutput {
            stdout: Bytes::from_static(b"first"),
            stderr: Bytes::from_static(b"careful"),
            files: vec![
                file("a/b.csv", b"1,2".to_vec()),
                file("large", large.clone()),
                file("none", Vec::new()),
            ],
        },
        TaskOutput { stdout: large.into(), ..TaskOutput::default() },
        TaskOutput::default(),
    ]
}

/// A job of alice's with four tasks, of which three are done.
pub(crate) async fn done_job(hub: &TestHub, alice: &HubClient) -> JobId {
    let owner = hub.owner("owner").await;
    let ordered = submit(alice, 4, "100").await;
    let mut worker = FakeWorker::attach(&owner, hello(1, 3)).await;
    let runs = worker.runs(3).await;
    let mut findings = Vec::new();
    for run in runs {
        let output = &outputs()[run.task as usize];
        let encoded = output.encode();
        let (result, is_empty) = (Hash::of(&encoded), output.is_empty());
        put(&owner, &encoded).await;
        let output = if is_empty { Vec::new() } else { encoded };
        let ending = Ending::Exited { code: 0 };
        // Large ones were sent before.
        let output = if output.len() > 1_000 { Vec::new() } else { output };
        findings.push((run.run, Finding { ending, fuel: 1_000, result, output }));
    }
    worker.report(&findings).await;
    worker.vanish();
    ordered.id
}

pub(crate) async fn claim(client: &HubClient, job: JobId, parts: &[(u32, ResultPart)]) -> Vec<ClaimedPart> {
    let wanted = parts.iter().map(|(task, part)| WantedPart { task: TaskIndex(*task), part: part.clone() });
    client.claim_results(job, &wanted.collect::<Vec<_>>()).await.unwrap()
}

pub(crate) async fn deliver(
    client: &HubClient,
    space: &str,
    job: JobId,
    tasks: &[(u32, &str)],
) -> Vec<ResultPut> {
    let placed = tasks.iter().map(|(task, at)| PlacedResult { task: TaskIndex(*task), path: path(at) });
    client.put_results(space, job, &placed.collect::<Vec<_>>(), |_| ()).await.unwrap()
}

fn code(error: &Option<wire::ErrorBody>) -> &str {
    error.as_ref().map_or("", |error| error.code.as_str())
}

#[tokio::test]
async fn a_part_of_a_result_is_an_input_of_another_job() {
    let hub = TestHub::new().await;
    let alice = hub.researcher("alice", "200").await;
    let job_id = done_job(&hub, &alice).await;
    let file = |path: &str| ResultPart::File(path.to_owned());
    let claimed = claim(
        &alice,
        job_id,
        &[
            (0, ResultPart::Stdout),
            (0, file("a/b.csv")),
            (0, file("large")),
            (0, file("none")),
            (1, ResultPart::Stdout),
            (0, ResultPart::Stderr),
            (0, ResultPart::Output),
            (2, ResultPart::Stdout),
            (2, ResultPart::Output),
            (0, file("a")),
            (2, file("x")),
            (3, ResultPart::Stdout),
            (4, ResultPart::Stdout),
        ],
    )
    .await;
    let [first, second, _] = outputs();
    let expected: [&[u8]; 9] = [
        &first.stdout,
        &first.files[0].bytes,
        &first.files[1].bytes,
        b"",
        &second.stdout,
        &first.stderr,
        &first.encode(),
        b"",
        &EMPTY,
    ];
    for (claimed, expected) in claimed.iter().zip(expected) {
        assert_eq!((claimed.blob, claimed.size), (Some(Hash::of(expected)), Some(expected.len() as u64)));
    }
    let errors: Vec<&str> = claimed[9..].iter().map(|claimed| code(&claimed.error)).collect();
    assert_eq!(errors, ["no_file", "no_file", "no_output", "no_task"]);
    // They are held now, so another job can have them.
    let named =
        |name: &str, at: usize| wire::InputFile { name: name.to_owned(), hash: claimed[at].blob.unwrap() };
    let order = wire::SubmitJob {
        files: vec![named("b.csv", 1), named("large", 2)],
        ..job(put(&alice, MODULE).await, 1, "1")
    };
    let _: wire::Job = alice.post("/v1/jobs", &order, None).await.unwrap();
}

#[tokio::test]
async fn results_are_put_into_a_space_as_files() {
    let hub = TestHub::new().await;
    let alice = hub.researcher("alice", "200").await;
    let job = done_job(&hub, &alice).await;
    let _: wire::files::Space =
        alice.make_space(&NewSpace { name: "lab".to_owned(), keep_ms: None }, None).await.unwrap();
    let tasks = [(0, "out/x"), (1, "out/y"), (2, "out/z"), (3, "out/w")];
    let put = deliver(&alice, "lab", job, &tasks).await;
    let counts: Vec<(u64, u64, &str)> =
        put.iter().map(|put| (put.files, put.same, code(&put.error))).collect();
    assert_eq!(counts, [(5, 0, ""), (1, 0, ""), (1, 0, ""), (0, 0, "no_output")]);
    let [first, second, _] = outputs();
    let large = &first.files[1].bytes;
    for (at, expected) in [
        ("out/x.out", &first.stdout),
        ("out/x.err", &first.stderr),
        ("out/x.files/a/b.csv", &first.files[0].bytes),
        ("out/x.files/large", large),
        ("out/x.files/none", &Bytes::new()),
        ("out/y.out", &second.stdout),
        ("out/z.out", &Bytes::new()),
    ] {
        let found = alice.find_file("lab", &path(at)).await.unwrap().file.unwrap();
        assert_eq!(found.blob, Hash::of(expected), "{at}");
        let bytes = alice.get_bytes(&format!("/v1/spaces/lab/content?path={at}"), 1 << 30).await.unwrap();
        assert!(bytes == *expected, "{at}");
    }
    // What lies there just so stays; what was changed is put again.
    let blobs: StoredBlobs =
        StoredBlobs { blobs: alice.put_blobs(&[Bytes::from_static(b"x")]).await.unwrap() };
    let other = PutFile {
        path: path("out/x.out"),
        blob: blobs.blobs[0].hash,
        modified_ns: None,
        executable: false,
        labels: Default::default(),
        condition: Default::default(),
    };
    let sealed = PutFile {
        path: path("kept/z.out"),
        labels: [("sealed".to_owned(), "by its writer".to_owned())].into(),
        ..other.clone()
    };
    alice.put_files("lab", &PutFiles { files: vec![other, sealed] }, None).await.unwrap();
    // What was encrypted is not replaced by what is not.
    let put = deliver(&alice, "lab", job, &[(2, "kept/z")]).await;
    assert_eq!((put[0].files, code(&put[0].error)), (0, "exists"));
    let kept = alice.find_file("lab", &path("kept/z.out")).await.unwrap().file.unwrap();
    assert_eq!(kept.blob, blobs.blobs[0].hash);
    let again = deliver(&alice, "lab", job, &tasks[..2]).await;
    let counts: Vec<(u64, u64)> = again.iter().map(|put| (put.files, put.same)).collect();
    assert_eq!(counts, [(1, 4), (0, 1)]);
    // A folder is in the way; a path that is too long.
    alice.make_folder("lab", path("in/x.err"), None).await.unwrap();
    let long = "n/".repeat(62) + "n";
    let put = deliver(&alice, "lab", job, &[(0, "in/x"), (0, &long), (2, "in/z")]).await;
    assert_eq!((put[0].files, code(&put[0].error)), (4, "is_folder"));
    assert_eq!(code(&put[1].error), "invalid");
    assert_eq!(put[2].files, 1);
}

#[tokio::test]
async fn what_is_put_or_encrypted_at_the_same_time_is_neither_lost_nor_refused() {
    let hub = TestHub::new().await;
    let alice = hub.researcher("alice", "200").await;
    let job = done_job(&hub, &alice).await;
    alice.make_space(&NewSpace { name: "lab".to_owned(), keep_ms: None }, None).await.unwrap();
    let blob = alice.put_blobs(&[Bytes::from_static(b"x")]).await.unwrap()[0].hash;
    for n in 0..10 {
        let at = format!("at/{n}");
        let tasks = [(2, at.as_str())];
        let sealed = PutFile {
            path: path(&format!("{at}.out")),
            blob,
            modified_ns: None,
            executable: false,
            labels: [("sealed".to_owned(), "by its writer".to_owned())].into(),
            condition: Default::default(),
        };
        let files = PutFiles { files: vec![sealed] };
        let (put, done) =
            tokio::join!(alice.put_files("lab", &files, None), deliver(&alice, "lab", job, &tasks));
        put.unwrap();
        let there = alice.find_file("lab", &path(&format!("{at}.out"))).await.unwrap().file.unwrap();
        assert_eq!(there.blob, blob, "put before or refused: {done:?}");

        let twice = format!("twice/{n}");
        let tasks = [(1, twice.as_str()), (2, "many/z")];
        let (first, second) =
            tokio::join!(deliver(&alice, "lab", job, &tasks), deliver(&alice, "lab", job, &tasks));
        for put in first.iter().chain(&second) {
            assert_eq!((put.files + put.same, code(&put.error)), (1, ""));
        }
    }
}

#[tokio::test]
async fn of_several_tasks_at_one_path_none_is_lost_silently() {
    let hub = TestHub::new().await;
    let alice = hub.researcher("alice", "200").await;
    let job = done_job(&hub, &alice).await;
    alice.make_space(&NewSpace { name: "lab".to_owned(), keep_ms: None }, None).await.unwrap();
    let done = deliver(&alice, "lab", job, &[(2, "one"), (1, "one"), (0, "one"), (2, "one")]).await;
    let counts: Vec<(u64, u64, &str)> =
        done.iter().map(|put| (put.files, put.same, code(&put.error))).collect();
    assert_eq!(counts, [(1, 0, ""), (0, 0, "same_path"), (4, 0, "same_path"), (0, 1, "")]);
    let problem = &done[1].error.as_ref().unwrap().message;
    assert!(["'one.out'", "task 2", "task 1"].iter().all(|part| problem.contains(part)), "{problem}");
    let first = alice.find_file("lab", &path("one.out")).await.unwrap().file.unwrap();
    assert_eq!(first.blob, Hash::of(&outputs()[2].stdout));
    // What another request put before is replaced, as files are, and can be had back.
    let done = deliver(&alice, "lab", job, &[(1, "one")]).await;
    assert_eq!((done[0].files, code(&done[0].error)), (1, ""));
}

#[tokio::test]
async fn results_are_their_owners() {
    let hub = TestHub::new().await;
    let alice = hub.researcher("alice", "200").await;
    let bob = hub.researcher("bob", "1").await;
    let job = done_job(&hub, &alice).await;
    let part = [WantedPart { task: TaskIndex(0), part: ResultPart::Stdout }];
    for client in [&bob, &hub.operator()] {
        assert_eq!(refusal(client.claim_results(job, &part).await).1, "not_yours");
        let placed = [PlacedResult { task: TaskIndex(0), path: path("x") }];
        assert_eq!(refusal(client.put_results("~", job, &placed, |_| ()).await).1, "not_yours");
        assert_eq!(refusal(client.claim_results(JobId(99), &part).await).1, "no_job");
    }
    bob.make_space(&NewSpace { name: "bobs".to_owned(), keep_ms: None }, None).await.unwrap();
    let placed = [PlacedResult { task: TaskIndex(0), path: path("x") }];
    assert_eq!(refusal(alice.put_results("bobs", job, &placed, |_| ()).await).1, "no_space");
    bob.set_member("bobs", "alice", Some(wire::files::Access::Read), None).await.unwrap();
    assert_eq!(refusal(alice.put_results("bobs", job, &placed, |_| ()).await).1, "no_access");
    let many = vec![WantedPart { task: TaskIndex(0), part: ResultPart::Stdout }; 1_001];
    let (body, path) =
        (wire::results::ClaimResults { parts: many.clone() }, format!("/v1/jobs/{job}/results"));
    let answer = alice.post::<_, wire::results::ClaimedResults>(&path, &body, None).await;
    assert_eq!(refusal(answer).1, "invalid");
    assert_eq!(alice.claim_results(job, &many).await.unwrap().len(), many.len(), "in two requests");
    for path in [format!("/v1/jobs/{job}/results"), "/v1/spaces/~/results".to_owned()] {
        let answer = hub.raw("POST", &path, &[("content-type", "application/json")], b"{}").await;
        answer.expect(401, "unknown_token");
    }
}

/// What a task with many files left, in the order of their paths' bytes; some are empty, and some names are odd.
fn many(task: u32) -> TaskOutput {
    let folders = ["a", "a b", "a-b", "a/b", "\u{bb3c}", "~", "%41"];
    let file = |n: usize| OutputFile {
        path: format!("{}/{n}", folders[n % folders.len()]),
        bytes: format!("{task} {n} ").repeat(n % 9).into(),
    };
    let mut files: Vec<OutputFile> = (0..1_200).map(file).collect();
    files.sort();
    TaskOutput { stdout: Bytes::from_static(b"done"), files, ..TaskOutput::default() }
}

#[tokio::test]
async fn outputs_of_many_files_come_whole_and_in_their_order() {
    let hub = TestHub::new().await;
    let (alice, owner) = (hub.researcher("alice", "200").await, hub.owner("owner").await);
    let job = submit(&alice, 2, "100").await.id;
    let mut worker = FakeWorker::attach(&owner, hello(1, 2)).await;
    for run in worker.runs(2).await {
        let result = put(&owner, &many(run.task).encode()).await;
        let finding = Finding { ending: Ending::Exited { code: 0 }, fuel: 1_000, result, output: Vec::new() };
        assert_eq!(worker.report(&[(run.run, finding)]).await, Vec::<u64>::new());
    }
    alice.make_space(&NewSpace { name: "lab".to_owned(), keep_ms: None }, None).await.unwrap();
    let put = deliver(&alice, "lab", job, &[(0, "t/0"), (1, "t/1")]).await;
    assert!(put.iter().all(|put| (put.files, code(&put.error)) == (1_201, "")), "{put:?}");
    for task in 0..2 {
        let expected = many(task);
        let whole = alice.get_bytes(&format!("/v1/jobs/{job}/tasks/{task}/output"), 1 << 24).await.unwrap();
        assert!(TaskOutput::decode(whole).unwrap() == expected);

        // Each by itself.
        let part = |file: &OutputFile| (task, ResultPart::File(file.path.clone()));
        let claimed = claim(&alice, job, &expected.files.iter().map(part).collect::<Vec<_>>()).await;
        assert_eq!(claimed.len(), expected.files.len());
        for (number, (claimed, file)) in claimed.iter().zip(&expected.files).enumerate() {
            let (hash, size) = (Hash::of(&file.bytes), file.bytes.len() as u64);
            assert_eq!((claimed.blob, claimed.size), (Some(hash), Some(size)), "{}", file.path);
            if number % 40 == 0 {
                let bytes = alice.get_bytes(&format!("/v1/blobs/{hash}"), 1 << 20).await.unwrap();
                assert_eq!(bytes, file.bytes, "{}", file.path);
            }
        }

        // As files, page by page.
        let (below, mut listed, mut after) = (format!("t/{task}.files/"), Vec::new(), None::<String>);
        loop {
            let list = ListOf { after: after.as_deref(), limit: Some(170) };
            let page = alice.walk_files("lab", &below, list).await.unwrap();
            listed.extend(page.entries);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let paths: Vec<FilePath> =
            expected.files.iter().map(|file| path(&format!("{below}{}", file.path))).collect();
        assert!(listed.iter().map(|entry| &entry.path).eq(&paths), "in order, and each once");
        for (paths, files) in paths.chunks(1_000).zip(expected.files.chunks(1_000)) {
            let mut read = alice.read_files("lab", paths.to_vec()).await.unwrap();
            for file in files {
                assert_eq!(read.next(1 << 20).await.unwrap().as_ref(), Some(&file.bytes), "{}", file.path);
            }
        }
    }
}
