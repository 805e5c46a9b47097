//! The calibration kernel that is checked in is the one that its text says.

use pumasi_types::{ByteSize, Ending, Fuel, Speed};
use pumasi_worker::calibrate::calibrate;
use pumasi_worker::engine::{Compiler, Engine, EngineConfig, RunSpec, StopFlag};

#[test]
fn kernel_is_its_text() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/calibrate");
    let text = wat::parse_file(format!("{folder}/kernel.wat")).unwrap();
    let path = format!("{folder}/kernel.wasm");
    if std::env::var_os("PUMASI_BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let kept = std::fs::read(&path).unwrap();
    assert!(kept == text, "write it anew: PUMASI_BLESS=1 cargo test -p pumasi-worker --test kernel");
}

#[test]
fn kernel_runs_here() {
    let config =
        EngineConfig { slots: 1, memory_max: ByteSize::mib(512), cache_dir: None, compiler: Compiler::Here };
    let engine = Engine::new(&config).unwrap();
    let speed = calibrate(&engine).unwrap();
    // A tenth of a per cent of what any machine does; a mistake of units is larger.
    assert!(speed > Speed(1_000_000) && speed < Speed(1_000_000_000_000), "{speed:?}");
    // The speed of a machine is comparable only while the kernel is the same.
    let kernel = engine.load(include_bytes!("../src/calibrate/kernel.wasm")).unwrap();
    let outcome = engine.run(&kernel, RunSpec::default(), &StopFlag::default());
    assert_eq!((outcome.ending, outcome.fuel), (Ending::Exited { code: 0 }, Fuel(262_730_251)));
}
