//! From disk to state: the newest snapshot and every entry after it, through the same `apply`.

use std::path::Path;
use std::time::Instant;

use pumasi_core::{CodecError, State, decode_requests, decode_state};
use pumasi_log::{Entry, FileLog, FileLogOptions, Head, Log, Seq, SnapshotStore};
use pumasi_types::{CellId, TransferId};

use super::journal::Journal;
use crate::ServeError;

/// A cell as it stands on disk.
pub(crate) struct Restored {
    pub(crate) log: FileLog,
    pub(crate) state: State,
    pub(crate) journal: Journal,
    pub(crate) snapshots: SnapshotStore,
    /// Where the newest snapshot ends.
    pub(crate) snapshot: Head,
}

/// Opens a cell's folder and restores its state.
pub(crate) fn restore(dir: &Path) -> Result<Restored, ServeError> {
    let started = Instant::now();
    let opened = FileLog::open(&dir.join("log"), FileLogOptions::new(CellId(0)))?;
    for note in &opened.notes {
        tracing::warn!("{note}");
    }
    let log = opened.log;
    let snapshots = SnapshotStore::open(&dir.join("snapshots"))?;
    let journal = Journal::open(&dir.join("transfers.journal"))?;
    let (state, snapshot) = load_snapshot(&snapshots)?;
    if snapshot.seq > log.head().seq {
        return Err(ServeError::LogBehindSnapshot { snapshot: snapshot.seq, log: log.head().seq });
    }
    let (mut state, mut head) = with_journal(&log, &journal, state, snapshot)?;
    let mut replayed = 0_u64;
    for entry in log.read(head.seq.next())? {
        head = replay(&mut state, head, &entry?, &journal)?;
        replayed += 1;
    }
    if head.hash != log.head().hash {
        return Err(ServeError::ForeignSnapshot { seq: head.seq });
    }
    tracing::info!(
        snapshot = snapshot.seq.0,
        replayed,
        ms = started.elapsed().as_millis() as u64,
        "state restored"
    );
    Ok(Restored { log, state, journal, snapshots, snapshot })
}

/// The newest snapshot's state, or the state before the first entry.
pub(crate) fn load_snapshot(snapshots: &SnapshotStore) -> Result<(State, Head), ServeError> {
    let found = snapshots.newest()?;
    for note in found.notes {
        tracing::warn!("{note}");
    }
    let Some(snapshot) = found.snapshot else { return Ok((State::new(), Head::default())) };
    match decode_state(snapshot.state_version, &snapshot.body) {
        Ok(state) => Ok((state, snapshot.head)),
        // A snapshot only shortens a restart: another program's is no reason to stop.
        Err(other @ CodecError::Version { .. }) => {
            tracing::warn!("{other}; going through the log from its beginning instead");
            Ok((State::new(), Head::default()))
        }
        Err(source) => Err(ServeError::Replay { seq: Seq::ZERO, source }),
    }
}

/// The state to start from: the snapshot's if the journal holds its transfers; else the first state, from
/// which a log that was never trimmed makes the journal anew.
fn with_journal(
    log: &FileLog,
    journal: &Journal,
    state: State,
    snapshot: Head,
) -> Result<(State, Head), ServeError> {
    let last = state.ledger().last_transfer();
    match journal.read(last) {
        _ if last == TransferId(0) => Ok((state, snapshot)),
        Ok(_) => Ok((state, snapshot)),
        Err(error) if log.first() == Seq(1) => {
            tracing::warn!("{error}: making it anew from the whole log");
            Ok((State::new(), Head::default()))
        }
        Err(error) => Err(error.into()),
    }
}

/// Applies the entry after `head` from the log, and moves there.
pub(crate) fn replay(
    state: &mut State,
    head: Head,
    entry: &Entry,
    journal: &Journal,
) -> Result<Head, ServeError> {
    if entry.seq != head.seq.next() || entry.prev != head.hash {
        return Err(ServeError::ForeignSnapshot { seq: head.seq });
    }
    let requests =
        decode_requests(&entry.payload).map_err(|source| ServeError::Replay { seq: entry.seq, source })?;
    let applied = state.apply(entry.time, &requests);
    journal.write(&applied.effects.transfers)?;
    Ok(entry.head())
}
