//! One front door for developers: `cargo demo` and `cargo xtask test|check|bench|sales-day|faults|shared|fuzz|carrier`.

mod bench;
mod build;
mod carrier;
mod demo;
#[cfg(test)]
mod e2e;
mod faults;
mod fuzz;
mod mutants;
mod pool;
mod process;
mod python;
mod s3;
mod sales_day;
mod seaweed;
mod shared;
mod sim;
mod test;
#[cfg(test)]
mod verifiers;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What a command of this crate fails with: a text for the developer in front of the screen.
pub(crate) type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Everything a developer of Pumasi runs")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start a hub and four workers on this machine, run a real job, show who was paid (also: cargo demo)
    Demo(demo::Options),
    /// Set up and run every test, as CI does
    Test(test::Options),
    /// Format and lint, without running tests
    Check,
    /// Simulate whole pools with all kinds of faults: one seed, or a campaign
    Sim(sim::Options),
    /// Break the real code in known ways and show that the simulator notices (a compilation each)
    Mutants,
    /// Measure: tasks through a whole pool, or the core alone at scale
    Bench(bench::Options),
    /// Replay what a chain of shops sold in a year, make a sales day of it, and check all of it against another market
    SalesDay(sales_day::Options),
    /// Kill a hub again and again under load, and prove that nothing acknowledged is lost or done twice
    Faults(faults::Options),
    /// Carry parcels: follow a carrier's feed, report scans, deliver
    Carrier(carrier::Options),
    /// Have many tasks share one large input, and count how often it travels
    Shared(shared::Options),
    /// Feed every decoder of bytes from outside with what libFuzzer thinks of
    Fuzz(fuzz::Options),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Demo(options) => demo::run(&options),
        Command::Test(options) => test::run(&options),
        Command::Check => test::check(),
        Command::Sim(options) => sim::run(&options),
        Command::Mutants => mutants::run(),
        Command::Bench(options) => bench::run(&options),
        Command::SalesDay(options) => sales_day::run(&options),
        Command::Faults(options) => faults::run(&options),
        Command::Carrier(options) => carrier::run(&options),
        Command::Shared(options) => shared::run(&options),
        Command::Fuzz(options) => fuzz::run(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
