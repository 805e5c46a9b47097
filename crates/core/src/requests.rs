//! Exactly once: what each request id was used for and what it was answered.

use std::collections::BTreeMap;

use pumasi_types::{Hash, RequestId, Time};
use serde::{Deserialize, Serialize};

use crate::bounds::Bounds;
use crate::state::Answer;
use crate::timers::{Timer, Timers};
use crate::{Command, Refusal};

/// Answers by request id, for [`Bounds::REQUEST_MEMORY`] of log time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Requests(BTreeMap<RequestId, Remembered>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Remembered {
    content: Hash,
    answer: Answer,
}

impl Requests {
    /// The answer that this request got before, a conflict if the id stood for something else, or `None`
    /// if it is new.
    pub(crate) fn recall(&self, id: RequestId, content: Hash) -> Option<Answer> {
        let before = self.0.get(&id)?;
        Some(if before.content == content {
            before.answer.clone()
        } else {
            Err(Refusal::RequestConflict { id })
        })
    }

    pub(crate) fn remember(
        &mut self,
        now: Time,
        id: RequestId,
        content: Hash,
        answer: Answer,
        timers: &mut Timers,
    ) {
        self.0.insert(id, Remembered { content, answer });
        timers.set(now.after(Bounds::REQUEST_MEMORY), Timer::ForgetRequest(id));
    }

    pub(crate) fn forget(&mut self, id: RequestId) {
        self.0.remove(&id);
    }
}

/// What a request asks for, as one hash.
pub(crate) fn content_of(command: &Command) -> Hash {
    Hash::of(&postcard::to_stdvec(command).expect("a command serialises into a growing buffer"))
}
