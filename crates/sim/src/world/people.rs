//! Owners, researchers and the operator: who they are, and their requests on the way.

use pumasi_core::{Answer, Command, Done, FilesCommand, MarketTerms, Rate, Request, Role, Roles, State};
use pumasi_types::{Amount, Currency, JobId, RequestId};

use super::{Event, MS, S, World};
use crate::client::{MERCHANT, Part, owner, token};
use crate::dice::Dice;
use crate::faults::Kind;
use crate::files::{self, Neighbours};
use crate::hub::{Attempt, Reply};
use crate::machine::{Character, Machine};
use crate::oracle::{Holds, require};

/// The gang of owners who are honest at first and lie together then; others are 1 and 2.
const GANG_OF_SLEEPERS: u64 = 3;
/// How long a client waits for an answer.
const PATIENCE: u64 = 10 * S;

impl World {
    /// Draws who the owners are. At least four of five are honest.
    pub(crate) fn people(&mut self) {
        let seed = self.scenario.seed;
        let mut dice = Dice::of(seed, 20);
        let kinds = self.scenario.kinds;
        let mut characters = vec![Character::default(); self.owners as usize];
        let liars = (self.owners / 5) as usize;
        for (number, character) in characters.iter_mut().take(liars).enumerate() {
            let it = match dice.below(6) {
                0 if kinds.has(Kind::WrongResult) => {
                    Character { lies: dice.spread(1, 50), ..Character::default() }
                }
                1 if kinds.has(Kind::Sleeper) => {
                    let until_trusted = dice.once_in(2);
                    let sleeps = if until_trusted { 0 } else { dice.spread(10, 200) };
                    let gang = if kinds.has(Kind::Collusion) { dice.below(2) * GANG_OF_SLEEPERS } else { 0 };
                    let lies = dice.spread(1, 10);
                    Character { lies, sleeps, until_trusted, gang, ..Character::default() }
                }
                2 if kinds.has(Kind::WrongFuel) => {
                    Character { fuel: dice.spread(1, 20), ..Character::default() }
                }
                3 if kinds.has(Kind::ForeignRuns) => {
                    Character { foreign: dice.spread(2, 50), ..Character::default() }
                }
                4 if kinds.has(Kind::Garbage) => {
                    Character { garbage: dice.spread(20, 400), ..Character::default() }
                }
                _ if kinds.has(Kind::Collusion) => {
                    Character { lies: dice.spread(1, 8), gang: 1 + number as u64 % 2, ..Character::default() }
                }
                _ => Character::default(),
            };
            *character = it;
        }
        for number in 0..self.scenario.workers {
            // Some owners have several machines.
            let owner = if number < self.owners { number } else { dice.below(self.owners) };
            let account = pumasi_types::AccountId(0);
            let mut machine = Machine::new(seed, number, account, characters[owner as usize]);
            if kinds.has(Kind::SlowWorker) && dice.once_in(6) {
                machine.slowness = dice.spread(2, 30);
                self.tally.made(Kind::SlowWorker);
                self.tally.seen(Kind::SlowWorker);
            }
            if kinds.has(Kind::WorkerFault) {
                machine.set_faulty(dice.spread(20, 500));
            }
            if kinds.has(Kind::Drift) {
                machine.drift = dice.below(400) as i64 - 200;
            }
            self.machines.push(machine);
            self.owner_of.push(owner);
        }
        if kinds.has(Kind::Drift) {
            self.clock_drift = i128::from(dice.below(100)) - 50;
            self.tally.made(Kind::Drift);
            self.tally.seen(Kind::Drift);
        }
    }

    /// The hub makes its first account by itself.
    pub(crate) fn open_operator(&mut self) {
        let command = Command::OpenAccount {
            name: "operator".to_owned(),
            roles: Roles::from_iter(Role::ALL),
            token: token("operator"),
        };
        let request = Request { caller: State::SYSTEM, id: Some(RequestId(1)), command };
        let attempt = Attempt { client: 0, request: 0 };
        if let Some(hub) = &mut self.hub {
            hub.ask(request, Reply::Client(attempt));
        }
    }

    pub(crate) fn think(&mut self, client: usize) {
        let clock = self.hub_clock();
        let is_resting = self.is_resting;
        if self.clients[client].part == Part::Operator && !is_resting && self.chaos.once_in(3) {
            self.change_mind();
        }
        let researchers = self.clients.iter().filter(|one| one.part == Part::Researcher);
        let researchers: Vec<_> = researchers.filter_map(|one| one.account).collect();
        let near = Neighbours { accounts: &self.accounts, researchers: &researchers };
        let one = &mut self.clients[client];
        if !(is_resting && one.plan.is_empty()) && one.next(clock, near).is_some() {
            self.try_again(client);
        }
        let wait = match (self.clients[client].plan.is_empty(), self.clients[client].part) {
            (false, _) => 50 * MS,
            (true, Part::Operator) => 600 * S,
            (true, Part::Merchant) => self.clients[client].chance().spread(S, 300 * S),
            (true, Part::Researcher) => self.clients[client].chance().spread(S, 60 * S),
        };
        if !is_resting || !self.clients[client].is_done() {
            self.plan_in(wait, Event::Think { client });
        }
    }

    /// The operator begins or ceases to answer for some owner, perhaps for a bad one.
    fn change_mind(&mut self) {
        let owner = self.chaos.pick(&self.machines).owner;
        let vouched = self.chaos.once_in(2);
        if self.clients[0].plan.is_empty() && self.accounts.contains(&owner) {
            self.clients[0].plan.push(Command::Vouch { account: owner, vouched });
        }
    }

    /// Sends what a client asks for, once more or for the first time.
    fn try_again(&mut self, client: usize) {
        let one = &mut self.clients[client];
        let (Some(account), Some(asked)) = (one.account, &mut one.asked) else { return };
        asked.attempts += 1;
        let attempt = Attempt { client, request: asked.number };
        // Orders have keys of their own.
        let id = Some(asked.id).filter(|_| !matches!(asked.command, Command::PlaceOrders(_)));
        let request = Request { caller: account, id, command: asked.command.clone() };
        let tries = asked.attempts;
        self.plan_in(PATIENCE, Event::TimeOut { attempt, tries });
        let kinds = self.scenario.kinds;
        let is_resting = self.is_resting;
        if !is_resting && kinds.has(Kind::RequestLost) && self.net.once_in(15) {
            self.tally.made(Kind::RequestLost);
            return;
        }
        if !is_resting && kinds.has(Kind::RequestTwice) && self.net.once_in(10) {
            self.tally.made(Kind::RequestTwice);
            let wait = self.net.spread(MS, 60 * S);
            self.plan_in(wait, Event::Arrives { attempt, request: request.clone() });
        }
        let wait = self.net.spread(MS, self.delay);
        self.plan_in(wait, Event::Arrives { attempt, request });
    }

    pub(crate) fn timed_out(&mut self, attempt: Attempt, tries: u64) {
        let asked = &self.clients[attempt.client].asked;
        if asked.as_ref().is_some_and(|asked| asked.number == attempt.request && asked.attempts == tries) {
            self.tally.seen(Kind::RequestLost);
            self.tally.seen(Kind::AnswerLost);
            self.try_again(attempt.client);
        }
    }

    pub(crate) fn arrives(&mut self, attempt: Attempt, request: Request) {
        let late =
            self.clients[attempt.client].asked.as_ref().is_none_or(|asked| asked.number != attempt.request);
        let Some(hub) = &mut self.hub else { return };
        if late {
            self.tally.seen(Kind::RequestTwice);
        }
        for command in files::seen(hub.cell.state(), &request) {
            hub.tell(command);
        }
        hub.ask(request, Reply::Client(attempt));
        self.wake_hub();
    }

    pub(crate) fn send_answer(&mut self, attempt: Attempt, answer: Answer) {
        // The hub's own first question is asked within its process.
        if attempt.request > 0
            && self.scenario.kinds.has(Kind::AnswerLost)
            && !self.is_resting
            && self.net.once_in(15)
        {
            self.tally.made(Kind::AnswerLost);
            return;
        }
        let wait = self.net.spread(MS, self.delay);
        self.plan_in(wait, Event::Answered { attempt, answer });
    }

    pub(crate) fn answered(&mut self, attempt: Attempt, answer: &Answer) -> Holds {
        if attempt == (Attempt { client: 0, request: 0 }) {
            return self.operator_opened(answer);
        }
        let client = &mut self.clients[attempt.client];
        let account = client.account;
        let Some((id, command)) = client.told(attempt.request, answer) else { return Ok(()) };
        let Some(account) = account else { return Ok(()) };
        self.say(|| format!("client {}: {} {answer:?}", attempt.client, name_of(&command)));
        match (&command, answer) {
            (Command::PlaceOrders(batch), Ok(Done::Orders(answers))) => {
                self.oracle.sales.told(account, batch, answers)?;
            }
            _ => self.oracle.told(account, id, answer)?,
        }
        self.oracle.stands(account, &command, answer)?;
        match (&command, answer) {
            (Command::OpenAccount { name, .. }, Ok(Done::Account(opened))) => {
                self.account_opened(name, *opened);
            }
            (Command::SubmitJob(_), Ok(Done::Job(job))) => {
                let job = *job;
                if let Some(hub) = &mut self.hub {
                    hub.wait_for(job, attempt);
                    self.wake_hub();
                }
            }
            (Command::Files(FilesCommand::SetMember { space, account, access: Some(_) }), Ok(_)) => {
                let member = self.clients.iter_mut().filter(|client| client.account == Some(*account));
                member.for_each(|client| client.let_in(*space));
            }
            _ => {}
        }
        Ok(())
    }

    fn operator_opened(&mut self, answer: &Answer) -> Holds {
        require(matches!(answer, Ok(Done::Account(_))), || format!("the first account: {answer:?}"))?;
        if let Ok(Done::Account(account)) = answer
            && self.clients[0].account.is_none()
        {
            self.clients[0].account = Some(*account);
            self.plan_in(MS, Event::Think { client: 0 });
        }
        Ok(())
    }

    /// Whoever got an account begins to do what they came for.
    fn account_opened(&mut self, name: &str, account: pumasi_types::AccountId) {
        if self.accounts.contains(&account) {
            return;
        }
        self.accounts.push(account);
        let owned = (0..self.machines.len()).find(|number| owner(self.owner_of[*number]) == name);
        let is_honest = |number: usize| self.machines[number].character == Character::default();
        if let Some(number) = owned
            && self.chaos.once_in(if is_honest(number) { 4 } else { 20 })
        {
            self.clients[0].plan.push(Command::Vouch { account, vouched: true });
        }
        for number in 0..self.machines.len() {
            if owner(self.owner_of[number]) == name {
                self.machines[number].owner = account;
                let wait = self.chaos.spread(MS, 60 * S);
                self.plan_in(wait, Event::Begin { machine: number });
            }
        }
        if name == MERCHANT
            && let Some(number) = self.clients.iter().position(|client| client.part == Part::Merchant)
        {
            self.clients[number].account = Some(account);
            self.clients[number].open_shop();
            self.plan_in(S, Event::Think { client: number });
            let fee = Rate::new(self.chaos.below(1_000) as u16).unwrap_or_default();
            let operator = self.clients[0].account.unwrap_or(account);
            let terms = MarketTerms { fee_to: operator, tax_to: account, fee };
            self.clients[0].plan.push(Command::SetMarket(terms));
        }
        let researcher = name.strip_prefix("researcher-").and_then(|number| number.parse::<usize>().ok());
        if let Some(number) = researcher {
            self.clients[number + 1].account = Some(account);
            self.plan_in(5 * S, Event::Think { client: number + 1 });
            let amount = Amount(self.chaos.spread(1_000_000_000, 1_000_000_000_000) as i64);
            let issue = Command::Issue { to: account, currency: Currency::CREDIT, amount };
            self.clients[0].plan.push(issue);
        }
    }

    /// Somebody who waited is told that a job is over.
    pub(crate) fn job_over(&mut self, attempt: Attempt, job: JobId) -> Holds {
        let is_over = self.oracle.state.job(job).is_none_or(|job| job.outcome().is_some());
        require(is_over, || format!("client {} was told that job {job} is over", attempt.client))
    }
}

fn name_of(command: &Command) -> String {
    let text = format!("{command:?}");
    text.split([' ', '(', '{']).next().unwrap_or_default().to_owned()
}
