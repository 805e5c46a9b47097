//! The way out of the cell: answers to whoever waits for them, messages to the links of workers.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use prost::Message;
use pumasi_api::link::FromHub;
use pumasi_cell::Outlet;
use pumasi_core::Answer;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use crate::metrics::Metrics;

/// Messages to one worker that wait at most: more than the largest worker can be given at once.
pub(crate) const UNREAD: usize = 20_000;
/// Bytes of messages to one worker after which it counts as one that does not read.
const UNREAD_BYTES: usize = 64 << 20;

/// A message on its way to a worker.
pub(crate) struct Letter {
    pub(crate) message: FromHub,
    /// What it adds to the unread bytes; whoever takes it off the queue takes these away.
    pub(crate) bytes: usize,
}

/// Where messages for one link go. A worker that does not read them is cut off, not waited for.
pub(crate) struct LinkSender {
    to: mpsc::Sender<Letter>,
    unread_bytes: Arc<AtomicUsize>,
    _alive: oneshot::Sender<Infallible>,
}

/// Resolves when the cell has dropped its end of a link: a worker whose messages go nowhere must notice
/// and come back.
pub(crate) type CutOff = oneshot::Receiver<Infallible>;

impl LinkSender {
    pub(crate) fn new(to: mpsc::Sender<Letter>, unread_bytes: Arc<AtomicUsize>) -> (LinkSender, CutOff) {
        let (alive, cut_off) = oneshot::channel();
        (LinkSender { to, unread_bytes, _alive: alive }, cut_off)
    }

    /// Whether the worker reads well enough that this can be sent.
    fn send(&self, message: FromHub) -> bool {
        let bytes = message.encoded_len();
        let before = self.unread_bytes.fetch_add(bytes, Ordering::Relaxed);
        before <= UNREAD_BYTES && self.to.try_send(Letter { message, bytes }).is_ok()
    }
}

/// Who waits for an answer.
pub(crate) struct Reply {
    pub(crate) to: oneshot::Sender<Answer>,
    /// Room that the command takes until then.
    pub(crate) room: Option<OwnedSemaphorePermit>,
}

/// The hub's channels.
pub(super) struct Channels(pub(super) Arc<Metrics>);

impl Outlet for Channels {
    type Reply = Reply;
    type Link = LinkSender;
    type Waiter = oneshot::Sender<()>;

    fn answer(&mut self, reply: Reply, answer: Answer) {
        drop(reply.room);
        // A caller that went away does not undo what it asked for.
        let _ = reply.to.send(answer);
    }

    fn send(&mut self, link: &LinkSender, message: FromHub) -> bool {
        link.send(message)
    }

    fn over(&mut self, waiter: Self::Waiter) {
        // Nobody waits any more when this fails.
        let _ = waiter.send(());
    }

    fn gave_up(&self, waiter: &Self::Waiter) -> bool {
        waiter.is_closed()
    }

    fn entered(&mut self, requests: usize, payload_bytes: usize, transfers: usize) {
        self.0.entry(requests, payload_bytes, transfers);
    }
}
