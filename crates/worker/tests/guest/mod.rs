//! What the tests of the engine share: an engine, modules from text, and runs of them.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::sync::OnceLock;

use pumasi_types::{ByteSize, Duration, Ending, Fuel, Limits, Time};
use pumasi_worker::engine::{Compiler, Engine, EngineConfig, Module, RunOutcome, RunSpec, StopFlag};

/// A fresh engine without a cache.
pub(crate) fn new_engine() -> Engine {
    Engine::new(&EngineConfig {
        slots: 16,
        memory_max: ByteSize::mib(256),
        cache_dir: None,
        compiler: Compiler::Here,
    })
    .unwrap()
}

/// The engine of this test program.
pub(crate) fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(new_engine)
}

/// Small limits, so that what breaks them does so soon.
pub(crate) fn limits() -> Limits {
    Limits {
        fuel: Fuel(100_000_000),
        memory: ByteSize::mib(16),
        wall: Duration::from_secs(60),
        output: ByteSize(100_000),
    }
}

/// An input for a run under [`limits`], with the clock at 1,700,000,000 s.
pub(crate) fn spec() -> RunSpec {
    RunSpec { limits: limits(), clock: Time(1_700_000_000_000_000_000), ..RunSpec::default() }
}

/// The module of a text; `body` is a list of functions and data beside a memory of one page.
pub(crate) fn module(body: &str) -> Module {
    engine().load(&wasm(body)).unwrap()
}

/// The bytes of a text as in [`module`].
pub(crate) fn wasm(body: &str) -> Vec<u8> {
    wat::parse_str(format!("(module {IMPORTS} (memory (export \"memory\") 1) {body})")).unwrap()
}

/// Runs a text under [`spec`].
pub(crate) fn run(body: &str) -> RunOutcome {
    run_with(body, spec())
}

/// Runs a text with a given input.
pub(crate) fn run_with(body: &str, spec: RunSpec) -> RunOutcome {
    engine().run(&module(body), spec, &StopFlag::default())
}

/// Runs `_start` with these instructions.
pub(crate) fn run_start(instructions: &str) -> RunOutcome {
    run(&format!("(func (export \"_start\") {instructions})"))
}

/// Runs a function `$test` that returns a number, which becomes the exit code.
pub(crate) fn code_of(body: &str) -> u32 {
    code_with(body, spec())
}

/// The same with a given input.
pub(crate) fn code_with(body: &str, spec: RunSpec) -> u32 {
    let body = format!("{body} (func (export \"_start\") (call $exit (call $test)))");
    match run_with(&body, spec) {
        RunOutcome { ending: Ending::Exited { code }, .. } => code,
        other => panic!("the guest did not exit: {other:?}"),
    }
}

/// The imports that texts may use.
const IMPORTS: &str = r#"
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (import "wasi_snapshot_preview1" "proc_raise" (func $raise (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_seek" (func $seek (param i32 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_close" (func $close (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_renumber" (func $renumber (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_readdir" (func $readdir (param i32 i32 i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_filestat_set_size" (func $set_size (param i32 i64) (result i32)))
  (import "wasi_snapshot_preview1" "fd_allocate" (func $allocate (param i32 i64 i64) (result i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_create_directory" (func $mkdir (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_unlink_file" (func $unlink (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_remove_directory" (func $rmdir (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_rename"
    (func $rename (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_symlink" (func $symlink (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_link"
    (func $link (param i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_filestat_get" (func $stat (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "clock_time_get" (func $time (param i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $args (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_shutdown" (func $shutdown (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sched_yield" (func $yield (result i32)))
"#;
