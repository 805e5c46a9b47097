//! Runs WebAssembly guests: the same everywhere, metered, bounded, cheap to start.
//!
//! Settings that a task could notice are fixed here and counted in [`SETTINGS`]: NaNs are canonical;
//! threads, relaxed SIMD and every proposal whose result could depend on the machine are off; the guest's
//! stack is of one size; and the code is made for one common level of processor, because what a stack
//! overflow burns depends on the size of compiled frames.

mod cache;
mod module;
mod run;
mod ticker;

use std::path::PathBuf;
use std::sync::Arc;

use pumasi_types::{ByteSize, EngineId};
use wasmtime::{
    Config, Enabled, InstanceAllocationStrategy, Linker, OptLevel, PoolingAllocationConfig, Strategy,
};

use self::cache::Cache;
use self::ticker::Ticker;
use crate::wasi::{self, Guest};

pub use self::module::{MODULE_BYTES_MAX, Module, ModuleError};
pub use self::run::{RunOutcome, RunSpec, StopFlag};

/// Version of wasmtime; a test compares it with the one that is linked.
const WASMTIME: &str = "48.0.8";
/// Revision of all that decides what a task costs or gets besides wasmtime itself: the settings below, the
/// limits of modules, and the host functions with their fuel.
const SETTINGS: u32 = 1;

/// The largest memory of WebAssembly with 32-bit addresses, in bytes.
const MEMORY_MAX: u64 = 1 << 32;
/// The largest table of a guest, in elements.
const TABLE_MAX: usize = 1 << 17;
/// Tables of one guest.
const TABLES_MAX: u32 = 4;
/// Stack of a guest, in bytes; the thread that runs it must have twice as much.
const STACK: usize = 1 << 20;
/// Memory of a slot that is wiped instead of given back to the kernel between runs, in bytes.
const KEEP_RESIDENT: usize = 1 << 20;

/// How an engine is set up on a machine.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Runs at once, on as many threads.
    pub slots: u32,
    /// The largest memory limit of a run that this machine accepts.
    pub memory_max: ByteSize,
    /// Folder that keeps compiled modules; none compiles each module anew in each process.
    pub cache_dir: Option<PathBuf>,
}

/// Why there is no engine on this machine.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The processor, kernel or address space does not suffice.
    #[error(
        "cannot set up wasmtime for {slots} runs at once; give the worker fewer cores, or more address space \
         (ulimit -v), and on x86-64 a processor with SSE4.2 (2009 or newer)"
    )]
    Setup {
        /// Runs at once that were asked for.
        slots: u32,
        /// What wasmtime says.
        source: wasmtime::Error,
    },
    /// No thread can be started.
    #[error("cannot start the thread that watches time limits; let the system have more threads (ulimit -u)")]
    Thread {
        /// Why.
        source: std::io::Error,
    },
    /// The folder of compiled modules cannot be made.
    #[error("cannot create the folder {} for compiled modules; choose another cache folder", path.display())]
    CacheDir {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Compiles and runs guests. Clones share everything.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    wasmtime: wasmtime::Engine,
    linker: Linker<Guest>,
    memory_max: u64,
    cache: Option<Cache>,
    ticker: Ticker,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("id", &Engine::id()).finish_non_exhaustive()
    }
}

impl Engine {
    /// Sets up an engine.
    ///
    /// # Errors
    /// When the machine cannot carry it, or the cache folder cannot be made.
    pub fn new(config: &EngineConfig) -> Result<Engine, EngineError> {
        let memory_max = config.memory_max.0.min(MEMORY_MAX);
        // With 4 GiB of addresses for each slot the hardware checks the guest's accesses. Where there is
        // not so much, the code checks them itself, more slowly and with the same results and fuel.
        let wasmtime = build(config.slots, MEMORY_MAX)
            .or_else(|_| build(config.slots, memory_max))
            .map_err(|source| EngineError::Setup { slots: config.slots, source })?;
        let mut linker = Linker::new(&wasmtime);
        wasi::add_to_linker(&mut linker)
            .map_err(|source| EngineError::Setup { slots: config.slots, source })?;
        let cache = config.cache_dir.as_ref().map(|path| Cache::open(path, &wasmtime)).transpose()?;
        let ticker = Ticker::start(wasmtime.weak()).map_err(|source| EngineError::Thread { source })?;
        Ok(Engine { inner: Arc::new(Inner { wasmtime, linker, memory_max, cache, ticker }) })
    }

    /// What fuel and results are comparable for: version of wasmtime and revision of our settings.
    ///
    /// Processors other than x86-64 are named in it, because the stack that compiled code needs differs.
    pub fn id() -> EngineId {
        let machine = match std::env::consts::ARCH {
            "x86_64" => String::new(),
            other => format!("-{other}"),
        };
        EngineId(format!("wasmtime-{WASMTIME}/{SETTINGS}{machine}"))
    }
}

/// An engine with a pool of slots, each with `reservation` bytes of addresses for the guest's memory.
fn build(slots: u32, reservation: u64) -> wasmtime::Result<wasmtime::Engine> {
    let mut config = Config::new();
    features(&mut config);
    config
        .strategy(Strategy::Cranelift)
        .cranelift_opt_level(OptLevel::Speed)
        .cranelift_nan_canonicalization(true)
        .consume_fuel(true)
        .epoch_interruption(true)
        .max_wasm_stack(STACK)
        .wasm_backtrace_max_frames(None)
        .parallel_compilation(false)
        .memory_init_cow(true)
        .memory_reservation(reservation)
        .memory_may_move(false);
    fix_processor(&mut config);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_core_instances(slots)
        .total_memories(slots)
        .total_tables(slots.saturating_mul(TABLES_MAX))
        .max_unused_warm_slots(slots)
        .max_memories_per_module(1)
        .max_tables_per_module(TABLES_MAX)
        .max_core_instance_size(16 << 20)
        .max_memory_size(usize::try_from(reservation).unwrap_or(usize::MAX))
        .table_elements(TABLE_MAX)
        .linear_memory_keep_resident(KEEP_RESIDENT)
        .table_keep_resident(KEEP_RESIDENT)
        .pagemap_scan(Enabled::Auto);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    wasmtime::Engine::new(&config)
}

/// Turns off all of WebAssembly that is not finished, not needed, or not the same everywhere.
fn features(config: &mut Config) {
    config
        .wasm_simd(true)
        .wasm_relaxed_simd(false)
        .wasm_multi_memory(false)
        .wasm_memory64(false)
        .wasm_wide_arithmetic(false)
        .wasm_custom_page_sizes(false)
        .wasm_stack_switching(false)
        .shared_memory(false);
}

/// Makes code for x86-64-v2 on every x86-64, so that frames and with them stack overflows are alike.
#[cfg(target_arch = "x86_64")]
fn fix_processor(config: &mut Config) {
    const ON: [&str; 6] = ["has_cmpxchg16b", "has_sse3", "has_ssse3", "has_sse41", "has_sse42", "has_popcnt"];
    const OFF: [&str; 9] = [
        "has_avx",
        "has_avx2",
        "has_fma",
        "has_bmi1",
        "has_bmi2",
        "has_lzcnt",
        "has_avx512bitalg",
        "has_avx512dq",
        "has_avx512f",
    ];
    for flag in ON {
        // SAFETY: wasmtime compares each processor feature with the host before it runs any code, and
        // refuses to run when one is missing.
        #[allow(unsafe_code)]
        unsafe {
            config.cranelift_flag_set(flag, "true");
        }
    }
    for flag in OFF.into_iter().chain(["has_avx512vbmi", "has_avx512vl"]) {
        // SAFETY: not using a feature of the processor is always sound.
        #[allow(unsafe_code)]
        unsafe {
            config.cranelift_flag_set(flag, "false");
        }
    }
}

/// Other processors have one common level already.
#[cfg(not(target_arch = "x86_64"))]
fn fix_processor(_: &mut Config) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_names_the_linked_version() {
        let lock = include_str!("../../../../Cargo.lock");
        assert!(lock.contains(&format!("name = \"wasmtime\"\nversion = \"{WASMTIME}\"")));
        assert!(Engine::id().0.starts_with("wasmtime-48.0.8/1"), "{}", Engine::id());
    }
}
