//! The witness on the network: `POST /add-checkpoint` (C2SP tlog-witness), and its own key at `GET /`.

use std::sync::Arc;
use std::time::SystemTime;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use pumasi_proof::WitnessRefusal;
use tokio::net::TcpListener;

use crate::{NotCosigned, Witness};

/// The longest request: a checkpoint with its signatures and a proof of 63 hashes is a few KiB.
const BODY_MAX: usize = 256 << 10;

/// Answers requests until `stop` resolves.
///
/// Plain HTTP: a cosignature proves itself, and what is asked is public.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    witness: Arc<Witness>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let router = axum::Router::new()
        .route("/", get(about))
        .route("/add-checkpoint", post(add_checkpoint))
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .with_state(witness);
    axum::serve(listener, router).with_graceful_shutdown(stop).await
}

async fn about(State(witness): State<Arc<Witness>>) -> String {
    format!("{}\n", witness.key())
}

async fn add_checkpoint(State(witness): State<Arc<Witness>>, body: String) -> Response {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    // Remembering waits for the disk.
    let asked = tokio::task::spawn_blocking(move || witness.cosign(&body, now)).await;
    match asked {
        Ok(Ok(signature)) => signature.to_string().into_response(),
        Ok(Err(NotCosigned::Refused(refusal))) => refuse(&refusal),
        Ok(Err(NotCosigned::Store(error))) => {
            tracing::error!("nothing was cosigned: {error}");
            (StatusCode::INTERNAL_SERVER_ERROR, "the witness cannot remember: nothing was cosigned\n")
                .into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn refuse(refusal: &WitnessRefusal) -> Response {
    let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::BAD_REQUEST);
    match refusal {
        WitnessRefusal::Conflict { size } | WitnessRefusal::Fork { size } => {
            tracing::info!("refused: {refusal}");
            (status, [(header::CONTENT_TYPE, "text/x.tlog.size")], format!("{size}\n")).into_response()
        }
        _ => {
            tracing::warn!("refused: {refusal}");
            (status, format!("{refusal}\n")).into_response()
        }
    }
}
