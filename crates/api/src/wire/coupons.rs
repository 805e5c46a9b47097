//! JSON bodies of coupons and promotions.

use pumasi_types::{ArticleId, CouponId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A coupon or a promotion to add, or to change if the merchant has one of this code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCoupon {
    /// What its merchant calls it, and customers type: 1 to 64 bytes, unique among its coupons and promotions.
    pub code: String,
    /// Whether it is a promotion, which applies by itself; a shop has at most 32 that are not over.
    #[serde(default)]
    pub automatic: bool,
    /// What it takes off.
    pub kind: CouponKind,
    /// What it takes that off; everything when absent.
    #[serde(default)]
    pub scope: CouponScope,
    /// From when on it can be used; at once when absent.
    #[serde(default)]
    pub starts_ms: u64,
    /// From when on it is over; within ten years.
    pub ends_ms: u64,
    /// How many orders can have it; any number when absent.
    #[serde(default)]
    pub uses: Option<u32>,
    /// How many orders of one customer can have it; any number when absent.
    #[serde(default)]
    pub uses_each: Option<u32>,
}

/// What a coupon takes off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum CouponKind {
    /// A part of the price, in basis points: 1000 is a tenth.
    PercentBp(u16),
    /// So much.
    Amount {
        /// Currency code.
        currency: String,
        /// How much; never more than the articles cost.
        off: String,
        /// What the articles that it is for must cost together; nothing when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at_least: Option<String>,
    },
    /// Of so many that are bought and so many more, the latter are free: the cheapest ones of the order, as often as
    /// there are so many.
    BuyXGetY {
        /// How many are paid for.
        buy: u32,
        /// How many more cost nothing.
        free: u32,
    },
}

/// Which of its merchant's articles a coupon is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum CouponScope {
    /// All of them.
    #[default]
    All,
    /// Those of a category and of the categories in it: `office` is for `office` and `office/pens`.
    Category(String),
    /// These; at most 1,000.
    #[schema(value_type = Vec<u32>)]
    Articles(Vec<ArticleId>),
}

/// A coupon that was added or changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PutCoupon {
    /// Its code.
    pub code: String,
    /// Its number, as Arrow Flight has it.
    #[schema(value_type = u32)]
    pub coupon: CouponId,
}

/// A coupon or a promotion; thirty days after it is over it is forgotten.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Coupon {
    /// Its number.
    #[schema(value_type = u32)]
    pub id: CouponId,
    /// What it is.
    #[serde(flatten)]
    pub is: NewCoupon,
    /// How many orders have it that were not given up whole and did not expire.
    pub used: u64,
}

/// A page of a merchant's coupons and promotions, in the order of their codes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Coupons {
    /// The coupons.
    pub coupons: Vec<Coupon>,
    /// Give this as `after` to read on; none at the end.
    pub next: Option<String>,
}
