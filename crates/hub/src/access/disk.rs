//! The files of the access log: lines of JSON, the newest behind, in two parts of which the older gives way.
//!
//! The first line of a part says at which byte of everything that was ever written it begins, so that a reader who goes back
//! page by page stays where it was whatever is written meanwhile. What is no line is passed over.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use pumasi_api::wire::access::AccessEntry;
use pumasi_types::ByteSize;
use serde::{Deserialize, Serialize};

/// The newer part.
const NEWER: &str = "access.log";
/// The older part.
const OLDER: &str = "access.log.1";
/// The least that a part can have, in bytes: some lines.
const PART_LEAST: u64 = 16 << 10;
/// A part with no more than this has no line besides its first.
const BEGUN: u64 = 64;
/// Bytes that are looked through for one page.
const LOOKED: u64 = 4 << 20;

/// The first line of a part.
#[derive(Serialize, Deserialize)]
struct First {
    begin: u64,
}

/// A file.
struct Part {
    file: File,
    /// How many bytes were ever written before it.
    begin: u64,
    length: u64,
    /// What must stand before the next line.
    ahead: Vec<u8>,
}

impl Part {
    fn open(path: &Path, begin: u64) -> io::Result<Part> {
        let file = File::options().read(true).append(true).create(true).mode(0o600).open(path)?;
        let length = file.metadata()?.len();
        let mut part = Part { file, begin, length, ahead: Vec::new() };
        if length == 0 {
            part.ahead = serde_json::to_vec(&First { begin })?;
            part.ahead.push(b'\n');
            return Ok(part);
        }
        let mut head = vec![0; usize::try_from(length.min(BEGUN)).unwrap_or(0)];
        part.file.read_exact_at(&mut head, 0)?;
        let first = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
        part.begin = serde_json::from_slice(first).map_or(begin, |first: First| first.begin);
        let mut last = [0];
        part.file.read_exact_at(&mut last, length - 1)?;
        if last != *b"\n" {
            // A crash cut the last line off: the next one must not go on in it.
            part.ahead.push(b'\n');
        }
        Ok(part)
    }

    /// Appends a line, or nothing.
    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        let text = [self.ahead.as_slice(), line].concat();
        if let Err(error) = self.file.write_all(&text) {
            // If this fails, too, half a line is left, which is passed over.
            let _ = self.file.set_len(self.length);
            return Err(error);
        }
        self.ahead.clear();
        self.length += text.len() as u64;
        Ok(())
    }

    fn end(&self) -> u64 {
        self.begin.saturating_add(self.length)
    }
}

/// Accesses, the newest first, and where to read on.
pub(super) type Page = (Vec<AccessEntry>, Option<u64>);

/// Both parts.
pub(super) struct Disk {
    dir: PathBuf,
    newer: Part,
    older: Option<Part>,
    part_most: u64,
    /// Whether it was said that nothing can be written.
    warned: bool,
}

impl Disk {
    /// Opens the log in this folder, which takes up to `size`.
    pub(super) fn open(dir: &Path, size: ByteSize) -> io::Result<Disk> {
        let path = dir.join(OLDER);
        let older = if path.exists() { Some(Part::open(&path, 0)?) } else { None };
        let newer = Part::open(&dir.join(NEWER), older.as_ref().map_or(0, Part::end))?;
        let part_most = (size.0 / 2).max(PART_LEAST);
        Ok(Disk { dir: dir.to_owned(), newer, older, part_most, warned: false })
    }

    /// Writes lines; how many. The others are lost, which is said once until all can be written again.
    pub(super) fn write(&mut self, lines: &[AccessEntry]) -> usize {
        let mut written = 0;
        for line in lines {
            match self.line(line) {
                Ok(()) => written += 1,
                Err(error) if !self.warned => {
                    self.warned = true;
                    let path = self.dir.join(NEWER);
                    tracing::warn!(
                        "cannot write {}: {error}; accesses are not logged meanwhile: free space, or start the \
                         hub with `--access-log-size off`",
                        path.display()
                    );
                }
                Err(_) => {}
            }
        }
        if written == lines.len() {
            self.warned = false;
        }
        written
    }

    fn line(&mut self, line: &AccessEntry) -> io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        if self.newer.length > BEGUN && self.newer.length + text.len() as u64 > self.part_most {
            self.turn()?;
        }
        self.newer.append(&text)
    }

    /// Begins a new part in place of the older.
    fn turn(&mut self) -> io::Result<()> {
        let newer = self.dir.join(NEWER);
        match std::fs::rename(&newer, self.dir.join(OLDER)) {
            // Somebody took it away, or an earlier try came so far.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            renamed => renamed?,
        }
        let next = Part::open(&newer, self.newer.end())?;
        self.older = Some(std::mem::replace(&mut self.newer, next));
        Ok(())
    }

    /// What is `taken` of what was written before the position `before`, up to `limit` of it. Looks through a bounded part
    /// only, so that there can be less although there is more further back.
    pub(super) fn page(
        &self,
        before: Option<u64>,
        limit: usize,
        taken: impl Fn(&AccessEntry) -> bool,
    ) -> io::Result<Page> {
        let before = before.unwrap_or(u64::MAX);
        let parts = [Some(&self.newer), self.older.as_ref()];
        let Some(part) = parts.into_iter().flatten().find(|part| part.begin < before) else {
            return Ok((Vec::new(), None));
        };
        let end = (before - part.begin).min(part.length);
        let start = end.saturating_sub(LOOKED);
        let mut block = vec![0; usize::try_from(end - start).unwrap_or(0)];
        part.file.read_exact_at(&mut block, start)?;
        let whole = match start {
            0 => 0,
            _ => block.iter().position(|byte| *byte == b'\n').map_or(block.len(), |at| at + 1),
        };
        let (mut found, mut at) = (Vec::new(), block.len());
        while at > whole && found.len() < limit {
            let line_end = at;
            let newline = block[whole..line_end - 1].iter().rposition(|byte| *byte == b'\n');
            at = newline.map_or(whole, |newline| whole + newline + 1);
            found.extend(serde_json::from_slice(&block[at..line_end]).ok().filter(&taken));
        }
        // A block without a line must not be read for ever.
        let at = if whole < block.len() || start == 0 { at as u64 } else { 0 };
        let reached = part.begin + start + at;
        let is_first = self.older.as_ref().is_none_or(|older| older.begin >= part.begin);
        Ok((found, Some(reached).filter(|reached| *reached > part.begin || !is_first)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pumasi_api::wire::access::AccessWhat;

    fn line(number: usize) -> AccessEntry {
        AccessEntry { path: Some(format!("file {number}\n")), ..super::super::blank(AccessWhat::Read) }
    }

    /// All that is there, read by pages of `limit`, as numbers.
    fn all(disk: &Disk, limit: usize) -> Vec<usize> {
        let (mut all, mut before) = (Vec::new(), None);
        loop {
            let (found, next) = disk.page(before, limit, |_| true).unwrap();
            assert!(found.len() <= limit);
            let path = |entry: AccessEntry| entry.path.unwrap().trim()[5..].parse::<usize>().unwrap();
            all.extend(found.into_iter().map(path));
            assert!(next.is_none() || next != before, "it comes to an end");
            before = next;
            if before.is_none() {
                return all;
            }
        }
    }

    #[test]
    fn it_keeps_the_newest_in_two_parts() {
        let dir = tempfile::tempdir().unwrap();
        let mut disk = Disk::open(dir.path(), ByteSize(40 << 10)).unwrap();
        assert_eq!(all(&disk, 10), Vec::<usize>::new());
        let lines: Vec<_> = (0..2_000).map(line).collect();
        assert_eq!(disk.write(&lines), 2_000);
        let sizes = [NEWER, OLDER].map(|name| std::fs::metadata(dir.path().join(name)).unwrap().len());
        assert!(sizes.iter().all(|size| (1..=20 << 10).contains(size)), "{sizes:?}");
        let kept = all(&disk, 7);
        assert_eq!(kept, (2_000 - kept.len()..2_000).rev().collect::<Vec<_>>(), "the newest without a gap");
        assert!(kept.len() > 100, "{}", kept.len());
        // It is the same when it is opened again, also when a crash cut its last line off.
        std::fs::File::options()
            .append(true)
            .open(dir.path().join(NEWER))
            .unwrap()
            .write_all(b"{\"at_ms\":1")
            .unwrap();
        let mut disk = Disk::open(dir.path(), ByteSize(40 << 10)).unwrap();
        assert_eq!(all(&disk, 1_000), kept);
        let (_, next) = disk.page(None, 3, |_| true).unwrap();
        assert_eq!(disk.write(&[line(2_000)]), 1);
        let (found, _) = disk.page(next, 1, |_| true).unwrap();
        assert_eq!(found, [line(1_996)], "who reads on is not disturbed by what comes");
    }

    #[test]
    fn a_log_that_cannot_be_written_is_lost_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let mut disk = Disk::open(dir.path(), ByteSize(0)).unwrap();
        // Where its older part is to lie, a folder is in the way.
        std::fs::create_dir_all(dir.path().join(OLDER).join("in the way")).unwrap();
        let lines: Vec<_> = (0..1_000).map(line).collect();
        let written = disk.write(&lines);
        assert!((1..1_000).contains(&written) && disk.warned, "{written}");
        std::fs::remove_dir_all(dir.path().join(OLDER)).unwrap();
        assert_eq!((disk.write(&lines[..1]), disk.warned), (1, false));
    }
}
