//! Good logs pass; every way to rewrite history is told, with the first entry and transfer that differ.

use std::fs::File;

use bytes::Bytes;
use pumasi_core::{Command, Role, Roles, encode_request};
use pumasi_log::Epoch;
use pumasi_log::format::{WIRE_HEADER, WireHeader, encode_wire};
use pumasi_proof::{Frontier, SignerKey, Use};
use pumasi_types::{AccountId, Amount, CellId, Currency, Time};

use super::*;

/// A hub in small: a log in memory and the checkpoints that it signs.
struct Hub {
    key: SignerKey,
    entries: Vec<Entry>,
    state: State,
    tree: Frontier,
}

impl Hub {
    fn new() -> Hub {
        let key = SignerKey::from_seed("hub.example", Use::Note, [3; 32]).unwrap();
        let mut hub = Hub { key, entries: Vec::new(), state: State::new(), tree: Frontier::new() };
        let token = Hash::of(b"token");
        let roles = Roles::from_iter([Role::Researcher]);
        let open = |name: &str, token| Command::OpenAccount { name: name.to_owned(), roles, token };
        hub.enter(&[open("alice", token), open("bob", Hash::of(b"other"))]);
        hub
    }

    fn enter(&mut self, commands: &[Command]) {
        let requests: Vec<Request> = commands
            .iter()
            .map(|command| Request { caller: State::SYSTEM, id: None, command: command.clone() })
            .collect();
        let mut payload = Vec::new();
        requests.iter().for_each(|request| encode_request(&mut payload, request));
        let prev = self.entries.last().map_or(Hash::ZERO, |entry| entry.hash);
        let seq = Seq(self.entries.len() as u64 + 1);
        let time = Time(seq.0 * 1_000);
        let blank =
            Entry { seq, epoch: Epoch(1), time, prev, hash: Hash::ZERO, payload: Bytes::from(payload) };
        self.entries.push(sealed(&blank));
        for transfer in self.state.apply(time, &requests).effects.transfers {
            self.tree.push(TreeHash::of_leaf(&transfer.to_record()), |_, _| ());
        }
    }

    fn issue(&mut self, to: u64, amounts: &[i64]) {
        let issue = |amount: &i64| Command::Issue {
            to: AccountId(to),
            currency: Currency::CREDIT,
            amount: Amount(*amount),
        };
        self.enter(&amounts.iter().map(issue).collect::<Vec<_>>());
    }

    fn checkpoint(&self) -> Note {
        let last = self.entries.last().unwrap();
        let checkpoint = Checkpoint {
            origin: "hub.example".to_owned(),
            size: self.tree.size(),
            root: self.tree.root(),
            extensions: vec![format!("pumasi-log {} {}", last.seq, last.hash)],
        };
        let mut note = Note::new(checkpoint.to_string()).unwrap();
        note.add(self.key.sign(note.text(), 0));
        note
    }

    fn auditor(&self, dir: &Path) -> Auditor {
        Auditor::open(dir, Policy::of_logs(vec![self.key.verifier().clone()])).unwrap()
    }

    fn follow(&self, auditor: &mut Auditor) -> Result<(), AuditError> {
        auditor.take_checkpoint(&self.checkpoint())?;
        let from = auditor.head().seq.0 as usize;
        let mut entries = self.entries[from.min(self.entries.len())..].iter();
        entries.try_for_each(|entry| auditor.apply(&[Decoded::new(entry.clone())?]))
    }

    fn located(&self, auditor: &Auditor) -> Finding {
        let mut comparison = auditor.locate();
        for entry in &self.entries {
            if let Some(finding) = comparison.take(&Decoded::new(entry.clone()).unwrap()).unwrap() {
                return finding;
            }
        }
        comparison.end().unwrap().expect("something differs")
    }
}

/// The entry with the hash that its content has.
fn sealed(entry: &Entry) -> Entry {
    let mut wire = Vec::new();
    encode_wire(CellId(0), entry, &mut wire);
    let (header, payload) = wire.split_first_chunk::<WIRE_HEADER>().unwrap();
    WireHeader::decode(header).unwrap().with(payload.to_vec().into()).unwrap()
}

fn finding(result: Result<(), AuditError>) -> Finding {
    match result {
        Err(AuditError::Found(finding)) => *finding,
        other => panic!("{other:?}"),
    }
}

/// A hub with 3 entries and 5 transfers, audited and saved; then what `rewrite` makes of its past.
fn rewritten(dir: &Path, rewrite: impl FnOnce(&mut Hub)) -> (Hub, Auditor) {
    let mut hub = Hub::new();
    hub.issue(1, &[10, 20]);
    hub.issue(2, &[30, 40, 50]);
    let mut auditor = hub.auditor(dir);
    hub.follow(&mut auditor).unwrap();
    auditor.save().unwrap();
    drop(auditor);
    let mut other = Hub::new();
    rewrite(&mut other);
    let auditor = other.auditor(dir);
    (other, auditor)
}

#[test]
fn an_honest_hub_is_followed_across_restarts_of_the_auditor() {
    let dir = tempfile::tempdir().unwrap();
    let mut hub = Hub::new();
    for round in 0..20 {
        let mut auditor = hub.auditor(dir.path());
        hub.issue(1 + round % 2, &[round as i64 + 1, 5, 7]);
        hub.follow(&mut auditor).unwrap();
        assert_eq!(auditor.transfers(), hub.tree.size());
        assert_eq!(auditor.state(), &hub.state);
        assert_eq!(auditor.checkpoints() as u64, round + 1);
        // Without a saved position the next audit begins where the last saved one stopped.
        if round % 3 == 0 {
            auditor.save().unwrap();
        }
    }
}

#[test]
fn a_rewritten_and_re_signed_history_is_located() {
    let dir = tempfile::tempdir().unwrap();
    let (hub, mut auditor) = rewritten(dir.path(), |hub| {
        hub.issue(1, &[10, 20]);
        hub.issue(2, &[30, 41, 50]);
        hub.issue(2, &[60]);
    });
    // The newer, larger checkpoint alone contradicts nothing; the log behind it does not continue.
    assert!(matches!(finding(hub.follow(&mut auditor)), Finding::NotContinued { seq: Seq(3), .. }));
    let Finding::Rewritten { entry, transfer, before, now } = hub.located(&auditor) else { panic!() };
    assert_eq!((entry, transfer), (Seq(3), Some(TransferId(4))));
    assert_eq!((before.unwrap().amount, now.unwrap().amount), (Amount(40), Amount(41)));
}

#[test]
fn a_rewrite_without_another_transfer_is_located_too() {
    let dir = tempfile::tempdir().unwrap();
    let (hub, auditor) = rewritten(dir.path(), |hub| {
        hub.enter(&[Command::Tick]);
        hub.issue(1, &[10, 20]);
        hub.issue(2, &[30, 40, 50]);
    });
    // The times of the transfers differ, because an entry more stands before them.
    let Finding::Rewritten { entry, transfer, .. } = hub.located(&auditor) else { panic!() };
    assert_eq!((entry, transfer), (Seq(2), Some(TransferId(1))));
}

#[test]
fn a_history_that_was_cut_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (hub, mut auditor) = rewritten(dir.path(), |hub| hub.issue(1, &[10, 20]));
    assert!(matches!(finding(hub.follow(&mut auditor)), Finding::Shrunk { size: 2, kept: 5 }));
    let Finding::Rewritten { entry, transfer, now, .. } = hub.located(&auditor) else { panic!() };
    assert_eq!((entry, transfer, now), (Seq(3), Some(TransferId(3)), None));
}

#[test]
fn two_checkpoints_of_one_size_are_a_fork() {
    let dir = tempfile::tempdir().unwrap();
    let (hub, mut auditor) = rewritten(dir.path(), |hub| hub.issue(1, &[10, 20, 30, 40, 51]));
    assert!(matches!(finding(hub.follow(&mut auditor)), Finding::Forked { size: 5, .. }));
    // Both are kept, and no later audit forgets it.
    assert_eq!(std::fs::read_dir(dir.path().join("checkpoints")).unwrap().count(), 2);
    drop(auditor);
    let policy = Policy::of_logs(vec![hub.key.verifier().clone()]);
    assert!(matches!(Auditor::open(dir.path(), policy), Err(AuditError::Found(_))));
}

#[test]
fn a_tree_that_the_log_does_not_make_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut hub = Hub::new();
    hub.issue(1, &[10, 20]);
    hub.tree.push(TreeHash::of_leaf(b"paid to nobody"), |_, _| ());
    hub.issue(1, &[30]);
    let mut auditor = hub.auditor(dir.path());
    hub.follow(&mut auditor).unwrap();
    assert_eq!(auditor.transfers(), 3, "the log has a transfer fewer than the hub signed");
    hub.issue(1, &[40]);
    assert!(matches!(finding(hub.follow(&mut auditor)), Finding::OtherTree { size: 4, .. }));
}

#[test]
fn a_damaged_entry_breaks_the_chain() {
    let dir = tempfile::tempdir().unwrap();
    let mut hub = Hub::new();
    hub.issue(1, &[10, 20]);
    hub.issue(1, &[30]);
    let mut changed = hub.entries[1].clone();
    let last = changed.payload.len() - 1;
    let mut payload = changed.payload.to_vec();
    payload[last] ^= 1;
    changed.payload = payload.into();
    hub.entries[1] = sealed(&changed);
    let mut auditor = hub.auditor(dir.path());
    assert!(matches!(finding(hub.follow(&mut auditor)), Finding::NotContinued { seq: Seq(2), .. }));
}

#[test]
fn a_last_entry_that_was_changed_contradicts_the_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let mut hub = Hub::new();
    hub.issue(1, &[10, 20]);
    let note = hub.checkpoint();
    hub.entries.pop();
    hub.enter(&[Command::Tick]);
    let mut auditor = hub.auditor(dir.path());
    auditor.take_checkpoint(&note).unwrap();
    let entries = &hub.entries;
    auditor.apply(&[Decoded::new(entries[0].clone()).unwrap()]).unwrap();
    let applied = auditor.apply(&[Decoded::new(entries[1].clone()).unwrap()]);
    assert!(matches!(finding(applied), Finding::OtherEntry { seq: Seq(2), .. }));
}

#[test]
fn entries_are_read_from_any_pieces_of_bytes() {
    let mut hub = Hub::new();
    (1..30).for_each(|amount| hub.issue(1, &[amount, amount + 1]));
    let mut wire = Vec::new();
    hub.entries.iter().for_each(|entry| encode_wire(CellId(0), entry, &mut wire));
    for piece in [1, 7, 103, 104, 105, 4096] {
        let (mut reader, mut read) = (Reader::default(), Vec::new());
        for bytes in wire.chunks(piece) {
            reader.push(&Bytes::copy_from_slice(bytes));
            while let Some(entry) = reader.next_entry().unwrap() {
                read.push(entry);
            }
        }
        reader.finish().unwrap();
        assert_eq!(read, hub.entries);
    }
}

#[test]
fn a_log_that_ends_before_what_was_signed_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut hub = Hub::new();
    hub.issue(1, &[10, 20]);
    let note = hub.checkpoint();
    let mut auditor = hub.auditor(dir.path());
    auditor.take_checkpoint(&note).unwrap();
    auditor.apply(&[Decoded::new(hub.entries[0].clone()).unwrap()]).unwrap();
    let missing = |auditor: &Auditor| finding(auditor.check_complete(Duration::ZERO));
    assert!(matches!(missing(&auditor), Finding::Incomplete { signed: 2, .. }));
    // A hub that shows its log an hour later may hold back what it signed just now, and no longer.
    let hour = Duration::from_secs(3_600);
    auditor.check_complete(hour).unwrap();
    auditor.save().unwrap();
    drop(auditor);
    for file in std::fs::read_dir(dir.path().join("checkpoints")).unwrap() {
        let file = File::options().write(true).open(file.unwrap().path()).unwrap();
        file.set_modified(SystemTime::now() - hour).unwrap();
    }
    let mut auditor = hub.auditor(dir.path());
    assert!(matches!(finding(auditor.check_complete(hour)), Finding::Incomplete { signed: 2, .. }));
    // That it was seen again makes it no younger.
    auditor.take_checkpoint(&note).unwrap();
    assert!(auditor.check_complete(hour).is_err());
    auditor.apply(&[Decoded::new(hub.entries[1].clone()).unwrap()]).unwrap();
    auditor.check_complete(Duration::ZERO).unwrap();
}
