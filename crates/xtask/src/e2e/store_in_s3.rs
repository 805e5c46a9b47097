//! The store on a real server of S3 (SeaweedFS): well, in a bad mood, down, and with clients that are killed.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::moody::{Mood, Moody};
use super::{program, stderr};
use crate::faults::Dice;
use crate::pool::{Pool, block_on};
use crate::process::Guarded;
use crate::python::{or_skip, run};
use crate::s3::noise;
use crate::seaweed::Seaweed;

/// A server with a bucket, and a proxy before it.
struct Scene {
    server: Seaweed,
    moody: Moody,
    dir: TempDir,
}

impl Scene {
    /// None where the server cannot be had.
    fn open() -> Option<Scene> {
        or_skip(Seaweed::program())?;
        let server = Seaweed::start().expect("SeaweedFS starts");
        let moody = Moody::before(&server.endpoint.address);
        let dir = tempfile::Builder::new().prefix("pumasi-").tempdir().expect("a folder");
        let scene = Scene { server, moody, dir };
        scene.ask("PUT", "/packs");
        Some(scene)
    }

    /// Something is done on the server itself.
    fn ask(&self, method: &str, path: &str) -> Vec<u8> {
        let asked = async { self.server.endpoint.connect().await?.ask(method, path, "", b"").await?.done() };
        block_on(asked).unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    fn env(&self) -> Vec<(String, String)> {
        let signer = &self.server.endpoint.signer;
        [
            ("AWS_ACCESS_KEY_ID", signer.access_key.clone()),
            ("AWS_SECRET_ACCESS_KEY", signer.secret_key.clone()),
            ("AWS_ENDPOINT_URL", self.moody.url()),
            ("AWS_REGION", "us-east-1".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A folder with small files and a large one, all of it new.
    fn tree(&self, name: &str, large: usize) -> PathBuf {
        let folder = self.path(name);
        std::fs::create_dir(&folder).expect("a folder");
        for n in 0..40_usize {
            std::fs::write(folder.join(n.to_string()), noise(&format!("{name} {n}"), n * 500))
                .expect("a file");
        }
        std::fs::write(folder.join("large"), noise(name, large)).expect("a file");
        folder
    }

    /// `pumasi store` with packs in the bucket.
    fn command(&self, store: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.arg("store").args(arguments).arg("--dir").arg(self.path(store));
        command.args(["--at", &format!("s3://packs/of/{store}")]).envs(self.env()).stdin(Stdio::null());
        command
    }

    fn store(&self, store: &str, arguments: &[&str]) -> Output {
        self.command(store, arguments).output().expect("it runs")
    }

    fn succeed(&self, store: &str, arguments: &[&str]) -> String {
        run(&mut self.command(store, arguments)).unwrap_or_else(|error| panic!("{error}"))
    }

    /// What was put comes back as it was.
    fn same(&self, store: &str, tree: &Path) {
        let back = self.path("back");
        let name = tree.file_name().expect("a name").to_string_lossy().into_owned();
        self.succeed(store, &["get", &name, &back.to_string_lossy()]);
        run(Command::new("diff").arg("-r").arg(tree).arg(&back)).expect("the same files");
        std::fs::remove_dir_all(back).expect("it is there");
    }

    /// Every byte is read, and nothing is wrong.
    fn check(&self, store: &str) {
        let said = self.succeed(store, &["check", "--read-data"]);
        assert!(said.contains("all is well"), "{said}");
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[test]
fn a_store_in_a_bucket_bears_a_server_in_any_mood() {
    let Some(scene) = Scene::open() else { return };
    let first = scene.tree("first", 20 << 20);
    scene.succeed("a", &["put", &text(&first)]);
    scene.same("a", &first);
    scene.check("a");
    // The folder knows where its packs are; nobody else takes them.
    let plain = |dir: &str, more: &[&str]| {
        let mut command = Command::new(program());
        command.args(["store", "stats", "--dir"]).arg(scene.path(dir)).args(more).envs(scene.env());
        command.output().expect("it runs")
    };
    assert!(plain("a", &[]).status.success());
    std::fs::create_dir(scene.path("other")).expect("a folder");
    let other = plain("other", &["--at", "s3://packs/of/a"]);
    assert!(!other.status.success() && stderr(&other).contains("belong to another store"), "{other:?}");
    let moved = plain("a", &["--at", "s3://packs/elsewhere"]);
    assert!(!moved.status.success() && stderr(&moved).contains("s3://packs/of/a"), "{moved:?}");

    scene.moody.set(Mood::Bad);
    let second = scene.tree("second", 40 << 20);
    scene.succeed("a", &["put", &text(&second)]);
    scene.same("a", &second);
    scene.check("a");
    scene.succeed("a", &["rm", "first"]);
    scene.succeed("a", &["gc", "--grace", "0"]);
    scene.same("a", &second);
    assert_eq!(scene.moody.unseen(), [""; 0], "all of it happened");

    scene.moody.set(Mood::Down);
    let third = scene.tree("third", 1 << 20);
    let (put, none) = (text(&third), text(&scene.path("none")));
    let tries: [&[&str]; 2] = [&["put", &put], &["get", "second", &none]];
    for arguments in tries {
        let refused = scene.store("a", arguments);
        let said = stderr(&refused);
        assert!(!refused.status.success(), "{said}");
        assert!(said.contains("cannot ") && said.contains("the S3 server that keeps its packs"), "{said}");
        assert!(said.contains(&scene.moody.url()[7..]), "it does not say which server: {said}");
    }
    scene.moody.set(Mood::Well);
    let names = scene.succeed("a", &["ls"]);
    assert!(names.contains("second") && !names.contains("third"), "{names}");
    scene.check("a");
    scene.succeed("a", &["put", &text(&third)]);
    scene.same("a", &third);
    lost_packs_are_named_and_put_again(&scene, &third);
}

/// Somebody removes a pack from the bucket.
fn lost_packs_are_named_and_put_again(scene: &Scene, third: &Path) {
    let listed = async {
        let mut link = scene.server.endpoint.connect().await?;
        link.ask("GET", "/packs", "list-type=2&prefix=of%2Fa%2Fpacks%2F", b"").await?.done()
    };
    let listed = block_on(listed).expect("a listing");
    let listed = String::from_utf8(listed).expect("text");
    let pack = listed.split("<Key>").nth(1).and_then(|rest| rest.split('<').next()).expect("a pack");
    scene.ask("DELETE", &format!("/packs/{pack}"));
    let object = pack.strip_prefix("of/a/").expect("in its place");
    let checked = scene.store("a", &["check"]);
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(!checked.status.success() && said.contains(object), "{said}");
    assert!(!scene.store("a", &["repair"]).status.success(), "something is lost");
    scene.succeed("a", &["put", &text(&scene.path("second"))]);
    scene.succeed("a", &["put", &text(third)]);
    scene.same("a", third);
    scene.same("a", &scene.path("second"));
    scene.check("a");
}

#[test]
fn a_client_killed_while_it_puts_into_a_bucket_loses_nothing() {
    let Some(scene) = Scene::open() else { return };
    let kept = scene.tree("kept", 3 << 20);
    scene.succeed("a", &["put", &text(&kept)]);
    let large = scene.tree("large", 80 << 20);
    let seed = Dice::fresh_seed();
    println!("seed {seed}");
    let mut dice = Dice::new(seed);
    for _ in 0..4 {
        let mut command = scene.command("a", &["put", &text(&large)]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut put = Guarded::spawn(&mut command).expect("it starts");
        std::thread::sleep(Duration::from_millis(dice.below(1_500)));
        put.kill().expect("it is killed");
        scene.check("a");
        scene.same("a", &kept);
    }
    scene.succeed("a", &["put", &text(&large)]);
    scene.same("a", &large);
    scene.check("a");
}

#[test]
fn a_hub_whose_bytes_lie_in_a_bucket_goes_on_when_its_server_does() {
    let Some(scene) = Scene::open() else { return };
    let mut pool = Pool::prepare(&program(), &["--store-at", "s3://packs/hub"]).expect("a pool");
    pool.hub_env = scene.env();
    pool.start_hub().expect("the hub starts");
    let token = pool.open_account("ann", "researcher").expect("an account opens");
    let cli = |pool: &Pool, arguments: &[&str]| pool.cli(&token).args(arguments).output().expect("it runs");
    let same = |pool: &Pool, tree: &Path, place: &str| {
        let back = scene.path("back");
        run(pool.cli(&token).args(["get", place]).arg(&back)).expect("it comes back");
        run(Command::new("diff").arg("-r").arg(tree).arg(&back)).expect("the same files");
        std::fs::remove_dir_all(back).expect("it is there");
    };
    let first = scene.tree("first", 20 << 20);
    run(pool.cli(&token).args(["put", &text(&first), ":first"])).expect("it is put");
    scene.moody.set(Mood::Bad);
    let second = scene.tree("second", 20 << 20);
    run(pool.cli(&token).args(["put", &text(&second), ":second"])).expect("it is put");
    same(&pool, &second, ":second");
    scene.moody.set(Mood::Down);
    let third = scene.tree("third", 1 << 20);
    let refused = cli(&pool, &["put", &text(&third), ":third"]);
    assert!(!refused.status.success(), "{refused:?}");
    assert!(pool.hub_log().contains("the S3 server that keeps its packs"), "{}", pool.hub_log());
    scene.moody.set(Mood::Well);
    run(pool.cli(&token).args(["put", &text(&third), ":third"])).expect("it is put");
    // A power cut in the middle of a put; the data folder knows its bucket.
    let fourth = scene.tree("fourth", 60 << 20);
    let mut command = pool.cli(&token);
    command.args(["put", &text(&fourth), ":fourth"]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut put = Guarded::spawn(&mut command).expect("it starts");
    std::thread::sleep(Duration::from_millis(400));
    pool.hub().expect("a hub").kill().expect("it is killed");
    put.kill().expect("it is killed");
    pool.forget_arguments(2);
    pool.start_hub().expect("the hub starts again");
    for (tree, place) in [(&first, ":first"), (&second, ":second"), (&third, ":third")] {
        same(&pool, tree, place);
    }
    run(pool.cli(&token).args(["put", &text(&fourth), ":fourth"])).expect("it is put");
    same(&pool, &fourth, ":fourth");
    assert!(!pool.data.join("blobs/packs").read_dir().expect("a folder").any(|_| true), "no pack lies here");
}
