//! Files over HTTP: what is put is had back, in parts and in older versions; the store lets go of the rest only.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pumasi_api::client::{Download, HubClient, ListOf};
use pumasi_api::wire::files::*;
use pumasi_blobs::BlobStore;
use pumasi_types::{FilePath, Hash};

use crate::common::*;

pub(crate) fn path(text: &str) -> FilePath {
    text.parse().unwrap()
}

/// A file as it is put, with nothing said of it.
pub(crate) fn file(at: &str, blob: Hash) -> PutFile {
    PutFile {
        path: path(at),
        blob,
        modified_ns: None,
        executable: false,
        labels: Default::default(),
        condition: Condition::Any,
    }
}

/// Stores bytes and puts them at a path.
pub(crate) async fn put_at(client: &HubClient, space: &str, at: &str, bytes: &[u8]) -> FileResult {
    let blob = put(client, bytes).await;
    let done = client.put_files(space, &PutFiles { files: vec![file(at, blob)] }, None).await.unwrap();
    done.results.into_iter().next().unwrap()
}

pub(crate) async fn all(mut download: Download) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(piece) = download.next().await.unwrap() {
        bytes.extend_from_slice(&piece);
    }
    bytes
}

async fn read(client: &HubClient, space: &str, at: &str) -> Vec<u8> {
    all(client.read_file(space, &path(at), None, None).await.unwrap()).await
}

fn paths(entries: &Entries) -> Vec<&str> {
    entries.entries.iter().map(|entry| entry.path.as_str()).collect()
}

#[tokio::test]
async fn what_is_put_is_had_back_also_after_a_restart() {
    let hub = TestHub::new().await;
    let alice = hub.researcher("alice", "1").await;
    let home = alice.space(HOME).await.unwrap();
    assert_eq!((home.name.as_str(), home.access, home.used_bytes), ("alice", Some(Access::Manage), 0));
    // Larger than a chunk and a block, and some of it different, so that ranges cross the cuts.
    let large: Vec<u8> = (0..6_000_000_u32)
        .flat_map(|n| (n.wrapping_mul(2_654_435_761) >> 24).to_le_bytes()[..1].to_vec())
        .collect();
    let blob = put(&alice, &large).await;
    let mut first = file("data/large", blob);
    first.modified_ns = Some(1_700_000_000_123_456_789);
    first.executable = true;
    first.labels.insert("content-type".to_owned(), "text/x-물개".to_owned());
    let empty = put(&alice, b"").await;
    let files =
        PutFiles { files: vec![first.clone(), file("data/empty", empty), file("빈 폴더/a+b&c", empty)] };
    let done = alice.put_files(HOME, &files, None).await.unwrap();
    assert!(done.results.iter().all(|one| one.error.is_none() && one.version.is_some()), "{done:?}");

    let found = alice.find_file("alice", &path("data/large")).await.unwrap();
    let version = found.file.clone().unwrap();
    assert_eq!((version.size, version.blob), (6_000_000, blob));
    let about = (version.about.modified_ns, version.about.executable, version.about.labels);
    assert_eq!(about, (first.modified_ns, true, first.labels.clone()));
    let folder = alice.find_file(HOME, &path("data")).await.unwrap().folder.unwrap();
    assert_eq!((folder.files, folder.bytes), (2, 6_000_000));

    for range in [0..1, 0..6_000_000, 5_999_999..6_000_000, 65_000..70_000, 1_000_000..5_000_000, 3..3] {
        let part = alice.read_file(HOME, &path("data/large"), None, Some(range.clone())).await.unwrap();
        let wanted = &large[range.start as usize..range.end as usize];
        assert!(all(part).await == wanted, "{range:?}");
        let part = alice.read_blob(blob, Some(range.clone())).await.unwrap();
        assert!(all(part).await == wanted, "{range:?}");
    }
    let beyond = alice.read_file(HOME, &path("data/large"), None, Some(6_000_000..6_000_001)).await;
    assert_eq!(refusal(beyond.map(drop)).0, 416);
    assert_eq!(read(&alice, HOME, "data/empty").await, b"");

    let hub = hub.restarted().await;
    let alice = hub.client(&hub.new_token("alice").await);
    assert!(read(&alice, HOME, "data/large").await == large);
    let listed = alice.list_folder(HOME, &FilePath::root(), ListOf::default()).await.unwrap();
    assert_eq!(paths(&listed), ["data", "빈 폴더"]);
    let walked = alice.walk_files(HOME, "", ListOf::default()).await.unwrap();
    assert_eq!(paths(&walked), ["data/empty", "data/large", "빈 폴더/a+b&c"]);
}

#[tokio::test]
async fn pages_lead_on_to_everything_once() {
    let hub = TestHub::new().await;
    let alice = hub.researcher("alice", "1").await;
    let blob = put(&alice, b"x").await;
    let names: Vec<String> =
        (0..25).map(|n| format!("f/{n:02}{}", if n % 3 == 0 { "/in" } else { "" })).collect();
    let files = names.iter().map(|name| file(name, blob)).collect();
    alice.put_files(HOME, &PutFiles { files }, None).await.unwrap();
    let (mut listed, mut walked) = (Vec::new(), Vec::new());
    for walks in [false, true] {
        let mut after: Option<String> = None;
        loop {
            let list = ListOf { after: after.as_deref(), limit: Some(4) };
            let page = match walks {
                true => alice.walk_files(HOME, "f/", list).await.unwrap(),
                false => alice.list_folder(HOME, &path("f"), list).await.unwrap(),
            };
            assert!(page.entries.len() <= 4);
            let paths = page.entries.iter().map(|entry| entry.path.to_string());
            if walks {
                walked.extend(paths)
            } else {
                listed.extend(paths)
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
    }
    assert_eq!(walked, names);
    assert_eq!(listed, names.iter().map(|name| name.trim_end_matches("/in").to_owned()).collect::<Vec<_>>());
}

#[tokio::test]
async fn many_small_files_travel_together() {
    let hub = TestHub::new().await;
    let alice = hub.researcher("alice", "1").await;
    let bytes: Vec<Bytes> = (0..MANY_BLOBS).map(|n| Bytes::from(format!("file {}", n % 990))).collect();
    let stored = alice.put_blobs(&bytes).await.unwrap();
    assert!(stored.iter().zip(&bytes).all(|(stored, bytes)| stored.hash == Hash::of(bytes)));
    let files =
        stored.iter().enumerate().map(|(n, stored)| file(&format!("many/{n}"), stored.hash)).collect();
    let done = alice.put_files(HOME, &PutFiles { files }, None).await.unwrap();
    assert!(done.results.iter().all(|one| one.error.is_none()));
    let mut wanted: Vec<FilePath> = (0..500).map(|n| path(&format!("many/{n}"))).collect();
    wanted.insert(3, path("many/none"));
    wanted.insert(5, path("many"));
    let mut files = alice.read_files(HOME, wanted).await.unwrap();
    for n in 0..502 {
        let read = files.next(1 << 20).await.unwrap();
        let n = if n > 5 {
            n - 2
        } else if n > 3 {
            n - 1
        } else {
            n
        };
        match read {
            Some(read) => assert_eq!(read, bytes[n]),
            None => assert!(n == 3 || n == 4, "{n}"),
        }
    }
    assert!(files.next(1 << 20).await.is_err(), "there are no more");
    let too_many = (0..1_001).map(|n| path(&n.to_string())).collect();
    assert_eq!(refusal(alice.read_files(HOME, too_many).await.map(drop)).1, "too_many");
    let token = hub.open("bob", &[]).await;
    let bearer = format!("Bearer {token}");
    let cut = [&9_u64.to_le_bytes()[..], b"too short"].concat();
    let answer =
        hub.raw("POST", "/v1/blobs/many", &[("authorization", &bearer)], &cut[..cut.len() - 1]).await;
    answer.expect(400, "invalid");
    let large = vec![0; MANY_BYTES + 1];
    hub.raw("POST", "/v1/blobs/many", &[("authorization", &bearer)], &large).await.expect(413, "too_large");
}

#[tokio::test]
async fn what_was_overwritten_moved_or_removed_is_had_back() {
    let hub = TestHub::new().await;
    let alice = hub.researcher("alice", "1").await;
    let first = put_at(&alice, HOME, "a/b", b"one").await;
    let second = put_at(&alice, HOME, "a/b", b"two").await;
    assert_eq!(first.id, second.id);
    let versions = alice.file_versions(HOME, &path("a/b")).await.unwrap().versions;
    assert_eq!(versions.len(), 2);
    let older = alice.read_file(HOME, &path("a/b"), first.version, None).await.unwrap();
    assert_eq!(all(older).await, b"one");
    alice
        .revert_file(HOME, &Revert { path: path("a/b"), version: first.version.unwrap() }, None)
        .await
        .unwrap();
    assert_eq!(read(&alice, HOME, "a/b").await, b"one");

    let moved = MoveFile { from: path("a"), to: path("c/d"), replace: false };
    alice.move_file(HOME, &moved, None).await.unwrap();
    assert_eq!(read(&alice, HOME, "c/d/b").await, b"one");
    assert_eq!(refusal(alice.find_file(HOME, &path("a")).await).1, "no_file");
    let copy = CopyFile { from_space: None, from: path("c"), to: path("copy"), replace: false };
    assert_eq!(alice.copy_file(HOME, &copy, None).await.unwrap().count, 3);
    assert_eq!(read(&alice, HOME, "copy/d/b").await, b"one");

    let remove =
        |recursive| RemoveFiles { paths: vec![path("c"), path("nowhere")], recursive, forever: false };
    let refused = alice.remove_files(HOME, &remove(false), None).await.unwrap();
    let codes: Vec<_> = refused.results.iter().map(|one| one.error.as_ref().unwrap().code.as_str()).collect();
    assert_eq!(codes, ["folder_not_empty", "no_file"]);
    let removed = alice.remove_files(HOME, &remove(true), None).await.unwrap();
    assert!(removed.results[0].error.is_none() && removed.results[1].error.is_some());
    let trash = alice.trash(HOME, None).await.unwrap().trash;
    assert_eq!((trash.len(), trash[0].entry.path.as_str()), (1, "c"));
    let restore = Restore { id: trash[0].entry.id, to: Some(path("back")) };
    alice.restore_file(HOME, &restore, None).await.unwrap();
    assert_eq!(read(&alice, HOME, "back/d/b").await, b"one");
    assert_eq!(refusal(alice.restore_file(HOME, &restore, None).await).1, "not_in_trash");

    alice.make_folder(HOME, path("kept/inner"), None).await.unwrap();
    let walked = alice.walk_files(HOME, "kept", ListOf::default()).await.unwrap();
    assert_eq!(paths(&walked), ["kept/inner"], "the other is there as long as something lies in it");
    alice
        .remove_files(HOME, &RemoveFiles { paths: vec![path("copy")], recursive: true, forever: false }, None)
        .await
        .unwrap();
    alice.empty_trash(HOME, None, None).await.unwrap();
    assert_eq!(alice.trash(HOME, None).await.unwrap().trash, []);
}

#[tokio::test]
async fn conditions_quotas_and_repeated_requests_are_kept() {
    let hub = TestHub::new().await;
    let alice = hub.researcher("alice", "1").await;
    let space = alice.make_space(&NewSpace { name: "lab".to_owned(), keep_ms: Some(0) }, None).await.unwrap();
    assert_eq!((space.keep_ms, space.access), (0, Some(Access::Manage)));
    let placed = put_at(&alice, "lab", "f", b"0123456789").await;
    let blob = put(&alice, b"other").await;
    let conditioned = |condition| PutFiles { files: vec![PutFile { condition, ..file("f", blob) }] };
    let code = |done: FileResults| done.results[0].error.as_ref().map(|error| error.code.clone());
    let absent = alice.put_files("lab", &conditioned(Condition::Absent), None).await.unwrap();
    assert_eq!(code(absent).as_deref(), Some("exists"));
    let over = Condition::Version(placed.version.unwrap());
    // Sent twice, as when the first answer is lost: done once.
    let id = Some(HubClient::new_request_id());
    let once = alice.put_files("lab", &conditioned(over), id).await.unwrap();
    let twice = alice.put_files("lab", &conditioned(over), id).await.unwrap();
    assert_eq!((&once, code(once.clone())), (&twice, None));
    let again = alice.put_files("lab", &conditioned(over), None).await.unwrap();
    assert_eq!(code(again).as_deref(), Some("changed"));

    let quota = |bytes| ChangeSpace { keep_ms: None, quota_bytes: Some(bytes) };
    hub.operator().change_space("lab", &quota(20), None).await.unwrap();
    let full = put_at(&alice, "lab", "g", &[1; 16]).await.error.unwrap();
    assert_eq!(full.code, "quota_exceeded");
    assert!(full.message.contains("20 B") && full.message.contains("15 B"), "{}", full.message);
    assert!(put_at(&alice, "lab", "g", &[1; 15]).await.error.is_none());
    let bearer = format!("Bearer {}", hub.new_token("alice").await);
    let headers = [("authorization", bearer.as_str()), ("content-type", "text/plain; charset=utf-8")];
    // Too large for good: refused before its bytes come.
    hub.raw("PUT", "/v1/spaces/lab/content?path=h", &headers, &[7; 21]).await.expect(507, "quota_exceeded");
    hub.raw("PUT", "/v1/spaces/lab/content?path=h", &headers, &[7; 1]).await.expect(507, "quota_exceeded");
    hub.operator().change_space("lab", &quota(1 << 20), None).await.unwrap();
    let put = hub
        .raw("PUT", "/v1/spaces/lab/content?path=h%2Fi&executable=true&absent=true", &headers, b"hello")
        .await;
    assert_eq!(put.status, 200, "{put:?}");
    let found = alice.find_file("lab", &path("h/i")).await.unwrap().file.unwrap();
    assert!(found.about.executable && found.size == 5);
    assert_eq!(found.about.labels["content-type"], "text/plain");
    let put = hub.raw("PUT", "/v1/spaces/lab/content?path=h%2Fi&absent=true", &headers, b"again").await;
    put.expect(409, "exists");
    let tag = format!("\"{}\"", Hash::of(b"hello"));
    let known = [headers[0], ("if-none-match", tag.as_str())];
    assert_eq!(hub.raw("GET", "/v1/spaces/lab/content?path=h%2Fi", &known, b"").await.status, 304);
    let part = [headers[0], ("range", "bytes=-2")];
    let part = hub.raw("GET", "/v1/spaces/lab/content?path=h%2Fi", &part, b"").await;
    assert_eq!((part.status, part.body.as_str()), (206, "lo"));
    assert_eq!(part.header("content-range"), Some("bytes 3-4/5"));
    assert_eq!(part.header("content-security-policy"), Some("sandbox; default-src 'none'"));
    for bad in ["..", "/", "a//b", "%00", "a%2F.."] {
        let answer = hub.raw("GET", &format!("/v1/spaces/lab/file?path={bad}"), &headers, b"").await;
        answer.expect(400, "invalid");
    }
}

#[tokio::test]
async fn the_store_lets_go_of_what_nothing_refers_to_and_of_nothing_else() {
    let hub = TestHub::with(|options| options.collect_grace = Duration::from_secs(3)).await;
    let TestHub { dir, running, options } = hub;
    running.stop().await.unwrap();
    // What was put when nobody noted whose it is, as by a hub that was killed in between.
    let garbage: Vec<Bytes> = (0..40_u8).map(|n| Bytes::from(vec![n; 200_000])).collect();
    let noise: Vec<u8> =
        (0..3_000_000_u64).map(|n| (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect();
    let store = BlobStore::open(&options.data.join("blobs")).await.unwrap();
    let mut lost = store.put_many(garbage).await.unwrap();
    lost.push(store.put(noise.into()).await.unwrap());
    drop(store);
    // Until it is no longer young.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let running = pumasi_hub::start(options.clone()).await.unwrap();
    let hub = TestHub { dir, running, options };

    let alice = hub.researcher("alice", "100").await;
    put_at(&alice, HOME, "f", b"one").await;
    put_at(&alice, HOME, "f", b"two").await;
    put_at(&alice, HOME, "gone/g", b"in the trash").await;
    let remove = RemoveFiles { paths: vec![path("gone")], recursive: true, forever: false };
    alice.remove_files(HOME, &remove, None).await.unwrap();
    let claimed = put(&alice, b"claimed only").await;
    let own = put(&alice, b"a task's own").await;
    let list = put(&alice, format!("{{\"name\":\"t\",\"file\":\"{own}\"}}\n").as_bytes()).await;
    let module = put(&alice, MODULE).await;
    let order = pumasi_api::wire::SubmitJob { task_list: Some(list), ..job(module, 1, "50") };
    let ordered: pumasi_api::wire::Job = alice.post("/v1/jobs", &order, None).await.unwrap();

    let writing = tokio::spawn({
        let alice = alice.clone();
        async move {
            for n in 0..60_u32 {
                put_at(&alice, HOME, &format!("meanwhile/{n}"), &n.to_le_bytes().repeat(5_000)).await;
            }
        }
    });
    assert_eq!(refusal(alice.collect_store().await).0, 403);
    let mut removed = 0;
    for _ in 0..3 {
        let done = hub.operator().collect_store().await.unwrap();
        assert_eq!(done.missing, 0);
        removed += done.bytes_removed;
    }
    writing.await.unwrap();
    let done = hub.operator().collect_store().await.unwrap();
    assert!(removed + done.bytes_removed > 3_000_000, "{removed} {done:?}");

    let versions = alice.file_versions(HOME, &path("f")).await.unwrap().versions;
    for (version, bytes) in versions.iter().zip([b"two", b"one"]) {
        assert_eq!(
            all(alice.read_file(HOME, &path("f"), Some(version.version), None).await.unwrap()).await,
            bytes
        );
    }
    for n in 0..60_u32 {
        assert_eq!(read(&alice, HOME, &format!("meanwhile/{n}")).await, n.to_le_bytes().repeat(5_000));
    }
    let trash = alice.trash(HOME, None).await.unwrap().trash;
    alice.restore_file(HOME, &Restore { id: trash[0].entry.id, to: None }, None).await.unwrap();
    assert_eq!(read(&alice, HOME, "gone/g").await, b"in the trash");
    for blob in [claimed, own, list, module] {
        assert!(!alice.get_blob(blob, 1 << 20, Arc::new(|_| ())).await.unwrap().is_empty());
    }
    let stats = hub.operator().store_stats().await.unwrap();
    assert!(stats.logical_bytes > 1_200_000 && stats.unique_bytes > 0, "{stats:?}");
    assert_eq!(refusal(alice.store_stats().await).0, 403);
    assert_eq!(show(&alice, &ordered).await.state, "active");
    let data = hub.options.data.clone();
    hub.running.stop().await.unwrap();
    let store = BlobStore::open(&data.join("blobs")).await.unwrap();
    assert!(lost.iter().all(|blob| !store.contains(blob).unwrap()), "it was kept");
    assert_eq!(store.check(true).await.unwrap().problems, []);
}

#[tokio::test]
async fn operators_see_what_each_space_needs_alone_and_members_do_not() {
    let hub = TestHub::new().await;
    let (alice, bob) = (hub.researcher("alice", "1").await, hub.researcher("bob", "1").await);
    // Each is one chunk, so no list of chunks is counted.
    let [both, twice] = [noise("both", 20_000), noise("twice", 10_000)];
    for (at, bytes) in [
        ("both", &both),
        ("a", &twice),
        ("b", &twice),
        ("v", &noise("older", 5_000)),
        ("v", &noise("newer", 6_000)),
        ("gone", &noise("trash", 3_000)),
    ] {
        assert!(put_at(&alice, HOME, at, bytes).await.error.is_none(), "{at}");
    }
    let remove = RemoveFiles { paths: vec![path("gone")], recursive: false, forever: false };
    alice.remove_files(HOME, &remove, None).await.unwrap();
    put_at(&bob, HOME, "also", &both).await;
    put_at(&bob, HOME, "own", &noise("own", 7_000)).await;
    // What somebody only sent is in no space.
    put(&bob, &twice).await;

    let operator = hub.operator();
    let counted = operator.store_spaces(None, None).await.unwrap();
    let told = |spaces: &[SpaceShare]| -> Vec<(String, String, [u64; 4])> {
        let bytes = |of: &SpaceShare| [of.logical_bytes, of.own_bytes, of.shared_bytes, of.saved_bytes];
        spaces.iter().map(|of| (of.name.clone(), of.owner_name.clone(), bytes(of))).collect()
    };
    let row = |name: &str, bytes| (name.to_owned(), name.to_owned(), bytes);
    let [alices, bobs] =
        [row("alice", [54_000, 24_000, 20_000, 30_000]), row("bob", [27_000, 7_000, 20_000, 20_000])];
    let spaces = counted.spaces.unwrap();
    assert_eq!((told(&spaces), counted.next), (vec![alices, bobs.clone()], None));

    // Pages are of the count that was begun; whoever names none has it counted anew.
    put_at(&bob, HOME, "a", &twice).await;
    let same = operator.store_spaces(Some(counted.count), Some(spaces[0].id)).await.unwrap();
    assert_eq!((same.count, told(&same.spaces.unwrap())), (counted.count, vec![bobs]));
    let anew = operator.store_spaces(None, None).await.unwrap();
    assert!(anew.count > counted.count);
    let both = [row("alice", [54_000, 14_000, 30_000, 40_000]), row("bob", [37_000, 7_000, 30_000, 30_000])];
    assert_eq!(told(&anew.spaces.unwrap()), both);
    let unknown = operator.store_spaces(Some(anew.count + 7), None).await.unwrap();
    assert_eq!((unknown.count, told(&unknown.spaces.unwrap())), (anew.count + 1, both.to_vec()));

    for count in [None, Some(anew.count)] {
        assert_eq!(refusal(alice.store_spaces(count, None).await).0, 403);
    }
}
