//! What entries lead to besides answers, kept as a cell's files keep it.
#![allow(dead_code, reason = "each test program uses its part")]

use std::collections::BTreeMap;

use pumasi_core::{ArchivePlace, ArchivedOrder, Effects, Event, SalesHour, State, Transfer};
use pumasi_types::{OrderId, SalesId};

/// What the files hold.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) transfers: Vec<Transfer>,
    /// All steps of orders.
    pub(crate) events: Vec<Event>,
    /// What was sold in hours that are over.
    pub(crate) sales: Vec<SalesHour>,
    /// The archive's bytes.
    archive: Vec<u8>,
    places: BTreeMap<OrderId, ArchivePlace>,
}

impl Kept {
    pub(crate) fn new() -> Kept {
        Kept {
            transfers: Vec::new(),
            events: Vec::new(),
            sales: Vec::new(),
            archive: vec![0; ArchivePlace::FIRST.0 as usize],
            places: BTreeMap::new(),
        }
    }

    /// Takes what an entry led to, and checks that it goes on where the one before ended.
    pub(crate) fn take(&mut self, effects: &Effects, state: &State) {
        self.transfers.extend(&effects.transfers);
        for event in &effects.events {
            assert_eq!(event.id.0, self.events.len() as u64 + 1, "the journal of events has no gaps");
            self.events.push(*event);
        }
        assert_eq!(self.events.len() as u64, state.market().last_event().0);
        if let Some((_, first)) = effects.archived.orders().first() {
            assert_eq!(first.0, self.archive.len() as u64, "the archive has no gaps");
        }
        self.places.extend(effects.archived.orders().iter().copied());
        self.archive.extend_from_slice(effects.archived.bytes());
        assert_eq!(state.market().archived_to().0, self.archive.len() as u64);
        for sold in &effects.sales {
            let before = self.sales.last().map_or((SalesId(0), None), |last| (last.id, Some(last.rank())));
            assert_eq!(sold.id.0, before.0.0 + 1, "the journal of sales has no gaps");
            assert!(before.1 < Some(sold.rank()), "the journal of sales is in order");
            assert_eq!(SalesHour::from_record(&sold.to_record()), Some(*sold));
            self.sales.push(*sold);
        }
        assert_eq!(self.sales.len() as u64, state.market().last_sales().0);
    }

    /// An order that left memory, with the parcels that left before it.
    pub(crate) fn archived(&self, id: OrderId) -> Option<ArchivedOrder> {
        let mut left = self.record(*self.places.get(&id)?);
        assert_eq!(left.id, id, "the archive has it where it was put");
        if !left.before.is_none() {
            left.follow(self.record(left.before));
        }
        Some(left)
    }

    fn record(&self, place: ArchivePlace) -> ArchivedOrder {
        let bytes = &self.archive[place.0 as usize..];
        let length = ArchivedOrder::record_bytes(bytes.first_chunk().expect("a record begins there"));
        ArchivedOrder::from_record(&bytes[..length as usize]).expect("a record is there")
    }
}
