//! Large files, and outputs as large, on their way to the hub: in segments, each sent once, without what lies in blobs that the
//! caller holds.
//!
//! Nothing is remembered on this side: what was sent before a transfer broke off is held by the caller's account for two
//! days, and the same file cut again has the same segments. So going on is doing the same again.

use std::collections::HashSet;
use std::fmt;
use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use http::{Method, StatusCode};
use pumasi_chunks::chunker::cut;
use pumasi_chunks::delta::Known;
use pumasi_chunks::list::PAGE;
use pumasi_chunks::outline::{Outline, Outliner, Segment};
use pumasi_chunks::possession::{self, SLICE_BYTES};
use pumasi_types::{ByteSize, Hash};

use super::{Call, ClientError, HubClient, JSON_BYTES_MAX, Progress, Source};
use crate::wire::chunks::{AskChallenge, AskHeld, Challenge, Held, JoinBlobs, Joined, Linked, Possession};
use crate::wire::{ErrorBody, HubInfo, StoredBlob};

/// Smaller files are sent whole as well, in bytes: there is little to go on with.
pub const UPLOAD_MIN: u64 = 32 << 20;
/// Segments on their way at once; each takes twice its length in memory.
const SENT_AT_ONCE: usize = 3;
/// Blobs in one question.
const ASKED_AT_ONCE: usize = 1_000;
/// Bytes of a file that are read at once.
const BLOCK: usize = 4 << 20;
/// Between two looks whether the hub has put a file together.
const JOIN_PAUSE: Duration = Duration::from_millis(200);

/// How a file is sent.
#[derive(Clone)]
pub struct Upload {
    /// Blobs that the caller holds and that the file may be like: older versions of it. What it has in common with them is
    /// not sent.
    pub bases: Vec<Hash>,
    /// Is told how many bytes of the file the hub has.
    pub progress: Progress,
}

impl Upload {
    /// A file that is like nothing.
    pub fn new(progress: Progress) -> Upload {
        Upload { bases: Vec::new(), progress }
    }
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload").field("bases", &self.bases).finish_non_exhaustive()
    }
}

/// A file that the caller holds now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uploaded {
    /// Its name as a blob.
    pub hash: Hash,
    /// How many bytes it has.
    pub size: u64,
    /// How many of them travelled.
    pub sent: u64,
}

/// What is sent: a file, or what is made of one while it is read, as when it is encrypted on its way.
pub trait Content: fmt::Debug + Send + Sync {
    /// The file, as errors name it.
    fn path(&self) -> &Path;

    /// Begins to read it, and says how many bytes it has. It is read several times, and must give the same each time.
    ///
    /// # Errors
    /// When it cannot be read.
    fn open(&self) -> io::Result<(Box<dyn ReadSeek>, u64)>;
}

/// Reads from anywhere.
pub trait ReadSeek: Read + Seek + Send {}

impl<T: Read + Seek + Send> ReadSeek for T {}

impl Content for Source {
    fn path(&self) -> &Path {
        match self {
            Source::Bytes(_) => Path::new("bytes in memory"),
            Source::File(path) => path,
        }
    }

    fn open(&self) -> io::Result<(Box<dyn ReadSeek>, u64)> {
        match self {
            Source::Bytes(bytes) => Ok((Box::new(Cursor::new(bytes.clone())), bytes.len() as u64)),
            Source::File(path) => {
                let file = File::open(path)?;
                let length = file.metadata()?.len();
                Ok((Box::new(file), length))
            }
        }
    }
}

type SharedContent = Arc<dyn Content>;

/// One file on its way.
struct Sending<'a> {
    client: &'a HubClient,
    content: SharedContent,
    known: Arc<Known>,
    /// Bytes of the file that the hub has.
    done: AtomicU64,
    progress: &'a Progress,
}

impl HubClient {
    /// Sees to it that the caller holds the bytes of a file, and sends as little of them as it can. When it fails on its
    /// way, do the same again: what was sent is not sent again within two days.
    ///
    /// # Errors
    /// When a file cannot be read or changes meanwhile, the hub cannot be reached or refuses.
    pub async fn upload(&self, source: &Source, upload: &Upload) -> Result<Uploaded, ClientError> {
        self.upload_content(Arc::new(source.clone()), upload).await
    }

    /// The same for what is made of a file.
    ///
    /// # Errors
    /// As [`HubClient::upload`].
    pub async fn upload_content(
        &self,
        content: Arc<dyn Content>,
        upload: &Upload,
    ) -> Result<Uploaded, ClientError> {
        let length = blocking(&content, |content| content.open().map(|(_, length)| length)).await?;
        self.takes(length).await?;
        let outline = blocking(&content, outline).await?;
        let Outline { hash, length, segments } = &outline;
        let nothing_sent = Uploaded { hash: *hash, size: *length, sent: 0 };
        let is_held = self.held(&[*hash]).await? == [true];
        if is_held || self.prove(&content, &outline).await? {
            (upload.progress)(*length);
            return Ok(nothing_sent);
        }
        let known = Arc::new(self.known(&upload.bases).await?);
        let (done, progress) = (AtomicU64::new(0), &upload.progress);
        let sending = Sending { client: self, content, known, done, progress };
        let whole = [Segment { offset: 0, length: 0, hash: *hash }];
        let segments: &[Segment] = if segments.is_empty() { &whole } else { segments };
        let names: Vec<Hash> = segments.iter().map(|segment| segment.hash).collect();
        let held = self.held(&names).await?;
        // What comes again, as the zeros of a sparse file do, is sent once.
        let mut seen = HashSet::new();
        let segments: Vec<(Segment, bool)> = segments
            .iter()
            .zip(held)
            .map(|(segment, held)| (*segment, held || !seen.insert(segment.hash)))
            .collect();
        let sent = stream::iter(segments)
            .map(|(segment, held)| sending.segment(segment, held))
            .buffer_unordered(SENT_AT_ONCE)
            // So that the compiler sees that this can be done by any thread.
            .boxed()
            .try_fold(0, |sum, sent| async move { Ok(sum + sent) })
            .await?;
        if names.len() > 1 {
            self.join(names, *hash).await?;
        }
        Ok(Uploaded { sent, ..nothing_sent })
    }

    /// Whether the hub takes a file of so many bytes: asked before such a file is read, which takes long, and sent in
    /// segments, each of which would be taken.
    ///
    /// # Errors
    /// When it is too long, or the hub cannot be reached.
    pub async fn takes(&self, length: u64) -> Result<(), ClientError> {
        if length < UPLOAD_MIN {
            return Ok(());
        }
        let info: HubInfo = self.get("/v1/hub").await?;
        let Some(most) = info.max_upload_bytes.filter(|most| length > *most) else { return Ok(()) };
        let message = format!(
            "it has {}, and this hub takes no file of more than {}, see `serve --max-upload`",
            ByteSize(length),
            ByteSize(most)
        );
        let code = "too_large".to_owned();
        let body = ErrorBody { code, message, number: None, state: None, possible: None };
        Err(ClientError::Refused { status: StatusCode::PAYLOAD_TOO_LARGE, body: Box::new(body) })
    }

    /// Which of these blobs the caller holds, in their order.
    ///
    /// # Errors
    /// When the hub cannot be reached or refuses.
    pub async fn held(&self, blobs: &[Hash]) -> Result<Vec<bool>, ClientError> {
        let mut all = Vec::with_capacity(blobs.len());
        for blobs in blobs.chunks(ASKED_AT_ONCE) {
            let ask = AskHeld { blobs: blobs.to_vec() };
            let held: Held = self.post("/v1/blobs/held", &ask, None).await?;
            all.extend(held.sizes.iter().map(Option::is_some));
        }
        // Whatever a strange hub leaves out is sent.
        all.resize(blobs.len(), false);
        Ok(all)
    }

    /// Shows the hub that the file is here; whether the caller holds its bytes by that. The same is said and asked for,
    /// whatever the hub has.
    async fn prove(&self, content: &SharedContent, outline: &Outline) -> Result<bool, ClientError> {
        if outline.length < possession::LEAST {
            return Ok(false);
        }
        let ask = AskChallenge { length: outline.length };
        let asked: Result<Challenge, _> =
            self.post(&format!("/v1/blobs/{}/challenge", outline.hash), &ask, None).await;
        let challenge = match asked {
            Ok(challenge) => challenge,
            // A hub that links only what its caller sent, or one that was asked too often.
            Err(ClientError::Refused { .. }) => return Ok(false),
            Err(error) => return Err(error),
        };
        let Challenge { nonce, account, .. } = challenge;
        let challenge = possession::Challenge {
            nonce: *nonce.as_bytes(),
            account,
            blob: outline.hash,
            length: outline.length,
        };
        let answer = blocking(content, move |content| answer(content, &challenge)).await?;
        let said = Possession { nonce, answer };
        match self.post::<_, Linked>(&format!("/v1/blobs/{}/proof", outline.hash), &said, None).await {
            Ok(Linked { linked }) => Ok(linked),
            Err(ClientError::Refused { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The chunks of blobs that the caller holds; those of others are left out.
    async fn known(&self, bases: &[Hash]) -> Result<Known, ClientError> {
        let mut known = Known::default();
        for base in bases {
            let mut from = 0;
            while known.has_room() {
                let page = match self.chunk_page(&format!("/v1/blobs/{base}/chunks?from={from}")).await {
                    Ok(page) => page,
                    Err(ClientError::Refused { .. }) => break,
                    Err(error) => return Err(error),
                };
                known.add(*base, from, &page);
                from += page.iter().map(|chunk| u64::from(chunk.length)).sum::<u64>();
                if page.len() < PAGE {
                    break;
                }
            }
        }
        Ok(known)
    }

    /// Has blobs put behind each other, and waits for it.
    async fn join(&self, parts: Vec<Hash>, expected: Hash) -> Result<(), ClientError> {
        let ask = JoinBlobs { parts };
        loop {
            let joined: Joined = self.post("/v1/blobs/joined", &ask, None).await?;
            match joined.hash {
                Some(hash) if hash == expected => return Ok(()),
                Some(seen) => return Err(ClientError::Damaged { expected, seen }),
                None => tokio::time::sleep(JOIN_PAUSE).await,
            }
        }
    }
}

impl Sending<'_> {
    /// Sends a segment, unless it is held; how many bytes travelled.
    async fn segment(&self, segment: Segment, is_held: bool) -> Result<u64, ClientError> {
        let mut sent = 0;
        if !is_held {
            let known = Arc::clone(&self.known);
            let delta = blocking(&self.content, move |content| {
                let bytes = read_segment(content, &segment)?;
                Ok(known.recipe(&cut(&bytes)))
            });
            let delta = delta.await?;
            sent = delta.sent;
            let source = Source::Bytes(delta.recipe);
            let quiet: Progress = Arc::new(|_| ());
            let call =
                Call { upload: Some((&source, quiet)), ..Call::new(Method::POST, "/v1/blobs/composed") };
            let client = self.client;
            let stored: StoredBlob = client.parse(&call, client.collect(&call, JSON_BYTES_MAX).await?)?;
            if stored.hash != segment.hash {
                return Err(ClientError::Damaged { expected: segment.hash, seen: stored.hash });
            }
        }
        (self.progress)(self.done.fetch_add(segment.length, Ordering::Relaxed) + segment.length);
        Ok(sent)
    }
}

fn outline(content: &dyn Content) -> io::Result<Outline> {
    let (mut reader, length) = content.open()?;
    let mut outliner = Outliner::new(length);
    loop {
        let mut block = Vec::with_capacity(BLOCK);
        if (&mut reader).take(BLOCK as u64).read_to_end(&mut block)? == 0 {
            break;
        }
        outliner.push(&block.into());
    }
    let outline = outliner.finish();
    if outline.length == length { Ok(outline) } else { Err(changed()) }
}

fn read_segment(content: &dyn Content, segment: &Segment) -> io::Result<Bytes> {
    let length = usize::try_from(segment.length).map_err(io::Error::other)?;
    let mut bytes = vec![0; length];
    let (mut reader, _) = content.open()?;
    reader.seek(SeekFrom::Start(segment.offset))?;
    reader.read_exact(&mut bytes).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => changed(),
        _ => error,
    })?;
    if Hash::of(&bytes) == segment.hash { Ok(bytes.into()) } else { Err(changed()) }
}

fn answer(content: &dyn Content, challenge: &possession::Challenge) -> io::Result<Hash> {
    let ((mut reader, _), mut answer) = (content.open()?, challenge.answer());
    let mut slice = [0; SLICE_BYTES as usize];
    for offset in challenge.offsets() {
        reader.seek(SeekFrom::Start(offset))?;
        reader.read_exact(&mut slice)?;
        answer.slice(&slice);
    }
    Ok(answer.finish())
}

fn changed() -> io::Error {
    io::Error::other("it was changed while it was read: try again when nobody writes to it")
}

/// Reads beside the threads that serve requests.
async fn blocking<T: Send + 'static>(
    content: &SharedContent,
    read: impl FnOnce(&dyn Content) -> io::Result<T> + Send + 'static,
) -> Result<T, ClientError> {
    let shared = Arc::clone(content);
    let done = tokio::task::spawn_blocking(move || read(&*shared)).await;
    let done = done.unwrap_or_else(|error| Err(io::Error::other(error)));
    done.map_err(|source| ClientError::Local { verb: "read", path: content.path().to_owned(), source })
}
