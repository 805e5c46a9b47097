//! Signed notes: a text and the signatures under it (C2SP signed-note).

use std::fmt;

use crate::text::{Malformed, from_base64, is_key_name, to_base64};
use crate::{KeyId, VerifierKey};

/// Longest note that is read, in bytes.
const BYTES_MAX: usize = 1 << 20;
/// Most signatures that are read; the format asks for at least 16.
const SIGNATURES_MAX: usize = 100;
const WHAT: &str = "signed note";

/// A text with signatures under it. That it was parsed says nothing about the signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<NoteSignature>,
}

/// One line under a note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteSignature {
    /// Whose.
    pub name: String,
    /// Of which key.
    pub id: KeyId,
    /// What the key made of the text.
    pub bytes: Vec<u8>,
}

/// A signature that was checked and is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// By which key.
    pub key: VerifierKey,
    /// When a witness saw it, in seconds since 1970.
    pub time_s: Option<u64>,
}

/// Why a note is not to be believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// A known key's signature is wrong.
    #[error("the signature of {name} (key {id}) is wrong: the text or the signature was changed")]
    WrongSignature {
        /// Whose.
        name: String,
        /// Which key.
        id: KeyId,
    },
    /// Nobody who is known signed it.
    #[error("none of the {signatures} signatures is of a known key")]
    NobodyKnown {
        /// How many there are.
        signatures: usize,
    },
}

impl Note {
    /// A note that nobody has signed yet.
    ///
    /// # Errors
    /// When the text does not end with a newline or has control characters.
    pub fn new(text: impl Into<String>) -> Result<Note, Malformed> {
        let text = text.into();
        if !text.ends_with('\n') {
            return Err(Malformed::new(WHAT, "its text must end with a newline"));
        }
        no_control(&text)?;
        Ok(Note { text, signatures: Vec::new() })
    }

    /// The text, with its last newline.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// All signatures, good or not.
    pub fn signatures(&self) -> &[NoteSignature] {
        &self.signatures
    }

    /// Adds a signature, in the place of an older one of the same key.
    pub fn add(&mut self, signature: NoteSignature) {
        self.signatures.retain(|other| (&other.name, other.id) != (&signature.name, signature.id));
        self.signatures.push(signature);
    }

    /// Reads a note; the signatures are not checked yet.
    ///
    /// # Errors
    /// When it is not a signed note, or larger than anybody needs.
    pub fn parse(note: &str) -> Result<Note, Malformed> {
        if note.len() > BYTES_MAX {
            return Err(Malformed::new(WHAT, format!("it is longer than {BYTES_MAX} bytes")));
        }
        no_control(note)?;
        // The last empty line parts them: the text may have empty lines of its own.
        let (at, lines) = match note.rfind("\n\n") {
            Some(at) => (at + 1, &note[at + 2..]),
            None => return Err(Malformed::new(WHAT, "no empty line stands before the signatures")),
        };
        let signatures = NoteSignature::parse_lines(lines)?;
        Ok(Note { text: note[..at].to_owned(), signatures })
    }

    /// The signatures of the given keys. Others are ignored, but no known key may have signed wrongly.
    ///
    /// # Errors
    /// When a known key's signature is wrong, or none is of a known key.
    pub fn verify<'a>(
        &self,
        keys: impl IntoIterator<Item = &'a VerifierKey>,
    ) -> Result<Vec<Signed>, NoteError> {
        let mut good: Vec<Signed> = Vec::new();
        for key in keys {
            for signature in self.signatures.iter().filter(|signature| key.is_named_by(signature)) {
                let wrong = || NoteError::WrongSignature { name: key.name().to_owned(), id: key.id() };
                let signed = key.check(&self.text, signature).ok_or_else(wrong)?;
                if good.iter().all(|other| other.key != signed.key) {
                    good.push(signed);
                }
            }
        }
        if good.is_empty() {
            Err(NoteError::NobodyKnown { signatures: self.signatures.len() })
        } else {
            Ok(good)
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|signature| write!(f, "{signature}"))
    }
}

impl NoteSignature {
    /// Reads one or more signature lines, as they stand under a note and as a witness answers them.
    ///
    /// # Errors
    /// When a line is none.
    pub fn parse_lines(lines: &str) -> Result<Vec<NoteSignature>, Malformed> {
        if !lines.ends_with('\n') {
            return Err(Malformed::new(WHAT, "it must end with the newline after a signature"));
        }
        let lines: Vec<&str> = lines[..lines.len() - 1].split('\n').take(SIGNATURES_MAX + 1).collect();
        if lines.len() > SIGNATURES_MAX {
            return Err(Malformed::new(WHAT, format!("it has more than {SIGNATURES_MAX} signatures")));
        }
        lines.into_iter().map(NoteSignature::parse_line).collect()
    }

    fn parse_line(line: &str) -> Result<NoteSignature, Malformed> {
        let malformed = || Malformed::new(WHAT, "a signature line must be '— NAME BASE64'");
        let (name, bytes) =
            line.strip_prefix("— ").and_then(|rest| rest.split_once(' ')).ok_or_else(malformed)?;
        let bytes = from_base64(WHAT, bytes)?;
        let (id, bytes) = bytes.split_first_chunk::<4>().ok_or_else(malformed)?;
        if !is_key_name(name) || bytes.is_empty() {
            return Err(malformed());
        }
        Ok(NoteSignature { name: name.to_owned(), id: KeyId(*id), bytes: bytes.to_vec() })
    }
}

impl fmt::Display for NoteSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "— {} {}", self.name, to_base64(&[&self.id.0, &self.bytes[..]].concat()))
    }
}

fn no_control(text: &str) -> Result<(), Malformed> {
    let bad = |byte: u8| byte < 0x20 && byte != b'\n';
    if text.bytes().any(bad) { Err(Malformed::new(WHAT, "it has control characters")) } else { Ok(()) }
}
