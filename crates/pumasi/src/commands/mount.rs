//! `pumasi mount`: a folder of a space as a folder of this machine.

use std::path::PathBuf;

use clap::Args;

use super::serve::asked_to_end;
use crate::connect::HubArgs;
use crate::drive::place::Place;
use crate::error::CliError;
use crate::exit::Exit;
use crate::keys::{EncryptArgs, Keys};
use crate::mount::{Ciphers, mount};
use crate::output::Output;

const EXAMPLES: &str = "\
Examples:
  pumasi mount lab: ~/lab
  pumasi mount lab:results /mnt/results --read-only
  pumasi mount :diary ~/diary --encrypt            new files, unreadable to the hub
  umount ~/lab                                     or Ctrl-C here

Programs read and write there as anywhere. What is written goes to the hub when the file is closed, and close \
fails when the hub does not take it. When somebody else changed the file meanwhile, what was written lies \
beside it with `(conflict …)` in its name. Links, owners and extended attributes are not kept. \
Encrypted files are decrypted where their key is, and stay encrypted when they are written to; \
what is made in the place of one, or beside one, gets its key.";

/// Use a folder of a space like one of this machine, with FUSE
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct MountArgs {
    /// The folder there
    #[arg(value_name = "SPACE:path")]
    place: Place,
    /// An empty folder here
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
    /// Nothing can be changed through it
    #[arg(long)]
    read_only: bool,
    #[command(flatten)]
    encrypt: EncryptArgs,
    #[command(flatten)]
    hub: HubArgs,
}

impl MountArgs {
    pub(crate) async fn run(self, out: &Output) -> Result<Exit, CliError> {
        let client = self.hub.client()?;
        let looked = client.space(self.place.space()).await;
        looked.map_err(CliError::hub(format!("mount {}", self.place)))?;
        let keys = Keys::load(out)?;
        let ciphers = Ciphers { new: self.encrypt.key(&keys)?, keys };
        mount(client, out, &self.place, &self.folder, self.read_only, ciphers, asked_to_end()).await
    }
}
