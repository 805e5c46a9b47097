//! `pumasi market feed`: what happens to orders, as it happens.

use std::time::Duration;

use clap::{Args, ValueEnum};
use pumasi_api::client::{ClientError, HubClient, escape};
use pumasi_api::wire::Account;
use pumasi_api::wire::market::{Feed, FeedEvent};
use pumasi_types::EventId;

use crate::error::CliError;
use crate::job::watch::Interrupt;
use crate::output::{Output, Table};
use crate::units;

const EXAMPLES: &str = "\
Examples:
  pumasi market feed                               the first 100 events of your orders
  pumasi market feed --after 1041 --limit 1000
  pumasi market feed --as carrier --follow         and what comes, until Ctrl-C
  pumasi market feed --follow --json | jq -r 'select(.type == \"order.paid\") | .order'";

/// Events that are asked for at once.
const PAGE: usize = 1_000;
/// How long one question waits at the hub, in seconds.
const WAIT_S: u64 = 50;

/// Show the events of your orders, oldest first: what you sold, carry or bought
///
/// The number of the last one, given as --after, goes on from there: nothing is left out in between.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct FeedArgs {
    /// In which part; by default what your account is for
    #[arg(long = "as", value_enum, value_name = "PART")]
    part: Option<Part>,
    /// Of this account, by name or id (operators; storefronts for customers)
    #[arg(long, value_name = "NAME")]
    account: Option<String>,
    /// Only what came after this event
    #[arg(long, default_value = "0", hide_default_value = true, value_name = "EVENT")]
    after: EventId,
    /// At most so many
    #[arg(long, default_value_t = 100, value_name = "N", conflicts_with = "follow")]
    limit: usize,
    /// Go on with what comes, until Ctrl-C
    #[arg(long)]
    follow: bool,
}

/// Somebody's part in orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Who buys.
    Customer,
    /// Who sells.
    Merchant,
    /// Who carries.
    Carrier,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Part::Customer => "customer",
            Part::Merchant => "merchant",
            Part::Carrier => "carrier",
        }
    }

    /// What an account is for.
    async fn of_caller(client: &HubClient) -> Result<Part, CliError> {
        let me: Account = client.get("/v1/me").await.map_err(CliError::hub("ask for your account"))?;
        let sells_or_carries = [Part::Merchant, Part::Carrier].into_iter();
        let part = sells_or_carries.into_iter().find(|part| me.roles.iter().any(|role| role == part.name()));
        Ok(part.unwrap_or(Part::Customer))
    }
}

impl FeedArgs {
    pub(super) async fn run(self, client: &HubClient, out: &Output) -> Result<(), CliError> {
        let part = match (self.part, &self.account) {
            (Some(part), _) => part,
            (None, Some(_)) => Part::Customer,
            (None, None) => Part::of_caller(client).await?,
        };
        let account =
            self.account.as_ref().map_or_else(String::new, |name| format!("&account={}", escape(name)));
        let path = format!("/v1/feeds/{}?{}", part.name(), account.trim_start_matches('&'));
        if self.follow {
            follow(client, out, &path, self.after).await
        } else {
            self.list(client, out, &path).await
        }
    }

    async fn list(&self, client: &HubClient, out: &Output, path: &str) -> Result<(), CliError> {
        let mut all = Feed { events: Vec::new(), next: self.after, last: EventId(0) };
        while all.events.len() < self.limit {
            let wanted = (self.limit - all.events.len()).min(PAGE);
            let page: Feed = read(client, path, all.next, &format!("&limit={wanted}")).await?;
            let is_last = page.events.is_empty() || page.next >= page.last;
            (all.next, all.last) = (page.next, page.last);
            all.events.extend(page.events);
            if is_last {
                break;
            }
        }
        out.show(&all, "nothing has happened yet", || {
            let mut table = Table::new(&[">EVENT", "TIME", "TYPE", ">ORDER", "STATE", "WHAT"]);
            for event in &all.events {
                table.row([
                    event.id.to_string(),
                    units::moment(event.time_ms),
                    event.kind.clone(),
                    event.order.to_string(),
                    event.state.replace('_', " "),
                    what(event),
                ]);
            }
            table
        })?;
        if all.next < all.last && !out.json {
            out.note(&format!("there are more: --after {} goes on", all.next));
        }
        Ok(())
    }
}

async fn read(client: &HubClient, path: &str, after: EventId, more: &str) -> Result<Feed, CliError> {
    let failed = CliError::hub("read the feed");
    client.get(&format!("{path}&after={after}{more}")).await.map_err(failed)
}

/// Writes each event as it comes, until Ctrl-C.
async fn follow(client: &HubClient, out: &Output, path: &str, mut after: EventId) -> Result<(), CliError> {
    let mut interrupt = Interrupt::listen();
    let mut said = false;
    let more = format!("&limit={PAGE}&wait_s={WAIT_S}");
    let pause = || tokio::time::sleep(Duration::from_secs(1));
    loop {
        let page = tokio::select! {
            page = read(client, path, after, &more) => page,
            () = interrupt.caught() => return Ok(()),
        };
        match page {
            Ok(page) => {
                page.events.iter().try_for_each(|event| tell(out, event))?;
                (after, said) = (page.next, false);
            }
            // It comes back, and then nothing is left out.
            Err(CliError::Hub { source: ClientError::Unreachable { .. }, .. }) => {
                if !said {
                    out.note("the hub does not answer; trying on");
                }
                said = true;
                tokio::select! {
                    () = pause() => {}
                    () = interrupt.caught() => return Ok(()),
                }
            }
            Err(error) => return Err(error),
        }
    }
}

/// An event as a line.
fn tell(out: &Output, event: &FeedEvent) -> Result<(), CliError> {
    let FeedEvent { id, kind, order, state, .. } = event;
    let mut line = format!(
        "{id}  {}  {kind}  order {order} is {}",
        units::moment(event.time_ms),
        state.replace('_', " ")
    );
    let what = what(event);
    if !what.is_empty() {
        line += &format!("  {what}");
    }
    out.told(event, &line)
}

/// What else there is to say of an event.
fn what(event: &FeedEvent) -> String {
    let parcel = event.parcel.map(|parcel| match (&event.scan, &event.status) {
        (Some(code), Some(status)) => format!("parcel {parcel}: {code}, {}", status.replace('_', " ")),
        _ => format!("parcel {parcel}"),
    });
    let amount =
        event.amount.as_ref().filter(|amount| amount.bytes().any(|byte| matches!(byte, b'1'..=b'9')));
    let amount = amount.map(|amount| format!("{amount} {}", event.currency));
    let parts: Vec<_> = [parcel, amount].into_iter().flatten().collect();
    parts.join(", ")
}
