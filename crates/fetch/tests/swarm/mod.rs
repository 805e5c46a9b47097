//! Torrents from seeders that give all, some, or wrong pieces.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use pumasi_fetch::address::Guard;
use pumasi_fetch::{Client, FetchError, Magnet, Options, Progress, Torrent};

use super::seeder::{Seeder, Shared, tracker};
use super::server::bytes;

fn client(open: &[SocketAddr]) -> Client {
    Client::new(Options { guard: Guard { private: false, open: open.to_vec() }, ..Options::default() })
        .unwrap()
}

async fn fetch(
    client: &Client,
    torrent: &Torrent,
    chosen: &[u32],
    dir: &Path,
) -> Result<Vec<u8>, FetchError> {
    let path = client.fetch_torrent(torrent, chosen, dir, &Progress::default()).await?;
    Ok(std::fs::read(path).unwrap())
}

fn shared() -> Arc<Shared> {
    Arc::new(Shared::new(
        &[("a.bin", &bytes(300_000, 1)), ("b/c.bin", &bytes(250_000, 2)), ("d", b"")],
        1 << 15,
    ))
}

#[tokio::test]
async fn whole_torrents_come_from_files_and_from_magnet_links() {
    let shared = shared();
    let seeder = Seeder::start(Arc::clone(&shared), usize::MAX, false).await;
    let tracker = tracker(&[seeder.address]).await;
    let client = client(&[seeder.address, tracker.address]);
    let url = tracker.url("/announce?passkey=x");
    let dir = tempfile::tempdir().unwrap();
    let torrent = Torrent::parse(&shared.torrent(&url)).unwrap();
    assert!(fetch(&client, &torrent, &[], &dir.path().join("1")).await.unwrap() == shared.bytes);
    let asked = &tracker.seen()[0].path;
    assert!(
        asked.starts_with("/announce?passkey=x&info_hash=%") && asked.contains("&left=550000&"),
        "{asked}"
    );

    let magnet = Magnet::parse(&shared.magnet(&tracker.url("/"))).unwrap();
    let described = client.describe(&magnet, &dir.path().join("2")).await.unwrap();
    assert_eq!((described.info_hash, &described.files), (torrent.info_hash, &torrent.files));
    assert!(fetch(&client, &described, &[], &dir.path().join("2")).await.unwrap() == shared.bytes);
}

#[tokio::test]
async fn only_what_was_chosen_comes_and_only_once() {
    let shared = shared();
    let mut torrent = Torrent::parse(&shared.torrent("http://tracker.test/")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let few = Seeder::start(Arc::clone(&shared), 5, false).await;
    let rest = Seeder::start(Arc::clone(&shared), usize::MAX, false).await;
    let tracker = tracker(&[few.address, rest.address]).await;
    torrent.trackers = vec![tracker.url("/")];
    let client = client(&[few.address, rest.address, tracker.address]);
    let got = fetch(&client, &torrent, &[1], dir.path()).await.unwrap();
    assert!(got[300_000..550_000] == shared.bytes[300_000..550_000], "one peer left, another went on");
    assert!(got[..200_000].iter().all(|byte| *byte == 0), "the other file was not fetched");
    let given = rest.given.load(Ordering::SeqCst);
    assert!(given <= 18, "{given} blocks of 16 KiB for at most 9 pieces of 32 KiB");

    // What is here is not fetched again, by another process.
    let before = few.given.load(Ordering::SeqCst) + rest.given.load(Ordering::SeqCst);
    fetch(&client, &torrent, &[1], dir.path()).await.unwrap();
    assert_eq!(few.given.load(Ordering::SeqCst) + rest.given.load(Ordering::SeqCst), before);
}

#[tokio::test]
async fn wrong_pieces_are_thrown_away_and_whoever_sent_them_is_not_asked_again() {
    let shared = shared();
    let liar = Seeder::start(Arc::clone(&shared), usize::MAX, true).await;
    let honest = Seeder::start(Arc::clone(&shared), usize::MAX, false).await;
    let tracker = tracker(&[liar.address, honest.address]).await;
    let client = client(&[liar.address, honest.address, tracker.address]);
    let torrent = Torrent::parse(&shared.torrent(&tracker.url("/"))).unwrap();
    let dir = tempfile::tempdir().unwrap();
    assert!(fetch(&client, &torrent, &[], dir.path()).await.unwrap() == shared.bytes);
    assert!(liar.given.load(Ordering::SeqCst) <= 2, "one piece");
    assert_eq!(liar.asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn neither_trackers_nor_peers_lead_inside() {
    let shared = shared();
    let seeder = Seeder::start(Arc::clone(&shared), usize::MAX, false).await;
    let tracker = tracker(&[seeder.address]).await;
    let magnet = Magnet::parse(&shared.magnet(&tracker.url("/"))).unwrap();
    let dir = tempfile::tempdir().unwrap();
    // The tracker may be asked, but its peer is inside.
    let error = client(&[tracker.address]).describe(&magnet, dir.path()).await.unwrap_err();
    assert!(matches!(error, FetchError::Peers { .. }) && error.is_passing(), "{error}");
    assert_eq!((seeder.asked.load(Ordering::SeqCst), tracker.seen().len()), (0, 1));
    let error = client(&[seeder.address]).describe(&magnet, dir.path()).await.unwrap_err();
    assert!(error.to_string().contains("private address"), "{error}");
    assert_eq!(tracker.seen().len(), 1, "it heard nothing more");
    let udp = Magnet { trackers: vec![format!("udp://127.0.0.1:{}", tracker.address.port())], ..magnet };
    let error = client(&[]).describe(&udp, dir.path()).await.unwrap_err();
    assert!(error.to_string().contains("private address"), "{error}");
}
