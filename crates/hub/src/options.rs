//! How a hub is started.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use pumasi_types::ByteSize;

use crate::proof::WitnessAddress;
use crate::{DownloadOptions, WebhookOptions};

/// Whose stored bytes are linked without being sent again. On disk the same bytes are always kept once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Deduplicate {
    /// The caller's own: nobody learns from what needs not be sent what others keep.
    #[default]
    Account,
    /// Those of whoever is with the caller in a space, too.
    Group,
    /// Everybody's: whoever has a file learns whether it is stored already.
    All,
}

/// Everything an operator can choose.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// The one data folder: log, snapshots, blobs, journal, keys.
    pub data: PathBuf,
    /// Where to listen.
    pub listen: SocketAddr,
    /// Whether to speak TLS.
    pub tls: bool,
    /// Certificate chain and key in PEM; a self-made one is kept in the data folder when absent.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// Where the bytes of a new hub's blobs go; into the data folder when none. A hub that there is knows it by itself.
    pub store_at: Option<pumasi_blobs::Bucket>,
    /// The largest blob that may be uploaded.
    pub max_upload: ByteSize,
    /// How much an account may have in the store that no file has; more than the largest upload, which has none at first.
    pub unfiled_limit: ByteSize,
    /// How long a request waits for blobs to be put together; well below the time after which silent connections are closed.
    pub join_wait: Duration,
    /// Whose stored bytes are linked without being sent again.
    pub deduplicate: Deduplicate,
    /// How long a worker may be silent before its link counts as lost; its heartbeats come faster.
    pub link_lease: Duration,
    /// How long a worker may be away before its runs go to others.
    pub link_grace: Duration,
    /// Requests per second that one account may make on average.
    pub requests_per_s: u32,
    /// How long the body of a request may take to come; of one that is stored while it comes, each 64 KiB.
    pub body_patience: Duration,
    /// Log bytes after which a snapshot is made.
    pub snapshot_every: ByteSize,
    /// Whether settled transfers are made provable.
    pub proofs: bool,
    /// What the proofs' log is called; made from its key when absent. The first start decides.
    pub origin: Option<String>,
    /// Who cosigns the checkpoints.
    pub witnesses: Vec<WitnessAddress>,
    /// How long the hub waits between two checkpoints.
    pub checkpoint_every: Duration,
    /// How old an entry of the log is before auditors may read it; operators may at once. The log tells which
    /// work is being checked, which its owner must not know before the check is over.
    pub audit_lag: Duration,
    /// Whether the log forgets what two snapshots cover. Off: the whole log stays, for audits.
    pub trim_log: bool,
    /// How events are brought to webhooks.
    pub webhooks: WebhookOptions,
    /// How often the store lets go of what nothing refers to; never by itself when none.
    pub collect_every: Option<Duration>,
    /// How long it keeps what was just put and nothing refers to: much longer than a claim takes to be written.
    pub collect_grace: Duration,
    /// The domain below which buckets are hosts for clients of S3; without one they stand in paths.
    pub s3_domain: Option<String>,
    /// How much the access log of the store may take on disk; none: there is none.
    pub access_log_size: Option<ByteSize>,
    /// How files are fetched from elsewhere.
    pub downloads: DownloadOptions,
}

impl ServeOptions {
    /// The normal options for a hub on `data` at `listen`.
    pub fn new(data: PathBuf, listen: SocketAddr) -> ServeOptions {
        ServeOptions {
            data,
            listen,
            tls: true,
            certificate: None,
            store_at: None,
            max_upload: ByteSize(16 << 30),
            unfiled_limit: ByteSize(100 << 30),
            join_wait: Duration::from_secs(20),
            deduplicate: Deduplicate::Account,
            link_lease: Duration::from_secs(30),
            link_grace: Duration::from_secs(15),
            requests_per_s: 2_000,
            body_patience: Duration::from_secs(30),
            snapshot_every: ByteSize::mib(256),
            proofs: true,
            origin: None,
            witnesses: Vec::new(),
            checkpoint_every: Duration::from_secs(1),
            audit_lag: Duration::from_secs(2 * 3600),
            trim_log: false,
            webhooks: WebhookOptions::default(),
            collect_every: Some(Duration::from_secs(24 * 3600)),
            collect_grace: Duration::from_secs(24 * 3600),
            s3_domain: None,
            access_log_size: Some(ByteSize::mib(64)),
            downloads: DownloadOptions::default(),
        }
    }
}
