//! The hub about itself: health, metrics, documents, workers, books.

use std::sync::{Arc, LazyLock};

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use pumasi_api::wire;
use pumasi_types::Currency;

use super::extract::Caller;
use super::{ApiError, views};
use crate::cell;
use crate::server::Hub;

/// Most workers in one answer.
const WORKERS_MAX: usize = 10_000;

/// The hub as it presents itself.
#[utoipa::path(get, path = "/v1/hub", operation_id = "get_hub", responses((status = 200, body = wire::HubInfo)))]
pub(super) async fn hub(State(hub): State<Arc<Hub>>) -> Json<wire::HubInfo> {
    Json(wire::HubInfo {
        name: "pumasi".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        time_ms: cell::now().0 / 1_000_000,
        fingerprint: hub.fingerprint.clone(),
        max_upload_bytes: Some(hub.options.max_upload.0),
    })
}

/// 200 while the hub takes commands.
#[utoipa::path(get, path = "/healthz", responses((status = 200), (status = 503, body = wire::ErrorBody)))]
pub(super) async fn healthz(State(hub): State<Arc<Hub>>) -> Result<&'static str, ApiError> {
    match hub.cell.stopped() {
        None => Ok("ok\n"),
        Some(error) => Err(error.into()),
    }
}

/// Prometheus metrics; operators only: in a quiet pool an owner would see from them who reports when.
#[utoipa::path(get, path = "/metrics", responses((status = 200, content_type = "text/plain")))]
pub(super) async fn metrics(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
) -> Result<impl IntoResponse, ApiError> {
    if !caller.is_operator() {
        return Err(ApiError::forbidden("the metrics are for operators"));
    }
    let format = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, format)], hub.metrics.text()))
}

/// This document.
#[utoipa::path(get, path = "/openapi.json", responses((status = 200)))]
pub(super) async fn openapi() -> impl IntoResponse {
    // Made once: strangers may ask for it as often as they like.
    static TEXT: LazyLock<String> = LazyLock::new(super::openapi_json);
    ([(header::CONTENT_TYPE, "application/json")], TEXT.as_str())
}

/// Machines: all for operators, their own for others.
#[utoipa::path(get, path = "/v1/workers", operation_id = "list_workers",
    responses((status = 200, body = [wire::Worker])))]
pub(super) async fn workers(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
) -> Result<Json<Vec<wire::Worker>>, ApiError> {
    let look = move |state: &pumasi_core::State| {
        let mine =
            state.workers().filter(|(_, worker)| caller.is_operator() || worker.owner == caller.account);
        mine.take(WORKERS_MAX).map(|(id, worker)| views::worker(state, id, worker)).collect()
    };
    Ok(Json(hub.cell.read(look).await?))
}

/// Whether the books balance; operators only.
#[utoipa::path(get, path = "/v1/books", operation_id = "get_books", responses((status = 200, body = [wire::Books])))]
pub(super) async fn books(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
) -> Result<Json<Vec<wire::Books>>, ApiError> {
    if !caller.is_operator() {
        return Err(ApiError::forbidden("the books are for operators"));
    }
    let books = hub.cell.read(|state| state.ledger().books()).await?;
    let text = |currency: Currency, minor: i128| {
        currency.format_amount(pumasi_types::Amount(i64::try_from(minor).unwrap_or(i64::MAX)))
    };
    let line = |(currency, books): (Currency, pumasi_core::Books)| wire::Books {
        currency: currency.code().to_owned(),
        issued: text(currency, books.issued),
        held: text(currency, books.held),
        sum_minor: i64::try_from(books.sum).unwrap_or(i64::MAX),
        balanced: books.sum == 0,
    };
    Ok(Json(books.into_iter().map(line).collect()))
}
