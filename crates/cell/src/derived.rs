//! All that is derived from the log besides the state: files that every restart makes again with the same bytes.

use std::path::Path;

use pumasi_core::{Effects, Event, SalesHour, State, Transfer};
use pumasi_log::{Disk, RealDisk};
use pumasi_types::{EventId, SalesId, TransferId};

use crate::{Archive, CellFailure, Journal};

/// The files; cheap to clone, for readers on other threads. They hold what is in the log up to
/// [`Settled`](crate::Settled), and may hold more.
#[derive(Clone, Debug)]
pub struct Derived {
    /// Every settled movement of money.
    pub transfers: Journal<Transfer>,
    /// Every step that an order took.
    pub events: Journal<Event>,
    /// What was sold of each article in each hour that is over.
    pub sales: Journal<SalesHour>,
    /// Orders that left memory.
    pub archive: Archive,
    /// Whether threads write, and make it anew.
    pub(crate) behind: bool,
}

impl Derived {
    /// Opens or creates the files in a folder that is there. Threads write the two that grow with every order.
    ///
    /// # Errors
    /// When one cannot be opened or is something else.
    pub fn open(dir: &Path) -> Result<Derived, CellFailure> {
        Derived::open_with(&RealDisk, dir, true)
    }

    /// [`Derived::open`] on any disk, without threads.
    ///
    /// # Errors
    /// As [`Derived::open`].
    pub fn open_on(disk: &dyn Disk, dir: &Path) -> Result<Derived, CellFailure> {
        Derived::open_with(disk, dir, false)
    }

    fn open_with(disk: &dyn Disk, dir: &Path, behind: bool) -> Result<Derived, CellFailure> {
        Ok(Derived {
            transfers: Journal::open_with(disk, &dir.join("transfers.journal"), behind)?,
            events: Journal::open_with(disk, &dir.join("events.journal"), behind)?,
            sales: Journal::open_on(disk, &dir.join("sales.journal"))?,
            archive: Archive::open_on(disk, dir)?,
            behind,
        })
    }

    /// What the operator should hear about their opening.
    pub(crate) fn notes(&self) -> impl Iterator<Item = String> {
        self.transfers.note().into_iter().chain(self.events.note()).chain(self.sales.note())
    }

    /// Writes what an entry led to. Not durable before [`Derived::sync`]: the log is.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn write(&self, effects: &Effects) -> Result<(), CellFailure> {
        self.transfers.write(&effects.transfers)?;
        self.events.write(&effects.events)?;
        self.sales.write(&effects.sales)?;
        Ok(self.archive.write(&effects.archived)?)
    }

    /// Makes everything written durable, before a snapshot that relies on it.
    ///
    /// # Errors
    /// As [`Journal::sync`] and [`Archive::sync`].
    pub(crate) fn sync(&self) -> Result<(), CellFailure> {
        self.transfers.sync()?;
        self.events.sync()?;
        self.sales.sync()?;
        Ok(self.archive.sync()?)
    }

    /// Whether everything written is still there.
    ///
    /// # Errors
    /// When a sync failed: systems may drop what it covered, even from memory.
    pub(crate) fn check(&self) -> Result<(), CellFailure> {
        self.transfers.check()?;
        self.events.check()?;
        self.sales.check()?;
        Ok(self.archive.check()?)
    }

    /// Whether they end where a state does, or later.
    ///
    /// # Errors
    /// When the last of something is not there, or damaged.
    pub(crate) fn reach(&self, state: &State) -> Result<(), CellFailure> {
        let (transfer, event) = (state.ledger().last_transfer(), state.market().last_event());
        if transfer > TransferId(0) {
            self.transfers.read(transfer)?;
        }
        if event > EventId(0) {
            self.events.read(event)?;
        }
        let sold = state.market().last_sales();
        if sold > SalesId(0) {
            self.sales.read(sold)?;
        }
        Ok(self.archive.complete(state.market().archived_to())?)
    }
}
