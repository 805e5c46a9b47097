//! What there is of an article, and where.

use pumasi_types::PlaceId;
use serde::{Deserialize, Serialize};

use super::catalogue::is_place;
use crate::Refusal;
use crate::bounds::Bounds;

/// Whether an article is counted. The order of variants is part of the stored format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tracking {
    /// There is always enough, as of files and services.
    Untracked,
    /// What is not there is not sold.
    #[default]
    Counted,
    /// So many more than there are can be sold, at each place.
    Backorder(u32),
}

/// How stock changes. The order of variants is part of the stored format: append, never reorder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StockChange {
    /// So many more came.
    Receive(u32),
    /// So many are there, as was counted.
    Count(u32),
    /// So many went to another place.
    Move {
        /// How many.
        quantity: u32,
        /// Where to.
        to: PlaceId,
    },
    /// So many more, or fewer, than was thought: found, broken, stolen.
    Correct(i32),
}

/// What lies at one place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shelf {
    /// Which place; 0 while there is none.
    pub place: PlaceId,
    /// How many are there.
    pub on_hand: u32,
    /// How many of them are promised to orders that are not shipped.
    pub reserved: u32,
}

/// All there is of an article. Most lie at one place, so that one stands here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stock {
    tracking: Tracking,
    first: Shelf,
    /// Others, in the order of their places.
    #[expect(clippy::box_collection, reason = "almost always empty, and a list is three words")]
    more: Option<Box<Vec<Shelf>>>,
}

impl Stock {
    pub(crate) fn new(tracking: Tracking) -> Stock {
        Stock { tracking, first: Shelf::default(), more: None }
    }

    /// What is promised already stays promised.
    pub(crate) fn set_tracking(&mut self, tracking: Tracking) {
        self.tracking = tracking;
    }

    pub(crate) fn tracking(&self) -> Tracking {
        self.tracking
    }

    /// All places where some are, or were.
    pub(crate) fn shelves(&self) -> impl Iterator<Item = &Shelf> {
        let first = Some(&self.first).filter(|shelf| is_place(shelf.place));
        first.into_iter().chain(self.more.iter().flat_map(|more| more.iter()))
    }

    /// How many a place could send.
    fn available(&self, shelf: &Shelf) -> u32 {
        let unpromised = shelf.on_hand.saturating_sub(shelf.reserved);
        match self.tracking {
            Tracking::Untracked => u32::MAX - shelf.reserved,
            Tracking::Counted => unpromised,
            Tracking::Backorder(more) => {
                // What was sold beyond what is there counts against it.
                let owed = shelf.reserved.saturating_sub(shelf.on_hand);
                unpromised.saturating_add(more.saturating_sub(owed)).min(u32::MAX - shelf.reserved)
            }
        }
    }

    fn shelf(&self, place: PlaceId) -> Option<&Shelf> {
        if self.first.place == place {
            return Some(&self.first).filter(|_| is_place(place));
        }
        let more = self.more.as_ref()?;
        more.binary_search_by_key(&place, |shelf| shelf.place).ok().map(|at| &more[at])
    }

    fn on_hand(&self, place: PlaceId) -> u32 {
        self.shelf(place).map_or(0, |shelf| shelf.on_hand)
    }

    /// The place that sends so many: the wanted one, or the first that has enough, of as many as are looked at. Else how
    /// many one place could send.
    pub(crate) fn find(&self, wanted: Option<PlaceId>, quantity: u32) -> Result<PlaceId, u32> {
        let named = wanted.and_then(|place| self.shelf(place));
        let looked_at = if wanted.is_none() { Bounds::PLACES_LOOKED_AT } else { 0 };
        let mut most = 0;
        for shelf in named.into_iter().chain(self.shelves().take(looked_at)) {
            let available = self.available(shelf);
            if available >= quantity {
                return Ok(shelf.place);
            }
            most = most.max(available);
        }
        // What nobody counts comes from nowhere, so that customers cannot make places.
        if self.tracking == Tracking::Untracked { Ok(PlaceId(0)) } else { Err(most) }
    }

    fn shelf_mut(&mut self, place: PlaceId) -> &mut Shelf {
        if self.first.place == place || !is_place(self.first.place) {
            self.first.place = place;
            return &mut self.first;
        }
        let more = self.more.get_or_insert_default();
        let at = more.binary_search_by_key(&place, |shelf| shelf.place).unwrap_or_else(|at| {
            more.insert(at, Shelf { place, ..Shelf::default() });
            at
        });
        &mut more[at]
    }

    /// Promises so many, which [`Stock::find`] found.
    pub(crate) fn reserve(&mut self, place: PlaceId, quantity: u32) {
        if is_place(place) {
            self.shelf_mut(place).reserved += quantity;
        }
    }

    /// Takes a promise back.
    pub(crate) fn unreserve(&mut self, place: PlaceId, quantity: u32) {
        if is_place(place) {
            self.shelf_mut(place).reserved -= quantity;
        }
    }

    /// How many lie at a place, if that is too few to send so many.
    pub(crate) fn lacks(&self, place: PlaceId, quantity: u32) -> Option<u32> {
        let counted = self.tracking != Tracking::Untracked && is_place(place);
        let there = self.on_hand(place);
        Some(there).filter(|there| counted && *there < quantity)
    }

    /// So many that were promised went out; they must be there.
    pub(crate) fn ship(&mut self, place: PlaceId, quantity: u32) {
        if is_place(place) {
            let tracked = self.tracking != Tracking::Untracked;
            let shelf = self.shelf_mut(place);
            shelf.reserved -= quantity;
            if tracked {
                shelf.on_hand -= quantity;
            }
        }
    }

    /// So many are there again.
    pub(crate) fn take_back(&mut self, place: PlaceId, quantity: u32) {
        if is_place(place) && self.tracking != Tracking::Untracked {
            let shelf = self.shelf_mut(place);
            shelf.on_hand = shelf.on_hand.saturating_add(quantity).min(Bounds::STOCK);
        }
    }

    /// Changes what is there. What is promised and not there any more stays promised: its merchant owes it.
    pub(crate) fn change(&mut self, place: PlaceId, change: StockChange) -> Result<(), Refusal> {
        if !is_place(place) {
            return Err(Refusal::invalid("place", "must be a number from 1 on"));
        }
        let there = self.on_hand(place);
        let none = |less: u32| format!("must leave nothing below zero: {there} are there, not {less}");
        let after = match change {
            StockChange::Receive(more) => there.saturating_add(more),
            StockChange::Count(counted) => counted,
            StockChange::Move { quantity, to } => {
                if !is_place(to) || to == place {
                    return Err(Refusal::invalid("to", "must be another place"));
                }
                // What is promised stays where it is promised from, or it would be sold again elsewhere.
                let promised = self.shelf(place).map_or(0, |shelf| shelf.reserved);
                let free = there.saturating_sub(promised);
                if quantity > free {
                    let problem =
                        format!("must be at most {free}: {there} are there, {promised} are promised");
                    return Err(Refusal::invalid("quantity", problem));
                }
                there - quantity
            }
            StockChange::Correct(by) => {
                let after = i64::from(there) + i64::from(by);
                u32::try_from(after).map_err(|_| Refusal::invalid("quantity", none(by.unsigned_abs())))?
            }
        };
        let arrives = match change {
            StockChange::Move { quantity, to } => Some((to, self.on_hand(to).saturating_add(quantity))),
            _ => None,
        };
        let new = |place| self.shelf(place).is_none();
        let places = self.shelves().count()
            + usize::from(new(place))
            + arrives.map_or(0, |(to, _)| usize::from(new(to)));
        if places > Bounds::PLACES {
            return Err(Refusal::invalid(
                "place",
                "cannot be added: an article lies at 10000 places at most",
            ));
        }
        if after > Bounds::STOCK || arrives.is_some_and(|(_, arrived)| arrived > Bounds::STOCK) {
            return Err(Refusal::invalid("quantity", "must leave at most 2000000000 at a place"));
        }
        self.shelf_mut(place).on_hand = after;
        if let Some((to, arrived)) = arrives {
            self.shelf_mut(to).on_hand = arrived;
        }
        Ok(())
    }
}
