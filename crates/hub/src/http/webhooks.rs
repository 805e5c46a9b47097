//! Webhooks: where merchants and carriers want to be told of their events.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use pumasi_api::wire::ErrorBody;
use pumasi_api::wire::webhooks::{DeadLetters, Letter, NewWebhook, Replay, Seller, Webhook, Webhooks};
use pumasi_core::{Command, Disabled, Done, EventKind, Party, Refusal, Role, WebhookSpec};
use pumasi_types::{AccountId, EventId, WebhookId};

use super::ApiError;
use super::accounts::unexpected;
use super::extract::{Body, Caller, IdempotencyKey, Path};
use crate::auth;
use crate::server::Hub;

/// What stands before a kind of event in its type.
const ORDER: &str = "order.";

fn types_of(kinds: impl Iterator<Item = EventKind>) -> Vec<String> {
    kinds.map(|kind| format!("{ORDER}{kind}")).collect()
}

fn kind_of(text: &str) -> Result<EventKind, ApiError> {
    let name = text.strip_prefix(ORDER);
    let kind = EventKind::ALL.into_iter().find(|kind| Some(kind.name()) == name);
    kind.ok_or_else(|| {
        let known = types_of(EventKind::ALL.into_iter()).join(", ");
        let text: String = text.chars().take(100).collect();
        ApiError::invalid(format!("types: '{text}' is none; there are {known}"))
    })
}

fn party_of(caller: &auth::Caller, named: Option<Seller>) -> Result<Party, ApiError> {
    let has = |role| caller.roles.contains(role);
    match named {
        Some(Seller::Merchant) => Ok(Party::Merchant),
        Some(Seller::Carrier) => Ok(Party::Carrier),
        None if has(Role::Merchant) && has(Role::Carrier) => {
            Err(ApiError::invalid("as: say whether it is for what you sell, `merchant`, or carry, `carrier`"))
        }
        None if has(Role::Carrier) => Ok(Party::Carrier),
        None => Ok(Party::Merchant),
    }
}

fn view(id: WebhookId, webhook: &pumasi_core::Webhook) -> Webhook {
    let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
    let disabled = webhook.disabled.map(|(_, why)| match why {
        Disabled::Gone => "gone",
        Disabled::Failing => "failing",
        Disabled::TooManyDead => "too_many_dead",
    });
    Webhook {
        id,
        url: webhook.url.to_string(),
        types: types_of(webhook.kinds.iter()),
        party: if webhook.party == Party::Carrier { Seller::Carrier } else { Seller::Merchant },
        secret: None,
        passed: webhook.passed,
        waiting: count(webhook.waiting.len()),
        dead: count(webhook.dead.len()),
        failing_since_ms: webhook.failing_since.map(|since| since.0 / 1_000_000),
        disabled: disabled.map(str::to_owned),
    }
}

/// Something of a webhook of this owner.
async fn of_own<T: Send + 'static>(
    hub: &Hub,
    owner: AccountId,
    id: WebhookId,
    see: impl FnOnce(&pumasi_core::Webhook) -> T + Send + 'static,
) -> Result<T, ApiError> {
    let look = move |state: &pumasi_core::State| {
        state.market().webhook(id).filter(|webhook| webhook.owner == owner).map(see)
    };
    let found = hub.cell.read(look).await?;
    found.ok_or_else(|| Refusal::NoWebhook { webhook: id }.into())
}

/// A webhook with its secret, for its owner.
async fn with_secret(hub: &Hub, owner: AccountId, id: WebhookId) -> Result<Webhook, ApiError> {
    let (number, shown) = of_own(hub, owner, id, move |webhook| (webhook.secret, view(id, webhook))).await?;
    let secret = hub.courier.secrets.secret(id, number).to_string();
    Ok(Webhook { secret: Some(secret), ..shown })
}

/// Makes or changes a webhook; its number.
async fn set(
    hub: &Hub,
    caller: &auth::Caller,
    key: &IdempotencyKey,
    webhook: Option<WebhookId>,
    new: NewWebhook,
) -> Result<WebhookId, ApiError> {
    hub.courier.target(&new.url).map_err(|error| ApiError::invalid(error.to_string()))?;
    let kinds = new.types.iter().map(|text| kind_of(text)).collect::<Result<_, _>>()?;
    let party = match (webhook, new.party) {
        // It stays what it was.
        (Some(id), None) => of_own(hub, caller.account, id, |webhook| webhook.party).await?,
        (_, named) => party_of(caller, named)?,
    };
    let command = Command::SetWebhook(WebhookSpec { webhook, party, url: new.url, kinds });
    match hub.cell.ask(caller.account, key.of(caller.account), command).await?? {
        Done::Webhook(id) => {
            hub.courier.look_at(id);
            Ok(id)
        }
        other => Err(unexpected(&other)),
    }
}

/// Sends the caller's events, from the next one on, to a URL; merchants and carriers, a few webhooks each.
#[utoipa::path(post, path = "/v1/webhooks", operation_id = "make_webhook", request_body = NewWebhook,
    responses((status = 201, body = Webhook), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody)))]
pub(super) async fn make(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    key: IdempotencyKey,
    Body(body): Body<NewWebhook>,
) -> Result<(StatusCode, Json<Webhook>), ApiError> {
    let id = set(&hub, &caller, &key, None, body).await?;
    Ok((StatusCode::CREATED, Json(with_secret(&hub, caller.account, id).await?)))
}

/// The caller's webhooks.
#[utoipa::path(get, path = "/v1/webhooks", operation_id = "list_webhooks",
    responses((status = 200, body = Webhooks)))]
pub(super) async fn list(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
) -> Result<Json<Webhooks>, ApiError> {
    let look = move |state: &pumasi_core::State| {
        let own = state.market().webhooks().filter(|(_, webhook)| webhook.owner == caller.account);
        Webhooks { webhooks: own.map(|(id, webhook)| view(id, webhook)).collect() }
    };
    Ok(Json(hub.cell.read(look).await?))
}

/// A webhook of the caller's, with its secret.
#[utoipa::path(get, path = "/v1/webhooks/{webhook}", operation_id = "get_webhook", params(("webhook" = u32, Path)),
    responses((status = 200, body = Webhook), (status = 404, body = ErrorBody)))]
pub(super) async fn get(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    Path(id): Path<WebhookId>,
) -> Result<Json<Webhook>, ApiError> {
    Ok(Json(with_secret(&hub, caller.account, id).await?))
}

/// Changes where events are sent and which of them; one that was disabled goes on where it was.
#[utoipa::path(put, path = "/v1/webhooks/{webhook}", operation_id = "change_webhook",
    params(("webhook" = u32, Path)), request_body = NewWebhook,
    responses((status = 200, body = Webhook), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(super) async fn change(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    key: IdempotencyKey,
    Path(id): Path<WebhookId>,
    Body(body): Body<NewWebhook>,
) -> Result<Json<Webhook>, ApiError> {
    set(&hub, &caller, &key, Some(id), body).await?;
    Ok(Json(with_secret(&hub, caller.account, id).await?))
}

/// Takes a webhook away, with all that it did not take.
#[utoipa::path(delete, path = "/v1/webhooks/{webhook}", operation_id = "remove_webhook",
    params(("webhook" = u32, Path)),
    responses((status = 204), (status = 404, body = ErrorBody)))]
pub(super) async fn remove(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    key: IdempotencyKey,
    Path(webhook): Path<WebhookId>,
) -> Result<StatusCode, ApiError> {
    hub.cell.ask(caller.account, key.of(caller.account), Command::RemoveWebhook { webhook }).await??;
    hub.courier.look_at(webhook);
    Ok(StatusCode::NO_CONTENT)
}

/// Signs with a new secret, and for a day with the one before as well.
#[utoipa::path(post, path = "/v1/webhooks/{webhook}/secret", operation_id = "renew_webhook_secret",
    params(("webhook" = u32, Path)),
    responses((status = 200, body = Webhook), (status = 404, body = ErrorBody)))]
pub(super) async fn renew_secret(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    key: IdempotencyKey,
    Path(webhook): Path<WebhookId>,
) -> Result<Json<Webhook>, ApiError> {
    let command = Command::RenewWebhookSecret { webhook };
    hub.cell.ask(caller.account, key.of(caller.account), command).await??;
    hub.courier.look_at(webhook);
    Ok(Json(with_secret(&hub, caller.account, webhook).await?))
}

/// What a webhook did not take: given up, or to be tried again.
#[utoipa::path(get, path = "/v1/webhooks/{webhook}/dead", operation_id = "list_dead_letters",
    params(("webhook" = u32, Path)),
    responses((status = 200, body = DeadLetters), (status = 404, body = ErrorBody)))]
pub(super) async fn dead(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    Path(id): Path<WebhookId>,
) -> Result<Json<DeadLetters>, ApiError> {
    let letter = |(event, letter): (&EventId, &pumasi_core::Letter)| Letter {
        event: *event,
        tries: letter.tries,
        at_ms: letter.at.0 / 1_000_000,
        why: letter.why.map(|why| why.to_string()),
    };
    let see = move |webhook: &pumasi_core::Webhook| DeadLetters {
        dead: webhook.dead.iter().map(letter).collect(),
        waiting: webhook.waiting.iter().map(letter).collect(),
    };
    Ok(Json(of_own(&hub, caller.account, id, see).await?))
}

/// Sends again one event, all that were given up, or everything since an event.
#[utoipa::path(post, path = "/v1/webhooks/{webhook}/replay", operation_id = "replay_webhook",
    params(("webhook" = u32, Path)), request_body = Replay,
    responses((status = 204), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(super) async fn replay(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    key: IdempotencyKey,
    Path(webhook): Path<WebhookId>,
    Body(body): Body<Replay>,
) -> Result<StatusCode, ApiError> {
    let replay = match (body.event, body.since) {
        (None, None) => pumasi_core::Replay::Dead,
        (None, Some(event)) => pumasi_core::Replay::Since(event),
        (Some(_), Some(_)) => return Err(ApiError::invalid("give either `event` or `since`")),
        (Some(event), None) => {
            is_own_event(&hub, caller.account, webhook, event).await?;
            pumasi_core::Replay::One(event)
        }
    };
    let command = Command::ReplayWebhook { webhook, replay };
    hub.cell.ask(caller.account, key.of(caller.account), command).await??;
    hub.courier.look_at(webhook);
    Ok(StatusCode::NO_CONTENT)
}

/// An event that came by must be the owner's.
async fn is_own_event(
    hub: &Hub,
    owner: AccountId,
    webhook: WebhookId,
    event: EventId,
) -> Result<(), ApiError> {
    let party = of_own(hub, owner, webhook, |webhook| webhook.party).await?;
    let no_event = || ApiError::not_found("no_event", format!("event {event} is none of yours"));
    if event.0 == 0 || event > hub.cell.settled().last_event {
        return Err(no_event());
    }
    let journal = hub.derived.events.clone();
    let read = tokio::task::spawn_blocking(move || journal.read(event)).await;
    let read = read.map_err(|error| ApiError::internal(&error))??;
    if read.account_of(party) == owner { Ok(()) } else { Err(no_event()) }
}
