//! Events: what the parties of an order are told of each of its steps, and the bytes that the journal keeps of it.

use std::fmt;

use pumasi_types::{AccountId, Amount, Currency, EventId, OrderId, ParcelId, Time};
use serde::{Deserialize, Serialize};

use super::orders::{OrderState, content_of};
use super::scan::ScanCode;
use super::steps::Party;

/// A step that an order took.
///
/// `customer_prev`, `merchant_prev` and `carrier_prev` chain the events of each account in each of these parts
/// backwards, so that a feed needs no index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its place in the journal, from 1 without gaps.
    pub id: EventId,
    /// Log time.
    pub time: Time,
    /// Which order.
    pub order: OrderId,
    /// What happened.
    pub kind: EventKind,
    /// Where the order stands since.
    pub state: OrderState,
    /// Which of its parcels; 0: it is not about one.
    pub parcel: ParcelId,
    /// What its carrier reported.
    pub scan: Option<ScanCode>,
    /// Who buys.
    pub customer: AccountId,
    /// Who sells.
    pub merchant: AccountId,
    /// Who carries the parcel; 0: it is not about one.
    pub carrier: AccountId,
    /// How much it is about: all that the order costs when it is placed or paid, what was settled with a parcel, what
    /// went back to the customer; else nothing.
    pub amount: Amount,
    /// In which currency.
    pub currency: Currency,
    /// The event of the customer, as one, before this one; 0: none.
    pub customer_prev: EventId,
    /// The event of the merchant, as one, before this one; 0: none.
    pub merchant_prev: EventId,
    /// The event of the carrier, as one, before this one; 0: none, or it is not about a parcel.
    pub carrier_prev: EventId,
}

/// What happened to an order. The order of variants is part of the stored format: append, never reorder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// It was placed, and paid at once unless its state says placed.
    Placed,
    /// Its money came later.
    Paid,
    /// Its merchant is getting it ready.
    Allocated,
    /// A parcel was sent.
    Shipped,
    /// A parcel's carrier reported where it is.
    Scanned,
    /// A parcel arrived.
    Delivered,
    /// All is well, or what was to be returned is kept.
    Completed,
    /// It, or what was not shipped of it, was given up.
    Cancelled,
    /// Its money did not come in time.
    Expired,
    /// The customer wants to give some of it back.
    ReturnRequested,
    /// The merchant has some of it back.
    Returned,
    /// The merchant does not take it back.
    ReturnRefused,
    /// Money went back to the customer.
    Refunded,
}

impl EventKind {
    /// All of them, in order of their numbers.
    pub const ALL: [EventKind; 13] = [
        EventKind::Placed,
        EventKind::Paid,
        EventKind::Allocated,
        EventKind::Shipped,
        EventKind::Scanned,
        EventKind::Delivered,
        EventKind::Completed,
        EventKind::Cancelled,
        EventKind::Expired,
        EventKind::ReturnRequested,
        EventKind::Returned,
        EventKind::ReturnRefused,
        EventKind::Refunded,
    ];

    /// What it is called where programs read it.
    pub fn name(self) -> &'static str {
        match self {
            EventKind::Placed => "placed",
            EventKind::Paid => "paid",
            EventKind::Allocated => "allocated",
            EventKind::Shipped => "shipped",
            EventKind::Scanned => "scanned",
            EventKind::Delivered => "delivered",
            EventKind::Completed => "completed",
            EventKind::Cancelled => "cancelled",
            EventKind::Expired => "expired",
            EventKind::ReturnRequested => "return_requested",
            EventKind::Returned => "returned",
            EventKind::ReturnRefused => "return_refused",
            EventKind::Refunded => "refunded",
        }
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Event {
    /// Length of [`Event::to_record`].
    pub const RECORD_BYTES: usize = 88;

    /// Who has this part in it; 0: nobody.
    pub fn account_of(&self, party: Party) -> AccountId {
        match party {
            Party::Customer => self.customer,
            Party::Merchant => self.merchant,
            Party::Carrier => self.carrier,
        }
    }

    /// The event before this one of who has this part in it; 0: none.
    pub fn before_of(&self, party: Party) -> EventId {
        match party {
            Party::Customer => self.customer_prev,
            Party::Merchant => self.merchant_prev,
            Party::Carrier => self.carrier_prev,
        }
    }

    /// The event as bytes; the same event always has the same.
    ///
    /// Little-endian: id, time, order, customer, merchant, carrier, amount, customer_prev, merchant_prev, carrier_prev
    /// (8 bytes each), currency (3), kind, state, number of the scan code or 0 (1 each), parcel (2).
    pub fn to_record(&self) -> [u8; Event::RECORD_BYTES] {
        let words = [
            self.id.0,
            self.time.0,
            self.order.0,
            self.customer.0,
            self.merchant.0,
            self.carrier.0,
            self.amount.0.cast_unsigned(),
            self.customer_prev.0,
            self.merchant_prev.0,
            self.carrier_prev.0,
        ];
        let mut record = [0; Event::RECORD_BYTES];
        for (bytes, word) in record.as_chunks_mut().0.iter_mut().zip(words) {
            *bytes = word.to_le_bytes();
        }
        let parcel = u16::try_from(self.parcel.0).expect("an order has few parcels");
        record[80..83].copy_from_slice(self.currency.code().as_bytes());
        (record[83], record[84]) = (self.kind as u8, self.state as u8);
        record[85] = self.scan.map_or(0, ScanCode::number);
        record[86..].copy_from_slice(&parcel.to_le_bytes());
        record
    }

    /// Reads what [`Event::to_record`] wrote; `None` for any other bytes.
    pub fn from_record(record: &[u8; Event::RECORD_BYTES]) -> Option<Event> {
        let words = record.as_chunks().0;
        let word = |at: usize| u64::from_le_bytes(words[at]);
        Some(Event {
            id: EventId(word(0)),
            time: Time(word(1)),
            order: OrderId(word(2)),
            kind: *EventKind::ALL.get(usize::from(record[83]))?,
            state: *OrderState::ALL.get(usize::from(record[84]))?,
            parcel: ParcelId(u32::from(u16::from_le_bytes([record[86], record[87]]))),
            scan: match record[85] {
                0 => None,
                number => Some(ScanCode::from_number(number)?),
            },
            customer: AccountId(word(3)),
            merchant: AccountId(word(4)),
            carrier: AccountId(word(5)),
            amount: Amount(word(6).cast_signed()),
            currency: std::str::from_utf8(&record[80..83]).ok()?.parse().ok()?,
            customer_prev: EventId(word(7)),
            merchant_prev: EventId(word(8)),
            carrier_prev: EventId(word(9)),
        })
    }

    /// What is kept behind a record to notice damage: a chain of folded products (wyhash, Wang Yi 2019), which costs a
    /// fraction of a cryptographic hash. Events are no proof of anything: the log is.
    pub fn check_of(record: &[u8; Event::RECORD_BYTES]) -> [u8; 8] {
        content_of(record).to_le_bytes()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn event(words: [u64; 10], kind: usize, state: usize, scan: usize, parcel: u16) -> Event {
        Event {
            id: EventId(words[0]),
            time: Time(words[1]),
            order: OrderId(words[2]),
            kind: EventKind::ALL[kind],
            state: OrderState::ALL[state],
            parcel: ParcelId(u32::from(parcel)),
            scan: scan.checked_sub(1).map(|at| ScanCode::ALL[at]),
            customer: AccountId(words[3]),
            merchant: AccountId(words[4]),
            carrier: AccountId(words[5]),
            amount: Amount(words[6].cast_signed()),
            currency: "KRW".parse().expect("known"),
            customer_prev: EventId(words[7]),
            merchant_prev: EventId(words[8]),
            carrier_prev: EventId(words[9]),
        }
    }

    #[test]
    fn layout_stays() {
        let words = [9, 1_700_000_000_000_000_000, 4, 3, 2, 5, 1_500, 8, 7, 6];
        let record = event(words, 4, 3, 11, 258).to_record();
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let both = format!("{} {}", hex(&record), hex(&Event::check_of(&record)));
        assert_eq!(both, include_str!("event_record.hex").trim());
    }

    #[test]
    fn numbers_are_places() {
        for (number, kind) in EventKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, number);
            assert_eq!(snake_case(kind), kind.name());
        }
        for (number, state) in OrderState::ALL.into_iter().enumerate() {
            assert_eq!(state as usize, number);
        }
    }

    /// Its variant as serde calls it.
    fn snake_case(kind: EventKind) -> String {
        format!("{kind:?}").chars().enumerate().fold(String::new(), |mut name, (at, letter)| {
            if letter.is_uppercase() && at > 0 {
                name.push('_');
            }
            name.push(letter.to_ascii_lowercase());
            name
        })
    }

    proptest! {
        #[test]
        fn every_event_is_read_back(
            words in proptest::array::uniform10(any::<u64>()), kind in 0..13_usize, state in 0..12_usize,
            scan in 0..=ScanCode::ALL.len(), parcel: u16,
        ) {
            let event = event(words, kind, state, scan, parcel);
            prop_assert_eq!(Event::from_record(&event.to_record()), Some(event));
        }

        #[test]
        fn each_event_has_one_record(
            mut record in proptest::array::uniform(any::<u8>()), kind in 0..14_u8, state in 0..13_u8,
            scan in 0..40_u8,
        ) {
            record[80..83].copy_from_slice(b"CRD");
            (record[83], record[84], record[85]) = (kind, state, scan);
            let event = Event::from_record(&record);
            let known = kind < 13 && state < 12 && usize::from(scan) <= ScanCode::ALL.len();
            prop_assert_eq!(event.is_some(), known);
            if let Some(event) = event {
                prop_assert_eq!(event.to_record(), record);
            }
        }
    }
}
