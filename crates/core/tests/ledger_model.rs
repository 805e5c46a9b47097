//! The ledger against a model as plain as can be: balances in dictionaries, holds in a list.

#[path = "common/mod.rs"]
mod common;

use std::collections::BTreeMap;

use common::{BEGIN, ask, open};
use proptest::prelude::*;
use pumasi_core::{
    Answer, Cause, Command, Done, Refusal, Request, Role, STATE_VERSION, State, Transfer, decode_state,
    encode_state,
};
use pumasi_types::{AccountId, Amount, Currency, Duration, HoldId, RequestId, Time, TransferId};

/// Who is there from the beginning, the issuer first. Dan is a storefront.
const NAMES: [&str; 5] = ["pumasi", "ann", "bob", "cho", "dan"];
const ACCOUNTS: u64 = NAMES.len() as u64;
const DAN: u64 = 4;
const CURRENCIES: [&str; 4] = ["CRD", "KRW", "EUR", "JPY"];

#[derive(Clone, Debug)]
enum Step {
    Issue {
        to: u64,
        currency: Currency,
        amount: i64,
    },
    Transfer {
        from: u64,
        to: u64,
        currency: Currency,
        amount: i64,
    },
    Hold {
        of: u64,
        currency: Currency,
        amount: i64,
        seconds: Option<u64>,
    },
    Settle {
        by: u64,
        hold: u64,
        to: u64,
        amount: i64,
    },
    Release {
        by: u64,
        hold: u64,
    },
    Open {
        by: u64,
        names: Vec<&'static str>,
    },
    /// Chooses where names lie.
    Draw,
    /// An entry, and none for so long before it.
    Wait {
        seconds: u64,
    },
    /// Two days with an entry every minute.
    Live,
}

/// Written without a look at the ledger: 128-bit sums and one list.
#[derive(Default)]
struct Model {
    now: Time,
    names: Vec<&'static str>,
    /// Log time without the gaps beyond a minute between entries.
    lived: Time,
    balances: BTreeMap<(u64, Currency), i128>,
    holds: BTreeMap<u64, ModelHold>,
    holds_made: u64,
    transfers: u64,
    /// What each account asked under each id, what it was answered, and when that is forgotten.
    asked: BTreeMap<(AccountId, RequestId), (Command, Answer, Time)>,
}

struct ModelHold {
    owner: u64,
    currency: Currency,
    left: i128,
    expires: Option<Time>,
}

impl Model {
    fn open(&mut self, by: u64, names: &[&'static str]) -> Answer {
        if by != 0 && by != DAN {
            return Err(Refusal::WrongRole { needed: Role::Storefront });
        }
        let invalid = |field: &str, problem: &str| Refusal::Invalid {
            field: field.to_owned(),
            problem: problem.to_owned(),
        };
        if names.is_empty() {
            return Err(invalid("number of names", "must be 1 to 10000"));
        }
        let first = self.names.len();
        for (number, name) in (1..).zip(names) {
            let problem = if *name == "Bad" {
                let rule =
                    "must be 1 to 64 lower-case letters, digits, '-', '_' or '.', and start with a letter";
                invalid("account name", rule)
            } else if self.names.contains(name) {
                Refusal::NameTaken { name: (*name).to_owned() }
            } else {
                self.names.push(name);
                continue;
            };
            self.names.truncate(first);
            return Err(Refusal::InList { number, problem: Box::new(problem) });
        }
        Ok(Done::Accounts { first: AccountId(first as u64), count: names.len() as u32 })
    }

    fn is_open(&self, account: u64) -> bool {
        account < self.names.len() as u64
    }

    fn balance(&self, account: u64, currency: Currency) -> i128 {
        self.balances.get(&(account, currency)).copied().unwrap_or(0)
    }

    fn pay(&mut self, from: u64, to: u64, currency: Currency, amount: i128) -> Answer {
        *self.balances.entry((from, currency)).or_default() -= amount;
        *self.balances.entry((to, currency)).or_default() += amount;
        self.transfers += 1;
        Ok(Done::Transfer(TransferId(self.transfers)))
    }

    fn transfer(&mut self, from: u64, to: u64, currency: Currency, amount: i64) -> Answer {
        if amount <= 0 {
            return Err(Refusal::BadAmount);
        }
        if from == to {
            let (field, problem) = ("payee".to_owned(), "must be another account than the payer".to_owned());
            return Err(Refusal::Invalid { field, problem });
        }
        if !self.is_open(to) {
            return Err(Refusal::NoAccount { account: AccountId(to) });
        }
        let available = self.balance(from, currency);
        if from != 0 && available < i128::from(amount) {
            return Err(Refusal::NotEnoughMoney {
                account: AccountId(from),
                currency,
                needed: Amount(amount),
                available: Amount(available as i64),
            });
        }
        if from == 0 && available - i128::from(amount) < -i128::from(i64::MAX) {
            return Err(Refusal::BadAmount);
        }
        self.pay(from, to, currency, i128::from(amount))
    }

    fn hold(&mut self, owner: u64, currency: Currency, amount: i64, expires: Option<Time>) -> Answer {
        if amount <= 0 {
            return Err(Refusal::BadAmount);
        }
        if expires.is_some_and(|at| at <= self.now) {
            let problem = "must lie in the future and within ten years".to_owned();
            return Err(Refusal::Invalid { field: "expiry".to_owned(), problem });
        }
        let available = self.balance(owner, currency);
        if available < i128::from(amount) {
            return Err(Refusal::NotEnoughMoney {
                account: AccountId(owner),
                currency,
                needed: Amount(amount),
                available: Amount(available as i64),
            });
        }
        *self.balances.entry((owner, currency)).or_default() -= i128::from(amount);
        self.holds_made += 1;
        let hold = ModelHold { owner, currency, left: i128::from(amount), expires };
        self.holds.insert(self.holds_made, hold);
        Ok(Done::Hold(HoldId(self.holds_made)))
    }

    fn settle(&mut self, by: u64, id: u64, to: u64, amount: i64) -> Answer {
        self.own_hold(by, id)?;
        let payee_is_open = self.is_open(to);
        let hold = self.holds.get_mut(&id).expect("just looked up");
        let (currency, left) = (hold.currency, hold.left);
        if amount <= 0 {
            return Err(Refusal::BadAmount);
        }
        if !payee_is_open {
            return Err(Refusal::NoAccount { account: AccountId(to) });
        }
        if left < i128::from(amount) {
            return Err(Refusal::HoldTooSmall { hold: HoldId(id), currency, left: Amount(left as i64) });
        }
        hold.left -= i128::from(amount);
        if hold.left == 0 {
            self.holds.remove(&id);
        }
        *self.balances.entry((by, currency)).or_default() += i128::from(amount);
        self.pay(by, to, currency, i128::from(amount))
    }

    fn release(&mut self, by: u64, id: u64) -> Answer {
        self.own_hold(by, id)?;
        let hold = self.holds.remove(&id).expect("just looked up");
        *self.balances.entry((by, hold.currency)).or_default() += hold.left;
        Ok(Done::Released(Amount(hold.left as i64)))
    }

    fn own_hold(&self, by: u64, id: u64) -> Result<(), Refusal> {
        match self.holds.get(&id) {
            None => Err(Refusal::NoHold { hold: HoldId(id) }),
            Some(hold) if hold.owner != by => Err(Refusal::NotYours { what: format!("hold {id}") }),
            Some(_) => Ok(()),
        }
    }

    fn pass_time(&mut self) -> Answer {
        let due = |hold: &ModelHold| hold.expires.is_some_and(|at| at <= self.now);
        let due: Vec<u64> = self.holds.iter().filter(|(_, hold)| due(hold)).map(|(id, _)| *id).collect();
        for id in due {
            let hold = self.holds.remove(&id).expect("just found");
            *self.balances.entry((hold.owner, hold.currency)).or_default() += hold.left;
        }
        Ok(Done::Ok)
    }

    /// The answer to a request: the one from before, if it was asked before.
    fn answer_once(&mut self, step: &Step, request: &Request) -> Answer {
        self.asked.retain(|_, (_, _, until)| *until > self.lived);
        let Some(id) = request.id else { return self.answer(step) };
        let key = (request.caller, id);
        match self.asked.get(&key) {
            Some((command, answer, _)) if *command == request.command => answer.clone(),
            Some(_) => Err(Refusal::RequestConflict { id }),
            None => {
                let answer = self.answer(step);
                let until = self.lived.after(Duration::from_secs(48 * 3600));
                self.asked.insert(key, (request.command.clone(), answer.clone(), until));
                answer
            }
        }
    }

    fn answer(&mut self, step: &Step) -> Answer {
        match *step {
            Step::Open { by, ref names } => self.open(by, names),
            Step::Issue { to, currency, amount } => self.transfer(0, to, currency, amount),
            Step::Transfer { from, to, currency, amount } => self.transfer(from, to, currency, amount),
            Step::Hold { of, currency, amount, seconds } => {
                let expires = seconds.map(|seconds| self.now.after(Duration::from_secs(seconds)));
                self.hold(of, currency, amount, expires)
            }
            Step::Settle { by, hold, to, amount } => self.settle(by, hold, to, amount),
            Step::Release { by, hold } => self.release(by, hold),
            Step::Draw | Step::Wait { .. } | Step::Live => self.pass_time(),
        }
    }
}

fn command(step: &Step, now: Time) -> (AccountId, Command) {
    match *step {
        Step::Open { by, ref names } => {
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            (AccountId(by), Command::OpenCustomers { names })
        }
        Step::Draw => (State::SYSTEM, Command::Draw { seed: u128::MAX / 7 }),
        Step::Issue { to, currency, amount } => {
            (State::SYSTEM, Command::Issue { to: AccountId(to), currency, amount: Amount(amount) })
        }
        Step::Transfer { from, to, currency, amount } => {
            (AccountId(from), Command::Transfer { to: AccountId(to), currency, amount: Amount(amount) })
        }
        Step::Hold { of, currency, amount, seconds } => {
            let expires = seconds.map(|seconds| now.after(Duration::from_secs(seconds)));
            (AccountId(of), Command::Hold { currency, amount: Amount(amount), expires })
        }
        Step::Settle { by, hold, to, amount } => {
            let (hold, to) = (HoldId(hold), AccountId(to));
            (AccountId(by), Command::Settle { hold, to, amount: Amount(amount) })
        }
        Step::Release { by, hold } => (AccountId(by), Command::Release { hold: HoldId(hold) }),
        Step::Wait { .. } | Step::Live => (State::SYSTEM, Command::Tick),
    }
}

fn step() -> impl Strategy<Value = Step> {
    let code = prop::sample::select(&CURRENCIES[..]);
    let currency = || code.clone().prop_map(|code: &str| code.parse::<Currency>().expect("known"));
    let amount =
        || prop_oneof![8 => 1..50_i64, 1 => -2..2_i64, 1 => i64::MAX - 60..=i64::MAX, 1 => Just(i64::MIN)];
    let payer = || 1..ACCOUNTS;
    let anybody = || 0..ACCOUNTS + 4;
    let hold = || 0..12_u64;
    const NEW: [&str; 7] = ["customer-1", "customer-2", "customer-3", "c4", "c5", "ann", "Bad"];
    prop_oneof![
        2 => (prop_oneof![1 => Just(1), 4 => Just(DAN), 1 => Just(0)], prop::collection::vec(prop::sample::select(&NEW[..]), 0..4))
            .prop_map(|(by, names)| Step::Open { by, names }),
        1 => Just(Step::Draw),
        3 => (anybody(), currency(), amount())
            .prop_map(|(to, currency, amount)| Step::Issue { to, currency, amount }),
        5 => (payer(), anybody(), currency(), amount())
            .prop_map(|(from, to, currency, amount)| Step::Transfer { from, to, currency, amount }),
        5 => (payer(), currency(), amount(), proptest::option::of(0..30_u64))
            .prop_map(|(of, currency, amount, seconds)| Step::Hold { of, currency, amount, seconds }),
        5 => (payer(), hold(), anybody(), amount())
            .prop_map(|(by, hold, to, amount)| Step::Settle { by, hold, to, amount }),
        3 => (payer(), hold()).prop_map(|(by, hold)| Step::Release { by, hold }),
        3 => prop_oneof![0..20_u64, Just(48 * 3600)].prop_map(|seconds| Step::Wait { seconds }),
        1 => Just(Step::Live),
    ]
}

/// Every statement, followed back through the journal, adds up to the account's balance.
fn check_statements(state: &State, journal: &[Transfer]) {
    for account in state.ledger().accounts() {
        let id = account.id();
        for (currency, balance) in account.balances() {
            let (mut total, mut at) = (0_i128, balance.last_transfer);
            while at.0 > 0 {
                let transfer = &journal[at.0 as usize - 1];
                let change = transfer.change_of(id).expect("the chain of an account has its transfers only");
                assert!(transfer.id == at && transfer.currency == currency);
                total += i128::from(change.0);
                at = transfer.before_of(id);
            }
            assert_eq!(total, i128::from(balance.total().0), "statement of account {id} in {currency}");
        }
    }
}

proptest! {
    #![proptest_config(common::cases())]

    #[test]
    fn the_ledger_does_what_a_plain_model_does(
        steps in proptest::collection::vec((step(), proptest::option::of(0..6_u128)), 1..80)
    ) {
        let (mut state, mut model) = (State::new(), Model { now: BEGIN, ..Model::default() });
        model.names = NAMES.to_vec();
        for (id, name) in (0..).zip(NAMES).skip(1) {
            let role = if id == DAN { Role::Storefront } else { Role::Researcher };
            state.apply(BEGIN, &[ask(State::SYSTEM, open(name, &[role]))]).answers[0].clone()?;
        }
        let mut journal = Vec::new();
        for (step, id) in &steps {
            let before = state.clone();
            let (caller, command) = command(step, model.now);
            let mut request = Request { caller, id: id.map(RequestId), command };
            if let Step::Wait { seconds } = step {
                model.now = model.now.after(Duration::from_secs(*seconds));
                model.lived = model.lived.after(Duration::from_secs((*seconds).min(60)));
                request.id = None;
            }
            if let Step::Live = step {
                for _ in 0..48 * 60 {
                    let minute = Duration::from_secs(60);
                    (model.now, model.lived) = (model.now.after(minute), model.lived.after(minute));
                    state.apply(model.now, &[]);
                }
                request.id = None;
            }
            let answer = model.answer_once(step, &request);
            let remembers = request.id.is_some();
            let applied = state.apply(model.now, &[request]);
            prop_assert_eq!(&applied.answers[0], &answer, "{:?}", step);
            if answer.is_err() && !remembers {
                prop_assert!(before == state, "a refusal changed the state: {:?}", step);
            }
            journal.extend(applied.effects.transfers);
            state.sanity_check();
            prop_assert_eq!(state.ledger().accounts().len(), model.names.len());
            for account in 0..model.names.len() as u64 {
                let name = model.names[account as usize];
                prop_assert_eq!(state.ledger().account_named(name), Some(AccountId(account)));
                prop_assert_eq!(state.ledger().account(AccountId(account)).expect("opened").name(), name);
                for code in CURRENCIES {
                    let currency: Currency = code.parse().expect("known");
                    let found = state.ledger().account(AccountId(account)).expect("opened").balance(currency);
                    prop_assert_eq!(i128::from(found.available.0), model.balance(account, currency));
                    let holds = model.holds.values().filter(|h| h.owner == account && h.currency == currency);
                    prop_assert_eq!(i128::from(found.held.0), holds.map(|hold| hold.left).sum::<i128>());
                }
            }
        }
        let is_numbered = |(i, transfer): (usize, &Transfer)| transfer.id == TransferId(i as u64 + 1);
        prop_assert!(journal.iter().enumerate().all(is_numbered));
        let issued = |transfer: &&Transfer| transfer.cause == Cause::Issue;
        prop_assert!(journal.iter().filter(issued).all(|transfer| transfer.payer == State::SYSTEM));
        check_statements(&state, &journal);
        let back = decode_state(STATE_VERSION, &encode_state(&state)).expect("encoded here");
        prop_assert!(back == state, "a snapshot is the state");
        back.sanity_check();
    }
}
