//! Errors of the HTTP API: a status, a stable code, and a text that helps.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use pumasi_api::wire::ErrorBody;
use pumasi_blobs::BlobError;
use pumasi_cell::{ArchiveError, JournalError};
use pumasi_core::{FilesRefusal, OrderState, Refusal, StepKind};

use super::views;
use crate::access::Refused;
use crate::cell::CellError;
use crate::drive::{DriveError, SlowBody};
use crate::error::fault;
use crate::limits::NoRoom;
use crate::results::PartsError;
use crate::session::Over;

/// After so long a server that keeps the hub's files may be there again.
const STORE_PAUSE: std::time::Duration = std::time::Duration::from_secs(4);

/// What a request is answered when it is not done.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
    number: Option<u32>,
    retry_after_s: Option<u64>,
    /// Where an order stands that a step was not for, and what is possible instead.
    stands: Option<(OrderState, Vec<StepKind>)>,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> ApiError {
        ApiError { status, code, message: message.into(), number: None, retry_after_s: None, stands: None }
    }

    /// A part of the request is wrong.
    pub(crate) fn invalid(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::BAD_REQUEST, "invalid", message)
    }

    pub(crate) fn forbidden(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::FORBIDDEN, "not_yours", message)
    }

    pub(crate) fn not_found(code: &'static str, message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::NOT_FOUND, code, message)
    }

    /// A fault of the hub itself.
    pub(crate) fn internal(problem: &dyn std::fmt::Display) -> ApiError {
        ApiError::fault("internal", "do that", problem)
    }

    /// The same under another code, with what was to be done.
    pub(super) fn fault(code: &'static str, task: &str, problem: &dyn std::fmt::Display) -> ApiError {
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, code, fault(task, problem))
    }

    /// There is no room for what was sent.
    pub(super) fn disk_full(problem: &dyn std::fmt::Display) -> ApiError {
        tracing::error!("{problem}");
        let message = "the hub's disk is full: tell its operator, and send it again later";
        ApiError::new(StatusCode::INSUFFICIENT_STORAGE, "disk_full", message)
    }

    /// The server that keeps the hub's files cannot be reached now.
    pub(super) fn store_away(problem: &dyn std::fmt::Display) -> ApiError {
        let fault = ApiError::fault("storage", "reach the server that keeps its files", problem);
        ApiError { status: StatusCode::SERVICE_UNAVAILABLE, ..fault }.retry_after(STORE_PAUSE)
    }

    /// What is told of it besides the status.
    pub(crate) fn into_body(self) -> ErrorBody {
        let (state, possible) = self.stands.unzip();
        let step = |kind: StepKind| views::step(kind).to_owned();
        ErrorBody {
            code: self.code.to_owned(),
            message: self.message,
            number: self.number,
            state: state.map(|state| views::order_state(state).to_owned()),
            possible: possible.map(|steps| steps.into_iter().map(step).collect()),
        }
    }

    /// The same in other words.
    pub(crate) fn saying(mut self, message: String) -> ApiError {
        self.message = message;
        self
    }

    /// The caller has too much of something at once.
    pub(crate) fn too_many(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", message)
    }

    /// It is about one of a list, counted from 1.
    pub(crate) fn of_number(mut self, number: u32) -> ApiError {
        self.number = Some(number);
        self
    }

    pub(crate) fn retry_after(mut self, wait: std::time::Duration) -> ApiError {
        self.retry_after_s = Some(wait.as_secs() + 1);
        self
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, code, retry_after_s) = (self.status, self.code, self.retry_after_s);
        let mut response = (status, Json(self.into_body())).into_response();
        response.extensions_mut().insert(Refused(code));
        if let Some(seconds) = retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> ApiError {
        // What is wrong with one of a list is wrong with the list.
        let mut innermost = &refusal;
        while let Refusal::InList { problem, .. } = innermost {
            innermost = problem;
        }
        let status = match innermost {
            Refusal::WrongRole { .. } | Refusal::NotYours { .. } | Refusal::HubOnly => StatusCode::FORBIDDEN,
            Refusal::NoAccount { .. }
            | Refusal::NoToken
            | Refusal::NoHold { .. }
            | Refusal::NoJob { .. }
            | Refusal::NoWorker { .. }
            | Refusal::NoOwnArticle { .. }
            | Refusal::NoOrder { .. }
            | Refusal::NoParcel { .. }
            | Refusal::NoWebhook { .. } => StatusCode::NOT_FOUND,
            Refusal::Files(refusal) => status_of(refusal),
            Refusal::NotEnoughMoney { .. } => StatusCode::PAYMENT_REQUIRED,
            Refusal::BadAmount
            | Refusal::Invalid { .. }
            | Refusal::BadEngine { .. }
            | Refusal::BudgetTooSmall { .. } => StatusCode::BAD_REQUEST,
            _ => StatusCode::CONFLICT,
        };
        let error = ApiError::new(status, refusal.code(), refusal.to_string());
        match refusal {
            Refusal::InList { number, .. } => error.of_number(number),
            Refusal::WrongState { state, possible, .. } => {
                ApiError { stands: Some((state, possible)), ..error }
            }
            _ => error,
        }
    }
}

/// What a refusal of the files machine is over HTTP.
fn status_of(refusal: &FilesRefusal) -> StatusCode {
    match refusal {
        FilesRefusal::NoSpace { .. }
        | FilesRefusal::NoFile { .. }
        | FilesRefusal::NotInTrash { .. }
        | FilesRefusal::NoVersion { .. }
        | FilesRefusal::NoLink { .. }
        | FilesRefusal::NoUpload { .. }
        | FilesRefusal::NoDownload { .. } => StatusCode::NOT_FOUND,
        FilesRefusal::NoAccess { .. } => StatusCode::FORBIDDEN,
        FilesRefusal::LinkOver => StatusCode::GONE,
        FilesRefusal::Changed { .. } => StatusCode::PRECONDITION_FAILED,
        FilesRefusal::QuotaExceeded { .. } | FilesRefusal::TooMuchUnfiled { .. } => {
            StatusCode::INSUFFICIENT_STORAGE
        }
        FilesRefusal::TooMany { .. } => StatusCode::BAD_REQUEST,
        _ => StatusCode::CONFLICT,
    }
}

impl From<FilesRefusal> for ApiError {
    fn from(refusal: FilesRefusal) -> ApiError {
        Refusal::Files(refusal).into()
    }
}

impl From<DriveError> for ApiError {
    fn from(error: DriveError) -> ApiError {
        match error {
            DriveError::Refused(refusal) => refusal.into(),
            DriveError::Cell(error) => error.into(),
            DriveError::Blob(error) => error.into(),
            DriveError::Strange(_) => ApiError::internal(&error),
        }
    }
}

impl From<PartsError> for ApiError {
    fn from(error: PartsError) -> ApiError {
        match error {
            PartsError::Blob(error) => error.into(),
            PartsError::Malformed(error) => {
                ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_output", error.to_string())
            }
        }
    }
}

impl From<CellError> for ApiError {
    fn from(error: CellError) -> ApiError {
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "hub_stopped", error.to_string())
    }
}

impl From<NoRoom> for ApiError {
    fn from(error: NoRoom) -> ApiError {
        let (status, code) = match error {
            NoRoom::ForYou => (StatusCode::TOO_MANY_REQUESTS, "too_many_requests"),
            NoRoom::ForAll => (StatusCode::SERVICE_UNAVAILABLE, "overloaded"),
        };
        ApiError::new(status, code, error.to_string()).retry_after(std::time::Duration::ZERO)
    }
}

impl From<Over> for ApiError {
    fn from(over: Over) -> ApiError {
        let (status, code) = match over {
            Over::Revoked => (StatusCode::UNAUTHORIZED, "unknown_token"),
            Over::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "hub_stopped"),
        };
        ApiError::new(status, code, over.to_string())
    }
}

impl From<BlobError> for ApiError {
    fn from(error: BlobError) -> ApiError {
        let (status, code) = match error.reason() {
            BlobError::NotFound { .. } => (StatusCode::NOT_FOUND, "no_blob"),
            BlobError::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
            BlobError::Body { source } => match source.downcast_ref::<SlowBody>() {
                Some(slow) => {
                    return ApiError::new(StatusCode::REQUEST_TIMEOUT, "slow_body", slow.to_string());
                }
                None => (StatusCode::BAD_REQUEST, "broken_upload"),
            },
            BlobError::DiskFull { .. } => return ApiError::disk_full(&error),
            _ if error.is_passing() => return ApiError::store_away(&error),
            _ => return ApiError::fault("storage", "read or write that file", &error),
        };
        ApiError::new(status, code, error.to_string())
    }
}

impl From<ArchiveError> for ApiError {
    fn from(error: ArchiveError) -> ApiError {
        ApiError::fault("storage", "read its archive of orders", &error)
    }
}

impl From<JournalError> for ApiError {
    fn from(error: JournalError) -> ApiError {
        ApiError::fault("storage", "read one of its journals", &error)
    }
}

pub(crate) async fn no_route(uri: axum::http::Uri) -> ApiError {
    let message = format!("there is nothing at {}: /openapi.json lists what there is", uri.path());
    ApiError::not_found("no_route", message)
}

pub(crate) async fn no_method(method: axum::http::Method, uri: axum::http::Uri) -> ApiError {
    let message = format!("{method} is not possible at {}: /openapi.json lists what is", uri.path());
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "no_method", message)
}
