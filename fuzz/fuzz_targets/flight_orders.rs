//! Messages of Arrow Flight, one after the other, as `DoPut` and `DoExchange` read them: whatever they say of their
//! buffers, no more orders come of them than their bytes are worth.

#![no_main]

use arrow_flight::FlightData;
use libfuzzer_sys::fuzz_target;
use prost::Message;
use pumasi_core::OrderBatch;
use pumasi_hub::OrderReader;
use pumasi_types::AccountId;

/// Bytes that an order has in the log, and its lines beside it, for each byte that came: its id and total alone take
/// more than eight.
const GROWTH: usize = 16;

fuzz_target!(|bytes: &[u8]| {
    let mut reader = OrderReader::new(AccountId(7));
    let mut rest = bytes;
    // What comes over the wire is bounded, and broken there if it is no message at all.
    while let Ok(message) = FlightData::decode_length_delimited(&mut rest) {
        match reader.take(&message) {
            Ok(Some(orders)) => check(&orders, message.data_body.len()),
            Ok(None) => {}
            Err(bad) => {
                assert!(bad.to_string().len() < 4_096, "what is told is short: {bad}");
                // The stream ends here.
                return;
            }
        }
        if rest.is_empty() {
            return;
        }
    }
});

fn check(orders: &OrderBatch, body: usize) {
    assert!(orders.len() <= OrderBatch::ORDERS_MAX);
    assert!(orders.size() <= GROWTH * body, "{} bytes of orders from {body}", orders.size());
    for order in orders.orders() {
        assert!((1..=OrderBatch::LINES_MAX).contains(&order.lines.iter().count()));
    }
}
