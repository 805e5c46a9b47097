//! What was sent and lies in no file does not fill the disk.

use std::sync::Arc;

use crate::common::*;
use pumasi_api::client::{HubClient, Source, Upload};
use pumasi_api::output::TaskOutput;
use pumasi_api::wire::chunks::{JoinBlobs, Joined};
use pumasi_api::wire::files::{NewSpace, PutFile, PutFiles, RemoveFiles};
use pumasi_types::{Ending, Hash};

const KIB: usize = 1 << 10;

async fn small_hub() -> TestHub {
    TestHub::with(|options| {
        options.max_upload.0 = 1 << 20;
        options.unfiled_limit.0 = 1 << 20;
    })
    .await
}

/// Status and code of what came of sending so many bytes.
async fn send(client: &HubClient, seed: &str, length: usize) -> Result<Hash, (u16, String)> {
    let bytes = noise(seed, length);
    let hash = Hash::of(&bytes);
    match client.put_blob(&Source::Bytes(bytes), hash, Arc::new(|_| ())).await {
        Ok(stored) => Ok(stored.hash),
        refused => {
            let (status, code, message) = refusal(refused);
            assert!(message.contains("put them into files"), "{message}");
            Err((status, code))
        }
    }
}

fn refused() -> Result<Hash, (u16, String)> {
    Err((507, "unfiled_limit".to_owned()))
}

async fn file(client: &HubClient, space: &str, at: &str, blob: Hash) {
    let file = PutFile {
        path: at.parse().unwrap(),
        blob,
        modified_ns: None,
        executable: false,
        labels: Default::default(),
        condition: Default::default(),
    };
    let put = client.put_files(space, &PutFiles { files: vec![file] }, None).await.unwrap();
    assert!(put.results[0].error.is_none(), "{put:?}");
}

#[tokio::test]
async fn so_much_is_sent_and_no_more_until_it_lies_in_files() {
    let hub = small_hub().await;
    let (alice, bob) = (hub.researcher("alice", "1").await, hub.researcher("bob", "1").await);
    alice.make_space(&NewSpace { name: "lab".to_owned(), keep_ms: Some(0) }, None).await.unwrap();
    let first = send(&alice, "first", 700 * KIB).await.unwrap();
    assert_eq!(send(&alice, "second", 700 * KIB).await, refused());
    assert!(send(&bob, "second", 700 * KIB).await.is_ok(), "others have their own");
    assert_eq!(send(&alice, "first", 300 * KIB).await.map(drop), Ok(()));
    // In one body, with many, put together, or straight into a file: it is the same.
    let many = alice.put_blobs(&[noise("a", 100 * KIB)]).await;
    assert_eq!(refusal(many).1, "unfiled_limit");
    let mut recipe = pumasi_chunks::recipe::Encoder::new(&[first]);
    recipe.copy(0, 0..100 * KIB as u64);
    let (recipe, bearer) = (recipe.finish(), format!("Bearer {}", hub.new_token("alice").await));
    let composed = hub.raw("POST", "/v1/blobs/composed", &[("authorization", &bearer)], &recipe).await;
    composed.expect(507, "unfiled_limit");
    file(&alice, "lab", "first", first).await;
    let third = send(&alice, "third", 700 * KIB).await.unwrap();
    assert_eq!(send(&alice, "fourth", 100 * KIB).await, refused());
    // What is removed for good is on the disk still.
    file(&alice, "lab", "third", third).await;
    let remove = RemoveFiles { paths: vec!["third".parse().unwrap()], recursive: false, forever: true };
    alice.remove_files("lab", &remove, None).await.unwrap();
    assert_eq!(send(&alice, "fourth", 100 * KIB).await, refused());
    let hub = hub.restarted().await;
    let alice = hub.client(&hub.new_token("alice").await);
    assert_eq!(send(&alice, "fourth", 100 * KIB).await, refused(), "it is remembered");
}

#[tokio::test]
async fn what_is_on_its_way_counts_too() {
    let hub = TestHub::with(|options| {
        options.max_upload.0 = 64 << 20;
        options.unfiled_limit.0 = 64 << 20;
    })
    .await;
    let alice = hub.researcher("alice", "1").await;
    let sending = (0..4).map(|n| {
        let alice = alice.clone();
        async move { send(&alice, &format!("at once {n}"), 30 << 20).await.is_ok() }
    });
    let came = futures_util::future::join_all(sending).await.into_iter().filter(|came| *came).count();
    // When all of them are half there, all may be too much together.
    assert!(came <= 2, "{came} came");
    assert!(send(&alice, "afterwards", 3 << 20).await.is_ok(), "what did not come does not count any more");
}

#[tokio::test]
async fn a_file_in_segments_counts_once() {
    let hub = TestHub::with(|options| {
        options.max_upload.0 = 100 << 20;
        options.unfiled_limit.0 = 100 << 20;
    })
    .await;
    let alice = hub.researcher("alice", "1").await;
    for seed in ["one", "two", "three"] {
        let bytes = noise(seed, 80 << 20);
        let sent = alice.upload(&Source::Bytes(bytes.clone()), &Upload::new(Arc::new(|_| ()))).await.unwrap();
        assert_eq!((sent.hash, sent.sent), (Hash::of(&bytes), bytes.len() as u64));
        file(&alice, "~", seed, sent.hash).await;
    }
    // It cannot be put together again and again with itself.
    let part = put(&alice, &noise("part", 50 << 20)).await;
    let join = |parts: Vec<Hash>| {
        let alice = alice.clone();
        async move { alice.post::<_, Joined>("/v1/blobs/joined", &JoinBlobs { parts }, None).await }
    };
    assert!(join(vec![part]).await.is_ok(), "it is itself");
    assert_eq!(send(&alice, "more", 60 << 20).await, refused());
    let _ = put(&alice, b"x").await;
    assert!(join(vec![part, Hash::of(b"x")]).await.is_ok());
    assert!(join(vec![Hash::of(b"x"), part]).await.is_ok());
    let joined = join(vec![Hash::of(b"x"), part, Hash::of(b"x")]).await;
    assert_eq!(refusal(joined).1, "unfiled_limit");
}

#[tokio::test]
async fn an_output_is_its_jobs_when_it_was_reported() {
    let hub = small_hub().await;
    let (alice, owner) = (hub.researcher("alice", "100").await, hub.owner("owner").await);
    submit(&alice, 2, "20").await;
    let mut worker = FakeWorker::attach(&owner, hello(1, 1)).await;
    for seed in ["first", "second"] {
        let run = worker.run().await;
        let output = TaskOutput { stdout: noise(seed, 700 * KIB), ..TaskOutput::default() }.encode();
        let result = put(&owner, &output).await;
        let finding = Finding { ending: Ending::Exited { code: 0 }, fuel: 1_000, result, output: Vec::new() };
        worker.report(&[(run.run, finding)]).await;
    }
    // What was reported of nobody's run stays his.
    let stray = put(&owner, &noise("stray", 700 * KIB)).await;
    let finding =
        Finding { ending: Ending::Exited { code: 0 }, fuel: 1_000, result: stray, output: Vec::new() };
    worker.report(&[(999, finding)]).await;
    assert_eq!(send(&owner, "another", 700 * KIB).await, refused());
}
