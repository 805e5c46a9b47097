//! JSON bodies that tell how selling goes at this moment.

use std::collections::BTreeMap;

use pumasi_types::ArticleId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How selling goes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MarketLive {
    /// When that was.
    pub time_ms: u64,
    /// Orders of everybody since the hub started; operators only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub orders: Option<LiveOrders>,
    /// How long orders waited for their answers lately; none if there were none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<LiveLatency>,
    /// When the hour began that the rest is of, on the log's clock.
    pub hour_ms: u64,
    /// In how many orders each article was, added up.
    pub lines: i64,
    /// How many of all articles were sold.
    pub quantity: i64,
    /// What customers paid, less what was given up or went back.
    pub revenue: Vec<LiveRevenue>,
    /// What sold best, by quantity.
    pub top: Vec<LiveArticle>,
    /// How many articles were sold and are out of stock now.
    pub stock_outs: u64,
    /// Those of them that sold best.
    pub out_of_stock: Vec<LiveArticle>,
}

/// Orders by what came of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LiveOrders {
    /// How many were placed.
    pub placed: u64,
    /// How many were refused, by the code of the refusal; `overloaded` did not get to the cell.
    pub refused: BTreeMap<String, u64>,
}

/// How long orders waited for their answers, from when they were read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LiveLatency {
    /// In the last so many seconds.
    pub window_s: u64,
    /// Half of them at most so long.
    pub p50_ms: f64,
    /// 99 of 100 at most so long.
    pub p99_ms: f64,
}

/// What was sold in one currency.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LiveRevenue {
    /// Currency code.
    pub currency: String,
    /// How much.
    pub amount: String,
}

/// What was sold of an article.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LiveArticle {
    /// Its id.
    #[schema(value_type = u32)]
    pub article: ArticleId,
    /// Name of the account that sells it.
    pub merchant: String,
    /// What its merchant calls it.
    pub sku: String,
    /// How many, less those that were cancelled.
    pub quantity: i64,
    /// What customers paid for them.
    pub revenue: String,
    /// Currency code.
    pub currency: String,
    /// How many can be sold still; none when it is not counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub available: Option<u64>,
}
