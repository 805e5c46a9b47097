//! JSON bodies of the steps of an order.

use pumasi_types::{ArticleId, OrderId, ParcelId, TransferId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Party;

/// So many of an article of an order, named by its id, or by its merchant's SKU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SomeOf {
    /// The article's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>)]
    pub article: Option<ArticleId>,
    /// What its merchant calls it, when no id is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sku: Option<String>,
    /// How many.
    pub quantity: u32,
}

/// A parcel to send; its merchant only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ShipOrder {
    /// Who carries it: an account with the role carrier; the merchant itself when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub carrier: Option<Party>,
    /// What the carrier calls it, at most 64 bytes.
    #[serde(default)]
    pub tracking: String,
    /// What is in it; all that is left when empty or absent.
    #[serde(default)]
    pub lines: Vec<SomeOf>,
}

/// A parcel that has arrived; its carrier, or the merchant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeliverParcel {
    /// Which of the order's.
    #[schema(value_type = u32)]
    pub parcel: ParcelId,
}

/// What a carrier reports of a parcel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ScanParcel {
    /// Which of the order's.
    #[schema(value_type = u32)]
    pub parcel: ParcelId,
    /// An event code of the Universal Postal Union (M40), such as `EMC`; `EMI` delivers it.
    pub code: String,
}

/// What a customer wants to give back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReturnOrder {
    /// What, and how many; all that can be when empty or absent.
    #[serde(default)]
    pub lines: Vec<SomeOf>,
}

/// What a merchant has back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AcceptReturn {
    /// What, and how many; all that was asked for when empty or absent.
    #[serde(default)]
    pub lines: Vec<SomeOf>,
    /// Whether it lies again where it was sent from, to be sold once more; not when absent.
    #[serde(default)]
    pub restock: bool,
}

/// Money to give back; the order's merchant only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RefundOrder {
    /// How much, in the order's currency; at most what was paid out and did not go back yet.
    pub amount: String,
}

/// A step that an order was taken further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OrderStepped {
    /// Which order.
    #[schema(value_type = u64)]
    pub order: OrderId,
    /// The number that the parcel got which was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>)]
    pub parcel: Option<ParcelId>,
    /// The transfer that gave money back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    pub transfer: Option<TransferId>,
}
