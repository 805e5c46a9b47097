//! Paths of files in a space, as a type, so that none leads out of it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Where a file or folder lies below the root of its space: names joined by `/`; empty for the root itself.
///
/// Each name has 1 to 255 bytes, is neither `.` nor `..` and holds neither `/` nor a zero byte; the whole has at most
/// [`FilePath::BYTES`] bytes and [`FilePath::DEPTH`] names. It is never normalised: two paths are the same file only if
/// their bytes are equal.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FilePath(String);

/// A text that is not a path of a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' cannot be the path of a file: {problem}")]
pub struct BadPath {
    text: String,
    problem: &'static str,
}

impl FilePath {
    /// How long a path can be.
    pub const BYTES: usize = 1_024;
    /// How long one name can be.
    pub const NAME_BYTES: usize = 255;
    /// How many names it can have.
    pub const DEPTH: usize = 64;

    /// The root of a space.
    pub fn root() -> FilePath {
        FilePath::default()
    }

    /// Whether it is the root.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// As text, without a `/` at either end.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its names from the root on.
    pub fn names(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/').filter(|name| !name.is_empty())
    }

    /// Its last name; none for the root.
    pub fn name(&self) -> Option<&str> {
        self.names().next_back()
    }

    /// The folder in which it lies; none for the root.
    pub fn parent(&self) -> Option<FilePath> {
        if self.is_root() {
            return None;
        }
        Some(FilePath(self.0.rsplit_once('/').map_or("", |(parent, _)| parent).to_owned()))
    }

    /// What lies in it under this name.
    pub fn join(&self, name: &str) -> Result<FilePath, BadPath> {
        if self.is_root() { name.parse() } else { format!("{}/{name}", self.0).parse() }
    }

    /// Whether this is `other` or lies somewhere below it.
    pub fn is_below(&self, other: &FilePath) -> bool {
        let Some(rest) = self.0.strip_prefix(&other.0) else { return false };
        other.is_root() || rest.is_empty() || rest.starts_with('/')
    }
}

impl FromStr for FilePath {
    type Err = BadPath;

    fn from_str(text: &str) -> Result<FilePath, BadPath> {
        let bad = |problem| Err(BadPath { text: text.chars().take(80).collect(), problem });
        if text.is_empty() {
            return Ok(FilePath::root());
        }
        if text.len() > FilePath::BYTES {
            return bad("it is longer than 1024 bytes");
        }
        let mut depth = 0;
        for name in text.split('/') {
            depth += 1;
            match name {
                "" => return bad("a name in it is empty: write it without // and without / at its ends"),
                "." | ".." => return bad("'.' and '..' are not names of files"),
                _ if name.len() > FilePath::NAME_BYTES => {
                    return bad("a name in it is longer than 255 bytes");
                }
                _ if name.contains('\0') => return bad("it holds a zero byte"),
                _ => {}
            }
        }
        if depth > FilePath::DEPTH {
            return bad("it lies more than 64 folders deep");
        }
        Ok(FilePath(text.to_owned()))
    }
}

impl TryFrom<String> for FilePath {
    type Error = BadPath;

    fn try_from(text: String) -> Result<FilePath, BadPath> {
        text.parse()
    }
}

impl From<FilePath> for String {
    fn from(path: FilePath) -> String {
        path.0
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_lead_nowhere_else() {
        for good in ["", "a", "a/b", "-", "...", "a\nb", "물/개", "a b/ c"] {
            assert_eq!(good.parse::<FilePath>().map(String::from), Ok(good.to_owned()));
        }
        let long = "x".repeat(256);
        let deep = "a/".repeat(64) + "a";
        for bad in ["/", "/a", "a/", "a//b", ".", "..", "a/../b", "a/.", "a\0", &long, &deep] {
            assert!(bad.parse::<FilePath>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn below_is_by_whole_names() {
        let path = |text: &str| text.parse::<FilePath>().unwrap();
        assert!(path("a/b").is_below(&path("a")) && path("a").is_below(&path("a")));
        assert!(path("a").is_below(&FilePath::root()) && !path("ab").is_below(&path("a")));
        assert_eq!(path("a/b").parent(), Some(path("a")));
        assert_eq!(path("a").parent(), Some(FilePath::root()));
        assert_eq!(FilePath::root().parent(), None);
    }
}
