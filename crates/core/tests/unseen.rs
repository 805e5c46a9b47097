//! Hidden checks are hidden: two pools that differ only in whether a check was drawn look alike to the owner
//! who is checked, and a check looks to its maker like any run that somebody gave back.
//!
//! [`Seen`] is everything that a hub shows an owner (`crates/hub/src/http/views.rs`, `link.rs`); docs/trust.md
//! says what an owner can guess from elsewhere.

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use common::{BEGIN, ask, job, machine, open, success};
use pumasi_core::{
    Action, Answer, Balance, Checks, Command, JobSpec, Owner, Request, Role, Standing, State, Transfer,
};
use pumasi_types::{
    AccountId, Amount, Currency, Duration, Hash, JobId, RunId, TaskIndex, Time, TransferId, WorkerId,
};

const RESEARCHER: AccountId = AccountId(1);
/// A proven owner.
const MALLORY: AccountId = AccountId(2);
/// Another one.
const BOB: AccountId = AccountId(3);
/// Owners that the operator answers for.
const CHO: AccountId = AccountId(4);
const DAN: AccountId = AccountId(5);
const OWNERS: [AccountId; 4] = [MALLORY, BOB, CHO, DAN];

/// What a worker was told to do or to stop doing.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    Do { job: JobId, task: TaskIndex, run: RunId },
    Stop(RunId),
}

/// What an owner is shown of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Machine {
    id: WorkerId,
    /// Barred, attached, accepting, willing.
    doing: [bool; 4],
    runs: usize,
    /// Verified, lost, outvoted.
    counts: [u64; 3],
    earned: Amount,
}

/// Everything that an owner is shown at one time.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    /// The messages on its workers' links since it looked last.
    told: Vec<(WorkerId, Told)>,
    /// What it was answered.
    answers: Vec<Answer>,
    /// `GET /v1/me`.
    record: (Standing, bool, u8, u64, u64, usize, Amount, u64, u64, Option<Time>),
    money: Vec<(Currency, Balance)>,
    /// `GET /v1/workers`.
    workers: Vec<Machine>,
    /// `GET /v1/statement` and its receipts.
    paid: Vec<Transfer>,
    /// `GET /checkpoint`, which everybody may read.
    payments_of_all: TransferId,
}

impl Seen {
    /// The same without what the work of anybody else changes: the numbers of runs and payments.
    fn without_numbers(mut self) -> Seen {
        for (_, told) in &mut self.told {
            if let Told::Do { run, .. } = told {
                *run = RunId(0);
            }
        }
        Seen { payments_of_all: TransferId(0), ..self }
    }
}

/// A pool in which everybody has worked honestly for a while.
#[derive(Clone)]
struct Pool {
    state: State,
    now: Time,
    in_hand: BTreeMap<WorkerId, BTreeMap<RunId, (JobId, TaskIndex)>>,
    told: Vec<(WorkerId, Told)>,
    paid: Vec<Transfer>,
}

impl Pool {
    /// One machine with two cores for each owner; its number is one less than its owner's. All are proven.
    fn new() -> Pool {
        let mut pool = Pool {
            state: State::new(),
            now: BEGIN,
            in_hand: BTreeMap::new(),
            told: Vec::new(),
            paid: Vec::new(),
        };
        let mut requests = vec![ask(State::SYSTEM, open("ann", &[Role::Researcher]))];
        for name in ["mallory", "bob", "cho", "dan"] {
            requests.push(ask(State::SYSTEM, open(name, &[Role::Owner])));
        }
        let issue = Command::Issue { to: RESEARCHER, currency: Currency::CREDIT, amount: Amount(1 << 50) };
        requests.push(ask(State::SYSTEM, issue));
        for account in [CHO, DAN] {
            requests.push(ask(State::SYSTEM, Command::Vouch { account, vouched: true }));
        }
        requests.extend(OWNERS.map(|owner| ask(owner, Command::AttachWorker(machine(1, 2)))));
        pool.apply(&requests);
        let mut spec = checked("past", u32::from(Owner::PROVEN));
        spec.quorum = OWNERS.len() as u8;
        pool.submit(spec);
        while OWNERS.into_iter().any(|owner| !pool.runs(owner).is_empty()) {
            for owner in OWNERS {
                let runs = pool.runs(owner);
                pool.report(owner, &runs, "right");
            }
        }
        let standings = pool.state.owners().values().map(|owner| owner.standing);
        assert_eq!(standings.collect::<Vec<_>>(), [Standing::Proven; 4]);
        pool
    }

    /// The machines of these owners take work, and no others.
    fn only(&mut self, owners: &[AccountId]) {
        for owner in OWNERS {
            let accepting = owners.contains(&owner);
            let command = Command::SetWorker { worker: of(owner), accepting, returned: Vec::new() };
            self.apply(&[ask(owner, command)]);
        }
    }

    fn submit(&mut self, spec: JobSpec) -> JobId {
        self.apply(&[ask(RESEARCHER, Command::SubmitJob(Arc::new(spec)))]);
        *self.state.jobs().last_key_value().expect("it was taken").0
    }

    /// The runs that an owner has, the oldest first.
    fn runs(&self, owner: AccountId) -> Vec<RunId> {
        self.in_hand.get(&of(owner)).into_iter().flatten().map(|(run, _)| *run).collect()
    }

    fn apply(&mut self, requests: &[Request]) -> Vec<Answer> {
        let applied = self.state.apply(self.now, requests);
        self.state.sanity_check();
        assert!(applied.answers.iter().all(Result::is_ok), "{:?}", applied.answers);
        for action in applied.effects.actions {
            match action {
                Action::Assign { worker, job, runs } => {
                    for given in runs {
                        self.in_hand.entry(worker).or_default().insert(given.run, (job, given.task));
                        self.told.push((worker, Told::Do { job, task: given.task, run: given.run }));
                    }
                }
                Action::Stop { worker, runs } => {
                    for run in runs {
                        self.in_hand.entry(worker).or_default().remove(&run);
                        self.told.push((worker, Told::Stop(run)));
                    }
                }
                Action::JobOver { .. } | Action::JobReopened { .. } => {}
            }
        }
        self.paid.extend(applied.effects.transfers);
        applied.answers
    }

    fn reported(owner: AccountId, runs: &[RunId], result: &str) -> Request {
        let runs = runs.iter().map(|run| success(*run, Hash::of(result.as_bytes()))).collect();
        ask(owner, Command::Report { worker: of(owner), runs })
    }

    fn report(&mut self, owner: AccountId, runs: &[RunId], result: &str) -> Vec<Answer> {
        self.in_hand.entry(of(owner)).or_default().retain(|run, _| !runs.contains(run));
        self.apply(&[Pool::reported(owner, runs, result)])
    }

    fn doubts(&self) -> usize {
        self.state.jobs().values().map(pumasi_core::Job::doubts).sum()
    }

    /// Reports with a seed for which so many more checks are drawn, as if it had been the hub's.
    fn report_drawing(
        &mut self,
        owner: AccountId,
        runs: &[RunId],
        result: &str,
        checks: usize,
    ) -> Vec<Answer> {
        let before = self.doubts();
        let seed = (0..100_000).find(|seed| {
            let mut state = self.state.clone();
            state.apply(self.now, &[draw(*seed), Pool::reported(owner, runs, result)]);
            let doubts: usize = state.jobs().values().map(pumasi_core::Job::doubts).sum();
            doubts == before + checks
        });
        self.apply(&[draw(seed.expect("some seed leads to that"))]);
        self.report(owner, runs, result)
    }

    /// What an owner is shown now, and since it looked last.
    fn look(&mut self, owner: AccountId, answers: Vec<Answer>) -> Seen {
        let record = self.state.owner(owner).expect("it has a machine");
        let workers = self.state.workers().filter(|(_, worker)| worker.owner == owner);
        let workers = workers.map(|(id, it)| Machine {
            id,
            doing: [it.barred, it.attached, it.accepting, it.is_willing()],
            runs: it.running(),
            counts: [it.verified, it.lost, it.outvoted],
            earned: it.earned,
        });
        Seen {
            told: std::mem::take(&mut self.told)
                .into_iter()
                .filter(|(worker, _)| *worker == of(owner))
                .collect(),
            answers,
            record: (
                record.standing,
                record.is_vouched(),
                record.lacks_to_be_proven(),
                record.agreed_openly(),
                record.outvoted,
                record.unpaid_findings(),
                record.unpaid(),
                record.lapsed,
                record.withdrawn,
                record.caught_at,
            ),
            money: self.state.ledger().account(owner).expect("it is there").balances().collect(),
            workers: workers.collect(),
            paid: self
                .paid
                .iter()
                .filter(|paid| paid.payer == owner || paid.payee == owner)
                .copied()
                .collect(),
            payments_of_all: self.state.ledger().last_transfer(),
        }
    }
}

/// The one machine of an owner.
fn of(owner: AccountId) -> WorkerId {
    WorkerId(owner.0 - 1)
}

fn draw(seed: u128) -> Request {
    ask(State::SYSTEM, Command::Draw { seed })
}

/// A job that relies on owners' records.
fn checked(name: &str, tasks: u32) -> JobSpec {
    let mut spec = job(name, tasks, Amount(1 << 40));
    spec.checks = Checks::Hidden;
    spec
}

/// An owner's next steps in a pool, and what it sees after each: none of its findings is drawn but, if it is so
/// decided, the first.
fn work_on(pool: &mut Pool, owner: AccountId, result: &str, first_is_checked: bool) -> Vec<Seen> {
    let mut seen = Vec::new();
    for step in 0..12 {
        let runs = pool.runs(owner);
        let answers = match step {
            0 => pool.report_drawing(owner, &runs[..1], result, usize::from(first_is_checked)),
            4 => {
                let command =
                    Command::SetWorker { worker: of(owner), accepting: true, returned: runs[1..].to_vec() };
                pool.in_hand.entry(of(owner)).or_default().retain(|run, _| *run == runs[0]);
                pool.apply(&[ask(owner, command)])
            }
            7 => {
                pool.now = pool.now.after(Duration::from_secs(60));
                let mut spec = machine(1, 2);
                spec.held = runs;
                pool.apply(&[ask(owner, Command::AttachWorker(spec)), ask(State::SYSTEM, Command::Tick)])
            }
            9 => pool.report_drawing(owner, &runs, result, 0),
            _ => pool.report_drawing(owner, &runs[..1], result, 0),
        };
        seen.push(pool.look(owner, answers[..1].to_vec()));
    }
    seen
}

#[test]
fn the_owner_sees_nothing_of_a_check_before_it_closes_the_tab() {
    // Whose finding is checked, and by whom.
    let pairs = [(MALLORY, DAN), (MALLORY, BOB), (CHO, DAN), (CHO, MALLORY)];
    // And after how much other work.
    for ((owner, checker), before) in
        pairs.into_iter().flat_map(|pair| [0, 1, 6].map(|before| (pair, before)))
    {
        let mut pool = Pool::new();
        pool.only(&[owner, checker]);
        let job = pool.submit(checked("job", 1_000));
        for _ in 0..before {
            let run = pool.runs(owner)[0];
            pool.report_drawing(owner, &[run], "right", 0);
        }
        pool.look(owner, Vec::new());
        let mut other = pool.clone();
        let task = pool.in_hand[&of(owner)].first_key_value().map(|(_, (_, task))| *task);
        let with = work_on(&mut pool, owner, "right", true);
        let without = work_on(&mut other, owner, "right", false);
        assert_eq!((pool.doubts(), other.doubts()), (1, 0));
        for (step, (with, without)) in with.into_iter().zip(without).enumerate() {
            assert_eq!(with, without, "step {step} of owner {owner}, checked by {checker}");
        }
        // What it cannot tell apart does make a difference, once the check is done.
        let found = |(run, given): (&RunId, &(JobId, TaskIndex))| {
            (Some(*given) == task.map(|task| (job, task))).then_some(*run)
        };
        let check = pool.in_hand[&of(checker)].iter().find_map(found).expect("the checker has it");
        pool.report(checker, &[check], "right");
        assert_eq!(pool.doubts(), 0);
        let (after, before) = (pool.look(owner, Vec::new()), other.look(owner, Vec::new()));
        assert_ne!(after.record, before.record, "owner {owner} checked by {checker}");
        assert_eq!(after.paid.len() > before.paid.len(), owner == MALLORY, "vouched ones were paid before");
    }
}

#[test]
fn a_liar_sees_nothing_of_a_dispute_before_it_is_decided() {
    let mut pool = Pool::new();
    pool.only(&[MALLORY, CHO, DAN]);
    pool.submit(checked("job", 1_000));
    pool.look(MALLORY, Vec::new());
    let mut other = pool.clone();
    let runs = pool.runs(MALLORY);
    let disputed = pool.in_hand[&of(MALLORY)][&runs[0]];
    let [first, second] = [(&mut pool, 1), (&mut other, 0)].map(|(pool, checks)| {
        let answers = pool.report_drawing(MALLORY, &runs[..1], "made-up", checks);
        pool.look(MALLORY, answers)
    });
    assert_eq!(first, second);
    // The check finds something else. A third owner is asked, and takes its time.
    let has = |pool: &Pool, owner| {
        let mut runs = pool.in_hand[&of(owner)].iter();
        runs.find_map(|(run, given)| (*given == disputed).then_some((owner, *run)))
    };
    let asked =
        |pool: &Pool| [CHO, DAN].into_iter().find_map(|owner| has(pool, owner)).expect("one is asked");
    let (checker, check) = asked(&pool);
    pool.report(checker, &[check], "right");
    assert_eq!(pool.doubts(), 1);
    let (third, run) = asked(&pool);
    assert_ne!(third, checker);
    let with = work_on(&mut pool, MALLORY, "made-up", false);
    let without = work_on(&mut other, MALLORY, "made-up", false);
    for (with, without) in with.into_iter().zip(without) {
        assert_eq!(with.without_numbers(), without.without_numbers());
    }
    pool.report(third, &[run], "right");
    assert_eq!(pool.look(MALLORY, Vec::new()).record.0, Standing::Caught);
}

#[test]
fn a_good_check_behind_one_that_is_not_over_is_not_seen() {
    let mut pool = Pool::new();
    pool.only(&[MALLORY, DAN]);
    pool.submit(checked("job", 1_000));
    pool.look(MALLORY, Vec::new());
    let mut other = pool.clone();
    for (pool, checks) in [(&mut pool, 1), (&mut other, 0)] {
        for _ in 0..2 {
            let run = pool.runs(MALLORY)[0];
            pool.report_drawing(MALLORY, &[run], "right", checks);
        }
    }
    // Of the two checks the second is good, and the first is not over.
    let check = *pool.runs(DAN).last().expect("it makes the checks");
    pool.report(DAN, &[check], "right");
    assert_eq!(pool.doubts(), 1);
    let seen = [&mut pool, &mut other].map(|pool| pool.look(MALLORY, Vec::new()).without_numbers());
    assert_eq!(seen[0], seen[1]);
    assert_eq!(pool.state.owner(MALLORY).map(|owner| owner.passed), Some(1));
}

#[test]
fn a_check_looks_to_its_maker_like_a_run_that_was_given_back() {
    for result in ["right", "made-up"] {
        let mut pool = Pool::new();
        pool.only(&[MALLORY]);
        // As many tasks as Mallory takes at once, so that Dan has nothing else.
        pool.submit(checked("job", 2));
        let runs = pool.runs(MALLORY);
        assert_eq!(runs.len(), 2);
        pool.only(&[MALLORY, DAN]);
        pool.look(DAN, Vec::new());
        let mut other = pool.clone();
        pool.report_drawing(MALLORY, &runs[..1], "right", 1);
        let returned = runs[..1].to_vec();
        other.only(&[DAN]);
        let back = Command::SetWorker { worker: of(MALLORY), accepting: false, returned };
        other.apply(&[ask(MALLORY, back)]);
        let seen = [&mut pool, &mut other].map(|pool| pool.look(DAN, Vec::new()).without_numbers());
        assert_eq!(seen[0], seen[1]);
        assert!(matches!(seen[0].told[..], [(_, Told::Do { task: TaskIndex(0), .. })]), "{:?}", seen[0].told);
        // Nor does the answer to what it reports tell.
        let answers = [&mut pool, &mut other].map(|pool| {
            let runs = pool.runs(DAN);
            pool.report(DAN, &runs, result)
        });
        assert_eq!(answers[0], answers[1]);
    }
}
