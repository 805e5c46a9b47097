//! What must hold of what orders leave behind: the archive has those that left memory, and figures of sales add up.

use std::collections::BTreeMap;
use std::path::Path;

use pumasi_cell::{Archive, Derived};
use pumasi_core::{ArchivePlace, ArchivedOrder, Cause, Effects, SalesHour, State, Transfer};
use pumasi_types::{AccountId, Currency, OrderId, SalesId};

use crate::disk::SimDisk;
use crate::oracle::{Holds, Violation, require};

/// What the log says was left.
#[derive(Clone, Default)]
pub(crate) struct Left {
    /// Each order as it left, with the parcels that left before it.
    orders: BTreeMap<OrderId, ArchivedOrder>,
    /// Where the archive ends.
    until: ArchivePlace,
    sales: Vec<SalesHour>,
}

impl Left {
    /// Follows what an entry led to.
    pub(crate) fn follow(&mut self, effects: &Effects, state: &State) -> Holds {
        let mut bytes = effects.archived.bytes();
        for (id, place) in effects.archived.orders() {
            let expected = self.until.max(ArchivePlace::FIRST);
            require(*place == expected, || format!("order {id} goes to {place:?}, not to {expected:?}"))?;
            let length = bytes.first_chunk().map_or(0, ArchivedOrder::record_bytes);
            let Some((record, rest)) = bytes.split_at_checked(length as usize) else {
                return Err(Violation(format!("the record of order {id} is cut off")));
            };
            let mut order = ArchivedOrder::from_record(record)
                .filter(|order| order.id == *id)
                .ok_or_else(|| Violation(format!("the record of order {id} is none")))?;
            let before = self.orders.remove(id);
            require(before.is_some() != order.before.is_none(), || format!("{order:?} follows {before:?}"))?;
            before.into_iter().for_each(|before| order.follow(before));
            self.orders.insert(*id, order);
            (self.until, bytes) = (ArchivePlace(place.0 + length), rest);
        }
        require(bytes.is_empty() && self.until <= state.market().archived_to(), || {
            format!("the archive ends at {:?} and has more", self.until)
        })?;
        for sold in &effects.sales {
            let before = self.sales.last().map(SalesHour::rank);
            let next = SalesId(self.sales.len() as u64 + 1);
            require(sold.id == next && before < Some(sold.rank()), || {
                format!("{sold:?} follows {before:?}")
            })?;
            self.sales.push(*sold);
        }
        Ok(())
    }

    /// No order is lost, and what was sold is what was paid or is set aside for it, less what went back.
    pub(crate) fn check(&self, state: &State, placed: &[OrderId], transfers: &[Transfer]) -> Holds {
        let mut paid: BTreeMap<(AccountId, Currency), i128> = BTreeMap::new();
        for id in placed {
            match state.market().view(*id) {
                Some(view) => {
                    let of = (view.order.merchant, view.order.currency);
                    *paid.entry(of).or_default() += i128::from(view.held().0);
                }
                None => require(self.orders.contains_key(id), || format!("order {id} is lost"))?,
            }
        }
        for transfer in transfers {
            let (of, sign) = match transfer.cause {
                Cause::Sale { .. } => (transfer.payee, 1),
                Cause::Refund { .. } => (transfer.payer, -1),
                _ => continue,
            };
            *paid.entry((of, transfer.currency)).or_default() += sign * i128::from(transfer.amount.0);
        }
        for sold in self.sales.iter().copied().chain(state.market().running_sales(None, None)) {
            let revenue = i128::from(sold.figure.revenue.0);
            *paid.entry((sold.merchant, sold.currency)).or_default() -= revenue;
        }
        require(paid.values().all(|left| *left == 0), || format!("more was paid than sold: {paid:?}"))
    }

    /// The files hold all of it.
    pub(crate) fn check_files(&self, disk: &SimDisk) -> Holds {
        let copy = disk.sound_copy(0);
        let derived = Derived::open_on(&*copy.process(), Path::new("/hub"));
        let Derived { sales, archive, .. } = derived.map_err(|error| Violation(error.to_string()))?;
        for sold in &self.sales {
            let read = sales.read(sold.id);
            require(read.as_ref().ok() == Some(sold), || format!("the journal has {read:?}, not {sold:?}"))?;
        }
        self.orders.values().try_for_each(|order| self.check_order(&archive, order))
    }

    fn check_order(&self, archive: &Archive, order: &ArchivedOrder) -> Holds {
        let read = archive.read(order.id, self.until);
        require(matches!(&read, Ok(Some(read)) if read == order), || {
            format!("the archive has {read:?}, not {order:?}")
        })
    }
}
