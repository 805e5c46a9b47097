//! Checking a task list while it streams by, so that no list costs memory.

use bytes::Bytes;
use pumasi_api::{output, wire};
use pumasi_types::{ByteSize, Hash};

use super::ApiError;

/// The longest task list; workers read no longer one.
pub(super) const BYTES_MAX: ByteSize = ByteSize::mib(1024);
/// The longest line; workers read no longer one.
pub(super) const LINE_BYTES_MAX: usize = 64 << 10;

/// A file that a task list names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Named {
    /// In which line, counted from 1.
    pub(super) line: u64,
    /// Which.
    pub(super) file: Hash,
}

/// A task list of which a part has been seen.
pub(super) struct TaskListCheck {
    /// How many lines it must have.
    tasks: u32,
    /// How many were seen.
    lines: u64,
    /// The beginning of a line whose end has not come yet.
    begun: Vec<u8>,
}

impl TaskListCheck {
    pub(super) fn new(tasks: u32) -> TaskListCheck {
        TaskListCheck { tasks, lines: 0, begun: Vec::new() }
    }

    /// Checks the lines that end in the next piece. Returns the files that they name, for the caller to check.
    pub(super) fn piece(&mut self, piece: &Bytes) -> Result<Vec<Named>, ApiError> {
        let (mut rest, mut named) = (&piece[..], Vec::new());
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, after) = (&rest[..end], &rest[end + 1..]);
            rest = after;
            if self.begun.is_empty() {
                named.extend(self.line(line)?);
            } else {
                self.begun.extend_from_slice(line);
                let whole = std::mem::take(&mut self.begun);
                named.extend(self.line(&whole)?);
            }
        }
        self.begun.extend_from_slice(rest);
        if self.begun.len() > LINE_BYTES_MAX { Err(self.too_long()) } else { Ok(named) }
    }

    /// Checks what follows the last line feed, and that there were enough lines.
    pub(super) fn end(mut self) -> Result<Option<Named>, ApiError> {
        let mut named = None;
        if !self.begun.is_empty() {
            let last = std::mem::take(&mut self.begun);
            named = self.line(&last)?;
        }
        if self.lines < u64::from(self.tasks) {
            return Err(self.wrong_count(&self.lines.to_string()));
        }
        Ok(named)
    }

    fn line(&mut self, line: &[u8]) -> Result<Option<Named>, ApiError> {
        if self.lines == u64::from(self.tasks) {
            return Err(self.wrong_count("more"));
        }
        self.lines += 1;
        if line.len() > LINE_BYTES_MAX {
            return Err(self.too_long());
        }
        let bad = |problem: String| ApiError::invalid(format!("task_list, line {}: {problem}", self.lines));
        let line: wire::TaskLine = serde_json::from_slice(line).map_err(|error| bad(error.to_string()))?;
        if line.name.contains('\0') || line.arg.as_ref().is_some_and(|arg| arg.contains('\0')) {
            return Err(bad("name and arg must not contain NUL".to_owned()));
        }
        if line.file.is_some() {
            output::check_path(&line.name)
                .map_err(|error| bad(format!("the name {:?} is no path: {error}", line.name)))?;
        }
        Ok(line.file.map(|file| Named { line: self.lines, file }))
    }

    fn too_long(&self) -> ApiError {
        ApiError::invalid(format!("task_list: a line behind line {} is longer than 64 KiB", self.lines))
    }

    fn wrong_count(&self, lines: &str) -> ApiError {
        ApiError::invalid(format!("tasks is {}, but the task list has {lines} lines", self.tasks))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks a text cut into pieces of every length.
    fn check(text: &str, tasks: u32) -> Result<Vec<Named>, String> {
        let cut = |length: usize| {
            let (mut check, mut named) = (TaskListCheck::new(tasks), Vec::new());
            for piece in text.as_bytes().chunks(length) {
                named.extend(check.piece(&Bytes::copy_from_slice(piece))?);
            }
            named.extend(check.end()?);
            Ok::<_, ApiError>(named)
        };
        let results: Vec<_> =
            [1, 2, 3, 7, 64, 1 << 20].map(|length| cut(length).map_err(|error| format!("{error:?}"))).into();
        assert!(results.iter().all(|result| result.as_ref().ok() == results[0].as_ref().ok()), "{results:?}");
        results[0].clone()
    }

    #[test]
    fn a_task_list_must_have_a_sound_line_for_each_task() {
        let file = Hash::of(b"x");
        let good = format!("{{\"name\":\"a\",\"file\":\"{file}\"}}\n{{\"name\":\"b\",\"arg\":\"1\"}}\n");
        let named = vec![Named { line: 1, file }];
        assert_eq!(check(&good, 2), Ok(named.clone()));
        assert_eq!(check(good.trim_end(), 2), Ok(named), "the last line feed may be missing");
        let last = format!("{{\"name\":\"a\"}}\n{{\"name\":\"b\",\"file\":\"{file}\"}}");
        assert_eq!(check(&last, 2), Ok(vec![Named { line: 2, file }]));
        assert!(check(&good, 1).unwrap_err().contains("more lines"));
        assert!(check(&good, 3).unwrap_err().contains("has 2 lines"));
        assert!(check("", 1).unwrap_err().contains("has 0 lines"));
        assert!(check("\n{\"name\":\"a\"}\n", 2).is_err(), "workers count empty lines");
        assert!(check("{\"name\":\"a\",\"typo\":1}\n", 1).unwrap_err().contains("line 1"));
        assert!(check("not json\n", 1).is_err());
        assert!(check("{\"name\":\"a\\u0000\"}\n", 1).unwrap_err().contains("NUL"));
        let escaping = format!("{{\"name\":\"../a\",\"file\":\"{file}\"}}\n");
        assert!(check(&escaping, 1).unwrap_err().contains("no path"));
    }

    #[test]
    fn a_line_without_end_is_not_kept() {
        let text = "x".repeat(LINE_BYTES_MAX + 1);
        assert!(check(&text, 1).unwrap_err().contains("64 KiB"));
        assert!(check(&format!("{text}\n"), 1).unwrap_err().contains("64 KiB"));
    }
}
