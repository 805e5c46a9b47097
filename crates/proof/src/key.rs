//! Ed25519 keys of logs and witnesses (C2SP signed-note, tlog-cosignature; RFC 8032).

use std::fmt;
use std::str::FromStr;

use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use sha2::{Digest, Sha256};

use crate::text::{Malformed, from_base64, is_key_name, to_base64};
use crate::{NoteSignature, Signed};

/// What a key signs, and so how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Use {
    /// The text of a note as it is (type 0x01): logs.
    Note,
    /// A checkpoint at a time (type 0x04, `cosignature/v1`): witnesses.
    Cosignature,
}

impl Use {
    const fn number(self) -> u8 {
        match self {
            Use::Note => 0x01,
            Use::Cosignature => 0x04,
        }
    }

    fn of(number: u8) -> Option<Use> {
        [Use::Note, Use::Cosignature].into_iter().find(|one| one.number() == number)
    }
}

/// The short name of a key beside its long one: the first bytes of a hash of name, use and key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub [u8; 4]);

impl KeyId {
    fn of(name: &str, usage: Use, public: &[u8; 32]) -> KeyId {
        let hash = Sha256::new()
            .chain_update(name)
            .chain_update([b'\n', usage.number()])
            .chain_update(public)
            .finalize();
        KeyId([hash[0], hash[1], hash[2], hash[3]])
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A public key with its name; written as a C2SP vkey, `NAME+ID+BASE64`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VerifierKey {
    name: String,
    id: KeyId,
    usage: Use,
    public: [u8; 32],
}

impl VerifierKey {
    fn new(name: &str, usage: Use, public: [u8; 32]) -> VerifierKey {
        VerifierKey { name: name.to_owned(), id: KeyId::of(name, usage, &public), usage, public }
    }

    /// Whose key it is; for a log this is its origin.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its id.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// What it signs.
    pub fn usage(&self) -> Use {
        self.usage
    }

    /// The bare key.
    pub fn public(&self) -> &[u8; 32] {
        &self.public
    }

    /// Whether a signature claims to be of this key.
    pub fn is_named_by(&self, signature: &NoteSignature) -> bool {
        signature.name == self.name && signature.id == self.id
    }

    /// Checks a signature under a note's text; `None` when it is wrong.
    pub fn check(&self, text: &str, signature: &NoteSignature) -> Option<Signed> {
        if !self.is_named_by(signature) {
            return None;
        }
        let key = UnparsedPublicKey::new(&ED25519, &self.public);
        match self.usage {
            Use::Note => {
                key.verify(text.as_bytes(), &signature.bytes).ok()?;
                Some(Signed { key: self.clone(), time_s: None })
            }
            Use::Cosignature => {
                let (time, bytes) = signature.bytes.split_first_chunk::<8>()?;
                let time_s = u64::from_be_bytes(*time);
                // The format forbids later times.
                i64::try_from(time_s).ok()?;
                key.verify(cosigned(text, time_s).as_bytes(), bytes).ok()?;
                Some(Signed { key: self.clone(), time_s: Some(time_s) })
            }
        }
    }
}

/// What a witness signs (tlog-cosignature, "Ed25519 signed message").
fn cosigned(text: &str, time_s: u64) -> String {
    format!("cosignature/v1\ntime {time_s}\n{text}")
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = [&[self.usage.number()], &self.public[..]].concat();
        write!(f, "{}+{}+{}", self.name, self.id, to_base64(&key))
    }
}

impl FromStr for VerifierKey {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<VerifierKey, Malformed> {
        let malformed = |problem: &str| Malformed::new("public key", problem);
        let (name, usage, id, public) = parse_key("public key", text)?;
        let key = VerifierKey::new(name, usage, public);
        if id != key.id.to_string() {
            return Err(malformed("its id is not that of its name and key: a part of it was changed"));
        }
        Ok(key)
    }
}

/// The parts that public and private keys have in common: `NAME+ID+BASE64(use, 32 bytes)`.
fn parse_key<'a>(what: &'static str, text: &'a str) -> Result<(&'a str, Use, &'a str, [u8; 32]), Malformed> {
    let malformed = |problem: &str| Malformed::new(what, problem);
    let mut parts = text.splitn(3, '+');
    let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(malformed("it must look like NAME+ID+KEY"));
    };
    if !is_key_name(name) {
        return Err(malformed("its name is empty or has spaces"));
    }
    let bytes = from_base64(what, key)?;
    let (usage, key) = bytes.split_first().ok_or_else(|| malformed("its key is empty"))?;
    let usage = Use::of(*usage).ok_or_else(|| malformed("it is of a kind that is not known here"))?;
    let key = key.try_into().map_err(|_| malformed("its key must be 32 bytes"))?;
    Ok((name, usage, id, key))
}

/// A private key with its name; written as `PRIVATE+KEY+NAME+ID+BASE64`, as Go's `sumdb/note` does.
pub struct SignerKey {
    seed: [u8; 32],
    pair: Ed25519KeyPair,
    verifier: VerifierKey,
}

const PRIVATE: &str = "PRIVATE+KEY+";

impl SignerKey {
    /// The key that 32 random bytes make.
    ///
    /// # Errors
    /// When the name is empty or has spaces, plus signs or control characters.
    pub fn from_seed(name: &str, usage: Use, seed: [u8; 32]) -> Result<SignerKey, Malformed> {
        if !is_key_name(name) {
            return Err(Malformed::new("key name", "it must not be empty, nor have spaces or '+'"));
        }
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).expect("a seed is 32 bytes");
        let public = pair.public_key().as_ref().try_into().expect("a public key is 32 bytes");
        Ok(SignerKey { seed, pair, verifier: VerifierKey::new(name, usage, public) })
    }

    /// The public half.
    pub fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// The whole key as text. Keep it secret.
    pub fn to_secret(&self) -> String {
        let key = [&[self.verifier.usage.number()], &self.seed[..]].concat();
        format!("{PRIVATE}{}+{}+{}", self.verifier.name, self.verifier.id, to_base64(&key))
    }

    /// Reads what [`SignerKey::to_secret`] wrote.
    ///
    /// # Errors
    /// When the text is not such a key.
    pub fn from_secret(text: &str) -> Result<SignerKey, Malformed> {
        let what = "private key";
        let rest = text
            .strip_prefix(PRIVATE)
            .ok_or_else(|| Malformed::new(what, format!("it must begin with {PRIVATE}")))?;
        let (name, usage, id, seed) = parse_key(what, rest)?;
        let key = SignerKey::from_seed(name, usage, seed)?;
        if id != key.verifier.id.to_string() {
            return Err(Malformed::new(what, "its id is not that of its name and key"));
        }
        Ok(key)
    }

    /// Signs the text of a note. A witness says when: `time_s` is in seconds since 1970, and what keys of
    /// [`Use::Note`] sign has no time.
    pub fn sign(&self, text: &str, time_s: u64) -> NoteSignature {
        let bytes = match self.verifier.usage {
            Use::Note => self.pair.sign(text.as_bytes()).as_ref().to_vec(),
            Use::Cosignature => {
                let signature = self.pair.sign(cosigned(text, time_s).as_bytes());
                [&time_s.to_be_bytes()[..], signature.as_ref()].concat()
            }
        };
        NoteSignature { name: self.verifier.name.clone(), id: self.verifier.id, bytes }
    }
}

impl fmt::Debug for SignerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SignerKey").field(&self.verifier).finish()
    }
}
