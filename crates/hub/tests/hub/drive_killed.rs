//! A hub that is killed at random moments while files are put, overwritten and removed and its store is collected: what it
//! acknowledged is there when it comes back.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use pumasi_api::client::{ClientError, HubClient, Source};
use pumasi_api::tls::{HubAddress, Pin};
use pumasi_api::wire::files::*;
use pumasi_blobs::BlobStore;
use pumasi_hub::start;
use pumasi_types::Hash;

use crate::common::options;
use crate::drive::{all, file, path};

/// How often it is killed.
const KILLS: u64 = 6;
/// Files that are put again and again.
const FILES: u64 = 12;

/// A process with a hub, which dies with the test.
pub(crate) struct HubProcess {
    child: Child,
    pub(crate) client: HubClient,
}

impl HubProcess {
    pub(crate) fn start(data: &Path, from: &[SocketAddr]) -> HubProcess {
        let from: Vec<String> = from.iter().map(SocketAddr::to_string).collect();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "drive_killed::hub_child", "--nocapture"])
            .env("PUMASI_TEST_DIR", data)
            .env("PUMASI_TEST_FROM", from.join(","))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let address = lines.into_iter().find_map(|line| Some(line.split_once("LISTENING ")?.1.to_owned()));
        let address: HubAddress = address.expect("the hub starts").parse().unwrap();
        let token = std::fs::read_to_string(data.join("operator.token")).unwrap();
        let client = HubClient::new(address, Pin::learn(), Some(token.parse().unwrap()));
        HubProcess { child, client }
    }

    pub(crate) fn kill(&mut self) {
        // SIGKILL: nothing of it is written to an end.
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for HubProcess {
    fn drop(&mut self) {
        // It may have been killed before.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
#[ignore = "HubProcess::start runs it in a process of its own, for tests that kill it"]
async fn hub_child() {
    let mut options = options(Path::new(&std::env::var("PUMASI_TEST_DIR").unwrap()));
    options.collect_grace = Duration::from_secs(2);
    let from = std::env::var("PUMASI_TEST_FROM").unwrap_or_default();
    options.downloads.from = from.split_terminator(',').map(|address| address.parse().unwrap()).collect();
    let hub = start(options).await.unwrap();
    println!("LISTENING http://{}", hub.address());
    std::future::pending().await
}

/// What may lie at each path: what was acknowledged last, and what was under way since.
#[derive(Default)]
struct Expected(BTreeMap<u64, Vec<Option<Vec<u8>>>>);

/// The bytes of a file's turn: some chunks long, others in no pack of their own, half of it as the turn before.
fn bytes(name: u64, turn: u64) -> Vec<u8> {
    let words = |seed: u64, count: u64| {
        (0..count)
            .flat_map(move |n| ((n ^ seed).wrapping_mul(0x9E37_79B9_7F4A_7C15)).rotate_left(29).to_le_bytes())
    };
    let length = [3, 700, 40_000, 150_000][(name % 4) as usize];
    words(name, length).chain(words(turn << 32 | name, length)).collect()
}

/// Puts and removes files until the hub dies.
async fn write(client: &HubClient, expected: &mut Expected, turn: &mut u64) {
    loop {
        *turn += 1;
        let name = *turn * 7 % FILES;
        let new = (!turn.is_multiple_of(5)).then(|| bytes(name, *turn));
        expected.0.entry(name).or_insert_with(|| vec![None]).push(new.clone());
        let at = format!("f/{name}");
        let done = match &new {
            Some(new) => put(client, &at, new).await,
            None => {
                let remove =
                    RemoveFiles { paths: vec![path(&at)], recursive: false, forever: turn.is_multiple_of(2) };
                client.remove_files(HOME, &remove, None).await.map(drop)
            }
        };
        match done {
            Ok(()) => drop(expected.0.insert(name, vec![new])),
            Err(ClientError::Unreachable { .. }) => return,
            Err(error) => panic!("{at}: {error}"),
        }
    }
}

async fn put(client: &HubClient, at: &str, new: &[u8]) -> Result<(), ClientError> {
    let blob = Hash::of(new);
    let source = Source::Bytes(new.to_vec().into());
    client.put_blob(&source, blob, std::sync::Arc::new(|_| ())).await?;
    let done = client.put_files(HOME, &PutFiles { files: vec![file(at, blob)] }, None).await?;
    assert!(done.results[0].error.is_none(), "{done:?}");
    Ok(())
}

/// Reads every file, and takes note of what lies there.
async fn check(client: &HubClient, expected: &mut Expected) {
    for (name, may_be) in &mut expected.0 {
        let at = path(&format!("f/{name}"));
        let found = match client.find_file(HOME, &at).await {
            Ok(entry) => {
                let read = all(client.read_file(HOME, &at, None, None).await.unwrap()).await;
                assert_eq!(Hash::of(&read), entry.file.unwrap().blob, "{at} is cut or damaged");
                Some(read)
            }
            Err(ClientError::Refused { .. }) => None,
            Err(error) => panic!("{at}: {error}"),
        };
        assert!(may_be.contains(&found), "{at}: neither what was acknowledged nor what was under way");
        *may_be = vec![found];
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_hub_keeps_what_it_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let (mut expected, mut turn) = (Expected::default(), 0);
    let mut removed = 0;
    for _ in 0..KILLS {
        let mut hub = HubProcess::start(&data, &[]);
        let client = hub.client.clone();
        check(&client, &mut expected).await;
        let collecting = tokio::spawn({
            let client = client.clone();
            async move {
                let mut removed = 0;
                while let Ok(done) = client.collect_store().await {
                    assert_eq!(done.missing, 0, "{done:?}");
                    removed += done.bytes_removed;
                }
                removed
            }
        });
        // Any moment will do, and another one in each run.
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let life = Duration::from_millis(500 + u64::from(now.subsec_nanos()) / 1_000 % 2_500);
        let killer = tokio::task::spawn_blocking(move || {
            std::thread::sleep(life);
            hub.kill();
        });
        write(&client, &mut expected, &mut turn).await;
        killer.await.unwrap();
        removed += collecting.await.unwrap();
    }
    let mut hub = HubProcess::start(&data, &[]);
    check(&hub.client, &mut expected).await;
    hub.kill();
    let store = BlobStore::open(&data.join("blobs")).await.unwrap();
    assert_eq!(store.check(true).await.unwrap().problems, []);
    assert!(turn > KILLS * 5, "{turn} turns are hardly a load");
    println!("{turn} turns, {removed} bytes collected");
}
