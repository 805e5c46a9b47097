//! Amazon S3's API over the files of a hub: buckets are spaces, objects are files, keys are paths.
//!
//! ```text
//! http request ── s3s: signature, XML, names ──► [`Gateway`] ── commands, looks, bytes ──► [`Backend`]: the hub
//! ```
//!
//! docs/s3.md tells what is offered and what is not. Entry points: [`service`], and [`is_for_s3`] for a listener that
//! serves other things too.

mod about;
mod backend;
mod buckets;
mod conditions;
mod copies;
mod digest;
mod documents;
mod entry;
mod error;
mod gateway;
mod key;
mod listing;
mod objects;
mod tags;
mod uploads;
mod versions;

pub use backend::{Backend, BoxError, Failure, Noted, Pieces};
pub use entry::{Denied, access_key, answer, check_link, denied, is_for_s3, service};
pub use gateway::{Gateway, RequestId};
pub use s3s::Body;
pub use s3s::service::S3Service;
