//! Runs the scripts in tests/scripts; `UPDATE_GOLDENFILES=1` writes what comes out.

use std::error::Error;
use std::fmt::Write as _;

use goldenscript::{Command, Context, Runner};

use super::*;

/// What scripts say.
#[derive(goldenscript::Command)]
enum Say {
    /// A worker: cores=2 memory=1GiB.
    Worker {
        #[arg(key)]
        cores: u32,
        #[arg(key)]
        memory: ByteSize,
    },
    /// The link is up, or down.
    Link(String),
    Welcome {
        #[arg(key)]
        lease_ms: Option<u64>,
        #[arg(pos, optional)]
        unwanted: Vec<u64>,
    },
    Job {
        id: u64,
        #[arg(key)]
        memory: Option<ByteSize>,
        #[arg(key)]
        task_list: Option<bool>,
    },
    /// Runs of a job, as first..last; tasks are numbered as runs.
    Assign {
        job: u64,
        runs: String,
    },
    Stop(Vec<u64>),
    StopJob(u64),
    Ack {
        report: u64,
        #[arg(pos, optional)]
        refused: Vec<u64>,
    },
    /// One of the malformed messages.
    Garbage(String),
    Prepared {
        job: u64,
        #[arg(key)]
        here: Option<String>,
        #[arg(key)]
        of_job: Option<String>,
    },
    Fetched {
        run: u64,
        #[arg(key)]
        fault: Option<String>,
    },
    /// Runs of a batch finish; the last one ends it unless more=true.
    Finish {
        batch: u64,
        runs: Vec<u64>,
        #[arg(key)]
        us: Option<u64>,
        #[arg(key)]
        output: Option<usize>,
        #[arg(key, optional)]
        more: bool,
    },
    Recalled {
        batch: u64,
        #[arg(pos, optional)]
        runs: Vec<u64>,
    },
    Uploaded {
        run: u64,
        #[arg(key)]
        fault: Option<String>,
    },
    Accept(bool),
    Leave,
    Abandon,
    /// Time passes, in microseconds.
    Wait(u64),
    /// When the machine wants to be woken.
    NextTick,
}

struct Script {
    now: Time,
    machine: Protocol<u64, u64>,
    specs: BTreeMap<JobId, Arc<JobSpec>>,
}

impl Script {
    fn step(&mut self, input: Input<u64, u64>) -> String {
        let mut out = Vec::new();
        self.machine.step(self.now, input, &mut out);
        self.machine.sanity_check();
        let mut text = String::new();
        for output in out {
            if let Output::Prepare(spec) = &output {
                self.specs.insert(spec.id, Arc::clone(spec));
            }
            writeln!(text, "{}", show(&output)).expect("a string takes all");
        }
        text
    }

    fn hear(&mut self, message: from_hub::Message) -> String {
        self.step(Input::Hub(from_hub(message)))
    }
}

fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    items.join(" ")
}

fn show(output: &Output<u64, u64>) -> String {
    match output {
        Output::Send(FromWorker { message }) => match message.as_ref().expect("never empty") {
            from_worker::Message::Hello(hello) => {
                format!("say hello, held [{}]", list(&hello.held_runs))
            }
            from_worker::Message::Report(report) => {
                let endings = report
                    .endings
                    .iter()
                    .map(|code| pumasi_types::Ending::from_code(*code).expect("a code it wrote").to_string());
                let runs: Vec<String> =
                    report.runs.iter().zip(endings).map(|(run, ending)| format!("{run} {ending}")).collect();
                let outputs = list(report.outputs.iter().map(Vec::len));
                let faults: Vec<String> = report.faults.iter().map(|fault| format!("'{fault}'")).collect();
                let mut text = format!("say report {}: {}", report.report_id, runs.join(", "));
                if !outputs.is_empty() {
                    write!(text, "; output bytes {outputs}").expect("a string takes all");
                }
                if !faults.is_empty() {
                    write!(text, "; because {}", faults.join(", ")).expect("a string takes all");
                }
                text
            }
            from_worker::Message::Status(status) => format!(
                "say status: {}{}{}, returned [{}]",
                if status.accepting { "accepting" } else { "not accepting" },
                if status.leaving { ", leaving" } else { "" },
                if status.changed { " (changed)" } else { "" },
                list(&status.returned_runs)
            ),
        },
        Output::CloseLink(error) => format!("close the link: {error}"),
        Output::Attached(worker) => format!("attached as worker {worker}"),
        Output::Prepare(spec) => format!("prepare job {}", spec.id),
        Output::Fetch { run, task, job } => format!("fetch what run {run} needs (task {task} of job {job})"),
        Output::Start(batch) => format!(
            "start batch {} of job {}: runs {}",
            batch.id.0,
            batch.job,
            list(batch.runs.iter().map(|ready| ready.run))
        ),
        Output::Recall { batch, unwanted } => {
            format!("recall batch {}, unwanted [{}]", batch.0, list(unwanted.iter()))
        }
        Output::Halt(batch) => format!("halt batch {}", batch.0),
        Output::Upload { run, output, .. } => format!("upload {} bytes of run {run}", output.len()),
        Output::Left => "go".to_owned(),
    }
}

fn ready(runs: &[u64]) -> Vec<Ready<u64>> {
    let ready = |run: &u64| Ready { run: RunId(*run), task: TaskIndex(*run as u32), file: None };
    runs.iter().map(ready).collect()
}

/// Messages that no hub should send.
fn garbage(kind: &str) -> Result<FromHub, Box<dyn Error>> {
    let message = match kind {
        "unknown" => return Ok(FromHub { message: None }),
        "columns" => from_hub::Message::Assign(link::Assign { job_id: 1, runs: vec![1, 2], tasks: vec![1] }),
        "flood" => from_hub::Message::Assign(link::Assign {
            job_id: 1,
            runs: (0..100_001).collect(),
            tasks: vec![0; 100_001],
        }),
        "hash" => {
            from_hub::Message::Job(link::Job { job_id: 9, module: vec![1; 31], ..link::Job::default() })
        }
        "changed" => {
            return Ok(job(JobId(1), ByteSize::mib(63), true));
        }
        other => return Err(format!("no such garbage: {other}").into()),
    };
    Ok(from_hub(message))
}

impl Script {
    fn say(&mut self, say: Say) -> Result<String, Box<dyn Error>> {
        use from_hub::Message as M;
        Ok(match say {
            Say::Worker { cores, memory } => {
                self.machine = Protocol::new(settings(cores, memory), self.now);
                String::new()
            }
            Say::Link(up) if up == "up" => self.step(Input::LinkUp),
            Say::Link(_) => self.step(Input::LinkDown),
            Say::Welcome { lease_ms, unwanted } => self.hear(M::Welcome(link::Welcome {
                worker_id: 1,
                lease_ms: lease_ms.unwrap_or(30_000),
                unwanted_runs: unwanted,
            })),
            Say::Job { id, memory, task_list } => {
                let memory = memory.unwrap_or(ByteSize::mib(64));
                self.step(Input::Hub(job(JobId(id), memory, task_list.unwrap_or(false))))
            }
            Say::Assign { job, runs } => {
                let (first, last) = runs.split_once("..").unwrap_or((&runs, &runs));
                let runs: Vec<u64> = (first.parse()?..=last.parse()?).collect();
                let tasks = runs.iter().map(|run| *run as u32).collect();
                self.hear(M::Assign(link::Assign { job_id: job, runs, tasks }))
            }
            Say::Stop(runs) => self.hear(M::Stop(link::Stop { runs, jobs: Vec::new() })),
            Say::StopJob(job) => self.hear(M::Stop(link::Stop { runs: Vec::new(), jobs: vec![job] })),
            Say::Ack { report, refused } => {
                self.hear(M::Ack(link::Ack { report_id: report, refused_runs: refused }))
            }
            Say::Garbage(kind) => {
                let message = garbage(&kind)?;
                self.step(Input::Hub(message))
            }
            Say::Prepared { job, here, of_job } => {
                let spec = self.specs.get(&JobId(job)).cloned().ok_or("nobody asked for it")?;
                let result = match (here, of_job) {
                    (Some(reason), _) => Err(Fault::here(reason)),
                    (None, Some(reason)) => Err(Fault::of_job(reason)),
                    (None, None) => Ok(job),
                };
                self.step(Input::Prepared { spec, result })
            }
            Say::Fetched { run, fault } => {
                let result = fault.map_or(Ok(run), |reason| Err(Fault::here(reason)));
                self.step(Input::Fetched { run: RunId(run), result })
            }
            Say::Finish { batch, runs, us, output, more } => {
                let wall = Duration(us.unwrap_or(10_000_000).saturating_mul(1_000));
                let runs = runs.into_iter().map(|run| done(RunId(run), wall, output.unwrap_or(0))).collect();
                self.step(Input::Finished { batch: BatchId(batch), runs, over: !more })
            }
            Say::Recalled { batch, runs } => {
                self.step(Input::Recalled { batch: BatchId(batch), runs: ready(&runs) })
            }
            Say::Uploaded { run, fault } => {
                let result = fault.map_or(Ok(()), |reason| Err(Fault::here(reason)));
                self.step(Input::Uploaded { run: RunId(run), result })
            }
            Say::Accept(accept) => self.step(Input::Accept(accept)),
            Say::Leave => self.step(Input::Leave),
            Say::Abandon => self.step(Input::Abandon),
            Say::Wait(us) => {
                self.now = self.now.after(Duration(us * 1_000));
                self.step(Input::Tick)
            }
            Say::NextTick => match self.machine.next_tick() {
                Some(at) => format!("in {} us\n", at.since(self.now).0 / 1_000),
                None => "never\n".to_owned(),
            },
        })
    }
}

impl Runner for Script {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Result<String, Box<dyn Error>> {
        let say = Say::try_from(command)?;
        self.say(say)
    }
}

#[test]
fn scripts() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scripts");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 6, "scripts are missing");
    for path in paths {
        let machine = Protocol::new(settings(2, ByteSize::mib(1024)), Time(0));
        let mut script = Script { now: Time(0), machine, specs: BTreeMap::new() };
        goldenscript::run(&mut script, &path).unwrap();
    }
}
