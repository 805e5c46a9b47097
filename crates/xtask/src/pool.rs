//! A whole pool on this machine: a hub and workers as real processes with temporary data folders.

use std::ffi::OsStr;
use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
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
    /// The hub's data folder, as this process sees it.
    pub(crate) data: PathBuf,
    /// What the hub is started through, such as `nsenter` with its arguments; nothing by default.
    pub(crate) launcher: Vec<String>,
    /// Variables that only the hub sees.
    pub(crate) hub_env: Vec<(String, String)>,
    pub(crate) program: PathBuf,
    hub: Option<Guarded>,
    hub_arguments: Vec<String>,
}

impl Pool {
    /// Starts a hub on a free port of the loopback address.
    pub(crate) fn start(program: &Path, hub_arguments: &[&str]) -> Outcome<Pool> {
        let mut pool = Pool::prepare(program, hub_arguments)?;
        pool.start_hub()?;
        Ok(pool)
    }

    /// A pool whose hub is still to be started.
    pub(crate) fn prepare(program: &Path, hub_arguments: &[&str]) -> Outcome<Pool> {
        let dir = tempfile::Builder::new().prefix("pumasi-").tempdir()?;
        Ok(Pool {
            address: format!("127.0.0.1:{}", free_port()?),
            fingerprint: String::new(),
            operator: String::new(),
            data: dir.path().join("hub"),
            launcher: Vec::new(),
            hub_env: Vec::new(),
            dir,
            program: program.to_owned(),
            hub: None,
            hub_arguments: hub_arguments.iter().map(|text| (*text).to_owned()).collect(),
        })
    }

    /// Starts the hub, anew if it was stopped, and returns how long it took until it answered.
    pub(crate) fn start_hub(&mut self) -> Outcome<Duration> {
        let started = Instant::now();
        self.spawn_hub()?;
        self.fingerprint.clear();
        let plain = self.hub_arguments.iter().any(|argument| argument == "--no-tls");
        loop {
            let client = HubClient::new(self.url(plain).parse()?, Pin::learn(), None);
            if let Ok(info) = block_on(client.get::<wire::HubInfo>("/v1/hub")) {
                self.fingerprint = info.fingerprint;
                break;
            }
            if !self.hub()?.is_alive() || started.elapsed() > Duration::from_secs(60) {
                return Err(format!("the hub did not start:\n{}", self.hub_log()).into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let took = started.elapsed();
        self.operator = std::fs::read_to_string(self.data.join("operator.token"))?;
        Ok(took)
    }

    /// Starts the hub's process without waiting for it to answer.
    pub(crate) fn spawn_hub(&mut self) -> Outcome {
        let log = File::options().create(true).append(true).open(self.dir.path().join("hub.log"))?;
        let mut words = self.launcher.iter().map(OsStr::new).chain([self.program.as_os_str()]);
        let mut command = Command::new(words.next().ok_or("no program")?);
        command.args(words).arg("serve").arg("--data").arg(self.dir.path().join("hub"));
        command.args(["--listen", &self.address]).args(&self.hub_arguments);
        command.envs(self.hub_env.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.hub = Some(Guarded::spawn(&mut command)?);
        Ok(())
    }

    /// Lets the hub end in order, and starts it with more arguments than before.
    pub(crate) fn restart_hub(&mut self, more: &[&str]) -> Outcome {
        self.hub()?.stop(Duration::from_secs(30))?;
        self.hub_arguments.extend(more.iter().map(|text| (*text).to_owned()));
        self.start_hub()?;
        Ok(())
    }

    /// The hub will be started without the arguments that [`Pool::restart_hub`] added last.
    pub(crate) fn forget_arguments(&mut self, count: usize) {
        self.hub_arguments.truncate(self.hub_arguments.len() - count);
    }

    fn url(&self, plain: bool) -> String {
        format!("{}://{}", if plain { "http" } else { "https" }, self.address)
    }

    /// Everything that the hub said on its streams since the pool began.
    pub(crate) fn hub_log(&self) -> String {
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

    /// The command line, speaking for `token`. What it keeps for whoever runs it lies in the pool's folder: neither do things
    /// of theirs change what it does, nor is anything left among them.
    pub(crate) fn cli(&self, token: &str) -> Command {
        let plain = self.fingerprint.is_empty();
        let mut command = Command::new(&self.program);
        command
            .env("PUMASI_HUB", self.url(plain))
            .env("PUMASI_TOKEN", token)
            .env("PUMASI_FINGERPRINT", &self.fingerprint)
            .env_remove("PUMASI_PROFILE")
            .env("HOME", self.dir.path().join("home"))
            .stdin(Stdio::null());
        for kind in ["config", "state", "cache", "data"] {
            command.env(format!("XDG_{}_HOME", kind.to_uppercase()), self.dir.path().join(kind));
        }
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

    /// Opens an account and returns its token. The operator of this pool knows the owners and answers for
    /// them, so that one of them is enough.
    pub(crate) fn open_account(&self, name: &str, role: &str) -> Outcome<String> {
        let token = self.open_unknown(name, role)?;
        if role == "owner" {
            let _: wire::Account = self.ask(&self.operator, &["account", "vouch", name])?;
        }
        Ok(token)
    }

    /// Opens an account that nobody answers for.
    pub(crate) fn open_unknown(&self, name: &str, role: &str) -> Outcome<String> {
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
        self.join_through(None, token, name, arguments)
    }

    /// The same, by way of a proxy.
    pub(crate) fn join_through(
        &self,
        through: Option<SocketAddr>,
        token: &str,
        name: &str,
        arguments: &[&str],
    ) -> Outcome<Guarded> {
        let log =
            File::options().create(true).append(true).open(self.dir.path().join(format!("{name}.log")))?;
        let mut command = self.cli(token);
        command.args(["join", "--name", name, "--data"]).arg(self.dir.path().join(name)).args(arguments);
        command.stdout(log.try_clone()?).stderr(log);
        if let Some(address) = through {
            command.env("PUMASI_HUB", format!("https://{address}"));
        }
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

/// A port of the loopback address that nobody listens on. It lies below those that the system gives to
/// outgoing connections (Linux: 32768 and up), so that none of them takes it while a hub is down.
pub(crate) fn free_port() -> Outcome<u16> {
    let first = u64::from(std::process::id()) * 7919;
    for step in 0..1000 {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let place = first + NEXT.fetch_add(1, Ordering::Relaxed) + step;
        let port = u16::try_from(20_000 + place % 12_000)?;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    Err("no port between 20000 and 31999 is free".into())
}

/// Runs a future to its end on this thread.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("the operating system grants a runtime").block_on(future)
}
