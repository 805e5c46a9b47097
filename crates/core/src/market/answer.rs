//! What one order is answered: its number, or why it was refused.

use pumasi_types::{AccountId, Amount, ArticleId, CouponId, Currency, OrderId, Time};
use serde::{Deserialize, Serialize};

/// What came of one order of a batch.
///
/// The order of variants is part of the stored format: append, never reorder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OrderAnswer {
    /// It was placed under this number.
    Placed(OrderId),
    /// It was not placed, and nothing changed.
    Refused(OrderRefusal),
}

impl OrderAnswer {
    /// The order that was placed.
    pub fn placed(&self) -> Option<OrderId> {
        match self {
            OrderAnswer::Placed(id) => Some(*id),
            OrderAnswer::Refused(_) => None,
        }
    }
}

/// Why an order was refused.
///
/// The order of variants is part of the stored format: append, never reorder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum OrderRefusal {
    /// The key was used for another order.
    #[error("this order id was used before for another order: choose a new one")]
    KeyConflict,
    /// The caller may not order for this customer.
    #[error("orders for others need the role storefront, and are for accounts that only buy")]
    NotYours,
    /// No such customer.
    #[error("there is no account {account}")]
    NoCustomer {
        /// Who.
        account: AccountId,
    },
    /// No such article, or it is not sold any more.
    #[error("article {article} is not for sale")]
    NoArticle {
        /// Which.
        article: ArticleId,
    },
    /// A quantity of none, or too many.
    #[error("the quantity of article {article} must be 1 to 1000000")]
    BadQuantity {
        /// Of what.
        article: ArticleId,
    },
    /// Articles of several merchants.
    #[error("article {article} is another merchant's: order it in an order of its own")]
    SeveralMerchants {
        /// The first of another merchant.
        article: ArticleId,
    },
    /// The customer's own articles.
    #[error("nobody buys from themselves")]
    OwnArticle,
    /// An article is sold in another currency.
    #[error("article {article} is sold in another currency")]
    OtherCurrency {
        /// Which.
        article: ArticleId,
    },
    /// Not enough stock.
    #[error("only {available} of article {article} are left")]
    NotEnoughStock {
        /// Of what.
        article: ArticleId,
        /// How many one place could still send.
        available: u32,
    },
    /// The customer was shown another total.
    #[error("the total is another one now: show the customer the new one and order anew")]
    OtherTotal {
        /// What it costs, in minor units.
        total: Amount,
    },
    /// The total leaves the range of money.
    #[error("the total is beyond the range of money")]
    TotalTooLarge,
    /// Not enough money.
    #[error("the customer has not enough money")]
    NotEnoughMoney {
        /// What the customer has, in minor units.
        available: Amount,
    },
    /// No such coupon of this merchant, or it was over long ago.
    #[error("there is no coupon {coupon} of this merchant")]
    NoCoupon {
        /// Which.
        coupon: CouponId,
    },
    /// The coupon's time has not come.
    #[error("coupon {coupon} cannot be used yet")]
    CouponNotYet {
        /// Which.
        coupon: CouponId,
        /// From when on, in log time.
        starts: Time,
    },
    /// The coupon's time is over.
    #[error("coupon {coupon} is over")]
    CouponOver {
        /// Which.
        coupon: CouponId,
    },
    /// As many orders as can have the coupon have it.
    #[error("coupon {coupon} is used up")]
    CouponUsedUp {
        /// Which.
        coupon: CouponId,
    },
    /// The customer has used it as often as each can.
    #[error("the customer has used coupon {coupon} before")]
    CouponUsed {
        /// Which.
        coupon: CouponId,
    },
    /// Nothing of the order is what the coupon is for.
    #[error("coupon {coupon} is not for these articles")]
    CouponNotForThese {
        /// Which.
        coupon: CouponId,
    },
    /// What the coupon is for costs too little.
    #[error(
        "the order has too little of what coupon {coupon} is for: it must cost {} {currency} at least", currency.format_amount(*at_least)
    )]
    CouponBelow {
        /// Which.
        coupon: CouponId,
        /// What it must cost, in minor units.
        at_least: Amount,
        /// In which currency.
        currency: Currency,
    },
    /// There is too little of what the coupon is for.
    #[error("the order has too little of what coupon {coupon} is for: it takes {at_least} at least")]
    CouponTooFew {
        /// Which.
        coupon: CouponId,
        /// How many it takes.
        at_least: u64,
    },
    /// The caller, who is no storefront, sent as many as are remembered.
    #[error(
        "only 100000 orders in two days are taken from one account: with the role storefront there can be more"
    )]
    TooMany,
}

impl OrderRefusal {
    /// A stable code for programs.
    pub fn code(&self) -> &'static str {
        match self {
            OrderRefusal::KeyConflict => "order_conflict",
            OrderRefusal::NotYours => "not_yours",
            OrderRefusal::NoCustomer { .. } => "no_account",
            OrderRefusal::NoArticle { .. } => "no_article",
            OrderRefusal::BadQuantity { .. } => "bad_quantity",
            OrderRefusal::SeveralMerchants { .. } => "several_merchants",
            OrderRefusal::OwnArticle => "own_article",
            OrderRefusal::OtherCurrency { .. } => "other_currency",
            OrderRefusal::NotEnoughStock { .. } => "not_enough_stock",
            OrderRefusal::OtherTotal { .. } => "other_total",
            OrderRefusal::TotalTooLarge => "total_too_large",
            OrderRefusal::NotEnoughMoney { .. } => "not_enough_money",
            OrderRefusal::NoCoupon { .. } => "no_coupon",
            OrderRefusal::CouponNotYet { .. } => "coupon_not_yet",
            OrderRefusal::CouponOver { .. } => "coupon_over",
            OrderRefusal::CouponUsedUp { .. } => "coupon_used_up",
            OrderRefusal::CouponUsed { .. } => "coupon_used",
            OrderRefusal::CouponNotForThese { .. } => "coupon_not_for_these",
            OrderRefusal::CouponBelow { .. } => "coupon_below",
            OrderRefusal::CouponTooFew { .. } => "coupon_too_few",
            OrderRefusal::TooMany => "too_many_orders",
        }
    }
}
