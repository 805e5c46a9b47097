//! `pumasi completions`: what a shell needs to complete commands.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::cli::Cli;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::Output;

const EXAMPLES: &str = "\
Examples:
  pumasi completions bash > ~/.local/share/bash-completion/completions/pumasi
  pumasi completions zsh > \"${fpath[1]}/_pumasi\"
  pumasi completions fish > ~/.config/fish/completions/pumasi.fish";

/// Print a script that lets a shell complete pumasi's commands
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

impl CompletionsArgs {
    pub(crate) fn run(self, out: &Output) -> Result<Exit, CliError> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "pumasi", &mut script);
        out.raw(&script)?;
        Ok(Exit::Ok)
    }
}
