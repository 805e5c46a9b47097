//! A cell's place in the hub: its folder, the thread that it runs on, and the channels to it.

mod handle;
mod open;
mod outlet;
mod sequencer;

pub(crate) use handle::{Cell, CellError, Follow};
pub(crate) use open::restore;
pub(crate) use outlet::{Letter, LinkSender, UNREAD};
pub(crate) use sequencer::{Sequencer, SequencerOptions, now};
