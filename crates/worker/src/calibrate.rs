//! Measures how fast one core of this machine burns fuel, with a fixed guest.

use std::time::Instant;

use pumasi_types::{ByteSize, Ending, Limits, Speed};

use crate::engine::{Engine, RunOutcome, RunSpec, StopFlag};

/// The kernel, compiled from `kernel.wat` beside it: integer, floating point and memory work, mixed.
const KERNEL: &[u8] = include_bytes!("calibrate/kernel.wasm");
/// What the kernel needs; a machine that gives its guests no more can be measured all the same.
const KERNEL_MEMORY: ByteSize = ByteSize::mib(4);
/// Passes, of which the median counts: a single one may be disturbed by other work of the machine.
const PASSES: usize = 7;

/// Why the speed could not be measured.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot measure this machine's speed: the kernel ended with '{ending}' ({reason}); run it again when less is running"
)]
pub struct CalibrateError {
    ending: Ending,
    reason: String,
}

/// Fuel a second that one core burns, in about 0.3 s.
///
/// # Errors
/// When the kernel cannot be run here.
pub fn calibrate(engine: &Engine) -> Result<Speed, CalibrateError> {
    let failed = |ending, reason: String| CalibrateError { ending, reason };
    let module = engine.load(KERNEL).map_err(|error| failed(error.ending(), error.to_string()))?;
    let pass = || {
        let started = Instant::now();
        let limits = Limits { memory: KERNEL_MEMORY, ..Limits::default() };
        let outcome = engine.run(&module, RunSpec { limits, ..RunSpec::default() }, &StopFlag::default());
        let RunOutcome { ending, fuel, reason, .. } = outcome;
        if !ending.is_success() {
            return Err(failed(ending, reason.unwrap_or_default()));
        }
        let nanoseconds = started.elapsed().as_nanos().max(1);
        let speed = u128::from(fuel.0) * 1_000_000_000 / nanoseconds;
        Ok(u64::try_from(speed).unwrap_or(u64::MAX))
    };
    // The first pass pays for the first touch of code and memory.
    pass()?;
    let mut speeds = (0..PASSES).map(|_| pass()).collect::<Result<Vec<u64>, _>>()?;
    speeds.sort_unstable();
    Ok(Speed(speeds[PASSES / 2]))
}
