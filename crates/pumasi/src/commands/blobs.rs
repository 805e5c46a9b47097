//! `pumasi put` and `get`: bytes by their hash.

use std::io::Read;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::Args;
use pumasi_api::client::Source;
use pumasi_types::{ByteSize, Hash};
use serde_json::json;

use crate::connect::HubArgs;
use crate::error::CliError;
use crate::exit::Exit;
use crate::job::upload;
use crate::job::watch::Interrupt;
use crate::output::{Output, Table};
use crate::progress::{Count, Progress};

const PUT_EXAMPLES: &str = "\
Examples:
  pumasi put reads.fa genome.fa
  sort words.txt | pumasi put -
  pumasi put *.fa --json | jq -r '.[].hash'";

/// Store files in the hub and print their hashes
#[derive(Args, Debug)]
#[command(after_help = PUT_EXAMPLES)]
pub(crate) struct PutArgs {
    /// The files; `-` for standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    hub: HubArgs,
}

impl PutArgs {
    pub(crate) async fn run(self, out: &Output) -> Result<Exit, CliError> {
        let client = self.hub.client()?;
        let sources = self.files.iter().map(|file| source(file)).collect::<Result<Vec<_>, _>>()?;
        let stored = Interrupt::listen().guard(upload::ensure(&client, out, &sources)).await?;
        let names: Vec<_> = self.files.iter().map(|file| file.display().to_string()).collect();
        let value: Vec<_> = stored
            .iter()
            .zip(&names)
            .map(|(blob, name)| json!({ "hash": blob.hash, "size": blob.size, "file": name }))
            .collect();
        out.show(&value, "", || {
            let mut table = Table::new(&[">", ""]);
            for (blob, name) in stored.iter().zip(&names) {
                // In the last column, which is never shortened: whole hashes are what `get` needs.
                table.row([ByteSize(blob.size).to_string(), format!("{}  {name}", blob.hash)]);
            }
            table
        })?;
        Ok(Exit::Ok)
    }
}

fn source(file: &Path) -> Result<Source, CliError> {
    if file.as_os_str() != "-" {
        return Ok(Source::File(file.to_owned()));
    }
    let mut bytes = Vec::new();
    std::io::stdin().lock().read_to_end(&mut bytes).map_err(CliError::file("read", file))?;
    Ok(Source::Bytes(Bytes::from(bytes)))
}

const GET_EXAMPLES: &str = "\
Examples:
  pumasi get 3f1a… reads.fa
  pumasi get 3f1a… > reads.fa";

/// Fetch stored bytes by their hash and check them
#[derive(Args, Debug)]
#[command(after_help = GET_EXAMPLES)]
pub(crate) struct GetArgs {
    /// The hash: 64 hexadecimal digits
    hash: Hash,
    /// Where to write them; standard output when absent
    file: Option<PathBuf>,
    #[command(flatten)]
    hub: HubArgs,
}

impl GetArgs {
    pub(crate) async fn run(self, out: &Output) -> Result<Exit, CliError> {
        let client = self.hub.client()?;
        let failed = || CliError::hub(format!("get blob {}", self.hash));
        let mut interrupt = Interrupt::listen();
        let progress = Progress::start(out, "fetching", Count::Bytes, 0);
        let bar = progress.clone();
        let tell = std::sync::Arc::new(move |done| bar.set(done, ""));
        let Some(file) = &self.file else {
            // Through a file, so that what is printed was checked before and may be larger than memory.
            let temporary = tempfile::NamedTempFile::new();
            let temporary = temporary.map_err(CliError::file("create", &std::env::temp_dir()))?;
            let work =
                async { client.get_blob_to(self.hash, temporary.path(), tell).await.map_err(failed()) };
            interrupt.guard(work).await?;
            progress.clear();
            let mut reader =
                std::fs::File::open(temporary.path()).map_err(CliError::file("read", temporary.path()))?;
            let mut chunk = vec![0; 1 << 20];
            loop {
                match reader.read(&mut chunk).map_err(CliError::file("read", temporary.path()))? {
                    0 => return Ok(Exit::Ok),
                    len => out.raw(&chunk[..len])?,
                }
            }
        };
        let work = async { client.get_blob_to(self.hash, file, tell).await.map_err(failed()) };
        let size = interrupt.guard(work).await?;
        progress.clear();
        if out.json {
            out.value(&json!({ "hash": self.hash, "size": size, "file": file.display().to_string() }))?;
        } else {
            out.note(&format!("{}: {}", file.display(), ByteSize(size)));
        }
        Ok(Exit::Ok)
    }
}
