//! Accounts and their tokens.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use pumasi_api::wire;
use pumasi_core::{Command, Done, Role, Roles};
use pumasi_types::{AccountId, Hash};

use super::extract::{Body, Caller, IdempotencyKey, Path};
use super::{ApiError, views};
use crate::auth::{self, hash_of};
use crate::server::Hub;

/// Most accounts in one answer.
const ACCOUNTS_MAX: usize = 10_000;

/// An account by name or id, as a path or a payment names it.
pub(super) async fn resolve(hub: &Hub, text: &str) -> Result<AccountId, ApiError> {
    let name: String = text.chars().take(100).collect();
    let wanted = name.clone();
    let found = hub.cell.read(move |state| {
        let by_id = name.parse().ok().filter(|id: &AccountId| state.ledger().account(*id).is_some());
        state.ledger().account_named(&name).or(by_id)
    });
    found.await?.ok_or_else(|| {
        let message = format!("there is no account '{wanted}': `pumasi account list` shows those there are");
        ApiError::not_found("no_account", message)
    })
}

async fn show(hub: &Hub, id: AccountId) -> Result<Json<wire::Account>, ApiError> {
    let found =
        hub.cell.read(move |state| state.ledger().account(id).map(|account| views::account(state, account)));
    found.await?.map(Json).ok_or_else(|| pumasi_core::Refusal::NoAccount { account: id }.into())
}

/// The caller's own account.
#[utoipa::path(get, path = "/v1/me", responses((status = 200, body = wire::Account)))]
pub(super) async fn me(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
) -> Result<Json<wire::Account>, ApiError> {
    show(&hub, caller.account).await
}

/// One account: one's own, or any for operators.
#[utoipa::path(get, path = "/v1/accounts/{account}", operation_id = "get_account", params(("account" = String, Path)),
    responses((status = 200, body = wire::Account)))]
pub(super) async fn get(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    Path(account): Path<String>,
) -> Result<Json<wire::Account>, ApiError> {
    let id = resolve(&hub, &account).await?;
    if id != caller.account && !caller.is_operator() {
        return Err(ApiError::forbidden(format!("account '{account}' is not yours")));
    }
    show(&hub, id).await
}

/// All accounts; operators only.
#[utoipa::path(get, path = "/v1/accounts", operation_id = "list_accounts",
    responses((status = 200, body = [wire::Account])))]
pub(super) async fn list(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
) -> Result<Json<Vec<wire::Account>>, ApiError> {
    if !caller.is_operator() {
        return Err(ApiError::forbidden("the list of accounts is for operators"));
    }
    let look = |state: &pumasi_core::State| {
        let accounts = state.ledger().accounts().take(ACCOUNTS_MAX);
        accounts.map(|account| views::account(state, account)).collect()
    };
    Ok(Json(hub.cell.read(look).await?))
}

/// Opens an account; operators only. The answer has its token, which is shown only here.
#[utoipa::path(post, path = "/v1/accounts", operation_id = "open_account", request_body = wire::OpenAccount,
    responses((status = 201, body = wire::OpenedAccount)))]
pub(super) async fn open(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    key: IdempotencyKey,
    Body(body): Body<wire::OpenAccount>,
) -> Result<(StatusCode, Json<wire::OpenedAccount>), ApiError> {
    caller.needs(Role::Operator)?;
    let roles: Result<Roles, String> = body.roles.iter().map(|role| role.parse()).collect();
    let roles = roles.map_err(ApiError::invalid)?;
    let id = key.of(caller.account);
    let token = hub.token_maker.make(id);
    let command = Command::OpenAccount { name: body.name.clone(), roles, token: hash_of(&token) };
    match hub.cell.ask(caller.account, id, command).await?? {
        Done::Account(id) => {
            Ok((StatusCode::CREATED, Json(wire::OpenedAccount { id, name: body.name, token })))
        }
        other => Err(unexpected(&other)),
    }
}

/// Opens accounts of customers, without roles and tokens: all of them or none; storefronts and operators.
#[utoipa::path(post, path = "/v1/customers", request_body = wire::market::NewCustomers,
    responses((status = 201, body = wire::market::OpenedCustomers), (status = 409, body = wire::ErrorBody)))]
pub(super) async fn open_customers(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    key: IdempotencyKey,
    Body(body): Body<wire::market::NewCustomers>,
) -> Result<(StatusCode, Json<wire::market::OpenedCustomers>), ApiError> {
    let command = Command::OpenCustomers { names: body.names };
    match hub.cell.ask(caller.account, key.of(caller.account), command).await?? {
        Done::Accounts { first, count } => {
            Ok((StatusCode::CREATED, Json(wire::market::OpenedCustomers { first, count })))
        }
        other => Err(unexpected(&other)),
    }
}

/// Says whether the operator answers for an owner of machines; operators only.
#[utoipa::path(post, path = "/v1/accounts/{account}/vouch", params(("account" = String, Path)),
    request_body = wire::Vouch, responses((status = 200, body = wire::Account)))]
pub(super) async fn vouch(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    key: IdempotencyKey,
    Path(account): Path<String>,
    Body(body): Body<wire::Vouch>,
) -> Result<Json<wire::Account>, ApiError> {
    caller.needs(Role::Operator)?;
    let account = resolve(&hub, &account).await?;
    let command = Command::Vouch { account, vouched: body.vouched };
    hub.cell.ask(caller.account, key.of(caller.account), command).await??;
    show(&hub, account).await
}

/// A further token for an account.
#[utoipa::path(post, path = "/v1/accounts/{account}/tokens", params(("account" = String, Path)),
    responses((status = 201, body = wire::NewToken)))]
pub(super) async fn new_token(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    key: IdempotencyKey,
    Path(account): Path<String>,
) -> Result<(StatusCode, Json<wire::NewToken>), ApiError> {
    let account = resolve(&hub, &account).await?;
    let id = key.of(caller.account);
    let token = hub.token_maker.make(id);
    let command = Command::AddToken { account, token: hash_of(&token) };
    hub.cell.ask(caller.account, id, command).await??;
    Ok((StatusCode::CREATED, Json(wire::NewToken { token })))
}

/// Makes a token worthless.
#[utoipa::path(post, path = "/v1/tokens/revoke", request_body = wire::RevokeToken, responses((status = 204)))]
pub(super) async fn revoke_token(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    key: IdempotencyKey,
    Body(body): Body<wire::RevokeToken>,
) -> Result<StatusCode, ApiError> {
    revoke(hub, caller, key, hash_of(&body.token)).await
}

/// Makes what the state keeps of a token worthless.
pub(super) async fn revoke(
    hub: Arc<Hub>,
    caller: auth::Caller,
    key: IdempotencyKey,
    token: Hash,
) -> Result<StatusCode, ApiError> {
    let command = Command::RevokeToken { token };
    let id = key.of(caller.account);
    // A task of its own: a caller that goes away must not keep the token from being forgotten.
    let revoked = tokio::spawn(async move {
        let answer = hub.cell.ask(caller.account, id, command).await;
        if matches!(answer, Ok(Ok(_))) {
            hub.tokens.forget(&token);
        }
        answer
    });
    revoked.await.map_err(|error| ApiError::internal(&error))???;
    Ok(StatusCode::NO_CONTENT)
}

/// The state answered a command with what belongs to another: a fault of ours.
pub(super) fn unexpected(done: &Done) -> ApiError {
    ApiError::internal(&format!("unexpected answer {done:?}"))
}
