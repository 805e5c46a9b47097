//! Walking through one segment, entry by entry, with every check.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use pumasi_types::CellId;

use crate::buffer::AlignedBuf;
use crate::dir::Dir;
use crate::disk::{DiskFile, Mode};
use crate::format::{BLOCK, ENTRY_HEADER, EntryHeader, Malformed, SegmentHeader, VERSION, entry_hash};
use crate::{Damage, Entry, Head, LogError, Seq};

/// How much is read at once, in bytes.
const CHUNK: usize = 1 << 20;

/// A place in a segment: what is before it has been checked.
pub(crate) struct Walk {
    file: Box<dyn DiskFile>,
    pub(crate) path: PathBuf,
    pub(crate) header: SegmentHeader,
    /// Where the next entry begins.
    pub(crate) offset: u64,
    /// The entry before.
    pub(crate) prev: Head,
    window: AlignedBuf,
    window_at: u64,
}

/// What stands at a place.
pub(crate) enum Step {
    /// A good entry; the walk has moved behind it.
    Entry(Entry),
    /// An empty block or the end of the segment.
    Blank,
    /// Something else.
    Bad(Damage),
}

/// What stands after the last good entry of a segment.
#[derive(Debug, Default)]
pub(crate) struct Remains {
    /// End of the last block that is not empty, or the walk's place when all are.
    pub(crate) data_end: u64,
    /// The first intact entry header after the place: where the walk could go on.
    pub(crate) later: Option<(u64, EntryHeader)>,
    /// The first intact entry that proves that the one at the place was durable.
    pub(crate) proof: Option<(u64, Seq)>,
}

impl Walk {
    /// Opens the segment that should begin with `first` and belong to `cell` (any when none), past the page cache: that
    /// shows what the device holds, and costs no copy of what is read once.
    pub(crate) fn open(dir: &Dir, path: &Path, first: Seq, cell: Option<CellId>) -> Result<Walk, LogError> {
        let file = dir.disk.open_direct(path, Mode::Read).map_err(LogError::io("open", path))?;
        let damaged = |expected: String, found: String| {
            let segment = path.to_owned();
            LogError::Damaged(Box::new(Damage { segment, offset: 0, seq: first, expected, found }))
        };
        let mut block = AlignedBuf::zeroed(BLOCK as usize);
        let length = file.read_full_at(&mut block, 0).map_err(LogError::io("read", path))?;
        if length < block.len() {
            return Err(damaged(format!("a header of {BLOCK} bytes"), format!("{length} bytes")));
        }
        let header = match SegmentHeader::decode(block[..].try_into().expect("the length is right")) {
            Ok(header) => header,
            Err(Malformed::Newer(found)) => {
                return Err(LogError::NewerFormat { path: path.to_owned(), found, known: VERSION });
            }
            Err(Malformed::Wrong { expected, found }) => return Err(damaged(expected, found)),
        };
        if let Some(expected) = cell
            && header.cell != expected
        {
            return Err(LogError::ForeignCell { path: path.to_owned(), expected, found: header.cell });
        }
        if header.first() != first {
            return Err(damaged(
                format!("a segment that begins with entry {first}, as its name says"),
                format!("one that begins with entry {}: the file was renamed or swapped", header.first()),
            ));
        }
        let (path, prev) = (path.to_owned(), header.prev);
        Ok(Walk { file, path, header, offset: BLOCK, prev, window: AlignedBuf::zeroed(0), window_at: 0 })
    }

    /// The bytes at `offset`, zeros beyond the end of the file.
    fn bytes(&mut self, offset: u64, length: usize) -> Result<&[u8], LogError> {
        let inside =
            offset >= self.window_at && offset + length as u64 <= self.window_at + self.window.len() as u64;
        if !inside {
            self.window.resize(length.max(CHUNK));
            self.window_at = offset;
            let read = self.file.read_full_at(&mut self.window, offset);
            let read = read.map_err(LogError::io("read", &self.path))?;
            self.window[read..].fill(0);
        }
        let at = (offset - self.window_at) as usize;
        Ok(&self.window[at..at + length])
    }

    /// Forgets what was read ahead, because the file may have changed since.
    pub(crate) fn refresh(&mut self) {
        self.window.resize(0);
    }

    fn damage(&self, expected: impl Into<String>, found: impl Into<String>) -> Damage {
        Damage {
            segment: self.path.clone(),
            offset: self.offset,
            seq: self.prev.seq.next(),
            expected: expected.into(),
            found: found.into(),
        }
    }

    /// The damage that an empty block is where an entry must be.
    pub(crate) fn nothing_here(&self) -> Damage {
        self.damage("an entry", "an empty block")
    }

    /// The damage that this segment does not follow `before`.
    pub(crate) fn broken_link(&self, before: &Head) -> Damage {
        let text = |head: &Head| format!("entry {} with hash {}", head.seq, head.hash);
        Damage {
            segment: self.path.clone(),
            offset: 0,
            seq: self.header.first(),
            expected: format!("a segment that follows {}", text(before)),
            found: format!("one that follows {}", text(&self.header.prev)),
        }
    }

    /// Checks what stands here and moves behind it when it is good.
    pub(crate) fn step(&mut self) -> Result<Step, LogError> {
        if self.offset + BLOCK > self.header.bytes {
            return Ok(Step::Blank);
        }
        let (offset, key) = (self.offset, self.header.key);
        let mut bytes = [0; ENTRY_HEADER];
        bytes.copy_from_slice(self.bytes(offset, ENTRY_HEADER)?);
        if bytes == [0; ENTRY_HEADER] {
            return Ok(Step::Blank);
        }
        let entry = match EntryHeader::decode(&bytes, &key) {
            Ok(entry) => entry,
            Err(Malformed::Newer(version)) => {
                return Ok(Step::Bad(self.damage(format!("entry version {VERSION}"), version.to_string())));
            }
            Err(Malformed::Wrong { expected, found }) => return Ok(Step::Bad(self.damage(expected, found))),
        };
        if let Some(damage) = self.misplaced(&entry) {
            return Ok(Step::Bad(damage));
        }
        if entry.stored_bytes() > CHUNK as u64 {
            // Before memory is set aside for it.
            let end = self.file.len().map_err(LogError::io("inspect", &self.path))?;
            if end < offset + entry.stored_bytes() {
                let expected = format!("an entry of {} bytes", entry.stored_bytes());
                return Ok(Step::Bad(self.damage(expected, format!("the end of the file at byte {end}"))));
            }
        }
        let length = entry.payload_bytes as usize;
        let stored = self.bytes(offset, entry.stored_bytes() as usize)?;
        let (payload, padding) = stored[ENTRY_HEADER..].split_at(length);
        let hash = entry_hash(&bytes, payload);
        if hash != entry.head.hash {
            let (expected, found) = (entry.head.hash, hash);
            return Ok(Step::Bad(
                self.damage(format!("content with hash {expected}"), format!("hash {found}")),
            ));
        }
        if padding.iter().any(|&byte| byte != 0) {
            return Ok(Step::Bad(self.damage("zeros after the payload", "other bytes")));
        }
        let payload = Bytes::copy_from_slice(payload);
        let Head { seq, epoch, time, hash } = entry.head;
        self.offset += entry.stored_bytes();
        self.prev = entry.head;
        Ok(Step::Entry(Entry { seq, epoch, time, prev: entry.prev, hash, payload }))
    }

    /// What is wrong with an intact entry header at this place.
    fn misplaced(&self, entry: &EntryHeader) -> Option<Damage> {
        let (head, prev) = (&entry.head, &self.prev);
        if head.seq != prev.seq.next() {
            return Some(self.damage(format!("entry {}", prev.seq.next()), format!("entry {}", head.seq)));
        }
        if entry.cell != self.header.cell {
            return Some(self.damage(format!("cell {}", self.header.cell), format!("cell {}", entry.cell)));
        }
        if entry.prev != prev.hash {
            let expected = format!("the hash of the entry before, {}", prev.hash);
            return Some(self.damage(expected, entry.prev.to_string()));
        }
        if head.epoch < prev.epoch {
            return Some(self.damage(format!("epoch {} or later", prev.epoch), head.epoch.to_string()));
        }
        if head.time < prev.time {
            return Some(self.damage(format!("time {} or later", prev.time.0), head.time.0.to_string()));
        }
        if entry.stored_bytes() > self.header.bytes - self.offset {
            let room = self.header.bytes - self.offset;
            let found = format!("{} bytes", entry.stored_bytes());
            return Some(self.damage(format!("an entry that fits into the {room} bytes left"), found));
        }
        None
    }

    /// Moves to an intact header that [`Walk::remains`] found, taking its word for what came before.
    pub(crate) fn resume_at(&mut self, offset: u64, header: &EntryHeader) {
        self.offset = offset;
        self.prev = Head {
            seq: Seq(header.head.seq.0 - 1),
            epoch: self.prev.epoch,
            time: self.prev.time,
            hash: header.prev,
        };
    }

    /// Looks at all blocks from here to the end of the segment.
    pub(crate) fn remains(&mut self) -> Result<Remains, LogError> {
        let expected = self.prev.seq.next();
        let (key, start) = (self.header.key, self.offset);
        let length = self.file.len().map_err(LogError::io("inspect", &self.path))?;
        let end = self.header.bytes.min(length);
        let mut remains = Remains { data_end: self.offset, ..Remains::default() };
        let mut at = self.offset;
        while at < end {
            let block = self.bytes(at, BLOCK as usize)?;
            if block.iter().any(|&byte| byte != 0) {
                remains.data_end = at + BLOCK;
                let header: &[u8; ENTRY_HEADER] =
                    block[..ENTRY_HEADER].try_into().expect("the length is right");
                // A place further on than the blocks between allow is no place of this log.
                let distance = (at - start) / BLOCK;
                let plausible = expected.0.saturating_add(1)..=expected.0.saturating_add(distance);
                if let Ok(entry) = EntryHeader::decode(header, &key)
                    && plausible.contains(&entry.head.seq.0)
                {
                    if entry.write_first > expected && remains.proof.is_none() {
                        remains.proof = Some((at, entry.head.seq));
                    }
                    remains.later.get_or_insert((at, entry));
                }
            }
            at += BLOCK;
        }
        Ok(remains)
    }

    /// The bytes from here to `end`, for the file that keeps what a restart cuts.
    pub(crate) fn raw(&mut self, end: u64) -> Result<&[u8], LogError> {
        let (offset, length) = (self.offset, (end - self.offset) as usize);
        self.bytes(offset, length)
    }
}
