//! What must hold of events: one for each step, numbered, and found again by everybody whom they concern.

use std::collections::BTreeMap;

use pumasi_core::{Answer, Command, Done, Event, EventKind, OrderState, Party, State};
use pumasi_types::{AccountId, EventId, OrderId};

const PARTIES: [Party; 3] = [Party::Customer, Party::Merchant, Party::Carrier];

/// The events of one command are those of the orders that it placed, or of the step that it took; what was due before
/// made events of its own.
pub(crate) fn of_command(command: &Command, answer: &Answer, events: &[Event], state: &State) {
    let is_due = |event: &Event| {
        use EventKind::{Cancelled, Completed, Delivered, Expired};
        matches!(event.kind, Expired | Delivered | Completed | Cancelled)
    };
    match (command, answer) {
        // Some may have been placed before.
        (Command::PlaceOrders(_), Ok(Done::Orders(answers))) => {
            let new = events.iter().filter(|event| !is_due(event));
            assert!(new.clone().is_sorted_by(|a, b| a.order < b.order), "each order is placed once");
            for event in new {
                assert_eq!(event.kind, EventKind::Placed);
                assert!(answers.iter().any(|answer| answer.placed() == Some(event.order)));
            }
        }
        (Command::StepOrder { order, .. }, Ok(_)) => {
            let event = events.last().expect("a step makes an event");
            assert_eq!(event.order, *order);
            assert!(events[..events.len() - 1].iter().all(is_due), "a step makes one event");
            if let Some(view) = state.market().view(*order) {
                assert_eq!(event.state, view.order.state);
                assert!(event.amount.0 >= 0 && event.amount <= view.order.total);
            }
        }
        _ => assert!(events.iter().all(is_due), "{command:?} made {events:?}"),
    }
}

/// All events that there were, at the end.
pub(crate) fn altogether(events: &[Event], state: &State) {
    let market = state.market();
    assert_eq!(market.last_event(), EventId(events.len() as u64));
    let mut feeds: BTreeMap<(Party, AccountId), Vec<EventId>> = BTreeMap::new();
    let mut stands: BTreeMap<OrderId, OrderState> = BTreeMap::new();
    for (event, number) in events.iter().zip(1..) {
        assert_eq!(event.id, EventId(number), "ids have no gaps");
        assert_eq!(Event::from_record(&event.to_record()), Some(*event));
        for party in PARTIES.into_iter().filter(|party| event.account_of(*party) != AccountId(0)) {
            feeds.entry((party, event.account_of(party))).or_default().push(event.id);
        }
        stands.insert(event.order, event.state);
    }
    for ((party, account), ids) in feeds {
        let feed = market.feed(party, account);
        assert_eq!((feed.last(), feed.count()), (*ids.last().expect("one at least"), ids.len() as u64));
        let mut at = feed.last();
        for id in ids.iter().rev() {
            assert_eq!(at, *id, "the chain of {party:?} {account}");
            at = events[id.0 as usize - 1].before_of(party);
        }
        assert_eq!(at, EventId(0), "the chain of {party:?} {account} has an end");
    }
    for (order, stands) in stands {
        if let Some(view) = market.view(order) {
            assert_eq!(view.order.state, stands, "order {order} stands where its last event says");
        }
    }
}
