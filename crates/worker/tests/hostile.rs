//! A guest that calls every function of WASI with hostile arguments, thousands of times.
//!
//! The guest draws its calls from its own random bytes, which differ from task to task and are the same in
//! every run. Whatever a call answers goes into a hash that becomes the exit code, and with it whatever of
//! the host could show through; at the end so does all of its memory.

mod guest;

use std::fmt::Write as _;

use guest::{engine, limits};
use pumasi_types::{ByteSize, Ending, Fuel, Limits, TaskIndex, Time};
use pumasi_worker::InFile;
use pumasi_worker::engine::{Module, RunOutcome, RunSpec, StopFlag};

/// Every function of preview 1 but `proc_exit`, with its parameters: `i` for i32, `l` for i64. Source:
/// `wasi_snapshot_preview1.witx`.
const FUNCTIONS: [(&str, &str); 45] = [
    ("args_get", "ii"),
    ("args_sizes_get", "ii"),
    ("environ_get", "ii"),
    ("environ_sizes_get", "ii"),
    ("clock_res_get", "ii"),
    ("clock_time_get", "ili"),
    ("fd_advise", "illi"),
    ("fd_allocate", "ill"),
    ("fd_close", "i"),
    ("fd_datasync", "i"),
    ("fd_fdstat_get", "ii"),
    ("fd_fdstat_set_flags", "ii"),
    ("fd_fdstat_set_rights", "ill"),
    ("fd_filestat_get", "ii"),
    ("fd_filestat_set_size", "il"),
    ("fd_filestat_set_times", "illi"),
    ("fd_pread", "iiili"),
    ("fd_prestat_get", "ii"),
    ("fd_prestat_dir_name", "iii"),
    ("fd_pwrite", "iiili"),
    ("fd_read", "iiii"),
    ("fd_readdir", "iiili"),
    ("fd_renumber", "ii"),
    ("fd_seek", "ilii"),
    ("fd_sync", "i"),
    ("fd_tell", "ii"),
    ("fd_write", "iiii"),
    ("path_create_directory", "iii"),
    ("path_filestat_get", "iiiii"),
    ("path_filestat_set_times", "iiiilli"),
    ("path_link", "iiiiiii"),
    ("path_open", "iiiiillii"),
    ("path_readlink", "iiiiii"),
    ("path_remove_directory", "iii"),
    ("path_rename", "iiiiii"),
    ("path_symlink", "iiiii"),
    ("path_unlink_file", "iii"),
    ("poll_oneoff", "iiii"),
    ("proc_raise", "i"),
    ("random_get", "ii"),
    ("sched_yield", ""),
    ("sock_accept", "iii"),
    ("sock_recv", "iiiiii"),
    ("sock_send", "iiiii"),
    ("sock_shutdown", "ii"),
];

/// Paths that could lead out, each at a multiple of 64 from 4096; then lists of buffers; then subscriptions.
const PATHS: [&str; 24] = [
    "..",
    "../..",
    "/",
    "/etc/passwd",
    "out/../../etc/passwd",
    "in/../..",
    "in/../out/./a",
    "out/a",
    "out/a/b",
    "out/b",
    "tmp/../in/data",
    "in/data",
    "in/data/..",
    "in/sub/deep",
    "./tmp//x/",
    "tmp",
    "out",
    "in",
    ".",
    "",
    "proc/self/environ",
    "dev/stdin",
    "out/\\00hidden",
    "out/\\ff\\fe",
];

/// The guest: `$calls` calls, each of a function and arguments that it draws.
fn driver(calls: u32) -> Module {
    let mut text = String::from("(module\n");
    for (name, parameters) in FUNCTIONS {
        let parameters: Vec<_> = parameters.chars().map(|p| if p == 'i' { "i32" } else { "i64" }).collect();
        let parameters = parameters.join(" ");
        let _ = writeln!(
            text,
            "(import \"wasi_snapshot_preview1\" \"{name}\" (func ${name} (param {parameters}) (result i32)))"
        );
    }
    text.push_str(
        r#"(import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (memory (export "memory") 2 4)
        (global $state (mut i64) (i64.const 0))
        (global $hash (mut i64) (i64.const 0xcbf29ce484222325))
        (func $next (result i64) (local $z i64)
          (global.set $state (i64.add (global.get $state) (i64.const 0x9e3779b97f4a7c15)))
          (local.set $z (global.get $state))
          (local.set $z (i64.mul (i64.xor (local.get $z) (i64.shr_u (local.get $z) (i64.const 30)))
                                 (i64.const 0xbf58476d1ce4e5b9)))
          (local.set $z (i64.mul (i64.xor (local.get $z) (i64.shr_u (local.get $z) (i64.const 27)))
                                 (i64.const 0x94d049bb133111eb)))
          (i64.xor (local.get $z) (i64.shr_u (local.get $z) (i64.const 31))))
        (func $mix (param $n i64)
          (global.set $hash (i64.mul (i64.xor (global.get $hash) (local.get $n)) (i64.const 0x100000001b3))))
        (func $below (param $n i64) (result i64) (i64.rem_u (call $next) (local.get $n)))
        ;; An argument: mostly something that fits somewhere, sometimes an edge, sometimes anything.
        (func $argument (result i64) (local $kind i64)
          (local.set $kind (call $below (i64.const 16)))
          (if (i64.lt_u (local.get $kind) (i64.const 5)) (then (return (call $below (i64.const 12)))))
          (if (i64.lt_u (local.get $kind) (i64.const 8)) (then
            (return (i64.add (i64.const 4096) (i64.mul (i64.const 64) (call $below (i64.const 24)))))))
          (if (i64.lt_u (local.get $kind) (i64.const 10)) (then
            (return (i64.add (i64.const 8192) (i64.mul (i64.const 8) (call $below (i64.const 16)))))))
          (if (i64.lt_u (local.get $kind) (i64.const 12)) (then
            (return (i64.add (i64.const 16384) (call $below (i64.const 4096))))))
          (if (i64.lt_u (local.get $kind) (i64.const 13)) (then (return (call $below (i64.const 131080)))))
          (if (i64.lt_u (local.get $kind) (i64.const 15)) (then
            (return (i64.load offset=12288 (i32.wrap_i64 (i64.mul (i64.const 8) (call $below (i64.const 12))))))))
          (call $next))
"#,
    );
    for (at, path) in PATHS.iter().enumerate() {
        let _ = writeln!(text, "(data (i32.const {}) \"{path}\")", 4096 + 64 * at);
    }
    // Buffers: none, one byte, across the end, huge, wrapping around, and the list itself.
    let buffers =
        [(0, 0), (16384, 1), (131_071, 2), (0, u32::MAX), (u32::MAX, u32::MAX), (8192, 128), (0, 131_072)];
    for (at, (address, len)) in buffers.iter().enumerate() {
        let bytes: String = [*address, *len]
            .iter()
            .flat_map(|n| n.to_le_bytes())
            .fold(String::new(), |text, b| text + &format!("\\{b:02x}"));
        let _ = writeln!(text, "(data (i32.const {}) \"{bytes}\")", 8192 + 8 * at);
    }
    let edges =
        [0, 1, 2, 3, 0x7f, 0xffff, 0x1_0000, 0x2_0000, 0x7fff_ffff, 0xffff_ffff, i64::MAX as u64, u64::MAX];
    for (at, edge) in edges.iter().enumerate() {
        let bytes = edge.to_le_bytes().iter().fold(String::new(), |text, b| text + &format!("\\{b:02x}"));
        let _ = writeln!(text, "(data (i32.const {}) \"{bytes}\")", 12288 + 8 * at);
    }
    text.push_str("(func $call (param $which i32) (result i32)\n");
    for _ in 0..=FUNCTIONS.len() {
        text.push_str("(block ");
    }
    let targets: String = (0..=FUNCTIONS.len()).map(|n| format!("{n} ")).collect();
    let _ = writeln!(text, "(br_table {targets} (local.get $which)))");
    for (name, parameters) in FUNCTIONS {
        let arguments: String = parameters
            .chars()
            .map(|p| if p == 'i' { "(i32.wrap_i64 (call $argument)) " } else { "(call $argument) " })
            .collect();
        // A signal ends the run: seldom enough that the rest is reached.
        let guard = match name {
            "proc_raise" => {
                "(if (i64.ne (call $below (i64.const 64)) (i64.const 0)) (then (return (i32.const 99))))"
            }
            _ => "",
        };
        let _ = writeln!(text, "{guard} (return (call ${name} {arguments})))");
    }
    let _ = write!(
        text,
        r#"unreachable)
        (func (export "_start") (local $left i32) (local $which i32)
          (drop (call $random_get (i32.const 0) (i32.const 8)))
          (global.set $state (i64.load (i32.const 0)))
          (local.set $left (i32.const {calls}))
          (loop $more
            (local.set $which (i32.wrap_i64 (call $below (i64.const {count}))))
            (call $mix (i64.extend_i32_u (local.get $which)))
            (call $mix (i64.extend_i32_u (call $call (local.get $which))))
            (local.set $left (i32.sub (local.get $left) (i32.const 1)))
            (br_if $more (local.get $left)))
          (local.set $left (i32.const 0))
          (loop $memory
            (call $mix (i64.load (local.get $left)))
            (local.set $left (i32.add (local.get $left) (i32.const 8)))
            (br_if $memory (i32.lt_u (local.get $left) (i32.const 131072))))
          (call $exit (i32.wrap_i64 (i64.xor (global.get $hash) (i64.shr_u (global.get $hash) (i64.const 32)))))))"#,
        count = FUNCTIONS.len()
    );
    engine().load(&wat::parse_str(text).unwrap()).unwrap()
}

fn spec(task: u32) -> RunSpec {
    let file = |name, bytes: &'static [u8]| InFile::new(name, bytes.into()).unwrap();
    RunSpec {
        args: ["task", "one", ""].map(str::to_owned).to_vec(),
        env: vec!["NAME=value".to_owned()],
        stdin: (&b"standard input"[..]).into(),
        files: vec![file("data", b"an input"), file("sub/deep", b"another")],
        clock: Time(1_700_000_000_000_000_000),
        seed: 7,
        task: TaskIndex(task),
        limits: Limits { fuel: Fuel(20_000_000), memory: ByteSize::mib(1), ..limits() },
    }
}

fn run(module: &Module, task: u32) -> RunOutcome {
    engine().run(module, spec(task), &StopFlag::default())
}

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

#[test]
fn no_arguments_harm_the_host_or_show_it() {
    const TASKS: u32 = 2_000;
    let module = driver(400);
    let files = open_files();
    let results = |first: u32| {
        let result = |task| {
            let RunOutcome { ending, fuel, output, reason, .. } = run(&module, task);
            assert!(ending.is_deterministic(), "task {task}: {ending} {reason:?}");
            (ending, fuel, output.result_hash())
        };
        (first..first + TASKS / 2).map(result).collect::<Vec<_>>()
    };
    // Two threads do each half, at the same time and in another order.
    let halves = [0, TASKS / 2];
    let [a, b] = std::thread::scope(|scope| {
        let other = scope.spawn(|| halves.iter().rev().map(|first| results(*first)).collect::<Vec<_>>());
        let one = halves.iter().map(|first| results(*first)).collect::<Vec<_>>();
        [one, other.join().unwrap().into_iter().rev().collect()]
    });
    assert_eq!(a, b);
    // Other tests of this program open files for moments only; a leak of one a run would be thousands.
    assert!(open_files() < files + 100);
    let all: Vec<_> = a.concat();
    let exited = all.iter().filter(|(ending, ..)| matches!(ending, Ending::Exited { .. })).count();
    assert!(exited > TASKS as usize / 6, "{exited} runs did all their calls");
    // The same on every machine, this day and any other: nothing of the host is in it.
    let text = all
        .iter()
        .fold(String::new(), |text, (ending, fuel, hash)| text + &format!("{ending} {fuel:?} {hash}\n"));
    let digest = pumasi_types::Hash::of(text.as_bytes()).to_string();
    assert_eq!(&digest[..16], "a367675d9f4da869", "{exited} exited");
}

/// That no function of the guest's system can reach the host at all: what its source names.
#[test]
fn the_guests_system_names_nothing_of_the_host() {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/wasi");
    let mut sources = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        for host in [
            "std::fs",
            "std::net",
            "std::env",
            "std::time",
            "std::process",
            "std::os",
            "std::io",
            "rustix",
            "getrandom",
            "tokio",
            "unsafe",
        ] {
            assert!(!text.contains(host), "{} names {host}", path.display());
        }
        sources += 1;
    }
    assert!(sources >= 8);
}

/// What the driver calls is all there is.
#[test]
fn every_function_is_called() {
    let module = driver(1);
    assert!(run(&module, 0).ending.is_deterministic());
    for (name, _) in FUNCTIONS {
        let wrong = format!(
            "(module (import \"wasi_snapshot_preview1\" \"{name}\" (func (param f32))) (memory (export \"memory\") 1)
               (func (export \"_start\")))"
        );
        let error = engine().load(&wat::parse_str(wrong).unwrap()).unwrap_err().to_string();
        assert!(error.contains("incompatible import type"), "{name} is offered: {error}");
    }
}
