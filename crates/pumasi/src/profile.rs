//! Hubs, certificates and tokens that are typed once: the file that `pumasi login` writes.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use pumasi_api::client::Token;
use pumasi_api::tls::{Fingerprint, HubAddress};
use serde::{Deserialize, Serialize};

use crate::error::CliError;

/// The name of a profile when nobody gives one.
pub(crate) const DEFAULT_NAME: &str = "default";

/// All profiles, as `profiles.toml` holds them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Profiles {
    /// The one that is used when none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) default: Option<String>,
    /// By name.
    #[serde(default)]
    pub(crate) profiles: BTreeMap<String, Profile>,
}

/// How to reach one hub as one account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Profile {
    /// Where the hub is.
    #[serde(with = "text")]
    pub(crate) hub: HubAddress,
    /// Certificate that it must show; none without TLS.
    #[serde(with = "optional_text", default, skip_serializing_if = "Option::is_none")]
    pub(crate) fingerprint: Option<Fingerprint>,
    /// Name of the account, to show it.
    pub(crate) account: String,
    /// Its token.
    #[serde(with = "secret")]
    pub(crate) token: Token,
}

/// Values that are written as their text.
mod text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(super) fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// Values that are written as their text, or not at all.
mod optional_text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<T: Display, S: Serializer>(
        value: &Option<T>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => serializer.collect_str(value),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        super::text::deserialize(deserializer).map(Some)
    }
}

/// Tokens, which have no `Display` so that they are not shown by mistake.
mod secret {
    use pumasi_api::client::Token;
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &Token, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(value.secret())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Token, D::Error> {
        super::text::deserialize(deserializer)
    }
}

impl Profiles {
    /// Where the file belongs: `$XDG_CONFIG_HOME/pumasi/profiles.toml`, by default below `~/.config`.
    pub(crate) fn path() -> Result<PathBuf, CliError> {
        Ok(base_dir("XDG_CONFIG_HOME", ".config")?.join("pumasi/profiles.toml"))
    }

    /// Reads the file; none is as good as an empty one.
    pub(crate) fn load(path: &Path) -> Result<Profiles, CliError> {
        match fs::read_to_string(path) {
            Ok(text) => toml::from_str(&text).map_err(|error| CliError::Profiles {
                path: path.to_owned(),
                // The error's text quotes the line, which may hold the token.
                problem: error.message().to_owned(),
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Profiles::default()),
            Err(error) => Err(CliError::file("read", path)(error)),
        }
    }

    /// Writes the file whole or not at all, readable by its owner only.
    pub(crate) fn save(&self, path: &Path) -> Result<(), CliError> {
        let dir = path.parent().unwrap_or(Path::new("."));
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(dir).map_err(CliError::file("create", dir))?;
        let text = toml::to_string(self)
            .map_err(|error| CliError::Profiles { path: path.to_owned(), problem: error.to_string() })?;
        let write = || {
            let mut file = tempfile::NamedTempFile::new_in(dir)?;
            file.as_file().set_permissions(fs::Permissions::from_mode(0o600))?;
            file.write_all(text.as_bytes())?;
            file.as_file().sync_all()?;
            file.persist(path).map_err(|error| error.error)
        };
        write().map(drop).map_err(CliError::file("write", path))
    }

    /// The profile of this name, or the default one, which need not exist.
    pub(crate) fn find(&self, name: Option<&str>) -> Result<Option<&Profile>, CliError> {
        match name {
            Some(name) => match self.profiles.get(name) {
                Some(profile) => Ok(Some(profile)),
                None => Err(CliError::NoProfile { name: name.to_owned() }),
            },
            None => Ok(self.profiles.get(self.default.as_deref().unwrap_or(DEFAULT_NAME))),
        }
    }
}

/// A base folder of the XDG specification (<https://specifications.freedesktop.org/basedir-spec/>).
pub(crate) fn base_dir(variable: &str, below_home: &str) -> Result<PathBuf, CliError> {
    let set = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    set(variable).or_else(|| Some(set("HOME")?.join(below_home))).ok_or(CliError::NoHome)
}

/// The data folder of the hub on this machine.
pub(crate) fn data_folder(given: Option<PathBuf>) -> Result<PathBuf, CliError> {
    match given {
        Some(folder) => Ok(folder),
        None => Ok(base_dir("XDG_DATA_HOME", ".local/share")?.join("pumasi")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Profiles {
        let profile = Profile {
            hub: "https://pool.example:7878".parse().unwrap(),
            fingerprint: Some(Fingerprint::of(b"certificate")),
            account: "lab".to_owned(),
            token: "secret".parse().unwrap(),
        };
        let plain = Profile { hub: "http://[::1]:1".parse().unwrap(), fingerprint: None, ..profile.clone() };
        Profiles {
            default: Some("main".to_owned()),
            profiles: [("main".to_owned(), profile), ("plain one".to_owned(), plain)].into(),
        }
    }

    #[test]
    fn the_file_round_trips_and_only_its_owner_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config/pumasi/profiles.toml");
        assert_eq!(Profiles::load(&path).unwrap(), Profiles::default());
        example().save(&path).unwrap();
        assert_eq!(Profiles::load(&path).unwrap(), example());
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));

        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        example().save(&path).unwrap();
        assert_eq!(mode(&path), 0o600, "a careless mode does not survive the next login");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn the_file_is_easy_to_read() {
        insta::assert_snapshot!(toml::to_string(&example()).unwrap());
    }

    #[test]
    fn a_broken_file_is_named_without_its_secrets() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("profiles.toml");
        fs::write(&path, "[profiles.a]\nhub = \"a\"\naccount = \"a\"\ntoken = \"very secret\"\n").unwrap();
        let error = Profiles::load(&path).unwrap_err();
        assert!(error.line().contains("profiles.toml"), "{}", error.line());
        assert!(!error.line().contains("very secret"), "{}", error.line());
    }

    #[test]
    fn profiles_are_found() {
        let profiles = example();
        assert_eq!(profiles.find(None).unwrap(), profiles.profiles.get("main"));
        assert_eq!(profiles.find(Some("plain one")).unwrap().unwrap().fingerprint, None);
        assert!(matches!(profiles.find(Some("x")), Err(CliError::NoProfile { .. })));
        assert_eq!(Profiles::default().find(None).unwrap(), None);
    }
}
