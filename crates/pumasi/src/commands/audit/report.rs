//! What an audit came to, for people and for programs.

use std::path::Path;

use pumasi_api::tls::HubAddress;
use pumasi_audit::Finding;
use pumasi_proof::Signed;
use serde_json::json;

use super::{Audit, Round};
use crate::error::CliError;
use crate::output::{Output, Style, Table};

/// Nothing is wrong so far.
pub(super) fn sound(audit: &Audit, round: &Round, out: &Output) -> Result<(), CliError> {
    let Round { accepted, applied } = round;
    let names = |signed: &[Signed]| signed.iter().map(|one| one.key.name().to_owned()).collect::<Vec<_>>();
    let auditor = &audit.auditor;
    let (head, witnesses) = (auditor.head(), names(&accepted.witnesses));
    if out.json {
        return out.value(&json!({
            "sound": true,
            "hub": audit.client.address().to_string(),
            "origin": accepted.checkpoint.origin,
            "entries": head.seq.0,
            "head": head.hash,
            "transfers": auditor.transfers(),
            "checkpoint": { "size": accepted.checkpoint.size, "root": accepted.checkpoint.root.to_string() },
            "witnesses": witnesses,
            "checkpoints_kept": auditor.checkpoints(),
            "lag_ms": audit.lag.as_millis() as u64,
            "new_entries": applied.entries,
            "new_commands": applied.commands,
            "commands_per_s": applied.commands_per_s(),
            "folder": audit.data.display().to_string(),
        }));
    }
    let checkpoint = &accepted.checkpoint;
    let mut table = Table::new(&["", ""]);
    let mut fact = |name: &str, value: String, style| {
        table.styled_row([(name.to_owned(), Style::Bold), (value, style)]);
    };
    fact("hub", format!("{}, log {}", audit.client.address(), checkpoint.origin), Style::Plain);
    fact("verdict", "the log is what the hub signed".to_owned(), Style::Good);
    fact("log", format!("{} entries, the last is {}", head.seq, head.hash), Style::Plain);
    let transfers = if auditor.transfers() < checkpoint.size {
        let (shown, minutes) = (auditor.transfers(), audit.lag.as_secs().div_ceil(60));
        format!(
            "{shown} of the {} that are signed; the hub shows the rest {minutes} minutes later",
            checkpoint.size
        )
    } else {
        format!("{}, of which {} are signed", auditor.transfers(), checkpoint.size)
    };
    fact("transfers", transfers, Style::Plain);
    let cosigned = if witnesses.is_empty() { "nobody".to_owned() } else { witnesses.join(", ") };
    fact("cosigned by", cosigned, Style::Plain);
    fact(
        "applied now",
        format!(
            "{} entries with {} commands, {:.0} a second",
            applied.entries,
            applied.commands,
            applied.commands_per_s()
        ),
        Style::Plain,
    );
    let kept = format!("checkpoints kept: {}, in {}", auditor.checkpoints(), audit.data.display());
    fact("memory", kept, Style::Plain);
    out.table(&table)
}

/// Something is wrong.
pub(super) fn guilty(
    hub: &HubAddress,
    data: &Path,
    finding: &Finding,
    located: Option<&Finding>,
    out: &Output,
) -> Result<(), CliError> {
    let evidence = data.join("checkpoints");
    if out.json {
        let place = match located {
            Some(Finding::Rewritten { entry, transfer, .. }) => {
                json!({ "entry": entry.0, "transfer": transfer.map(|id| id.0) })
            }
            _ => serde_json::Value::Null,
        };
        return out.value(&json!({
            "sound": false,
            "hub": hub.to_string(),
            "problem": finding.to_string(),
            "rewritten": place,
            "difference": located.map(ToString::to_string),
            "evidence": evidence.display().to_string(),
        }));
    }
    let mut table = Table::new(&["", ""]);
    let rows = [
        ("hub", hub.to_string(), Style::Plain),
        ("verdict", "NOT TO BE TRUSTED".to_owned(), Style::Bad),
        ("problem", finding.to_string(), Style::Plain),
        ("difference", located.map(ToString::to_string).unwrap_or_default(), Style::Plain),
        ("evidence", evidence.display().to_string(), Style::Plain),
    ];
    for (name, value, style) in rows {
        if !value.is_empty() {
            table.styled_row([(name.to_owned(), Style::Bold), (value, style)]);
        }
    }
    out.table(&table)
}
