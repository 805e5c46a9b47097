//! The simulator: built for speed, and stopped in order by Ctrl-C.

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Stdio};

use crate::{Outcome, build};

/// What is handed on.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Options {
    /// As `cargo xtask sim --help` says
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Builds the simulator and runs it until it ends by itself or by Ctrl-C, which lets it report.
pub(crate) fn run(options: &Options) -> Outcome {
    let binary = build::simulator()?;
    let is_campaign = !options
        .arguments
        .iter()
        .any(|argument| ["--seed", "--help", "-h"].contains(&argument.split('=').next().unwrap_or_default()));
    let mut command = Command::new(binary);
    command.args(&options.arguments);
    if !is_campaign {
        return ended(command.status()?);
    }
    // In a group of its own it does not hear Ctrl-C; it is told by the end of its input.
    let mut child = command.arg("--until-eof").stdin(Stdio::piped()).process_group(0).spawn()?;
    let input = child.stdin.take();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            // Without the signal the campaign ends by itself.
            let _ = tokio::signal::ctrl_c().await;
        });
        drop(input);
    });
    ended(child.wait()?)
}

fn ended(status: std::process::ExitStatus) -> Outcome {
    match (status.code(), status.signal()) {
        (Some(0), _) => Ok(()),
        (Some(1), _) => Err("a promise was broken or a kind of fault never made; it stands above".into()),
        (code, signal) => Err(format!("the simulator ended with code {code:?}, signal {signal:?}").into()),
    }
}
