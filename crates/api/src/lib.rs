//! Formats that hub, workers and programs exchange.

pub mod output;
