//! Which pieces of a torrent are here, who is asked for which, and where their bytes lie.
//!
//! ```text
//! DIR/body      all files of the torrent behind each other, with holes for what is not wanted
//! DIR/have      its hash, and a bit for each piece that is there and durable
//! ```

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use ring::digest;
use tokio::sync::watch;

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

/// How a piece is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Unwanted,
    Missing,
    /// So many peers are asked for it.
    Asked(u8),
    Here,
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

struct Pieces {
    states: Vec<State>,
    /// What came since this was opened, in its order.
    finished: Vec<u32>,
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
        let state = &mut self.board.pieces().states[self.piece];
        *state = match *state {
            State::Asked(count) if count > 1 => State::Asked(count - 1),
            State::Asked(_) => State::Missing,
            other => other,
        };
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
        let bits = noted.strip_prefix(&torrent.info_hash).unwrap_or_default();
        let is_here =
            |piece: usize| bits.get(piece / 8).is_some_and(|byte| byte & (0x80 >> (piece % 8)) != 0);
        let mut states = vec![State::Unwanted; torrent.pieces.len()];
        for (first, last) in spans(torrent, chosen, false) {
            let pieces = (first / torrent.piece_bytes) as usize..=((last - 1) / torrent.piece_bytes) as usize;
            for piece in pieces {
                states[piece] = if is_here(piece) { State::Here } else { State::Missing };
            }
        }
        let folder = Folder { body, path, have, noting: Mutex::default() };
        Ok(Board::new(torrent, states, Place::Folder(Arc::new(folder))))
    }

    /// What was fetched and lies elsewhere now: all pieces in which there is nothing but the chosen files, and padding,
    /// which is nothing but zeros (BEP 47).
    pub(crate) fn of_stored(torrent: &Torrent, chosen: &[u32], source: Arc<dyn Source>) -> Board {
        let mut here = vec![0_u64; torrent.pieces.len()];
        for (first, last) in spans(torrent, chosen, true) {
            let mut start = first;
            while start < last {
                let piece = start / torrent.piece_bytes;
                let end = last.min((piece + 1) * torrent.piece_bytes);
                here[piece as usize] += end - start;
                start = end;
            }
        }
        let mut board = Board::new(torrent, vec![State::Unwanted; here.len()], Place::Elsewhere(source));
        let lengths: Vec<u64> = (0..here.len()).map(|piece| board.length(piece).into()).collect();
        let pieces = board.pieces.get_mut().unwrap_or_else(PoisonError::into_inner);
        for ((state, here), length) in pieces.states.iter_mut().zip(here).zip(lengths) {
            *state = if here == length { State::Here } else { State::Unwanted };
        }
        board
    }

    fn new(torrent: &Torrent, states: Vec<State>, place: Place) -> Board {
        let now = Instant::now();
        Board {
            hashes: torrent.pieces.clone(),
            piece_bytes: torrent.piece_bytes,
            total: torrent.files.iter().map(|file| file.length).sum(),
            info_hash: torrent.info_hash,
            place,
            pieces: Mutex::new(Pieces { states, finished: Vec::new(), news: now, noted: now }),
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
        self.pieces().states.get(piece) == Some(&State::Here)
    }

    /// Which pieces are here, a bit for each, the first one highest; and how many of them came since this was opened.
    pub(crate) fn bits(&self) -> (Vec<u8>, usize) {
        let pieces = self.pieces();
        let mut bits = vec![0; pieces.states.len().div_ceil(8)];
        for (piece, _) in pieces.states.iter().enumerate().filter(|(_, state)| **state == State::Here) {
            bits[piece / 8] |= 0x80 >> (piece % 8);
        }
        (bits, pieces.finished.len())
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
        let sizes = pieces.states.iter().enumerate();
        sizes.fold((0, 0), |(got, left), (piece, state)| match state {
            State::Unwanted => (got, left),
            State::Here => (got + u64::from(self.length(piece)), left),
            State::Missing | State::Asked(_) => (got, left + u64::from(self.length(piece))),
        })
    }

    /// Bytes of pieces that came since this was opened.
    pub(crate) fn came(&self) -> u64 {
        self.pieces().finished.iter().map(|piece| u64::from(self.length(*piece as usize))).sum()
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

    /// A piece that a peer has: one that nobody is asked for, or, when all are, one that few are.
    pub(crate) fn pick(&self, has: impl Fn(usize) -> bool) -> Option<Taken<'_>> {
        let mut pieces = self.pieces();
        let find = |wanted: &dyn Fn(State) -> bool, states: &[State]| {
            states.iter().enumerate().position(|(piece, state)| wanted(*state) && has(piece))
        };
        let found = find(&|state| state == State::Missing, &pieces.states);
        let found = found.or_else(|| find(&|state| matches!(state, State::Asked(1..TAKERS)), &pieces.states));
        let piece = found?;
        let state = &mut pieces.states[piece];
        *state = if let State::Asked(count) = *state { State::Asked(count + 1) } else { State::Asked(1) };
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
        let now = Instant::now();
        let is_due = {
            let mut pieces = self.pieces();
            if std::mem::replace(&mut pieces.states[piece], State::Here) != State::Here {
                pieces.finished.push(piece as u32);
            }
            pieces.news = now;
            now.duration_since(pieces.noted) >= Duration::from_secs(1)
        };
        self.fresh.send_modify(|count| *count += 1);
        if is_due {
            self.note().await.map_err(NotKept::Disk)?;
        }
        Ok(())
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

/// From where to where the chosen files lie that have bytes, all but padding when none are chosen; padding as well if
/// `padding`.
fn spans(torrent: &Torrent, chosen: &[u32], padding: bool) -> Vec<(u64, u64)> {
    let numbers: HashSet<usize> = chosen.iter().map(|number| *number as usize).collect();
    let (mut spans, mut start) = (Vec::new(), 0);
    for (number, file) in torrent.files.iter().enumerate() {
        let is_chosen = if chosen.is_empty() { !file.is_padding } else { numbers.contains(&number) };
        let end = start + file.length;
        if file.length > 0 && (is_chosen || padding && file.is_padding) {
            spans.push((start, end));
        }
        start = end;
    }
    spans
}
