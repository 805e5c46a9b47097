//! Files end to end: real hubs and real commands, and what the disk says afterwards.

mod downloads;
mod encrypted;
mod everyday;
mod folders;
mod interrupted;
#[cfg(all(feature = "mount", target_os = "linux"))]
mod mount;
mod scene;
mod sync;
