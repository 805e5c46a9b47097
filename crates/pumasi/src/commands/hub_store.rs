//! `pumasi hub-store`: what a hub's operator does with its store, over the network.

use std::time::Duration;

use clap::{Args, Subcommand};
use pumasi_api::client::{ClientError, HubClient};
use pumasi_api::wire::files::{SpaceShare, StoreStats};
use pumasi_types::{ByteSize, Hash};
use serde::Serialize;

use crate::connect::HubArgs;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::{Output, Table};

const EXAMPLES: &str = "\
Examples:
  pumasi hub-store stats
  pumasi hub-store stats --spaces
  pumasi hub-store gc

For operators. A hub frees by itself what nobody needs, see `pumasi serve --collect-every`; `gc` does it now, while
everybody goes on. What was sent within the last day stays.";

/// How long counting takes before a word is said of it.
const SOON: Duration = Duration::from_secs(2);

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
    Stats {
        /// Also show what each space needs, and how much of it no other does; takes a while
        #[arg(long)]
        spaces: bool,
    },
    /// Free the space of what no file, link, upload or job needs any more
    Gc,
}

impl HubStoreArgs {
    pub(crate) async fn run(self, out: &Output) -> Result<Exit, CliError> {
        let client = self.hub.client()?;
        match self.command {
            HubStoreCommand::Stats { spaces } => stats(&client, spaces, out).await?,
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

/// The sums, and what each space needs if that was asked for.
#[derive(Serialize)]
struct Told {
    #[serde(flatten)]
    stats: StoreStats,
    #[serde(skip_serializing_if = "Option::is_none")]
    spaces: Option<Vec<SpaceShare>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    uncounted: Vec<Hash>,
}

async fn stats(client: &HubClient, spaces: bool, out: &Output) -> Result<(), CliError> {
    let stats = client.store_stats().await.map_err(CliError::hub("ask for the hub's store"))?;
    let (spaces, uncounted) = match spaces {
        true => counted(client, out).await.map(|(spaces, uncounted)| (Some(spaces), uncounted))?,
        false => (None, Vec::new()),
    };
    for blob in &uncounted {
        out.warn(&format!(
            "blob {blob} is lost or damaged and not counted: stop the hub and look with `pumasi store check`"
        ));
    }
    let told = Told { stats, spaces, uncounted };
    out.show(&told, "", || {
        let stats = &told.stats;
        Table::facts([
            ("in spaces", ByteSize(stats.logical_bytes).to_string()),
            ("unique", ByteSize(stats.unique_bytes).to_string()),
            ("stored", format!("{} in {} packs", ByteSize(stats.stored_bytes), stats.packs)),
            ("index", format!("{} for {} chunks", ByteSize(stats.index_bytes), stats.chunks)),
        ])
    })?;
    let spaces = told.spaces.unwrap_or_default();
    if out.json || spaces.is_empty() {
        return Ok(());
    }
    let mut table = Table::new(&[">NEEDS", ">ALONE", ">SHARED", ">SAVES", "SPACE", "OWNER"]);
    for space in spaces {
        let [needs, alone, shared, saves] =
            [space.logical_bytes, space.own_bytes, space.shared_bytes, space.saved_bytes]
                .map(|bytes| ByteSize(bytes).to_string());
        table.row([needs, alone, shared, saves, space.name, space.owner_name]);
    }
    out.line("")?;
    out.table(&table)
}

/// What each space needs, and blobs of which that cannot be told; says that it is counted when that takes long.
async fn counted(client: &HubClient, out: &Output) -> Result<(Vec<SpaceShare>, Vec<Hash>), CliError> {
    let mut counting = std::pin::pin!(count(client));
    let done = match tokio::time::timeout(SOON, &mut counting).await {
        Ok(done) => done,
        Err(_) => {
            out.note("counting what each space needs; the hub goes on meanwhile");
            counting.await
        }
    };
    done.map_err(CliError::hub("count what each space needs of the hub's store"))
}

async fn count(client: &HubClient) -> Result<(Vec<SpaceShare>, Vec<Hash>), ClientError> {
    let (mut all, mut number, mut after) = (Vec::new(), None, None);
    loop {
        let page = client.store_spaces(number, after).await?;
        number = Some(page.count);
        let Some(spaces) = page.spaces else { continue };
        all.extend(spaces);
        after = page.next;
        if after.is_none() {
            return Ok((all, page.uncounted));
        }
    }
}
