//! What one file holds: what the device has for good, and what a cache before it has.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::faults::FaultCounts;
use crate::dice::Dice;

/// Unit of caches, in bytes.
pub(super) const PAGE: usize = 4096;
/// Unit that a device writes whole or not at all, in bytes.
const SECTOR: usize = 512;
/// How many older unsynced contents of a page a crash can bring back.
const OUTDATED_MAX: usize = 3;

/// Absent means zeros.
type Page = Option<Arc<[u8; PAGE]>>;

/// A page that differs, or may differ, from what the device holds.
#[derive(Clone, Debug)]
struct Cached {
    newest: Page,
    /// Unsynced contents before that, oldest first.
    older: Vec<Page>,
    /// Taken for clean after a failed sync: no sync writes it, and a read past the cache does not see it.
    stale: bool,
}

/// The content of a file. Cloning shares pages.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    cache: BTreeMap<u64, Cached>,
    device: BTreeMap<u64, Arc<[u8; PAGE]>>,
    len: u64,
    device_len: u64,
    /// How many pages, from the first, have room on the disk.
    room: u64,
    device_room: u64,
    /// How many syncs failed: every opening of the file hears of each once.
    pub(super) failures: u64,
}

fn pages(bytes: u64) -> u64 {
    bytes.div_ceil(PAGE as u64)
}

fn page_of(bytes: &[u8; PAGE]) -> Page {
    if *bytes == [0; PAGE] { None } else { Some(Arc::new(*bytes)) }
}

fn bytes_of(page: &Page) -> &[u8; PAGE] {
    page.as_deref().unwrap_or(&[0; PAGE])
}

/// Calls `each` with every page that `length` bytes at `offset` touch: its number, where in it they begin,
/// where in the bytes, and how many.
fn spans(offset: u64, length: usize, mut each: impl FnMut(u64, usize, usize, usize)) {
    let mut done = 0;
    while done < length {
        let at = offset + done as u64;
        let within = (at % PAGE as u64) as usize;
        let count = (PAGE - within).min(length - done);
        each(at / PAGE as u64, within, done, count);
        done += count;
    }
}

impl Content {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// The room that the file takes on the disk, in bytes.
    pub(super) fn room(&self) -> u64 {
        self.room * PAGE as u64
    }

    /// What room `end` bytes would take beyond that, in bytes.
    pub(super) fn room_lacking(&self, end: u64) -> u64 {
        pages(end).saturating_sub(self.room) * PAGE as u64
    }

    fn page(&self, number: u64, past_cache: bool) -> Page {
        match self.cache.get(&number) {
            Some(cached) if !(past_cache && cached.stale) => cached.newest.clone(),
            _ => self.device.get(&number).cloned(),
        }
    }

    /// Fills the buffer as far as the file goes and returns how far.
    pub(super) fn read(&self, offset: u64, buffer: &mut [u8], past_cache: bool) -> usize {
        let length = buffer.len().min(usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX));
        spans(offset, length, |number, within, at, count| {
            let page = self.page(number, past_cache);
            buffer[at..at + count].copy_from_slice(&bytes_of(&page)[within..within + count]);
        });
        length
    }

    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) {
        spans(offset, bytes.len(), |number, within, at, count| {
            let before = self.page(number, false);
            let mut after = *bytes_of(&before);
            after[within..within + count].copy_from_slice(&bytes[at..at + count]);
            self.put(number, before, page_of(&after));
        });
        self.allocate(offset + bytes.len() as u64);
    }

    fn put(&mut self, number: u64, before: Page, after: Page) {
        match self.cache.get_mut(&number) {
            Some(cached) => {
                if !cached.stale {
                    cached.older.push(before);
                    if cached.older.len() > OUTDATED_MAX {
                        cached.older.remove(0);
                    }
                }
                cached.newest = after;
                cached.stale = false;
            }
            // Writing what is there already changes nothing that a crash could tell.
            None if before == after => {}
            None => {
                self.cache.insert(number, Cached { newest: after, older: Vec::new(), stale: false });
            }
        }
    }

    /// Gives the first `bytes` room and makes the file at least that long.
    pub(super) fn allocate(&mut self, bytes: u64) {
        self.room = self.room.max(pages(bytes));
        self.len = self.len.max(bytes);
    }

    pub(super) fn set_len(&mut self, bytes: u64) {
        if bytes < self.len {
            let touched: Vec<u64> =
                self.cache.range(bytes / PAGE as u64..).map(|(number, _)| *number).collect();
            let stored: Vec<u64> =
                self.device.range(bytes / PAGE as u64..).map(|(number, _)| *number).collect();
            for number in touched.into_iter().chain(stored) {
                let before = self.page(number, false);
                let mut after = *bytes_of(&before);
                let keep = bytes.saturating_sub(number * PAGE as u64).min(PAGE as u64) as usize;
                after[keep..].fill(0);
                self.put(number, before, page_of(&after));
            }
            self.room = pages(bytes);
        }
        self.len = bytes;
    }

    fn store(&mut self, number: u64, page: Page) {
        match page {
            Some(page) => {
                self.device.insert(number, page);
            }
            None => {
                self.device.remove(&number);
            }
        }
    }

    /// Makes everything durable that is not stale.
    pub(super) fn sync(&mut self) {
        for (number, cached) in std::mem::take(&mut self.cache) {
            if cached.stale {
                self.cache.insert(number, cached);
            } else {
                self.store(number, cached.newest);
            }
        }
        (self.device_len, self.device_room) = (self.len, self.room);
    }

    /// Does to each unsynced page one of the things that systems do when a sync fails.
    pub(super) fn fail_sync(&mut self, dice: &mut Dice, counts: &mut FaultCounts) {
        self.failures += 1;
        for (number, mut cached) in std::mem::take(&mut self.cache) {
            match if cached.stale { 3 } else { dice.below(4) } {
                0 => self.store(number, cached.newest),
                1 => counts.pages_dropped += 1,
                2 => {
                    counts.pages_dropped += 1;
                    (cached.stale, cached.older) = (true, Vec::new());
                    self.cache.insert(number, cached);
                }
                _ => {
                    self.cache.insert(number, cached);
                }
            }
        }
    }

    /// Leaves what a loss of power would: of each unsynced page something, nothing or all.
    pub(super) fn crash(&mut self, dice: &mut Dice, counts: &mut FaultCounts) {
        for (number, cached) in std::mem::take(&mut self.cache) {
            if cached.stale {
                continue;
            }
            match dice.below(4) {
                0 => counts.pages_lost += 1,
                1 => {
                    counts.pages_kept += 1;
                    self.store(number, cached.newest);
                }
                2 if !cached.older.is_empty() => {
                    counts.pages_outdated += 1;
                    let place = dice.below(cached.older.len() as u64) as usize;
                    self.store(number, cached.older[place].clone());
                }
                _ => {
                    counts.pages_torn += 1;
                    let torn = self.torn(number, &cached, dice);
                    self.store(number, torn);
                }
            }
        }
        if self.len != self.device_len && dice.once_in(2) {
            counts.lengths_lost += 1;
            (self.len, self.room) = (self.device_len, self.device_room);
        }
        (self.device_len, self.device_room) = (self.len, self.room);
        self.device.split_off(&pages(self.len));
        let (last, keep) = (self.len / PAGE as u64, (self.len % PAGE as u64) as usize);
        if let Some(page) = self.device.get(&last) {
            let mut bytes = **page;
            bytes[keep..].fill(0);
            self.store(last, page_of(&bytes));
        }
    }

    /// A page of which every sector is from another moment.
    fn torn(&self, number: u64, cached: &Cached, dice: &mut Dice) -> Page {
        let device = self.device.get(&number).cloned();
        let choice: Vec<&Page> = [&device].into_iter().chain(&cached.older).chain([&cached.newest]).collect();
        let mut torn = [0; PAGE];
        for (sector, bytes) in torn.chunks_exact_mut(SECTOR).enumerate() {
            let from = choice[dice.below(choice.len() as u64) as usize];
            bytes.copy_from_slice(&bytes_of(from)[sector * SECTOR..][..SECTOR]);
        }
        page_of(&torn)
    }

    /// Flips a bit of what the device holds; false when a cache hides it or the file is not that long.
    pub(super) fn flip(&mut self, at: u64, bit: u8) -> bool {
        let number = at / PAGE as u64;
        if at >= self.len || self.cache.contains_key(&number) {
            return false;
        }
        let mut bytes = *bytes_of(&self.device.get(&number).cloned());
        bytes[(at % PAGE as u64) as usize] ^= 1 << (bit % 8);
        self.store(number, page_of(&bytes));
        true
    }
}
