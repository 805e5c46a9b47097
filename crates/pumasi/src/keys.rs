//! Keys of encrypted files: kept beside the profiles, a file for each, readable by their owner only.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use pumasi_api::wire::files::Version;
use pumasi_seal::{Header, Key, KeyId, Seal, SealError};

use crate::drive::SEALED;
use crate::error::CliError;
use crate::output::Output;
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
    /// Those whose files cannot be read, by name.
    unreadable: Vec<Unreadable>,
}

/// The file of a key that cannot be read.
#[derive(Debug)]
pub(crate) struct Unreadable {
    /// What the key is called here.
    pub(crate) name: String,
    /// The file.
    path: PathBuf,
    /// What is wrong with it.
    pub(crate) problem: String,
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
    /// What is said of its encryption makes no sense.
    #[error(
        "it says that it is encrypted, but its label was changed (`pumasi versions` may have one that is whole)"
    )]
    Label,
    /// It is encrypted in a version of which this program knows nothing.
    #[error("it is encrypted in version {0}, made by a later version of pumasi: update this one")]
    Version(u32),
}

impl From<SealError> for Closed {
    fn from(error: SealError) -> Closed {
        match error {
            SealError::Version(version) => Closed::Version(version),
            SealError::OtherKey(id) => Closed::NoKey(id),
            _ => Closed::Damaged,
        }
    }
}

impl Keys {
    /// Reads all keys; none when there is no folder for them. Files of keys that cannot be read are told of, and stop only
    /// what needs those keys.
    pub(crate) fn load(out: &Output) -> Result<Keys, CliError> {
        let keys = match Keys::folder() {
            Ok(folder) => Keys::load_from(&folder)?,
            // Who has no home has no keys there.
            Err(CliError::NoHome) => Keys::default(),
            Err(error) => return Err(error),
        };
        for unreadable in &keys.unreadable {
            out.warn(&unreadable.error().line());
        }
        Ok(keys)
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
        let mut keys = Keys::default();
        for entry in entries {
            let path = entry.map_err(CliError::file("read", folder))?.path();
            let name =
                path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(ENDING));
            let Some(name) = name.filter(|name| check_name(name).is_ok()) else { continue };
            let name = name.to_owned();
            let text = fs::read_to_string(&path).map_err(|error| error.to_string());
            match text.and_then(|text| text.parse::<Key>().map_err(|error| error.to_string())) {
                Ok(key) => keys.all.push(NamedKey { name, key: Arc::new(key) }),
                Err(problem) => keys.unreadable.push(Unreadable { name, path, problem }),
            }
        }
        keys.all.sort_by(|a, b| a.name.cmp(&b.name));
        keys.unreadable.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(keys)
    }

    /// Those whose files cannot be read, by name.
    pub(crate) fn unreadable(&self) -> &[Unreadable] {
        &self.unreadable
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
        // One that cannot be read could be the one that is meant: no other takes its place.
        let is_meant = |unreadable: &&Unreadable| unreadable.name == wanted || name.is_none();
        if let (None, Some(unreadable)) = (named, self.unreadable.iter().find(is_meant)) {
            return Err(unreadable.error());
        }
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
        let Some(header) = header(version)? else { return Ok(None) };
        let named = self.find(header.key()).ok_or(Closed::NoKey(header.key()))?;
        let seal = Seal::open(&named.key, &header)?;
        if seal.sealed_length() != version.size {
            return Err(Closed::Damaged);
        }
        Ok(Some(Arc::new(seal)))
    }

    /// The key that what lies there is encrypted with: what replaces it is so, too. None when it is not encrypted.
    pub(crate) fn kept(&self, there: Option<&Version>) -> Result<Option<Arc<Key>>, Closed> {
        match there.map_or(Ok(None), sealed_with)? {
            Some(id) => self.find(id).map(|named| Some(named.key.clone())).ok_or(Closed::NoKey(id)),
            None => Ok(None),
        }
    }

    /// Keeps a key under a new name; where.
    pub(crate) fn add(name: &str, key: &Key) -> Result<PathBuf, CliError> {
        Keys::add_to(&Keys::folder()?, name, key)
    }

    fn add_to(folder: &Path, name: &str, key: &Key) -> Result<PathBuf, CliError> {
        make_folder(folder).map_err(CliError::file("create", folder))?;
        let path = folder.join(format!("{name}{ENDING}"));
        let write = || {
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            file.as_file().set_permissions(fs::Permissions::from_mode(0o600))?;
            writeln!(file, "{}", key.recovery_text())?;
            file.as_file().sync_all()?;
            // A key that is there is never lost.
            file.persist_noclobber(&path).map_err(|error| error.error)?;
            fs::File::open(folder)?.sync_all()
        };
        write().map_err(CliError::file("write", &path))?;
        Ok(path)
    }
}

impl Unreadable {
    fn error(&self) -> CliError {
        CliError::BadKey { path: self.path.clone(), problem: self.problem.clone() }
    }
}

/// Makes a folder and those above it, so that they outlive a power cut.
fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let above = folder.parent().unwrap_or(Path::new("/"));
    make_folder(above)?;
    match fs::DirBuilder::new().mode(0o700).create(folder) {
        // Another command was quicker.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => made?,
    }
    fs::File::open(above)?.sync_all()
}

/// What a version says of its encryption; nothing when it is not encrypted.
fn header(version: &Version) -> Result<Option<Header>, Closed> {
    let Some(label) = version.about.labels.get(SEALED) else { return Ok(None) };
    label.parse::<Header>().map(Some).map_err(|error| match error {
        SealError::NotSealed => Closed::Label,
        error => error.into(),
    })
}

/// Which key a version says that it is encrypted with; none when it is not encrypted.
///
/// # Errors
/// When it says that it is encrypted, but not so that this program understands it: it must not be taken for one that is not.
pub(crate) fn sealed_with(version: &Version) -> Result<Option<KeyId>, Closed> {
    Ok(header(version)?.map(|header| header.key()))
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
        let keys = Keys::load_from(&folder).unwrap();
        assert_eq!(
            (keys.all().len(), keys.unreadable()[0].name.as_str()),
            (3, "bad"),
            "the others are of use"
        );
        assert_eq!(keys.choose(None).unwrap().name, DEFAULT_NAME);
        let error = keys.choose(Some("bad")).unwrap_err();
        assert!(error.line().contains("bad.key"), "{}", error.line());
        fs::remove_file(folder.join("default.key")).unwrap();
        let error = Keys::load_from(&folder).unwrap().choose(None).unwrap_err();
        assert!(error.line().contains("bad.key"), "it could be the one that is meant: {}", error.line());
    }

    #[test]
    fn what_cannot_be_understood_is_not_taken_for_plain() {
        let labelled = |label: Option<&str>| {
            let labels = label.map(|label| (SEALED.to_owned(), label.to_owned())).into_iter().collect();
            Version {
                version: Default::default(),
                blob: pumasi_types::Hash::of(b"x"),
                size: 1,
                put_ms: 0,
                by: Default::default(),
                about: pumasi_api::wire::files::About { labels, ..Default::default() },
            }
        };
        let keys = Keys::default();
        let said = |label| {
            let version = labelled(label);
            let (sealed, kept) = (sealed_with(&version), keys.kept(Some(&version)).map(|_| None::<KeyId>));
            assert_eq!((&kept, keys.seal(&version).map(|_| None::<KeyId>)), (&sealed, sealed.clone()));
            sealed
        };
        assert_eq!(said(None), Ok(None));
        assert_eq!(said(Some("")), Err(Closed::Label));
        assert_eq!(said(Some("no base64!")), Err(Closed::Label));
        assert_eq!(said(Some("UFVNQVNJU0wCAAAA")), Err(Closed::Version(2)));
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
