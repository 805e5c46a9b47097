//! Modules made to harm their compiler, compiled by a child process that is bounded.

mod guest;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Instant;

use guest::{limits, spec};
use pumasi_types::{ByteSize, Ending, Fuel, Limits};
use pumasi_worker::engine::{Compiler, Engine, EngineConfig, RunSpec, StopFlag};

fn with(program: impl Into<PathBuf>, arguments: &[&str]) -> Engine {
    let arguments = arguments.iter().map(OsString::from).collect();
    let compiler = Compiler::Child { program: program.into(), arguments };
    let memory_max = ByteSize::mib(64);
    Engine::new(&EngineConfig { slots: 2, memory_max, cache_dir: None, compiler }).unwrap()
}

fn engine() -> Engine {
    with(env!("CARGO_BIN_EXE_compile-guest"), &[])
}

fn command(body: &str) -> Vec<u8> {
    wat::parse_str(format!("(module (memory (export \"memory\") 1) {body})")).unwrap()
}

#[test]
fn a_child_compiles_what_runs_the_same_here() {
    let wasm = guest::wasm(
        "(data (i32.const 0) \"\\08\\00\\00\\00\\03\\00\\00\\00\") (data (i32.const 8) \"hi\\n\")
         (func $deeper (call $deeper))
         (func (export \"_start\")
           (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 100)))
           (call $deeper))",
    );
    let runs = [&engine(), guest::engine()].map(|engine| {
        let outcome = engine.run(&engine.load(&wasm).unwrap(), spec(), &StopFlag::default());
        (outcome.ending, outcome.fuel, outcome.output)
    });
    assert_eq!(runs[0], runs[1]);
    assert_eq!(runs[0].2.stdout, "hi\n");
}

#[test]
fn a_modules_own_faults_are_its_own_in_a_child_too() {
    let invalid = command("(func (export \"_start\") (drop (i32.add (i32.const 1) (i64.const 1))))");
    for engine in [&engine(), guest::engine()] {
        let error = engine.load(&invalid).unwrap_err();
        assert_eq!(error.ending(), Ending::BadModule, "{error}");
        assert!(error.to_string().contains("type mismatch"), "{error}");
    }
}

#[test]
fn a_child_that_fails_is_the_machines_fault() {
    let wasm = command("(func (export \"_start\"))");
    for (program, arguments) in [
        ("/nonexistent", &[][..]),
        // Says nothing, says too much in vain, kills itself, waits for more than it gets.
        ("/bin/true", &[]),
        ("/bin/false", &[]),
        ("/bin/sh", &["-c", "echo nonsense; exit 70"]),
        ("/bin/sh", &["-c", "cat >/dev/null; kill -9 $$"]),
        ("/bin/sh", &["-c", "exec <&- >&-; sleep 600"]),
    ] {
        let started = Instant::now();
        let error = with(program, arguments).load(&wasm).unwrap_err();
        assert_eq!(error.ending(), Ending::Faulted, "{program} {arguments:?}: {error}");
        assert!(started.elapsed().as_secs() < 60, "{program} {arguments:?}");
    }
}

#[test]
fn a_child_has_no_secrets_and_no_files() {
    // The shell stands for a compiler that a module took over: what it finds comes back as its reason.
    let look = "env; ls /proc/self/fd | wc -l; pwd; exit 65";
    let error = with("/bin/sh", &["-c", look]).load(&command("(func (export \"_start\"))")).unwrap_err();
    let found = error.to_string();
    assert!(!found.contains("HOME=") && !found.contains("CARGO"), "{found}");
    assert!(found.contains("PWD=/"), "{found}");
}

/// Functions of a shape that compilers do not like, as large as a module may have them.
fn bombs() -> Vec<(&'static str, Vec<u8>)> {
    let start = "(func (export \"_start\"))";
    let function = |locals: &str, body: &str| command(&format!("{start} (func {locals} {body})"));
    let blocks = |depth: usize| "(block ".repeat(depth) + &")".repeat(depth);
    let table = |targets: usize| format!("(block (br_table {} (i32.const 0)))", "0 ".repeat(targets));
    let branches: String =
        (0..3_000).map(|n| format!("(br_if {} (local.get {}))", n % 40, n % 200)).collect();
    let live: String = (0..200).map(|n| format!("(local.set {n} (i32.const {n}))")).collect();
    let nested = "(block ".repeat(40) + &live + &branches + &")".repeat(40);
    let adds = "(i32.add (i32.const 1) ".repeat(20_000) + "(i32.const 1)" + &")".repeat(20_000);
    vec![
        ("many functions", command(&(start.to_owned() + &"(func)".repeat(20_000)))),
        ("a huge br_table", function("", &table(400_000))),
        ("deep nesting", function("", &blocks(100_000))),
        ("a deep expression", function("", &format!("(drop {adds})"))),
        ("many locals", function(&format!("(local {})", "i64 ".repeat(49_000)), "")),
        ("many branches over live variables", function(&format!("(local {})", "i32 ".repeat(200)), &nested)),
        ("many globals", command(&(start.to_owned() + &"(global i32 (i32.const 0))".repeat(90_000)))),
    ]
}

#[test]
fn bombs_are_compiled_or_refused_within_bounds() {
    let engine = engine();
    for (name, wasm) in bombs() {
        let started = Instant::now();
        let ended = match engine.load(&wasm) {
            Ok(module) => {
                let outcome = engine.run(&module, spec(), &StopFlag::default());
                assert_eq!(outcome.ending, Ending::Exited { code: 0 }, "{name}: {outcome:?}");
                "compiled".to_owned()
            }
            Err(error) => {
                assert_eq!(error.ending(), Ending::BadModule, "{name}: {error}");
                error.to_string()
            }
        };
        println!("{name}: {} KiB, {ended}, {:?}", wasm.len() >> 10, started.elapsed());
        // The deadline of the compiler, however busy the machine is.
        assert!(started.elapsed().as_secs() < 660, "{name}");
    }
    // The worker is as well as before.
    engine.load(&command("(func (export \"_start\"))")).unwrap();
}

#[test]
fn a_compiler_that_wants_too_much_memory_or_time_ends() {
    // As a compiler would do that a module has driven mad.
    let mad = |script: &str| with("/bin/sh", &["-c", script]);
    let wasm = command("(func (export \"_start\"))");
    let flood = mad("exec cat /dev/zero").load(&wasm).unwrap_err();
    assert_eq!(flood.ending(), Ending::Faulted, "{flood}");
    // The real one under a smaller bound of memory: the largest bomb does not fit.
    let program = env!("CARGO_BIN_EXE_compile-guest");
    let small = mad(&format!("ulimit -v 120000; exec {program} \"$0\""));
    let (_, bomb) = bombs().remove(0);
    let error = small.load(&bomb).unwrap_err();
    assert_eq!(error.ending(), Ending::Faulted, "{error}");
    // And under one of time.
    let quick = mad(&format!("ulimit -t 0; exec {program} \"$0\""));
    let error = quick.load(&bomb).unwrap_err();
    assert_eq!(error.ending(), Ending::Faulted, "{error}");
}

#[test]
fn bombs_at_run_time_end_as_they_do_everywhere() {
    let engine = engine();
    let limits = Limits { fuel: Fuel(20_000_000), memory: ByteSize::mib(4), ..limits() };
    let ending = |text: &str| {
        let module = engine.load(&wat::parse_str(format!("(module {text})")).unwrap()).unwrap();
        engine.run(&module, RunSpec { limits, ..spec() }, &StopFlag::default()).ending
    };
    let start = "(memory (export \"memory\") 1) (func (export \"_start\")";
    assert_eq!(
        ending(&format!("{start} (loop (drop (memory.grow (i32.const 1))) (br 0)))")),
        Ending::OutOfMemory
    );
    // A table stops growing at its bound, which the guest may go on from.
    let tables = "(table $t 1 funcref)";
    let grow = "(loop (drop (table.grow $t (ref.null func) (i32.const 65536))) (br 0)))";
    assert_eq!(ending(&format!("{tables} {start} {grow}")), Ending::OutOfFuel);
    let fits = "(if (i32.ne (table.grow $t (ref.null func) (i32.const 131071)) (i32.const 1)) (then unreachable))
                (if (i32.ne (table.grow $t (ref.null func) (i32.const 1)) (i32.const -1)) (then unreachable)))";
    assert_eq!(ending(&format!("{tables} {start} {fits}")), Ending::Exited { code: 0 });
    let data = format!("(data (i32.const 0) \"{}\")", "x".repeat(2 << 20));
    assert_eq!(
        ending(&format!("(memory (export \"memory\") 65) (func (export \"_start\")) {data}")),
        Ending::OutOfMemory
    );
    let passive = format!("(data $d \"{}\")", "x".repeat(1 << 20));
    let copy = "(loop (memory.init $d (i32.const 0) (i32.const 0) (i32.const 65536)) (br 0)))";
    assert_eq!(ending(&format!("{start} {copy} {passive}")), Ending::OutOfFuel);
}
