//! What runs need: module, shared files and each task's own line and file, fetched by hash and kept while
//! their job runs.

mod cache;
mod fetch;
mod sealed;
mod task_list;
mod template;

use std::error::Error as _;
use std::future::Future;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use pumasi_api::client::{ClientError, HubClient, JobInput, Source, UPLOAD_MIN, Upload};
use pumasi_types::{ByteSize, Hash, JobId, TaskIndex};
use tokio::sync::Semaphore;

use self::cache::{BlobCache, Local};
use self::fetch::Fetcher;
use self::task_list::TaskList;
use self::template::{Own, Templates};
use crate::engine::{Engine, MODULE_BYTES_MAX, Module, RunSpec};
use crate::wasi::InFile;
use pumasi_protocol::{Fault, JobSpec};

/// What guests find as the first of their arguments: the same everywhere.
pub const PROGRAM: &str = "task";
/// Outputs that are uploaded at once.
const UPLOADS: usize = 8;
/// Tries to reach a hub that is away, [`PAUSE`] apart; the client has its own quick tries within.
const TRIES: u32 = 30;
const PAUSE: Duration = Duration::from_secs(10);
/// Modules that stay ready to run, and the bytes that they may take.
const MODULES: usize = 32;
const MODULES_BYTES: usize = 512 << 20;
/// Modules that are compiled at once.
const COMPILES: usize = 2;

/// A job whose tasks can be run.
#[derive(Debug)]
pub struct PreparedJob {
    spec: Arc<JobSpec>,
    module: Module,
    files: Vec<InFile>,
    args: Templates,
    env: Templates,
    tasks: Option<TaskList>,
    /// Last, so that nothing of the job is in use any more when its inputs are erased.
    _tenancy: Tenancy,
}

/// Erases a job's inputs once nothing runs it any more.
#[derive(Debug)]
struct Tenancy {
    job: JobId,
    inner: Arc<Inner>,
}

impl Drop for Tenancy {
    fn drop(&mut self) {
        self.inner.fetcher.cache.forget(self.job);
    }
}

/// What is a task's own.
#[derive(Clone, Debug)]
pub struct OwnInput {
    name: Arc<str>,
    arg: Arc<str>,
    file: Option<Local>,
}

impl PreparedJob {
    /// The job as the hub described it.
    pub fn spec(&self) -> &JobSpec {
        &self.spec
    }

    /// The module of its tasks.
    pub fn module(&self) -> &Module {
        &self.module
    }

    /// What the engine is given for one task. Reads the task's own file.
    ///
    /// # Errors
    /// When a text breaks a rule once its place-holders are filled in, or the file cannot be read.
    pub fn run_spec(&self, task: TaskIndex, own: Option<&OwnInput>) -> Result<RunSpec, Fault> {
        let mut files = self.files.clone();
        let mut stdin = Bytes::new();
        let mut input = String::new();
        if let Some(OwnInput { name, file: Some(file), .. }) = own {
            stdin = file.read().map_err(|error| Fault::here(error.to_string()))?;
            let file = InFile::new(name, stdin.clone()).map_err(|error| Fault::of_job(error.to_string()))?;
            if self.files.iter().any(|shared| clash(shared.name(), name)) {
                let reason = format!("the task's file '{}' clashes with a shared one", shown(name));
                return Err(Fault::of_job(reason));
            }
            files.push(file);
            input = format!("/in/{name}");
        }
        let own = Own {
            index: task,
            name: own.map(|own| &*own.name),
            input: &input,
            arg: own.map_or("", |own| &own.arg),
        };
        let mut room = template::TEXT_BYTES_MAX;
        let texts = self.args.fill(own, &mut room).zip(self.env.fill(own, &mut room));
        let Some((args, env)) = texts else {
            let most = template::TEXT_BYTES_MAX;
            return Err(Fault::of_job(format!("arguments and environment are more than {most} bytes")));
        };
        if args.iter().chain(&env).any(|text| text.contains('\0')) {
            return Err(Fault::of_job("an argument or environment entry has a NUL"));
        }
        let JobSpec { limits, clock, seed, .. } = *self.spec;
        Ok(RunSpec { args, env, stdin, files, clock, seed, task, limits })
    }
}

/// Whether two paths cannot be in one folder: they are the same, or one is the folder of the other.
fn clash(a: &str, b: &str) -> bool {
    let is_below = |folder: &str, path: &str| {
        path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    is_below(a, b) || is_below(b, a)
}

/// A name from outside as it can be shown.
fn shown(name: &str) -> String {
    name.chars().take(80).map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// Gets what runs need. Clones share everything.
#[derive(Clone, Debug)]
pub struct Inputs {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    client: HubClient,
    engine: Engine,
    fetcher: Fetcher,
    /// Memory for all runs, which also bounds the inputs of one of them.
    memory: ByteSize,
    uploads: Semaphore,
    compiles: Semaphore,
    /// Modules that were used, the latest last.
    modules: Mutex<Vec<(Hash, Module)>>,
}

impl Inputs {
    /// Gets inputs through `client` for runs on `engine`, and keeps up to `kept_max` of them in the folder
    /// `dir`, of which up to `idle_max` stay when their jobs are over.
    ///
    /// # Errors
    /// When the folder cannot be made or looked at.
    pub fn new(
        client: HubClient,
        engine: Engine,
        memory: ByteSize,
        dir: &Path,
        kept_max: ByteSize,
        idle_max: ByteSize,
    ) -> std::io::Result<Inputs> {
        let cache = BlobCache::open(dir, kept_max.0, idle_max.0)?;
        let fetcher = Fetcher::new(client.clone(), cache);
        let (uploads, compiles) = (Semaphore::new(UPLOADS), Semaphore::new(COMPILES));
        let modules = Mutex::default();
        Ok(Inputs { inner: Arc::new(Inner { client, engine, fetcher, memory, uploads, compiles, modules }) })
    }

    /// A job that can be run at once, as nothing has to be fetched, compiled or read for it.
    pub fn prepare_now(&self, spec: &Arc<JobSpec>) -> Option<Result<Arc<PreparedJob>, Fault>> {
        if !spec.files.is_empty() || spec.task_list.is_some() {
            return None;
        }
        let module = self.inner.module_at_hand(spec.module)?;
        Some(assemble(spec, module, Vec::new(), None, self.tenancy(spec.id)))
    }

    /// Gets everything that the tasks of a job have in common.
    ///
    /// # Errors
    /// When something cannot be had, or is not what it should be.
    pub async fn prepare(&self, spec: &Arc<JobSpec>) -> Result<Arc<PreparedJob>, Fault> {
        let (job, tenancy) = (spec.id, self.tenancy(spec.id));
        let module = self.module(spec.module, job).await?;
        let mut files = Vec::with_capacity(spec.files.len());
        let mut room = self.inner.memory.0;
        for (name, hash) in &spec.files {
            let file = JobInput { job, hash: *hash, line: None };
            let bytes = self.read(self.fetch("file", file, room).await?).await?;
            room = room.checked_sub(bytes.len() as u64).ok_or_else(|| {
                let memory = self.inner.memory;
                Fault::here(format!("the shared files are larger than this worker's memory of {memory}"))
            })?;
            files.push(InFile::new(name, bytes).map_err(|error| Fault::of_job(error.to_string()))?);
        }
        let tasks = match spec.task_list {
            None => None,
            Some(hash) => {
                let list = JobInput { job, hash, line: None };
                let blob = self.fetch("task list", list, task_list::BYTES_MAX.min(room)).await?;
                let blob = self.read(blob).await?;
                Some(blocking(move || TaskList::new(blob)).await?)
            }
        };
        assemble(spec, module, files, tasks, tenancy)
    }

    /// Gets what is a task's own.
    ///
    /// # Errors
    /// When its line is malformed or missing, or its file cannot be had.
    pub async fn own(&self, job: &PreparedJob, task: TaskIndex) -> Result<OwnInput, Fault> {
        match self.own_now(job, task)? {
            (own, None) => Ok(own),
            (own, Some(hash)) => {
                let line = job.tasks.as_ref().map(|tasks| tasks.begin(task));
                let file = JobInput { job: job.spec.id, hash, line };
                let file = self.fetch("file", file, self.inner.memory.0).await?;
                Ok(OwnInput { file: Some(file), ..own })
            }
        }
    }

    /// What is a task's own as far as it is at hand, and the file that has to be fetched with
    /// [`Inputs::own`] if one is missing.
    ///
    /// # Errors
    /// When its line is malformed or missing.
    pub fn own_now(&self, job: &PreparedJob, task: TaskIndex) -> Result<(OwnInput, Option<Hash>), Fault> {
        let Some(tasks) = &job.tasks else { return Err(Fault::of_job("the job has no task list")) };
        let line = tasks.line(task)?;
        let file = line.file.and_then(|hash| self.inner.fetcher.cache.get(hash, job.spec.id));
        let missing = line.file.filter(|_| file.is_none());
        let own = OwnInput { name: line.name.into(), arg: line.arg.unwrap_or_default().into(), file };
        Ok((own, missing))
    }

    /// Stores an output at the hub.
    ///
    /// # Errors
    /// When the hub cannot be reached for long, or does not take it.
    pub async fn upload(&self, hash: Hash, output: Bytes) -> Result<(), Fault> {
        let is_large = output.len() as u64 >= UPLOAD_MIN;
        let source = Source::Bytes(output);
        let _permit = self.inner.uploads.acquire().await;
        let client = &self.inner.client;
        let put = || async {
            match is_large {
                // What was sent of it before a transfer broke off is not sent again.
                true => client.upload(&source, &Upload::new(Arc::new(|_| ()))).await.map(|sent| sent.hash),
                false => client.put_blob(&source, hash, Arc::new(|_| ())).await.map(|stored| stored.hash),
            }
        };
        match persevering("upload", hash, put).await {
            Ok(seen) if seen == hash => Ok(()),
            Ok(seen) => Err(Fault::here(format!("the output to upload has the hash {seen}, not {hash}"))),
            Err(error) => Err(Fault::here(format!("cannot upload the output: {error}"))),
        }
    }

    fn tenancy(&self, job: JobId) -> Tenancy {
        Tenancy { job, inner: Arc::clone(&self.inner) }
    }

    async fn module(&self, hash: Hash, job: JobId) -> Result<Module, Fault> {
        if let Some(module) = self.inner.module_at_hand(hash) {
            return Ok(module);
        }
        let wasm = JobInput { job, hash, line: None };
        let wasm = self.read(self.fetch("module", wasm, MODULE_BYTES_MAX as u64).await?).await?;
        let engine = self.inner.engine.clone();
        let _permit = self.inner.compiles.acquire().await;
        // Another job may have had the same module compiled meanwhile.
        if let Some(module) = self.inner.module_at_hand(hash) {
            return Ok(module);
        }
        let loaded = blocking(move || engine.load(&wasm)).await?;
        let module = loaded.map_err(|error| {
            let mut reason = error.to_string();
            let mut cause = error.source();
            while let Some(error) = cause {
                reason = format!("{reason}: {error}");
                cause = error.source();
            }
            Fault { ending: error.ending(), reason }
        })?;
        let mut modules = self.inner.modules.lock().unwrap_or_else(PoisonError::into_inner);
        modules.push((hash, module.clone()));
        while modules.len() > 1
            && (modules.len() > MODULES
                || modules.iter().map(|(_, module)| module.size()).sum::<usize>() > MODULES_BYTES)
        {
            modules.remove(0);
        }
        Ok(module)
    }

    /// An input of at most `bytes_max`, from here or the hub.
    async fn fetch(&self, what: &'static str, input: JobInput, bytes_max: u64) -> Result<Local, Fault> {
        self.inner.fetcher.fetch(input, bytes_max).await.map_err(|error| match error {
            ClientError::TooLarge { .. } => {
                let (hash, most) = (input.hash, ByteSize(bytes_max));
                Fault::here(format!("{what} {hash} is larger than the {most} it may have here"))
            }
            error => Fault::here(format!("cannot fetch {what} {}: {error}", input.hash)),
        })
    }

    async fn read(&self, local: Local) -> Result<Bytes, Fault> {
        let read = match local {
            Local::Memory(bytes) => Ok(bytes),
            file => blocking(move || file.read()).await?,
        };
        read.map_err(|error| Fault::here(error.to_string()))
    }
}

impl Inner {
    fn module_at_hand(&self, hash: Hash) -> Option<Module> {
        let mut modules = self.modules.lock().unwrap_or_else(PoisonError::into_inner);
        let place = modules.iter().position(|(known, _)| *known == hash)?;
        let found = modules.remove(place);
        let module = found.1.clone();
        modules.push(found);
        Some(module)
    }
}

/// Puts together what was fetched.
fn assemble(
    spec: &Arc<JobSpec>,
    module: Module,
    files: Vec<InFile>,
    tasks: Option<TaskList>,
    tenancy: Tenancy,
) -> Result<Arc<PreparedJob>, Fault> {
    let mut names: Vec<&str> = files.iter().map(InFile::name).collect();
    names.sort_unstable();
    if let Some(pair) = names.windows(2).find(|pair| clash(pair[0], pair[1])) {
        let reason = format!("the shared files '{}' and '{}' clash", shown(pair[0]), shown(pair[1]));
        return Err(Fault::of_job(reason));
    }
    let args = std::iter::once(PROGRAM.to_owned()).chain(spec.args.iter().cloned()).collect();
    Ok(Arc::new(PreparedJob {
        module,
        args: Templates::new(args),
        env: Templates::new(spec.env.clone()),
        files,
        tasks,
        spec: Arc::clone(spec),
        _tenancy: tenancy,
    }))
}

/// Asks again and again while a failure may pass, as when the hub restarts.
async fn persevering<T, A: Future<Output = Result<T, ClientError>>>(
    verb: &'static str,
    hash: Hash,
    ask: impl Fn() -> A,
) -> Result<T, ClientError> {
    let mut tries = 1;
    loop {
        match ask().await {
            Err(error) if may_pass(&error) && tries < TRIES => {
                tracing::warn!(blob = %hash.short(), "cannot {verb}, will try again: {error}");
                tokio::time::sleep(jittered(PAUSE)).await;
                tries += 1;
            }
            result => return result,
        }
    }
}

/// Whether a failure may be over after a while.
fn may_pass(error: &ClientError) -> bool {
    match error {
        ClientError::Unreachable { .. } => true,
        ClientError::Refused { status, .. } => is_for_now(status.as_u16()),
        _ => false,
    }
}

/// Whether a hub that answers so may answer otherwise later. One without room (507) has some again when its operator sees to
/// it, or when reports that are on their way count what was sent before.
fn is_for_now(status: u16) -> bool {
    matches!(status, 429 | 502..=504 | 507)
}

/// A random span between half of `pause` and all of it, so that workers do not come back all at once.
pub(crate) fn jittered(pause: Duration) -> Duration {
    let random = getrandom::u32().unwrap_or(u32::MAX);
    pause / 2 + (pause / 2).mul_f64(f64::from(random) / f64::from(u32::MAX))
}

/// Does work that takes long or waits for the disk beside the runtime's threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Fault> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Fault::here(format!("the worker failed while it prepared the run: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hub_without_room_is_asked_again() {
        assert!([429, 502, 503, 504, 507].into_iter().all(is_for_now));
        assert!(![400, 403, 404, 413, 500, 505].into_iter().any(is_for_now));
    }

    #[test]
    fn paths_clash_when_one_is_the_other_or_its_folder() {
        for (a, b) in [("a", "a"), ("a", "a/b"), ("a/b/c", "a/b")] {
            assert!(clash(a, b) && clash(b, a), "{a} {b}");
        }
        for (a, b) in [("a", "ab"), ("a/b", "a/c"), ("a-", "a/b")] {
            assert!(!clash(a, b) && !clash(b, a), "{a} {b}");
        }
    }
}
