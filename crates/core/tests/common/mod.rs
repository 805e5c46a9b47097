//! Jobs, machines and requests as most tests want them.
#![allow(dead_code, reason = "each test program uses its part")]

pub(crate) mod dice;

use pumasi_core::{Checks, Command, JobSpec, Request, Role, Roles, RunReport, WorkerSpec};
use pumasi_types::{
    AccountId, Amount, ByteSize, Duration, Ending, EngineId, Fuel, Hash, Limits, Price, RunId, Speed, Time,
};

/// The engine of every job and worker that does not say otherwise.
pub(crate) const ENGINE: &str = "wasmtime-48.0.8/1";
/// When tests begin: log time is never near zero.
pub(crate) const BEGIN: Time = Time(1_700_000_000_000_000_000);

/// A job of tasks that may burn one standard core-second each, for one credit each, and believes every owner.
pub(crate) fn job(name: &str, tasks: u32, budget: Amount) -> JobSpec {
    JobSpec {
        name: name.to_owned(),
        module: Hash::of(b"module"),
        args: Vec::new(),
        env: Vec::new(),
        files: Vec::new(),
        task_list: None,
        tasks,
        limits: Limits { fuel: Fuel::PER_CORE_SECOND, ..Limits::default() },
        engine: EngineId(ENGINE.to_owned()),
        quorum: 1,
        priority: 0,
        bid: Price::ONE_CREDIT,
        budget,
        deadline: None,
        max_losses: 3,
        max_failures: None,
        after: Vec::new(),
        seed: 1,
        clock: None,
        checks: Checks::Off,
    }
}

/// A machine that works for one credit a standard core-second.
pub(crate) fn machine(machine_key: u128, cores: u32) -> WorkerSpec {
    WorkerSpec {
        machine_key,
        name: format!("machine-{machine_key}"),
        cores,
        memory: ByteSize::mib(4096),
        speed: Speed(2_000_000_000),
        engine: EngineId(ENGINE.to_owned()),
        ask: Price::ONE_CREDIT,
        held: Vec::new(),
    }
}

/// A run that succeeded.
pub(crate) fn success(run: RunId, result: Hash) -> RunReport {
    RunReport {
        run,
        ending: Ending::Exited { code: 0 },
        fuel: Fuel(Fuel::PER_CORE_SECOND.0 / 2),
        wall: Duration::from_millis(500),
        result,
    }
}

/// The command that opens an account whose token is its name.
pub(crate) fn open(name: &str, roles: &[Role]) -> Command {
    let roles: Roles = roles.iter().copied().collect();
    Command::OpenAccount { name: name.to_owned(), roles, token: Hash::of(name.as_bytes()) }
}

/// A request without an id.
pub(crate) fn ask(caller: AccountId, command: Command) -> Request {
    Request { caller, id: None, command }
}

/// How random tests run: `PROPTEST_CASES` says how many (256 by default); a case that fails is printed with
/// its seed and kept beside the test, where it is tried first from then on.
pub(crate) fn cases() -> proptest::test_runner::Config {
    let keep = proptest::test_runner::FileFailurePersistence::WithSource("regressions");
    proptest::test_runner::Config { failure_persistence: Some(Box::new(keep)), ..Default::default() }
}
