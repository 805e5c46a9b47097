//! `pumasi receipt`: the proof of a payment, fetched once and checked anywhere.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use futures_util::{StreamExt, TryStreamExt, stream};
use pumasi_api::client::{HubClient, escape};
use pumasi_api::wire::{Account, Job, Statement};
use pumasi_proof::{Accepted, Policy, Rotations, VerifierKey};
use pumasi_types::{JobId, TransferId};
use serde::Serialize;
use serde_json::json;

use super::job::ask;
use crate::connect::HubArgs;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::Output;
use crate::receipt::{ENDING, Receipt, ReceiptError, Said};

const EXAMPLES: &str = "\
Examples:
  pumasi receipt get 42 --out 42.tlog-proof        of one transfer (`pumasi statement` lists them)
  pumasi receipt get --job 7                       of all that job 7 paid, into job-7-receipts/
  pumasi receipt show 42.tlog-proof
  pumasi receipt verify 42.tlog-proof --policy policy.txt
  pumasi receipt verify job-7-receipts --key \"$key\"

`show` and `verify` need no hub and no network: only the file and the hub's public key, which `pumasi proof \
key` prints, and which you should have from somebody you trust. `verify` ends with 1 when a receipt does not \
hold. Receipts are C2SP tlog-proof files: docs/proof.md tells how other programs check them.";

/// Fetch, show and verify receipts of what was paid
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ReceiptArgs {
    #[command(subcommand)]
    command: ReceiptCommand,
}

#[derive(Debug, Subcommand)]
enum ReceiptCommand {
    /// Fetch receipts from the hub
    Get(GetArgs),
    /// Print what a receipt says, without checking it
    Show {
        /// The file
        file: PathBuf,
    },
    /// Check receipts against a public key or a policy, without any connection
    Verify(VerifyArgs),
}

#[derive(Args, Debug)]
struct GetArgs {
    /// Numbers of transfers
    #[arg(required_unless_present = "job", value_name = "TRANSFER")]
    transfers: Vec<TransferId>,
    /// All that a job has paid so far
    #[arg(long, conflicts_with = "transfers")]
    job: Option<JobId>,
    /// The file of one receipt, stdout when absent; the folder of several
    #[arg(short, long, value_name = "PATH")]
    out: Option<PathBuf>,
    #[command(flatten)]
    hub: HubArgs,
}

#[derive(Args, Debug)]
struct VerifyArgs {
    /// Files, or folders with files that end with .tlog-proof
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    trust: TrustArgs,
}

/// Whom to believe.
#[derive(Args, Debug)]
pub(crate) struct TrustArgs {
    /// A public key of the hub, as NAME+ID+KEY; can be given more than once
    #[arg(long, value_name = "VKEY", required_unless_present = "policy", conflicts_with = "policy")]
    key: Vec<VerifierKey>,
    /// Logs, witnesses and the quorum that must have cosigned (a C2SP tlog-policy file)
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// How the keys followed each other since (`pumasi proof rotations`)
    #[arg(long, value_name = "FILE")]
    rotations: Option<PathBuf>,
}

impl TrustArgs {
    /// The policy that they come to.
    pub(crate) fn policy(&self) -> Result<Policy, CliError> {
        let mut policy = match &self.policy {
            None => Policy::of_logs(self.key.clone()),
            Some(path) => {
                let bytes = fs::read(path).map_err(CliError::file("read", path))?;
                Policy::parse(&bytes).map_err(CliError::content(path))?
            }
        };
        if let Some(path) = &self.rotations {
            let text = fs::read_to_string(path).map_err(CliError::file("read", path))?;
            let rotations = Rotations::parse(&text).map_err(CliError::content(path))?;
            let followed: Vec<_> = policy.logs().iter().flat_map(|key| rotations.follow(key)).collect();
            followed.into_iter().for_each(|key| policy.trust(key));
        }
        Ok(policy)
    }
}

impl ReceiptArgs {
    pub(crate) async fn run(self, out: &Output) -> Result<Exit, CliError> {
        match self.command {
            ReceiptCommand::Get(args) => args.run(out).await,
            ReceiptCommand::Show { file } => show(&file, out),
            ReceiptCommand::Verify(args) => args.run(out),
        }
    }
}

/// Receipts that are asked for at once.
const AT_ONCE: usize = 16;
/// A receipt is some KiB: a checkpoint with its cosignatures and 64 hashes at most.
const RECEIPT_BYTES_MAX: u64 = 1 << 20;

impl GetArgs {
    async fn run(self, out: &Output) -> Result<Exit, CliError> {
        let client = self.hub.client()?;
        let (transfers, folder) = match self.job {
            None => (self.transfers, PathBuf::from("receipts")),
            Some(id) => {
                let job = ask(&client, id).await?;
                (transfers_of(&client, &job).await?, PathBuf::from(format!("job-{id}-receipts")))
            }
        };
        if let ([one], None) = (&transfers[..], self.job) {
            let text = fetch(&client, *one).await?;
            match &self.out {
                Some(path) => write(path, &text)?,
                None => out.raw(text.as_bytes())?,
            }
            return Ok(Exit::Ok);
        }
        let folder = self.out.unwrap_or(folder);
        fs::create_dir_all(&folder).map_err(CliError::file("create", &folder))?;
        let place = |id: TransferId| folder.join(format!("{id}.{ENDING}"));
        let (present, missing): (Vec<_>, Vec<_>) =
            transfers.into_iter().partition(|id| is_receipt_of(&place(*id), *id));
        let fetched = stream::iter(&missing)
            .map(|id| async { write(&place(*id), &fetch(&client, *id).await?) })
            .buffer_unordered(AT_ONCE);
        fetched.try_collect::<()>().await?;
        let (fetched, present, shown) = (missing.len(), present.len(), folder.display().to_string());
        if out.json {
            out.value(&json!({ "folder": shown, "fetched": fetched, "present": present }))?;
        } else {
            out.line(&format!("{shown}: {fetched} receipts fetched, {present} already there"))?;
            out.note(&format!("check them: pumasi receipt verify {shown} --key VKEY"));
        }
        Ok(Exit::Ok)
    }
}

async fn fetch(client: &HubClient, id: TransferId) -> Result<String, CliError> {
    let bytes = client.get_bytes(&format!("/v1/receipts/{id}"), RECEIPT_BYTES_MAX).await;
    let bytes = bytes.map_err(CliError::hub(format!("get the receipt of transfer {id}")))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn write(path: &Path, text: &str) -> Result<(), CliError> {
    fs::write(path, text).map_err(CliError::file("write", path))
}

/// Whether a file, written before, is the receipt of this transfer.
fn is_receipt_of(path: &Path, id: TransferId) -> bool {
    let text = fs::read_to_string(path).unwrap_or_default();
    Receipt::parse(&text).is_ok_and(|receipt| receipt.transfer.id == id)
}

/// What a job has paid: found in the statement of who pays for it, which goes back in time.
async fn transfers_of(client: &HubClient, job: &Job) -> Result<Vec<TransferId>, CliError> {
    let failed = || CliError::hub(format!("list what job {} paid", job.id));
    let me: Account = client.get("/v1/me").await.map_err(failed())?;
    let account =
        if me.name == job.owner { String::new() } else { format!("&account={}", escape(&job.owner)) };
    let (mut transfers, mut before) = (Vec::new(), String::new());
    loop {
        let path = format!("/v1/statement?limit=1000{account}{before}");
        let page: Statement = client.get(&path).await.map_err(failed())?;
        let since = page.lines.iter().take_while(|line| line.time_ms >= job.submitted_ms);
        let runs = since.filter(|line| line.run.as_ref().is_some_and(|run| run.job == job.id));
        transfers.extend(runs.map(|line| line.transfer));
        let over = page.lines.last().is_none_or(|line| line.time_ms < job.submitted_ms);
        match page.next.filter(|_| !over) {
            Some(next) => before = format!("&before={next}"),
            None => return Ok(transfers),
        }
    }
}

fn show(path: &Path, out: &Output) -> Result<Exit, CliError> {
    let text = fs::read_to_string(path).map_err(CliError::file("read", path))?;
    let receipt = Receipt::parse(&text).map_err(CliError::content(path))?;
    let said = receipt.said();
    out.show(&said, "", || said.facts("not checked: use `pumasi receipt verify`".to_owned()))?;
    Ok(Exit::Ok)
}

/// What was found about one file.
#[derive(Serialize)]
struct Checked {
    file: String,
    verified: bool,
    problem: Option<String>,
    receipt: Option<Said>,
    /// Names and ids of the log's keys that signed.
    signed_by: Vec<String>,
    witnesses: Vec<Witnessed>,
}

#[derive(Serialize)]
struct Witnessed {
    name: String,
    time_ms: u64,
}

impl Checked {
    fn new(path: &Path, text: &str, policy: &Policy) -> Checked {
        let receipt = Receipt::parse(text);
        let said = receipt.as_ref().ok().map(Receipt::said);
        let accepted = receipt.and_then(|receipt| receipt.verify(policy));
        let problem = accepted.as_ref().err().map(ReceiptError::to_string);
        let (logs, witnesses) =
            accepted.map(|Accepted { logs, witnesses, .. }| (logs, witnesses)).unwrap_or_default();
        Checked {
            file: path.display().to_string(),
            verified: problem.is_none(),
            problem,
            receipt: said,
            signed_by: logs.iter().map(|one| format!("{}+{}", one.key.name(), one.key.id())).collect(),
            witnesses: witnesses
                .iter()
                .map(|one| Witnessed {
                    name: one.key.name().to_owned(),
                    time_ms: one.time_s.unwrap_or(0).saturating_mul(1_000),
                })
                .collect(),
        }
    }

    fn verdict(&self) -> String {
        let names: Vec<_> = self.witnesses.iter().map(|witness| witness.name.as_str()).collect();
        match names.len() {
            0 => format!("yes, signed by {}", self.signed_by.join(", ")),
            _ => format!("yes, signed by {}, cosigned by {}", self.signed_by.join(", "), names.join(", ")),
        }
    }
}

impl VerifyArgs {
    fn run(self, out: &Output) -> Result<Exit, CliError> {
        let policy = self.trust.policy()?;
        let files = files(&self.files)?;
        let (mut good, alone) = (0, files.len() == 1);
        for path in &files {
            let text = fs::read_to_string(path).map_err(CliError::file("read", path))?;
            let checked = Checked::new(path, &text, &policy);
            good += usize::from(checked.verified);
            match (&checked.receipt, &checked.problem) {
                _ if out.json => out.value(&checked)?,
                (_, Some(problem)) => out.line(&format!("{}: NOT verified: {problem}", checked.file))?,
                (Some(said), None) if alone => out.table(&said.facts(checked.verdict()))?,
                _ => {}
            }
        }
        if !alone && !out.json {
            out.line(&format!("{good} of {} receipts are verified", files.len()))?;
        }
        Ok(if good == files.len() { Exit::Ok } else { Exit::Failed })
    }
}

/// The files that are meant: folders stand for the receipts in them.
fn files(given: &[PathBuf]) -> Result<Vec<PathBuf>, CliError> {
    let mut files = Vec::new();
    for path in given {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let inside = fs::read_dir(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let inside = inside.map_err(CliError::file("read", path))?;
        let mut inside: Vec<_> = inside.into_iter().map(|file| file.path()).collect();
        inside.retain(|file| file.extension().is_some_and(|ending| ending == ENDING));
        inside.sort();
        files.append(&mut inside);
    }
    if files.is_empty() {
        return Err(CliError::usage("there is no receipt in there", "`pumasi receipt get` fetches some"));
    }
    Ok(files)
}
