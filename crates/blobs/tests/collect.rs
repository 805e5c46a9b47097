//! Collection while others write and whatever crashes, against a naive model.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use common::{Unreliable, noise};
use futures_util::{StreamExt, stream};
use proptest::prelude::*;
use pumasi_blobs::{BlobError, BlobStore, Options, Writer};
use pumasi_types::{ByteSize, Duration, Hash, Time};
use tempfile::TempDir;
use tokio::sync::oneshot;

const HOUR: Duration = Duration::from_secs(3600);
const GRACE: Duration = Duration(10 * HOUR.0);

static CLOCK: AtomicU64 = AtomicU64::new(0);

fn clock() -> Time {
    Time(CLOCK.load(Ordering::SeqCst))
}

fn options(grace: Duration) -> Options {
    Options { grace, clock, ..Options::default() }
}

/// The n-th blob: lengths around what the store treats differently; large ones share parts.
fn nth(n: u8) -> Bytes {
    let n = u64::from(n);
    match n % 4 {
        0 => noise(n, 10 * n as usize),
        1 => noise(n, 40_000),
        _ => {
            let parts = [n % 3, n % 5, n % 7].map(|part| noise(1000 + part, 150_000));
            [noise(n, 100), parts.concat().into()].concat().into()
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Put {
        blob: u8,
        is_root: bool,
    },
    /// Put by a writer that stays open until the next collection is under way.
    Hold {
        blob: u8,
        is_root: bool,
    },
    Link(u8),
    Unroot(u8),
    Wait {
        hours: u8,
    },
    Collect {
        meanwhile: Vec<(u8, bool)>,
        changes_before_crash: Option<u8>,
    },
    Crash,
    LoseIndex,
}

fn step() -> impl Strategy<Value = Step> {
    let blob = 0_u8..40;
    prop_oneof![
        6 => (blob.clone(), any::<bool>()).prop_map(|(blob, is_root)| Step::Put { blob, is_root }),
        2 => (blob.clone(), any::<bool>()).prop_map(|(blob, is_root)| Step::Hold { blob, is_root }),
        3 => blob.clone().prop_map(Step::Link),
        4 => blob.clone().prop_map(Step::Unroot),
        3 => (1_u8..20).prop_map(|hours| Step::Wait { hours }),
        4 => (prop::collection::vec((blob, any::<bool>()), 0..5), prop::option::of(0_u8..8)).prop_map(
            |(meanwhile, changes_before_crash)| Step::Collect { meanwhile, changes_before_crash }
        ),
        1 => Just(Step::Crash),
        1 => Just(Step::LoseIndex),
    ]
}

/// What must be in the store.
#[derive(Default)]
struct Model {
    roots: BTreeSet<u8>,
    /// When each blob that must be there was last acknowledged.
    acknowledged: BTreeMap<u8, Time>,
}

struct World {
    grace: Duration,
    dir: TempDir,
    objects: Unreliable,
    store: Option<BlobStore>,
    held: Vec<(Writer, u8, bool)>,
    model: Model,
}

impl World {
    async fn new(grace: Duration) -> World {
        let (dir, objects) = (tempfile::tempdir().unwrap(), Unreliable::new());
        let (held, model) = (Vec::new(), Model::default());
        let mut world = World { grace, dir, objects, store: None, held, model };
        world.open().await;
        world
    }

    async fn open(&mut self) {
        self.held.clear();
        drop(self.store.take());
        self.objects.fail_after(None);
        // Tasks of the store that went hold it, and its lock, until they have failed.
        for _ in 0..1000 {
            match BlobStore::open_on(self.dir.path(), Arc::new(self.objects.clone()), options(self.grace))
                .await
            {
                Err(BlobError::InUse { .. }) => tokio::time::sleep(std::time::Duration::from_millis(5)).await,
                store => {
                    self.store = Some(store.unwrap());
                    return;
                }
            }
        }
        panic!("the store before never ends");
    }

    fn store(&self) -> &BlobStore {
        self.store.as_ref().unwrap()
    }

    fn acknowledge(&mut self, blob: u8, is_root: bool) {
        self.model.acknowledged.insert(blob, clock());
        if is_root {
            self.model.roots.insert(blob);
        }
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Put { blob, is_root } => {
                self.store().put(nth(blob)).await.unwrap();
                self.acknowledge(blob, is_root);
            }
            Step::Hold { blob, is_root } => {
                let mut writer = self.store().writer();
                writer.put_many(vec![nth(blob)]).await.unwrap();
                self.held.push((writer, blob, is_root));
            }
            Step::Link(blob) => match self.store().link(&Hash::of(&nth(blob))).await {
                Ok(()) => self.acknowledge(blob, true),
                Err(BlobError::NotFound { .. }) => {
                    assert!(!self.model.acknowledged.contains_key(&blob), "{blob} must be there");
                }
                Err(error) => panic!("{error}"),
            },
            Step::Unroot(blob) => drop(self.model.roots.remove(&blob)),
            Step::Wait { hours } => drop(CLOCK.fetch_add(u64::from(hours) * HOUR.0, Ordering::SeqCst)),
            Step::Collect { meanwhile, changes_before_crash } => {
                self.collect(meanwhile, changes_before_crash).await;
            }
            Step::Crash => self.open().await,
            Step::LoseIndex => {
                self.held.clear();
                drop(self.store.take());
                let _ = std::fs::remove_file(self.dir.path().join("index.redb"));
                self.open().await;
                // Links to old bytes were remembered there, but everything counts as new now.
            }
        }
    }

    async fn collect(&mut self, meanwhile: Vec<(u8, bool)>, changes_before_crash: Option<u8>) {
        let begun = clock();
        let roots = self.model.roots.clone();
        let named: Vec<Hash> = roots.iter().map(|blob| Hash::of(&nth(*blob))).collect();
        let mut before = self.model.acknowledged.clone();
        if let Some(changes) = changes_before_crash {
            self.objects.fail_after(Some(changes.into()));
        }
        let store = self.store().clone();
        // What is acknowledged before a collection listens may go with it.
        let (listens, listening) = oneshot::channel();
        let naming = stream::once(async move {
            let _ = listens.send(());
            stream::iter(named)
        });
        let collecting = tokio::spawn(async move { store.collect(pin!(naming.flatten())).await });
        listening.await.unwrap();
        for (n, (blob, link)) in meanwhile.into_iter().enumerate() {
            for _ in 0..n * 3 {
                tokio::task::yield_now().await;
            }
            let done = match link {
                true => self.store().link(&Hash::of(&nth(blob))).await,
                false => self.store().put(nth(blob)).await.map(drop),
            };
            if done.is_ok() {
                self.acknowledge(blob, false);
                before.remove(&blob);
            }
        }
        for (writer, blob, is_root) in std::mem::take(&mut self.held) {
            if writer.finish().await.is_ok() {
                self.acknowledge(blob, is_root);
                before.remove(&blob);
            }
        }
        let collected = collecting.await.unwrap();
        assert!(collected.is_ok() || changes_before_crash.is_some(), "{collected:?}");
        for (blob, at) in before {
            if !roots.contains(&blob) && (self.grace.0 == 0 || begun.since(at) >= self.grace) {
                self.model.acknowledged.remove(&blob);
            }
        }
        if changes_before_crash.is_some() {
            self.open().await;
        }
    }

    async fn sanity_check(&self) {
        let store = self.store();
        for n in 0..40 {
            let (bytes, hash) = (nth(n), Hash::of(&nth(n)));
            match store.get(&hash).await {
                Ok(found) => assert!(found == bytes, "{n} is another"),
                Err(BlobError::NotFound { .. }) => {
                    assert!(!self.model.acknowledged.contains_key(&n), "{n} was acknowledged and is lost");
                    assert!(!store.contains(&hash).unwrap(), "{n} is there and is not");
                }
                Err(error) => panic!("{n}: {error}"),
            }
        }
        let checked = store.check(true).await.unwrap();
        assert_eq!(checked.problems, [], "{:?}", store.stats());
    }
}

fn run(grace: Duration, steps: Vec<Step>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut world = World::new(grace).await;
        for step in steps {
            world.step(step).await;
            world.sanity_check().await;
        }
        world.open().await;
        world.sanity_check().await;
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn nothing_that_is_needed_is_ever_lost(
        has_grace in any::<bool>(), steps in prop::collection::vec(step(), 1..24),
    ) {
        run(if has_grace { GRACE } else { Duration(0) }, steps);
    }
}

#[tokio::test]
async fn what_nobody_needs_goes_and_what_is_left_is_packed_again() {
    let (dir, objects) = (tempfile::tempdir().unwrap(), Arc::new(Unreliable::new()));
    let store = BlobStore::open_on(dir.path(), objects, options(Duration(0))).await.unwrap();
    let blobs: Vec<Bytes> = (0..40).map(|n| noise(n, 4 << 20)).collect();
    let hashes = store.put_many(blobs.clone()).await.unwrap();
    let full = store.stats().unwrap();
    assert!(full.stored_bytes > 160 << 20 && full.unique_bytes >= 160 << 20, "{full:?}");

    let all = store.collect(stream::iter(hashes.clone())).await.unwrap();
    assert_eq!((all.roots, all.packs_removed, all.bytes_removed), (40, 0, 0));
    let kept: Vec<Hash> = hashes.iter().step_by(8).copied().collect();
    let some = store.collect(stream::iter(kept.clone())).await.unwrap();
    assert_eq!((some.roots, some.missing_roots), (5, 0));
    assert!(some.packs_removed >= 3 && some.bytes_removed > 140 << 20, "{some:?}");
    let left = store.stats().unwrap();
    assert!(left.stored_bytes < 21 << 20, "{left:?}");
    assert_eq!(left.manifests, 5);
    for (hash, blob) in hashes.iter().zip(&blobs) {
        match kept.contains(hash) {
            true => assert!(store.get(hash).await.unwrap() == *blob),
            false => assert!(matches!(store.get(hash).await, Err(BlobError::NotFound { .. }))),
        }
    }
    let none = store.collect(stream::iter([Hash::of(b"a root that is not here")])).await.unwrap();
    assert_eq!((none.roots, none.missing_roots), (1, 1));
    assert_eq!(store.stats().unwrap().stored_bytes, 0);
    assert_eq!(store.check(true).await.unwrap().problems, []);
}

/// The space of a removed file is free only when nobody has it open.
#[tokio::test]
async fn packs_that_were_read_on_and_removed_give_their_space_back() {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().canonicalize().unwrap();
    let options = Options { fsync: false, ..options(Duration(0)) };
    let store = BlobStore::open_with(&top, options).await.unwrap();
    let blobs: Vec<Bytes> = (0..80).map(|n| noise(n, 30_000)).collect();
    let mut hashes = Vec::new();
    // More packs than readers are followed.
    for some in blobs.chunks(2) {
        hashes.extend(store.put_many(some.to_vec()).await.unwrap());
    }
    for (hash, blob) in hashes.iter().zip(&blobs) {
        assert_eq!(store.get(hash).await.unwrap(), blob);
    }
    let collected = store.collect(stream::iter(hashes[..3].to_vec())).await.unwrap();
    assert_eq!(collected.packs_removed, 40);
    for (hash, blob) in hashes[..3].iter().zip(&blobs) {
        assert_eq!(store.get(hash).await.unwrap(), blob);
    }
    let packs = top.join("packs");
    let open = std::fs::read_dir("/proc/self/fd").unwrap();
    let open = open.filter_map(|file| std::fs::read_link(file.unwrap().path()).ok());
    let open: Vec<_> = open.filter(|file| file.parent() == Some(packs.as_path())).collect();
    assert!(open.is_empty(), "{open:?}");
}

/// The empty blob has no frame, and a server gives no empty range.
#[tokio::test]
async fn the_empty_blob_survives_among_small_packs_that_are_put_together() {
    let (dir, objects) = (tempfile::tempdir().unwrap(), Arc::new(Unreliable::new()));
    let store = BlobStore::open_on(dir.path(), objects, options(Duration(0))).await.unwrap();
    let mut roots = Vec::new();
    for n in 0..12 {
        roots.push(store.put(noise(n, n as usize)).await.unwrap());
    }
    let collected = store.collect(stream::iter(roots.clone())).await.unwrap();
    assert!(collected.packs_removed >= 12, "{collected:?}");
    for (n, hash) in (0..).zip(&roots) {
        assert_eq!(store.get(hash).await.unwrap(), noise(n, n as usize));
    }
    assert_eq!(store.check(true).await.unwrap().problems, []);
}

/// Blobs of one chunk are found without waiting for anything: a million of them would keep a thread for seconds.
#[tokio::test]
async fn others_have_their_turn_between_many_small_blobs() {
    let dir = tempfile::tempdir().unwrap();
    let store = BlobStore::open_with(dir.path(), options(GRACE)).await.unwrap();
    let blobs: Vec<Hash> =
        store.put_many((0..1_000).map(|n| noise(n, 50)).collect::<Vec<Bytes>>()).await.unwrap();
    let turns = Arc::new(AtomicU64::new(0));
    let taken = turns.clone();
    let other = tokio::spawn(async move {
        loop {
            taken.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
        }
    });
    let seen = std::sync::Mutex::new(BTreeSet::new());
    let roots = stream::iter(blobs.clone()).inspect(|_| {
        seen.lock().unwrap().insert(turns.load(Ordering::SeqCst));
    });
    assert_eq!(store.collect(roots).await.unwrap().missing_roots, 0);
    assert!(seen.lock().unwrap().len() > 5, "no turns while roots are marked");
    let before = turns.load(Ordering::SeqCst);
    store.shares(&[blobs]).await.unwrap();
    assert!(turns.load(Ordering::SeqCst) - before > 10, "no turns while shares are counted");
    other.abort();
}

/// What is needed is told apart by where it lies, and a collection moves that: a count that it comes into begins anew.
#[tokio::test]
async fn a_collection_comes_into_a_count_that_is_right_all_the_same() {
    let (dir, objects) = (tempfile::tempdir().unwrap(), Arc::new(Unreliable::new()));
    let store = BlobStore::open_on(dir.path(), objects, options(Duration(0))).await.unwrap();
    let mut roots = Vec::new();
    // Many small packs are put together.
    for n in 0..12 {
        roots.push(store.put(noise(n, 1_000)).await.unwrap());
    }
    // More than one turn of others between the two who need the same.
    let needs = [vec![roots[0]], vec![roots[1]; 20_000], vec![roots[0]]];
    let over = std::sync::Mutex::new(Vec::new());
    let counting = async {
        let shares = store.shares(&needs).await.unwrap();
        over.lock().unwrap().push("count");
        shares
    };
    let collecting = async {
        let collected = store.collect(stream::iter(roots.clone())).await.unwrap();
        over.lock().unwrap().push("collection");
        collected
    };
    let (shares, collected) = tokio::join!(counting, collecting);
    assert!(collected.packs_removed >= 12, "{collected:?}");
    assert_eq!(*over.lock().unwrap(), ["collection", "count"], "it does not wait for all of the count");
    let told: Vec<_> = shares.each.iter().map(|share| (share.own_bytes, share.shared_bytes)).collect();
    assert_eq!((told, shares.uncounted), (vec![(0, 1_000), (1_000, 0), (0, 1_000)], vec![]));
}

/// 300 MiB of zeros are 9,600 times the same chunk: more than one list has place for.
#[tokio::test]
async fn a_blob_of_lists_is_stored_collected_and_read() {
    let (dir, objects) = (tempfile::tempdir().unwrap(), Arc::new(Unreliable::new()));
    let store = BlobStore::open_on(dir.path(), objects, options(Duration(0))).await.unwrap();
    let (zeros, tail) = (Bytes::from(vec![0; 4 << 20]), noise(1, 1 << 20));
    let pieces: Vec<Bytes> = std::iter::repeat_n(zeros, 75).chain([tail.clone()]).collect();
    let body = stream::iter(pieces.into_iter().map(Ok::<_, std::io::Error>));
    let (hash, size) = store.put_stream(body, ByteSize(u64::MAX)).await.unwrap();
    assert_eq!(size, ByteSize::mib(301));
    assert!(store.stats().unwrap().stored_bytes < 2 << 20);
    let garbage = store.put(noise(2, 3 << 20)).await.unwrap();
    store.collect(stream::iter([hash])).await.unwrap();
    assert!(!store.contains(&garbage).unwrap());
    let (_, read) = store.stream(&hash).await.unwrap();
    use futures_util::TryStreamExt;
    let length: usize =
        read.map_ok(|piece| piece.len()).try_fold(0, async |sum, n| Ok(sum + n)).await.unwrap();
    assert_eq!(length, 301 << 20);
    let end: Vec<Bytes> =
        store.stream_range(&hash, 300 << 20..u64::MAX).await.unwrap().try_collect().await.unwrap();
    assert!(end.concat() == tail);
    assert_eq!(store.check(true).await.unwrap().problems, []);
}

/// A backing store that fails now and then, and is slow: what is acknowledged is there, what fails says so.
#[tokio::test]
async fn a_backing_store_that_fails_and_is_slow_loses_nothing() {
    let (dir, objects) = (tempfile::tempdir().unwrap(), Unreliable::new());
    let store = BlobStore::open_on(dir.path(), Arc::new(objects.clone()), options(GRACE)).await.unwrap();
    objects.fail_one_in(3);
    objects.delay(std::time::Duration::from_millis(2));
    let (mut kept, mut failed) = (Vec::new(), 0);
    for n in 0..60 {
        match store.put(nth(n)).await {
            Ok(hash) => kept.push((hash, nth(n))),
            Err(error) => {
                assert!(matches!(error, BlobError::Object { operation: "write", .. }), "{error}");
                failed += 1;
            }
        }
    }
    assert!(failed > 5 && kept.len() > 20, "{failed} failed");
    let mut reads_failed = 0;
    for (hash, bytes) in &kept {
        match store.get(hash).await {
            Ok(found) => assert_eq!(&found, bytes),
            Err(error) => {
                assert!(matches!(error, BlobError::Object { .. }), "{error}");
                reads_failed += 1;
            }
        }
    }
    assert!(reads_failed > 0);
    objects.fail_one_in(0);
    drop(store);
    let store = BlobStore::open_on(dir.path(), Arc::new(objects), options(GRACE)).await.unwrap();
    for (hash, bytes) in &kept {
        assert_eq!(&store.get(hash).await.unwrap(), bytes, "a failed read is no damage");
    }
    assert_eq!(store.check(true).await.unwrap().problems, []);
}
