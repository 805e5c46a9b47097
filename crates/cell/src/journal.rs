//! The journal of transfers: a file of fixed records, the n-th transfer at the n-th place.
//!
//! It is derived from the log: a restart writes the records after the snapshot again, with the same bytes.
//! Statements walk it backwards along each account's own chain, so it needs no index.
//!
//! Layout, little-endian: a header of 128 bytes (magic `PUMASITJ`, version u32, zeros), then records of 128
//! bytes: [`Transfer::to_record`], and the first 8 bytes of its BLAKE3 hash.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pumasi_core::Transfer;
use pumasi_log::disk::Mode;
use pumasi_log::{Disk, DiskFile, RealDisk};
use pumasi_types::{Hash, TransferId};

const MAGIC: &[u8; 8] = b"PUMASITJ";
const VERSION: u32 = 2;
const RECORD: usize = 128;

/// Why the journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The operating system refused.
    #[error("cannot {operation} {}: {source}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Not a journal, or of another version.
    #[error("{} is not a journal of version {VERSION}: restore it from a backup", path.display())]
    Foreign {
        /// Which file.
        path: PathBuf,
    },
    /// A record is not what was written.
    #[error("transfer {id} in {} is damaged: remove the file and start again, it is made anew from a log that was never trimmed; else restore it from a backup", path.display())]
    Damaged {
        /// Which record.
        id: TransferId,
        /// Which file.
        path: PathBuf,
    },
}

/// The journal; cheap to clone, for readers on other threads.
#[derive(Clone, Debug)]
pub struct Journal {
    file: Arc<dyn DiskFile>,
    path: Arc<PathBuf>,
    /// Where an older version was put.
    aside: Option<Arc<Path>>,
    /// Whether a sync failed.
    unsynced: Arc<AtomicBool>,
}

impl Journal {
    /// Opens or creates the journal.
    ///
    /// # Errors
    /// When the file cannot be opened or is something else.
    pub fn open(path: &Path) -> Result<Journal, JournalError> {
        Journal::open_on(&RealDisk, path)
    }

    /// [`Journal::open`] on any disk.
    ///
    /// # Errors
    /// As [`Journal::open`].
    pub fn open_on(disk: &dyn Disk, path: &Path) -> Result<Journal, JournalError> {
        let file = disk.open(path, Mode::Create);
        let journal = Journal {
            file: Arc::from(file.map_err(|source| io_error("open", path, source))?),
            path: Arc::new(path.to_owned()),
            aside: None,
            unsynced: Arc::new(AtomicBool::new(false)),
        };
        let mut header = [0; RECORD];
        let length = journal.file.len().map_err(|source| io_error("read", path, source))?;
        if length >= RECORD as u64 {
            let read = journal.file.read_exact_at(&mut header, 0);
            read.map_err(|source| io_error("read", path, source))?;
        }
        // A power cut during the first start can leave the name and the length, and lose the header itself.
        if length <= RECORD as u64 && header == [0; RECORD] {
            header[..8].copy_from_slice(MAGIC);
            header[8..12].copy_from_slice(&VERSION.to_le_bytes());
            journal.file.write_all_at(&header, 0).map_err(|source| io_error("write", path, source))?;
            // A snapshot relies on the journal's records, so its name and header must last as long.
            journal.sync()?;
            let dir = path.parent().unwrap_or(path);
            disk.sync_dir(dir).map_err(|source| io_error("sync", dir, source))?;
            return Ok(journal);
        }
        if header[..8] == *MAGIC && header[8..12] == 1_u32.to_le_bytes() {
            return Journal::set_version_1_aside(disk, path);
        }
        if header[..8] != *MAGIC || header[8..12] != VERSION.to_le_bytes() {
            return Err(JournalError::Foreign { path: path.to_owned() });
        }
        Ok(journal)
    }

    /// Version 1 did not say the engine of a run. The log knows it, so the journal is made anew from there.
    fn set_version_1_aside(disk: &dyn Disk, path: &Path) -> Result<Journal, JournalError> {
        let aside = path.with_extension("journal.v1");
        disk.rename(path, &aside).map_err(|source| io_error("rename", path, source))?;
        Ok(Journal { aside: Some(aside.into()), ..Journal::open_on(disk, path)? })
    }

    /// What the operator should hear about its opening.
    pub(crate) fn note(&self) -> Option<String> {
        let aside = self.aside.as_ref()?;
        Some(format!("{} was of version 1; it is kept as {}", self.path.display(), aside.display()))
    }

    /// Where the record of a transfer begins; no file is so long that the last ids have a place in it.
    fn place(&self, id: TransferId) -> Result<u64, JournalError> {
        let missing = || JournalError::Damaged { id, path: self.path.to_path_buf() };
        id.0.checked_mul(RECORD as u64).ok_or_else(missing)
    }

    /// Writes transfers whose ids follow each other. Not durable before [`Journal::sync`]: the log is.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write(&self, transfers: &[Transfer]) -> Result<(), JournalError> {
        let Some(first) = transfers.first() else { return Ok(()) };
        let mut records = Vec::with_capacity(transfers.len() * RECORD);
        transfers.iter().for_each(|transfer| encode(transfer, &mut records));
        let place = self.place(first.id)?;
        self.file.write_all_at(&records, place).map_err(|source| io_error("write", &self.path, source))
    }

    /// Makes everything written durable, before a snapshot that relies on it.
    ///
    /// # Errors
    /// When the disk refuses. It is not asked again then: what a failed sync covered may be lost though a
    /// second one succeeds, and only the next start writes it again, from the log.
    pub fn sync(&self) -> Result<(), JournalError> {
        self.check()?;
        self.file.sync().map_err(|source| {
            self.unsynced.store(true, Ordering::Release);
            io_error("sync", &self.path, source)
        })
    }

    /// Whether everything written is still there.
    ///
    /// # Errors
    /// When a sync failed: systems may drop what it covered, even from memory.
    pub(crate) fn check(&self) -> Result<(), JournalError> {
        if self.unsynced.load(Ordering::Acquire) {
            let source = io::Error::other("an earlier sync failed; start the hub again");
            return Err(io_error("sync", &self.path, source));
        }
        Ok(())
    }

    /// Reads the records of `count` transfers from `first` on, checked, and hands over one after another.
    ///
    /// # Errors
    /// When the disk refuses or a record is damaged.
    pub fn records(
        &self,
        first: TransferId,
        count: usize,
        mut take: impl FnMut(&[u8; Transfer::RECORD_BYTES]),
    ) -> Result<(), JournalError> {
        let mut bytes = vec![0; count * RECORD];
        let place = self.place(first)?;
        self.file.read_exact_at(&mut bytes, place).map_err(|source| io_error("read", &self.path, source))?;
        for (id, record) in (first.0..).map(TransferId).zip(bytes.as_chunks().0) {
            let body = checked(record).filter(|body| body[..8] == id.0.to_le_bytes());
            take(body.ok_or_else(|| JournalError::Damaged { id, path: self.path.to_path_buf() })?);
        }
        Ok(())
    }

    /// Reads one transfer.
    ///
    /// # Errors
    /// When the disk refuses or the record is damaged.
    pub fn read(&self, id: TransferId) -> Result<Transfer, JournalError> {
        let mut record = [0; RECORD];
        let place = self.place(id)?;
        self.file.read_exact_at(&mut record, place).map_err(|source| io_error("read", &self.path, source))?;
        decode(&record)
            .filter(|transfer| transfer.id == id)
            .ok_or_else(|| JournalError::Damaged { id, path: self.path.to_path_buf() })
    }
}

fn io_error(operation: &'static str, path: &Path, source: io::Error) -> JournalError {
    JournalError::Io { operation, path: path.to_owned(), source }
}

fn encode(transfer: &Transfer, out: &mut Vec<u8>) {
    let record = transfer.to_record();
    out.extend_from_slice(&record);
    out.extend_from_slice(&Hash::of(&record).as_bytes()[..8]);
}

fn decode(record: &[u8; RECORD]) -> Option<Transfer> {
    Transfer::from_record(checked(record)?)
}

/// The transfer's own bytes, if they are what was written.
fn checked(record: &[u8; RECORD]) -> Option<&[u8; Transfer::RECORD_BYTES]> {
    let (body, check) = record.split_first_chunk().expect("a record is longer than its body");
    (Hash::of(body).as_bytes()[..8] == *check).then_some(body)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use pumasi_core::Cause;
    use pumasi_types::{
        AccountId, Amount, Currency, EngineId, Fuel, HoldId, JobId, Price, RunId, TaskIndex, Time, WorkerId,
    };

    use super::*;

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

    fn run() -> Cause {
        let (job, task, run, worker) = (JobId(4), TaskIndex(5), RunId(6), WorkerId(7));
        let engine = EngineId("wasmtime-48.0.8/1".to_owned()).tag();
        Cause::Run { job, task, run, worker, fuel: Fuel(8), price: Price(9), engine }
    }

    #[test]
    fn ids_beyond_any_file_are_answered() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(&dir.path().join("transfers.journal")).unwrap();
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
        Journal::open(&path).unwrap().write(&all).unwrap();
        let journal = Journal::open(&path).unwrap();
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
        let mut record = Vec::new();
        encode(&transfer(1, run()), &mut record);
        let record: [u8; RECORD] = record.try_into().unwrap();
        for bit in 0..RECORD * 8 {
            let mut damaged = record;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&damaged), None, "bit {bit}");
        }
    }

    #[test]
    fn a_header_that_a_power_cut_took_is_written_again_and_nothing_else_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("transfers.journal");
        for lost in [0, RECORD - 1, RECORD] {
            std::fs::write(&path, vec![0; lost]).unwrap();
            let journal = Journal::open(&path).unwrap();
            journal.write(&[transfer(1, run())]).unwrap();
            assert_eq!(Journal::open(&path).unwrap().read(TransferId(1)).unwrap(), transfer(1, run()));
        }
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[..RECORD].fill(0);
        for foreign in [bytes, vec![7; RECORD]] {
            std::fs::write(&path, &foreign).unwrap();
            assert!(matches!(Journal::open(&path), Err(JournalError::Foreign { .. })));
            assert_eq!(std::fs::read(&path).unwrap(), foreign, "it is left as it was");
        }
    }

    #[test]
    fn a_journal_of_version_1_gives_way_to_an_empty_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("transfers.journal");
        Journal::open(&path).unwrap().write(&[transfer(1, Cause::Issue)]).unwrap();
        std::fs::File::options().write(true).open(&path).unwrap().write_all_at(&[1], 8).unwrap();
        let journal = Journal::open(&path).unwrap();
        assert!(journal.read(TransferId(1)).is_err());
        assert!(dir.path().join("transfers.journal.v1").exists());
        journal.write(&[transfer(1, run())]).unwrap();
        assert_eq!(Journal::open(&path).unwrap().read(TransferId(1)).unwrap(), transfer(1, run()));
    }

    #[test]
    fn layout_stays() {
        let mut record = Vec::new();
        encode(&transfer(1, run()), &mut record);
        let hex: String = record.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, include_str!("journal_record.hex").trim());
    }

    proptest! {
        #[test]
        fn no_bytes_panic_even_behind_a_right_checksum(mut body in proptest::array::uniform(any::<u8>()), known: bool) {
            if known {
                body[40..43].copy_from_slice(b"CRD");
            }
            let _: [u8; Transfer::RECORD_BYTES] = body;
            let record = [&body[..], &Hash::of(&body).as_bytes()[..8]].concat().try_into().unwrap();
            prop_assert_eq!(decode(&record).is_some(), Transfer::from_record(&body).is_some());
        }
    }
}
