//! A stream of orders: JSON lines in, one answer for each line out, in their order.
//!
//! The next lines are read while the last become durable. A client that does not read its answers is not read from
//! either, so that it keeps no more here than a few batches.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::{Body, BodyDataStream, Bytes};
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use pumasi_api::wire::ErrorBody;
use pumasi_api::wire::market::{NewOrder, OrderResult};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::extract::{IdempotencyKey, media_type};
use super::orders::{Named, Problem, gather, outcomes, result};
use super::{ApiError, Peer};
use crate::orders::Placing;
use crate::server::Hub;
use crate::session::Session;

/// The media type of JSON lines.
const NDJSON: &str = "application/x-ndjson";
/// Bytes of a line at most.
const LINE_BYTES: usize = 64 << 10;
/// Lines that are placed together at most.
const TOGETHER: usize = 1_000;
/// Batches that wait for their answers at most.
const PIPELINE: usize = 4;

/// Lines that were read, and what became of them.
struct Pending {
    problems: Vec<Option<Problem>>,
    named: Vec<Named>,
    /// None when all of them have problems.
    placing: Option<Placing>,
}

/// Places orders as they come, one JSON object on each line, and answers each with a line, in their order. Read the
/// answers while you write: what is not read holds the stream up. A stream that has to end early ends with a line of
/// `code` and `message` alone; send what was not answered by then once more, with the same ids.
#[utoipa::path(post, path = "/v1/orders/stream", operation_id = "stream_orders",
    request_body(content = NewOrder, content_type = "application/x-ndjson"),
    responses((status = 200, description = "One line for each line.", body = OrderResult,
        content_type = "application/x-ndjson"), (status = 415, body = ErrorBody)))]
pub(super) async fn stream(
    State(hub): State<Arc<Hub>>,
    key: IdempotencyKey,
    request: Request,
) -> Result<Response, ApiError> {
    let peer = request.extensions().get::<Peer>().map(|peer| peer.0);
    let session = Session::begin(&hub, request.headers(), peer).await?;
    let share = hub.stream(session.caller.account).map_err(ApiError::too_many)?;
    if !media_type(request.headers()).eq_ignore_ascii_case(NDJSON) {
        let message = format!("the body must be lines of JSON: send `Content-Type: {NDJSON}`");
        return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "invalid", message));
    }
    let (to, pending) = mpsc::channel(PIPELINE);
    let lines = Lines::new(request.into_body());
    let reading = read(Arc::clone(&hub), session, key, lines, to);
    tokio::spawn(async move {
        let _share = share;
        reading.await;
    });
    let answers = ReceiverStream::new(pending).then(move |pending| answer(Arc::clone(&hub), pending));
    Ok(([(header::CONTENT_TYPE, NDJSON)], Body::from_stream(answers)).into_response())
}

/// Reads and hands over until the body or the session ends.
async fn read(
    hub: Arc<Hub>,
    session: Session,
    key: IdempotencyKey,
    mut lines: Lines,
    to: mpsc::Sender<Result<Pending, ApiError>>,
) {
    let caller = session.caller.clone();
    let mut number = 0;
    let reading = async {
        while let Some(orders) = lines.next().await? {
            let first = number;
            number += orders.len() as u64;
            let item = |at| key.of_item(caller.account, first + at);
            let (batch, problems) = gather(&hub, &caller, &orders, item).await?;
            let placing = if batch.is_empty() {
                None
            } else {
                let room = hub.waiting_room.enter(&batch).await;
                Some(Placing::begin(&hub.cell, caller.account, batch, room).await?)
            };
            let named = orders.iter().map(Named::by).collect();
            if to.send(Ok(Pending { problems, named, placing })).await.is_err() {
                // Nobody reads the answers any more.
                return Ok(());
            }
        }
        Ok(())
    };
    session.read(&hub, &to, reading).await;
}

/// The answers of a batch as lines, once they are durable.
async fn answer(hub: Arc<Hub>, pending: Result<Pending, ApiError>) -> Result<Bytes, Infallible> {
    let lines = match pending {
        Ok(pending) => answers(&hub, pending).await,
        Err(error) => Err(error),
    };
    Ok(lines.unwrap_or_else(|error| line(&error.into_body())).into())
}

async fn answers(hub: &Hub, Pending { problems, named, placing }: Pending) -> Result<Vec<u8>, ApiError> {
    let answers = match placing {
        Some(placing) => placing.answers(hub).await?,
        None => Vec::new(),
    };
    let outcomes = outcomes(problems, answers).zip(named);
    Ok(outcomes.flat_map(|(outcome, named)| line(&result(outcome, &named))).collect())
}

fn line(value: &impl serde::Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(value).expect("results are made of plain values");
    line.push(b'\n');
    line
}

/// The lines of a body.
struct Lines {
    body: BodyDataStream,
    /// What came and is not read yet.
    rest: Vec<u8>,
    /// So much of it was searched, and has no end of a line.
    searched: usize,
    /// Whether nothing more will come.
    over: bool,
}

impl Lines {
    fn new(body: Body) -> Lines {
        Lines { body: body.into_data_stream(), rest: Vec::new(), searched: 0, over: false }
    }

    /// The lines that have come, some at least; none at the end. Empty lines are passed over.
    async fn next(&mut self) -> Result<Option<Vec<Result<NewOrder, Problem>>>, ApiError> {
        loop {
            let orders = self.take();
            if !orders.is_empty() {
                return Ok(Some(orders));
            }
            if self.over {
                return Ok(None);
            }
            if self.rest.len() > LINE_BYTES {
                let message = format!("a line is longer than {LINE_BYTES} bytes");
                return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message));
            }
            match self.body.next().await {
                Some(chunk) => {
                    let chunk =
                        chunk.map_err(|error| ApiError::invalid(format!("the body broke off: {error}")))?;
                    self.rest.extend_from_slice(&chunk);
                }
                None => {
                    self.over = true;
                    self.rest.push(b'\n');
                }
            }
        }
    }

    /// Whole lines that are there.
    fn take(&mut self) -> Vec<Result<NewOrder, Problem>> {
        let mut orders = Vec::new();
        let (mut used, mut from) = (0, std::mem::take(&mut self.searched));
        while orders.len() < TOGETHER {
            let Some(length) = self.rest[from..].iter().position(|byte| *byte == b'\n') else {
                self.searched = self.rest.len() - used;
                break;
            };
            let line = self.rest[used..from + length].trim_ascii();
            from += length + 1;
            used = from;
            if !line.is_empty() {
                orders
                    .push(serde_json::from_slice(line).map_err(|error| Problem::invalid(error.to_string())));
            }
        }
        self.rest.drain(..used);
        orders
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_the_same_however_they_are_cut_and_searched_once() {
        let order = r#"{"customer":"bob","currency":"KRW","total":"1","lines":[{"article":1,"quantity":1}]}"#;
        let text =
            format!("{order}\n\n {order} \r\nnonsense\n{}{order}", format!("{order}\n").repeat(TOGETHER));
        for length in [1, 2, 7, 63, 64, 65, 4_096, text.len()] {
            let chunks: Vec<_> =
                text.as_bytes().chunks(length).map(<[u8]>::to_vec).map(Ok::<_, Infallible>).collect();
            let mut lines = Lines::new(Body::from_stream(futures_util::stream::iter(chunks)));
            let mut read = Vec::new();
            while let Ok(Some(orders)) = lines.next().await {
                assert!(orders.len() <= TOGETHER);
                read.extend(orders.iter().map(Result::is_ok));
            }
            let bad: Vec<_> = (0..read.len()).filter(|at| !read[*at]).collect();
            assert_eq!((read.len(), bad), (TOGETHER + 4, vec![2]), "{length}");
        }
        let mut lines = Lines::new(Body::empty());
        for length in 1..100 {
            lines.rest.push(b' ');
            assert!(lines.take().is_empty());
            assert_eq!(lines.searched, length, "what was searched is not searched again");
        }
    }
}
