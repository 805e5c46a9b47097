//! A transfer as bytes of a fixed layout: what the journal keeps and what is proven to outsiders.
//!
//! Little-endian: id, time, payer, payee, amount (8 bytes each), currency (3), cause (1), task (4), job or
//! hold, run, worker, fuel, price, payer_prev, payee_prev (8 each), engine tag (16). What a cause does not
//! have is zero.
//!
//! A sale has its order in the place of the job, its fee and tax in those of run and worker, the chains of the
//! accounts that get these in those of fuel and price, and the accounts themselves in that of the engine tag. A refund
//! has the same in the same places.

use pumasi_types::{
    AccountId, Amount, EngineTag, Fuel, HoldId, JobId, OrderId, Price, RunId, TaskIndex, Time, TransferId,
    WorkerId,
};

use crate::market::content_of;
use crate::{Cause, Transfer};

impl Transfer {
    /// Length of [`Transfer::to_record`].
    pub const RECORD_BYTES: usize = 120;

    /// The transfer as bytes; the same transfer always has the same.
    pub fn to_record(&self) -> [u8; Transfer::RECORD_BYTES] {
        let (kind, task, object, run, worker, fuel, price, engine) = match self.cause {
            Cause::Issue => (0, 0, 0, 0, 0, 0, 0, EngineTag::default()),
            Cause::Transfer => (1, 0, 0, 0, 0, 0, 0, EngineTag::default()),
            Cause::Settle { hold } => (2, 0, hold.0, 0, 0, 0, 0, EngineTag::default()),
            Cause::Run { job, task, run, worker, fuel, price, engine } => {
                (3_u8, task.0, job.0, run.0, worker.0, fuel.0, price.0, engine)
            }
            Cause::Sale { order, fee, fee_to, fee_prev, tax, tax_to, tax_prev }
            | Cause::Refund { order, fee, fee_to, fee_prev, tax, tax_to, tax_prev } => {
                let kind = if matches!(self.cause, Cause::Sale { .. }) { 4 } else { 5 };
                let (fee, tax) = (fee.0.cast_unsigned(), tax.0.cast_unsigned());
                (kind, 0, order.0, fee, tax, fee_prev.0, tax_prev.0, accounts(fee_to, tax_to))
            }
        };
        let mut record = [0; Transfer::RECORD_BYTES];
        let mut words = |at: usize, words: &[u64]| {
            for (i, word) in words.iter().enumerate() {
                record[at + 8 * i..][..8].copy_from_slice(&word.to_le_bytes());
            }
        };
        words(0, &[self.id.0, self.time.0, self.payer.0, self.payee.0, self.amount.0.cast_unsigned()]);
        words(48, &[object, run, worker, fuel, price, self.payer_prev.0, self.payee_prev.0]);
        record[40..43].copy_from_slice(self.currency.code().as_bytes());
        record[43] = kind;
        record[44..48].copy_from_slice(&task.to_le_bytes());
        record[104..].copy_from_slice(&engine.0);
        record
    }

    /// What is kept behind a record to notice damage: as [`Event::check_of`](crate::Event::check_of), because what
    /// proves a transfer is its place in the tree.
    pub fn check_of(record: &[u8; Transfer::RECORD_BYTES]) -> [u8; 8] {
        content_of(record).to_le_bytes()
    }

    /// Reads what [`Transfer::to_record`] wrote; `None` for any other bytes.
    pub fn from_record(record: &[u8; Transfer::RECORD_BYTES]) -> Option<Transfer> {
        let word = |at: usize| u64::from_le_bytes(record[at..at + 8].try_into().expect("eight bytes"));
        let task = u32::from_le_bytes(record[44..48].try_into().expect("four bytes"));
        let cause = match record[43] {
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
                engine: EngineTag(record[104..].try_into().expect("sixteen bytes")),
            },
            kind @ (4 | 5) => {
                let order = OrderId(word(48));
                let (fee, tax) = (Amount(word(56).cast_signed()), Amount(word(64).cast_signed()));
                let (fee_prev, tax_prev) = (TransferId(word(72)), TransferId(word(80)));
                let (fee_to, tax_to) = (AccountId(word(104)), AccountId(word(112)));
                if kind == 4 {
                    Cause::Sale { order, fee, fee_to, fee_prev, tax, tax_to, tax_prev }
                } else {
                    Cause::Refund { order, fee, fee_to, fee_prev, tax, tax_to, tax_prev }
                }
            }
            _ => return None,
        };
        let transfer = Transfer {
            id: TransferId(word(0)),
            time: Time(word(8)),
            payer: AccountId(word(16)),
            payee: AccountId(word(24)),
            currency: std::str::from_utf8(&record[40..43]).ok()?.parse().ok()?,
            amount: Amount(word(32).cast_signed()),
            cause,
            payer_prev: TransferId(word(88)),
            payee_prev: TransferId(word(96)),
        };
        // Two records of one transfer would be two leaves that claim the same.
        (transfer.to_record() == *record).then_some(transfer)
    }
}

/// Two accounts where a run has its engine tag.
fn accounts(first: AccountId, second: AccountId) -> EngineTag {
    EngineTag((u128::from(first.0) | u128::from(second.0) << 64).to_le_bytes())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use pumasi_types::{Currency, EngineId};

    use super::*;

    fn transfer(words: [u64; 16], task: u32, amount: i64, kind: u8, engine: [u8; 16]) -> Transfer {
        let cause = match kind {
            0 => Cause::Issue,
            1 => Cause::Transfer,
            2 => Cause::Settle { hold: HoldId(words[0]) },
            kind @ (4 | 5) => {
                let order = OrderId(words[0]);
                let (fee, tax) = (Amount(words[1].cast_signed()), Amount(words[2].cast_signed()));
                let (fee_prev, tax_prev) = (TransferId(words[3]), TransferId(words[4]));
                let (fee_to, tax_to) = (AccountId(words[11]), AccountId(words[12]));
                if kind == 4 {
                    Cause::Sale { order, fee, fee_to, fee_prev, tax, tax_to, tax_prev }
                } else {
                    Cause::Refund { order, fee, fee_to, fee_prev, tax, tax_to, tax_prev }
                }
            }
            _ => Cause::Run {
                job: JobId(words[0]),
                task: TaskIndex(task),
                run: RunId(words[1]),
                worker: WorkerId(words[2]),
                fuel: Fuel(words[3]),
                price: Price(words[4]),
                engine: EngineTag(engine),
            },
        };
        Transfer {
            id: TransferId(words[5]),
            time: Time(words[6]),
            payer: AccountId(words[7]),
            payee: AccountId(words[8]),
            currency: Currency::CREDIT,
            amount: Amount(amount),
            cause,
            payer_prev: TransferId(words[9]),
            payee_prev: TransferId(words[10]),
        }
    }

    #[test]
    fn layout_stays() {
        let engine = EngineId("wasmtime-48.0.8/1".to_owned()).tag();
        let words = [4, 6, 7, 8, 9, 1, 1_700_000_000_000_000_000, 2, 3, 0, 0, 0, 0, 0, 0, 0];
        let record = transfer(words, 5, 1_500_000, 3, engine.0).to_record();
        let hex: String = record.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, include_str!("record.hex").trim());
    }

    proptest! {
        #[test]
        fn every_transfer_is_read_back(
            words in proptest::array::uniform16(any::<u64>()), task: u32, amount: i64, kind in 0..6_u8,
            engine: [u8; 16],
        ) {
            let transfer = transfer(words, task, amount, kind, engine);
            prop_assert_eq!(Transfer::from_record(&transfer.to_record()), Some(transfer));
        }

        #[test]
        fn each_transfer_has_one_record(mut record in proptest::array::uniform(any::<u8>()), kind in 0..7_u8) {
            record[40..43].copy_from_slice(b"CRD");
            record[43] = kind;
            if let Some(transfer) = Transfer::from_record(&record) {
                prop_assert_eq!(transfer.to_record(), record);
            }
        }
    }
}
