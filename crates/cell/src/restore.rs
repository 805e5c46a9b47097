//! From disk to state: the newest snapshot and every entry after it, through the same `apply`.

use std::ops::ControlFlow;

use pumasi_core::{CodecError, Effects, Request, State, decode_requests, decode_state};
use pumasi_log::{Entry, Head, Log, Seq, SnapshotStore};
use pumasi_types::Hash;

use crate::pipe::pipe;
use crate::{CellFailure, Derived};

/// A cell as it stands on disk.
pub struct Restored<L> {
    /// The log, open for writing.
    pub log: L,
    /// What its entries make.
    pub state: State,
    /// What else the log makes, complete.
    pub derived: Derived,
    /// The snapshots.
    pub snapshots: SnapshotStore,
    /// Where the newest usable snapshot ends.
    pub snapshot: Head,
    /// How many entries were applied.
    pub replayed: u64,
    /// What the operator should hear about.
    pub notes: Vec<String>,
}

/// Restores the state of a log's cell.
///
/// # Errors
/// When something acknowledged is missing, damaged, or of a version that this program does not read.
pub fn restore<L: Log>(
    log: L,
    snapshots: SnapshotStore,
    derived: Derived,
) -> Result<Restored<L>, CellFailure> {
    let mut notes: Vec<String> = derived.notes().collect();
    let (state, snapshot) = load_snapshot(&snapshots, log.first(), &mut notes)?;
    if snapshot.seq > log.head().seq {
        return Err(CellFailure::LogBehindSnapshot { snapshot: snapshot.seq, log: log.head().seq });
    }
    let (mut state, begin) = with_derived(&log, &derived, state, snapshot, &mut notes)?;
    let mut head = begin;
    let mut replayed = 0_u64;
    // Reading, applying and writing, each beside the next.
    let mut entries = log.read(head.seq.next())?;
    let apply = |hand: &mut dyn FnMut(Effects) -> ControlFlow<()>| {
        let read = |hand: &mut dyn FnMut(Decoded) -> ControlFlow<()>| {
            for decoded in entries.by_ref().map(|entry| Decoded::new(entry?)) {
                if hand(decoded.map_err(Stop::Failed)?).is_break() {
                    break;
                }
            }
            Ok(())
        };
        let applied = pipe(derived.behind, read, |entry| {
            let effects;
            (head, effects) = replay(&mut state, head, &entry).map_err(Stop::Failed)?;
            replayed += 1;
            if hand(effects).is_break() { Err(Stop::Unwanted) } else { Ok(()) }
        });
        match applied {
            Err(Stop::Failed(error)) => Err(error),
            // Who writes has failed, and tells why.
            Err(Stop::Unwanted) | Ok(()) => Ok(()),
        }
    };
    pipe(derived.behind, apply, |effects| derived.write(&effects))?;
    if head.hash != log.head().hash {
        return Err(CellFailure::ForeignSnapshot { seq: head.seq });
    }
    if begin != snapshot {
        // The snapshot is there, and relies on what was made anew.
        derived.sync()?;
    }
    Ok(Restored { log, state, derived, snapshots, snapshot, replayed, notes })
}

/// The newest snapshot's state, or the state before the first entry: a snapshot that another version of this
/// program wrote is not read, because the log makes the same state, if it still has its `first` entry.
pub(crate) fn load_snapshot(
    snapshots: &SnapshotStore,
    first: Seq,
    notes: &mut Vec<String>,
) -> Result<(State, Head), CellFailure> {
    let found = snapshots.newest()?;
    notes.extend(found.notes);
    let Some(snapshot) = found.snapshot else { return Ok((State::new(), Head::default())) };
    match decode_state(snapshot.state_version, &snapshot.body) {
        Ok(state) => Ok((state, snapshot.head)),
        Err(source @ CodecError::Version { .. }) if first > Seq(1) => {
            Err(CellFailure::OtherVersion { first, source })
        }
        Err(version @ CodecError::Version { .. }) => {
            notes.push(format!("{version}; replaying the log instead"));
            Ok((State::new(), Head::default()))
        }
        Err(source) => Err(CellFailure::Replay { seq: Seq::ZERO, source }),
    }
}

/// The state to start from: the snapshot's if what is derived reaches as far; else the first state, from which a log
/// that was never trimmed makes it anew.
fn with_derived(
    log: &impl Log,
    derived: &Derived,
    state: State,
    snapshot: Head,
    notes: &mut Vec<String>,
) -> Result<(State, Head), CellFailure> {
    match derived.reach(&state) {
        Ok(()) => Ok((state, snapshot)),
        Err(error) if log.first() == Seq(1) => {
            notes.push(format!("{error}: making it anew from the whole log"));
            Ok((State::new(), Head::default()))
        }
        Err(error) => Err(error),
    }
}

/// Why no further entry is applied.
enum Stop {
    /// What they lead to is not wanted any more.
    Unwanted,
    Failed(CellFailure),
}

/// An entry whose requests were read.
pub(crate) struct Decoded {
    head: Head,
    /// The hash of the entry before.
    prev: Hash,
    requests: Vec<Request>,
}

impl Decoded {
    /// Reads the requests of an entry.
    pub(crate) fn new(entry: Entry) -> Result<Decoded, CellFailure> {
        let requests = decode_requests(&entry.payload)
            .map_err(|source| CellFailure::Replay { seq: entry.seq, source })?;
        Ok(Decoded { head: entry.head(), prev: entry.prev, requests })
    }
}

/// Applies the entry after `head` from the log, and moves there; what else it led to.
pub(crate) fn replay(state: &mut State, head: Head, entry: &Decoded) -> Result<(Head, Effects), CellFailure> {
    if entry.head.seq != head.seq.next() || entry.prev != head.hash {
        return Err(CellFailure::ForeignSnapshot { seq: head.seq });
    }
    Ok((entry.head, state.apply(entry.head.time, &entry.requests).effects))
}

#[cfg(test)]
mod tests {
    use pumasi_core::{Command, Request, Role, Roles, STATE_VERSION, encode_request};
    use pumasi_log::{FileLog, FileLogOptions};
    use pumasi_types::{CellId, Hash, Time};

    use super::*;

    fn open(dir: &std::path::Path) -> Restored<FileLog> {
        let log = FileLog::open(&dir.join("log"), FileLogOptions::new(CellId(0))).unwrap().log;
        let snapshots = SnapshotStore::open(&dir.join("snapshots")).unwrap();
        restore(log, snapshots, Derived::open(dir).unwrap()).unwrap()
    }

    #[test]
    fn a_snapshot_of_another_version_is_passed_over_and_the_log_makes_the_same_state() {
        let dir = tempfile::tempdir().unwrap();
        let mut cell = open(dir.path());
        let mut state = State::new();
        for (at, name) in [(1, "alice"), (2, "bob")] {
            let roles = Roles::from_iter([Role::Owner]);
            let command =
                Command::OpenAccount { name: name.to_owned(), roles, token: Hash::of(name.as_bytes()) };
            let request = Request { caller: State::SYSTEM, id: None, command };
            let mut payload = Vec::new();
            encode_request(&mut payload, &request);
            let seq = cell.log.submit(Time(at), &payload).unwrap();
            cell.log.wait(seq).unwrap();
            state.apply(Time(at), &[request]);
        }
        for version in [STATE_VERSION - 1, STATE_VERSION + 1] {
            let write = |out: &mut dyn std::io::Write| out.write_all(b"in another layout");
            cell.snapshots.write(cell.log.head(), version, write).unwrap();
            drop(cell);
            cell = open(dir.path());
            assert!(cell.state == state);
            assert_eq!((cell.replayed, cell.snapshot), (2, Head::default()));
            let said = cell.notes.join("\n");
            assert!(said.contains(&format!("snapshot has version {version}")), "{said}");
            assert!(said.contains("replaying the log instead"), "{said}");
        }
    }

    #[test]
    fn a_snapshot_of_another_version_is_named_when_the_log_was_trimmed() {
        let dir = tempfile::tempdir().unwrap();
        let options = FileLogOptions { segment_bytes: 8 << 10, ..FileLogOptions::new(CellId(0)) };
        let mut log = FileLog::open(&dir.path().join("log"), options).unwrap().log;
        let mut payload = Vec::new();
        let tick = Request { caller: State::SYSTEM, id: None, command: Command::Tick };
        (0..300).for_each(|_| encode_request(&mut payload, &tick));
        for at in 1..=40 {
            let seq = log.submit(Time(at), &payload).unwrap();
            log.wait(seq).unwrap();
        }
        log.trim(Seq(30)).unwrap();
        assert!(log.first() > Seq(1), "something is gone");
        let snapshots = SnapshotStore::open(&dir.path().join("snapshots")).unwrap();
        let write = |out: &mut dyn std::io::Write| out.write_all(b"in another layout");
        snapshots.write(log.head(), STATE_VERSION - 1, write).unwrap();
        let error = restore(log, snapshots, Derived::open(dir.path()).unwrap()).err().unwrap();
        assert!(matches!(error, CellFailure::OtherVersion { .. }), "{error}");
        let said = error.to_string();
        assert!(said.contains(&format!("snapshot has version {}", STATE_VERSION - 1)), "{said}");
    }
}
