//! No event is skipped, whatever receivers, a hub that loses its reports, and owners who want things again do.

#[path = "common/mod.rs"]
mod common;

use std::collections::BTreeSet;

use common::{BEGIN, ask, open};
use proptest::prelude::*;
use pumasi_core::{
    ArticleSpec, Bounds, Command, Event, EventKind, Failure, OrderBatch, OrderLines, OrderSpec, OrderStep,
    Outcome, Party, Rate, Refusal, Replay, Role, STATE_VERSION, State, Tracking, WebhookReport, WebhookSpec,
    decode_state, encode_state,
};
use pumasi_types::{
    AccountId, Amount, ArticleId, CouponId, Currency, Duration, EventId, OrderId, RequestId, Time, WebhookId,
};

/// Whose webhook it is, and somebody else whose events come in between.
const MERCHANTS: [AccountId; 2] = [AccountId(1), AccountId(2)];
const CUSTOMER: AccountId = AccountId(3);
const HOOK: WebhookId = WebhookId(1);

#[derive(Clone, Debug)]
enum Step {
    /// Somebody orders of a merchant, so often.
    Order {
        merchant: usize,
        count: u8,
    },
    /// One of the orders is cancelled.
    Cancel {
        order: u64,
    },
    /// The hub tries so many that wait and so many new ones; each is taken unless its bit is set. Its report may be
    /// lost, or come after something else.
    Deliver {
        letters: u8,
        new: u8,
        fails: u16,
        dies: bool,
        report: Report,
    },
    /// The owner wants something again.
    Replay {
        what: u8,
        event: u64,
    },
    Wait {
        hours: u16,
    },
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Report {
    Comes,
    IsLost,
    ComesLate,
}

struct World {
    state: State,
    now: Time,
    events: Vec<Event>,
    keys: u128,
    kinds: Vec<EventKind>,
    /// What the receiver took since it was last to be sent.
    taken: BTreeSet<EventId>,
    late: Vec<WebhookReport>,
}

impl World {
    fn new(kinds: &[EventKind]) -> World {
        let (state, now) = (State::new(), BEGIN);
        let kinds = kinds.to_vec();
        let mut world = World {
            state,
            now,
            events: Vec::new(),
            keys: 0,
            kinds,
            taken: BTreeSet::new(),
            late: Vec::new(),
        };
        for (name, roles) in [("shop", &[Role::Merchant][..]), ("other", &[Role::Merchant]), ("alice", &[])] {
            world.ask(State::SYSTEM, open(name, roles));
        }
        for merchant in MERCHANTS {
            world.ask(merchant, Command::PutArticles(vec![gift()]));
        }
        world.ask(MERCHANTS[0], set(None, &world.kinds.clone()));
        world
    }

    fn ask(&mut self, caller: AccountId, command: Command) {
        let applied = self.state.apply(self.now, &[ask(caller, command)]);
        assert!(applied.answers[0].is_ok(), "{:?}", applied.answers);
        self.events.extend(applied.effects.events);
    }

    /// What the webhook is to be told after this event.
    fn owed(&self, after: EventId) -> Vec<EventId> {
        let all = self.kinds.is_empty();
        let mine = self.events.iter().filter(|event| event.merchant == MERCHANTS[0] && event.id > after);
        mine.filter(|event| all || self.kinds.contains(&event.kind)).map(|event| event.id).collect()
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Order { merchant, count } => {
                let mut batch = OrderBatch::default();
                for _ in 0..count {
                    self.keys += 1;
                    batch.push(&order(self.keys), [(ArticleId(merchant as u32 + 1), 1)].into_iter());
                }
                self.ask(CUSTOMER, Command::PlaceOrders(batch));
            }
            Step::Cancel { order } => {
                let order = OrderId(order % (self.keys as u64).max(1) + 1);
                let cancel = ask(CUSTOMER, Command::StepOrder { order, step: OrderStep::Cancel });
                self.events.extend(self.state.apply(self.now, &[cancel]).effects.events);
            }
            Step::Deliver { letters, new, fails, dies, report } => {
                let made = self.deliver(letters.into(), new.into(), fails, dies);
                match report {
                    Report::Comes => self.ask(State::SYSTEM, Command::ReportWebhooks(vec![made])),
                    Report::IsLost => {}
                    // The hub asks for one after the other, so nothing of its own comes in between.
                    Report::ComesLate => return self.late.push(made),
                }
            }
            Step::Replay { what, event } => self.replay(what, event),
            Step::Wait { hours } => self.now = self.now.after(Duration::from_secs(u64::from(hours) * 3600)),
        }
        let late = std::mem::take(&mut self.late);
        if !late.is_empty() {
            self.ask(State::SYSTEM, Command::ReportWebhooks(late));
        }
    }

    /// Tries some events; what the hub would report of that.
    fn deliver(&mut self, letters: usize, new: usize, fails: u16, dies: bool) -> WebhookReport {
        let webhook = self.state.market().webhook(HOOK).expect("it is there");
        let from = webhook.passed;
        let fresh: Vec<EventId> = self.owed(from).into_iter().take(new).collect();
        let room = webhook.disabled.is_none();
        let tried = webhook.waiting.keys().copied().take(letters).chain(fresh.iter().copied());
        let tried: Vec<EventId> = tried.filter(|_| room).collect();
        let to = if room { fresh.last().copied().unwrap_or(from) } else { from };
        let mut outcomes = Vec::new();
        for (at, event) in tried.into_iter().enumerate() {
            let why = Failure::Status(500);
            outcomes.push((
                event,
                match fails >> (at % 16) & 1 {
                    0 => Outcome::Taken,
                    _ if dies => Outcome::Dead { why },
                    _ => Outcome::Again { at: self.now.after(Duration::from_secs(60)), why },
                },
            ));
            if fails >> (at % 16) & 1 == 0 {
                self.taken.insert(event);
            }
        }
        WebhookReport { webhook: HOOK, from, to, outcomes }
    }

    fn replay(&mut self, what: u8, event: u64) {
        let webhook = self.state.market().webhook(HOOK).expect("it is there");
        let all = self.owed(EventId(0));
        let one = all.get(event as usize % all.len().max(1)).copied().unwrap_or_default();
        let replay = match what % 3 {
            0 => Replay::Dead,
            1 => Replay::One(one),
            _ => Replay::Since(one),
        };
        let is_there = one <= webhook.passed && (one.0 > 0 || replay != Replay::One(one));
        let command = Command::ReplayWebhook { webhook: HOOK, replay };
        // What waits is under way: it is tried again earlier, and taken once.
        let (waits, passed) = (webhook.waiting.contains_key(&one), webhook.passed);
        let answer = self.state.apply(self.now, &[ask(MERCHANTS[0], command)]).answers.remove(0);
        assert_eq!(answer.is_ok(), is_there || replay == Replay::Dead, "{replay:?}: {answer:?}");
        match replay {
            Replay::One(event) if answer.is_ok() && !waits => drop(self.taken.remove(&event)),
            // What had not passed is under way for the first time.
            Replay::Since(event) if answer.is_ok() => {
                self.taken.retain(|taken| *taken <= event || *taken > passed);
            }
            _ => {}
        }
    }

    /// Nothing is forgotten.
    fn check(&self) {
        self.state.sanity_check();
        let webhook = self.state.market().webhook(HOOK).expect("it is there");
        for event in self.owed(EventId(0)) {
            let known = event > webhook.passed
                || self.taken.contains(&event)
                || webhook.waiting.contains_key(&event)
                || webhook.dead.contains_key(&event);
            assert!(known, "event {event} was skipped: {webhook:?}");
        }
        let restored = decode_state(STATE_VERSION, &encode_state(&self.state)).expect("encoded here");
        assert!(restored == self.state, "a snapshot restores the state");
    }

    /// The receiver is well again, so in the end it gets everything.
    fn finish(&mut self) {
        self.ask(MERCHANTS[0], Command::ReplayWebhook { webhook: HOOK, replay: Replay::Dead });
        self.ask(MERCHANTS[0], set(Some(HOOK), &self.kinds.clone()));
        let last = self.deliver(usize::MAX, usize::MAX, 0, false);
        self.ask(State::SYSTEM, Command::ReportWebhooks(vec![last]));
        let webhook = self.state.market().webhook(HOOK).expect("it is there");
        assert!(webhook.waiting.is_empty() && webhook.dead.is_empty() && webhook.failing_since.is_none());
        assert!(self.owed(EventId(0)).iter().all(|event| self.taken.contains(event)));
    }
}

fn set(webhook: Option<WebhookId>, kinds: &[EventKind]) -> Command {
    let (party, url) = (Party::Merchant, "https://shop.example/".to_owned());
    Command::SetWebhook(WebhookSpec { webhook, party, url, kinds: kinds.to_vec() })
}

fn gift() -> ArticleSpec {
    ArticleSpec {
        sku: "gift".to_owned(),
        gtin: 0,
        title_ko: String::new(),
        title_en: String::new(),
        category: String::new(),
        price: Amount(0),
        currency: Currency::CREDIT,
        tax: Rate::default(),
        tracking: Tracking::Untracked,
        on_sale: true,
    }
}

fn order(key: u128) -> OrderSpec<'static> {
    OrderSpec {
        key: RequestId(key),
        customer: CUSTOMER,
        total: Amount(0),
        currency: Currency::CREDIT,
        coupon: CouponId(0),
        place: None,
        pay_later: false,
        lines: OrderLines::default(),
    }
}

fn step() -> impl Strategy<Value = Step> {
    let report =
        prop_oneof![4 => Just(Report::Comes), 1 => Just(Report::IsLost), 1 => Just(Report::ComesLate)];
    prop_oneof![
        3 => (0..2_usize, 1..6_u8).prop_map(|(merchant, count)| Step::Order { merchant, count }),
        1 => any::<u64>().prop_map(|order| Step::Cancel { order }),
        6 => (0..4_u8, 0..6_u8, any::<u16>(), any::<bool>(), report).prop_map(
            |(letters, new, fails, dies, report)| Step::Deliver { letters, new, fails, dies, report }
        ),
        1 => (any::<u8>(), any::<u64>()).prop_map(|(what, event)| Step::Replay { what, event }),
        1 => (0..80_u16).prop_map(|hours| Step::Wait { hours }),
    ]
}

proptest! {
    #[test]
    fn nothing_is_skipped(
        steps in proptest::collection::vec(step(), 1..60),
        kinds in proptest::sample::subsequence(vec![EventKind::Placed, EventKind::Cancelled], 0..=2),
    ) {
        let mut world = World::new(&kinds);
        for step in &steps {
            world.take(step);
            world.check();
        }
        world.take(&Step::Wait { hours: 0 });
        world.finish();
    }
}

#[test]
fn too_many_dead_letters_stop_a_webhook_before_it_forgets_one() {
    let mut world = World::new(&[]);
    for _ in 0..25 {
        world.take(&Step::Order { merchant: 0, count: 50 });
        world.take(&Step::Deliver {
            letters: 0,
            new: 50,
            fails: u16::MAX,
            dies: true,
            report: Report::Comes,
        });
    }
    world.check();
    let webhook = world.state.market().webhook(HOOK).expect("it is there");
    assert_eq!(webhook.dead.len(), Bounds::DEAD_LETTERS);
    assert!(webhook.disabled.is_some() && webhook.passed < world.events.last().expect("there are some").id);
    let answers = world.state.apply(world.now, &[ask(MERCHANTS[0], set(Some(HOOK), &[]))]).answers;
    assert!(matches!(answers[0], Err(Refusal::Invalid { .. })), "{answers:?}");
    world.finish();
}
