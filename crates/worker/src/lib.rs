//! Runs tasks on an owner's machine.
//!
//! [`engine`] runs WebAssembly guests, metered and bounded; [`calibrate`] measures how fast this machine
//! burns their fuel. [`protocol`] decides what runs when and what the hub is told, without I/O.

pub mod calibrate;
pub mod engine;
pub mod protocol;
mod wasi;

pub use wasi::{InFile, InFileError};
