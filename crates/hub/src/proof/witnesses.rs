//! Asking witnesses to cosign (C2SP tlog-witness).

use std::str::FromStr;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use pumasi_api::client::{HubClient, TextAnswer};
use pumasi_api::tls::{HubAddress, Pin};
use pumasi_proof::{AddCheckpoint, Malformed, NoteSignature, Use, VerifierKey, prove_consistency};

use super::{Levels, ProofFailure, Published};

/// How long a witness may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long one that failed is left alone.
const PAUSE: Duration = Duration::from_secs(15);
/// Times that one is asked anew about one checkpoint, because it knows another size.
const ROUNDS: usize = 3;

/// A witness: its public key and where it listens, written `VKEY@URL`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WitnessAddress {
    /// Its key.
    pub key: VerifierKey,
    /// Its server.
    pub address: HubAddress,
    /// What stands before `/add-checkpoint` in the path.
    pub prefix: String,
}

/// A text that is not `VKEY@URL`.
#[derive(Debug, thiserror::Error)]
#[error("'{text}' is not a witness: {problem}; it must look like NAME+ID+KEY@https://HOST")]
pub struct ParseWitnessError {
    text: String,
    problem: String,
}

impl FromStr for WitnessAddress {
    type Err = ParseWitnessError;

    fn from_str(text: &str) -> Result<WitnessAddress, ParseWitnessError> {
        let failed = |problem: String| ParseWitnessError { text: text.to_owned(), problem };
        // A key's name may have an @, its base64 may not.
        let (key, url) =
            text.rsplit_once('@').ok_or_else(|| failed("it has no @ between key and URL".to_owned()))?;
        let key: VerifierKey = key.parse().map_err(|error: Malformed| failed(error.to_string()))?;
        if key.usage() != Use::Cosignature {
            return Err(failed("its key is not one for cosignatures (type 0x04)".to_owned()));
        }
        let (scheme, rest) =
            url.split_once("://").ok_or_else(|| failed("the URL has no scheme".to_owned()))?;
        let (host, prefix) = match rest.find('/') {
            Some(at) => (&rest[..at], rest[at..].trim_end_matches('/')),
            None => (rest, ""),
        };
        let address = format!("{scheme}://{host}").parse().map_err(|error| failed(format!("{error}")))?;
        Ok(WitnessAddress { key, address, prefix: prefix.to_owned() })
    }
}

/// A witness and what is known of it.
struct Witness {
    address: WitnessAddress,
    client: HubClient,
    /// Size of the tree that it cosigned last, as far as is known.
    old: u64,
    /// It failed, and is left alone until then.
    resting: Option<Instant>,
}

/// All witnesses of a hub.
pub(super) struct Witnesses(Vec<Witness>);

/// What asking a witness came to.
enum Asked {
    Cosigned(NoteSignature),
    /// It is not there, or does not know this log: others may.
    Failed(String),
    /// It has seen more, or another history.
    KnowsMore(ProofFailure),
}

impl Witnesses {
    pub(super) fn new(addresses: &[WitnessAddress]) -> Witnesses {
        let witness = |address: &WitnessAddress| Witness {
            address: address.clone(),
            // What it answers is signed, so the connection need not be trusted.
            client: HubClient::new(address.address.clone(), Pin::learn(), None),
            old: 0,
            resting: None,
        };
        Witnesses(addresses.iter().map(witness).collect())
    }

    /// Adds the cosignatures of all witnesses that give one.
    ///
    /// # Errors
    /// When one has seen more than this checkpoint, or another history; the others' cosignatures are there.
    pub(super) async fn cosign(
        &mut self,
        published: &mut Published,
        levels: &Levels,
    ) -> Result<(), ProofFailure> {
        let signed = published.clone();
        let asked = join_all(self.0.iter_mut().map(|witness| witness.ask(&signed, levels))).await;
        let mut result = Ok(());
        for asked in asked.into_iter().flatten() {
            match asked {
                Asked::Cosigned(signature) => published.note.add(signature),
                Asked::Failed(problem) => tracing::warn!("{problem}"),
                Asked::KnowsMore(failure) => result = Err(failure),
            }
        }
        result
    }
}

impl Witness {
    /// None while it rests.
    async fn ask(&mut self, published: &Published, levels: &Levels) -> Option<Asked> {
        if self.resting.is_some_and(|until| Instant::now() < until) {
            return None;
        }
        let asked = tokio::time::timeout(PATIENCE, self.ask_now(published, levels)).await;
        let asked = asked.unwrap_or_else(|_| Asked::Failed(self.says("does not answer")));
        self.resting = matches!(asked, Asked::Failed(_)).then(|| Instant::now() + PAUSE);
        Some(asked)
    }

    async fn ask_now(&mut self, published: &Published, levels: &Levels) -> Asked {
        let size = published.checkpoint.size;
        for _ in 0..ROUNDS {
            let old = self.old.min(size);
            let proof = match prove_consistency(levels, old, size) {
                Ok(proof) => proof,
                Err(error) => return Asked::Failed(error.to_string()),
            };
            let request = AddCheckpoint { old, proof, checkpoint: published.note.clone() };
            let path = format!("{}/add-checkpoint", self.address.prefix);
            let answer = match self.client.post_text(&path, request.to_string()).await {
                Ok(answer) => answer,
                Err(error) => return Asked::Failed(self.says(&format!("cannot be asked: {error}"))),
            };
            match self.judge(answer, published) {
                Ok(asked) => return asked,
                // It knows this size, and still refuses: by another hash.
                Err(known) if known == old && old == size => {
                    return self.knows_more(format!("another tree of {known} transfers"), size);
                }
                Err(known) if known > size => return self.knows_more(format!("{known} transfers"), size),
                Err(known) => self.old = known,
            }
        }
        Asked::Failed(self.says("keeps naming other sizes"))
    }

    /// What an answer means; an error is the size that the witness knows instead.
    fn judge(&mut self, answer: TextAnswer, published: &Published) -> Result<Asked, u64> {
        let size = published.checkpoint.size;
        let shown: String = answer.body.trim().chars().take(200).collect();
        match answer.status {
            200 => {
                let lines = NoteSignature::parse_lines(&answer.body).unwrap_or_default();
                let text = published.note.text();
                let good = lines.into_iter().find(|line| self.address.key.check(text, line).is_some());
                self.old = size;
                Ok(good
                    .map_or_else(|| Asked::Failed(self.says("gave no valid cosignature")), Asked::Cosigned))
            }
            409 if answer.content_type.starts_with("text/x.tlog.size") => {
                match answer.body.strip_suffix('\n').and_then(|size| size.parse().ok()) {
                    Some(known) => Err(known),
                    None => Ok(Asked::Failed(self.says("names a size that is none"))),
                }
            }
            409 | 422 => Ok(self.knows_more(format!("another history ({shown})"), size)),
            status => Ok(Asked::Failed(self.says(&format!("answers {status}: {shown}")))),
        }
    }

    fn knows_more(&self, seen: String, size: u64) -> Asked {
        let witness = self.address.key.name().to_owned();
        Asked::KnowsMore(ProofFailure::WitnessKnowsMore { witness, seen, size })
    }

    fn says(&self, problem: &str) -> String {
        format!("the witness {} {problem}", self.address.key.name())
    }
}
