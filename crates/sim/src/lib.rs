//! The simulator of Pumasi: one seed drives the real code against made-up time, network and disk.
//!
//! [`run`] lives through the world of a [`Scenario`]: the real cell over the real log on a [`disk::SimDisk`],
//! the real protocol of workers, and people who ask for things. A second state follows the log and every
//! promise is checked on the way.

mod campaign;
mod client;
mod counts;
mod coupons;
mod dice;
pub mod disk;
mod faults;
mod files;
mod hub;
mod judge;
mod left;
mod letters;
mod machine;
mod market;
mod news;
mod oracle;
mod sabotage;
mod scenario;
mod shrink;
mod tap;
mod trace;
mod truth;
mod world;

pub use campaign::{Campaign, Sum, campaign};
pub use counts::Counts;
pub use faults::{Kind, Kinds, Tally};
pub use oracle::Violation;
pub use sabotage::Sabotage;
pub use scenario::Scenario;
pub use shrink::shrink;
pub use world::{Report, RunOptions, quiet_panics, run};
