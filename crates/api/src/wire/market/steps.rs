//! JSON bodies of the steps of an order.

use pumasi_types::{ArticleId, OrderId, ParcelId, TransferId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Party;
use crate::wire::ErrorBody;

/// Steps of one list at most.
pub const STEPS_MAX: usize = 1_000;

/// So many of an article of an order, named by its id, or by its merchant's SKU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SomeOf {
    /// The article's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>)]
    pub article: Option<ArticleId>,
    /// What its merchant calls it, when no id is given; parcels have ids.
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

/// What can be done with an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "step", rename_all = "kebab-case")]
pub enum Step {
    /// Pays it, which was placed to be paid later; its customer, or a storefront.
    Pay,
    /// Begins to get it ready; its merchant.
    Allocate,
    /// Sends a parcel; its merchant.
    Ship(ShipOrder),
    /// Says that a parcel has arrived; its carrier, or the merchant.
    Deliver(DeliverParcel),
    /// Says what happened to a parcel; its carrier.
    Scan(ScanParcel),
    /// Says that all is well; its customer, or a storefront.
    Complete,
    /// Gives up what is not shipped; its customer, a storefront, or the merchant.
    Cancel,
    /// Asks to give some of it back; its customer, or a storefront.
    Return(ReturnOrder),
    /// Has some of it back; its merchant.
    AcceptReturn(AcceptReturn),
    /// Does not take it back; its merchant.
    RefuseReturn,
    /// Gives money back; its merchant.
    Refund(RefundOrder),
}

/// One of a list of steps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ListedStep {
    /// Of which order.
    #[schema(value_type = u64)]
    pub order: OrderId,
    /// What is to be done, and what belongs to that.
    #[serde(flatten)]
    pub step: Step,
}

/// What came of one of a list of steps: it was done if there is no error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StepResult {
    /// What it led to.
    #[serde(flatten)]
    pub stepped: OrderStepped,
    /// Why it was not done, and nothing changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorBody>,
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
