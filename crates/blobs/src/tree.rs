//! Files and folders of this machine: into a store and out of it.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use pumasi_log::{DirectWriter, RealDisk, write_sparse};
use pumasi_types::{ByteSize, Hash};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, statat};
use rustix::io::Errno;
use tokio::sync::{Mutex, mpsc};

use crate::ingest::Cut;
use crate::listing::{self, Listed, What};
use crate::work::join;
use crate::{BlobError, BlobStore, Tally};

/// Files up to this size are read whole; others come as streams.
const WHOLE_MAX: u64 = 1 << 20;
/// Files and bytes of a batch.
const BATCH_FILES: usize = 512;
const BATCH_BYTES: u64 = 4 << 20;
/// Batches that are read, cut and looked up at the same time.
const READERS: usize = 2;
/// Bytes of a large file that are read at once.
const BLOCK: u64 = 4 << 20;
/// Files that are written at the same time.
const WRITERS: usize = 4;

/// What was done with a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// File, folder or link.
    pub what: What,
    /// Its bytes, or its listing.
    pub blob: Hash,
    /// Files and links in it.
    pub files: u64,
    /// Sockets, pipes and devices that were left out.
    pub skipped: u64,
    /// What the writer did; listings count as blobs.
    pub tally: Tally,
}

/// What the thread that walks finds, in the order of a walk.
enum Found {
    Enter(Listed),
    Leave,
    File(Listed, PathBuf),
    /// A link and where it leads.
    Link(Listed, Bytes),
    Skipped,
}

/// The same, once what is small is read, cut and looked up.
enum Ready {
    Enter(Listed),
    Leave,
    Whole(Listed, Cut),
    Large(Listed, PathBuf),
    Skipped,
}

/// Puts a file or a folder with everything below. Durable when it returns. `progress` is told of bytes as they are put.
///
/// # Errors
/// [`BlobError::Folder`] for what cannot be read, else as [`crate::Writer::finish`].
pub async fn put(store: &BlobStore, path: &Path, progress: impl Fn(u64)) -> Result<Stored, BlobError> {
    let (send, mut found) = mpsc::channel(READERS);
    let top = path.to_owned();
    let walk = tokio::task::spawn_blocking(move || {
        let mut walk = Walk { send, batch: Vec::new(), bytes: 0 };
        let found = rustix::fs::lstat(&top).map_err(|e| BlobError::folder("look at", &top, e.into()))?;
        walk.walk(&top, found)?;
        let _ = walk.send_batch();
        Ok(())
    });
    let mut putting =
        Putting { writer: store.writer(), open: Vec::new(), top: None, counts: (0, 0), progress };
    let mut reading = VecDeque::new();
    while let Some(batch) = found.recv().await {
        let store = store.clone();
        reading.push_back(tokio::task::spawn_blocking(move || read_batch(&store, batch)));
        if reading.len() > READERS
            && let Some(batch) = reading.pop_front()
        {
            putting.take(join(batch).await?).await?;
        }
    }
    for batch in reading {
        putting.take(join(batch).await?).await?;
    }
    join(walk).await?;
    let top = putting.top.expect("the walk ends with the top");
    let tally = putting.writer.finish().await?;
    let (files, skipped) = putting.counts;
    Ok(Stored { what: top.what, blob: top.blob, files, skipped, tally })
}

/// Puts what a reader brings as one file; errors call the reader by `name`. Durable when it returns.
///
/// # Errors
/// [`BlobError::Folder`] when reading fails, else as [`crate::Writer::finish`].
pub async fn put_from<R: Read>(
    store: &BlobStore,
    name: &Path,
    open: impl FnOnce() -> std::io::Result<R> + Send + 'static,
    progress: impl Fn(u64),
) -> Result<Stored, BlobError> {
    let mut writer = store.writer();
    let blocks = blocks_of(open).map(|block| block.inspect(|block| progress(block.len() as u64)));
    let put = writer.put_stream(blocks, ByteSize(u64::MAX)).await;
    let (blob, _) = put.map_err(|error| unwrap_body(error, name))?;
    Ok(Stored { what: What::File, blob, files: 1, skipped: 0, tally: writer.finish().await? })
}

/// Reads, cuts and looks up what is small.
fn read_batch(store: &BlobStore, batch: Vec<Found>) -> Result<Vec<Ready>, BlobError> {
    let known = store.what_is_known()?;
    let ready = |found| match found {
        Found::Enter(folder) => Ok(Ready::Enter(folder)),
        Found::Leave => Ok(Ready::Leave),
        Found::File(listed, path) => match read_whole(&listed, &path)? {
            Some(content) => {
                let listed = Listed { size: content.len() as u64, ..listed };
                Ok(Ready::Whole(listed, known.cut(&content)?))
            }
            None => Ok(Ready::Large(listed, path)),
        },
        Found::Link(listed, target) => Ok(Ready::Whole(listed, known.cut(&target)?)),
        Found::Skipped => Ok(Ready::Skipped),
    };
    batch.into_iter().map(ready).collect()
}

/// The content of a file, unless it is large.
fn read_whole(listed: &Listed, path: &Path) -> Result<Option<Bytes>, BlobError> {
    if listed.size > WHOLE_MAX {
        return Ok(None);
    }
    let failed = |e| BlobError::folder("read", path, e);
    // A byte more than it had, so that one that grew is seen and not cut.
    let mut content = Vec::with_capacity(listed.size as usize + 1);
    File::open(path).map_err(failed)?.take(WHOLE_MAX + 1).read_to_end(&mut content).map_err(failed)?;
    Ok((content.len() as u64 <= WHOLE_MAX).then(|| content.into()))
}

/// The blocks of what is opened and read by a thread of its own.
fn blocks_of<R: Read>(
    open: impl FnOnce() -> std::io::Result<R> + Send + 'static,
) -> impl Stream<Item = Result<Bytes, std::io::Error>> {
    let (send, blocks) = mpsc::channel(2);
    tokio::task::spawn_blocking(move || {
        let mut input = match open() {
            Ok(input) => input,
            Err(error) => return drop(send.blocking_send(Err(error))),
        };
        loop {
            let mut block = Vec::with_capacity(BLOCK as usize);
            let sent = match input.by_ref().take(BLOCK).read_to_end(&mut block) {
                Ok(0) => return,
                Ok(_) => send.blocking_send(Ok(block.into())),
                Err(error) => return drop(send.blocking_send(Err(error))),
            };
            if sent.is_err() {
                return;
            }
        }
    });
    stream::unfold(blocks, |mut blocks| async move { Some((blocks.recv().await?, blocks)) })
}

/// The body is what is read on this machine: what went wrong with that is its own error.
fn unwrap_body(error: BlobError, path: &Path) -> BlobError {
    match error {
        BlobError::Body { source } => match source.downcast::<std::io::Error>() {
            Ok(error) => BlobError::folder("read", path, *error),
            Err(source) => BlobError::Body { source },
        },
        other => other,
    }
}

/// A tree on its way into the store.
struct Putting<P> {
    writer: crate::Writer,
    /// Folders that are not complete, from the top.
    open: Vec<(Listed, Vec<Listed>)>,
    top: Option<Listed>,
    /// Files, and what was left out.
    counts: (u64, u64),
    progress: P,
}

impl<P: Fn(u64)> Putting<P> {
    async fn take(&mut self, batch: Vec<Ready>) -> Result<(), BlobError> {
        for one in batch {
            match one {
                Ready::Whole(listed, cut) => {
                    (self.progress)(listed.size);
                    let blob = self.writer.put_cut(cut).await?;
                    self.add(Listed { blob, ..listed });
                }
                Ready::Large(listed, path) => {
                    let progress = &self.progress;
                    let file = path.clone();
                    let blocks = blocks_of(move || File::open(file))
                        .map(|block| block.inspect(|block| progress(block.len() as u64)));
                    let put = self.writer.put_stream(blocks, ByteSize(u64::MAX)).await;
                    let (blob, size) = put.map_err(|error| unwrap_body(error, &path))?;
                    self.add(Listed { blob, size: size.0, ..listed });
                }
                Ready::Enter(folder) => self.open.push((folder, Vec::new())),
                Ready::Leave => {
                    let (folder, entries) = self.open.pop().expect("as many ends as beginnings");
                    let size = entries.iter().map(|entry| entry.size).sum();
                    let bytes = listing::encode(entries).into();
                    let blob = self.writer.put_many(vec![bytes]).await?[0];
                    self.add_to_parent(Listed { blob, size, ..folder });
                }
                Ready::Skipped => self.counts.1 += 1,
            }
        }
        Ok(())
    }

    fn add(&mut self, listed: Listed) {
        self.counts.0 += 1;
        self.add_to_parent(listed);
    }

    fn add_to_parent(&mut self, listed: Listed) {
        match self.open.last_mut() {
            Some((_, entries)) => entries.push(listed),
            None => self.top = Some(listed),
        }
    }
}

/// The thread that walks.
struct Walk {
    send: mpsc::Sender<Vec<Found>>,
    batch: Vec<Found>,
    /// Of its files.
    bytes: u64,
}

/// Nobody listens any more; whoever did has failed already and says why.
struct Gone;

impl Walk {
    /// Finds everything below `path` in the order of names. Ends early when nobody listens any more.
    fn walk(&mut self, path: &Path, found: Stat) -> Result<(), BlobError> {
        let name = path.file_name().map(|name| name.as_bytes().to_vec()).unwrap_or_default();
        let listed = |what| Listed {
            name,
            what,
            mode: found.st_mode & 0o7777,
            mtime_ns: found.st_mtime.saturating_mul(1_000_000_000).saturating_add(found.st_mtime_nsec as i64),
            size: u64::try_from(found.st_size).unwrap_or_default(),
            blob: Hash::from_bytes([0; 32]),
        };
        let kind = FileType::from_raw_mode(found.st_mode);
        let sent = if kind == FileType::Directory {
            let mut names = fs::read_dir(path)
                .and_then(|entries| {
                    entries.map(|entry| Ok(entry?.file_name())).collect::<Result<Vec<_>, _>>()
                })
                .map_err(|e| BlobError::folder("list", path, e))?;
            names.sort();
            if self.send(Found::Enter(listed(What::Folder))).is_err() {
                return Ok(());
            }
            let mut dir = None;
            for name in names {
                // Only now: the walk may have waited long for what comes before.
                let found = look_at(&mut dir, path, &name)?;
                if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
                    // A deep tree must not have all its folders open at once.
                    dir = None;
                }
                self.walk(&path.join(name), found)?;
            }
            self.send(Found::Leave)
        } else if kind == FileType::Symlink {
            let target = fs::read_link(path).map_err(|e| BlobError::folder("read the link", path, e))?;
            let target = Bytes::from(target.into_os_string().into_vec());
            self.send(Found::Link(Listed { size: 0, ..listed(What::Link) }, target))
        } else if kind == FileType::RegularFile {
            self.send(Found::File(listed(What::File), path.to_owned()))
        } else {
            self.send(Found::Skipped)
        };
        // Whoever listens no more says why.
        let _ = sent;
        Ok(())
    }

    fn send(&mut self, found: Found) -> Result<(), Gone> {
        if let Found::File(listed, _) = &found {
            self.bytes += listed.size.min(WHOLE_MAX);
        }
        self.batch.push(found);
        match self.bytes >= BATCH_BYTES || self.batch.len() >= BATCH_FILES {
            true => self.send_batch(),
            false => Ok(()),
        }
    }

    fn send_batch(&mut self) -> Result<(), Gone> {
        self.bytes = 0;
        self.send.blocking_send(std::mem::take(&mut self.batch)).map_err(|_| Gone)
    }
}

/// What a name in a folder stands for, looked up from the folder, which is opened if it is not, and not down the whole path
/// each time.
fn look_at(dir: &mut Option<OwnedFd>, folder: &Path, name: &OsStr) -> Result<Stat, BlobError> {
    let failed = |path: &Path, e: Errno| BlobError::folder("look at", path, e.into());
    let dir = match dir {
        Some(dir) => dir,
        None => {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            dir.insert(rustix::fs::open(folder, flags, Mode::empty()).map_err(|e| failed(folder, e))?)
        }
    };
    statat(&*dir, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| failed(&folder.join(name), e))
}

/// Something to be written, and where.
struct Wanted {
    path: PathBuf,
    listed: Listed,
}

/// What is missing where a folder was written, because the store lost it.
#[derive(Debug)]
pub struct Lost {
    /// The file, or the folder of which nobody knows what lay in it.
    pub path: PathBuf,
    /// What became of its bytes.
    pub error: BlobError,
}

/// Whether bytes are gone that others need not lack.
fn is_lost(error: &BlobError) -> bool {
    matches!(
        error.reason(),
        BlobError::NotFound { .. } | BlobError::Damaged { .. } | BlobError::Listing { .. }
    )
}

/// Writes what was put to `path`, which must not exist, or be an empty folder where a folder is written; what of a folder the
/// store has no more is told, and the rest is written. Blocks of zeros become holes. `progress` is told of bytes as they are
/// written.
///
/// # Errors
/// [`BlobError::Folder`] for what cannot be written, [`BlobError::Listing`], else as [`BlobStore::stream`].
pub async fn get(
    store: &BlobStore,
    what: What,
    blob: Hash,
    path: &Path,
    progress: impl Fn(u64) + Send + Sync + 'static,
) -> Result<Vec<Lost>, BlobError> {
    let size = store.size(&blob)?.ok_or(BlobError::NotFound { hash: blob })?.0;
    let top = Listed { name: Vec::new(), what, mode: 0o700, mtime_ns: -1, size, blob };
    if what != What::Folder {
        let wanted = Wanted { path: path.to_owned(), listed: Listed { mode: 0o644, ..top } };
        return match write(store, vec![wanted], &progress).await?.pop() {
            Some(lost) => Err(lost.error),
            None => Ok(Vec::new()),
        };
    }
    let (send, receive) = mpsc::channel::<Vec<Wanted>>(2 * WRITERS);
    let (receive, progress) = (Arc::new(Mutex::new(receive)), Arc::new(progress));
    let writers: Vec<_> = (0..WRITERS)
        .map(|_| {
            let (store, receive, progress) = (store.clone(), Arc::clone(&receive), Arc::clone(&progress));
            tokio::spawn(async move {
                let mut lost = Vec::new();
                loop {
                    let next = receive.lock().await.recv().await;
                    let Some(batch) = next else { return Ok::<_, BlobError>(lost) };
                    lost.extend(write(&store, batch, &*progress).await?);
                }
            })
        })
        .collect();
    drop(receive);
    let spread = spread(store, Wanted { path: path.to_owned(), listed: top }, send).await;
    let mut lost = Vec::new();
    for writer in writers {
        lost.extend(join(writer).await?);
    }
    // Last, because writing into a folder changes its time, and may not be allowed by its mode.
    let (folders, unknown) = spread?;
    lost.extend(unknown);
    join(tokio::task::spawn_blocking(move || folders.iter().rev().try_for_each(finish_path))).await?;
    Ok(lost)
}

/// What lies in a folder.
async fn entries_of(store: &BlobStore, hash: Hash) -> Result<Vec<Listed>, BlobError> {
    listing::decode(&store.get(&hash).await?).map_err(|source| BlobError::Listing { hash, source })
}

/// Makes all folders and hands out what is in them. Returns the folders, outer ones first, and those of which nobody knows
/// what lay in them.
async fn spread(
    store: &BlobStore,
    top: Wanted,
    send: mpsc::Sender<Vec<Wanted>>,
) -> Result<(Vec<Wanted>, Vec<Lost>), BlobError> {
    let (mut folders, mut lost, mut next) = (Vec::new(), Vec::new(), vec![top]);
    let (mut batch, mut bytes) = (Vec::new(), 0);
    while let Some(folder) = next.pop() {
        match fs::create_dir(&folder.path) {
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists && folders.is_empty() => {
                if fs::read_dir(&folder.path).is_ok_and(|mut entries| entries.next().is_some()) {
                    return Err(BlobError::folder("write into", folder.path, e));
                }
            }
            made => made.map_err(|e| BlobError::folder("create the folder", &folder.path, e))?,
        }
        let entries = match entries_of(store, folder.listed.blob).await {
            Err(error) if is_lost(&error) && !folders.is_empty() => {
                lost.push(Lost { path: folder.path, error });
                continue;
            }
            entries => entries?,
        };
        if folders.is_empty() {
            let size = entries.iter().fold(0_u64, |sum, entry| sum.saturating_add(entry.size));
            let store = store.clone();
            join(tokio::task::spawn_blocking(move || store.inner().index.fetch_for(size))).await;
        }
        let at = next.len();
        for listed in entries {
            let wanted = Wanted { path: folder.path.join(std::ffi::OsStr::from_bytes(&listed.name)), listed };
            if wanted.listed.what == What::Folder {
                next.push(wanted);
                continue;
            }
            bytes += wanted.listed.size;
            batch.push(wanted);
            if (bytes >= WHOLE_MAX || batch.len() >= 64)
                && send.send(std::mem::take(&mut batch)).await.is_err()
            {
                return Ok((folders, lost));
            }
            if batch.is_empty() {
                bytes = 0;
            }
        }
        // In the order in which they were put, so that neighbours are read together.
        next[at..].reverse();
        folders.push(folder);
    }
    let _ = send.send(batch).await;
    Ok((folders, lost))
}

/// Writes some files and links; tells which cannot be, because the store lost them.
async fn write(
    store: &BlobStore,
    batch: Vec<Wanted>,
    progress: &impl Fn(u64),
) -> Result<Vec<Lost>, BlobError> {
    let (mut small, mut lost) = (Vec::with_capacity(batch.len()), Vec::new());
    for wanted in batch {
        if wanted.listed.size > WHOLE_MAX {
            let path = wanted.path.clone();
            match write_large(store, wanted, progress).await {
                Err(error) if is_lost(&error) => lost.push(Lost { path, error }),
                written => written?,
            }
            continue;
        }
        match store.get(&wanted.listed.blob).await {
            Err(error) if is_lost(&error) => lost.push(Lost { path: wanted.path, error }),
            content => {
                let content = content?;
                progress(content.len() as u64);
                small.push((wanted, content));
            }
        }
    }
    let write = move || small.iter().try_for_each(|(wanted, content)| write_small(wanted, content));
    join(tokio::task::spawn_blocking(write)).await?;
    Ok(lost)
}

/// Writes a file piece by piece; one of which something is lost goes again.
async fn write_large(store: &BlobStore, wanted: Wanted, progress: &impl Fn(u64)) -> Result<(), BlobError> {
    let (_, pieces) = store.stream(&wanted.listed.blob).await?;
    let failed = |e| BlobError::folder("write", &wanted.path, e);
    let file = DirectWriter::create(&RealDisk, &wanted.path).map_err(failed)?;
    let file = match fill(file, &wanted.path, pieces, progress).await {
        Err(error) if is_lost(&error) => {
            fs::remove_file(&wanted.path).map_err(failed)?;
            return Err(error);
        }
        filled => filled?,
    };
    join(tokio::task::spawn_blocking(move || {
        file.finish().map_err(|e| BlobError::folder("write", &wanted.path, e))?;
        finish_path(&wanted)
    }))
    .await
}

/// Writes behind the reading: while one group of pieces goes to the disk the next is decompressed.
async fn fill(
    file: DirectWriter,
    path: &Path,
    pieces: impl Stream<Item = Result<Bytes, BlobError>> + Unpin,
    progress: &impl Fn(u64),
) -> Result<DirectWriter, BlobError> {
    let failed = |e| BlobError::folder("write", path, e);
    let mut writing: Option<tokio::task::JoinHandle<std::io::Result<DirectWriter>>> = None;
    let mut ready = pieces.ready_chunks(64);
    let mut idle = Some(file);
    while let Some(group) = ready.next().await {
        let group = group.into_iter().collect::<Result<Vec<Bytes>, _>>()?;
        progress(group.iter().map(|piece| piece.len() as u64).sum());
        let mut file = match (idle.take(), writing.take()) {
            (Some(file), _) => file,
            (None, Some(writing)) => join(writing).await.map_err(failed)?,
            (None, None) => unreachable!("it is idle or written"),
        };
        writing = Some(tokio::task::spawn_blocking(move || {
            group.iter().try_for_each(|piece| file.write(piece))?;
            Ok(file)
        }));
    }
    match (idle, writing) {
        (None, Some(writing)) => join(writing).await.map_err(failed),
        (idle, _) => Ok(idle.expect("nothing was written")),
    }
}

fn write_small(wanted: &Wanted, content: &[u8]) -> Result<(), BlobError> {
    let failed = |e| BlobError::folder("write", &wanted.path, e);
    if wanted.listed.what == What::Link {
        return symlink(std::ffi::OsStr::from_bytes(content), &wanted.path).map_err(failed);
    }
    let file = File::create_new(&wanted.path).map_err(failed)?;
    write_sparse(&file, 0, content).map_err(failed)?;
    if content.last() == Some(&0) {
        // It may end with a hole.
        file.set_len(content.len() as u64).map_err(failed)?;
    }
    finish(&file, wanted)
}

fn finish(file: &File, wanted: &Wanted) -> Result<(), BlobError> {
    let failed = |e| BlobError::folder("set the mode of", &wanted.path, e);
    if wanted.listed.mode != 0o644 {
        file.set_permissions(fs::Permissions::from_mode(wanted.listed.mode)).map_err(failed)?;
    }
    match u64::try_from(wanted.listed.mtime_ns) {
        Ok(ns) => file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_nanos(ns)).map_err(failed),
        Err(_) => Ok(()),
    }
}

fn finish_path(wanted: &Wanted) -> Result<(), BlobError> {
    let file = File::open(&wanted.path).map_err(|e| BlobError::folder("open", &wanted.path, e))?;
    finish(&file, wanted)
}

/// Every blob that something refers to, itself first: what a collection has to keep.
///
/// # Errors
/// [`BlobError::Listing`], else as [`BlobStore::get`]: when a listing cannot be read, nothing may be collected.
pub async fn needed(store: &BlobStore, what: What, blob: Hash) -> Result<Vec<Hash>, BlobError> {
    let (mut all, mut folders) = (vec![blob], Vec::new());
    folders.extend((what == What::Folder).then_some(blob));
    let mut seen = std::collections::HashSet::new();
    while let Some(hash) = folders.pop() {
        if !seen.insert(hash) {
            continue;
        }
        let entries = listing::decode(&store.get(&hash).await?);
        for entry in entries.map_err(|source| BlobError::Listing { hash, source })? {
            all.push(entry.blob);
            folders.extend((entry.what == What::Folder).then_some(entry.blob));
        }
    }
    Ok(all)
}
