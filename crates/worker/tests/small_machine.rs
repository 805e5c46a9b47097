//! A machine with little address space still runs guests, with the same results and fuel.

mod guest;

use std::process::Command;

use guest::spec;
use pumasi_types::{ByteSize, Ending, Trap};
use pumasi_worker::engine::{Compiler, Engine, EngineConfig, RunOutcome, StopFlag};

const INNER: &str = "PUMASI_TEST_SMALL_MACHINE";

/// Endings and fuel of guests that touch the edges of their memory.
fn facts() -> Vec<(Ending, u64)> {
    let config =
        EngineConfig { slots: 4, memory_max: ByteSize::mib(64), cache_dir: None, compiler: Compiler::Here };
    let engine = Engine::new(&config).unwrap();
    let at_edges = [
        "(drop (i32.load (i32.const 65532)))",
        "(drop (i32.load (i32.const 65533)))",
        "(drop (i32.load offset=0xffffffff (i32.const -1)))",
        "(drop (memory.grow (i32.const 200))) (i32.store (i32.const 13000000) (i32.const 1))",
        "(drop (memory.grow (i32.const 300)))",
        "(loop (br 0))",
    ];
    let run = |instructions: &str| {
        let wasm = guest::wasm(&format!("(func (export \"_start\") {instructions})"));
        let module = engine.load(&wasm).unwrap();
        let RunOutcome { ending, fuel, .. } = engine.run(&module, spec(), &StopFlag::default());
        (ending, fuel.0)
    };
    at_edges.into_iter().map(run).collect()
}

#[test]
fn little_address_space() {
    let facts = facts();
    if std::env::var_os(INNER).is_some() {
        println!("facts: {facts:?}");
        return;
    }
    let endings: Vec<Ending> = facts.iter().map(|(ending, _)| *ending).collect();
    let out_of_bounds = Ending::Trapped { trap: Trap::MemoryOutOfBounds };
    let exited = Ending::Exited { code: 0 };
    let expected = [exited, out_of_bounds, out_of_bounds, exited, Ending::OutOfMemory, Ending::OutOfFuel];
    assert_eq!(endings, expected);
    // 2 GiB of addresses: not even one slot of 4 GiB fits.
    let output = Command::new("sh")
        .args(["-c", "ulimit -v 2097152 && exec \"$0\" --exact little_address_space --nocapture"])
        .arg(std::env::current_exe().unwrap())
        .env(INNER, "1")
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{stdout}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(stdout.contains(&format!("facts: {facts:?}")), "{facts:?} expected in:\n{stdout}");
}
