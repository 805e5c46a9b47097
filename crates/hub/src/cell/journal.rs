//! The journal of transfers: a file of fixed records, the n-th transfer at the n-th place.
//!
//! It is derived from the log: a restart writes the records after the snapshot again, with the same bytes.
//! Statements walk it backwards along each account's own chain, so it needs no index.
//!
//! Layout, little-endian: a header of 128 bytes (magic `PUMASITJ`, version u32, zeros), then records of 128
//! bytes: id, time, payer, payee, amount (8 bytes each), currency (3), cause (1), task (4), job or hold, run,
//! worker, fuel, price, payer_prev, payee_prev (8 each), zeros (16), the first 8 bytes of the BLAKE3 hash of
//! all before.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pumasi_core::{Cause, Transfer};
use pumasi_types::{
    AccountId, Amount, Fuel, Hash, HoldId, JobId, Price, RunId, TaskIndex, Time, TransferId, WorkerId,
};

const MAGIC: &[u8; 8] = b"PUMASITJ";
const VERSION: u32 = 1;
const RECORD: usize = 128;
const CHECKED: usize = RECORD - 8;

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
    #[error("transfer {id} in {} is damaged: restore the file from a backup, or replay the whole log", path.display())]
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
    file: Arc<File>,
    path: Arc<PathBuf>,
}

impl Journal {
    /// Opens or creates the journal.
    ///
    /// # Errors
    /// When the file cannot be opened or is something else.
    pub fn open(path: &Path) -> Result<Journal, JournalError> {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path);
        let journal = Journal {
            file: Arc::new(file.map_err(|source| io_error("open", path, source))?),
            path: Arc::new(path.to_owned()),
        };
        let mut header = [0; RECORD];
        let length = journal.file.metadata().map_err(|source| io_error("read", path, source))?.len();
        if length < RECORD as u64 {
            header[..8].copy_from_slice(MAGIC);
            header[8..12].copy_from_slice(&VERSION.to_le_bytes());
            journal.file.write_all_at(&header, 0).map_err(|source| io_error("write", path, source))?;
            return Ok(journal);
        }
        journal.file.read_exact_at(&mut header, 0).map_err(|source| io_error("read", path, source))?;
        if header[..8] != *MAGIC || header[8..12] != VERSION.to_le_bytes() {
            return Err(JournalError::Foreign { path: path.to_owned() });
        }
        Ok(journal)
    }

    /// Writes transfers whose ids follow each other. Not durable before [`Journal::sync`]: the log is.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write(&self, transfers: &[Transfer]) -> Result<(), JournalError> {
        let Some(first) = transfers.first() else { return Ok(()) };
        let mut records = Vec::with_capacity(transfers.len() * RECORD);
        transfers.iter().for_each(|transfer| encode(transfer, &mut records));
        let place = first.id.0 * RECORD as u64;
        self.file.write_all_at(&records, place).map_err(|source| io_error("write", &self.path, source))
    }

    /// Makes everything written durable, before a snapshot that relies on it.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn sync(&self) -> Result<(), JournalError> {
        self.file.sync_data().map_err(|source| io_error("sync", &self.path, source))
    }

    /// Reads one transfer.
    ///
    /// # Errors
    /// When the disk refuses or the record is damaged.
    pub fn read(&self, id: TransferId) -> Result<Transfer, JournalError> {
        let mut record = [0; RECORD];
        let place = id.0 * RECORD as u64;
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
    let start = out.len();
    let (kind, task, object, run, worker, fuel, price) = match transfer.cause {
        Cause::Issue => (0, 0, 0, 0, 0, 0, 0),
        Cause::Transfer => (1, 0, 0, 0, 0, 0, 0),
        Cause::Settle { hold } => (2, 0, hold.0, 0, 0, 0, 0),
        Cause::Run { job, task, run, worker, fuel, price } => {
            (3_u8, task.0, job.0, run.0, worker.0, fuel.0, price.0)
        }
    };
    for word in [transfer.id.0, transfer.time.0, transfer.payer.0, transfer.payee.0] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    out.extend_from_slice(&transfer.amount.0.to_le_bytes());
    out.extend_from_slice(transfer.currency.code().as_bytes());
    out.push(kind);
    out.extend_from_slice(&task.to_le_bytes());
    for word in [object, run, worker, fuel, price, transfer.payer_prev.0, transfer.payee_prev.0, 0, 0] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    let check = Hash::of(&out[start..]);
    out.extend_from_slice(&check.as_bytes()[..8]);
}

fn decode(record: &[u8; RECORD]) -> Option<Transfer> {
    let (body, check) = record.split_at(CHECKED);
    if Hash::of(body).as_bytes()[..8] != *check {
        return None;
    }
    let word = |at: usize| u64::from_le_bytes(body[at..at + 8].try_into().expect("eight bytes"));
    let task = u32::from_le_bytes(body[44..48].try_into().expect("four bytes"));
    let cause = match body[43] {
        0 => Cause::Issue,
        1 => Cause::Transfer,
        2 => Cause::Settle { hold: HoldId(word(48)) },
        3 => Cause::Run {
            job: JobId(word(48)),
            task: TaskIndex(task),
            run: RunId(word(56)),
            worker: WorkerId(word(64)),
            fuel: Fuel(word(72)),
            price: Price(word(80)),
        },
        _ => return None,
    };
    Some(Transfer {
        id: TransferId(word(0)),
        time: Time(word(8)),
        payer: AccountId(word(16)),
        payee: AccountId(word(24)),
        currency: std::str::from_utf8(&body[40..43]).ok()?.parse().ok()?,
        amount: Amount(word(32).cast_signed()),
        cause,
        payer_prev: TransferId(word(88)),
        payee_prev: TransferId(word(96)),
    })
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use pumasi_types::Currency;

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
        Cause::Run { job, task, run, worker, fuel: Fuel(8), price: Price(9) }
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
    fn layout_stays() {
        let mut record = Vec::new();
        encode(&transfer(1, run()), &mut record);
        let hex: String = record.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, include_str!("journal_record.hex").trim());
    }

    proptest! {
        #[test]
        fn every_transfer_is_read_back(
            words in proptest::array::uniform16(any::<u64>()), task: u32, amount: i64, kind in 0..4,
        ) {
            let cause = match kind {
                0 => Cause::Issue,
                1 => Cause::Transfer,
                2 => Cause::Settle { hold: HoldId(words[0]) },
                _ => Cause::Run {
                    job: JobId(words[0]),
                    task: TaskIndex(task),
                    run: RunId(words[1]),
                    worker: WorkerId(words[2]),
                    fuel: Fuel(words[3]),
                    price: Price(words[4]),
                },
            };
            let transfer = Transfer {
                id: TransferId(words[5]),
                time: Time(words[6]),
                payer: AccountId(words[7]),
                payee: AccountId(words[8]),
                currency: Currency::CREDIT,
                amount: Amount(amount),
                cause,
                payer_prev: TransferId(words[9]),
                payee_prev: TransferId(words[10]),
            };
            let mut record = Vec::new();
            encode(&transfer, &mut record);
            prop_assert_eq!(decode(&record.try_into().unwrap()), Some(transfer));
        }

        #[test]
        fn no_bytes_panic_even_behind_a_right_checksum(body in vec(any::<u8>(), CHECKED), known: bool) {
            let mut record: [u8; RECORD] = [&body[..], &Hash::of(&body).as_bytes()[..8]].concat().try_into().unwrap();
            if known {
                record[40..43].copy_from_slice(b"CRD");
                let check = Hash::of(&record[..CHECKED]);
                record[CHECKED..].copy_from_slice(&check.as_bytes()[..8]);
            }
            let _ = decode(&record);
        }
    }
}
