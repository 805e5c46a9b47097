//! What a job will cost, measured: a few of its tasks run here, as every worker would run them.
//!
//! Fuel is deterministic, so what a task burns here is what it will cost. The samples are the smallest, the
//! median and the largest task by the size of their files; between them fuel is interpolated by size.

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use pumasi_types::{Amount, ByteSize, Ending, Fuel, Limits, Price, TaskIndex, Time};
use pumasi_worker::InFile;
use pumasi_worker::engine::{Compiler, Engine, EngineConfig, Module, ModuleError, RunSpec, StopFlag};
use pumasi_worker::inputs::PROGRAM;

use super::options::JobOptions;
use super::origin::Origin;
use super::plan::{Plan, PlannedTask, Tasks};
use crate::error::CliError;
use crate::output::Output;
use crate::profile::base_dir;
use crate::units::{about, about_credits, credits};

/// Tasks that are tried.
const SAMPLES: usize = 3;
/// Time for all of them together.
const PATIENCE: Duration = Duration::from_secs(2);
/// Inputs beyond which nothing is tried, in bytes.
const INPUT_MAX: u64 = 512 << 20;
/// Fuel of a run that is only bounded by time.
const UNBOUNDED: Fuel = Fuel(1 << 50);
/// Stack of the thread that runs a guest; the engine needs 2 MiB.
const STACK: usize = 8 << 20;
/// The least fuel limit that is chosen for a job: a hundredth of a core-second.
const LIMIT_MIN: u64 = 10_000_000;
/// How much more than the largest sample a run may burn.
const LIMIT_FACTOR: u64 = 4;

/// What became of a task that was tried here.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// Which task.
    pub(crate) index: usize,
    /// Size of its own file, in bytes.
    size: u64,
    /// Fuel that it burnt.
    fuel: u64,
    /// How it ended; none when there was no time to end.
    ending: Option<Ending>,
    /// Why it failed, in the guest's or the engine's words.
    reason: Option<String>,
}

/// What a job will cost.
#[derive(Clone, Debug)]
pub(crate) struct Estimate {
    /// What was tried; never empty.
    pub(crate) samples: Vec<Sample>,
    /// All tasks, of all owners that must agree, at the bid.
    pub(crate) cost: Amount,
    /// Fuel of a task on average.
    pub(crate) mean_fuel: u64,
}

impl Sample {
    fn has_failed(&self) -> bool {
        self.ending.is_some_and(|ending| !ending.is_success())
    }

    /// Which task failed here, and how.
    fn describe(&self, plan: &Plan) -> String {
        let ending = self.ending.map_or_else(String::new, |ending| ending.to_string());
        let reason = self.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
        format!("task '{}': {ending}{reason}", plan.task_name(self.index))
    }
}

impl Estimate {
    /// Whether all samples came to their end; otherwise the cost is only a lower bound.
    pub(crate) fn is_complete(&self) -> bool {
        self.samples.iter().all(|sample| sample.ending.is_some())
    }

    /// The estimate in one line.
    pub(crate) fn line(&self, plan: &Plan, options: &JobOptions) -> String {
        let (tasks, fuel) = (plan.count(), about(self.mean_fuel));
        let more = if self.is_complete() { "" } else { "more than " };
        let s = if tasks == 1 { "" } else { "s" };
        let quorum = match options.quorum {
            1 => String::new(),
            quorum => format!(" × quorum {quorum}"),
        };
        format!(
            "estimate {more}{} CRD ({tasks} task{s} × ~{fuel} fuel{quorum} at bid {}), at most {} CRD",
            about_credits(self.cost),
            credits(options.bid.as_amount()),
            credits(options.budget),
        )
    }

    fn new(samples: Vec<Sample>, sizes: &[u64], bid: Price, quorum: u8) -> Estimate {
        let points = points(&samples);
        let (mut cost, mut fuel_sum) = (0_i128, 0_u128);
        for size in sizes {
            let fuel = interpolate(&points, *size);
            fuel_sum += u128::from(fuel);
            cost += bid.cost(Fuel(fuel)).map_or(i128::from(i64::MAX), |cost| i128::from(cost.0));
        }
        let cost = i64::try_from(cost * i128::from(quorum)).unwrap_or(i64::MAX);
        let mean_fuel = u64::try_from(fuel_sum / sizes.len().max(1) as u128).unwrap_or(u64::MAX);
        Estimate { samples, cost: Amount(cost), mean_fuel }
    }
}

/// Sizes and their mean fuel, in ascending order of the sizes.
fn points(samples: &[Sample]) -> Vec<(u64, u64)> {
    let mut samples: Vec<_> = samples.iter().map(|sample| (sample.size, sample.fuel)).collect();
    samples.sort_unstable();
    let groups = samples.chunk_by(|a, b| a.0 == b.0);
    groups
        .map(|group| (group[0].0, group.iter().map(|(_, fuel)| fuel).sum::<u64>() / group.len() as u64))
        .collect()
}

/// The fuel of a task with a file of this size: linear between the points, as at the nearest outside them.
fn interpolate(points: &[(u64, u64)], size: u64) -> u64 {
    let Some(after) = points.iter().position(|point| point.0 >= size) else {
        return points.last().map_or(0, |point| point.1);
    };
    let (right, left) = (points[after], points[after.saturating_sub(1)]);
    if right.0 == left.0 {
        return right.1;
    }
    let (span, step) = (i128::from(right.0 - left.0), i128::from(size - left.0));
    let fuel = i128::from(left.1) + (i128::from(right.1) - i128::from(left.1)) * step / span;
    u64::try_from(fuel).unwrap_or(0)
}

/// Tries some tasks and tells what the job will cost; none when that cannot be known here.
///
/// # Errors
/// When the program is no guest, the estimate exceeds the budget, or all samples fail; the last two only
/// without `--yes`.
pub(crate) async fn check(
    plan: &Plan,
    options: &JobOptions,
    out: &Output,
) -> Result<Option<Estimate>, CliError> {
    if options.no_estimate {
        return Ok(None);
    }
    let Some(estimate) = measure(plan, options, out).await? else { return Ok(None) };
    out.note(&estimate.line(plan, options));
    // A single task is like a local command: its exit code is its answer, whatever it is.
    let many = plan.count() > 1;
    let failed: Vec<_> = estimate.samples.iter().filter(|sample| many && sample.has_failed()).collect();
    if many && !options.yes && failed.len() == estimate.samples.len() {
        return Err(CliError::AllSamplesFail { tried: failed.len(), example: failed[0].describe(plan) });
    }
    for sample in failed {
        out.warn(&format!("tried here, {}", sample.describe(plan)));
    }
    if !options.yes && estimate.cost > options.budget {
        let (estimate, budget) = (about_credits(estimate.cost), credits(options.budget));
        return Err(CliError::TooExpensive { estimate, budget });
    }
    Ok(Some(estimate))
}

/// The fuel that a run may burn when nobody says: enough for surprises, little enough that the budget
/// carries many runs at once.
pub(crate) fn fuel_limit(estimate: Option<&Estimate>, options: &JobOptions) -> Fuel {
    let usual = Limits::default().fuel.0;
    let wanted = match estimate {
        Some(estimate) if estimate.is_complete() => {
            let largest = estimate.samples.iter().map(|sample| sample.fuel).max().unwrap_or(0);
            largest.saturating_mul(LIMIT_FACTOR).max(LIMIT_MIN)
        }
        _ => usual,
    };
    let price = u128::from(options.bid.0) * u128::from(options.runs_to_cover());
    let budget = u128::try_from(options.budget.0).unwrap_or(0);
    let affordable = (budget * u128::from(Fuel::PER_CORE_SECOND.0)).checked_div(price);
    let affordable = affordable.map_or(u64::MAX, |fuel| u64::try_from(fuel).unwrap_or(u64::MAX));
    Fuel(wanted.min(affordable).max(1))
}

async fn measure(plan: &Plan, options: &JobOptions, out: &Output) -> Result<Option<Estimate>, CliError> {
    let Some(inputs) = here(plan) else {
        out.note("no estimate: some of the inputs lie in the hub");
        return Ok(None);
    };
    let sizes = sizes(plan)?;
    let chosen = choose(&sizes);
    let shared = inputs.iter().map(|(_, path)| size_of_file(path)).sum::<Result<u64, _>>()?;
    if shared + chosen.iter().map(|index| sizes[*index]).sum::<u64>() > INPUT_MAX {
        out.note("no estimate: the inputs are larger than 512 MiB");
        return Ok(None);
    }
    let wasm = read(&plan.program)?;
    let mut specs = Vec::new();
    let mut files = Vec::new();
    for (name, path) in inputs {
        files.extend(InFile::new(name, read(path)?));
    }
    for index in chosen {
        specs.push((index, sizes[index], spec(plan, options, index, &files)?));
    }
    let (memory, patience) = (options.memory, PATIENCE.min(Duration::from_millis(options.wall)));
    let (tell, told) = tokio::sync::oneshot::channel();
    let stop = StopFlag::default();
    let _stop = StopOnDrop(stop.clone());
    let thread = std::thread::Builder::new().name("estimate".to_owned()).stack_size(STACK);
    let started = thread.spawn(move || {
        // Nobody waits any more after Ctrl-C.
        let _ = tell.send(try_here(&wasm, memory, specs, patience, &stop));
    });
    let samples = match started.map(|_| told) {
        Ok(told) => told.await.unwrap_or_else(|_| Err(Obstacle::Machine("the trial broke off".to_owned()))),
        Err(error) => Err(Obstacle::Machine(error.to_string())),
    };
    match samples {
        Ok(samples) if samples.is_empty() => Ok(None),
        Ok(samples) => Ok(Some(Estimate::new(samples, &sizes, options.bid, options.quorum))),
        Err(Obstacle::Module(source)) => Err(CliError::BadModule { path: plan.program.clone(), source }),
        Err(Obstacle::Machine(reason)) => {
            out.note(&format!("no estimate: this machine cannot try a task: {reason}"));
            Ok(None)
        }
    }
}

/// Ends a run whose result nobody waits for.
struct StopOnDrop(StopFlag);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.set();
    }
}

/// Why nothing could be tried.
enum Obstacle {
    /// The module is none that any worker would run.
    Module(ModuleError),
    /// This machine cannot run it, others may.
    Machine(String),
}

fn try_here(
    wasm: &[u8],
    memory: ByteSize,
    specs: Vec<(usize, u64, RunSpec)>,
    patience: Duration,
    stop: &StopFlag,
) -> Result<Vec<Sample>, Obstacle> {
    let cache_dir = base_dir("XDG_CACHE_HOME", ".cache").ok().map(|dir| dir.join("pumasi/modules"));
    // The module is the caller's own.
    let config = EngineConfig { slots: 1, memory_max: memory, cache_dir, compiler: Compiler::Here };
    let engine = Engine::new(&config)
        .or_else(|_| Engine::new(&EngineConfig { cache_dir: None, ..config }))
        .map_err(|error| Obstacle::Machine(error.to_string()))?;
    let module = engine.load(wasm).map_err(|error| match error.ending() {
        Ending::BadModule => Obstacle::Module(error),
        _ => Obstacle::Machine(error.to_string()),
    })?;
    Ok(run_all(&engine, &module, specs, patience, stop))
}

fn run_all(
    engine: &Engine,
    module: &Module,
    specs: Vec<(usize, u64, RunSpec)>,
    patience: Duration,
    stop: &StopFlag,
) -> Vec<Sample> {
    let started = Instant::now();
    let mut samples = Vec::new();
    for (index, size, mut spec) in specs {
        let left = patience.saturating_sub(started.elapsed());
        if left.is_zero() || stop.is_set() {
            break;
        }
        spec.limits.wall = pumasi_types::Duration(u64::try_from(left.as_nanos()).unwrap_or(u64::MAX));
        let outcome = engine.run(module, spec, stop);
        let ending = Some(outcome.ending).filter(|ending| ending.is_deterministic());
        let said = String::from_utf8_lossy(&outcome.output.stderr);
        let said = said.lines().map(str::trim).find(|line| !line.is_empty());
        let said = said.map(|line| crate::output::harmless(&line.chars().take(200).collect::<String>()));
        let reason = said.or(outcome.reason).filter(|_| ending.is_some_and(|ending| !ending.is_success()));
        samples.push(Sample { index, size, fuel: outcome.fuel.0, ending, reason });
    }
    samples
}

/// The tasks that are tried: the smallest, the median and the largest.
fn choose(sizes: &[u64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by_key(|index| sizes[*index]);
    let last = sizes.len().saturating_sub(1);
    let mut ranks: Vec<usize> = (0..SAMPLES).map(|sample| last * sample / (SAMPLES - 1)).collect();
    ranks.dedup();
    ranks.into_iter().filter_map(|rank| order.get(rank).copied()).collect()
}

/// The size of each task's own file; 0 for those without.
fn sizes(plan: &Plan) -> Result<Vec<u64>, CliError> {
    match &plan.tasks {
        Tasks::Count(count) => Ok(vec![0; *count as usize]),
        Tasks::List(list) => list
            .iter()
            .map(|task| match &task.file {
                Some(Origin::Piped(bytes)) => Ok(bytes.len() as u64),
                Some(Origin::Here(path)) => size_of_file(path),
                // Nothing is tried when something lies elsewhere.
                None | Some(Origin::Space(_) | Origin::Blob(_) | Origin::Result(..)) => Ok(0),
            })
            .collect(),
    }
}

/// The files that all tasks share, if they and those of the tasks are all on this machine.
fn here(plan: &Plan) -> Option<Vec<(&str, &Path)>> {
    let tasks: &[PlannedTask] = if let Tasks::List(list) = &plan.tasks { list } else { &[] };
    let mut own = tasks.iter().filter_map(|task| task.file.as_ref());
    if own.any(|file| file.source().is_none()) {
        return None;
    }
    let mut files = Vec::with_capacity(plan.inputs.len());
    for (name, shared) in &plan.inputs {
        let Origin::Here(path) = shared else { return None };
        files.push((name.as_str(), path.as_path()));
    }
    Some(files)
}

fn size_of_file(path: &Path) -> Result<u64, CliError> {
    std::fs::metadata(path).map(|metadata| metadata.len()).map_err(CliError::file("read", path))
}

fn read(path: &Path) -> Result<Bytes, CliError> {
    std::fs::read(path).map(Bytes::from).map_err(CliError::file("read", path))
}

/// What a worker would give this task.
fn spec(plan: &Plan, options: &JobOptions, index: usize, shared: &[InFile]) -> Result<RunSpec, CliError> {
    let mut files = shared.to_vec();
    let (mut arg, mut stdin, mut input) = ("", Bytes::new(), String::new());
    let name = plan.task_name(index);
    if let Tasks::List(list) = &plan.tasks {
        let task = &list[index];
        arg = task.arg.as_deref().unwrap_or("");
        if let Some(file) = &task.file {
            stdin = match file {
                Origin::Piped(bytes) => bytes.clone(),
                Origin::Here(path) => read(path)?,
                Origin::Space(_) | Origin::Blob(_) | Origin::Result(..) => Bytes::new(),
            };
            input = format!("/in/{name}");
            files.extend(InFile::new(&name, stdin.clone()));
        }
    }
    let index_text = index.to_string();
    let own = [("{index}", index_text.as_str()), ("{name}", &name), ("{input}", &input), ("{arg}", arg)];
    let program = std::iter::once(PROGRAM.to_owned());
    let millis = |ms| pumasi_types::Duration::from_millis(ms);
    Ok(RunSpec {
        args: program.chain(options.args.iter().map(|text| fill(text, &own))).collect(),
        env: options.env.iter().map(|text| fill(text, &own)).collect(),
        stdin,
        files,
        clock: Time(u64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(0)),
        seed: options.seed,
        task: TaskIndex(u32::try_from(index).unwrap_or(u32::MAX)),
        limits: Limits {
            fuel: options.fuel.unwrap_or(UNBOUNDED),
            memory: options.memory,
            wall: millis(options.wall),
            output: options.output_limit,
        },
    })
}

/// The text with place-holders filled in, in one pass: what is filled in is not looked at again.
fn fill(text: &str, own: &[(&str, &str)]) -> String {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    'text: while let Some(brace) = rest.find('{') {
        filled.push_str(&rest[..brace]);
        rest = &rest[brace..];
        for (holder, value) in own {
            if let Some(after) = rest.strip_prefix(holder) {
                filled.push_str(value);
                rest = after;
                continue 'text;
            }
        }
        filled.push('{');
        rest = &rest[1..];
    }
    filled + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(size: u64, fuel: u64) -> Sample {
        let ending = Some(Ending::Exited { code: 0 });
        Sample { index: 0, size, fuel, ending, reason: None }
    }

    #[test]
    fn smallest_median_and_largest_are_tried() {
        assert_eq!(choose(&[]), [] as [usize; 0]);
        assert_eq!(choose(&[5]), [0]);
        assert_eq!(choose(&[5, 1]), [1, 0]);
        assert_eq!(choose(&[9, 1, 5, 3, 7]), [1, 2, 0]);
        assert_eq!(choose(&[0; 101]), [0, 50, 100]);
    }

    #[test]
    fn the_cost_is_exact_for_programs_that_are_linear_in_their_input() {
        let sizes: Vec<u64> = (1..=100).collect();
        let linear = |size| 1_000_000 + 20_000 * size;
        let samples = [1, 50, 100].map(|size| sample(size, linear(size))).to_vec();
        let estimate = Estimate::new(samples, &sizes, Price::ONE_CREDIT, 2);
        let fuel: u64 = sizes.iter().map(|size| linear(*size)).sum();
        assert_eq!(estimate.cost, Amount(i64::try_from(fuel / 1_000 * 2).unwrap()));
        assert_eq!(estimate.mean_fuel, fuel / 100);
    }

    #[test]
    fn equal_sizes_are_averaged_and_huge_costs_do_not_overflow() {
        let estimate =
            Estimate::new(vec![sample(0, 1_000), sample(0, 3_000)], &[0; 10], Price::ONE_CREDIT, 1);
        assert_eq!((estimate.cost, estimate.mean_fuel), (Amount(20), 2_000));
        let estimate = Estimate::new(vec![sample(0, u64::MAX)], &[0; 3], Price(u64::MAX), 255);
        assert_eq!(estimate.cost, Amount(i64::MAX));
        assert_eq!(interpolate(&[(10, 100), (20, 50)], 15), 75);
        assert_eq!(interpolate(&[(10, 100), (20, 50)], 99), 50);
        assert_eq!(interpolate(&[(10, 100)], 0), 100);
    }

    #[test]
    fn place_holders_are_filled_once() {
        let own = [("{index}", "3"), ("{arg}", "{index}")];
        assert_eq!(fill("a{index}b{arg}{other}{", &own), "a3b{index}{other}{");
        assert_eq!(fill("", &own), "");
    }
}
