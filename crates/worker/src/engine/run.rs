//! One run of a task, from its start to its ending.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use bytes::Bytes;
use pumasi_api::output::TaskOutput;
use pumasi_types::{Duration, Ending, Fuel, Limits, TaskIndex, Time, Trap};
use wasmtime::{ResourceLimiter, Store, UpdateDeadline};

use super::module::Linked;
use super::settings::{RECOUNT_FUEL, RECOUNT_GROWTH, TABLE_MAX};
use super::{Engine, Module};
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
    /// Fuel that is to be paid, the same on every machine when the ending is deterministic.
    ///
    /// What was burnt; of a run whose trap lost the count, a bound found by recounting: at least what was
    /// burnt, and at most four times that and [`RECOUNT_FUEL`], see `Engine::recount`.
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

/// What came of one pass over a task.
struct Pass {
    ending: Ending,
    reason: Option<String>,
    fuel: Fuel,
    output: TaskOutput,
    /// Whether steps before the ending are missing in `fuel`.
    is_uncounted: bool,
}

impl Engine {
    /// Runs a task on this thread, which needs 2 MiB of stack; as many at once as the engine has slots.
    ///
    /// Never panics and never hangs, whatever the guest does: fuel bounds its work, the wall-clock limit
    /// and `stop` end it within some milliseconds.
    pub fn run(&self, module: &Module, spec: RunSpec, stop: &StopFlag) -> RunOutcome {
        let started = Instant::now();
        let _running = self.inner.ticker.run();
        let (mut pass, spec) = self.pass(module, spec, stop);
        // A guest whose memory does not even fit at its start has burnt nothing.
        if pass.is_uncounted && module.inner.memory_min <= spec.limits.memory.0 {
            self.recount(module, spec, stop, &mut pass);
        }
        let Pass { ending, reason, fuel, output, .. } = pass;
        let wall = Duration(u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX));
        RunOutcome { ending, fuel, wall, output, reason }
    }

    /// Finds a bound of what a run burnt whose trap lost the count.
    ///
    /// Compiled code keeps the count in a register and stores it at calls and returns only, so a loop that
    /// ends in a division by zero looks as if it had cost nothing, and whole programs could be run for free.
    /// But loops compare the register with the limit. So the run is repeated with limits of
    /// [`RECOUNT_FUEL`] beyond the stored count, then [`RECOUNT_GROWTH`] times as much, and so on, until one
    /// lets it get to its trap. All repetitions together burn less than the bill and the first pass do.
    fn recount(&self, module: &Module, mut spec: RunSpec, stop: &StopFlag, first: &mut Pass) {
        let (counted, limit) = (first.fuel.0, spec.limits.fuel);
        let mut allowance = RECOUNT_FUEL;
        loop {
            let fuel = Fuel(counted.saturating_add(allowance));
            if fuel >= limit {
                // It did not run out of this.
                first.fuel = limit;
                return;
            }
            spec.limits.fuel = fuel;
            let pass;
            (pass, spec) = self.pass(module, spec, stop);
            match pass.ending {
                Ending::OutOfFuel => allowance = allowance.saturating_mul(RECOUNT_GROWTH),
                ending if ending == first.ending => {
                    first.fuel = fuel;
                    return;
                }
                // Stopped, or the machine failed: then nothing is known.
                _ => {
                    *first = pass;
                    return;
                }
            }
        }
    }

    /// Runs a task once; gives back what it was given.
    fn pass(&self, module: &Module, spec: RunSpec, stop: &StopFlag) -> (Pass, RunSpec) {
        let limits = spec.limits;
        let mut store = Store::new(&self.inner.wasmtime, Guest::new(spec));
        let result = self.start(&mut store, module, limits, stop);
        let (ending, reason, is_uncounted) = match result {
            Ok(()) => (Ending::Exited { code: 0 }, None, false),
            Err(error) => {
                let (ending, reason) = ending_of(&error);
                (ending, reason, is_uncounted(&error))
            }
        };
        let left = store.get_fuel().unwrap_or(0);
        let fuel = match ending {
            Ending::OutOfFuel => limits.fuel,
            _ => Fuel(limits.fuel.0.saturating_sub(left)),
        };
        let (output, spec) = store.into_data().into_output(ending);
        (Pass { ending, reason, fuel, output, is_uncounted }, spec)
    }

    fn start(
        &self,
        store: &mut Store<Guest>,
        module: &Module,
        limits: Limits,
        stop: &StopFlag,
    ) -> wasmtime::Result<()> {
        let started = Instant::now();
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
        let Some(Linked { pre, memory, start, .. }) = &module.inner.linked else {
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

/// Whether a run ended between two points where compiled code stores its count.
///
/// Stored right before are `unreachable` and every call, so also what a call can trap with and what host
/// functions end with. Growing a memory is no call.
fn is_uncounted(error: &wasmtime::Error) -> bool {
    use wasmtime::Trap as T;
    match (error.downcast_ref::<Halt>(), error.downcast_ref::<T>()) {
        (Some(halt), _) => matches!(halt, Halt::OutOfMemory { .. }),
        (None, Some(T::UnreachableCodeReached | T::StackOverflow | T::OutOfFuel)) => false,
        (None, Some(T::IndirectCallToNull | T::BadSignature)) => false,
        (None, Some(_)) => true,
        (None, None) => false,
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
