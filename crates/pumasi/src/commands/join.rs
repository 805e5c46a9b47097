//! `pumasi join`: lend this machine to a hub.

use std::path::PathBuf;

use clap::Args;
use pumasi_api::tls::HubAddress;
use pumasi_types::{ByteSize, Price};
use pumasi_worker::engine::Compiler;
use pumasi_worker::{Hours, JoinOptions, Policy, When};

use super::serve::LogFormat;
use crate::connect::HubArgs;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::Output;
use crate::profile::base_dir;
use crate::units::{credits, parse_price};

const EXAMPLES: &str = "\
Examples:
  pumasi join                                      the hub of `pumasi login`
  pumasi join pool.example --cores 2 --when idle
  pumasi join --hours 22-06 --ask 0.5              at night, at half the usual price
  pumasi join https://10.0.0.1 --fingerprint 3f1a… --token TOKEN

Tasks run in a sandbox without files, network or clock of this machine. Ctrl-C or SIGTERM ends the work: \
what runs may finish within 30 seconds, the rest goes back to the hub.";

/// Let this machine work for the pool and be paid for it
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct JoinArgs {
    /// The hub; that of the profile when absent
    #[arg(value_name = "HUB", conflicts_with = "hub")]
    address: Option<HubAddress>,
    /// Tasks at once; all cores when absent
    #[arg(long, value_name = "N")]
    cores: Option<u32>,
    /// Memory for all tasks together; three quarters of the machine's when absent
    #[arg(long, value_name = "SIZE")]
    memory: Option<ByteSize>,
    /// The least that a standard core-second (10^9 fuel) must pay, in credits
    #[arg(long, value_name = "CREDITS", value_parser = parse_price, default_value = "1")]
    ask: Price,
    /// What to call this machine; its host name when absent
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Work always, or only when the machine has nothing else to do
    #[arg(long, value_name = "WHEN", default_value = "always")]
    when: When,
    /// Work only within these hours of the day, as 22-06 or 18:30-07
    #[arg(long, value_name = "FROM-TO")]
    hours: Option<Hours>,
    /// Folder for the machine's key and encrypted inputs; below $XDG_DATA_HOME when absent
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// The most that encrypted inputs may take on disk
    #[arg(long, value_name = "SIZE", default_value = "4GiB")]
    cache_size: ByteSize,
    /// How much of these may stay, encrypted as before, when their job is over: a later job that needs the same is not
    /// sent it again
    #[arg(long, value_name = "SIZE", default_value = "0")]
    cache: ByteSize,
    /// How log messages are written, to stderr; PUMASI_LOG=debug says more
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    #[command(flatten)]
    hub: HubArgs,
}

impl JoinArgs {
    pub(crate) async fn run(self, out: &Output) -> Result<Exit, CliError> {
        self.log_format.start();
        let mut hub = self.hub;
        // A hub that is named here counts more than one of the environment.
        hub.hub = self.address.or(hub.hub);
        let target = hub.target()?;
        if target.token.is_none() {
            return Err(CliError::usage(
                "a machine joins for an account, and no token is given",
                "`pumasi login HUB` once, or give --token or PUMASI_TOKEN",
            ));
        }
        let data_dir = match self.data {
            Some(data) => data,
            None => base_dir("XDG_DATA_HOME", ".local/share")?.join("pumasi-worker"),
        };
        out.note(&format!(
            "this machine joins {} for at least {} CRD a core-second; Ctrl-C ends it",
            target.hub,
            credits(self.ask.as_amount())
        ));
        let options = JoinOptions {
            name: self.name,
            cores: self.cores,
            memory: self.memory,
            ask: self.ask,
            policy: Policy { when: self.when, hours: self.hours },
            kept_inputs_max: self.cache_size,
            idle_inputs_max: self.cache,
            compiler: Compiler::this_program().map_err(|error| {
                let said = format!("the system does not tell which program this is: {error}");
                CliError::usage(&said, "start it by its path")
            })?,
            ..JoinOptions::new(target.into_client(), data_dir)
        };
        pumasi_worker::join(options).await.map_err(|source| CliError::Join { source })?;
        out.note("left the pool");
        Ok(Exit::Ok)
    }
}
