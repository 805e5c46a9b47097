//! What becomes of orders after they were placed.

use pumasi_core::{ScanCode, Tracking};
use pumasi_types::Duration;

use super::{Article, DAY, Line, Model, NAMES, Order, Reasons, STOREFRONT, State, Way};

impl Model {
    pub(super) fn complete(&mut self, id: u64) {
        let now = self.now;
        let order = self.orders.get_mut(&id).expect("known");
        order.state = State::Completed;
        order.due = Some(order.returns_until).filter(|until| *until > now);
        order.lines.iter_mut().for_each(|line| line.asked = 0);
    }

    /// Whether an order may have left: nothing will come of it, and its key is two days old.
    pub(crate) fn may_be_gone(&self, id: u64) -> bool {
        let Some(order) = self.orders.get(&id) else { return false };
        let is_last =
            matches!(order.state, State::Completed | State::Cancelled | State::Expired | State::Refunded);
        is_last && order.due.is_none() && self.lived.since(order.placed) >= Duration::from_secs(2 * DAY)
    }

    pub(crate) fn forget(&mut self, id: u64) {
        self.orders.remove(&id);
    }

    /// Some order: one that was placed, unless there is none.
    pub(crate) fn pick(&self, number: u64) -> u64 {
        let placed: Vec<u64> = self.orders.keys().copied().collect();
        // Now and then any number at all.
        if placed.is_empty() || number.is_multiple_of(16) {
            return number % 24;
        }
        // Young ones more often, so that they get far.
        let young = &placed[placed.len().saturating_sub(4)..];
        let among = if number.is_multiple_of(3) { &placed } else { young };
        among[(number / 48 % among.len() as u64) as usize]
    }

    /// Who does what with an order: something that it is time for, or anything by anybody.
    pub(crate) fn way(&self, id: u64, timely: bool, by: u64, way: u8) -> (u64, &'static str) {
        let any = (by, NAMES[usize::from(way) % NAMES.len()]);
        let Some(order) = self.orders.get(&id).filter(|_| timely) else { return any };
        let parties = [order.customer, order.merchant, STOREFRONT];
        let ways: Vec<_> = NAMES
            .iter()
            .flat_map(|name| parties.map(|by| (by, *name)))
            // Orders that are cancelled or refunded early do not get far.
            .filter(|(by, name)| self.is_time(order, *by, name))
            .filter(|(_, name)| (*name != "cancel" && *name != "refund") || way < 64)
            .collect();
        ways.get(usize::from(way) % ways.len().max(1)).copied().unwrap_or(any)
    }

    /// What suits the step: a parcel that is under way, somebody who carries.
    pub(crate) fn make_timely(&self, id: u64, way: &mut Way) {
        let Some(order) = self.orders.get(&id) else { return };
        let under_way = order.parcels.iter().position(|(_, arrived, _)| !arrived);
        way.parcel = under_way.map_or(way.parcel, |at| at as u32 + 1);
        way.carrier = if way.carrier < 6 { 3 + way.carrier % 2 } else { order.merchant };
        if way.amount > order.refundable().max(1) as i64 && way.amount < i64::MAX / 2 {
            way.amount = order.refundable().max(1) as i64;
        }
    }

    /// Lines by their place in the order.
    pub(crate) fn lines_of(&self, id: u64, lines: &[(u8, u32)]) -> Vec<(u32, u32)> {
        let article = |at: u8| match self.orders.get(&id) {
            Some(order) if at < 4 => order.lines[usize::from(at) % order.lines.len()].article,
            _ => u32::from(at),
        };
        lines.iter().map(|(at, quantity)| (article(*at), *quantity)).collect()
    }

    /// Whether it is the time for a step, and the caller's to take.
    fn is_time(&self, order: &Order, by: u64, name: &str) -> bool {
        use State::{
            Allocated, Completed, Delivered, Paid, PartlyShipped, Placed, Refunded, ReturnRequested,
            Returned, Shipped,
        };
        let buys = self.acts_for(by, order.customer);
        let sells = by == order.merchant;
        let carries = order.parcels.iter().any(|(carrier, ..)| *carrier == by);
        if name == "scan" {
            return carries && matches!(order.state, PartlyShipped | Shipped);
        }
        let (buyer, seller): (&[State], &[State]) = match name {
            "pay" => (&[Placed], &[]),
            "allocate" => (&[], &[Paid]),
            "ship" => (&[], &[Allocated, PartlyShipped]),
            "deliver" => (&[], &[PartlyShipped, Shipped]),
            "complete" => (&[Delivered, ReturnRequested], &[]),
            "cancel" => (&[Placed, Paid], &[Placed, Paid, Allocated, PartlyShipped]),
            "ask" => (&[Delivered, Completed, Refunded], &[]),
            "accept" | "refuse" => (&[], &[ReturnRequested]),
            _ => (&[], &[Shipped, Delivered, Completed, ReturnRequested, Returned, Refunded]),
        };
        let brings = name == "deliver" && carries && seller.contains(&order.state);
        brings || (buys && buyer.contains(&order.state)) || (sells && seller.contains(&order.state))
    }

    /// Takes a step.
    pub(crate) fn go(&mut self, id: u64, way: &Way) -> Reasons {
        let Some(order) = self.orders.get(&id) else { return vec!["no_order"] };
        let carries = order.parcels.iter().any(|(carrier, ..)| *carrier == way.by);
        if !carries && way.by != order.merchant && !self.acts_for(way.by, order.customer) {
            return vec!["no_order"];
        }
        if !self.is_time(order, way.by, way.name) {
            // Who carried an order is forgotten long after it is over.
            return vec!["wrong_state", "not_yours", if carries { "no_order" } else { "not_yours" }];
        }
        match way.name {
            "pay" => {
                if self.balance(order.customer, order.currency).0 < order.total {
                    return vec!["not_enough_money"];
                }
                self.take_money(id);
                Reasons::new()
            }
            "allocate" => {
                let shipped = self.after(30 * DAY);
                let order = self.orders.get_mut(&id).expect("known");
                (order.state, order.due) = (State::Allocated, Some(shipped));
                Reasons::new()
            }
            "ship" => self.ship(id, way),
            "deliver" => self.deliver(id, way),
            "scan" => self.scan(id, way),
            "complete" | "refuse" => {
                self.complete(id);
                Reasons::new()
            }
            "cancel" => self.cancel(id),
            "ask" => self.ask_return(id, way),
            "accept" => self.accept(id, way),
            _ => self.refund(id, way.amount),
        }
    }

    /// How many of which line, when so many are left of each; reasons against it.
    fn chosen(order: &Order, asked: &[(u32, u32)], left: fn(&Line) -> u32) -> (Vec<u32>, Reasons) {
        if asked.is_empty() {
            return (order.lines.iter().map(left).collect(), Reasons::new());
        }
        let sums = Model::summed(asked);
        let mut reasons = Reasons::new();
        if asked.iter().any(|(_, quantity)| *quantity == 0) {
            reasons.push("invalid");
        }
        let most = |article: u32| order.lines.iter().find(|line| line.article == article).map_or(0, left);
        if sums.iter().any(|(article, quantity)| *quantity > u64::from(most(*article))) {
            reasons.push("too_many");
        }
        let of = |line: &Line| sums.get(&line.article).map_or(0, |sum| *sum as u32);
        (order.lines.iter().map(of).collect(), reasons)
    }

    fn ship(&mut self, id: u64, way: &Way) -> Reasons {
        let order = self.orders[&id].clone();
        let (counts, mut reasons) = Model::chosen(&order, &way.lines, |line| line.quantity - line.shipped);
        if way.carrier != order.merchant && way.carrier != 3 && way.carrier != 4 {
            reasons.push("invalid");
        }
        for (line, count) in order.lines.iter().zip(&counts) {
            let Article { tracking, places, .. } = self.article(line.article);
            let there = places.iter().find(|(place, ..)| *place == line.place).map_or(0, |shelf| shelf.1);
            if *tracking != Tracking::Untracked && line.place != 0 && there < i128::from(*count) {
                reasons.push("not_in_stock");
            }
        }
        if !reasons.is_empty() {
            return reasons;
        }
        for (at, count) in counts.into_iter().enumerate() {
            let line = &mut self.orders.get_mut(&id).expect("known").lines[at];
            line.shipped += count;
            let (article, place) = (line.article, line.place);
            self.move_stock(article, place, -i128::from(count));
            self.reserve(article, place, -i128::from(count));
        }
        // To arrive, or for the rest to be shipped.
        let due = self.after(30 * DAY);
        let order = self.orders.get_mut(&id).expect("known");
        order.parcels.push((way.carrier, false, None));
        let all = order.lines.iter().all(|line| line.shipped == line.quantity);
        order.state = if all { State::Shipped } else { State::PartlyShipped };
        order.due = Some(due);
        let worth = order.worth_shipped();
        if order.settled.0 < worth {
            self.settle(id, worth);
        }
        Reasons::new()
    }

    /// What is counted comes or goes.
    fn move_stock(&mut self, article: u32, place: u32, by: i128) {
        let article = self.article_mut(article);
        if article.tracking != Tracking::Untracked
            && let Some(shelf) = article.places.iter_mut().find(|(at, ..)| *at == place)
        {
            shelf.1 += by;
        }
    }

    /// Only who carries a parcel reports of it, and one report delivers it.
    fn scan(&mut self, id: u64, way: &Way) -> Reasons {
        let parcels = &mut self.orders.get_mut(&id).expect("known").parcels;
        let Some(parcel) = parcels.get_mut((way.parcel as usize).wrapping_sub(1)) else {
            return vec!["no_parcel"];
        };
        if way.by != parcel.0 {
            return vec!["not_yours"];
        }
        if parcel.1 {
            return vec!["wrong_state"];
        }
        parcel.2 = Some(way.code());
        if way.code() == ScanCode::Emi { self.deliver(id, way) } else { Reasons::new() }
    }

    fn deliver(&mut self, id: u64, way: &Way) -> Reasons {
        let order = self.orders.get_mut(&id).expect("known");
        let Some(parcel) = order.parcels.get_mut((way.parcel as usize).wrapping_sub(1)) else {
            return vec!["no_parcel"];
        };
        let mut reasons = Reasons::new();
        if way.by != parcel.0 && way.by != order.merchant {
            reasons.push("not_yours");
        }
        if parcel.1 {
            reasons.push("wrong_state");
        }
        if reasons.is_empty() {
            parcel.1 = true;
            self.arrive(id);
        }
        reasons
    }

    pub(super) fn arrive(&mut self, id: u64) {
        let shop = self.shop(self.orders[&id].merchant);
        let (completed, returns) = (self.after(shop.completion), self.after(shop.returns));
        let order = self.orders.get_mut(&id).expect("known");
        if order.state == State::Shipped && order.parcels.iter().all(|(_, arrived, _)| *arrived) {
            (order.state, order.due, order.returns_until) = (State::Delivered, Some(completed), returns);
        }
    }

    pub(super) fn cancel(&mut self, id: u64) -> Reasons {
        let order = self.orders[&id].clone();
        assert!(order.is_open());
        let rest = order.total - order.worth_shipped();
        if order.state != State::Placed {
            if order.held > 0 {
                assert_eq!(order.held, rest);
                self.add(order.customer, order.currency, rest, -rest);
            } else if rest > 0 {
                let reasons = self.give_back(id, rest);
                if !reasons.is_empty() {
                    return reasons;
                }
            }
        }
        self.unreserve(id);
        let arrival = self.after(30 * DAY);
        let order = self.orders.get_mut(&id).expect("known");
        (order.held, order.due) = (0, (!order.parcels.is_empty()).then_some(arrival));
        order.state = if order.parcels.is_empty() { State::Cancelled } else { State::Shipped };
        if order.parcels.is_empty() {
            self.give_coupon_back(id);
        }
        self.arrive(id);
        Reasons::new()
    }

    fn ask_return(&mut self, id: u64, way: &Way) -> Reasons {
        let order = self.orders[&id].clone();
        let left = |line: &Line| line.shipped - line.returned;
        let (counts, mut reasons) = Model::chosen(&order, &way.lines, left);
        let paid_back = order.state == State::Refunded && order.refundable() == 0;
        if self.now >= order.returns_until || paid_back || order.lines.iter().all(|line| left(line) == 0) {
            reasons.push("returns_over");
        }
        if reasons.is_empty() {
            let order = self.orders.get_mut(&id).expect("known");
            (order.state, order.due) = (State::ReturnRequested, None);
            order.lines.iter_mut().zip(counts).for_each(|(line, count)| line.asked = count);
        }
        reasons
    }

    fn accept(&mut self, id: u64, way: &Way) -> Reasons {
        let (counts, reasons) = Model::chosen(&self.orders[&id], &way.lines, |line| line.asked);
        if !reasons.is_empty() {
            return reasons;
        }
        for (at, count) in counts.into_iter().enumerate() {
            let line = &mut self.orders.get_mut(&id).expect("known").lines[at];
            (line.asked, line.returned) = (0, line.returned + count);
            let (article, place) = (line.article, line.place);
            if way.restocks() {
                self.move_stock(article, place, i128::from(count));
            }
        }
        let order = self.orders.get_mut(&id).expect("known");
        order.state = if order.refundable() == 0 { State::Refunded } else { State::Returned };
        Reasons::new()
    }

    fn refund(&mut self, id: u64, amount: i64) -> Reasons {
        let order = self.orders[&id].clone();
        let (amount, left) = (i128::from(amount), order.refundable());
        if amount <= 0 {
            return vec!["bad_amount"];
        }
        if amount > left {
            return vec!["refund_too_large"];
        }
        let reasons = self.give_back(id, amount);
        if !reasons.is_empty() {
            return reasons;
        }
        let open = self.after(self.shop(order.merchant).returns);
        let order = self.orders.get_mut(&id).expect("known");
        if amount == left || matches!(order.state, State::Returned | State::Refunded) {
            (order.state, order.due) = (State::Refunded, (amount < left).then_some(open));
            order.lines.iter_mut().for_each(|line| line.asked = 0);
        }
        Reasons::new()
    }
}
