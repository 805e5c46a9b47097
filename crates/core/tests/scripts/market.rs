//! The lines of scripts that sell and order goods.

use std::fmt::Write as _;

use pumasi_core::{
    ArticleSpec, Command, Figure, MarketTerms, OrderAnswer, OrderBatch, OrderLines, OrderSpec, OrderState,
    OrderStep, OrderView, Party, Rate, SettleAt, Shipment, ShopTerms, State, StockChange, Tracking,
};
use pumasi_types::{AccountId, Amount, ArticleId, CouponId, Currency, Hash, OrderId, PlaceId, RequestId};

use super::{Args, BEGIN, Outcome, Pool, duration, list, next, span};

impl Pool {
    pub(super) fn sell(&mut self, name: &str, args: &mut Args<'_>) -> Outcome<String> {
        match name {
            "market" => {
                let fee = rate(args.take_key("fee"))?;
                let fee_to = self.account(args.take_key("fee_to").ok_or("fee_to is missing")?)?;
                let tax_to = self.account(args.take_key("tax_to").ok_or("tax_to is missing")?)?;
                self.ask(State::SYSTEM, args, Command::SetMarket(MarketTerms { fee_to, tax_to, fee }))
            }
            "shop" => {
                let merchant = self.account(next(args, "whose")?)?;
                let settle_at = match args.take_key("settle") {
                    Some("placing") => SettleAt::Placing,
                    _ => SettleAt::Shipping,
                };
                let mut time = |key, otherwise| duration(args.take_key(key).unwrap_or(otherwise));
                let (reservation, completion) = (time("reservation", "30m")?, time("completion", "7d")?);
                let terms =
                    ShopTerms { settle_at, reservation, completion, returns: time("returns", "14d")? };
                self.ask(merchant, args, Command::SetShop(terms))
            }
            "article" => {
                let merchant = self.account(next(args, "whose")?)?;
                let spec = article(args)?;
                self.ask(merchant, args, Command::PutArticles(vec![spec]))
            }
            "stock" => {
                let merchant = self.account(next(args, "whose")?)?;
                let article = self.article(merchant, next(args, "article")?)?;
                let place = PlaceId(args.take_key("at").unwrap_or("1").parse()?);
                let change = stock_change(args)?;
                self.ask(merchant, args, Command::ChangeStock(vec![(article, place, change)]))
            }
            "fill" => {
                let caller = self.account(next(args, "who orders")?)?;
                let batch = refused(caller, next(args, "how many")?.parse()?);
                self.ask(caller, args, Command::PlaceOrders(batch)).map(|_| String::new())
            }
            _ => {
                let caller = self.account(next(args, "who orders")?)?;
                let batch = self.batch(caller, args)?;
                self.ask(caller, args, Command::PlaceOrders(batch))
            }
        }
    }

    /// A step of an order: `WORD CALLER ORDER …`.
    pub(super) fn go_on(&mut self, name: &str, args: &mut Args<'_>) -> Outcome<String> {
        let caller = self.account(next(args, "who asks")?)?;
        let order: OrderId = next(args, "order")?.parse()?;
        let seen = self.state.market().order(order);
        let merchant = seen.map_or(State::SYSTEM, |(order, _)| order.merchant);
        let step = match name {
            "pay" => OrderStep::Pay,
            "allocate" => OrderStep::Allocate,
            "deliver" => OrderStep::Deliver { parcel: next(args, "parcel")?.parse()? },
            "scan" => {
                let parcel = next(args, "parcel")?.parse()?;
                OrderStep::Scan { parcel, code: next(args, "code")?.parse()? }
            }
            "complete" => OrderStep::Complete,
            "cancel_order" => OrderStep::Cancel,
            "refuse_return" => OrderStep::RefuseReturn,
            "refund" => {
                let currency = seen.map_or(Currency::CREDIT, |(order, _)| order.currency);
                let text = next(args, "amount")?;
                let minor = |text: &str| Outcome::Ok(Amount(text.parse()?));
                // What is no amount at all is written as minor units.
                OrderStep::Refund { amount: currency.parse_amount(text).or_else(|_| minor(text))? }
            }
            "ship" => {
                let carrier = args.take_key("carrier").map(|name| self.account(name)).transpose()?;
                let tracking = args.take_key("tracking").unwrap_or_default().to_owned();
                let lines = self.lines(merchant, args)?;
                OrderStep::Ship(Shipment { carrier: carrier.unwrap_or(caller), tracking, lines })
            }
            "ask_return" => OrderStep::RequestReturn { lines: self.lines(merchant, args)? },
            _ => {
                let restock = args.take_key("restock") != Some("no");
                OrderStep::AcceptReturn { lines: self.lines(merchant, args)?, restock }
            }
        };
        self.ask(caller, args, Command::StepOrder { order, step })
    }

    /// `SKU/QUANTITY…`, of one when no quantity is named.
    fn lines(&self, merchant: AccountId, args: &mut Args<'_>) -> Outcome<Vec<(ArticleId, u32)>> {
        let mut lines = Vec::new();
        while let Some(line) = args.next_pos() {
            let (sku, quantity) = line.split_once('/').unwrap_or((line, "1"));
            lines.push((self.article(merchant, sku)?, quantity.parse()?));
        }
        Ok(lines)
    }

    /// An article by its SKU, or by its number.
    pub(super) fn article(&self, merchant: AccountId, sku: &str) -> Outcome<ArticleId> {
        match self.state.market().by_sku(merchant, sku) {
            Some(article) => Ok(article),
            None => sku.parse().map_err(|_| format!("no article '{sku}'").into()),
        }
    }

    /// One order: `order CALLER KEY MERCHANT SKU/QUANTITY… total=… [for=CUSTOMER] [at=PLACE] [coupon=N] [pay=later]`.
    fn batch(&self, caller: AccountId, args: &mut Args<'_>) -> Outcome<OrderBatch> {
        let key =
            Hash::of(next(args, "key")?.as_bytes()).as_bytes()[..16].try_into().expect("16 of 32 bytes");
        let merchant = self.account(next(args, "merchant")?)?;
        let customer = match args.take_key("for") {
            Some(name) => self.account(name).or_else(|_| name.parse())?,
            None => caller,
        };
        let currency: Currency = args.take_key("currency").unwrap_or("CRD").parse()?;
        let order = OrderSpec {
            key: RequestId(u128::from_be_bytes(key)),
            customer,
            total: currency.parse_amount(args.take_key("total").ok_or("total is missing")?)?,
            currency,
            coupon: self.coupon(merchant, args.take_key("coupon").unwrap_or("0"))?,
            place: args.take_key("at").map(str::parse).transpose()?,
            pay_later: args.take_key("pay") == Some("later"),
            lines: OrderLines::default(),
        };
        let lines = self.lines(merchant, args)?;
        let mut batch = OrderBatch::default();
        batch.push(&order, lines.into_iter());
        Ok(batch)
    }

    pub(super) fn tell_orders(&self, answers: &[OrderAnswer]) -> String {
        list(answers, |answer| match answer {
            OrderAnswer::Placed(id) => format!("order {id}"),
            OrderAnswer::Refused(refusal) => format!("refused ({}): {refusal}", refusal.code()),
        })
    }

    /// Follows the chain of somebody's events backwards, as a feed is read; tells them forwards.
    pub(super) fn look_at_feed(&self, party: &str, name: &str) -> Outcome<String> {
        let party = match party {
            "customer" => Party::Customer,
            "merchant" => Party::Merchant,
            "carrier" => Party::Carrier,
            _ => return Err(format!("unknown party '{party}'").into()),
        };
        let feed = self.state.market().feed(party, self.account(name)?);
        let (mut lines, mut at) = (Vec::new(), feed.last());
        while at.0 > 0 {
            let event = &self.kept.events[at.0 as usize - 1];
            assert_eq!(event.id, at, "events have no gaps");
            let mut line = format!("{at}: order {} {}, now {}", event.order, event.kind, event.state);
            if event.parcel.0 > 0 {
                write!(line, "; parcel {} with {}", event.parcel, self.name(event.carrier))?;
            }
            if let Some(scan) = event.scan {
                write!(line, "; {scan}")?;
            }
            if event.amount.is_positive() {
                write!(line, "; {} {}", event.currency.format_amount(event.amount), event.currency)?;
            }
            lines.push(line);
            at = event.before_of(party);
        }
        assert_eq!(feed.count(), lines.len() as u64);
        lines.reverse();
        Ok(if lines.is_empty() { "no events".into() } else { lines.join("\n") })
    }

    pub(super) fn look_at_goods(&self, merchant: &str) -> Outcome<String> {
        let (merchant, mut text) = (self.account(merchant)?, String::new());
        let market = self.state.market();
        for (id, article, about) in market.articles().filter(|(_, article, _)| article.merchant == merchant) {
            let price = article.currency.format_amount(article.price);
            write!(text, "{id} {}: {price} {}", about.sku, article.currency)?;
            match article.tracking() {
                Tracking::Counted => {}
                Tracking::Untracked => write!(text, ", not counted")?,
                Tracking::Backorder(more) => write!(text, ", {more} on back order")?,
            }
            for shelf in article.shelves() {
                write!(text, "; at {} {}, {} reserved", shelf.place, shelf.on_hand, shelf.reserved)?;
            }
            writeln!(text)?;
        }
        Ok(text)
    }

    pub(super) fn look_at_order(&self, id: OrderId) -> Outcome<String> {
        let Some(view) = self.state.market().view(id) else {
            let Some(left) = self.kept.archived(id) else { return Ok(format!("no order {id}")) };
            return Ok(format!("archived, {}", self.tell_order(&left.view())?));
        };
        self.tell_order(&view)
    }

    /// What was sold, in hours since the first; those of this one and what is not in the journal yet in brackets.
    pub(super) fn look_at_sales(&self) -> Outcome<String> {
        let mut text = String::new();
        let running = self.state.market().running_sales(None, None).map(|sold| (sold, "(", ")"));
        for (sold, open, close) in self.kept.sales.iter().map(|sold| (*sold, "", "")).chain(running) {
            let sku = self.state.market().text(sold.article).map(|text| &text.sku).ok_or("no article")?;
            let hour = sold.hour.0 - BEGIN.hour().0;
            let Figure { quantity, orders, revenue } = sold.figure;
            let revenue = sold.currency.format_amount(revenue);
            let (merchant, currency) = (self.name(sold.merchant), sold.currency);
            writeln!(
                text,
                "{open}{hour}h: {quantity} {sku} of {merchant} in {orders} orders for {revenue} {currency}{close}"
            )?;
        }
        Ok(if text.is_empty() { "nothing was sold".into() } else { text })
    }

    fn tell_order(&self, view: &OrderView<'_>) -> Outcome<String> {
        let (order, amount) = (view.order, |amount| view.order.currency.format_amount(amount));
        let paid = match view.settled() {
            settled if settled == order.total => "settled".to_owned(),
            Amount::ZERO => "not settled".to_owned(),
            settled => format!("{} settled", amount(settled)),
        };
        let lines =
            list(view.lines, |line| format!("{}*{} from {}", line.article, line.quantity, line.place));
        let mut text = format!(
            "{:?}: {lines} for {} from {}, {} {} with {} tax and {} fee, {paid}",
            order.state,
            self.name(order.customer),
            self.name(order.merchant),
            amount(order.total),
            order.currency,
            amount(order.tax),
            amount(order.fee),
        );
        if view.discount() != Amount::ZERO {
            write!(text, ", {} off by coupon {}", amount(view.discount()), order.coupon)?;
        }
        if view.refunded() != Amount::ZERO {
            write!(text, ", {} refunded", amount(view.refunded()))?;
        }
        for parcel in view.parcels() {
            let lines = list(&parcel.lines, |(at, quantity)| {
                format!("{}*{quantity}", view.lines[usize::from(*at)].article)
            });
            let there = if parcel.delivered.is_some() { "delivered" } else { "under way" };
            write!(text, "; {lines} with {} '{}' {there}", self.name(parcel.carrier), parcel.tracking)?;
            if let Some(scan) = parcel.scan {
                write!(text, ", {scan}: {}", scan.status().word())?;
            }
        }
        for (at, line) in view.lines.iter().enumerate() {
            let progress = view.progress(at);
            if progress.asked + progress.returned > 0 {
                let (asked, returned) = (progress.asked, progress.returned);
                write!(text, "; of {} {asked} to be returned, {returned} returned", line.article)?;
            }
        }
        if let Some(due) = view.due.filter(|_| order.state != OrderState::Placed) {
            write!(text, "; next in {}", span(due.since(self.now)))?;
        }
        Ok(text)
    }
}

/// Orders of nothing that there is.
fn refused(customer: AccountId, count: u128) -> OrderBatch {
    let mut batch = OrderBatch::default();
    for key in 1..=count {
        let order = OrderSpec {
            key: RequestId(key),
            customer,
            total: Amount::ZERO,
            currency: Currency::CREDIT,
            coupon: CouponId(0),
            place: None,
            pay_later: false,
            lines: OrderLines::default(),
        };
        batch.push(&order, [(ArticleId(0), 1)].into_iter());
    }
    batch
}

/// In percent, like `3` or `0.5`.
pub(super) fn rate(text: Option<&str>) -> Outcome<Rate> {
    let percent: Currency = "XTS".parse()?;
    let parts = percent.parse_amount(text.unwrap_or("0"))?;
    Ok(Rate::new(u16::try_from(parts.0)?).ok_or("a rate is at most 100")?)
}

fn article(args: &mut Args<'_>) -> Outcome<ArticleSpec> {
    let sku = next(args, "sku")?.to_owned();
    let currency: Currency = args.take_key("currency").unwrap_or("CRD").parse()?;
    Ok(ArticleSpec {
        gtin: args.take_key("gtin").unwrap_or("0").parse()?,
        title_ko: format!("{sku} 상품"),
        title_en: format!("the {sku}"),
        category: args.take_key("category").unwrap_or("things").to_owned(),
        price: currency.parse_amount(args.take_key("price").unwrap_or("1"))?,
        currency,
        tax: rate(args.take_key("tax"))?,
        tracking: match args.take_key("tracking") {
            None => Tracking::Counted,
            Some("no") => Tracking::Untracked,
            Some(more) => Tracking::Backorder(more.parse()?),
        },
        on_sale: args.take_key("sale") != Some("off"),
        sku,
    })
}

fn stock_change(args: &mut Args<'_>) -> Outcome<StockChange> {
    let to = args.take_key("to").map(str::parse).transpose()?;
    type Change = fn(&str, Option<PlaceId>) -> Outcome<StockChange>;
    let changes: [(_, Change); 4] = [
        ("receive", |text, _| Ok(StockChange::Receive(text.parse()?))),
        ("count", |text, _| Ok(StockChange::Count(text.parse()?))),
        ("correct", |text, _| Ok(StockChange::Correct(text.parse()?))),
        ("move", |text, to| {
            Ok(StockChange::Move { quantity: text.parse()?, to: to.ok_or("to is missing")? })
        }),
    ];
    for (key, change) in changes {
        if let Some(text) = args.take_key(key) {
            return change(text, to);
        }
    }
    Err("no change of stock".into())
}
