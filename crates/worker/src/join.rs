//! Lends this machine to a hub: sets everything up, works until told to leave, and leaves in order.

use std::fs::File;
use std::future::Future;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use pumasi_api::client::HubClient;
use pumasi_api::tls::{BadMachineKey, MachineIdentity};
use pumasi_types::{ByteSize, Price, Speed, Time};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};

use crate::calibrate::{CalibrateError, calibrate};
use crate::engine::{Compiler, Engine, EngineConfig, EngineError};
use crate::inputs::Inputs;
use crate::link::{Driver, LinkRefused, Parts};
use crate::policy::{self, Idleness, Policy, When};
use crate::runner::Runner;
use pumasi_protocol::Settings;

/// How long a measured speed counts.
const CALIBRATION_VALID: Duration = Duration::from_secs(7 * 24 * 3600);
/// The longest name of a worker, in bytes; hubs take no longer one.
const NAME_BYTES_MAX: usize = 200;
/// The most cores of one worker.
const CORES_MAX: u32 = 4_096;

/// How a machine joins.
#[derive(Clone, Debug)]
pub struct JoinOptions {
    /// The hub, with the token of the account that is paid.
    pub hub: HubClient,
    /// Folder for what the worker keeps: machine key, speed, encrypted inputs. One worker at a time uses it.
    pub data_dir: PathBuf,
    /// What people call the machine; the host name when none is given.
    pub name: Option<String>,
    /// Runs at once; all cores when none is given.
    pub cores: Option<u32>,
    /// Memory for all runs together; three quarters of the machine's when none is given.
    pub memory: Option<ByteSize>,
    /// The lowest price it works for.
    pub ask: Price,
    /// When it works.
    pub policy: Policy,
    /// Bytes of inputs that are kept on disk.
    pub kept_inputs_max: ByteSize,
    /// How many of them stay when their jobs are over, encrypted as before, for jobs that need the same again.
    pub idle_inputs_max: ByteSize,
    /// How long runs may go on once the owner wants to leave.
    pub grace: Duration,
    /// Who compiles the modules of strangers: best [`Compiler::this_program`].
    pub compiler: Compiler,
}

impl JoinOptions {
    /// A machine that lends all its cores at any time, at a price of one credit.
    pub fn new(hub: HubClient, data_dir: impl Into<PathBuf>) -> JoinOptions {
        JoinOptions {
            hub,
            data_dir: data_dir.into(),
            name: None,
            cores: None,
            memory: None,
            ask: Price::ONE_CREDIT,
            policy: Policy::default(),
            kept_inputs_max: ByteSize(4 << 30),
            idle_inputs_max: ByteSize(0),
            grace: Duration::from_secs(30),
            compiler: Compiler::Here,
        }
    }
}

/// Why a machine cannot join, or cannot stay.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// A file or folder of the worker cannot be used.
    #[error("cannot {verb} {}; check the permissions and free space, or choose another data folder", path.display())]
    Data {
        /// What failed, such as `create`.
        verb: &'static str,
        /// Which file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another worker uses the data folder.
    #[error("another worker uses {}; stop it, or give this one another data folder", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// The machine key is damaged.
    #[error("{} is not a machine key; remove it, and the machine joins as a new worker", path.display())]
    MachineKey {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: BadMachineKey,
    },
    /// An option is out of its range.
    #[error("a worker cannot have {what}; {remedy}")]
    Option {
        /// What it should have had.
        what: String,
        /// What helps.
        remedy: &'static str,
    },
    /// The machine does not tell whether it is idle.
    #[error("this system does not tell whether it is idle; join without --when idle, or give hours")]
    NoIdleness,
    /// Guests cannot be run here.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The speed cannot be measured.
    #[error(transparent)]
    Calibrate(#[from] CalibrateError),
    /// A thread or signal handler cannot be had.
    #[error("cannot set up {what}; let the system have more threads (ulimit -u)")]
    System {
        /// What was needed.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The hub does not take this worker.
    #[error(transparent)]
    Refused(#[from] LinkRefused),
}

/// Joins and works until SIGINT or SIGTERM; then gives back what has not started, finishes what runs and
/// leaves. A second signal ends what runs, a third leaves at once.
///
/// A hub that cannot be reached is waited for. Best run on a current-thread runtime: link and driver then
/// share one thread and wake nobody.
///
/// # Errors
/// When the machine cannot be set up, or the hub does not take it.
pub async fn join(options: JoinOptions) -> Result<(), JoinError> {
    let (stop, stopped) = mpsc::channel(3);
    let signals = signals(stop).map_err(|source| JoinError::System { what: "signal handlers", source })?;
    let signals = tokio::spawn(signals);
    let joined = work(options, stopped, Process::Own).await;
    signals.abort();
    joined
}

/// As [`join`], with a message on `stop` for each signal, in a process that does other things too: it may be
/// debugged and leave core dumps as before.
///
/// # Errors
/// As [`join`].
pub async fn join_until(options: JoinOptions, stop: mpsc::Receiver<()>) -> Result<(), JoinError> {
    work(options, stop, Process::Shared).await
}

/// Whose process this is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Process {
    /// The worker's alone.
    Own,
    Shared,
}

async fn work(options: JoinOptions, stop: mpsc::Receiver<()>, process: Process) -> Result<(), JoinError> {
    let dir = options.data_dir.clone();
    let data = |verb, path: &Path| {
        let path = path.to_owned();
        move |source| JoinError::Data { verb, path, source }
    };
    make_private(&dir).map_err(data("create", &dir))?;
    let _lock = lock(&dir)?;
    let cores = cores(options.cores)?;
    let memory = memory(options.memory, cores)?;
    // Where workers before this one kept compiled modules, which tell what they worked on.
    erase(&dir.join("modules")).map_err(data("erase", &dir.join("modules")))?;
    let compiler = options.compiler.clone();
    let engine = Engine::new(&EngineConfig { slots: cores, memory_max: memory, cache_dir: None, compiler })?;
    // Behind the engine, which reads from /proc what others must not.
    if process == Process::Own {
        keep_memory_private();
    }
    let machine = machine(&dir.join("machine.key"))?;
    let settings = Settings {
        machine_key: machine.machine_key(),
        name: options.name.clone().unwrap_or_else(host_name),
        cores,
        memory,
        speed: speed(&engine, &dir.join("calibration.json")).await?,
        engine: Engine::id(),
        ask: options.ask,
    };
    check_name(&settings.name)?;
    let hub = options.hub.for_machine(machine);
    let inputs_dir = dir.join("inputs");
    let (kept_max, idle_max) = (options.kept_inputs_max, options.idle_inputs_max);
    let inputs = Inputs::new(hub.clone(), engine.clone(), memory, &inputs_dir, kept_max, idle_max)
        .map_err(data("use", &inputs_dir))?;
    let (runner, events) = Runner::start(&engine, cores, options.policy.when == When::Idle)
        .map_err(|source| JoinError::System { what: "a thread for each core", source })?;
    let running = Arc::new(AtomicUsize::new(0));
    let (accept, watcher) = watch_policy(options.policy, Arc::clone(&running))?;
    tracing::info!(
        hub = %hub.address(), name = settings.name, cores, memory = %memory, speed = settings.speed.0,
        engine = %settings.engine, "joining"
    );
    let parts =
        Parts { client: hub, inputs, runner, events, settings, accept, running, grace: options.grace };
    let worked = Driver::new(parts).run(stop).await;
    if let Some(watcher) = watcher {
        watcher.abort();
    }
    // What is in use still is unreadable with the end of this process, and goes with the next start.
    let _ = erase(&inputs_dir);
    Ok(worked?)
}

/// Keeps inputs, outputs and their keys out of core dumps, and from other processes of the same user.
#[cfg(unix)]
fn keep_memory_private() {
    use rustix::process::{Resource, Rlimit};
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let set = rustix::process::setrlimit(Resource::Core, none);
    #[cfg(target_os = "linux")]
    let set = set.and_then(|()| {
        use rustix::process::DumpableBehavior;
        rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
    });
    if let Err(error) = set {
        tracing::warn!(%error, "cannot keep memory out of core dumps");
    }
}

#[cfg(not(unix))]
fn keep_memory_private() {}

/// Sends a message for each SIGINT and SIGTERM.
#[cfg(unix)]
fn signals(stop: mpsc::Sender<()>) -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if stop.send(()).await.is_err() {
                return;
            }
        }
    })
}

/// Sends a message for each Ctrl-C.
#[cfg(not(unix))]
fn signals(stop: mpsc::Sender<()>) -> io::Result<impl Future<Output = ()>> {
    Ok(async move { while tokio::signal::ctrl_c().await.is_ok() && stop.send(()).await.is_ok() {} })
}

/// Removes a folder with all that is in it, if there is one.
fn erase(dir: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(unix)]
fn make_private(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

#[cfg(not(unix))]
fn make_private(dir: &Path) -> io::Result<()> {
    std::fs::create_dir_all(dir)
}

/// Takes the data folder for this process, until the file is closed.
fn lock(dir: &Path) -> Result<File, JoinError> {
    let path = dir.join("lock");
    let data = |source| JoinError::Data { verb: "lock", path: path.clone(), source };
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(data)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(JoinError::InUse { path: dir.to_owned() }),
        Err(std::fs::TryLockError::Error(source)) => Err(data(source)),
    }
}

/// The key by which hubs know this machine again; made when it is missing.
fn machine(path: &Path) -> Result<MachineIdentity, JoinError> {
    /// Random numbers of so many bytes were machine keys once, without anything that could prove them.
    const UNPROVABLE_LEN: usize = 16;
    let data = |verb| {
        let path = path.to_owned();
        move |source| JoinError::Data { verb, path, source }
    };
    let kept = match std::fs::read(path) {
        Ok(bytes) if bytes.len() == UNPROVABLE_LEN => None,
        Ok(bytes) => Some(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(data("read")(error)),
    };
    let key = match kept {
        Some(key) => key,
        None => {
            let key = MachineIdentity::generate();
            write_private(path, &key).map_err(data("write"))?;
            key
        }
    };
    MachineIdentity::new(&key).map_err(|source| JoinError::MachineKey { path: path.to_owned(), source })
}

/// Writes a small file that others cannot read; it appears complete or not at all.
fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let part = path.with_extension("part");
    let mut options = File::options();
    options.create(true).truncate(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&part)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&part, path)
}

fn cores(asked: Option<u32>) -> Result<u32, JoinError> {
    let cores = match asked {
        Some(cores) => cores,
        None => std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(1)),
    };
    if (1..=CORES_MAX).contains(&cores) {
        return Ok(cores);
    }
    Err(JoinError::Option { what: format!("{cores} cores"), remedy: "give it 1 to 4096" })
}

fn memory(asked: Option<ByteSize>, cores: u32) -> Result<ByteSize, JoinError> {
    /// The least that any guest can be run with: one page.
    const LEAST: ByteSize = ByteSize(64 << 10);
    let memory = asked.unwrap_or_else(|| match all_memory() {
        Some(all) => ByteSize(all.0 / 4 * 3),
        // Enough for a run with the default limit on each core.
        None => ByteSize(u64::from(cores) * (512 << 20)),
    });
    if memory < LEAST {
        return Err(JoinError::Option {
            what: format!("{memory} of memory"),
            remedy: "give it 64 KiB or more",
        });
    }
    Ok(memory)
}

/// Memory of the machine, where the system tells it (proc(5)).
fn all_memory() -> Option<ByteSize> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(ByteSize(kib.saturating_mul(1024)))
}

#[cfg(unix)]
fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if name.is_empty() { "worker".to_owned() } else { name }
}

#[cfg(not(unix))]
fn host_name() -> String {
    std::env::var("COMPUTERNAME").unwrap_or_else(|_| "worker".to_owned())
}

fn check_name(name: &str) -> Result<(), JoinError> {
    if (1..=NAME_BYTES_MAX).contains(&name.len()) && !name.chars().any(char::is_control) {
        return Ok(());
    }
    let what =
        format!("the name '{}'", name.chars().take(40).filter(|c| !c.is_control()).collect::<String>());
    Err(JoinError::Option { what, remedy: "give it 1 to 200 bytes without control characters" })
}

/// A speed that was measured before.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Calibration {
    engine: String,
    fuel_per_s: u64,
    /// Seconds since 1970.
    measured_s: u64,
}

impl Calibration {
    /// The speed, if it was measured for this engine within [`CALIBRATION_VALID`].
    fn speed(&self, now_s: u64) -> Option<Speed> {
        let age = now_s.checked_sub(self.measured_s)?;
        let is_valid =
            self.engine == Engine::id().0 && age < CALIBRATION_VALID.as_secs() && self.fuel_per_s > 0;
        is_valid.then_some(Speed(self.fuel_per_s))
    }
}

/// The speed of one core, measured anew once a week.
async fn speed(engine: &Engine, path: &Path) -> Result<Speed, JoinError> {
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    // Whatever is wrong with the file, measuring again mends it.
    let kept = std::fs::read(path).ok().and_then(|bytes| serde_json::from_slice::<Calibration>(&bytes).ok());
    if let Some(speed) = kept.and_then(|kept| kept.speed(now_s)) {
        return Ok(speed);
    }
    tracing::info!("measuring the speed of this machine");
    let engine = engine.clone();
    let measured = tokio::task::spawn_blocking(move || calibrate(&engine)).await;
    let speed = measured.map_err(|error| JoinError::System {
        what: "a thread to measure the speed",
        source: io::Error::other(error),
    })??;
    let calibration = Calibration { engine: Engine::id().0, fuel_per_s: speed.0, measured_s: now_s };
    let written = serde_json::to_vec(&calibration).map_err(io::Error::other);
    if let Err(error) = written.and_then(|bytes| write_private(path, &bytes)) {
        tracing::warn!(path = %path.display(), %error, "cannot keep the measured speed");
    }
    Ok(speed)
}

/// Watches whether the owner lets the machine work.
#[allow(clippy::type_complexity)]
fn watch_policy(
    policy: Policy,
    running: Arc<AtomicUsize>,
) -> Result<(watch::Receiver<bool>, Option<tokio::task::JoinHandle<()>>), JoinError> {
    if policy == Policy::default() {
        return Ok((watch::channel(true).1, None));
    }
    if policy.when == When::Idle && policy::sample().is_none() {
        return Err(JoinError::NoIdleness);
    }
    let cores = std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(1));
    let (began, mut idleness) = (Instant::now(), Idleness::new(cores));
    let mut look = move || {
        let is_hour = policy.hours.is_none_or(|hours| hours.contains(policy::minute_of_day()));
        let now = Time(u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX));
        // Looked at also outside the hours, so that the last minute is known when they begin.
        let is_free = policy.when == When::Always
            || policy::sample().is_some_and(|seen| idleness.look(now, seen, running.load(Ordering::Relaxed)));
        is_hour && is_free
    };
    let (accept, accepted) = watch::channel(look());
    let watcher = tokio::spawn(async move {
        loop {
            tokio::time::sleep(policy::LOOK).await;
            let free = look();
            accept.send_if_modified(|before| std::mem::replace(before, free) != free);
        }
    });
    Ok((accepted, Some(watcher)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_keeps_its_key_and_others_cannot_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("machine.key");
        let key = |path: &Path| machine(path).map(|machine| machine.machine_key());
        let first = key(&path).unwrap();
        assert_eq!(key(&path).unwrap(), first);
        assert_ne!(key(&dir.path().join("other.key")).unwrap(), first);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = std::fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        std::fs::write(&path, b"short").unwrap();
        assert!(matches!(key(&path), Err(JoinError::MachineKey { .. })));
        // A number that could not be proved: the machine joins anew.
        std::fs::write(&path, [7; 16]).unwrap();
        let anew = key(&path).unwrap();
        assert_ne!(anew, [7; 16]);
        assert_eq!(key(&path).unwrap(), anew);
    }

    #[test]
    fn two_workers_cannot_share_a_folder() {
        let dir = tempfile::tempdir().unwrap();
        let first = lock(dir.path()).unwrap();
        assert!(matches!(lock(dir.path()), Err(JoinError::InUse { .. })));
        drop(first);
        assert!(lock(dir.path()).is_ok());
    }

    #[test]
    fn a_measured_speed_counts_for_a_week_and_its_engine() {
        let kept =
            |engine: &str, measured_s| Calibration { engine: engine.to_owned(), fuel_per_s: 5, measured_s };
        let id = Engine::id().0;
        let week = CALIBRATION_VALID.as_secs();
        assert_eq!(kept(&id, 100).speed(100), Some(Speed(5)));
        assert_eq!(kept(&id, 100).speed(100 + week - 1), Some(Speed(5)));
        assert_eq!(kept(&id, 100).speed(100 + week), None);
        assert_eq!(kept(&id, 100).speed(99), None, "the clock was set back");
        assert_eq!(kept("other/1", 100).speed(100), None);
    }

    #[test]
    fn options_out_of_range_are_refused() {
        assert!(cores(Some(0)).is_err() && cores(Some(4_097)).is_err());
        assert!(cores(None).unwrap() >= 1);
        assert!(memory(Some(ByteSize(1)), 1).is_err());
        assert!(memory(None, 2).unwrap() > ByteSize::mib(64));
        assert!(
            check_name("").is_err() && check_name("a\nb").is_err() && check_name(&"x".repeat(201)).is_err()
        );
        assert!(check_name(&host_name()).is_ok());
    }
}
