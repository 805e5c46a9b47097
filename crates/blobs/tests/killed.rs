//! Real processes that are killed at random moments, in the middle of putting and of collecting.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;
use common::noise;
use futures_util::stream;
use pumasi_blobs::{BlobStore, Options};
use pumasi_types::{ByteSize, Hash};

/// Tells the child where it works, and from which number on.
const DIR: &str = "PUMASI_TEST_STORE";
const FROM: &str = "PUMASI_TEST_FROM";
/// Rounds of killing; each opens the store again.
const ROUNDS: u64 = 8;

/// The n-th blob: every tenth is large enough for several packs.
fn nth(n: u64) -> Bytes {
    let length = [10, 3_000, 70_000, 400_000][(n % 4) as usize];
    if n % 10 == 9 { noise(n, 20 << 20) } else { noise(n, length) }
}

/// Blobs that somebody needs for ever.
fn is_root(n: u64) -> bool {
    n.is_multiple_of(3)
}

fn options() -> Options {
    Options { grace: pumasi_types::Duration(0), ..Options::default() }
}

#[tokio::test]
async fn what_was_acknowledged_survives_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = BTreeMap::new();
    let (mut from, mut collections) = (0, 0);
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "puts_and_collects", "--ignored", "--nocapture"])
            .env(DIR, dir.path())
            .env(FROM, from.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (send, receive) = mpsc::channel();
        let reader = std::thread::spawn(move || {
            lines.map_while(Result::ok).for_each(|line| send.send(line).unwrap());
        });
        // No two rounds end at the same point of what the child does.
        let mut told = Vec::new();
        while told.len() < 6 + (round * 9 % 23) as usize {
            told.push(receive.recv_timeout(Duration::from_secs(60)).expect("the child goes on"));
        }
        std::thread::sleep(Duration::from_millis(round * 37 % 90));
        child.kill().unwrap();
        child.wait().unwrap();
        reader.join().unwrap();
        told.extend(receive.try_iter());
        for line in told {
            match line.split_once(' ') {
                Some(("put", rest)) => {
                    let (n, hash) = rest.split_once(' ').unwrap();
                    acknowledged.insert(n.parse::<u64>().unwrap(), hash.parse::<Hash>().unwrap());
                }
                // Only what is a root is needed after a collection.
                Some(("collecting", _)) => acknowledged.retain(|n, _| is_root(*n)),
                Some(("collected", _)) => collections += 1,
                _ => {}
            }
        }
        from = acknowledged.keys().max().map_or(from, |last| last + 1000);
        let store = BlobStore::open_with(dir.path(), options()).await.unwrap();
        for (n, hash) in &acknowledged {
            let bytes =
                store.get(hash).await.unwrap_or_else(|error| panic!("round {round}, blob {n}: {error}"));
            assert!(bytes == nth(*n), "round {round}, blob {n}");
        }
        let checked = store.check(true).await.unwrap();
        assert_eq!(checked.problems, [], "round {round}");
        let left = fs::read_dir(dir.path().join("packs")).unwrap().map(|entry| entry.unwrap().file_name());
        assert!(left.into_iter().all(|name| !name.to_str().unwrap().contains('#')), "round {round}");
    }
    assert!(acknowledged.len() > 20, "{} blobs", acknowledged.len());
    assert!(collections > 0, "no collection ended before its child did");
}

#[ignore = "run by what_was_acknowledged_survives_kill_9 in a process of its own"]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn puts_and_collects() {
    let dir = std::env::var_os(DIR).expect("set by the parent test");
    let from: u64 = std::env::var(FROM).expect("set by the parent test").parse().unwrap();
    let store = BlobStore::open_with(Path::new(&dir), options()).await.unwrap();
    let tell = |line: String| {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{line}").and_then(|()| out.flush()).unwrap();
    };
    for n in from.. {
        let bytes = nth(n);
        let hash = match n % 2 {
            0 => store.put(bytes).await.unwrap(),
            _ => {
                let pieces = stream::iter([Ok::<_, std::io::Error>(bytes)]);
                store.put_stream(pieces, ByteSize(u64::MAX)).await.unwrap().0
            }
        };
        tell(format!("put {n} {hash}"));
        if n % 8 == 7 {
            tell("collecting now".to_owned());
            let roots = (0..=n).filter(|n| is_root(*n)).map(|n| Hash::of(&nth(n)));
            store.collect(stream::iter(roots.collect::<Vec<_>>())).await.unwrap();
            tell("collected all".to_owned());
        }
    }
}
