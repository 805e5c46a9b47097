//! Runs tasks on an owner's machine.
//!
//! [`engine`] runs WebAssembly guests, metered and bounded; [`calibrate`] measures how fast this machine
//! burns their fuel.

pub mod calibrate;
pub mod engine;
mod wasi;

pub use wasi::{InFile, InFileError};
