//! Waiting for a job: progress, lost connections, and Ctrl-C.

use std::time::{Duration, Instant};

use pumasi_api::client::{ClientError, HubClient};
use pumasi_api::wire::Job;
use pumasi_types::JobId;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::CliError;
use crate::output::Output;
use crate::progress::{Count, Progress};
use crate::terminal;

/// How long one question waits at the hub.
const WAIT_MS: u64 = 400;
/// How long a hub that cannot be reached is waited for.
const PATIENCE: Duration = Duration::from_secs(600);
/// How long nothing may happen before a hint is given.
const STALL: Duration = Duration::from_secs(10);
/// How long a second Ctrl-C counts as one with the first.
const AGAIN: Duration = Duration::from_secs(2);

/// Ctrl-C, which from now on does not end the program by itself.
pub(crate) struct Interrupt(Option<Signal>);

impl Interrupt {
    /// Starts to listen.
    pub(crate) fn listen() -> Interrupt {
        Interrupt(signal(SignalKind::interrupt()).ok())
    }

    /// Resolves when it is pressed.
    pub(crate) async fn caught(&mut self) {
        match &mut self.0 {
            Some(signal) => {
                signal.recv().await;
            }
            // Without a handler Ctrl-C ends the program as ever.
            None => std::future::pending().await,
        }
    }

    /// Does the work, unless Ctrl-C comes first; what it has begun is tidied up.
    pub(crate) async fn guard<T>(
        &mut self,
        work: impl Future<Output = Result<T, CliError>>,
    ) -> Result<T, CliError> {
        tokio::select! {
            done = work => done,
            () = self.caught() => Err(CliError::Interrupted),
        }
    }
}

/// How waiting ended.
#[derive(Debug)]
pub(crate) enum Watched {
    /// The job is over.
    Over(Box<Job>),
    /// It goes on without us.
    Detached,
    /// It was cancelled from here.
    Cancelled,
}

/// What to do after Ctrl-C.
enum Choice {
    Wait,
    Detach,
    Cancel,
}

/// Waits until the job is over or the person has enough.
pub(crate) async fn watch(
    client: &HubClient,
    out: &Output,
    interrupt: &mut Interrupt,
    mut job: Job,
) -> Result<Watched, CliError> {
    let id = job.id;
    let start = |job: &Job| Progress::start(out, &format!("job {id}"), Count::Things, u64::from(job.tasks));
    let mut bar = start(&job);
    let mut stall = Stall::new(&job);
    while !job.over {
        bar.set(u64::from(job.succeeded + job.failed), &details(&job));
        if stall.is_new(&job) {
            bar.suspend(|| out.note(hint(&job)));
        }
        tokio::select! {
            next = ask(client, out, &bar, id) => job = next?,
            () = interrupt.caught() => match choose(out, &bar, interrupt, id).await {
                Choice::Wait => bar = start(&job),
                Choice::Detach => {
                    bar.clear();
                    out.note(&how_to_go_on(id));
                    return Ok(Watched::Detached);
                }
                Choice::Cancel => {
                    bar.clear();
                    return cancel(client, id).await;
                }
            }
        }
    }
    bar.finish(&details(&job));
    Ok(Watched::Over(Box::new(job)))
}

/// What can be done with a job that nobody waits for.
pub(crate) fn how_to_go_on(id: JobId) -> String {
    format!(
        "job {id} goes on: `pumasi job {id} --wait` waits for it, `pumasi fetch {id}` fetches its results, \
         `pumasi cancel {id}` ends it"
    )
}

/// Asks how far the job is, and goes on asking while the hub cannot be reached.
async fn ask(client: &HubClient, out: &Output, bar: &Progress, id: JobId) -> Result<Job, CliError> {
    let started = Instant::now();
    let mut said = false;
    loop {
        match client.get(&format!("/v1/jobs/{id}?wait_ms={WAIT_MS}")).await {
            Ok(job) => return Ok(job),
            Err(ClientError::Unreachable { .. }) if started.elapsed() < PATIENCE => {
                if !said {
                    let text = format!(
                        "the hub at {} does not answer; trying on, the job is safe",
                        client.address()
                    );
                    bar.suspend(|| out.note(&text));
                    said = true;
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Err(error) => return Err(CliError::hub(format!("wait for job {id}"))(error)),
        }
    }
}

async fn cancel(client: &HubClient, id: JobId) -> Result<Watched, CliError> {
    let answer = client.post::<_, Job>(&format!("/v1/jobs/{id}/cancel"), &(), None).await;
    match answer {
        Ok(_) => Ok(Watched::Cancelled),
        // It was over in the meantime.
        Err(error) if error.code() == Some("job_over") => {
            let job = client.get(&format!("/v1/jobs/{id}")).await;
            job.map(|job| Watched::Over(Box::new(job))).map_err(CliError::hub(format!("ask for job {id}")))
        }
        Err(error) => Err(CliError::hub(format!("cancel job {id}"))(error)),
    }
}

async fn choose(out: &Output, bar: &Progress, interrupt: &mut Interrupt, id: JobId) -> Choice {
    if !terminal::is_interactive() {
        bar.suspend(|| out.note(&format!("Ctrl-C again cancels job {id}; otherwise it goes on")));
        return tokio::select! {
            () = interrupt.caught() => Choice::Cancel,
            () = tokio::time::sleep(AGAIN) => Choice::Detach,
        };
    }
    bar.clear();
    let question = format!("\nJob {id} runs on the pool. [d]etach, [c]ancel it, or continue (Enter)?");
    let answer = tokio::task::spawn_blocking(move || terminal::ask(&question));
    tokio::select! {
        answer = answer => match answer.ok().flatten().as_deref().map(str::trim) {
            Some("c" | "C" | "cancel") => Choice::Cancel,
            Some("d" | "D" | "detach") | None => Choice::Detach,
            Some(_) => Choice::Wait,
        },
        () = interrupt.caught() => Choice::Detach,
    }
}

fn details(job: &Job) -> String {
    let mut parts = Vec::new();
    if job.failed > 0 {
        parts.push(format!("{} failed", job.failed));
    }
    if job.running > 0 {
        parts.push(format!("{} running", job.running));
    }
    parts.push(format!("{} CRD", job.spent));
    parts.join(", ")
}

/// Notices when nothing happens any more, once.
struct Stall {
    seen: (u32, u64, String),
    since: Instant,
    said: bool,
}

impl Stall {
    fn new(job: &Job) -> Stall {
        Stall { seen: Stall::sight(job), since: Instant::now(), said: false }
    }

    fn sight(job: &Job) -> (u32, u64, String) {
        (job.succeeded + job.failed, job.running, job.state.clone())
    }

    fn is_new(&mut self, job: &Job) -> bool {
        let now = Stall::sight(job);
        // Runs of new owners go on without an end while nobody else confirms them.
        let works = now.1 > 0 && job.waits_for.is_none();
        let same = job.waits_for.is_some() && (now.0, &now.2) == (self.seen.0, &self.seen.2);
        if (now != self.seen && !same) || works {
            (self.seen, self.since) = (now, Instant::now());
        }
        let stalled = self.since.elapsed() > STALL && !self.said;
        self.said |= stalled;
        stalled
    }
}

fn hint(job: &Job) -> &'static str {
    match job.state.as_str() {
        "waiting" => "the job waits for another one that must succeed first",
        _ if job.waits_for.is_some() && job.quorum == 1 => {
            "the owners that work on it are new, so another owner must find the same: let a second owner join, \
             vouch for one that you know (`pumasi account vouch NAME`), or order it with `--checks off`"
        }
        _ => {
            "no machine takes its tasks now: that needs as many owners as the quorum, whose machines have \
             the memory and ask for at most the bid"
        }
    }
}
