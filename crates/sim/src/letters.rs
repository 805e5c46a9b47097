//! What must hold of webhooks: whatever came by was taken, or waits, or lies with the dead letters.

use std::collections::{BTreeMap, BTreeSet};

use pumasi_core::{
    Command, Done, Event, Failure, Outcome, Party, Replay, State, Webhook, WebhookReport, WebhookSpec,
};
use pumasi_types::{Duration, EventId, Time, WebhookId};

use crate::dice::Dice;
use crate::oracle::{Holds, require};

/// Events that are brought at once, at most.
const AT_ONCE: usize = 20;

/// What a merchant does about its webhook now and then.
pub(crate) fn attend(dice: &mut Dice) -> Command {
    let webhook = WebhookId(dice.between(1, 2) as u32);
    let event = EventId(dice.spread(1, 500));
    let replay = match dice.below(6) {
        0 => Replay::One(event),
        1 => Replay::Since(event),
        2 => Replay::Dead,
        3 => return Command::RenewWebhookSecret { webhook },
        4 if dice.once_in(4) => return Command::RemoveWebhook { webhook },
        // One that was given up is told again.
        _ => return put(Some(webhook).filter(|_| !dice.once_in(8))),
    };
    Command::ReplayWebhook { webhook, replay }
}

/// A webhook that is new, or changed.
pub(crate) fn put(webhook: Option<WebhookId>) -> Command {
    let url = "https://shop.example/hooks".to_owned();
    Command::SetWebhook(WebhookSpec { webhook, party: Party::Merchant, url, kinds: Vec::new() })
}

/// What is known of webhooks from the log, and by those who were told.
#[derive(Clone, Default)]
pub(crate) struct Letters {
    /// After which event each webhook begins.
    begin: BTreeMap<WebhookId, EventId>,
    /// Up to where each has passed at least.
    passed: BTreeMap<WebhookId, EventId>,
    /// What those who were told took; they keep it, whatever becomes of the hub.
    taken: BTreeSet<(WebhookId, EventId)>,
}

impl Letters {
    /// How many letters were taken.
    pub(crate) fn count(&self) -> u64 {
        self.taken.len() as u64
    }

    /// Follows a command that was done.
    pub(crate) fn follow(&mut self, state: &State, command: &Command, done: &Done) {
        let passed = |id: &WebhookId| state.market().webhook(*id).map(|webhook| webhook.passed);
        match (command, done) {
            (Command::SetWebhook(spec), Done::Webhook(id)) if spec.webhook.is_none() => {
                self.begin.extend(passed(id).map(|at| (*id, at)));
            }
            // Only whoever asks for it makes it go back.
            (Command::ReplayWebhook { webhook, replay: Replay::Since(event) }, _) => {
                self.passed.insert(*webhook, *event);
            }
            _ => {}
        }
    }

    /// Brings events to a webhook; what came of them, if there was anything to bring.
    pub(crate) fn bring(
        &mut self,
        state: &State,
        (id, webhook): (WebhookId, &Webhook),
        events: &[Event],
        now: Time,
        dice: &mut Dice,
    ) -> Option<WebhookReport> {
        let due = webhook.waiting.iter().filter(|(_, letter)| letter.at <= now).map(|(event, _)| *event);
        let mut tried: Vec<EventId> = due.take(AT_ONCE).collect();
        let end = state.market().feed(webhook.party, webhook.owner).ends_after(webhook.passed, 1);
        let end = end.first().copied().unwrap_or(webhook.passed);
        let new = events[webhook.passed.0 as usize..end.0 as usize].iter();
        let new = new.filter(|event| event.account_of(webhook.party) == webhook.owner).map(|event| event.id);
        let (some, rest) = (new.clone().take(AT_ONCE), new.clone().nth(AT_ONCE));
        let to = if rest.is_some() { some.clone().last().unwrap_or(end) } else { end };
        tried.extend(some);
        if tried.is_empty() && to == webhook.passed {
            return None;
        }
        let outcomes = tried.into_iter().map(|event| (event, self.try_one(id, event, now, dice))).collect();
        Some(WebhookReport { webhook: id, from: webhook.passed, to, outcomes })
    }

    fn try_one(&mut self, id: WebhookId, event: EventId, now: Time, dice: &mut Dice) -> Outcome {
        match dice.below(10) {
            0 => Outcome::Dead { why: Failure::Status(400) },
            1..=2 => {
                let at = now.after(Duration::from_secs(dice.spread(1, 3_600)));
                Outcome::Again { at, why: Failure::TimedOut }
            }
            _ => {
                self.taken.insert((id, event));
                Outcome::Taken
            }
        }
    }

    /// Nothing was skipped, and nothing is told again unasked.
    pub(crate) fn check(&mut self, state: &State, events: &[Event]) -> Holds {
        for (id, webhook) in state.market().webhooks() {
            let Webhook { owner, party, passed, ref waiting, ref dead, .. } = *webhook;
            let before = self.passed.insert(id, passed).unwrap_or_default();
            require(before <= passed, || format!("webhook {id} was at event {before}, and is at {passed}"))?;
            let begin = self.begin.get(&id).copied().unwrap_or(passed);
            let came_by = events.iter().filter(|event| event.id > begin && event.id <= passed);
            for event in came_by.filter(|event| event.account_of(party) == owner).map(|event| event.id) {
                let is_known = self.taken.contains(&(id, event));
                require(is_known || waiting.contains_key(&event) || dead.contains_key(&event), || {
                    format!("webhook {id} has passed event {event}, of which account {owner} was not told")
                })?;
            }
        }
        Ok(())
    }
}
