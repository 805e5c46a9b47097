//! JSON bodies of transfers that send only what is lacking.

use pumasi_types::{AccountId, Hash};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Asks which blobs the caller holds: it sent them, proved to have them, or read them as a file, within two days.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AskHeld {
    /// Which; at most 1,000.
    #[schema(value_type = Vec<String>)]
    pub blobs: Vec<Hash>,
}

/// Which blobs the caller holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Held {
    /// How many bytes each has, in the order that they were asked for; nothing for those that the caller does not hold,
    /// whether anybody else does or not.
    pub sizes: Vec<Option<u64>>,
}

/// Puts blobs that the caller holds behind each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JoinBlobs {
    /// Which; at most 32,768.
    #[schema(value_type = Vec<String>)]
    pub parts: Vec<Hash>,
}

/// How far blobs are put together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Joined {
    /// Their name together; nothing while it is not known: ask the same again.
    #[schema(value_type = Option<String>)]
    pub hash: Option<Hash>,
    /// How many bytes they have together.
    pub size: u64,
    /// How many of them were read.
    pub done: u64,
}

/// Asks for a chance to show that one has all bytes of a blob.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AskChallenge {
    /// How many bytes it has.
    pub length: u64,
}

/// What is to be shown; the same whether the hub has the blob or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Challenge {
    /// Tells which slices are asked for, and is a part of the key that they are hashed under.
    #[schema(value_type = String)]
    pub nonce: Hash,
    /// The caller's number, another part of that key.
    #[schema(value_type = u64)]
    pub account: AccountId,
    /// For so long it can be answered, once.
    pub valid_ms: u64,
}

/// The answer to a challenge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Possession {
    /// Of the challenge.
    #[schema(value_type = String)]
    pub nonce: Hash,
    /// The slices, hashed under its key.
    #[schema(value_type = String)]
    pub answer: Hash,
}

/// Whether the caller holds the blob now. If not, the answer was wrong or the hub does not have the blob: send it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Linked {
    /// Whether.
    pub linked: bool,
}
