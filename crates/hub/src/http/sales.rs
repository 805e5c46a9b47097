//! What merchants sold: the journal of sales, and what is not there yet from memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use pumasi_api::wire;
use pumasi_api::wire::market::{Sales, SalesBy, SalesRow, SalesTotal};
use pumasi_cell::{Journal, JournalError};
use pumasi_core::{Role, SalesHour};
use pumasi_types::{AccountId, Amount, ArticleId, Currency, Hour, SalesId, Time};
use serde::Deserialize;

use super::accounts::resolve;
use super::extract::{Caller, Query};
use super::{ApiError, views};
use crate::server::Hub;

/// Most rows of one answer.
const ROWS_MAX: usize = 1_000;
/// Most hours of one answer: a leap year.
const HOURS_MAX: u32 = 366 * 24;
/// Figures that are added up for one answer at most: a second's work.
const FIGURES_MAX: u64 = 5_000_000;
/// Figures that one look at the state takes along, and articles whose texts it does.
const AT_ONCE: usize = 4_096;
/// Figures that are read from the journal at once.
const READ: u64 = 1_024;
/// How often memory is read anew because an hour ended meanwhile.
const TRIES: usize = 16;

/// Whose sales, when, and how they are divided.
#[derive(Deserialize)]
pub(super) struct SalesQuery {
    merchant: Option<String>,
    from_ms: Option<u64>,
    to_ms: Option<u64>,
    #[serde(default)]
    by: SalesBy,
    limit: Option<usize>,
}

/// What was asked for.
#[derive(Clone, Copy)]
struct Range {
    /// All, if none is named.
    merchant: Option<AccountId>,
    from: Hour,
    /// Not this one any more.
    to: Hour,
}

impl Range {
    fn contains(&self, sold: &SalesHour) -> bool {
        (self.from..self.to).contains(&sold.hour) && self.merchant.is_none_or(|of| of == sold.merchant)
    }

    /// Where the figures behind this one are that count, at the earliest; none if it counts.
    fn behind(&self, sold: &SalesHour) -> Option<(Hour, AccountId, ArticleId)> {
        let first = (sold.hour.max(self.from), self.merchant.unwrap_or_default(), ArticleId(0));
        match self.merchant {
            _ if sold.hour < self.from => Some(first),
            Some(merchant) if sold.merchant < merchant => Some(first),
            Some(merchant) if sold.merchant > merchant => {
                Some((Hour(sold.hour.0 + 1), merchant, ArticleId(0)))
            }
            _ => None,
        }
    }
}

/// What figures come to.
#[derive(Clone, Copy, Default)]
struct Sum {
    quantity: i64,
    orders: i64,
    revenue: i64,
}

impl Sum {
    fn add(&mut self, more: Sum) {
        self.quantity = self.quantity.saturating_add(more.quantity);
        self.orders = self.orders.saturating_add(more.orders);
        self.revenue = self.revenue.saturating_add(more.revenue);
    }
}

impl From<SalesHour> for Sum {
    fn from(sold: SalesHour) -> Sum {
        let figure = sold.figure;
        Sum { quantity: figure.quantity, orders: figure.orders.into(), revenue: figure.revenue.0 }
    }
}

/// Figures by number of the article, or of the first hour of an hour or day.
type Sums = BTreeMap<(u32, Currency), Sum>;

fn add(sums: &mut Sums, by: SalesBy, sold: SalesHour) {
    let key = match by {
        SalesBy::Article | SalesBy::Category => sold.article.0,
        SalesBy::Hour => sold.hour.0,
        SalesBy::Day => sold.hour.0 / 24 * 24,
    };
    sums.entry((key, sold.currency)).or_default().add(sold.into());
}

/// What was sold in a time, of the last day if none is named, which begins and ends with whole hours, UTC. Merchants see
/// their own sales, operators everybody's. An order counts when its money is taken.
#[utoipa::path(get, path = "/v1/sales", operation_id = "get_sales",
    params(("merchant" = Option<String>, Query), ("from_ms" = Option<u64>, Query), ("to_ms" = Option<u64>, Query),
        ("by" = Option<SalesBy>, Query), ("limit" = Option<u32>, Query)),
    responses((status = 200, body = Sales), (status = 400, body = wire::ErrorBody),
        (status = 403, body = wire::ErrorBody)))]
pub(super) async fn get(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    Query(query): Query<SalesQuery>,
) -> Result<Json<Sales>, ApiError> {
    let merchant = match &query.merchant {
        Some(text) => Some(resolve(&hub, text).await?),
        None if caller.is_operator() => None,
        None => Some(caller.account),
    };
    if !caller.is_operator() {
        caller.needs(Role::Merchant)?;
        if merchant != Some(caller.account) {
            return Err(ApiError::forbidden("these are not your sales: only operators see those of others"));
        }
    }
    let now = hub.cell.read(|state| state.now()).await?;
    let range = range(merchant, &query, now)?;
    let permit = Arc::clone(&hub.sales_scans).acquire_owned().await;
    let permit = permit.map_err(|error| ApiError::internal(&error))?;
    let (running, last) = running(&hub, range).await?;
    let (journal, by) = (hub.derived.sales.clone(), query.by);
    let scan = move || {
        let mut sums = Sums::new();
        let whole = scan(&journal, last, range, |sold| add(&mut sums, by, sold))?;
        // Here, because this goes on when nobody waits for the answer any more.
        Ok::<_, JournalError>((sums, whole, permit))
    };
    let scanned = tokio::task::spawn_blocking(scan).await.map_err(|error| ApiError::internal(&error))??;
    let (mut sums, true, _permit) = scanned else {
        return Err(ApiError::invalid(format!(
            "that is more than {FIGURES_MAX} figures: ask for a shorter time, or for one merchant"
        )));
    };
    running.into_iter().for_each(|sold| add(&mut sums, by, sold));
    let limit = query.limit.unwrap_or(100).clamp(1, ROWS_MAX);
    let totals = totals(&sums);
    let (rows, more) = rows(&hub, by, sums, limit).await?;
    let (from_ms, to_ms) = (range.from.begin().0 / 1_000_000, range.to.begin().0 / 1_000_000);
    Ok(Json(Sales { from_ms, to_ms, rows, more, totals }))
}

fn range(merchant: Option<AccountId>, query: &SalesQuery, now: Time) -> Result<Range, ApiError> {
    let hour = |ms: u64| Time(ms.saturating_mul(1_000_000)).hour();
    // An hour counts wholly that begins before the time ends.
    let to = query.to_ms.map_or(Hour(now.hour().0 + 1), |ms| Hour(hour(ms.saturating_sub(1)).0 + 1));
    let from = query.from_ms.map_or(Hour(to.0.saturating_sub(24)), hour);
    let backwards = query.from_ms.zip(query.to_ms).is_some_and(|(from, to)| from >= to);
    if backwards || from >= to || to.0 - from.0 > HOURS_MAX {
        return Err(ApiError::invalid("the time must end after it begins, 366 days later at most"));
    }
    Ok(Range { merchant, from, to })
}

/// The figures that are not in the journal yet, and the last that is.
async fn running(hub: &Hub, range: Range) -> Result<(Vec<SalesHour>, SalesId), ApiError> {
    for _ in 0..TRIES {
        let (mut found, mut after, mut last) = (Vec::new(), None, None);
        loop {
            let look = move |state: &pumasi_core::State| {
                let sold = state.market().running_sales(range.merchant, after).take(AT_ONCE);
                (sold.collect::<Vec<_>>(), state.market().last_sales())
            };
            let (sold, now_last) = hub.cell.read(look).await?;
            if *last.get_or_insert(now_last) != now_last {
                break;
            }
            let whole = sold.len() < AT_ONCE;
            after = sold.last().map(SalesHour::rank);
            found.extend(sold.into_iter().filter(|sold| range.contains(sold)));
            if whole {
                return Ok((found, now_last));
            }
        }
    }
    let message = "an hour's figures are being closed: ask again";
    Err(ApiError::new(axum::http::StatusCode::SERVICE_UNAVAILABLE, "busy", message)
        .retry_after(std::time::Duration::ZERO))
}

/// Hands over the figures of a range; false when there are too many of them. The journal is in order of hours, merchants
/// and articles, so what does not count is passed over.
fn scan(
    journal: &Journal<SalesHour>,
    last: SalesId,
    range: Range,
    mut take: impl FnMut(SalesHour),
) -> Result<bool, JournalError> {
    let first = (range.from, range.merchant.unwrap_or_default(), ArticleId(0));
    let mut at = search(journal, SalesId(1), last, first)?;
    let mut taken = 0;
    'read: while at <= last {
        let count = READ.min(last.0 + 1 - at.0);
        let mut figures = Vec::with_capacity(count as usize);
        journal.records(at, count as usize, |body| figures.extend(SalesHour::from_record(body)))?;
        for sold in figures {
            if sold.hour >= range.to {
                return Ok(true);
            }
            if let Some(behind) = range.behind(&sold) {
                at = search(journal, SalesId(sold.id.0 + 1), last, behind)?;
                continue 'read;
            }
            taken += 1;
            if taken > FIGURES_MAX {
                return Ok(false);
            }
            take(sold);
        }
        at.0 += count;
    }
    Ok(true)
}

/// The first figure from `from` on that does not come before `rank`; the one after the last if there is none.
fn search(
    journal: &Journal<SalesHour>,
    from: SalesId,
    last: SalesId,
    rank: (Hour, AccountId, ArticleId),
) -> Result<SalesId, JournalError> {
    // Steps that grow, because it is often near; then halves.
    let (mut low, mut step) = (from.0, 1);
    let mut high = last.0 + 1;
    while low < high {
        let probe = (low + step - 1).min(high - 1);
        if journal.read(SalesId(probe))?.rank() < rank {
            (low, step) = (probe + 1, step * 2);
        } else {
            high = probe;
            break;
        }
    }
    while low < high {
        let middle = low + (high - low) / 2;
        if journal.read(SalesId(middle))?.rank() < rank {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(SalesId(low))
}

fn totals(sums: &Sums) -> Vec<SalesTotal> {
    let mut totals: BTreeMap<Currency, Sum> = BTreeMap::new();
    sums.iter().for_each(|((_, currency), sum)| totals.entry(*currency).or_default().add(*sum));
    let total = |(currency, sum): (Currency, Sum)| SalesTotal {
        quantity: sum.quantity,
        revenue: currency.format_amount(Amount(sum.revenue)),
        currency: currency.code().to_owned(),
    };
    totals.into_iter().map(total).collect()
}

/// The first rows, and whether there are more.
async fn rows(hub: &Hub, by: SalesBy, sums: Sums, limit: usize) -> Result<(Vec<SalesRow>, bool), ApiError> {
    let row = |currency: Currency, sum: Sum| SalesRow {
        article: None,
        merchant: None,
        sku: None,
        category: None,
        begin_ms: None,
        quantity: sum.quantity,
        orders: sum.orders,
        revenue: currency.format_amount(Amount(sum.revenue)),
        currency: currency.code().to_owned(),
    };
    if by == SalesBy::Category {
        let mut found: Vec<_> = by_category(hub, sums).await?.into_iter().collect();
        found.sort_by_key(|(_, sum)| std::cmp::Reverse(sum.revenue));
        let more = found.len() > limit;
        let rows = found.into_iter().take(limit);
        let rows =
            rows.map(|((name, currency), sum)| SalesRow { category: Some(name), ..row(currency, sum) });
        return Ok((rows.collect(), more));
    }
    let mut found: Vec<_> = sums.into_iter().rev().collect();
    if by == SalesBy::Article {
        found.sort_by_key(|(_, sum)| std::cmp::Reverse(sum.revenue));
    }
    let more = found.len() > limit;
    found.truncate(limit);
    let look = move |state: &pumasi_core::State| {
        let row = |((key, currency), sum)| {
            let row = row(currency, sum);
            if by != SalesBy::Article {
                return SalesRow { begin_ms: Some(Hour(key).begin().0 / 1_000_000), ..row };
            }
            let (id, market) = (ArticleId(key), state.market());
            SalesRow {
                article: Some(id),
                merchant: market.article(id).map(|article| views::account_name(state, article.merchant)),
                sku: market.text(id).map(|text| text.sku.to_string()),
                category: market.text(id).map(|text| text.category.to_string()),
                ..row
            }
        };
        found.into_iter().map(row).collect()
    };
    Ok((hub.cell.read(look).await?, more))
}

/// Adds up the figures of articles by what their category is now.
async fn by_category(hub: &Hub, sums: Sums) -> Result<BTreeMap<(String, Currency), Sum>, ApiError> {
    let mut categories = BTreeMap::new();
    let sums: Vec<_> = sums.into_iter().collect();
    for sums in sums.chunks(AT_ONCE) {
        let articles: Vec<_> = sums.iter().map(|((article, _), _)| ArticleId(*article)).collect();
        let look = move |state: &pumasi_core::State| {
            let category = |id| state.market().text(id).map(|text| text.category.to_string());
            articles.into_iter().map(|id| category(id).unwrap_or_default()).collect::<Vec<_>>()
        };
        let names = hub.cell.read(look).await?;
        for (name, ((_, currency), sum)) in names.into_iter().zip(sums) {
            categories.entry((name, *currency)).or_insert_with(Sum::default).add(*sum);
        }
    }
    Ok(categories)
}

#[cfg(test)]
mod tests {
    use pumasi_core::Figure;

    use super::*;

    /// A journal of so many hours, merchants and articles, some of which sold nothing.
    fn journal(dir: &std::path::Path) -> (Journal<SalesHour>, Vec<SalesHour>) {
        let journal = Journal::open(&dir.join("sales.journal")).unwrap();
        let mut all = Vec::new();
        for hour in [10, 11, 12, 20, 21].map(Hour) {
            for merchant in (1..40).filter(|merchant| (merchant + hour.0) % 3 > 0) {
                for article in 0..(merchant * hour.0) % 37 {
                    let id = SalesId(all.len() as u64 + 1);
                    let figure = Figure { quantity: i64::from(article), revenue: Amount(5), orders: 1 };
                    let (merchant, article) = (AccountId(merchant.into()), ArticleId(article));
                    let currency = Currency::CREDIT;
                    all.push(SalesHour { id, hour, merchant, article, currency, figure });
                }
            }
        }
        journal.write(&all).unwrap();
        (journal, all)
    }

    #[test]
    fn just_what_counts_is_handed_over() {
        let dir = tempfile::tempdir().unwrap();
        let (journal, all) = journal(dir.path());
        let last = SalesId(all.len() as u64);
        for (from, to) in [(0, 100), (10, 11), (11, 21), (12, 20), (13, 20), (21, 22), (22, 30), (0, 5)] {
            for merchant in [None, Some(1), Some(2), Some(20), Some(39), Some(77)] {
                let range = Range { merchant: merchant.map(AccountId), from: Hour(from), to: Hour(to) };
                for last in [last, SalesId(0), SalesId(last.0 / 2)] {
                    let mut found = Vec::new();
                    assert!(scan(&journal, last, range, |sold| found.push(sold)).unwrap());
                    let expected = all[..last.0 as usize].iter().filter(|sold| range.contains(sold));
                    assert!(found.iter().eq(expected), "{from} to {to} of {merchant:?} up to {last}");
                }
            }
        }
    }

    #[test]
    fn times_are_whole_hours() {
        const HOUR_MS: u64 = 3_600_000;
        let query =
            |from_ms, to_ms| SalesQuery { merchant: None, from_ms, to_ms, by: SalesBy::Day, limit: None };
        let now = Time(100 * HOUR_MS * 1_000_000 + 1);
        let hours = |from, to| range(None, &query(from, to), now).map(|range| (range.from.0, range.to.0));
        assert_eq!(hours(None, None).unwrap(), (77, 101));
        assert_eq!(hours(Some(90 * HOUR_MS + 5), Some(91 * HOUR_MS)).unwrap(), (90, 91));
        assert_eq!(hours(Some(90 * HOUR_MS), Some(91 * HOUR_MS + 1)).unwrap(), (90, 92));
        assert!(hours(Some(90 * HOUR_MS), Some(90 * HOUR_MS)).is_err());
        assert!(hours(Some(0), Some(9_000 * HOUR_MS)).is_err());
        assert!(hours(Some(u64::MAX), Some(u64::MAX)).is_err());
    }
}
