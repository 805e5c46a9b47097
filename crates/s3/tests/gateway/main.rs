//! The gateway on the real core, with bytes in memory: signed requests in, answers out.

mod hub;
mod listing;
mod objects;
mod strangers;
mod uploads;
mod versions;
