//! `pumasi`: the one program for researchers, owners of machines and operators.

mod arenas;
mod cli;
mod commands;
mod connect;
mod drive;
mod error;
mod exit;
mod job;
mod keys;
#[cfg(feature = "mount")]
mod mount;
mod output;
mod profile;
mod progress;
mod receipt;
mod rows;
mod terminal;
mod units;

use std::process::ExitCode;

use clap::Parser;
use pumasi_worker::engine::{COMPILE_GUEST, compile_guest};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == COMPILE_GUEST) {
        // Not a command for people: how `pumasi join` has modules of strangers compiled.
        compile_guest(arguments);
    }
    let cli = cli::Cli::parse();
    if cli.fills_memory() {
        arenas::share();
    }
    let out = cli.output();
    let mut builder = match cli.uses_all_cores() {
        true => tokio::runtime::Builder::new_multi_thread(),
        false => tokio::runtime::Builder::new_current_thread(),
    };
    let runtime = match builder.enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            out.warn(&format!("cannot start threads: {error}; let the system have more (ulimit -u)"));
            return exit::Exit::LocalFile.into();
        }
    };
    let ended = runtime.block_on(cli.run(&out));
    // A prompt or a read of standard input may still be waiting; it must not keep us.
    runtime.shutdown_background();
    match ended {
        Ok(exit) => exit.into(),
        Err(error) => {
            out.error(&error);
            error.exit().into()
        }
    }
}
