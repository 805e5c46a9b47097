//! The first failure of a file, which everybody hears who uses the file afterwards.

use std::io;
use std::sync::{Arc, OnceLock};

/// What is said behind a failure to all who did not see it happen.
const BEFORE: &str = " (failed before; start the hub again)";

/// Why a file can be used no more, for all who share it; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct FirstFailure(Arc<OnceLock<(io::ErrorKind, String)>>);

impl FirstFailure {
    /// Remembers the failure unless there was one before, and hands it on. It may have been heard of another file.
    pub fn note(&self, failure: io::Error) -> io::Error {
        self.0.get_or_init(|| {
            let text = failure.to_string();
            (failure.kind(), text.strip_suffix(BEFORE).unwrap_or(&text).to_owned())
        });
        failure
    }

    /// Whether nothing failed so far.
    ///
    /// # Errors
    /// What failed first, of the same kind; the words say also that only a new start helps.
    pub fn check(&self) -> io::Result<()> {
        match self.0.get() {
            None => Ok(()),
            Some((kind, text)) => Err(io::Error::new(*kind, format!("{text}{BEFORE}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Error, ErrorKind};

    use super::FirstFailure;
    use crate::remedy;

    #[test]
    fn what_failed_first_is_what_all_hear() {
        let failure = FirstFailure::default();
        let shared = failure.clone();
        shared.check().unwrap();
        let full = Error::from_raw_os_error(rustix::io::Errno::NOSPC.raw_os_error());
        let text = full.to_string();
        assert_eq!(failure.note(full).kind(), ErrorKind::StorageFull);
        assert_eq!(failure.note(Error::other("later")).to_string(), "later");
        let heard = shared.check().unwrap_err();
        assert_eq!(heard.kind(), ErrorKind::StorageFull);
        assert_eq!(heard.to_string(), format!("{text} (failed before; start the hub again)"));
        assert!(remedy(&heard).contains("the disk is full"));
        let behind = FirstFailure::default();
        let said = behind.note(heard).to_string();
        assert_eq!(behind.check().unwrap_err().to_string(), said, "that it failed before is said once");
    }
}
