//! What an audit can find, and why it may not come to an end.

use std::io;
use std::path::PathBuf;

use pumasi_cell::JournalError;
use pumasi_core::{CodecError, Transfer};
use pumasi_log::{Seq, SnapshotError};
use pumasi_proof::{PolicyError, TreeHash};
use pumasi_types::{Hash, TransferId};

/// The hub is not what it says: each finding can be shown to others with what the auditor's folder keeps.
#[derive(Debug, thiserror::Error)]
pub enum Finding {
    /// A checkpoint is not signed as the policy asks.
    #[error(transparent)]
    NotAccepted(PolicyError),
    /// The hub signed two trees of one size.
    #[error(
        "the hub signed two histories: with {size} transfers the tree is {first} in a checkpoint kept before, and {second} now"
    )]
    Forked {
        /// Of both trees.
        size: u64,
        /// What was kept.
        first: TreeHash,
        /// What was shown now.
        second: TreeHash,
        /// The second checkpoint.
        note: String,
    },
    /// The hub signed two entries at one place.
    #[error(
        "the hub signed two histories: entry {seq} of the log is {first} in a checkpoint kept before, and {second} now"
    )]
    TwoEntries {
        /// Where.
        seq: Seq,
        /// What was kept.
        first: Hash,
        /// What was shown now.
        second: Hash,
    },
    /// The newest checkpoint is older than one that was kept.
    #[error(
        "the hub shows a checkpoint of {size} transfers after it had signed one of {kept}: it was set back"
    )]
    Shrunk {
        /// Of the tree that it shows.
        size: u64,
        /// Of the tree that it had signed.
        kept: u64,
    },
    /// The log makes another tree than the hub signed.
    #[error("the first {size} transfers of the log make the tree {made}, the hub signed {signed}")]
    OtherTree {
        /// How many transfers.
        size: u64,
        /// What was signed.
        signed: TreeHash,
        /// What the log makes.
        made: TreeHash,
    },
    /// The log holds another entry than the hub signed.
    #[error("entry {seq} of the log is {found}, the hub signed {signed}")]
    OtherEntry {
        /// Which.
        seq: Seq,
        /// What was signed.
        signed: Hash,
        /// What the log holds.
        found: Hash,
    },
    /// The log does not go on where it was audited.
    #[error(
        "the log does not continue what was audited: entry {seq} was {audited}, and the next one follows {prev}"
    )]
    NotContinued {
        /// The last entry that was audited.
        seq: Seq,
        /// Its hash.
        audited: Hash,
        /// What the next entry says its hash is.
        prev: Hash,
    },
    /// The log ends before what was signed.
    #[error(
        "the log ends with entry {entries} and {transfers} transfers, but the hub signed {signed} transfers up to entry {named}"
    )]
    Incomplete {
        /// Transfers that were signed.
        signed: u64,
        /// The last entry that a checkpoint names.
        named: Seq,
        /// Transfers that the log has.
        transfers: u64,
        /// Its last entry.
        entries: Seq,
    },
    /// Bytes that should be the log are not.
    #[error("what the hub sent after entry {after} is not an entry of a log: {problem}")]
    NoEntry {
        /// The last entry before.
        after: Seq,
        /// What is wrong.
        problem: String,
    },
    /// Time or epoch of an entry are before those of the entry before.
    #[error("entry {seq} of the log is older than the one before it")]
    Backwards {
        /// Which.
        seq: Seq,
    },
    /// Requests of an entry cannot be read.
    #[error("entry {seq} of the log cannot be read")]
    Unreadable {
        /// Which.
        seq: Seq,
        /// Why not.
        source: CodecError,
    },
    /// History was rewritten: what differs first.
    #[error("history was rewritten from entry {entry} on{}", transfers(*transfer, before.as_deref(), now.as_deref()))]
    Rewritten {
        /// The first entry that differs.
        entry: Seq,
        /// The first transfer that differs, if one does so far.
        transfer: Option<TransferId>,
        /// What it was when it was audited; none: there was none.
        before: Option<Box<Transfer>>,
        /// What it is now; none: there is none.
        now: Option<Box<Transfer>>,
    },
}

impl Finding {
    /// Whether the log itself is another one than what was seen of it: then it can be told where it differs.
    pub fn is_rewritten(&self) -> bool {
        !matches!(self, Finding::NotAccepted(_) | Finding::NoEntry { .. } | Finding::Unreadable { .. })
    }
}

fn transfers(id: Option<TransferId>, before: Option<&Transfer>, now: Option<&Transfer>) -> String {
    let Some(id) = id else { return ": no transfer differs so far".to_owned() };
    let text = |transfer: Option<&Transfer>| match transfer {
        None => "nothing".to_owned(),
        Some(transfer) => {
            let (payer, payee, money) = (transfer.payer, transfer.payee, transfer.amount);
            let amount = transfer.currency.format_amount(money);
            format!(
                "{amount} {} from account {payer} to account {payee} ({:?})",
                transfer.currency, transfer.cause
            )
        }
    };
    format!(": transfer {id} was {}, now it is {}", text(before), text(now))
}

/// Why an audit does not go on.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The hub is not what it says.
    #[error(transparent)]
    Found(#[from] Box<Finding>),
    /// The auditor's own folder.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The auditor's own folder holds something else.
    #[error("{} is not what an auditor wrote ({problem}): restore the folder from a backup, or audit into a new one", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The auditor's copy of the transfers.
    #[error("cannot use the copy of the transfers")]
    Journal(#[from] JournalError),
    /// The auditor's position.
    #[error("cannot use the saved position")]
    Position(#[from] SnapshotError),
}

impl From<Finding> for AuditError {
    fn from(finding: Finding) -> AuditError {
        AuditError::Found(Box::new(finding))
    }
}
