//! What guests can do and what becomes of those that misbehave: the worker outlives them all.

use super::{Scene, example, stderr};

/// A command module with this body.
fn module(body: &str) -> Vec<u8> {
    let text = format!(
        r#"(module
            (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
            (memory (export "memory") 1)
            (func (export "_start") {body}))"#
    );
    wat::parse_str(text).expect("the module is sound")
}

#[test]
fn a_single_task_feels_like_a_local_command() {
    let scene = Scene::new(1);
    let output = scene.cli(&["run", &example("hello/hello.wasm"), "--budget", "5", "--", "one", "two"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains("two"), "{output:?}");
    scene.check_books();
}

#[test]
fn an_exit_code_comes_back() {
    let scene = Scene::new(1);
    let wasm = scene.file("seven.wasm", &module("(call $proc_exit (i32.const 7))"));
    let output = scene.cli(&["run", &wasm, "--budget", "5", "--yes"]);
    assert_eq!(output.status.code(), Some(7), "{}", stderr(&output));
}

/// Runs a module that misbehaves, and then a good one on the same worker.
fn misbehaves(body: &str, arguments: &[&str], reason: &str) {
    let scene = Scene::new(1);
    let wasm = scene.file("bad.wasm", &module(body));
    let all = [&["run", &wasm, "--budget", "100", "--no-estimate"], arguments].concat();
    let output = scene.cli(&all);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains(reason), "'{reason}' is missing in: {}", stderr(&output));
    scene.succeed(&["run", &example("noop/noop.wasm"), "--budget", "5"]);
    scene.check_books();
}

#[test]
fn an_endless_loop_runs_out_of_fuel() {
    misbehaves("(loop (br 0))", &["--fuel", "20000000"], "out of fuel");
}

#[test]
fn an_endless_loop_with_much_fuel_runs_out_of_time() {
    misbehaves(
        "(loop (br 0))",
        &["--fuel", "40000000000", "--wall", "300ms", "--retries", "0"],
        "limit passed",
    );
}

#[test]
fn a_memory_bomb_runs_out_of_memory() {
    misbehaves("(loop (drop (memory.grow (i32.const 64))) (br 0))", &["--memory", "32MiB"], "out of memory");
}

#[test]
fn a_flood_of_output_is_cut() {
    let flood = "(i32.store (i32.const 4) (i32.const 65000))
                 (loop (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))) (br 0))";
    misbehaves(flood, &["--output-limit", "1MiB"], "output too large");
}

#[test]
fn a_trap_names_its_rule() {
    misbehaves("unreachable", &[], "unreachable");
}

#[test]
fn a_module_that_is_none_is_refused_before_anything_is_paid() {
    let scene = Scene::new(1);
    let text = scene.file("text.wasm", b"hello, I am not a module");
    let output = scene.cli(&["run", &text, "--budget", "5"]);
    assert!(!output.status.success());
    assert!(stderr(&output).contains("module"), "{}", stderr(&output));
    let imports = wat::parse_str(
        r#"(module (import "env" "system" (func)) (memory (export "memory") 1) (func (export "_start")))"#,
    );
    let wasm = scene.file("imports.wasm", &imports.expect("sound text"));
    let output = scene.cli(&["run", &wasm, "--budget", "5", "--no-estimate"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("bad module"), "{}", stderr(&output));
    scene.check_books();
}

#[test]
fn many_tasks_are_computed_by_two_owners_who_agree() {
    let scene = Scene::new(2);
    let folder = scene.pool.dir.path().join("inputs");
    std::fs::create_dir(&folder).expect("a folder");
    for n in 0..20 {
        std::fs::write(folder.join(format!("{n}.txt")), format!("input {n}\n")).expect("a file");
    }
    let pattern = folder.join("*.txt").to_string_lossy().into_owned();
    let out = scene.pool.dir.path().join("out").to_string_lossy().into_owned();
    let hello = example("hello/hello.wasm");
    scene.succeed(&["run", &hello, "--each", &pattern, "--quorum", "2", "--budget", "50", "--out", &out]);
    let job = scene.job(1);
    assert_eq!((job.succeeded, job.tasks, job.quorum), (20, 20, 2));
    let text = std::fs::read_to_string(format!("{out}/7.txt.out")).expect("the result of task 7.txt");
    assert!(text.contains("/in/7.txt"), "{text}");
    for (n, owner) in scene.owners.iter().enumerate() {
        let statement: pumasi_api::wire::Statement =
            scene.pool.ask(owner, &["statement", "--limit", "1000"]).expect("a statement");
        assert_eq!(statement.lines.len(), 20, "owner {n} is paid once for each task");
    }
    scene.check_books();
}
