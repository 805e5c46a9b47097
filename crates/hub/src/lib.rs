//! The hub: one sequencer loop per cell between durable log and pure state, and the gateways around it.
//!
//! ```text
//! http/ · link   gateways: authenticate, convert, bound         (tokio)
//!    │ commands          ▲ answers
//!    ▼                   │
//! cell/sequencer: stamp, log, apply, answer, act                (one thread)
//!    │        │        │
//!   log     state   journal of transfers
//! ```
//!
//! Entry point: [`serve`].

mod access;
mod auth;
mod cell;
mod chunks;
mod collect;
mod directory;
mod downloads;
mod drive;
mod error;
mod feeds;
mod flight;
mod http;
mod idle;
mod limits;
mod link;
mod live;
mod metrics;
mod notices;
mod options;
mod orders;
pub mod proof;
mod results;
mod s3;
mod server;
mod session;
mod space_shares;
mod tls;
mod webhooks;

pub use downloads::DownloadOptions;
pub use error::ServeError;
pub use flight::{BadOrders, OrderReader};
pub use http::openapi_json;
pub use options::{Deduplicate, ServeOptions};
pub use pumasi_cell::{Journal, JournalError};
pub use server::{Running, serve, start};
pub use webhooks::WebhookOptions;
