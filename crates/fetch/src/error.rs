//! Why something could not be fetched.

use pumasi_types::ByteSize;

use crate::address::NoWay;
use crate::place::BadUrl;
use crate::torrent::BadTorrent;

/// Why something could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The URL, or where it redirects to, is none that is fetched.
    #[error("{url} is not fetched: {problem}")]
    Url {
        /// Which.
        url: String,
        /// Why not.
        problem: BadUrl,
    },
    /// The host's name leads nowhere, or where it must not.
    #[error("{host} cannot be reached: {problem}")]
    Host {
        /// Which.
        host: String,
        /// Why not.
        problem: NoWay,
    },
    /// No connection, or it broke before an answer came.
    #[error("the connection to {host} failed: {problem}")]
    Connection {
        /// To whom.
        host: String,
        /// What happened.
        problem: String,
    },
    /// The server's certificate is not one to trust.
    #[error("{host} has a certificate that no authority vouches for: {problem}")]
    NotTrusted {
        /// Who.
        host: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The server will not give it.
    #[error("{host} answered {status}")]
    Status {
        /// Who.
        host: String,
        /// The HTTP status.
        status: u16,
        /// How long the server wants to be left alone.
        wait_s: Option<u64>,
    },
    /// The FTP server will not give it.
    #[error("{host} answered {code} {text}")]
    Reply {
        /// Who.
        host: String,
        /// The code of the reply (RFC 959): 500 and above are for good.
        code: u16,
        /// What the server says to people.
        text: String,
    },
    /// It redirects without end.
    #[error("it redirects more than {most} times")]
    Redirects {
        /// How often is followed.
        most: usize,
    },
    /// It is longer than it may be.
    #[error("it is longer than the {limit} that it may have: ask for it with a larger limit if it should be")]
    TooLarge {
        /// How long it may be.
        limit: ByteSize,
    },
    /// The server said how long it is, and sent less, again and again.
    #[error("{host} broke off after {got} bytes of {}", said.map_or("an unknown number".to_owned(), |said| said.to_string()))]
    Short {
        /// Who.
        host: String,
        /// Bytes that came.
        got: u64,
        /// Bytes that were promised, if any were.
        said: Option<u64>,
    },
    /// What the server says of the piece it sends does not fit together.
    #[error("{host} gave a strange answer: {problem}")]
    Strange {
        /// Who.
        host: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Nothing, or hardly anything, comes.
    #[error("{host} sends nothing, or hardly anything")]
    Slow {
        /// Who.
        host: String,
    },
    /// The bytes are not those that were wanted.
    #[error("its SHA-256 is {seen}, and not {expected}")]
    Sha256 {
        /// What it should be, in hexadecimal.
        expected: String,
        /// What it is.
        seen: String,
    },
    /// What a magnet link names is no torrent that can be fetched.
    #[error("its torrent cannot be fetched: {problem}")]
    Torrent {
        /// Why not.
        problem: BadTorrent,
    },
    /// No peer gives anything new.
    #[error("no peer gives it: {problem}")]
    Peers {
        /// What went wrong last.
        problem: String,
    },
    /// Whoever asked for it ended it.
    #[error("it was stopped")]
    Stopped,
    /// This machine's disk.
    #[error("cannot {operation} the part that came")]
    Disk {
        /// `write`, `read`.
        operation: &'static str,
        /// Why not.
        source: std::io::Error,
    },
}

impl FetchError {
    /// Whether another try may do better.
    pub fn is_passing(&self) -> bool {
        match self {
            FetchError::Url { .. }
            | FetchError::Redirects { .. }
            | FetchError::TooLarge { .. }
            | FetchError::NotTrusted { .. }
            | FetchError::Torrent { .. }
            | FetchError::Sha256 { .. } => false,
            FetchError::Host { problem, .. } => *problem == NoWay::Unknown,
            FetchError::Reply { code, .. } => *code < 500,
            FetchError::Status { status, .. } => matches!(status, 408 | 416 | 421 | 425 | 429 | 500..),
            FetchError::Connection { .. }
            | FetchError::Short { .. }
            | FetchError::Strange { .. }
            | FetchError::Slow { .. }
            | FetchError::Peers { .. }
            | FetchError::Stopped
            | FetchError::Disk { .. } => true,
        }
    }
}
