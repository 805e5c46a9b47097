//! Bringing events to webhooks, a round for each that has something to get.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;
use pumasi_cell::{Journal, JournalError};
use pumasi_core::{
    Bounds, Command, Event, EventKinds, Failure, Outcome, Party, State, Webhook, WebhookReport,
};
use pumasi_types::{AccountId, EventId, Time, WebhookId};
use tokio::sync::Semaphore;

use super::post::{Line, Message, NotTaken, Sender};
use super::signature::{Secret, SecretKey};
use super::target::{BadTarget, Target};
use crate::server::Hub;
use crate::{ServeError, ServeOptions, cell};

/// Webhooks that are served at once.
const ROUNDS: usize = 64;
/// Of one account.
const ROUNDS_EACH: usize = 4;
/// A round begins nothing more after this time, so that slow receivers do not keep their places from others.
const ROUND: Duration = Duration::from_secs(10);
/// Connections to one webhook at once.
const LINES: usize = 8;
/// Connections to all webhooks at once.
const CONNECTIONS: usize = 256;
/// Events of one round, after which it is reported what came of them: so many may come twice after a crash.
const REPORTED_AT_ONCE: usize = 64;
/// How often it is looked whether something happened.
const TICK: Duration = Duration::from_millis(50);
/// How long a webhook that takes nothing is left alone at first, and at most.
const REST: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Of letters that do not wait.
const NEVER: Time = Time(u64::MAX);

/// Brings events to webhooks.
pub(crate) struct Courier {
    pub(crate) secrets: SecretKey,
    sender: Sender,
    retries: Vec<Duration>,
    connections: Semaphore,
    desk: Mutex<Desk>,
}

/// Who is served, and who is left alone.
#[derive(Default)]
struct Desk {
    busy: HashMap<WebhookId, Busy>,
    /// Those that took nothing last: they get nothing new for a while, only what is due to be tried again, and not even
    /// that when they asked for a rest.
    resting: HashMap<WebhookId, Rest>,
    /// Those that were changed or taken away since the last look at all of them began, which may not have seen that.
    changed: HashSet<WebhookId>,
    /// When the first letter is due of those that are not served, had nothing due at the last look and did not change
    /// since: their letters need no look before.
    later: HashMap<WebhookId, Time>,
    /// There is something to look at besides new events.
    poked: bool,
    /// Who was served last: the next ones come first.
    served: WebhookId,
}

impl Desk {
    /// What a look found besides rounds.
    fn found(&mut self, gone: &HashSet<WebhookId>, later: HashMap<WebhookId, Time>) {
        self.resting.retain(|id, _| !gone.contains(id));
        self.later = later;
        self.later.retain(|id, _| !self.changed.contains(id));
    }

    /// A round begins, unless what was found is no longer so: what stops it.
    fn admit(&mut self, webhook: WebhookId, owner: AccountId) -> Option<Arc<AtomicBool>> {
        if self.changed.contains(&webhook) {
            return None;
        }
        let stop = Arc::default();
        self.served = webhook;
        self.later.remove(&webhook);
        self.busy.insert(webhook, Busy { owner, stop: Arc::clone(&stop) });
        Some(stop)
    }
}

/// A round that is under way.
struct Busy {
    owner: AccountId,
    /// Somebody changed the webhook or took it away.
    stop: Arc<AtomicBool>,
}

struct Rest {
    /// None when it is over.
    until: Option<Instant>,
    length: Duration,
    /// Whether the receiver asked for it.
    asked: bool,
}

/// What one webhook gets now.
struct Round {
    id: WebhookId,
    owner: AccountId,
    party: Party,
    url: Box<str>,
    kinds: EventKinds,
    secret: u32,
    old_secret_until: Time,
    passed: EventId,
    /// It did not take what came last: one event shows whether it takes something again.
    failing: bool,
    /// What waited, and how often it was tried.
    due: Vec<(EventId, u8)>,
    /// From here back to where it had passed there are events that it has not got.
    end: Option<EventId>,
}

/// An event to be brought.
struct Parcel {
    event: Event,
    /// How often it was tried before; none: it is new.
    tries: Option<u8>,
}

impl Courier {
    /// A courier whose key lies in the data folder.
    pub(crate) fn open(options: &ServeOptions) -> Result<Courier, ServeError> {
        let secrets = SecretKey::open(&options.data)?;
        let sender = Sender::new(&options.webhooks)?;
        let (retries, connections) = (options.webhooks.retries.clone(), Semaphore::new(CONNECTIONS));
        Ok(Courier { secrets, sender, retries, connections, desk: Mutex::default() })
    }

    /// Where a webhook leads, if events may be sent there.
    pub(crate) fn target(&self, url: &str) -> Result<Target, BadTarget> {
        Target::parse(url, self.sender.allowed)
    }

    /// Somebody changed a webhook or took it away: nothing more is sent as it was, and it is not left alone any more.
    pub(crate) fn look_at(&self, webhook: WebhookId) {
        let mut desk = self.desk();
        if let Some(busy) = desk.busy.get(&webhook) {
            busy.stop.store(true, Ordering::Relaxed);
        }
        desk.changed.insert(webhook);
        desk.later.remove(&webhook);
        desk.resting.remove(&webhook);
        desk.poked = true;
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves all webhooks until the hub stops.
    pub(crate) async fn run(hub: Arc<Hub>) {
        let mut interval = tokio::time::interval(TICK);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut seen, mut next) = (EventId(0), Some(Time(0)));
        loop {
            tokio::select! {
                _ = interval.tick() => {}
                () = hub.stopping() => return,
            }
            let newest = hub.cell.settled().last_event;
            let is_new = newest != seen || next.is_some_and(|at| at <= cell::now());
            let Some(open) = hub.courier.begin(is_new) else { continue };
            seen = newest;
            let look = move |state: &State| open.look(state);
            // When the cell has stopped there is nothing to bring any more.
            let Ok(found) = hub.cell.read(look).await else { return };
            next = found.next;
            hub.courier.desk().found(&found.gone, found.later);
            for round in found.rounds {
                let Some(stop) = hub.courier.desk().admit(round.id, round.owner) else { continue };
                tokio::spawn(serve(Arc::clone(&hub), round, stop));
            }
        }
    }

    /// Who can be served now, if all webhooks are to be looked at.
    fn begin(&self, is_new: bool) -> Option<Open> {
        let mut desk = self.desk();
        let Desk { busy, resting, changed, later, poked, served } = &mut *desk;
        changed.clear();
        let now = Instant::now();
        for rest in resting.values_mut().filter(|rest| rest.until.is_some_and(|until| until <= now)) {
            (rest.until, *poked) = (None, true);
        }
        *poked |= is_new;
        let room = ROUNDS.saturating_sub(busy.len());
        if !*poked || room == 0 {
            return None;
        }
        *poked = false;
        let resting = resting.iter().map(|(id, rest)| {
            let rest = match rest.until {
                None => Resting::Over,
                Some(_) if rest.asked => Resting::Asked,
                Some(_) => Resting::FromNews,
            };
            (*id, rest)
        });
        let resting = resting.collect();
        let busy = busy.iter().map(|(id, busy)| (*id, busy.owner)).collect();
        let later = std::mem::take(later);
        Some(Open { now: cell::now(), busy, resting, later, after: *served, room })
    }

    /// A round is over: with a wait when the webhook took nothing.
    fn end(&self, webhook: WebhookId, rest: Option<Duration>) {
        let mut desk = self.desk();
        desk.busy.remove(&webhook);
        desk.poked = true;
        let Some(wanted) = rest else {
            desk.resting.remove(&webhook);
            return;
        };
        let before = desk.resting.get(&webhook).map_or(Duration::ZERO, |rest| rest.length);
        let length = (before * 2).clamp(REST.0, REST.1);
        let until = Some(Instant::now() + length.max(wanted));
        desk.resting.insert(webhook, Rest { until, length, asked: !wanted.is_zero() });
    }
}

/// From what a webhook is left alone.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Resting {
    /// From nothing any more.
    Over,
    /// From what is new.
    FromNews,
    /// From everything.
    Asked,
}

/// Who can be served.
struct Open {
    now: Time,
    /// Who is, and whose each is.
    busy: HashMap<WebhookId, AccountId>,
    resting: HashMap<WebhookId, Resting>,
    /// As [`Desk::later`].
    later: HashMap<WebhookId, Time>,
    /// Those behind this one come first.
    after: WebhookId,
    /// How many at most.
    room: usize,
}

/// What there is to bring.
#[derive(Default)]
struct Found {
    rounds: Vec<Round>,
    /// When something that waits is due.
    next: Option<Time>,
    /// As [`Desk::later`].
    later: HashMap<WebhookId, Time>,
    /// Webhooks that rested and are not there any more.
    gone: HashSet<WebhookId>,
}

impl Open {
    fn look(&self, state: &State) -> Found {
        let is_gone = |id: &WebhookId| state.market().webhook(*id).is_none();
        let gone = self.resting.keys().copied().filter(is_gone).collect();
        let (mut first_due, mut later) = (NEVER, HashMap::new());
        let mut all: Vec<Round> = Vec::new();
        let enabled = state.market().webhooks().filter(|(_, webhook)| webhook.disabled.is_none());
        for (id, webhook) in enabled.filter(|(id, _)| !self.busy.contains_key(id)) {
            let (due, at) = match self.later.get(&id) {
                Some(at) if *at > self.now => (Vec::new(), *at),
                _ => self.letters(webhook),
            };
            if due.is_empty() {
                later.insert(id, at);
            }
            first_due = at.min(first_due);
            all.extend(self.round_of(state, id, webhook, due));
        }
        let first = all.partition_point(|round| round.id <= self.after);
        all.rotate_left(first);
        let (found, mut each) = (all.len(), HashMap::new());
        self.busy.values().for_each(|owner| *each.entry(*owner).or_insert(0) += 1);
        all.retain(|round| {
            let own = each.entry(round.owner).or_insert(0);
            *own += 1;
            *own <= ROUNDS_EACH
        });
        all.truncate(self.room);
        if all.len() < found {
            first_due = self.now;
        }
        Found { rounds: all, next: Some(first_due).filter(|at| *at != NEVER), later, gone }
    }

    /// The letters that are due, some of them at least, with how often each was tried; and when the next one is.
    fn letters(&self, webhook: &Webhook) -> (Vec<(EventId, u8)>, Time) {
        let (mut due, mut next) = (Vec::new(), NEVER);
        for (event, letter) in &webhook.waiting {
            if letter.at > self.now {
                next = letter.at.min(next);
            } else if due.len() < REPORTED_AT_ONCE {
                due.push((*event, letter.tries));
            }
        }
        (due, next)
    }

    /// What a webhook gets, if anything.
    fn round_of(
        &self,
        state: &State,
        id: WebhookId,
        webhook: &Webhook,
        due: Vec<(EventId, u8)>,
    ) -> Option<Round> {
        let Webhook { owner, party, kinds, secret, old_secret_until, passed, ref url, .. } = *webhook;
        let resting = self.resting.get(&id).copied().unwrap_or(Resting::Over);
        if resting == Resting::Asked {
            return None;
        }
        let gets_new = webhook.waiting.len() < Bounds::LETTERS && resting == Resting::Over;
        let end = state.market().feed(party, owner).ends_after(passed, 1).first().copied();
        let end = end.filter(|_| gets_new);
        if due.is_empty() && end.is_none() {
            return None;
        }
        let (url, failing) = (url.clone(), webhook.failing_since.is_some());
        Some(Round { id, owner, party, url, kinds, secret, old_secret_until, passed, failing, due, end })
    }
}

/// Does a round.
async fn serve(hub: Arc<Hub>, round: Round, stop: Arc<AtomicBool>) {
    let id = round.id;
    let rest = match round.bring(&hub, &stop).await {
        // As it is now it was not tried.
        Ok(_) if stop.load(Ordering::Relaxed) => None,
        Ok(rest) => rest,
        Err(error) => {
            tracing::error!("events for webhook {id} cannot be read: {error}");
            Some(REST.1)
        }
    };
    hub.courier.end(id, rest);
}

impl Round {
    /// Brings what waited, or else what is new, not all of it; how long the webhook is to be left alone, if it took
    /// nothing.
    async fn bring(mut self, hub: &Arc<Hub>, stop: &AtomicBool) -> Result<Option<Duration>, JournalError> {
        let journal = hub.derived.events.clone();
        let (round, read) = tokio::task::spawn_blocking(move || {
            let read = self.read(&journal);
            (self, read)
        })
        .await
        .expect("reading does not panic");
        self = round;
        let (parcels, to) = read?;
        Ok(self.bring_all(hub, &parcels, to, stop).await)
    }

    /// What waited, or else what is new, oldest first; and how far the webhook has passed with all that is new of it.
    fn read(&self, journal: &Journal<Event>) -> Result<(Vec<Parcel>, Option<EventId>), JournalError> {
        let mut reader = journal.reader();
        let mut parcels = Vec::new();
        for (event, tries) in &self.due {
            parcels.push(Parcel { event: reader.read(*event)?, tries: Some(*tries) });
        }
        if !parcels.is_empty() {
            return Ok((parcels, None));
        }
        let mut at = self.end.unwrap_or_default();
        while at > self.passed {
            let event = reader.read(at)?;
            at = event.before_of(self.party);
            if self.kinds.contains(event.kind) {
                parcels.push(Parcel { event, tries: None });
            }
        }
        parcels.reverse();
        // One new event shows whether a webhook that failed takes something again.
        let most = if self.failing { 1 } else { REPORTED_AT_ONCE };
        if parcels.len() <= most {
            // Behind the last of its kinds there may be others.
            return Ok((parcels, self.end));
        }
        parcels.truncate(most);
        let to = parcels.last().map(|parcel| parcel.event.id);
        Ok((parcels, to))
    }

    /// Brings some events, and reports what came of them; `to` is how far the webhook has passed when all that is new
    /// among them was tried. How long the webhook is to be left alone, if it took nothing or wants that.
    async fn bring_all(
        &self,
        hub: &Arc<Hub>,
        parcels: &[Parcel],
        to: Option<EventId>,
        stop: &AtomicBool,
    ) -> Option<Duration> {
        let mut came = self.send(hub, parcels, stop).await;
        if stop.load(Ordering::Relaxed) {
            // What was not taken was not tried as the webhook is now.
            came.iter_mut().for_each(|came| *came = came.filter(Result::is_ok));
        }
        let mut report =
            WebhookReport { webhook: self.id, from: self.passed, to: self.passed, outcomes: Vec::new() };
        let mut is_whole = true;
        for (parcel, came) in parcels.iter().zip(&came) {
            is_whole &= came.is_some() || parcel.tries.is_some();
            let Some(came) = came else { continue };
            if parcel.tries.is_none() {
                // What is new and lies behind something that was not tried comes again.
                if !is_whole {
                    continue;
                }
                report.to = parcel.event.id;
            }
            report.outcomes.push((parcel.event.id, self.outcome(hub, parcel, *came)));
        }
        if is_whole {
            report.to = to.unwrap_or(report.to);
        }
        if report.to > report.from || !report.outcomes.is_empty() {
            let command = Command::ReportWebhooks(vec![report]);
            if hub.cell.ask(State::SYSTEM, None, command).await.is_err() {
                // The cell has stopped: what was brought comes again.
                return None;
            }
        }
        let taken = came.iter().flatten().any(Result::is_ok);
        let wait = came.iter().flatten().filter_map(|came| came.err()).filter_map(|failed| failed.wait).max();
        let tried = came.iter().any(Option::is_some);
        wait.or_else(|| (tried && !taken).then_some(Duration::ZERO))
    }

    /// Sends events over a few connections; what came of each, and nothing of what was not tried.
    async fn send(
        &self,
        hub: &Arc<Hub>,
        parcels: &[Parcel],
        stop: &AtomicBool,
    ) -> Vec<Option<Result<(), NotTaken>>> {
        let target = match hub.courier.target(&self.url) {
            Ok(target) => target,
            // It was allowed once: nothing is tried, everything waits.
            Err(_) => return parcels.iter().map(|_| Some(Err(Failure::Forbidden.into()))).collect(),
        };
        let now = cell::now();
        let courier = &hub.courier;
        let secrets = courier.secrets.signing(self.id, self.secret, self.old_secret_until, now);
        let came: Mutex<Vec<Option<Result<(), NotTaken>>>> = Mutex::new(vec![None; parcels.len()]);
        let (next, is_down) = (AtomicUsize::new(0), AtomicBool::new(false));
        let line = || async {
            let mut line = Line::new(&courier.sender, &target);
            let Ok(_place) = courier.connections.acquire().await else { return };
            let begin = Instant::now();
            let is_over = || [stop, &is_down].iter().any(|end| end.load(Ordering::Relaxed));
            while !is_over() && begin.elapsed() < ROUND {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(parcel) = parcels.get(at) else { return };
                let result = if parcel.event.account_of(self.party) == self.owner {
                    let message = message(&parcel.event, self.party, &secrets);
                    tokio::select! {
                        posted = line.post(&message) => posted,
                        () = hub.stopping() => return,
                    }
                } else {
                    // Nobody gets other people's events, whatever was asked for.
                    Ok(())
                };
                // One that is down, or has too much, is not tried with everything else.
                let down = match result {
                    Ok(()) => false,
                    Err(NotTaken { why: Failure::Status(status), .. }) => {
                        matches!(status, 410 | 429 | 502..=504)
                    }
                    Err(_) => true,
                };
                is_down.fetch_or(down, Ordering::Relaxed);
                let count =
                    if result.is_ok() { &hub.metrics.webhooks_taken } else { &hub.metrics.webhooks_failed };
                count.inc();
                came.lock().unwrap_or_else(PoisonError::into_inner)[at] = Some(result);
            }
        };
        join_all((0..parcels.len().min(LINES)).map(|_| line())).await;
        came.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a try came to, as the cell remembers it.
    fn outcome(&self, hub: &Hub, parcel: &Parcel, came: Result<(), NotTaken>) -> Outcome {
        let Err(NotTaken { why, wait }) = came else { return Outcome::Taken };
        let tries = usize::from(parcel.tries.unwrap_or(0));
        match hub.courier.retries.get(tries) {
            Some(delay) => {
                let delay = jittered(*delay).max(wait.unwrap_or_default());
                let nanos = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX);
                Outcome::Again { at: cell::now().after(pumasi_types::Duration(nanos)), why }
            }
            None => Outcome::Dead { why },
        }
    }
}

/// A fifth more or less, so that not everything that failed at once comes again at once.
fn jittered(delay: Duration) -> Duration {
    let mut byte = [0];
    // Without random bytes there is no jitter, and nothing else is lost.
    let _ = getrandom::fill(&mut byte);
    delay.mul_f64(0.8 + 0.4 * f64::from(byte[0]) / 255.0)
}

/// An event as it is sent.
fn message(event: &Event, party: Party, secrets: &[Secret]) -> Message {
    let body = Bytes::from(super::payload(event, party));
    let (id, seconds) = (format!("evt_{}", event.id), cell::now().0 / 1_000_000_000);
    let signatures: Vec<_> = secrets.iter().map(|secret| secret.sign(&id, seconds, &body)).collect();
    Message { id, seconds, signatures: signatures.join(" "), body }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_since_a_look_began_is_looked_at_anew() {
        let dir = tempfile::tempdir().unwrap();
        let options = ServeOptions::new(dir.path().to_owned(), "127.0.0.1:0".parse().unwrap());
        let courier = Courier::open(&options).unwrap();
        let (changed, other, owner) = (WebhookId(1), WebhookId(2), AccountId(7));
        assert!(courier.begin(true).is_some());
        courier.look_at(changed);
        assert!(courier.desk().admit(changed, owner).is_none());
        let stop = courier.desk().admit(other, owner).unwrap();
        // A look that begins later sees the change.
        assert_eq!(courier.begin(false).unwrap().busy, HashMap::from([(other, owner)]));
        assert!(courier.desk().admit(changed, owner).is_some());
        courier.look_at(other);
        assert!(stop.load(Ordering::Relaxed));
    }

    #[test]
    fn letters_of_who_is_served_or_changed_are_looked_at_anew() {
        let [idle, served, changed, changing] = [1, 2, 3, 4].map(WebhookId);
        let mut desk = Desk { changed: HashSet::from([changing]), ..Desk::default() };
        let later = [idle, served, changed, changing].map(|id| (id, Time(9)));
        desk.found(&HashSet::new(), HashMap::from(later));
        desk.admit(served, AccountId(7)).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let options = ServeOptions::new(dir.path().to_owned(), "127.0.0.1:0".parse().unwrap());
        let courier = Courier { desk: Mutex::new(desk), ..Courier::open(&options).unwrap() };
        courier.look_at(changed);
        assert_eq!(courier.begin(true).unwrap().later, HashMap::from([(idle, Time(9))]));
    }

    #[test]
    fn webhooks_that_are_gone_are_forgotten() {
        let resting = HashMap::from([(WebhookId(7), Resting::Over), (WebhookId(8), Resting::Asked)]);
        let (busy, after) = (HashMap::new(), WebhookId::default());
        let open = Open { now: Time(0), busy, resting, later: HashMap::new(), after, room: ROUNDS };
        let found = open.look(&State::new());
        assert_eq!(found.gone, HashSet::from([WebhookId(7), WebhookId(8)]));
        assert!(found.rounds.is_empty() && found.next.is_none());
    }
}
