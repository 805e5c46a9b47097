//! A hub in a process of its own, accounts, and a home for each.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// A hub with its data folder. It ends with this.
pub(crate) struct Scene {
    dir: TempDir,
    port: u16,
    /// How the hub is started, besides what all need.
    options: Vec<String>,
    hub: Child,
}

/// Somebody with an account, a machine and a home.
pub(crate) struct Person<'a> {
    scene: &'a Scene,
    token: String,
    home: PathBuf,
}

impl Scene {
    pub(crate) fn new() -> Scene {
        Scene::with(&[])
    }

    /// With a hub that is started like this.
    pub(crate) fn with(options: &[&str]) -> Scene {
        let dir = tempfile::Builder::new().prefix("pumasi-files-").tempdir().unwrap();
        // Freed before the hub takes it; a hub that does not get it says so and the test fails.
        let port = free_port();
        let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        let hub = start(&dir.path().join("hub"), port, &options);
        let scene = Scene { dir, port, options, hub };
        scene.wait();
        scene
    }

    fn wait(&self) {
        let until = Instant::now() + Duration::from_secs(60);
        while !self.answers() {
            let log = fs::read_to_string(self.dir.path().join("hub.log")).unwrap_or_default();
            assert!(Instant::now() < until, "the hub does not start: {log}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// It listens before it has read its log.
    fn answers(&self) -> bool {
        let ask = || {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
            stream.write_all(b"GET /v1/hub HTTP/1.1\r\nhost: hub\r\nconnection: close\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).map(|_| answer)
        };
        ask().is_ok_and(|answer: String| answer.starts_with("HTTP/1.1 200"))
    }

    /// How many bytes came to the hub to be stored since it was started.
    pub(crate) fn received(&self) -> u64 {
        let token = fs::read_to_string(self.dir.path().join("hub/operator.token")).unwrap();
        let head = format!("authorization: Bearer {}\r\nconnection: close\r\n\r\n", token.trim());
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.write_all(format!("GET /metrics HTTP/1.1\r\nhost: hub\r\n{head}").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let counter = answer.lines().find_map(|line| line.strip_prefix("pumasi_received_bytes_total "));
        counter.unwrap_or_else(|| panic!("{answer}")).trim().parse().unwrap()
    }

    /// Ends the hub as a power cut would, and starts it again.
    pub(crate) fn crash(&mut self) {
        self.hub.kill().unwrap();
        self.hub.wait().unwrap();
        self.hub = start(&self.dir.path().join("hub"), self.port, &self.options);
        self.wait();
    }

    /// The same, and from now on it is started like this.
    pub(crate) fn crash_into(&mut self, options: &[&str]) {
        self.options = options.iter().map(|option| (*option).to_owned()).collect();
        self.crash();
    }

    /// Where the hub keeps everything.
    pub(crate) fn hub_folder(&self) -> PathBuf {
        self.dir.path().join("hub")
    }

    pub(crate) fn operator(&self) -> Person<'_> {
        let token = fs::read_to_string(self.dir.path().join("hub/operator.token")).unwrap();
        self.at_home(token.trim().to_owned(), "operator")
    }

    /// Opens an account.
    pub(crate) fn person(&self, name: &str) -> Person<'_> {
        let opened = self.operator().json(&["account", "open", name, "--role", "researcher"]);
        self.at_home(opened["token"].as_str().unwrap().to_owned(), name)
    }

    /// Somebody with an account from before a crash.
    pub(crate) fn again(&self, token: &str, home: &Path) -> Person<'_> {
        Person { scene: self, token: token.to_owned(), home: home.to_owned() }
    }

    fn at_home(&self, token: String, name: &str) -> Person<'_> {
        let home = self.dir.path().join("homes").join(name);
        fs::create_dir_all(&home).unwrap();
        Person { scene: self, token, home }
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = self.hub.kill();
        let _ = self.hub.wait();
    }
}

/// A port of the loopback address that nobody listens on. It lies below those that the system gives to outgoing connections
/// (Linux: 32768 and up), so that none of them takes it while a hub is down.
fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id().wrapping_mul(7919);
    let mut ports = (0..1_000).map(|_| {
        let place = first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        u16::try_from(10_000 + place % 10_000).unwrap()
    });
    ports.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap()
}

fn start(data: &Path, port: u16, options: &[String]) -> Child {
    fs::create_dir_all(data).unwrap();
    let log = fs::File::options().create(true).append(true).open(data.with_extension("log")).unwrap();
    Command::new(env!("CARGO_BIN_EXE_pumasi"))
        .args(["serve", "--no-tls", "--no-proofs", "--listen", &format!("127.0.0.1:{port}"), "--data"])
        .arg(data)
        .args(options)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

impl Person<'_> {
    /// Somebody else's commands with the same account: another machine.
    pub(crate) fn elsewhere(&self, name: &str) -> Person<'_> {
        self.scene.at_home(self.token.clone(), name)
    }

    pub(crate) fn token(&self) -> String {
        self.token.clone()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.join(name)
    }

    /// Writes a file of this person's machine.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// A command in this person's home.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pumasi"));
        command.env_clear().env("HOME", &self.home).current_dir(&self.home).args(arguments);
        command.env("PUMASI_HUB", format!("http://127.0.0.1:{}", self.scene.port));
        command.env("PUMASI_TOKEN", &self.token).env("TZ", "UTC").stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// What a command prints that must go well.
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What a command answers as JSON.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let text = self.ok(&[arguments, &["--json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {text}"))
    }

    /// Exit code and messages of a command that must not go well.
    pub(crate) fn fails(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.run(arguments);
        assert!(!output.status.success(), "{arguments:?} went well");
        (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// The names that `ls` shows.
    pub(crate) fn names(&self, place: &str) -> Vec<String> {
        let listed = self.json(&["ls", place, "--recursive"]);
        let entries = listed["entries"].as_array().unwrap();
        entries.iter().map(|entry| entry["path"].as_str().unwrap().to_owned()).collect()
    }
}

/// Bytes that nothing compresses and that are others for each seed.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut bytes: Vec<u8> = std::iter::repeat_with(next).take(length.div_ceil(8)).flatten().collect();
    bytes.truncate(length);
    bytes
}
