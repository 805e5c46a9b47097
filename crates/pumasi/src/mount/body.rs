//! The content of a file that programs have open: read from the hub piece by piece; once it is written to, a file of
//! this machine that goes to the hub when it is closed.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::{Bytes, BytesMut};
use pumasi_api::client::{ClientError, Content, HubClient, Source, UPLOAD_MIN, Upload};
use pumasi_api::wire::files::{About, Condition, PutFile, PutFiles, Version};
use pumasi_seal::{Key, Seal};
use pumasi_types::{AccountId, FilePath, Hash, VersionId};

use super::trouble::Trouble;
use crate::drive::sealed::SealedFile;
use crate::drive::send::{Local, hash_reader};
use crate::drive::{SEALED, outlives_bytes};

/// Bytes that are fetched at once.
const WINDOW: u64 = 4 << 20;
/// How often a read that broke off is tried again.
const TRIES: u32 = 5;

/// The content of one open file.
pub(super) struct Body {
    /// What lies at its path on the hub; none when nothing does yet.
    pub(super) version: Option<Version>,
    /// What it says of itself.
    pub(super) about: About,
    /// What decrypts that version; none when it is not encrypted.
    seal: Option<Arc<Seal>>,
    /// What is written is encrypted with this.
    pub(super) key: Option<Arc<Key>>,
    /// How many handles lead to it.
    pub(super) handles: usize,
    /// All bytes, once something was written.
    written: Option<tempfile::NamedTempFile>,
    /// Whether the hub lacks something of it.
    dirty: bool,
    /// Whether somebody else's file lies at its path by now, and what was written here beside that.
    elsewhere: bool,
    /// Bytes that were fetched last, and where they begin.
    window: (u64, Bytes),
}

impl Body {
    /// A file that lies on the hub, with what decrypts it if it is encrypted.
    pub(super) fn of(version: Version, sealed: Option<(Arc<Seal>, Arc<Key>)>) -> Body {
        let about = version.about.clone();
        let (seal, key) = sealed.unzip();
        Body {
            version: Some(version),
            about,
            seal,
            key,
            handles: 0,
            written: None,
            dirty: false,
            elsewhere: false,
            window: Default::default(),
        }
    }

    /// A file that is new, encrypted with a key if there is one.
    pub(super) fn empty(executable: bool, key: Option<Arc<Key>>) -> Result<Body, Trouble> {
        Ok(Body {
            version: None,
            about: About { executable, ..About::default() },
            seal: None,
            key,
            handles: 0,
            written: Some(tempfile::NamedTempFile::new()?),
            dirty: true,
            elsewhere: false,
            window: Default::default(),
        })
    }

    /// How many bytes it has.
    pub(super) fn size(&self) -> u64 {
        match &self.written {
            Some(file) => file.as_file().metadata().map_or(0, |metadata| metadata.len()),
            None => self.stored().map_or(0, |stored| stored.size()),
        }
    }

    /// What lies on the hub.
    fn stored(&self) -> Option<Stored<'_>> {
        self.version.as_ref().map(|version| Stored { version, seal: self.seal.as_deref() })
    }

    /// Some of its bytes; fewer at its end.
    pub(super) async fn read(&mut self, at: &At<'_>, offset: u64, length: usize) -> Result<Bytes, Trouble> {
        if let Some(file) = &self.written {
            let mut bytes = vec![0; length];
            let mut filled = 0;
            while filled < length {
                match file.as_file().read_at(&mut bytes[filled..], offset + filled as u64)? {
                    0 => break,
                    read => filled += read,
                }
            }
            bytes.truncate(filled);
            return Ok(bytes.into());
        }
        // Not `stored`, because the window changes meanwhile.
        let Some(version) = &self.version else { return Ok(Bytes::new()) };
        let stored = Stored { version, seal: self.seal.as_deref() };
        let size = stored.size();
        let end = size.min(offset.saturating_add(length as u64));
        let begin = offset.min(end);
        let mut bytes = BytesMut::new();
        let mut next = begin;
        while next < end {
            let (start, window) = &self.window;
            let inside = next.checked_sub(*start).filter(|inside| *inside < window.len() as u64);
            let Some(inside) = inside else {
                let wanted = next..size.min(next + WINDOW.max(length as u64));
                self.window = (next, at.fetch(stored, wanted).await?);
                continue;
            };
            let inside = usize::try_from(inside).unwrap_or(0);
            let take = (window.len() - inside).min(usize::try_from(end - next).unwrap_or(usize::MAX));
            bytes.extend_from_slice(&window[inside..inside + take]);
            next += take as u64;
        }
        Ok(bytes.freeze())
    }

    /// Writes bytes; what lies between the end and them is zeros.
    pub(super) async fn write(&mut self, at: &At<'_>, offset: u64, bytes: &[u8]) -> Result<(), Trouble> {
        self.changeable()?;
        self.here(at).await?.write_all_at(bytes, offset)?;
        self.touch();
        Ok(())
    }

    /// Makes it so long.
    pub(super) async fn set_size(&mut self, at: &At<'_>, size: u64) -> Result<(), Trouble> {
        self.changeable()?;
        if size == 0 && self.written.is_none() {
            self.written = Some(tempfile::NamedTempFile::new()?);
        }
        self.here(at).await?.set_len(size)?;
        self.touch();
        Ok(())
    }

    /// What lies at its path must not be replaced by what nobody compared with it, nor moved in its stead: it has to be
    /// opened again.
    pub(super) fn changeable(&self) -> Result<(), Trouble> {
        if self.elsewhere { Err(Trouble::Changed) } else { Ok(()) }
    }

    /// It was changed now.
    fn touch(&mut self) {
        self.dirty = true;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        self.about.modified_ns = now.ok().and_then(|since| u64::try_from(since.as_nanos()).ok());
    }

    /// It says something else of itself from now on.
    pub(super) fn say(&mut self, modified_ns: Option<u64>, executable: Option<bool>) -> Result<(), Trouble> {
        self.changeable()?;
        if modified_ns.is_some_and(|ns| self.about.modified_ns != Some(ns)) {
            self.about.modified_ns = modified_ns;
            self.dirty = true;
        }
        if executable.is_some_and(|executable| self.about.executable != executable) {
            self.about.executable = !self.about.executable;
            self.dirty = true;
        }
        Ok(())
    }

    /// From now on it is encrypted with this key.
    pub(super) async fn encrypt(&mut self, at: &At<'_>, key: Arc<Key>) -> Result<(), Trouble> {
        self.changeable()?;
        self.here(at).await?;
        self.key = Some(key);
        self.dirty = true;
        Ok(())
    }

    /// The file of this machine that has all bytes.
    async fn here(&mut self, at: &At<'_>) -> Result<&File, Trouble> {
        if self.written.is_none() {
            let file = tempfile::NamedTempFile::new()?;
            if let Some(stored) = self.stored() {
                let mut next = 0;
                while next < stored.size() {
                    let bytes = at.fetch(stored, next..stored.size().min(next + WINDOW)).await?;
                    file.as_file().write_all_at(&bytes, next)?;
                    next += bytes.len() as u64;
                }
            }
            self.written = Some(file);
        }
        match &self.written {
            Some(file) => Ok(file.as_file()),
            None => Err(Trouble::Io),
        }
    }

    /// Gives the hub what it lacks. When somebody else changed the file meanwhile, what was written here gets another
    /// name beside it, which is returned.
    pub(super) async fn store(&mut self, at: &At<'_>) -> Result<Option<FilePath>, Trouble> {
        if !self.dirty {
            return Ok(None);
        }
        let sent = self.send(at).await?;
        let condition = match &self.version {
            Some(version) => Condition::Version(version.version),
            None => Condition::Absent,
        };
        let put = match self.put(at, at.path.clone(), sent.blob, condition).await {
            Err(trouble @ (Trouble::Changed | Trouble::Exists)) => {
                let other = crate::drive::sync::conflict_name(at.path, 1).ok_or(trouble)?;
                self.put(at, other.clone(), sent.blob, Condition::Absent).await?;
                self.dirty = false;
                self.elsewhere = true;
                return Ok(Some(other));
            }
            put => put?,
        };
        self.dirty = false;
        // What lies there and what decrypts it go together, whoever else changes it from now on.
        let Sent { blob, size, seal } = sent;
        let about = self.about.clone();
        self.version = Some(Version { version: put, blob, size, put_ms: 0, by: AccountId::default(), about });
        self.seal = seal;
        Ok(None)
    }

    /// Sees to it that the hub has its bytes from this account.
    async fn send(&mut self, at: &At<'_>) -> Result<Sent, Trouble> {
        let Some(file) = &self.written else {
            // Only what it says of itself is another.
            let version = self.version.as_ref().ok_or(Trouble::Io)?;
            at.client.claim_files(at.space, vec![at.path.clone()], None).await?;
            return Ok(Sent { blob: version.blob, size: version.size, seal: self.seal.clone() });
        };
        let path = file.path().to_owned();
        let Some(key) = self.key.clone() else {
            let mut reopened = file.reopen()?;
            let blob = off_runtime(move || hash_reader(&mut reopened)).await?;
            let size = file.as_file().metadata()?.len();
            self.forget_bytes(blob);
            at.send(Arc::new(Source::File(path.clone())), size, blob, || Ok(Source::File(path))).await?;
            return Ok(Sent { blob, size, seal: None });
        };
        let seal = move || {
            let local = Arc::new(Local::File(path));
            let sealed = SealedFile::new(local, &FilePath::root(), &key).map_err(std::io::Error::other)?;
            let hash = sealed.hash().map_err(std::io::Error::other)?;
            Ok((Arc::new(sealed), hash))
        };
        let (sealed, blob) = off_runtime(seal).await?;
        self.forget_bytes(blob);
        let seal = sealed.seal().clone();
        self.about.labels.insert(SEALED.to_owned(), seal.header().to_string());
        let (size, content) = (seal.sealed_length(), sealed.clone());
        at.send(content, size, blob, || sealed.bytes().map(Source::Bytes)).await?;
        Ok(Sent { blob, size, seal: Some(seal) })
    }

    /// What its labels say of other bytes than these goes.
    fn forget_bytes(&mut self, blob: Hash) {
        self.about.labels.remove(SEALED);
        if self.version.as_ref().is_none_or(|version| version.blob != blob) {
            self.about.labels.retain(|label, _| outlives_bytes(label));
        }
    }

    async fn put(
        &self,
        at: &At<'_>,
        path: FilePath,
        blob: Hash,
        condition: Condition,
    ) -> Result<VersionId, Trouble> {
        let About { modified_ns, executable, labels } = self.about.clone();
        let files = vec![PutFile { path, blob, modified_ns, executable, labels, condition }];
        let put = at.client.put_files(at.space, &PutFiles { files }, None).await?;
        let result = put.results.into_iter().next().ok_or(Trouble::Io)?;
        match result.error {
            Some(error) => Err(Trouble::of_code(&error.code)),
            None => result.version.ok_or(Trouble::Io),
        }
    }
}

/// Bytes that the hub has from this account.
struct Sent {
    blob: Hash,
    size: u64,
    /// What decrypts them; none when they are not encrypted.
    seal: Option<Arc<Seal>>,
}

/// A version on the hub, and what decrypts it.
#[derive(Clone, Copy)]
struct Stored<'a> {
    version: &'a Version,
    seal: Option<&'a Seal>,
}

impl Stored<'_> {
    /// How many bytes its content has.
    fn size(&self) -> u64 {
        self.seal.map_or(self.version.size, Seal::length)
    }
}

/// Does work on files beside the threads that answer the kernel.
async fn off_runtime<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, Trouble> {
    Ok(tokio::task::spawn_blocking(work).await.map_err(|_| Trouble::Io)??)
}

/// Where a body lies on the hub.
pub(super) struct At<'a> {
    /// The hub.
    pub(super) client: &'a HubClient,
    /// The space, as the hub is asked for it.
    pub(super) space: &'a str,
    /// The path in it.
    pub(super) path: &'a FilePath,
}

impl At<'_> {
    /// Sees to it that the hub has these bytes; `whole` has them when there are few.
    async fn send(
        &self,
        content: Arc<dyn Content>,
        length: u64,
        hash: Hash,
        whole: impl FnOnce() -> std::io::Result<Source>,
    ) -> Result<(), Trouble> {
        if length < UPLOAD_MIN {
            self.client.put_blob(&whole()?, hash, Arc::new(|_| {})).await?;
            return Ok(());
        }
        let sent = self.client.upload_content(content, &Upload::new(Arc::new(|_| {}))).await?;
        if sent.hash == hash { Ok(()) } else { Err(Trouble::Io) }
    }

    /// Bytes of what lies on the hub, all of them, decrypted.
    async fn fetch(&self, stored: Stored<'_>, range: Range<u64>) -> Result<Bytes, Trouble> {
        let Some(seal) = stored.seal else { return self.fetch_stored(stored.version, range).await };
        let sealed = self.fetch_stored(stored.version, seal.cover(&range)).await?;
        seal.open_range(&range, &sealed).map(Bytes::from).map_err(|_| Trouble::Damaged)
    }

    /// Bytes of a version as they lie there, all of them.
    async fn fetch_stored(&self, version: &Version, range: Range<u64>) -> Result<Bytes, Trouble> {
        let length = usize::try_from(range.end - range.start).map_err(|_| Trouble::Io)?;
        let mut bytes = BytesMut::with_capacity(length);
        let mut tries = 0;
        loop {
            let rest = range.start + bytes.len() as u64..range.end;
            match self.fetch_some(version, rest, &mut bytes).await {
                Ok(()) if bytes.len() == length => return Ok(bytes.freeze()),
                Err(error @ ClientError::Refused { .. }) => return Err(error.into()),
                _ if tries == TRIES => return Err(Trouble::Io),
                _ => tries += 1,
            }
        }
    }

    async fn fetch_some(
        &self,
        version: &Version,
        range: Range<u64>,
        bytes: &mut BytesMut,
    ) -> Result<(), ClientError> {
        let left = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        let full = bytes.len().saturating_add(left);
        let mut download =
            self.client.read_file(self.space, self.path, Some(version.version), Some(range)).await?;
        while let Some(piece) = download.next().await? {
            let room = full - bytes.len();
            bytes.extend_from_slice(&piece[..piece.len().min(room)]);
        }
        Ok(())
    }
}
