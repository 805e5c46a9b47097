//! Formats that hub, workers and programs exchange. Domain types are converted to these at the edge.

#[cfg(feature = "client")]
pub mod client;
pub mod frames;
pub mod link;
pub mod output;
#[cfg(feature = "client")]
pub mod tls;
pub mod wire;
