//! `pumasi market webhooks`: events that are brought to a server of yours.

use clap::{Args, Subcommand, ValueEnum};
use pumasi_api::client::HubClient;
use pumasi_api::wire::webhooks::{DeadLetters, Letter, NewWebhook, Replay, Seller, Webhook, Webhooks};
use pumasi_core::EventKind;
use pumasi_types::{EventId, WebhookId};

use crate::connect::post;
use crate::error::CliError;
use crate::output::{Output, Style, Table};
use crate::units;

pub(super) const EXAMPLES: &str = "\
Examples:
  pumasi market webhooks add https://shop.example/hooks --type order.placed,order.shipped
  pumasi market webhooks list
  pumasi market webhooks dead-letters 1            what it did not take, and why
  pumasi market webhooks replay 1                  send all of that again
  pumasi market webhooks replay 1 --since 1000     and everything after event 1000
  pumasi market webhooks enable 1                  go on where it was disabled
  pumasi market webhooks rotate 1                  a new secret

What is sent follows Standard Webhooks 1.0.0, whose libraries check its signatures: one of those in \
`webhook-signature` must be `v1,` and the base64 of HMAC-SHA256, under the secret's bytes (the base64 behind \
`whsec_`), of `webhook-id`, `webhook-timestamp` and the body, joined by dots. docs/webhooks.md does it with openssl.";

#[derive(Debug, Subcommand)]
pub(super) enum WebhooksCommand {
    Add(AddArgs),
    /// List your webhooks: how far each is, what waits, what it did not take
    List,
    /// Show one of your webhooks
    Show {
        /// Its number
        webhook: WebhookId,
        /// Show its secret as well
        #[arg(long)]
        secret: bool,
    },
    Change(ChangeArgs),
    /// Sign with a new secret, and for a day with the one before as well
    Rotate {
        /// Its number
        webhook: WebhookId,
    },
    /// Show what a webhook did not take: what was given up, and what is tried again
    DeadLetters {
        /// Its number
        webhook: WebhookId,
    },
    /// Send again what was given up, or one event, or everything after an event
    Replay {
        /// Its number
        webhook: WebhookId,
        /// Only this event
        #[arg(long, value_name = "EVENT", conflicts_with = "since")]
        event: Option<EventId>,
        /// Everything after this event
        #[arg(long, value_name = "EVENT")]
        since: Option<EventId>,
    },
    /// Take a webhook away, with all that it did not take
    Remove {
        /// Its number
        webhook: WebhookId,
    },
}

/// Have your events, from the next one on, brought to a URL (merchants and carriers)
///
/// Prints the secret that they are signed with. A server takes an event by answering with a status of 200 to 299;
/// what it does not take is tried again for three days.
#[derive(Args, Debug)]
pub(super) struct AddArgs {
    /// Where to: begins with https://
    url: String,
    /// Which types of events, such as order.shipped; all when it is not given
    #[arg(long = "type", value_delimiter = ',', value_name = "TYPE")]
    types: Vec<String>,
    /// What you sell, or what you carry; needed by who does both
    #[arg(long = "as", value_enum, value_name = "PART")]
    part: Option<Part>,
}

/// Change where events are brought and which; one that was disabled goes on where it was
///
/// What is not given stays as it is.
#[derive(Args, Debug)]
#[command(visible_alias = "enable")]
pub(super) struct ChangeArgs {
    /// Its number
    webhook: WebhookId,
    /// Where to
    #[arg(long)]
    url: Option<String>,
    /// Which types of events
    #[arg(long = "type", value_delimiter = ',', value_name = "TYPE", conflicts_with = "all_types")]
    types: Vec<String>,
    /// All types of events
    #[arg(long)]
    all_types: bool,
}

/// Whose events are brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Those of what you sell.
    Merchant,
    /// Those of what you carry.
    Carrier,
}

impl From<Part> for Seller {
    fn from(part: Part) -> Seller {
        match part {
            Part::Merchant => Seller::Merchant,
            Part::Carrier => Seller::Carrier,
        }
    }
}

impl WebhooksCommand {
    pub(super) async fn run(self, client: &HubClient, out: &Output) -> Result<(), CliError> {
        match self {
            WebhooksCommand::Add(args) => args.run(client, out).await,
            WebhooksCommand::List => list(client, out).await,
            WebhooksCommand::Show { webhook, secret } => show(client, out, webhook, secret).await,
            WebhooksCommand::Change(args) => args.run(client, out).await,
            WebhooksCommand::Rotate { webhook } => rotate(client, out, webhook).await,
            WebhooksCommand::DeadLetters { webhook } => dead_letters(client, out, webhook).await,
            WebhooksCommand::Replay { webhook, event, since } => {
                replay(client, out, webhook, Replay { event, since }).await
            }
            WebhooksCommand::Remove { webhook } => {
                let failed = CliError::hub(format!("remove webhook {webhook}"));
                let () = client.delete(&path(webhook), None).await.map_err(failed)?;
                out.done(&format!("removed webhook {webhook}: nothing is sent there any more"))
            }
        }
    }
}

fn path(webhook: WebhookId) -> String {
    format!("/v1/webhooks/{webhook}")
}

/// A webhook of the caller's, with its secret.
async fn get(client: &HubClient, webhook: WebhookId) -> Result<Webhook, CliError> {
    client.get(&path(webhook)).await.map_err(CliError::hub(format!("show webhook {webhook}")))
}

impl AddArgs {
    async fn run(self, client: &HubClient, out: &Output) -> Result<(), CliError> {
        let AddArgs { url, types, part } = self;
        let operation = format!("add a webhook to {url}");
        let new = NewWebhook { url, types, party: part.map(Seller::from) };
        let added: Webhook = post(client, "/v1/webhooks", &new, operation).await?;
        tell_secret(out, &added, &format!("added webhook {} to {}", added.id, added.url))
    }
}

impl ChangeArgs {
    async fn run(self, client: &HubClient, out: &Output) -> Result<(), CliError> {
        let ChangeArgs { webhook, url, types, all_types } = self;
        let now = get(client, webhook).await?;
        let types = match (all_types, types.is_empty()) {
            // None named: all, also those that a later hub has.
            (true, _) => Vec::new(),
            (false, true) => now.types,
            (false, false) => types,
        };
        let new = NewWebhook { url: url.unwrap_or(now.url), types, party: None };
        let failed = CliError::hub(format!("change webhook {webhook}"));
        let changed: Webhook = client.put(&path(webhook), &new, None).await.map_err(failed)?;
        let (url, types) = (&changed.url, types_of(&changed));
        out.told(
            &without_secret(changed.clone()),
            &format!("webhook {webhook} brings {types} to {url}, and goes on after event {}", changed.passed),
        )
    }
}

async fn rotate(client: &HubClient, out: &Output, webhook: WebhookId) -> Result<(), CliError> {
    let operation = format!("make a new secret for webhook {webhook}");
    let renewed: Webhook = post(client, &format!("{}/secret", path(webhook)), &(), operation).await?;
    tell_secret(out, &renewed, &format!("webhook {webhook} signs with the secret before for a day as well"))
}

/// Shows a secret that is new. It stands alone on stdout, so that it can be put where it belongs.
fn tell_secret(out: &Output, webhook: &Webhook, what: &str) -> Result<(), CliError> {
    if out.json {
        return out.value(webhook);
    }
    out.note(&format!("{what}; its secret, which only you and the hub may know:"));
    out.line(webhook.secret.as_deref().unwrap_or_default())?;
    out.note(
        "check what comes with it: `pumasi market webhooks --help` tells how. `show --secret` shows it again",
    );
    Ok(())
}

fn without_secret(webhook: Webhook) -> Webhook {
    Webhook { secret: None, ..webhook }
}

async fn list(client: &HubClient, out: &Output) -> Result<(), CliError> {
    let all: Webhooks = client.get("/v1/webhooks").await.map_err(CliError::hub("list webhooks"))?;
    let none = "there are no webhooks: `pumasi market webhooks add URL` makes one";
    out.show(&all.webhooks, none, || table(&all.webhooks))
}

fn table(webhooks: &[Webhook]) -> Table {
    let mut table =
        Table::new(&[">WEBHOOK", "URL", "AS", "TYPES", ">UP TO EVENT", ">WAIT", ">GIVEN UP", "STATE"]);
    for webhook in webhooks {
        let plain = |text: String| (text, Style::Plain);
        table.styled_row([
            plain(webhook.id.to_string()),
            plain(webhook.url.clone()),
            plain(part(webhook).to_owned()),
            plain(types_of(webhook)),
            plain(webhook.passed.to_string()),
            plain(webhook.waiting.to_string()),
            plain(webhook.dead.to_string()),
            state(webhook),
        ]);
    }
    table
}

async fn show(
    client: &HubClient,
    out: &Output,
    webhook: WebhookId,
    with_secret: bool,
) -> Result<(), CliError> {
    let shown = get(client, webhook).await?;
    let shown = if with_secret { shown } else { without_secret(shown) };
    out.show(&shown, "", || facts(&shown))
}

fn facts(webhook: &Webhook) -> Table {
    let mut facts = vec![
        ("webhook", webhook.id.to_string()),
        ("url", webhook.url.clone()),
        ("as", part(webhook).to_owned()),
        ("types", types_of(webhook)),
        ("state", state(webhook).0),
        ("up to event", webhook.passed.to_string()),
        ("tried again", webhook.waiting.to_string()),
        ("given up", webhook.dead.to_string()),
    ];
    if let Some(secret) = &webhook.secret {
        facts.push(("secret", secret.clone()));
    }
    Table::facts(facts)
}

fn part(webhook: &Webhook) -> &'static str {
    match webhook.party {
        Seller::Merchant => "merchant",
        Seller::Carrier => "carrier",
    }
}

fn types_of(webhook: &Webhook) -> String {
    if webhook.types.len() == EventKind::ALL.len() {
        return "all types".to_owned();
    }
    webhook.types.join(", ")
}

/// Whether a webhook takes what is sent, and if not, why.
fn state(webhook: &Webhook) -> (String, Style) {
    let disabled = webhook.disabled.as_deref().map(|why| match why {
        "gone" => "disabled: it answered 410, so that it wants nothing more".to_owned(),
        "failing" => "disabled: it took nothing for days".to_owned(),
        "too_many_dead" => "disabled: too much was given up".to_owned(),
        other => format!("disabled: {}", other.replace('_', " ")),
    });
    match (disabled, webhook.failing_since_ms) {
        (Some(why), _) => (why, Style::Bad),
        (None, Some(since_ms)) => (format!("takes nothing since {}", units::moment(since_ms)), Style::Bad),
        (None, None) => ("well".to_owned(), Style::Good),
    }
}

async fn dead_letters(client: &HubClient, out: &Output, webhook: WebhookId) -> Result<(), CliError> {
    let failed = CliError::hub(format!("show what webhook {webhook} did not take"));
    let letters: DeadLetters = client.get(&format!("{}/dead", path(webhook))).await.map_err(failed)?;
    out.show(&letters, &format!("webhook {webhook} took everything"), || letters_table(&letters))?;
    if !letters.dead.is_empty() && !out.json {
        out.note(&format!("`pumasi market webhooks replay {webhook}` sends again what was given up"));
    }
    Ok(())
}

fn letters_table(letters: &DeadLetters) -> Table {
    let mut table = Table::new(&[">EVENT", "STATE", ">TRIES", "WHEN", "WHY"]);
    let mut add = |letter: &Letter, state: &str, style| {
        table.styled_row([
            (letter.event.to_string(), Style::Plain),
            (state.to_owned(), style),
            (letter.tries.to_string(), Style::Plain),
            (units::moment(letter.at_ms), Style::Plain),
            (letter.why.clone().unwrap_or_else(|| "it is sent again".to_owned()), Style::Plain),
        ]);
    };
    letters.dead.iter().for_each(|letter| add(letter, "given up", Style::Bad));
    letters.waiting.iter().for_each(|letter| add(letter, "tried again", Style::Busy));
    table
}

async fn replay(
    client: &HubClient,
    out: &Output,
    webhook: WebhookId,
    replay: Replay,
) -> Result<(), CliError> {
    let what = match (replay.event, replay.since) {
        (Some(event), _) => format!("event {event}"),
        (None, Some(event)) => format!("everything after event {event}"),
        (None, None) => "what was given up".to_owned(),
    };
    let operation = format!("send {what} again to webhook {webhook}");
    let () = post(client, &format!("{}/replay", path(webhook)), &replay, operation).await?;
    out.done(&format!("webhook {webhook} is sent {what} again"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn webhook(disabled: Option<&str>, failing_since_ms: Option<u64>) -> Webhook {
        Webhook {
            id: WebhookId(3),
            url: "https://shop.example/hooks".to_owned(),
            types: vec!["order.placed".to_owned(), "order.shipped".to_owned()],
            party: Seller::Merchant,
            secret: Some("whsec_c2VjcmV0".to_owned()),
            passed: EventId(1_041),
            waiting: 2,
            dead: 1,
            failing_since_ms,
            disabled: disabled.map(str::to_owned),
        }
    }

    fn text(table: &Table) -> String {
        Output::plain().text_of(table)
    }

    #[test]
    fn a_webhook_says_how_far_it_is_and_what_is_wrong() {
        let all = EventKind::ALL.into_iter().map(|kind| format!("order.{kind}")).collect();
        let well = Webhook { types: all, party: Seller::Carrier, ..webhook(None, None) };
        let strange = webhook(Some("on_the_moon"), None);
        let webhooks = [well, webhook(Some("gone"), Some(1)), webhook(Some("too_many_dead"), None), strange];
        insta::assert_snapshot!(text(&table(&webhooks)));
        assert!(state(&webhook(None, Some(1_000))).0.starts_with("takes nothing since 19"));
        assert_eq!(state(&webhook(Some("failing"), Some(1))).0, "disabled: it took nothing for days");
    }

    #[test]
    fn a_secret_is_shown_only_when_it_is_asked_for() {
        assert!(text(&facts(&webhook(None, None))).contains("secret       whsec_c2VjcmV0"));
        let shown = text(&facts(&without_secret(webhook(None, None))));
        assert!(!shown.contains("whsec") && shown.contains("up to event  1041"), "{shown}");
    }

    #[test]
    fn letters_say_what_became_of_them() {
        let letter = |event, why: Option<&str>| Letter {
            event: EventId(event),
            tries: 3,
            at_ms: 0,
            why: why.map(str::to_owned),
        };
        let letters = DeadLetters {
            dead: vec![letter(7, Some("it answered 500"))],
            waiting: vec![letter(9, Some("it took too long")), letter(12, None)],
        };
        // The times depend on where this runs.
        let shown = text(&letters_table(&letters)).replace(&units::moment(0), "…");
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let lines: Vec<_> = shown.lines().map(words).collect();
        assert_eq!(
            lines[1..],
            [
                "7 given up 3 … it answered 500",
                "9 tried again 3 … it took too long",
                "12 tried again 3 … it is sent again"
            ]
        );
    }
}
