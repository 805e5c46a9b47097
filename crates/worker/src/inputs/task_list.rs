//! Task lists: a line of JSON for each task, found by its number.

use bytes::Bytes;
use pumasi_api::wire::TaskLine;
use pumasi_types::TaskIndex;

use pumasi_protocol::Fault;

/// The longest task list, in bytes; offsets in it fit 32 bits.
pub(super) const BYTES_MAX: u64 = 1 << 30;
/// The longest line, in bytes.
const LINE_BYTES_MAX: usize = 64 << 10;

/// A task list whose lines were found once. A line is read when its task runs: a worker sees few of them.
#[derive(Debug)]
pub(super) struct TaskList {
    blob: Bytes,
    /// Where each line ends, without its line feed.
    ends: Vec<u32>,
}

impl TaskList {
    /// Finds the lines of a blob of at most [`BYTES_MAX`].
    pub(super) fn new(blob: Bytes) -> TaskList {
        let mut ends = Vec::new();
        let feeds = blob.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        ends.extend(feeds.filter_map(|(at, _)| u32::try_from(at).ok()));
        if blob.last().is_some_and(|last| *last != b'\n') {
            ends.extend(u32::try_from(blob.len()).ok());
        }
        TaskList { blob, ends }
    }

    /// Where the line of a task begins, in bytes.
    pub(super) fn begin(&self, task: TaskIndex) -> u64 {
        let before = (task.0 as usize).checked_sub(1).and_then(|before| self.ends.get(before));
        before.map_or(0, |end| u64::from(*end) + 1)
    }

    /// What is a task's own.
    pub(super) fn line(&self, task: TaskIndex) -> Result<TaskLine, Fault> {
        let index = task.0 as usize;
        let Some(end) = self.ends.get(index) else {
            let reason = format!("the task list has {} lines, none for task {task}", self.ends.len());
            return Err(Fault::of_job(reason));
        };
        let line = &self.blob[self.begin(task) as usize..*end as usize];
        if line.len() > LINE_BYTES_MAX {
            let reason = format!("line {index} of the task list is longer than {LINE_BYTES_MAX} bytes");
            return Err(Fault::of_job(reason));
        }
        serde_json::from_slice(line).map_err(|error| {
            let reason = format!("line {index} of the task list (counted from 0) is not a task: {error}");
            Fault::of_job(reason)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use pumasi_types::{Ending, Hash};

    use super::*;

    fn list(text: &str) -> TaskList {
        TaskList::new(Bytes::copy_from_slice(text.as_bytes()))
    }

    #[test]
    fn each_task_has_its_line_with_or_without_a_last_line_feed() {
        for end in ["", "\n"] {
            let file = Hash::of(b"x");
            let tasks = list(&format!(
                "{{\"name\":\"a\"}}\n{{\"name\":\"b\",\"arg\":\"1\",\"file\":\"{file}\"}}{end}"
            ));
            assert_eq!(tasks.line(TaskIndex(0)).unwrap().name, "a");
            let second = tasks.line(TaskIndex(1)).unwrap();
            assert_eq!((second.arg.as_deref(), second.file), (Some("1"), Some(file)));
            let fault = tasks.line(TaskIndex(2)).unwrap_err();
            assert_eq!(fault.ending, Ending::BadModule);
            assert_eq!(fault.reason, "the task list has 2 lines, none for task 2");
            assert_eq!((tasks.begin(TaskIndex(0)), tasks.begin(TaskIndex(1))), (0, 13));
        }
    }

    #[test]
    fn malformed_lines_end_their_own_tasks_only() {
        let long = "x".repeat(LINE_BYTES_MAX);
        let tasks = list(&format!("{{\"name\":\"a\"}}\n\n[1]\n{{\"name\":\"b\",\"x\":1}}\n{long}y\n\"\n"));
        assert!(tasks.line(TaskIndex(0)).is_ok());
        for task in 1..=6 {
            assert_eq!(tasks.line(TaskIndex(task)).unwrap_err().ending, Ending::BadModule, "{task}");
        }
        assert!(list("").line(TaskIndex(0)).is_err());
    }

    proptest! {
        #[test]
        fn noise_never_panics(noise: Vec<u8>, task in 0..10_u32) {
            let _ = TaskList::new(noise.into()).line(TaskIndex(task));
        }
    }
}
