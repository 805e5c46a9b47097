//! One run of a task, from its start to its ending.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use bytes::Bytes;
use pumasi_api::output::TaskOutput;
use pumasi_types::{Duration, Ending, Fuel, Limits, TaskIndex, Time, Trap};
use wasmtime::{ResourceLimiter, Store, UpdateDeadline};

use super::module::Linked;
use super::{Engine, Module, TABLE_MAX};
use crate::wasi::{Guest, Halt, InFile};

/// What a run is given; everything in it but the limits' wall time decides its result.
#[derive(Clone, Debug, Default)]
pub struct RunSpec {
    /// The guest's argv; the first is by custom the name of the program.
    pub args: Vec<String>,
    /// The guest's environment, each NAME=VALUE.
    pub env: Vec<String>,
    /// What the guest reads from standard input.
    pub stdin: Bytes,
    /// Files below /in.
    pub files: Vec<InFile>,
    /// Where the guest's clocks start.
    pub clock: Time,
    /// The job's seed, from which with `task` the guest's random bytes are drawn.
    pub seed: u64,
    /// The task's place in its job.
    pub task: TaskIndex,
    /// What the run may use.
    pub limits: Limits,
}

/// How a run ended and what it cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunOutcome {
    /// How it ended.
    pub ending: Ending,
    /// Fuel burnt, the same on every machine when the ending is deterministic.
    ///
    /// Of a guest that traps or runs out of memory, the steps after its last call or return are not in it:
    /// compiled code keeps its count in a register between them.
    pub fuel: Fuel,
    /// Time it took here.
    pub wall: Duration,
    /// What it produced; files of a guest that did not exit are dropped.
    pub output: TaskOutput,
    /// Why it ended, for people; none when it exited.
    pub reason: Option<String>,
}

/// Asks runs to end soon. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    /// Ends the runs that were given this flag within some milliseconds, with [`Ending::Faulted`].
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether [`StopFlag::set`] was called.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Growth beyond the limit ends the run with a clear ending instead of a failure that the guest may hide.
impl ResourceLimiter for Guest {
    fn memory_growing(
        &mut self,
        _current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let (wanted, limit) = (desired as u64, self.memory_limit());
        match maximum {
            // The module's own bound: growth fails as WebAssembly says.
            Some(maximum) if desired > maximum && maximum as u64 <= limit => Ok(false),
            _ if wanted > limit => Err(Halt::OutOfMemory { wanted, limit }.into()),
            _ => Ok(true),
        }
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        // Bounds were checked before, so the kernel refused.
        Err(Halt::Host(format!("this machine has no memory left for the guest: {error:#}")).into())
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_MAX)
    }

    fn instances(&self) -> usize {
        1
    }
}

impl Engine {
    /// Runs a task on this thread, which needs 2 MiB of stack; as many at once as the engine has slots.
    ///
    /// Never panics and never hangs, whatever the guest does: fuel bounds its work, the wall-clock limit
    /// and `stop` end it within some milliseconds.
    pub fn run(&self, module: &Module, spec: RunSpec, stop: &StopFlag) -> RunOutcome {
        let started = Instant::now();
        let limits = spec.limits;
        let _running = self.inner.ticker.run();
        let mut store = Store::new(&self.inner.wasmtime, Guest::new(spec));
        let result = self.start(&mut store, module, limits, started, stop);
        let (ending, reason) = match result {
            Ok(()) => (Ending::Exited { code: 0 }, None),
            Err(error) => ending_of(&error),
        };
        let left = store.get_fuel().unwrap_or(0);
        let fuel = match ending {
            Ending::OutOfFuel => limits.fuel,
            _ => Fuel(limits.fuel.0.saturating_sub(left)),
        };
        let output = store.into_data().into_output(ending);
        let wall = Duration(u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX));
        RunOutcome { ending, fuel, wall, output, reason }
    }

    fn start(
        &self,
        store: &mut Store<Guest>,
        module: &Module,
        limits: Limits,
        started: Instant,
        stop: &StopFlag,
    ) -> wasmtime::Result<()> {
        store.set_fuel(limits.fuel.0)?;
        let memory_min = module.inner.memory_min;
        if memory_min > limits.memory.0 {
            return Err(Halt::OutOfMemory { wanted: memory_min, limit: limits.memory.0 }.into());
        }
        if limits.memory.0 > self.inner.memory_max {
            let most = self.inner.memory_max;
            let reason = format!("the run may use {} of memory, this worker has {most} bytes", limits.memory);
            return Err(Halt::Host(reason).into());
        }
        let Some(Linked { pre, memory, start }) = &module.inner.linked else {
            return Err(Halt::Host("the module needs more memory than this worker has".to_owned()).into());
        };
        if stop.is_set() {
            return Err(Halt::Stopped.into());
        }
        store.limiter(|guest| guest);
        let wall = std::time::Duration::from(limits.wall);
        let stop = stop.clone();
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(move |_| match () {
            () if stop.is_set() => Err(Halt::Stopped.into()),
            () if started.elapsed() >= wall => Err(Halt::TimedOut.into()),
            () => Ok(UpdateDeadline::Continue(1)),
        });
        let instance = pre.instantiate(&mut *store)?;
        let memory = instance.get_module_export(&mut *store, memory).and_then(|found| found.into_memory());
        store.data_mut().memory = memory;
        let start = instance.get_module_export(&mut *store, start).and_then(|found| found.into_func());
        let start = start.ok_or_else(|| Halt::Host("the module exports no _start".to_owned()))?;
        start.typed::<(), ()>(&*store)?.call(&mut *store, ())
    }
}

/// What an error of wasmtime means for the task.
fn ending_of(error: &wasmtime::Error) -> (Ending, Option<String>) {
    let ending = match (error.downcast_ref::<Halt>(), error.downcast_ref::<wasmtime::Trap>()) {
        (Some(Halt::Exit(code)), _) => return (Ending::Exited { code: *code }, None),
        (Some(halt), _) => match halt {
            Halt::Exit(code) => Ending::Exited { code: *code },
            Halt::Raise(_) => Ending::Trapped { trap: Trap::Other },
            Halt::OutOfFuel => Ending::OutOfFuel,
            Halt::OutOfMemory { .. } => Ending::OutOfMemory,
            Halt::OutputTooLarge { .. } => Ending::OutputTooLarge,
            Halt::TimedOut => Ending::TimedOut,
            Halt::Stopped | Halt::Host(_) => Ending::Faulted,
        },
        (None, Some(trap)) => match trap {
            wasmtime::Trap::OutOfFuel => Ending::OutOfFuel,
            trap => Ending::Trapped { trap: kind_of(*trap) },
        },
        (None, None) => Ending::Faulted,
    };
    let reason = match error.downcast_ref::<Halt>() {
        Some(halt) => halt.to_string(),
        None => match ending {
            Ending::Faulted => format!("{error:#}"),
            known => known.to_string(),
        },
    };
    (ending, Some(reason))
}

fn kind_of(trap: wasmtime::Trap) -> Trap {
    use wasmtime::Trap as T;
    match trap {
        T::UnreachableCodeReached => Trap::Unreachable,
        T::StackOverflow => Trap::StackOverflow,
        T::MemoryOutOfBounds => Trap::MemoryOutOfBounds,
        T::TableOutOfBounds => Trap::TableOutOfBounds,
        T::IndirectCallToNull | T::BadSignature => Trap::BadCall,
        T::IntegerDivisionByZero => Trap::DivisionByZero,
        T::IntegerOverflow | T::BadConversionToInteger => Trap::BadConversion,
        _ => Trap::Other,
    }
}
