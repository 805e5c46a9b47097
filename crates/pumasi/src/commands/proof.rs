//! `pumasi proof`: the keys that a hub proves its payments with.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use pumasi_api::wire::ProofInfo;
use pumasi_hub::proof::{KeyPair, ProofFailure, ProofKeys};
use serde_json::json;

use crate::connect::HubArgs;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::{Output, Table};
use crate::profile::data_folder;

const EXAMPLES: &str = "\
Examples:
  pumasi proof key                                 the hub's public keys, the newest first
  pumasi proof rotations > rotations.txt           for `pumasi receipt verify --rotations`
  pumasi proof rotate-key --data /srv/pumasi       on the hub's machine
  pumasi proof retire-key --data /srv/pumasi       weeks later

Whoever checks receipts needs the public key, better from the operator's own site or hand than from the hub \
itself. After a rotation both keys sign, so that everybody has time to learn the new one; retiring the old \
one ends that. The hub takes both up when it is started anew.";

/// Show the keys that sign the hub's proofs, and change them
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ProofArgs {
    #[command(subcommand)]
    command: ProofCommand,
}

#[derive(Debug, Subcommand)]
enum ProofCommand {
    /// Print the public keys that sign now, the newest first
    Key(HubArgs),
    /// Print how the keys followed each other, each change signed by both
    Rotations(HubArgs),
    /// Make a new key that signs along with the old one
    RotateKey(Folder),
    /// Let the older of two keys go
    RetireKey(Folder),
}

#[derive(Args, Debug)]
struct Folder {
    /// The hub's data folder; $XDG_DATA_HOME/pumasi when absent, by default below ~/.local/share
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
}

impl ProofArgs {
    pub(crate) async fn run(self, out: &Output) -> Result<Exit, CliError> {
        match self.command {
            ProofCommand::Key(hub) => {
                let info = ask(&hub).await?;
                if out.json {
                    out.value(&info)?;
                } else {
                    info.keys.iter().try_for_each(|key| out.line(key))?;
                    out.note(&format!("log {} with {} transfers", info.origin, info.size));
                }
            }
            ProofCommand::Rotations(hub) => {
                let info = ask(&hub).await?;
                if out.json { out.value(&info)? } else { out.raw(info.rotations.as_bytes())? }
            }
            ProofCommand::RotateKey(folder) => {
                let next =
                    "start the hub anew, tell everybody the new key, and weeks later retire the old one";
                change(folder, out, ProofKeys::rotate, next)?;
            }
            ProofCommand::RetireKey(folder) => {
                change(folder, out, ProofKeys::retire, "start the hub anew: only the new key signs then")?;
            }
        }
        Ok(Exit::Ok)
    }
}

async fn ask(hub: &HubArgs) -> Result<ProofInfo, CliError> {
    hub.client()?.get("/v1/proof").await.map_err(CliError::hub("ask for the keys"))
}

fn change(
    folder: Folder,
    out: &Output,
    change: impl FnOnce(&mut ProofKeys) -> Result<KeyPair, ProofFailure>,
    next: &str,
) -> Result<(), CliError> {
    let data = data_folder(folder.data)?;
    let pair = open(&data)
        .and_then(|mut keys| change(&mut keys))
        .map_err(|source| CliError::ProofKeys { data, source })?;
    let (old, new) = (pair.old.to_string(), pair.new.to_string());
    if out.json {
        out.value(&json!({ "old": old, "new": new }))?;
    } else {
        out.table(&Table::facts([("old", old), ("new", new)]))?;
        out.note(next);
    }
    Ok(())
}

/// The keys that are there; a wrong folder must not get keys.
fn open(data: &Path) -> Result<ProofKeys, ProofFailure> {
    let key = data.join("proof").join("key");
    match key.try_exists() {
        Ok(true) => ProofKeys::open(data, None),
        Ok(false) => Err(ProofFailure::Keys(
            "there are none: is it the data folder of a hub that was started before?".to_owned(),
        )),
        Err(source) => Err(ProofFailure::File { operation: "read", path: key, source }),
    }
}
