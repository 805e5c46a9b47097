//! Bytes that need not travel, and nobody who reads, learns or links more than is his.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::common::*;
use bytes::Bytes;
use pumasi_api::client::{HubClient, JobInput, Source, Upload};
use pumasi_api::link::from_worker;
use pumasi_api::output::EMPTY_HASH;
use pumasi_api::wire;
use pumasi_api::wire::chunks::{AskChallenge, Challenge, JoinBlobs, Joined, Linked, Possession};
use pumasi_api::wire::files::{Access, NewSpace};
use pumasi_chunks::outline::Outliner;
use pumasi_chunks::possession::{self, SLICE_BYTES};
use pumasi_chunks::recipe::Encoder;
use pumasi_hub::Deduplicate;
use pumasi_types::{AccountId, Hash};

async fn upload(client: &HubClient, path: &Path, bases: &[Hash]) -> pumasi_api::client::Uploaded {
    let upload = Upload { bases: bases.to_vec(), ..Upload::new(Arc::new(|_| ())) };
    client.upload(&Source::File(path.to_owned()), &upload).await.unwrap()
}

async fn read(client: &HubClient, hash: Hash) -> Bytes {
    client.get_blob(hash, 1 << 30, Arc::new(|_| ())).await.unwrap()
}

/// Sends a recipe as it is.
async fn compose(hub: &TestHub, token: &str, recipe: &[u8]) -> RawAnswer {
    let bearer = format!("Bearer {token}");
    hub.raw("POST", "/v1/blobs/composed", &[("authorization", &bearer)], recipe).await
}

#[tokio::test]
async fn a_large_file_travels_once_and_goes_on_where_it_broke_off() {
    let hub = TestHub::new().await;
    let alice = hub.researcher("alice", "1").await;
    let path = hub.dir.path().join("file");
    // No noise, whose chunks are long.
    let bytes = Bytes::from(noise("large", 40 << 20).iter().map(|byte| byte & 0x7f).collect::<Vec<u8>>());
    std::fs::write(&path, &bytes).unwrap();
    let mut outliner = Outliner::new(bytes.len() as u64);
    outliner.push(&bytes);
    let outline = outliner.finish();
    // As if a transfer had broken off behind the first of three segments.
    let first = &outline.segments[0];
    assert_eq!(put(&alice, &bytes[..first.length as usize]).await, first.hash);
    let told = Arc::new(std::sync::Mutex::new(Vec::new()));
    let tell = Arc::clone(&told);
    let options = Upload::new(Arc::new(move |now| tell.lock().unwrap().push(now)));
    let sent = alice.upload(&Source::File(path.clone()), &options).await.unwrap();
    assert_eq!((sent.hash, sent.size), (Hash::of(&bytes), bytes.len() as u64));
    assert_eq!(sent.sent, sent.size - first.length, "what was sent before is not sent again");
    assert_eq!(told.lock().unwrap().iter().max(), Some(&sent.size));
    assert!(read(&alice, sent.hash).await == bytes);

    assert_eq!(upload(&alice, &path, &[]).await.sent, 0, "the same again");
    let mut longer = bytes.to_vec();
    longer.splice(20_000_000..20_000_000, *b"an insertion");
    std::fs::write(&path, &longer).unwrap();
    let changed = upload(&alice, &path, &[sent.hash, Hash::of(b"somebody else's")]).await;
    assert_eq!(changed.hash, Hash::of(&longer));
    assert!((12..1 << 20).contains(&changed.sent), "{} bytes were sent", changed.sent);
    assert!(read(&alice, changed.hash).await == longer);

    // Zeros, of which a sparse file has many, are sent once.
    let zeros = Bytes::from(vec![0; 64 << 20]);
    std::fs::write(&path, &zeros).unwrap();
    let sent = upload(&alice, &path, &[]).await;
    assert!(sent.sent <= 17 << 20, "{} bytes were sent", sent.sent);
    assert!(read(&alice, sent.hash).await == zeros);

    // What is in memory goes on as well: an output of a task.
    let output = noise("output", 40 << 20);
    let mut outliner = Outliner::new(output.len() as u64);
    outliner.push(&output);
    let outline = outliner.finish();
    let (begin, first) = (outline.segments[1].offset as usize, &outline.segments[1]);
    put(&alice, &output[begin..begin + first.length as usize]).await;
    let sent = alice.upload(&Source::Bytes(output.clone()), &options).await.unwrap();
    assert_eq!((sent.hash, sent.sent), (Hash::of(&output), output.len() as u64 - first.length));

    for small in [&b""[..], b"a few bytes"] {
        std::fs::write(&path, small).unwrap();
        let sent = upload(&alice, &path, &[]).await;
        assert_eq!((sent.hash, sent.size), (Hash::of(small), small.len() as u64));
        assert_eq!(read(&alice, sent.hash).await, small);
    }
    let gone = alice.upload(&Source::File(hub.dir.path().join("gone")), &options).await.unwrap_err();
    assert!(gone.to_string().contains("cannot read"), "{gone}");
}

#[tokio::test]
async fn nothing_is_copied_listed_or_joined_by_who_does_not_hold_it() {
    let hub = TestHub::with(|options| options.max_upload.0 = 3 << 20).await;
    let alice = hub.researcher("alice", "1").await;
    let token = hub.open("bob", &["researcher"]).await;
    let bob = hub.client(&token);
    let secret = put(&alice, &noise("secret", 300_000)).await;
    let own = put(&bob, &noise("own", 300_000)).await;
    let absent = Hash::of(b"absent");
    assert_eq!(bob.held(&[secret, own, absent]).await.unwrap(), [false, true, false]);
    // What somebody else stored looks as what nobody did.
    for hash in [secret, absent] {
        let list = format!("/v1/blobs/{hash}/chunks");
        let refused = refusal(bob.get_bytes(&list, 1 << 20).await);
        assert_eq!((refused.0, refused.1.as_str()), (404, "no_blob"));
        assert!(refused.2.contains(&hash.to_string()), "{refused:?}");
        let mut recipe = Encoder::new(&[hash]);
        recipe.copy(0, 0..10);
        compose(&hub, &token, &recipe.finish()).await.expect(409, "not_held");
        let join = JoinBlobs { parts: vec![own, hash] };
        let joined = bob.post::<_, Joined>("/v1/blobs/joined", &join, None).await;
        assert_eq!(refusal(joined).1, "not_held");
    }
    let mut recipe = Encoder::new(&[own]);
    recipe.data(b"begin ");
    recipe.copy(0, 100_000..200_000);
    let recipe = recipe.finish();
    let answer = compose(&hub, &token, &recipe).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let stored: wire::StoredBlob = serde_json::from_str(&answer.body).unwrap();
    let expected = [&b"begin "[..], &noise("own", 300_000)[100_000..200_000]].concat();
    assert_eq!((stored.hash, stored.size), (Hash::of(&expected), expected.len() as u64));
    assert!(read(&bob, stored.hash).await == expected);

    let beyond = |range| {
        let mut recipe = Encoder::new(&[own]);
        recipe.copy(0, range);
        recipe.finish()
    };
    for bad in [beyond(0..300_001), beyond(1 << 40..1 << 41), recipe.slice(..recipe.len() - 1), Bytes::new()]
    {
        compose(&hub, &token, &bad).await.expect(400, "bad_recipe");
    }
    // A few bytes cannot make the hub store without end.
    let mut endless = Encoder::new(&[own]);
    for _ in 0..11 {
        endless.copy(0, 0..300_000);
    }
    compose(&hub, &token, &endless.finish()).await.expect(413, "too_large");

    let join = JoinBlobs { parts: vec![own, stored.hash, own] };
    let joined: Joined = bob.post("/v1/blobs/joined", &join, None).await.unwrap();
    let whole = [&noise("own", 300_000), &expected[..], &noise("own", 300_000)].concat();
    assert_eq!((joined.hash, joined.size), (Some(Hash::of(&whole)), whole.len() as u64));
    assert!(read(&bob, Hash::of(&whole)).await == whole);
    let many = JoinBlobs { parts: vec![own; 11] };
    assert_eq!(refusal(bob.post::<_, Joined>("/v1/blobs/joined", &many, None).await).0, 413);
}

/// The answer of somebody who has these bytes, right or not.
fn answer(challenge: &Challenge, account: AccountId, blob: Hash, bytes: &[u8]) -> Possession {
    let asked = possession::Challenge {
        nonce: *challenge.nonce.as_bytes(),
        account,
        blob,
        length: bytes.len() as u64,
    };
    let mut answer = asked.answer();
    asked.offsets().iter().for_each(|at| answer.slice(&bytes[*at as usize..(at + SLICE_BYTES) as usize]));
    Possession { nonce: challenge.nonce, answer: answer.finish() }
}

async fn ask(client: &HubClient, blob: Hash, length: usize) -> Challenge {
    let ask = AskChallenge { length: length as u64 };
    client.post(&format!("/v1/blobs/{blob}/challenge"), &ask, None).await.unwrap()
}

#[tokio::test]
async fn bytes_of_others_are_linked_for_who_has_them_and_nobody_else() {
    let hub = TestHub::with(|options| options.deduplicate = Deduplicate::All).await;
    let (alice, bob) = (hub.researcher("alice", "1").await, hub.researcher("bob", "1").await);
    let bytes = noise("shared", 3 << 20);
    let path = hub.dir.path().join("file");
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(upload(&alice, &path, &[]).await.sent, bytes.len() as u64);
    let blob = Hash::of(&bytes);
    let prove = |client: HubClient, blob: Hash, said: Possession| async move {
        let begun = Instant::now();
        let linked = client.post::<_, Linked>(&format!("/v1/blobs/{blob}/proof"), &said, None).await;
        (linked.map(|linked| linked.linked), begun.elapsed())
    };
    // Nearly all of it is not enough, and is answered no sooner than what nobody stored.
    let mut lacking = bytes.to_vec();
    lacking[1_000_000..1_200_000].fill(0);
    let absent = noise("absent", 3 << 20);
    for (blob, bytes) in [(blob, &lacking[..]), (Hash::of(&absent), &absent)] {
        let asked = ask(&bob, blob, bytes.len()).await;
        let (linked, took) = prove(bob.clone(), blob, answer(&asked, asked.account, blob, bytes)).await;
        assert!(!linked.unwrap());
        assert!(!bob.has_blob(blob).await.unwrap());
        assert!(took >= Duration::from_secs(1), "{took:?}");
    }
    // Alice's answer is good for nobody else, her challenge neither.
    let hers = ask(&alice, blob, bytes.len()).await;
    let said = answer(&hers, hers.account, blob, &bytes);
    assert_eq!(refusal(prove(bob.clone(), blob, said.clone()).await.0).1, "no_challenge");
    let his = ask(&bob, blob, bytes.len()).await;
    let relayed = Possession { nonce: his.nonce, ..said };
    assert!(!prove(bob.clone(), blob, relayed).await.0.unwrap());
    let right = answer(&his, his.account, blob, &bytes);
    assert_eq!(refusal(prove(bob.clone(), blob, right).await.0).1, "no_challenge", "it was used up");
    // Who has the file need not send it.
    let linked = upload(&bob, &path, &[]).await;
    assert_eq!((linked.hash, linked.sent), (blob, 0));
    assert!(read(&bob, blob).await == bytes);
    let small = refusal(
        bob.post::<_, Challenge>(&format!("/v1/blobs/{blob}/challenge"), &AskChallenge { length: 9 }, None)
            .await,
    );
    assert_eq!(small.0, 400, "small ones are always sent");
}

#[tokio::test]
async fn a_hub_that_links_nothing_of_others_has_everything_sent() {
    let hub = TestHub::new().await;
    let (alice, bob) = (hub.researcher("alice", "1").await, hub.researcher("bob", "1").await);
    let bytes = noise("shared", 3 << 20);
    let path = hub.dir.path().join("file");
    std::fs::write(&path, &bytes).unwrap();
    for client in [&alice, &bob] {
        assert_eq!(upload(client, &path, &[]).await.sent, bytes.len() as u64);
    }
    let ask = AskChallenge { length: bytes.len() as u64 };
    let path = format!("/v1/blobs/{}/challenge", Hash::of(&bytes));
    assert_eq!(refusal(bob.post::<_, Challenge>(&path, &ask, None).await).1, "own_only");
}

#[tokio::test]
async fn a_group_links_what_its_members_hold() {
    let hub = TestHub::with(|options| options.deduplicate = Deduplicate::Group).await;
    let (alice, bob, carol) = (
        hub.researcher("alice", "1").await,
        hub.researcher("bob", "1").await,
        hub.researcher("carol", "1").await,
    );
    let bytes = noise("shared", 3 << 20);
    let path = hub.dir.path().join("file");
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(upload(&alice, &path, &[]).await.sent, bytes.len() as u64);
    let space = NewSpace { name: "lab".to_owned(), keep_ms: None };
    alice.make_space(&space, None).await.unwrap();
    alice.set_member("lab", "bob", Some(Access::Read), None).await.unwrap();
    // Not even the right answer links what no member holds.
    let blob = Hash::of(&bytes);
    let asked = ask(&carol, blob, bytes.len()).await;
    let said = answer(&asked, asked.account, blob, &bytes);
    let proved: Linked = carol.post(&format!("/v1/blobs/{blob}/proof"), &said, None).await.unwrap();
    assert!(!proved.linked && !carol.has_blob(blob).await.unwrap());
    let asked = ask(&bob, blob, bytes.len()).await;
    let mut wrong = bytes.to_vec();
    wrong[..2_000_000].fill(0);
    let said = answer(&asked, asked.account, blob, &wrong);
    let proved: Linked = bob.post(&format!("/v1/blobs/{blob}/proof"), &said, None).await.unwrap();
    assert!(!proved.linked, "a member must have it, too");
    assert_eq!(upload(&bob, &path, &[]).await.sent, 0);
    assert_eq!(upload(&carol, &path, &[]).await.sent, bytes.len() as u64);
}

#[tokio::test]
async fn what_is_too_long_is_refused_before_any_of_it_is_read() {
    let hub = TestHub::with(|options| options.max_upload.0 = 100 << 20).await;
    let alice = hub.researcher("alice", "1").await;
    let path = hub.dir.path().join("file");
    std::fs::File::create(&path).unwrap().set_len(200 << 20).unwrap();
    let told = Arc::new(std::sync::Mutex::new(Vec::new()));
    let tell = Arc::clone(&told);
    let options = Upload::new(Arc::new(move |now| tell.lock().unwrap().push(now)));
    let refused = refusal(alice.upload(&Source::File(path), &options).await);
    assert_eq!((refused.0, refused.1.as_str()), (413, "too_large"));
    assert!(refused.2.contains("it has 200 MiB") && refused.2.contains("100 MiB"), "{refused:?}");
    assert!(told.lock().unwrap().is_empty(), "no segment was sent");
}

/// How long a put waits at least from its last byte on of which a part was known, when none as long was all new before:
/// 15 ms, and 10 ns for each byte of the power of two above it, 16 MiB at most.
fn supposed(bytes: usize) -> Duration {
    Duration::from_millis(15) + Duration::from_nanos(10) * (bytes + 1).next_power_of_two().min(1 << 24) as u32
}

#[tokio::test]
async fn known_bytes_are_acknowledged_no_sooner_than_new_ones_by_every_way() {
    let hub = TestHub::new().await;
    // All of its chunks but one are known.
    let zeros = vec![0; 6 << 20];
    let framed = [&(zeros.len() as u64).to_le_bytes()[..], &zeros].concat();
    let mut recipe = Encoder::new(&[]);
    recipe.data(&zeros);
    let recipe = recipe.finish();
    for (method, path, body) in [
        ("POST", "/v1/blobs", &zeros[..]),
        ("POST", "/v1/blobs/many", &framed[..]),
        ("POST", "/v1/blobs/composed", &recipe[..]),
        ("PUT", "/v1/spaces/~/content?path=zeros", &zeros[..]),
    ] {
        // Each by somebody who does not hold it.
        let token = hub.open(&format!("user-{}", path.len()), &["researcher"]).await;
        let (bearer, client) = (format!("Bearer {token}"), hub.client(&token));
        let begun = Instant::now();
        let sent = async {
            let answer = hub.raw(method, path, &[("authorization", &bearer)], body).await;
            (answer, begun.elapsed())
        };
        // Nor does a claim that is there before the answer tell it.
        let held = async {
            while !client.has_blob(Hash::of(&zeros)).await.unwrap() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            begun.elapsed()
        };
        let ((answer, took), held) = tokio::join!(sent, tokio::time::timeout(PATIENCE, held));
        assert!((200..300).contains(&answer.status), "{method} {path}: {answer:?}");
        for took in [took, held.expect("whoever sent it holds it")] {
            assert!(
                took >= supposed(zeros.len()),
                "{method} {path} tells that its bytes were known: {took:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_report_of_outputs_that_others_stored_counts_no_sooner_than_one_of_new_ones() {
    let hub = TestHub::new().await;
    let (alice, bob, carol) =
        (hub.researcher("alice", "100").await, hub.owner("bob").await, hub.researcher("carol", "1").await);
    let ordered = submit(&alice, 5, "10").await;
    let mut worker = FakeWorker::attach(&bob, hello(1, 5)).await;
    let runs = worker.runs(5).await;
    let mut findings = Vec::new();
    for run in &runs[..4] {
        let finding = Finding::printed(100_000_000, &format!("{}{}", run.task, "x".repeat(15_000)));
        put(&carol, &finding.output).await;
        findings.push((run.run, finding));
    }
    let nothing = Finding { output: Vec::new(), result: EMPTY_HASH, ..findings[0].1.clone() };
    let reports = [worker.report_of(&findings), worker.report_of(&[(runs[4].run, nothing)])];
    let begun = Instant::now();
    for report in reports {
        worker.send(from_worker::Message::Report(report)).await;
    }
    let acknowledged = async {
        let (first, took) = (worker.ack().await, begun.elapsed());
        assert_eq!((first.report_id, worker.ack().await.report_id), (1, 2), "in order");
        assert!(first.refused_runs.is_empty(), "{first:?}");
        took
    };
    let seen = async {
        // What came without an output may be there at once.
        while show(&alice, &ordered).await.succeeded < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        begun.elapsed()
    };
    let (acknowledged, seen) = tokio::join!(acknowledged, tokio::time::timeout(PATIENCE, seen));
    for took in [acknowledged, seen.expect("the results are seen")] {
        assert!(took >= supposed(60_000), "it tells that its outputs were known: {took:?}");
    }
    assert_eq!(wait(&alice, &ordered).await.state, "succeeded");
}

#[tokio::test]
async fn a_join_that_takes_long_is_asked_for_again() {
    let hub = TestHub::with(|options| options.join_wait = Duration::from_millis(1)).await;
    let alice = hub.researcher("alice", "1").await;
    let (first, second) = (noise("first", 40 << 20), noise("second", 40 << 20));
    let parts = vec![put(&alice, &first).await, put(&alice, &second).await];
    let whole = Hash::of(&[first, second].concat());
    let body = serde_json::to_string(&JoinBlobs { parts: parts.clone() }).unwrap();
    let token = hub.new_token("alice").await;
    // More often than it could be begun: all ask for the same join.
    let asked = (0..12).map(|_| hub.json(&token, "POST", "/v1/blobs/joined", &body));
    for answer in futures_util::future::join_all(asked).await {
        let joined: Joined = serde_json::from_str(&answer.body).unwrap_or_else(|_| panic!("{answer:?}"));
        // On a busy machine it may be over before the last one asks.
        let is_over = (answer.status, joined.hash) == (201, Some(whole));
        assert!(is_over || (answer.status, joined.hash) == (202, None), "{answer:?}");
        assert_eq!(joined.size, 80 << 20, "{answer:?}");
    }
    let mut done = 0;
    let until = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < until, "it does not end");
        let answer = hub.json(&token, "POST", "/v1/blobs/joined", &body).await;
        let joined: Joined = serde_json::from_str(&answer.body).unwrap();
        assert!(joined.done >= done, "it goes on where it is");
        done = joined.done;
        if answer.status == 201 {
            assert_eq!((joined.hash, joined.done), (Some(whole), 80 << 20));
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(alice.has_blob(whole).await.unwrap());
    let again = hub.json(&token, "POST", "/v1/blobs/joined", &body).await;
    assert_eq!(again.status, 201, "how it ended is remembered");
    // A client waits for it by itself.
    let path = hub.dir.path().join("file");
    std::fs::write(&path, noise("third", 40 << 20)).unwrap();
    assert_eq!(upload(&alice, &path, &[]).await.hash, Hash::of(&noise("third", 40 << 20)));
}

#[tokio::test]
async fn inputs_are_read_by_who_ordered_and_by_who_has_a_run_as_long_as_he_has_it() {
    let hub = TestHub::new().await;
    let (alice, bob, carol) =
        (hub.researcher("alice", "100").await, hub.owner("bob").await, hub.owner("carol").await);
    let (module, shared) = (put(&alice, MODULE).await, put(&alice, &noise("shared", 500_000)).await);
    let (first, second) = (put(&alice, b"first").await, put(&alice, b"second").await);
    let other = put(&alice, b"none of this job's").await;
    let lines = [
        format!("{{\"name\":\"a\",\"file\":\"{first}\"}}\n"),
        format!(
            "{{\"name\":\"b\",\"file\":\"{second}\",\"arg\":\"{{\\\"name\\\":\\\"c\\\",\\\"file\\\":\\\"{other}\\\"}}\"}}\n"
        ),
    ];
    let list = put(&alice, lines.concat().as_bytes()).await;
    let order = wire::SubmitJob {
        files: vec![wire::InputFile { name: "shared".to_owned(), hash: shared }],
        task_list: Some(list),
        ..job(module, 2, "10")
    };
    let ordered: wire::Job = alice.post("/v1/jobs", &order, None).await.unwrap();
    let input = |hash, line| JobInput { job: ordered.id, hash, line };
    let at_second = lines[0].len() as u64;
    let inputs = [input(module, None), input(shared, None), input(list, None)];
    for client in [&bob, &carol] {
        assert_eq!(refusal(client.input(&inputs[1], 1 << 20).await).1, "not_yours", "no run yet");
    }
    let mut worker = FakeWorker::attach(&bob, hello(1, 2)).await;
    let runs = worker.runs(2).await;
    for client in [&alice, &bob, &hub.operator()] {
        for input in &inputs {
            assert_eq!(Hash::of(&client.input(input, 1 << 20).await.unwrap()), input.hash);
        }
        assert_eq!(client.input(&input(first, Some(0)), 100).await.unwrap(), "first");
        assert_eq!(client.input(&input(second, Some(at_second)), 100).await.unwrap(), "second");
        let chunks = client.input_chunks(&inputs[1], 1 << 20).await.unwrap();
        assert_eq!(chunks.iter().map(|chunk| u64::from(chunk.length)).sum::<u64>(), 500_000);
        let range = u64::from(chunks[0].length)..u64::from(chunks[0].length + chunks[1].length);
        assert_eq!(Hash::of(&client.input_range(&inputs[1], range).await.unwrap()), chunks[1].name);
    }
    let quoted = at_second + lines[1].find("{\\\"name\\\":\\\"c").unwrap() as u64;
    let nowhere = [
        (other, None),
        (other, Some(0)),
        (other, Some(quoted)),
        (first, None),
        (first, Some(1)),
        (first, Some(at_second)),
        (second, Some(0)),
        (second, Some(1 << 40)),
        (second, Some(u64::MAX)),
    ];
    for (hash, line) in nowhere {
        let refused = refusal(bob.input(&input(hash, line), 1 << 20).await);
        assert_eq!((refused.0, refused.1.as_str()), (404, "no_input"), "{hash} at {line:?}");
    }
    assert_eq!(refusal(carol.input(&inputs[1], 1 << 20).await).1, "not_yours", "she has no run of it");
    assert_eq!(
        refusal(bob.get_blob(shared, 1 << 20, Arc::new(|_| ())).await).0,
        404,
        "nor by its name alone"
    );
    let findings: Vec<_> = runs.iter().map(|run| (run.run, Finding::printed(100_000_000, "done"))).collect();
    worker.report(&findings).await;
    assert_eq!(wait(&alice, &ordered).await.state, "succeeded");
    assert_eq!(refusal(bob.input(&inputs[1], 1 << 20).await).1, "not_yours", "his runs are over");
    assert!(alice.input(&inputs[2], 1 << 20).await.is_ok());

    let told = hub.operator().accesses(None, None, 1_000).await.unwrap().entries;
    let times = |name: &str, refused: bool| -> u64 {
        let of_job = told.iter().filter(|entry| entry.job == Some(ordered.id));
        let alike = of_job.filter(|entry| {
            (entry.account_name.as_deref(), entry.refused.is_some()) == (Some(name), refused)
                && entry.path.as_deref() == Some("inputs")
        });
        alike.map(|entry| entry.times).sum()
    };
    assert!(times("alice", false) >= 8 && times("operator", false) >= 7, "{told:?}");
    assert_eq!((times("bob", false), times("carol", false)), (0, 0), "machines are nobody: {told:?}");
    assert!(times("bob", true) >= 11 && times("carol", true) >= 2, "{told:?}");
}

#[tokio::test]
async fn who_orders_a_job_must_hold_all_that_it_names() {
    let hub = TestHub::new().await;
    let (alice, bob) = (hub.researcher("alice", "100").await, hub.researcher("bob", "100").await);
    let secret = put(&alice, b"\0asm\x01\0\0\0 secret").await;
    let list =
        put(&bob, format!("{{\"name\":\"a\"}}\n{{\"name\":\"b\",\"file\":\"{secret}\"}}\n").as_bytes()).await;
    let (module, hers) = (put(&bob, MODULE).await, put(&alice, b"{\"name\":\"a\"}\n").await);
    let file = wire::InputFile { name: "x".to_owned(), hash: secret };
    let orders = [
        (job(secret, 1, "1"), "module"),
        (wire::SubmitJob { files: vec![file], ..job(module, 1, "1") }, "x:"),
        (wire::SubmitJob { task_list: Some(hers), ..job(module, 1, "1") }, "task_list:"),
        (wire::SubmitJob { task_list: Some(list), ..job(module, 2, "1") }, "task_list, line 2"),
    ];
    for (order, what) in orders {
        let refused = refusal(bob.post::<_, wire::Job>("/v1/jobs", &order, None).await);
        assert_eq!((refused.0, refused.1.as_str()), (409, "no_blob"), "{refused:?}");
        assert!(refused.2.starts_with(what), "{refused:?}");
    }
}

/// Whoever could report as an output what he only knows the name of would read it as the output of his own job.
#[tokio::test]
async fn nobody_reports_bytes_of_others_as_his_output() {
    let hub = TestHub::new().await;
    let alice = hub.researcher("alice", "100").await;
    let secret =
        pumasi_api::output::TaskOutput { stdout: noise("secret", 50_000), ..Default::default() }.encode();
    let secret = put(&alice, &secret).await;
    let (mallory, helper) = (hub.researcher("mallory", "100").await, hub.owner("helper").await);
    let ordered = submit(&mallory, 1, "10").await;
    let mut worker = FakeWorker::attach(&helper, hello(1, 1)).await;
    let run = worker.run().await;
    let stolen = Finding { output: Vec::new(), result: secret, ..Finding::printed(100_000_000, "") };
    worker.report(&[(run.run, stolen)]).await;
    let task: wire::Task = mallory.get(&format!("/v1/jobs/{}/tasks/0", ordered.id)).await.unwrap();
    assert_eq!((task.state.as_str(), task.losses, task.result), ("open", 1, None));
    // Not even one who has sent it to the hub under another account.
    let run = worker.run().await;
    let large = Finding::printed(100_000_000, &"y".repeat(40 << 10));
    let source = Source::Bytes(large.output.clone().into());
    mallory.put_blob(&source, large.result, Arc::new(|_| ())).await.unwrap();
    worker.report(&[(run.run, Finding { output: Vec::new(), ..large.clone() })]).await;
    let task: wire::Task = mallory.get(&format!("/v1/jobs/{}/tasks/0", ordered.id)).await.unwrap();
    assert_eq!((task.state.as_str(), task.losses), ("open", 2));
    let run = worker.run().await;
    put(&helper, &large.output).await;
    worker.report(&[(run.run, Finding { output: Vec::new(), ..large })]).await;
    assert_eq!(wait(&mallory, &ordered).await.state, "succeeded");
}

#[tokio::test]
async fn strangers_are_refused_at_every_route_of_transfers() {
    let hub = TestHub::new().await;
    let blob = Hash::of(b"anything");
    let routes = [
        ("POST", "/v1/blobs/held".to_owned(), r#"{"blobs":[]}"#),
        ("POST", "/v1/blobs/composed".to_owned(), "PURC"),
        ("POST", "/v1/blobs/joined".to_owned(), r#"{"parts":[]}"#),
        ("GET", format!("/v1/blobs/{blob}/chunks"), ""),
        ("POST", format!("/v1/blobs/{blob}/challenge"), r#"{"length":2000000}"#),
        ("POST", format!("/v1/blobs/{blob}/proof"), "{}"),
        ("GET", format!("/v1/jobs/1/inputs/{blob}"), ""),
        ("GET", format!("/v1/jobs/1/inputs/{blob}/chunks"), ""),
    ];
    for (method, path, body) in routes {
        let answer = hub.raw(method, &path, &[("content-type", "application/json")], body.as_bytes()).await;
        answer.expect(401, "unknown_token");
    }
}
