//! The bytes that came so far, in a folder that outlives the process.

use std::io::{self, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::fs::{self, File};
use tokio::io::{AsyncSeekExt, AsyncWriteExt};

/// After so many bytes, or so much time, it is noted how many are durable: what came since is lost with the process.
const NOTE_BYTES: u64 = 8 << 20;
pub(crate) const NOTE_TIME: Duration = Duration::from_secs(1);

/// Which version of what the bytes are of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The URL that was asked for, before redirects.
    pub url: String,
    /// The entity tag of this version, if it is strong.
    pub etag: Option<String>,
    /// When this version was made, as the server writes it, if that tells it from all others.
    pub date: Option<String>,
    /// How long it is in bytes, if that is known.
    pub total: Option<u64>,
    /// What it is called.
    pub name: String,
    /// Its media type, as the server says.
    pub media_type: Option<String>,
    /// When it was changed, in seconds since 1970, as the server says.
    pub changed_s: Option<u64>,
}

impl Origin {
    /// What names this version: only with that can the rest be asked for.
    pub(crate) fn validator(&self) -> Option<&str> {
        self.etag.as_deref().or(self.date.as_deref())
    }
}

/// What stands in `origin.json`.
#[derive(Default, Serialize, Deserialize)]
struct Note {
    origin: Origin,
    /// Bytes that are durable.
    durable: u64,
    /// Whether these are all.
    complete: bool,
}

/// The bytes that came so far, and what they are of.
#[derive(Debug)]
pub struct Part {
    dir: PathBuf,
    file: File,
    origin: Origin,
    len: u64,
    complete: bool,
    noted: (u64, Instant),
}

impl Part {
    /// Opens what lies in a folder, or begins there with nothing. Bytes that were not noted as durable are cut off.
    ///
    /// # Errors
    /// When the folder cannot be made, read or written.
    pub async fn open(dir: &Path) -> io::Result<Part> {
        fs::create_dir_all(dir).await?;
        let note = match fs::read(dir.join("origin.json")).await {
            // One that cannot be read is as good as none.
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Note::default(),
            Err(error) => return Err(error),
        };
        let mut options = fs::OpenOptions::new();
        let mut file =
            options.read(true).write(true).create(true).truncate(false).open(dir.join("body")).await?;
        let note = if file.metadata().await?.len() < note.durable { Note::default() } else { note };
        let Note { origin, durable: len, complete } = note;
        file.set_len(len).await?;
        file.seek(SeekFrom::Start(len)).await?;
        Ok(Part { dir: dir.to_owned(), file, origin, len, complete, noted: (len, Instant::now()) })
    }

    /// How many bytes came.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing came yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether all came.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// What the bytes are of.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Where the bytes are.
    pub fn body(&self) -> PathBuf {
        self.dir.join("body")
    }

    /// Forgets all bytes; those to come are of `origin`.
    pub(crate) async fn restart(&mut self, origin: Origin) -> io::Result<()> {
        self.file.set_len(0).await?;
        self.file.seek(SeekFrom::Start(0)).await?;
        (self.origin, self.len, self.complete) = (origin, 0, false);
        self.note().await
    }

    pub(crate) async fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes).await?;
        self.len += bytes.len() as u64;
        let (noted, at) = self.noted;
        if self.len - noted >= NOTE_BYTES || at.elapsed() >= NOTE_TIME {
            self.note().await?;
        }
        Ok(())
    }

    /// Notes what came since the last note, if anything did.
    pub(crate) async fn settle(&mut self) -> io::Result<()> {
        if self.len > self.noted.0 { self.note().await } else { Ok(()) }
    }

    pub(crate) async fn finish(&mut self) -> io::Result<()> {
        self.complete = true;
        self.note().await
    }

    /// Makes all bytes durable, and notes that they are.
    pub(crate) async fn note(&mut self) -> io::Result<()> {
        self.file.flush().await?;
        self.file.sync_data().await?;
        let note = Note { origin: self.origin.clone(), durable: self.len, complete: self.complete };
        let bytes = serde_json::to_vec(&note).map_err(io::Error::other)?;
        let (new, path) = (self.dir.join("origin.new"), self.dir.join("origin.json"));
        let mut file = File::create(&new).await?;
        file.write_all(&bytes).await?;
        file.sync_data().await?;
        fs::rename(&new, &path).await?;
        self.noted = (self.len, Instant::now());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_what_is_durable_is_there_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut part = Part::open(dir.path()).await.unwrap();
        assert!(part.is_empty() && !part.is_complete());
        let origin = Origin { url: "https://a.example/".to_owned(), ..Origin::default() };
        part.restart(origin.clone()).await.unwrap();
        part.append(b"durable").await.unwrap();
        part.note().await.unwrap();
        part.append(b" and not").await.unwrap();
        drop(part);

        let mut part = Part::open(dir.path()).await.unwrap();
        assert_eq!((part.len(), part.origin()), (7, &origin));
        part.append(b"!").await.unwrap();
        part.finish().await.unwrap();
        assert_eq!(std::fs::read(part.body()).unwrap(), b"durable!");
        drop(part);

        // Bytes that are missing, or a note that is none: from the beginning.
        std::fs::write(dir.path().join("body"), b"dur").unwrap();
        assert_eq!(Part::open(dir.path()).await.unwrap().len(), 0);
        std::fs::write(dir.path().join("origin.json"), b"{").unwrap();
        assert_eq!(Part::open(dir.path()).await.unwrap().len(), 0);
    }
}
