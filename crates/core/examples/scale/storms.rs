//! Much at once: newcomers, ends of jobs, partitions, time-outs, and the catching of a great cheat.

use pumasi_core::{Action, Checks, Command, Done, JobSpec, Request, Role, State, WorkerSpec};
use pumasi_types::{Amount, Currency, Duration, Hash, JobId, RunId, WorkerId};

use crate::common::{ask, machine, open};
use crate::pool::{Pool, RESEARCHER, owner, resident_bytes};
use crate::scenes::{equal_pool, per, small_job, tell, tell_times, work_off};

/// Requests of one entry of a storm.
const STORM: usize = 1_024;

fn hidden(spec: &mut JobSpec) {
    spec.checks = Checks::Hidden;
}

/// Decisions and their times since the pool began.
fn tell_work(pool: &Pool) {
    let decisions = (pool.assigned + pool.reported) as f64;
    tell("decisions_per_s", (decisions / pool.times.total_s()).round());
    tell("runs", pool.reported);
    tell_times("", &pool.times);
}

/// Owners of whom nothing is known do a checked job; of each hundred one is vouched for.
pub(crate) fn newcomers(workers: u64, tasks: u64) {
    let owners = (workers * 6 / 10).max(2);
    let mut pool = equal_pool(workers, owners, 2);
    pool.vouch_for_some(owners);
    pool.begin();
    pool.one(RESEARCHER, small_job(tasks, hidden));
    pool.settle();
    work_off(&mut pool);
    tell_work(&pool);
    let unpaid: usize = pool.state.owners().values().map(|owner| owner.unpaid_findings()).sum();
    tell("unpaid", unpaid);
    assert!(pool.state.jobs().values().all(|job| job.outcome().is_some()), "everybody is honest");
}

/// One job of so many tasks.
pub(crate) fn one_job(workers: u64, tasks: u64) {
    work_on(workers, tasks, tasks);
}

/// As many tasks in jobs of a hundred.
pub(crate) fn many_jobs(workers: u64, tasks: u64) {
    work_on(workers, tasks, 100.min(tasks));
}

fn work_on(workers: u64, tasks: u64, each: u64) {
    let mut pool = equal_pool(workers, workers.min(60_000), 2);
    let jobs = tasks / each;
    // An account may have 10,000 jobs at a time.
    let mut researchers = vec![RESEARCHER];
    for number in 1..jobs.div_ceil(10_000) {
        let done = pool.one(State::SYSTEM, open(&format!("researcher-{number}"), &[Role::Researcher]));
        let Done::Account(to) = done else { panic!("an account answered {done:?}") };
        let (currency, amount) = (Currency::CREDIT, Amount(1 << 50));
        pool.one(State::SYSTEM, Command::Issue { to, currency, amount });
        researchers.push(to);
    }
    let before = resident_bytes();
    pool.begin();
    for number in 0..jobs {
        pool.one(researchers[(number / 10_000) as usize], small_job(each, hidden));
    }
    pool.settle();
    tell_times("submit_", &pool.times);
    tell("jobs", jobs);
    tell("bytes_per_job", per(resident_bytes().saturating_sub(before), jobs));
    (pool.times, pool.reported) = Default::default();
    work_off(&mut pool);
    tell_work(&pool);
    tell("bytes_per_task_done", per(resident_bytes().saturating_sub(before), tasks));
}

/// All workers, so many in an entry that each take a tenth of a second.
fn storm(pool: &mut Pool, workers: u64, request: impl Fn(&Pool, WorkerId) -> Request) {
    let workers: Vec<WorkerId> = (1..=workers).map(WorkerId).collect();
    for chunk in workers.chunks(STORM) {
        let requests: Vec<Request> = chunk.iter().map(|worker| request(pool, *worker)).collect();
        pool.now.0 += 100_000_000;
        pool.apply(&requests);
    }
    pool.settle();
}

/// All links break; then everybody comes back, half of them without their runs.
pub(crate) fn partition(workers: u64, tasks: u64) {
    let mut pool = equal_pool(workers, workers.min(60_000), 2);
    pool.one(RESEARCHER, small_job(tasks.max(workers * 8), hidden));
    pool.settle();
    pool.begin();
    storm(&mut pool, workers, |_, worker| ask(State::SYSTEM, Command::DetachWorker { worker, link: 1 }));
    tell_times("leave_", &pool.times);
    pool.begin();
    storm(&mut pool, workers, |pool, worker| {
        let hand = pool.hands[worker.0 as usize].iter().filter(|_| worker.0 % 2 == 0);
        let held: Vec<RunId> = hand.map(|given| given.run).collect();
        let spec = WorkerSpec { held, ..machine(u128::from(worker.0 - 1), 2) };
        ask(pool.owner(worker), Command::AttachWorker(spec))
    });
    tell_times("", &pool.times);
}

/// Nobody reports anything, and all runs are overdue at the same moment.
pub(crate) fn timeouts(workers: u64, tasks: u64) {
    let mut pool = equal_pool(workers, workers.min(60_000), 2);
    pool.one(RESEARCHER, small_job(tasks.max(workers * 8), hidden));
    pool.settle();
    let wall = pool.state.job(JobId(1)).expect("ordered").spec.limits.wall;
    pool.now = pool.now.after(Duration(wall.0 * 3)).after(Duration::from_secs(61));
    pool.begin();
    pool.settle();
    tell_times("", &pool.times);
}

/// An owner with a full tab is found to have lied, while a large job of others waits for agreement.
pub(crate) fn caught(workers: u64, tasks: u64) {
    let mut pool = Pool::new(3, workers as usize + 3);
    let (cheat, sworn) = (owner(0), owner(1));
    pool.one(State::SYSTEM, Command::Vouch { account: sworn, vouched: true });
    let own = |pool: &mut Pool, owner, key| pool.attach(owner, machine(key, 64));
    let cheating = own(&mut pool, cheat, 0);
    let swearing = own(&mut pool, sworn, 1);
    // Ten agreements make it proven.
    pool.one(RESEARCHER, small_job(2_000, hidden));
    while pool.state.job(JobId(1)).is_some_and(|job| job.outcome().is_none()) {
        let both = [cheating, swearing].into_iter().filter_map(|id| pool.report(id, 200)).collect::<Vec<_>>();
        pool.apply(&both);
    }
    // Jobs that are over, and one of which all tasks wait for second owners.
    for _ in 0..9_000.min(workers) {
        pool.one(RESEARCHER, small_job(1, |spec| spec.bid.0 = 1));
    }
    pool.one(RESEARCHER, small_job(tasks.max(200_000), |spec| (spec.quorum, spec.priority) = (2, 5)));
    pool.settle();
    let waiting = workers.min(tasks) as usize;
    let mut reported = 0;
    while reported < waiting {
        let Some(request) = pool.report(swearing, 4_000) else { break };
        pool.apply(&[request]);
        reported += 4_000;
    }
    pool.one(
        RESEARCHER,
        small_job(tasks.max(200_000), |spec| {
            hidden(spec);
            spec.priority = 9;
        }),
    );
    // Nobody checks until the tab is full: who could is away.
    pool.one(sworn, Command::SetWorker { worker: swearing, accepting: false, returned: Vec::new() });
    let mut lies = 0;
    while pool.state.owner(cheat).is_some_and(|owner| owner.unpaid_findings() < 90_000) && lies < 100 {
        while pool.state.owner(cheat).is_some_and(|owner| owner.unpaid_findings() < 90_000) {
            let Some(Request { caller, id, command: Command::Report { worker, mut runs } }) =
                pool.report(cheating, 4_000)
            else {
                break;
            };
            runs.iter_mut().for_each(|run| run.result = Hash::of(b"a lie"));
            pool.apply(&[Request { caller, id, command: Command::Report { worker, runs } }]);
        }
        lies += 1;
    }
    tell("unpaid", pool.state.owner(cheat).map_or(0, |owner| owner.unpaid_findings()));
    pool.one(sworn, Command::SetWorker { worker: swearing, accepting: true, returned: Vec::new() });
    let third = own(&mut pool, owner(2), 2);
    pool.begin();
    while pool.state.owner(cheat).is_some_and(|owner| owner.caught_at.is_none()) {
        let all = [swearing, third].into_iter().filter_map(|id| pool.report(id, 100)).collect::<Vec<_>>();
        let Some(Request { caller, id, command: Command::Report { worker, mut runs } }) =
            pool.report(cheating, 1)
        else {
            pool.apply(&all);
            continue;
        };
        runs.iter_mut().for_each(|run| run.result = Hash::of(b"a lie"));
        pool.apply(&[Request { caller, id, command: Command::Report { worker, runs } }]);
        pool.apply(&all);
        pool.settle();
    }
    tell("withdrawn", pool.state.owner(cheat).map_or(0, |owner| owner.withdrawn));
    tell_times("", &pool.times);
}

/// Nobody trusted is there to check: after twice the window all that owners found is paid at once.
pub(crate) fn lapse(workers: u64, tasks: u64) {
    let owners = (workers * 6 / 10).max(2);
    let mut pool = equal_pool(workers, owners, 2);
    pool.vouch_for_some(owners);
    pool.one(RESEARCHER, small_job(owners * 40, hidden));
    pool.settle();
    work_off(&mut pool);
    pool.now = pool.now.after(Duration::from_secs(1));
    pool.one(RESEARCHER, small_job(tasks.max(owners * 2), hidden));
    pool.settle();
    let everybody = 1..pool.hands.len();
    for _ in 0..3 {
        let requests: Vec<Request> =
            everybody.clone().filter_map(|id| pool.report(WorkerId(id as u64), usize::MAX)).collect();
        requests.chunks(STORM).for_each(|chunk| drop(pool.apply(chunk)));
    }
    pool.one(RESEARCHER, Command::CancelJob { job: JobId(2) });
    pool.settle();
    let unpaid: usize = pool.state.owners().values().map(|owner| owner.unpaid_findings()).sum();
    tell("unpaid", unpaid);
    pool.begin();
    for _ in 0..2 {
        pool.now = pool.now.after(Duration::from_secs(3_700));
        pool.settle();
    }
    tell("paid", pool.transfers);
    tell_times("", &pool.times);
}

/// One large job, all but the last of whose tasks are decided, is cancelled, and forgotten a month later.
pub(crate) fn giant(_: u64, tasks: u64) {
    let mut pool = equal_pool(2, 2, 64);
    pool.one(RESEARCHER, small_job(tasks, |_| ()));
    pool.begin();
    while pool.reported + 500 < tasks {
        let requests: Vec<Request> = (1..3).filter_map(|id| pool.report(WorkerId(id), 250)).collect();
        pool.apply(&requests);
    }
    tell_times("work_", &pool.times);
    pool.begin();
    let done = pool.apply(&[ask(RESEARCHER, Command::CancelJob { job: JobId(1) })]);
    assert!(done.effects.actions.iter().any(|action| matches!(action, Action::JobOver { .. })));
    pool.settle();
    tell_times("cancel_", &pool.times);
    pool.begin();
    let before = resident_bytes();
    pool.now = pool.now.after(Duration::from_secs(31 * 24 * 3600));
    pool.settle();
    tell("bytes_per_forgotten_task", per(before.saturating_sub(resident_bytes()), tasks));
    tell_times("forget_", &pool.times);
}
