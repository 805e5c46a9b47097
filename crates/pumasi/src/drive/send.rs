//! Bringing files of this machine into a space: small ones by the hundred, large ones by themselves, several at once.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use pumasi_api::client::{ClientError, Content, HubClient, Source, UPLOAD_MIN, Upload};
use pumasi_api::wire::files::{About, Condition, MANY_BLOBS, MANY_BYTES, PutFile, PutFiles, Version};
use pumasi_seal::{Key, Seal, sealed_length};
use pumasi_types::{FilePath, Hash};

use super::below::Below;
use super::hashes::Hashes;
use super::report::Tally;
use super::scan::{LeftOut, Stamp};
use super::sealed::{SealedFile, seal_bytes};
use super::{LINK, SEALED, outlives_bytes, remote};
use crate::error::CliError;
use crate::exit::Exit;
use crate::keys::sealed_with;

/// Files up to this size travel together, in bytes.
const SMALL: u64 = 512 << 10;
/// Bytes of files that travel together, room for their lengths left.
const TOGETHER: u64 = MANY_BYTES as u64 - (16 << 10);
/// Transfers at once.
const AT_ONCE: usize = 4;
/// Bytes that are hashed at once.
const PIECE: usize = 1 << 20;

/// A file or link that is to lie in the space.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    /// Its path below the folder of this machine; empty when that is the file itself.
    pub(crate) local: FilePath,
    /// What it is.
    pub(crate) what: What,
    /// Its path in the space.
    pub(crate) target: FilePath,
    /// What must lie there.
    pub(crate) condition: Condition,
    /// What lies there, as far as is known.
    pub(crate) there: Option<Version>,
    /// What it is encrypted with; none when it is not. Links never are.
    pub(crate) key: Option<Arc<Key>>,
}

impl Job {
    /// How many bytes the file has here.
    fn size(&self) -> u64 {
        match &self.what {
            What::File { stamp, .. } => stamp.size,
            What::Link(_) => 0,
        }
    }

    /// How many bytes of it are sent at most.
    pub(crate) fn sent(&self) -> u64 {
        match (&self.what, &self.key) {
            (What::File { stamp, .. }, Some(_)) => sealed_length(stamp.size),
            _ => self.size(),
        }
    }
}

/// What a job brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// A file's bytes.
    File {
        /// Whether it was changed since.
        stamp: Stamp,
        /// Whether anybody may run it.
        executable: bool,
    },
    /// What a symbolic link leads to.
    Link(String),
}

/// What came of a job that went well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    /// Its bytes.
    pub(crate) hash: Hash,
    /// The version that is there now.
    pub(crate) version: pumasi_types::VersionId,
}

/// The folder or file of this machine that is read.
#[derive(Debug)]
pub(crate) enum Local {
    /// A folder, below which no link is followed.
    Folder(Below),
    /// A single file.
    File(PathBuf),
}

impl Local {
    /// Opens what lies at a path.
    pub(crate) fn open(root: &Path) -> Result<Local, CliError> {
        if root.is_dir() { Below::open(root).map(Local::Folder) } else { Ok(Local::File(root.to_owned())) }
    }

    /// How a path below it is called on this machine.
    pub(crate) fn name(&self, path: &FilePath) -> PathBuf {
        match self {
            Local::Folder(below) => below.name(path),
            Local::File(file) => file.clone(),
        }
    }

    /// Opens a file for reading.
    pub(crate) fn read(&self, path: &FilePath) -> Result<File, CliError> {
        match self {
            Local::Folder(below) => below.read(path),
            Local::File(file) => File::open(file).map_err(CliError::file("read", file)),
        }
    }
}

/// Sends files of one folder to one space.
pub(crate) struct Sender<'a> {
    /// The hub.
    pub(crate) client: &'a HubClient,
    /// The space, as the hub is asked for it.
    pub(crate) space: &'a str,
    /// Where files are read.
    pub(crate) local: Arc<Local>,
    /// What is known of them.
    pub(crate) hashes: Arc<Hashes>,
    /// Counts what is done.
    pub(crate) tally: &'a Tally,
    /// Is told of each file that lies there now.
    pub(crate) placed: &'a (dyn Fn(&Job, Placed) + Sync),
    /// The space is full: nothing more is tried.
    full: AtomicBool,
}

/// A job whose bytes the hub has from us.
struct Ready {
    job: Job,
    hash: Hash,
    seal: Option<Arc<Seal>>,
    moved: u64,
}

/// A small file as it is sent.
struct Outgoing {
    bytes: Bytes,
    hash: Hash,
    seal: Option<Arc<Seal>>,
}

/// Jobs that are done together.
enum Work {
    Small(Vec<Job>),
    Large(Box<Job>),
}

impl<'a> Sender<'a> {
    /// One that reads `local`.
    pub(crate) fn new(
        client: &'a HubClient,
        space: &'a str,
        local: Local,
        hashes: Arc<Hashes>,
        tally: &'a Tally,
        placed: &'a (dyn Fn(&Job, Placed) + Sync),
    ) -> Sender<'a> {
        Sender { client, space, local: Arc::new(local), hashes, tally, placed, full: AtomicBool::new(false) }
    }

    /// Does all jobs. What cannot be read, and what the hub refuses, is counted and does not stop the others.
    ///
    /// # Errors
    /// When the hub cannot be reached any more, or takes nothing from this account.
    pub(crate) async fn send(&self, jobs: Vec<Job>) -> Result<(), CliError> {
        let works = together(jobs);
        stream::iter(works)
            .map(|work| async move {
                match work {
                    Work::Small(jobs) => self.small(jobs).await,
                    Work::Large(job) => self.large(*job).await,
                }
            })
            .buffer_unordered(AT_ONCE)
            .try_for_each(|()| async { Ok(()) })
            .await
    }

    /// Reads files, sends those that are new, and puts all in their places.
    async fn small(&self, jobs: Vec<Job>) -> Result<(), CliError> {
        if self.full.load(Ordering::Relaxed) {
            return self.give_up(jobs);
        }
        let (local, hashes) = (self.local.clone(), self.hashes.clone());
        let read = move || -> Vec<_> {
            let read = |job: Job| {
                let bytes = read_small(&local, &hashes, &job);
                (job, bytes)
            };
            jobs.into_iter().map(read).collect()
        };
        let (mut blobs, mut ready, mut known) = (Vec::new(), Vec::new(), Vec::new());
        for (job, read) in blocking(read).await? {
            let Outgoing { bytes, hash, seal } = match read {
                Ok(outgoing) => outgoing,
                Err(why) => {
                    self.leave_out(&job, why);
                    continue;
                }
            };
            match &job.there {
                Some(there) if is_same(&job, hash, there) => self.keep(&job, hash, there),
                Some(there) if there.blob == hash => known.push(Ready { job, hash, seal, moved: 0 }),
                _ => {
                    let moved = bytes.len() as u64;
                    blobs.push(bytes);
                    ready.push(Ready { job, hash, seal, moved });
                }
            }
        }
        if !blobs.is_empty() {
            self.client.put_blobs(&blobs).await.map_err(CliError::hub("send files"))?;
        }
        self.claim(&known).await?;
        ready.append(&mut known);
        self.place(ready).await
    }

    /// Sends one file and puts it in its place.
    async fn large(&self, job: Job) -> Result<(), CliError> {
        if self.full.load(Ordering::Relaxed) {
            return self.give_up(vec![job]);
        }
        let What::File { stamp, .. } = &job.what else { return Ok(()) };
        let begun = SystemTime::now();
        let key = job.key.as_ref().map(|key| key.id());
        let known = self.hashes.get(&job.local, key, stamp);
        // Reading twice from memory costs less than sending what is there.
        let (local, path, with) = (self.local.clone(), job.local.clone(), job.key.clone());
        let looked = blocking(move || outgoing_form(local, &path, with.as_deref(), known)).await?;
        let (hash, sealed) = match looked {
            Ok(found) => found,
            Err(why) => {
                self.leave_out(&job, why);
                return Ok(());
            }
        };
        if !self.is_unchanged(&job, stamp) {
            self.leave_out(&job, CHANGED.to_owned());
            return Ok(());
        }
        self.hashes.set(&job.local, key, *stamp, hash, begun);
        let seal = sealed.as_ref().map(|sealed| sealed.seal().clone());
        match &job.there {
            Some(there) if is_same(&job, hash, there) => {
                self.keep(&job, hash, there);
                return Ok(());
            }
            Some(there) if there.blob == hash => {
                let ready = vec![Ready { job, hash, seal, moved: 0 }];
                self.claim(&ready).await?;
                return self.place(ready).await;
            }
            _ => {}
        }
        let moved = match self.bytes_of(&job, hash, sealed).await {
            Ok(moved) => moved,
            // Nothing is wrong with the others.
            Err(_) if !self.is_unchanged(&job, stamp) => {
                self.leave_out(&job, CHANGED.to_owned());
                return Ok(());
            }
            Err(error) if error.exit() == Exit::LocalFile => {
                self.leave_out(&job, error.line());
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        self.place(vec![Ready { job, hash, seal, moved }]).await
    }

    /// Sees to it that the hub has the bytes of a file from us; how many travelled.
    async fn bytes_of(&self, job: &Job, hash: Hash, sealed: Option<SealedFile>) -> Result<u64, CliError> {
        let name = self.local.name(&job.local);
        let failed = || CliError::hub(format!("send {}", name.display()));
        // What was sent before an interruption need not be sent again.
        if self.client.has_blob(hash).await.map_err(failed())? {
            return Ok(0);
        }
        let going = Arc::new(self.tally.under_way());
        let tell = Arc::new(move |bytes| going.set(bytes));
        if job.sent() >= UPLOAD_MIN {
            let mut upload = Upload::new(tell);
            // An encrypted file has nothing in common with another version of it.
            if let (Some(there), None) = (&job.there, &sealed) {
                // What it has in common with the version that lies there is not sent.
                self.client.claim_files(self.space, vec![job.target.clone()], None).await.map_err(failed())?;
                upload.bases.push(there.blob);
            }
            let content: Arc<dyn Content> = match sealed {
                Some(sealed) => Arc::new(sealed),
                None => Arc::new(Source::File(name.clone())),
            };
            let sent = self.client.upload_content(content, &upload).await.map_err(failed())?;
            return match sent.hash == hash {
                true => Ok(sent.sent),
                false => Err(failed()(ClientError::Damaged { expected: hash, seen: sent.hash })),
            };
        }
        let source = match sealed {
            Some(sealed) => {
                let bytes = blocking(move || sealed.bytes()).await?;
                Source::Bytes(bytes.map_err(CliError::file("read", &name))?)
            }
            None => Source::File(name.clone()),
        };
        self.client.put_blob(&source, hash, tell).await.map_err(failed())?;
        Ok(job.sent())
    }

    /// Claims bytes that lie in the space already under the paths of these files.
    async fn claim(&self, known: &[Ready]) -> Result<(), CliError> {
        if known.is_empty() {
            return Ok(());
        }
        let paths = known.iter().map(|ready| ready.job.target.clone()).collect();
        let claimed = self.client.claim_files(self.space, paths, None).await;
        // What cannot be claimed, because somebody changed it just now, is refused when it is placed.
        claimed.map(drop).map_err(CliError::hub("use files that are there"))
    }

    async fn place(&self, ready: Vec<Ready>) -> Result<(), CliError> {
        if ready.is_empty() {
            return Ok(());
        }
        let put = |ready: &Ready| {
            let label = ready.seal.as_ref().map(|seal| seal.header().to_string());
            let About { modified_ns, executable, labels } = about(&ready.job, ready.hash, label);
            let (path, blob, condition) = (ready.job.target.clone(), ready.hash, ready.job.condition);
            PutFile { path, blob, modified_ns, executable, labels, condition }
        };
        let files = PutFiles { files: ready.iter().map(put).collect() };
        let put = self.client.put_files(self.space, &files, None).await;
        let put = put.map_err(CliError::hub("put files"))?;
        for (ready, result) in ready.into_iter().zip(put.results) {
            match (result.error, result.version) {
                (Some(error), _) => {
                    if error.code == "quota_exceeded" {
                        self.full.store(true, Ordering::Relaxed);
                    }
                    self.tally.refused(ready.job.target.to_string(), error, ready.job.size());
                }
                (None, Some(version)) => {
                    (self.placed)(&ready.job, Placed { hash: ready.hash, version });
                    self.tally.done(ready.job.size(), ready.moved);
                }
                (None, None) => {}
            }
        }
        Ok(())
    }

    /// The file lies there as it is here.
    fn keep(&self, job: &Job, hash: Hash, there: &Version) {
        (self.placed)(job, Placed { hash, version: there.version });
        self.tally.same(job.size());
    }

    fn give_up(&self, jobs: Vec<Job>) -> Result<(), CliError> {
        jobs.iter().for_each(|job| self.leave_out(job, "not tried: the space is full".to_owned()));
        Ok(())
    }

    fn leave_out(&self, job: &Job, why: String) {
        self.tally.left_out(LeftOut { path: self.local.name(&job.local), why }, job.size());
    }

    fn is_unchanged(&self, job: &Job, stamp: &Stamp) -> bool {
        let now = self.local.read(&job.local).ok().and_then(|file| file.metadata().ok());
        now.is_some_and(|now| Stamp::of(&now) == *stamp)
    }
}

const CHANGED: &str = "it was changed while it was read: put it again";

/// Does work that blocks elsewhere, so that transfers go on.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, CliError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| CliError::file("read", Path::new("files"))(std::io::Error::other(error)))
}

/// Small files by the hundred, in the order in which they came; large ones each by itself.
fn together(jobs: Vec<Job>) -> Vec<Work> {
    let (mut works, mut small, mut bytes) = (Vec::new(), Vec::new(), 0);
    for job in jobs {
        let size = job.sent();
        if size > SMALL {
            works.push(Work::Large(Box::new(job)));
            continue;
        }
        if bytes + size > TOGETHER || small.len() == MANY_BLOBS {
            works.push(Work::Small(std::mem::take(&mut small)));
            bytes = 0;
        }
        bytes += size;
        small.push(job);
    }
    if !small.is_empty() {
        works.push(Work::Small(small));
    }
    works
}

/// What the file says of itself with these bytes, and with the label of its encryption when it is encrypted.
fn about(job: &Job, hash: Hash, sealed: Option<String>) -> About {
    match &job.what {
        What::File { stamp, executable } => {
            // Media type and headers that somebody else gave it stay.
            let is_same = job.there.as_ref().is_some_and(|there| there.blob == hash);
            let stays =
                |name: &str| if is_same { name != LINK && name != SEALED } else { outlives_bytes(name) };
            let there = job.there.iter().flat_map(|there| there.about.labels.clone());
            let others = there.filter(|(name, _)| stays(name));
            let sealed = sealed.map(|label| (SEALED.to_owned(), label));
            About {
                modified_ns: Some(stamp.modified_ns),
                executable: *executable,
                labels: others.chain(sealed).collect(),
            }
        }
        What::Link(target) => {
            About { labels: [(LINK.to_owned(), target.clone())].into(), ..About::default() }
        }
    }
}

/// Whether nothing needs to be done for a job.
fn is_same(job: &Job, hash: Hash, there: &Version) -> bool {
    let key = job.key.as_ref().map(|key| key.id());
    if there.blob != hash || sealed_with(there) != Ok(key) {
        return false;
    }
    let label = key.and_then(|_| there.about.labels.get(SEALED).cloned());
    there.about == about(job, hash, label)
}

fn read_small(local: &Local, hashes: &Hashes, job: &Job) -> Result<Outgoing, String> {
    let What::File { stamp, .. } = &job.what else {
        return Ok(Outgoing { bytes: Bytes::new(), hash: remote::empty(), seal: None });
    };
    let begun = SystemTime::now();
    let mut file = local.read(&job.local).map_err(|error| error.line())?;
    let mut bytes = Vec::with_capacity(usize::try_from(stamp.size).unwrap_or(0) + 1);
    let limit = stamp.size + 1;
    (&mut file).take(limit).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    let now = file.metadata().map_err(|error| error.to_string())?;
    if Stamp::of(&now) != *stamp || bytes.len() as u64 != stamp.size {
        return Err(CHANGED.to_owned());
    }
    let (bytes, seal) = match &job.key {
        None => (bytes.into(), None),
        Some(key) => {
            let (sealed, seal) = seal_bytes(key, &bytes).map_err(|error| error.to_string())?;
            (sealed, Some(seal))
        }
    };
    let hash = Hash::of(&bytes);
    hashes.set(&job.local, job.key.as_ref().map(|key| key.id()), *stamp, hash, begun);
    Ok(Outgoing { bytes, hash, seal })
}

/// The hash of what is sent of a file, unless it is `known`, and its encrypted form when it has a key.
fn outgoing_form(
    local: Arc<Local>,
    path: &FilePath,
    key: Option<&Key>,
    known: Option<Hash>,
) -> Result<(Hash, Option<SealedFile>), String> {
    let Some(key) = key else {
        return Ok((known.map_or_else(|| hash_of(&local, path), Ok)?, None));
    };
    let sealed = SealedFile::new(local, path, key)?;
    Ok((known.map_or_else(|| sealed.hash(), Ok)?, Some(sealed)))
}

/// The hash that a file has when it is sent, encrypted with a key if there is one.
pub(crate) fn sent_hash(local: &Arc<Local>, path: &FilePath, key: Option<&Key>) -> Result<Hash, String> {
    outgoing_form(local.clone(), path, key, None).map(|(hash, _)| hash)
}

/// The hash of a file of any size.
fn hash_of(local: &Local, path: &FilePath) -> Result<Hash, String> {
    let mut file = local.read(path).map_err(|error| error.line())?;
    hash_reader(&mut file).map_err(|error| error.to_string())
}

/// The hash of what is left to be read.
pub(crate) fn hash_reader(reader: &mut impl Read) -> std::io::Result<Hash> {
    let mut hasher = blake3::Hasher::new();
    let mut piece = vec![0; PIECE];
    loop {
        match reader.read(&mut piece)? {
            0 => return Ok(hasher.finalize().into()),
            len => hasher.update(&piece[..len]),
        };
    }
}

/// What is known of a file without reading it: whether it lies there just so.
pub(crate) fn is_known_same(hashes: &Hashes, job: &Job) -> Option<Hash> {
    let there = job.there.as_ref()?;
    let hash = match &job.what {
        What::File { stamp, .. } => {
            let key = job.key.as_ref().map(|key| key.id());
            hashes.get(&job.local, key, stamp)?
        }
        What::Link(_) => remote::empty(),
    };
    is_same(job, hash, there).then_some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(size: u64) -> Job {
        let stamp = Stamp { size, modified_ns: 7, changed_ns: 7, inode: 1 };
        let (local, target) = ("a".parse().unwrap(), "b/a".parse().unwrap());
        let what = What::File { stamp, executable: false };
        Job { local, what, target, condition: Condition::Any, there: None, key: None }
    }

    #[test]
    fn small_files_go_together_within_bounds() {
        let sizes = [1, SMALL + 1, SMALL, SMALL];
        let works = together(sizes.map(job).into());
        assert_eq!(works.len(), 2);
        let works = together((0..2_500).map(|_| job(1)).collect());
        let counts: Vec<_> =
            works.iter().map(|work| if let Work::Small(jobs) = work { jobs.len() } else { 0 }).collect();
        assert_eq!(counts, [1_000, 1_000, 500]);
        let works = together((0..100).map(|_| job(SMALL)).collect());
        assert!(works.len() >= 100 * SMALL as usize / MANY_BYTES);
        for work in works {
            let Work::Small(jobs) = work else { panic!("none is large") };
            assert!(jobs.len() as u64 * (SMALL + 8) <= MANY_BYTES as u64);
        }
        let key = Some(Arc::new(Key::new([1; 32])));
        for work in together((0..20_000).map(|n| Job { key: key.clone(), ..job(n) }).collect()) {
            let Work::Small(jobs) = work else { panic!("none is large") };
            let bytes: u64 = jobs.iter().map(|job| job.sent() + 8).sum();
            assert!(bytes <= MANY_BYTES as u64, "what encryption adds counts");
        }
    }

    #[test]
    fn what_others_said_of_a_file_stays() {
        let tags = [("etag", "1"), ("s3-parts", "1"), ("s3-upload", "1"), ("x-amz-checksum-sha1", "1")];
        let labels = [("content-type", "text/plain"), (LINK, "x"), (SEALED, "y")];
        let about_there = About {
            modified_ns: Some(1),
            labels: labels.into_iter().chain(tags).map(|(a, b)| (a.to_owned(), b.to_owned())).collect(),
            ..About::default()
        };
        let there = Version {
            version: Default::default(),
            blob: Hash::of(b"x"),
            size: 1,
            put_ms: 0,
            by: Default::default(),
            about: about_there,
        };
        let mut job = job(1);
        job.there = Some(there);
        let (same, new) = (Hash::of(b"x"), Hash::of(b"y"));
        assert_eq!(about(&job, same, None).labels.len(), 1 + tags.len(), "the same bytes have the same tags");
        let said = about(&job, new, None);
        assert_eq!(said.labels.keys().collect::<Vec<_>>(), ["content-type"]);
        assert_eq!(about(&job, new, Some("z".to_owned())).labels[SEALED], "z");
        assert!(!is_same(&job, Hash::of(b"x"), job.there.as_ref().unwrap()), "another time of change");
    }
}
