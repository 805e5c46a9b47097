//! `pumasi sync`: a folder here and one in a space, kept the same.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use crate::connect::HubArgs;
use crate::drive::place::Place;
use crate::drive::remote;
use crate::drive::sync::{Wishes, sync};
use crate::error::CliError;
use crate::exit::Exit;
use crate::job::watch::Interrupt;
use crate::keys::{EncryptArgs, Keys};
use crate::output::Output;

const EXAMPLES: &str = "\
Examples:
  pumasi sync ~/lab lab:
  pumasi sync ~/lab lab:results --dry-run          only say what would be done
  pumasi sync ~/diary :diary --encrypt             unreadable to the hub; first `pumasi key new`

What was changed, added or removed on one side is done on the other. A file that both sides changed stays \
twice: what was here gets a name with `(conflict …)`. A change wins over a removal. What is removed there goes \
to the trash of the space. What both had last time is remembered in $XDG_STATE_HOME/pumasi/sync.

Encrypted files are decrypted here and stay encrypted there, with the same key; --encrypt makes all others so, \
too. `pumasi put --help` tells what the hub still sees.";

/// Keep a folder of this machine and one of a space the same
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct SyncArgs {
    /// The folder here
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
    /// The folder there
    #[arg(value_name = "SPACE:path")]
    place: Place,
    /// Keep symbolic links the same, too; else they are passed over
    #[arg(long)]
    links: bool,
    /// Remove files even if more than half of them were removed on the other side
    #[arg(long)]
    delete_many: bool,
    /// Change nothing, only say what would be done
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    encrypt: EncryptArgs,
    #[command(flatten)]
    hub: HubArgs,
}

impl SyncArgs {
    pub(crate) async fn run(self, out: &Output) -> Result<Exit, CliError> {
        let client = self.hub.client()?;
        match std::fs::metadata(&self.folder) {
            Ok(found) if !found.is_dir() => {
                let problem = format!("{} is a file", self.folder.display());
                return Err(CliError::usage(problem, "`pumasi sync` keeps folders the same"));
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                // What is neither here nor there was most likely mistyped.
                let there = remote::find(&client, &self.place).await?;
                if self.dry_run || there.is_none() {
                    return Err(CliError::file("read", &self.folder)(error));
                }
                std::fs::create_dir_all(&self.folder).map_err(CliError::file("create", &self.folder))?;
            }
            _ => {}
        }
        let keys = Arc::new(Keys::load(out)?);
        let wishes = Wishes {
            links: self.links,
            delete_many: self.delete_many,
            dry_run: self.dry_run,
            key: self.encrypt.key(&keys)?,
            keys,
        };
        let work = sync(&client, out, &self.folder, &self.place, wishes);
        let (counts, lines) = Interrupt::listen().guard(work).await?;
        if !self.dry_run {
            return counts.tell(out, "brought over");
        }
        if out.json {
            out.value(&lines)?;
        } else if lines.is_empty() {
            out.note("both are the same");
        } else {
            lines.iter().try_for_each(|line| out.line(line))?;
        }
        Ok(Exit::Ok)
    }
}
