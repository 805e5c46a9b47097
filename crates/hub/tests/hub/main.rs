//! A real hub over real sockets: what it must do, and what must not happen to it.

mod chunks;
mod common;
mod coupons;
mod downloads;
mod downloads_here;
mod downloads_many;
mod drive;
mod drive_access;
mod drive_killed;
mod drive_links;
mod feeds;
mod flight;
mod jobs;
mod live;
mod market;
mod orders;
mod past;
mod proofs;
mod requests;
mod restart;
mod results;
mod steps;
mod tls;
mod unfiled;
mod webhooks;
mod worker_link;
