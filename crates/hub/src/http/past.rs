//! Orders as they are shown, from memory and from the archive: one that left memory looks as it did before.

use std::collections::BTreeMap;

use pumasi_api::wire::market::Order;
use pumasi_cell::{Archive, ArchiveError};
use pumasi_core::{ArchivePlace, ArchivedOrder, Course, OrderView, Role, State};
use pumasi_types::{AccountId, Currency, OrderId};

use super::{ApiError, views};
use crate::auth;
use crate::cell::CellError;
use crate::server::Hub;

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
    let caller = caller.cloned();
    let show = move |state: &State, id, view: OrderView<'_>| {
        may_see(caller.as_ref(), &view).then(|| views::order(state, id, view))
    };
    let found = look_up(hub, ids, true, show).await?;
    Ok(Shown { looked_for: found.len(), orders: found.into_iter().flatten().flatten().collect() })
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
    let caller = caller.clone();
    let show = move |_: &State, _, view: OrderView<'_>| {
        may_see(Some(&caller), &view).then_some((view.order.merchant, view.order.currency))
    };
    Ok(look_up(hub, vec![id], false, show).await?.into_iter().flatten().flatten().next())
}

/// Why orders cannot be looked up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PastError {
    #[error(transparent)]
    Cell(#[from] CellError),
    #[error(transparent)]
    Archive(#[from] ArchiveError),
}

impl From<PastError> for ApiError {
    fn from(error: PastError) -> ApiError {
        match error {
            PastError::Cell(error) => error.into(),
            PastError::Archive(error) => error.into(),
        }
    }
}

/// What was read of an order.
struct Read {
    /// Where; none if it was looked for.
    place: ArchivePlace,
    order: Option<ArchivedOrder>,
}

/// Shows orders as they are in memory, or else as they are in the archive; the parcels of those that only the archive
/// has are shown if they are to be `whole`. What became of the first ones, until they had [`views::PARTS`] in memory or
/// in the archive, and of one at least; nothing of what is not there.
pub(crate) async fn look_up<T, F>(
    hub: &Hub,
    ids: Vec<OrderId>,
    whole: bool,
    show: F,
) -> Result<Vec<Option<T>>, PastError>
where
    T: Send + 'static,
    F: Fn(&State, OrderId, OrderView<'_>) -> T + Clone + Send + 'static,
{
    let mut shown = BTreeMap::new();
    let mut looked_for: Vec<(OrderId, Option<Read>)> = ids.iter().map(|id| (*id, None)).collect();
    while !looked_for.is_empty() {
        let show = show.clone();
        let look = move |state: &State| {
            let (mut found, mut wanted, mut parts) = (Vec::new(), Vec::new(), 0);
            for (id, read) in looked_for {
                if parts >= views::PARTS {
                    break;
                }
                let show = |view: OrderView<'_>| {
                    parts += views::parts(&view);
                    show(state, id, view)
                };
                match see(state, id, read, whole, show) {
                    Ok(seen) => found.push((id, seen)),
                    Err(place) => wanted.push((id, place)),
                }
            }
            (found, wanted, state.market().archived_to())
        };
        let (found, wanted, until) = hub.cell.read(look).await?;
        shown.extend(found);
        looked_for = read(&hub.derived.archive, wanted, until).await?;
    }
    Ok(ids.iter().map_while(|id| shown.remove(id)).collect())
}

/// Shows an order, if it is there; or says where to read it first.
fn see<T>(
    state: &State,
    id: OrderId,
    read: Option<Read>,
    whole: bool,
    show: impl FnOnce(OrderView<'_>) -> T,
) -> Result<Option<T>, ArchivePlace> {
    let market = state.market();
    match (market.view(id), read) {
        (None, None) => Err(ArchivePlace::NONE),
        // What was read is what the archive had of it before it left memory.
        (None, Some(Read { place, .. })) if !place.is_none() => Err(ArchivePlace::NONE),
        (None, Some(Read { order, .. })) => Ok(order.map(|order| show(order.view()))),
        (Some(view), None) => match market.archived(id) {
            place if whole && !place.is_none() => Err(place),
            _ => Ok(Some(show(view))),
        },
        // It may have gone on since.
        (Some(view), Some(Read { order, .. })) => {
            let old = order.and_then(|order| order.course);
            let course = match (view.course, old) {
                (Some(course), Some(old)) => Some(Course { parcels: old.parcels, ..course.clone() }),
                (course, old) => course.cloned().or(old),
            };
            Ok(Some(show(OrderView { course: course.as_ref(), ..view })))
        }
    }
}

/// Reads orders from the archive: each from its place, or else from where it lies before `until`. It ends early when
/// those that were read have [`views::PARTS`].
async fn read(
    archive: &Archive,
    wanted: Vec<(OrderId, ArchivePlace)>,
    until: ArchivePlace,
) -> Result<Vec<(OrderId, Option<Read>)>, ArchiveError> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let archive = archive.clone();
    let read = move || {
        let (mut orders, mut parts) = (Vec::new(), 0);
        for (id, place) in wanted {
            if parts >= views::PARTS {
                break;
            }
            let order = match place {
                ArchivePlace::NONE => archive.read(id, until)?,
                place => Some(archive.read_at(id, place)?),
            };
            parts += order.as_ref().map_or(1, |order| views::parts(&order.view()));
            orders.push((id, Some(Read { place, order })));
        }
        Ok(orders)
    };
    tokio::task::spawn_blocking(read).await.expect("reading does not panic")
}
