//! One large input for many tasks on a few machines: how often it travels.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::Outcome;
use crate::bench::write_random;
use crate::build::{self, Profile, root};
use crate::pool::{Pool, block_on};

/// How large the input is, and for how many.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Length of the input that all tasks share, in MiB
    #[arg(long, default_value_t = 1024)]
    pub(crate) mib: u64,
    /// Tasks
    #[arg(long, default_value_t = 1000)]
    pub(crate) tasks: u32,
    /// Machines that run them
    #[arg(long, default_value_t = 2)]
    pub(crate) machines: u64,
    /// Take the build that the tests use, not one for release
    #[arg(long)]
    pub(crate) dev: bool,
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shared {
    /// Length of the input, in bytes.
    pub(crate) input: u64,
    /// Bytes of inputs that the hub sent.
    pub(crate) sent: u64,
    /// From the order to the end of the job.
    pub(crate) took: Duration,
}

/// Whatever else a job's machines are sent: its module, lists of chunks.
const BESIDES: u64 = 4 << 20;

pub(crate) fn run(options: &Options) -> Outcome {
    let profile = if options.dev { Profile::Dev } else { Profile::Release };
    let program = build::pumasi(profile)?;
    let Shared { input, sent, took } = share(&program, options)?;
    println!(
        "{} tasks on {} machines shared {} MiB: {} MiB were sent, in {:.1} s",
        options.tasks,
        options.machines,
        input >> 20,
        sent >> 20,
        took.as_secs_f64()
    );
    Ok(())
}

/// Has the tasks share an input in real processes; an error when it travelled more than once to a machine.
pub(crate) fn share(program: &Path, options: &Options) -> Outcome<Shared> {
    let pool = Pool::start(program, &[])?;
    let researcher = pool.open_account("researcher", "researcher")?;
    let owner = pool.open_account("owner", "owner")?;
    let _: Value = pool.ask(&pool.operator, &["account", "issue", "researcher", "1000000"])?;
    let input = options.mib << 20;
    let file = pool.dir.path().join("input");
    write_random(&file, options.mib)?;
    let _: Value = pool.ask(&researcher, &["put", &file.to_string_lossy(), ":input"])?;
    std::fs::remove_file(&file)?;
    // A machine holds what its runs share in memory, once.
    let memory = format!("{}MiB", options.mib + 512);
    let cache = format!("{}MiB", options.mib + 64);
    let mut workers = Vec::new();
    for n in 0..options.machines {
        let limits = ["--cores", "1", "--memory", &memory, "--cache-size", &cache];
        workers.push(pool.join(&owner, &format!("machine{n}"), &limits)?);
    }
    pool.wait_for_workers(workers.len())?;
    let before = counter(&pool, "input_bytes")?;
    let (noop, tasks) = (root().join("examples/noop/noop.wasm"), options.tasks.to_string());
    let (noop, began) = (noop.to_string_lossy(), Instant::now());
    let mut order = vec!["run", &noop, "--tasks", &tasks, "--in", ":input", "--budget", "1000"];
    order.extend(["--fuel", "1000000", "--memory", "1MiB", "--checks", "off"]);
    let done: Value = pool.ask(&researcher, &order)?;
    let took = began.elapsed();
    if done["job"]["succeeded"] != options.tasks {
        return Err(format!("not all tasks succeeded: {done}").into());
    }
    let sent = counter(&pool, "input_bytes")? - before;
    let most = options.machines * (input + BESIDES);
    if sent < input || sent > most {
        return Err(format!("{sent} bytes were sent of {input}, of at most {most}").into());
    }
    Ok(Shared { input, sent, took })
}

/// A counter of the hub's metrics.
pub(crate) fn counter(pool: &Pool, name: &str) -> Outcome<u64> {
    let client = pool.client(&pool.operator)?;
    let text = block_on(client.get_bytes("/metrics", 1 << 20))?;
    let line = format!("pumasi_{name}_total ");
    let text = String::from_utf8(text.to_vec())?;
    let value = text.lines().find_map(|text| text.strip_prefix(&line));
    Ok(value.ok_or_else(|| format!("the hub does not count {name}"))?.parse()?)
}
