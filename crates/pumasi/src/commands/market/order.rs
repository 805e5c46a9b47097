//! `pumasi market order`: placing orders and looking at them.

use clap::{Args, Subcommand};
use pumasi_api::client::{HubClient, escape};
use pumasi_api::wire::Account;
use pumasi_api::wire::market::{NewOrder, Order, OrderResult, Orders, Parcel, Pay, SomeOf};
use pumasi_types::{Amount, Currency, OrderId, PlaceId};

use super::article::{ArticleName, Line, party};
use super::steps::StepCommand;
use crate::connect::post;
use crate::error::CliError;
use crate::output::{Output, Style, Table};
use crate::units;

pub(super) const EXAMPLES: &str = "\
Examples:
  pumasi market order place shop/tea=2 shop/book
  pumasi market order place shop/tea --id 2026-0017 --later
  pumasi market order show 7
  pumasi market order pay 7
  pumasi market order allocate 7 && pumasi market order ship 7 --carrier post
  pumasi market order scan 7 1 EMC                 its first parcel left the country
  pumasi market order deliver 7 1                  it arrived
  pumasi market order return 7 tea=1
  pumasi market order accept-return 7 --restock && pumasi market order refund 7 5000";

/// Orders that are asked for at once.
const PAGE: usize = 100;

#[derive(Debug, Subcommand)]
pub(super) enum OrderCommand {
    Place(PlaceArgs),
    /// List orders, newest first: those that you sold, or bought
    List {
        /// Those that this account bought, by name or id (storefronts and operators)
        #[arg(long, value_name = "NAME", conflicts_with = "merchant")]
        customer: Option<String>,
        /// Those that this account sold, by name or id (operators)
        #[arg(long, value_name = "NAME")]
        merchant: Option<String>,
        /// At most so many
        #[arg(long, default_value_t = 20, value_name = "N")]
        limit: usize,
    },
    /// Show an order and what became of it
    Show {
        /// Its number
        order: OrderId,
    },
    #[command(flatten)]
    Step(StepCommand),
}

/// Order articles of one merchant: all of them or none
///
/// Without --total the order costs what its articles cost now. With an id of your own it can be placed again and is the
/// same order, however often it is sent.
#[derive(Args, Debug)]
pub(super) struct PlaceArgs {
    /// So many of an article, as MERCHANT/SKU=2 or 17=2; one when it does not say how many
    #[arg(required = true, value_name = "ARTICLE=N")]
    lines: Vec<Line>,
    /// What it may cost: the hub refuses it when it costs anything else
    #[arg(long, value_name = "AMOUNT")]
    total: Option<String>,
    /// In which currency, with --total
    #[arg(long, requires = "total", value_name = "CODE")]
    currency: Option<Currency>,
    /// Your own id for it, 1 to 64 bytes
    #[arg(long)]
    id: Option<String>,
    /// Who buys and pays, by name or id (storefronts)
    #[arg(long, value_name = "NAME")]
    customer: Option<String>,
    /// Pay it in a step of its own; until then its goods are reserved for a while
    #[arg(long)]
    later: bool,
    /// The code of a coupon, with --total, which is what is left to pay
    #[arg(long, requires = "total", value_name = "CODE")]
    coupon: Option<String>,
    /// From where it is to be sent
    #[arg(long, value_name = "PLACE")]
    place: Option<PlaceId>,
}

impl OrderCommand {
    pub(super) async fn run(self, client: &HubClient, out: &Output) -> Result<(), CliError> {
        match self {
            OrderCommand::Place(args) => args.run(client, out).await,
            OrderCommand::List { customer, merchant, limit } => {
                let whose = whose(client, customer, merchant).await?;
                list(client, out, &whose, limit).await
            }
            OrderCommand::Show { order } => show(client, out, order).await,
            OrderCommand::Step(step) => step.run(client, out).await,
        }
    }
}

impl PlaceArgs {
    async fn run(self, client: &HubClient, out: &Output) -> Result<(), CliError> {
        for line in &self.lines {
            if let ArticleName::Sku { merchant: None, sku } = &line.article {
                let problem = format!("it is not said who sells '{sku}'");
                return Err(CliError::usage(problem, "name articles as MERCHANT/SKU, or by their numbers"));
            }
        }
        let (total, currency) = match (self.total, self.currency) {
            (Some(total), Some(currency)) => (total, currency),
            (total, currency) => {
                let (sum, of_articles) = cost(client, &self.lines).await?;
                (total.unwrap_or_else(|| of_articles.format_amount(sum)), currency.unwrap_or(of_articles))
            }
        };
        let order = NewOrder {
            id: self.id,
            customer: self.customer.as_deref().map(party),
            currency: currency.code().to_owned(),
            total,
            coupon: self.coupon,
            place: self.place,
            pay: if self.later { Pay::Later } else { Pay::Now },
            lines: self.lines.into_iter().map(Line::ordered).collect(),
        };
        let placed: OrderResult = post(client, "/v1/orders", &order, "place the order".to_owned()).await?;
        if out.json {
            return out.value(&placed);
        }
        out.note(&format!("placed an order for {} {}:", order.total, order.currency));
        out.line(&placed.order.map_or_else(String::new, |id| id.to_string()))
    }
}

/// What lines come to now.
async fn cost(client: &HubClient, lines: &[Line]) -> Result<(Amount, Currency), CliError> {
    let strange = |article: &ArticleName| {
        CliError::usage(
            format!("the price of article {article} cannot be added up"),
            "give --total and --currency",
        )
    };
    let mut sum: Option<(Amount, Currency)> = None;
    for line in lines {
        let article = line.article.find(client).await?;
        let failed = || strange(&line.article);
        let currency: Currency = article.currency.parse().map_err(|_| failed())?;
        let price = currency.parse_amount(&article.price).map_err(|_| failed())?;
        let (before, of_sum) = sum.unwrap_or((Amount::ZERO, currency));
        let cost = price.0.checked_mul(i64::from(line.quantity)).and_then(|cost| cost.checked_add(before.0));
        sum = Some((Amount(cost.filter(|_| of_sum == currency).ok_or_else(failed)?), currency));
    }
    sum.ok_or_else(|| CliError::usage("there is no article", "name what is ordered"))
}

/// Whose orders are meant, as it stands in a query: those that the caller sold, if it sells, else bought.
async fn whose(
    client: &HubClient,
    customer: Option<String>,
    merchant: Option<String>,
) -> Result<String, CliError> {
    Ok(match (customer, merchant) {
        (Some(name), _) => format!("&customer={}", escape(&name)),
        (None, Some(name)) => format!("&merchant={}", escape(&name)),
        (None, None) => {
            let me: Account = client.get("/v1/me").await.map_err(CliError::hub("ask for your account"))?;
            let sells = me.roles.iter().any(|role| role == "merchant");
            if sells { format!("&merchant={}", escape(&me.name)) } else { String::new() }
        }
    })
}

async fn list(client: &HubClient, out: &Output, whose: &str, limit: usize) -> Result<(), CliError> {
    let mut orders: Vec<Order> = Vec::new();
    let mut before = String::new();
    let more = loop {
        let wanted = limit.saturating_sub(orders.len()).clamp(1, PAGE);
        let path = format!("/v1/orders?limit={wanted}{whose}{before}");
        let page: Orders = client.get(&path).await.map_err(CliError::hub("list orders"))?;
        orders.extend(page.orders);
        match page.next {
            Some(next) if orders.len() < limit => before = format!("&before={next}"),
            next => break next.is_some(),
        }
    };
    out.show(&orders, "there are no orders: `pumasi market order place` places one", || {
        let mut table =
            Table::new(&[">ORDER", "STATE", "CUSTOMER", "MERCHANT", ">TOTAL", "CURRENCY", "PLACED"]);
        for order in &orders {
            let plain = |text: String| (text, Style::Plain);
            table.styled_row([
                plain(order.id.to_string()),
                (state(order), Style::of_state(&order.state)),
                plain(order.customer.clone()),
                plain(order.merchant.clone()),
                plain(order.total.clone()),
                plain(order.currency.clone()),
                plain(units::moment(order.placed_ms)),
            ]);
        }
        table
    })?;
    if more && !out.json {
        out.note("there are more: raise --limit");
    }
    Ok(())
}

async fn show(client: &HubClient, out: &Output, id: OrderId) -> Result<(), CliError> {
    let failed = CliError::hub(format!("show order {id}"));
    let order: Order = client.get(&format!("/v1/orders/{id}")).await.map_err(failed)?;
    if out.json {
        return out.value(&order);
    }
    out.table(&facts(&order))?;
    out.line("")?;
    out.table(&lines(&order))?;
    if !order.parcels.is_empty() {
        out.line("")?;
        out.table(&parcels(&order))?;
    }
    Ok(())
}

/// A state as people say it.
fn state(order: &Order) -> String {
    order.state.replace('_', " ")
}

fn facts(order: &Order) -> Table {
    let money = |amount: &str| format!("{amount} {}", order.currency);
    let mut facts = vec![
        ("order", order.id.to_string()),
        ("customer", order.customer.clone()),
        ("merchant", order.merchant.clone()),
        ("state", state(order)),
        ("total", format!("{}, with {} tax and {} fee", money(&order.total), order.tax, order.fee)),
    ];
    if let Some((discount, coupon)) = order.discount.as_ref().zip(order.coupon) {
        facts.push(("discount", format!("{} by coupon {coupon}", money(discount))));
    }
    facts.push(("paid out", money(&order.paid_out)));
    if order.refunded.bytes().any(|byte| matches!(byte, b'1'..=b'9')) {
        facts.push(("refunded", money(&order.refunded)));
    }
    facts.push(("placed", units::moment(order.placed_ms)));
    if let Some(due_ms) = order.due_ms {
        let what = match order.state.as_str() {
            "placed" => "expires",
            "shipped" => "taken to arrive",
            _ => "completed",
        };
        facts.push((what, units::moment(due_ms)));
    }
    if let Some(until_ms) = order.returns_until_ms {
        facts.push(("returns until", units::moment(until_ms)));
    }
    Table::facts(facts)
}

fn lines(order: &Order) -> Table {
    let columns = [">ARTICLE", "SKU", ">QUANTITY", ">PRICE", ">PLACE", ">SHIPPED", ">TO RETURN", ">RETURNED"];
    let mut table = Table::new(&columns);
    for line in &order.lines {
        table.row([
            line.article.to_string(),
            line.sku.clone(),
            line.quantity.to_string(),
            line.price.clone(),
            line.place.to_string(),
            line.shipped.to_string(),
            line.to_return.to_string(),
            line.returned.to_string(),
        ]);
    }
    table
}

/// Where a parcel is that has not arrived.
fn on_its_way(parcel: &Parcel) -> String {
    parcel.status.as_ref().map_or_else(|| "on its way".to_owned(), |status| status.replace('_', " "))
}

fn parcels(order: &Order) -> Table {
    let mut table = Table::new(&[">PARCEL", "CARRIER", "TRACKING", "SENT", "DELIVERED", "CONTENT"]);
    let content = |some: &SomeOf| {
        let line = order.lines.iter().find(|line| Some(line.article) == some.article);
        format!("{} {}", some.quantity, line.map(|line| line.sku.as_str()).unwrap_or_default())
    };
    for parcel in &order.parcels {
        let lines: Vec<_> = parcel.lines.iter().map(content).collect();
        let arrived = parcel.delivered_ms.map(units::moment);
        let style = if arrived.is_some() { Style::Good } else { Style::Busy };
        table.styled_row([
            (parcel.parcel.to_string(), Style::Plain),
            (parcel.carrier.clone(), Style::Plain),
            (parcel.tracking.clone(), Style::Plain),
            (units::moment(parcel.sent_ms), Style::Plain),
            (arrived.unwrap_or_else(|| on_its_way(parcel)), style),
            (lines.join(", "), Style::Plain),
        ]);
    }
    table
}
