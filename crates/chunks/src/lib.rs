//! How bytes travel between machines without being sent twice: pure, for the hub, its clients and the workers alike.
//!
//! - [`chunker`]: where content is cut; [`noise`] tells what cannot be compressed.
//! - [`outline`]: a file as segments, each sent on its own, so that a transfer goes on where it broke off.
//! - [`recipe`]: a segment as bytes that are sent and ranges of blobs that their sender may read anyway; [`delta`] writes one.
//! - [`list`]: the chunks of a blob, for whoever may read it and has some of them.
//! - [`possession`]: showing that one has all bytes of a blob without sending them.
//!
//! docs/store.md ("Instant upload") tells what each side learns from the other.

pub mod chunker;
pub mod delta;
pub mod list;
pub mod noise;
pub mod outline;
pub mod possession;
pub mod recipe;
