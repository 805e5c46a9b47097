//! Files that only whoever has their key can read: encrypted before they leave a machine, in blocks that can be read alone.
//!
//! The same content under the same key always becomes the same bytes, so that it is stored once, and sending it goes on after a
//! break; under another key it becomes others, and so do all blocks of a content of which one bit is another. Whoever has
//! no key learns which files under one key are equal and about how long they are ([`padded`]), and nothing else of them.
//! Whoever has it notices every change, cut, and block from elsewhere, but not that a whole file was put in the place of
//! another: a name is no part of what is encrypted. Formats: docs/formats.md; who learns what: docs/security.md.
//!
//! - [`key`]: keys, from random bytes or a passphrase, their ids and texts.
//! - [`header`]: what stands before the blocks, and beside a file as its label.
//! - [`seal`]: one content's cipher, and how long everything is.
//! - [`reader`]: a file as it is when it is encrypted, made while it is read.
//! - [`opener`]: the way back, from pieces as they arrive.

pub mod header;
pub mod key;
pub mod opener;
pub mod reader;
pub mod seal;

pub use header::Header;
pub use key::{Key, KeyId};
pub use opener::Opener;
pub use reader::SealedReader;
pub use seal::{Seal, padded, sealed_length};

/// Why something was not encrypted or decrypted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Bytes that do not begin as an encrypted file does.
    #[error("it is no encrypted file")]
    NotSealed,
    /// A format of another program.
    #[error("it is encrypted in version {0}, which this program does not know")]
    Version(u32),
    /// A key that does not open it.
    #[error("it is encrypted with key {0}")]
    OtherKey(KeyId),
    /// Bytes that are not what was encrypted: changed, cut, or of another file.
    #[error("its encrypted bytes were changed")]
    Changed,
    /// The file was written to while it was encrypted.
    #[error("it was changed while it was read: try again when nobody writes to it")]
    Moving,
    /// More than [`seal::LENGTH_MAX`].
    #[error("it is too long to be encrypted")]
    TooLong,
    /// A text that is no key.
    #[error("this is not the recovery text of a key: {0}")]
    Text(&'static str),
    /// A passphrase that cannot become a key.
    #[error("the passphrase cannot be used: {0}")]
    Passphrase(String),
}

impl From<SealError> for std::io::Error {
    fn from(error: SealError) -> std::io::Error {
        std::io::Error::new(std::io::ErrorKind::InvalidData, error)
    }
}
