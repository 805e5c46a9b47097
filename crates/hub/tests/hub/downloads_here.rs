//! Downloads of what is here already: found by info-hash, by the hashes of pieces and by SHA-256, for those only who may have
//! it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use pumasi_api::client::{HubClient, Source};
use pumasi_api::wire::downloads::{Download, DownloadState, NewDownload};
use pumasi_hub::Deduplicate;
use pumasi_types::Hash;

use crate::common::*;
use crate::downloads::seeder::{Seeder, Shared, tracker};
use crate::downloads::server::{Server, bytes, good, text, up_to};
use crate::downloads::{content, fetched, new, over, user};
use crate::drive::put_at;

/// Bytes of a piece.
const PIECE: usize = 1 << 15;

/// A torrent of two files, of 200,000 and 100,000 bytes, that is seeded; the piece between them has bytes of both.
struct Swarm {
    shared: Arc<Shared>,
    seeder: Seeder,
    tracker: Server,
}

impl Swarm {
    async fn start(private: bool) -> Swarm {
        let mut shared =
            Shared::new(&[("a.bin", &bytes(200_000, 4)), ("b/c.bin", &bytes(100_000, 5))], PIECE);
        if private {
            assert_eq!(shared.info.pop(), Some(b'e'));
            shared.info.extend(b"7:privatei1ee");
        }
        let shared = Arc::new(shared);
        let seeder = Seeder::start(Arc::clone(&shared), usize::MAX, false).await;
        let tracker = tracker(&[seeder.address]).await;
        Swarm { shared, seeder, tracker }
    }

    async fn hub(&self, deduplicate: Deduplicate) -> TestHub {
        let from = vec![self.seeder.address, self.tracker.address];
        TestHub::with(|options| (options.downloads.from, options.deduplicate) = (from, deduplicate)).await
    }

    /// Peers that were spoken to, blocks that they gave, and questions to the tracker.
    fn bothered(&self) -> (usize, usize, usize) {
        let count = |counter: &std::sync::atomic::AtomicUsize| counter.load(Ordering::SeqCst);
        (count(&self.seeder.asked), count(&self.seeder.given), self.tracker.seen().len())
    }

    fn magnet(&self) -> String {
        self.shared.magnet(&self.tracker.url("/"))
    }

    /// Fetches it by its torrent file.
    async fn by_file(&self, client: &HubClient, files: Vec<u32>) -> Download {
        let file = self.shared.torrent(&self.tracker.url("/"));
        let blob = Hash::of(&file);
        client.put_blob(&Source::Bytes(file.into()), blob, Arc::new(|_| ())).await.unwrap();
        let new = NewDownload { url: None, torrent: Some(blob), files, ..new("") };
        let id = client.add_download(&new, None).await.unwrap().id;
        over(client, id).await
    }
}

#[track_caller]
fn done(download: &Download, files: u32, saved: u64) {
    let is = (download.state, download.files, download.saved_bytes);
    assert_eq!(is, (DownloadState::Done, Some(files), Some(saved)), "{download:?}");
}

#[tokio::test]
async fn a_torrent_that_was_fetched_before_needs_no_peer() {
    let swarm = Swarm::start(false).await;
    let hub = swarm.hub(Deduplicate::Account).await;
    let (kim, lee) = (user(&hub, "kim").await, user(&hub, "lee").await);

    // One file, and then the other: what is there is not fetched again.
    done(&swarm.by_file(&kim, vec![1]).await, 1, 0);
    let before = swarm.bothered().1;
    done(&swarm.by_file(&kim, vec![]).await, 2, 100_000);
    let blocks = 200_000_usize.div_ceil(PIECE) * 2;
    assert!(swarm.bothered().1 - before <= blocks, "only the first file was fetched");
    assert!(content(&kim, "in/dir/a.bin").await == swarm.shared.bytes[..200_000]);
    assert!(content(&kim, "in/dir/b/c (2).bin").await == swarm.shared.bytes[200_000..]);

    // All are there: nobody is asked for anything, not even for what a magnet link does not tell.
    let before = swarm.bothered();
    done(&swarm.by_file(&kim, vec![]).await, 2, 300_000);
    done(&fetched(&kim, &swarm.magnet()).await, 2, 300_000);
    let one = NewDownload { files: vec![1], path: "one".parse().unwrap(), ..new(&swarm.magnet()) };
    let id = kim.add_download(&one, None).await.unwrap().id;
    done(&over(&kim, id).await, 1, 100_000);
    assert!(content(&kim, "one/dir/b/c.bin").await == swarm.shared.bytes[200_000..]);
    assert_eq!(swarm.bothered(), before);

    // It is kim's.
    done(&fetched(&lee, &swarm.magnet()).await, 2, 0);
    assert!(swarm.bothered().1 > before.1);
    hub.running.stop().await.unwrap();
}

#[tokio::test]
async fn what_anybody_fetched_serves_all_if_the_operator_says_so() {
    for private in [false, true] {
        let swarm = Swarm::start(private).await;
        let hub = swarm.hub(Deduplicate::All).await;
        let (kim, lee) = (user(&hub, "kim").await, user(&hub, "lee").await);
        done(&fetched(&kim, &swarm.magnet()).await, 2, 0);
        let before = swarm.bothered();
        done(&fetched(&lee, &swarm.magnet()).await, 2, if private { 0 } else { 300_000 });
        assert_eq!(swarm.bothered() == before, !private, "who may be in a private swarm its tracker says");
        hub.running.stop().await.unwrap();
    }
}

#[tokio::test]
async fn files_that_one_has_are_found_by_the_hashes_of_pieces() {
    let swarm = Swarm::start(false).await;
    let hub = swarm.hub(Deduplicate::Account).await;
    let (kim, lee) = (user(&hub, "kim").await, user(&hub, "lee").await);
    let (a, c) = swarm.shared.bytes.split_at(200_000);
    // What others have is theirs, and what only has the right length or name is something else.
    put_at(&lee, "~", "mine/a.bin", a).await;
    put_at(&lee, "~", "mine/c.bin", c).await;
    put_at(&kim, "~", "old/a.bin", &bytes(200_000, 77)).await;
    done(&fetched(&kim, &swarm.magnet()).await, 2, 0);
    assert!(content(&kim, "in/dir/a.bin").await == a);

    let before = swarm.bothered();
    done(&swarm.by_file(&lee, vec![]).await, 2, 300_000);
    assert_eq!(swarm.bothered(), before, "a torrent of files that one has costs no transfer");
    assert!(content(&lee, "in/dir/b/c.bin").await == c);
    hub.running.stop().await.unwrap();
}

#[tokio::test]
async fn beside_a_file_that_is_missing_only_the_piece_between_comes() {
    let swarm = Swarm::start(false).await;
    let hub = swarm.hub(Deduplicate::Account).await;
    let kim = user(&hub, "kim").await;
    let (a, c) = swarm.shared.bytes.split_at(200_000);
    put_at(&kim, "~", "somewhere/else", a).await;
    // Pieces 0 to 5 lie in the first file as a whole, and piece 6 in both.
    done(&swarm.by_file(&kim, vec![]).await, 2, 6 * PIECE as u64);
    let blocks = (300_000_usize - 6 * PIECE).div_ceil(1 << 14);
    assert_eq!(swarm.bothered().1, blocks);
    assert!(content(&kim, "in/dir/a.bin").await == a && content(&kim, "in/dir/b/c.bin").await == c);
    hub.running.stop().await.unwrap();
}

#[tokio::test]
async fn bytes_with_the_sha256_that_is_wanted_are_not_asked_for_again() {
    let body = bytes(300_000, 8);
    let served = body.clone();
    let server = Server::start(move |asked| match asked.path.as_str() {
        // Nothing names its version.
        "/plain" => up_to(good(asked, &served, ""), usize::MAX),
        _ => vec![text("HTTP/1.1 404 -\n\n")],
    })
    .await;
    let from = vec![server.address];
    // Whoever knows a hash has shown nothing, whatever the operator says.
    let chosen = |options: &mut pumasi_hub::ServeOptions| {
        (options.downloads.from, options.deduplicate) = (from, Deduplicate::All);
    };
    let hub = TestHub::with(chosen).await;
    let (kim, lee) = (user(&hub, "kim").await, user(&hub, "lee").await);
    let sum = {
        use sha2::Digest;
        Hash::from_bytes(sha2::Sha256::digest(&body).into())
    };
    done(&fetched(&kim, &server.url("/plain")).await, 1, 0);
    let asked = server.seen().len();
    let with_sum = NewDownload { sha256: Some(sum), ..new(&server.url("/gone.bin")) };
    let id = kim.add_download(&with_sum, None).await.unwrap().id;
    done(&over(&kim, id).await, 1, 300_000);
    assert!(content(&kim, "in/gone.bin").await == body);
    assert_eq!(server.seen().len(), asked, "the server was not asked");

    let id = lee.add_download(&with_sum, None).await.unwrap().id;
    let failed = over(&lee, id).await;
    assert_eq!((failed.state, server.seen().len()), (DownloadState::Failed, asked + 1), "{failed:?}");
    hub.running.stop().await.unwrap();
}
