//! Downloads over real sockets: what the hub fetches, from whom it does not, and that nothing of it is lost.

#[path = "../../../fetch/tests/seeder/mod.rs"]
pub(crate) mod seeder;
#[path = "../../../fetch/tests/server/mod.rs"]
pub(crate) mod server;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use pumasi_api::client::{HubClient, Source};
use pumasi_api::wire::downloads::{Download, DownloadState, NewDownload};
use pumasi_types::{DownloadId, Hash};

use self::seeder::{Seeder, Shared, tracker};
use self::server::{Server, Step, bytes, good, text, up_to};
use crate::common::*;

/// A hub that may fetch from these servers.
pub(crate) async fn hub(servers: &[&Server]) -> TestHub {
    let from = servers.iter().map(|server| server.address).collect();
    TestHub::with(|options| options.downloads.from = from).await
}

pub(crate) async fn user(hub: &TestHub, name: &str) -> HubClient {
    hub.client(&hub.open(name, &[]).await)
}

pub(crate) fn new(url: &str) -> NewDownload {
    NewDownload {
        url: Some(url.to_owned()),
        torrent: None,
        space: "~".to_owned(),
        path: "in".parse().unwrap(),
        named: false,
        sha256: None,
        limit_bytes: None,
        files: Vec::new(),
    }
}

pub(crate) async fn over(client: &HubClient, id: DownloadId) -> Download {
    let until = Instant::now() + PATIENCE;
    loop {
        let now = client.download_state(id, 1_000).await.unwrap();
        if now.state.is_over() {
            return now;
        }
        assert!(Instant::now() < until, "{now:?}");
    }
}

pub(crate) async fn fetched(client: &HubClient, url: &str) -> Download {
    let id = client.add_download(&new(url), None).await.unwrap().id;
    over(client, id).await
}

pub(crate) async fn content(client: &HubClient, path: &str) -> Vec<u8> {
    let mut download = client.read_file("~", &path.parse().unwrap(), None, None).await.unwrap();
    let mut all = Vec::new();
    while let Some(piece) = download.next().await.unwrap() {
        all.extend_from_slice(&piece);
    }
    all
}

pub(crate) async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(Instant::now() < until, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What lies in the folder of downloads, besides the hub's notes of where things came from and what is given.
fn left(hub: &TestHub) -> usize {
    let found = std::fs::read_dir(hub.data().join("downloads")).unwrap().map(Result::unwrap);
    found.filter(|item| item.file_type().unwrap().is_dir() && item.file_name() != "seeds").count()
}

/// What came lies in the store only, or nowhere.
pub(crate) async fn emptied(hub: &TestHub) {
    eventually("what came is erased", async || left(hub) == 0).await;
}

#[tokio::test]
async fn a_file_is_fetched_once_for_each_account() {
    let body = bytes(900_000, 1);
    let served = body.clone();
    let server = Server::start(move |asked| up_to(good(asked, &served, "\"v1\""), usize::MAX)).await;
    let hub = hub(&[&server]).await;
    let (kim, lee) = (user(&hub, "kim").await, user(&hub, "lee").await);

    let done = fetched(&kim, &server.url("/data.bin")).await;
    assert_eq!(
        (done.state, done.files, done.saved_bytes),
        (DownloadState::Done, Some(1), Some(0)),
        "{done:?}"
    );
    assert!(content(&kim, "in/data.bin").await == body);
    emptied(&hub).await;

    // The server says that it is the same: linked at once, under another name, because the first one is taken.
    let again = fetched(&kim, &server.url("/data.bin")).await;
    assert_eq!((again.state, again.saved_bytes), (DownloadState::Done, Some(900_000)), "{again:?}");
    assert!(content(&kim, "in/data (2).bin").await == body);
    assert_eq!(server.seen()[1].header("if-none-match"), Some("\"v1\""));

    // Somebody else learns nothing of it.
    let other = fetched(&lee, &server.url("/data.bin")).await;
    assert_eq!((other.state, other.saved_bytes), (DownloadState::Done, Some(0)), "{other:?}");
    assert_eq!(server.seen()[2].header("if-none-match"), None);
    hub.running.stop().await.unwrap();
}

#[tokio::test]
async fn the_hub_goes_nowhere_that_only_it_can_reach() {
    let inside = Server::start(|_| vec![text("HTTP/1.1 200 OK\nContent-Length: 6\n\nsecret")]).await;
    let to = inside.url("/");
    let outside =
        Server::start(move |_| vec![text(&format!("HTTP/1.1 302 Found\nLocation: {to}\n\n"))]).await;
    let hub = hub(&[&outside]).await;
    let kim = user(&hub, "kim").await;
    for url in [
        inside.url("/"),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "http://[::ffff:127.0.0.1]/".to_owned(),
        "gopher://files.example/".to_owned(),
        "ftp://127.0.0.1/x".to_owned(),
        "file:///etc/passwd".to_owned(),
        "https://kim:secret@files.example/".to_owned(),
    ] {
        let refused = kim.add_download(&new(&url), None).await.unwrap_err();
        assert_eq!(refused.code(), Some("invalid"), "{url}: {refused}");
    }
    let name = fetched(&kim, &format!("http://localhost:{}/", inside.address.port())).await;
    let redirected = fetched(&kim, &outside.url("/")).await;
    for failed in [name, redirected] {
        assert_eq!(failed.state, DownloadState::Failed, "{failed:?}");
        assert!(failed.reason.as_ref().unwrap().contains("private address"), "{failed:?}");
    }
    assert!(inside.seen().is_empty(), "it heard nothing");
    hub.running.stop().await.unwrap();
}

#[tokio::test]
async fn what_never_ends_or_is_not_what_was_wanted_leaves_nothing() {
    let server = Server::start(|asked| match asked.path.as_str() {
        "/endless" => {
            vec![text("HTTP/1.0 200 OK\n\n"), Step::Forever(vec![7; 1 << 16], Duration::ZERO)]
        }
        "/missing" => vec![text("HTTP/1.1 404 -\n\n")],
        _ => up_to(good(asked, b"hello", "\"v1\""), usize::MAX),
    })
    .await;
    let hub = hub(&[&server]).await;
    let kim = user(&hub, "kim").await;
    let endless = NewDownload { limit_bytes: Some(1 << 20), ..new(&server.url("/endless")) };
    let wrong = NewDownload { sha256: Some(Default::default()), ..new(&server.url("/hello")) };
    for (new, why) in [
        (endless, "longer than the 1 MiB"),
        (wrong, "its SHA-256 is 2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"),
        (new(&server.url("/missing")), "answered 404"),
    ] {
        let id = kim.add_download(&new, None).await.unwrap().id;
        let failed = over(&kim, id).await;
        assert_eq!(failed.state, DownloadState::Failed, "{failed:?}");
        assert!(failed.reason.as_ref().unwrap().contains(why), "{failed:?}");
    }
    emptied(&hub).await;
    let named = NewDownload { path: "a/b.txt".parse().unwrap(), named: true, ..new(&server.url("/hello")) };
    let id = kim.add_download(&named, None).await.unwrap().id;
    assert_eq!(over(&kim, id).await.state, DownloadState::Done);
    assert_eq!(content(&kim, "a/b.txt").await, b"hello");
    hub.running.stop().await.unwrap();
}

/// Sends half of a file at once and the rest when it may.
fn half_then(body: Vec<u8>, go: Arc<AtomicBool>) -> impl Fn(&server::Asked) -> Vec<Step> {
    move |asked| {
        let (head, rest) = good(asked, &body, "\"v1\"");
        let mut steps = vec![Step::Send(head.into_bytes())];
        let (first, second) =
            rest.split_at(if go.load(Ordering::Relaxed) { rest.len() } else { rest.len() / 2 });
        steps.push(Step::Send(first.to_vec()));
        if !second.is_empty() {
            steps.push(Step::Wait(Duration::from_secs(600)));
        }
        steps
    }
}

/// Waits until so much of a file came and is noted as durable.
async fn half_way(hub: &TestHub, client: &HubClient, id: DownloadId, bytes: u64) {
    eventually("half of it comes", async || {
        client.download_state(id, 0).await.unwrap().got_bytes >= Some(bytes)
    })
    .await;
    let path = hub.data().join(format!("downloads/{id}/origin.json"));
    eventually("it is noted", async || {
        let note = std::fs::read(&path).unwrap_or_default();
        let note: serde_json::Value = serde_json::from_slice(&note).unwrap_or_default();
        note["durable"].as_u64() >= Some(bytes)
    })
    .await;
}

#[tokio::test]
async fn downloads_are_paused_resumed_and_cancelled_by_their_owner() {
    let (body, go) = (bytes(20 << 20, 2), Arc::new(AtomicBool::new(false)));
    let server = Server::start(half_then(body.clone(), Arc::clone(&go))).await;
    let hub = hub(&[&server]).await;
    let (kim, lee) = (user(&hub, "kim").await, user(&hub, "lee").await);
    let id = kim.add_download(&new(&server.url("/x")), None).await.unwrap().id;
    half_way(&hub, &kim, id, 10 << 20).await;

    for refused in [
        lee.download_state(id, 0).await.map(drop),
        lee.pause_download(id).await,
        lee.resume_download(id).await,
        lee.cancel_download(id).await,
    ] {
        assert_eq!(refused.unwrap_err().code(), Some("no_download"));
    }
    assert!(lee.downloads(None).await.unwrap().downloads.is_empty());

    kim.pause_download(id).await.unwrap();
    assert_eq!(kim.download_state(id, 0).await.unwrap().state, DownloadState::Paused);
    assert_eq!(kim.pause_download(id).await.unwrap_err().code(), Some("wrong_state"));
    eventually("it stops", async || kim.download_state(id, 0).await.unwrap().got_bytes.is_none()).await;
    assert_eq!((left(&hub), server.seen().len()), (1, 1), "what came stays");

    go.store(true, Ordering::Relaxed);
    kim.resume_download(id).await.unwrap();
    assert_eq!(over(&kim, id).await.state, DownloadState::Done);
    assert!(content(&kim, "in/x").await == body);
    assert_eq!(server.seen()[1].from(), Some(10 << 20));

    go.store(false, Ordering::Relaxed);
    let id = kim.add_download(&new(&server.url("/y")), None).await.unwrap().id;
    half_way(&hub, &kim, id, 10 << 20).await;
    kim.cancel_download(id).await.unwrap();
    assert_eq!(kim.download_state(id, 0).await.unwrap_err().code(), Some("no_download"));
    emptied(&hub).await;
    hub.running.stop().await.unwrap();
}

#[tokio::test]
async fn a_hub_that_starts_again_goes_on_where_it_was() {
    let (body, go) = (bytes(20 << 20, 3), Arc::new(AtomicBool::new(false)));
    let server = Server::start(half_then(body.clone(), Arc::clone(&go))).await;
    let hub = hub(&[&server]).await;
    let token = hub.open("kim", &[]).await;
    let kim = hub.client(&token);
    let id = kim.add_download(&new(&server.url("/x")), None).await.unwrap().id;
    half_way(&hub, &kim, id, 10 << 20).await;
    // What belongs to no download is swept away.
    std::fs::create_dir(hub.data().join("downloads/77")).unwrap();

    go.store(true, Ordering::Relaxed);
    let hub = hub.restarted().await;
    let kim = hub.client(&token);
    assert_eq!(over(&kim, id).await.state, DownloadState::Done);
    assert!(content(&kim, "in/x").await == body);
    let seen = server.seen();
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[1].from(), Some(10 << 20));
    emptied(&hub).await;
    hub.running.stop().await.unwrap();
}

#[tokio::test]
async fn nobody_takes_all_places() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counted, highest) = (Arc::clone(&now), Arc::clone(&most));
    let server = Server::start(move |asked| {
        if asked.path.starts_with("/kim") {
            highest.fetch_max(counted.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            let wait = Step::Wait(Duration::from_secs(600));
            return vec![text("HTTP/1.1 200 OK\nContent-Length: 10\n\nhalf."), wait];
        }
        up_to(good(asked, b"hello", "\"v1\""), usize::MAX)
    })
    .await;
    let hub = hub(&[&server]).await;
    let (kim, lee) = (user(&hub, "kim").await, user(&hub, "lee").await);
    for n in 0..8 {
        kim.add_download(&new(&server.url(&format!("/kim{n}"))), None).await.unwrap();
    }
    eventually("four of kim's run", async || now.load(Ordering::SeqCst) >= 4).await;
    assert_eq!(fetched(&lee, &server.url("/lee")).await.state, DownloadState::Done);
    assert_eq!(most.load(Ordering::SeqCst), 4);
    hub.running.stop().await.unwrap();
}

#[tokio::test]
async fn torrents_come_from_files_and_magnet_links() {
    let shared =
        Arc::new(Shared::new(&[("a.bin", &bytes(200_000, 4)), ("b/c.bin", &bytes(100_000, 5))], 1 << 15));
    let liar = Seeder::start(Arc::clone(&shared), usize::MAX, true).await;
    let honest = Seeder::start(Arc::clone(&shared), usize::MAX, false).await;
    let tracker = tracker(&[liar.address, honest.address]).await;
    let from = vec![liar.address, honest.address, tracker.address];
    let hub = TestHub::with(|options| options.downloads.from = from).await;
    let kim = user(&hub, "kim").await;

    let file = shared.torrent(&tracker.url("/"));
    let blob = Hash::of(&file);
    kim.put_blob(&Source::Bytes(file.into()), blob, Arc::new(|_| ())).await.unwrap();
    let some = NewDownload { url: None, torrent: Some(blob), files: vec![1], ..new("") };
    // Pieces come whole: the first one also holds the end of the other file.
    let tight = NewDownload { url: None, torrent: Some(blob), files: vec![1], ..new("") };
    let tight = NewDownload { limit_bytes: Some(100_000), ..tight };
    let id = kim.add_download(&tight, None).await.unwrap().id;
    let refused = over(&kim, id).await;
    assert_eq!(refused.state, DownloadState::Failed, "{refused:?}");
    assert!(refused.reason.as_ref().unwrap().contains("the pieces of its files have"), "{refused:?}");
    let id = kim.add_download(&some, None).await.unwrap().id;
    let done = over(&kim, id).await;
    assert_eq!(
        (done.state, done.files, done.got_bytes),
        (DownloadState::Done, Some(1), Some(100_000)),
        "{done:?}"
    );
    assert!(content(&kim, "in/dir/b/c.bin").await == shared.bytes[200_000..]);

    let all = NewDownload { path: "all".parse().unwrap(), ..new(&shared.magnet(&tracker.url("/"))) };
    let id = kim.add_download(&all, None).await.unwrap().id;
    assert_eq!(over(&kim, id).await.files, Some(2));
    assert!(content(&kim, "all/dir/a.bin").await == shared.bytes[..200_000]);
    emptied(&hub).await;

    let bad = kim.add_download(&new("magnet:?dn=x"), None).await.unwrap_err();
    assert_eq!(bad.code(), Some("invalid"));
    hub.running.stop().await.unwrap();
}

/// Fetches a torrent from a hub that gives it.
async fn taken(shared: &Shared, from: std::net::SocketAddr, dir: &std::path::Path) -> Option<Vec<u8>> {
    let tracker = tracker(&[from]).await;
    let guard = pumasi_fetch::address::Guard { private: false, open: vec![tracker.address, from] };
    let client = pumasi_fetch::Client::new(pumasi_fetch::Options { guard, ..Default::default() }).unwrap();
    let magnet = pumasi_fetch::Magnet::parse(&shared.magnet(&tracker.url("/"))).unwrap();
    let torrent = client.describe(&magnet, dir).await.ok()?;
    let progress = pumasi_fetch::Progress::default();
    let path = client.fetch_torrent(&torrent, &[], dir, &progress).await.ok()?;
    Some(std::fs::read(path).unwrap())
}

#[tokio::test]
async fn what_a_torrent_brought_is_given_back_if_the_operator_lets_it() {
    let shared =
        Arc::new(Shared::new(&[("a.bin", &bytes(200_000, 6)), ("b/c.bin", &bytes(100_000, 7))], 1 << 15));
    let seeder = Seeder::start(Arc::clone(&shared), usize::MAX, false).await;
    let tracker = tracker(&[seeder.address]).await;
    let from = vec![seeder.address, tracker.address];
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let hub = TestHub::with(|options| {
        options.downloads.from = from;
        options.downloads.seed_ratio = 10.0;
        options.downloads.torrent_listen = Some(free);
    })
    .await;
    let token = hub.open("kim", &[]).await;
    let kim = hub.client(&token);
    let done = fetched(&kim, &shared.magnet(&tracker.url("/"))).await;
    assert_eq!(done.state, DownloadState::Done, "{done:?}");
    emptied(&hub).await;
    let is_given = async |kim: &HubClient, bytes: u64| {
        eventually("it is told how much was given", async || {
            kim.download_state(done.id, 0).await.unwrap().given_bytes == Some(bytes)
        })
        .await;
    };
    let dir = tempfile::tempdir().unwrap();
    assert!(taken(&shared, free, &dir.path().join("1")).await.unwrap() == shared.bytes, "out of the store");
    is_given(&kim, 300_000).await;

    // It goes on after a start, with what it gave before.
    let hub = hub.restarted().await;
    let kim = hub.client(&token);
    assert!(taken(&shared, free, &dir.path().join("2")).await.unwrap() == shared.bytes);
    is_given(&kim, 600_000).await;
    let said: String = tracker.seen().iter().map(|asked| asked.path.clone() + "\n").collect();
    assert!(said.contains("&uploaded=0&downloaded=300000&left=0&") && said.contains("completed"), "{said}");

    // Until it is cancelled.
    kim.cancel_download(done.id).await.unwrap();
    let seeds = hub.data().join("downloads/seeds");
    eventually("it is forgotten", async || std::fs::read_dir(&seeds).unwrap().count() == 0).await;
    assert!(taken(&shared, free, &dir.path().join("3")).await.is_none());
    hub.running.stop().await.unwrap();
}

/// Torrents that are given at once.
const GIVEN: usize = 64;

/// Which torrents a tracker was told by those who give them that they begin or stop, in its order; and at which place.
fn told_by_givers(tracker: &Server, all: &[String], event: &str) -> Vec<(usize, usize)> {
    let seen = tracker.seen();
    let event = format!("&event={event}");
    let from_giver = |path: &str| path.contains("&downloaded=0&left=0&") && path.ends_with(&event);
    let told = seen.iter().enumerate().filter(|(_, asked)| from_giver(&asked.path));
    let which = |path: &str| all.iter().position(|hash| path.contains(hash)).unwrap();
    told.map(|(place, asked)| (which(&asked.path), place)).collect()
}

#[tokio::test]
async fn so_many_torrents_are_given_at_once_and_the_next_when_one_took_its_leave() {
    let (mut all, mut seeders) = (Vec::new(), Vec::new());
    for n in 0..GIVEN as u64 + 2 {
        let shared = Arc::new(Shared::new(&[("a.bin", &bytes(1_000, 100 + n))], 1 << 15));
        seeders.push(Seeder::start(Arc::clone(&shared), usize::MAX, false).await.address);
        all.push(shared);
    }
    let asked_for = |shared: &Arc<Shared>| {
        let hash = shared.info_hash().iter().fold(String::new(), |text, byte| format!("{text}%{byte:02X}"));
        format!("info_hash={hash}&")
    };
    let hashes: Vec<String> = all.iter().map(asked_for).collect();
    let (named, peers) = (hashes.clone(), seeders.clone());
    let tracker = Server::start(move |asked| {
        let number = named.iter().position(|hash| asked.path.contains(hash)).unwrap();
        vec![seeder::known(&peers[number..=number])]
    })
    .await;
    let hub = TestHub::with(|options| {
        options.downloads.from = [&seeders[..], &[tracker.address]].concat();
        options.downloads.seed_ratio = 100.0;
        options.downloads.each = 16;
    })
    .await;
    let kim = user(&hub, "kim").await;
    let mut ids = Vec::new();
    for (n, shared) in all.iter().enumerate() {
        let torrent = put(&kim, &shared.torrent(&tracker.url("/"))).await;
        let path = format!("in/{n}").parse().unwrap();
        let one = NewDownload { url: None, torrent: Some(torrent), path, ..new("") };
        ids.push(kim.add_download(&one, None).await.unwrap().id);
    }
    for id in &ids {
        let done = over(&kim, *id).await;
        assert_eq!(done.state, DownloadState::Done, "{done:?}");
    }
    let seeds = hub.data().join("downloads/seeds");
    eventually("all are to be given", async || {
        files(&seeds).iter().filter(|file| file.extension().is_some_and(|kind| kind == "json")).count()
            == all.len()
    })
    .await;
    let began = || told_by_givers(&tracker, &hashes, "started");
    eventually("as many are given as may be", async || began().len() >= GIVEN).await;
    let (first, _) = began()[0];
    kim.cancel_download(ids[first]).await.unwrap();
    eventually("the next one has its turn", async || began().len() > GIVEN).await;
    let stopped = told_by_givers(&tracker, &hashes, "stopped");
    assert!(stopped.len() == 1 && stopped[0].0 == first, "{stopped:?}");
    assert!(stopped[0].1 < began()[GIVEN].1, "its tracker heard of it before the next one began");
    hub.running.stop().await.unwrap();
}
