//! What came of a transfer of many files, counted while it goes on and told when it is over.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pumasi_api::wire::ErrorBody;
use pumasi_types::ByteSize;
use serde::Serialize;

use super::scan::LeftOut;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::Output;
use crate::progress::{Count, Progress};

/// How many of the files that did not go well are named; `--json` names all.
const NAMED: usize = 10;

/// Counts what is done. Shared by all that do it.
pub(crate) struct Tally(Arc<Inner>);

struct Inner {
    counts: Mutex<Counts>,
    progress: Progress,
    files: u64,
    /// Whether progress is told in files, because they have no bytes.
    by_files: bool,
}

/// A file that is under way, for progress only; it counts until it is dropped.
pub(crate) struct UnderWay {
    tally: Arc<Inner>,
    bytes: AtomicU64,
}

/// What came of a transfer.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Counts {
    /// Files and links that were brought over.
    pub(crate) files: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// Bytes of them that travelled.
    pub(crate) moved: u64,
    /// Files that were the same on both sides already.
    pub(crate) same: u64,
    /// Removed on one side because they were removed on the other.
    #[serde(skip_serializing_if = "is_none")]
    pub(crate) removed: u64,
    /// Files that both sides had changed; one of them got another name.
    #[serde(skip_serializing_if = "is_none")]
    pub(crate) conflicts: u64,
    /// What was left out.
    pub(crate) left_out: Vec<NotDone>,
    /// What the hub refused.
    pub(crate) refused: Vec<NotDone>,
    /// Bytes of files that are over, however they ended; for progress.
    #[serde(skip)]
    over: u64,
    /// The same, files.
    #[serde(skip)]
    files_over: u64,
    /// Bytes of files that are under way that went over already; for progress.
    #[serde(skip)]
    under_way: u64,
}

fn is_none(count: &u64) -> bool {
    *count == 0
}

/// Something that was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct NotDone {
    /// What.
    pub(crate) path: String,
    /// Why.
    pub(crate) why: String,
    /// The hub's code for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) code: Option<String>,
}

impl Tally {
    /// Begins to count up to so many files.
    pub(crate) fn new(progress: Progress, files: u64) -> Tally {
        Tally(Arc::new(Inner { counts: Mutex::default(), progress, files, by_files: false }))
    }

    /// Begins to count up to so many bytes in so many files, and to show it.
    pub(crate) fn of(out: &Output, what: &str, bytes: u64, files: u64) -> Tally {
        let by_files = bytes == 0;
        let (count, total) = if by_files { (Count::Things, files) } else { (Count::Bytes, bytes) };
        let progress = Progress::start(out, what, count, total);
        Tally(Arc::new(Inner { counts: Mutex::default(), progress, files, by_files }))
    }

    /// A file was brought over; `moved` bytes of it travelled.
    pub(crate) fn done(&self, size: u64, moved: u64) {
        let mut counts = self.0.counts();
        counts.files += 1;
        counts.bytes += size;
        counts.moved += moved;
        self.over(counts, size);
    }

    /// A file needed nothing.
    pub(crate) fn same(&self, size: u64) {
        let mut counts = self.0.counts();
        counts.same += 1;
        self.over(counts, size);
    }

    /// Something cannot be brought over.
    pub(crate) fn left_out(&self, left: LeftOut, size: u64) {
        let mut counts = self.0.counts();
        counts.left_out.push(NotDone { path: name(&left.path), why: left.why, code: None });
        self.over(counts, size);
    }

    /// The hub will not.
    pub(crate) fn refused(&self, path: String, error: ErrorBody, size: u64) {
        let mut counts = self.0.counts();
        counts.refused.push(NotDone { path, why: error.message, code: Some(error.code) });
        self.over(counts, size);
    }

    /// Something else is to be counted.
    pub(crate) fn count(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.0.counts());
    }

    /// A file sets out.
    pub(crate) fn under_way(&self) -> UnderWay {
        UnderWay { tally: self.0.clone(), bytes: AtomicU64::new(0) }
    }

    /// What it was.
    pub(crate) fn finish(self) -> Counts {
        self.0.progress.clear();
        std::mem::take(&mut *self.0.counts())
    }

    fn over(&self, mut counts: MutexGuard<'_, Counts>, size: u64) {
        counts.over += size;
        counts.files_over += 1;
        self.0.show(&counts);
    }
}

impl Inner {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn show(&self, counts: &Counts) {
        let files = format!("{}/{} files", counts.files_over, self.files);
        self.progress.set(self.how_far(counts), &files);
    }

    fn how_far(&self, counts: &Counts) -> u64 {
        if self.by_files { counts.files_over } else { counts.over + counts.under_way }
    }
}

impl UnderWay {
    /// So many bytes of it went over.
    pub(crate) fn set(&self, bytes: u64) {
        let mut counts = self.tally.counts();
        let before = self.bytes.swap(bytes, Ordering::Relaxed);
        counts.under_way = (counts.under_way + bytes).saturating_sub(before);
        self.tally.show(&counts);
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let bytes = self.bytes.load(Ordering::Relaxed);
        let mut counts = self.tally.counts();
        counts.under_way = counts.under_way.saturating_sub(bytes);
    }
}

impl Counts {
    /// The counts of both together.
    pub(crate) fn plus(mut self, other: Counts) -> Counts {
        self.files += other.files;
        self.bytes += other.bytes;
        self.moved += other.moved;
        self.same += other.same;
        self.removed += other.removed;
        self.conflicts += other.conflicts;
        self.left_out.extend(other.left_out);
        self.refused.extend(other.refused);
        self
    }

    /// Tells it, and how the program ends: refusals and files that cannot be read have their own exit codes.
    pub(crate) fn tell(&self, out: &Output, verb: &str) -> Result<Exit, CliError> {
        for (what, list) in [("left out", &self.left_out), ("refused", &self.refused)] {
            for not_done in list.iter().take(NAMED) {
                out.warn(&format!("{what}: {}: {}", not_done.path, not_done.why));
            }
            if list.len() > NAMED {
                out.warn(&format!("{what}: {} more; --json names all", list.len() - NAMED));
            }
        }
        if out.json {
            out.value(self)?;
        } else {
            out.note(&self.sentence(verb));
        }
        Ok(match (self.refused.is_empty(), self.left_out.is_empty()) {
            (false, _) => Exit::Refused,
            (_, false) => Exit::LocalFile,
            _ => Exit::Ok,
        })
    }

    fn sentence(&self, verb: &str) -> String {
        let s = if self.files == 1 { "" } else { "s" };
        let mut text = format!("{verb} {} file{s}, {}", self.files, ByteSize(self.bytes));
        if self.moved < self.bytes {
            text += &format!(", of which {} travelled", ByteSize(self.moved));
        }
        for (count, what) in [
            (self.same, "unchanged"),
            (self.removed, "removed"),
            (self.conflicts, "in conflict"),
            (self.left_out.len() as u64, "left out"),
            (self.refused.len() as u64, "refused"),
        ] {
            if count > 0 {
                text += &format!("; {count} {what}");
            }
        }
        text
    }
}

fn name(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_bytes_is_counted_by_its_files() {
        let out = Output::new(false, true);
        for (bytes, expected) in [(0, 2), (9, 5)] {
            let tally = Tally::of(&out, "putting", bytes, 3);
            tally.done(bytes.min(5), 0);
            tally.same(0);
            assert_eq!(tally.0.how_far(&tally.0.counts()), expected);
        }
    }
}
