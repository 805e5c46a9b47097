//! Which blobs came from where, so that nothing is fetched that is here: by the URL and its version, the file of a torrent,
//! or the SHA-256.
//!
//! Only a hint: that a server still has this version, and that the caller may have these bytes, is asked every time. The file
//! can be removed; then things are fetched that need not be.

use std::path::Path;
use std::sync::Arc;

use pumasi_types::{AccountId, ByteSize, FilePath, Hash, SpaceId};
use redb::{Database, ReadableDatabase, ReadableTableMetadata, TableDefinition};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// BLAKE3 of a [`Source`] and who fetched it: what it was last, as JSON.
const ORIGINS: TableDefinition<'_, ([u8; 32], u64), &[u8]> = TableDefinition::new("origins");
/// How many are remembered.
const MOST: u64 = 1_000_000;
/// Others whose versions of one source are looked at.
const LOOKED_AT: usize = 16;
/// Memory for what was read of the file.
const CACHE_BYTES: usize = 4 << 20;

/// From where something came. Texts of different kinds never are the same: a URL begins with its scheme.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// A URL, as a [`Place`](pumasi_fetch::Place) writes it.
    Url(String),
    /// A torrent, by its info-hash: how many files it has.
    Torrent([u8; 20]),
    /// A file of a torrent, by its number.
    TorrentFile([u8; 20], u32),
    /// Anything with this SHA-256.
    Sum(Hash),
}

impl Source {
    fn key(&self) -> [u8; 32] {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let text = match self {
            Source::Url(url) => url.clone(),
            Source::Torrent(hash) => format!("btih {}", hex(hash)),
            Source::TorrentFile(hash, number) => format!("btih {} {number}", hex(hash)),
            Source::Sum(sum) => format!("sha256 {sum}"),
        };
        *Hash::of(text.as_bytes()).as_bytes()
    }
}

/// What is remembered of a source.
pub(super) struct Note {
    key: [u8; 32],
    value: Vec<u8>,
}

impl Note {
    pub(super) fn of(source: &Source, known: &impl Serialize) -> Note {
        let value = serde_json::to_vec(known).expect("a note is made of plain values");
        Note { key: source.key(), value }
    }
}

/// What is remembered of a torrent besides its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Listing {
    /// How many files it has.
    pub(super) files: u32,
    /// How many of them only fill up pieces.
    pub(super) padding: u32,
    /// Whether it is for those only whom its tracker knows (BEP 27).
    pub(super) private: bool,
}

/// A file that was fetched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Fetched {
    /// Its strong entity tag; empty if it has none.
    #[serde(default)]
    pub(super) etag: String,
    pub(super) blob: Hash,
    pub(super) size: ByteSize,
    /// None if it was fetched before these were noted.
    #[serde(default)]
    pub(super) sha256: Option<Hash>,
    /// What it is called; of a torrent, its whole path there.
    pub(super) name: String,
    pub(super) media_type: Option<String>,
    pub(super) changed_s: Option<u64>,
    /// Where it was put.
    pub(super) space: SpaceId,
    pub(super) path: FilePath,
}

/// What was fetched from where. Reads and writes files: not for threads that others wait for.
#[derive(Clone)]
pub(super) struct Origins(Arc<Database>);

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
        Ok(Origins(Arc::new(database)))
    }

    /// What this account fetched from each source, first; then what some others did, with `all`.
    pub(super) fn of<T: DeserializeOwned>(
        &self,
        sources: &[Source],
        account: AccountId,
        all: bool,
    ) -> Result<Vec<Vec<T>>, redb::Error> {
        let table = self.0.begin_read()?.open_table(ORIGINS)?;
        let of_one = |source: &Source| -> Result<Vec<T>, redb::Error> {
            let key = source.key();
            let mut found: Vec<T> = Vec::new();
            if let Some(own) = table.get((key, account.0))? {
                found.extend(serde_json::from_slice(own.value()).ok());
            }
            let others = if all { LOOKED_AT } else { 0 };
            for row in table.range((key, 0)..=(key, u64::MAX))?.take(others) {
                let (by, known) = row?;
                let is_other = by.value().1 != account.0;
                found.extend(is_other.then(|| serde_json::from_slice(known.value()).ok()).flatten());
            }
            Ok(found)
        };
        sources.iter().map(of_one).collect()
    }

    /// Remembers what an account fetched, instead of what it fetched from there before.
    pub(super) fn note(&self, account: AccountId, notes: &[Note]) -> Result<(), redb::Error> {
        if notes.is_empty() {
            return Ok(());
        }
        let transaction = self.0.begin_write()?;
        {
            let mut table = transaction.open_table(ORIGINS)?;
            for Note { key, value } in notes {
                table.insert((*key, account.0), value.as_slice())?;
                if table.len()? > MOST {
                    // Keys are hashes: the first one is any of them.
                    table.pop_first()?;
                }
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
            sha256: None,
            name: "a".to_owned(),
            media_type: None,
            changed_s: None,
            space: SpaceId(1),
            path: "a".parse().unwrap(),
        };
        let origins = Origins::open(&path).unwrap();
        let url = |url: &str| Source::Url(format!("https://{url}.example/"));
        let note = |by, source: &Source, etag| {
            origins.note(AccountId(by), &[Note::of(source, &fetched(etag))]).unwrap();
        };
        note(1, &url("a"), "\"1\"");
        note(1, &url("a"), "\"2\"");
        note(2, &url("a"), "\"3\"");
        note(1, &url("b"), "\"4\"");
        note(2, &Source::TorrentFile([7; 20], 1), "");
        let of = |account, all| {
            let asked = [url("a"), Source::Torrent([7; 20]), Source::TorrentFile([7; 20], 1)];
            let found: Vec<Vec<Fetched>> = origins.of(&asked, AccountId(account), all).unwrap();
            found
                .into_iter()
                .map(|each| each.into_iter().map(|one| one.etag).collect())
                .collect::<Vec<Vec<_>>>()
        };
        assert_eq!(of(1, false), [vec!["\"2\""], vec![], vec![]]);
        assert_eq!(of(3, false), [vec![""; 0], vec![], vec![]]);
        assert_eq!(of(2, true), [vec!["\"3\"", "\"2\""], vec![], vec![""]]);
        assert_eq!(of(3, true), [vec!["\"2\"", "\"3\""], vec![], vec![""]]);
        drop(origins);

        std::fs::write(&path, b"not a database").unwrap();
        let origins = Origins::open(&path).unwrap();
        assert!(origins.of::<Fetched>(&[url("a")], AccountId(1), true).unwrap()[0].is_empty());
    }
}
