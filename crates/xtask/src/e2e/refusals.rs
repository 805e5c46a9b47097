//! What the command line says when it is refused: the reason, a way out, and an exit code for scripts.

use super::{Scene, example, stderr};

#[test]
fn each_kind_of_refusal_has_its_exit_code() {
    let mut scene = Scene::new(0);
    let noop = example("noop/noop.wasm");
    let code = |arguments: &[&str]| {
        let output = scene.cli(arguments);
        assert!(stderr(&output).starts_with("error: "), "{arguments:?}: {}", stderr(&output));
        output.status.code()
    };
    assert_eq!(code(&["account", "open", "mallory", "--role", "operator"]), Some(4), "wrong role");
    assert_eq!(code(&["run", &noop, "--budget", "100000", "--no-estimate"]), Some(5), "not enough money");
    assert_eq!(code(&["job", "77"]), Some(6), "no such job");
    assert_eq!(code(&["run", "no-such-file.wasm", "--budget", "5"]), Some(7), "no such file");
    let unknown = format!("pumasi_{}", "0".repeat(64));
    let output = scene.pool.cli(&unknown).arg("jobs").output().expect("the binary runs");
    assert_eq!(output.status.code(), Some(4), "unknown token: {}", stderr(&output));
    scene.pool.hub().expect("a hub").kill().expect("it was alive");
    let output = scene.cli(&["jobs"]);
    assert_eq!(output.status.code(), Some(3), "hub unreachable: {}", stderr(&output));
}

#[test]
fn names_that_lead_out_of_a_folder_are_refused() {
    let scene = Scene::new(0);
    let noop = example("noop/noop.wasm");
    let input = scene.file("data.txt", b"data");
    for name in ["../data", "/etc/passwd", "a/../../b", ""] {
        let shared = format!("{input}:{name}");
        let output = scene.cli(&["run", &noop, "--budget", "5", "--no-estimate", "--in", &shared]);
        assert!(!output.status.success(), "'{name}' was taken");
    }
}
