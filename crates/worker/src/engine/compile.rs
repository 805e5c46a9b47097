//! Compiling modules, in a child process or here.
//!
//! A module may be made to harm its compiler. So it is compiled by another process of the same program, which
//! has no environment, no files and little memory and time, and is killed when it takes too long. What such a
//! module can reach by breaking the compiler is a process that is about to end.

use std::ffi::OsString;
use std::io::{self, Read as _, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::module::ModuleError;
use super::settings;

/// The first argument of a program that shall call [`compile_guest`].
pub const COMPILE_GUEST: &str = "compile-guest";
/// How long a child may take, however little of the processor it gets.
const WALL_MAX: Duration = Duration::from_secs(600);
/// The largest compiled module, in bytes: ten times the code and all data of the largest module.
const COMPILED_MAX: u64 = 320 << 20;
/// The longest reason that a child gives, in bytes.
const REASON_MAX: usize = 2_000;
/// How long a child may live once it has said all.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Who compiles modules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Compiler {
    /// The thread that loads a module: for modules that are trusted, such as one's own.
    #[default]
    Here,
    /// A process of its own for each module, bounded in memory and time.
    Child {
        /// A program that hands its arguments to [`compile_guest`]: the same build as this one.
        program: PathBuf,
        /// What it is called with, before the arguments of [`compile_guest`].
        arguments: Vec<OsString>,
    },
}

impl Compiler {
    /// Children of the program that runs: it must call [`compile_guest`] when its first argument is
    /// [`COMPILE_GUEST`].
    ///
    /// # Errors
    /// When the system does not tell which program this is.
    pub fn this_program() -> io::Result<Compiler> {
        // This link leads to what runs, even when its file was replaced since.
        let running = Path::new("/proc/self/exe");
        let program = if running.exists() { running.to_owned() } else { std::env::current_exe()? };
        Ok(Compiler::Child { program, arguments: vec![COMPILE_GUEST.into()] })
    }

    /// Compiles a module that was looked at.
    pub(super) fn compile(
        &self,
        engine: &wasmtime::Engine,
        reservation: u64,
        wasm: &[u8],
    ) -> Result<wasmtime::Module, ModuleError> {
        let (program, arguments) = match self {
            Compiler::Here => return compile_here(engine, wasm),
            Compiler::Child { program, arguments } => (program, arguments),
        };
        let mut command = Command::new(program);
        command.args(arguments).arg(reservation.to_string());
        let compiled = in_child(command, wasm)?;
        // SAFETY: the bytes come over a pipe from a process that we started from this very program, which
        // exited with success after writing them; wasmtime checks that version and settings are the
        // engine's. A module that took over its compiler could forge them; compiled in this process, as
        // anybody else does it, it would have taken over this process right away.
        #[allow(unsafe_code)]
        let module = unsafe { wasmtime::Module::deserialize(engine, compiled) };
        module.map_err(|source| ModuleError::Host { source })
    }
}

fn compile_here(engine: &wasmtime::Engine, wasm: &[u8]) -> Result<wasmtime::Module, ModuleError> {
    guarded(|| wasmtime::Module::from_binary(engine, wasm))
}

/// Tells the module's fault from the machine's.
fn guarded<T>(compile: impl FnOnce() -> wasmtime::Result<T>) -> Result<T, ModuleError> {
    // The compiler does not panic; if a module makes it panic after all, that must cost this module only.
    match catch_unwind(AssertUnwindSafe(compile)) {
        Ok(Ok(compiled)) => Ok(compiled),
        // Of a valid module, either the compiler or the pool refuses a size, or mapping the code fails.
        Ok(Err(source)) if source.chain().any(|cause| cause.is::<io::Error>()) => {
            Err(ModuleError::Host { source })
        }
        Ok(Err(error)) => Err(ModuleError::Invalid { reason: shown(&format!("{error:#}")) }),
        Err(_) => Err(ModuleError::Invalid { reason: "the compiler failed on it".to_owned() }),
    }
}

/// A text from outside as it can be shown.
fn shown(text: &str) -> String {
    text.chars().take(REASON_MAX / 4).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn host(reason: String) -> ModuleError {
    ModuleError::Host { source: wasmtime::Error::msg(reason) }
}

/// What a child makes of a module. That it took too long, or died, is no fault of the module: on a faster
/// machine, or one with more memory, it would not have.
fn in_child(mut command: Command, wasm: &[u8]) -> Result<Vec<u8>, ModuleError> {
    let program = command.get_program().to_owned();
    command.env_clear().current_dir("/").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    #[cfg(unix)]
    std::os::unix::process::CommandExt::arg0(&mut command, "pumasi compile-guest");
    let mut child =
        command.spawn().map_err(|error| host(format!("cannot start {}: {error}", program.display())))?;
    let talked = talk(&mut child, wasm);
    let status = reap(&mut child).map_err(|error| host(format!("cannot wait for the compiler: {error}")))?;
    let said = talked.map_err(|error| host(format!("the compiler's process broke off: {error}")))?;
    match status.code() {
        Some(exit::COMPILED) => Ok(said),
        Some(exit::INVALID) => {
            let reason = String::from_utf8_lossy(&said[..said.len().min(REASON_MAX)]);
            Err(ModuleError::Invalid { reason: shown(&reason) })
        }
        _ => Err(host(format!(
            "the compiler's process took more than {} s or {} MiB, or was stopped ({status})",
            bounds::CPU_S,
            bounds::MEMORY >> 20
        ))),
    }
}

/// Gives the module to a child and takes what it says, until it has said all or its time is over.
fn talk(child: &mut Child, wasm: &[u8]) -> io::Result<Vec<u8>> {
    let (Some(mut to), Some(from)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(io::Error::other("it has no pipes"));
    };
    let mut said = Vec::new();
    let (done, is_done) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        // A child that does not read all says why itself.
        scope.spawn(move || drop(to.write_all(wasm)));
        let killer = scope.spawn(move || {
            if is_done.recv_timeout(WALL_MAX) == Err(mpsc::RecvTimeoutError::Timeout) {
                let _ = child.kill();
            }
        });
        let read = from.take(COMPILED_MAX + 1).read_to_end(&mut said);
        drop(done);
        let _ = killer.join();
        read
    })?;
    match said.len() as u64 > COMPILED_MAX {
        true => Err(io::Error::other("it said more than any module is long")),
        false => Ok(said),
    }
}

/// Waits for a child that should be about to end.
fn reap(child: &mut Child) -> io::Result<ExitStatus> {
    let until = Instant::now() + LAST_WORDS;
    let mut pause = Duration::from_micros(100);
    while Instant::now() < until {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
    // It may have ended meanwhile.
    let _ = child.kill();
    child.wait()
}

/// How a child says what came of it.
mod exit {
    pub(super) const COMPILED: i32 = 0;
    /// The module is at fault; the reason is on stdout.
    pub(super) const INVALID: i32 = 65;
    /// Anything else that went wrong.
    pub(super) const FAILED: i32 = 70;
}

/// What a child may use.
mod bounds {
    /// Addresses in bytes, the program itself included.
    pub(super) const MEMORY: u64 = 3 << 30;
    /// Seconds of a processor.
    pub(super) const CPU_S: u64 = 120;
    /// Open files: the three it has.
    pub(super) const FILES: u64 = 3;
    /// Stack of the thread that compiles, in bytes; the compiler recurses on nested code.
    pub(super) const STACK: usize = 64 << 20;
    /// Niceness: runs go first.
    pub(super) const NICE: i32 = 10;
}

/// The child's part: compiles the module on stdin to stdout and never returns.
///
/// `arguments` are those behind the ones of [`Compiler::Child`]. Takes from this process what it does not
/// need, for good: call it first thing, before threads, secrets or files are there.
pub fn compile_guest(arguments: impl Iterator<Item = OsString>) -> ! {
    let reservation = arguments.into_iter().next().and_then(|text| text.to_str()?.parse().ok());
    let code = match (reservation, confine()) {
        (Some(reservation), Ok(())) => {
            let thread = std::thread::Builder::new().stack_size(bounds::STACK);
            let compiling = thread.spawn(move || compile_stdin(reservation));
            compiling.ok().and_then(|thread| thread.join().ok()).unwrap_or(exit::FAILED)
        }
        _ => exit::FAILED,
    };
    std::process::exit(code)
}

fn compile_stdin(reservation: u64) -> i32 {
    let mut wasm = Vec::new();
    let most = settings::MODULE_BYTES_MAX as u64;
    let read = io::stdin().lock().take(most).read_to_end(&mut wasm);
    let engine = wasmtime::Engine::new(&settings::config(reservation));
    let (Ok(_), Ok(engine), Ok(())) = (read, engine, no_more_threads()) else { return exit::FAILED };
    let (said, code) = match guarded(|| engine.precompile_module(&wasm)) {
        Ok(compiled) => (compiled, exit::COMPILED),
        Err(ModuleError::Invalid { reason }) => (reason.into_bytes(), exit::INVALID),
        Err(_) => return exit::FAILED,
    };
    let mut stdout = io::stdout().lock();
    match stdout.write_all(&said).and_then(|()| stdout.flush()) {
        Ok(()) => code,
        Err(_) => exit::FAILED,
    }
}

/// Bounds this process and what others see of it.
#[cfg(unix)]
fn confine() -> io::Result<()> {
    use rustix::process::Resource;
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, Signal};
        // The worker that asked may be gone before this child is done.
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    }
    // Without it, it is only less polite.
    let _ = rustix::process::setpriority_process(None, bounds::NICE);
    limit(Resource::Core, 0)?;
    limit(Resource::Fsize, 0)?;
    limit(Resource::Nofile, bounds::FILES)?;
    limit(Resource::Cpu, bounds::CPU_S)?;
    limit(Resource::As, bounds::MEMORY)
}

#[cfg(unix)]
fn limit(resource: rustix::process::Resource, most: u64) -> io::Result<()> {
    // What the worker may not have, its child may not either.
    let now = rustix::process::getrlimit(resource);
    let most = now.maximum.map_or(most, |maximum| maximum.min(most));
    let most = rustix::process::Rlimit { current: Some(most), maximum: Some(most) };
    Ok(rustix::process::setrlimit(resource, most)?)
}

/// From here on this process cannot start others.
#[cfg(unix)]
fn no_more_threads() -> io::Result<()> {
    limit(rustix::process::Resource::Nproc, 0)
}

/// Systems without these limits bound the child by its time alone.
#[cfg(not(unix))]
fn confine() -> io::Result<()> {
    Ok(())
}

#[cfg(not(unix))]
fn no_more_threads() -> io::Result<()> {
    Ok(())
}
