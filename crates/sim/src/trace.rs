//! What happened, as one hash that two runs of a seed must share, and its last lines for people.

use std::collections::VecDeque;

use crate::dice::mix;

/// Lines that are kept.
const LINES: usize = 400;

/// The trace of a world.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    hash: u64,
    lines: Option<VecDeque<String>>,
}

impl Trace {
    /// Keeps lines when `verbose`.
    pub(crate) fn new(verbose: bool) -> Trace {
        Trace { hash: 0, lines: verbose.then(VecDeque::new) }
    }

    /// Something happened that these numbers tell apart from everything else.
    pub(crate) fn mark(&mut self, numbers: &[u64]) {
        for number in numbers {
            self.hash = mix(self.hash, *number);
        }
    }

    /// What it means.
    pub(crate) fn say(&mut self, now: u64, line: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            if lines.len() == LINES {
                lines.pop_front();
            }
            lines.push_back(format!("{:>12.6} {}", now as f64 / 1e9, line()));
        }
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.iter().flatten().cloned().collect()
    }
}
