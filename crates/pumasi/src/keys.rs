//! Keys of encrypted files: kept beside the profiles, a file for each, readable by their owner only.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use pumasi_api::wire::files::Version;
use pumasi_seal::{Header, Key, KeyId, Seal};

use crate::drive::SEALED;
use crate::error::CliError;
use crate::profile::base_dir;

/// The name of a key when nobody gives one.
pub(crate) const DEFAULT_NAME: &str = "default";
/// How the file of a key ends.
const ENDING: &str = ".key";
/// The longest name of a key, in bytes.
const NAME_BYTES: usize = 64;

/// The option of commands that send files.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct EncryptArgs {
    /// Encrypt files before they are sent, with the key of this name; `pumasi key new` makes one
    #[arg(long, value_name = "KEY", num_args = 0..=1, require_equals = true, value_parser = check_name)]
    encrypt: Option<Option<String>>,
}

impl EncryptArgs {
    /// Whether it was given.
    pub(crate) fn is_given(&self) -> bool {
        self.encrypt.is_some()
    }

    /// The key with which everything is to be encrypted.
    pub(crate) fn key(&self, keys: &Keys) -> Result<Option<Arc<Key>>, CliError> {
        let chosen = self.encrypt.as_ref().map(|name| keys.choose(name.as_deref())).transpose()?;
        Ok(chosen.map(|named| named.key.clone()))
    }
}

/// A key and what it is called here.
#[derive(Clone, Debug)]
pub(crate) struct NamedKey {
    /// Its name on this machine.
    pub(crate) name: String,
    /// The key.
    pub(crate) key: Arc<Key>,
}

/// The keys on this machine.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    /// By name.
    all: Vec<NamedKey>,
}

/// Why the bytes of an encrypted file cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Closed {
    /// Its key is not here.
    #[error("it is encrypted with key {0}, which is not on this machine (`pumasi key add` adds one)")]
    NoKey(KeyId),
    /// It is not what was encrypted.
    #[error("it says that it is encrypted, but its bytes were changed")]
    Damaged,
}

impl Keys {
    /// Reads all keys; none when there is no folder for them.
    pub(crate) fn load() -> Result<Keys, CliError> {
        match Keys::folder() {
            Ok(folder) => Keys::load_from(&folder),
            // Who has no home has no keys there.
            Err(CliError::NoHome) => Ok(Keys::default()),
            Err(error) => Err(error),
        }
    }

    /// Where they are: `$XDG_CONFIG_HOME/pumasi/keys`, by default below `~/.config`.
    pub(crate) fn folder() -> Result<PathBuf, CliError> {
        Ok(base_dir("XDG_CONFIG_HOME", ".config")?.join("pumasi/keys"))
    }

    /// These keys, kept in a folder.
    #[cfg(test)]
    pub(crate) fn of<const N: usize>(keys: [(&str, &Key); N], folder: &Path) -> Keys {
        keys.iter().for_each(|(name, key)| drop(Keys::add_to(folder, name, key).unwrap()));
        Keys::load_from(folder).unwrap()
    }

    fn load_from(folder: &Path) -> Result<Keys, CliError> {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Keys::default()),
            Err(error) => return Err(CliError::file("read", folder)(error)),
        };
        let mut all = Vec::new();
        for entry in entries {
            let path = entry.map_err(CliError::file("read", folder))?.path();
            let name =
                path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(ENDING));
            let Some(name) = name.filter(|name| check_name(name).is_ok()) else { continue };
            let text = fs::read_to_string(&path).map_err(CliError::file("read", &path))?;
            let key = text.parse().map_err(CliError::content(&path))?;
            all.push(NamedKey { name: name.to_owned(), key: Arc::new(key) });
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Keys { all })
    }

    /// All of them, by name.
    pub(crate) fn all(&self) -> &[NamedKey] {
        &self.all
    }

    /// The key of this id.
    pub(crate) fn find(&self, id: KeyId) -> Option<&NamedKey> {
        self.all.iter().find(|named| named.key.id() == id)
    }

    /// The key of this name; without one that called `default`, or the only one.
    pub(crate) fn choose(&self, name: Option<&str>) -> Result<&NamedKey, CliError> {
        let wanted = name.unwrap_or(DEFAULT_NAME);
        let named = self.all.iter().find(|named| named.name == wanted);
        match (named, name, self.all.as_slice()) {
            (Some(named), ..) | (None, None, [named]) => Ok(named),
            (None, None, [_, _, ..]) => Err(CliError::usage(
                "there are several keys here, and none of them is called 'default'",
                "say which one: `--encrypt=NAME`; `pumasi key ls` lists them",
            )),
            _ => Err(CliError::NoKey { name: wanted.to_owned() }),
        }
    }

    /// What opens the bytes of a version; none when they are not encrypted.
    pub(crate) fn seal(&self, version: &Version) -> Result<Option<Arc<Seal>>, Closed> {
        let Some(label) = version.about.labels.get(SEALED) else { return Ok(None) };
        let header = label.parse::<Header>().map_err(|_| Closed::Damaged)?;
        let named = self.find(header.key()).ok_or(Closed::NoKey(header.key()))?;
        let seal = Seal::open(&named.key, &header).map_err(|_| Closed::Damaged)?;
        if seal.sealed_length() != version.size {
            return Err(Closed::Damaged);
        }
        Ok(Some(Arc::new(seal)))
    }

    /// The key that what lies there is encrypted with: what replaces it is so, too. None when it is not encrypted.
    pub(crate) fn kept(&self, there: Option<&Version>) -> Result<Option<Arc<Key>>, Closed> {
        match there.and_then(sealed_with) {
            Some(id) => self.find(id).map(|named| Some(named.key.clone())).ok_or(Closed::NoKey(id)),
            None => Ok(None),
        }
    }

    /// Keeps a key under a new name; where.
    pub(crate) fn add(name: &str, key: &Key) -> Result<PathBuf, CliError> {
        Keys::add_to(&Keys::folder()?, name, key)
    }

    fn add_to(folder: &Path, name: &str, key: &Key) -> Result<PathBuf, CliError> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(folder).map_err(CliError::file("create", folder))?;
        let path = folder.join(format!("{name}{ENDING}"));
        let write = || {
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            file.as_file().set_permissions(fs::Permissions::from_mode(0o600))?;
            writeln!(file, "{}", key.recovery_text())?;
            file.as_file().sync_all()?;
            // A key that is there is never lost.
            file.persist_noclobber(&path).map_err(|error| error.error)
        };
        write().map_err(CliError::file("write", &path))?;
        Ok(path)
    }
}

/// Which key a version says that it is encrypted with.
pub(crate) fn sealed_with(version: &Version) -> Option<KeyId> {
    let header = version.about.labels.get(SEALED)?.parse::<Header>().ok()?;
    Some(header.key())
}

/// A name that a key can have: lower-case letters, digits, `-`, `_` and `.`, beginning with a letter or digit.
pub(crate) fn check_name(name: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let begins = name.starts_with(plain);
    if begins && name.len() <= NAME_BYTES && name.chars().all(|c| plain(c) || "-_.".contains(c)) {
        Ok(name.to_owned())
    } else {
        Err("a key's name has lower-case letters, digits, '-', '_' and '.', 64 at most".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn keys_are_kept_and_only_their_owner_reads_them() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("pumasi/keys");
        assert!(Keys::load_from(&folder).unwrap().all().is_empty());
        let (one, two) = (Key::new([1; 32]), Key::new([2; 32]));
        let path = Keys::add_to(&folder, "work", &one).unwrap();
        assert_eq!((mode(&path), mode(&folder)), (0o600, 0o700));
        assert!(Keys::add_to(&folder, "work", &two).is_err(), "no key is ever overwritten");
        let keys = Keys::load_from(&folder).unwrap();
        assert_eq!(keys.choose(None).unwrap().name, "work", "the only one");
        Keys::add_to(&folder, "home", &two).unwrap();
        fs::write(folder.join("notes.txt"), "no key").unwrap();
        let keys = Keys::load_from(&folder).unwrap();
        assert!(matches!(keys.choose(None), Err(CliError::Usage { .. })));
        assert!(matches!(keys.choose(Some("x")), Err(CliError::NoKey { .. })));
        assert_eq!(keys.choose(Some("home")).unwrap().key.id(), two.id());
        assert_eq!(keys.find(one.id()).unwrap().name, "work");
        Keys::add_to(&folder, DEFAULT_NAME, &Key::new([3; 32])).unwrap();
        assert_eq!(Keys::load_from(&folder).unwrap().choose(None).unwrap().name, DEFAULT_NAME);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 4, "nothing is left beside them");

        fs::write(folder.join("bad.key"), "pumasi-key-1 12").unwrap();
        let error = Keys::load_from(&folder).unwrap_err();
        assert!(error.line().contains("bad.key"), "{}", error.line());
    }

    #[test]
    fn names_of_keys_cannot_be_paths() {
        for name in ["a", "work-2.old_1", "0"] {
            assert_eq!(check_name(name).as_deref(), Ok(name));
        }
        for name in ["", ".", "..", "a/b", "A", "-a", ".hidden", "한글", &"x".repeat(65)] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
