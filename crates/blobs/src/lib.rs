//! Immutable bytes named by their BLAKE3 hash, kept in a local folder and verified on every read.
//!
//! ```text
//! DIR/lock                 held while a process has the store open
//! DIR/blobs/ab/HASH        one blob as an object of its own; `ab` are the first two digits of HASH
//! DIR/packs/ID.pack        many small blobs in one object, see [`pack`]
//! DIR/incoming/N           an upload whose hash is not known yet; removed at open
//! ```
//!
//! An object gets its final name only when its bytes are on disk, so a crash or a full disk leaves
//! nothing half-written under the name of a blob. Names are made from hashes alone: no text from
//! outside ever becomes part of a path.

mod error;
mod folder;
mod index;
pub mod pack;
mod reader;
mod store;
mod upload;
mod work;

pub use error::BlobError;
pub use store::BlobStore;
