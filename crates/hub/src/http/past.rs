//! Orders as they are shown, from memory and from the archive: one that left memory looks as it did before.

use std::collections::BTreeMap;

use pumasi_api::wire::market::Order;
use pumasi_cell::{Archive, ArchiveError};
use pumasi_core::{ArchivePlace, ArchivedOrder, Course, OrderView, Role, State};
use pumasi_types::{AccountId, Currency, OrderId};

use super::{ApiError, views};
use crate::auth;
use crate::server::Hub;

/// What memory knows of an order.
enum Known {
    /// All of it, or that the caller may not see it.
    All(Option<Box<Order>>),
    /// All but its parcels, which the archive has there; nothing, when there is no such place.
    Archived(ArchivePlace),
}

/// Orders as they are shown.
pub(super) struct Shown {
    /// As they were asked for, those that are not there left out.
    pub(super) orders: Vec<Order>,
    /// How many of those that were asked for were looked for: the first ones, until they had [`views::PARTS`].
    pub(super) looked_for: usize,
}

/// Orders in this order; only those that `caller` may see, if one is named.
pub(super) async fn orders(
    hub: &Hub,
    caller: Option<&auth::Caller>,
    ids: Vec<OrderId>,
) -> Result<Shown, ApiError> {
    let (asks, asked) = (caller.cloned(), ids.clone());
    let look = move |state: &State| {
        let mut parts = 0;
        let next =
            |id: &OrderId| (parts < views::PARTS).then(|| known(state, asks.as_ref(), *id, &mut parts));
        let known = asked.iter().map_while(next).collect::<Vec<_>>();
        (known, state.market().archived_to())
    };
    let (known, until) = hub.cell.read(look).await?;
    let wanted = |(id, known): (&OrderId, &Known)| match known {
        Known::All(_) => None,
        Known::Archived(place) => Some((*id, *place)),
    };
    let wanted: Vec<_> = ids.iter().zip(&known).filter_map(wanted).collect();
    let mut archived = archived(hub, caller, wanted, until).await?;
    let mut shown = Shown { orders: Vec::new(), looked_for: 0 };
    for (id, known) in ids.into_iter().zip(known) {
        let order = match known {
            Known::All(order) => order.map(|order| *order),
            Known::Archived(_) => match archived.remove(&id) {
                Some(order) => order,
                None => break,
            },
        };
        shown.orders.extend(order);
        shown.looked_for += 1;
    }
    Ok(shown)
}

fn known(state: &State, caller: Option<&auth::Caller>, id: OrderId, parts: &mut usize) -> Known {
    let market = state.market();
    let Some(view) = market.view(id) else { return Known::Archived(ArchivePlace::NONE) };
    if !may_see(caller, &view) {
        return Known::All(None);
    }
    *parts += views::parts(&view);
    match market.archived(id) {
        ArchivePlace::NONE => Known::All(Some(Box::new(views::order(state, id, view)))),
        place => Known::Archived(place),
    }
}

/// Whether an order is one of the caller's, as customer or as merchant. A storefront is every customer.
fn may_see(caller: Option<&auth::Caller>, view: &OrderView<'_>) -> bool {
    caller.is_none_or(|caller| {
        let is_party = [view.order.customer, view.order.merchant].contains(&caller.account);
        is_party || caller.is_operator() || caller.roles.contains(Role::Storefront)
    })
}

/// Who sells an order that the caller may see, and in which currency, whether it is in memory or not.
pub(super) async fn sold(
    hub: &Hub,
    caller: &auth::Caller,
    id: OrderId,
) -> Result<Option<(AccountId, Currency)>, ApiError> {
    let sold = |caller: &auth::Caller, view: &OrderView<'_>| {
        may_see(Some(caller), view).then_some((view.order.merchant, view.order.currency))
    };
    let asks = caller.clone();
    let look = move |state: &State| match state.market().view(id) {
        Some(view) => Ok(sold(&asks, &view)),
        None => Err(state.market().archived_to()),
    };
    let until = match hub.cell.read(look).await? {
        Ok(sold) => return Ok(sold),
        Err(until) => until,
    };
    let read = read(&hub.derived.archive, vec![(id, ArchivePlace::NONE)], until).await?;
    let order = read.into_iter().find_map(|(_, order)| order);
    Ok(order.and_then(|order| sold(caller, &order.view())))
}

/// Reads orders from the archive: each from its place, or else from where it lies before `until`. It ends early when
/// those that were read have [`views::PARTS`].
pub(crate) async fn read(
    archive: &Archive,
    wanted: Vec<(OrderId, ArchivePlace)>,
    until: ArchivePlace,
) -> Result<Vec<(OrderId, Option<ArchivedOrder>)>, ArchiveError> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let archive = archive.clone();
    let read = move || {
        let mut parts = 0;
        let order = |(id, place): (OrderId, ArchivePlace)| {
            let order = match place {
                ArchivePlace::NONE => archive.read(id, until)?,
                place => Some(archive.read_at(id, place)?),
            };
            parts += order.as_ref().map_or(1, |order| views::parts(&order.view()));
            Ok((id, order, parts))
        };
        let mut orders = Vec::new();
        for read in wanted.into_iter().map(order) {
            let (id, order, parts) = read?;
            orders.push((id, order));
            if parts >= views::PARTS {
                break;
            }
        }
        Ok(orders)
    };
    tokio::task::spawn_blocking(read).await.expect("reading does not panic")
}

/// Reads orders from the archive, which ended there, and shows them with what memory still knows of them; none of those
/// that are not there or not the caller's. It ends early as [`read`].
async fn archived(
    hub: &Hub,
    caller: Option<&auth::Caller>,
    mut wanted: Vec<(OrderId, ArchivePlace)>,
    mut until: ArchivePlace,
) -> Result<BTreeMap<OrderId, Option<Order>>, ApiError> {
    let mut shown = BTreeMap::new();
    while !wanted.is_empty() {
        let places: BTreeMap<_, _> = wanted.iter().copied().collect();
        let read = read(&hub.derived.archive, wanted, until).await?;
        let caller = caller.cloned();
        let look = move |state: &State| {
            let (mut shown, mut left) = (Vec::new(), Vec::new());
            for (id, order) in &read {
                let has_left = places.get(id).is_some_and(|place| !place.is_none())
                    && state.market().view(*id).is_none();
                if has_left {
                    // What was read is what the archive had of it before.
                    left.push((*id, ArchivePlace::NONE));
                    continue;
                }
                let order = order.as_ref().filter(|order| may_see(caller.as_ref(), &order.view()));
                shown.push((*id, order.map(|order| show(state, order))));
            }
            (shown, left, state.market().archived_to())
        };
        let (more, left, end) = hub.cell.read(look).await?;
        shown.extend(more);
        (wanted, until) = (left, end);
    }
    Ok(shown)
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
