//! What proofs cost: a leaf and a checkpoint to the hub, a receipt to whoever checks it.

use std::process::Command;

use serde_json::{Map, json};

use super::{example, machine};
use crate::Outcome;

/// How the benchmark is run.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Print one JSON object as the last line
    #[arg(long)]
    json: bool,
    /// Settled transfers in the tree
    #[arg(long, default_value_t = 10_000_000, value_parser = clap::value_parser!(u64).range(2..=50_000_000))]
    leaves: u64,
}

pub(crate) fn run(options: &Options) -> Outcome {
    let program = example("pumasi-proof", "cost")?;
    let machine = machine();
    println!("{machine}");
    let output = Command::new(program).arg(options.leaves.to_string()).output()?;
    if !output.status.success() {
        return Err(format!("the measurement failed: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let mut figures = Map::new();
    for line in String::from_utf8(output.stdout)?.lines() {
        let (name, value) = line.split_once(' ').ok_or_else(|| format!("it printed '{line}'"))?;
        println!("{name:26} {value:>12}");
        figures.insert(name.to_owned(), serde_json::from_str(value)?);
    }
    if options.json {
        println!("{}", json!({ "machine": machine, "proof": figures }));
    }
    Ok(())
}
