//! Where something lies: `SPACE:path` in the shared store, anything else on this machine.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use pumasi_api::wire::files::HOME;
use pumasi_types::FilePath;

/// A file or folder in a space: `SPACE:path`, or `:path` in the home of the caller's account.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    /// The name of the space; none for the caller's home.
    pub(crate) space: Option<String>,
    /// Where in it.
    pub(crate) path: FilePath,
    /// Whether it was written with a `/` at its end: a folder, into which something goes.
    pub(crate) folder: bool,
}

impl Place {
    /// The same space, elsewhere.
    pub(crate) fn at(&self, path: FilePath) -> Place {
        Place { space: self.space.clone(), path, folder: false }
    }

    /// The space as the hub is asked for it.
    pub(crate) fn space(&self) -> &str {
        self.space.as_deref().unwrap_or(HOME)
    }

    /// The space as people write it, with the colon.
    pub(crate) fn prefix(&self) -> String {
        format!("{}:", self.space.as_deref().unwrap_or(""))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.prefix(), self.path)
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Place, String> {
        let Some((space, path)) = split(text) else {
            return Err(format!(
                "'{text}' is not a place in the store: write SPACE:path, or :path for your home"
            ));
        };
        let trimmed = path.trim_matches('/');
        let parsed = trimmed.parse::<FilePath>().map_err(|error| error.to_string())?;
        let space = (!space.is_empty()).then(|| space.to_owned());
        Ok(Place { space, path: parsed, folder: trimmed.is_empty() || path.ends_with('/') })
    }
}

/// An argument that is a place in the store or a path of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Argument {
    /// In the store.
    Remote(Place),
    /// On this machine. A name with a colon is written as `./a:b`.
    Local(PathBuf),
}

impl Argument {
    /// What an argument means where a path of this machine counts more, if something lies there.
    pub(crate) fn of(path: &Path) -> Result<Argument, String> {
        match path.to_str().filter(|_| !path.exists()) {
            Some(text) => text.parse(),
            None => Ok(Argument::Local(path.to_owned())),
        }
    }
}

impl FromStr for Argument {
    type Err = String;

    fn from_str(text: &str) -> Result<Argument, String> {
        match split(text) {
            Some(_) => text.parse().map(Argument::Remote),
            None => Ok(Argument::Local(PathBuf::from(text))),
        }
    }
}

/// Space and path of a text that has a colon before any `/`.
fn split(text: &str) -> Option<(&str, &str)> {
    text.split_once(':').filter(|(space, _)| !space.contains('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> Place {
        text.parse().unwrap()
    }

    #[test]
    fn a_colon_before_any_slash_makes_a_place() {
        let lab = place("lab:a/b");
        assert_eq!((lab.space.as_deref(), lab.path.as_str(), lab.folder), (Some("lab"), "a/b", false));
        let home = place(":a b/");
        assert_eq!((home.space, home.path.as_str(), home.folder), (None, "a b", true));
        assert!(place(":").path.is_root() && place("lab:/").folder);
        assert_eq!(place("lab:x:y").path.as_str(), "x:y");
        assert_eq!(place(":/a").to_string(), ":a");
        for text in ["a", "./a:b", "a/b:c", "/a", ":../x", ":a//b", "lab:a/./b"] {
            assert!(text.parse::<Place>().is_err(), "{text}");
        }
        assert_eq!("./a:b".parse(), Ok(Argument::Local("./a:b".into())));
        assert_eq!(":a".parse(), Ok(Argument::Remote(place(":a"))));
        let dir = tempfile::tempdir().unwrap();
        let odd = dir.path().join("a:b");
        std::fs::write(&odd, "").unwrap();
        assert_eq!(Argument::of(&odd), Ok(Argument::Local(odd)));
        assert_eq!(Argument::of(Path::new("no:where")), Ok(Argument::Remote(place("no:where"))));
    }
}
