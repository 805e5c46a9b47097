//! `pumasi serve`: start a hub.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use pumasi_blobs::Bucket;
use pumasi_hub::proof::WitnessAddress;
use pumasi_hub::{DownloadOptions, Running, ServeOptions, WebhookOptions};
use pumasi_types::ByteSize;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::error::CliError;
use crate::exit::Exit;
use crate::output::Output;
use crate::profile::data_folder;
use crate::units::{parse_span_ms, parse_span_or_none_ms};

const EXAMPLES: &str = "\
Examples:
  pumasi serve                                     for this machine only
  pumasi serve --listen 0.0.0.0:7878 --data /srv/pumasi
  pumasi serve --tls-cert hub.pem --tls-key hub.key
  pumasi serve --origin pool.example/pay --witness \"$witness\"
  PUMASI_LOG=debug pumasi serve --log-format json

Everything is kept in the data folder: back it up. The first start makes an operator account, whose \
token lies in operator.token there. Ctrl-C or SIGTERM ends the hub after it has answered what is under way.";

/// A shorter lease would be used up by heartbeats and by the time that a message needs on its way.
const LINK_LEASE_MS_MIN: u64 = 500;

/// What tells of every request that fails, with its headers, unless it is asked for by name.
const QUIET: &str = "s3s=off";

/// Start a hub
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ServeArgs {
    /// The data folder; $XDG_DATA_HOME/pumasi when absent, by default below ~/.local/share
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// Where to listen
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7878")]
    listen: SocketAddr,
    /// Speak plain HTTP: for tests, or behind a proxy on the same machine
    #[arg(long, conflicts_with_all = ["tls_cert", "tls_key"])]
    no_tls: bool,
    /// Certificate chain in PEM; a self-made one when absent
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Its key in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// The largest file that can be put
    #[arg(long, value_name = "SIZE", default_value = "16GiB")]
    max_upload: ByteSize,
    /// How much an account may have here that lies in no file: what it sent lately, and inputs of its jobs
    #[arg(long, value_name = "SIZE", default_value = "100GiB")]
    unfiled_limit: ByteSize,
    /// Keep the bytes of blobs in this bucket (s3://BUCKET/PREFIX) instead of the data folder, which needs to be said once;
    /// server and keys stand in AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY
    #[arg(long, value_name = "PLACE")]
    store_at: Option<Bucket>,
    /// Whose stored bytes need not be sent again by who can show to have them; with `all`, whoever has a file learns
    /// whether it is stored, with `group`, whether who made a space that he is a member of holds it
    #[arg(long, value_name = "WHOSE", value_enum, default_value_t = Deduplicate::Account)]
    deduplicate: Deduplicate,
    /// How long a machine may be silent before its connection counts as lost
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_span_ms)]
    link_lease: u64,
    /// How long a machine may be away before its tasks go to others
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = parse_span_ms)]
    link_grace: u64,
    /// Requests that one account may make each second, on average
    #[arg(long, value_name = "N", default_value_t = 2_000)]
    requests_per_s: u32,
    /// Make a snapshot, which shortens the next start, after so much of the log
    #[arg(long, value_name = "SIZE", default_value = "256MiB")]
    snapshot_every: ByteSize,
    /// Forget what two snapshots cover of the log; without it the whole log stays, for audits
    #[arg(long)]
    trim_log: bool,
    /// How often the space of what no file, link, upload or job needs any more is freed; 0s: only by `pumasi hub-store gc`
    #[arg(long, value_name = "TIME", default_value = "1d", value_parser = parse_span_or_none_ms)]
    collect_every: u64,
    /// How much the log of who read what, and who was refused, may take on disk; off: none is kept
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = parse_size_or_off)]
    access_log_size: SizeOrOff,
    /// What the log of payments is called for ever, like pool.example/pay; made from its key when absent
    #[arg(long, value_name = "NAME", help_heading = "Proofs")]
    origin: Option<String>,
    /// A witness that cosigns checkpoints, as NAME+ID+KEY@https://HOST; can be given more than once
    #[arg(long, value_name = "VKEY@URL", help_heading = "Proofs")]
    witness: Vec<WitnessAddress>,
    /// How long to wait between two checkpoints while something is paid
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_span_ms, help_heading = "Proofs")]
    checkpoint_every: u64,
    /// How old an entry of the log is before auditors may read it: it tells which work is being checked
    #[arg(long, value_name = "TIME", default_value = "2h", value_parser = parse_span_or_none_ms, help_heading = "Proofs")]
    audit_lag: u64,
    /// Prove nothing: no checkpoints, no receipts
    #[arg(long, conflicts_with_all = ["origin", "witness", "checkpoint_every"], help_heading = "Proofs")]
    no_proofs: bool,
    /// Let webhooks lead to private addresses and to this machine
    #[arg(long, help_heading = "Webhooks")]
    webhooks_to_private: bool,
    /// Let webhooks do without TLS
    #[arg(long, help_heading = "Webhooks")]
    webhooks_over_http: bool,
    /// Trust the authorities in this PEM file for webhooks, besides those of the system
    #[arg(long, value_name = "FILE", help_heading = "Webhooks")]
    webhook_roots: Option<PathBuf>,
    /// How long after each try that failed webhooks are tried again; after the last they are given up
    #[arg(
        long,
        value_parser = parse_span_ms,
        value_delimiter = ',',
        default_value = "5s,5m,30m,2h,5h,10h,14h,20h,24h",
        value_name = "TIMES",
        help_heading = "Webhooks"
    )]
    webhook_retries: Vec<u64>,
    /// The domain below which buckets are hosts for programs that speak S3; without one they stand in paths
    #[arg(long, value_name = "DOMAIN")]
    s3_domain: Option<String>,
    /// Downloads that run at once
    #[arg(long, value_name = "N", default_value_t = 16, help_heading = "Downloads")]
    downloads: usize,
    /// Downloads of one account that run at once
    #[arg(long, value_name = "N", default_value_t = 4, help_heading = "Downloads")]
    downloads_each: usize,
    /// How long a download may be
    #[arg(long, value_name = "SIZE", default_value = "100GiB", help_heading = "Downloads")]
    download_limit: ByteSize,
    /// Let downloads come from this private address as well, as 10.0.0.5:80; can be given more than once
    #[arg(long, value_name = "ADDRESS", help_heading = "Downloads")]
    downloads_from: Vec<SocketAddr>,
    /// Trust the authorities in this PEM file for downloads, besides those of the system
    #[arg(long, value_name = "FILE", help_heading = "Downloads")]
    download_roots: Option<PathBuf>,
    /// Nodes with which the DHT is entered, for torrents whose trackers know nobody; the well-known ones when not given
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',', help_heading = "Downloads")]
    dht_bootstrap: Vec<String>,
    /// Ask only trackers, and never the DHT, who has a torrent
    #[arg(long, conflicts_with = "dht_bootstrap", help_heading = "Downloads")]
    no_dht: bool,
    /// Bytes of a torrent that are given to others for each that was fetched, while it comes and afterwards; 0: nothing is
    /// given
    #[arg(long, value_name = "RATIO", default_value_t = 0.0, value_parser = parse_ratio, help_heading = "Downloads")]
    seed_ratio: f64,
    /// How long a torrent that was fetched is given at most, in hours
    #[arg(long, value_name = "HOURS", default_value_t = 24, help_heading = "Downloads")]
    seed_hours: u32,
    /// Bytes in a second that are given, of all torrents together; without bound when not given
    #[arg(long, value_name = "SIZE", help_heading = "Downloads")]
    upload_limit: Option<ByteSize>,
    /// Where peers may connect to who want what is given, as 0.0.0.0:6881; without it the hub connects to them only
    #[arg(long, value_name = "ADDRESS", help_heading = "Downloads")]
    torrent_listen: Option<SocketAddr>,
    /// How the hub's log messages are written, to stderr; PUMASI_LOG=debug says more
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

/// A size, or nothing at all.
type SizeOrOff = Option<ByteSize>;

/// Reads a size of what can be done without.
fn parse_size_or_off(text: &str) -> Result<SizeOrOff, String> {
    const LEAST: ByteSize = ByteSize::mib(1);
    if text == "off" {
        return Ok(None);
    }
    let size: ByteSize = text.parse().map_err(|error: pumasi_types::ParseUnitError| error.to_string())?;
    if size < LEAST {
        return Err(format!("'{text}' is too little: give {LEAST} or more, or `off`"));
    }
    Ok(Some(size))
}

/// Reads how much is given for what was fetched.
fn parse_ratio(text: &str) -> Result<f64, String> {
    let ratio = text.parse().ok().filter(|ratio: &f64| ratio.is_finite() && (0.0..=1_000.0).contains(ratio));
    ratio.ok_or_else(|| format!("'{text}' is no number from 0 to 1000"))
}

/// Whose stored bytes need not be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Deduplicate {
    /// The caller's own
    Account,
    /// Those held by whoever made a space that the caller is a member of, too
    Group,
    /// Everybody's
    All,
}

/// How log messages are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object on each line.
    Json,
}

impl LogFormat {
    /// Sends log messages to stderr from now on.
    pub(crate) fn start(self) {
        let wanted = std::env::var("PUMASI_LOG").unwrap_or_else(|_| "info".to_owned());
        let filter =
            EnvFilter::try_new(format!("{QUIET},{wanted}")).unwrap_or_else(|_| EnvFilter::new("info"));
        let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
        let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
        // A second start would be a mistake of ours, and the first one goes on.
        let _ = match self {
            LogFormat::Text => builder.with_ansi(ansi && std::env::var_os("NO_COLOR").is_none()).try_init(),
            LogFormat::Json => builder.json().try_init(),
        };
    }
}

/// Resolves when the program is asked to end: Ctrl-C or SIGTERM.
pub(crate) async fn asked_to_end() {
    let (interrupt, terminate) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    match (interrupt, terminate) {
        (Ok(mut interrupt), Ok(mut terminate)) => {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        }
        // Without handlers the signals end the program as ever.
        _ => std::future::pending().await,
    }
}

impl ServeArgs {
    pub(crate) async fn run(self, out: &Output) -> Result<Exit, CliError> {
        self.log_format.start();
        let out = *out;
        let stop = asked_to_end();
        let data = data_folder(self.data.clone())?;
        let options = self.options(data.clone());
        let ready = move |running: &Running| announce(&out, &data, running);
        pumasi_hub::serve(options, ready, stop).await.map_err(|source| CliError::Serve { source })?;
        Ok(Exit::Ok)
    }

    fn options(self, data: PathBuf) -> ServeOptions {
        ServeOptions {
            tls: !self.no_tls,
            certificate: self.tls_cert.zip(self.tls_key),
            store_at: self.store_at,
            max_upload: self.max_upload,
            // A file that can be put at all can be sent.
            unfiled_limit: self.unfiled_limit.max(self.max_upload),
            deduplicate: match self.deduplicate {
                Deduplicate::Account => pumasi_hub::Deduplicate::Account,
                Deduplicate::Group => pumasi_hub::Deduplicate::Group,
                Deduplicate::All => pumasi_hub::Deduplicate::All,
            },
            requests_per_s: self.requests_per_s,
            snapshot_every: self.snapshot_every,
            trim_log: self.trim_log,
            webhooks: WebhookOptions {
                to_private: self.webhooks_to_private,
                plain: self.webhooks_over_http,
                roots: self.webhook_roots,
                retries: self.webhook_retries.into_iter().map(Duration::from_millis).collect(),
                ..WebhookOptions::default()
            },
            s3_domain: self.s3_domain,
            access_log_size: self.access_log_size,
            downloads: DownloadOptions {
                at_once: self.downloads,
                each: self.downloads_each,
                limit: self.download_limit,
                from: self.downloads_from,
                roots: self.download_roots,
                dht: (!self.no_dht).then_some(self.dht_bootstrap),
                seed_ratio: self.seed_ratio,
                seed_time: Duration::from_secs(u64::from(self.seed_hours) * 3_600),
                upload_limit: self.upload_limit,
                torrent_listen: self.torrent_listen,
            },
            proofs: !self.no_proofs,
            origin: self.origin,
            witnesses: self.witness,
            checkpoint_every: Duration::from_millis(self.checkpoint_every),
            audit_lag: Duration::from_millis(self.audit_lag),
            collect_every: Some(Duration::from_millis(self.collect_every)).filter(|every| !every.is_zero()),
            link_lease: Duration::from_millis(self.link_lease.max(LINK_LEASE_MS_MIN)),
            link_grace: Duration::from_millis(self.link_grace),
            ..ServeOptions::new(data, self.listen)
        }
    }
}

/// Says where the hub is and what to do next.
fn announce(out: &Output, data: &std::path::Path, running: &Running) {
    let fingerprint = running.fingerprint();
    let scheme = if fingerprint.is_empty() { "http" } else { "https" };
    let address = format!("{scheme}://{}", running.address());
    let token = data.join("operator.token");
    // What cannot be written here was only for the eye: the hub itself runs.
    if out.json {
        let _ = out.value(&json!({
            "address": address, "fingerprint": fingerprint, "operator_token": token.display().to_string(),
        }));
        return;
    }
    let _ = out.line(&format!("hub at {address}, data in {}", data.display()));
    let pin = if fingerprint.is_empty() { String::new() } else { format!(" --fingerprint {fingerprint}") };
    if !fingerprint.is_empty() {
        let _ = out.line(&format!("certificate {fingerprint}"));
    }
    out.note(&format!(
        "operate it with: pumasi login {address}{pin} --profile operator < {}\n\
         join a machine:  pumasi join {address}{pin} --token TOKEN",
        token.display()
    ));
}
