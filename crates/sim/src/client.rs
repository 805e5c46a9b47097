//! The people of a world: they ask, time out, ask again with the same id, and remember what they were told.

use std::sync::Arc;

use pumasi_core::{Answer, Checks, Command, Done, JobSpec, OrderAnswer, Role, Roles};
use pumasi_types::{
    AccountId, Amount, ByteSize, Currency, Duration, EngineId, Fuel, Hash, HoldId, JobId, Limits, OrderId,
    Price, RequestId, SpaceId, Time,
};

use crate::dice::{Dice, mix};
use crate::files::Neighbours;
use crate::truth::FUEL_MAX;
use crate::{files, market};

/// What a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Opens accounts and issues money.
    Operator,
    /// Orders jobs and goods, and moves money.
    Researcher,
    /// Sells goods.
    Merchant,
}

/// A request under way.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// Which of the client's requests.
    pub(crate) number: u64,
    pub(crate) id: RequestId,
    pub(crate) command: Command,
    pub(crate) attempts: u64,
}

/// A person with an account.
pub(crate) struct Client {
    pub(crate) part: Part,
    pub(crate) account: Option<AccountId>,
    /// What it still has to ask for, first things last.
    pub(crate) plan: Vec<Command>,
    pub(crate) asked: Option<Asked>,
    requests: u64,
    /// What was asked and answered.
    pub(crate) record: Vec<(RequestId, Command, Answer)>,
    jobs: Vec<JobId>,
    holds: Vec<HoldId>,
    /// Keys of its orders, and numbers of those that were placed.
    keys: Vec<RequestId>,
    orders: Vec<OrderId>,
    belongings: files::Belongings,
    pub(crate) jobs_left: u64,
    seed: u64,
    dice: Dice,
}

/// A name as a token, of which the hub knows only the hash.
pub(crate) fn token(name: &str) -> Hash {
    Hash::of(name.as_bytes())
}

impl Client {
    pub(crate) fn new(seed: u64, number: u64, part: Part, jobs_left: u64) -> Client {
        Client {
            part,
            account: None,
            plan: Vec::new(),
            asked: None,
            requests: 0,
            record: Vec::new(),
            jobs: Vec::new(),
            holds: Vec::new(),
            keys: Vec::new(),
            orders: Vec::new(),
            belongings: files::Belongings::default(),
            jobs_left,
            seed: mix(seed, 1_000 + number),
            dice: Dice::of(mix(seed, 3), number),
        }
    }

    /// Opens the accounts of everybody and gives researchers money.
    pub(crate) fn open_all(&mut self, owners: u64, researchers: u64) {
        let open = |name: String, role: Role| Command::OpenAccount {
            token: token(&name),
            roles: Roles::from_iter([role]),
            name,
        };
        self.plan.push(open(MERCHANT.to_owned(), Role::Merchant));
        for number in 0..researchers {
            self.plan.push(open(researcher(number), Role::Researcher));
        }
        for number in 0..owners {
            self.plan.push(open(owner(number), Role::Owner));
        }
    }

    /// The next request, if it wants something now; `clock` is the hub's and `near` are the known ones.
    pub(crate) fn next(&mut self, clock: Time, near: Neighbours<'_>) -> Option<&Asked> {
        if self.asked.is_some() || self.account.is_none() {
            return None;
        }
        let (id, command) = match self.plan.pop() {
            Some(command) => (self.fresh_id(), command),
            None if self.part == Part::Operator => return None,
            None if self.part == Part::Merchant => {
                (self.fresh_id(), market::trade(self.account?, &mut self.dice)?)
            }
            None => self.wish(clock, near)?,
        };
        self.requests += 1;
        let number = self.requests;
        self.asked = Some(Asked { number, id, command, attempts: 0 });
        self.asked.as_ref()
    }

    fn fresh_id(&mut self) -> RequestId {
        RequestId(u128::from(self.dice.roll()) << 64 | u128::from(self.requests))
    }

    /// What a researcher does when nothing has to be done.
    fn wish(&mut self, clock: Time, near: Neighbours<'_>) -> Option<(RequestId, Command)> {
        let accounts = near.accounts;
        let id = self.fresh_id();
        let currency = Currency::CREDIT;
        let amount = Amount(self.dice.spread(1, 1_000_000) as i64);
        let command = match self.dice.below(34) {
            0..=7 if self.jobs_left > 0 => {
                self.jobs_left -= 1;
                Command::SubmitJob(Arc::new(self.job(clock)))
            }
            8 if !self.jobs.is_empty() => Command::CancelJob { job: *self.dice.pick(&self.jobs) },
            9..=11 => Command::Transfer { to: *self.dice.pick(accounts), currency, amount },
            12..=13 => {
                let expires = self
                    .dice
                    .once_in(2)
                    .then(|| clock.after(Duration::from_secs(self.dice.spread(1, 3_600))));
                Command::Hold { currency, amount, expires }
            }
            14 if !self.holds.is_empty() => {
                let (hold, to) = (*self.dice.pick(&self.holds), *self.dice.pick(accounts));
                Command::Settle { hold, to, amount }
            }
            15 if !self.holds.is_empty() => Command::Release { hold: *self.dice.pick(&self.holds) },
            // Once more what was answered long ago, as a proxy or a nervous program does.
            16..=17 if !self.record.is_empty() => {
                let (id, command, _) = self.dice.pick(&self.record);
                return Some((*id, command.clone()));
            }
            // The id of something else.
            18 if !self.record.is_empty() => {
                let (id, _, _) = self.dice.pick(&self.record);
                return Some((*id, Command::Transfer { to: accounts[0], currency, amount }));
            }
            23..=24 if !self.orders.is_empty() => market::follow_up(&self.orders, &mut self.dice),
            20..=22 => market::shopping(self.account?, &mut self.keys, &mut self.dice),
            26..=33 => files::wish(&mut self.belongings, near, clock, &mut self.dice),
            _ => return None,
        };
        Some((id, command))
    }

    fn job(&mut self, clock: Time) -> JobSpec {
        let number = self.jobs_left;
        let dice = &mut self.dice;
        let tasks = dice.spread(1, 400) as u32;
        let quorum = [1, 1, 1, 2, 2, 3][dice.below(6) as usize];
        let bid = Price(Price::ONE_CREDIT.0 * dice.between(4, 8) / 4);
        let fuel = Fuel(FUEL_MAX + dice.below(FUEL_MAX));
        let cap = bid.cost(fuel).expect("a small cost").0;
        let runs = i64::from(tasks) * i64::from(quorum);
        // Tight budgets end jobs early and must never be overdrawn.
        let budget = match dice.below(4) {
            0 => cap * (runs / 3).max(2 * i64::from(quorum)),
            1 => cap * (runs / 2 + 2 * i64::from(quorum)),
            _ => cap * (runs * 2 + 10),
        };
        let deadline = dice.once_in(6).then(|| clock.after(Duration::from_secs(dice.spread(60, 7_200))));
        let after = match self.jobs.last() {
            Some(job) if dice.once_in(5) => vec![*job],
            _ => Vec::new(),
        };
        JobSpec {
            name: format!("job-{number}"),
            module: Hash::of(b"module"),
            args: Vec::new(),
            env: Vec::new(),
            files: Vec::new(),
            task_list: dice.once_in(3).then(|| Hash::of(b"list")),
            tasks,
            limits: Limits {
                fuel,
                memory: ByteSize::mib(dice.spread(64, 1024)),
                wall: Duration::from_secs(3_600),
                output: ByteSize::mib(1),
            },
            engine: EngineId("sim/1".to_owned()),
            quorum,
            priority: dice.below(3) as i16 - 1,
            bid,
            budget: Amount(budget),
            deadline,
            max_losses: dice.between(1, 20) as u8,
            max_failures: dice.once_in(4).then(|| dice.below(10) as u32),
            after,
            seed: mix(self.seed, number),
            clock: None,
            checks: if dice.once_in(4) { Checks::Off } else { Checks::Hidden },
        }
    }

    /// An answer came; whether it was to what is under way.
    pub(crate) fn told(&mut self, number: u64, answer: &Answer) -> Option<(RequestId, Command)> {
        let asked = self.asked.take_if(|asked| asked.number == number)?;
        match answer {
            Ok(Done::Job(job)) => self.jobs.push(*job),
            Ok(Done::Hold(hold)) => self.holds.push(*hold),
            Ok(Done::Orders(answers)) => self.orders.extend(answers.iter().filter_map(OrderAnswer::placed)),
            Ok(done) => self.belongings.told(&asked.command, done),
            Err(_) => {}
        }
        self.record.push((asked.id, asked.command.clone(), answer.clone()));
        Some((asked.id, asked.command))
    }

    /// Somebody let it into a space.
    pub(crate) fn let_in(&mut self, space: SpaceId) {
        self.belongings.let_in(space);
    }

    pub(crate) fn chance(&mut self) -> &mut Dice {
        &mut self.dice
    }

    /// Opens the shop.
    pub(crate) fn open_shop(&mut self) {
        self.plan = market::opening(&mut self.dice);
    }

    /// Whether nothing is left that has to be asked for.
    pub(crate) fn is_done(&self) -> bool {
        self.plan.is_empty() && self.asked.is_none()
    }
}

/// The name of the merchant.
pub(crate) const MERCHANT: &str = "merchant";

/// The name of an owner.
pub(crate) fn owner(number: u64) -> String {
    format!("owner-{number}")
}

/// The name of a researcher.
pub(crate) fn researcher(number: u64) -> String {
    format!("researcher-{number}")
}
