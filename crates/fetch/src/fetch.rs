//! A whole file, in as many tries as it takes.

use std::io::Read;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use http::StatusCode;
use http::header::{self, HeaderMap, HeaderValue};
use hyper::body::Body as _;
use pumasi_types::ByteSize;
use sha2::{Digest, Sha256};

use crate::client::{Body, Client, Options, refused};
use crate::error::FetchError;
use crate::name::name_of;
use crate::part::{NOTE_TIME, Origin, Part};
use crate::place::Place;
use crate::progress::Progress;
use crate::reply;

/// Bytes that a try must bring so that it was not in vain.
const WORTH: u64 = 64 << 10;
/// The longest pause between two tries; who wants to be left alone for longer is asked again by the caller.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// What is wanted.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Where it is.
    pub place: Place,
    /// The SHA-256 that it must have.
    pub sha256: Option<[u8; 32]>,
    /// How long it may be.
    pub limit: ByteSize,
    /// Strong entity tags of versions that are here and need not be sent.
    pub known: Vec<String>,
}

/// What came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// All of it lies in the part now.
    Body,
    /// It is the version of this entity tag, which was known: nothing was sent.
    Known(String),
}

impl Client {
    /// Fetches what is wanted into a part: goes on where it was as long as the server shows that it is the same version,
    /// and begins again when it is not.
    ///
    /// # Errors
    /// When it cannot be had, or not now: [`FetchError::is_passing`] tells. What came stays in the part, except when it is
    /// too long or has the wrong SHA-256.
    pub async fn fetch(
        &self,
        wanted: &Wanted,
        part: &mut Part,
        progress: &Progress,
    ) -> Result<Fetched, FetchError> {
        if part.origin().url != wanted.place.to_string() && !part.is_empty() {
            part.restart(Origin::default()).await.map_err(disk("write"))?;
        }
        let Options { tries, mut pause, .. } = self.options;
        let mut left = tries;
        while !part.is_complete() {
            let before = part.len();
            let error = match self.try_once(wanted, part, progress).await {
                Ok(Fetched::Body) => break,
                Ok(known) => return Ok(known),
                Err(error) => error,
            };
            if matches!(error, FetchError::TooLarge { .. }) {
                part.restart(Origin::default()).await.map_err(disk("write"))?;
            }
            if !error.is_passing() || matches!(error, FetchError::Disk { .. }) {
                return Err(error);
            }
            // What came is durable before the next try, which may end this process.
            part.note().await.map_err(disk("write"))?;
            // Bytes of another version are no progress: a server that changes all the time would never be given up.
            if part.len() >= before + WORTH && before > 0 {
                (left, pause) = (tries, self.options.pause);
            }
            left -= 1;
            let asked = match &error {
                FetchError::Status { wait_s: Some(wait), .. } => Duration::from_secs(*wait),
                _ => Duration::ZERO,
            };
            if left == 0 || asked > PAUSE_MAX {
                return Err(error);
            }
            tracing::debug!("fetching {} goes on after: {error}", wanted.place);
            tokio::time::sleep(pause.max(asked).min(PAUSE_MAX)).await;
            pause *= 2;
        }
        if part.len() > wanted.limit.0 {
            return Err(FetchError::TooLarge { limit: wanted.limit });
        }
        if let Some(expected) = wanted.sha256 {
            let seen = sha256_of(part).await?;
            if seen != expected {
                part.restart(Origin::default()).await.map_err(disk("write"))?;
                return Err(FetchError::Sha256 { expected: hex(&expected), seen: hex(&seen) });
            }
        }
        Ok(Fetched::Body)
    }

    /// One request, and as much as comes.
    async fn try_once(
        &self,
        wanted: &Wanted,
        part: &mut Part,
        progress: &Progress,
    ) -> Result<Fetched, FetchError> {
        if wanted.place.is_ftp() {
            return self.try_ftp(wanted, part, progress).await;
        }
        let (answer, place) =
            self.follow(&wanted.place, &conditions(wanted, part), wanted.sha256.is_some()).await?;
        let host = place.host();
        let strange = |problem| FetchError::Strange { host: host.clone(), problem };
        match answer.status() {
            StatusCode::OK => {
                let total = answer.body().size_hint().exact();
                if total.is_some_and(|total| total > wanted.limit.0) {
                    return Err(FetchError::TooLarge { limit: wanted.limit });
                }
                let origin = origin_of(&wanted.place, &place, answer.headers(), total);
                part.restart(origin).await.map_err(disk("write"))?;
            }
            StatusCode::PARTIAL_CONTENT => {
                let fits = reply::piece(answer.headers()).is_some_and(|piece| {
                    let same = |said: Option<u64>, known: Option<u64>| said.is_none() || said == known;
                    piece.first == part.len() && same(piece.total, part.origin().total)
                });
                let differs = |said: Option<String>, known: &Option<String>| said.is_some() && said != *known;
                let other = differs(reply::strong_etag(answer.headers()), &part.origin().etag)
                    || differs(reply::strong_date(answer.headers()), &part.origin().date);
                if !fits || other {
                    // Whatever it is, it does not go behind what is here.
                    part.restart(Origin::default()).await.map_err(disk("write"))?;
                    return Err(strange("the piece that it sends is not the one that was asked for"));
                }
            }
            StatusCode::NOT_MODIFIED => {
                let said = reply::strong_etag(answer.headers());
                let only = || (wanted.known.len() == 1).then(|| wanted.known[0].clone());
                let known = said.filter(|etag| wanted.known.contains(etag)).or_else(only);
                let known = known.filter(|_| part.is_empty());
                return known
                    .map(Fetched::Known)
                    .ok_or_else(|| strange("it says that an unknown version is known"));
            }
            StatusCode::RANGE_NOT_SATISFIABLE => {
                // It is shorter now: another version.
                part.restart(Origin::default()).await.map_err(disk("write"))?;
                return Err(refused(&host, &answer));
            }
            _ => return Err(refused(&host, &answer)),
        }
        self.receive(Body::Http(answer.into_body()), &host, wanted.limit, part, progress).await?;
        part.finish().await.map_err(disk("write"))?;
        Ok(Fetched::Body)
    }

    /// Takes a body in, to its end.
    pub(crate) async fn receive(
        &self,
        mut body: Body,
        host: &str,
        limit: ByteSize,
        part: &mut Part,
        progress: &Progress,
    ) -> Result<(), FetchError> {
        let total = part.origin().total;
        let mut pace = Pace::new(self.options.pace);
        progress.total.store(total.unwrap_or(0), Ordering::Relaxed);
        progress.got.store(part.len(), Ordering::Relaxed);
        progress.peers.store(1, Ordering::Relaxed);
        loop {
            let mut next = pin!(self.next(&mut body, host, (part.len(), total)));
            let came = match tokio::time::timeout(NOTE_TIME, &mut next).await {
                Ok(came) => came,
                // What is noted with the next bytes would have to wait for them.
                Err(_) => {
                    part.settle().await.map_err(disk("write"))?;
                    next.await
                }
            };
            let Some(data) = came? else { break };
            let end = part.len() + data.len() as u64;
            if end > limit.0 {
                return Err(FetchError::TooLarge { limit });
            }
            if total.is_some_and(|total| end > total) {
                part.restart(Origin::default()).await.map_err(disk("write"))?;
                let problem = "it sends more than it said";
                return Err(FetchError::Strange { host: host.to_owned(), problem });
            }
            part.append(&data).await.map_err(disk("write"))?;
            progress.got.store(end, Ordering::Relaxed);
            if !pace.keeps(data.len() as u64) {
                return Err(FetchError::Slow { host: host.to_owned() });
            }
        }
        if total.is_some_and(|total| part.len() < total) {
            return Err(FetchError::Short { host: host.to_owned(), got: part.len(), said: total });
        }
        Ok(())
    }
}

/// What is asked for: the rest of the version of which a part is here, or anything but the versions that are known.
fn conditions(wanted: &Wanted, part: &Part) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Some(version) = part.origin().validator().filter(|_| !part.is_empty()) {
        let from = HeaderValue::try_from(format!("bytes={}-", part.len()));
        if let (Ok(from), Ok(version)) = (from, HeaderValue::try_from(version)) {
            headers.insert(header::RANGE, from);
            headers.insert(header::IF_RANGE, version);
        }
    } else if let Ok(known) = HeaderValue::try_from(wanted.known.join(", "))
        && !known.is_empty()
        && part.is_empty()
    {
        headers.insert(header::IF_NONE_MATCH, known);
    }
    headers
}

fn origin_of(asked: &Place, place: &Place, headers: &HeaderMap, total: Option<u64>) -> Origin {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    Origin {
        url: asked.to_string(),
        etag: reply::strong_etag(headers),
        date: reply::strong_date(headers),
        total,
        name: name_of(headers, place),
        media_type: text(header::CONTENT_TYPE).filter(|kind| kind.len() <= 200).map(str::to_owned),
        changed_s: reply::changed_s(headers),
    }
}

/// Whether enough comes.
struct Pace {
    least: u64,
    window: Duration,
    since: Instant,
    bytes: u64,
}

impl Pace {
    fn new((least, window): (ByteSize, Duration)) -> Pace {
        Pace { least: least.0, window, since: Instant::now(), bytes: 0 }
    }

    fn keeps(&mut self, bytes: u64) -> bool {
        self.bytes += bytes;
        if self.since.elapsed() < self.window {
            return true;
        }
        let kept = self.bytes >= self.least;
        (self.since, self.bytes) = (Instant::now(), 0);
        kept
    }
}

async fn sha256_of(part: &Part) -> Result<[u8; 32], FetchError> {
    let path = part.body();
    let read = move || -> std::io::Result<[u8; 32]> {
        let mut file = std::fs::File::open(path)?;
        let (mut hasher, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(hasher.finalize().into()),
                count => hasher.update(&buffer[..count]),
            }
        }
    };
    let read = tokio::task::spawn_blocking(read).await;
    read.map_err(|error| disk("read")(std::io::Error::other(error)))?.map_err(disk("read"))
}

pub(crate) fn disk(operation: &'static str) -> impl Fn(std::io::Error) -> FetchError {
    move |source| FetchError::Disk { operation, source }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
