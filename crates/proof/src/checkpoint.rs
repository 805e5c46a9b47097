//! Checkpoints: what a log says it is at some moment (C2SP tlog-checkpoint).

use std::fmt;

use crate::TreeHash;
use crate::text::{Malformed, decimal, take_line};

const WHAT: &str = "checkpoint";

/// Size and hash of a log's tree; the text of a signed note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log.
    pub origin: String,
    /// How many leaves it has.
    pub size: u64,
    /// The hash of its tree.
    pub root: TreeHash,
    /// Lines that the log adds; none of them empty.
    pub extensions: Vec<String>,
}

impl Checkpoint {
    /// Reads the text of a note.
    ///
    /// # Errors
    /// When it is not a checkpoint.
    pub fn parse(text: &str) -> Result<Checkpoint, Malformed> {
        let mut rest = text;
        let origin = take_line(WHAT, &mut rest)?.to_owned();
        let size = decimal(WHAT, take_line(WHAT, &mut rest)?)?;
        let root = TreeHash::parse(take_line(WHAT, &mut rest)?)?;
        let mut extensions = Vec::new();
        while !rest.is_empty() {
            extensions.push(take_line(WHAT, &mut rest)?.to_owned());
        }
        if origin.is_empty() || extensions.iter().any(String::is_empty) {
            return Err(Malformed::new(WHAT, "it has an empty line"));
        }
        if size == 0 && root != TreeHash::empty() {
            return Err(Malformed::new(WHAT, "an empty tree has another hash"));
        }
        Ok(Checkpoint { origin, size, root, extensions })
    }
}

/// The text of the note, ending with a newline.
impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}\n{}\n", self.origin, self.size, self.root)?;
        self.extensions.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}
