//! Snapshots that never stop the loop: a second state follows the log from the last snapshot to a point,
//! through the same replay as a restart, and is written from there.

use std::io::Write;
use std::thread;

use pumasi_core::{STATE_VERSION, State, encode_state};
use pumasi_log::{Entries, Head, SnapshotStore};

use super::journal::Journal;
use super::replay::{load_snapshot, replay};
use crate::ServeError;

/// Writes a state that is at `head`.
pub(super) fn write(
    store: &SnapshotStore,
    journal: &Journal,
    state: &State,
    head: Head,
) -> Result<(), ServeError> {
    journal.sync()?;
    let body = encode_state(state);
    let file = store.write(head, STATE_VERSION, |out: &mut dyn Write| out.write_all(&body))?;
    tracing::info!(seq = head.seq.0, bytes = file.bytes, "snapshot written");
    Ok(())
}

/// Makes a snapshot on a thread of its own. `entries` are those after the newest snapshot. Calls `done` with
/// the position of the snapshot, or the one before when there is no new one.
pub(super) fn follow(
    store: SnapshotStore,
    journal: Journal,
    entries: Entries,
    done: impl FnOnce(Result<Head, ServeError>) + Send + 'static,
) -> std::io::Result<()> {
    let work = move || -> Result<Head, ServeError> {
        let (mut state, mut head) = load_snapshot(&store)?;
        for entry in entries {
            head = replay(&mut state, head, &entry?, &journal)?;
        }
        write(&store, &journal, &state, head)?;
        Ok(head)
    };
    thread::Builder::new().name("snapshot".to_owned()).spawn(move || done(work())).map(drop)
}
