//! Campaigns of real faults: a hub that is killed again and again while customers keep sending commands and
//! workers on bad networks keep computing. Nothing that was acknowledged may be lost, nothing be done twice.

mod clock;
mod customer;
mod dice;
pub(crate) mod orders;
mod outsider;
mod proxy;
mod tally;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use pumasi_api::client::Source;
use pumasi_api::wire;
use pumasi_types::Hash;
use serde_json::Value;

pub(crate) use self::clock::Clock;
use self::customer::{Customer, Notebook};
pub(crate) use self::dice::Dice;
use self::outsider::Outsider;
pub(crate) use self::proxy::{Proxy, Way};
use self::tally::{Counted, Tally};
use crate::Outcome;
use crate::build::{self, Profile};
use crate::pool::{Pool, block_on};
use crate::process::Guarded;

/// How a campaign is run from the command line.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// How often the hub is killed in one round
    #[arg(long, default_value_t = 50)]
    kills: u32,
    /// Rounds with fresh seeds follow each other for so long; one round when absent
    #[arg(long)]
    minutes: Option<u64>,
    /// Repeat the choices of an earlier round
    #[arg(long)]
    seed: Option<u64>,
    /// Build and use the optimised binary
    #[arg(long)]
    release: bool,
    /// Orders under full load, and nothing else
    #[arg(long)]
    orders: bool,
}

pub(crate) fn run(options: &Options) -> Outcome {
    let program = if options.release { build::pumasi(Profile::Release)? } else { build::for_tests()? };
    let until = Instant::now() + Duration::from_secs(60 * options.minutes.unwrap_or(0));
    let mut total = Report::default();
    let mut rounds = 0;
    loop {
        let seed = options.seed.unwrap_or_else(Dice::fresh_seed);
        if options.orders {
            println!("seed {seed}\n{}", orders::campaign(&program, &Plan { seed, kills: options.kills })?);
            if options.seed.is_some() || Instant::now() >= until {
                return Ok(());
            }
            continue;
        }
        let report = campaign(&program, &Plan { seed, kills: options.kills })?;
        println!("seed {seed}\n{report}");
        total.add(&report);
        rounds += 1;
        if options.seed.is_some() || Instant::now() >= until {
            break;
        }
    }
    if rounds > 1 {
        println!("\naltogether, in {rounds} rounds\n{total}");
    }
    Ok(())
}

/// What a round does.
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) kills: u32,
}

/// What was done to a pool and what it did meanwhile.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    pub(crate) hub_kills: u64,
    /// Of these, while it was starting.
    pub(crate) kills_at_start: u64,
    pub(crate) worker_kills: u64,
    pub(crate) freezes: u64,
    pub(crate) network_faults: u64,
    /// How often the hub's clock was set.
    pub(crate) clock_jumps: u64,
    /// Commands that were acknowledged, refusals included.
    pub(crate) commands: u64,
    pub(crate) refusals: u64,
    /// Sent again because no answer came.
    pub(crate) resent: u64,
    pub(crate) transfers: u64,
    pub(crate) jobs: u64,
    pub(crate) runs_paid: u64,
    /// The most findings that were seen at a time whose pay was held for a check.
    pub(crate) held_back: u64,
    /// Receipts that were fetched between the faults.
    pub(crate) receipts: u64,
    pub(crate) seconds: u64,
}

impl Report {
    fn add(&mut self, other: &Report) {
        self.hub_kills += other.hub_kills;
        self.kills_at_start += other.kills_at_start;
        self.worker_kills += other.worker_kills;
        self.freezes += other.freezes;
        self.network_faults += other.network_faults;
        self.clock_jumps += other.clock_jumps;
        self.commands += other.commands;
        self.refusals += other.refusals;
        self.resent += other.resent;
        self.transfers += other.transfers;
        self.jobs += other.jobs;
        self.runs_paid += other.runs_paid;
        self.held_back = self.held_back.max(other.held_back);
        self.receipts += other.receipts;
        self.seconds += other.seconds;
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "faults in {} s: hub killed {} times ({} while starting), workers killed {} and frozen {}, network \
             disturbed {}, clock set {}",
            self.seconds,
            self.hub_kills,
            self.kills_at_start,
            self.worker_kills,
            self.freezes,
            self.network_faults,
            self.clock_jumps
        )?;
        writeln!(
            f,
            "acknowledged: {} commands ({} refusals; {} had to be sent again): {} transfers, {} jobs with {} runs \
             paid, pay of up to {} at a time held for a check; {} receipts",
            self.commands,
            self.refusals,
            self.resent,
            self.transfers,
            self.jobs,
            self.runs_paid,
            self.held_back,
            self.receipts
        )?;
        // A campaign ends with an error at the first of these.
        write!(f, "lost 0, done twice 0, paid twice 0; books balance, the log is sound, receipts hold")
    }
}

/// Names of those who order, and of those whose machines compute.
const CUSTOMERS: [&str; 2] = ["alice", "bob"];
const OWNERS: [&str; 2] = ["carol", "dave"];
/// The owner that nobody answers for: it is doubled first, and paid after checks once it is proven.
const STRANGER: &str = OWNERS[1];
/// Later than the latest that pay may be held: twice the window for checks, from the hub's furthest clock on.
const CHECKS_OVER_S: i64 = 5 * 3_600;
/// After so many kills the hub is left alone until work got done.
const KILLS_BETWEEN_RESTS: u64 = 10;

/// One round on a pool of its own.
///
/// # Errors
/// Whatever was lost, done twice or wrong; the seed stands in the text.
pub(crate) fn campaign(program: &Path, plan: &Plan) -> Outcome<Report> {
    let seed = plan.seed;
    let mut round = Round::begin(program, seed)?;
    let outcome = round.go(plan.kills).and_then(|()| round.end());
    outcome.map_err(|error| {
        let place = round.pool.dir.path().display().to_string();
        round.pool.dir.disable_cleanup(true);
        format!(
            "{error}\nthe pool is kept in {place}; again: cargo xtask faults --kills {} --seed {seed}",
            plan.kills
        )
        .into()
    })
}

struct Machine {
    owner: String,
    process: Guarded,
    proxy: Option<Proxy>,
}

struct Round {
    pool: Pool,
    dice: Dice,
    report: Report,
    began: Instant,
    tokens: BTreeMap<String, String>,
    machines: Vec<Machine>,
    /// None where the hub's clock cannot be set.
    clock: Option<Clock>,
    /// How often the pool was left alone until work got done.
    rests: u64,
    outsider: Outsider,
    stop: Arc<AtomicBool>,
    customers: Vec<JoinHandle<Result<Notebook, String>>>,
}

impl Round {
    fn begin(program: &Path, seed: u64) -> Outcome<Round> {
        let arguments = ["--link-grace", "1s", "--link-lease", "1500ms", "--snapshot-every", "64KiB"];
        let mut pool = Pool::prepare(program, &arguments)?;
        let clock = Clock::in_folder(pool.dir.path());
        pool.hub_env = clock.as_ref().map(Clock::environment).unwrap_or_default();
        pool.start_hub()?;
        let mut round = Round {
            pool,
            dice: Dice::new(seed),
            report: Report::default(),
            began: Instant::now(),
            tokens: BTreeMap::new(),
            machines: Vec::new(),
            clock,
            rests: 0,
            outsider: Outsider::default(),
            stop: Arc::default(),
            customers: Vec::new(),
        };
        let customers = CUSTOMERS.map(|name| (name, "researcher"));
        for (name, role) in customers.into_iter().chain(OWNERS.map(|name| (name, "owner"))) {
            // What is held for a check is paid long after the test, unless its clock can be set.
            let token = match name == STRANGER && round.clock.is_some() {
                true => round.pool.open_unknown(name, role)?,
                false => round.pool.open_account(name, role)?,
            };
            round.tokens.insert(name.to_owned(), token);
            let _: Value = round.pool.ask(&round.pool.operator, &["account", "issue", name, "5000"])?;
        }
        let proxy = Proxy::start(round.pool.address.parse()?)?;
        for (owner, proxy) in OWNERS.into_iter().zip([None, Some(proxy)]) {
            let process = round.join(owner, proxy.as_ref())?;
            round.machines.push(Machine { owner: owner.to_owned(), process, proxy });
        }
        round.pool.wait_for_workers(OWNERS.len())?;
        if round.clock.is_some() {
            round.prove_stranger()?;
        }
        round.send_customers()?;
        Ok(round)
    }

    fn join(&self, owner: &str, proxy: Option<&Proxy>) -> Outcome<Guarded> {
        let arguments = ["--cores", "1", "--memory", "1GiB"];
        let name = format!("machine-of-{owner}");
        self.pool.join_through(proxy.map(Proxy::address), &self.tokens[owner], &name, &arguments)
    }

    /// Lets the stranger agree with a trusted owner until it is believed alone, and paid after checks.
    fn prove_stranger(&self) -> Outcome {
        let hello = build::root().join("examples/hello/hello.wasm").to_string_lossy().into_owned();
        let order =
            ["submit", &*hello, "--tasks", "12", "--quorum", "2", "--budget", "5", "--fuel", "50000000"];
        let customer = &self.tokens[CUSTOMERS[0]];
        let mut job: wire::Job = self.pool.ask(customer, &[&order[..], &["--yes"]].concat())?;
        let client = self.pool.client(customer)?;
        let until = Instant::now() + Duration::from_secs(60);
        while !job.over && Instant::now() < until {
            job = block_on(client.get(&format!("/v1/jobs/{}?wait_ms=5000", job.id)))?;
        }
        match self.record(STRANGER)? {
            record if record.standing == "proven" => Ok(()),
            record => Err(format!("{STRANGER} is not proven: {record:?}; {job:?}").into()),
        }
    }

    fn record(&self, owner: &str) -> Outcome<wire::OwnerRecord> {
        let path = format!("/v1/accounts/{owner}");
        let account: wire::Account = block_on(self.pool.client(&self.pool.operator)?.get(&path))?;
        Ok(account.record.ok_or("an owner without a record")?)
    }

    /// Nobody here lies, so nobody may be caught or outvoted. Notes how much pay is held.
    fn look_at_records(&mut self) -> Outcome {
        let mut held = 0;
        for owner in OWNERS {
            let record = self.record(owner)?;
            if record.standing == "caught" || record.outvoted + record.withdrawn > 0 {
                return Err(format!("{owner} is honest: {record:?}").into());
            }
            held += record.unpaid_findings;
        }
        self.report.held_back = self.report.held_back.max(held);
        Ok(())
    }

    fn send_customers(&mut self) -> Outcome {
        let bytes = std::fs::read(build::root().join("examples/hello/hello.wasm"))?;
        let module = Hash::of(&bytes);
        let source = Source::Bytes(bytes.into());
        for name in CUSTOMERS {
            let token = &self.tokens[name];
            // Who orders a job must hold its module.
            block_on(self.pool.client(token)?.put_blob(&source, module, Arc::new(|_| ())))?;
            let customer = Customer {
                name: name.to_owned(),
                // Its connections belong to the customer's own runtime.
                client: self.pool.client(token)?,
                payees: CUSTOMERS.into_iter().chain(OWNERS).map(str::to_owned).collect(),
                module,
                dice: Dice::new(self.dice.next()),
                pause: Duration::from_millis(30),
            };
            let stop = Arc::clone(&self.stop);
            self.customers.push(std::thread::spawn(move || customer.work(&stop)));
        }
        Ok(())
    }

    /// Kills the hub so often, and does other harm in between.
    fn go(&mut self, kills: u32) -> Outcome {
        while self.report.hub_kills < u64::from(kills) {
            self.check_customers()?;
            self.disturb_network();
            self.disturb_machines()?;
            self.disturb_clock();
            self.sleep_below(500);
            self.pool.hub()?.kill()?;
            self.report.hub_kills += 1;
            while self.report.hub_kills < u64::from(kills) && self.dice.percent(25) {
                self.pool.spawn_hub()?;
                self.sleep_below(400);
                self.pool.hub()?.kill()?;
                self.report.hub_kills += 1;
                self.report.kills_at_start += 1;
            }
            self.pool.start_hub()?;
            if self.report.hub_kills / KILLS_BETWEEN_RESTS > self.rests {
                self.rest()?;
            }
        }
        Ok(())
    }

    fn sleep_below(&mut self, ms: u64) {
        std::thread::sleep(Duration::from_millis(self.dice.below(ms)));
    }

    /// A customer who gave up ends the round.
    fn check_customers(&mut self) -> Outcome {
        let ended = self.customers.iter().position(JoinHandle::is_finished);
        let Some(ended) = ended.map(|at| self.customers.swap_remove(at)) else { return Ok(()) };
        match ended.join() {
            Ok(Err(error)) => Err(error.into()),
            _ => Err("a customer ended by itself".into()),
        }
    }

    fn disturb_network(&mut self) {
        let ways = [Way::Open, Way::Open, Way::Slow, Way::Cut, Way::Broken, Way::Noisy];
        let way = *self.dice.pick(&ways);
        self.set_network(way);
        self.report.network_faults += u64::from(way != Way::Open);
    }

    fn set_network(&self, way: Way) {
        self.machines.iter().filter_map(|machine| machine.proxy.as_ref()).for_each(|proxy| proxy.set(way));
    }

    /// A machine dies and is started again, or falls asleep; whichever slept before wakes up.
    fn disturb_machines(&mut self) -> Outcome {
        self.machines.iter().try_for_each(|machine| machine.process.thaw())?;
        let at = self.dice.below(self.machines.len() as u64) as usize;
        match self.dice.below(10) {
            0 => self.replace(at),
            1 => self.freeze(at),
            _ => Ok(()),
        }
    }

    fn freeze(&mut self, at: usize) -> Outcome {
        self.report.freezes += 1;
        self.machines[at].process.freeze()
    }

    fn replace(&mut self, at: usize) -> Outcome {
        self.machines[at].process.kill()?;
        self.report.worker_kills += 1;
        self.machines[at].process = self.join(&self.machines[at].owner, self.machines[at].proxy.as_ref())?;
        Ok(())
    }

    /// The hub's clock jumps: back by up to a month, or ahead by up to an hour.
    fn disturb_clock(&mut self) {
        let Some(clock) = &self.clock else { return };
        let seconds = match self.dice.below(10) {
            0 => 0,
            1 => self.dice.below(3_600).cast_signed(),
            2 => -self.dice.below(30 * 86_400).cast_signed(),
            _ => return,
        };
        clock.set(seconds);
        self.report.clock_jumps += 1;
    }

    /// One machine is replaced after a kill, the other sleeps for longer than its lease; then work goes on.
    fn rest(&mut self) -> Outcome {
        let at = (self.rests % self.machines.len() as u64) as usize;
        self.rests += 1;
        self.look_at_records()?;
        let before = self.verified()?;
        let other = 1 - at;
        self.freeze(other)?;
        self.set_network(Way::Open);
        self.replace(at)?;
        std::thread::sleep(Duration::from_millis(2000));
        self.machines[other].process.thaw()?;
        let until = Instant::now() + Duration::from_secs(60);
        while self.verified()? <= before {
            if Instant::now() > until {
                return Err("the workers did not get anything done for a minute".into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        self.outsider.look(&self.pool, &mut self.dice)
    }

    /// Runs of all machines that counted.
    fn verified(&self) -> Outcome<u64> {
        let workers: Vec<wire::Worker> = self.pool.ask(&self.pool.operator, &["workers"])?;
        Ok(workers.iter().map(|worker| worker.verified).sum())
    }

    /// Lets everything finish and checks it.
    fn end(&mut self) -> Outcome<Report> {
        self.set_network(Way::Open);
        self.machines.iter().try_for_each(|machine| machine.process.thaw())?;
        self.stop.store(true, Ordering::Relaxed);
        let mut books = Vec::new();
        for customer in self.customers.drain(..) {
            books.push(customer.join().map_err(|_| "a customer panicked")??);
        }
        if self.machines.iter_mut().any(|machine| !machine.process.is_alive()) {
            return Err("a worker gave up".into());
        }
        self.finish_jobs(&books, "every task is decided", |job| job.over)?;
        self.let_checks_end(&books)?;
        let operator = self.pool.client(&self.pool.operator)?;
        // The clients were used on other runtimes; these connections belong to the one that checks.
        let tokens = self.tokens.iter().map(|(name, token)| Ok((name.clone(), self.pool.client(token)?)));
        let accounts = tokens.collect::<Outcome<BTreeMap<_, _>>>()?;
        let owners = OWNERS.map(str::to_owned);
        let tally = Tally { operator: &operator, accounts: &accounts, owners: &owners, books: &books };
        let counted = block_on(tally.check())?;
        // What a restart finds is the same again.
        self.pool.hub()?.kill()?;
        self.pool.start_hub()?;
        block_on(tally.check())?;
        self.outsider.look(&self.pool, &mut self.dice)?;
        self.pool.hub()?.stop(Duration::from_secs(30))?;
        self.check_log()?;
        self.outsider.verify(&self.pool)?;
        Ok(self.reported(&books, &counted))
    }

    /// Waits until every job is as it shall be.
    fn finish_jobs(&self, books: &[Notebook], what: &str, is_so: impl Fn(&wire::Job) -> bool) -> Outcome {
        let until = Instant::now() + Duration::from_secs(300);
        for command in books.iter().flat_map(|book| &book.commands) {
            let Some(id) = command.job() else { continue };
            let client = self.pool.client(&self.tokens[&command.caller])?;
            block_on(async {
                loop {
                    let job: wire::Job = client.get(&format!("/v1/jobs/{id}?wait_ms=5000")).await?;
                    if is_so(&job) {
                        return Outcome::Ok(());
                    }
                    if Instant::now() > until {
                        return Err(format!("{what}: not within five minutes: {job:?}").into());
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            })?;
        }
        Ok(())
    }

    /// Pay that waits for a check is settled once the time for checks is over.
    fn let_checks_end(&mut self, books: &[Notebook]) -> Outcome {
        self.look_at_records()?;
        if let Some(clock) = &self.clock {
            clock.set(CHECKS_OVER_S);
        }
        self.finish_jobs(books, "every check is over", |job| job.provisional == 0 && job.doubted == 0)
    }

    fn check_log(&self) -> Outcome {
        let folder = self.pool.data.to_string_lossy().into_owned();
        let verified: Value = self.pool.ask(&self.pool.operator, &["log", "verify", &folder])?;
        if verified["sound"] != true {
            return Err(format!("the log is not sound: {verified}").into());
        }
        let said = self.pool.hub_log();
        let bad = |line: &&str| line.contains("panicked") || line.contains(" ERROR ");
        said.lines().find(bad).map_or(Ok(()), |line| Err(format!("the hub said: {line}").into()))
    }

    fn reported(&self, books: &[Notebook], counted: &Counted) -> Report {
        Report {
            commands: books.iter().map(|book| book.commands.len() as u64).sum(),
            refusals: counted.refusals as u64,
            resent: books.iter().map(|book| book.resent).sum(),
            transfers: counted.transfers as u64,
            jobs: counted.jobs as u64,
            runs_paid: counted.runs_paid as u64,
            receipts: self.outsider.receipts,
            seconds: self.began.elapsed().as_secs(),
            ..self.report.clone()
        }
    }
}
