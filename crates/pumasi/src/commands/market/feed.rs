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
  pumasi market feed --as customer --lang ko       what customers are told, in Korean
  pumasi market feed --follow --json | jq -r 'select(.type == \"order.paid\") | .order'";

/// Events that are asked for at once.
const PAGE: usize = 1_000;
/// How long one question waits at the hub, in seconds.
const WAIT_S: u64 = 50;

/// Show the events of your orders, oldest first: what you sold, carry or bought
///
/// The number of the last one, given as --after, goes on from there: nothing is left out in between. Customers read what
/// they are told of it.
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
    /// The language of what customers are told; by default that of LC_ALL, LC_MESSAGES or LANG
    #[arg(long, value_enum, value_name = "LANGUAGE")]
    lang: Option<Language>,
}

/// A language that customers are told things in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Language {
    /// Korean.
    Ko,
    /// English.
    En,
}

impl Language {
    /// What the environment says, of whose variables the first counts that is set (POSIX.1, 8.2); else English.
    fn of_environment(variable: impl Fn(&str) -> Option<String>) -> Language {
        let set = |name: &&str| variable(name).filter(|value| !value.is_empty());
        let locale = ["LC_ALL", "LC_MESSAGES", "LANG"].iter().find_map(set).unwrap_or_default();
        let language = locale.split(['_', '.', '@']).next();
        if language == Some("ko") { Language::Ko } else { Language::En }
    }
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
        let language = self.lang.unwrap_or_else(|| Language::of_environment(|name| std::env::var(name).ok()));
        if self.follow {
            follow(client, out, &path, self.after, language).await
        } else {
            self.list(client, out, &path, language).await
        }
    }

    async fn list(
        &self,
        client: &HubClient,
        out: &Output,
        path: &str,
        language: Language,
    ) -> Result<(), CliError> {
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
                    what(event, language),
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
async fn follow(
    client: &HubClient,
    out: &Output,
    path: &str,
    mut after: EventId,
    language: Language,
) -> Result<(), CliError> {
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
                page.events.iter().try_for_each(|event| tell(out, event, language))?;
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

/// Writes an event.
fn tell(out: &Output, event: &FeedEvent, language: Language) -> Result<(), CliError> {
    out.told(event, &line(event, language))
}

/// An event as a line.
fn line(event: &FeedEvent, language: Language) -> String {
    let FeedEvent { id, kind, order, state, .. } = event;
    let (time, what) = (units::moment(event.time_ms), what(event, language));
    // What a customer is told says which order it is and where it stands.
    if event.notice.is_some() {
        return format!("{id}  {time}  {kind}  {what}");
    }
    let line = format!("{id}  {time}  {kind}  order {order} is {}  {what}", state.replace('_', " "));
    line.trim_end().to_owned()
}

/// What a customer is told of an event; for others, what there is to say besides.
fn what(event: &FeedEvent, language: Language) -> String {
    if let Some(notice) = &event.notice {
        return match language {
            Language::Ko => notice.ko.clone(),
            Language::En => notice.en.clone(),
        };
    }
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

#[cfg(test)]
mod tests {
    use pumasi_api::wire::market::Notice;
    use pumasi_types::{AccountId, OrderId, ParcelId};

    use super::*;

    fn event(notice: Option<Notice>) -> FeedEvent {
        FeedEvent {
            id: EventId(1_041),
            kind: "order.scanned".to_owned(),
            time_ms: 0,
            order: OrderId(7),
            state: "partly_shipped".to_owned(),
            customer: AccountId(5),
            merchant: AccountId(2),
            parcel: Some(ParcelId(1)),
            carrier: Some(AccountId(3)),
            scan: Some("EDG".to_owned()),
            status: Some("out_for_delivery".to_owned()),
            amount: None,
            currency: "KRW".to_owned(),
            notice,
        }
    }

    /// The time depends on where this runs.
    fn said(event: &FeedEvent, language: Language) -> String {
        line(event, language).replace(&units::moment(0), "…")
    }

    #[test]
    fn customers_read_their_language_and_others_what_happened() {
        let (ko, en) = ("소포가 배송을 위해 출발했습니다.".to_owned(), "It is out for delivery.".to_owned());
        let told = event(Some(Notice { ko: ko.clone(), en: en.clone() }));
        assert_eq!(said(&told, Language::Ko), format!("1041  …  order.scanned  {ko}"));
        assert_eq!(said(&told, Language::En), format!("1041  …  order.scanned  {en}"));
        let others = "1041  …  order.scanned  order 7 is partly shipped  parcel 1: EDG, out for delivery";
        assert_eq!(said(&event(None), Language::Ko), others);
        let plain = FeedEvent { parcel: None, ..event(None) };
        assert_eq!(said(&plain, Language::En), "1041  …  order.scanned  order 7 is partly shipped");
    }

    #[test]
    fn the_environment_says_the_language() {
        let language = |set: &[(&str, &str)]| {
            let variable =
                |name: &str| set.iter().find(|(of, _)| *of == name).map(|(_, is)| (*is).to_owned());
            Language::of_environment(variable)
        };
        assert_eq!(language(&[("LANG", "ko_KR.UTF-8")]), Language::Ko);
        assert_eq!(language(&[("LANG", "ko_KR.UTF-8"), ("LC_ALL", "C")]), Language::En);
        assert_eq!(language(&[("LANG", "en_US.UTF-8"), ("LC_MESSAGES", "ko"), ("LC_ALL", "")]), Language::Ko);
        assert_eq!(language(&[("LANG", "kok_IN")]), Language::En);
        assert_eq!(language(&[]), Language::En);
    }
}
