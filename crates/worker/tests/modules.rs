//! Modules that must be refused, each with a reason; and the cache of compiled ones.

mod guest;

use std::fmt::Write as _;
use std::fs;

use guest::{engine, spec, wasm};
use pumasi_types::{ByteSize, Ending, Hash};
use pumasi_worker::engine::{Compiler, Engine, EngineConfig, MODULE_BYTES_MAX, ModuleError, StopFlag};

const COMMAND: &str = "(memory (export \"memory\") 1) (func (export \"_start\"))";

#[track_caller]
fn refused(wasm: &[u8], part: &str) {
    let error = engine().load(wasm).unwrap_err();
    assert_eq!(error.ending(), Ending::BadModule, "{error}");
    assert!(error.to_string().contains(part), "'{error}' should contain '{part}'");
}

#[track_caller]
fn refused_text(text: &str, part: &str) {
    refused(&wat::parse_str(format!("(module {text})")).unwrap(), part);
}

#[test]
fn not_webassembly() {
    refused(b"", "not valid");
    refused(b"\x7fELF\x02\x01\x01", "not valid");
    refused(b"\0asm\x01\0\0\0", "does not export memory");
    refused(b"\0asm\x0d\0\x01\0", "component");
    let whole = wat::parse_str(format!("(module {COMMAND})")).unwrap();
    for len in 0..whole.len() {
        assert!(engine().load(&whole[..len]).is_err(), "cut to {len} of {} bytes", whole.len());
    }
}

#[test]
fn noise_never_harms() {
    let whole = wasm("(func (export \"_start\") (local i64 f64) (call $exit (i32.const 3)))");
    let mut seed = 1_u32;
    for _ in 0..300 {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let mut bytes = whole.clone();
        let at = seed as usize % bytes.len();
        bytes[at] ^= (seed >> 24) as u8;
        if let Ok(module) = engine().load(&bytes) {
            engine().run(&module, spec(), &StopFlag::default());
        }
    }
}

#[test]
fn does_not_validate() {
    refused_text(
        "(memory (export \"memory\") 1) (func (export \"_start\") (drop (i32.add (i32.const 1) (i64.const 1))))",
        "type mismatch",
    );
    refused_text("(memory (export \"memory\") 1) (func (export \"_start\") i32.const 1)", "not valid");
}

#[test]
fn imports_what_is_not_offered() {
    refused_text(&format!("(import \"env\" \"system\" (func)) {COMMAND}"), "'env' 'system'");
    let unknown = format!("(import \"wasi_snapshot_preview1\" \"fd_teleport\" (func)) {COMMAND}");
    refused_text(&unknown, "'wasi_snapshot_preview1' 'fd_teleport'");
    refused_text("(import \"env\" \"memory\" (memory 1)) (func (export \"_start\"))", "'env' 'memory'");
    refused_text(&format!("(import \"wasi\" \"thread-spawn\" (func)) {COMMAND}"), "thread-spawn");
    let wrong_type = "(import \"wasi_snapshot_preview1\" \"fd_close\" (func (param i64) (result i32)))";
    refused_text(&format!("{wrong_type} {COMMAND}"), "incompatible import type");
    refused_text(&format!("(import \"e\\1b[2J\" \"x\" (func)) {COMMAND}"), "'e?[2J'");
}

#[test]
fn is_no_command() {
    refused_text("(memory (export \"memory\") 1)", "does not export _start");
    refused_text("(func (export \"_start\"))", "does not export memory");
    refused_text("(memory (export \"memory\") 1) (global (export \"_start\") i32 (i32.const 0))", "_start");
    refused_text("(memory (export \"memory\") 1) (func (export \"_start\") (param i32))", "_start");
    refused_text(
        "(memory (export \"memory\") 1) (func (export \"_start\") (result i32) i32.const 1)",
        "_start",
    );
}

#[test]
fn proposals_that_are_not_the_same_everywhere() {
    let start = "(func (export \"_start\"))";
    refused_text(&format!("(memory (export \"memory\") 1 2 shared) {start}"), "shared");
    refused_text(&format!("(memory (export \"memory\") i64 1) {start}"), "not valid");
    refused_text(&format!("{COMMAND} (memory 1)"), "not valid");
    refused_text(
        "(memory (export \"memory\") 1) (func (export \"_start\")
           (drop (i32x4.relaxed_trunc_f32x4_s (v128.const i32x4 0 0 0 0))))",
        "relaxed SIMD",
    );
    refused_text(
        "(memory (export \"memory\") 1)
         (func (export \"_start\") (drop (i32.atomic.load (i32.const 0))))",
        "threads",
    );
    // Finished proposals that compilers use by default.
    for text in [
        "(drop (i32x4.add (v128.const i32x4 1 2 3 4) (v128.const i32x4 1 2 3 4)))",
        "(drop (i32.extend8_s (i32.const 200)))",
        "(drop (i32.trunc_sat_f64_s (f64.const 1e99)))",
        "(memory.copy (i32.const 0) (i32.const 8) (i32.const 8))",
    ] {
        engine().load(&wasm(&format!("(func (export \"_start\") {text})"))).unwrap();
    }
}

#[test]
fn too_large() {
    refused(&vec![0; MODULE_BYTES_MAX + 1], "too large");
    let mut many = String::from(COMMAND);
    (0..200_000).for_each(|_| many.push_str("(func)"));
    refused_text(&many, "number of its functions");
    refused_text(&format!("{COMMAND} (table 200000 funcref)"), "a table");
    refused_text(&format!("{COMMAND} {}", "(table 1 funcref)".repeat(5)), "number of its tables");
    refused(&much_code(60, 450_000), "its code in bytes");
    refused(&much_code(1, 600_000), "a function in bytes");
    assert!(engine().load(&much_code(3, 450_000)).is_ok());
    let mut long = String::new();
    (0..100_000).for_each(|n| write!(long, "(i64.store (i32.const 0) (i64.const {n}))").unwrap());
    refused_text(&format!("(memory (export \"memory\") 1) (func (export \"_start\") {long})"), "a function");
}

/// A command with functions of so many bytes that do nothing.
fn much_code(functions: u8, bytes: usize) -> Vec<u8> {
    let number = |mut n: usize| {
        let mut digits = Vec::new();
        while n >= 128 {
            digits.push(n as u8 | 128);
            n >>= 7;
        }
        digits.push(n as u8);
        digits
    };
    let section = |id: u8, content: Vec<u8>| [vec![id], number(content.len()), content].concat();
    // No locals, as many `nop`, `end`.
    let body = [vec![0], vec![1; bytes - 2], vec![0x0b]].concat();
    let bodies = [number(body.len()), body].concat().repeat(functions.into());
    [
        b"\0asm\x01\0\0\0".to_vec(),
        section(1, b"\x01\x60\0\0".to_vec()),
        section(3, [vec![functions], vec![0; functions.into()]].concat()),
        section(5, b"\x01\0\x01".to_vec()),
        section(7, b"\x02\x06memory\x02\0\x06_start\0\0".to_vec()),
        section(10, [vec![functions], bodies].concat()),
    ]
    .concat()
}

#[test]
fn compiled_modules_are_kept_and_checked() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("modules");
    let config = EngineConfig {
        slots: 2,
        memory_max: ByteSize::mib(64),
        cache_dir: Some(dir.clone()),
        compiler: Compiler::Here,
    };
    let wasm = wasm("(func (export \"_start\") (call $exit (i32.const 5)))");
    let code = |engine: &Engine| {
        let module = engine.load(&wasm).unwrap();
        assert_eq!(module.hash(), Hash::of(&wasm));
        engine.run(&module, spec(), &StopFlag::default()).ending
    };
    let engine = Engine::new(&config).unwrap();
    assert_eq!(code(&engine), Ending::Exited { code: 5 });
    let files = || fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    let [path] = &files()[..] else { panic!("one file expected: {:?}", files()) };
    let kept = fs::read(path).unwrap();
    // What is there is used: a file under another module's name runs in its place.
    let other = guest::wasm("(func (export \"_start\") (call $exit (i32.const 6)))");
    engine.load(&other).unwrap();
    let other = files().into_iter().find(|found| found != path).unwrap();
    fs::copy(&other, path).unwrap();
    assert_eq!(code(&Engine::new(&config).unwrap()), Ending::Exited { code: 6 });
    // Damage of any kind is noticed and mended.
    for damaged in
        [&b""[..], &kept[..20], &kept[..kept.len() - 1], &[&kept[..], b"!"].concat(), &flipped(&kept)]
    {
        fs::write(path, damaged).unwrap();
        assert_eq!(code(&Engine::new(&config).unwrap()), Ending::Exited { code: 5 });
        assert!(fs::read(path).unwrap() == kept, "the file is written anew");
    }
}

fn flipped(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    bytes
}

#[test]
fn a_cache_that_cannot_be_is_an_error_with_its_path() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let dir = file.path().join("below");
    let config = EngineConfig {
        slots: 1,
        memory_max: ByteSize::mib(1),
        cache_dir: Some(dir.clone()),
        compiler: Compiler::Here,
    };
    let error = Engine::new(&config).unwrap_err();
    assert!(error.to_string().contains(dir.to_str().unwrap()), "{error}");
}

#[test]
fn host_failures_are_not_the_tasks() {
    let error = ModuleError::Host { source: wasmtime::Error::msg("no memory") };
    assert_eq!(error.ending(), Ending::Faulted);
}
