//! Exactly once: what each account used its request ids for and what it was answered.

use std::collections::{BTreeMap, VecDeque};

use pumasi_types::{AccountId, Hash, RequestId, Time};
use serde::{Deserialize, Serialize};

use crate::bounds::Bounds;
use crate::state::Answer;
use crate::{Command, Refusal};

/// A request id is scoped to the account that chose it.
pub(crate) type RequestKey = (AccountId, RequestId);

/// Answers by request, for [`Bounds::REQUEST_MEMORY`] of log time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Requests {
    answers: BTreeMap<RequestKey, Remembered>,
    /// When each was asked, by `clock`; the first is forgotten first.
    asked: VecDeque<(Time, RequestKey)>,
    /// Log time without the gaps: [`Bounds::REQUEST_GAP`] is all that passes between two entries.
    clock: Time,
    /// Log time up to which it went on.
    counted: Time,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Remembered {
    content: Hash,
    answer: Answer,
}

impl Requests {
    /// The answer that this request got before, a conflict if the id stood for something else, or `None`
    /// if it is new.
    pub(crate) fn recall(&self, key: RequestKey, content: Hash) -> Option<Answer> {
        let before = self.answers.get(&key)?;
        Some(if before.content == content {
            before.answer.clone()
        } else {
            Err(Refusal::RequestConflict { id: key.1 })
        })
    }

    pub(crate) fn remember(&mut self, key: RequestKey, content: Hash, answer: Answer) {
        self.answers.insert(key, Remembered { content, answer });
        self.asked.push_back((self.clock, key));
    }

    /// Counts the time until `now`, and forgets what was asked too long ago: `most` requests at most.
    pub(crate) fn pass(&mut self, now: Time, most: usize) {
        self.clock = self.clock.after(now.since(self.counted).min(Bounds::REQUEST_GAP));
        self.counted = now;
        for _ in 0..most {
            let old = self.asked.pop_front_if(|(asked, _)| asked.after(Bounds::REQUEST_MEMORY) <= self.clock);
            let Some((_, key)) = old else { break };
            self.answers.remove(&key);
        }
    }

    /// Panics unless every answer is forgotten some day.
    pub(crate) fn sanity_check(&self) {
        assert_eq!(self.asked.len(), self.answers.len(), "every request is remembered once");
        assert!(self.asked.iter().is_sorted_by_key(|(asked, _)| asked), "requests are forgotten in order");
        assert!(self.asked.iter().all(|(_, key)| self.answers.contains_key(key)), "a request has its answer");
    }
}

/// What a request asks for, as one hash.
pub(crate) fn content_of(command: &Command) -> Hash {
    Hash::of(&postcard::to_stdvec(command).expect("a command serialises into a growing buffer"))
}
