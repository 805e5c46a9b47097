//! Which pieces of a torrent are here, who is asked for which, and where their bytes lie.
//!
//! ```text
//! DIR/body      all files of the torrent behind each other, with holes for what is not wanted
//! DIR/have      its hash, and a bit for each piece that is there and durable
//! ```

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use futures_util::future::BoxFuture;
use ring::digest;
use tokio::sync::watch;

use crate::bits::Bits;
use crate::part::NOTE_TIME;
use crate::torrent::Torrent;

/// Peers that are asked for one piece at once, when there is nothing else to ask for.
const TAKERS: u8 = 3;

/// Where the bytes of a torrent are kept after they were fetched.
pub trait Source: Send + Sync {
    /// So many bytes from `start` on, as if all files of the torrent were one.
    ///
    /// # Errors
    /// When they are not there any more.
    fn read(&self, start: u64, length: u32) -> BoxFuture<'_, io::Result<Vec<u8>>>;
}

/// The pieces of a torrent.
pub(crate) struct Board {
    hashes: Vec<[u8; 20]>,
    piece_bytes: u64,
    total: u64,
    info_hash: [u8; 20],
    place: Place,
    pieces: Mutex<Pieces>,
    /// Counts what came since this was opened.
    fresh: watch::Sender<usize>,
}

enum Place {
    Folder(Arc<Folder>),
    Elsewhere(Arc<dyn Source>),
}

struct Folder {
    body: File,
    path: PathBuf,
    have: PathBuf,
    /// Held while it is noted what is here, even when nobody waits for that any more.
    noting: Mutex<()>,
}

/// How the pieces are. A torrent may have 800,000 of them: what is asked often is counted where it changes.
struct Pieces {
    here: Bits,
    /// Those that are wanted, not here, and that nobody is asked for.
    missing: Bits,
    /// Bits of missing ones are at this byte or behind it.
    first_missing: usize,
    /// How many peers are asked for each.
    asked: BTreeMap<usize, u8>,
    /// Bytes that are here, and that are wanted and are not.
    got: u64,
    left: u64,
    /// What came since this was opened, in its order, and its bytes.
    finished: Vec<u32>,
    came: u64,
    news: Instant,
    noted: Instant,
}

/// Why a piece was not kept.
pub(crate) enum NotKept {
    /// It is wrong.
    Wrong,
    Disk(io::Error),
}

/// A piece that a peer is asked for; asked for no more when it is dropped.
pub(crate) struct Taken<'a> {
    board: &'a Board,
    pub(crate) piece: usize,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let mut pieces = self.board.pieces();
        // One that came meanwhile is asked for no more.
        let Some(count) = pieces.asked.get_mut(&self.piece) else { return };
        *count -= 1;
        if *count == 0 {
            pieces.asked.remove(&self.piece);
            pieces.missing.set(self.piece);
            pieces.first_missing = pieces.first_missing.min(self.piece / 8);
        }
    }
}

impl Board {
    /// What is fetched into a folder. What is here already counts, if it is of this torrent.
    pub(crate) fn open(torrent: &Torrent, chosen: &[u32], dir: &Path) -> io::Result<Board> {
        fs::create_dir_all(dir)?;
        let (path, have) = (dir.join("body"), dir.join("have"));
        let body = File::options().read(true).write(true).create(true).truncate(false).open(&path)?;
        let total = torrent.files.iter().map(|file| file.length).sum();
        // Without its bytes a note says nothing.
        let is_whole = body.metadata()?.len() == total;
        body.set_len(total)?;
        let noted = if is_whole { fs::read(&have).unwrap_or_default() } else { Vec::new() };
        let noted = noted.strip_prefix(&torrent.info_hash).unwrap_or_default();
        let noted = Bits::read(noted, torrent.pieces.len());
        let (mut here, mut missing) = (Bits::default(), Bits::default());
        for (first, last) in spans(torrent, chosen) {
            let pieces = (first / torrent.piece_bytes) as usize..=((last - 1) / torrent.piece_bytes) as usize;
            for piece in pieces {
                if noted.has(piece) {
                    here.set(piece)
                } else {
                    missing.set(piece)
                };
            }
        }
        let folder = Folder { body, path, have, noting: Mutex::default() };
        Ok(Board::new(torrent, (here, missing), Place::Folder(Arc::new(folder))))
    }

    /// What was fetched and lies elsewhere now: all pieces in which there is nothing but the chosen files. Padding was not
    /// kept, and whoever made the torrent may have filled it with anything: a piece with some cannot be given.
    pub(crate) fn of_stored(torrent: &Torrent, chosen: &[u32], source: Arc<dyn Source>) -> Board {
        let mut whole = vec![0_u64; torrent.pieces.len()];
        for (first, last) in spans(torrent, chosen) {
            let mut start = first;
            while start < last {
                let piece = start / torrent.piece_bytes;
                let end = last.min((piece + 1) * torrent.piece_bytes);
                whole[piece as usize] += end - start;
                start = end;
            }
        }
        let (layout, mut here) = (torrent.layout(), Bits::default());
        for (piece, bytes) in whole.into_iter().enumerate() {
            let all = layout.piece(piece);
            if bytes == all.end - all.start {
                here.set(piece);
            }
        }
        Board::new(torrent, (here, Bits::default()), Place::Elsewhere(source))
    }

    fn new(torrent: &Torrent, (here, missing): (Bits, Bits), place: Place) -> Board {
        let (now, layout) = (Instant::now(), torrent.layout());
        let bytes = |bits: &Bits| {
            let set = (0..torrent.pieces.len()).filter(|piece| bits.has(*piece));
            set.map(|piece| layout.piece(piece)).map(|piece| piece.end - piece.start).sum()
        };
        let pieces = Pieces {
            got: bytes(&here),
            left: bytes(&missing),
            here,
            missing,
            first_missing: 0,
            asked: BTreeMap::new(),
            finished: Vec::new(),
            came: 0,
            news: now,
            noted: now,
        };
        Board {
            hashes: torrent.pieces.clone(),
            piece_bytes: torrent.piece_bytes,
            total: torrent.files.iter().map(|file| file.length).sum(),
            info_hash: torrent.info_hash,
            place,
            pieces: Mutex::new(pieces),
            fresh: watch::Sender::new(0),
        }
    }

    fn pieces(&self) -> MutexGuard<'_, Pieces> {
        self.pieces.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many pieces there are.
    pub(crate) fn count(&self) -> usize {
        self.hashes.len()
    }

    /// Bytes in a piece.
    pub(crate) fn length(&self, piece: usize) -> u32 {
        let start = piece as u64 * self.piece_bytes;
        self.piece_bytes.min(self.total.saturating_sub(start)) as u32
    }

    pub(crate) fn is_here(&self, piece: usize) -> bool {
        self.pieces().here.has(piece)
    }

    /// Which pieces are here, a bit for each, the first one highest; and how many of them came since this was opened.
    pub(crate) fn bits(&self) -> (Vec<u8>, usize) {
        let pieces = self.pieces();
        (pieces.here.write(self.count()), pieces.finished.len())
    }

    /// Changes when a piece came.
    pub(crate) fn follow(&self) -> watch::Receiver<usize> {
        self.fresh.subscribe()
    }

    /// The pieces that came since this was opened, but so many.
    pub(crate) fn finished(&self, but: usize) -> Vec<u32> {
        self.pieces().finished.get(but..).unwrap_or_default().to_vec()
    }

    /// Bytes of all pieces that are wanted.
    pub(crate) fn wanted(&self) -> u64 {
        let (got, left) = self.got();
        got + left
    }

    /// Bytes of all pieces.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// Bytes of the wanted pieces that are here, and of those that are not.
    pub(crate) fn got(&self) -> (u64, u64) {
        let pieces = self.pieces();
        (pieces.got, pieces.left)
    }

    /// Bytes of pieces that came since this was opened.
    pub(crate) fn came(&self) -> u64 {
        self.pieces().came
    }

    /// Whether a piece is under way.
    pub(crate) fn is_asking(&self) -> bool {
        !self.pieces().asked.is_empty()
    }

    pub(crate) fn last_news(&self) -> Instant {
        self.pieces().news
    }

    /// Where all bytes are; none: elsewhere.
    pub(crate) fn path(&self) -> Option<&Path> {
        match &self.place {
            Place::Folder(folder) => Some(&folder.path),
            Place::Elsewhere(_) => None,
        }
    }

    /// One of the pieces that a peer has: one that nobody is asked for, or, when all are, one that few are.
    pub(crate) fn pick(&self, has: &Bits) -> Option<Taken<'_>> {
        let pieces = &mut *self.pieces();
        pieces.first_missing = pieces.missing.first_byte(pieces.first_missing);
        let found = pieces.missing.first_common(has, pieces.first_missing);
        let shared = || {
            let few = pieces.asked.iter().filter(|(piece, count)| **count < TAKERS && has.has(**piece));
            few.map(|(piece, _)| *piece).next()
        };
        let piece = found.or_else(shared)?;
        pieces.missing.clear(piece);
        *pieces.asked.entry(piece).or_default() += 1;
        Some(Taken { board: self, piece })
    }

    /// A piece that comes from elsewhere, whether it is asked for or not.
    pub(crate) fn take(&self, piece: usize) -> Taken<'_> {
        Taken { board: self, piece }
    }

    /// Bytes of a piece that is here.
    pub(crate) async fn read(&self, piece: usize, start: u32, length: u32) -> io::Result<Vec<u8>> {
        let start = piece as u64 * self.piece_bytes + u64::from(start);
        match &self.place {
            Place::Elsewhere(source) => source.read(start, length).await,
            Place::Folder(folder) => {
                let folder = Arc::clone(folder);
                let read = tokio::task::spawn_blocking(move || {
                    let mut bytes = vec![0; length as usize];
                    folder.body.read_exact_at(&mut bytes, start)?;
                    Ok(bytes)
                });
                read.await.unwrap_or_else(|error| Err(io::Error::other(error)))
            }
        }
    }

    /// Keeps a piece, if it is right.
    pub(crate) async fn keep(self: &Arc<Board>, taken: Taken<'_>, bytes: Vec<u8>) -> Result<(), NotKept> {
        // Elsewhere nothing is missing.
        let Place::Folder(folder) = &self.place else { return Ok(()) };
        let (folder, piece) = (Arc::clone(folder), taken.piece);
        let (hash, start) = (self.hashes[piece], piece as u64 * self.piece_bytes);
        let kept = tokio::task::spawn_blocking(move || {
            let seen = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &bytes);
            if seen.as_ref() != hash {
                return Err(NotKept::Wrong);
            }
            folder.body.write_all_at(&bytes, start).map_err(NotKept::Disk)
        });
        kept.await.unwrap_or_else(|error| Err(NotKept::Disk(io::Error::other(error))))?;
        let is_due = self.came_now(piece);
        self.fresh.send_modify(|count| *count += 1);
        if is_due {
            self.note().await.map_err(NotKept::Disk)?;
        }
        Ok(())
    }

    /// Counts a piece that came; whether it is time to note what is here.
    fn came_now(&self, piece: usize) -> bool {
        let (mut pieces, now, length) = (self.pieces(), Instant::now(), u64::from(self.length(piece)));
        if pieces.here.set(piece) {
            let was_missing = pieces.missing.clear(piece);
            if pieces.asked.remove(&piece).is_some() || was_missing {
                pieces.left -= length;
            }
            pieces.got += length;
            pieces.came += length;
            pieces.finished.push(piece as u32);
        }
        pieces.news = now;
        now.duration_since(pieces.noted) >= NOTE_TIME
    }

    /// Whether something here waits to be noted with a next piece that does not come.
    pub(crate) fn is_late(&self) -> bool {
        let pieces = self.pieces();
        pieces.news > pieces.noted && pieces.news.elapsed() >= NOTE_TIME
    }

    /// Makes what is here durable, and notes that it is.
    pub(crate) async fn note(self: &Arc<Board>) -> io::Result<()> {
        let board = Arc::clone(self);
        let noted = tokio::task::spawn_blocking(move || {
            let Place::Folder(folder) = &board.place else { return Ok(()) };
            let _alone = folder.noting.lock().unwrap_or_else(PoisonError::into_inner);
            board.pieces().noted = Instant::now();
            let note = [&board.info_hash[..], &board.bits().0].concat();
            folder.body.sync_data()?;
            let new = folder.have.with_extension("new");
            fs::write(&new, note)?;
            File::open(&new)?.sync_data()?;
            fs::rename(&new, &folder.have)
        });
        noted.await.unwrap_or_else(|error| Err(io::Error::other(error)))
    }
}

/// From where to where the chosen files lie that have bytes, all but padding when none are chosen.
fn spans(torrent: &Torrent, chosen: &[u32]) -> Vec<(u64, u64)> {
    let numbers: HashSet<usize> = chosen.iter().map(|number| *number as usize).collect();
    let (mut spans, mut start) = (Vec::new(), 0);
    for (number, file) in torrent.files.iter().enumerate() {
        let is_chosen = if chosen.is_empty() { !file.is_padding } else { numbers.contains(&number) };
        let end = start + file.length;
        if file.length > 0 && is_chosen {
            spans.push((start, end));
        }
        start = end;
    }
    spans
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::future::BoxFuture;
    use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

    use super::*;

    /// Three pieces of 4 bytes: a file in the first two, of which the second ends with padding, and another file.
    fn torrent() -> Torrent {
        let files = "d6:lengthi6e4:pathl1:aeed4:attr1:p6:lengthi2e4:pathl1:peed6:lengthi4e4:pathl1:bee";
        let pieces = ["aaaa", "aapp", "bbbb"]
            .map(|piece| digest(&SHA1_FOR_LEGACY_USE_ONLY, piece.as_bytes()).as_ref().to_vec());
        let info = format!("d4:infod5:filesl{files}e4:name1:d12:piece lengthi4e6:pieces60:");
        Torrent::parse(&[info.as_bytes(), &pieces.concat(), b"ee"].concat()).unwrap()
    }

    #[tokio::test]
    async fn what_is_counted_is_what_is_there() {
        let (torrent, dir) = (torrent(), tempfile::tempdir().unwrap());
        let board = Arc::new(Board::open(&torrent, &[], dir.path()).unwrap());
        assert_eq!((board.got(), board.wanted(), board.is_asking()), ((0, 12), 12, false));
        let all = Bits::read(&[0xff], 3);
        let first = board.pick(&all).unwrap();
        let second = board.pick(&all).unwrap();
        assert_eq!((first.piece, second.piece, board.is_asking()), (0, 1, true));
        assert!(board.pick(&Bits::read(&[0b0001_0000], 3)).is_none());
        drop(first);
        assert_eq!(board.pick(&all).unwrap().piece, 0, "nobody is asked for it any more");
        assert!(matches!(board.keep(second, b"wron".to_vec()).await, Err(NotKept::Wrong)));
        assert_eq!(board.got(), (0, 12));
        // When all are asked for, some are asked for twice, and count once.
        let asked: Vec<_> = (0..4).map(|_| board.pick(&all).unwrap()).collect();
        assert_eq!(asked.iter().map(|taken| taken.piece).collect::<Vec<_>>(), [0, 1, 2, 0]);
        for taken in asked {
            let bytes = [b"aaaa", b"aapp", b"bbbb"][taken.piece];
            assert!(board.keep(taken, bytes.to_vec()).await.is_ok());
        }
        assert_eq!((board.got(), board.came(), board.bits()), ((12, 0), 12, (vec![0b1110_0000], 3)));
        assert!(board.pick(&all).is_none() && !board.is_asking());
        board.note().await.unwrap();
        drop(board);
        let again = Board::open(&torrent, &[2], dir.path()).unwrap();
        assert_eq!((again.got(), again.came()), ((4, 0), 0), "only what is wanted counts");
    }

    #[tokio::test]
    async fn what_no_other_piece_follows_is_noted_all_the_same() {
        let (torrent, dir) = (torrent(), tempfile::tempdir().unwrap());
        let board = Arc::new(Board::open(&torrent, &[], dir.path()).unwrap());
        let taken = board.pick(&Bits::read(&[0xff], 3)).unwrap();
        assert!(board.keep(taken, b"aaaa".to_vec()).await.is_ok());
        board.pieces().noted -= 3 * NOTE_TIME;
        board.pieces().news -= NOTE_TIME;
        assert!(board.is_late());
        board.note().await.unwrap();
        assert!(!board.is_late(), "nothing is left to note");
        drop(board);
        assert_eq!(Board::open(&torrent, &[], dir.path()).unwrap().got(), (4, 8));
    }

    #[test]
    fn what_is_asked_often_does_not_look_at_all_pieces() {
        let (torrent, dir) = (torrent(), tempfile::tempdir().unwrap());
        let file =
            crate::torrent::TorrentFile { length: 800_000, is_padding: false, ..torrent.files[0].clone() };
        let many = Torrent { pieces: vec![[0; 20]; 800_000], piece_bytes: 1, files: vec![file], ..torrent };
        let board = Board::open(&many, &[], dir.path()).unwrap();
        let (mut last, began) = (Bits::default(), Instant::now());
        last.set(799_999);
        for _ in 0..20_000 {
            assert_eq!((board.got(), last.count()), ((0, 800_000), 1));
            assert_eq!(board.pick(&last).map(|taken| taken.piece), Some(799_999));
        }
        let took = began.elapsed();
        assert!(took < Duration::from_secs(10), "{took:?}, as long as to look at all of them");
    }

    struct Nothing;

    impl Source for Nothing {
        fn read(&self, _: u64, _: u32) -> BoxFuture<'_, io::Result<Vec<u8>>> {
            Box::pin(async { Err(io::ErrorKind::NotFound.into()) })
        }
    }

    #[test]
    fn pieces_with_padding_are_not_given() {
        let board = Board::of_stored(&torrent(), &[0, 2], Arc::new(Nothing));
        assert_eq!(board.bits().0, [0b1010_0000], "what is in it was not kept");
    }
}
