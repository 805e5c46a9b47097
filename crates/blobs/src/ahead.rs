//! Reading packs of a local folder: whoever goes on where a read ended finds the next bytes in memory.
//!
//! A pack is opened for each read, so that one which is removed, cut or put back is seen at once and keeps no space. The
//! system then knows nothing of the reads before, so it is told here what to fetch while we decompress and write.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use object_store::path::Path;
use rustix::fs::{Advice, fadvise};

/// Bytes that are fetched ahead of one reader at most.
const AHEAD: u64 = 4 << 20;
/// Whoever reads so much at once keeps the disk busy without help.
const LARGE: u64 = 1 << 20;
/// Readers that are followed at the same time.
const RUNS: usize = 32;
/// Bytes that the system is asked for at once: of more it may fetch only a part, as much as the device takes in one go.
const STEP: u64 = 512 << 10;

/// Reads that went on from each other.
#[derive(Debug)]
struct Run {
    object: Path,
    /// Bytes of all of them.
    length: u64,
    /// Where the last one ended.
    end: u64,
    /// Where what was fetched ends; never before `end`.
    fetched: u64,
}

/// The runs that went on last, the latest first.
#[derive(Debug, Default)]
pub(crate) struct Runs(Mutex<VecDeque<Run>>);

impl Runs {
    /// What to fetch besides what is read now; empty for whoever does not go on. Never more than was read in a row, so that
    /// a wrong guess costs no more than what it was made from.
    pub(crate) fn ahead(&self, object: &Path, range: &Range<u64>) -> Range<u64> {
        let (length, end) = (range.end - range.start, range.end);
        let nothing = end..end;
        if length >= LARGE {
            return nothing;
        }
        let mut runs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A frame that the cache still has is passed over, so it may go on anywhere in what was fetched.
        let goes_on = |run: &Run| (run.end..=run.fetched).contains(&range.start) && run.object == *object;
        let found = runs.iter().position(goes_on);
        let Some(mut run) = found.and_then(|at| runs.remove(at)) else {
            runs.push_front(Run { object: object.clone(), length, end, fetched: end });
            runs.truncate(RUNS);
            return nothing;
        };
        run.length += length;
        run.end = end;
        run.fetched = run.fetched.max(end);
        let wanted = run.length.min(AHEAD);
        // Not a little each time: the disk is faster with half of it at once.
        let ahead = match run.fetched - end < wanted / 2 {
            true => run.fetched..end + wanted,
            false => nothing,
        };
        run.fetched = run.fetched.max(ahead.end);
        runs.push_front(run);
        ahead
    }
}

/// Reads a part of a file and has another one fetched. Fewer bytes come when it ends in between.
///
/// # Errors
/// Those of the disk, and [`ErrorKind::UnexpectedEof`] when nothing of that part is there.
pub(crate) fn read(path: &std::path::Path, part: Range<u64>, ahead: Range<u64>) -> io::Result<Bytes> {
    let file = File::open(path)?;
    fetch(&file, ahead);
    let mut bytes = vec![0_u8; (part.end - part.start) as usize];
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], part.start + filled as u64) {
            Ok(0) if filled == 0 => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(0) => break,
            Ok(length) => filled += length,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes.into())
}

/// Has the system read a part of a file into its memory while we do something else.
pub(crate) fn fetch(file: &File, part: Range<u64>) {
    let mut start = part.start;
    while let Some(length) = NonZeroU64::new(STEP.min(part.end.saturating_sub(start))) {
        // Only advice: without it reading is slower.
        let _ = fadvise(file, start, Some(length), Advice::WillNeed);
        start += length.get();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: u64 = 200_000;

    /// Reads so many frames in a row from `start`; all that was fetched for it.
    fn read_on(runs: &Runs, pack: &Path, start: u64, frames: u64) -> Vec<Range<u64>> {
        let starts = (0..frames).map(|n| start + n * FRAME);
        starts.map(|at| runs.ahead(pack, &(at..at + FRAME))).filter(|ahead| !ahead.is_empty()).collect()
    }

    #[test]
    fn whoever_goes_on_has_ever_more_fetched_each_byte_once() {
        let (runs, pack) = (Runs::default(), Path::from("packs/a"));
        let fetched = read_on(&runs, &pack, 0, 80);
        assert_eq!(fetched[0], 2 * FRAME..4 * FRAME, "as much as was read in a row");
        assert!(fetched.windows(2).all(|pair| pair[0].end == pair[1].start), "{fetched:?}");
        let most = fetched.iter().map(|part| part.end - part.start).max().unwrap();
        assert!((AHEAD / 2..=AHEAD / 2 + FRAME).contains(&most), "{most}");
        let end = fetched.last().unwrap().end;
        assert!((80 * FRAME..=80 * FRAME + AHEAD).contains(&end), "{end}");
    }

    #[test]
    fn who_reads_here_and_there_or_much_at_once_has_nothing_fetched() {
        let (runs, pack) = (Runs::default(), Path::from("packs/a"));
        for n in (0..1000).map(|n| n * 7919 % 1000) {
            let start = n * 2 * FRAME;
            assert!(runs.ahead(&pack, &(start..start + FRAME)).is_empty(), "{n}");
        }
        assert_eq!(runs.0.lock().unwrap().len(), RUNS);
        for n in 0..10 {
            assert!(runs.ahead(&pack, &(n * LARGE..(n + 1) * LARGE)).is_empty(), "{n}");
        }
        let other = Path::from("packs/b");
        assert!(runs.ahead(&pack, &(0..FRAME)).is_empty());
        assert!(runs.ahead(&other, &(FRAME..2 * FRAME)).is_empty(), "that is another pack");
    }

    #[test]
    fn many_readers_at_once_and_frames_that_are_passed_over_do_not_end_a_run() {
        let (runs, other) = (Runs::default(), Path::from("packs/b"));
        let packs: Vec<Path> = (0..RUNS - 2).map(|n| Path::from(format!("packs/{n}"))).collect();
        for n in 0..40 {
            // Once in a while somebody reads one thing.
            runs.ahead(&other, &(n * 3 * FRAME..(n * 3 + 1) * FRAME));
            for pack in packs.iter().filter(|_| n % 10 != 5) {
                let ahead = runs.ahead(pack, &(n * FRAME..(n + 1) * FRAME));
                assert!(n != 1 || ahead == (2 * FRAME..4 * FRAME), "{pack}: {ahead:?}");
            }
        }
        let runs = runs.0.into_inner().unwrap();
        for pack in &packs {
            let run = runs.iter().find(|run| run.object == *pack).unwrap();
            assert_eq!((run.length, run.end), (36 * FRAME, 40 * FRAME), "{pack}");
        }
    }

    #[test]
    fn a_file_that_ends_early_gives_what_it_has_and_then_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let bytes: Vec<u8> = (0..3 * STEP).map(|at| (at / 7) as u8).collect();
        std::fs::write(&path, &bytes).unwrap();
        let length = bytes.len() as u64;
        for part in [0..0, 0..1, 5..STEP, 0..length, length - 1..length] {
            let (start, end) = (part.start as usize, part.end as usize);
            assert!(
                read(&path, part.clone(), part.end..2 * length).unwrap() == bytes[start..end],
                "{part:?}"
            );
        }
        assert!(read(&path, length - 9..length + 1, 0..0).unwrap() == bytes[bytes.len() - 9..]);
        let behind = read(&path, length..length + 1, 0..0).unwrap_err();
        assert_eq!(behind.kind(), ErrorKind::UnexpectedEof);
        assert_eq!(read(&dir.path().join("x"), 0..1, 0..0).unwrap_err().kind(), ErrorKind::NotFound);
    }
}
