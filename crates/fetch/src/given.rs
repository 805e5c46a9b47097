//! Pieces that come from elsewhere than the swarm: a fetch into the same folder does not ask for them.

use std::path::Path;
use std::sync::Arc;

use crate::board::{Board, NotKept};
use crate::error::FetchError;
use crate::fetch::disk;
use crate::torrent::Torrent;

/// Takes pieces into the folder of a torrent that nobody fetches now.
pub struct Given(Arc<Board>);

impl Given {
    /// Opens the folder, or makes it.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn open(torrent: &Torrent, dir: &Path) -> Result<Given, FetchError> {
        Ok(Given(Arc::new(Board::open(torrent, &[], dir).map_err(disk("write"))?)))
    }

    /// Keeps a piece; whether it was right.
    ///
    /// # Errors
    /// When the disk fails.
    pub async fn put(&self, piece: usize, bytes: Vec<u8>) -> Result<bool, FetchError> {
        match self.0.keep(self.0.take(piece), bytes).await {
            Ok(()) => Ok(true),
            Err(NotKept::Wrong) => Ok(false),
            Err(NotKept::Disk(error)) => Err(disk("write")(error)),
        }
    }

    /// Makes all pieces durable.
    ///
    /// # Errors
    /// When the disk fails; then they are fetched.
    pub async fn finish(self) -> Result<(), FetchError> {
        self.0.note().await.map_err(disk("write"))
    }
}
