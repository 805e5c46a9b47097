//! The books as customers and journal tell them, held against what the hub shows at the end.

use std::collections::{BTreeMap, BTreeSet};

use pumasi_api::client::{HubClient, escape};
use pumasi_api::wire;
use pumasi_types::Currency;

use super::customer::{Acknowledged, Notebook, check_repeat};
use crate::Outcome;

/// Requests that are repeated at once.
const AT_ONCE: usize = 16;

/// What was counted while checking.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    pub(crate) transfers: usize,
    pub(crate) refusals: usize,
    pub(crate) jobs: usize,
    pub(crate) runs_paid: usize,
}

/// One settled movement between two named accounts, in minor units.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Movement {
    payer: String,
    payee: String,
    amount: i64,
}

/// Everything that must hold after the faults.
pub(crate) struct Tally<'a> {
    /// A client of the operator.
    pub(crate) operator: &'a HubClient,
    /// Every account but the operator's, and a client of each.
    pub(crate) accounts: &'a BTreeMap<String, HubClient>,
    /// The accounts that own machines.
    pub(crate) owners: &'a [String],
    pub(crate) books: &'a [Notebook],
}

impl Tally<'_> {
    fn acknowledged(&self) -> impl Iterator<Item = &Acknowledged> {
        self.books.iter().flat_map(|book| &book.commands)
    }

    /// Checks all of it.
    pub(crate) async fn check(&self) -> Outcome<Counted> {
        self.repeat_all().await?;
        let mut counted = Counted {
            refusals: self.acknowledged().filter(|c| c.answer.is_err()).count(),
            ..Counted::default()
        };
        let mut statements = BTreeMap::new();
        for name in self.accounts.keys() {
            statements.insert(name.clone(), self.statement(name).await?);
        }
        counted.transfers = self.check_transfers(&statements)?;
        self.check_balances(&statements)?;
        (counted.jobs, counted.runs_paid) = self.check_jobs(&statements).await?;
        let books: Vec<wire::Books> = self.operator.get("/v1/books").await?;
        if books.is_empty() || books.iter().any(|line| !line.balanced) {
            return Err(format!("the books do not balance: {books:?}").into());
        }
        Ok(counted)
    }

    /// Every acknowledged command is there with the same answer.
    async fn repeat_all(&self) -> Outcome {
        let all: Vec<&Acknowledged> = self.acknowledged().collect();
        for some in all.chunks(AT_ONCE) {
            let checks = some.iter().map(|old| check_repeat(&self.accounts[&old.caller], old));
            futures_util::future::try_join_all(checks).await?;
        }
        Ok(())
    }

    /// A whole statement, page by page: balances of the last page read, and all lines.
    async fn statement(&self, account: &str) -> Outcome<wire::Statement> {
        let first = format!("/v1/statement?limit=1000&account={}", escape(account));
        let mut whole: wire::Statement = self.operator.get(&first).await?;
        while let Some(next) = whole.next {
            let page: wire::Statement = self.operator.get(&format!("{first}&before={next}")).await?;
            whole.lines.extend(page.lines);
            whole.next = page.next;
        }
        Ok(whole)
    }

    /// The journal holds each acknowledged transfer once, as it was asked for, and no other.
    fn check_transfers(&self, statements: &BTreeMap<String, wire::Statement>) -> Outcome<usize> {
        let mut promised = BTreeMap::new();
        for command in self.acknowledged() {
            let (Some(id), Some(amount)) = (command.transfer(), command.amount()) else { continue };
            let payee = command.body["to"].as_str().unwrap_or_default().to_owned();
            let movement = Movement { payer: command.caller.clone(), payee, amount };
            if let Some(other) = promised.insert(id, movement.clone()) {
                return Err(format!("transfer {id} was promised twice: {other:?} and {movement:?}").into());
            }
        }
        for (account, statement) in statements {
            let mut seen = BTreeSet::new();
            for line in statement.lines.iter().filter(|line| ["transfer", "settle"].contains(&&*line.cause)) {
                let id = line.transfer.0;
                let amount = minor(&line.amount)?;
                let (payer, payee) = if amount < 0 { (account, &line.other) } else { (&line.other, account) };
                let movement = Movement { payer: payer.clone(), payee: payee.clone(), amount: amount.abs() };
                if promised.get(&id) != Some(&movement) {
                    let promise = promised.get(&id);
                    return Err(format!("transfer {id} is {movement:?}, but promised was {promise:?}").into());
                }
                if !seen.insert(id) {
                    return Err(format!("transfer {id} stands twice in the statement of {account}").into());
                }
            }
            let mine = |movement: &&Movement| movement.payer == *account || movement.payee == *account;
            let expected = promised.values().filter(mine).count();
            if seen.len() != expected {
                return Err(
                    format!("{account} has {} transfers, promised were {expected}", seen.len()).into()
                );
            }
        }
        Ok(promised.len())
    }

    /// Every balance is what the movements add up to, and what is held is what holds are left.
    fn check_balances(&self, statements: &BTreeMap<String, wire::Statement>) -> Outcome {
        for (account, statement) in statements {
            let mut sum = 0;
            for line in &statement.lines {
                let mine = line.other != *account;
                sum += if mine { minor(&line.amount)? } else { 0 };
            }
            let (available, held) = (minor(&statement.available)?, minor(&statement.held)?);
            let expected = self.held_by(account);
            if available + held != sum || held != expected {
                return Err(format!(
                    "{account} has {available} and {held} set aside; the movements say {sum} altogether, the \
                     acknowledged holds {expected}"
                )
                .into());
            }
        }
        Ok(())
    }

    /// What the acknowledged holds of an account leave set aside, in minor units.
    fn held_by(&self, account: &str) -> i64 {
        let mut holds: BTreeMap<u64, i64> = BTreeMap::new();
        let mine =
            || self.acknowledged().filter(|command| command.caller == account && command.answer.is_ok());
        for command in mine() {
            if let (Some(hold), Some(amount)) = (command.hold(), command.amount()) {
                holds.insert(hold, amount);
            }
        }
        for command in mine() {
            let mut parts = command.path.trim_start_matches("/v1/holds/").split('/');
            let (Some(Ok(hold)), Some(what)) = (parts.next().map(str::parse::<u64>), parts.next()) else {
                continue;
            };
            let left = holds.entry(hold).or_default();
            match what {
                "settle" => *left -= command.amount().unwrap_or_default(),
                _ => *left = i64::MIN,
            }
        }
        // A released hold has nothing left, whatever was settled of it before.
        holds.values().filter(|left| **left > 0).sum()
    }

    /// Every job is done right, no run of it paid twice, and what it spent is what was paid.
    async fn check_jobs(&self, statements: &BTreeMap<String, wire::Statement>) -> Outcome<(usize, usize)> {
        let (mut runs, mut tasks) = (BTreeSet::new(), BTreeSet::new());
        let mut paid: BTreeMap<u64, i64> = BTreeMap::new();
        for owner in self.owners {
            for line in statements[owner].lines.iter().filter(|line| line.cause == "run") {
                let run = line.run.as_ref().ok_or("a line for a run names none")?;
                if !runs.insert(run.run) || !tasks.insert((run.job, run.task, owner)) {
                    return Err(format!("{owner} was paid twice for a task: {line:?}").into());
                }
                *paid.entry(run.job.0).or_default() += minor(&line.amount)?;
            }
        }
        let mut jobs = BTreeSet::new();
        for command in self.acknowledged() {
            let Some(id) = command.job() else { continue };
            if !jobs.insert(id) {
                return Err(format!("job {id} was promised to two orders").into());
            }
            let client = &self.accounts[&command.caller];
            let job: wire::Job = client.get(&format!("/v1/jobs/{id}")).await?;
            let spent = paid.get(&id).copied().unwrap_or_default();
            if job.state != "succeeded" || minor(&job.spent)? != spent {
                return Err(format!("paid for it was {spent}: {job:?}").into());
            }
            check_outputs(client, command, &job).await?;
        }
        Ok((jobs.len(), runs.len()))
    }
}

/// The example `hello` tells its arguments: each task must have printed its own.
async fn check_outputs(client: &HubClient, command: &Acknowledged, job: &wire::Job) -> Outcome {
    let tag = command.body["args"][1].as_str().unwrap_or_default();
    for task in 0..job.tasks {
        let path = format!("/v1/jobs/{}/tasks/{task}/stdout", job.id);
        let bytes = client.get_bytes(&path, 1 << 20).await?;
        let text = String::from_utf8_lossy(&bytes);
        let expected = format!("argument 1: {task}\nargument 2: {tag}\n");
        if !text.contains(&expected) {
            return Err(format!("task {task} of job {} printed {text:?}, not {expected:?}", job.id).into());
        }
    }
    Ok(())
}

fn minor(text: &str) -> Outcome<i64> {
    Ok(Currency::CREDIT.parse_amount(text)?.0)
}
