//! Formats that hub, workers and programs exchange. Domain types are converted to these at the edge.

pub mod link;
pub mod output;
pub mod wire;
