//! Exactly once: what each account used its request ids for and what it was answered.

use std::collections::BTreeMap;

use pumasi_types::{AccountId, Hash, RequestId, Time};
use serde::{Deserialize, Serialize};

use crate::bounds::Bounds;
use crate::state::Answer;
use crate::timers::{Timer, Timers};
use crate::{Command, Refusal};

/// A request id is scoped to the account that chose it.
pub(crate) type RequestKey = (AccountId, RequestId);

/// Answers by request, for [`Bounds::REQUEST_MEMORY`] of log time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Requests(BTreeMap<RequestKey, Remembered>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Remembered {
    content: Hash,
    answer: Answer,
}

impl Requests {
    /// The answer that this request got before, a conflict if the id stood for something else, or `None`
    /// if it is new.
    pub(crate) fn recall(&self, key: RequestKey, content: Hash) -> Option<Answer> {
        let before = self.0.get(&key)?;
        Some(if before.content == content {
            before.answer.clone()
        } else {
            Err(Refusal::RequestConflict { id: key.1 })
        })
    }

    pub(crate) fn remember(
        &mut self,
        now: Time,
        key: RequestKey,
        content: Hash,
        answer: Answer,
        timers: &mut Timers,
    ) {
        self.0.insert(key, Remembered { content, answer });
        timers.set(now.after(Bounds::REQUEST_MEMORY), Timer::ForgetRequest(key));
    }

    pub(crate) fn forget(&mut self, key: RequestKey) {
        self.0.remove(&key);
    }
}

/// What a request asks for, as one hash.
pub(crate) fn content_of(command: &Command) -> Hash {
    Hash::of(&postcard::to_stdvec(command).expect("a command serialises into a growing buffer"))
}
