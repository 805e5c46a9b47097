//! What lies in a space, asked for page by page.

use std::collections::HashMap;

use pumasi_api::client::{ClientError, HubClient, ListOf};
use pumasi_api::wire::files::Entry;
use pumasi_types::{FilePath, Hash};

use super::place::Place;
use crate::error::CliError;

/// What lies at a place; none when nothing does.
pub(crate) async fn find(client: &HubClient, place: &Place) -> Result<Option<Entry>, CliError> {
    match client.find_file(place.space(), &place.path).await {
        Ok(entry) => Ok(Some(entry)),
        Err(ClientError::Refused { body, .. }) if body.code == "no_file" => Ok(None),
        Err(error) => Err(CliError::hub(format!("look at {place}"))(error)),
    }
}

/// What lies at a place.
///
/// # Errors
/// When nothing does.
pub(crate) async fn must_find(client: &HubClient, place: &Place) -> Result<Entry, CliError> {
    client.find_file(place.space(), &place.path).await.map_err(CliError::hub(format!("look at {place}")))
}

/// What lies in a folder, by name; a file by itself.
pub(crate) async fn list(client: &HubClient, place: &Place) -> Result<Vec<Entry>, CliError> {
    let mut entries = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let list = ListOf { after: after.as_deref(), limit: None };
        let page = match client.list_folder(place.space(), &place.path, list).await {
            Err(error) if error.code() == Some("not_a_folder") => {
                return Ok(vec![must_find(client, place).await?]);
            }
            page => page.map_err(CliError::hub(format!("list {place}")))?,
        };
        entries.extend(page.entries);
        after = page.next;
        if after.is_none() {
            return Ok(entries);
        }
    }
}

/// All that lies below a folder; a file by itself.
pub(crate) async fn below(client: &HubClient, place: &Place) -> Result<Vec<Entry>, CliError> {
    let there = must_find(client, place).await?;
    if there.file.is_some() {
        return Ok(vec![there]);
    }
    let (mut entries, mut walk) = (Vec::new(), Walk::below(client, place));
    while let Some(page) = walk.next().await? {
        entries.extend(page);
    }
    Ok(entries)
}

/// A walk over all that lies below a folder, in the order of the paths' bytes.
pub(crate) struct Walk<'a> {
    client: &'a HubClient,
    place: &'a Place,
    prefix: String,
    after: Option<String>,
    over: bool,
}

impl<'a> Walk<'a> {
    /// Begins behind a folder, which itself is not part of it.
    pub(crate) fn below(client: &'a HubClient, place: &'a Place) -> Walk<'a> {
        let prefix = if place.path.is_root() { String::new() } else { format!("{}/", place.path) };
        Walk { client, place, prefix, after: None, over: false }
    }

    /// The next page; none at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<Entry>>, CliError> {
        if self.over {
            return Ok(None);
        }
        let page = ListOf { after: self.after.as_deref(), limit: None };
        let walked = self.client.walk_files(self.place.space(), &self.prefix, page).await;
        let walked = walked.map_err(CliError::hub(format!("list {}", self.place)))?;
        self.over = walked.next.is_none();
        self.after = walked.next;
        // A folder that was made to stay is below itself as its own marker.
        let own = |entry: &Entry| entry.path == self.place.path;
        Ok(Some(walked.entries.into_iter().filter(|entry| !own(entry)).collect()))
    }

    /// All of it, by paths below the folder.
    pub(crate) async fn all(mut self) -> Result<HashMap<FilePath, Entry>, CliError> {
        let mut all = HashMap::new();
        while let Some(page) = self.next().await? {
            for entry in page {
                all.insert(relative(&self.place.path, &entry.path), entry);
            }
        }
        Ok(all)
    }
}

/// The path of something below a folder, seen from that folder.
pub(crate) fn relative(folder: &FilePath, path: &FilePath) -> FilePath {
    let text = path.as_str();
    let rest = if folder.is_root() { text } else { text.get(folder.as_str().len() + 1..).unwrap_or("") };
    // A part of a path that begins behind a slash is a path.
    rest.parse().unwrap_or_default()
}

/// The path that something below a folder has in the space of that folder.
pub(crate) fn absolute(folder: &FilePath, path: &FilePath) -> Result<FilePath, String> {
    match (folder.is_root(), path.is_root()) {
        (true, _) => Ok(path.clone()),
        (_, true) => Ok(folder.clone()),
        _ => format!("{folder}/{path}").parse().map_err(|error: pumasi_types::BadPath| error.to_string()),
    }
}

/// The hash of no bytes at all.
pub(crate) fn empty() -> Hash {
    Hash::of(b"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_go_into_a_folder_and_out_of_it() {
        let path = |text: &str| text.parse::<FilePath>().unwrap();
        for (folder, below, whole) in [("", "a/b", "a/b"), ("x/y", "a", "x/y/a"), ("x", "", "x")] {
            assert_eq!(absolute(&path(folder), &path(below)), Ok(path(whole)));
            if !below.is_empty() {
                assert_eq!(relative(&path(folder), &path(whole)), path(below));
            }
        }
        assert!(absolute(&path("x/".repeat(63).trim_end_matches('/')), &path("a/b")).is_err());
    }
}
