//! What others do with the same orders on the same machine in the same run, as far as they can be installed: an order
//! is done once by its id, takes stock, takes money from its customer, notes who gets it, and is durable when answered.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::Options;
use crate::Outcome;
use crate::process::Guarded;

/// Seconds of each measurement.
const SECONDS: u32 = 8;
/// Orders of a batch of PostgreSQL.
const BATCH: u32 = 8_000;

/// One order: refused when it was there before, when there is no stock or no money. Balances of merchants and what
/// the platform and the state get are sums over the queue, so that no row is hot but the article.
const REDIS_ORDER: &str = "
local article = tonumber(ARGV[4]) % tonumber(ARGV[6])
if tonumber(ARGV[5]) < tonumber(ARGV[7]) then article = 0 end
local order, stock, purse = 'o:' .. ARGV[1] .. ARGV[2], 's:' .. article, 'c:' .. tonumber(ARGV[3])
if not redis.call('SET', order, purse, 'NX', 'EX', 86400) then return 'known' end
if tonumber(redis.call('GET', stock)) < 1 then return 'no stock' end
if tonumber(redis.call('GET', purse)) < 1100 then return 'no money' end
redis.call('DECRBY', stock, 1)
redis.call('DECRBY', purse, 1100)
redis.call('INCRBY', 'merchant', 967)
redis.call('RPUSH', 'queue', order .. ' ' .. article)
return 'placed'";

/// Tables, and an order as a function of the server; the second takes many orders as sets.
const POSTGRES_SCHEMA: &str = "
CREATE TABLE articles (id int PRIMARY KEY, price bigint NOT NULL, stock bigint NOT NULL CHECK (stock >= 0)) WITH (fillfactor = 50);
CREATE TABLE customers (id int PRIMARY KEY, balance bigint NOT NULL CHECK (balance >= 0)) WITH (fillfactor = 80);
CREATE TABLE orders (key bigint PRIMARY KEY, customer int NOT NULL, article int NOT NULL, total bigint NOT NULL,
  fee bigint NOT NULL, tax bigint NOT NULL, placed timestamptz NOT NULL DEFAULT now());
INSERT INTO articles SELECT n, 1100, 2000000000 FROM generate_series(1, :articles) n;
INSERT INTO customers SELECT n, 1000000000000 FROM generate_series(1, :customers) n;
CREATE FUNCTION place_order(k bigint, c int, a int) RETURNS bool LANGUAGE plpgsql AS $$
DECLARE p bigint;
BEGIN
  UPDATE customers SET balance = balance - 1100 WHERE id = c AND balance >= 1100;
  IF NOT FOUND THEN RETURN false; END IF;
  UPDATE articles SET stock = stock - 1 WHERE id = a AND stock >= 1 RETURNING price INTO p;
  IF NOT FOUND OR p <> 1100 THEN RAISE 'no stock, or another price'; END IF;
  INSERT INTO orders VALUES (k, c, a, p, p * 3 / 100, p / 11);
  RETURN true;
END $$;
CREATE FUNCTION place_orders(count int, customers int, articles int) RETURNS void LANGUAGE sql AS $$
  WITH wanted AS MATERIALIZED (
    SELECT (random() * 9e18)::bigint AS k, 1 + floor(random() * customers)::int AS c,
      1 + floor(random() * articles)::int AS a FROM generate_series(1, count)),
  new AS (INSERT INTO orders SELECT k, c, a, 1100, 33, 100 FROM wanted ON CONFLICT DO NOTHING
    RETURNING customer, article),
  taken AS (UPDATE articles SET stock = stock - n
    FROM (SELECT article, count(*) AS n FROM new GROUP BY article) s WHERE id = s.article RETURNING 1)
  UPDATE customers SET balance = balance - 1100 * n
    FROM (SELECT customer, count(*) AS n FROM new GROUP BY customer) s WHERE id = s.customer;
$$;
VACUUM ANALYZE;
CHECKPOINT;
";

/// Measures each peer; one that cannot be had says why.
pub(super) fn measure(options: &Options) -> Value {
    let told = |name: &str, measured: Outcome<Value>| {
        let value = measured.unwrap_or_else(|error| json!({ "not_measured": error.to_string() }));
        println!("{name:32} {value}");
        value
    };
    let tigerbeetle = "registries have only its clients; no server could be installed";
    json!({
        "redis": told("Redis, Lua script, AOF always", redis(options)),
        "postgresql": told("PostgreSQL, stored function", postgresql(options)),
        "tigerbeetle": told("TigerBeetle", Err(tigerbeetle.into())),
    })
}

/// A program of a Debian package, which is installed if it is not there.
fn program(name: &str, package: &str) -> Outcome<PathBuf> {
    let there = || {
        let folders = std::env::var_os("PATH").unwrap_or_default();
        let mut folders: Vec<_> = std::env::split_paths(&folders).collect();
        let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        folders.extend(versions.map(|version| version.path().join("bin")));
        folders.into_iter().map(|folder| folder.join(name)).find(|path| path.is_file())
    };
    if there().is_none() {
        let mut install = Command::new("apt-get");
        install.args(["-qq", "-y", "install", package]).stdout(Stdio::null()).stderr(Stdio::null());
        // What it says of its failure is that the program is not there.
        let _ = install.status();
    }
    there().ok_or_else(|| format!("{name} is not there and could not be installed").into())
}

/// What a program prints, if it succeeds.
fn output(command: &mut Command) -> Outcome<String> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{:?}: {}", command.get_program(), said.lines().last().unwrap_or("failed")).into())
}

/// Tries until it succeeds, for half a minute.
fn patiently(mut attempt: impl FnMut() -> Outcome<String>) -> Outcome<String> {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        match attempt() {
            Err(_) if Instant::now() < until => std::thread::sleep(Duration::from_millis(50)),
            done => return done,
        }
    }
}

fn redis(options: &Options) -> Outcome<Value> {
    let server = program("redis-server", "redis-server")?;
    let (client, bench) = (program("redis-cli", "redis-tools")?, program("redis-benchmark", "redis-tools")?);
    let dir = tempfile::tempdir()?;
    let port = crate::pool::free_port()?.to_string();
    let mut command = Command::new(&server);
    command.args(["--port", &port, "--save", "", "--appendonly", "yes", "--appendfsync", "always", "--dir"]);
    command.arg(dir.path()).stdout(Stdio::null());
    let _running = Guarded::spawn(&mut command)?;
    let ask = |words: &[&str]| output(Command::new(&client).args(["-p", &port]).args(words));
    patiently(|| ask(&["ping"]))?;
    let fill = "for n = 0, ARGV[1] - 1 do redis.call('SET', ARGV[2] .. n, ARGV[3]) end";
    let (customers, articles) = (options.customers.to_string(), options.articles.to_string());
    for (prefix, count) in [("c:", &customers), ("s:", &articles)] {
        ask(&["eval", fill, "0", count, prefix, "1000000000000"])?;
    }
    let script = ask(&["script", "load", REDIS_ORDER])?;
    let rate = |hot: f64| {
        let below = (hot * f64::from(options.customers)).to_string();
        let mut words = vec!["--csv", "-p", &port, "-c", "64", "-P", "32", "-n", "600000", "-r", &customers];
        words.extend(["evalsha", &script, "0"]);
        words.extend(["__rand_int__"; 5]);
        words.extend([articles.as_str(), &below]);
        let text = output(Command::new(&bench).args(words))?;
        let fields = text.lines().last().unwrap_or_default().split("\",\"");
        // Its last column before the latencies: requests a second; a script's text has no such separator.
        let rates = fields.filter_map(|field| field.trim_matches('"').parse::<f64>().ok());
        Outcome::Ok(rates.take(1).next().ok_or("redis-benchmark printed no rate")?)
    };
    let (uniform, hot) = (rate(0.0)?, rate(0.9)?);
    let placed: f64 = ask(&["llen", "queue"])?.parse()?;
    if placed < 1_100_000.0 {
        return Err(format!("only {placed} orders were placed").into());
    }
    let version = output(Command::new(&server).arg("--version"))?;
    Ok(json!({ "orders_per_s": uniform, "hot90_orders_per_s": hot, "version": version }))
}

/// A PostgreSQL server in a folder of its own.
struct Postgres {
    dir: TempDir,
    port: String,
    _running: Guarded,
}

/// A command as somebody who may run a PostgreSQL server: it refuses to be run by root.
fn humbly(program: &Path) -> Command {
    if !rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]).arg(program);
    command
}

impl Postgres {
    fn start() -> Outcome<Postgres> {
        let dir = tempfile::tempdir()?;
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(dir.path(), Some(65534), Some(65534))?;
        }
        let data = dir.path().join("data");
        let mut init = humbly(&program("initdb", "postgresql")?);
        output(init.args(["--username=bench", "--auth=trust", "--locale=C", "-D"]).arg(&data))?;
        let port = crate::pool::free_port()?.to_string();
        let mut serve = humbly(&program("postgres", "postgresql")?);
        serve.arg("-D").arg(&data).args(["-p", &port, "-c", "listen_addresses=", "-k"]).arg(dir.path());
        for setting in ["shared_buffers=2GB", "max_wal_size=8GB", "checkpoint_timeout=30min"] {
            serve.args(["-c", setting]);
        }
        let running = Guarded::spawn(serve.stdout(Stdio::null()).stderr(Stdio::null()))?;
        Ok(Postgres { dir, port, _running: running })
    }

    fn tool(&self, name: &str) -> Outcome<Command> {
        let mut command = Command::new(program(name, "postgresql")?);
        command.arg("-h").arg(self.dir.path()).args(["-p", &self.port, "-U", "bench"]);
        Ok(command)
    }

    /// Transactions of a script in a second.
    fn rate(&self, script: &str, clients: u32) -> Outcome<f64> {
        let file = self.dir.path().join("script.sql");
        std::fs::write(&file, script)?;
        let mut bench = self.tool("pgbench")?;
        bench.args(["-n", "-M", "prepared", "-c", &clients.to_string(), "-T", &SECONDS.to_string(), "-f"]);
        let said = output(bench.arg(&file).arg("postgres"))?;
        let rate = said.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
        rate.ok_or_else(|| "pgbench printed no rate".into())
    }
}

fn postgresql(options: &Options) -> Outcome<Value> {
    let postgres = Postgres::start()?;
    let ask = |text: &str| output(postgres.tool("psql")?.args(["-qAtc", text, "postgres"]));
    patiently(|| ask("SELECT 1"))?;
    let schema = postgres.dir.path().join("schema.sql");
    std::fs::write(&schema, POSTGRES_SCHEMA)?;
    let Options { customers, articles, .. } = options;
    let (all_customers, all_articles) = (format!("customers={customers}"), format!("articles={articles}"));
    let mut fill = postgres.tool("psql")?;
    fill.args(["-q", "-v", "ON_ERROR_STOP=1", "-v", &all_customers, "-v", &all_articles, "-f"]);
    output(fill.arg(&schema).arg("postgres"))?;
    let one = |article: &str| {
        format!(
            "\\set k random(1, 9000000000000000000)\n\\set c random(1, {customers})\n\
             \\set a random(1, {articles})\n\\set h random(1, 10)\nSELECT place_order(:k, :c, {article});\n"
        )
    };
    let uniform = postgres.rate(&one(":a"), 64)?;
    let hot = postgres.rate(&one("CASE WHEN :h < 10 THEN 1 ELSE :a END"), 64)?;
    let many = format!("SELECT place_orders({BATCH}, {customers}, {articles});\n");
    let batches = postgres.rate(&many, 1)? * f64::from(BATCH);
    let version = ask("SHOW server_version")?;
    Ok(json!({
        "orders_per_s": uniform.round(), "hot90_orders_per_s": hot.round(),
        "in_batches_orders_per_s": batches.round(), "version": version,
    }))
}
