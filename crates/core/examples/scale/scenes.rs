//! What is measured: a crowd at work, the memory of everything, and pools that are as unlucky as can be.

use std::sync::Arc;

use pumasi_core::{
    Checks, Command, JobSpec, Request, STATE_VERSION, Standing, State, WorkerSpec, decode_state, encode_state,
};
use pumasi_types::{Amount, ByteSize, EngineId, JobId, Price, RunId, WorkerId};

use crate::common::dice::Dice;
use crate::common::{ask, job, machine};
use crate::crowd::{Crowd, mixed_machine};
use crate::pool::{Pool, RESEARCHER, Times, owner, processor_time, resident_bytes};

/// Requests of one entry where the scene does not say otherwise.
const BATCH: usize = 256;

pub(crate) fn tell(name: &str, value: impl std::fmt::Display) {
    println!("{name} {value}");
}

pub(crate) fn tell_times(prefix: &str, times: &Times) {
    tell(&format!("{prefix}entries"), times.count());
    tell(&format!("{prefix}total_s"), format_args!("{:.3}", times.total_s()));
    tell(&format!("{prefix}p50_us"), format_args!("{:.1}", times.quantile_us(500)));
    tell(&format!("{prefix}p99_us"), format_args!("{:.1}", times.quantile_us(990)));
    tell(&format!("{prefix}max_us"), format_args!("{:.1}", times.quantile_us(1000)));
}

pub(crate) fn per(bytes: usize, count: u64) -> usize {
    bytes / count.max(1) as usize
}

/// A job whose runs may burn a thousandth of a core-second.
pub(crate) fn small_job(tasks: u64, change: impl FnOnce(&mut JobSpec)) -> Command {
    let mut spec = job("job", tasks as u32, Amount::ZERO);
    spec.limits.fuel.0 = 1_000_000;
    change(&mut spec);
    let cap = spec.bid.cost(spec.limits.fuel).expect("in range").0.max(1);
    spec.budget = Amount(cap * i64::from(spec.tasks) * (2 + i64::from(spec.quorum) * 2));
    Command::SubmitJob(Arc::new(spec))
}

/// Equal machines, each of another owner, that are given nothing yet.
pub(crate) fn equal_pool(workers: u64, owners: u64, cores: u32) -> Pool {
    let mut pool = Pool::new(owners, workers as usize);
    for key in 0..workers {
        pool.attach(owner(key % owners), machine(u128::from(key), cores));
    }
    pool
}

/// All workers report everything they have, until nobody has anything.
pub(crate) fn work_off(pool: &mut Pool) {
    loop {
        let mut any = false;
        let mut requests = Vec::new();
        for worker in 1..pool.hands.len() {
            requests.extend(pool.report(WorkerId(worker as u64), usize::MAX));
            if requests.len() >= BATCH || (worker + 1 == pool.hands.len() && !requests.is_empty()) {
                any = true;
                pool.now.0 += 1_000_000;
                pool.apply(&requests);
                requests.clear();
            }
        }
        pool.settle();
        if !any {
            return;
        }
    }
}

/// One job on two workers that report 500 runs at a time: the hot path.
pub(crate) fn line(_: u64, tasks: u64) {
    let mut pool = equal_pool(2, 2, 1);
    let before = resident_bytes();
    pool.begin();
    pool.one(RESEARCHER, small_job(tasks, |_| ()));
    tell("submit_us", pool.times.quantile_us(1000));
    pool.begin();
    loop {
        let requests: Vec<Request> = (1..3).filter_map(|id| pool.report(WorkerId(id), 500)).collect();
        if requests.is_empty() {
            break;
        }
        pool.now.0 += 1_000_000;
        pool.apply(&requests);
    }
    tell("tasks_per_s", (tasks as f64 / pool.times.total_s()).round());
    tell("decoded_tasks_per_s", (tasks as f64 / pool.decoding.as_secs_f64()).round());
    tell("bytes_per_decided_task", per(resident_bytes().saturating_sub(before), tasks));
    tell_times("", &pool.times);
}

/// Mixed machines of mixed owners come and go and do mixed jobs, and now and then one lies.
pub(crate) fn crowd(workers: u64, tasks: u64) {
    crowd_of(workers, tasks, Checks::Hidden);
}

/// The same where everybody is believed.
pub(crate) fn believers(workers: u64, tasks: u64) {
    crowd_of(workers, tasks, Checks::Off);
}

fn crowd_of(workers: u64, tasks: u64, checks: Checks) {
    let owners = (workers * 6 / 10).max(1);
    let mut crowd = Crowd::new(workers, owners, checks);
    crowd.pool.begin();
    crowd.join();
    tell_times("join_", &crowd.pool.times);
    crowd.pool.begin();
    let begun = crowd.pool.now;
    crowd.run(tasks);
    let pool = &crowd.pool;
    tell("owners", owners);
    tell("jobs", crowd.jobs);
    tell("tasks", crowd.ordered);
    tell("log_hours", format_args!("{:.2}", (pool.now.0 - begun.0) as f64 / 3.6e12));
    tell("assigned", pool.assigned);
    tell("reported", pool.reported);
    tell("transfers", pool.transfers);
    tell("detached", crowd.detached);
    tell("lost", crowd.lost);
    let decisions = (pool.assigned + pool.reported) as f64;
    tell("decisions_per_s", (decisions / pool.times.total_s()).round());
    tell("decode_s", format_args!("{:.3}", pool.decoding.as_secs_f64()));
    tell_times("", &pool.times);
    let standing = |standing| pool.state.owners().values().filter(|o| o.standing == standing).count();
    tell("proven", standing(Standing::Proven));
    tell("caught", standing(Standing::Caught));
    tell("resident_bytes", resident_bytes());
    snapshot(&pool.state, crowd.ordered);
}

/// Size and time of a snapshot, and of reading it.
fn snapshot(state: &State, tasks: u64) {
    let start = processor_time();
    let bytes = encode_state(state);
    tell("snapshot_s", format_args!("{:.3}", (processor_time() - start).as_secs_f64()));
    tell("snapshot_bytes", bytes.len());
    tell("snapshot_bytes_per_task", per(bytes.len(), tasks));
    let start = processor_time();
    let back = decode_state(STATE_VERSION, &bytes).expect("encoded above");
    tell("restore_s", format_args!("{:.3}", (processor_time() - start).as_secs_f64()));
    assert!(back == *state, "a snapshot restores the state");
}

/// What an owner, a worker, a job, a task and a run take in memory.
pub(crate) fn memory(workers: u64, tasks: u64) {
    let mut grown = resident_bytes();
    let mut growth = |name: &str, count: u64, own: usize| {
        let now = resident_bytes().saturating_sub(own);
        tell(name, per(now.saturating_sub(grown), count));
        grown = now;
    };
    let mut pool = Pool::new(0, workers as usize);
    pool.times = Times::default();
    // Its own lists are touched before they are subtracted.
    growth("bytes_at_start", 1, pool.own_bytes());
    for number in 0..workers {
        pool.one(State::SYSTEM, crate::common::open(&format!("owner-{number}"), &[pumasi_core::Role::Owner]));
    }
    growth("bytes_per_owner", workers, pool.own_bytes());
    for key in 0..workers {
        pool.attach(owner(key), machine(u128::from(key), 1));
    }
    growth("bytes_per_idle_worker", workers, pool.own_bytes());
    let small = (workers / 10).clamp(1, 9_000);
    for _ in 0..small {
        pool.one(RESEARCHER, small_job(1, |spec| spec.bid = Price(1)));
    }
    growth("bytes_per_waiting_job", small, pool.own_bytes());
    pool.one(RESEARCHER, small_job(tasks, |spec| spec.engine = EngineId("none-yet".to_owned())));
    growth("bytes_per_open_task", tasks, pool.own_bytes());
    pool.one(RESEARCHER, small_job(tasks, |_| ()));
    growth("bytes_per_second_job_task", tasks, pool.own_bytes());
    pool.settle();
    growth("bytes_per_busy_worker_more", workers, pool.own_bytes());
    work_off(&mut pool);
    growth("bytes_per_decided_task_more", tasks, pool.own_bytes());
    let ids = workers.min(100_000);
    for id in 0..ids {
        let mut request = ask(RESEARCHER, Command::CancelJob { job: JobId(u64::MAX) });
        request.id = Some(pumasi_types::RequestId(u128::from(id)));
        pool.apply(&[request]);
    }
    growth("bytes_per_request_id", ids, pool.own_bytes());
    snapshot(&pool.state, tasks);
}

/// Everybody is idle while jobs come that suit nobody.
pub(crate) fn idle(workers: u64, _: u64) {
    let mut pool = Pool::new(workers.min(60_000), workers as usize);
    let mut dice = Dice(2);
    for key in 0..workers {
        let mut spec = mixed_machine(key, &mut dice);
        spec.memory = spec.memory.min(ByteSize::mib(3_000));
        pool.attach(owner(key % workers.min(60_000)), spec);
    }
    pool.begin();
    for _ in 0..200 {
        pool.one(RESEARCHER, small_job(10, |spec| spec.limits.memory = ByteSize::mib(4_096)));
    }
    tell_times("", &pool.times);
}

/// Everybody is hungry when one large job comes.
pub(crate) fn herd(workers: u64, tasks: u64) {
    let mut pool = equal_pool(workers, workers.min(60_000), 4);
    pool.begin();
    pool.one(RESEARCHER, small_job(tasks.max(workers * 16), |_| ()));
    tell("submit_us", pool.times.quantile_us(1000));
    pool.settle();
    tell("assigned", pool.assigned);
    tell_times("", &pool.times);
    pool.begin();
    let cancel = Command::CancelJob { job: JobId(1) };
    pool.one(RESEARCHER, cancel);
    pool.settle();
    tell_times("cancel_", &pool.times);
}

/// A hundred thousand more urgent jobs wait that suit nobody, while one job is worked on.
pub(crate) fn misfits(workers: u64, tasks: u64) {
    let mut pool = Pool::new(workers.min(60_000) + 10, workers as usize);
    for number in 0..workers.min(60_000) {
        let name = format!("also-{number}");
        let both = [pumasi_core::Role::Owner, pumasi_core::Role::Researcher];
        if number < 10 {
            let done = pool.one(State::SYSTEM, crate::common::open(&name, &both));
            let pumasi_core::Done::Account(to) = done else { panic!("an account answered {done:?}") };
            let currency = pumasi_types::Currency::CREDIT;
            pool.one(State::SYSTEM, Command::Issue { to, currency, amount: Amount(1 << 50) });
            let mut dice = Dice(number);
            for _ in 0..9_999 {
                let misfit = small_job(3, |spec| {
                    spec.priority = 9;
                    match dice.below(3) {
                        0 => spec.bid = Price(dice.below(400_000)),
                        1 => spec.engine = EngineId("wasmtime-1.0.0/1".to_owned()),
                        _ => (spec.bid, spec.limits.memory) = (Price(499_999), ByteSize::mib(4_096)),
                    }
                });
                pool.one(to, misfit);
            }
        }
    }
    let mut dice = Dice(3);
    for key in 0..workers {
        let spec = WorkerSpec { engine: machine(0, 1).engine, ..mixed_machine(key, &mut dice) };
        pool.attach(owner(key % workers.min(60_000)), spec);
    }
    pool.one(RESEARCHER, small_job(tasks, |spec| spec.bid = Price(2_000_000)));
    pool.settle();
    pool.begin();
    for worker in 1..=10_000.min(workers) {
        if let Some(request) = pool.report(WorkerId(worker), 4) {
            pool.apply(&[request]);
        }
    }
    tell("reports", pool.times.count());
    tell_times("", &pool.times);
}

/// All machines belong to one owner, and jobs want two owners to agree.
pub(crate) fn one_owner(workers: u64, _: u64) {
    let mut pool = equal_pool(workers, 1, 1);
    pool.begin();
    for _ in 0..200 {
        pool.one(RESEARCHER, small_job(100, |spec| spec.quorum = 2));
        pool.settle();
    }
    tell_times("submit_", &pool.times);
    pool.begin();
    for worker in 1..=workers.min(10_000) {
        if let Some(request) = pool.report(WorkerId(worker), usize::MAX) {
            pool.apply(&[request]);
        }
    }
    tell_times("", &pool.times);
}

/// Every machine has its own owner, and jobs want three owners to agree.
pub(crate) fn strangers(workers: u64, tasks: u64) {
    let mut pool = equal_pool(workers, workers, 2);
    pool.begin();
    pool.one(RESEARCHER, small_job(tasks, |spec| spec.quorum = 3));
    pool.settle();
    work_off(&mut pool);
    let decisions = (pool.assigned + pool.reported) as f64;
    tell("decisions_per_s", (decisions / pool.times.total_s()).round());
    tell_times("", &pool.times);
    assert!(pool.state.jobs().values().all(|job| job.outcome().is_some()), "everybody agrees");
}

/// Half of all machines vanish within a minute, their runs with them.
pub(crate) fn loss(workers: u64, tasks: u64) {
    let mut pool = equal_pool(workers, workers.min(60_000), 2);
    pool.one(RESEARCHER, small_job(tasks.max(workers * 8), |spec| spec.max_losses = 9));
    pool.settle();
    pool.begin();
    let worker = |number: u64| WorkerId(number * 2 + 1);
    for step in [true, false] {
        let numbers: Vec<u64> = (0..workers / 2).collect();
        for chunk in numbers.chunks(1_024) {
            let command = |number: &u64| match step {
                true => Command::DetachWorker { worker: worker(*number), link: 1 },
                false => Command::LoseWorker { worker: worker(*number), link: 1 },
            };
            let requests: Vec<Request> = chunk.iter().map(|n| ask(State::SYSTEM, command(n))).collect();
            pool.now.0 += 100_000_000;
            pool.apply(&requests);
        }
    }
    pool.settle();
    tell_times("", &pool.times);
}

/// The hub starts anew and everybody comes back with what they have.
pub(crate) fn restart(workers: u64, tasks: u64) {
    let mut pool = equal_pool(workers, workers.min(60_000), 2);
    pool.one(RESEARCHER, small_job(tasks.max(workers * 8), |_| ()));
    pool.settle();
    snapshot(&pool.state, tasks);
    pool.begin();
    pool.one(State::SYSTEM, Command::Start);
    tell("start_us", pool.times.quantile_us(1000));
    pool.settle();
    pool.begin();
    let numbers: Vec<u64> = (1..=workers).collect();
    for chunk in numbers.chunks(1_024) {
        let back = |number: &u64| {
            let held: Vec<RunId> = pool.hands[*number as usize].iter().map(|given| given.run).collect();
            let spec = WorkerSpec { held, ..machine(u128::from(number - 1), 2) };
            ask(pool.owner(WorkerId(*number)), Command::AttachWorker(spec))
        };
        let requests: Vec<Request> = chunk.iter().map(back).collect();
        pool.now.0 += 10_000_000;
        pool.apply(&requests);
    }
    pool.settle();
    tell_times("", &pool.times);
}

/// Small jobs end while everybody is busy with a large one.
pub(crate) fn ends(workers: u64, tasks: u64) {
    let mut pool = equal_pool(workers, workers.min(60_000), 1);
    pool.one(RESEARCHER, small_job(tasks.max(workers * 4), |_| ()));
    pool.settle();
    let mut small = Vec::new();
    for number in 0..200_u64 {
        let pumasi_core::Done::Job(id) = pool.one(RESEARCHER, small_job(1, |spec| spec.priority = 9)) else {
            panic!("a job was not ordered")
        };
        small.push(id);
        let worker = WorkerId(workers - 1 - number * 2 % workers.max(1));
        if let Some(request) = pool.report(worker, usize::MAX) {
            pool.apply(&[request]);
        }
    }
    pool.begin();
    for job in small {
        pool.apply(&[ask(RESEARCHER, Command::CancelJob { job })]);
    }
    tell_times("", &pool.times);
}
