//! How much is looked at to decide something must hardly grow with the number of machines and tasks.
//!
//! What is counted are subtrees and entries of the scheduler's trees, because time differs from run to run.

use std::cell::Cell;
use std::sync::Arc;

use pumasi_types::{
    AccountId, Amount, ByteSize, Currency, Duration, Ending, EngineId, Fuel, Hash, Limits, Price, RunId,
    Speed, Time, WorkerId,
};

use crate::{Action, Checks, Command, JobSpec, Request, Role, RunReport, State, WorkerSpec};

thread_local! {
    static LOOKS: Cell<u64> = const { Cell::new(0) };
}

/// A search looks at a subtree or an entry.
pub(crate) fn look() {
    LOOKS.set(LOOKS.get() + 1);
}

const RESEARCHER: AccountId = AccountId(1);

/// A pool whose owners are the accounts from 2 on, with one machine each, which is the worker 1 below.
struct Pool(State, Time);

impl Pool {
    fn new(owners: u64) -> Pool {
        let mut pool = Pool(State::new(), Time(1_700_000_000_000_000_000));
        pool.open("researcher".to_owned(), Role::Researcher);
        let amount = Amount(1 << 60);
        pool.ask(State::SYSTEM, Command::Issue { to: RESEARCHER, currency: Currency::CREDIT, amount });
        (0..owners).for_each(|owner| pool.open(format!("owner-{owner}"), Role::Owner));
        pool
    }

    fn open(&mut self, name: String, role: Role) {
        let token = Hash::of(name.as_bytes());
        let roles = [role].into_iter().collect();
        self.ask(State::SYSTEM, Command::OpenAccount { name, roles, token });
    }

    /// Does it and everything that was put off; the actions.
    fn ask(&mut self, caller: AccountId, command: Command) -> Vec<Action> {
        let applied = self.0.apply(self.1, &[Request { caller, id: None, command }]);
        assert!(applied.answers.iter().all(Result::is_ok), "{:?}", applied.answers);
        let mut actions = applied.effects.actions;
        while self.0.is_behind() {
            actions.extend(self.0.apply(self.1, &[]).effects.actions);
        }
        actions
    }

    /// The machine of an owner joins.
    fn attach(&mut self, owner: u64) -> Vec<Action> {
        self.attach_with(owner, |_| ())
    }

    fn attach_with(&mut self, owner: u64, change: impl FnOnce(&mut WorkerSpec)) -> Vec<Action> {
        let mut spec = WorkerSpec {
            machine_key: 0,
            name: "machine".to_owned(),
            cores: 1,
            memory: ByteSize::mib(4096),
            speed: Speed(1),
            engine: EngineId("engine".to_owned()),
            ask: Price::ONE_CREDIT,
            held: Vec::new(),
        };
        change(&mut spec);
        self.ask(AccountId(owner), Command::AttachWorker(spec))
    }

    fn submit(&mut self, change: impl FnOnce(&mut JobSpec)) {
        let mut spec = JobSpec {
            name: "job".to_owned(),
            module: Hash::ZERO,
            args: Vec::new(),
            env: Vec::new(),
            files: Vec::new(),
            task_list: None,
            tasks: 1,
            limits: Limits { fuel: Fuel::PER_CORE_SECOND, ..Limits::default() },
            engine: EngineId("engine".to_owned()),
            quorum: 1,
            priority: 0,
            bid: Price::ONE_CREDIT,
            budget: Amount(1 << 50),
            deadline: None,
            max_losses: 9,
            max_failures: None,
            after: Vec::new(),
            seed: 1,
            clock: None,
            checks: Checks::Hidden,
        };
        change(&mut spec);
        self.ask(RESEARCHER, Command::SubmitJob(Arc::new(spec)));
    }

    /// How much is looked at while something is done.
    fn looks(&mut self, what: impl FnOnce(&mut Pool)) -> u64 {
        LOOKS.set(0);
        what(self);
        LOOKS.take()
    }
}

fn runs_of(actions: &[Action], of: WorkerId) -> Vec<RunId> {
    let own = |action: &Action| match action {
        Action::Assign { worker, runs, .. } if *worker == of => runs.iter().map(|run| run.run).collect(),
        _ => Vec::new(),
    };
    actions.iter().flat_map(own).collect()
}

/// What every machine finds.
fn found(worker: WorkerId, runs: Vec<RunId>) -> Command {
    let report = |run| RunReport {
        run,
        ending: Ending::Exited { code: 0 },
        fuel: Fuel(1),
        wall: Duration::from_secs(1),
        result: Hash::ZERO,
    };
    Command::Report { worker, runs: runs.into_iter().map(report).collect() }
}

/// It takes some looks, and hardly more where everything is thirty times larger.
#[track_caller]
fn hardly_grows(measure: impl Fn(u64) -> u64) {
    let (small, large) = (measure(40), measure(1_200));
    assert!(small > 0, "it is the scheduler's trees that are searched");
    assert!(large <= 3 * small, "{small} looks became {large}");
}

/// A new owner's machine comes where this is all that so many trusted owners have, and nobody can help it.
fn newcomer(trusted: u64, has: impl Fn(u64, &mut WorkerSpec)) -> u64 {
    let mut pool = Pool::new(trusted + 2);
    for owner in 2..trusted + 2 {
        pool.ask(State::SYSTEM, Command::Vouch { account: AccountId(owner), vouched: true });
        pool.attach_with(owner, |spec| has(owner, spec));
    }
    pool.submit(|spec| (spec.tasks, spec.limits.memory) = (100_000, ByteSize::mib(2048)));
    // A large machine of a new owner gives all of them as much to do as they may have.
    pool.attach_with(trusted + 2, |spec| spec.cores = 3 * trusted as u32);
    pool.looks(|pool| {
        // It has a part in what was begun, so it begins something that needs a second owner.
        let given = pool.attach_with(trusted + 2, |spec| spec.machine_key = 1);
        assert_eq!(given.len(), 1, "nobody trusted has room: {given:?}");
    })
}

#[test]
fn a_new_owner_is_served_alike_however_many_trusted_machines_are_busy() {
    hardly_grows(|trusted| newcomer(trusted, |_, _| ()));
}

#[test]
fn a_new_owner_is_served_alike_however_many_trusted_machines_lack_one_thing() {
    hardly_grows(|trusted| {
        newcomer(trusted, |owner, spec| match owner % 3 {
            0 => spec.ask = Price(2 * Price::ONE_CREDIT.0),
            1 => spec.memory = ByteSize::mib(1024),
            // It is busy.
            _ => {}
        })
    });
}

#[test]
fn tasks_that_a_new_owner_may_not_take_up_are_passed_by() {
    hardly_grows(|tasks| {
        let mut pool = Pool::new(4);
        pool.ask(State::SYSTEM, Command::Vouch { account: AccountId(2), vouched: true });
        let cap = Price::ONE_CREDIT.cost(Fuel::PER_CORE_SECOND).expect("in range").0;
        // Once all tasks were started, there is money for one run more.
        let budget = Amount(cap * (tasks as i64 + 1));
        pool.submit(|spec| (spec.tasks, spec.budget) = (tasks as u32, budget));
        // Whoever is trusted takes them all, and its link breaks for good.
        pool.attach_with(2, |spec| spec.cores = 2 * tasks as u32);
        assert_eq!(pool.0.worker(WorkerId(1)).map(crate::Worker::running), Some(tasks as usize));
        pool.ask(State::SYSTEM, Command::LoseWorker { worker: WorkerId(1), link: 1 });
        // The first two new owners do one of them together, which takes up that money.
        assert_eq!(pool.attach(3).len() + pool.attach(4).len(), 2);
        pool.looks(|pool| {
            let given = pool.attach(5);
            assert!(given.is_empty(), "a new owner needs a second one, who cannot be paid: {given:?}");
        })
    });
}

#[test]
fn tasks_in_which_an_owner_has_a_part_are_passed_by_whoever_else_has() {
    hardly_grows(|tasks| {
        let mut pool = Pool::new(7);
        pool.submit(|spec| (spec.tasks, spec.quorum) = (tasks as u32, 7));
        for owner in 2..8 {
            let worker = WorkerId(owner - 1);
            let mut runs = runs_of(&pool.attach(owner), worker);
            while !runs.is_empty() {
                let done = pool.ask(AccountId(owner), found(worker, runs));
                runs = runs_of(&done, worker);
            }
        }
        // The one with the highest number comes again, and there is nothing for it.
        pool.looks(|pool| {
            pool.attach(7);
        })
    });
}
