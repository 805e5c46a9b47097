//! Ways to believe results, each put to gangs of liars of several kinds and sizes.

use serde_json::{Map, Value, json};

use super::{example, figures};
use crate::Outcome;

/// How the benchmark is run.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Print one JSON object as the last line
    #[arg(long)]
    json: bool,
    /// Owners, each with one machine; an operator answers for one in twenty
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(20..=10_000))]
    owners: u32,
    /// Tasks altogether
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1_000..=10_000_000))]
    tasks: u32,
    /// Simulations of each kind, with seeds from 1 on
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(2..=30))]
    seeds: u32,
    /// How many of a hundred owners lie
    #[arg(long, value_delimiter = ',', default_value = "5,10,20,30", value_parser = clap::value_parser!(u32).range(0..=90))]
    percent: Vec<u32>,
}

const SCHEMES: [&str; 5] = ["off", "quorum-2", "quorum-3", "adaptive", "hidden"];
const KINDS: [(&str, &str); 4] = [
    ("always", "liars who always lie"),
    ("sleepers", "sleepers, who lie from when they are believed"),
    ("occasional", "liars on 1 to 10 % of their tasks"),
    ("sybils", "sybils, who lie where two of them have the same task"),
];
/// Name of a figure, its heading, what it is multiplied by for people, and its digits.
const COLUMNS: [(&str, &str, f64, usize); 7] = [
    ("error", "wrong %", 100.0, 3),
    ("once_wrong", "once wrong %", 100.0, 3),
    ("runs_per_task", "runs a task", 1.0, 3),
    ("pay_held_s", "pay held s", 1.0, 0),
    ("liars_caught", "liars caught %", 100.0, 0),
    ("honest_caught", "honest caught", 1.0, 0),
    ("failed", "undecided", 1.0, 0),
];
/// Student's t for 95 % and so many degrees of freedom; 2 is close from 60 on and less than 5 % off from 20 on.
const STUDENT: [f64; 19] = [
    12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23, 2.20, 2.18, 2.16, 2.14, 2.13, 2.12, 2.11,
    2.10, 2.09,
];

pub(crate) fn run(options: &Options) -> Outcome {
    let program = example("pumasi-core", "trust")?;
    println!(
        "{} owners, {} tasks, {} seeds: mean ± 95 % confidence",
        options.owners, options.tasks, options.seeds
    );
    let mut results = Vec::new();
    for (kind, what) in KINDS {
        for percent in &options.percent {
            println!("\n{percent} % {what}");
            print!("{:>10}", "");
            COLUMNS.iter().for_each(|(_, heading, _, _)| print!(" {heading:>16}"));
            println!();
            for scheme in SCHEMES {
                let mut samples = Vec::new();
                for seed in 1..=options.seeds {
                    let numbers = [*percent, options.owners, options.tasks, seed].map(|n| n.to_string());
                    let mut arguments = vec![scheme, kind];
                    arguments.extend(numbers.iter().map(String::as_str));
                    samples.push(figures(&program, &arguments)?);
                }
                print!("{scheme:>10}");
                let mut result = Map::from_iter([
                    ("scheme".to_owned(), json!(scheme)),
                    ("kind".to_owned(), json!(kind)),
                    ("percent".to_owned(), json!(percent)),
                ]);
                for (name, _, factor, digits) in COLUMNS {
                    let (mean, range) = confidence(&samples, name)?;
                    print!(" {:>16}", shown(mean * factor, range * factor, digits));
                    result.insert(name.to_owned(), json!({ "mean": mean, "plus_minus": range }));
                }
                println!();
                results.push(Value::Object(result));
            }
        }
    }
    if options.json {
        let Options { owners, tasks, seeds, .. } = options;
        println!("{}", json!({ "owners": owners, "tasks": tasks, "seeds": seeds, "results": results }));
    }
    Ok(())
}

fn shown(mean: f64, range: f64, digits: usize) -> String {
    if range == 0.0 { format!("{mean:.digits$}") } else { format!("{mean:.digits$} ± {range:.digits$}") }
}

/// The mean of a figure and half the width of its confidence interval.
fn confidence(samples: &[Map<String, Value>], name: &str) -> Outcome<(f64, f64)> {
    let values: Option<Vec<f64>> = samples.iter().map(|sample| sample.get(name)?.as_f64()).collect();
    let values = values.ok_or_else(|| format!("a simulation printed no figure '{name}'"))?;
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0);
    let t = STUDENT.get(values.len() - 2).copied().unwrap_or(2.09);
    Ok((mean, t * (variance / count).sqrt()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_confidence_range_is_students() {
        let sample = |value: f64| Map::from_iter([("error".to_owned(), json!(value))]);
        let (mean, range) = confidence(&[1.0, 2.0, 3.0].map(sample), "error").unwrap();
        // The deviation is 1, so the range is 4.30 / √3.
        assert_eq!((mean, (range * 1000.0).round()), (2.0, 2483.0));
        assert!(confidence(&[sample(1.0), Map::new()], "error").is_err());
    }
}
