//! Money: issuing, transfers, holds, statements.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use pumasi_api::wire;
use pumasi_core::{Cause, Command, Done, Role, Transfer};
use pumasi_types::{AccountId, Amount, Currency, HoldId, MoneyError, Time, TransferId};
use serde::Deserialize;

use super::accounts::{resolve, unexpected};
use super::extract::{Body, Caller, IdempotencyKey, Path, Query};
use super::{ApiError, views};
use crate::auth;
use crate::server::Hub;

impl From<MoneyError> for ApiError {
    fn from(error: MoneyError) -> ApiError {
        ApiError::invalid(error.to_string())
    }
}

fn money(currency: &str, amount: &str) -> Result<(Currency, Amount), ApiError> {
    let currency: Currency = currency.parse()?;
    Ok((currency, currency.parse_amount(amount)?))
}

async fn transferred(
    hub: &Hub,
    caller: &auth::Caller,
    key: &IdempotencyKey,
    command: Command,
) -> Result<Json<wire::Transferred>, ApiError> {
    match hub.cell.ask(caller.account, key.of(caller.account), command).await?? {
        Done::Transfer(transfer) => Ok(Json(wire::Transferred { transfer })),
        other => Err(unexpected(&other)),
    }
}

/// Puts new money into circulation; operators only.
#[utoipa::path(post, path = "/v1/issue", operation_id = "issue_money", request_body = wire::Payment,
    responses((status = 200, body = wire::Transferred)))]
pub(super) async fn issue(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    key: IdempotencyKey,
    Body(body): Body<wire::Payment>,
) -> Result<Json<wire::Transferred>, ApiError> {
    caller.needs(Role::Operator)?;
    let (currency, amount) = money(&body.currency, &body.amount)?;
    let to = resolve(&hub, &body.to).await?;
    transferred(&hub, &caller, &key, Command::Issue { to, currency, amount }).await
}

/// Pays from the caller's account.
#[utoipa::path(post, path = "/v1/transfers", request_body = wire::Payment,
    responses((status = 200, body = wire::Transferred), (status = 402, body = wire::ErrorBody)))]
pub(super) async fn transfer(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    key: IdempotencyKey,
    Body(body): Body<wire::Payment>,
) -> Result<Json<wire::Transferred>, ApiError> {
    let (currency, amount) = money(&body.currency, &body.amount)?;
    let to = resolve(&hub, &body.to).await?;
    transferred(&hub, &caller, &key, Command::Transfer { to, currency, amount }).await
}

/// Sets some of the caller's money aside.
#[utoipa::path(post, path = "/v1/holds", operation_id = "hold_money", request_body = wire::NewHold,
    responses((status = 201, body = wire::Held)))]
pub(super) async fn hold(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    key: IdempotencyKey,
    Body(body): Body<wire::NewHold>,
) -> Result<(StatusCode, Json<wire::Held>), ApiError> {
    let (currency, amount) = money(&body.currency, &body.amount)?;
    let expires = body.expires_ms.map(|ms| Time(ms.saturating_mul(1_000_000)));
    let command = Command::Hold { currency, amount, expires };
    match hub.cell.ask(caller.account, key.of(caller.account), command).await?? {
        Done::Hold(hold) => Ok((StatusCode::CREATED, Json(wire::Held { hold }))),
        other => Err(unexpected(&other)),
    }
}

/// Pays a part of a hold out.
#[utoipa::path(post, path = "/v1/holds/{hold}/settle", operation_id = "settle_hold", params(("hold" = u64, Path)),
    request_body = wire::SettleHold, responses((status = 200, body = wire::Transferred)))]
pub(super) async fn settle(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    key: IdempotencyKey,
    Path(hold): Path<HoldId>,
    Body(body): Body<wire::SettleHold>,
) -> Result<Json<wire::Transferred>, ApiError> {
    let owner = caller.account;
    let held = hub
        .cell
        .read(move |state| state.ledger().hold(hold).filter(|h| h.owner == owner).map(|h| h.currency));
    let currency = held.await?.unwrap_or(Currency::CREDIT);
    let amount = currency.parse_amount(&body.amount)?;
    let to = resolve(&hub, &body.to).await?;
    transferred(&hub, &caller, &key, Command::Settle { hold, to, amount }).await
}

/// Gives the rest of a hold back.
#[utoipa::path(post, path = "/v1/holds/{hold}/release", operation_id = "release_hold", params(("hold" = u64, Path)),
    responses((status = 204)))]
pub(super) async fn release(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    key: IdempotencyKey,
    Path(hold): Path<HoldId>,
) -> Result<StatusCode, ApiError> {
    hub.cell.ask(caller.account, key.of(caller.account), Command::Release { hold }).await??;
    Ok(StatusCode::NO_CONTENT)
}

/// Which part of whose statement.
#[derive(Deserialize)]
pub(super) struct StatementQuery {
    account: Option<String>,
    currency: Option<String>,
    before: Option<TransferId>,
    limit: Option<usize>,
}

/// Most lines in one answer.
const LINES_MAX: usize = 1_000;

/// An account's settled movements, newest first: one's own, or any for operators.
#[utoipa::path(get, path = "/v1/statement", operation_id = "get_statement",
    params(("account" = Option<String>, Query), ("currency" = Option<String>, Query),
        ("before" = Option<u64>, Query), ("limit" = Option<u32>, Query)),
    responses((status = 200, body = wire::Statement)))]
pub(super) async fn statement(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    Query(query): Query<StatementQuery>,
) -> Result<Json<wire::Statement>, ApiError> {
    let account = match &query.account {
        Some(text) => resolve(&hub, text).await?,
        None => caller.account,
    };
    if account != caller.account && !caller.is_operator() {
        return Err(ApiError::forbidden("only operators see the statements of others"));
    }
    let currency: Currency = query.currency.as_deref().unwrap_or("CRD").parse()?;
    let look = move |state: &pumasi_core::State| state.ledger().account(account).map(|a| a.balance(currency));
    let balance = hub.cell.read(look).await?.unwrap_or_default();
    let limit = query.limit.unwrap_or(50).clamp(1, LINES_MAX);
    // A page starts where the one before ended, never beyond what the balance just read knows.
    let start = query.before.map_or(balance.last_transfer, |before| before.min(balance.last_transfer));
    let journal = hub.derived.transfers.clone();
    let walk = move || walk(&journal, account, currency, start, limit);
    let walked = tokio::task::spawn_blocking(walk).await;
    let (transfers, next) = walked.map_err(|error| ApiError::internal(&error))??;
    let lines =
        hub.cell.read(move |state| transfers.iter().map(|t| line(state, account, t)).collect()).await?;
    Ok(Json(wire::Statement {
        currency: currency.code().to_owned(),
        available: currency.format_amount(balance.available),
        held: currency.format_amount(balance.held),
        lines,
        next,
    }))
}

/// Follows an account's chain of transfers backwards from `start`, and says where to read on.
fn walk(
    journal: &crate::Journal<Transfer>,
    account: AccountId,
    currency: Currency,
    start: TransferId,
    limit: usize,
) -> Result<(Vec<Transfer>, Option<TransferId>), ApiError> {
    let mut lines = Vec::new();
    let mut id = start;
    let strange = || ApiError::invalid("before: must be the `next` of the page before");
    while id.0 > 0 && lines.len() < limit {
        let transfer = journal.read(id)?;
        if transfer.change_of(account).is_none() || transfer.currency != currency {
            return Err(strange());
        }
        id = transfer.before_of(account);
        lines.push(transfer);
    }
    Ok((lines, Some(id).filter(|id| id.0 > 0)))
}

fn line(state: &pumasi_core::State, account: AccountId, transfer: &Transfer) -> wire::StatementLine {
    let other = if transfer.payer == account { transfer.payee } else { transfer.payer };
    // What accounts pay themselves is shown as what it is.
    let amount = if transfer.payee == account && transfer.payer == account {
        transfer.amount
    } else {
        transfer.change_of(account).unwrap_or_default()
    };
    let (cause, run, order) = match transfer.cause {
        Cause::Issue => ("issue", None, None),
        Cause::Transfer => ("transfer", None, None),
        Cause::Settle { .. } => ("settle", None, None),
        Cause::Run { job, task, run, worker, fuel, price, .. } => {
            let price = views::price(price);
            ("run", Some(wire::PaidRun { job, task, run, worker, fuel: fuel.0, price }), None)
        }
        Cause::Sale { order, .. } => ("sale", None, Some(order)),
        Cause::Refund { order, .. } => ("refund", None, Some(order)),
    };
    wire::StatementLine {
        transfer: transfer.id,
        time_ms: transfer.time.0 / 1_000_000,
        amount: transfer.currency.format_amount(amount),
        other: views::account_name(state, other),
        cause: cause.to_owned(),
        run,
        order,
    }
}
