//! Every setting that a task could notice, in one place, and the name that stands for all of them.
//!
//! Two workers whose [`id`] is the same burn the same fuel, trap alike and refuse the same modules. So each
//! number here is written into [`description`], whose hash is part of the id: whoever changes one gets
//! another id, and a test that says so.

use pumasi_types::{EngineId, Hash};
use wasmtime::{Config, OptLevel, Strategy};

use crate::wasi;

/// Version of wasmtime; a test compares it with the one that is linked.
const WASMTIME: &str = "48.0.8";
/// Revision of what decides what a task costs or gets and is no number below: the behaviour of the host
/// functions, how traps are billed, which modules are refused.
const REVISION: u32 = 2;

/// The largest memory of WebAssembly with 32-bit addresses, in bytes.
pub(super) const MEMORY_MAX: u64 = 1 << 32;
/// The largest table of a guest, in elements.
pub(super) const TABLE_MAX: usize = 1 << 17;
/// Tables of one guest.
pub(super) const TABLES_MAX: u32 = 4;
/// Stack of a guest, in bytes; the thread that runs it must have twice as much.
pub(super) const STACK: usize = 1 << 20;

/// The largest module, in bytes.
pub const MODULE_BYTES_MAX: usize = 64 << 20;
// A compiler takes up to some milliseconds of time and 1.5 KiB of memory for each byte of a function made to
// harm it (measured with thousands of branches over 200 live variables). These bounds keep the worst module
// under a gigabyte and some minutes, and leave room for the largest interpreters and Go programs.
/// The most functions of a module.
pub(super) const FUNCTIONS_MAX: u32 = 100_000;
/// The largest body of a function, in bytes.
pub(super) const FUNCTION_BYTES_MAX: usize = 512 << 10;
/// All bodies of functions together, in bytes.
pub(super) const CODE_BYTES_MAX: u32 = 24 << 20;
// These two keep what an instance takes beside its memory within its slot.
/// The most imports of a module.
pub(super) const IMPORTS_MAX: u32 = 10_000;
/// The most globals of a module.
pub(super) const GLOBALS_MAX: u32 = 100_000;

/// Fuel that the first recount of a run allows beyond what was counted; see [`super::run`].
pub(super) const RECOUNT_FUEL: u64 = 1 << 20;
/// By how much each further recount allows more.
pub(super) const RECOUNT_GROWTH: u64 = 4;

/// What turns a proposal on or off.
type Switch = fn(&mut Config, bool) -> &mut Config;

/// Proposals of WebAssembly and whether they are on: those that are finished and the same everywhere.
const FEATURES: [(&str, Switch, bool); 8] = [
    ("simd", Config::wasm_simd, true),
    ("relaxed-simd", Config::wasm_relaxed_simd, false),
    ("multi-memory", Config::wasm_multi_memory, false),
    ("memory64", Config::wasm_memory64, false),
    ("wide-arithmetic", Config::wasm_wide_arithmetic, false),
    ("custom-page-sizes", Config::wasm_custom_page_sizes, false),
    ("stack-switching", Config::wasm_stack_switching, false),
    ("shared-memory", Config::shared_memory, false),
];

/// Processor features that code is made for on x86-64, that is x86-64-v2 on every machine: what a stack
/// overflow burns depends on the size of compiled frames.
const X86_64: [(&str, bool); 17] = [
    ("has_cmpxchg16b", true),
    ("has_sse3", true),
    ("has_ssse3", true),
    ("has_sse41", true),
    ("has_sse42", true),
    ("has_popcnt", true),
    ("has_avx", false),
    ("has_avx2", false),
    ("has_fma", false),
    ("has_bmi1", false),
    ("has_bmi2", false),
    ("has_lzcnt", false),
    ("has_avx512bitalg", false),
    ("has_avx512dq", false),
    ("has_avx512f", false),
    ("has_avx512vbmi", false),
    ("has_avx512vl", false),
];

/// All settings as text, the same on every machine of one architecture.
fn description() -> String {
    use std::fmt::Write as _;
    let mut text = format!("wasmtime {WASMTIME}\nrevision {REVISION}\narch {}\n", std::env::consts::ARCH);
    text.push_str("cranelift speed, canonical NaN, operators cost as wasmtime has them, epochs\n");
    for (name, _, on) in FEATURES {
        let _ = writeln!(text, "wasm {name} {on}");
    }
    for (name, on) in X86_64 {
        let _ = writeln!(text, "x86-64 {name} {on}");
    }
    for (name, number) in [
        ("memory", MEMORY_MAX),
        ("table", TABLE_MAX as u64),
        ("tables", TABLES_MAX.into()),
        ("stack", STACK as u64),
        ("module bytes", MODULE_BYTES_MAX as u64),
        ("functions", FUNCTIONS_MAX.into()),
        ("function bytes", FUNCTION_BYTES_MAX as u64),
        ("code bytes", CODE_BYTES_MAX.into()),
        ("imports", IMPORTS_MAX.into()),
        ("globals", GLOBALS_MAX.into()),
        ("recount", RECOUNT_FUEL),
        ("recount growth", RECOUNT_GROWTH),
        ("call fuel", wasi::CALL_FUEL),
        ("bytes per fuel", wasi::BYTES_PER_FUEL),
        ("entry fuel", wasi::ENTRY_FUEL),
        ("node bytes", wasi::NODE_BYTES),
        ("descriptors", wasi::FDS_MAX as u64),
        ("buffers", wasi::BUFFERS_MAX.into()),
    ] {
        let _ = writeln!(text, "{name} {number}");
    }
    text
}

/// What fuel and results are comparable for: version of wasmtime and a hash of all that is set here.
pub(super) fn id() -> EngineId {
    static ID: std::sync::OnceLock<EngineId> = std::sync::OnceLock::new();
    let make = || {
        let hash = Hash::of(description().as_bytes()).to_string();
        EngineId(format!("wasmtime-{WASMTIME}/{}", &hash[..8]))
    };
    ID.get_or_init(make).clone()
}

/// The settings for guests whose memory has `reservation` bytes of addresses: 4 GiB, or less where there is
/// not so much; this changes the code and neither results nor fuel.
pub(super) fn config(reservation: u64) -> Config {
    let mut config = Config::new();
    for (_, set, on) in FEATURES {
        set(&mut config, on);
    }
    config
        .strategy(Strategy::Cranelift)
        .cranelift_opt_level(OptLevel::Speed)
        .cranelift_nan_canonicalization(true)
        .consume_fuel(true)
        .epoch_interruption(true)
        .max_wasm_stack(STACK)
        .wasm_backtrace_max_frames(None)
        .parallel_compilation(false)
        .memory_init_cow(true)
        .memory_reservation(reservation)
        .memory_may_move(false);
    fix_processor(&mut config);
    config
}

#[cfg(target_arch = "x86_64")]
fn fix_processor(config: &mut Config) {
    for (flag, on) in X86_64 {
        // SAFETY: not using a feature of the processor is always sound; those that are used wasmtime
        // compares with the host before it runs any code, and refuses to run when one is missing.
        #[allow(unsafe_code)]
        unsafe {
            config.cranelift_flag_set(flag, if on { "true" } else { "false" });
        }
    }
}

/// Other processors have one common level already.
#[cfg(not(target_arch = "x86_64"))]
fn fix_processor(_: &mut Config) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_names_the_linked_version_and_every_setting() {
        let lock = include_str!("../../../../Cargo.lock");
        assert!(lock.contains(&format!("name = \"wasmtime\"\nversion = \"{WASMTIME}\"")));
        // A change here means that jobs of before are not for the workers of after: intended?
        #[cfg(target_arch = "x86_64")]
        assert_eq!(id().0, "wasmtime-48.0.8/c911e9e6", "of this description:\n{}", description());
        #[cfg(target_arch = "x86_64")]
        assert_eq!(id().0, pumasi_api::wire::ENGINE, "jobs that name no engine are for this one");
    }
}
