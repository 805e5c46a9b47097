//! Which key a file that is made in a mounted folder takes: programs save an encrypted file as another one beside it, and
//! move that over it, or move the old one away and make it anew. What they write is the same text.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pumasi_seal::Key;
use pumasi_types::FilePath;

use super::drive::{BELIEVED, held};
use crate::keys::Closed;

/// The key of a file; none when it is not encrypted, and why not when it cannot be told or is not here.
pub(super) type Kept = Result<Option<Arc<Key>>, Closed>;

/// The key of an encrypted file in a folder, and until when that is believed.
type Believed = (Option<Arc<Key>>, Instant);

/// From so many paths on, and whenever they have doubled, those are forgotten that were left more than [`REMEMBERED`] ago.
const PATHS: usize = 10_000;
const REMEMBERED: Duration = Duration::from_secs(3_600);
/// What was found in a folder is believed so many times as long as looking took, so that files are not made the more slowly the
/// more lie beside them.
const REST: u32 = 10;

/// What is known of the places at which files are made.
#[derive(Debug, Default)]
pub(super) struct Surroundings {
    left: Mutex<Left>,
    /// By folder, what lies in it.
    beside: Mutex<HashMap<u64, Believed>>,
}

/// Where encrypted files lay that were moved away or removed.
#[derive(Debug, Default)]
struct Left {
    /// What they are encrypted with, and when they were left.
    paths: HashMap<FilePath, (Kept, Instant)>,
    /// When there are so many, it is time to forget some.
    many: usize,
}

impl Surroundings {
    /// A file is not at this path any more.
    pub(super) fn leave(&self, path: FilePath, kept: Kept) {
        if matches!(kept, Ok(None)) {
            return;
        }
        let mut left = held(&self.left);
        if left.paths.len() >= left.many {
            left.paths.retain(|_, (_, when)| when.elapsed() < REMEMBERED);
            left.many = PATHS.max(2 * left.paths.len());
        }
        left.paths.insert(path, (kept, Instant::now()));
    }

    /// What lay at a path.
    pub(super) fn lay_at(&self, path: &FilePath) -> Kept {
        held(&self.left).paths.get(path).map_or(Ok(None), |(kept, _)| kept.clone())
    }

    /// What was said of a folder lately.
    pub(super) fn beside(&self, folder: u64) -> Option<Option<Arc<Key>>> {
        let beside = held(&self.beside);
        beside.get(&folder).filter(|(_, until)| Instant::now() < *until).map(|(key, _)| key.clone())
    }

    /// A file in a folder is encrypted with this, or none is; it took so long to find that out.
    pub(super) fn note(&self, folder: u64, key: Option<Arc<Key>>, took: Duration) {
        let believed = BELIEVED.max(took.saturating_mul(REST));
        held(&self.beside).insert(folder, (key, Instant::now() + believed));
    }

    /// Encrypted files lie elsewhere now.
    pub(super) fn moved(&self) {
        held(&self.beside).clear();
    }

    /// Nobody asks for a folder any more.
    pub(super) fn forget(&self, folder: u64) {
        held(&self.beside).remove(&folder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lay_somewhere_is_remembered_and_what_was_plain_is_not() {
        let (a, b): (FilePath, FilePath) = ("a".parse().unwrap(), "b".parse().unwrap());
        let surroundings = Surroundings::default();
        let key = Arc::new(Key::new([1; 32]));
        surroundings.leave(a.clone(), Ok(Some(key.clone())));
        surroundings.leave(a.clone(), Ok(None));
        let id = |kept: Kept| kept.map(|key| key.map(|key| key.id()));
        assert_eq!(id(surroundings.lay_at(&a)), Ok(Some(key.id())));
        assert_eq!(id(surroundings.lay_at(&b)), Ok(None));
        surroundings.leave(b.clone(), Err(Closed::NoKey(key.id())));
        assert_eq!(id(surroundings.lay_at(&b)), Err(Closed::NoKey(key.id())), "nor is it laid open");
        // An hour of looking is believed for ten.
        surroundings.note(1, Some(key.clone()), Duration::from_secs(3_600));
        assert_eq!(surroundings.beside(1).map(|key| key.map(|key| key.id())), Some(Some(key.id())));
        let until = held(&surroundings.beside)[&1].1;
        assert!(until.saturating_duration_since(Instant::now()) > Duration::from_secs(9 * 3_600));
        surroundings.moved();
        assert!(surroundings.beside(1).is_none());
    }
}
