//! `pumasi account` and `statement`: accounts, tokens and money.

use clap::{Args, Subcommand, ValueEnum};
use pumasi_api::client::{HubClient, Token, escape};
use pumasi_api::wire::{
    Account, Held, NewHold, NewToken, OpenAccount, OpenedAccount, OwnerRecord, Payment, RevokeToken,
    SettleHold, Statement, StatementLine, Transferred, Vouch,
};
use pumasi_types::{Currency, HoldId};

use crate::connect::{HubArgs, post};
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::{Output, Style, Table};
use crate::units;

const EXAMPLES: &str = "\
Examples:
  pumasi account                                   your own
  pumasi account open lab --role researcher        prints the token once (operators)
  pumasi account issue lab 100                     new credits (operators)
  pumasi account transfer farm 2.5
  pumasi account vouch farm                        its machines are believed at once (operators)
  pumasi account hold 10 --expires 7d
  pumasi account settle 12 farm 4 && pumasi account release 12";

/// Show and open accounts, issue and move money
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct AccountArgs {
    #[command(subcommand)]
    command: Option<AccountCommand>,
    #[command(flatten)]
    hub: HubArgs,
}

#[derive(Debug, Subcommand)]
enum AccountCommand {
    /// Show an account, by default your own
    Show {
        /// Name or id
        name: Option<String>,
    },
    /// List all accounts (operators)
    List,
    /// Open an account and print its token, which is shown only once (operators)
    Open {
        /// Unique: lower-case letters, digits, '-', '_' and '.'
        name: String,
        /// What it may do; can be given more than once
        #[arg(long, required = true, value_enum)]
        role: Vec<RoleName>,
    },
    /// Answer for an owner, whose machines are then believed without a second owner (operators)
    ///
    /// An owner that was caught begins anew.
    Vouch {
        /// Name or id
        name: String,
        /// Do not answer for it any more
        #[arg(long)]
        off: bool,
    },
    /// Make a further token for an account and print it
    Token {
        /// Name or id
        name: String,
    },
    /// Make a token worthless
    Revoke {
        /// The token itself
        token: Token,
    },
    /// Put new money into circulation (operators)
    Issue {
        /// Name or id of who gets it
        to: String,
        #[command(flatten)]
        money: Money,
    },
    /// Pay somebody from your account
    Transfer {
        /// Name or id of who gets it
        to: String,
        #[command(flatten)]
        money: Money,
    },
    /// Set money aside and print the number of the hold
    Hold {
        #[command(flatten)]
        money: Money,
        /// When it is released by itself: a span like 7d or a time
        #[arg(long, value_parser = units::parse_moment_ms, value_name = "WHEN")]
        expires: Option<u64>,
    },
    /// Pay a part of a hold
    Settle {
        /// Number of the hold
        hold: HoldId,
        /// Name or id of who is paid
        to: String,
        /// How much, in the currency of the hold
        amount: String,
    },
    /// Give the rest of a hold back to yourself
    Release {
        /// Number of the hold
        hold: HoldId,
    },
}

/// An amount with its currency.
#[derive(Args, Clone, Debug)]
struct Money {
    /// How much
    amount: String,
    /// In which currency
    #[arg(long, default_value = "CRD", value_name = "CODE")]
    currency: Currency,
}

impl Money {
    /// The amount in the one form that the API takes, checked before anything is sent.
    fn checked(&self) -> Result<String, CliError> {
        let amount = self.currency.parse_amount(&self.amount);
        match amount {
            Ok(amount) if amount.is_positive() => Ok(self.currency.format_amount(amount)),
            Ok(_) => Err(CliError::usage("the amount must be more than nothing", "give an amount like 12.5")),
            Err(error) => Err(CliError::usage(error.to_string(), "give an amount like 12.5")),
        }
    }
}

/// What an account may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum RoleName {
    /// Submits jobs.
    Researcher,
    /// Joins machines.
    Owner,
    /// Opens accounts, issues money, sees everything.
    Operator,
    /// Follows the whole log and checks it.
    Auditor,
    /// Sells goods.
    Merchant,
    /// Orders in customers' names.
    Storefront,
    /// Carries parcels.
    Carrier,
}

impl RoleName {
    fn name(self) -> String {
        match self {
            RoleName::Researcher => "researcher",
            RoleName::Owner => "owner",
            RoleName::Operator => "operator",
            RoleName::Auditor => "auditor",
            RoleName::Merchant => "merchant",
            RoleName::Storefront => "storefront",
            RoleName::Carrier => "carrier",
        }
        .to_owned()
    }
}

impl AccountArgs {
    pub(crate) async fn run(self, out: &Output) -> Result<Exit, CliError> {
        let client = self.hub.client()?;
        match self.command.unwrap_or(AccountCommand::Show { name: None }) {
            AccountCommand::Show { name } => show(&client, out, name).await?,
            AccountCommand::List => {
                let accounts: Vec<Account> =
                    client.get("/v1/accounts").await.map_err(CliError::hub("list accounts"))?;
                out.show(&accounts, "there are no accounts", || account_table(&accounts))?;
            }
            AccountCommand::Open { name, role } => open(&client, out, name, role).await?,
            AccountCommand::Token { name } => {
                let path = format!("/v1/accounts/{}/tokens", escape(&name));
                let made: NewToken = post(&client, &path, &(), format!("make a token for '{name}'")).await?;
                if out.json {
                    out.value(&made)?
                } else {
                    out.line(&made.token)?
                }
                out.note("keep it secret: it is shown only this once");
            }
            AccountCommand::Vouch { name, off } => {
                let path = format!("/v1/accounts/{}/vouch", escape(&name));
                let operation = format!("vouch for '{name}'");
                let account: Account = post(&client, &path, &Vouch { vouched: !off }, operation).await?;
                let what = if off { "nobody answers for" } else { "you answer for" };
                let text = format!("{what} {}: {}", account.name, standing(&account));
                if out.json { out.value(&account)? } else { out.line(&text)? }
            }
            AccountCommand::Revoke { token } => {
                let body = RevokeToken { token: token.secret().to_owned() };
                let () = post(&client, "/v1/tokens/revoke", &body, "revoke the token".to_owned()).await?;
                out.done("the token is worthless now")?;
            }
            AccountCommand::Issue { to, money } => pay(&client, out, "issue", &to, &money).await?,
            AccountCommand::Transfer { to, money } => pay(&client, out, "transfer", &to, &money).await?,
            AccountCommand::Hold { money, expires } => hold(&client, out, &money, expires).await?,
            AccountCommand::Settle { hold, to, amount } => {
                let operation = format!("settle {amount} of hold {hold} to '{to}'");
                let body = SettleHold { to, amount };
                let paid: Transferred =
                    post(&client, &format!("/v1/holds/{hold}/settle"), &body, operation).await?;
                let text = format!("settled {} to {}: transfer {}", body.amount, body.to, paid.transfer);
                if out.json { out.value(&paid)? } else { out.line(&text)? }
            }
            AccountCommand::Release { hold } => {
                let path = format!("/v1/holds/{hold}/release");
                let () = post(&client, &path, &(), format!("release hold {hold}")).await?;
                out.done(&format!("released hold {hold}"))?;
            }
        }
        Ok(Exit::Ok)
    }
}

async fn show(client: &HubClient, out: &Output, name: Option<String>) -> Result<(), CliError> {
    let (path, operation) = match name {
        Some(name) => (format!("/v1/accounts/{}", escape(&name)), format!("show account '{name}'")),
        None => ("/v1/me".to_owned(), "show your account".to_owned()),
    };
    let account: Account = client.get(&path).await.map_err(CliError::hub(operation))?;
    out.show(&account, "", || account_table(std::slice::from_ref(&account)))?;
    if let Some(record) = account.record.as_ref().filter(|_| !out.json) {
        out.note(&describe(record));
    }
    Ok(())
}

/// One word for how far an owner is trusted; nothing for who lends no machines.
fn standing(account: &Account) -> String {
    match &account.record {
        None => String::new(),
        Some(record) if record.vouched => "vouched for".to_owned(),
        Some(record) => record.standing.clone(),
    }
}

/// What an owner should know of its record.
fn describe(record: &OwnerRecord) -> String {
    let mut text = match (record.vouched, record.standing.as_str()) {
        (_, "caught") => "machines get no work: a result was wrong where trusted owners agreed on another; \
                          ask the operator if you think that is not so"
            .to_owned(),
        (true, _) => "the operator answers for these machines: they are believed and paid at once".to_owned(),
        (_, "proven") => "proven: results are believed, and paid after a check that comes unseen".to_owned(),
        _ => {
            format!("new: a second owner confirms each result; {} more agreements to be proven", record.lacks)
        }
    };
    if record.unpaid_findings > 0 {
        text += &format!("; {} CRD for {} results wait for that", record.unpaid, record.unpaid_findings);
    }
    if record.withdrawn > 0 {
        text += &format!("; {} results were taken back unpaid", record.withdrawn);
    }
    text
}

fn account_table(accounts: &[Account]) -> Table {
    let mut table = Table::new(&[">ID", "NAME", "ROLES", "STANDING", ">AVAILABLE", ">HELD", "CURRENCY"]);
    for account in accounts {
        let (id, roles, standing) = (account.id.to_string(), account.roles.join(","), standing(account));
        if account.balances.is_empty() {
            table.row([
                id.clone(),
                account.name.clone(),
                roles.clone(),
                standing.clone(),
                String::new(),
                String::new(),
                String::new(),
            ]);
        }
        for balance in &account.balances {
            table.row([
                id.clone(),
                account.name.clone(),
                roles.clone(),
                standing.clone(),
                balance.available.clone(),
                balance.held.clone(),
                balance.currency.clone(),
            ]);
        }
    }
    table
}

async fn open(client: &HubClient, out: &Output, name: String, roles: Vec<RoleName>) -> Result<(), CliError> {
    let operation = format!("open account '{name}'");
    let body = OpenAccount { name, roles: roles.into_iter().map(RoleName::name).collect() };
    let opened: OpenedAccount = post(client, "/v1/accounts", &body, operation).await?;
    if out.json {
        out.value(&opened)?;
    } else {
        out.note(&format!(
            "opened account {} ({}); its token, shown only this once:",
            opened.name, opened.id
        ));
        out.line(&opened.token)?;
    }
    Ok(())
}

async fn pay(
    client: &HubClient,
    out: &Output,
    verb: &'static str,
    to: &str,
    money: &Money,
) -> Result<(), CliError> {
    let (amount, currency) = (money.checked()?, money.currency);
    let operation = format!("{verb} {amount} {currency} to '{to}'");
    let path = if verb == "issue" { "/v1/issue" } else { "/v1/transfers" };
    let body = Payment { to: to.to_owned(), currency: currency.code().to_owned(), amount };
    let paid: Transferred = post(client, path, &body, operation).await?;
    if out.json {
        return out.value(&paid);
    }
    let past = if verb == "issue" { "issued" } else { "transferred" };
    out.line(&format!("{past} {} {currency} to {to}: transfer {}", body.amount, paid.transfer))
}

async fn hold(
    client: &HubClient,
    out: &Output,
    money: &Money,
    expires_ms: Option<u64>,
) -> Result<(), CliError> {
    let (amount, currency) = (money.checked()?, money.currency);
    let operation = format!("set {amount} {currency} aside");
    let body = NewHold { currency: currency.code().to_owned(), amount, expires_ms };
    let held: Held = post(client, "/v1/holds", &body, operation).await?;
    if out.json {
        return out.value(&held);
    }
    out.note(&format!("set {} {currency} aside as hold:", body.amount));
    out.line(&held.hold.to_string())
}

const STATEMENT_EXAMPLES: &str = "\
Examples:
  pumasi statement
  pumasi statement --account farm --limit 200      of another account (operators)
  pumasi statement --all --json > statement.json";

/// Show what was received and paid, newest first
#[derive(Args, Debug)]
#[command(after_help = STATEMENT_EXAMPLES)]
pub(crate) struct StatementArgs {
    /// Whose, by name or id; by default your own
    #[arg(long, value_name = "NAME")]
    account: Option<String>,
    /// In which currency
    #[arg(long, default_value = "CRD", value_name = "CODE")]
    currency: Currency,
    /// At most so many lines
    #[arg(long, default_value_t = 50, value_name = "N")]
    limit: usize,
    /// All lines
    #[arg(long, conflicts_with = "limit")]
    all: bool,
    #[command(flatten)]
    hub: HubArgs,
}

/// Lines that are asked for at once.
const PAGE: usize = 1_000;

impl StatementArgs {
    pub(crate) async fn run(self, out: &Output) -> Result<Exit, CliError> {
        let client = self.hub.client()?;
        let wanted = if self.all { usize::MAX } else { self.limit };
        let account =
            self.account.as_ref().map_or_else(String::new, |name| format!("&account={}", escape(name)));
        let mut whole: Option<Statement> = None;
        loop {
            let have = whole.as_ref().map_or(0, |statement| statement.lines.len());
            let before = whole.as_ref().and_then(|statement| statement.next);
            let before = before.map_or_else(String::new, |id| format!("&before={id}"));
            let limit = (wanted - have).min(PAGE);
            let path = format!("/v1/statement?currency={}&limit={limit}{account}{before}", self.currency);
            let page: Statement = client.get(&path).await.map_err(CliError::hub("read the statement"))?;
            let whole = match &mut whole {
                None => whole.insert(page),
                Some(whole) => {
                    whole.lines.extend(page.lines);
                    whole.next = page.next;
                    whole
                }
            };
            if whole.next.is_none() || whole.lines.len() >= wanted {
                break;
            }
        }
        let Some(statement) = whole else { return Ok(Exit::Ok) };
        out.show(&statement, "nothing was received or paid yet", || statement_table(&statement.lines))?;
        if !out.json {
            let more = if statement.next.is_some() { "; more with --all" } else { "" };
            out.note(&format!(
                "{} {} available, {} set aside{more}",
                statement.available, statement.currency, statement.held
            ));
        }
        Ok(Exit::Ok)
    }
}

fn statement_table(lines: &[StatementLine]) -> Table {
    let mut table = Table::new(&[">TRANSFER", "TIME", ">AMOUNT", "WITH", "FOR"]);
    for line in lines {
        let cause = match (&line.run, line.order) {
            (Some(run), _) => format!(
                "task {} of job {} on worker {}: {} fuel at {}",
                run.task, run.job, run.worker, run.fuel, run.price
            ),
            (None, Some(order)) => format!("order {order}"),
            (None, None) => line.cause.clone(),
        };
        let style = if line.amount.starts_with('-') { Style::Plain } else { Style::Good };
        table.styled_row([
            (line.transfer.to_string(), Style::Plain),
            (units::moment(line.time_ms), Style::Plain),
            (line.amount.clone(), style),
            (line.other.clone(), Style::Plain),
            (cause, Style::Plain),
        ]);
    }
    table
}
