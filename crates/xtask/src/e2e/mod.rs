//! End-to-end tests: the real binary as hub, workers and command line, each a process of its own.

mod audit;
mod carrier;
mod clock;
mod damage;
mod disk;
mod faults;
mod folders;
mod guests;
mod hostile;
mod http2;
mod load;
mod market;
mod mirror;
mod moody;
mod orders;
mod proof;
mod receiver;
mod refusals;
mod s3;
mod sales_day;
mod selling;
mod store_in_s3;
mod strangers;
mod task_data;
mod torrents;

use std::path::PathBuf;
use std::process::Output;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use pumasi_api::wire;

use crate::build;
use crate::faults::Proxy;
use crate::pool::Pool;
use crate::process::Guarded;

/// The binary: the one that `cargo xtask test` built, or built here once.
fn program() -> PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| build::for_tests().expect("the binary builds")).clone()
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
        Scene::with(owners, &["--link-grace", "1s"])
    }

    /// The same with other options of the hub.
    fn with(owners: usize, hub_arguments: &[&str]) -> Scene {
        let pool = Pool::start(&program(), hub_arguments).expect("a hub starts");
        Scene::on(pool, owners)
    }

    /// The same on a pool whose hub runs.
    fn on(pool: Pool, owners: usize) -> Scene {
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
        self.join_through(None, owner, name);
    }

    fn join_through(&mut self, proxy: Option<&Proxy>, owner: &str, name: &str) {
        let through = proxy.map(Proxy::address);
        let worker = self.pool.join_through(through, owner, name, &["--cores", "1", "--memory", "1GiB"]);
        self.workers.push(worker.expect("a worker starts"));
    }

    /// How many workers the hub has a link to.
    fn attached(&self) -> usize {
        let workers: Vec<wire::Worker> = self.pool.ask(&self.pool.operator, &["workers"]).expect("workers");
        workers.iter().filter(|worker| worker.state != "away").count()
    }

    /// The hub must not have panicked.
    fn check_hub_log(&self) {
        let said = self.pool.hub_log();
        assert!(!said.contains("panicked"), "{said}");
    }

    /// A place in the scene's folder.
    fn path(&self, name: &str) -> PathBuf {
        self.pool.dir.path().join(name)
    }

    /// A file in the scene's folder.
    fn file(&self, name: &str, content: &[u8]) -> String {
        let path = self.path(name);
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

/// Waits until something is so.
fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < until, "not within a minute: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What a hub says that cannot start.
fn start_error(pool: &mut Pool) -> String {
    let before = pool.hub_log().len();
    pool.spawn_hub().expect("the binary is there");
    let status = pool.hub().expect("a hub").wait(Duration::from_secs(30)).expect("it is ours");
    let said = pool.hub_log().split_off(before);
    assert!(status.is_some_and(|status| !status.success()), "{status:?}: {said}");
    said
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
