//! What must hold of events: each step of an order made one, and all whom it concerns come by it.

use std::collections::BTreeMap;

use pumasi_cell::Journal;
use pumasi_core::{Event, EventKind, OrderState, Party, State};
use pumasi_types::{AccountId, EventId, OrderId};

use crate::oracle::{Holds, require};

const PARTIES: [Party; 3] = [Party::Customer, Party::Merchant, Party::Carrier];

/// Whether an order does this when nobody else does.
fn by_itself(kind: EventKind) -> bool {
    matches!(kind, EventKind::Expired | EventKind::Delivered | EventKind::Completed)
}

/// All that parties were told.
#[derive(Clone, Default)]
pub(crate) struct News {
    events: Vec<Event>,
    /// How many of them were compared with the journal.
    journaled: usize,
    /// The newest event of each feed, and how many it has.
    feeds: BTreeMap<(Party, AccountId), (EventId, u64)>,
    /// Where each order stands, by what its parties were told.
    stands: BTreeMap<OrderId, OrderState>,
}

impl News {
    /// All there were.
    pub(crate) fn all(&self) -> &[Event] {
        &self.events
    }

    /// How many there were.
    pub(crate) fn count(&self) -> u64 {
        self.events.len() as u64
    }

    /// Follows the events of an entry in which these orders were placed or taken a step further.
    pub(crate) fn follow(&mut self, mut expected: Vec<OrderId>, events: &[Event]) -> Holds {
        for event in events {
            let next = EventId(self.count() + 1);
            require(event.id == next, || format!("event {} is number {next}", event.id))?;
            let is_new = !self.stands.contains_key(&event.order);
            require(is_new == (event.kind == EventKind::Placed), || format!("{event:?} at the wrong time"))?;
            match expected.iter().position(|order| *order == event.order) {
                Some(at) => drop(expected.remove(at)),
                // What an order does by itself.
                None => require(by_itself(event.kind), || format!("nobody took the step of {event:?}"))?,
            }
            for party in PARTIES.into_iter().filter(|party| event.account_of(*party) != AccountId(0)) {
                let feed = self.feeds.entry((party, event.account_of(party))).or_default();
                require(event.before_of(party) == feed.0, || {
                    format!("the {party:?} of {event:?} was told {} before", feed.0)
                })?;
                *feed = (event.id, feed.1 + 1);
            }
            self.stands.insert(event.order, event.state);
            self.events.push(*event);
        }
        require(expected.is_empty(), || format!("orders {expected:?} took steps that nobody was told"))
    }

    /// Feeds end where they should, and orders stand where their parties were told.
    pub(crate) fn check(&self, state: &State) -> Holds {
        for ((party, account), (last, count)) in &self.feeds {
            let feed = state.market().feed(*party, *account);
            require((feed.last(), feed.count()) == (*last, *count), || {
                format!("the feed of {party:?} {account} ends at {}, its last event is {last}", feed.last())
            })?;
        }
        for (order, stands) in &self.stands {
            let found = state.market().view(*order).map(|view| view.order.state);
            require(found.is_none_or(|found| found == *stands), || {
                format!("order {order} stands at {found:?}, its parties were told {stands:?}")
            })?;
        }
        Ok(())
    }

    /// The journal holds every event; those that were compared before, again when `anew`.
    pub(crate) fn check_journal(&mut self, journal: &Journal<Event>, anew: bool) -> Holds {
        let from = if anew { 0 } else { self.journaled };
        for event in &self.events[from..] {
            let read = journal.read(event.id);
            require(read.as_ref().ok() == Some(event), || {
                format!("event {} in the journal: {read:?}, it was {event:?}", event.id)
            })?;
        }
        self.journaled = self.events.len();
        Ok(())
    }
}
