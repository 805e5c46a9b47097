//! Accesses of the running minute, those that are alike as one. Nobody can make it large: every visitor has so many lines in
//! a minute, strangers together have a part of them, and what has no line is counted.

use std::collections::HashMap;
use std::net::IpAddr;

use pumasi_api::wire::access::{AccessEntry, AccessWhat};
use pumasi_types::{AccountId, SpaceId};

/// Lines of all accounts in a minute.
const OF_ACCOUNTS: usize = 3_072;
/// Lines of one account.
const OF_ACCOUNT: usize = 1_024;
/// Lines of all strangers.
const OF_STRANGERS: usize = 1_024;
/// Lines of one stranger.
const OF_STRANGER: usize = 64;
/// Visitors and spaces for which is counted one by one what had no line.
const COUNTED: usize = 1_024;

/// Who comes again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Visitor {
    Account(AccountId),
    /// Somebody without a name, by his neighbourhood.
    Stranger(IpAddr),
}

/// When something was seen, and how often.
#[derive(Clone, Copy)]
struct Seen {
    first_ms: u64,
    last_ms: u64,
    times: u64,
}

impl Seen {
    /// Counts it among those at this key.
    fn count<K: std::hash::Hash + Eq>(all: &mut HashMap<K, Seen>, key: K, now_ms: u64) {
        let seen = all.entry(key).or_insert(Seen { first_ms: now_ms, last_ms: now_ms, times: 0 });
        (seen.last_ms, seen.times) = (now_ms, seen.times.saturating_add(1));
    }

    fn line(self, of: AccessEntry) -> AccessEntry {
        AccessEntry { at_ms: self.first_ms, until_ms: self.last_ms, times: self.times, ..of }
    }
}

/// What was seen and is not written yet.
#[derive(Default)]
pub(super) struct Table {
    /// What is alike, its times left out.
    rows: HashMap<AccessEntry, Seen>,
    /// Lines that visitors had in this minute.
    had: HashMap<Visitor, usize>,
    had_accounts: usize,
    had_strangers: usize,
    /// What had no line; the last of all kinds without a visitor.
    more: HashMap<(Option<Visitor>, Option<SpaceId>), Seen>,
}

impl Table {
    /// Takes in an access, whose times do not matter.
    pub(super) fn add(&mut self, access: AccessEntry, visitor: Visitor, now_ms: u64) {
        let access = AccessEntry { at_ms: 0, until_ms: 0, times: 0, ..access };
        if self.rows.contains_key(&access) || self.takes(visitor) {
            return Seen::count(&mut self.rows, access, now_ms);
        }
        let mut key = (Some(visitor), access.space_id);
        if self.more.len() >= COUNTED && !self.more.contains_key(&key) {
            key = (None, None);
        }
        Seen::count(&mut self.more, key, now_ms);
    }

    /// Whether this visitor has another line.
    fn takes(&mut self, visitor: Visitor) -> bool {
        let (each, all, most) = match visitor {
            Visitor::Account(_) => (OF_ACCOUNT, &mut self.had_accounts, OF_ACCOUNTS),
            Visitor::Stranger(_) => (OF_STRANGER, &mut self.had_strangers, OF_STRANGERS),
        };
        let own = self.had.get(&visitor).copied().unwrap_or(0);
        let takes = own < each && *all < most;
        if takes {
            *all += 1;
            self.had.insert(visitor, own + 1);
        }
        takes
    }

    /// Gives out what is there, the last behind. Who had lines in this minute has not more for it.
    pub(super) fn flush(&mut self) -> Vec<AccessEntry> {
        let mut lines: Vec<_> = self.rows.drain().map(|(access, seen)| seen.line(access)).collect();
        lines.sort_unstable_by_key(|line| (line.until_ms, line.at_ms));
        lines
    }

    /// The minute is over: gives out everything, and begins a new one.
    pub(super) fn turn(&mut self) -> Vec<AccessEntry> {
        let mut lines = self.flush();
        let more = std::mem::take(&mut self.more);
        lines.extend(more.into_iter().map(|((visitor, space), seen)| seen.line(more_of(visitor, space))));
        *self = Table::default();
        lines
    }
}

/// A line for what had none.
fn more_of(visitor: Option<Visitor>, space_id: Option<SpaceId>) -> AccessEntry {
    let (account, address) = match visitor {
        Some(Visitor::Account(account)) => (Some(account), None),
        Some(Visitor::Stranger(address)) => (None, Some(address.to_string())),
        None => (None, None),
    };
    AccessEntry { account, address, space_id, ..super::blank(AccessWhat::More) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn to(path: usize) -> AccessEntry {
        AccessEntry {
            path: Some(path.to_string()),
            space_id: Some(SpaceId(7)),
            ..super::super::blank(AccessWhat::Read)
        }
    }

    fn stranger(number: u32) -> Visitor {
        Visitor::Stranger(Ipv4Addr::from_bits(number).into())
    }

    const ANN: Visitor = Visitor::Account(AccountId(1));

    #[test]
    fn what_is_alike_is_one_line_with_a_count() {
        let mut table = Table::default();
        for now_ms in [5, 6, 9] {
            table.add(to(1), ANN, now_ms);
        }
        table.add(to(2), ANN, 7);
        let told: Vec<_> = table.turn().iter().map(|line| (line.at_ms, line.until_ms, line.times)).collect();
        assert_eq!(told, [(7, 7, 1), (5, 9, 3)]);
        assert!(table.turn().is_empty());
    }

    #[test]
    fn a_flood_has_a_bound_and_leaves_room_for_others() {
        let mut table = Table::default();
        for path in 0..5_000 {
            table.add(to(path), stranger(1), 1);
        }
        assert_eq!(table.flush().len(), OF_STRANGER);
        // Whoever has it written does not get more lines by that; what is alike needs one only, whoever comes.
        for number in 0..5_000 {
            table.add(to(0), stranger(number), 2);
            table.add(to(1), stranger(number), 2);
        }
        table.add(to(1), ANN, 3);
        let lines = table.turn();
        let more = |line: &&AccessEntry| line.what == AccessWhat::More;
        let own = lines.iter().filter(more).find(|line| line.address.as_deref() == Some("0.0.0.1"));
        let own = own.expect("a line for the rest of the flood");
        assert!(own.times >= 5_000 - OF_STRANGER as u64 && own.space_id == Some(SpaceId(7)), "{own:?}");
        assert!(lines.len() <= 2 * COUNTED, "{}", lines.len());
        let sum: u64 = lines.iter().map(|line| line.times).sum();
        assert_eq!(sum, 5_000 - OF_STRANGER as u64 + 10_000 + 1, "each is told once");
        table.add(to(1), stranger(1), 4);
        assert_eq!(table.turn().len(), 1, "the next minute is a new one");
    }

    #[test]
    fn strangers_leave_accounts_their_lines() {
        let mut table = Table::default();
        for number in 0..100_u32 {
            for path in 0..100 {
                let one = AccessEntry { address: Some(number.to_string()), ..to(path) };
                table.add(one, stranger(number), 1);
            }
        }
        for path in 0..2 * OF_ACCOUNT {
            table.add(to(path), ANN, 1);
        }
        let lines = table.flush();
        assert_eq!(lines.len(), OF_STRANGERS + OF_ACCOUNT);
        assert!(table.more.len() <= COUNTED + 1);
    }
}
