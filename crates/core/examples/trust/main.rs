//! Puts ways to believe results to gangs of liars: `cargo xtask bench trust` runs a series of them.
//!
//! `cargo run --release -p pumasi-core --example trust SCHEME KIND PERCENT HOSTS TASKS SEED` prints lines
//! `name value`.
#![allow(clippy::disallowed_methods, reason = "arguments of a program")]
#![allow(clippy::float_arithmetic, reason = "figures for people")]

mod adaptive;
#[path = "../../tests/common/mod.rs"]
mod common;
mod gang;
mod pool;

use gang::{Figures, Kind, Scheme, Setup};

const SCHEMES: [(&str, Scheme); 5] = [
    ("off", Scheme::Quorum(1)),
    ("quorum-2", Scheme::Quorum(2)),
    ("quorum-3", Scheme::Quorum(3)),
    ("adaptive", Scheme::Adaptive),
    ("hidden", Scheme::Hidden),
];
const KINDS: [(&str, Kind); 4] = [
    ("always", Kind::Always),
    ("sleepers", Kind::Sleepers),
    ("occasional", Kind::Occasional),
    ("sybils", Kind::Sybils),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(setup) = parse(&arguments) else {
        eprintln!("usage: trust off|quorum-2|quorum-3|adaptive|hidden always|sleepers|occasional|sybils");
        eprintln!("       PERCENT HOSTS TASKS SEED");
        std::process::exit(2);
    };
    let figures = match setup.scheme {
        Scheme::Adaptive => adaptive::run(&setup),
        _ => pool::run(&setup),
    };
    print(&setup, &figures);
}

fn parse(arguments: &[String]) -> Option<Setup> {
    let [scheme, kind, percent, hosts, tasks, seed] = arguments else { return None };
    let scheme = SCHEMES.iter().find(|(name, _)| name == scheme)?.1;
    let kind = KINDS.iter().find(|(name, _)| name == kind)?.1;
    let (percent, hosts): (usize, usize) = (percent.parse().ok()?, hosts.parse().ok()?);
    let (vouched, liars) = (hosts.div_ceil(20), hosts * percent / 100);
    Some(Setup { scheme, kind, hosts, vouched, liars, tasks: tasks.parse().ok()?, seed: seed.parse().ok()? })
}

fn print(setup: &Setup, figures: &Figures) {
    let part = |count: u64, of: u64| count as f64 / of.max(1) as f64;
    println!("error {}", part(figures.wrong, figures.tasks));
    println!("once_wrong {}", part(figures.once_wrong, figures.tasks));
    println!("failed {}", part(figures.failed, figures.tasks));
    println!("runs_per_task {}", part(figures.runs, figures.tasks));
    println!("pay_held_s {}", part(figures.waited.0, figures.paid) / 1e9);
    println!("liars_caught {}", part(figures.caught, setup.liars as u64));
    println!("honest_caught {}", figures.wronged);
}
