//! Orders as they are shown, from memory and from the archive: one that left memory looks as it did before.

use std::collections::BTreeMap;

use pumasi_api::wire::market::Order;
use pumasi_cell::ArchiveError;
use pumasi_core::{ArchivePlace, ArchivedOrder, Course, OrderView, State};
use pumasi_types::{AccountId, OrderId};

use super::{ApiError, views};
use crate::auth;
use crate::server::Hub;

/// What memory knows of an order.
enum Known {
    /// All of it, or that the caller may not see it.
    All(Option<Box<Order>>),
    /// All but its parcels, which the archive has there.
    NoParcels(ArchivePlace),
    /// Nothing: the archive may have it.
    Nothing,
}

/// Orders in this order, those that are not there left out; only those that `caller` may see, if one is named.
pub(super) async fn orders(
    hub: &Hub,
    caller: Option<&auth::Caller>,
    ids: Vec<OrderId>,
) -> Result<Vec<Order>, ApiError> {
    let (asks, asked) = (caller.cloned(), ids.clone());
    let look = move |state: &State| {
        let known = asked.iter().map(|id| known(state, asks.as_ref(), *id)).collect::<Vec<_>>();
        (known, state.market().archived_to())
    };
    let (known, until) = hub.cell.read(look).await?;
    let wanted = |(id, known): (&OrderId, &Known)| match known {
        Known::All(_) => None,
        Known::NoParcels(place) => Some((*id, *place)),
        Known::Nothing => Some((*id, ArchivePlace::NONE)),
    };
    let wanted: Vec<_> = ids.iter().zip(&known).filter_map(wanted).collect();
    let mut shown =
        if wanted.is_empty() { BTreeMap::new() } else { archived(hub, caller, wanted, until).await? };
    let orders = ids.into_iter().zip(known).filter_map(|(id, known)| match known {
        Known::All(order) => order.map(|order| *order),
        Known::NoParcels(_) | Known::Nothing => shown.remove(&id),
    });
    Ok(orders.collect())
}

fn known(state: &State, caller: Option<&auth::Caller>, id: OrderId) -> Known {
    let market = state.market();
    let Some(view) = market.view(id) else { return Known::Nothing };
    if !market.sent_by(id).is_some_and(|sent_by| may_see(caller, &view, sent_by)) {
        return Known::All(None);
    }
    match market.archived(id) {
        ArchivePlace::NONE => Known::All(Some(Box::new(views::order(state, id, view)))),
        place => Known::NoParcels(place),
    }
}

/// Whether an order is one of the caller's: as customer, as merchant, or as who sent it.
pub(super) fn may_see(caller: Option<&auth::Caller>, view: &OrderView<'_>, sent_by: AccountId) -> bool {
    let people = [view.order.customer, view.order.merchant, sent_by];
    caller.is_none_or(|caller| caller.is_operator() || people.contains(&caller.account))
}

/// Reads orders from the archive, which ended there, and shows them with what memory still knows of them.
async fn archived(
    hub: &Hub,
    caller: Option<&auth::Caller>,
    wanted: Vec<(OrderId, ArchivePlace)>,
    until: ArchivePlace,
) -> Result<BTreeMap<OrderId, Order>, ApiError> {
    let archive = hub.derived.archive.clone();
    let read = move || {
        let order = |(id, place): (OrderId, ArchivePlace)| match place {
            ArchivePlace::NONE => archive.read(id, until).transpose(),
            place => Some(archive.read_at(id, place)),
        };
        wanted.into_iter().filter_map(order).collect::<Result<Vec<_>, ArchiveError>>()
    };
    let read = tokio::task::spawn_blocking(read).await.map_err(|error| ApiError::internal(&error))??;
    let caller = caller.cloned();
    let look = move |state: &State| {
        let seen = read.iter().filter(|order| may_see(caller.as_ref(), &order.view(), order.sent_by));
        seen.map(|order| (order.id, show(state, order))).collect()
    };
    Ok(hub.cell.read(look).await?)
}

fn show(state: &State, archived: &ArchivedOrder) -> Order {
    let old = archived.view();
    // It may be in memory still, and may have gone on since.
    let Some(view) = state.market().view(archived.id) else { return views::order(state, archived.id, old) };
    let course = match (view.course, old.course) {
        (Some(course), Some(old)) => Some(Course { parcels: old.parcels.clone(), ..course.clone() }),
        (course, old) => course.or(old).cloned(),
    };
    views::order(state, archived.id, OrderView { course: course.as_ref(), ..view })
}
