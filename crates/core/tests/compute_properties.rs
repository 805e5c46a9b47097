//! The compute machine under random jobs, honest and lying workers, losses, delays, restarts and replays.

#[path = "common/mod.rs"]
mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use common::{BEGIN, ENGINE, ask, job, machine, open, success};
use proptest::prelude::*;
use pumasi_core::{
    Action, Answer, Applied, Cause, Checks, Command, Done, JobSpec, Owner, Request, Role, RunReport,
    STATE_VERSION, Standing, State, TaskState, Transfer, WorkerSpec, decode_requests, decode_state,
    encode_request, encode_state,
};
use pumasi_types::{
    AccountId, Amount, Currency, Duration, Ending, EngineId, Fuel, Hash, JobId, Price, RunId, TaskIndex,
    Time, WorkerId,
};

const RESEARCHER: AccountId = AccountId(1);
/// Owners are the accounts 2 to 5; only the first of them ever lies.
const LIAR: AccountId = AccountId(2);
const OWNERS: u64 = 4;
const MACHINES_EACH: u64 = 2;

/// How a worker tells of a run.
#[derive(Clone, Copy, Debug)]
enum Manner {
    Honest,
    /// A wrong result, fuel or ending, if the owner is the liar.
    Lie(u8),
    Late,
    Fault,
    TimeOut,
    TooMuchFuel,
}

#[derive(Clone, Debug)]
enum Step {
    Submit {
        tasks: u32,
        quorum: u8,
        budget: u8,
        losses: u8,
        failures: Option<u32>,
        wish: Wish,
    },
    Cancel {
        job: u64,
    },
    Attach {
        owner: u64,
        machine: u64,
        cores: u32,
        cheap: bool,
        old_engine: bool,
        held: u8,
    },
    Detach {
        worker: u64,
        stale: bool,
    },
    Lose {
        worker: u64,
        stale: bool,
    },
    Set {
        worker: u64,
        accepting: bool,
        returned: u8,
    },
    Report {
        worker: u64,
        which: u8,
        manner: Manner,
        twice: bool,
    },
    /// A report of runs that may be anybody's.
    Claim {
        worker: u64,
        run: u64,
    },
    Start,
    /// The operator answers for an owner, or does not any more.
    Vouch {
        owner: u64,
        vouched: bool,
    },
    Draw {
        seed: u64,
    },
    Wait {
        seconds: u64,
    },
}

/// What else a job may ask for.
#[derive(Clone, Debug)]
struct Wish {
    priority: i16,
    after_last: bool,
    deadline: Option<u64>,
    low_bid: bool,
    short: bool,
    checked: bool,
}

/// What a task really gives: everybody honest finds the same.
fn truth(job: JobId, task: TaskIndex) -> (Fuel, Hash) {
    let text = format!("job {job} task {task}");
    (Fuel(u64::from(task.0 + 1) * 90_000_000), Hash::of(text.as_bytes()))
}

/// The hub, the workers' view of their runs, and all that was ever reported and paid.
struct World {
    state: State,
    /// Applies the same encoded entries, and is written and read back on the way.
    twin: State,
    now: Time,
    runs: BTreeMap<RunId, (WorkerId, JobId, TaskIndex)>,
    in_hand: BTreeMap<WorkerId, BTreeSet<RunId>>,
    findings: BTreeMap<RunId, RunReport>,
    paid: BTreeMap<(JobId, TaskIndex), Vec<Transfer>>,
    jobs: u64,
    ever_vouched: BTreeSet<AccountId>,
}

impl World {
    fn new() -> World {
        let mut world = World {
            state: State::new(),
            twin: State::new(),
            now: BEGIN,
            runs: BTreeMap::new(),
            in_hand: BTreeMap::new(),
            findings: BTreeMap::new(),
            paid: BTreeMap::new(),
            jobs: 0,
            ever_vouched: BTreeSet::new(),
        };
        let mut requests = vec![ask(State::SYSTEM, open("ann", &[Role::Researcher]))];
        for name in ["mallory", "bob", "cho", "dan"] {
            requests.push(ask(State::SYSTEM, open(name, &[Role::Owner])));
        }
        let issue = Command::Issue { to: RESEARCHER, currency: Currency::CREDIT, amount: Amount(1 << 50) };
        requests.push(ask(State::SYSTEM, issue));
        assert!(world.apply(&requests).answers.iter().all(Result::is_ok));
        world
    }

    /// Everybody was honest for long enough that all owners are proven, and the operator answers for one.
    fn with_a_past() -> World {
        let mut world = World::new();
        let mut spec = job("past", u32::from(Owner::PROVEN), Amount(1 << 40));
        (spec.quorum, spec.checks) = (OWNERS as u8, Checks::Hidden);
        world.apply(&[ask(State::SYSTEM, Command::Vouch { account: AccountId(5), vouched: true })]);
        world.ever_vouched.insert(AccountId(5));
        world.apply(&[ask(RESEARCHER, Command::SubmitJob(Arc::new(spec)))]);
        world.work_honestly();
        let proven = |owner: &Owner| owner.standing == Standing::Proven;
        assert_eq!(world.state.owners().values().filter(|owner| proven(owner)).count(), OWNERS as usize);
        world
    }

    /// Applies an entry to both states and checks all that must hold after it.
    fn apply(&mut self, requests: &[Request]) -> Applied {
        let mut payload = Vec::new();
        requests.iter().for_each(|request| encode_request(&mut payload, request));
        let decoded = decode_requests(&payload).expect("encoded above");
        assert_eq!(decoded, requests);
        let applied = self.state.apply(self.now, requests);
        assert_eq!(applied, self.twin.apply(self.now, &decoded), "a replay has other effects");
        self.state.sanity_check();
        self.note(requests, &applied);
        applied
    }

    fn note(&mut self, requests: &[Request], applied: &Applied) {
        for (request, answer) in requests.iter().zip(&applied.answers) {
            match (&request.command, answer) {
                (Command::Report { runs, .. }, Ok(Done::Reported { refused })) => {
                    // Of a run that is named twice the first counts and the second is refused.
                    let times = |run| runs.iter().filter(|report| report.run == run).count();
                    let refusals = |run| refused.iter().filter(|other| **other == run).count();
                    for report in runs.iter().filter(|report| times(report.run) > refusals(report.run)) {
                        self.findings.entry(report.run).or_insert(*report);
                    }
                }
                (Command::AttachWorker(spec), Ok(Done::Attached { worker, unwanted, .. })) => {
                    let hand = self.in_hand.entry(*worker).or_default();
                    hand.retain(|run| spec.held.contains(run) && !unwanted.contains(run));
                }
                (Command::Vouch { account, vouched: true }, Ok(_)) => {
                    self.ever_vouched.insert(*account);
                }
                (_, Ok(Done::Job(job))) => self.jobs = self.jobs.max(job.0),
                _ => {}
            }
        }
        for action in &applied.effects.actions {
            match action {
                Action::Assign { worker, job, runs } => {
                    for run in runs {
                        let new = self.runs.insert(run.run, (*worker, *job, run.task)).is_none();
                        assert!(new, "run {} is given out twice", run.run);
                        self.in_hand.entry(*worker).or_default().insert(run.run);
                    }
                }
                Action::Stop { worker, runs } => {
                    self.in_hand.entry(*worker).or_default().retain(|run| !runs.contains(run));
                }
                Action::JobOver { .. } | Action::JobReopened { .. } => {}
            }
        }
        for transfer in &applied.effects.transfers {
            if let Cause::Run { job, task, run, worker, fuel, price, engine } = transfer.cause {
                assert_eq!(engine, EngineId(ENGINE.to_owned()).tag());
                assert_eq!(self.runs.get(&run), Some(&(worker, job, task)));
                assert_eq!(price.cost(fuel), Some(transfer.amount));
                self.paid.entry((job, task)).or_default().push(*transfer);
            }
        }
        self.check_pay();
    }

    /// Who is paid for what: the heart of the matter.
    fn check_pay(&self) {
        for (id, job) in self.state.jobs() {
            let (mut spent, checked) = (0, job.spec.checks == Checks::Hidden);
            for (index, task) in job.tasks_from(TaskIndex(0)) {
                let paid = self.paid.get(&(*id, index)).map_or(&[][..], Vec::as_slice);
                let owners: BTreeSet<AccountId> = paid.iter().map(|transfer| transfer.payee).collect();
                assert_eq!(owners.len(), paid.len(), "job {id} task {index}: an owner was paid twice");
                // The believed one, its check, and those who decided a dispute between them.
                let most = if checked { 5.max(job.spec.quorum) } else { job.spec.quorum };
                assert!(paid.len() <= usize::from(most), "job {id} task {index}: paid too many");
                spent += paid.iter().map(|transfer| transfer.amount.0).sum::<i64>();
                for transfer in paid {
                    let Cause::Run { run, .. } = transfer.cause else { unreachable!("only runs are noted") };
                    let finding = &self.findings[&run];
                    let found = (Some(finding.ending), finding.fuel, finding.result);
                    // Whom the operator answers for is paid before a check, lies included.
                    let early = checked && self.ever_vouched.contains(&transfer.payee);
                    let fits = found == (task.ending, task.fuel, task.result);
                    assert!(fits || early, "job {id} task {index}: paid for another finding");
                }
                if task.state == TaskState::Succeeded && !checked {
                    assert_eq!(
                        paid.len(),
                        usize::from(job.spec.quorum),
                        "job {id} task {index}: paid too few"
                    );
                }
                let given_up = task.result == Hash::ZERO && task.fuel == Fuel(0);
                let decided = matches!(task.state, TaskState::Succeeded | TaskState::Failed);
                let agreed = job.spec.quorum > 1 || paid.len() > 1;
                let paid_early = paid.iter().any(|transfer| self.ever_vouched.contains(&transfer.payee));
                if agreed && decided && !given_up && !(checked && paid_early) {
                    assert_eq!((task.fuel, task.result), truth(*id, index), "a lie was believed");
                }
            }
            assert_eq!(spent, job.spent.0, "job {id}: what was paid for it");
            assert!(job.spent <= job.spec.budget, "job {id}: more spent than its budget");
        }
        for (id, owner) in self.state.owners() {
            let caught = owner.standing == Standing::Caught;
            assert!(*id == LIAR || !caught, "owner {id} is honest and was caught");
        }
    }

    fn owner(&self, worker: WorkerId) -> AccountId {
        self.state.worker(worker).map_or(State::SYSTEM, |worker| worker.owner)
    }

    fn link(&self, worker: WorkerId, stale: bool) -> u64 {
        self.state.worker(worker).map_or(0, |worker| worker.link).wrapping_sub(u64::from(stale))
    }

    /// Every run of a worker whose bit is set.
    fn choose(&self, worker: WorkerId, bits: u8) -> Vec<RunId> {
        let hand = self.in_hand.get(&worker).into_iter().flatten();
        hand.enumerate().filter(|(i, _)| bits & 1 << (i % 8) != 0).map(|(_, run)| *run).collect()
    }

    fn finding(&self, run: RunId, manner: Manner) -> RunReport {
        let (worker, job, task) = self.runs[&run];
        let (fuel, result) = truth(job, task);
        let honest = RunReport { fuel, ..success(run, result) };
        let lies = self.owner(worker) == LIAR;
        match manner {
            Manner::Lie(0) if lies => RunReport { result: Hash::of(b"a lie"), ..honest },
            Manner::Lie(1) if lies => RunReport { fuel: Fuel(fuel.0 + 1), ..honest },
            Manner::Lie(_) if lies => {
                RunReport { ending: Ending::Exited { code: 1 }, wall: Duration(0), ..honest }
            }
            Manner::Honest | Manner::Lie(_) => honest,
            Manner::Late => RunReport { wall: Duration(u64::MAX), ..honest },
            Manner::Fault => RunReport { ending: Ending::Faulted, ..honest },
            Manner::TimeOut => RunReport { ending: Ending::TimedOut, ..honest },
            Manner::TooMuchFuel => RunReport { fuel: Fuel(u64::MAX), ..honest },
        }
    }

    fn request(&self, step: &Step) -> Request {
        match *step {
            Step::Submit { .. } => ask(RESEARCHER, Command::SubmitJob(Arc::new(self.job(step)))),
            Step::Cancel { job } => ask(RESEARCHER, Command::CancelJob { job: JobId(job) }),
            Step::Attach { owner, machine, .. } => {
                ask(AccountId(owner), Command::AttachWorker(self.machine(step, owner, machine)))
            }
            Step::Detach { worker, stale } => {
                let worker = WorkerId(worker);
                ask(State::SYSTEM, Command::DetachWorker { worker, link: self.link(worker, stale) })
            }
            Step::Lose { worker, stale } => {
                let worker = WorkerId(worker);
                ask(State::SYSTEM, Command::LoseWorker { worker, link: self.link(worker, stale) })
            }
            Step::Set { worker, accepting, returned } => {
                let worker = WorkerId(worker);
                let returned = self.choose(worker, returned);
                ask(self.owner(worker), Command::SetWorker { worker, accepting, returned })
            }
            Step::Report { worker, which, manner, twice } => {
                let worker = WorkerId(worker);
                let mut runs = self.choose(worker, which);
                if twice {
                    runs.extend(runs.clone());
                }
                let runs = runs.into_iter().map(|run| self.finding(run, manner)).collect();
                ask(self.owner(worker), Command::Report { worker, runs })
            }
            Step::Claim { worker, run } => {
                let worker = WorkerId(worker);
                let run = RunId(run);
                let known = self.runs.contains_key(&run);
                // A run may be made in the very entry that claims it: what is then said of it is not a lie.
                let unknown = RunReport { ending: Ending::Faulted, ..success(run, Hash::ZERO) };
                let report = if known { self.finding(run, Manner::Honest) } else { unknown };
                ask(self.owner(worker), Command::Report { worker, runs: vec![report] })
            }
            Step::Start => ask(State::SYSTEM, Command::Start),
            Step::Vouch { owner, vouched } => {
                ask(State::SYSTEM, Command::Vouch { account: AccountId(owner), vouched })
            }
            Step::Draw { seed } => ask(State::SYSTEM, Command::Draw { seed: u128::from(seed) }),
            Step::Wait { .. } => ask(State::SYSTEM, Command::Tick),
        }
    }

    fn job(&self, step: &Step) -> JobSpec {
        let Step::Submit { tasks, quorum, budget, losses, failures, wish } = step else {
            unreachable!("only asked for jobs")
        };
        let mut spec = job("job", *tasks, Amount(i64::from(*budget) * 1_000_000));
        (spec.quorum, spec.max_losses, spec.max_failures) = (*quorum, *losses, *failures);
        spec.priority = wish.priority;
        spec.after = if wish.after_last { vec![JobId(self.jobs)] } else { Vec::new() };
        spec.deadline = wish.deadline.map(|seconds| self.now.after(Duration::from_secs(seconds)));
        spec.bid = if wish.low_bid { Price(500_000) } else { Price::ONE_CREDIT };
        spec.checks = if wish.checked { Checks::Hidden } else { Checks::Off };
        spec.limits.wall = Duration::from_secs(if wish.short { 10 } else { 600 });
        spec
    }

    fn machine(&self, step: &Step, owner: u64, key: u64) -> WorkerSpec {
        let Step::Attach { cores, cheap, old_engine, held, .. } = *step else {
            unreachable!("only asked for machines")
        };
        let mut spec = machine(u128::from(key), cores);
        if cheap {
            spec.ask = Price(300_000);
        }
        if old_engine {
            spec.engine = EngineId("wasmtime-47.0.0/1".to_owned());
        }
        let known = self.state.workers().find(|(_, worker)| {
            worker.owner == AccountId(owner) && worker.spec.machine_key == spec.machine_key
        });
        if let Some((id, _)) = known {
            spec.held = self.choose(id, held);
            spec.held.extend(spec.held.first().copied());
            spec.held.push(RunId(u64::from(held)));
        }
        spec
    }

    /// All owners bring honest machines that do whatever they are given.
    fn work_honestly(&mut self) {
        for owner in 2..2 + OWNERS {
            let spec = WorkerSpec { ask: Price(1), ..machine(0, 4) };
            self.apply(&[ask(AccountId(owner), Command::AttachWorker(spec))]);
        }
        // One that is believed alone, for jobs that can afford no second owner any more.
        self.apply(&[ask(State::SYSTEM, Command::Vouch { account: AccountId(3), vouched: true })]);
        for _ in 0..2_000 {
            let workers: Vec<WorkerId> = self.state.workers().map(|(id, _)| id).collect();
            let mut any = false;
            for worker in workers {
                let runs: Vec<RunId> =
                    std::mem::take(self.in_hand.entry(worker).or_default()).into_iter().collect();
                let key = self.state.worker(worker).map(|worker| worker.spec.machine_key);
                if !runs.is_empty() && key == Some(0) {
                    let runs = runs.into_iter().map(|run| self.finding(run, Manner::Honest)).collect();
                    self.apply(&[ask(self.owner(worker), Command::Report { worker, runs })]);
                    any = true;
                }
            }
            if !any {
                // Others took runs along and never come back: those are lost in time.
                let Some(due) = self.state.next_due().filter(|_| self.is_busy()) else { return };
                self.now = self.now.max(due);
                self.apply(&[ask(State::SYSTEM, Command::Tick)]);
            }
        }
    }

    fn is_busy(&self) -> bool {
        self.state.jobs().values().any(|job| job.outcome().is_none())
    }
}

fn manner() -> impl Strategy<Value = Manner> {
    prop_oneof![
        6 => Just(Manner::Honest),
        4 => (0..3_u8).prop_map(Manner::Lie),
        1 => Just(Manner::Late),
        1 => Just(Manner::Fault),
        1 => Just(Manner::TimeOut),
        1 => Just(Manner::TooMuchFuel),
    ]
}

fn submit() -> impl Strategy<Value = Step> {
    let wish =
        (-1..2_i16, any::<bool>(), proptest::option::weighted(0.2, 1..400_u64), any::<bool>(), any::<bool>());
    let wish = (wish, proptest::bool::weighted(0.7));
    let wish = wish.prop_map(|((priority, after, deadline, low_bid, short), checked)| Wish {
        priority,
        after_last: after && priority > 0,
        deadline,
        low_bid,
        short,
        checked,
    });
    (1..9_u32, 1..4_u8, 0..16_u8, 0..4_u8, proptest::option::weighted(0.2, 0..3_u32), wish).prop_map(
        |(tasks, quorum, budget, losses, failures, wish)| Step::Submit {
            tasks,
            quorum,
            budget,
            losses,
            failures,
            wish,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let worker = || 1..=OWNERS * MACHINES_EACH;
    let attach = (
        2..2 + OWNERS,
        0..MACHINES_EACH,
        1..4_u32,
        any::<bool>(),
        proptest::bool::weighted(0.1),
        any::<u8>(),
    );
    prop_oneof![
        4 => submit(),
        1 => (1..12_u64).prop_map(|job| Step::Cancel { job }),
        6 => attach.prop_map(|(owner, machine, cores, cheap, old_engine, held)| {
            Step::Attach { owner, machine, cores, cheap, old_engine, held }
        }),
        1 => (worker(), any::<bool>()).prop_map(|(worker, stale)| Step::Detach { worker, stale }),
        1 => (worker(), any::<bool>()).prop_map(|(worker, stale)| Step::Lose { worker, stale }),
        2 => (worker(), any::<bool>(), any::<u8>())
            .prop_map(|(worker, accepting, returned)| Step::Set { worker, accepting, returned }),
        14 => (worker(), any::<u8>(), manner(), any::<bool>())
            .prop_map(|(worker, which, manner, twice)| Step::Report { worker, which, manner, twice }),
        1 => (worker(), 0..60_u64).prop_map(|(worker, run)| Step::Claim { worker, run }),
        1 => proptest::bool::weighted(0.3).prop_map(|yes| if yes { Step::Start } else { Step::Wait { seconds: 0 } }),
        2 => (2..2 + OWNERS, proptest::bool::weighted(0.8))
            .prop_map(|(owner, vouched)| Step::Vouch { owner, vouched }),
        2 => any::<u64>().prop_map(|seed| Step::Draw { seed }),
        2 => prop_oneof![1..30_u64, 80..100_u64, Just(3_000), Just(31 * 24 * 3600)]
            .prop_map(|seconds| Step::Wait { seconds }),
    ]
}

proptest! {
    #![proptest_config(common::cases())]

    #[test]
    fn only_verified_work_is_paid_and_all_work_gets_done(
        past: bool,
        entries in proptest::collection::vec(proptest::collection::vec(step(), 1..4), 1..60)
    ) {
        let mut world = if past { World::with_a_past() } else { World::new() };
        for (place, steps) in entries.iter().enumerate() {
            for step in steps {
                if let Step::Wait { seconds } = step {
                    world.now = world.now.after(Duration::from_secs(*seconds));
                }
            }
            let requests: Vec<Request> = steps.iter().map(|step| world.request(step)).collect();
            let before = world.state.clone();
            let due = before.next_due().is_some_and(|at| at <= world.now);
            let answers: Vec<Answer> = world.apply(&requests).answers;
            if !due && before.now() == world.now && answers.iter().all(Result::is_err) {
                prop_assert!(before == world.state, "a refusal changed the state");
            }
            if place % 3 == 0 {
                let bytes = encode_state(&world.twin);
                world.twin = decode_state(STATE_VERSION, &bytes).expect("encoded above");
            }
        }
        prop_assert!(world.twin == world.state, "a replay with snapshots leads elsewhere");
        world.work_honestly();
        for (id, job) in world.state.jobs() {
            prop_assert!(job.outcome().is_some(), "job {id} never ends: {job:#?}");
        }
    }
}
