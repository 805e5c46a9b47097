//! Proofs that outsiders can check: Merkle trees, signed checkpoints, receipts and witnesses.
//!
//! A log of leaves is summed up in a tree hash ([`TreeHash`], RFC 6962), which its operator signs
//! ([`Checkpoint`] in a [`Note`]). [`prove_inclusion`] and [`prove_consistency`] make the proofs,
//! [`verify_inclusion`] and [`verify_consistency`] check them; a [`ProofFile`] holds all that one needs to
//! check a leaf without any connection. Witnesses cosign only checkpoints that continue the one before
//! ([`AddCheckpoint`]); a [`Policy`] says which logs and how many witnesses one wants to see.
//!
//! There is no clock, randomness, file or socket here. All formats are those of <https://c2sp.org>:
//! tlog-tiles, tlog-checkpoint, signed-note, tlog-cosignature, tlog-witness, tlog-proof and tlog-policy.

mod checkpoint;
mod file;
mod hash;
mod key;
mod note;
mod policy;
mod prove;
mod rotation;
mod text;
mod tile;
mod tree;
mod verify;
mod witness;

pub use checkpoint::Checkpoint;
pub use file::ProofFile;
pub use hash::TreeHash;
pub use key::{KeyId, SignerKey, Use, VerifierKey};
pub use note::{Note, NoteError, NoteSignature, Signed};
pub use policy::{Accepted, Policy, PolicyError};
pub use prove::{Nodes, peaks, prove_consistency, prove_inclusion, root};
pub use rotation::{Rotation, RotationError, Rotations};
pub use text::Malformed;
pub use tile::{TILE_WIDTH, TileKind, TileNodes, TilePath, Tiles, bundle, unbundle};
pub use tree::Frontier;
pub use verify::{Unproven, verify_consistency, verify_inclusion};
pub use witness::{AddCheckpoint, WitnessRefusal};
