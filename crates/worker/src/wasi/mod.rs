//! WASI preview 1 over a file system in memory.
//!
//! Why not the `wasmtime-wasi` crate, which serves the host's disk, clock and sockets: here nothing of the
//! host is reachable or visible. No disk, clock, inode number or order of a folder differs between two
//! machines, so the results of independent owners agree byte by byte; what cannot be reached cannot be
//! attacked; and a run makes no system calls of its own, so that short tasks cost microseconds.
//!
//! What a guest sees: file descriptors 0, 1, 2 for stdin, stdout and stderr; 3 for the folder `/`, which
//! holds `/in` (read-only), `/out` (returned as the result) and `/tmp` (scratch, dropped). Clocks start at
//! the job's and advance by one nanosecond per fuel burnt and by whatever the guest sleeps; sleeping takes
//! no time of the host. Random bytes are a stream drawn from the job's seed and the task's index.
//!
//! Host work is paid in fuel too, so that it is bounded: [`CALL_FUEL`] for each call, one per
//! [`BYTES_PER_FUEL`] bytes moved, [`ENTRY_FUEL`] for each name, list entry or subscription looked at.
//! These constants are part of the engine's settings revision: changing one changes what tasks cost.

pub(crate) mod abi;
mod clock;
mod fd;
mod fs;
mod link;
mod path;
mod process;

use std::sync::Arc;

use bytes::Bytes;
use pumasi_api::output::{self, TaskOutput};
use pumasi_types::Ending;

use self::abi::{Answer, Memory};
use self::clock::Random;
use self::fd::FdTable;
use self::fs::Tree;
use crate::engine::RunSpec;

pub(crate) use self::fd::{BUFFERS_MAX, FDS_MAX};
pub(crate) use self::fs::NODE_BYTES;
pub(crate) use self::link::{MODULE, OFFERED, add_to_linker};

/// Fuel for each call of a host function.
pub(crate) const CALL_FUEL: u64 = 100;
/// Bytes that one fuel moves between guest and host.
pub(crate) const BYTES_PER_FUEL: u64 = 4;
/// Fuel for each name in a path, entry of a folder, subscription or buffer of a list.
pub(crate) const ENTRY_FUEL: u64 = 20;

/// Why a run ends before the guest returns from `_start`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Halt {
    /// `proc_exit`.
    #[error("the guest exited with code {0}")]
    Exit(u32),
    /// `proc_raise`.
    #[error("the guest raised signal {0}")]
    Raise(u32),
    /// A host call that the rest of the fuel does not cover.
    #[error("the rest of the fuel does not cover a call of the host")]
    OutOfFuel,
    /// A limit of memory, with what was asked for.
    #[error("the guest asked for {wanted} bytes of memory, its limit is {limit}")]
    OutOfMemory {
        /// Bytes that the guest wanted in all.
        wanted: u64,
        /// Bytes that it may have.
        limit: u64,
    },
    /// A limit of output.
    #[error("the guest wrote more than its limit of {limit} bytes to stdout, stderr, /out and /tmp together")]
    OutputTooLarge {
        /// Bytes that it may write.
        limit: u64,
    },
    /// The wall-clock limit.
    #[error("the run took longer than its wall-clock limit")]
    TimedOut,
    /// The worker asked for it.
    #[error("the worker stopped the run")]
    Stopped,
    /// The host failed, or was given input that cannot be set up.
    #[error("{0}")]
    Host(String),
}

/// Everything the host keeps for one run.
pub(crate) struct Guest {
    spec: RunSpec,
    /// Where the guest's memory is, known once it is instantiated or called the first time.
    pub(crate) memory: Option<wasmtime::Memory>,
    /// Fuel left while a host function runs.
    fuel_left: u64,
    /// Nanoseconds that the guest slept.
    slept: u64,
    random: Option<Random>,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    fds: FdTable,
    /// Built at the first use of a path: most short tasks need none.
    tree: Option<Tree>,
}

impl Guest {
    /// What a fresh run starts with.
    pub(crate) fn new(spec: RunSpec) -> Guest {
        Guest {
            spec,
            memory: None,
            fuel_left: 0,
            slept: 0,
            random: None,
            stdout: Vec::new(),
            stderr: Vec::new(),
            fds: FdTable::new(),
            tree: None,
        }
    }

    /// Memory in bytes that the guest may have.
    pub(crate) fn memory_limit(&self) -> u64 {
        self.spec.limits.memory.0
    }

    /// Takes what the guest produced; files only when it exited, for of a broken run they are half-written.
    ///
    /// With it comes back what the run was given.
    pub(crate) fn into_output(self, ending: Ending) -> (TaskOutput, RunSpec) {
        let files = match (ending, self.tree) {
            (Ending::Exited { .. }, Some(tree)) => tree.into_output(),
            _ => Vec::new(),
        };
        let output = TaskOutput { stdout: self.stdout.into(), stderr: self.stderr.into(), files };
        (output, self.spec)
    }

    /// Burns fuel for work that the host is about to do.
    fn spend(&mut self, fuel: u64) -> Answer {
        match self.fuel_left.checked_sub(fuel) {
            Some(left) => {
                self.fuel_left = left;
                Ok(())
            }
            None => {
                self.fuel_left = 0;
                Err(Halt::OutOfFuel.into())
            }
        }
    }

    /// Burns the fuel of moving so many bytes.
    fn spend_bytes(&mut self, bytes: u64) -> Answer {
        self.spend(bytes.div_ceil(BYTES_PER_FUEL))
    }

    /// The guest's time in nanoseconds since 1970.
    fn now(&self) -> u64 {
        let burnt = self.spec.limits.fuel.0.saturating_sub(self.fuel_left);
        self.spec.clock.0.saturating_add(burnt).saturating_add(self.slept)
    }

    /// The file system.
    fn tree(&mut self) -> Answer<&mut Tree> {
        if self.tree.is_none() {
            self.tree = Some(Tree::new(&self.spec.files, self.spec.clock.0)?);
        }
        Ok(self.tree.as_mut().expect("set just now"))
    }

    /// Bytes that the guest may still write anywhere.
    fn room(&self) -> u64 {
        let streams = self.stdout.len() as u64 + self.stderr.len() as u64;
        let files = self.tree.as_ref().map_or(0, Tree::used);
        self.spec.limits.output.0.saturating_sub(streams).saturating_sub(files)
    }

    fn output_too_large(&self) -> Halt {
        Halt::OutputTooLarge { limit: self.spec.limits.output.0 }
    }

    /// Checks that the guest may write so many more bytes.
    fn need_room(&self, bytes: u64) -> Answer {
        if bytes > self.room() { Err(self.output_too_large().into()) } else { Ok(()) }
    }
}

/// What a host function works on.
pub(crate) struct Call<'a> {
    pub(crate) memory: Memory<'a>,
    pub(crate) guest: &'a mut Guest,
}

impl Call<'_> {
    /// A path of the guest, paid for.
    fn path(&mut self, at: u32, len: u32) -> Answer<String> {
        let path = self.memory.path(at, len)?.to_owned();
        let names = 1 + path.bytes().filter(|byte| *byte == b'/').count() as u64;
        self.guest.spend(names * ENTRY_FUEL)?;
        self.guest.spend_bytes(u64::from(len))?;
        Ok(path)
    }
}

/// A file that a task finds below /in. Clones share name and bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InFile {
    name: Arc<str>,
    bytes: Bytes,
}

/// A name that no file below /in can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("input file '{name}' cannot be put in /in: {source}; give it another name")]
pub struct InFileError {
    name: String,
    source: output::PathError,
}

impl InFile {
    /// A file at `name` below /in, which may have folders in it.
    ///
    /// # Errors
    /// When the name breaks a rule of [`output::check_path`].
    pub fn new(name: &str, bytes: Bytes) -> Result<InFile, InFileError> {
        output::check_path(name).map_err(|source| InFileError {
            name: name.chars().take(80).map(|c| if c.is_control() { '?' } else { c }).collect(),
            source,
        })?;
        Ok(InFile { name: name.into(), bytes })
    }

    /// Path below /in.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Content.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}
