//! Journals: files of fixed records, the n-th of a kind at the n-th place.
//!
//! They are derived from the log: a restart writes the records after the snapshot again, with the same bytes.
//! Statements and feeds walk them backwards along each account's own chain, so they need no index.
//!
//! Layout, little-endian: a header of one record's length (magic, version u32, zeros), then records: a body that begins
//! with the record's number, and 8 bytes of check.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pumasi_core::{Event, SalesHour, Transfer};
use pumasi_log::{Disk, FirstFailure, Growing, RealDisk, remedy};
use pumasi_types::{EventId, Hash, SalesId, TransferId};

/// Bytes of a record's check.
const CHECK: usize = 8;

/// What a journal keeps: things that are numbered from 1 without gaps, each as bytes of one length.
pub trait Kept: Sized {
    /// Its number as a type.
    type Id: Copy + fmt::Debug;
    /// Its bytes, the first 8 of which are its number.
    type Body: AsRef<[u8]>;
    /// What one is called.
    const NAME: &'static str;
    /// Its bytes and their check.
    type Record: AsRef<[u8]>;
    /// What a journal of them begins with.
    const MAGIC: &'static [u8; 8];
    /// Of the layout: the newest, in which a new journal is, and others that are read and gone on with.
    const VERSIONS: &'static [u32];
    /// Versions that are put aside, because the log makes the journal anew.
    const OLD_VERSIONS: &'static [u32];
    /// Bytes of [`Kept::Body`].
    const BODY: usize;

    /// A number as such.
    fn number_of(id: Self::Id) -> u64;
    /// Its own.
    fn id(&self) -> Self::Id;
    /// So many bytes, which may be any.
    fn body_of(bytes: &[u8]) -> Option<&Self::Body>;
    /// Reads its own bytes; `None` for others.
    fn from_body(body: &Self::Body) -> Option<Self>;
    /// What is kept behind its bytes in a journal of this version, to notice damage.
    fn check_of(body: &Self::Body, version: u32) -> [u8; CHECK];
    /// Both.
    fn sealed(&self, version: u32) -> Self::Record;
}

fn joined<const N: usize>(body: &[u8], check: [u8; CHECK]) -> [u8; N] {
    let mut record = [0; N];
    record[..N - CHECK].copy_from_slice(body);
    record[N - CHECK..].copy_from_slice(&check);
    record
}

/// In version 2 checked by the first 8 bytes of the BLAKE3 hash, which costs more than all else about a record.
impl Kept for Transfer {
    type Id = TransferId;
    type Body = [u8; Transfer::RECORD_BYTES];
    type Record = [u8; Transfer::RECORD_BYTES + CHECK];
    const NAME: &'static str = "transfer";
    const MAGIC: &'static [u8; 8] = b"PUMASITJ";
    const VERSIONS: &'static [u32] = &[3, 2];
    /// Version 1 did not say the engine of a run.
    const OLD_VERSIONS: &'static [u32] = &[1];
    const BODY: usize = Transfer::RECORD_BYTES;

    fn number_of(id: TransferId) -> u64 {
        id.0
    }

    fn id(&self) -> TransferId {
        self.id
    }

    fn body_of(bytes: &[u8]) -> Option<&Self::Body> {
        bytes.try_into().ok()
    }

    fn from_body(body: &Self::Body) -> Option<Transfer> {
        Transfer::from_record(body)
    }

    fn check_of(body: &Self::Body, version: u32) -> [u8; CHECK] {
        if version == 2 {
            return *Hash::of(body).as_bytes().first_chunk().expect("a hash is longer");
        }
        Transfer::check_of(body)
    }

    fn sealed(&self, version: u32) -> Self::Record {
        let body = self.to_record();
        joined(&body, <Transfer as Kept>::check_of(&body, version))
    }
}

impl Kept for Event {
    type Id = EventId;
    type Body = [u8; Event::RECORD_BYTES];
    type Record = [u8; Event::RECORD_BYTES + CHECK];
    const NAME: &'static str = "event";
    const MAGIC: &'static [u8; 8] = b"PUMASIEJ";
    const VERSIONS: &'static [u32] = &[1];
    const OLD_VERSIONS: &'static [u32] = &[];
    const BODY: usize = Event::RECORD_BYTES;

    fn number_of(id: EventId) -> u64 {
        id.0
    }

    fn id(&self) -> EventId {
        self.id
    }

    fn body_of(bytes: &[u8]) -> Option<&Self::Body> {
        bytes.try_into().ok()
    }

    fn from_body(body: &Self::Body) -> Option<Event> {
        Event::from_record(body)
    }

    fn check_of(body: &Self::Body, _: u32) -> [u8; CHECK] {
        Event::check_of(body)
    }

    fn sealed(&self, version: u32) -> Self::Record {
        let body = self.to_record();
        joined(&body, <Event as Kept>::check_of(&body, version))
    }
}

/// Checked by the first 8 bytes of the BLAKE3 hash: there are few.
impl Kept for SalesHour {
    type Id = SalesId;
    type Body = [u8; SalesHour::RECORD_BYTES];
    type Record = [u8; SalesHour::RECORD_BYTES + CHECK];
    const NAME: &'static str = "figure";
    const MAGIC: &'static [u8; 8] = b"PUMASISJ";
    const VERSIONS: &'static [u32] = &[1];
    const OLD_VERSIONS: &'static [u32] = &[];
    const BODY: usize = SalesHour::RECORD_BYTES;

    fn number_of(id: SalesId) -> u64 {
        id.0
    }

    fn id(&self) -> SalesId {
        self.id
    }

    fn body_of(bytes: &[u8]) -> Option<&Self::Body> {
        bytes.try_into().ok()
    }

    fn from_body(body: &Self::Body) -> Option<SalesHour> {
        SalesHour::from_record(body)
    }

    fn check_of(body: &Self::Body, _: u32) -> [u8; CHECK] {
        *Hash::of(body).as_bytes().first_chunk().expect("a hash is longer")
    }

    fn sealed(&self, version: u32) -> Self::Record {
        let body = self.to_record();
        joined(&body, <SalesHour as Kept>::check_of(&body, version))
    }
}

/// Why a journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The operating system refused.
    #[error("cannot {operation} {}: {source}{}", path.display(), remedy(source))]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Not a journal, or of another version.
    #[error("{} is not a journal of {what}s of version {version}: restore it from a backup", path.display())]
    Foreign {
        /// Which file.
        path: PathBuf,
        /// What it should keep.
        what: &'static str,
        /// Of which version.
        version: u32,
    },
    /// A record is not what was written.
    #[error("{what} {number} in {} is damaged: remove the file and start again, it is made anew from a log that was never trimmed; else restore it from a backup", path.display())]
    Damaged {
        /// What it keeps.
        what: &'static str,
        /// Which of them.
        number: u64,
        /// Which file.
        path: PathBuf,
    },
}

/// A journal; cheap to clone, for readers on other threads.
pub struct Journal<T> {
    file: Arc<Growing>,
    path: Arc<PathBuf>,
    version: u32,
    /// Where an older version was put.
    aside: Option<Arc<Path>>,
    /// Why a sync failed.
    unsynced: FirstFailure,
    kept: PhantomData<fn() -> T>,
}

impl<T> Clone for Journal<T> {
    fn clone(&self) -> Journal<T> {
        Journal {
            file: Arc::clone(&self.file),
            path: Arc::clone(&self.path),
            version: self.version,
            aside: self.aside.clone(),
            unsynced: self.unsynced.clone(),
            kept: PhantomData,
        }
    }
}

impl<T> fmt::Debug for Journal<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal").field("path", &self.path).finish_non_exhaustive()
    }
}

impl<T: Kept> Journal<T> {
    /// Bytes of a record, and of the header.
    const RECORD: usize = T::BODY + CHECK;

    /// Opens or creates the journal. A thread writes what is noted in it, which can be read at once.
    ///
    /// # Errors
    /// When the file cannot be opened or is something else.
    pub fn open(path: &Path) -> Result<Journal<T>, JournalError> {
        Journal::open_with(&RealDisk, path, true)
    }

    /// [`Journal::open`] on any disk, without a thread: what is noted in it is in the file at once.
    ///
    /// # Errors
    /// As [`Journal::open`].
    pub fn open_on(disk: &dyn Disk, path: &Path) -> Result<Journal<T>, JournalError> {
        Journal::open_with(disk, path, false)
    }

    /// With `behind` a thread writes what is noted.
    pub(crate) fn open_with(disk: &dyn Disk, path: &Path, behind: bool) -> Result<Journal<T>, JournalError> {
        let file = Growing::open(disk, path, behind);
        let mut journal = Journal {
            file: Arc::new(file.map_err(|source| io_error("open", path, source))?),
            path: Arc::new(path.to_owned()),
            version: T::VERSIONS[0],
            aside: None,
            unsynced: FirstFailure::default(),
            kept: PhantomData,
        };
        let mut header = vec![0; Self::RECORD];
        let file = journal.file.file();
        let length = file.len().map_err(|source| io_error("read", path, source))?;
        if length >= header.len() as u64 {
            file.read_exact_at(&mut header, 0).map_err(|source| io_error("read", path, source))?;
        }
        // A power cut during the first start can leave the name and the length, and lose the header itself.
        if length <= header.len() as u64 && header.iter().all(|byte| *byte == 0) {
            header[..8].copy_from_slice(T::MAGIC);
            header[8..12].copy_from_slice(&journal.version.to_le_bytes());
            file.write_all_at(&header, 0).map_err(|source| io_error("write", path, source))?;
            // A snapshot relies on the journal's records, so its name and header must last as long.
            journal.sync()?;
            let dir = path.parent().unwrap_or(path);
            disk.sync_dir(dir).map_err(|source| io_error("sync", dir, source))?;
            return Ok(journal);
        }
        let is_of = |version: u32| header[..8] == *T::MAGIC && header[8..12] == version.to_le_bytes();
        if let Some(old) = T::OLD_VERSIONS.iter().find(|version| is_of(**version)) {
            return Journal::set_aside(disk, path, *old, behind);
        }
        let Some(version) = T::VERSIONS.iter().find(|version| is_of(**version)) else {
            let (what, version) = (T::NAME, T::VERSIONS[0]);
            return Err(JournalError::Foreign { path: path.to_owned(), what, version });
        };
        journal.version = *version;
        Ok(journal)
    }

    /// The journal is made anew from the log.
    fn set_aside(
        disk: &dyn Disk,
        path: &Path,
        version: u32,
        behind: bool,
    ) -> Result<Journal<T>, JournalError> {
        let aside = path.with_extension(format!("journal.v{version}"));
        disk.rename(path, &aside).map_err(|source| io_error("rename", path, source))?;
        Ok(Journal { aside: Some(aside.into()), ..Journal::open_with(disk, path, behind)? })
    }

    /// What the operator should hear about its opening.
    pub(crate) fn note(&self) -> Option<String> {
        let aside = self.aside.as_ref()?;
        Some(format!("{} was of another version; it is kept as {}", self.path.display(), aside.display()))
    }

    fn damaged(&self, number: u64) -> JournalError {
        JournalError::Damaged { what: T::NAME, number, path: self.path.to_path_buf() }
    }

    /// Where a record begins; no file is so long that the last numbers have a place in it.
    fn place(&self, number: u64) -> Result<u64, JournalError> {
        number.checked_mul(Self::RECORD as u64).ok_or_else(|| self.damaged(number))
    }

    /// Writes what follows each other. Not durable before [`Journal::sync`]: the log is.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write(&self, all: &[T]) -> Result<(), JournalError> {
        let Some(first) = all.first() else { return Ok(()) };
        let place = self.place(T::number_of(first.id()))?;
        let records = all.iter().map(|one| one.sealed(self.version));
        self.file.append(place, records).map_err(|source| io_error("write", &self.path, source))
    }

    /// Makes everything written durable, before a snapshot that relies on it.
    ///
    /// # Errors
    /// When the disk refuses. It is not asked again then: what a failed sync covered may be lost though a
    /// second one succeeds, and only the next start writes it again, from the log.
    pub fn sync(&self) -> Result<(), JournalError> {
        self.check()?;
        self.file.sync().map_err(|source| io_error("sync", &self.path, self.unsynced.note(source)))
    }

    /// Whether everything written is still there.
    ///
    /// # Errors
    /// When a sync failed: systems may drop what it covered, even from memory.
    pub(crate) fn check(&self) -> Result<(), JournalError> {
        self.unsynced.check().map_err(|source| io_error("sync", &self.path, source))
    }

    /// Reads `count` records from `first` on, checked, and hands over the bytes of one after another.
    ///
    /// # Errors
    /// When the disk refuses or a record is damaged.
    pub fn records(
        &self,
        first: T::Id,
        count: usize,
        mut take: impl FnMut(&T::Body),
    ) -> Result<(), JournalError> {
        let first = T::number_of(first);
        let bytes = self.bytes(first, count)?;
        for (number, record) in (first..).zip(bytes.chunks_exact(Self::RECORD)) {
            take(checked::<T>(self.version, number, record).ok_or_else(|| self.damaged(number))?);
        }
        Ok(())
    }

    /// The bytes of `count` records from `first` on, as they are in the file.
    fn bytes(&self, first: u64, count: usize) -> Result<Vec<u8>, JournalError> {
        let mut bytes = vec![0; count * Self::RECORD];
        let place = self.place(first)?;
        self.file.read_exact_at(&mut bytes, place).map_err(|source| io_error("read", &self.path, source))?;
        Ok(bytes)
    }

    /// Reads one of them.
    ///
    /// # Errors
    /// When the disk refuses or the record is damaged.
    pub fn read(&self, id: T::Id) -> Result<T, JournalError> {
        let number = T::number_of(id);
        let record = self.bytes(number, 1)?;
        decode(self.version, number, &record).ok_or_else(|| self.damaged(number))
    }

    /// A reader for whoever follows a chain backwards.
    pub fn reader(&self) -> JournalReader<T> {
        JournalReader { journal: self.clone(), window: Vec::new(), first: 0, before: 0 }
    }
}

/// Reads a journal backwards, with few calls to the system where the records of a chain lie close together.
#[derive(Debug)]
pub struct JournalReader<T> {
    journal: Journal<T>,
    /// Records as they are in the file.
    window: Vec<u8>,
    /// The number of the first of them.
    first: u64,
    /// What was read before.
    before: u64,
}

impl<T: Kept> JournalReader<T> {
    /// Records that are read at once when a chain is dense.
    const WINDOW: u64 = 256;

    /// Reads one.
    ///
    /// # Errors
    /// As [`Journal::read`].
    pub fn read(&mut self, id: T::Id) -> Result<T, JournalError> {
        let number = T::number_of(id);
        let held = (self.window.len() / Journal::<T>::RECORD) as u64;
        if number < self.first || number - self.first >= held {
            let is_near = (number..number.saturating_add(Self::WINDOW)).contains(&self.before);
            let count = if is_near { number.clamp(1, Self::WINDOW) } else { 1 };
            self.first = number - (count - 1);
            self.window = self.journal.bytes(self.first, count as usize)?;
        }
        self.before = number;
        let at = (number - self.first) as usize * Journal::<T>::RECORD;
        let record = &self.window[at..][..Journal::<T>::RECORD];
        decode(self.journal.version, number, record).ok_or_else(|| self.journal.damaged(number))
    }
}

fn io_error(operation: &'static str, path: &Path, source: io::Error) -> JournalError {
    JournalError::Io { operation, path: path.to_owned(), source }
}

fn decode<T: Kept>(version: u32, number: u64, record: &[u8]) -> Option<T> {
    T::from_body(checked::<T>(version, number, record)?)
}

/// The body of the record of this number, if it is what was written.
fn checked<T: Kept>(version: u32, number: u64, record: &[u8]) -> Option<&T::Body> {
    let (body, check) = record.split_last_chunk::<CHECK>()?;
    let body = T::body_of(body).filter(|body| body.as_ref()[..8] == number.to_le_bytes())?;
    (T::check_of(body, version) == *check).then_some(body)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use proptest::prelude::*;
    use pumasi_core::{Cause, EventKind, Figure, OrderState};
    use pumasi_types::{
        AccountId, Amount, ArticleId, Currency, EngineId, Fuel, HoldId, Hour, JobId, OrderId, ParcelId,
        Price, RunId, TaskIndex, Time, WorkerId,
    };

    use super::*;

    const RECORD: usize = Journal::<Transfer>::RECORD;

    fn transfer(id: u64, cause: Cause) -> Transfer {
        Transfer {
            id: TransferId(id),
            time: Time(1_700_000_000_000_000_000),
            payer: AccountId(2),
            payee: AccountId(3),
            currency: Currency::CREDIT,
            amount: Amount(1_500_000),
            cause,
            payer_prev: TransferId(id - 1),
            payee_prev: TransferId(0),
        }
    }

    fn event(id: u64) -> Event {
        Event {
            id: EventId(id),
            time: Time(1_700_000_000_000_000_000),
            order: OrderId(4),
            kind: EventKind::Placed,
            state: OrderState::Paid,
            parcel: ParcelId(0),
            scan: None,
            customer: AccountId(2),
            merchant: AccountId(3),
            carrier: AccountId(0),
            amount: Amount(1_500_000),
            currency: Currency::CREDIT,
            customer_prev: EventId(id - 1),
            merchant_prev: EventId(0),
            carrier_prev: EventId(0),
        }
    }

    fn sold(id: u64) -> SalesHour {
        let figure = Figure { quantity: 5, revenue: Amount(1_500_000), orders: -2 };
        let (hour, merchant, article) = (Hour(472_222), AccountId(3), ArticleId(7));
        SalesHour { id: SalesId(id), hour, merchant, article, currency: Currency::CREDIT, figure }
    }

    /// A journal of transfers.
    fn open(path: &Path) -> Result<Journal<Transfer>, JournalError> {
        Journal::open(path)
    }

    fn run() -> Cause {
        let (job, task, run, worker) = (JobId(4), TaskIndex(5), RunId(6), WorkerId(7));
        let engine = EngineId("wasmtime-48.0.8/1".to_owned()).tag();
        Cause::Run { job, task, run, worker, fuel: Fuel(8), price: Price(9), engine }
    }

    #[test]
    fn ids_beyond_any_file_are_answered() {
        let dir = tempfile::tempdir().unwrap();
        let journal = open(&dir.path().join("transfers.journal")).unwrap();
        for id in [0, 1, u64::MAX / RECORD as u64, u64::MAX / RECORD as u64 + 1, u64::MAX].map(TransferId) {
            assert!(journal.read(id).is_err());
            assert!(journal.records(id, 1, |_| ()).is_err());
        }
        assert!(journal.write(&[transfer(u64::MAX, run())]).is_err());
    }

    #[test]
    fn records_are_found_by_id_and_survive_reopening() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("transfers");
        let causes = [Cause::Issue, Cause::Transfer, Cause::Settle { hold: HoldId(9) }, run()];
        let all: Vec<_> = (1..).zip(causes).map(|(id, cause)| transfer(id, cause)).collect();
        open(&path).unwrap().write(&all).unwrap();
        let journal = open(&path).unwrap();
        for one in &all {
            assert_eq!(journal.read(one.id).unwrap(), *one);
        }
        let mut records = Vec::new();
        journal.records(TransferId(2), 3, |record| records.push(Transfer::from_record(record))).unwrap();
        assert_eq!(records, all[1..].iter().copied().map(Some).collect::<Vec<_>>());
        assert!(journal.records(TransferId(2), 4, |_| {}).is_err(), "nothing behind the end");
        assert!(journal.read(TransferId(5)).is_err(), "nothing behind the end");
    }

    #[test]
    fn a_flipped_bit_is_noticed() {
        fn flip<T: Kept>(one: &T) {
            for version in T::VERSIONS {
                let mut record = one.sealed(*version).as_ref().to_vec();
                assert_eq!(record.len(), Journal::<T>::RECORD);
                let decode = |number, record: &[u8]| decode::<T>(*version, number, record);
                assert!(decode(1, &record).is_some() && decode(2, &record).is_none());
                for bit in 0..record.len() * 8 {
                    record[bit / 8] ^= 1 << (bit % 8);
                    assert!(decode(1, &record).is_none(), "bit {bit}");
                    record[bit / 8] ^= 1 << (bit % 8);
                }
            }
        }
        flip(&transfer(1, run()));
        flip(&event(1));
        flip(&sold(1));
    }

    #[test]
    fn a_chain_is_read_backwards_however_dense_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(&dir.path().join("events.journal")).unwrap();
        let all: Vec<Event> = (1..=5_000).map(event).collect();
        journal.write(&all).unwrap();
        for step in [1, 7, 255, 256, 257, 2_000] {
            let mut reader = journal.reader();
            for id in (1..=5_000).rev().step_by(step) {
                assert_eq!(reader.read(EventId(id)).unwrap(), event(id), "in steps of {step}");
            }
            assert!(reader.read(EventId(0)).is_err() && reader.read(EventId(5_001)).is_err());
            assert_eq!(reader.read(EventId(5_000)).unwrap(), event(5_000));
        }
    }

    #[test]
    fn a_header_that_a_power_cut_took_is_written_again_and_nothing_else_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("transfers.journal");
        for lost in [0, RECORD - 1, RECORD] {
            std::fs::write(&path, vec![0; lost]).unwrap();
            open(&path).unwrap().write(&[transfer(1, run())]).unwrap();
            assert_eq!(open(&path).unwrap().read(TransferId(1)).unwrap(), transfer(1, run()));
        }
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[..RECORD].fill(0);
        for foreign in [bytes, vec![7; RECORD]] {
            std::fs::write(&path, &foreign).unwrap();
            assert!(matches!(open(&path), Err(JournalError::Foreign { .. })));
            assert_eq!(std::fs::read(&path).unwrap(), foreign, "it is left as it was");
        }
    }

    #[test]
    fn a_journal_of_version_1_gives_way_to_an_empty_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("transfers.journal");
        open(&path).unwrap().write(&[transfer(1, Cause::Issue)]).unwrap();
        std::fs::File::options().write(true).open(&path).unwrap().write_all_at(&[1], 8).unwrap();
        let journal = open(&path).unwrap();
        assert!(journal.read(TransferId(1)).is_err());
        assert!(dir.path().join("transfers.journal.v1").exists());
        journal.write(&[transfer(1, run())]).unwrap();
        drop(journal);
        assert_eq!(open(&path).unwrap().read(TransferId(1)).unwrap(), transfer(1, run()));
    }

    #[test]
    fn a_journal_of_version_2_goes_on_as_such() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("transfers.journal");
        let mut file = vec![0; RECORD];
        file[..8].copy_from_slice(Transfer::MAGIC);
        file[8] = 2;
        file.extend(Kept::sealed(&transfer(1, run()), 2));
        std::fs::write(&path, file).unwrap();
        open(&path).unwrap().write(&[transfer(2, run())]).unwrap();
        let journal = open(&path).unwrap();
        assert_eq!(journal.read(TransferId(1)).unwrap(), transfer(1, run()));
        assert_eq!(journal.read(TransferId(2)).unwrap(), transfer(2, run()));
        assert_eq!(std::fs::read(&path).unwrap()[8], 2);
    }

    #[test]
    fn what_was_written_is_read_from_memory_and_from_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.journal");
        let journal = Journal::open(&path).unwrap();
        let all: Vec<Event> = (1..=200_000).map(event).collect();
        // Of lengths that never end with a piece.
        for some in all.chunks(1_234) {
            journal.write(some).unwrap();
            let last = some.last().unwrap().id;
            for id in [EventId(1), EventId(1 + last.0 / 2), last] {
                assert_eq!(journal.read(id).unwrap(), event(id.0), "of {last}");
            }
        }
        let mut number = 0;
        journal
            .records(EventId(1), all.len(), |body| {
                number += 1;
                assert_eq!(Event::from_record(body), Some(event(number)));
            })
            .unwrap();
        // Written again from some place on and no farther, as by a restart that is stopped.
        journal.write(&all[99_999..150_000]).unwrap();
        journal.sync().unwrap();
        drop(journal);
        let journal = Journal::<Event>::open(&path).unwrap();
        for id in [1, 99_999, 100_000, 150_000, 150_001, 200_000] {
            assert_eq!(journal.read(EventId(id)).unwrap(), event(id));
        }
    }

    #[test]
    fn layout_stays() {
        for (version, expected) in
            [(2, include_str!("journal_record_2.hex")), (3, include_str!("journal_record.hex"))]
        {
            let record = Kept::sealed(&transfer(1, run()), version);
            let hex: String = record.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, expected.trim());
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic_even_behind_a_right_checksum(mut body in proptest::array::uniform(any::<u8>()), known: bool) {
            if known {
                body[40..43].copy_from_slice(b"CRD");
            }
            let _: [u8; Transfer::RECORD_BYTES] = body;
            body[..8].fill(0);
            for version in Transfer::VERSIONS {
                let record = [&body[..], &<Transfer as Kept>::check_of(&body, *version)].concat();
                let read = decode::<Transfer>(*version, 0, &record);
                prop_assert_eq!(read.is_some(), Transfer::from_record(&body).is_some());
            }
        }
    }
}
