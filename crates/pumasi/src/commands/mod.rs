//! The commands, one file for each group.

pub(crate) mod account;
pub(crate) mod audit;
pub(crate) mod blobs;
pub(crate) mod completions;
pub(crate) mod fetch;
pub(crate) mod job;
pub(crate) mod jobs;
pub(crate) mod join;
pub(crate) mod log;
pub(crate) mod login;
pub(crate) mod market;
pub(crate) mod pool;
pub(crate) mod proof;
pub(crate) mod receipt;
pub(crate) mod run;
pub(crate) mod serve;
pub(crate) mod store;
pub(crate) mod witness;
