//! A whole pool on this machine: a hub and workers as real processes with temporary data folders.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use pumasi_api::client::{HubClient, Token};
use pumasi_api::tls::Pin;
use pumasi_api::wire;
use tempfile::TempDir;

use crate::Outcome;
use crate::process::Guarded;

/// A hub and what it takes to talk to it.
pub(crate) struct Pool {
    pub(crate) dir: TempDir,
    pub(crate) address: String,
    pub(crate) fingerprint: String,
    pub(crate) operator: String,
    program: PathBuf,
    hub: Option<Guarded>,
    hub_arguments: Vec<String>,
}

impl Pool {
    /// Starts a hub on a free port of the loopback address.
    pub(crate) fn start(program: &Path, hub_arguments: &[&str]) -> Outcome<Pool> {
        let dir = tempfile::Builder::new().prefix("pumasi-").tempdir()?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut pool = Pool {
            dir,
            address: format!("127.0.0.1:{port}"),
            fingerprint: String::new(),
            operator: String::new(),
            program: program.to_owned(),
            hub: None,
            hub_arguments: hub_arguments.iter().map(|text| (*text).to_owned()).collect(),
        };
        pool.start_hub()?;
        Ok(pool)
    }

    /// Starts the hub, anew if it was stopped, and returns how long it took until it answered.
    pub(crate) fn start_hub(&mut self) -> Outcome<Duration> {
        let data = self.dir.path().join("hub");
        let log = File::options().create(true).append(true).open(self.dir.path().join("hub.log"))?;
        let mut command = Command::new(&self.program);
        command.arg("serve").arg("--data").arg(&data).args(["--listen", &self.address]);
        command.args(&self.hub_arguments).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let started = Instant::now();
        let mut hub = Guarded::spawn(&mut command)?;
        let plain = self.hub_arguments.iter().any(|argument| argument == "--no-tls");
        self.fingerprint.clear();
        loop {
            let client = HubClient::new(self.url(plain).parse()?, Pin::learn(), None);
            if let Ok(info) = block_on(client.get::<wire::HubInfo>("/v1/hub")) {
                self.fingerprint = info.fingerprint;
                break;
            }
            if !hub.is_alive() || started.elapsed() > Duration::from_secs(60) {
                return Err(format!("the hub did not start:\n{}", self.hub_log()).into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let took = started.elapsed();
        self.operator = std::fs::read_to_string(data.join("operator.token"))?;
        self.hub = Some(hub);
        Ok(took)
    }

    fn url(&self, plain: bool) -> String {
        format!("{}://{}", if plain { "http" } else { "https" }, self.address)
    }

    fn hub_log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("hub.log")).unwrap_or_default()
    }

    /// Leaves the data folder where it is.
    pub(crate) fn keep(self) -> Outcome<PathBuf> {
        let Pool { dir, hub, .. } = self;
        drop(hub);
        Ok(dir.keep())
    }

    /// The hub's process.
    pub(crate) fn hub(&mut self) -> Outcome<&mut Guarded> {
        self.hub.as_mut().ok_or_else(|| "the hub is not running".into())
    }

    /// The command line, speaking for `token`.
    pub(crate) fn cli(&self, token: &str) -> Command {
        let plain = self.fingerprint.is_empty();
        let mut command = Command::new(&self.program);
        command
            .env("PUMASI_HUB", self.url(plain))
            .env("PUMASI_TOKEN", token)
            .env("PUMASI_FINGERPRINT", &self.fingerprint)
            .env("XDG_CONFIG_HOME", self.dir.path().join("config"))
            .stdin(Stdio::null());
        if plain {
            command.env_remove("PUMASI_FINGERPRINT");
        }
        command
    }

    /// What a command of the command line answers as JSON.
    pub(crate) fn ask<T: serde::de::DeserializeOwned>(&self, token: &str, arguments: &[&str]) -> Outcome<T> {
        let output = self.cli(token).args(arguments).arg("--json").output()?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            return Err(format!("`pumasi {}` failed: {text}", arguments.join(" ")).into());
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// Opens an account and returns its token.
    pub(crate) fn open_account(&self, name: &str, role: &str) -> Outcome<String> {
        let opened: wire::OpenedAccount =
            self.ask(&self.operator, &["account", "open", name, "--role", role])?;
        Ok(opened.token)
    }

    /// A client for measuring, without the command line.
    pub(crate) fn client(&self, token: &str) -> Outcome<HubClient> {
        let pin = match self.fingerprint.as_str() {
            "" => Pin::learn(),
            text => Pin::Known(text.parse()?),
        };
        let token: Token = token.parse()?;
        Ok(HubClient::new(self.url(self.fingerprint.is_empty()).parse()?, pin, Some(token)))
    }

    /// A worker of `token`'s owner joins.
    pub(crate) fn join(&self, token: &str, name: &str, arguments: &[&str]) -> Outcome<Guarded> {
        let log =
            File::options().create(true).append(true).open(self.dir.path().join(format!("{name}.log")))?;
        let mut command = self.cli(token);
        command.args(["join", "--name", name, "--data"]).arg(self.dir.path().join(name)).args(arguments);
        command.stdout(log.try_clone()?).stderr(log);
        Guarded::spawn(&mut command)
    }

    /// Waits until so many workers take work.
    pub(crate) fn wait_for_workers(&self, count: usize) -> Outcome {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let workers: Vec<wire::Worker> = self.ask(&self.operator, &["workers"])?;
            if workers.iter().filter(|worker| worker.state != "away").count() >= count {
                return Ok(());
            }
            if Instant::now() > until {
                return Err(format!(
                    "only {} of {count} workers joined; see the logs in {:?}",
                    workers.len(),
                    self.dir
                )
                .into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Runs a future to its end on this thread.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("the operating system grants a runtime").block_on(future)
}
