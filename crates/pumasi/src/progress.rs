//! How far something is: a bar on a terminal, a line now and then elsewhere.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use pumasi_types::ByteSize;

use crate::output::{Output, harmless};

/// How often a line is written where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Count {
    /// Bytes.
    Bytes,
    /// Tasks, files or other things.
    Things,
}

/// A count that goes up to a total. Clones share it.
#[derive(Clone)]
pub(crate) struct Progress {
    what: Arc<str>,
    count: Count,
    total: u64,
    view: View,
}

#[derive(Clone)]
enum View {
    Hidden,
    Bar(ProgressBar),
    Lines(Arc<Mutex<Spoken>>),
}

/// What was said where there is no terminal.
struct Spoken {
    /// When, or when it began.
    last: Instant,
    any: bool,
}

impl Progress {
    /// Starts to count `what` up to `total`; 0 when that is not known.
    pub(crate) fn start(out: &Output, what: &str, count: Count, total: u64) -> Progress {
        let view = if out.quiet {
            View::Hidden
        } else if std::io::stderr().is_terminal() {
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(10));
            let template = match count {
                Count::Bytes if total == 0 => "{prefix} {bytes} {bytes_per_sec}",
                // What is too long for a line is cut, because a bar on two lines is not taken away whole.
                Count::Bytes => {
                    "{prefix} [{bar:16}] {bytes}/{total_bytes} {bytes_per_sec} ETA {eta} {wide_msg}"
                }
                Count::Things => "{prefix} [{bar:16}] {pos}/{len} ETA {eta} {wide_msg}",
            };
            let style =
                ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
            bar.set_style(style.progress_chars("=> "));
            bar.set_prefix(harmless(what));
            View::Bar(bar)
        } else {
            View::Lines(Arc::new(Mutex::new(Spoken { last: Instant::now(), any: false })))
        };
        Progress { what: harmless(what).into(), count, total, view }
    }

    /// Says how far it is, with details.
    pub(crate) fn set(&self, done: u64, details: &str) {
        match &self.view {
            View::Hidden => {}
            View::Bar(bar) => {
                // The position last: it redraws, and with the details that belong to it.
                bar.set_message(details.to_owned());
                bar.set_position(done);
            }
            View::Lines(spoken) => {
                let Ok(mut spoken) = spoken.lock() else { return };
                let is_over = self.total > 0 && done >= self.total;
                if spoken.last.elapsed() >= LINE_EVERY && !is_over {
                    *spoken = Spoken { last: Instant::now(), any: true };
                    self.line(done, details);
                }
            }
        }
    }

    /// It is over; the bar goes away.
    pub(crate) fn finish(&self, details: &str) {
        match &self.view {
            View::Hidden => {}
            View::Bar(bar) => bar.finish_and_clear(),
            View::Lines(spoken) => {
                // What was over before it was worth a word needs none.
                if spoken.lock().is_ok_and(|spoken| spoken.any) {
                    self.line(self.total, details);
                }
            }
        }
    }

    /// It is over and nothing needs to be said.
    pub(crate) fn clear(&self) {
        if let View::Bar(bar) = &self.view {
            bar.finish_and_clear();
        }
    }

    /// Takes the bar away while something else is written.
    pub(crate) fn suspend<T>(&self, work: impl FnOnce() -> T) -> T {
        match &self.view {
            View::Bar(bar) => bar.suspend(work),
            View::Hidden | View::Lines(_) => work(),
        }
    }

    fn line(&self, done: u64, details: &str) {
        eprintln!("{}", self.text(done, details));
    }

    /// What a line says. How much it will be is not always known.
    fn text(&self, done: u64, details: &str) -> String {
        let amount = |count: u64| match self.count {
            Count::Bytes => ByteSize(count).to_string(),
            Count::Things => count.to_string(),
        };
        let of = if self.total > 0 { format!(" of {}", amount(self.total)) } else { String::new() };
        let space = if details.is_empty() { "" } else { " " };
        format!("{}: {}{of}{space}{details}", self.what, amount(done))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_much_it_will_be_if_that_is_known() {
        let text = |count, total, details| {
            Progress { what: "storing".into(), count, total, view: View::Hidden }.text(2048, details)
        };
        assert_eq!(text(Count::Bytes, 4096, "1/2 files"), "storing: 2 KiB of 4 KiB 1/2 files");
        assert_eq!(text(Count::Bytes, 0, ""), "storing: 2 KiB");
        assert_eq!(text(Count::Things, 5000, ""), "storing: 2048 of 5000");
    }
}
