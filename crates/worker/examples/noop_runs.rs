//! Measures how many short runs a second this machine starts and ends, and its speed.
//!
//! `cargo run --release -p pumasi-worker --example noop_runs [SECONDS]`

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use pumasi_types::ByteSize;
use pumasi_worker::calibrate::calibrate;
use pumasi_worker::engine::{Compiler, Engine, EngineConfig, Module, RunSpec, StopFlag};

/// Guests that do little, as modules in text.
const GUESTS: [(&str, &str); 5] = [
    ("nothing, 1 page", r#"(module (memory (export "memory") 1) (func (export "_start")))"#),
    (
        "proc_exit, 1 page",
        r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
           (memory (export "memory") 1) (func (export "_start") (call $exit (i32.const 0))))"#,
    ),
    (
        "prints a line, 2 pages with data",
        r#"(module (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
           (memory (export "memory") 2) (data (i32.const 8) "\10\00\00\00\05\00\00\00line\n")
           (func (export "_start") (drop (call $write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 0)))))"#,
    ),
    (
        "touches 4 of 17 pages with data",
        r#"(module (memory (export "memory") 17) (data (i32.const 1048576) "data of a program with a stack")
           (func (export "_start")
             (i32.store (i32.const 1040000) (i32.const 1)) (i32.store (i32.const 1048576) (i32.const 1))
             (i32.store (i32.const 1060000) (i32.const 1)) (i32.store (i32.const 1100000) (i32.const 1))))"#,
    ),
    (
        "writes 1 MiB of 17 pages",
        r#"(module (memory (export "memory") 17)
           (func (export "_start") (memory.fill (i32.const 0) (i32.const 1) (i32.const 1048576))))"#,
    ),
];

fn new_engine() -> Engine {
    Engine::new(&EngineConfig {
        slots: 4,
        memory_max: ByteSize::mib(512),
        cache_dir: None,
        compiler: Compiler::Here,
    })
    .expect("an engine on this machine")
}

/// Runs until the time is over; runs a second.
fn measure(engine: &Engine, module: &Module, time: Duration) -> f64 {
    let stop = StopFlag::default();
    let started = Instant::now();
    let mut runs = 0_u32;
    while started.elapsed() < time {
        for _ in 0..100 {
            let outcome = engine.run(module, RunSpec::default(), &stop);
            assert!(outcome.ending.is_success(), "{outcome:?}");
        }
        runs += 100;
    }
    f64::from(runs) / started.elapsed().as_secs_f64()
}

fn on_threads(wat: &str, threads: usize, time: Duration) -> f64 {
    let engine = new_engine();
    let module = engine.load(&wat::parse_str(wat).expect("a module")).expect("a guest");
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..threads).map(|_| scope.spawn(|| measure(&engine, &module, time))).collect();
        runs.into_iter().map(|run| run.join().expect("a measurement")).sum()
    })
}

fn in_processes(guest: usize, processes: usize, time: Duration) -> f64 {
    let this = std::env::current_exe().expect("the path of this program");
    let children: Vec<_> = (0..processes)
        .map(|_| {
            let mut child = Command::new(&this);
            child.args(["--child", &guest.to_string(), &time.as_secs_f64().to_string()]);
            child.stdout(Stdio::piped()).spawn().expect("a child process")
        })
        .collect();
    let rate = |child: std::process::Child| {
        let output = child.wait_with_output().expect("the child's output");
        String::from_utf8_lossy(&output.stdout).trim().parse::<f64>().expect("a rate")
    };
    children.into_iter().map(rate).sum()
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let seconds = |text: &String| Duration::from_secs_f64(text.parse().expect("seconds"));
    if let [child, guest, time] = &args[..]
        && child == "--child"
    {
        let guest: usize = guest.parse().expect("the number of a guest");
        println!("{}", on_threads(GUESTS[guest].1, 1, seconds(time)));
        return;
    }
    let time = args.first().map_or(Duration::from_secs(1), seconds);
    println!("{:<34} {:>10} {:>10} {:>12}", "runs/s", "1 thread", "2 threads", "2 processes");
    for (number, (name, wat)) in GUESTS.iter().enumerate() {
        let (one, two) = (on_threads(wat, 1, time), on_threads(wat, 2, time));
        println!("{name:<34} {one:>10.0} {two:>10.0} {:>12.0}", in_processes(number, 2, time));
    }
    let engine = new_engine();
    let started = Instant::now();
    let speed = calibrate(&engine).expect("a speed");
    println!("speed {:.3} x 10^9 fuel/s, found in {:?}", speed.0 as f64 / 1e9, started.elapsed());
}
