//! Programs as users compile them, checked in with their source.

mod guest;

use std::path::Path;
use std::process::Command;

use bytes::Bytes;
use guest::{engine, spec};
use pumasi_types::Ending;
use pumasi_worker::InFile;
use pumasi_worker::engine::{RunSpec, StopFlag};

const GUESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/guests");

#[test]
fn a_c_program_finds_what_it_expects() {
    let wasm = std::fs::read(format!("{GUESTS}/probe.wasm")).unwrap();
    let module = engine().load(&wasm).unwrap();
    let spec = RunSpec {
        args: ["probe", "--index", "7"].map(str::to_owned).to_vec(),
        env: vec!["COLOUR=green".to_owned()],
        stdin: Bytes::from_static(b"a\nb\nc\n"),
        files: vec![
            InFile::new("more/x", Bytes::new()).unwrap(),
            InFile::new("data.txt", Bytes::from_static(b"1 2 3\n4 5\n")).unwrap(),
        ],
        ..spec()
    };
    let outcome = engine().run(&module, spec, &StopFlag::default());
    let stdout = String::from_utf8(outcome.output.stdout.to_vec()).unwrap();
    let expected = "\
argv[0]=probe
argv[1]=--index
argv[2]=7
COLOUR=green
stdin lines: 3
sum of roots: 8.3823323474417624
size 10, inode 7, changed 1700000000
/: ./ ../ in/ out/ tmp/
/in: ./ ../ data.txt more/
/out: ./ ../ moved.txt sub/
/out/sub: ./ ../ result.txt
/etc/passwd: No such file or directory
../../etc/passwd: Capabilities insufficient
/in/../../etc/passwd: Capabilities insufficient
/proc/self/mem: No such file or directory
writing to /in: Read-only file system
slept 1 s from 1700000000
2a362cab8bef4074
";
    assert_eq!(stdout, expected, "{outcome:?}");
    assert_eq!(outcome.ending, Ending::Exited { code: 42 });
    assert_eq!(outcome.output.stderr, "done\n");
    let files: Vec<(&str, &[u8])> =
        outcome.output.files.iter().map(|file| (file.path.as_str(), &file.bytes[..])).collect();
    assert_eq!(files, [("moved.txt", &b"mov"[..]), ("sub/result.txt", b"SUM 8.382\nappended\n")]);
}

#[test]
fn checked_in_guests_are_what_their_source_makes() {
    let target = tempfile::tempdir().unwrap();
    let version = Command::new("clang").arg("--version").output();
    let version = version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let has = |path: &str| Path::new(path).exists();
    let ready = version.is_ok_and(|version| version.contains("version 14."))
        && has("/usr/include/wasm32-wasi/stdio.h")
        && has("/usr/bin/wasm-ld");
    if !ready {
        eprintln!("skipped: needs Debian 12's clang, lld, wasi-libc and libclang-rt-14-dev-wasm32");
        return;
    }
    let status = Command::new(format!("{GUESTS}/build.sh")).arg(target.path()).status().unwrap();
    assert!(status.success());
    let built = std::fs::read(target.path().join("probe.wasm")).unwrap();
    let kept = std::fs::read(format!("{GUESTS}/probe.wasm")).unwrap();
    assert!(built == kept, "probe.wasm is not what its source makes: run tests/guests/build.sh tests/guests");
}
