//! The orders of a sales day: many customers, a few articles that nearly everybody wants, and some mistakes.

use serde_json::{Value, json};

use super::folder::Folder;
use super::{Options, stage};
use crate::Outcome;
use crate::faults::Dice;

/// The warehouse that most orders are sent from; stores have larger numbers.
pub(super) const WAREHOUSE: u32 = 1;
/// How much less often the next article is ordered: the n-th as often as 1/n to this power (Zipf).
const ZIPF: f64 = 1.1;
/// The best sold articles, of which there is less than is wanted.
const SCARCE: usize = 100;
/// The largest quantity of the data.
const LARGEST: u32 = 89_638;

/// One order.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) number: usize,
    /// Which of the day's customers.
    pub(super) customer: usize,
    pub(super) place: Option<u32>,
    pub(super) total: i64,
    /// Places among the popular articles, or none for an article that there is not; and how many.
    pub(super) lines: Vec<(Option<usize>, u32)>,
}

/// An article that was sold in the year.
struct Popular {
    sku: String,
    /// What it costs in each half of the day.
    prices: [i64; 2],
}

/// All of the day.
pub(super) struct Day {
    popular: Vec<Popular>,
    customers: usize,
    orders: Vec<Order>,
    hot: bool,
}

impl Day {
    /// Chooses all orders.
    pub(super) fn new(options: &Options, folder: &Folder) -> Outcome<Day> {
        let mut popular = Vec::new();
        for row in folder.rows("popular.csv")? {
            popular.push(Popular { sku: row[0].clone(), prices: [row[1].parse()?, row[2].parse()?] });
        }
        let count = options.orders as usize;
        let customers = (count / 10).clamp(100, 100_000);
        let mut dice = Dice::new(options.seed);
        let mut sums = Vec::with_capacity(popular.len());
        let mut sum = 0.0;
        for rank in 1..=popular.len() {
            sum += (rank as f64).powf(-ZIPF);
            sums.push(sum);
        }
        let mut day = Day { popular, customers, orders: Vec::new(), hot: options.hot };
        day.orders = (0..count)
            .map(|number| day.order(number, usize::from(number >= count / 2), &sums, &mut dice))
            .collect();
        Ok(day)
    }

    fn order(&self, number: usize, half: usize, sums: &[f64], dice: &mut Dice) -> Order {
        let customer = dice.below(self.customers as u64) as usize;
        let article = |dice: &mut Dice| {
            if self.hot && dice.percent(90) {
                return 0;
            }
            // 53 bits are what a number between 0 and 1 has.
            let part = (dice.next() >> 11) as f64 / (1_u64 << 53) as f64;
            let point = part * sums.last().copied().unwrap_or_default();
            sums.partition_point(|sum| *sum < point).min(sums.len() - 1)
        };
        let line = |dice: &mut Dice| (Some(article(dice)), 1 + dice.below(8) as u32 / 6);
        let mut lines: Vec<_> = (0..=dice.below(4) / 2).map(|_| line(dice)).collect();
        let price = |half: usize, lines: &[(Option<usize>, u32)]| {
            let worth = |(at, quantity): &(Option<usize>, u32)| {
                at.map_or(0, |at| self.popular[at].prices[half] * i64::from(*quantity))
            };
            lines.iter().map(worth).sum()
        };
        // Mistakes that shops make.
        let mut shown = half;
        match dice.below(4_000) {
            0..4 => lines[0].0 = None,
            4..8 => lines[0].1 = 0,
            8..10 => lines[0].1 = LARGEST,
            10..30 => shown = 0,
            _ => {}
        }
        let place = (dice.below(4) > 0).then_some(WAREHOUSE);
        Order { number, customer, place, total: price(shown, &lines), lines }
    }

    /// Both halves, one after the other.
    pub(super) fn halves(&self) -> impl Iterator<Item = &[Order]> {
        let (first, second) = self.orders.split_at(self.orders.len() / 2);
        [first, second].into_iter()
    }

    /// Writes down who buys, and with how much: what it takes, and for every tenth less. The file's name.
    pub(super) fn visitors(&self, folder: &Folder) -> Outcome<String> {
        let mut needs = vec![0_i64; self.customers];
        self.orders.iter().for_each(|order| needs[order.customer] += order.total);
        let mut text = "name,money\n".to_owned();
        for (customer, need) in needs.iter().enumerate() {
            let money = if customer % 10 == 0 { need * 6 / 10 } else { *need };
            text += &format!("{},{money}\n", name(customer));
        }
        std::fs::write(folder.file("visitors.csv"), text)?;
        Ok("visitors.csv".to_owned())
    }

    /// Writes down what comes to the warehouse for this day.
    pub(super) fn stock(&self, folder: &Folder, file: &str) -> Outcome {
        let mut wanted = vec![0_u64; self.popular.len()];
        for (at, quantity) in
            self.orders.iter().filter(|order| order.place.is_some()).flat_map(|order| &order.lines)
        {
            if let Some(at) = at {
                wanted[*at] += u64::from(*quantity);
            }
        }
        let mut text = "sku,place,quantity\n".to_owned();
        for (at, (article, wanted)) in self.popular.iter().zip(wanted).enumerate() {
            let quantity = match at {
                0 if self.hot => wanted / 2,
                _ if at < SCARCE => wanted * 9 / 10,
                _ => wanted,
            };
            if quantity > 0 {
                text += &format!("{},{WAREHOUSE},{quantity}\n", article.sku);
            }
        }
        Ok(std::fs::write(folder.file(file), text)?)
    }

    /// What an article is called, and if there is none, what it is called nevertheless.
    pub(super) fn sku(&self, at: Option<usize>) -> String {
        at.map_or_else(|| format!("unknown-{UNKNOWN}"), |at| self.popular[at].sku.clone())
    }

    /// Writes orders down as they would be sent over HTTP.
    pub(super) fn write(&self, folder: &Folder, file: &str, orders: &[Order]) -> Outcome {
        let value = |order: &Order| -> Value {
            let line = |(at, quantity): &(Option<usize>, u32)| json!({"merchant": stage::MERCHANT, "sku": self.sku(*at), "quantity": quantity});
            let mut value = json!({"id": order.id(), "customer": name(order.customer), "currency": "KRW",
                "total": order.total.to_string(), "lines": order.lines.iter().map(line).collect::<Vec<_>>()});
            if let Some(place) = order.place {
                value["place"] = json!(place);
            }
            value
        };
        folder.lines(file, orders.iter().map(value))
    }
}

/// The id of the article that there is not.
pub(super) const UNKNOWN: u32 = 4_000_000_000;

impl Order {
    /// What it is called.
    pub(super) fn id(&self) -> String {
        format!("day-{}", self.number)
    }
}

/// The name of a customer of the day.
pub(super) fn name(customer: usize) -> String {
    format!("visitor-{customer}")
}
