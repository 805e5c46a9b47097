//! Runs WebAssembly guests: the same everywhere, metered, bounded, cheap to start.
//!
//! What a task could notice is fixed in `settings.rs`: NaNs are canonical; threads, relaxed SIMD and every
//! proposal whose result could depend on the machine are off; the guest's stack is of one size; and the code
//! is made for one common level of processor. What is set here only concerns how much a machine carries.

mod cache;
mod compile;
mod module;
mod run;
mod settings;
mod ticker;

use std::path::PathBuf;
use std::sync::Arc;

use pumasi_types::{ByteSize, EngineId};
use wasmtime::{Enabled, InstanceAllocationStrategy, Linker, PoolingAllocationConfig};

use self::cache::Cache;
use self::settings::{MEMORY_MAX, TABLE_MAX, TABLES_MAX};
use self::ticker::Ticker;
use crate::wasi::{self, Guest};

pub use self::compile::{COMPILE_GUEST, Compiler, compile_guest};
pub use self::module::{Module, ModuleError};
pub use self::run::{RunOutcome, RunSpec, StopFlag};
pub use self::settings::MODULE_BYTES_MAX;

/// Memory of a slot that is wiped instead of given back to the kernel between runs, in bytes.
const KEEP_RESIDENT: usize = 1 << 20;

/// How an engine is set up on a machine.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Runs at once, on as many threads.
    pub slots: u32,
    /// The largest memory limit of a run that this machine accepts.
    pub memory_max: ByteSize,
    /// Folder that keeps compiled modules; none compiles each module anew in each process. Not for modules
    /// of others: they would stay readable on this machine.
    pub cache_dir: Option<PathBuf>,
    /// Who compiles modules.
    pub compiler: Compiler,
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
    /// Addresses of each slot's memory, in bytes.
    reservation: u64,
    cache: Option<Cache>,
    compiler: Compiler,
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
        let (wasmtime, reservation) = build(config.slots, MEMORY_MAX)
            .map(|engine| (engine, MEMORY_MAX))
            .or_else(|_| build(config.slots, memory_max).map(|engine| (engine, memory_max)))
            .map_err(|source| EngineError::Setup { slots: config.slots, source })?;
        let mut linker = Linker::new(&wasmtime);
        wasi::add_to_linker(&mut linker)
            .map_err(|source| EngineError::Setup { slots: config.slots, source })?;
        let cache = config.cache_dir.as_ref().map(|path| Cache::open(path, &wasmtime)).transpose()?;
        let ticker = Ticker::start(wasmtime.weak()).map_err(|source| EngineError::Thread { source })?;
        let compiler = config.compiler.clone();
        let inner = Inner { wasmtime, linker, memory_max, reservation, cache, compiler, ticker };
        Ok(Engine { inner: Arc::new(inner) })
    }

    /// What fuel and results are comparable for: version of wasmtime and a hash of all our settings.
    ///
    /// It differs between kinds of processor, because the stack that compiled code needs does.
    pub fn id() -> EngineId {
        settings::id()
    }
}

/// An engine with a pool of slots, each with `reservation` bytes of addresses for the guest's memory.
fn build(slots: u32, reservation: u64) -> wasmtime::Result<wasmtime::Engine> {
    let mut config = settings::config(reservation);
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
