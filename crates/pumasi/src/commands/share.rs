//! `pumasi share`, `links` and `unshare`: whoever has a link can fetch what it leads to.

use clap::Args;
use pumasi_api::wire::files::NewLink;
use pumasi_types::LinkId;
use serde_json::json;

use crate::connect::HubArgs;
use crate::drive::place::Place;
use crate::drive::remote;
use crate::error::CliError;
use crate::exit::Exit;
use crate::keys::sealed_with;
use crate::output::{Output, Table};
use crate::terminal::{ask_hidden, is_interactive, read_line};
use crate::units::{moment, parse_moment_ms};

const SHARE_EXAMPLES: &str = "\
Examples:
  pumasi share lab:report.pdf
  pumasi share lab:photos --expires 7d --downloads 20
  pumasi share lab:report.pdf --password           asks for it
  echo secret | pumasi share lab:report.pdf --password

The link is printed once and cannot be shown again. It follows the file when it is moved, and ends when the \
file is removed. Of encrypted files it gives the encrypted bytes: `pumasi key open` decrypts them for whoever has \
the key.";

/// Make a link for people without an account
#[derive(Args, Debug)]
#[command(after_help = SHARE_EXAMPLES)]
pub(crate) struct ShareArgs {
    /// The file or folder
    #[arg(value_name = "SPACE:path")]
    place: Place,
    /// When it ends: after a time like 7d, or at a moment
    #[arg(long, value_name = "WHEN", value_parser = parse_moment_ms)]
    expires: Option<u64>,
    /// How many downloads it is good for
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    downloads: Option<u32>,
    /// Ask for a password that whoever uses it must know; the first line of standard input when that is no terminal
    #[arg(long)]
    password: bool,
    #[command(flatten)]
    hub: HubArgs,
}

impl ShareArgs {
    pub(crate) async fn run(self, out: &Output) -> Result<Exit, CliError> {
        let target = self.hub.target()?;
        let address = target.hub.to_string();
        let client = target.into_client();
        let place = &self.place;
        let password = if self.password { Some(password()?) } else { None };
        let new = NewLink {
            path: place.path.clone(),
            password,
            expires_ms: self.expires,
            downloads: self.downloads,
        };
        let link = client.add_link(place.space(), &new, None).await;
        let link = link.map_err(CliError::hub(format!("share {place}")))?;
        let url = format!("{}{}", address.trim_end_matches('/'), link.page);
        out.told(&json!({ "id": link.id, "url": url }), &url)?;
        let entry = remote::find(&client, place).await?;
        if entry.and_then(|entry| entry.file).is_some_and(|file| sealed_with(&file) != Ok(None)) {
            out.warn(
                "it is encrypted, and so are the bytes behind the link: `pumasi key open` decrypts them",
            );
        }
        out.note(&format!("link {}: `pumasi unshare {}{}` ends it", link.id, place.prefix(), link.id));
        Ok(Exit::Ok)
    }
}

fn password() -> Result<String, CliError> {
    let given = if is_interactive() { ask_hidden("password of the link (not shown):") } else { read_line() };
    given.filter(|password| !password.is_empty()).ok_or_else(|| {
        CliError::usage("no password was given", "type one, or give it as a line on standard input")
    })
}

const LINKS_EXAMPLES: &str = "\
Examples:
  pumasi links                                     of your home
  pumasi links lab:";

/// List the links of a space
#[derive(Args, Debug)]
#[command(after_help = LINKS_EXAMPLES)]
pub(crate) struct LinksArgs {
    /// The space; only links to what lies below the path
    #[arg(value_name = "SPACE:path", default_value = ":")]
    place: Place,
    #[command(flatten)]
    hub: HubArgs,
}

impl LinksArgs {
    pub(crate) async fn run(self, out: &Output) -> Result<Exit, CliError> {
        let client = self.hub.client()?;
        let place = &self.place;
        let links = client.links(place.space()).await;
        let mut value = links.map_err(CliError::hub(format!("list the links of {place}")))?;
        let below =
            |path: Option<&pumasi_types::FilePath>| path.is_some_and(|path| path.is_below(&place.path));
        value.links.retain(|link| place.path.is_root() || below(link.path.as_ref()));
        out.show(&value, "there are no links: `pumasi share` makes one", || {
            let mut table = Table::new(&[">LINK", ">USED", ">LEFT", "ENDS", "PASSWORD", "PATH"]);
            for link in &value.links {
                table.row([
                    link.id.to_string(),
                    link.used.to_string(),
                    link.left.map_or("any".to_owned(), |left| left.to_string()),
                    link.expires_ms.map_or("never".to_owned(), moment),
                    if link.password { "yes" } else { "no" }.to_owned(),
                    link.path.as_ref().map_or("(in the trash)".to_owned(), ToString::to_string),
                ]);
            }
            table
        })?;
        Ok(Exit::Ok)
    }
}

const UNSHARE_EXAMPLES: &str = "\
Examples:
  pumasi unshare lab:12
  pumasi unshare 3                                 of your home";

/// End a link
#[derive(Args, Debug)]
#[command(after_help = UNSHARE_EXAMPLES)]
pub(crate) struct UnshareArgs {
    /// The space and the number of the link, as `pumasi links` lists it; a number alone is of your home
    #[arg(value_name = "SPACE:NUMBER", value_parser = parse_link)]
    link: Place,
    #[command(flatten)]
    hub: HubArgs,
}

/// A link of a space, or of one's home when no space is named.
fn parse_link(text: &str) -> Result<Place, String> {
    if text.contains(':') { text.parse() } else { format!(":{text}").parse() }
}

impl UnshareArgs {
    pub(crate) async fn run(self, out: &Output) -> Result<Exit, CliError> {
        let client = self.hub.client()?;
        let number: LinkId =
            self.link.path.as_str().parse().map_err(|error: pumasi_types::ParseIdError| {
                CliError::usage(error.to_string(), "write SPACE:NUMBER; `pumasi links SPACE:` lists them")
            })?;
        let removed = client.remove_link(self.link.space(), number, None).await;
        removed.map_err(CliError::hub(format!("end link {number}")))?;
        out.done(&format!("link {number} is over"))?;
        Ok(Exit::Ok)
    }
}
