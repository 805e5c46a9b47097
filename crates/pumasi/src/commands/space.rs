//! `pumasi space`: spaces, who may use them, and how much they may hold.

use clap::{Args, Subcommand};
use pumasi_api::client::HubClient;
use pumasi_api::wire::files::{Access, ChangeSpace, HOME, NewSpace, Space, Spaces};
use pumasi_types::ByteSize;

use super::access as accesses;
use super::files::parse_access;
use crate::connect::HubArgs;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::{Output, Table};
use crate::units::{moment, parse_span_or_none_ms, span};

const EXAMPLES: &str = "\
Examples:
  pumasi space ls
  pumasi space make lab --keep 90d
  pumasi space member lab alice write
  pumasi space member lab alice none
  pumasi space show lab
  pumasi space change lab --keep 7d
  pumasi space change lab --quota 2TiB             (operators)
  pumasi space access lab --limit 100
  pumasi space access --all                        (operators)
  pumasi space rm lab

A space holds files that belong together, for everybody who is a member of it. Your home is the space that \
has the name of your account; `:path` leads into it.";

/// Show and change spaces of the shared store
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct SpaceArgs {
    #[command(subcommand)]
    command: SpaceCommand,
    #[command(flatten)]
    hub: HubArgs,
}

#[derive(Debug, Subcommand)]
enum SpaceCommand {
    /// List your spaces
    Ls {
        /// Spaces of everybody (operators)
        #[arg(long)]
        all: bool,
    },
    /// Make a space; you become its manager
    Make {
        /// Its name: lower-case letters, digits, `-`, `_` and `.`
        name: String,
        /// How long what is removed or overwritten can be had back; 0s: it is gone at once
        #[arg(long, value_name = "TIME", value_parser = parse_span_or_none_ms)]
        keep: Option<u64>,
    },
    /// Show a space and its members
    Show {
        /// Its name; your home when absent
        #[arg(default_value = HOME, hide_default_value = true)]
        name: String,
    },
    /// Change a space; what is not given stays
    Change {
        /// Its name
        name: String,
        /// How long what is removed or overwritten can be had back
        #[arg(long, value_name = "TIME", value_parser = parse_span_or_none_ms, required_unless_present = "quota")]
        keep: Option<u64>,
        /// How much it can hold (operators)
        #[arg(long, value_name = "SIZE")]
        quota: Option<ByteSize>,
    },
    /// Say what an account may do in a space
    Member {
        /// The space
        name: String,
        /// The account
        account: String,
        /// read, write (and share), manage (and say who is a member), or none
        #[arg(value_parser = parse_access, value_name = "RIGHT")]
        access: Right,
    },
    /// Show who read and listed what in a space that you manage, and who was refused, the newest first
    Access {
        /// Its name; your home when absent
        #[arg(default_value = HOME, hide_default_value = true)]
        name: String,
        /// Everywhere (operators)
        #[arg(long, conflicts_with = "name")]
        all: bool,
        /// How many lines at most
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: usize,
    },
    /// Remove a space in which nothing lies any more
    Rm {
        /// Its name
        name: String,
    },
}

/// A right, or none.
type Right = Option<Access>;

impl SpaceArgs {
    pub(crate) async fn run(self, out: &Output) -> Result<Exit, CliError> {
        let client = self.hub.client()?;
        match self.command {
            SpaceCommand::Ls { all } => return list(&client, out, all).await,
            SpaceCommand::Make { name, keep } => {
                let made = client.make_space(&NewSpace { name: name.clone(), keep_ms: keep }, None).await;
                let made = made.map_err(CliError::hub(format!("make space '{name}'")))?;
                out.told(&made, &format!("made space '{name}'"))?;
            }
            SpaceCommand::Show { name } => {
                let space =
                    client.space(&name).await.map_err(CliError::hub(format!("show space '{name}'")))?;
                show(out, &space)?;
            }
            SpaceCommand::Change { name, keep, quota } => {
                let change = ChangeSpace { keep_ms: keep, quota_bytes: quota.map(|quota| quota.0) };
                let space = client.change_space(&name, &change, None).await;
                show(out, &space.map_err(CliError::hub(format!("change space '{name}'")))?)?;
            }
            SpaceCommand::Member { name, account, access } => {
                let set = client.set_member(&name, &account, access, None).await;
                let space = set.map_err(CliError::hub(format!("change who is in space '{name}'")))?;
                show(out, &space)?;
            }
            SpaceCommand::Access { name, all, limit } => {
                let space = (!all).then_some(name.as_str());
                accesses::show(&client, out, space, limit).await?;
            }
            SpaceCommand::Rm { name } => {
                let removed = client.remove_space(&name, None).await;
                removed.map_err(CliError::hub(format!("remove space '{name}'")))?;
                out.done(&format!("space '{name}' is gone"))?;
            }
        }
        Ok(Exit::Ok)
    }
}

async fn list(client: &HubClient, out: &Output, all: bool) -> Result<Exit, CliError> {
    let mut value = Spaces { spaces: Vec::new(), next: None };
    loop {
        let page = client.spaces(all, value.next).await.map_err(CliError::hub("list spaces"))?;
        value.spaces.extend(page.spaces);
        value.next = page.next;
        if value.next.is_none() {
            break;
        }
    }
    out.show(&value, "you are in no space yet: `pumasi put FILE :` makes your home", || {
        let mut table = Table::new(&["SPACE", ">USED", ">OF", "KEEPS", "YOU MAY"]);
        for space in &value.spaces {
            table.row([
                space.name.clone(),
                ByteSize(space.used_bytes).to_string(),
                ByteSize(space.quota_bytes).to_string(),
                kept(space.keep_ms),
                space.access.map_or("", access).to_owned(),
            ]);
        }
        table
    })?;
    Ok(Exit::Ok)
}

fn show(out: &Output, space: &Space) -> Result<(), CliError> {
    if out.json {
        return out.value(space);
    }
    out.table(&Table::facts([
        ("space", space.name.clone()),
        ("made", moment(space.made_ms)),
        ("used", format!("{} of {}", ByteSize(space.used_bytes), ByteSize(space.quota_bytes))),
        ("keeps", kept(space.keep_ms)),
    ]))?;
    if space.members.is_empty() {
        return Ok(());
    }
    let mut table = Table::new(&["MEMBER", "MAY"]);
    for member in &space.members {
        table.row([member.name.clone(), access(member.access).to_owned()]);
    }
    out.line("")?;
    out.table(&table)
}

fn kept(keep_ms: u64) -> String {
    if keep_ms == 0 { "nothing".to_owned() } else { span(keep_ms) }
}

fn access(access: Access) -> &'static str {
    match access {
        Access::Read => "read",
        Access::Write => "write",
        Access::Manage => "manage",
    }
}
