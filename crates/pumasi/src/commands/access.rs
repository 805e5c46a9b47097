//! `pumasi space access`: who read and listed what in the shared store, and who was refused.

use pumasi_api::client::HubClient;
use pumasi_api::wire::access::{AccessBy, AccessEntries, AccessEntry, AccessWhat};

use crate::error::CliError;
use crate::output::{Output, Table};
use crate::units::moment;

/// Entries in one answer of the hub.
const PAGE: usize = 1_000;

/// Shows the last accesses to a space, or all of them, the newest first.
pub(super) async fn show(
    client: &HubClient,
    out: &Output,
    space: Option<&str>,
    limit: usize,
) -> Result<(), CliError> {
    let what = space.map_or("all accesses".to_owned(), |space| format!("accesses to space '{space}'"));
    let mut told = AccessEntries { entries: Vec::new(), next: None };
    while told.entries.len() < limit {
        let most = (limit - told.entries.len()).min(PAGE);
        let page = client.accesses(space, told.next, most).await;
        let page = page.map_err(CliError::hub(format!("list {what}")))?;
        told.entries.extend(page.entries);
        // A page that does not lead on would lead us in circles.
        told.next = page.next.filter(|next| told.next.is_none_or(|before| *next < before));
        if told.next.is_none() {
            break;
        }
    }
    out.show(&told, &format!("no {what} are known"), || {
        let mut table = Table::new(&["LAST", ">TIMES", "WHO", "FROM", "WHAT", "WHERE"]);
        for entry in &told.entries {
            table.row([
                moment(entry.until_ms),
                entry.times.to_string(),
                who(entry),
                entry.address.clone().unwrap_or_default(),
                deed(entry),
                place(entry),
            ]);
        }
        table
    })
}

/// An account or a link.
fn who(entry: &AccessEntry) -> String {
    match (entry.account, entry.link) {
        (Some(account), _) => entry.account_name.clone().unwrap_or_else(|| format!("account {account}")),
        (None, Some(link)) => format!("link {link}"),
        (None, None) if entry.what == AccessWhat::More && entry.address.is_none() => "others".to_owned(),
        (None, None) => "nobody".to_owned(),
    }
}

/// What was done, or refused and why.
fn deed(entry: &AccessEntry) -> String {
    let what = match entry.what {
        AccessWhat::Read => "read",
        AccessWhat::List => "list",
        AccessWhat::Open => "open",
        AccessWhat::Change => "change",
        AccessWhat::More => return "and so many more".to_owned(),
    };
    let by = if entry.by == Some(AccessBy::S3) { " by S3" } else { "" };
    match &entry.refused {
        Some(code) => format!("{what}{by}: {code}"),
        None => format!("{what}{by}"),
    }
}

/// As files are named on the command line, or what was read of a job.
fn place(entry: &AccessEntry) -> String {
    if let Some(job) = entry.job {
        return format!("{} of job {job}", entry.path.as_deref().unwrap_or("bytes"));
    }
    match (&entry.space, &entry.path, &entry.blob) {
        (Some(space), path, _) => format!("{space}:{}", path.as_deref().unwrap_or_default()),
        (None, Some(path), _) => path.clone(),
        (None, None, blob) => blob.clone().unwrap_or_default(),
    }
}
