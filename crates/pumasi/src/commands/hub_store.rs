//! `pumasi hub-store`: what a hub's operator does with its store, over the network.

use clap::{Args, Subcommand};
use pumasi_types::ByteSize;

use crate::connect::HubArgs;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::{Output, Table};

const EXAMPLES: &str = "\
Examples:
  pumasi hub-store stats
  pumasi hub-store gc

For operators. A hub frees by itself what nobody needs, see `pumasi serve --collect-every`; `gc` does it now, while
everybody goes on. What was sent within the last day stays.";

/// Look at the store of a hub, and free what nobody needs any more; for operators
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct HubStoreArgs {
    #[command(flatten)]
    hub: HubArgs,
    #[command(subcommand)]
    command: HubStoreCommand,
}

#[derive(Debug, Subcommand)]
enum HubStoreCommand {
    /// Show how much all spaces hold, and how much of it is stored
    Stats,
    /// Free the space of what no file, link, upload or job needs any more
    Gc,
}

impl HubStoreArgs {
    pub(crate) async fn run(self, out: &Output) -> Result<Exit, CliError> {
        let client = self.hub.client()?;
        match self.command {
            HubStoreCommand::Stats => {
                let stats = client.store_stats().await.map_err(CliError::hub("ask for the hub's store"))?;
                out.show(&stats, "", || {
                    Table::facts([
                        ("in spaces", ByteSize(stats.logical_bytes).to_string()),
                        ("unique", ByteSize(stats.unique_bytes).to_string()),
                        ("stored", format!("{} in {} packs", ByteSize(stats.stored_bytes), stats.packs)),
                        ("index", format!("{} for {} chunks", ByteSize(stats.index_bytes), stats.chunks)),
                    ])
                })?;
            }
            HubStoreCommand::Gc => {
                let done = client.collect_store().await.map_err(CliError::hub("collect the hub's store"))?;
                if done.missing > 0 {
                    let missing = done.missing;
                    out.warn(&format!(
                        "{missing} blobs are lost: stop the hub and look with `pumasi store check`"
                    ));
                }
                let (packs, removed) = (done.packs_removed, ByteSize(done.bytes_removed));
                let rewritten = ByteSize(done.bytes_rewritten);
                let text = format!("{packs} packs removed: {removed}, {rewritten} of it written again");
                out.told(&done, &text)?;
            }
        }
        Ok(Exit::Ok)
    }
}
