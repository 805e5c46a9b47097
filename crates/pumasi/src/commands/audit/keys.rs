//! Which keys the auditor believes: given, or kept from the first time; a change of keys is followed.

use std::path::Path;

use pumasi_api::wire;
use pumasi_proof::{Policy, Rotations, VerifierKey};

use crate::error::CliError;
use crate::output::Output;

const HINT: &str = "ask the hub's operator for the key in another way, and give it with --key";

/// What to believe. Keys that trusted ones lead to are kept in the auditor's folder.
pub(super) fn policy(
    key: Option<&VerifierKey>,
    file: Option<&Path>,
    data: &Path,
    info: &wire::ProofInfo,
    out: &Output,
) -> Result<Policy, CliError> {
    let rotations = Rotations::parse(&info.rotations).map_err(|error| {
        CliError::usage(format!("the hub shows a change of its key that is none: {error}"), HINT)
    })?;
    if let Some(file) = file {
        let text = std::fs::read(file).map_err(CliError::file("read", file))?;
        let policy = Policy::parse(&text).map_err(CliError::content(file))?;
        let logs = policy.logs().to_vec();
        return Ok(trusting(policy, &logs, &rotations));
    }
    let path = data.join("keys");
    let kept = read(&path)?;
    let trusted = match (key, &kept[..]) {
        (Some(key), kept) if kept.is_empty() || kept.contains(key) => key.clone(),
        (Some(key), _) => {
            let problem = format!("{} follows a log with another key than {key}", data.display());
            return Err(CliError::usage(problem, "give another folder with --data, or leave --key away"));
        }
        (None, [first, ..]) => first.clone(),
        (None, []) => first(info, out)?,
    };
    let policy = trusting(Policy::of_logs(kept), &[trusted], &rotations);
    write(data, &path, policy.logs())?;
    Ok(policy)
}

/// Believes keys and those that they gave way to.
fn trusting(mut policy: Policy, keys: &[VerifierKey], rotations: &Rotations) -> Policy {
    for key in keys {
        rotations.follow(key).into_iter().for_each(|key| policy.trust(key));
    }
    policy
}

/// The key that a hub shows to an auditor who knows none.
fn first(info: &wire::ProofInfo, out: &Output) -> Result<VerifierKey, CliError> {
    // The oldest: a change that is under way leads from it to the newest.
    let key = info.keys.last().and_then(|key| key.parse::<VerifierKey>().ok());
    let key = key.ok_or_else(|| CliError::usage("the hub shows no key that it signs with", HINT))?;
    out.warn(&format!(
        "from now on this auditor believes the key that the hub shows: {key}\n\
         compare it with what the hub's operator tells you in another way, or give it with --key"
    ));
    Ok(key)
}

fn read(path: &Path) -> Result<Vec<VerifierKey>, CliError> {
    let text = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        read => read.map_err(CliError::file("read", path))?,
    };
    text.lines().map(|line| line.parse::<VerifierKey>().map_err(CliError::content(path))).collect()
}

fn write(data: &Path, path: &Path, keys: &[VerifierKey]) -> Result<(), CliError> {
    std::fs::create_dir_all(data).map_err(CliError::file("create", data))?;
    let lines: String = keys.iter().map(|key| format!("{key}\n")).collect();
    let new = data.join("keys.new");
    std::fs::write(&new, lines).map_err(CliError::file("write", &new))?;
    std::fs::rename(&new, path).map_err(CliError::file("write", path))
}
