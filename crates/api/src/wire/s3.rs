//! Bodies about the keys of S3's clients.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A new key; its secret is shown only once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct S3Key {
    /// Its name, which is no secret.
    pub access_key: String,
    /// What signs.
    pub secret_key: String,
}

/// Which key is made worthless.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeS3Key {
    /// Its name.
    pub access_key: String,
}
