//! What a guest sees through WASI: files, paths, time, chance, arguments.

mod guest;

use bytes::Bytes;
use guest::{code_of, code_with, engine, module, run, run_with, spec};
use pumasi_types::{Ending, Fuel, TaskIndex, Time};
use pumasi_worker::InFile;
use pumasi_worker::engine::{RunOutcome, RunSpec, StopFlag};

const NOENT: u32 = 44;
const NOTDIR: u32 = 54;
const NOTEMPTY: u32 = 55;
const NOTSUP: u32 = 58;
const EXIST: u32 = 20;
const BADF: u32 = 8;
const FAULT: u32 = 21;
const ILSEQ: u32 = 25;
const INVAL: u32 = 28;
const ISDIR: u32 = 31;
const MFILE: u32 = 33;
const NAMETOOLONG: u32 = 37;
const NOTSOCK: u32 = 57;
const ROFS: u32 = 69;
const SPIPE: u32 = 70;
const NOTCAPABLE: u32 = 76;

const READ: &str = "2";
const WRITE: &str = "64";
const CREAT: u32 = 1;
const DIRECTORY: u32 = 2;
const EXCL: u32 = 4;
const TRUNC: u32 = 8;

fn with_inputs() -> RunSpec {
    let file = |name, bytes: &'static str| InFile::new(name, Bytes::from_static(bytes.as_bytes())).unwrap();
    RunSpec { files: vec![file("data.txt", "0123456789"), file("sub/deep.txt", "deep")], ..spec() }
}

/// A text as wat writes it.
fn quoted(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("\\{byte:02x}")).collect()
}

/// The answer to opening a path below `/`.
fn open(path: impl AsRef<[u8]>, flags: u32, rights: &str) -> u32 {
    let path = path.as_ref();
    let body = format!(
        "(data (i32.const 64) \"{}\")
         (func $test (result i32)
           (call $open (i32.const 3) (i32.const 0) (i32.const 64) (i32.const {}) (i32.const {flags})
             (i64.const {rights}) (i64.const 0) (i32.const 0) (i32.const 32)))",
        quoted(path),
        path.len()
    );
    code_with(&body, with_inputs())
}

#[test]
fn what_can_be_opened() {
    for path in ["in/data.txt", "./in//data.txt", "in/sub/../data.txt", "out/../in/./sub/deep.txt"] {
        assert_eq!(open(path, 0, READ), 0, "{path}");
    }
    for path in [".", "in", "in/", "out/.", "tmp/..", "in/sub/"] {
        assert_eq!(open(path, DIRECTORY, READ), 0, "{path}");
    }
    for path in ["out/new", "tmp/new", "out/a b", "out/Ünïcödé", "out/..."] {
        assert_eq!(open(path, CREAT | TRUNC, WRITE), 0, "{path}");
    }
}

#[test]
fn path_tricks() {
    let cases: [(&[u8], u32); 21] = [
        (b"..", NOTCAPABLE),
        (b"../etc/passwd", NOTCAPABLE),
        (b"in/../../etc/passwd", NOTCAPABLE),
        (b"in/sub/../../../x", NOTCAPABLE),
        (b"/etc/passwd", NOTCAPABLE),
        (b"/in/data.txt", NOTCAPABLE),
        (b"//", NOTCAPABLE),
        (b"", NOENT),
        (b"etc/passwd", NOENT),
        (b"in/none", NOENT),
        (b"in/none/../data.txt", NOENT),
        (b"in/data.txt/", NOTDIR),
        (b"in/data.txt/.", NOTDIR),
        (b"in/data.txt/..", NOTDIR),
        (b"in/data.txt/x", NOTDIR),
        (b"in/data.txt\0", ILSEQ),
        (b"in/\0data.txt", ILSEQ),
        (b"in/data\n", ILSEQ),
        (b"in/\xff\xfe", ILSEQ),
        (b"in/\xed\xa0\x80", ILSEQ),
        (b"in\\data.txt", NOENT),
    ];
    for (path, errno) in cases {
        assert_eq!(open(path, 0, READ), errno, "{}", path.escape_ascii());
    }
    assert_eq!(open(format!("in/{}", "n".repeat(256)), 0, READ), NAMETOOLONG);
    assert_eq!(open("in/".repeat(1366), 0, READ), NAMETOOLONG);
    assert_eq!(open("./".repeat(2000) + "in/data.txt", 0, READ), 0);
    // The same names cannot be made.
    for path in ["out/\0", "out/\x1b[2J", "out/x/../../../y"] {
        assert_ne!(open(path, CREAT, WRITE), 0, "{path:?}");
    }
}

#[test]
fn what_cannot_be_opened() {
    assert_eq!(open("in/data.txt", 0, WRITE), ROFS);
    assert_eq!(open("in/data.txt", TRUNC, READ), ROFS);
    assert_eq!(open("in/new", CREAT, WRITE), ROFS);
    assert_eq!(open("new", CREAT, WRITE), ROFS);
    assert_eq!(open("in/data.txt", CREAT | EXCL, READ), EXIST);
    assert_eq!(open("in/data.txt", DIRECTORY, READ), NOTDIR);
    assert_eq!(open("out", 0, WRITE), ISDIR);
    assert_eq!(open("out/new/", CREAT, WRITE), ISDIR);
    assert_eq!(open("out/none/new", CREAT, WRITE), NOENT);
    assert_eq!(open("out/new", CREAT | DIRECTORY, WRITE), INVAL);
}

/// Answers of calls on paths; `$p` is out/a, `$q` is out/b, `$n` is in/data.txt, `$d` is out.
fn calls(calls: &[(&str, u32)]) {
    let tests: String = calls
        .iter()
        .enumerate()
        .map(|(n, (call, errno))| {
            let call = ["$p", "$q", "$n", "$d", "$r"].iter().enumerate().fold(
                (*call).to_owned(),
                |call, (k, name)| {
                    let (at, len) = [(64, 5), (80, 5), (96, 11), (64, 3), (112, 7)][k];
                    call.replace(&format!(" {name}"), &format!(" (i32.const {at}) (i32.const {len})"))
                },
            );
            format!("(if (i32.ne (call {call}) (i32.const {errno})) (then (return (i32.const {}))))\n", n + 1)
        })
        .collect();
    let body = format!(
        "(data (i32.const 64) \"out/a\") (data (i32.const 80) \"out/b\") (data (i32.const 96) \"in/data.txt\")
         (data (i32.const 112) \"out/a/c\")
         (func $make (param $at i32) (param $len i32) (result i32)
           (local $errno i32)
           (local.set $errno
             (call $open (i32.const 3) (i32.const 0) (local.get $at) (local.get $len) (i32.const 5)
               (i64.const -1) (i64.const 0) (i32.const 0) (i32.const 32)))
           (if (i32.eqz (local.get $errno)) (then (drop (call $close (i32.load (i32.const 32))))))
           (local.get $errno))
         (func $test (result i32) {tests} (i32.const 0))"
    );
    let failed = code_with(&body, with_inputs());
    assert_eq!(failed, 0, "call {:?}", failed.checked_sub(1).map(|n| calls[n as usize]));
}

const ROOT: &str = "(i32.const 3)";

#[test]
fn folders_and_names_change() {
    let on = |call: &str| call.replace('@', ROOT);
    let script: Vec<(String, u32)> = [
        ("$mkdir @ $p", 0),
        ("$mkdir @ $p", EXIST),
        ("$make $p", EXIST),
        ("$make $r", 0),
        ("$make $r", EXIST),
        ("$mkdir @ $r", EXIST),
        ("$rmdir @ $p", NOTEMPTY),
        ("$unlink @ $p", ISDIR),
        ("$rmdir @ $r", NOTDIR),
        ("$rename @ $p @ $r", INVAL),
        ("$rename @ $p @ $p", 0),
        ("$rename @ $r @ $p", ISDIR),
        ("$make $q", 0),
        ("$rename @ $p @ $q", NOTDIR),
        ("$rename @ $r @ $q", 0),
        ("$unlink @ $r", NOENT),
        ("$rmdir @ $p", 0),
        ("$rmdir @ $p", NOENT),
        ("$unlink @ $q", 0),
        ("$unlink @ $q", NOENT),
        ("$unlink @ $n", ROFS),
        ("$rename @ $n @ $q", ROFS),
        ("$rename @ $q @ $n", NOENT),
        ("$rmdir @ $d", ROFS),
        ("$rename @ $d @ $q", ROFS),
        ("$symlink $p @ $q", NOTSUP),
        ("$link @ (i32.const 0) $n @ $q", NOTSUP),
        ("$unlink (i32.const 0) $q", NOTDIR),
        ("$unlink (i32.const 77) $q", BADF),
    ]
    .into_iter()
    .map(|(call, errno)| (on(call), errno))
    .collect();
    calls(&script.iter().map(|(call, errno)| (call.as_str(), *errno)).collect::<Vec<_>>());
}

#[test]
fn descriptors() {
    calls(&[
        ("$close (i32.const 99)", BADF),
        ("$close (i32.const -1)", BADF),
        ("$write (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 32)", BADF),
        ("$write (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 32)", BADF),
        ("$read (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 32)", BADF),
        ("$read (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 32)", ISDIR),
        ("$seek (i32.const 0) (i64.const 0) (i32.const 0) (i32.const 32)", SPIPE),
        ("$shutdown (i32.const 0) (i32.const 0)", NOTSOCK),
        ("$shutdown (i32.const 9) (i32.const 0)", BADF),
        ("$readdir (i32.const 1) (i32.const 0) (i32.const 9) (i64.const 0) (i32.const 32)", NOTDIR),
        ("$renumber (i32.const 1) (i32.const 9)", BADF),
        ("$renumber (i32.const 2) (i32.const 1)", 0),
        ("$close (i32.const 2)", BADF),
        ("$close (i32.const 1)", 0),
        ("$close (i32.const 1)", BADF),
        ("$close (i32.const 3)", 0),
        ("$mkdir (i32.const 3) $p", BADF),
    ]);
}

#[test]
fn addresses_outside_memory_are_answered() {
    let far = "(i32.const 65534)";
    let minus = "(i32.const -1)";
    let script = [
        format!("$write (i32.const 1) {far} (i32.const 1) (i32.const 32)"),
        format!("$write (i32.const 1) {minus} (i32.const 1) (i32.const 32)"),
        format!("$write (i32.const 1) (i32.const 0) (i32.const 0) {far}"),
        format!("$random {far} (i32.const 100)"),
        format!("$random {minus} {minus}"),
        format!("$time (i32.const 0) (i64.const 0) {far}"),
        format!("$mkdir {ROOT} {far} (i32.const 100)"),
        format!("$stat {ROOT} (i32.const 0) (i32.const 64) (i32.const 3) {far}"),
        format!("$readdir {ROOT} {far} (i32.const 100) (i64.const 0) (i32.const 32)"),
        format!("$poll {far} (i32.const 0) (i32.const 1) (i32.const 32)"),
        format!("$poll (i32.const 0) {far} (i32.const 1) (i32.const 32)"),
        format!("$args_sizes {far} (i32.const 0)"),
    ];
    calls(&script.iter().map(|call| (call.as_str(), FAULT)).collect::<Vec<_>>());
    calls(&[
        ("$write (i32.const 1) (i32.const 0) (i32.const 1025) (i32.const 32)", INVAL),
        ("$poll (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 32)", INVAL),
        ("$time (i32.const 9) (i64.const 0) (i32.const 32)", INVAL),
    ]);
    // A write with one bad buffer writes nothing of the good ones.
    let outcome =
        run("(data (i32.const 0) \"\\20\\00\\00\\00\\02\\00\\00\\00\\ff\\ff\\ff\\7f\\02\\00\\00\\00\")
         (func (export \"_start\")
           (call $exit (call $write (i32.const 1) (i32.const 0) (i32.const 2) (i32.const 64))))");
    assert_eq!(outcome.ending, Ending::Exited { code: FAULT });
    assert!(outcome.output.stdout.is_empty());
}

#[test]
fn too_many_descriptors() {
    let code = code_of(
        "(data (i32.const 64) \"tmp\")
         (func $test (result i32) (local $errno i32)
           (loop
             (local.set $errno
               (call $open (i32.const 3) (i32.const 0) (i32.const 64) (i32.const 3) (i32.const 2)
                 (i64.const 0) (i64.const 0) (i32.const 0) (i32.const 32)))
             (br_if 0 (i32.eqz (local.get $errno))))
           (if (i32.ne (i32.load (i32.const 32)) (i32.const 1023)) (then unreachable))
           (local.get $errno))",
    );
    assert_eq!(code, MFILE);
}

#[test]
fn stdin_args_and_env() {
    // Copies argv and stdin to stdout.
    let body = "(func (export \"_start\")
        (drop (call $args_sizes (i32.const 0) (i32.const 4)))
        (drop (call $args (i32.const 16) (i32.const 1000)))
        (i32.store (i32.const 8) (i32.load (i32.const 16)))
        (i32.store (i32.const 12) (i32.load (i32.const 4)))
        (drop (call $write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 100)))
        (loop
          (i32.store (i32.const 8) (i32.const 1000)) (i32.store (i32.const 12) (i32.const 3))
          (drop (call $read (i32.const 0) (i32.const 8) (i32.const 1) (i32.const 12)))
          (drop (call $write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 100)))
          (br_if 0 (i32.load (i32.const 12)))))";
    let args = vec!["prog".to_owned(), "{index}".to_owned()];
    let spec = RunSpec { args, stdin: Bytes::from_static(b"seven bytes and more"), ..spec() };
    let outcome = run_with(body, spec);
    assert_eq!(outcome.ending, Ending::Exited { code: 0 });
    assert_eq!(outcome.output.stdout, "prog\0{index}\0seven bytes and more");
}

#[test]
fn large_inputs_are_shared_not_copied() {
    let big = Bytes::from(vec![7_u8; 64 << 20]);
    let spec = RunSpec { files: vec![InFile::new("big", big.clone()).unwrap()], ..spec() };
    // Reads the last bytes only; a copy would show as the time and memory of a hundred runs.
    let module = module(
        "(data (i32.const 64) \"in/big\") (data (i32.const 0) \"\\e8\\03\\00\\00\\10\\00\\00\\00\")
         (func (export \"_start\")
           (if (call $open (i32.const 3) (i32.const 0) (i32.const 64) (i32.const 6) (i32.const 0)
                 (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 32)) (then unreachable))
           (if (call $seek (i32.load (i32.const 32)) (i64.const -10) (i32.const 2) (i32.const 40))
             (then unreachable))
           (if (call $read (i32.load (i32.const 32)) (i32.const 0) (i32.const 1) (i32.const 48))
             (then unreachable))
           (call $exit (i32.add (i32.load (i32.const 48)) (i32.load8_u (i32.const 1009)))))",
    );
    for _ in 0..100 {
        let outcome = engine().run(&module, spec.clone(), &StopFlag::default());
        assert_eq!(outcome.ending, Ending::Exited { code: 17 });
    }
    drop(spec);
    assert!(big.is_unique(), "no run kept the input");
}

#[test]
fn clashing_inputs_are_the_workers_fault() {
    let file = |name| InFile::new(name, Bytes::new()).unwrap();
    for names in [["a", "a"], ["a", "a/b"], ["a/b", "a"]] {
        let spec = RunSpec { files: names.map(file).to_vec(), ..spec() };
        let outcome = run_with(
            "(data (i32.const 0) \"in\")
             (func (export \"_start\") (drop (call $unlink (i32.const 3) (i32.const 0) (i32.const 2))))",
            spec,
        );
        assert_eq!(outcome.ending, Ending::Faulted, "{names:?}");
        assert!(outcome.reason.unwrap().contains("clashes"));
    }
    for name in ["", "/etc/passwd", "../x", "a\0", "a//b"] {
        assert!(InFile::new(name, Bytes::new()).is_err(), "{name:?}");
    }
}

/// A guest that writes clock, random bytes and a file; its result depends on all that could differ.
const CURIOUS: &str = "
    (data (i32.const 64) \"out/z\")
    (data (i32.const 0) \"\\e8\\03\\00\\00\\40\\00\\00\\00\")
    (func (export \"_start\")
      (drop (call $time (i32.const 0) (i64.const 0) (i32.const 1000)))
      (drop (call $time (i32.const 1) (i64.const 0) (i32.const 1008)))
      (drop (call $random (i32.const 1016) (i32.const 24)))
      (drop (call $stat (i32.const 3) (i32.const 0) (i32.const 64) (i32.const 3) (i32.const 2000)))
      (i64.store (i32.const 1040) (i64.load (i32.const 2008)))
      (i64.store (i32.const 1048) (i64.load (i32.const 2048)))
      (drop (call $open (i32.const 3) (i32.const 0) (i32.const 64) (i32.const 5) (i32.const 1)
              (i64.const -1) (i64.const 0) (i32.const 0) (i32.const 32)))
      (drop (call $write (i32.load (i32.const 32)) (i32.const 0) (i32.const 1) (i32.const 48)))
      (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 48))))";

#[test]
fn same_input_same_result_everywhere() {
    let wasm = guest::wasm(CURIOUS);
    let other_engine = guest::new_engine();
    let facts = |outcome: RunOutcome| (outcome.ending, outcome.fuel, outcome.output.result_hash());
    let first = facts(engine().run(&module(CURIOUS), spec(), &StopFlag::default()));
    assert_eq!(first.0, Ending::Exited { code: 0 });
    assert_eq!(first.1, Fuel(922), "fuel is part of what tasks cost: a change needs a new settings revision");
    assert_eq!(
        first.2.to_string(),
        "b3f95e9bfc2240a4e2bd370573888a33fe754f23caedc86af0dad99786098471",
        "results are agreed on between machines: a change needs a new settings revision"
    );
    for engine in [engine(), &other_engine] {
        let module = engine.load(&wasm).unwrap();
        for _ in 0..3 {
            assert_eq!(facts(engine.run(&module, spec(), &StopFlag::default())), first);
        }
    }
    let with = |spec: RunSpec| facts(run_with(CURIOUS, spec));
    for spec in [
        RunSpec { seed: 1, ..spec() },
        RunSpec { task: TaskIndex(1), ..spec() },
        RunSpec { clock: Time(0), ..spec() },
    ] {
        let other = with(spec);
        assert_eq!((other.0, other.1), (first.0, first.1));
        assert_ne!(other.2, first.2);
    }
}

#[test]
fn time_passes_with_fuel_and_sleep() {
    // Exits with the nanoseconds between two looks at a clock.
    let body = |clock: u32, between: &str| {
        format!(
            "(func $test (result i32)
               (drop (call $time (i32.const {clock}) (i64.const 0) (i32.const 8))) {between}
               (drop (call $time (i32.const {clock}) (i64.const 0) (i32.const 16)))
               (i32.wrap_i64 (i64.sub (i64.load (i32.const 16)) (i64.load (i32.const 8)))))"
        )
    };
    let look = code_of(&body(0, ""));
    assert!((100..200).contains(&look), "a look costs a host call, not {look}");
    let work = "(drop (call $random (i32.const 100) (i32.const 1000)))";
    assert_eq!(code_of(&body(1, work)), code_of(&body(0, work)));
    assert!(code_of(&body(0, work)) >= look + 1100);
    // One subscription: user data 7, clock 1, one second.
    let sleep = "(i64.store (i32.const 200) (i64.const 7)) (i32.store (i32.const 216) (i32.const 1))
        (i64.store (i32.const 224) (i64.const 1000000000))
        (if (call $poll (i32.const 200) (i32.const 300) (i32.const 1) (i32.const 400)) (then unreachable))
        (if (i32.ne (i32.load (i32.const 400)) (i32.const 1)) (then unreachable))
        (if (i64.ne (i64.load (i32.const 300)) (i64.const 7)) (then unreachable))";
    let slept = code_of(&body(0, sleep));
    assert!((1_000_000_000..1_000_001_000).contains(&slept), "{slept}");
    assert!(code_of(&body(2, sleep)) < 1000, "sleeping takes no CPU time");
    // Sleeping beyond the end of time does not wrap round.
    let forever = sleep.replace("1000000000", "-1");
    let outcome = run(&format!("(func (export \"_start\") {forever} {forever})"));
    assert_eq!(outcome.ending, Ending::Exited { code: 0 });
    assert!(outcome.fuel < Fuel(1000));
}

#[test]
fn listing_a_folder_while_emptying_it() {
    // Makes 40 files in /out, lists them through a buffer for about two entries, removes each one listed.
    let code = code_of(
        "(data (i32.const 0) \"out/aa\") (data (i32.const 16) \"out\")
         (func $name (param $n i32)
           (i32.store8 (i32.const 4) (i32.add (i32.const 97) (i32.div_u (local.get $n) (i32.const 10))))
           (i32.store8 (i32.const 5) (i32.add (i32.const 97) (i32.rem_u (local.get $n) (i32.const 10)))))
         (func $test (result i32) (local $n i32) (local $cookie i64) (local $at i32) (local $seen i32)
           (loop
             (call $name (local.get $n))
             (if (call $open (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 6) (i32.const 5)
                   (i64.const 0) (i64.const 0) (i32.const 0) (i32.const 32)) (then unreachable))
             (if (call $close (i32.load (i32.const 32))) (then unreachable))
             (br_if 0 (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 40))))
           (if (call $open (i32.const 3) (i32.const 0) (i32.const 16) (i32.const 3) (i32.const 2)
                 (i64.const -1) (i64.const 0) (i32.const 0) (i32.const 32)) (then unreachable))
           (loop $more
             (if (call $readdir (i32.load (i32.const 32)) (i32.const 100) (i32.const 60)
                   (local.get $cookie) (i32.const 40)) (then unreachable))
             (local.set $at (i32.const 100))
             (loop $entry
               (if (i32.le_u (i32.add (local.get $at) (i32.const 26))
                     (i32.add (i32.const 100) (i32.load (i32.const 40))))
                 (then
                   (local.set $cookie (i64.load (local.get $at)))
                   (if (i32.ne (i32.load8_u offset=24 (local.get $at)) (i32.const 46))
                     (then
                       (i32.store16 (i32.const 4) (i32.load16_u offset=24 (local.get $at)))
                       (if (call $unlink (i32.const 3) (i32.const 0) (i32.const 6)) (then unreachable))
                       (local.set $seen (i32.add (local.get $seen) (i32.const 1)))))
                   (local.set $at
                     (i32.add (local.get $at) (i32.add (i32.const 24) (i32.load offset=16 (local.get $at)))))
                   (br $entry))))
             (br_if $more (i32.eq (i32.load (i32.const 40)) (i32.const 60))))
           (local.get $seen))",
    );
    assert_eq!(code, 40);
}
