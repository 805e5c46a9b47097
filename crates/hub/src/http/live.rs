//! How selling goes at this moment, cheap enough to be asked for every second.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use pumasi_api::wire::ErrorBody;
use pumasi_api::wire::market::{LiveArticle, LiveLatency, LiveOrders, LiveRevenue, MarketLive};
use pumasi_core::{Article, Role, SalesHour, Shelf, Tracking};
use pumasi_types::{AccountId, Amount, ArticleId, Currency, Hour};
use serde::Deserialize;

use super::extract::{Caller, Query};
use super::{ApiError, accounts, views};
use crate::cell;
use crate::live::{Latency, WINDOW_S};
use crate::server::Hub;

/// Figures that are looked at at once: the loop waits meanwhile.
const TOGETHER: usize = 4_096;
/// Most articles in each list of an answer.
const TOP_MAX: usize = 100;

/// Where a figure stands among all.
type Rank = (Hour, AccountId, ArticleId);

/// Whose sales, and how many articles.
#[derive(Deserialize)]
pub(super) struct LiveQuery {
    merchant: Option<String>,
    top: Option<usize>,
}

/// How selling goes: this hour's sales of the caller, or of anybody or all for operators, who also see what came of
/// all orders.
#[utoipa::path(get, path = "/v1/market/live", operation_id = "get_market_live",
    params(("merchant" = Option<String>, Query), ("top" = Option<u32>, Query)),
    responses((status = 200, body = MarketLive), (status = 403, body = ErrorBody)))]
pub(super) async fn live(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    Query(query): Query<LiveQuery>,
) -> Result<Json<MarketLive>, ApiError> {
    let named = match &query.merchant {
        Some(text) => Some(accounts::resolve(&hub, text).await?),
        None => None,
    };
    let merchant = if caller.is_operator() { named } else { Some(named.unwrap_or(caller.account)) };
    if !caller.is_operator() && merchant != Some(caller.account) {
        return Err(ApiError::forbidden("only operators see how others sell"));
    }
    if !caller.is_operator() {
        caller.needs(Role::Merchant)?;
    }
    let sales = sales(&hub, merchant, query.top.unwrap_or(10).min(TOP_MAX)).await?;
    let (totals, lately) = hub.live.now();
    let orders = LiveOrders {
        placed: totals.placed,
        refused: totals.refused.into_iter().map(|(code, count)| (code.to_owned(), count)).collect(),
    };
    let ms = |span: std::time::Duration| span.as_micros() as f64 / 1e3;
    let latency = |Latency { p50, p99 }| LiveLatency { window_s: WINDOW_S, p50_ms: ms(p50), p99_ms: ms(p99) };
    Ok(Json(MarketLive {
        time_ms: cell::now().0 / 1_000_000,
        orders: caller.is_operator().then_some(orders),
        latency: lately.map(latency),
        ..sales
    }))
}

/// The sales of this hour.
async fn sales(hub: &Hub, merchant: Option<AccountId>, most: usize) -> Result<MarketLive, ApiError> {
    // One at a time, so that a crowd that watches takes no more from orders than one of them.
    let _turn = hub.live.turn.lock().await;
    let mut sum = Sum { most, hour: cell::now().hour(), ..Sum::default() };
    let mut after = None;
    loop {
        let look = move |state: &pumasi_core::State| {
            let mut sum = sum;
            let last = sum.add(state, merchant, after);
            (sum, last)
        };
        (sum, after) = hub.cell.read(look).await?;
        if after.is_none() {
            return Ok(hub.cell.read(move |state| sum.told(state)).await?);
        }
    }
}

/// What was sold in one hour.
#[derive(Default)]
struct Sum {
    hour: Hour,
    lines: i64,
    quantity: i64,
    revenue: BTreeMap<Currency, Amount>,
    top: Best,
    stock_outs: u64,
    out: Best,
    /// Articles of each list.
    most: usize,
}

/// The articles that sold best, the worst of them first.
type Best = BinaryHeap<Reverse<(i64, ArticleId, Sold)>>;

/// What was sold of an article.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Sold {
    revenue: Amount,
    currency: Currency,
    left: Option<u64>,
}

/// How many of an article can be sold still; none when it is not counted.
fn left(article: &Article) -> Option<u64> {
    let more = match article.tracking() {
        Tracking::Untracked => return None,
        Tracking::Counted => 0,
        Tracking::Backorder(more) => more,
    };
    let promised = |shelf: &Shelf| {
        (u64::from(shelf.on_hand) + u64::from(more)).saturating_sub(u64::from(shelf.reserved))
    };
    Some(article.shelves().map(promised).sum())
}

impl Sum {
    /// Adds the figures that come next; behind which one to go on, unless that was all.
    fn add(
        &mut self,
        state: &pumasi_core::State,
        merchant: Option<AccountId>,
        after: Option<Rank>,
    ) -> Option<Rank> {
        let mut next = None;
        let figures = state.market().running_sales(merchant, after);
        for (count, sales) in (1..).zip(figures.take(TOGETHER)) {
            next = (count == TOGETHER).then(|| sales.rank());
            if sales.hour > self.hour {
                *self = Sum { hour: sales.hour, most: self.most, ..Sum::default() };
            }
            if sales.hour == self.hour {
                self.count(state, &sales);
            }
        }
        next
    }

    fn count(&mut self, state: &pumasi_core::State, sales: &SalesHour) {
        let SalesHour { article, currency, figure, .. } = *sales;
        self.lines += i64::from(figure.orders);
        self.quantity = self.quantity.saturating_add(figure.quantity);
        let revenue = self.revenue.entry(currency).or_default();
        revenue.0 = revenue.0.saturating_add(figure.revenue.0);
        let left = state.market().article(article).and_then(left);
        let sold = Sold { revenue: figure.revenue, currency, left };
        let keep = |best: &mut Best| {
            best.push(Reverse((figure.quantity, article, sold)));
            if best.len() > self.most {
                best.pop();
            }
        };
        keep(&mut self.top);
        if left == Some(0) {
            self.stock_outs += 1;
            keep(&mut self.out);
        }
    }

    fn told(self, state: &pumasi_core::State) -> MarketLive {
        let market = state.market();
        let article = |Reverse((quantity, article, sold)): Reverse<(i64, ArticleId, Sold)>| LiveArticle {
            article,
            merchant: market
                .article(article)
                .map_or_else(String::new, |one| views::account_name(state, one.merchant)),
            sku: market.text(article).map(|text| text.sku.to_string()).unwrap_or_default(),
            quantity,
            revenue: sold.currency.format_amount(sold.revenue),
            currency: sold.currency.code().to_owned(),
            available: sold.left,
        };
        // The order of what is greatest when reversed: the best first.
        let list = |best: Best| best.into_sorted_vec().into_iter().map(article).collect();
        let revenue = |(currency, amount): (Currency, Amount)| LiveRevenue {
            currency: currency.code().to_owned(),
            amount: currency.format_amount(amount),
        };
        MarketLive {
            hour_ms: self.hour.begin().0 / 1_000_000,
            lines: self.lines,
            quantity: self.quantity,
            revenue: self.revenue.into_iter().map(revenue).collect(),
            top: list(self.top),
            stock_outs: self.stock_outs,
            out_of_stock: list(self.out),
            ..MarketLive::default()
        }
    }
}
