//! Downloads of many files: in parts, with a hub that is killed and a space that is full; what becomes of those that are
//! cancelled, and what their owners are told.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use pumasi_api::client::{HubClient, ListOf};
use pumasi_api::wire::downloads::{Download, DownloadState, Notices};
use pumasi_api::wire::files::{ChangeSpace, HOME};
use pumasi_types::{DownloadId, NoticeId};

use crate::common::*;
use crate::downloads::seeder::{Seeder, Shared, tracker};
use crate::downloads::server::{Server, Step, bytes, good, text, up_to};
use crate::downloads::{content, emptied, eventually, fetched, hub, new, over, user};
use crate::drive_killed::HubProcess;

/// Files of a torrent of many.
const MANY: usize = 4_500;

/// A torrent of many files of 100 bytes each, with what seeds it and who knows that.
async fn many() -> (Arc<Shared>, Seeder, Server) {
    let files: Vec<(String, Vec<u8>)> =
        (0..MANY).map(|number| (format!("{}/{number}", number % 7), bytes(100, number as u64))).collect();
    let files: Vec<(&str, &[u8])> = files.iter().map(|(path, bytes)| (path.as_str(), &bytes[..])).collect();
    let shared = Arc::new(Shared::new(&files, 1 << 15));
    let seeder = Seeder::start(Arc::clone(&shared), usize::MAX, false).await;
    let tracker = tracker(&[seeder.address]).await;
    (shared, seeder, tracker)
}

/// Paths of all files.
async fn walked(client: &HubClient) -> BTreeSet<String> {
    let (mut all, mut after) = (BTreeSet::new(), None);
    loop {
        let list = ListOf { after: after.as_deref(), limit: None };
        let page = client.walk_files(HOME, "in/", list).await.unwrap();
        all.extend(page.entries.iter().map(|entry| entry.path.to_string()));
        after = page.next;
        if after.is_none() {
            return all;
        }
    }
}

/// Waits until so many files lie there.
async fn lying(client: &HubClient, id: DownloadId, count: u32) -> Download {
    let mut last = None;
    eventually("some lie there", async || {
        let now = client.download_state(id, 0).await.unwrap();
        let is_so = now.files >= Some(count);
        last = Some(now);
        is_so
    })
    .await;
    last.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_that_is_killed_between_parts_puts_each_file_once() {
    let (shared, seeder, tracker) = many().await;
    let dir = tempfile::tempdir().unwrap();
    let from = [seeder.address, tracker.address];
    let mut hub = HubProcess::start(&dir.path().join("data"), &from);
    let id = hub.client.add_download(&new(&shared.magnet(&tracker.url("/"))), None).await.unwrap().id;
    for part in [1, 2_001] {
        let now = lying(&hub.client, id, part).await;
        assert_ne!(now.state, DownloadState::Done, "it was killed in the middle");
        hub.kill();
        hub = HubProcess::start(&dir.path().join("data"), &from);
    }
    let done = over(&hub.client, id).await;
    let is = (done.state, done.files, done.got_bytes, done.saved_bytes);
    assert_eq!(is, (DownloadState::Done, Some(MANY as u32), Some(100 * MANY as u64), Some(0)), "{done:?}");
    let expected = (0..MANY).map(|number| format!("in/dir/{}/{number}", number % 7));
    assert!(walked(&hub.client).await == expected.collect());
    let last = format!("in/dir/{}/{}", (MANY - 1) % 7, MANY - 1);
    assert!(content(&hub.client, &last).await == bytes(100, MANY as u64 - 1));
    hub.kill();
}

#[tokio::test]
async fn a_space_that_is_full_in_the_middle_gets_the_rest_later() {
    let (shared, seeder, tracker) = many().await;
    let from = vec![seeder.address, tracker.address];
    let hub = TestHub::with(|options| options.downloads.from = from).await;
    let kim = user(&hub, "kim").await;
    let quota = async |bytes: u64| {
        let change = ChangeSpace { keep_ms: None, quota_bytes: Some(bytes) };
        hub.operator().change_space("kim", &change, None).await.unwrap();
    };
    let id = kim.add_download(&new(&shared.magnet(&tracker.url("/"))), None).await.unwrap().id;
    lying(&kim, id, 1).await;
    quota(1).await;
    let mut now = kim.download_state(id, 0).await.unwrap();
    eventually("it waits for room", async || {
        now = kim.download_state(id, 0).await.unwrap();
        now.state == DownloadState::Waiting
    })
    .await;
    let count = now.files.unwrap();
    assert!(count.is_multiple_of(1_000) && count < MANY as u32, "{now:?}");
    let reason = now.reason.unwrap();
    assert!(
        reason.contains(&format!("{count} files lie there")) && reason.contains("of its 1 B"),
        "{reason}"
    );
    let given = seeder.given.load(Ordering::SeqCst);

    quota(1 << 30).await;
    kim.resume_download(id).await.unwrap();
    let done = over(&kim, id).await;
    assert_eq!((done.state, done.files, done.reason), (DownloadState::Done, Some(MANY as u32), None));
    assert_eq!(walked(&kim).await.len(), MANY);
    assert_eq!(seeder.given.load(Ordering::SeqCst), given, "nothing is fetched again");
    emptied(&hub).await;
    hub.running.stop().await.unwrap();
}

#[tokio::test]
async fn what_is_given_up_is_erased_whatever_it_was_doing() {
    let server = Server::start(|asked| {
        let half = text("HTTP/1.1 200 OK\nContent-Length: 200000\nETag: \"1\"\n\n");
        match (asked.path.as_str(), asked.from()) {
            // The rest comes in an hour.
            ("/later", Some(_)) => vec![text("HTTP/1.1 503 -\nRetry-After: 3600\n\n")],
            ("/later", None) => vec![half, Step::Send(vec![7; 100_000])],
            _ => vec![half, Step::Send(vec![7; 100_000]), Step::Wait(Duration::from_secs(600))],
        }
    })
    .await;
    let hub = hub(&[&server]).await;
    let kim = user(&hub, "kim").await;
    let add = async |path: &str| kim.add_download(&new(&server.url(path)), None).await.unwrap().id;
    let folder = |id: DownloadId| hub.data().join(format!("downloads/{id}"));
    let (waits, runs, pauses) = (add("/later").await, add("/runs").await, add("/pauses").await);
    eventually("all have begun", async || [waits, runs, pauses].iter().all(|id| folder(*id).exists())).await;
    kim.pause_download(pauses).await.unwrap();
    eventually("one waits", async || {
        let now = kim.download_state(waits, 0).await.unwrap();
        now.state == DownloadState::Waiting && now.reason.is_some()
    })
    .await;
    assert!([waits, pauses].iter().all(|id| folder(*id).exists()), "what came is kept");
    for id in [waits, runs, pauses] {
        kim.cancel_download(id).await.unwrap();
    }
    emptied(&hub).await;
    hub.running.stop().await.unwrap();
}

fn told(notices: &Notices) -> Vec<(&str, DownloadId)> {
    notices.notices.iter().map(|one| (one.kind.as_str(), one.download.id)).collect()
}

#[tokio::test]
async fn owners_are_told_what_is_over_in_order_and_once() {
    let server = Server::start(|asked| match asked.path.as_str() {
        "/missing" => vec![text("HTTP/1.1 404 -\n\n")],
        _ => up_to(good(asked, b"hello", "\"v1\""), usize::MAX),
    })
    .await;
    let hub = hub(&[&server]).await;
    let (kim, lee) = (user(&hub, "kim").await, user(&hub, "lee").await);
    let first = kim.download_notices(None, 0).await.unwrap();
    assert_eq!((told(&first), first.next), (vec![], NoticeId(0)));

    let waiting = tokio::spawn({
        let kim = kim.clone();
        async move { kim.download_notices(None, 60).await.unwrap() }
    });
    let done = fetched(&kim, &server.url("/hello")).await;
    let waited = waiting.await.unwrap();
    assert_eq!(told(&waited), [("download.done", done.id)]);
    let failed = fetched(&kim, &server.url("/missing")).await;
    let all = kim.download_notices(None, 0).await.unwrap();
    assert_eq!(told(&all), [("download.done", done.id), ("download.failed", failed.id)]);
    assert_eq!(all.notices[0].notice.en, format!("Download {} is done: 1 file (5 B) in kim:in.", done.id));
    assert!(all.notices[1].notice.ko.contains("실패했습니다") && all.notices[1].time_ms > 0);
    let behind = kim.download_notices(Some(waited.next), 0).await.unwrap();
    assert_eq!((told(&behind), behind.more), (vec![("download.failed", failed.id)], false));

    // What was seen is not told again, also by a hub that started again; a cursor goes back.
    kim.see_download_notices(all.next).await.unwrap();
    let seen = kim.download_notices(None, 0).await.unwrap();
    assert_eq!((told(&seen), seen.seen), (vec![], all.next));
    assert_eq!(told(&kim.download_notices(Some(NoticeId(0)), 0).await.unwrap()).len(), 2);
    assert_eq!(told(&lee.download_notices(Some(NoticeId(0)), 0).await.unwrap()), []);
    let last = fetched(&kim, &server.url("/hello")).await;
    assert_eq!(told(&kim.download_notices(None, 0).await.unwrap()), [("download.done", last.id)]);
    hub.running.stop().await.unwrap();
}
