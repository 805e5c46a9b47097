//! The way of orders to the cell, from whatever gateway they come.
//!
//! A batch is handed over when there is room for it: no more orders wait for the cell than it does in a fraction of a
//! second, so that nobody waits long for an answer and no queue grows.

use std::sync::Arc;
use std::time::Instant;

use pumasi_core::{Answer, Command, Done, OrderAnswer, OrderBatch, Request};
use pumasi_types::{AccountId, RequestId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::cell::{Cell, CellError};
use crate::server::Hub;

/// Orders of one line that wait for the cell at most; a batch takes a place for each 64 bytes.
const PLACES: u32 = 1 << 17;

/// The waiting room in front of the cell.
pub(crate) struct WaitingRoom(Arc<Semaphore>);

impl WaitingRoom {
    pub(crate) fn new() -> WaitingRoom {
        WaitingRoom(Arc::new(Semaphore::new(PLACES as usize)))
    }

    /// Waits until there is room for a batch; first come, first served.
    pub(crate) async fn enter(&self, batch: &OrderBatch) -> Room {
        let came = Instant::now();
        let places = u32::try_from(batch.size() / 64).unwrap_or(PLACES).clamp(1, PLACES);
        let entered = Arc::clone(&self.0).acquire_many_owned(places).await;
        Room { came, permit: entered.expect("the waiting room is never closed") }
    }
}

/// Room for a batch, since when it was wanted.
pub(crate) struct Room {
    came: Instant,
    permit: OwnedSemaphorePermit,
}

/// A batch that was handed over.
pub(crate) struct Placing {
    answer: oneshot::Receiver<Answer>,
    orders: usize,
    came: Instant,
}

/// Why nobody knows what came of a batch, or why it was not done at all.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlacingError {
    #[error(transparent)]
    Cell(#[from] CellError),
    /// A fault of ours.
    #[error("the cell gave a strange answer to a batch of orders: {0}")]
    Strange(String),
}

impl Placing {
    /// Hands a batch over. The room that it takes is free again once it is answered.
    pub(crate) async fn begin(
        cell: &Cell,
        caller: AccountId,
        batch: OrderBatch,
        room: Room,
    ) -> Result<Placing, CellError> {
        let orders = batch.len();
        // Orders are done once by their own ids; the batch needs none.
        let request = Request { caller, id: None, command: Command::PlaceOrders(batch) };
        let Room { came, permit } = room;
        Ok(Placing { answer: cell.send_with(request, Some(permit)).await?, orders, came })
    }

    /// What came of each order, once it is durable.
    pub(crate) async fn answers(self, hub: &Hub) -> Result<Vec<OrderAnswer>, PlacingError> {
        match self.answer.await {
            Ok(Ok(Done::Orders(answers))) if answers.len() == self.orders => {
                hub.live.answered(&answers, self.came.elapsed());
                Ok(answers)
            }
            Ok(other) => Err(PlacingError::Strange(format!("{other:?}").chars().take(200).collect())),
            Err(_) => Err(hub.cell.why_stopped().into()),
        }
    }
}

/// What an order is called in the log: a UUID (RFC 9562) stands for itself, so that it can also be sent as 16 bytes;
/// any other text is hashed.
pub(crate) fn order_key(caller: AccountId, text: &str) -> RequestId {
    uuid(text).unwrap_or_else(|| request_id(caller, &[text.as_bytes()]))
}

/// A client's own name for a request, as 128 bits of this caller's: nobody's key can meet another's.
pub(crate) fn request_id(caller: AccountId, parts: &[&[u8]]) -> RequestId {
    let mut hasher = blake3::Hasher::new_derive_key("pumasi 2026 request id");
    hasher.update(&caller.0.to_le_bytes());
    for part in parts {
        hasher.update(part);
    }
    let bytes: [u8; 16] = hasher.finalize().as_bytes()[..16].try_into().expect("sixteen of 32 bytes");
    RequestId(u128::from_le_bytes(bytes))
}

/// The number that a UUID in its usual text form is.
fn uuid(text: &str) -> Option<RequestId> {
    let bytes: &[u8; 36] = text.as_bytes().try_into().ok()?;
    let mut number = 0;
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 8 | 13 | 18 | 23) {
            if *byte != b'-' {
                return None;
            }
        } else {
            number = number << 4 | u128::from(char::from(*byte).to_digit(16)?);
        }
    }
    Some(RequestId(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_itself_and_every_other_text_is_its_callers_own() {
        let (alice, bob) = (AccountId(1), AccountId(2));
        let text = "6ba7b810-9DAD-11d1-80b4-00c04fd430c8";
        let number = RequestId(0x6ba7_b810_9dad_11d1_80b4_00c0_4fd4_30c8);
        assert_eq!((order_key(alice, text), order_key(bob, text)), (number, number));
        for other in
            ["6ba7b810-9dad-11d1-80b4-00c04fd430c", "6ba7b8109dad-11d1-80b4-00c04fd430c8x", "1", "주문-1"]
        {
            assert_eq!(order_key(alice, other), order_key(alice, other));
            assert_ne!(order_key(alice, other), order_key(bob, other), "{other}");
        }
    }
}
