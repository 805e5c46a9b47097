//! Immutable bytes named by their BLAKE3 hash: cut by content, compressed, kept once, verified on every read.
//!
//! ```text
//! DIR/lock             held while a process has the store open
//! DIR/packs/ID.pack    chunks, or manifests of blobs: the truth, see [`pack`] and [`manifest`]; or in a [`Bucket`]
//! DIR/index.redb       where everything lies; made again from the packs when it is missing or broken
//! ```
//!
//! A blob's name is the BLAKE3 of its bytes. It is cut into chunks ([`chunker`]); one that is a single chunk needs
//! nothing else, others have a manifest. A pack gets its name only when all its bytes are there, chunks are durable
//! before the manifest that names them, and the index learns of a pack last: so a crash at any moment leaves nothing
//! half-written that could be served, and loses nothing that was acknowledged. Names of objects are made from hashes
//! alone: no text from outside ever becomes part of a path. docs/store.md tells why all this is so.

mod ahead;
mod bucket;
mod cache;
mod check;
mod commit;
mod epochs;
mod error;
mod folder;
mod frame;
mod gc;
mod index;
mod ingest;
pub mod listing;
pub mod manifest;
pub mod names;
pub mod pack;
mod packing;
mod proved;
mod read;
mod shares;
mod store;
mod together;
pub mod tree;
mod turns;
mod work;

pub use bucket::{Bucket, NoBucket};
pub use check::{Checked, Problem, Repaired, Stats};
pub use error::BlobError;
pub use frame::{Entry, Frame};
pub use gc::Collected;
pub use ingest::{Tally, Writer};
pub use pumasi_chunks::chunker;
pub use shares::{Share, Shares};
pub use store::{BlobStore, Options};
