//! The commands, one file for each group.

mod access;
pub(crate) mod account;
pub(crate) mod audit;
pub(crate) mod completions;
pub(crate) mod downloads;
pub(crate) mod fetch;
pub(crate) mod files;
pub(crate) mod get;
pub(crate) mod hub_store;
pub(crate) mod job;
pub(crate) mod jobs;
pub(crate) mod join;
pub(crate) mod key;
pub(crate) mod log;
pub(crate) mod login;
pub(crate) mod market;
#[cfg(feature = "mount")]
pub(crate) mod mount;
pub(crate) mod pool;
pub(crate) mod proof;
pub(crate) mod put;
pub(crate) mod receipt;
pub(crate) mod run;
pub(crate) mod s3_key;
pub(crate) mod serve;
pub(crate) mod share;
pub(crate) mod space;
pub(crate) mod store;
pub(crate) mod sync;
pub(crate) mod trash;
pub(crate) mod witness;
