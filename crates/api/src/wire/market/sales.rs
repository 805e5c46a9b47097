//! JSON of what was sold.

use pumasi_types::ArticleId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What figures are divided by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SalesBy {
    /// Each article; the one with most revenue first.
    #[default]
    Article,
    /// The articles of each category; the one with most revenue first.
    Category,
    /// Each hour, UTC, the newest first.
    Hour,
    /// Each day, UTC, the newest first.
    Day,
}

/// What was sold in a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Sales {
    /// When the time begins: a whole hour.
    pub from_ms: u64,
    /// When it ends: a whole hour, which may be in the future.
    pub to_ms: u64,
    /// The figures.
    pub rows: Vec<SalesRow>,
    /// Whether there are more than fit the limit.
    pub more: bool,
    /// What all of it comes to, in each currency.
    pub totals: Vec<SalesTotal>,
}

/// What was sold of something. What was cancelled, returned or refunded counts against the time in which that happened,
/// so that figures can be negative.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SalesRow {
    /// The article.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>)]
    pub article: Option<ArticleId>,
    /// Who sells the article.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merchant: Option<String>,
    /// What its merchant calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sku: Option<String>,
    /// The category.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// When the hour or day begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begin_ms: Option<u64>,
    /// How many were sold.
    pub quantity: i64,
    /// In how many orders; an order of two articles counts for both.
    pub orders: i64,
    /// What customers paid, tax contained.
    pub revenue: String,
    /// In which currency.
    pub currency: String,
}

/// What everything comes to in a currency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SalesTotal {
    /// How many were sold.
    pub quantity: i64,
    /// What customers paid, tax contained.
    pub revenue: String,
    /// In which currency.
    pub currency: String,
}
