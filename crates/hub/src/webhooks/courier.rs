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
/// Connections to one webhook at once.
const LINES: usize = 8;
/// Connections to all webhooks at once.
const CONNECTIONS: usize = 256;
/// Events that are brought before it is reported what came of them: so many may come twice after a crash.
const REPORTED_AT_ONCE: usize = 64;
/// How often it is looked whether something happened.
const TICK: Duration = Duration::from_millis(50);
/// How long a webhook that takes nothing is left alone at first, and at most.
const REST: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

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
    busy: HashSet<WebhookId>,
    /// Those that took nothing last: they get nothing new for a while, only what is due to be tried again.
    resting: HashMap<WebhookId, Rest>,
    /// There is something to look at besides new events.
    poked: bool,
    /// Who was served last: the next ones come first.
    served: WebhookId,
}

struct Rest {
    /// None when it is over.
    until: Option<Instant>,
    length: Duration,
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
        let sender = Sender::new(options.webhooks.allowed(), options.webhooks.roots.as_ref())?;
        let (retries, connections) = (options.webhooks.retries.clone(), Semaphore::new(CONNECTIONS));
        Ok(Courier { secrets, sender, retries, connections, desk: Mutex::default() })
    }

    /// Where a webhook leads, if events may be sent there.
    pub(crate) fn target(&self, url: &str) -> Result<Target, BadTarget> {
        Target::parse(url, self.sender.allowed)
    }

    /// Somebody changed a webhook: it is not left alone any more.
    pub(crate) fn look_at(&self, webhook: WebhookId) {
        let mut desk = self.desk();
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
            let Ok((rounds, due)) = hub.cell.read(look).await else { return };
            next = due;
            for round in rounds {
                let mut desk = hub.courier.desk();
                desk.served = round.id;
                desk.busy.insert(round.id);
                tokio::spawn(serve(Arc::clone(&hub), round));
            }
        }
    }

    /// Who can be served now, if all webhooks are to be looked at.
    fn begin(&self, is_new: bool) -> Option<Open> {
        let mut desk = self.desk();
        let Desk { busy, resting, poked, served } = &mut *desk;
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
        let resting = resting.iter().filter(|(_, rest)| rest.until.is_some()).map(|(id, _)| *id).collect();
        Some(Open { now: cell::now(), busy: busy.clone(), resting, after: *served, room })
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
        desk.resting.insert(webhook, Rest { until, length });
    }
}

/// Who can be served.
struct Open {
    now: Time,
    busy: HashSet<WebhookId>,
    resting: HashSet<WebhookId>,
    /// Those behind this one come first.
    after: WebhookId,
    /// How many at most.
    room: usize,
}

impl Open {
    /// What there is to bring, and when something that waits is due.
    fn look(&self, state: &State) -> (Vec<Round>, Option<Time>) {
        let mut next: Option<Time> = None;
        let mut all: Vec<Round> = Vec::new();
        let enabled = state.market().webhooks().filter(|(_, webhook)| webhook.disabled.is_none());
        for (id, webhook) in enabled.filter(|(id, _)| !self.busy.contains(id)) {
            let later = webhook.waiting.values().map(|letter| letter.at).filter(|at| *at > self.now).min();
            next = later.into_iter().chain(next).min();
            all.extend(self.round_of(state, id, webhook));
        }
        let first = all.partition_point(|round| round.id <= self.after);
        all.rotate_left(first);
        if all.len() > self.room {
            next = Some(self.now);
            all.truncate(self.room);
        }
        (all, next)
    }

    /// What a webhook gets, if anything.
    fn round_of(&self, state: &State, id: WebhookId, webhook: &Webhook) -> Option<Round> {
        let Webhook { owner, party, kinds, secret, old_secret_until, passed, ref url, .. } = *webhook;
        let due = webhook.waiting.iter().filter(|(_, letter)| letter.at <= self.now);
        let due: Vec<_> = due.take(REPORTED_AT_ONCE).map(|(event, letter)| (*event, letter.tries)).collect();
        let gets_new = webhook.waiting.len() < Bounds::LETTERS && !self.resting.contains(&id);
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
async fn serve(hub: Arc<Hub>, round: Round) {
    let id = round.id;
    let rest = match round.bring(&hub).await {
        Ok(rest) => rest,
        Err(error) => {
            tracing::error!("events for webhook {id} cannot be read: {error}");
            Some(REST.1)
        }
    };
    hub.courier.end(id, rest);
}

impl Round {
    /// Brings everything; how long the webhook is to be left alone, if it took nothing.
    async fn bring(mut self, hub: &Arc<Hub>) -> Result<Option<Duration>, JournalError> {
        let journal = hub.derived.events.clone();
        let (round, read) = tokio::task::spawn_blocking(move || {
            let read = self.read(&journal);
            (self, read)
        })
        .await
        .expect("reading does not panic");
        self = round;
        let (waited, new) = read?;
        let mut chunks: Vec<(&[Parcel], Option<EventId>)> = Vec::new();
        if !waited.is_empty() {
            chunks.push((&waited, None));
        }
        // One new event shows whether a webhook that failed takes something again.
        let most = if self.failing { 1 } else { REPORTED_AT_ONCE };
        chunks.extend(new.chunks(most).map(|chunk| (chunk, chunk.last().map(|parcel| parcel.event.id))));
        // Behind the last of its kinds there may be others.
        match chunks.last_mut() {
            Some((chunk, to)) if chunk.iter().all(|parcel| parcel.tries.is_none()) => *to = self.end,
            _ if self.end.is_some() => chunks.push((&[], self.end)),
            _ => {}
        }
        for (chunk, to) in chunks {
            if let Err(rest) = self.bring_chunk(hub, chunk, to).await {
                return Ok(rest);
            }
            // It takes something again, so the next round is a whole one.
            if self.failing && !chunk.is_empty() {
                return Ok(None);
            }
        }
        Ok(None)
    }

    /// What waited and what is new, oldest first.
    fn read(&self, journal: &Journal<Event>) -> Result<(Vec<Parcel>, Vec<Parcel>), JournalError> {
        let mut reader = journal.reader();
        let mut waited = Vec::new();
        for (event, tries) in &self.due {
            waited.push(Parcel { event: reader.read(*event)?, tries: Some(*tries) });
        }
        let mut new = Vec::new();
        let mut at = self.end.unwrap_or_default();
        while at > self.passed {
            let event = reader.read(at)?;
            at = event.before_of(self.party);
            if self.kinds.contains(event.kind) {
                new.push(Parcel { event, tries: None });
            }
        }
        new.reverse();
        Ok((waited, new))
    }

    /// Brings some events, and reports what came of them; `to` is how far the webhook has passed when all that is new
    /// among them was tried. An error says that the round is over, and how long the webhook is to be left alone.
    async fn bring_chunk(
        &mut self,
        hub: &Arc<Hub>,
        chunk: &[Parcel],
        to: Option<EventId>,
    ) -> Result<(), Option<Duration>> {
        let came = self.send(hub, chunk).await;
        let mut report =
            WebhookReport { webhook: self.id, from: self.passed, to: self.passed, outcomes: Vec::new() };
        let mut is_whole = true;
        for (parcel, came) in chunk.iter().zip(&came) {
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
        self.passed = report.to;
        if report.to > report.from || !report.outcomes.is_empty() {
            let command = Command::ReportWebhooks(vec![report]);
            if hub.cell.ask(State::SYSTEM, None, command).await.is_err() {
                // The cell has stopped: what was brought comes again.
                return Err(None);
            }
        }
        let taken = came.iter().flatten().any(Result::is_ok);
        let wait = came.iter().flatten().filter_map(|came| came.err()).filter_map(|failed| failed.wait).max();
        let stopped = came.iter().any(Option::is_none);
        match (taken, wait) {
            (_, Some(wait)) => Err(Some(wait)),
            (false, None) if !chunk.is_empty() => Err(Some(Duration::ZERO)),
            _ if stopped => Err(None),
            _ => Ok(()),
        }
    }

    /// Sends events over a few connections; what came of each, and nothing of what was not tried.
    async fn send(&self, hub: &Arc<Hub>, chunk: &[Parcel]) -> Vec<Option<Result<(), NotTaken>>> {
        let target = match hub.courier.target(&self.url) {
            Ok(target) => target,
            // It was allowed once: nothing is tried, everything waits.
            Err(_) => return chunk.iter().map(|_| Some(Err(Failure::Forbidden.into()))).collect(),
        };
        let now = cell::now();
        let courier = &hub.courier;
        let secrets = courier.secrets.signing(self.id, self.secret, self.old_secret_until, now);
        let came: Mutex<Vec<Option<Result<(), NotTaken>>>> = Mutex::new(vec![None; chunk.len()]);
        let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
        let line = || async {
            let mut line = Line::new(&courier.sender, &target);
            let Ok(_place) = courier.connections.acquire().await else { return };
            while !stop.load(Ordering::Relaxed) {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(parcel) = chunk.get(at) else { return };
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
                let is_down = match result {
                    Ok(()) => false,
                    Err(NotTaken { why: Failure::Status(status), .. }) => {
                        matches!(status, 410 | 429 | 502..=504)
                    }
                    Err(_) => true,
                };
                stop.fetch_or(is_down, Ordering::Relaxed);
                let count =
                    if result.is_ok() { &hub.metrics.webhooks_taken } else { &hub.metrics.webhooks_failed };
                count.inc();
                came.lock().unwrap_or_else(PoisonError::into_inner)[at] = Some(result);
            }
        };
        join_all((0..chunk.len().min(LINES)).map(|_| line())).await;
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
