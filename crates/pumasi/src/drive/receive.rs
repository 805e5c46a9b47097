//! Bringing files of a space to this machine: small ones by the hundred, large ones resumed where they were broken off.

use std::fs::File;
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, TryStreamExt, stream};
use pumasi_api::client::{ClientError, HubClient};
use pumasi_api::wire::ErrorBody;
use pumasi_api::wire::files::{MANY_BLOBS, Version};
use pumasi_log::write_sparse;
use pumasi_seal::{KeyId, Opener, Seal};
use pumasi_types::{FilePath, Hash};

use super::LINK;
use super::below::{Below, There, dress};
use super::hashes::Hashes;
use super::report::{Tally, UnderWay};
use super::scan::{LeftOut, Stamp};
use super::sealed::open_bytes;
use super::send::{blocking, hash_reader};
use crate::error::CliError;
use crate::keys::{Closed, Keys};

/// Files up to this size travel together, in bytes.
const SMALL: u64 = 512 << 10;
/// Bytes of files that travel together.
const TOGETHER: u64 = 8 << 20;
/// Transfers at once.
const AT_ONCE: usize = 4;
/// So many files are written to the disk and remembered while others are still fetched.
const SETTLED_AT_ONCE: usize = 20_000;
/// Bytes that are written at once.
const PIECE: usize = 1 << 20;
/// How often a broken transfer goes on.
const TRIES: u32 = 5;
/// How long to wait before it does, times the number of the try.
const PAUSE: Duration = Duration::from_millis(300);

/// A file that is to lie on this machine.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    /// Its path in the space.
    pub(crate) remote: FilePath,
    /// Its content.
    pub(crate) version: Version,
    /// Its path below the folder of this machine.
    pub(crate) local: FilePath,
    /// What must lie there still when it is written: nothing, or a file with this stamp. Anything when none is given.
    pub(crate) expected: Option<Option<Stamp>>,
    /// What decrypts it; none when it stays as it lies there.
    seal: Option<Arc<Seal>>,
}

impl Job {
    /// A file of the space that is to lie here; see the fields.
    pub(crate) fn new(
        remote: FilePath,
        version: Version,
        local: FilePath,
        expected: Option<Option<Stamp>>,
    ) -> Job {
        Job { remote, version, local, expected, seal: None }
    }

    /// How many bytes it has here.
    fn size(&self) -> u64 {
        self.seal.as_ref().map_or(self.version.size, |seal| seal.length())
    }

    /// What it is encrypted with there, if it is decrypted here.
    fn key(&self) -> Option<KeyId> {
        self.seal.as_ref().map(|seal| seal.header().key())
    }
}

/// Brings files of one space into one folder.
pub(crate) struct Receiver<'a> {
    /// The hub.
    pub(crate) client: &'a HubClient,
    /// The space, as the hub is asked for it.
    pub(crate) space: &'a str,
    /// Where files are written.
    pub(crate) below: Arc<Below>,
    /// What is known of them.
    pub(crate) hashes: Arc<Hashes>,
    /// What decrypts files; none when they stay as they lie there.
    pub(crate) keys: Option<&'a Keys>,
    /// Whether symbolic links are made.
    pub(crate) links: bool,
    /// Counts what is done.
    pub(crate) tally: &'a Tally,
    /// Is told of each file that is there now, with its stamp; without one for a link.
    pub(crate) written: &'a (dyn Fn(&Job, Option<Stamp>) + Sync),
    /// Files that were written and may not be on the disk yet.
    pub(crate) fresh: Mutex<Vec<(Job, Stamp)>>,
}

/// Why a file was not written, when that does not stop the others.
enum Trouble {
    Refused(ErrorBody),
    Here(String),
}

impl Receiver<'_> {
    /// Does all jobs. What cannot be written, and what the hub refuses, is counted and does not stop the others.
    ///
    /// # Errors
    /// When the hub cannot be reached any more.
    pub(crate) async fn receive(&self, jobs: Vec<Job>) -> Result<(), CliError> {
        let below = self.below.clone();
        let hashes = self.hashes.clone();
        let jobs = self.with_seals(jobs);
        let look = move || -> Vec<_> {
            let look = |job: Job| {
                let there = look_at(&below, &hashes, &job);
                (job, there)
            };
            jobs.into_iter().map(look).collect()
        };
        let mut wanted = Vec::new();
        for (job, there) in blocking(look).await? {
            match there {
                Ok(Some(stamp)) => {
                    (self.written)(&job, Some(stamp));
                    self.tally.same(job.size());
                }
                Ok(None) => match job.version.about.labels.get(LINK) {
                    Some(target) => self.link(&job, target),
                    None => wanted.push(job),
                },
                Err(why) => self.leave_out(&job, why),
            }
        }
        let works = stream::iter(together(wanted));
        let works = works.map(|work| async move {
            if work.len() > 1 {
                self.small(work).await?
            } else {
                self.large_ones(work).await?
            }
            let fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner).len();
            if fresh >= SETTLED_AT_ONCE { self.settle().await } else { Ok(()) }
        });
        works.buffer_unordered(AT_ONCE).try_for_each(|()| async { Ok(()) }).await
    }

    /// Remembers what was written so far. It is on the disk before: after a power cut it could be empty and look whole. To be
    /// done once more when all was received.
    pub(crate) async fn settle(&self) -> Result<(), CliError> {
        let fresh = std::mem::take(&mut *self.fresh.lock().unwrap_or_else(PoisonError::into_inner));
        if fresh.is_empty() {
            return Ok(());
        }
        let below = self.below.clone();
        blocking(move || below.sync()).await??;
        for (job, stamp) in fresh {
            self.hashes.wrote(&job.local, job.key(), stamp, job.version.blob);
            (self.written)(&job, Some(stamp));
        }
        Ok(())
    }

    /// Finds out how jobs are decrypted; those that cannot be are counted.
    fn with_seals(&self, jobs: Vec<Job>) -> Vec<Job> {
        let Some(keys) = self.keys else { return jobs };
        let mut ready = Vec::with_capacity(jobs.len());
        for job in jobs {
            match keys.seal(&job.version) {
                Ok(seal) => ready.push(Job { seal, ..job }),
                Err(why) => self.leave_out(&job, why.to_string()),
            }
        }
        ready
    }

    fn link(&self, job: &Job, target: &str) {
        if !self.links {
            return self.leave_out(job, format!("a link to {target}: --links makes links"));
        }
        match self.below.link(&job.local, target) {
            Ok(()) => {
                (self.written)(job, None);
                self.tally.done(0, 0);
            }
            Err(error) => self.leave_out(job, error.line()),
        }
    }

    /// Fetches files together. One that is another by now is fetched by itself, as it was.
    async fn small(&self, jobs: Vec<Job>) -> Result<(), CliError> {
        let paths = jobs.iter().map(|job| job.remote.clone()).collect();
        let failed = || CliError::hub("fetch files");
        let mut files = self.client.read_files(self.space, paths).await.map_err(failed())?;
        let (mut arrived, mut rest) = (Vec::new(), Vec::new());
        let mut jobs = jobs.into_iter();
        for job in jobs.by_ref() {
            match files.next(TOGETHER).await {
                Ok(Some(bytes)) if Hash::of(&bytes) == job.version.blob => arrived.push((job, bytes)),
                Ok(_) => rest.push(job),
                // The connection broke: what has not come is fetched one by one, with patience.
                Err(_) => {
                    rest.push(job);
                    break;
                }
            }
        }
        rest.extend(jobs);
        let below = self.below.clone();
        let write = move || -> Vec<_> {
            let write = |(job, bytes): (Job, Bytes)| {
                let written = write_small(&below, &job, &bytes);
                (job, written)
            };
            arrived.into_iter().map(write).collect()
        };
        for (job, written) in blocking(write).await? {
            let size = job.version.size;
            self.ended(job, written.map_err(Trouble::Here), size);
        }
        self.large_ones(rest).await
    }

    async fn large_ones(&self, jobs: Vec<Job>) -> Result<(), CliError> {
        for job in jobs {
            let mut moved = 0;
            let written = self.large(&job, &mut moved).await?;
            self.ended(job, written, moved);
        }
        Ok(())
    }

    /// Fetches one file, from where an earlier try ended.
    async fn large(&self, job: &Job, moved: &mut u64) -> Result<Result<Stamp, Trouble>, CliError> {
        let mut tries = 0;
        let going = self.tally.under_way();
        loop {
            let (below, to_open) = (self.below.clone(), job.clone());
            let mut part = match blocking(move || Part::open(&below, &to_open)).await? {
                Ok(part) => part,
                Err(why) => return Ok(Err(Trouble::Here(why))),
            };
            let resumed = part.length > 0;
            let fetched = self.rest(job, &mut part, moved, &going).await;
            tries += 1;
            match fetched {
                Ok(()) if !part.is_whole(job) => {
                    // What was there before may have been of another version; what just came was damaged.
                    self.below.drop_part(&job.local);
                    if !resumed && tries >= TRIES {
                        return Ok(Err(Trouble::Here(part.damaged(job))));
                    }
                }
                Ok(()) => {
                    let (below, job) = (self.below.clone(), job.clone());
                    let finish = move || finish(&below, &job, &part.file);
                    return Ok(blocking(finish).await?.map_err(Trouble::Here));
                }
                Err(Fetch::Here(why)) => return Ok(Err(Trouble::Here(why))),
                Err(Fetch::Hub(ClientError::Refused { status, body })) if status.is_client_error() => {
                    return Ok(Err(Trouble::Refused(*body)));
                }
                Err(Fetch::Hub(error)) if tries >= TRIES => return self.given_up(job, error).await,
                Err(Fetch::Hub(_)) => tokio::time::sleep(PAUSE * tries).await,
            }
        }
    }

    /// What is said of a file that does not come. A hub that answers otherwise cannot read this one, which keeps no other from
    /// coming; one that has no time, or whose store is away, has none for others either.
    async fn given_up(&self, job: &Job, error: ClientError) -> Result<Result<Stamp, Trouble>, CliError> {
        let of_file = match &error {
            ClientError::Refused { status, .. } => status.as_u16() == 500,
            _ => self.client.find_file(self.space, &job.remote).await.is_ok(),
        };
        Ok(Err(Trouble::Here(match error {
            error if !of_file => return Err(CliError::hub(format!("fetch {}", job.remote))(error)),
            ClientError::Refused { body, .. } => body.message,
            _ => "the hub breaks off in the middle: it may be damaged there, tell its operator".to_owned(),
        })))
    }

    /// Writes what is missing of a part.
    async fn rest(&self, job: &Job, part: &mut Part, moved: &mut u64, going: &UnderWay) -> Result<(), Fetch> {
        let version = Some(job.version.version);
        let range = Some(part.missing(job));
        let mut download = self.client.read_file(self.space, &job.remote, version, range).await?;
        let mut piece = BytesMut::with_capacity(PIECE);
        loop {
            let next = download.next().await;
            if let Ok(Some(bytes)) = &next {
                *moved += bytes.len() as u64;
                piece.extend_from_slice(bytes);
            }
            if piece.len() >= PIECE || !matches!(next, Ok(Some(_))) {
                let bytes = piece.split().freeze();
                part.take(&bytes).map_err(|error| Fetch::Here(error.to_string()))?;
                going.set(part.length);
            }
            match next? {
                Some(_) => {}
                None => break,
            }
        }
        if part.length > job.size() {
            return Err(Fetch::Here("the hub sent more than the file has".to_owned()));
        }
        part.file.set_len(job.size()).map_err(|error| Fetch::Here(error.to_string()))
    }

    fn ended(&self, job: Job, ended: Result<Stamp, Trouble>, moved: u64) {
        match ended {
            Ok(stamp) => {
                self.tally.done(job.size(), moved);
                self.fresh.lock().unwrap_or_else(PoisonError::into_inner).push((job, stamp));
            }
            Err(Trouble::Here(why)) => self.leave_out(&job, why),
            Err(Trouble::Refused(body)) => {
                self.tally.refused(job.remote.to_string(), body, job.version.size);
            }
        }
    }

    fn leave_out(&self, job: &Job, why: String) {
        self.tally.left_out(LeftOut { path: self.below.name(&job.local), why }, job.version.size);
    }
}

/// Why a fetch broke off.
enum Fetch {
    Hub(ClientError),
    Here(String),
}

impl From<ClientError> for Fetch {
    fn from(error: ClientError) -> Fetch {
        Fetch::Hub(error)
    }
}

/// The beginning of a file.
struct Part {
    file: File,
    length: u64,
    check: Check,
}

/// How what arrives is checked.
enum Check {
    /// As a whole, at the end.
    Plain(Box<blake3::Hasher>),
    /// Each block when it comes, and all of them at the end.
    Sealed(Box<Opener>),
    /// Something came that was not what was encrypted.
    Broken,
}

impl Part {
    /// What there is of a file.
    fn open(below: &Below, job: &Job) -> Result<Part, String> {
        let mut file = below.part(&job.local).map_err(|error| error.line())?;
        let mut open = || {
            let mut length = file.metadata()?.len();
            if length > job.size() {
                file.set_len(0)?;
                length = 0;
            }
            match &job.seal {
                Some(seal) => {
                    let opener = Opener::behind(seal.clone(), &mut file, length)?;
                    // Zeros are not written, so nothing may lie behind the beginning.
                    file.set_len(opener.plain())?;
                    Ok((opener.plain(), Check::Sealed(Box::new(opener))))
                }
                None => Ok((length, Check::Plain(Box::new(hash_beginning(&mut file, length)?)))),
            }
        };
        let (length, check) = open().map_err(|error: std::io::Error| error.to_string())?;
        Ok(Part { file, length, check })
    }

    /// What is to be fetched still, of the bytes as they lie there.
    fn missing(&self, job: &Job) -> std::ops::Range<u64> {
        match (&self.check, &job.seal) {
            (Check::Sealed(opener), Some(seal)) => opener.wanted()..seal.content_end(),
            _ => self.length..job.version.size,
        }
    }

    /// Goes on with these bytes. Zeros become holes.
    fn take(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let opened = match &mut self.check {
            Check::Broken => return Ok(()),
            Check::Plain(hasher) => {
                hasher.update(bytes);
                None
            }
            Check::Sealed(opener) => match opener.push(bytes) {
                Ok(opened) => Some(opened),
                Err(_) => {
                    self.check = Check::Broken;
                    return Ok(());
                }
            },
        };
        let bytes = opened.as_deref().unwrap_or(bytes);
        write_sparse(&self.file, self.length, bytes)?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    fn is_whole(&self, job: &Job) -> bool {
        let right = match &self.check {
            Check::Plain(hasher) => Hash::from(hasher.finalize()) == job.version.blob,
            Check::Sealed(opener) => opener.finish().is_ok(),
            Check::Broken => false,
        };
        right && self.length == job.size()
    }

    /// What is said of a file that stays damaged however often it is fetched.
    fn damaged(&self, job: &Job) -> String {
        let Check::Plain(hasher) = &self.check else { return Closed::Damaged.to_string() };
        ClientError::Damaged { expected: job.version.blob, seen: hasher.finalize().into() }.to_string()
    }
}

/// Hashes the first `length` bytes.
fn hash_beginning(file: &mut File, length: u64) -> std::io::Result<blake3::Hasher> {
    let mut hasher = blake3::Hasher::new();
    let mut piece = vec![0; PIECE.min(usize::try_from(length).unwrap_or(PIECE))];
    let mut left = length;
    while left > 0 {
        let want = piece.len().min(usize::try_from(left).unwrap_or(PIECE));
        file.read_exact(&mut piece[..want])?;
        hasher.update(&piece[..want]);
        left -= want as u64;
    }
    Ok(hasher)
}

/// Small files by the hundred; a single one of them or a large one by itself.
fn together(jobs: Vec<Job>) -> Vec<Vec<Job>> {
    let (mut works, mut small, mut bytes) = (Vec::new(), Vec::new(), 0);
    for job in jobs {
        let size = job.version.size;
        if size > SMALL {
            works.push(vec![job]);
            continue;
        }
        if bytes + size > TOGETHER || small.len() == MANY_BLOBS {
            works.push(std::mem::take(&mut small));
            bytes = 0;
        }
        bytes += size;
        small.push(job);
    }
    if !small.is_empty() {
        works.push(small);
    }
    works
}

/// Whether a file is here already just as it should be; why it cannot be written.
fn look_at(below: &Below, hashes: &Hashes, job: &Job) -> Result<Option<Stamp>, String> {
    let stamp = match below.look(&job.local).map_err(|error| error.line())? {
        None | Some(There::Other) => return Ok(None),
        Some(There::Folder) => return Err("a folder lies there".to_owned()),
        Some(There::File(stamp)) => stamp,
    };
    let about = &job.version.about;
    if stamp.size != job.size() || about.labels.contains_key(LINK) {
        return Ok(None);
    }
    let (key, wanted) = (job.key(), job.version.blob);
    let same = match hashes.get(&job.local, key, &stamp) {
        Some(hash) => hash == wanted,
        None => {
            let begun = SystemTime::now();
            let mut file = below.read(&job.local).map_err(|error| error.line())?;
            let hash = match &job.seal {
                None => Some(hash_reader(&mut file).map_err(|error| error.to_string())?),
                Some(seal) => seal.is_of(&file).map_err(|error| error.to_string())?.then_some(wanted),
            };
            hash.inspect(|hash| hashes.set(&job.local, key, stamp, *hash, begun)) == Some(wanted)
        }
    };
    if !same {
        return Ok(None);
    }
    let file = below.read(&job.local).map_err(|error| error.line())?;
    dress(&file, about.modified_ns, about.executable).map_err(|error| error.to_string())?;
    let now = Stamp::of(&file.metadata().map_err(|error| error.to_string())?);
    hashes.wrote(&job.local, key, now, wanted);
    Ok(Some(now))
}

fn write_small(below: &Below, job: &Job, bytes: &[u8]) -> Result<Stamp, String> {
    let opened = match &job.seal {
        None => None,
        Some(seal) => Some(open_bytes(seal, bytes).map_err(|_| Closed::Damaged.to_string())?),
    };
    let bytes = opened.as_deref().unwrap_or(bytes);
    let file = below.part(&job.local).map_err(|error| error.line())?;
    let write = || {
        file.set_len(0)?;
        write_sparse(&file, 0, bytes)?;
        file.set_len(bytes.len() as u64)
    };
    write().map_err(|error: std::io::Error| error.to_string())?;
    finish(below, job, &file)
}

/// The part is whole and right: it becomes the file.
fn finish(below: &Below, job: &Job, file: &File) -> Result<Stamp, String> {
    let about = &job.version.about;
    dress(file, about.modified_ns, about.executable).map_err(|error| error.to_string())?;
    if let Some(expected) = job.expected {
        let now = below.look(&job.local).map_err(|error| error.line())?;
        if now.is_some() && now != expected.map(There::File) {
            below.drop_part(&job.local);
            return Err("it was changed here meanwhile: sync again".to_owned());
        }
    }
    below.finish(&job.local).map_err(|error| error.line())?;
    Ok(Stamp::of(&file.metadata().map_err(|error| error.to_string())?))
}

#[cfg(test)]
mod tests {
    use pumasi_api::tls::Pin;

    use super::*;
    use crate::output::Output;
    use crate::progress::{Count, Progress};

    #[tokio::test]
    async fn nothing_is_remembered_that_is_not_on_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let client = HubClient::new("http://127.0.0.1:1".parse().unwrap(), Pin::learn(), None);
        let version = Version {
            version: Default::default(),
            blob: Hash::of(b"x"),
            size: 1,
            put_ms: 0,
            by: Default::default(),
            about: Default::default(),
        };
        let path: FilePath = "a".parse().unwrap();
        let stamp = Stamp { size: 1, modified_ns: 1, changed_ns: 1, inode: 1 };
        for fails in [true, false] {
            let below = if fails { Below::failing(dir.path()) } else { Below::open(dir.path()).unwrap() };
            let hashes = Arc::new(Hashes::open(&dir.path().join(format!("{fails}.jsonl"))).unwrap());
            let progress = Progress::start(&Output::new(false, true), "getting", Count::Bytes, 0);
            let (tally, told) = (Tally::new(progress, 1), Mutex::new(0));
            let written = |_: &Job, _: Option<Stamp>| *told.lock().unwrap() += 1;
            let receiver = Receiver {
                client: &client,
                space: "x",
                below: Arc::new(below),
                hashes: hashes.clone(),
                keys: None,
                links: false,
                tally: &tally,
                written: &written,
                fresh: Mutex::default(),
            };
            let job = Job::new(path.clone(), version.clone(), path.clone(), None);
            receiver.ended(job, Ok(stamp), 1);
            assert_eq!((hashes.get(&path, None, &stamp), *told.lock().unwrap()), (None, 0));
            assert_eq!(receiver.settle().await.is_err(), fails);
            let known = hashes.get(&path, None, &stamp).is_some();
            assert_eq!((known, *told.lock().unwrap()), (!fails, u32::from(!fails)));
        }
    }
}
