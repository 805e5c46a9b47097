//! Fuel that agrees: the same depth of stack, the same growth, the same bill for a trap, wherever it runs.

mod guest;

use std::time::Instant;

use guest::{engine, limits, new_engine, spec, wasm};
use pumasi_types::{Ending, Fuel, Limits, Trap};
use pumasi_worker::engine::{Engine, RunOutcome, RunSpec, StopFlag};

fn run_on(engine: &Engine, body: &str, spec: RunSpec) -> RunOutcome {
    engine.run(&engine.load(&wasm(body)).unwrap(), spec, &StopFlag::default())
}

/// What a run says that agreement looks at.
fn facts(outcome: RunOutcome) -> (Ending, Fuel, pumasi_types::Hash) {
    (outcome.ending, outcome.fuel, outcome.output.result_hash())
}

#[test]
fn the_stack_is_as_deep_everywhere() {
    // Each call writes how deep it is, so that the output tells where the stack ended.
    let body = "(data (i32.const 0) \"\\10\\00\\00\\00\\04\\00\\00\\00\")
         (func $deeper (param $depth i32)
           (i32.store (i32.const 16) (local.get $depth))
           (call $deeper (i32.add (local.get $depth) (i32.const 1))))
         (func $told (param $depth i32)
           (i32.store (i32.const 16) (local.get $depth))
           (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 32)))
           (call $told (i32.add (local.get $depth) (i32.const 1))))
         (func (export \"_start\") (call START (i32.const 1)))";
    let silent = body.replace("START", "$deeper");
    let told = body.replace("START", "$told");
    let measure = |engine: &Engine| {
        let RunOutcome { ending, fuel, output, .. } = run_on(engine, &told, spec());
        assert_eq!(ending, Ending::Trapped { trap: Trap::StackOverflow });
        let depth = u32::from_le_bytes(output.stdout[output.stdout.len() - 4..].try_into().unwrap());
        (depth, fuel, run_on(engine, &silent, spec()).fuel)
    };
    let here = measure(engine());
    let other = new_engine();
    // On threads with less and more stack below the guest's.
    for kib in [2_200, 4_096, 16_384] {
        let thread = std::thread::Builder::new().stack_size(kib << 10);
        let there = std::thread::scope(|scope| {
            thread.spawn_scoped(scope, || measure(&other)).unwrap().join().unwrap()
        });
        assert_eq!(there, here, "{kib} KiB");
    }
    #[cfg(target_arch = "x86_64")]
    assert_eq!(here, (21_839, Fuel(2_926_429), Fuel(174_715)), "a change means another engine id");
}

#[test]
fn memory_grows_alike_everywhere() {
    let up_to = |pages: u32| {
        format!(
            "(func (export \"_start\")
               (if (i32.ne (memory.grow (i32.const {pages})) (i32.const 1)) (then (call $exit (i32.const 9)))))"
        )
    };
    for engine in [engine(), &new_engine()] {
        assert_eq!(run_on(engine, &up_to(255), spec()).ending, Ending::Exited { code: 0 });
        let beyond = run_on(engine, &up_to(256), spec());
        assert_eq!(beyond.ending, Ending::OutOfMemory);
        assert_eq!(facts(run_on(engine, &up_to(256), spec())), facts(beyond));
    }
}

/// A loop of so many rounds without a call, and then an instruction.
fn work_then(rounds: u32, instruction: &str) -> String {
    format!(
        "(func (export \"_start\") (local $n i32)
           (loop
             (local.set $n (i32.add (local.get $n) (i32.const 1)))
             (br_if 0 (i32.lt_u (local.get $n) (i32.const {rounds}))))
           {instruction})"
    )
}

const LOSING: [(&str, Ending); 4] = [
    (
        "(drop (i32.div_u (i32.const 1) (i32.load (i32.const 0))))",
        Ending::Trapped { trap: Trap::DivisionByZero },
    ),
    ("(drop (i32.load (i32.const -4)))", Ending::Trapped { trap: Trap::MemoryOutOfBounds }),
    ("(drop (i32.trunc_f32_s (f32.const nan)))", Ending::Trapped { trap: Trap::BadConversion }),
    ("(drop (memory.grow (i32.const 60000)))", Ending::OutOfMemory),
];

#[test]
fn a_trap_is_no_way_to_compute_for_free() {
    let limits = Limits { fuel: Fuel(1_000_000_000), ..limits() };
    let run = |body: &str| run_on(engine(), body, RunSpec { limits, ..spec() });
    for rounds in [1, 1_000_000, 20_000_000] {
        // What the same steps cost when nothing loses the count.
        let true_cost = run(&work_then(rounds, "unreachable")).fuel.0;
        assert!(true_cost >= u64::from(rounds));
        for (instruction, ending) in LOSING {
            let outcome = run(&work_then(rounds, instruction));
            assert_eq!(outcome.ending, ending);
            let billed = outcome.fuel.0;
            assert!(billed >= true_cost, "{instruction}: {billed} for {true_cost}");
            assert!(billed <= 4 * true_cost + (1 << 20) + 200, "{instruction}: {billed} for {true_cost}");
            assert_eq!(facts(run(&work_then(rounds, instruction))), facts(outcome), "the same each time");
        }
    }
}

#[test]
fn a_trap_after_counted_work_costs_little_more() {
    // Calls store the count, so it is known up to the last one.
    let body = "(func $work (param $n i32) (result i32)
           (loop (local.set $n (i32.sub (local.get $n) (i32.const 1))) (br_if 0 (local.get $n)))
           (i32.const 0))
         (func (export \"_start\") (drop (i32.div_u (i32.const 1) (call $work (i32.const 5000000)))))";
    let billed = run_on(engine(), body, spec()).fuel.0;
    let counted = run_on(engine(), &body.replace("i32.div_u", "i32.add"), spec()).fuel.0;
    assert!(counted > 5_000_000);
    assert!((counted..counted + (1 << 20) + 100).contains(&billed), "{billed} for {counted}");
}

#[test]
fn a_trap_never_costs_more_than_the_limit() {
    let limits = Limits { fuel: Fuel(2_000_000), ..limits() };
    let outcome = run_on(engine(), &work_then(200_000, LOSING[0].0), RunSpec { limits, ..spec() });
    assert_eq!(outcome.ending, LOSING[0].1);
    assert!(outcome.fuel <= limits.fuel, "{:?}", outcome.fuel);
    let outcome = run_on(engine(), &work_then(4_000_000, LOSING[0].0), RunSpec { limits, ..spec() });
    assert_eq!((outcome.ending, outcome.fuel), (Ending::OutOfFuel, limits.fuel));
}

#[test]
fn a_recount_sees_the_same_output_and_time() {
    // Writes before the trap, and traps with what the clock says: the same in every pass.
    let body = format!(
        "(data (i32.const 64) \"\\00\\01\\00\\00\\08\\00\\00\\00\") {}",
        work_then(
            3_000_000,
            "(drop (call $time (i32.const 0) (i64.const 0) (i32.const 256)))
             (drop (call $write (i32.const 1) (i32.const 64) (i32.const 1) (i32.const 80)))
             (local.set $n (i32.const 0))
             (loop
               (local.set $n (i32.add (local.get $n) (i32.const 1)))
               (br_if 0 (i32.lt_u (local.get $n) (i32.const 9000000))))
             (drop (i32.load (i32.const -4)))"
        )
    );
    let outcomes = [engine(), &new_engine()].map(|engine| facts(run_on(engine, &body, spec())));
    assert_eq!(outcomes[0], outcomes[1]);
    assert_eq!(run_on(engine(), &body, spec()).output.stdout.len(), 8);
}

#[test]
fn a_stop_ends_a_recount_too() {
    let limits = Limits { fuel: Fuel(u64::MAX), ..limits() };
    let module = engine().load(&wasm(&work_then(2_000_000_000, LOSING[0].0))).unwrap();
    let stop = StopFlag::default();
    let started = Instant::now();
    let outcome = std::thread::scope(|scope| {
        let run = scope.spawn(|| engine().run(&module, RunSpec { limits, ..spec() }, &stop));
        std::thread::sleep(std::time::Duration::from_millis(50));
        stop.set();
        run.join().unwrap()
    });
    assert_eq!(outcome.ending, Ending::Faulted);
    assert!(started.elapsed().as_secs() < 60);
}
