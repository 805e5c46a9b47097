//! Which blobs came from which URL in which version, so that nothing is fetched that is here.
//!
//! Only a hint: that a server still has this version, and that the caller may have these bytes, is asked every time. The file
//! can be removed; then things are fetched that need not be.

use std::path::Path;

use pumasi_types::{AccountId, ByteSize, FilePath, Hash, SpaceId};
use redb::{Database, ReadableDatabase, ReadableTableMetadata, TableDefinition};
use serde::{Deserialize, Serialize};

/// BLAKE3 of a URL and who fetched it: what it was last, as JSON.
const ORIGINS: TableDefinition<'_, ([u8; 32], u64), &[u8]> = TableDefinition::new("origins");
/// How many are remembered.
const MOST: u64 = 1_000_000;
/// Accounts whose versions of one URL are looked at.
const LOOKED_AT: usize = 16;
/// Memory for what was read of the file.
const CACHE_BYTES: usize = 4 << 20;

/// A file that was fetched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Fetched {
    /// Its strong entity tag.
    pub(super) etag: String,
    pub(super) blob: Hash,
    pub(super) size: ByteSize,
    pub(super) name: String,
    pub(super) media_type: Option<String>,
    pub(super) changed_s: Option<u64>,
    /// Where it was put.
    pub(super) space: SpaceId,
    pub(super) path: FilePath,
}

/// What was fetched from where.
pub(super) struct Origins(Database);

impl Origins {
    /// Opens the file, or makes it; anew when it is damaged.
    pub(super) fn open(path: &Path) -> Result<Origins, redb::Error> {
        let create = || Database::builder().set_cache_size(CACHE_BYTES).create(path);
        let database = match create() {
            Ok(database) => database,
            Err(error) => {
                tracing::warn!("{} is made anew: {error}", path.display());
                std::fs::remove_file(path).map_err(redb::Error::Io)?;
                create()?
            }
        };
        let transaction = database.begin_write()?;
        transaction.open_table(ORIGINS)?;
        transaction.commit()?;
        Ok(Origins(database))
    }

    /// What this account fetched from a URL; what others did as well with `all`.
    pub(super) fn of(&self, url: &str, account: AccountId, all: bool) -> Result<Vec<Fetched>, redb::Error> {
        let url = *Hash::of(url.as_bytes()).as_bytes();
        let range = if all { (url, 0)..=(url, u64::MAX) } else { (url, account.0)..=(url, account.0) };
        let table = self.0.begin_read()?.open_table(ORIGINS)?;
        let mut found = Vec::new();
        for row in table.range(range)?.take(LOOKED_AT) {
            found.extend(serde_json::from_slice(row?.1.value()).ok());
        }
        Ok(found)
    }

    /// Remembers what an account fetched, instead of what it fetched from there before.
    pub(super) fn note(&self, url: &str, account: AccountId, fetched: &Fetched) -> Result<(), redb::Error> {
        let key = (*Hash::of(url.as_bytes()).as_bytes(), account.0);
        let value = serde_json::to_vec(fetched).map_err(std::io::Error::from)?;
        let transaction = self.0.begin_write()?;
        {
            let mut table = transaction.open_table(ORIGINS)?;
            table.insert(key, value.as_slice())?;
            if table.len()? > MOST {
                // Keys are hashes: the first one is any of them.
                table.pop_first()?;
            }
        }
        transaction.commit()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_sees_their_own_and_all_only_if_allowed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("origins.redb");
        let fetched = |etag: &str| Fetched {
            etag: etag.to_owned(),
            blob: Hash::of(etag.as_bytes()),
            size: ByteSize(1),
            name: "a".to_owned(),
            media_type: None,
            changed_s: None,
            space: SpaceId(1),
            path: "a".parse().unwrap(),
        };
        let origins = Origins::open(&path).unwrap();
        origins.note("https://a.example/", AccountId(1), &fetched("\"1\"")).unwrap();
        origins.note("https://a.example/", AccountId(1), &fetched("\"2\"")).unwrap();
        origins.note("https://a.example/", AccountId(2), &fetched("\"3\"")).unwrap();
        origins.note("https://b.example/", AccountId(1), &fetched("\"4\"")).unwrap();
        let of = |account, all| origins.of("https://a.example/", AccountId(account), all).unwrap();
        assert_eq!(of(1, false), [fetched("\"2\"")]);
        assert_eq!(of(3, false), []);
        assert_eq!(of(3, true), [fetched("\"2\""), fetched("\"3\"")]);
        drop(origins);

        std::fs::write(&path, b"not a database").unwrap();
        let origins = Origins::open(&path).unwrap();
        assert_eq!(origins.of("https://a.example/", AccountId(1), true).unwrap(), []);
    }
}
