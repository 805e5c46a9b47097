//! Fetching files from servers and swarms that nobody vouches for.
//!
//! Whoever names a URL decides where this machine connects to and what it is sent. So every address is looked up here and
//! must be public ([`address`]), at every redirect again; nothing that a server says of length, range or version is believed
//! without a look; and every body has a bound in bytes and in time.
//!
//! ```text
//! DIR/origin.json   which version of which URL the bytes are of, and how many of them are durable
//! DIR/body          the bytes so far
//! ```
//!
//! Entry points: [`Client::fetch`] with a [`Part`] that outlives this process; [`Client::fetch_torrent`]; [`Client::seed`] and
//! [`Client::listen`], where the operator lets something be given.

pub mod address;
mod bencode;
mod bits;
mod board;
mod client;
mod describe;
mod dht;
mod doors;
mod error;
mod fetch;
mod finding;
mod ftp;
mod given;
mod giving;
mod name;
mod part;
mod peer;
mod pieces;
mod place;
mod progress;
mod reply;
mod room;
mod swarm;
mod talk;
mod tls;
mod torrent;
mod tracker;

pub use board::Source;
pub use client::{Client, Options};
pub use dht::{DhtOptions, dht_answer};
pub use error::FetchError;
pub use fetch::{Fetched, Wanted};
pub use given::Given;
pub use giving::Seeding;
pub use name::safe_name;
pub use part::{Origin, Part};
pub use peer::messages_of;
pub use pieces::Layout;
pub use place::{BadUrl, Place};
pub use progress::Progress;
pub use reply::is_strong;
pub use tls::{BadRoots, trusting};
pub use torrent::{BadTorrent, Magnet, TORRENT_BYTES, Torrent, TorrentFile};
pub use tracker::peers_of;
