//! What others do with no-op tasks on the same machine in the same run, as far as they can be installed.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::{Value, json};

use crate::Outcome;
use crate::build::root;

/// Dask: two worker processes, many no-op calls at once, then one by one.
const DASK: &str = r#"
import json, time, statistics
from dask.distributed import Client, LocalCluster
if __name__ == "__main__":
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        noop = lambda i: None
        client.gather(client.map(noop, range(200)))
        start = time.perf_counter(); n = 5000
        client.gather(client.map(noop, range(1000, 1000 + n), pure=False))
        rate = n / (time.perf_counter() - start)
        times = []
        for i in range(200):
            start = time.perf_counter(); client.submit(noop, i, pure=False).result(); times.append(time.perf_counter() - start)
        print(json.dumps({"tasks_per_s": round(rate), "latency_p50_ms": statistics.median(times) * 1000}))
"#;

/// Ray: the same.
const RAY: &str = r#"
import json, time, statistics, os
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
import ray
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
@ray.remote
def noop(): return None
ray.get([noop.remote() for _ in range(200)])
start = time.perf_counter(); n = 10000
ray.get([noop.remote() for _ in range(n)])
rate = n / (time.perf_counter() - start)
times = []
for _ in range(300):
    start = time.perf_counter(); ray.get(noop.remote()); times.append(time.perf_counter() - start)
print(json.dumps({"tasks_per_s": round(rate), "latency_p50_ms": statistics.median(times) * 1000}))
"#;

/// Measures each peer; one that cannot be had says why.
pub(super) fn measure() -> Value {
    let told = |name: &str, measured: Outcome<Value>| {
        let value = measured.unwrap_or_else(|error| json!({ "not_measured": error.to_string() }));
        println!("{name:29} {value}");
        value
    };
    json!({
        "gnu_parallel": told("GNU parallel, /bin/true", parallel()),
        "dask": told("Dask, 2 workers", python("dask", "dask[distributed]", DASK)),
        "ray": told("Ray, 2 CPUs", python("ray", "ray", RAY)),
    })
}

fn parallel() -> Outcome<Value> {
    let version = |command: &mut Command| {
        command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
    };
    if !version(Command::new("parallel").arg("--version")) {
        let mut install = Command::new("apt-get");
        if !version(install.args(["-qq", "-y", "install", "parallel"])) {
            return Err("GNU parallel is not there and could not be installed".into());
        }
    }
    let count = 2_000;
    let started = Instant::now();
    let mut command = Command::new("sh");
    command.args(["-c", &format!("seq {count} | parallel -j2 -n1 /bin/true {{}}")]).stderr(Stdio::null());
    if !command.status()?.success() {
        return Err("GNU parallel failed".into());
    }
    Ok(json!({ "tasks_per_s": (f64::from(count) / started.elapsed().as_secs_f64()).round() }))
}

fn python(name: &str, package: &str, script: &str) -> Outcome<Value> {
    let venv = root().join("target/bench-venv");
    let run = |program: &Path, arguments: &[&str]| -> Outcome<String> {
        let output = Command::new(program).args(arguments).output()?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            return Err(format!("{name}: {}", text.lines().last().unwrap_or("failed")).into());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let interpreter = venv.join("bin/python");
    if !interpreter.exists() {
        run(Path::new("python3"), &["-m", "venv", &venv.to_string_lossy()])?;
    }
    if run(&interpreter, &["-c", &format!("import {name}")]).is_err() {
        run(&interpreter, &["-m", "pip", "install", "--quiet", "--disable-pip-version-check", package])?;
    }
    let file = tempfile::Builder::new().suffix(".py").tempfile()?;
    std::fs::write(file.path(), script)?;
    let output = run(&interpreter, &[&file.path().to_string_lossy()])?;
    let line = output.lines().last().ok_or_else(|| format!("{name} printed nothing"))?;
    Ok(serde_json::from_str(line)?)
}
