//! What the tasks of a job have in common, read from the link and checked.

use std::fmt;

use pumasi_api::link;
use pumasi_types::{ByteSize, Duration, Ending, Fuel, Hash, JobId, Limits, Time};

use crate::LinkError;

/// The most arguments, environment entries or shared files of a job.
const LIST_MAX: usize = 1_000;
/// The most bytes of arguments and environment together, before place-holders are filled in.
const TEXT_BYTES_MAX: usize = 128 << 10;
/// The longest wall-clock limit of a run: 30 days.
const WALL_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// The highest output limit of a run, in bytes.
const OUTPUT_MAX: ByteSize = ByteSize(1 << 30);

/// Why runs end without having run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// How such a run ends.
    pub ending: Ending,
    /// Why, for people.
    pub reason: String,
}

impl Fault {
    /// The reason lies in this machine or its link: another worker may do better.
    pub fn here(reason: impl Into<String>) -> Fault {
        Fault { ending: Ending::Faulted, reason: reason.into() }
    }

    /// The reason lies in the job: every worker would end its runs alike.
    pub fn of_job(reason: impl Into<String>) -> Fault {
        Fault { ending: Ending::BadModule, reason: reason.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.ending, self.reason)
    }
}

/// What the tasks of a job have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobSpec {
    /// The job.
    pub id: JobId,
    /// The WebAssembly module.
    pub module: Hash,
    /// Arguments behind the name of the program, with place-holders.
    pub args: Vec<String>,
    /// `NAME=VALUE`, with place-holders.
    pub env: Vec<String>,
    /// Path below /in and content of each file that all tasks share.
    pub files: Vec<(String, Hash)>,
    /// The blob with a line for each task.
    pub task_list: Option<Hash>,
    /// What one run may use.
    pub limits: Limits,
    /// Where the guests' clocks start.
    pub clock: Time,
    /// Where the guests' random bytes come from.
    pub seed: u64,
}

impl JobSpec {
    /// Reads a job as the hub sends it.
    ///
    /// # Errors
    /// When a hash in it is none: that is not a job to refuse but a link to leave.
    pub(crate) fn from_link(job: link::Job) -> Result<JobSpec, LinkError> {
        let id = JobId(job.job_id);
        let hash = |what, bytes: &[u8]| {
            let bytes: [u8; 32] = bytes.try_into().map_err(|_| LinkError::NoHash { job: id, what })?;
            Ok(Hash::from_bytes(bytes))
        };
        let task_list = match job.task_list.as_slice() {
            [] => None,
            bytes => Some(hash("task list", bytes)?),
        };
        let file = |file: link::File| Ok((file.name, hash("file", &file.hash)?));
        Ok(JobSpec {
            id,
            module: hash("module", &job.module)?,
            args: job.args,
            env: job.env,
            files: job.files.into_iter().map(file).collect::<Result<_, LinkError>>()?,
            task_list,
            limits: Limits {
                fuel: Fuel(job.fuel),
                memory: ByteSize(job.memory_bytes),
                wall: Duration::from_millis(job.wall_ms),
                output: ByteSize(job.output_bytes),
            },
            clock: Time(job.clock_ns),
            seed: job.seed,
        })
    }

    /// Why no run of the job can be done by a worker with so much memory, if so.
    pub(crate) fn refusal(&self, memory: ByteSize) -> Option<Fault> {
        let Limits { memory: wanted, wall, output, .. } = self.limits;
        let text: usize = self.args.iter().chain(&self.env).map(String::len).sum();
        let longest = self.args.len().max(self.env.len()).max(self.files.len());
        if wanted > memory {
            return Some(Fault::here(format!("a run may use {wanted} of memory, this worker has {memory}")));
        }
        if wall > WALL_MAX {
            return Some(Fault::of_job("the wall-clock limit is longer than 30 days"));
        }
        if output > OUTPUT_MAX {
            let reason = format!("a run may write {output}, no worker takes more than {OUTPUT_MAX}");
            return Some(Fault::of_job(reason));
        }
        if longest > LIST_MAX || text > TEXT_BYTES_MAX {
            let reason = format!(
                "{longest} arguments, variables or files with {text} bytes of text; {LIST_MAX} and \
                 {TEXT_BYTES_MAX} are the most"
            );
            return Some(Fault::of_job(reason));
        }
        None
    }

    /// About how many bytes of memory it takes to remember this.
    pub(crate) fn footprint(&self) -> usize {
        let texts = self.args.iter().chain(&self.env).map(|text| text.len() + 24);
        let files = self.files.iter().map(|(name, _)| name.len() + 56);
        size_of::<JobSpec>() + texts.chain(files).sum::<usize>()
    }
}
