//! `pumasi audit`: follow a hub's whole log as an outsider, and believe nothing else.

mod follow;
mod keys;
mod report;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use pumasi_api::client::HubClient;
use pumasi_api::tls::HubAddress;
use pumasi_api::wire;
use pumasi_audit::{AuditError, Auditor, Finding};
use pumasi_proof::{Note, VerifierKey};

use self::follow::Round;
use super::serve::asked_to_end;
use crate::connect::HubArgs;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::Output;
use crate::profile::base_dir;
use crate::units::parse_span_ms;

const EXAMPLES: &str = "\
Examples:
  pumasi audit                                     the hub of `pumasi login`
  pumasi audit pool.example --token TOKEN --fingerprint 3f1a…
  pumasi audit --policy my.policy --follow          only what enough witnesses have cosigned
  pumasi audit --json | jq .sound

The whole log is fetched, applied again, and held against every checkpoint that the hub ever showed to this \
auditor; the next time only what is new. The token must be that of an account with the role auditor, which \
an operator opens: `pumasi account open NAME --role auditor`. It is shown an entry when that is some hours \
old, because the log tells what is being checked. The folder is the auditor's memory: a hub \
that writes another history and signs it again is found out only by what is kept there, or by witnesses. \
Ends with 1 when something is wrong.";

/// After so long everything that the hub signed must be shown, whatever it says.
const LAG_MAX: Duration = Duration::from_secs(48 * 3600);

/// Check everything that a hub ever did, as an outsider
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct AuditArgs {
    /// The hub; that of the profile when absent
    #[arg(value_name = "HUB", conflicts_with = "hub")]
    address: Option<HubAddress>,
    /// The public key that the hub signs with; when absent, what it shows the first time is kept
    #[arg(long, value_name = "VKEY", conflicts_with = "policy")]
    key: Option<VerifierKey>,
    /// Whom to believe, and how many witnesses must have cosigned (a C2SP tlog-policy)
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// The auditor's memory; a folder for each hub below $XDG_DATA_HOME when absent
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// Go on with what is new until Ctrl-C
    #[arg(long)]
    follow: bool,
    /// How often to look for something new with --follow
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_span_ms)]
    every: u64,
    #[command(flatten)]
    hub: HubArgs,
}

/// A hub under audit.
struct Audit {
    client: HubClient,
    data: PathBuf,
    auditor: Auditor,
    /// How old the hub lets an entry become before it shows it.
    lag: Duration,
}

impl AuditArgs {
    pub(crate) async fn run(self, out: &Output) -> Result<Exit, CliError> {
        let mut hub = self.hub.clone();
        hub.hub = self.address.clone().or(hub.hub);
        let target = hub.target()?;
        let data = match &self.data {
            Some(data) => data.clone(),
            None => {
                let name = target.hub.authority().replace([':', '[', ']'], "_");
                base_dir("XDG_DATA_HOME", ".local/share")?.join("pumasi-audit").join(name)
            }
        };
        let client = target.into_client();
        let info: wire::ProofInfo =
            client.get("/v1/proof").await.map_err(CliError::hub("ask the hub for its keys"))?;
        let policy = keys::policy(self.key.as_ref(), self.policy.as_deref(), &data, &info, out)?;
        let auditor = match Auditor::open(&data, policy) {
            Err(AuditError::Found(finding)) => {
                report::guilty(client.address(), &data, &finding, None, out)?;
                return Ok(Exit::Failed);
            }
            opened => opened.map_err(failed)?,
        };
        let lag = Duration::from_millis(info.audit_lag_ms);
        let audit = Audit { client, data, auditor, lag };
        let every = self.follow.then(|| Duration::from_millis(self.every));
        audit.run(every, out).await
    }
}

impl Audit {
    /// Audits once, or again and again.
    async fn run(mut self, every: Option<Duration>, out: &Output) -> Result<Exit, CliError> {
        let stop = asked_to_end();
        tokio::pin!(stop);
        let mut shown = None;
        loop {
            let round = tokio::select! {
                round = self.round(out) => round,
                () = &mut stop => {
                    // What was done need not be done again.
                    self.auditor.save().map_err(failed)?;
                    return Err(CliError::Interrupted);
                }
            };
            match round {
                Ok(Ok(round)) => {
                    let now = Some((self.auditor.head(), round.accepted.checkpoint.size));
                    if shown != now {
                        report::sound(&self, &round, out)?;
                    }
                    shown = now;
                }
                Ok(Err(finding)) => {
                    let located = tokio::select! {
                        located = self.locate(&finding, out) => located?,
                        () = &mut stop => None,
                    };
                    report::guilty(self.client.address(), &self.data, &finding, located.as_ref(), out)?;
                    return Ok(Exit::Failed);
                }
                Err(error @ CliError::Hub { .. }) if every.is_some() => out.warn(&error.line()),
                Err(error) => return Err(error),
            }
            let Some(every) = every else { return Ok(Exit::Ok) };
            tokio::select! {
                () = tokio::time::sleep(every) => {}
                () = &mut stop => return Ok(Exit::Ok),
            }
        }
    }

    /// Takes in the newest checkpoint, and the log up to it.
    async fn round(&mut self, out: &Output) -> Result<Result<Round, Box<Finding>>, CliError> {
        let asking = || CliError::hub("get the hub's checkpoint");
        let bytes = self.client.get_bytes("/checkpoint", 1 << 20).await.map_err(asking())?;
        let text = String::from_utf8_lossy(&bytes);
        let note = match Note::parse(&text) {
            Ok(note) => note,
            Err(error) => return Ok(Err(Box::new(Finding::NotAccepted(error.into())))),
        };
        let accepted = match self.auditor.take_checkpoint(&note) {
            Err(AuditError::Found(finding)) => return Ok(Err(finding)),
            taken => taken.map_err(failed)?,
        };
        // Its clock is not ours, so it has twice the time that it asks for; but not for ever.
        let lag = (self.lag * 2).min(LAG_MAX);
        match follow::apply_new(&self.client, &mut self.auditor, lag, out).await? {
            Ok(applied) => Ok(Ok(Round { accepted, applied })),
            Err(finding) => Ok(Err(finding)),
        }
    }

    /// Reads the log anew to find what differs first, if that is what the finding is about.
    async fn locate(&self, finding: &Finding, out: &Output) -> Result<Option<Finding>, CliError> {
        if !finding.is_rewritten() || self.auditor.head().seq.0 == 0 {
            return Ok(None);
        }
        out.note("reading the log again from its first entry, to see what differs");
        match follow::locate(&self.client, &self.auditor, out).await {
            Ok(located) => Ok(located),
            // The finding itself stands without it.
            Err(error) => {
                out.warn(&error.line());
                Ok(None)
            }
        }
    }
}

fn failed(source: AuditError) -> CliError {
    CliError::Audit { source }
}
