//! End-to-end tests: the real binary as hub, workers and command line, each a process of its own.

mod faults;
mod guests;
mod refusals;

use std::path::PathBuf;
use std::process::Output;
use std::sync::OnceLock;

use pumasi_api::wire;

use crate::build::{self, Profile};
use crate::pool::Pool;
use crate::process::Guarded;

/// The binary: the one that `cargo xtask test` built, or built here once.
fn program() -> PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let given = || std::env::var_os(build::TEST_BINARY).map(PathBuf::from);
    let build = || build::pumasi(Profile::Dev).expect("the binary builds");
    PROGRAM.get_or_init(|| given().unwrap_or_else(build)).clone()
}

/// A pool with a researcher who has money, and workers of different owners.
struct Scene {
    pool: Pool,
    researcher: String,
    owners: Vec<String>,
    workers: Vec<Guarded>,
}

impl Scene {
    /// So many owners with one worker each.
    fn new(owners: usize) -> Scene {
        let pool = Pool::start(&program(), &["--link-grace", "1s"]).expect("a hub starts");
        let researcher = pool.open_account("researcher", "researcher").expect("an account opens");
        let _: serde_json::Value =
            pool.ask(&pool.operator, &["account", "issue", "researcher", "1000"]).expect("money is issued");
        let mut scene = Scene { pool, researcher, owners: Vec::new(), workers: Vec::new() };
        for n in 0..owners {
            let owner = scene.pool.open_account(&format!("owner{n}"), "owner").expect("an account opens");
            scene.join(&owner, &format!("worker{n}"));
            scene.owners.push(owner);
        }
        scene.pool.wait_for_workers(owners).expect("workers join");
        scene
    }

    fn join(&mut self, owner: &str, name: &str) {
        let worker = self.pool.join(owner, name, &["--cores", "1", "--memory", "1GiB"]);
        self.workers.push(worker.expect("a worker starts"));
    }

    /// A file in the scene's folder.
    fn file(&self, name: &str, content: &[u8]) -> String {
        let path = self.pool.dir.path().join(name);
        std::fs::write(&path, content).expect("the folder can be written");
        path.to_string_lossy().into_owned()
    }

    /// The researcher types a command.
    fn cli(&self, arguments: &[&str]) -> Output {
        self.pool.cli(&self.researcher).args(arguments).output().expect("the binary runs")
    }

    /// The same, and it must succeed.
    fn succeed(&self, arguments: &[&str]) -> String {
        let output = self.cli(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "pumasi {}: {}\n{error}", arguments.join(" "), output.status);
        String::from_utf8(output.stdout).expect("text")
    }

    fn job(&self, id: u64) -> wire::Job {
        self.pool.ask(&self.researcher, &["job", &id.to_string()]).expect("the job is shown")
    }

    /// No scene ends with books that do not balance.
    fn check_books(&self) {
        let books: Vec<wire::Books> = self.pool.ask(&self.pool.operator, &["books"]).expect("books");
        assert!(!books.is_empty() && books.iter().all(|line| line.balanced), "{books:?}");
    }
}

/// The path of an example.
fn example(name: &str) -> String {
    build::root().join("examples").join(name).to_string_lossy().into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
