//! `pumasi market customers`: accounts of people who buy.

use clap::Subcommand;
use pumasi_api::client::HubClient;
use pumasi_api::wire::market::{NewCustomers, OpenedCustomers};

use crate::connect::post;
use crate::error::CliError;
use crate::output::Output;

pub(super) const EXAMPLES: &str = "\
Examples:
  pumasi market customers open alice bob
  pumasi account issue alice 100000 --currency KRW         (operators)";

#[derive(Debug, Subcommand)]
pub(super) enum CustomersCommand {
    /// Open accounts without roles and tokens: all of them or none
    Open {
        /// Unique names: lower-case letters, digits, '-', '_' and '.'
        #[arg(required = true)]
        names: Vec<String>,
    },
}

impl CustomersCommand {
    pub(super) async fn run(self, client: &HubClient, out: &Output) -> Result<(), CliError> {
        let CustomersCommand::Open { names } = self;
        let operation = format!("open {} accounts", names.len());
        let opened: OpenedCustomers =
            post(client, "/v1/customers", &NewCustomers { names }, operation).await?;
        let OpenedCustomers { first, count } = opened;
        let last = first.0 + u64::from(count.saturating_sub(1));
        let which =
            if count == 1 { format!("account {first}") } else { format!("accounts {first} to {last}") };
        out.told(&opened, &format!("opened {which}"))
    }
}
