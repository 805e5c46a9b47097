//! Feeds as readers go through them: oldest events first from a cursor on, and a wait for what comes next.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pumasi_api::wire::market::FeedEvent;
use pumasi_cell::{Derived, Journal, JournalError};
use pumasi_core::{Event, FeedView, Party, Role, State};
use pumasi_types::{AccountId, EventId};
use tokio::sync::{Notify, oneshot};

use crate::auth::Caller;
use crate::cell::{Cell, CellError};
use crate::http::order_state;
use crate::notices;

/// Stretches of a feed that are read at once, of [`FeedView::MARK`] events at most each.
const STRETCHES: usize = 8;
/// Readers that wait at once.
const WAITING: usize = 4_096;
/// Of one account.
const WAITING_EACH: usize = 32;
/// Between two looks for all who wait: orders come faster than readers want to be woken.
const PAUSE: Duration = Duration::from_millis(20);

/// Whose feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Whose {
    pub(crate) party: Party,
    pub(crate) account: AccountId,
}

impl Whose {
    fn feed(self, state: &State) -> FeedView<'_> {
        state.market().feed(self.party, self.account)
    }
}

/// Why somebody must not see what others are told.
pub(crate) const NOT_YOURS: &str =
    "only operators see what others are told, and storefronts what customers are";

/// Whether a caller may read a feed: everybody their own, operators all, storefronts those of customers.
pub(crate) fn may_read(caller: &Caller, whose: Whose) -> bool {
    let serves = whose.party == Party::Customer && caller.roles.contains(Role::Storefront);
    whose.account == caller.account || caller.is_operator() || serves
}

/// Why a feed is not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FeedError {
    #[error(transparent)]
    Cell(#[from] CellError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("a reader of a feed failed: {0}")]
    Task(#[from] tokio::task::JoinError),
    #[error("too many readers wait for events: ask without `wait_s`, or try again later")]
    TooManyWait,
}

/// Some events of a feed.
pub(crate) struct Page {
    /// Oldest first.
    pub(crate) events: Vec<Event>,
    /// The newest of the feed.
    pub(crate) last: EventId,
}

/// Reads `limit` events of a feed after a cursor, or as many as there are. Only what is durable.
pub(crate) async fn read(
    cell: &Cell,
    derived: &Derived,
    whose: Whose,
    after: EventId,
    limit: usize,
) -> Result<Page, FeedError> {
    let look = move |state: &State| {
        let feed = whose.feed(state);
        (feed.ends_after(after, STRETCHES), feed.last())
    };
    let (ends, last) = cell.read(look).await?;
    if ends.is_empty() {
        return Ok(Page { events: Vec::new(), last });
    }
    let journal = derived.events.clone();
    let walk = move || forwards(&journal, whose.party, &ends, after, limit);
    let events = tokio::task::spawn_blocking(walk).await??;
    Ok(Page { events, last })
}

/// Goes back from each end to the one before, and tells the events in the order in which they came.
fn forwards(
    journal: &Journal<Event>,
    party: Party,
    ends: &[EventId],
    after: EventId,
    limit: usize,
) -> Result<Vec<Event>, JournalError> {
    let (mut reader, mut events, mut begin) = (journal.reader(), Vec::new(), after);
    for end in ends {
        let (first, mut at) = (events.len(), *end);
        while at > begin {
            let event = reader.read(at)?;
            events.push(event);
            at = event.before_of(party);
        }
        events[first..].reverse();
        begin = *end;
        if events.len() >= limit {
            break;
        }
    }
    events.truncate(limit);
    Ok(events)
}

/// Goes back from the newest event of a feed before a cursor, over `most` of them at most, until `limit` were taken;
/// where to go on, if there is more.
pub(crate) async fn backwards(
    cell: &Cell,
    derived: &Derived,
    whose: Whose,
    before: Option<EventId>,
    (limit, most): (usize, usize),
    take: fn(&Event) -> bool,
) -> Result<(Vec<Event>, Option<EventId>), FeedError> {
    let look = move |state: &State| match before {
        None => whose.feed(state).last(),
        // The first end behind it is a place from which it is found again.
        Some(before) => whose
            .feed(state)
            .ends_after(EventId(before.0.saturating_sub(1)), 1)
            .pop()
            .unwrap_or_else(|| whose.feed(state).last()),
    };
    let mut at = cell.read(look).await?;
    let mut reader = derived.events.reader();
    let walk = move || {
        let (mut events, mut walked) = (Vec::new(), 0);
        while at.0 > 0 && events.len() < limit && walked < most {
            let event = reader.read(at)?;
            at = event.before_of(whose.party);
            if before.is_none_or(|before| event.id < before) {
                walked += 1;
                events.extend(Some(event).filter(take));
            }
        }
        // The cursor names what was read last: the next page begins with the one before it.
        Ok::<_, JournalError>((events, Some(EventId(at.0 + 1)).filter(|_| at.0 > 0)))
    };
    Ok(tokio::task::spawn_blocking(walk).await??)
}

/// An event as programs of this party are told of it. What was paid is not the carrier's business.
pub(crate) fn wire(event: &Event, party: Party) -> FeedEvent {
    let is_parcel = event.parcel.0 > 0;
    FeedEvent {
        id: event.id,
        kind: format!("order.{}", event.kind),
        time_ms: event.time.0 / 1_000_000,
        order: event.order,
        state: order_state(event.state).to_owned(),
        customer: event.customer,
        merchant: event.merchant,
        parcel: Some(event.parcel).filter(|_| is_parcel),
        carrier: Some(event.carrier).filter(|_| is_parcel),
        scan: event.scan.map(|scan| scan.code().to_owned()),
        status: event.scan.map(|scan| scan.status().word().to_owned()),
        amount: (party != Party::Carrier).then(|| event.currency.format_amount(event.amount)),
        currency: event.currency.code().to_owned(),
        notice: (party == Party::Customer).then(|| notices::notice(event)),
    }
}

/// Somebody who waits for an event after the one that they have.
struct Waiter {
    whose: Whose,
    after: EventId,
    /// Who asked.
    caller: AccountId,
    wake: oneshot::Sender<()>,
}

/// All who wait.
#[derive(Default)]
pub(crate) struct Waiters {
    list: Mutex<Vec<Waiter>>,
    /// Somebody began to wait.
    come: Notify,
}

impl Waiters {
    fn list(&self) -> std::sync::MutexGuard<'_, Vec<Waiter>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Resolves when a feed may have an event after this one.
    ///
    /// # Errors
    /// When too many wait already.
    pub(crate) fn wait(
        &self,
        caller: AccountId,
        whose: Whose,
        after: EventId,
    ) -> Result<oneshot::Receiver<()>, FeedError> {
        let mut list = self.list();
        // Those who went away.
        list.retain(|waiter| !waiter.wake.is_closed());
        let own = list.iter().filter(|waiter| waiter.caller == caller).count();
        if list.len() >= WAITING || own >= WAITING_EACH {
            return Err(FeedError::TooManyWait);
        }
        let (wake, woken) = oneshot::channel();
        list.push(Waiter { whose, after, caller, wake });
        drop(list);
        self.come.notify_one();
        Ok(woken)
    }

    /// Wakes those for whom something came; for as long as the cell runs.
    pub(crate) async fn serve(self: Arc<Self>, cell: Cell) {
        let mut settled = cell.events();
        loop {
            let asked: Vec<(Whose, EventId)> =
                self.list().iter().map(|waiter| (waiter.whose, waiter.after)).collect();
            if !asked.is_empty() && self.wake(&cell, asked).await.is_err() {
                return;
            }
            tokio::time::sleep(PAUSE).await;
            // Whoever comes now is looked for once, because something may have come before them.
            let changed = tokio::select! {
                changed = settled.changed() => changed,
                () = self.come.notified() => Ok(()),
            };
            if changed.is_err() {
                return;
            }
        }
    }

    /// One look at the feeds of all who wait.
    async fn wake(&self, cell: &Cell, asked: Vec<(Whose, EventId)>) -> Result<(), CellError> {
        let look = move |state: &State| {
            let has_more = |(whose, after): &(Whose, EventId)| whose.feed(state).last() > *after;
            asked.into_iter().filter(has_more).collect::<HashSet<_>>()
        };
        let ready = cell.read(look).await?;
        let mut list = self.list();
        let is_ready = |waiter: &mut Waiter| ready.contains(&(waiter.whose, waiter.after));
        for waiter in list.extract_if(.., is_ready) {
            // Who went away needs nothing more.
            let _ = waiter.wake.send(());
        }
        Ok(())
    }
}
