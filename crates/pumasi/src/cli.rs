//! The command line as a whole: global options, and which command does what.

use clap::{Parser, Subcommand};

#[cfg(feature = "mount")]
use crate::commands::mount;
use crate::commands::{
    account, audit, completions, downloads, fetch, files, get, hub_store, job, jobs, join, key, log, login,
    market, pool, proof, put, receipt, run, s3_key, serve, share, space, store, sync, trash, witness,
};
use crate::error::CliError;
use crate::exit::{EXIT_CODES, Exit};
use crate::output::Output;

/// One cloud made of everyone's machines
///
/// Researchers run many tasks on the machines of others at a price known before; owners of machines are
/// paid for what they compute; a hub keeps the books.
#[derive(Debug, Parser)]
#[command(name = "pumasi", version, after_help = FIRST_STEPS, after_long_help = EXIT_CODES)]
pub(crate) struct Cli {
    /// Print results as JSON; progress and messages go to stderr
    #[arg(long, global = true, help_heading = "Output")]
    json: bool,
    /// No progress and no messages, only results, warnings and errors
    #[arg(short, long, global = true, help_heading = "Output")]
    quiet: bool,
    #[command(subcommand)]
    command: Command,
}

const FIRST_STEPS: &str = "\
First steps:
  pumasi login pool.example                    remember a hub and your token
  pumasi run prog.wasm --each data/*.fa --budget 5
                                               run a program over many files
  pumasi join                                  earn with this machine
  pumasi put data :                            store files; `pumasi ls` lists them
  pumasi serve                                 start a hub of your own

`pumasi COMMAND --help` has examples; `pumasi --help` lists the exit codes.";

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::RunArgs),
    Submit(run::SubmitArgs),
    Jobs(jobs::JobsArgs),
    Job(job::JobArgs),
    Tasks(jobs::TasksArgs),
    Logs(job::LogsArgs),
    Cancel(job::CancelArgs),
    Fetch(fetch::FetchArgs),
    Put(put::PutArgs),
    Get(get::GetArgs),
    Ls(files::LsArgs),
    Cat(get::CatArgs),
    Mkdir(files::MkdirArgs),
    Mv(files::MvArgs),
    Cp(files::CpArgs),
    Rm(files::RmArgs),
    Undo(trash::UndoArgs),
    Trash(trash::TrashArgs),
    Versions(trash::VersionsArgs),
    Du(files::DuArgs),
    Sync(sync::SyncArgs),
    #[cfg(feature = "mount")]
    Mount(mount::MountArgs),
    Space(space::SpaceArgs),
    Share(share::ShareArgs),
    Links(share::LinksArgs),
    Unshare(share::UnshareArgs),
    FetchUrl(downloads::FetchUrlArgs),
    Downloads(downloads::DownloadsArgs),
    Join(join::JoinArgs),
    Serve(serve::ServeArgs),
    Login(login::LoginArgs),
    Status(pool::StatusArgs),
    Account(account::AccountArgs),
    Statement(account::StatementArgs),
    Workers(pool::WorkersArgs),
    Books(pool::BooksArgs),
    Key(key::KeyArgs),
    S3Key(s3_key::S3KeyArgs),
    Market(market::MarketArgs),
    Receipt(receipt::ReceiptArgs),
    Proof(proof::ProofArgs),
    Log(log::LogArgs),
    Store(store::StoreArgs),
    HubStore(hub_store::HubStoreArgs),
    Audit(audit::AuditArgs),
    Witness(witness::WitnessArgs),
    Completions(completions::CompletionsArgs),
}

impl Cli {
    /// Where results and messages go.
    pub(crate) fn output(&self) -> Output {
        Output::new(self.json, self.quiet)
    }

    /// Whether it hands much memory from thread to thread, or does so for days.
    pub(crate) fn fills_memory(&self) -> bool {
        #[cfg(feature = "mount")]
        if matches!(self.command, Command::Mount(_)) {
            return true;
        }
        matches!(self.command, Command::Serve(_) | Command::Join(_) | Command::Store(_))
    }

    /// Whether it has work for all cores; anything else is quicker on one thread.
    pub(crate) fn uses_all_cores(&self) -> bool {
        #[cfg(feature = "mount")]
        if matches!(self.command, Command::Mount(_)) {
            return true;
        }
        matches!(
            self.command,
            Command::Serve(_)
                | Command::Audit(_)
                | Command::Store(_)
                | Command::Witness(_)
                | Command::Put(_)
                | Command::Get(_)
                | Command::Sync(_)
        )
    }

    /// Does what was asked.
    pub(crate) async fn run(self, out: &Output) -> Result<Exit, CliError> {
        match self.command {
            Command::Run(args) => args.run(out).await,
            Command::Submit(args) => args.run(out).await,
            Command::Jobs(args) => args.run(out).await,
            Command::Job(args) => args.run(out).await,
            Command::Tasks(args) => args.run(out).await,
            Command::Logs(args) => args.run(out).await,
            Command::Cancel(args) => args.run(out).await,
            Command::Fetch(args) => args.run(out).await,
            Command::FetchUrl(args) => args.run(out).await,
            Command::Downloads(args) => args.run(out).await,
            Command::Put(args) => args.run(out).await,
            Command::Get(args) => args.run(out).await,
            Command::Ls(args) => args.run(out).await,
            Command::Cat(args) => args.run(out).await,
            Command::Mkdir(args) => args.run(out).await,
            Command::Mv(args) => args.run(out).await,
            Command::Cp(args) => args.run(out).await,
            Command::Rm(args) => args.run(out).await,
            Command::Undo(args) => args.run(out).await,
            Command::Trash(args) => args.run(out).await,
            Command::Versions(args) => args.run(out).await,
            Command::Du(args) => args.run(out).await,
            Command::Sync(args) => args.run(out).await,
            #[cfg(feature = "mount")]
            Command::Mount(args) => args.run(out).await,
            Command::Space(args) => args.run(out).await,
            Command::Share(args) => args.run(out).await,
            Command::Links(args) => args.run(out).await,
            Command::Unshare(args) => args.run(out).await,
            Command::Join(args) => args.run(out).await,
            Command::Serve(args) => args.run(out).await,
            Command::Login(args) => args.run(out).await,
            Command::Status(args) => args.run(out).await,
            Command::Account(args) => args.run(out).await,
            Command::Statement(args) => args.run(out).await,
            Command::Workers(args) => args.run(out).await,
            Command::Books(args) => args.run(out).await,
            Command::Key(args) => args.run(out).await,
            Command::S3Key(args) => args.run(out).await,
            Command::Market(args) => args.run(out).await,
            Command::Receipt(args) => args.run(out).await,
            Command::Proof(args) => args.run(out).await,
            Command::Log(args) => args.run(out),
            Command::Store(args) => args.run(out).await,
            Command::HubStore(args) => args.run(out).await,
            Command::Audit(args) => args.run(out).await,
            Command::Witness(args) => args.run(out).await,
            Command::Completions(args) => args.run(out),
        }
    }
}

#[cfg(test)]
mod tests;
