//! Every way in which a run can end, and that none of them harms the worker.

mod guest;

use std::time::Duration as StdDuration;

use guest::{engine, limits, module, run, run_start, run_with, spec};
use pumasi_types::{ByteSize, Duration, Ending, Fuel, Limits, Trap};
use pumasi_worker::engine::{RunOutcome, RunSpec, StopFlag};

#[track_caller]
fn ends(outcome: &RunOutcome, ending: Ending) {
    assert_eq!(outcome.ending, ending, "{outcome:?}");
    assert_eq!(outcome.reason.is_none(), matches!(ending, Ending::Exited { .. }), "{outcome:?}");
}

#[test]
fn exit_codes() {
    ends(&run_start(""), Ending::Exited { code: 0 });
    ends(&run_start("(call $exit (i32.const 0))"), Ending::Exited { code: 0 });
    ends(&run_start("(call $exit (i32.const 3))"), Ending::Exited { code: 3 });
    ends(&run_start("(call $exit (i32.const -1))"), Ending::Exited { code: u32::MAX });
}

#[test]
fn each_trap() {
    let cases = [
        ("unreachable", Trap::Unreachable),
        ("(drop (i32.div_u (i32.const 1) (i32.load (i32.const 0))))", Trap::DivisionByZero),
        ("(drop (i32.trunc_f64_s (f64.div (f64.const 0) (f64.const 0))))", Trap::BadConversion),
        ("(drop (i32.div_s (i32.const 0x80000000) (i32.const -1)))", Trap::BadConversion),
        ("(drop (i32.load (i32.const -4)))", Trap::MemoryOutOfBounds),
        ("(i32.store (i32.const 65533) (i32.const 1))", Trap::MemoryOutOfBounds),
        ("(memory.fill (i32.const 60000) (i32.const 1) (i32.const 60000))", Trap::MemoryOutOfBounds),
        ("(call_indirect (i32.const 0))", Trap::BadCall),
        ("(call_indirect (param i32) (i32.const 0) (i32.const 1))", Trap::BadCall),
        ("(call_indirect (i32.const 9))", Trap::TableOutOfBounds),
        ("(call $deeper)", Trap::StackOverflow),
        ("(drop (call $raise (i32.const 6)))", Trap::Other),
    ];
    for (instructions, trap) in cases {
        let outcome = run(&format!(
            "(table 2 funcref) (elem (i32.const 1) $deeper)
             (func $deeper (call $deeper))
             (func $nothing)
             (func (export \"_start\") (call $nothing) {instructions})"
        ));
        ends(&outcome, Ending::Trapped { trap });
        assert!(outcome.fuel > Fuel(0), "{instructions}");
    }
}

#[test]
fn out_of_fuel_costs_the_limit() {
    let outcome = run_start("(loop (br 0))");
    ends(&outcome, Ending::OutOfFuel);
    assert_eq!(outcome.fuel, limits().fuel);
    // A host call that the rest does not cover.
    let spec = RunSpec { limits: Limits { fuel: Fuel(50), ..limits() }, ..spec() };
    let outcome = run_with("(func (export \"_start\") (drop (call $yield)))", spec);
    ends(&outcome, Ending::OutOfFuel);
    assert_eq!(outcome.fuel, Fuel(50));
    let spec = RunSpec { limits: Limits { fuel: Fuel(0), ..limits() }, ..guest::spec() };
    ends(&run_with("(func (export \"_start\"))", spec), Ending::OutOfFuel);
}

#[test]
fn host_calls_are_paid() {
    for body in [
        "(loop (drop (call $yield)) (br 0))",
        "(loop (drop (call $poll (i32.const 0) (i32.const 1000) (i32.const 1) (i32.const 2000))) (br 0))",
        "(loop (drop (call $random (i32.const 0) (i32.const 60000))) (br 0))",
        "(loop (drop (call $stat (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 4000) (i32.const 0))) (br 0))",
    ] {
        let outcome = run_start(body);
        ends(&outcome, Ending::OutOfFuel);
        assert_eq!(outcome.fuel, limits().fuel);
    }
    let outcome = run_start(
        "(loop (drop (call $yield)) (drop (memory.grow (i32.const 1)))
               (memory.fill (i32.const 0) (i32.const 1) (i32.const 65536)) (br 0))",
    );
    ends(&outcome, Ending::OutOfMemory);
    assert!(outcome.fuel > Fuel(200 * 65536), "filling memory is paid by the byte");
}

#[test]
fn wall_limit_ends_an_endless_loop() {
    let limits = Limits { fuel: Fuel(u64::MAX), wall: Duration::from_millis(30), ..limits() };
    let outcome = run_with("(func (export \"_start\") (loop (br 0)))", RunSpec { limits, ..spec() });
    ends(&outcome, Ending::TimedOut);
    assert!(outcome.wall >= Duration::from_millis(30));
}

#[test]
fn stop_flag_ends_an_endless_loop() {
    let stop = StopFlag::default();
    let module = module("(func (export \"_start\") (loop (br 0)))");
    let limits = Limits { fuel: Fuel(u64::MAX), ..limits() };
    let outcome = std::thread::scope(|scope| {
        let run = scope.spawn(|| engine().run(&module, RunSpec { limits, ..spec() }, &stop));
        std::thread::sleep(StdDuration::from_millis(20));
        stop.set();
        run.join().unwrap()
    });
    ends(&outcome, Ending::Faulted);
    assert_eq!(outcome.reason.as_deref(), Some("the worker stopped the run"));
    // Set before the start, nothing runs.
    let outcome = engine().run(&module, spec(), &stop);
    ends(&outcome, Ending::Faulted);
    assert_eq!(outcome.fuel, Fuel(0));
}

#[test]
fn memory_bomb() {
    let outcome = run_start("(loop (drop (memory.grow (i32.const 1))) (br 0))");
    ends(&outcome, Ending::OutOfMemory);
    let reason = outcome.reason.unwrap();
    assert_eq!(reason, "the guest asked for 16842752 bytes of memory, its limit is 16777216");
    // All at once, more than there are addresses.
    ends(&run_start("(drop (memory.grow (i32.const 65535)))"), Ending::OutOfMemory);
    ends(&run_start("(drop (memory.grow (i32.const -1)))"), Ending::OutOfMemory);
    // Up to the limit is fine.
    let fits = "(if (i32.ne (memory.grow (i32.const 255)) (i32.const 1)) (then unreachable))
                (i32.store (i32.const 16777212) (i32.const 1))";
    ends(&run_start(fits), Ending::Exited { code: 0 });
}

#[test]
fn growth_beyond_the_modules_own_bound_fails_as_webassembly_says() {
    let wasm = wat::parse_str(
        "(module (memory (export \"memory\") 1 2) (func (export \"_start\")
           (if (i32.ne (memory.grow (i32.const 5)) (i32.const -1)) (then unreachable))))",
    );
    let module = engine().load(&wasm.unwrap()).unwrap();
    ends(&engine().run(&module, spec(), &StopFlag::default()), Ending::Exited { code: 0 });
}

#[test]
fn memory_at_the_start() {
    // 32 MiB is over the limit of the run; 1 GiB is over that of the engine. Both are the task's fault.
    for pages in [512, 16384] {
        let text =
            format!("(module (memory (export \"memory\") {pages}) (func (export \"_start\") (loop (br 0))))");
        let module = engine().load(&wat::parse_str(text).unwrap()).unwrap();
        let outcome = engine().run(&module, spec(), &StopFlag::default());
        ends(&outcome, Ending::OutOfMemory);
        assert_eq!(outcome.fuel, Fuel(0));
    }
    // More than this machine gives any run is the worker's fault.
    let limits = Limits { memory: ByteSize::mib(512), ..limits() };
    let outcome = run_with("(func (export \"_start\"))", RunSpec { limits, ..spec() });
    ends(&outcome, Ending::Faulted);
}

/// Writes `len` bytes at 1000 to descriptor `fd`, for ever.
fn flood(fd: &str, len: u32) -> String {
    format!(
        "(func $flood (param $fd i32)
           (memory.fill (i32.const 1000) (i32.const 120) (i32.const {len}))
           (i32.store (i32.const 0) (i32.const 1000)) (i32.store (i32.const 4) (i32.const {len}))
           (loop
             (if (call $write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable))
             (br 0)))
         (data (i32.const 64) \"out/f\")
         (func (export \"_start\")
           (drop (call $open (i32.const 3) (i32.const 0) (i32.const 64) (i32.const 5) (i32.const 1)
                   (i64.const -1) (i64.const -1) (i32.const 0) (i32.const 32)))
           (call $flood {fd}))"
    )
}

#[test]
fn output_flood() {
    for (fd, kept) in [("(i32.const 1)", 99_738), ("(i32.const 2)", 99_738), ("(i32.load (i32.const 32))", 0)]
    {
        let outcome = run(&flood(fd, 30_000));
        ends(&outcome, Ending::OutputTooLarge);
        let output = &outcome.output;
        // A stream is kept as far as the limit allows: the file beside it counts 256 and its path.
        assert_eq!(output.stdout.len() + output.stderr.len(), kept, "{fd}");
        assert!(output.files.is_empty(), "files of a broken run are half-written");
    }
    // One file of that size at once, which must not be allocated.
    for call in ["$set_size (i32.const 4)", "$allocate (i32.const 4) (i64.const 0)"] {
        let outcome = run(&format!(
            "(data (i32.const 64) \"tmp/f\")
             (func (export \"_start\")
               (drop (call $open (i32.const 3) (i32.const 0) (i32.const 64) (i32.const 5) (i32.const 1)
                       (i64.const -1) (i64.const -1) (i32.const 0) (i32.const 32)))
               (drop (call {call} (i64.const 0x7fffffffffff))))"
        ));
        ends(&outcome, Ending::OutputTooLarge);
    }
}

#[test]
fn a_million_empty_folders_are_bounded() {
    let outcome = run("(data (i32.const 0) \"tmp/aaaa\")
         (func (export \"_start\") (local $n i32)
           (loop
             (i32.store (i32.const 4)
               (i32.add (i32.const 0x61616161)
                 (i32.add (i32.and (local.get $n) (i32.const 15))
                   (i32.shl (i32.and (local.get $n) (i32.const 0xfff0)) (i32.const 4)))))
             (if (i32.eq (call $mkdir (i32.const 3) (i32.const 0) (i32.const 8)) (i32.const 8))
               (then unreachable))
             (local.set $n (i32.add (local.get $n) (i32.const 1)))
             (br 0)))");
    ends(&outcome, Ending::OutputTooLarge);
}

#[test]
fn start_section_can_trap_and_call_the_host() {
    let outcome = run("(start $s) (func $s unreachable) (func (export \"_start\"))");
    ends(&outcome, Ending::Trapped { trap: Trap::Unreachable });
    let outcome =
        run("(start $s) (func $s (call $exit (i32.const 7))) (func (export \"_start\") unreachable)");
    ends(&outcome, Ending::Exited { code: 7 });
    let outcome = run("(start $s) (data (i32.const 0) \"\\08\\00\\00\\00\\02\\00\\00\\00hi\")
         (func $s (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16))))
         (func (export \"_start\"))");
    ends(&outcome, Ending::Exited { code: 0 });
    assert_eq!(outcome.output.stdout, "hi");
    let outcome = run("(start $s) (func $s (loop (br 0))) (func (export \"_start\"))");
    ends(&outcome, Ending::OutOfFuel);
    // A data segment beyond the memory traps at the start too.
    let outcome = run("(data (i32.const 65535) \"ab\") (func (export \"_start\"))");
    ends(&outcome, Ending::Trapped { trap: Trap::MemoryOutOfBounds });
}

#[test]
fn more_runs_than_slots_fail_alone() {
    let engine = pumasi_worker::engine::Engine::new(&pumasi_worker::engine::EngineConfig {
        slots: 1,
        memory_max: ByteSize::mib(64),
        cache_dir: None,
        compiler: pumasi_worker::engine::Compiler::Here,
    })
    .unwrap();
    let endless = engine.load(&guest::wasm("(func (export \"_start\") (loop (br 0)))")).unwrap();
    let nothing = engine.load(&guest::wasm("(func (export \"_start\"))")).unwrap();
    let limits = Limits { fuel: Fuel(u64::MAX), ..limits() };
    let stop = StopFlag::default();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| engine.run(&endless, RunSpec { limits, ..spec() }, &stop));
        let refused = (0..200).find_map(|_| {
            std::thread::sleep(StdDuration::from_millis(5));
            let outcome = engine.run(&nothing, spec(), &StopFlag::default());
            (outcome.ending == Ending::Faulted).then_some(outcome)
        });
        assert!(refused.is_some(), "one slot cannot hold two runs");
        stop.set();
        assert_eq!(first.join().unwrap().ending, Ending::Faulted);
    });
    assert_eq!(engine.run(&nothing, spec(), &StopFlag::default()).ending, Ending::Exited { code: 0 });
}

#[test]
fn thousands_of_runs_leave_nothing_behind() {
    let resident = || {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
    };
    let module = module(
        "(func (export \"_start\")
           (drop (memory.grow (i32.const 100)))
           (memory.fill (i32.const 0) (i32.const 1) (i32.const 4000000)))",
    );
    let run = || ends(&engine().run(&module, spec(), &StopFlag::default()), Ending::Exited { code: 0 });
    (0..50).for_each(|_| run());
    let before = resident();
    (0..1000).for_each(|_| run());
    let grown = resident().saturating_sub(before);
    // One leaked run in ten would be 400 MB. Other tests run beside this one.
    assert!(grown < 150 << 20, "1,000 runs left {grown} bytes");
}
