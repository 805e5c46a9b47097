//! `pumasi witness`: cosign the checkpoints of logs that only grow.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use pumasi_proof::{Use, VerifierKey};
use pumasi_witness::{Store, Witness};
use serde_json::json;
use tokio::net::TcpListener;

use super::serve::{LogFormat, asked_to_end};
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::{Output, Table};
use crate::profile::base_dir;

const EXAMPLES: &str = "\
Examples:
  pumasi witness --name witness.example --log $key
  pumasi witness --name witness.example --log $key --listen 0.0.0.0:7880

Whoever trusts nobody alone asks for the cosignatures of several witnesses, run by people who do not depend \
on each other: a hub cannot show two histories when one witness has to sign both. The witness remembers each \
log's newest checkpoint durably before it signs, and keeps what contradicts it as evidence. The hub is told \
of it with `pumasi serve --witness KEY@URL`. It speaks C2SP tlog-witness, so hubs of other makes can ask it \
too.";

/// Vouch that hubs never rewrite their history
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct WitnessArgs {
    /// Its name in cosignatures, usually where it can be reached; it cannot be changed later
    #[arg(long, value_name = "NAME")]
    name: String,
    /// The public key of a log to cosign; can be given more than once
    #[arg(long = "log", value_name = "VKEY", required = true, value_parser = parse_log_key)]
    logs: Vec<VerifierKey>,
    /// Where to listen, in plain HTTP: a cosignature proves itself
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7880")]
    listen: SocketAddr,
    /// Its memory and its key; below $XDG_DATA_HOME when absent
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// How log messages are written, to stderr; PUMASI_LOG=debug says more
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

fn parse_log_key(text: &str) -> Result<VerifierKey, String> {
    let key: VerifierKey = text.parse().map_err(|error: pumasi_proof::Malformed| error.to_string())?;
    match key.usage() {
        Use::Note => Ok(key),
        Use::Cosignature => Err("this is the key of a witness, not of a log".to_owned()),
    }
}

impl WitnessArgs {
    pub(crate) async fn run(self, out: &Output) -> Result<Exit, CliError> {
        self.log_format.start();
        let stop = asked_to_end();
        let data = match self.data {
            Some(data) => data,
            None => base_dir("XDG_DATA_HOME", ".local/share")?.join("pumasi-witness"),
        };
        let failed = |source| CliError::Witness { source };
        let store = Store::open(&data).map_err(failed)?;
        let key = store.key(&self.name).map_err(failed)?;
        let witness = Arc::new(Witness::new(key, self.logs, store));
        let place = PathBuf::from(self.listen.to_string());
        let listener = TcpListener::bind(self.listen).await.map_err(CliError::file("listen at", &place))?;
        let address = listener.local_addr().unwrap_or(self.listen);
        announce(out, &witness, address, &data)?;
        let served = pumasi_witness::serve(listener, witness, stop).await;
        served.map_err(CliError::file("listen at", &place))?;
        Ok(Exit::Ok)
    }
}

/// Says what others need to know of it.
fn announce(out: &Output, witness: &Witness, address: SocketAddr, data: &Path) -> Result<(), CliError> {
    let (key, url) = (witness.key(), format!("http://{address}"));
    if out.json {
        return out.value(&json!({
            "key": key.to_string(), "address": url, "data": data.display().to_string(),
            "logs": witness.logs().iter().map(|log| log.name()).collect::<Vec<_>>(),
        }));
    }
    let logs: Vec<_> = witness.logs().iter().map(VerifierKey::name).collect();
    out.table(&Table::facts([
        ("witness", format!("{} at {url}, memory in {}", key.name(), data.display())),
        ("key", key.to_string()),
        ("logs", logs.join(", ")),
    ]))?;
    out.note(&format!(
        "for a hub:     pumasi serve --witness '{key}@{url}'\nfor a policy:  witness {} {key}",
        key.name()
    ));
    Ok(())
}
