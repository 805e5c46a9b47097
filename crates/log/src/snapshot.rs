//! Snapshots of a state: written whole or not at all, checked when read, two kept.

use std::io::{self, BufWriter, IntoInnerError, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use pumasi_types::Hash;

use crate::dir::numbered;
use crate::disk::{Disk, DiskFile, Mode, RealDisk, Sequential};
use crate::format::{Malformed, SNAPSHOT_HEADER, SnapshotHeader};
use crate::{Head, Seq};

/// How many snapshots are kept: if the newest turns out damaged, the one before still serves.
const KEPT: usize = 2;

/// Bytes that are written before they are made durable: were all left to the end, the disk would be busy with them for
/// so long that the log waits.
const PIECE: usize = 8 << 20;

/// Why a snapshot could not be written or looked for. The log is not affected.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {}: {source}; the log still holds everything since the last snapshot", path.display())]
pub struct SnapshotError {
    operation: &'static str,
    path: PathBuf,
    source: io::Error,
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SnapshotError {
    move |source| SnapshotError { operation, path: path.to_owned(), source }
}

/// A state as it was after an entry, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The last entry that the state contains.
    pub head: Head,
    /// Version of the state's layout, given by its owner.
    pub state_version: u32,
    /// The state.
    pub body: Bytes,
}

/// A snapshot that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its size, header included, in bytes.
    pub bytes: u64,
}

/// The newest snapshot that can be used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoundSnapshot {
    /// The snapshot; none when there is no good one.
    pub snapshot: Option<Snapshot>,
    /// Newer ones that cannot be used, and why; for the operator.
    pub notes: Vec<String>,
}

/// A directory of snapshots of one cell. Its user holds the cell's log open, so it is the only one.
#[derive(Clone, Debug)]
pub struct SnapshotStore {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
}

impl SnapshotStore {
    /// Opens the directory, creates it when needed, and removes what a crash left half-written.
    ///
    /// # Errors
    /// When the directory cannot be made or listed.
    pub fn open(dir: &Path) -> Result<SnapshotStore, SnapshotError> {
        SnapshotStore::open_on(Arc::new(RealDisk), dir)
    }

    /// [`SnapshotStore::open`] on any disk.
    ///
    /// # Errors
    /// As [`SnapshotStore::open`].
    pub fn open_on(disk: Arc<dyn Disk>, dir: &Path) -> Result<SnapshotStore, SnapshotError> {
        disk.create_dir(dir).map_err(failed("create", dir))?;
        let store = SnapshotStore { disk, dir: dir.to_owned() };
        for path in store.paths()? {
            if path.extension().is_some_and(|extension| extension == "tmp") {
                store.remove(&path)?;
            }
        }
        Ok(store)
    }

    /// Writes the state after `head`, whose bytes `body` produces, and removes all but the newest two.
    ///
    /// # Errors
    /// When `body` fails, the disk is full or broken; the older snapshots are still there then.
    pub fn write(
        &self,
        head: Head,
        state_version: u32,
        body: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<SnapshotFile, SnapshotError> {
        let path = self.dir.join(format!("{:016x}.snap", head.seq.0));
        let temporary = path.with_extension("tmp");
        let written = self
            .disk
            .open(&temporary, Mode::Create)
            .and_then(|file| write_file(&*file, head, state_version, body));
        if written.is_err() {
            // Its room may be what the disk lacks.
            let _ = self.disk.remove(&temporary);
        }
        let bytes = written.map_err(failed("write", &temporary))?;
        self.disk.rename(&temporary, &path).map_err(failed("rename", &temporary))?;
        self.disk.sync_dir(&self.dir).map_err(failed("sync", &self.dir))?;
        for (_, old) in self.files()?.into_iter().skip(KEPT) {
            self.remove(&old)?;
        }
        Ok(SnapshotFile { path, bytes })
    }

    /// The newest good snapshot.
    ///
    /// # Errors
    /// When a file cannot be read; one that was read and is damaged only makes a note.
    pub fn newest(&self) -> Result<FoundSnapshot, SnapshotError> {
        let mut found = FoundSnapshot::default();
        for (seq, path) in self.files()? {
            let read = self.disk.open(&path, Mode::Read).and_then(|file| read_file(&*file, seq));
            match read.map_err(failed("read", &path))? {
                Ok(snapshot) => {
                    found.snapshot = Some(snapshot);
                    break;
                }
                Err(reason) => {
                    found.notes.push(format!("the snapshot {} cannot be used: {reason}", path.display()));
                }
            }
        }
        Ok(found)
    }

    /// The entry after which the log is needed even if the newest snapshot turns out damaged.
    ///
    /// The log may be trimmed before the entry after it. [`Seq::ZERO`] with fewer than two snapshots.
    ///
    /// # Errors
    /// When the directory cannot be listed.
    pub fn covered(&self) -> Result<Seq, SnapshotError> {
        Ok(self.files()?.get(KEPT - 1).map_or(Seq::ZERO, |(seq, _)| *seq))
    }

    /// All snapshots, newest first.
    fn files(&self) -> Result<Vec<(Seq, PathBuf)>, SnapshotError> {
        let mut files: Vec<_> = self
            .paths()?
            .into_iter()
            .filter_map(|path| Some((Seq(numbered(&path, ".snap")?), path)))
            .collect();
        files.sort_by(|a, b| b.cmp(a));
        Ok(files)
    }

    fn paths(&self) -> Result<Vec<PathBuf>, SnapshotError> {
        self.disk.list(&self.dir).map_err(failed("list", &self.dir))
    }

    fn remove(&self, path: &Path) -> Result<(), SnapshotError> {
        self.disk.remove(path).map_err(failed("remove", path))
    }
}

fn write_file(
    file: &dyn DiskFile,
    head: Head,
    state_version: u32,
    body: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<u64> {
    file.set_len(0)?;
    let pieces = Pieces { out: Sequential::new(file, SNAPSHOT_HEADER as u64), file, unsynced: 0 };
    let out = HashingWriter { out: pieces, hasher: blake3::Hasher::new() };
    let mut out = BufWriter::with_capacity(1 << 20, out);
    body(&mut out)?;
    let HashingWriter { hasher, .. } = out.into_inner().map_err(IntoInnerError::into_error)?;
    let (body_bytes, body_hash) = (hasher.count(), Hash::from(hasher.finalize()));
    let header = SnapshotHeader { state_version, head, body_bytes, body_hash };
    file.write_all_at(&header.encode(), 0)?;
    file.sync()?;
    Ok(SNAPSHOT_HEADER as u64 + body_bytes)
}

/// Reads a snapshot; the inner error says why it cannot be used.
fn read_file(file: &dyn DiskFile, seq: Seq) -> io::Result<Result<Snapshot, String>> {
    let length = file.len()?;
    let mut header = [0; SNAPSHOT_HEADER];
    if length < header.len() as u64 {
        return Ok(Err(format!("it has only {length} bytes")));
    }
    file.read_exact_at(&mut header, 0)?;
    let header = match SnapshotHeader::decode(&header) {
        Ok(header) => header,
        Err(Malformed::Newer(version)) => {
            return Ok(Err(format!("a newer release wrote its version {version}")));
        }
        Err(Malformed::Wrong { expected, found }) => {
            return Ok(Err(format!("expected {expected}, found {found}")));
        }
    };
    if header.head.seq != seq {
        return Ok(Err(format!("its name says entry {seq}, its content entry {}", header.head.seq)));
    }
    let stored = length - SNAPSHOT_HEADER as u64;
    if header.body_bytes != stored {
        return Ok(Err(format!("expected {} bytes of state, found {stored}", header.body_bytes)));
    }
    let mut body = Vec::new();
    body.try_reserve_exact(stored as usize)?;
    Sequential::new(file, SNAPSHOT_HEADER as u64).take(stored).read_to_end(&mut body)?;
    let hash = Hash::of(&body);
    if hash != header.body_hash {
        return Ok(Err(format!("expected a state with hash {}, found {hash}", header.body_hash)));
    }
    let SnapshotHeader { head, state_version, .. } = header;
    Ok(Ok(Snapshot { head, state_version, body: body.into() }))
}

/// Makes each piece durable before the next is written.
struct Pieces<'a> {
    out: Sequential<'a>,
    file: &'a dyn DiskFile,
    unsynced: usize,
}

impl Write for Pieces<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.unsynced == PIECE {
            self.file.sync()?;
            self.unsynced = 0;
        }
        let written = self.out.write(&bytes[..bytes.len().min(PIECE - self.unsynced)])?;
        self.unsynced += written;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct HashingWriter<W> {
    out: W,
    hasher: blake3::Hasher,
}

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
