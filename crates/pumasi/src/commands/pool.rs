//! `pumasi status`, `workers` and `books`: the pool as a whole.

use clap::Args;
use pumasi_api::client::ClientError;
use pumasi_api::wire::{Account, Books, HubInfo, Jobs, Worker};
use pumasi_types::ByteSize;
use serde_json::json;

use crate::connect::HubArgs;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::{Output, Style, Table};
use crate::units;

const STATUS_EXAMPLES: &str = "\
Examples:
  pumasi status
  pumasi status --profile lab --json";

/// Show the hub, your account and your latest jobs
#[derive(Args, Debug)]
#[command(after_help = STATUS_EXAMPLES)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    hub: HubArgs,
}

impl StatusArgs {
    pub(crate) async fn run(self, out: &Output) -> Result<Exit, CliError> {
        let client = self.hub.client()?;
        let failed = || CliError::hub(format!("ask the hub at {}", client.address()));
        let info: HubInfo = client.get("/v1/hub").await.map_err(failed())?;
        let me: Account = client.get("/v1/me").await.map_err(failed())?;
        let jobs: Jobs = client.get("/v1/jobs?limit=5").await.map_err(failed())?;
        let workers: Vec<Worker> = match client.get("/v1/workers").await {
            // Who may not see the workers still sees the rest.
            Err(ClientError::Refused { status, .. }) if status.as_u16() == 403 => Vec::new(),
            workers => workers.map_err(failed())?,
        };
        if out.json {
            out.value(&json!({ "hub": info, "account": me, "jobs": jobs.jobs, "workers": workers }))?;
            return Ok(Exit::Ok);
        }
        let here = workers.iter().filter(|worker| worker.state != "away");
        let (count, cores) = here.fold((0, 0), |(count, cores), worker| (count + 1, cores + worker.cores));
        let balances =
            me.balances.iter().map(|b| format!("{} {} ({} held)", b.available, b.currency, b.held));
        let money = balances.collect::<Vec<_>>().join(", ");
        let mut facts = vec![
            ("hub", format!("{}, version {}", client.address(), info.version)),
            (
                "certificate",
                if info.fingerprint.is_empty() { "none (no TLS)".to_owned() } else { info.fingerprint },
            ),
            ("account", format!("{} ({})", me.name, me.roles.join(", "))),
            ("money", if money.is_empty() { "none".to_owned() } else { money }),
        ];
        // Who is no operator sees own machines only.
        if count > 0 {
            facts.push(("workers", format!("{count} with {cores} cores")));
        }
        out.table(&Table::facts(facts))?;
        if !jobs.jobs.is_empty() {
            out.line("")?;
            out.table(&super::jobs::table(&jobs.jobs, false))?;
        }
        Ok(Exit::Ok)
    }
}

const WORKERS_EXAMPLES: &str = "\
Examples:
  pumasi workers
  pumasi workers --json | jq '.[] | select(.state == \"working\") | .name'";

/// List your machines, or all of the pool (operators)
#[derive(Args, Debug)]
#[command(after_help = WORKERS_EXAMPLES)]
pub(crate) struct WorkersArgs {
    #[command(flatten)]
    hub: HubArgs,
}

impl WorkersArgs {
    pub(crate) async fn run(self, out: &Output) -> Result<Exit, CliError> {
        let workers: Vec<Worker> =
            self.hub.client()?.get("/v1/workers").await.map_err(CliError::hub("list workers"))?;
        out.show(&workers, "no machine of yours has joined: `pumasi join` brings one", || {
            let columns = [
                ">ID",
                "NAME",
                "OWNER",
                "STATE",
                ">CORES",
                ">MEMORY",
                ">SPEED",
                ">ASK",
                ">RUNS",
                ">VERIFIED",
                ">LOST",
                ">OUTVOTED",
                ">EARNED",
            ];
            let mut table = Table::new(&columns);
            for worker in &workers {
                let plain = |text: String| (text, Style::Plain);
                table.styled_row([
                    plain(worker.id.to_string()),
                    plain(worker.name.clone()),
                    plain(worker.owner.clone()),
                    (worker.state.clone(), Style::of_state(&worker.state)),
                    plain(worker.cores.to_string()),
                    plain(ByteSize(worker.memory_bytes).to_string()),
                    plain(units::about(worker.speed)),
                    plain(worker.ask.clone()),
                    plain(worker.runs.to_string()),
                    plain(worker.verified.to_string()),
                    plain(worker.lost.to_string()),
                    plain(worker.outvoted.to_string()),
                    plain(worker.earned.clone()),
                ]);
            }
            table
        })?;
        Ok(Exit::Ok)
    }
}

const BOOKS_EXAMPLES: &str = "\
Examples:
  pumasi books
  pumasi books --json | jq '.[] | .balanced'

Ends with 1 when the sum of a currency is not zero.";

/// Show all money of the hub and check that the books balance (operators)
#[derive(Args, Debug)]
#[command(after_help = BOOKS_EXAMPLES)]
pub(crate) struct BooksArgs {
    #[command(flatten)]
    hub: HubArgs,
}

impl BooksArgs {
    pub(crate) async fn run(self, out: &Output) -> Result<Exit, CliError> {
        let books: Vec<Books> =
            self.hub.client()?.get("/v1/books").await.map_err(CliError::hub("read the books"))?;
        out.show(&books, "no money was issued yet: `pumasi account issue NAME AMOUNT` does", || {
            let mut table = Table::new(&["CURRENCY", ">ISSUED", ">HELD", ">SUM", "BOOKS"]);
            for book in &books {
                let verdict =
                    if book.balanced { ("balance", Style::Good) } else { ("DO NOT BALANCE", Style::Bad) };
                table.styled_row([
                    (book.currency.clone(), Style::Plain),
                    (book.issued.clone(), Style::Plain),
                    (book.held.clone(), Style::Plain),
                    (book.sum_minor.to_string(), Style::Plain),
                    (verdict.0.to_owned(), verdict.1),
                ]);
            }
            table
        })?;
        Ok(if books.iter().all(|book| book.balanced) { Exit::Ok } else { Exit::Failed })
    }
}
