//! What is wrong with stored bytes, where, and what can be done.

use std::fmt;
use std::path::PathBuf;

use crate::Seq;

/// Stored bytes that are not what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The damaged file.
    pub segment: PathBuf,
    /// Where in the file the damaged entry or header begins, in bytes.
    pub offset: u64,
    /// The entry that should be there; for a segment's header its first entry.
    pub seq: Seq,
    /// What the bytes should say.
    pub expected: String,
    /// What they say.
    pub found: String,
}

/// What an operator can do about damage that no restart can heal.
pub(crate) const REMEDY: &str = "restore this file from a backup or a follower of the same cell and start \
                                 again; `pumasi log verify` lists all damage";

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} is damaged at byte {} (entry {}): expected {}, found {}",
            self.segment.display(),
            self.offset,
            self.seq,
            self.expected,
            self.found
        )
    }
}
