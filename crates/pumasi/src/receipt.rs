//! Receipts: what one says, and whether a signed log vouches for it. Nothing here asks a hub.

use pumasi_api::wire::PaidRun;
use pumasi_core::{Cause, Transfer};
use pumasi_hub::proof::bound_entry;
use pumasi_proof::{Accepted, Checkpoint, Malformed, Policy, PolicyError, ProofFile, TreeHash, Unproven};
use pumasi_types::{AccountId, Amount, EngineId, EngineTag, OrderId, TransferId};
use serde::Serialize;

use crate::output::Table;
use crate::units;

/// The ending of a receipt's file name (C2SP tlog-proof).
pub(crate) const ENDING: &str = "tlog-proof";

/// Why a receipt proves nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReceiptError {
    /// Not a proof file, or its note is no checkpoint.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// A proof of something else.
    #[error("it is a proof, but not a receipt of Pumasi: {0}")]
    NotAReceipt(&'static str),
    /// The engine's name is not vouched for by the leaf, but its tag is.
    #[error("it says that the engine was '{said}', but the transfer names another, with the tag {tag}")]
    OtherEngine {
        /// The name in the file.
        said: String,
        /// What the transfer says.
        tag: EngineTag,
    },
    /// Another place in the log than its number says.
    #[error("transfer {transfer} cannot be leaf {index} of the log")]
    WrongPlace {
        /// Its number.
        transfer: TransferId,
        /// Where the proof puts it, from 0.
        index: u64,
    },
    /// The signatures do not do.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The signed tree does not hold this transfer.
    #[error("the signed log does not hold this transfer: {0}")]
    Unproven(#[from] Unproven),
    /// More or less than what was computed costs.
    #[error("{amount} was paid for a run that costs {cost}")]
    WrongAmount {
        /// What was paid.
        amount: String,
        /// Fuel times price.
        cost: String,
    },
}

/// A receipt that was read.
#[derive(Debug)]
pub(crate) struct Receipt {
    proof: ProofFile,
    checkpoint: Checkpoint,
    /// What was paid.
    pub(crate) transfer: Transfer,
    /// The engine of a run; none when the hub had forgotten its name.
    engine: Option<EngineId>,
}

impl Receipt {
    /// Reads a receipt. Only [`Receipt::verify`] says whether it is true.
    pub(crate) fn parse(text: &str) -> Result<Receipt, ReceiptError> {
        let proof = ProofFile::parse(text)?;
        let checkpoint = proof.claimed()?;
        let extra = proof.extra.as_deref().unwrap_or_default();
        let (record, name) =
            extra.split_first_chunk().ok_or(ReceiptError::NotAReceipt("it lacks the transfer"))?;
        let transfer = Transfer::from_record(record)
            .ok_or(ReceiptError::NotAReceipt("its extra data begins with no transfer"))?;
        let name =
            std::str::from_utf8(name).map_err(|_| ReceiptError::NotAReceipt("its engine is no text"))?;
        let engine = Some(EngineId(name.to_owned())).filter(|engine| !engine.0.is_empty());
        let tag = match transfer.cause {
            Cause::Run { engine, .. } => engine,
            _ => EngineTag::default(),
        };
        if let Some(said) = engine.as_ref().filter(|engine| engine.tag() != tag) {
            return Err(ReceiptError::OtherEngine { said: said.0.clone(), tag });
        }
        Ok(Receipt { proof, checkpoint, transfer, engine })
    }

    /// Checks that a log and witnesses which the policy believes vouch for the transfer, and that it is the
    /// right amount for what was computed.
    pub(crate) fn verify(&self, policy: &Policy) -> Result<Accepted, ReceiptError> {
        let accepted = policy.accept(&self.proof.checkpoint)?;
        self.proof.verify_leaf(TreeHash::of_leaf(&self.transfer.to_record()), &accepted.checkpoint)?;
        let (transfer, index) = (self.transfer.id, self.proof.index);
        if transfer.0.checked_sub(1) != Some(index) {
            return Err(ReceiptError::WrongPlace { transfer, index });
        }
        if let Cause::Run { fuel, price, .. } = self.transfer.cause
            && price.cost(fuel) != Some(self.transfer.amount)
        {
            let shown = |amount: Amount| self.transfer.currency.format_amount(amount);
            let cost = price.cost(fuel).map_or_else(|| "more than can be paid".to_owned(), shown);
            return Err(ReceiptError::WrongAmount { amount: shown(self.transfer.amount), cost });
        }
        Ok(accepted)
    }

    /// What it says.
    pub(crate) fn said(&self) -> Said {
        let transfer = &self.transfer;
        let shown = |amount: Amount| transfer.currency.format_amount(amount);
        let (cause, run, sale) = match transfer.cause {
            Cause::Issue => ("issue", None, None),
            Cause::Transfer => ("transfer", None, None),
            Cause::Settle { .. } => ("settle", None, None),
            Cause::Run { job, task, run, worker, fuel, price, .. } => {
                let price = units::credits(price.as_amount());
                ("run", Some(PaidRun { job, task, run, worker, fuel: fuel.0, price }), None)
            }
            Cause::Sale { order, fee, fee_to, tax, tax_to, .. } => {
                ("sale", None, Some(SaidSale { order, fee: shown(fee), fee_to, tax: shown(tax), tax_to }))
            }
            Cause::Refund { order, fee, fee_to, tax, tax_to, .. } => {
                ("refund", None, Some(SaidSale { order, fee: shown(fee), fee_to, tax: shown(tax), tax_to }))
            }
        };
        let engine = match transfer.cause {
            Cause::Run { engine: tag, .. } => {
                let name = self.engine.as_ref().map(|engine| engine.0.clone());
                Some(name.unwrap_or_else(|| format!("the one with tag {tag}")))
            }
            _ => None,
        };
        Said {
            transfer: transfer.id,
            time_ms: transfer.time.0 / 1_000_000,
            from: transfer.payer,
            to: transfer.payee,
            currency: transfer.currency.code().to_owned(),
            amount: transfer.currency.format_amount(transfer.amount),
            cause,
            run,
            sale,
            engine,
            log: Place {
                origin: self.checkpoint.origin.clone(),
                index: self.proof.index,
                size: self.checkpoint.size,
                root: self.checkpoint.root.to_string(),
                entry: bound_entry(&self.checkpoint).map(|(seq, _)| seq.0),
            },
        }
    }
}

/// What a receipt says.
#[derive(Debug, Serialize)]
pub(crate) struct Said {
    transfer: TransferId,
    time_ms: u64,
    from: AccountId,
    to: AccountId,
    currency: String,
    amount: String,
    cause: &'static str,
    run: Option<PaidRun>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sale: Option<SaidSale>,
    engine: Option<String>,
    log: Place,
}

/// The order that was paid for, and who got which part of the amount; the rest is the payee's.
#[derive(Debug, Serialize)]
struct SaidSale {
    order: OrderId,
    fee: String,
    fee_to: AccountId,
    tax: String,
    tax_to: AccountId,
}

/// Where it stands, by its own account.
#[derive(Debug, Serialize)]
struct Place {
    origin: String,
    index: u64,
    size: u64,
    root: String,
    /// The last entry of the hub's own log whose transfers are in the tree.
    entry: Option<u64>,
}

impl Said {
    /// As names and values, with what was found about it.
    pub(crate) fn facts(&self, verdict: String) -> Table {
        let (cause, bill) = match (&self.run, &self.sale) {
            (Some(run), _) => (
                format!("task {} of job {}, run {} on worker {}", run.task, run.job, run.run, run.worker),
                Some(format!("{} fuel at {} CRD a core-second", run.fuel, run.price)),
            ),
            (None, Some(SaidSale { order, fee, fee_to, tax, tax_to })) => (
                format!("order {order}"),
                Some(format!("of it {fee} fee to account {fee_to}, {tax} tax to account {tax_to}")),
            ),
            (None, None) => (self.cause.to_owned(), None),
        };
        let Said { transfer, from, to, currency, amount, log, .. } = self;
        let facts = [
            ("receipt", Some(format!("transfer {transfer}, {}", units::moment(self.time_ms)))),
            ("paid", Some(format!("{amount} {currency} from account {from} to account {to}"))),
            ("for", Some(cause)),
            ("bill", bill),
            ("engine", self.engine.clone()),
            ("log", Some(format!("{}, leaf {} of {}", log.origin, log.index, log.size))),
            ("tree", Some(log.root.clone())),
            ("entry", log.entry.map(|entry| format!("up to {entry} of the hub's log"))),
            ("verified", Some(verdict)),
        ];
        Table::facts(facts.into_iter().filter_map(|(name, value)| Some((name, value?))))
    }
}

#[cfg(test)]
mod tests;
