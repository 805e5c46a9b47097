//! A job from the command line to its results: options, plan, upload, estimate, watching, fetching.

pub(crate) mod bring;
mod each;
pub(crate) mod estimate;
mod glob;
pub(crate) mod options;
mod origin;
pub(crate) mod plan;
pub(crate) mod results;
pub(crate) mod upload;
pub(crate) mod watch;
