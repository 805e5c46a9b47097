//! A customer who keeps sending commands through every fault, and remembers each acknowledgement.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pumasi_api::client::{ClientError, HubClient};
use pumasi_types::{Currency, Hash, RequestId};
use serde_json::{Value, json};

use super::dice::Dice;

/// Longer without an answer means that the hub does not come back.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a request was answered: what was done, or the code of the refusal.
pub(crate) type Answer = Result<Value, String>;

/// A command and what the hub promised about it.
#[derive(Clone, Debug)]
pub(crate) struct Acknowledged {
    /// Whose command it was.
    pub(crate) caller: String,
    pub(crate) path: String,
    pub(crate) body: Value,
    pub(crate) id: RequestId,
    pub(crate) answer: Answer,
}

/// What a customer wrote down.
#[derive(Default)]
pub(crate) struct Notebook {
    pub(crate) commands: Vec<Acknowledged>,
    /// How often a command had to be sent again because no answer came.
    pub(crate) resent: u64,
    /// How often a command that was acknowledged before was sent again on purpose.
    pub(crate) repeated: u64,
}

/// One of those who send commands.
pub(crate) struct Customer {
    pub(crate) name: String,
    pub(crate) client: HubClient,
    /// Names of those who may be paid.
    pub(crate) payees: Vec<String>,
    pub(crate) module: Hash,
    pub(crate) dice: Dice,
    /// Longest pause between two commands.
    pub(crate) pause: Duration,
}

impl Customer {
    /// Sends commands until told to stop. Every one that was begun is acknowledged at the end.
    pub(crate) fn work(mut self, stop: &Arc<AtomicBool>) -> Result<Notebook, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map_err(|error| error.to_string())?.block_on(async {
            let mut book = Notebook::default();
            while !stop.load(Ordering::Relaxed) {
                self.turn(&mut book).await?;
                let most = self.pause.as_micros() as u64;
                tokio::time::sleep(Duration::from_micros(self.dice.below(most + 1))).await;
            }
            Ok(book)
        })
    }

    async fn turn(&mut self, book: &mut Notebook) -> Result<(), String> {
        if !book.commands.is_empty() && self.dice.percent(10) {
            let old = self.dice.pick(&book.commands).clone();
            book.repeated += 1;
            return check_repeat(&self.client, &old).await;
        }
        let (path, body) = self.wish(book);
        let id = RequestId((u128::from(self.dice.next()) << 64) | u128::from(self.dice.next()));
        // Some are so impatient that they ask twice at once.
        let twice = self.dice.percent(5);
        let (first, second) = tokio::join!(ask(&self.client, &path, &body, id), async {
            match twice {
                true => Some(ask(&self.client, &path, &body, id).await),
                false => None,
            }
        });
        let (answer, resent) = first?;
        let caller = self.name.clone();
        let acknowledged = Acknowledged { caller, path, body, id, answer };
        if let Some(second) = second {
            same(&acknowledged, &second?.0)?;
        }
        book.resent += resent;
        book.commands.push(acknowledged);
        Ok(())
    }

    /// What to ask for next.
    fn wish(&mut self, book: &Notebook) -> (String, Value) {
        let amount = format!("0.{:02}", 1 + self.dice.below(50));
        let holds: Vec<u64> = book.commands.iter().filter_map(Acknowledged::hold).collect();
        let payee = self.dice.pick(&self.payees).clone();
        match self.dice.below(100) {
            0..3 => ("/v1/jobs".to_owned(), self.job()),
            3..25 => ("/v1/holds".to_owned(), json!({"amount": amount})),
            25..45 if !holds.is_empty() => {
                let hold = *self.dice.pick(&holds);
                (format!("/v1/holds/{hold}/settle"), json!({"to": payee, "amount": amount}))
            }
            45..60 if !holds.is_empty() => {
                let hold = *self.dice.pick(&holds);
                (format!("/v1/holds/{hold}/release"), Value::Null)
            }
            // Far more than anybody has: a refusal is a result too.
            60..63 => ("/v1/transfers".to_owned(), json!({"to": payee, "amount": "99999999"})),
            _ => ("/v1/transfers".to_owned(), json!({"to": payee, "amount": amount})),
        }
    }

    fn job(&mut self) -> Value {
        json!({
            "name": format!("{}-{}", self.name, self.dice.next()),
            "module": self.module,
            "args": ["{index}", format!("{:016x}", self.dice.next())],
            "tasks": 1 + self.dice.below(4),
            "quorum": 1 + self.dice.below(2),
            "limits": {"fuel": 50_000_000, "memory_bytes": 4 << 20},
            "budget": "2.00",
            "max_losses": 200,
        })
    }
}

impl Acknowledged {
    /// The hold that it made.
    pub(crate) fn hold(&self) -> Option<u64> {
        self.answer.as_ref().ok()?.get("hold")?.as_u64()
    }

    /// The transfer that it settled.
    pub(crate) fn transfer(&self) -> Option<u64> {
        self.answer.as_ref().ok()?.get("transfer")?.as_u64()
    }

    /// The job that it ordered.
    pub(crate) fn job(&self) -> Option<u64> {
        if self.path != "/v1/jobs" {
            return None;
        }
        self.answer.as_ref().ok()?.get("id")?.as_u64()
    }

    /// The amount that it named, in minor units.
    pub(crate) fn amount(&self) -> Option<i64> {
        let text = self.body.get("amount")?.as_str()?;
        Currency::CREDIT.parse_amount(text).ok().map(|amount| amount.0)
    }
}

/// Sends a command until it is answered, and says how often it had to be sent again.
pub(super) async fn ask(
    client: &HubClient,
    path: &str,
    body: &Value,
    id: RequestId,
) -> Result<(Answer, u64), String> {
    let began = Instant::now();
    let mut resent = 0;
    loop {
        let why = match client.post::<Value, Value>(path, body, Some(id)).await {
            Ok(value) => return Ok((Ok(value), resent)),
            Err(ClientError::Refused { status, body }) => match status.as_u16() {
                400 | 402..=409 => return Ok((Err(body.code), resent)),
                _ => format!("{status} {}", body.message),
            },
            Err(error @ (ClientError::Unreachable { .. } | ClientError::Protocol { .. })) => {
                error.to_string()
            }
            Err(error) => return Err(format!("POST {path}: {error}")),
        };
        if began.elapsed() > PATIENCE {
            return Err(format!("POST {path} was not answered for {PATIENCE:?}: {why}"));
        }
        resent += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Sends an acknowledged command again: it must be answered as before, and not be done again.
pub(crate) async fn check_repeat(client: &HubClient, old: &Acknowledged) -> Result<(), String> {
    let (answer, _) = ask(client, &old.path, &old.body, old.id).await?;
    same(old, &answer)
}

fn same(old: &Acknowledged, answer: &Answer) -> Result<(), String> {
    // A job goes on; that it is the same one is what counts.
    let essence = |answer: &Answer| match (old.path.as_str(), answer) {
        ("/v1/jobs", Ok(job)) => Ok(job["id"].clone()),
        _ => answer.clone(),
    };
    if essence(answer) == essence(&old.answer) {
        return Ok(());
    }
    Err(format!("an acknowledged command is answered differently now: {old:?}, now {answer:?}"))
}
