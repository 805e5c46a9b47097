//! Changing a log's key: the old key names the new one, and both sign.
//!
//! The note's text is four lines: `pumasi-key-rotation/v1`, the origin, `old VKEY`, `new VKEY`. Several notes
//! stand in one file with an empty line between them, the oldest first.

use std::fmt;

use crate::text::{Malformed, take_line};
use crate::{Note, NoteError, SignerKey, Use, VerifierKey};

const WHAT: &str = "key rotation";
const FIRST_LINE: &str = "pumasi-key-rotation/v1";
const ROTATIONS_MAX: usize = 1000;

/// A key that gives way to another, signed by both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// The key that has signed so far.
    pub old: VerifierKey,
    /// The key that signs from now on.
    pub new: VerifierKey,
    note: Note,
}

/// Why a key rotation is not to be believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RotationError {
    /// Not a rotation.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The old or the new key's signature is wrong or missing.
    #[error("the change from key {old} to key {new} is not signed by both: {source}")]
    NotSigned {
        /// Id of the old key.
        old: String,
        /// Id of the new key.
        new: String,
        /// What is wrong.
        source: NoteError,
    },
}

impl Rotation {
    /// Lets `new` follow `old`.
    ///
    /// # Errors
    /// When the two are not keys of one log.
    pub fn make(old: &SignerKey, new: &SignerKey) -> Result<Rotation, Malformed> {
        let (before, after) = (old.verifier().clone(), new.verifier().clone());
        check_pair(&before, &after)?;
        let mut note = Note::new(format!("{FIRST_LINE}\n{}\nold {before}\nnew {after}\n", before.name()))?;
        note.add(old.sign(note.text(), 0));
        note.add(new.sign(note.text(), 0));
        Ok(Rotation { old: before, new: after, note })
    }

    /// Reads a rotation and checks both signatures. It says nothing about whether the old key is to be
    /// trusted; see [`Rotations::follow`].
    ///
    /// # Errors
    /// When it is no rotation, or not signed by both keys.
    pub fn parse(text: &str) -> Result<Rotation, RotationError> {
        let note = Note::parse(text)?;
        let mut rest = note.text();
        let malformed = |problem| Malformed::new(WHAT, problem);
        if take_line(WHAT, &mut rest)? != FIRST_LINE {
            return Err(malformed("its first line is another").into());
        }
        let origin = take_line(WHAT, &mut rest)?;
        let mut key = |prefix| {
            let line = take_line(WHAT, &mut rest)?;
            line.strip_prefix(prefix).ok_or_else(|| malformed("a key is missing"))?.parse::<VerifierKey>()
        };
        let (old, new) = (key("old ")?, key("new ")?);
        if !rest.is_empty() || origin != old.name() {
            return Err(malformed("its lines do not belong together").into());
        }
        check_pair(&old, &new)?;
        for key in [&old, &new] {
            note.verify([key]).map_err(|source| RotationError::NotSigned {
                old: old.id().to_string(),
                new: new.id().to_string(),
                source,
            })?;
        }
        Ok(Rotation { old, new, note })
    }
}

fn check_pair(old: &VerifierKey, new: &VerifierKey) -> Result<(), Malformed> {
    if old.name() != new.name() || [old, new].iter().any(|key| key.usage() != Use::Note) || old == new {
        return Err(Malformed::new(WHAT, "it must name two keys of one log"));
    }
    Ok(())
}

impl fmt::Display for Rotation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.note, f)
    }
}

/// All changes of a log's key so far, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rotations(pub Vec<Rotation>);

impl Rotations {
    /// Reads a file of rotations; an empty one has none.
    ///
    /// # Errors
    /// When one is not good.
    pub fn parse(text: &str) -> Result<Rotations, RotationError> {
        let mut rotations = Vec::new();
        // Neither text nor signatures of a rotation have an empty line, so every second one ends a note.
        let mut blocks = text.split("\n\n").filter(|block| !block.is_empty());
        while let Some(body) = blocks.next() {
            let signatures =
                blocks.next().ok_or_else(|| Malformed::new(WHAT, "its signatures are missing"))?;
            if rotations.len() == ROTATIONS_MAX {
                return Err(Malformed::new(WHAT, format!("there are more than {ROTATIONS_MAX}")).into());
            }
            rotations.push(Rotation::parse(&format!("{body}\n\n{}\n", signatures.trim_end_matches('\n')))?);
        }
        Ok(Rotations(rotations))
    }

    /// The keys that trust in `trusted` leads to, itself first. Trust goes forward only: an older key may be
    /// the reason for a change.
    pub fn follow(&self, trusted: &VerifierKey) -> Vec<VerifierKey> {
        let mut keys = vec![trusted.clone()];
        for rotation in &self.0 {
            if keys.contains(&rotation.old) && !keys.contains(&rotation.new) {
                keys.push(rotation.new.clone());
            }
        }
        keys
    }
}

impl fmt::Display for Rotations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, rotation) in self.0.iter().enumerate() {
            write!(f, "{}{rotation}", if i == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}
