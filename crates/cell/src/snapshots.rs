//! Snapshots that never stop the cell: a second state follows the log from the last snapshot to a point,
//! through the same replay as a restart, and is written from there.

use pumasi_core::{STATE_VERSION, State, write_state};
use pumasi_log::{Entries, Head, Seq, SnapshotStore};

use crate::restore::{Decoded, load_snapshot, replay};
use crate::{CellFailure, Derived};

/// Writes a state that is at `head`, and returns the file's size in bytes.
pub(crate) fn write(
    store: &SnapshotStore,
    derived: &Derived,
    state: &State,
    head: Head,
) -> Result<u64, CellFailure> {
    derived.sync()?;
    let file = store.write(head, STATE_VERSION, |out| write_state(state, out))?;
    Ok(file.bytes)
}

/// A snapshot to be made, on any thread, while the cell goes on.
pub struct SnapshotWork {
    store: SnapshotStore,
    derived: Derived,
    /// Those after the newest snapshot.
    entries: Entries,
}

impl SnapshotWork {
    pub(crate) fn new(store: SnapshotStore, derived: Derived, entries: Entries) -> SnapshotWork {
        SnapshotWork { store, derived, entries }
    }

    /// Makes it; returns where it ends and how many bytes it has.
    ///
    /// # Errors
    /// When log or disk refuse; the cell and the older snapshots are not affected.
    pub fn run(self) -> Result<(Head, u64), CellFailure> {
        // The cell began where these entries do.
        let (mut state, mut head) = load_snapshot(&self.store, Seq(1), &mut Vec::new())?;
        for entry in self.entries {
            // What it leads to was written when it was applied the first time.
            (head, _) = replay(&mut state, head, &Decoded::new(entry?)?)?;
        }
        let bytes = write(&self.store, &self.derived, &state, head)?;
        Ok((head, bytes))
    }
}
