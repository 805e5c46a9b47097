//! Where a rewritten history first differs from the one that was audited.

use pumasi_core::State;
use pumasi_log::{Head, Seq};
use pumasi_types::TransferId;

use crate::{AuditError, Auditor, Decoded, Finding};

/// A second history, compared with the audited one entry by entry.
pub struct Comparison<'a> {
    auditor: &'a Auditor,
    state: State,
    head: Head,
    /// The first entry that differs.
    entry: Option<Seq>,
}

impl Auditor {
    /// Compares another history of the same hub with the audited one. Its entries must be brought from the
    /// first on.
    pub fn locate(&self) -> Comparison<'_> {
        Comparison { auditor: self, state: State::new(), head: Head::default(), entry: None }
    }
}

impl Comparison<'_> {
    /// The last entry that was brought.
    pub fn head(&self) -> Head {
        self.head
    }

    /// Takes in the next entry; the finding, once a transfer differs.
    ///
    /// # Errors
    /// When the auditor's folder cannot be read.
    pub fn take(&mut self, decoded: &Decoded) -> Result<Option<Finding>, AuditError> {
        let Decoded { entry, requests } = decoded;
        let audited = self.auditor.head().seq;
        if self.entry.is_none()
            && (entry.seq > audited || self.auditor.books.folder.entry_hash(entry.seq)? != entry.hash)
        {
            self.entry = Some(entry.seq);
        }
        self.head = entry.head();
        let applied = self.state.apply(entry.time, requests);
        let Some(entry) = self.entry else { return Ok(None) };
        for second in applied.effects.transfers {
            let before = match second.id {
                id if id.0 > self.auditor.transfers() => None,
                id => Some(Box::new(self.auditor.books.folder.transfer(id)?)),
            };
            if before.as_deref() != Some(&second) {
                let transfer = Some(second.id);
                return Ok(Some(Finding::Rewritten { entry, transfer, before, now: Some(Box::new(second)) }));
            }
        }
        Ok(None)
    }

    /// The second history is over; what differs, if anything does.
    ///
    /// # Errors
    /// When the auditor's folder cannot be read.
    pub fn end(self) -> Result<Option<Finding>, AuditError> {
        let fewer = self.head.seq < self.auditor.head().seq;
        let Some(entry) = self.entry.or(fewer.then(|| self.head.seq.next())) else { return Ok(None) };
        let next = TransferId(self.state.ledger().last_transfer().0 + 1);
        let before = match next.0 <= self.auditor.transfers() {
            true => Some(Box::new(self.auditor.books.folder.transfer(next)?)),
            false => None,
        };
        Ok(Some(Finding::Rewritten { entry, transfer: before.is_some().then_some(next), before, now: None }))
    }
}
