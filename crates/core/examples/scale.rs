//! Measures the core alone: a job of a million tasks on two workers, and the snapshot of its state.
//!
//! `cargo run --release -p pumasi-core --example scale [TASKS] [QUORUM] [BATCH]`
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "a measurement needs a clock")]
#![allow(clippy::float_arithmetic, reason = "figures for people")]

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pumasi_core::{
    Action, Command, Done, JobSpec, Request, Role, Roles, RunReport, STATE_VERSION, State, WorkerSpec,
    decode_requests, decode_state, encode_request, encode_state,
};
use pumasi_types::{
    AccountId, Amount, ByteSize, Currency, Ending, EngineId, Fuel, Hash, Limits, Price, RunId, Speed, Time,
    WorkerId,
};

const ENGINE: &str = "wasmtime-48.0.8/1";

/// A hub reduced to what the core sees of it: entries through their encoding, and runs it was told to send.
struct Pool {
    state: State,
    now: Time,
    given: Vec<VecDeque<RunId>>,
    applying: Duration,
    decoding: Duration,
    transfers: usize,
}

impl Pool {
    fn apply(&mut self, caller: AccountId, command: Command) -> Done {
        self.now.0 += 100_000;
        let mut payload = Vec::new();
        encode_request(&mut payload, &Request { caller, id: None, command });
        let start = Instant::now();
        let requests = decode_requests(&payload).expect("encoded above");
        self.decoding += start.elapsed();
        let start = Instant::now();
        let applied = self.state.apply(self.now, &requests);
        self.applying += start.elapsed();
        self.transfers += applied.effects.transfers.len();
        for action in applied.effects.actions {
            if let Action::Assign { worker, runs, .. } = action {
                self.given[worker.0 as usize - 1].extend(runs.iter().map(|run| run.run));
            }
        }
        applied.answers.into_iter().next().expect("one answer per request").expect("done")
    }

    fn open(&mut self, name: &str, role: Role) -> AccountId {
        let roles = Roles::from_iter([role]);
        let command = Command::OpenAccount { name: name.into(), roles, token: Hash::of(name.as_bytes()) };
        match self.apply(State::SYSTEM, command) {
            Done::Account(account) => account,
            other => panic!("an account answered {other:?}"),
        }
    }

    /// Reports the oldest `batch` runs of a worker, all of them successful.
    fn report(&mut self, owner: AccountId, worker: WorkerId, batch: usize) -> bool {
        let given = &mut self.given[worker.0 as usize - 1];
        let report = |run| RunReport {
            run,
            ending: Ending::Exited { code: 0 },
            fuel: Fuel(1_000),
            wall: pumasi_types::Duration(10_000),
            result: Hash::from_bytes([7; 32]),
        };
        let runs: Vec<RunReport> = given.drain(..batch.min(given.len())).map(report).collect();
        let any = !runs.is_empty();
        if any {
            self.apply(owner, Command::Report { worker, runs });
        }
        any
    }
}

fn job(tasks: u32, quorum: u8) -> Command {
    Command::SubmitJob(Arc::new(JobSpec {
        name: "scale".into(),
        module: Hash::of(b"module"),
        args: Vec::new(),
        env: Vec::new(),
        files: Vec::new(),
        task_list: None,
        tasks,
        limits: Limits { fuel: Fuel(1_000_000), ..Limits::default() },
        engine: EngineId(ENGINE.into()),
        quorum,
        priority: 0,
        bid: Price::ONE_CREDIT,
        budget: Amount(1_000_000_000_000),
        deadline: None,
        max_losses: 3,
        max_failures: None,
        after: Vec::new(),
        seed: 1,
        clock: None,
    }))
}

fn machine(machine_key: u128) -> Command {
    Command::AttachWorker(WorkerSpec {
        machine_key,
        name: format!("machine-{machine_key}"),
        cores: 1,
        memory: ByteSize::mib(4096),
        speed: Speed(2_000_000_000),
        engine: EngineId(ENGINE.into()),
        ask: Price::ONE_CREDIT,
        held: Vec::new(),
    })
}

/// Resident memory of this process (proc(5), statm: pages of 4 KiB).
fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4096
}

fn main() {
    let mut numbers = std::env::args().skip(1).map(|arg| arg.parse::<u32>().expect("a whole number"));
    let tasks = numbers.next().unwrap_or(1_000_000);
    let quorum = numbers.next().unwrap_or(1) as u8;
    let batch = numbers.next().unwrap_or(500) as usize;
    let mut pool = Pool {
        state: State::new(),
        now: Time(1_700_000_000_000_000_000),
        given: vec![VecDeque::new(); 2],
        applying: Duration::ZERO,
        decoding: Duration::ZERO,
        transfers: 0,
    };
    let researcher = pool.open("alice", Role::Researcher);
    let owners = [pool.open("bob", Role::Owner), pool.open("carol", Role::Owner)];
    let amount = Amount(1_000_000_000_000);
    pool.apply(State::SYSTEM, Command::Issue { to: researcher, currency: Currency::CREDIT, amount });

    let before = resident_bytes();
    (pool.applying, pool.decoding) = (Duration::ZERO, Duration::ZERO);
    pool.apply(researcher, job(tasks, quorum));
    println!("submit            {:?}", pool.applying);
    for (i, owner) in owners.iter().enumerate() {
        pool.apply(*owner, machine(i as u128));
    }
    (pool.applying, pool.decoding) = (Duration::ZERO, Duration::ZERO);
    let mut most = 0;
    loop {
        let working = [0, 1].map(|i| pool.report(owners[i], WorkerId(i as u64 + 1), batch));
        most = most.max(pool.given.iter().map(VecDeque::len).sum());
        if working == [false, false] {
            break;
        }
    }
    let grown = resident_bytes().saturating_sub(before);
    let per_second = |time: Duration| f64::from(tasks) / time.as_secs_f64();
    println!("report and assign {:?}: {:.0} tasks/s", pool.applying, per_second(pool.applying));
    println!("decode entries    {:?}: {:.0} tasks/s", pool.decoding, per_second(pool.decoding));
    println!("transfers         {}, at most {most} runs with workers", pool.transfers);
    println!("resident growth   {grown} bytes: {} per task", grown / tasks as usize);

    let start = Instant::now();
    let bytes = encode_state(&pool.state);
    println!(
        "encode state      {:?}: {} bytes, {} per task",
        start.elapsed(),
        bytes.len(),
        bytes.len() / tasks as usize
    );
    let start = Instant::now();
    let back = decode_state(STATE_VERSION, &bytes).expect("encoded above");
    println!("decode state      {:?}", start.elapsed());
    assert!(back == pool.state, "a snapshot restores the state");
    pool.state.sanity_check();
}
