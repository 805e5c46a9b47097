//! The lines of scripts about webhooks.

use std::fmt::Write as _;

use pumasi_core::{
    Command, EventKind, Failure, Letter, Outcome as Came, Party, Replay, State, WebhookReport, WebhookSpec,
};
use pumasi_types::{EventId, Time};

use super::{Args, Outcome, Pool, duration, next, span};

impl Pool {
    /// `hook OWNER URL [party=carrier] [kinds=KIND/…] [change=ID]`, `unhook OWNER ID`, `renew OWNER ID`,
    /// `replay OWNER ID dead|one=EVENT|since=EVENT`, `told ID FROM TO [EVENT/taken|again/WHY/TIME|dead/WHY]…`.
    pub(super) fn hook(&mut self, name: &str, args: &mut Args<'_>) -> Outcome<String> {
        if name == "told" {
            let report = self.report(args)?;
            return self.ask(State::SYSTEM, args, Command::ReportWebhooks(vec![report]));
        }
        let owner = self.account(next(args, "whose")?)?;
        let what = next(args, "which")?;
        if name == "hook" {
            let party = match args.take_key("party") {
                Some("carrier") => Party::Carrier,
                Some("customer") => Party::Customer,
                _ => Party::Merchant,
            };
            let kind = |name: &str| EventKind::ALL.into_iter().find(|kind| kind.name() == name);
            let kinds = args.take_key("kinds").into_iter().flat_map(|kinds| kinds.split('/')).map(kind);
            let kinds = kinds.collect::<Option<_>>().ok_or("no such kind")?;
            let webhook = args.take_key("change").map(str::parse).transpose()?;
            let spec = WebhookSpec { webhook, party, url: what.to_owned(), kinds };
            return self.ask(owner, args, Command::SetWebhook(spec));
        }
        let webhook = what.parse()?;
        let command = match name {
            "unhook" => Command::RemoveWebhook { webhook },
            "renew" => Command::RenewWebhookSecret { webhook },
            _ => {
                let event = |text: &str| Outcome::Ok(EventId(text.parse()?));
                let one = args.take_key("one").map(event).transpose()?.map(Replay::One);
                let since = args.take_key("since").map(event).transpose()?.map(Replay::Since);
                let replay = one.or(since).unwrap_or(Replay::Dead);
                Command::ReplayWebhook { webhook, replay }
            }
        };
        self.ask(owner, args, command)
    }

    fn report(&self, args: &mut Args<'_>) -> Outcome<WebhookReport> {
        let webhook = next(args, "webhook")?.parse()?;
        let (from, to) = (next(args, "from")?.parse()?, next(args, "to")?.parse()?);
        let mut outcomes = Vec::new();
        while let Some(word) = args.next_pos() {
            let mut parts = word.split('/');
            let event = EventId(parts.next().unwrap_or_default().parse()?);
            let (came, why, wait) = (parts.next(), parts.next(), parts.next());
            let why = match why {
                None | Some("timeout") => Failure::TimedOut,
                Some(status) => Failure::Status(status.parse()?),
            };
            let at = self.now.after(wait.map_or(duration("1m"), duration)?);
            let came = match came {
                Some("taken") => Came::Taken,
                Some("again") => Came::Again { at, why },
                _ => Came::Dead { why },
            };
            outcomes.push((event, came));
        }
        Ok(WebhookReport { webhook, from: EventId(from), to: EventId(to), outcomes })
    }

    pub(super) fn look_at_webhooks(&self) -> Outcome<String> {
        let mut text = String::new();
        for (id, webhook) in self.state.market().webhooks() {
            let kinds: Vec<_> = webhook.kinds.iter().map(EventKind::name).collect();
            let kinds =
                if kinds.len() == EventKind::ALL.len() { "all".to_owned() } else { kinds.join(" and ") };
            let owner = self.name(webhook.owner);
            write!(text, "{id}: {kinds} of {owner} as {:?} to {}", webhook.party, webhook.url)?;
            write!(text, ", secret {}, passed {}", webhook.secret, webhook.passed)?;
            for (event, letter) in &webhook.waiting {
                write!(text, "; {event} waits {}", self.letter(*letter))?;
            }
            for (event, letter) in &webhook.dead {
                write!(text, "; {event} is dead {}", self.letter(*letter))?;
            }
            if let Some(since) = webhook.failing_since {
                write!(text, "; failing for {}", span(self.now.since(since)))?;
            }
            if let Some((since, why)) = webhook.disabled {
                write!(text, "; disabled for {} ({why:?})", span(self.now.since(since)))?;
            }
            writeln!(text)?;
        }
        Ok(text)
    }

    fn letter(&self, letter: Letter) -> String {
        let Letter { tries, at, why } = letter;
        let when = match at {
            Time(0) => String::new(),
            at if at > self.now => format!(" until {} from now", span(at.since(self.now))),
            at => format!(" since {}", span(self.now.since(at))),
        };
        let why = why.map_or("it is sent again".to_owned(), |why| why.to_string());
        format!("after {tries} tries{when}, {why}")
    }
}
