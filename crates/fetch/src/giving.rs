//! What is given to peers: whole blocks of pieces that are here and right, to a few of them at once, as far as the operator
//! allows it.
//!
//! Who gave us most lately has a place among those that we give to; one place goes round among all others (BEP 3). When
//! nothing is wanted any more, nobody gives, and all places go round.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use pumasi_types::ByteSize;
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::{Notify, mpsc, watch};

use crate::board::Board;
use crate::peer::message;

/// Peers that are given to at once.
const PLACES: usize = 4;
/// How often places are given anew.
const ROUND: Duration = Duration::from_secs(10);
/// The longest block that is given, in bytes: everybody asks for 16 KiB.
const BLOCK_BYTES: u32 = 128 << 10;
/// Blocks that a peer may have asked for and not got.
const ASKED: usize = 500;
/// How long a peer may take to take what is sent.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long nothing is sent before it is shown that we are there: peers leave after two minutes.
const QUIET: Duration = Duration::from_secs(90);

/// How much is given.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Seeding {
    /// Bytes given for each that was wanted; 0: nothing is given.
    pub ratio: f64,
    /// Bytes in a second, to all peers of all torrents; none: without bound.
    pub limit: Option<ByteSize>,
}

/// So many bytes in a second.
pub(crate) struct Budget {
    per_s: Option<u64>,
    /// When it was reckoned last, and how many bytes were left then; fewer than none: what is given comes off later.
    left: Mutex<(Instant, i64)>,
}

impl Budget {
    pub(crate) fn new(limit: Option<ByteSize>) -> Budget {
        Budget { per_s: limit.map(|limit| limit.0.max(1)), left: Mutex::new((Instant::now(), 0)) }
    }

    /// Takes these bytes, or says how long to wait until it is worth to ask again.
    fn take(&self, bytes: u32) -> Result<(), Duration> {
        let Some(per_s) = self.per_s else { return Ok(()) };
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = left.0.elapsed().as_secs_f64().min(1.0);
        // At most a second's worth is saved up.
        let most = i64::try_from(per_s).unwrap_or(i64::MAX);
        let gained = (passed * per_s as f64) as i64;
        if gained > 0 {
            *left = (Instant::now(), left.1.saturating_add(gained).min(most));
        }
        if left.1 < 0 {
            return Err(Duration::from_secs_f64((left.1.unsigned_abs() as f64 / per_s as f64).min(1.0)));
        }
        left.1 -= i64::from(bytes);
        Ok(())
    }
}

/// What is given of one torrent.
pub(crate) struct Share {
    board: Arc<Board>,
    budget: Arc<Budget>,
    takers: Mutex<Vec<Weak<Taker>>>,
    given: AtomicU64,
    /// Bytes after which nothing more is given.
    most: u64,
    /// Whether something that is given is not there any more.
    is_gone: AtomicBool,
    rounds: Mutex<(Instant, usize)>,
}

/// What one peer wants of us.
#[derive(Default)]
pub(crate) struct Taker {
    queue: Mutex<VecDeque<Block>>,
    asked: Notify,
    /// Whether it has a place.
    open: watch::Sender<bool>,
    wants: AtomicBool,
    /// Bytes that it gave us since the last round.
    gave: AtomicU64,
    /// Bytes that it was given.
    took: AtomicU64,
    described: AtomicUsize,
}

/// A part of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) piece: u32,
    pub(crate) start: u32,
    pub(crate) length: u32,
}

impl Share {
    pub(crate) fn new(board: &Arc<Board>, budget: &Arc<Budget>, given: u64, most: u64) -> Share {
        Share {
            board: Arc::clone(board),
            budget: Arc::clone(budget),
            takers: Mutex::default(),
            given: AtomicU64::new(given),
            most,
            is_gone: AtomicBool::new(false),
            rounds: Mutex::new((Instant::now(), 0)),
        }
    }

    pub(crate) fn board(&self) -> &Arc<Board> {
        &self.board
    }

    /// Bytes that were given.
    pub(crate) fn given(&self) -> u64 {
        self.given.load(Ordering::Relaxed)
    }

    /// Whether enough was given.
    pub(crate) fn is_spent(&self) -> bool {
        self.given() >= self.most
    }

    /// Whether something that is given is not there any more: then nothing is given of it.
    pub(crate) fn is_gone(&self) -> bool {
        self.is_gone.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self) -> Arc<Taker> {
        let taker = Arc::new(Taker::default());
        self.takers().push(Arc::downgrade(&taker));
        taker
    }

    fn takers(&self) -> MutexGuard<'_, Vec<Weak<Taker>>> {
        self.takers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives places that are free, and all of them anew when a round is over. Called often.
    pub(crate) fn turn(&self) {
        let all: Vec<Arc<Taker>> = {
            let mut takers = self.takers();
            takers.retain(|taker| taker.strong_count() > 0);
            takers.iter().filter_map(Weak::upgrade).collect()
        };
        let round = {
            let mut rounds = self.rounds.lock().unwrap_or_else(PoisonError::into_inner);
            let is_over = rounds.0.elapsed() >= ROUND;
            if is_over {
                *rounds = (Instant::now(), rounds.1 + 1);
            }
            is_over.then_some(rounds.1)
        };
        let (mut wanting, rest): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|taker| taker.wants.load(Ordering::Relaxed) && !self.is_spent());
        rest.iter().for_each(|taker| taker.place(false));
        let chosen = match round {
            Some(round) => {
                let gave: Vec<u64> = wanting.iter().map(|one| one.gave.swap(0, Ordering::Relaxed)).collect();
                choose(&gave, round)
            }
            // Those that have a place keep it.
            None => {
                wanting.sort_by_key(|taker| !*taker.open.borrow());
                (0..wanting.len().min(PLACES)).collect()
            }
        };
        for (number, taker) in wanting.iter().enumerate() {
            taker.place(chosen.contains(&number));
        }
    }

    /// The bytes of a block, if it is here and may be given.
    async fn read(&self, block: Block) -> io::Result<Vec<u8>> {
        let read = self.board.read(block.piece as usize, block.start, block.length).await;
        if read.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            self.is_gone.store(true, Ordering::Relaxed);
        }
        read
    }
}

/// Who has a place: those that gave most, but one place, or all that nobody earned, goes round.
fn choose(gave: &[u64], round: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..gave.len()).collect();
    order.sort_by_key(|number| Reverse(gave[*number]));
    let earned = order.iter().take(PLACES - 1).filter(|number| gave[**number] > 0).count();
    let mut others = order.split_off(earned);
    if !others.is_empty() {
        let places = PLACES - earned;
        let turn = round.wrapping_mul(places) % others.len();
        others.rotate_left(turn);
        others.truncate(places);
    }
    order.extend(others);
    order
}

impl Taker {
    fn place(&self, open: bool) {
        self.open.send_if_modified(|now| std::mem::replace(now, open) != open);
        if !open {
            self.queue().clear();
        }
    }

    fn queue(&self) -> MutexGuard<'_, VecDeque<Block>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is interested in what is here.
    pub(crate) fn wants(&self) -> bool {
        self.wants.load(Ordering::Relaxed)
    }

    pub(crate) fn set_wants(&self, wants: bool) {
        self.wants.store(wants, Ordering::Relaxed);
    }

    /// It gave us so many bytes.
    pub(crate) fn note_gave(&self, bytes: u64) {
        self.gave.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes that it was given.
    pub(crate) fn took(&self) -> u64 {
        self.took.load(Ordering::Relaxed)
    }

    /// Notes what it asks for.
    ///
    /// # Errors
    /// When nobody who means well asks for it.
    pub(crate) fn ask(&self, board: &Board, block: Block) -> Result<(), &'static str> {
        if !*self.open.borrow() {
            // It did not know yet that it has no place.
            return Ok(());
        }
        let end = u64::from(block.start) + u64::from(block.length);
        let fits = block.length > 0
            && block.length <= BLOCK_BYTES
            && board.is_here(block.piece as usize)
            && end <= u64::from(board.length(block.piece as usize));
        if !fits {
            return Err("it asks for what is not here");
        }
        let mut queue = self.queue();
        if queue.len() >= ASKED {
            return Err("it asks for too much at once");
        }
        queue.push_back(block);
        self.asked.notify_one();
        Ok(())
    }

    /// It does not want this any more.
    pub(crate) fn cancel(&self, block: Block) {
        self.queue().retain(|asked| *asked != block);
    }

    /// Counts how often it asked for a part of the description.
    pub(crate) fn note_described(&self) -> usize {
        self.described.fetch_add(1, Ordering::Relaxed)
    }

    /// The next block that is to be given, once it may be. Nothing is lost when this is dropped.
    async fn next(&self, share: &Share) -> Block {
        loop {
            let wait = {
                let mut queue = self.queue();
                match queue.front().copied().filter(|_| !share.is_spent()) {
                    None => None,
                    Some(block) => match share.budget.take(block.length) {
                        Ok(()) => {
                            queue.pop_front();
                            return block;
                        }
                        Err(wait) => Some(wait),
                    },
                }
            };
            match wait {
                Some(wait) => tokio::time::sleep(wait).await,
                None => self.asked.notified().await,
            }
        }
    }
}

/// Sends a peer what is said to it, and what it is given, if anything is.
pub(crate) async fn send_all(
    mut to: OwnedWriteHalf,
    mut said: mpsc::Receiver<Vec<u8>>,
    share: Option<(Arc<Share>, Arc<Taker>)>,
    mut told: usize,
) -> io::Result<()> {
    let Some((share, taker)) = share else {
        loop {
            match tokio::time::timeout(QUIET, said.recv()).await {
                Ok(Some(bytes)) => send(&mut to, &bytes).await?,
                Ok(None) => return Ok(()),
                Err(_) => send(&mut to, &[0; 4]).await?,
            }
        }
    };
    let (mut fresh, mut open, mut has_place) = (share.board.follow(), taker.open.subscribe(), false);
    // What changed before now is looked at as well.
    fresh.mark_changed();
    open.mark_changed();
    loop {
        tokio::select! {
            biased;
            bytes = said.recv() => match bytes {
                Some(bytes) => send(&mut to, &bytes).await?,
                None => return Ok(()),
            },
            Ok(()) = open.changed() => {
                let before = std::mem::replace(&mut has_place, *open.borrow_and_update());
                if before != has_place {
                    // A place is 1, none is 0.
                    send(&mut to, &message(u8::from(has_place), &[])).await?;
                }
            }
            Ok(()) = fresh.changed() => {
                fresh.borrow_and_update();
                let pieces = share.board.finished(told);
                told += pieces.len();
                let news: Vec<u8> = pieces.iter().flat_map(|piece| message(4, &piece.to_be_bytes())).collect();
                send(&mut to, &news).await?;
            }
            block = taker.next(&share) => {
                let Block { piece, start, length } = block;
                let bytes = share.read(block).await?;
                let head = [piece.to_be_bytes(), start.to_be_bytes()].concat();
                send(&mut to, &message(7, &[&head, &bytes[..]].concat())).await?;
                share.given.fetch_add(length.into(), Ordering::Relaxed);
                taker.took.fetch_add(length.into(), Ordering::Relaxed);
            }
            () = tokio::time::sleep(QUIET) => send(&mut to, &[0; 4]).await?,
        }
    }
}

async fn send(to: &mut OwnedWriteHalf, bytes: &[u8]) -> io::Result<()> {
    let sent = tokio::time::timeout(PATIENCE, to.write_all(bytes)).await;
    sent.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_go_to_those_who_gave_and_round_among_the_rest() {
        assert_eq!(choose(&[], 0), Vec::<usize>::new());
        assert_eq!(choose(&[0, 0], 7).len(), 2, "there is room for all");
        let gave = [0, 30, 0, 10, 20, 5];
        for round in 0..6 {
            let chosen = choose(&gave, round);
            assert_eq!(chosen[..3], [1, 4, 3], "who gave most");
            assert_eq!(chosen.len(), 4);
        }
        let by_turns: std::collections::HashSet<usize> =
            (0..3).map(|round| choose(&gave, round)[3]).collect();
        assert_eq!(by_turns, [0, 2, 5].into(), "one place for all others");
        // Nobody gives: all come by turns.
        let seen: std::collections::HashSet<usize> =
            (0..3).flat_map(|round| choose(&[0; 10], round)).collect();
        assert_eq!(seen.len(), 10);
    }

    #[test]
    fn a_budget_is_kept_on_average() {
        let budget = Budget::new(Some(ByteSize(100_000)));
        // What is more than is left comes off later.
        assert_eq!(budget.take(128 << 10), Ok(()));
        let wait = budget.take(1).unwrap_err();
        assert!(wait > Duration::from_millis(900), "{wait:?}");
        let free = Budget::new(None);
        assert!((0..1_000).all(|_| free.take(u32::MAX).is_ok()));
    }
}
