//! Formats that hub, workers and programs exchange. Domain types are converted to these at the edge.

pub mod client;
pub mod link;
pub mod output;
pub mod tls;
pub mod wire;
