//! Webhooks: where merchants and carriers want to be told of their events, and how far they were told.
//!
//! The hub carries events to the webhooks and reports here what came of it, so that nothing is skipped when it starts
//! anew: whatever it had not reported is carried again. Everything up to `passed` was taken, or waits to be tried again,
//! or lies with the dead letters.

use std::collections::BTreeMap;
use std::fmt;

use pumasi_types::{AccountId, EventId, Time, WebhookId};
use serde::{Deserialize, Serialize};

use super::events::EventKind;
use super::steps::Party;
use crate::bounds::Bounds;
use crate::{Refusal, Role};

/// A webhook as its owner wants it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookSpec {
    /// Which one is changed, and enabled if it was not; none: a new one, that begins with the next event.
    pub webhook: Option<WebhookId>,
    /// Whose feed: the caller's as a merchant, or as a carrier. It stays.
    pub party: Party,
    /// Where events are sent to; the hub decides whether it sends anything there.
    pub url: String,
    /// Which kinds of events; none: all.
    pub kinds: Vec<EventKind>,
}

impl WebhookSpec {
    /// What its owner must be.
    pub(crate) fn role(&self) -> Result<Role, Refusal> {
        match self.party {
            Party::Merchant => Ok(Role::Merchant),
            Party::Carrier => Ok(Role::Carrier),
            Party::Customer => Err(Refusal::invalid("party", "must be merchant or carrier")),
        }
    }
}

/// A set of kinds of events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventKinds(u32);

impl EventKinds {
    /// Whether `kind` is among them.
    pub fn contains(self, kind: EventKind) -> bool {
        self.0 & (1 << kind as u32) != 0
    }

    /// The kinds, in order.
    pub fn iter(self) -> impl Iterator<Item = EventKind> {
        EventKind::ALL.into_iter().filter(move |kind| self.contains(*kind))
    }
}

impl FromIterator<EventKind> for EventKinds {
    fn from_iter<I: IntoIterator<Item = EventKind>>(kinds: I) -> EventKinds {
        EventKinds(kinds.into_iter().fold(0, |set, kind| set | 1 << kind as u32))
    }
}

/// Why an event was not taken. The order of variants is part of the stored format: append, never reorder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// The receiver answered with another status than 200 to 299.
    Status(u16),
    /// It took too long.
    TimedOut,
    /// Nobody listens there, or the connection broke.
    NoConnection,
    /// Its certificate is not good for its name.
    NotTrusted,
    /// Its name has no address.
    NoAddress,
    /// The hub sends nothing there: a private address, or no TLS.
    Forbidden,
}

impl Failure {
    /// The receiver wants nothing more (RFC 9110, 15.5.11).
    pub const GONE: Failure = Failure::Status(410);
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Status(status) => write!(f, "it answered {status}"),
            Failure::TimedOut => f.write_str("it took too long"),
            Failure::NoConnection => f.write_str("there was no connection"),
            Failure::NotTrusted => f.write_str("its certificate is not trusted"),
            Failure::NoAddress => f.write_str("its name has no address"),
            Failure::Forbidden => f.write_str("the hub sends nothing there"),
        }
    }
}

/// Why nothing is sent to a webhook. The order of variants is part of the stored format: append, never reorder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Disabled {
    /// It said that it wants nothing more.
    Gone,
    /// It took nothing for [`Bounds::WEBHOOK_PATIENCE`].
    Failing,
    /// It has [`Bounds::DEAD_LETTERS`].
    TooManyDead,
}

/// An event that was not taken yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    /// How often it was tried.
    pub tries: u8,
    /// When it is tried next, or when it was given up.
    pub at: Time,
    /// Why it was not taken last; none when it is to be sent again.
    pub why: Option<Failure>,
}

/// A webhook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Webhook {
    /// Whose.
    pub owner: AccountId,
    /// Whose feed: its owner's as a merchant or as a carrier.
    pub party: Party,
    /// Where events are sent to.
    pub url: Box<str>,
    /// Which kinds of events.
    pub kinds: EventKinds,
    /// Which of its secrets signs, from 1.
    pub secret: u32,
    /// Until when the secret before signs as well.
    pub old_secret_until: Time,
    /// Up to where in the feed everything was taken, or waits, or is dead.
    pub passed: EventId,
    /// What is tried again.
    pub waiting: BTreeMap<EventId, Letter>,
    /// What was given up.
    pub dead: BTreeMap<EventId, Letter>,
    /// Since when it took nothing, if it did not take what came last.
    pub failing_since: Option<Time>,
    /// Since when and why nothing is sent.
    pub disabled: Option<(Time, Disabled)>,
}

/// What is to be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Replay {
    /// One event that came by; one that waits is tried at once.
    One(EventId),
    /// All dead letters.
    Dead,
    /// Everything after this event.
    Since(EventId),
}

/// What came of an event that the hub tried to deliver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It was taken.
    Taken,
    /// It was not, and is tried again.
    Again {
        /// When.
        at: Time,
        /// Why it was not.
        why: Failure,
    },
    /// It was not, and is given up.
    Dead {
        /// Why it was not.
        why: Failure,
    },
}

/// How far the hub came with a webhook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookReport {
    /// Which.
    pub webhook: WebhookId,
    /// Up to where it had passed before; a replay that came in between makes void what is said of later events.
    pub from: EventId,
    /// Up to where it has passed now.
    pub to: EventId,
    /// What came of what was tried: of events that waited, and of new ones up to `to`.
    pub outcomes: Vec<(EventId, Outcome)>,
}

/// All webhooks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Webhooks {
    last: WebhookId,
    all: BTreeMap<WebhookId, Webhook>,
}

impl Webhooks {
    pub(crate) fn get(&self, id: WebhookId) -> Option<&Webhook> {
        self.all.get(&id)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (WebhookId, &Webhook)> {
        self.all.iter().map(|(id, webhook)| (*id, webhook))
    }

    /// The caller's webhook.
    fn own(&mut self, caller: AccountId, id: WebhookId) -> Result<&mut Webhook, Refusal> {
        // Nobody learns which ones others have.
        let own = self.all.get_mut(&id).filter(|webhook| webhook.owner == caller);
        own.ok_or(Refusal::NoWebhook { webhook: id })
    }

    /// Makes a webhook that begins after the newest event of its feed, or changes one.
    pub(crate) fn set(
        &mut self,
        caller: AccountId,
        spec: &WebhookSpec,
        newest: EventId,
    ) -> Result<WebhookId, Refusal> {
        check_url(&spec.url)?;
        let named = if spec.kinds.is_empty() { &EventKind::ALL[..] } else { &spec.kinds };
        let (url, kinds) = (spec.url.as_str().into(), named.iter().copied().collect());
        if let Some(id) = spec.webhook {
            let webhook = self.own(caller, id)?;
            if webhook.party != spec.party {
                return Err(Refusal::invalid("party", "of a webhook stays: make another one"));
            }
            if webhook.dead.len() >= Bounds::DEAD_LETTERS {
                let problem = "has too many dead letters to be told anything: let them be sent again first";
                return Err(Refusal::invalid("webhook", problem));
            }
            (webhook.url, webhook.kinds) = (url, kinds);
            (webhook.failing_since, webhook.disabled) = (None, None);
            return Ok(id);
        }
        if self.all.values().filter(|webhook| webhook.owner == caller).count() >= Bounds::WEBHOOKS {
            let problem = format!("cannot be added: an account has {} at most", Bounds::WEBHOOKS);
            return Err(Refusal::invalid("webhook", problem));
        }
        self.last.0 += 1;
        let webhook = Webhook {
            owner: caller,
            party: spec.party,
            url,
            kinds,
            secret: 1,
            old_secret_until: Time(0),
            passed: newest,
            waiting: BTreeMap::new(),
            dead: BTreeMap::new(),
            failing_since: None,
            disabled: None,
        };
        self.all.insert(self.last, webhook);
        Ok(self.last)
    }

    pub(crate) fn remove(&mut self, caller: AccountId, id: WebhookId) -> Result<(), Refusal> {
        self.own(caller, id)?;
        self.all.remove(&id);
        Ok(())
    }

    /// Signs with a new secret, and for a while with the one before as well.
    pub(crate) fn renew_secret(
        &mut self,
        caller: AccountId,
        id: WebhookId,
        now: Time,
    ) -> Result<(), Refusal> {
        let webhook = self.own(caller, id)?;
        let next = webhook.secret.checked_add(1);
        webhook.secret = next.ok_or(Refusal::invalid("secret", "cannot be made: make a new webhook"))?;
        webhook.old_secret_until = now.after(Bounds::OLD_SECRET);
        Ok(())
    }

    /// Lets something be sent again.
    pub(crate) fn replay(
        &mut self,
        caller: AccountId,
        id: WebhookId,
        replay: Replay,
        now: Time,
    ) -> Result<(), Refusal> {
        let webhook = self.own(caller, id)?;
        let again = Letter { tries: 0, at: now, why: None };
        match replay {
            Replay::One(event) => {
                webhook.has_passed(event)?;
                if event.0 == 0 || webhook.waiting.len() >= Bounds::LETTERS {
                    return Err(Refusal::invalid("event", "cannot be sent again now: replay all since then"));
                }
                webhook.dead.remove(&event);
                webhook.waiting.insert(event, again);
            }
            Replay::Dead => {
                let dead = std::mem::take(&mut webhook.dead);
                webhook.waiting.extend(dead.into_keys().map(|event| (event, again)));
            }
            Replay::Since(event) => {
                webhook.has_passed(event)?;
                webhook.passed = event;
                webhook.waiting.retain(|waits, _| *waits <= event);
                webhook.dead.retain(|dead, _| *dead <= event);
            }
        }
        Ok(())
    }

    /// Follows what the hub says; `newest` is the newest event of all.
    pub(crate) fn report(&mut self, report: &WebhookReport, newest: EventId, now: Time) {
        // It was removed meanwhile.
        let Some(webhook) = self.all.get_mut(&report.webhook) else { return };
        webhook.follow(report, newest, now);
    }

    /// Panics unless everything lies where it belongs.
    pub(crate) fn sanity_check(&self, newest: EventId) {
        for (id, webhook) in self.iter() {
            let Webhook { passed, waiting, dead, .. } = webhook;
            assert!(id <= self.last && *passed <= newest, "webhook {id} is ahead");
            let behind = |event: &EventId| event.0 > 0 && *event <= *passed;
            assert!(waiting.keys().chain(dead.keys()).all(behind), "letters of webhook {id} came by");
            assert!(
                waiting.keys().all(|event| !dead.contains_key(event)),
                "letters of webhook {id} lie once"
            );
            assert!(
                dead.values().all(|letter| letter.why.is_some()),
                "letters of webhook {id} died of something"
            );
        }
    }
}

impl Webhook {
    fn has_passed(&self, event: EventId) -> Result<(), Refusal> {
        if event <= self.passed {
            return Ok(());
        }
        Err(Refusal::invalid("event", format!("{event} is still to come: {} came by last", self.passed)))
    }

    fn follow(&mut self, report: &WebhookReport, newest: EventId, now: Time) {
        let is_on = report.from == self.passed && report.to >= report.from && report.to <= newest;
        if is_on {
            self.passed = report.to;
        }
        let (mut taken, mut failed) = (false, None);
        for (event, outcome) in &report.outcomes {
            let before = self.waiting.remove(event);
            // A new one is known by its place; of others nobody knows any more.
            if before.is_none() && !(is_on && *event > report.from && *event <= report.to) {
                continue;
            }
            self.dead.remove(event);
            let tries = before.map_or(0, |letter| letter.tries).saturating_add(1);
            let why = match *outcome {
                Outcome::Taken => None,
                Outcome::Again { at, why } => {
                    self.waiting.insert(*event, Letter { tries, at, why: Some(why) });
                    Some(why)
                }
                Outcome::Dead { why } => {
                    self.dead.insert(*event, Letter { tries, at: now, why: Some(why) });
                    Some(why)
                }
            };
            taken |= why.is_none();
            failed = if failed == Some(Failure::GONE) { failed } else { why.or(failed) };
        }
        self.judge(taken, failed, now);
    }

    /// What it means that something was taken, and something else not, for this reason.
    fn judge(&mut self, taken: bool, failed: Option<Failure>, now: Time) {
        if taken {
            self.failing_since = None;
        }
        let Some(failure) = failed else { return };
        let since = if taken { now } else { *self.failing_since.get_or_insert(now) };
        let reason = match failure {
            Failure::GONE => Disabled::Gone,
            _ if self.dead.len() >= Bounds::DEAD_LETTERS => Disabled::TooManyDead,
            _ if now.since(since) >= Bounds::WEBHOOK_PATIENCE => Disabled::Failing,
            _ => return,
        };
        self.disabled.get_or_insert((now, reason));
    }
}

/// Whether it can be the address of a webhook at all.
fn check_url(url: &str) -> Result<(), Refusal> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let is_plain = url.bytes().all(|byte| byte.is_ascii_graphic());
    if rest.is_none_or(str::is_empty) || !is_plain || url.len() > Bounds::URL_BYTES {
        let problem = format!(
            "must begin with https:// and have at most {} bytes, all of them visible ASCII",
            Bounds::URL_BYTES
        );
        return Err(Refusal::invalid("url", problem));
    }
    Ok(())
}
