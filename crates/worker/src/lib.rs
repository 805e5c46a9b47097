//! Runs tasks on an owner's machine.
//!
//! [`engine`] runs WebAssembly guests, metered and bounded; [`calibrate`] measures how fast this machine
//! burns their fuel. [`pumasi_protocol`] decides what runs when and what the hub is told, without I/O.
//! [`join()`] puts them together: it dials a hub, fetches inputs, runs tasks on a thread per core, and obeys
//! the owner's [`Policy`].

pub mod calibrate;
pub mod engine;
pub mod inputs;
mod join;
mod link;
pub mod policy;
mod runner;
mod wasi;

pub use join::{JoinError, JoinOptions, join, join_until};
pub use link::LinkRefused;
pub use policy::{Hours, Policy, When};
pub use wasi::{InFile, InFileError};
