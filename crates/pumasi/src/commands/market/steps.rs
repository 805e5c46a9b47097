//! `pumasi market order pay`, `ship` and the other steps of an order.

use clap::Subcommand;
use pumasi_api::client::HubClient;
use pumasi_api::wire::market::{
    AcceptReturn, DeliverParcel, OrderStepped, RefundOrder, ReturnOrder, ScanParcel, ShipOrder, SomeOf,
};
use pumasi_types::{OrderId, ParcelId};
use serde::Serialize;

use super::article::{Line, party};
use crate::connect::post;
use crate::error::CliError;
use crate::output::Output;

#[derive(Debug, Subcommand)]
pub(super) enum StepCommand {
    /// Pay an order that was placed to be paid later (its customer)
    Pay {
        /// Its number
        order: OrderId,
    },
    /// Begin to get an order ready, so that its customer cannot cancel it any more (its merchant)
    Allocate {
        /// Its number
        order: OrderId,
    },
    /// Send a parcel with all that is left of an order, or with some of it (its merchant)
    Ship {
        /// Its number
        order: OrderId,
        /// Only so many of these, as SKU=2 or 17=2
        #[arg(value_name = "ARTICLE=N")]
        lines: Vec<Line>,
        /// Who carries it, by name or id; by default yourself
        #[arg(long, value_name = "NAME")]
        carrier: Option<String>,
        /// What the carrier calls it
        #[arg(long, default_value = "", hide_default_value = true, value_name = "NUMBER")]
        tracking: String,
    },
    /// Say that a parcel has arrived (its carrier, or the merchant)
    Deliver {
        /// The order's number
        order: OrderId,
        /// Which of its parcels: 1 is the first
        parcel: ParcelId,
    },
    /// Report what happened to a parcel on its way (its carrier)
    Scan {
        /// The order's number
        order: OrderId,
        /// Which of its parcels: 1 is the first
        parcel: ParcelId,
        /// Event code of the Universal Postal Union (M40), as EMC; EMI delivers it
        code: String,
    },
    /// Say that all is well, or that you keep what you wanted to return (its customer)
    Complete {
        /// Its number
        order: OrderId,
    },
    /// Give up what is not shipped of an order; its money goes back (its customer before it is allocated, or its merchant)
    Cancel {
        /// Its number
        order: OrderId,
    },
    /// Ask to give all of an order back, or some of it (its customer)
    Return {
        /// Its number
        order: OrderId,
        /// Only so many of these, as SKU=2 or 17=2
        #[arg(value_name = "ARTICLE=N")]
        lines: Vec<Line>,
    },
    /// Have all that was to be returned, or some of it (its merchant)
    AcceptReturn {
        /// Its number
        order: OrderId,
        /// Only so many of these, as SKU=2 or 17=2
        #[arg(value_name = "ARTICLE=N")]
        lines: Vec<Line>,
        /// It lies again where it was sent from, to be sold once more
        #[arg(long)]
        restock: bool,
    },
    /// Do not take back what its customer wants to return (its merchant)
    RefuseReturn {
        /// Its number
        order: OrderId,
    },
    /// Give money of an order back to its customer (its merchant)
    Refund {
        /// Its number
        order: OrderId,
        /// How much, in the order's currency; at most what was paid out and not refunded yet
        amount: String,
    },
}

async fn some(client: &HubClient, lines: Vec<Line>) -> Result<Vec<SomeOf>, CliError> {
    let mut some = Vec::new();
    for line in lines {
        some.push(line.of_order(client).await?);
    }
    Ok(some)
}

impl StepCommand {
    pub(super) async fn run(self, client: &HubClient, out: &Output) -> Result<(), CliError> {
        use StepCommand as Step;
        let (stepped, said) = match self {
            Step::Pay { order } => (step(client, order, "pay", &()).await?, "paid"),
            Step::Allocate { order } => (step(client, order, "allocate", &()).await?, "allocated"),
            Step::Ship { order, lines, carrier, tracking } => {
                let carrier = carrier.as_deref().map(party);
                let body = ShipOrder { carrier, tracking, lines: some(client, lines).await? };
                (step(client, order, "ship", &body).await?, "shipped")
            }
            Step::Deliver { order, parcel } => {
                let body = DeliverParcel { parcel };
                (step(client, order, "deliver", &body).await?, "delivered a parcel of")
            }
            Step::Scan { order, parcel, code } => {
                let body = ScanParcel { parcel, code };
                (step(client, order, "scan", &body).await?, "reported a parcel of")
            }
            Step::Complete { order } => (step(client, order, "complete", &()).await?, "completed"),
            Step::Cancel { order } => (step(client, order, "cancel", &()).await?, "cancelled"),
            Step::Return { order, lines } => {
                let body = ReturnOrder { lines: some(client, lines).await? };
                (step(client, order, "return", &body).await?, "asked to return")
            }
            Step::AcceptReturn { order, lines, restock } => {
                let body = AcceptReturn { lines: some(client, lines).await?, restock };
                (step(client, order, "accept-return", &body).await?, "accepted the return of")
            }
            Step::RefuseReturn { order } => {
                (step(client, order, "refuse-return", &()).await?, "refused the return of")
            }
            Step::Refund { order, amount } => {
                (step(client, order, "refund", &RefundOrder { amount }).await?, "refunded")
            }
        };
        let what = match (stepped.parcel, stepped.transfer) {
            (Some(parcel), _) => format!(": parcel {parcel}"),
            (None, Some(transfer)) => format!(": transfer {transfer}"),
            (None, None) => String::new(),
        };
        out.told(&stepped, &format!("{said} order {}{what}", stepped.order))
    }
}

async fn step<B: Serialize>(
    client: &HubClient,
    order: OrderId,
    step: &str,
    body: &B,
) -> Result<OrderStepped, CliError> {
    let operation = format!("{} order {order}", step.replace('-', " "));
    post(client, &format!("/v1/orders/{order}/{step}"), body, operation).await
}
