//! Spaces, files and links of a hub, and blobs by the hundred.

use std::fmt::Write as _;
use std::ops::Range;

use bytes::{Buf, Bytes, BytesMut};
use http::Method;
use pumasi_types::{FileId, FilePath, Hash, LinkId, RequestId, SpaceId, VersionId};

use super::plain::Download;
use super::transfer::{Progress, Source};
use super::{Call, ClientError, HubClient, JSON_BYTES_MAX, escape};
use crate::frames::frame;
use crate::wire::StoredBlob;
use crate::wire::access::AccessEntries;
use crate::wire::files::*;

/// Which page of something, from the first on when `after` is none.
#[derive(Clone, Copy, Debug, Default)]
pub struct ListOf<'a> {
    /// The `next` of the page before.
    pub after: Option<&'a str>,
    /// How many at most; 1,000 when none.
    pub limit: Option<usize>,
}

/// The contents of many files, one after the other in the order in which they were asked for.
pub struct ReadFiles {
    download: Download,
    begun: BytesMut,
}

impl ReadFiles {
    /// The bytes of the next file; none for one that could not be read.
    ///
    /// # Errors
    /// When the answer breaks off, or the file has more than `bytes_max` bytes.
    pub async fn next(&mut self, bytes_max: u64) -> Result<Option<Bytes>, ClientError> {
        self.fill(FRAME_LENGTH_BYTES).await?;
        let length = self.begun.get_u64_le();
        if length == FRAME_MISSING {
            return Ok(None);
        }
        if length > bytes_max {
            let request = Call::new(Method::POST, READ).name();
            return Err(ClientError::TooLarge { request, limit: bytes_max });
        }
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        self.fill(length).await?;
        Ok(Some(self.begun.split_to(length).freeze()))
    }

    /// Reads until there are so many bytes.
    async fn fill(&mut self, length: usize) -> Result<(), ClientError> {
        while self.begun.len() < length {
            let Some(piece) = self.download.next().await? else {
                let client = &self.download.client;
                let call = Call::new(Method::POST, READ);
                return Err(client.strange(&call, "it ended before the last file".to_owned()));
            };
            self.begun.extend_from_slice(&piece);
        }
        Ok(())
    }
}

/// Where many files are read, as errors name it.
const READ: &str = "/v1/spaces/SPACE/read";

/// A path with its query, made piece by piece.
struct Target {
    path: String,
    separator: char,
}

impl Target {
    fn new(path: String) -> Target {
        Target { path, separator: '?' }
    }

    fn with(mut self, name: &str, value: Option<impl std::fmt::Display>) -> Target {
        if let Some(value) = value {
            let value = escape(&value.to_string());
            // Writing to a text cannot fail.
            let _ = write!(self.path, "{}{name}={value}", self.separator);
            self.separator = '&';
        }
        self
    }

    fn page(self, list: ListOf<'_>) -> String {
        self.with("after", list.after).with("limit", list.limit).path
    }
}

fn below(space: &str, rest: &str) -> String {
    format!("/v1/spaces/{}{rest}", escape(space))
}

/// Spaces stand in these by their names, the caller's own as [`HOME`]. What changes something takes a request id: with
/// the same id it is done once; without one it gets a fresh one.
///
/// # Errors
/// All as [`HubClient::get`] and [`HubClient::post`].
impl HubClient {
    /// The caller's spaces; `all` of them for operators, without what is in them.
    pub async fn spaces(&self, all: bool, after: Option<SpaceId>) -> Result<Spaces, ClientError> {
        let target = Target::new("/v1/spaces".to_owned()).with("all", all.then_some("true"));
        self.get(&target.with("after", after).path).await
    }

    /// A space.
    pub async fn space(&self, space: &str) -> Result<Space, ClientError> {
        self.get(&below(space, "")).await
    }

    /// Makes a space.
    pub async fn make_space(&self, new: &NewSpace, id: Option<RequestId>) -> Result<Space, ClientError> {
        self.post("/v1/spaces", new, id).await
    }

    /// Changes a space.
    pub async fn change_space(
        &self,
        space: &str,
        change: &ChangeSpace,
        id: Option<RequestId>,
    ) -> Result<Space, ClientError> {
        self.put(&below(space, ""), change, id).await
    }

    /// Removes a space in which nothing lies any more.
    pub async fn remove_space(&self, space: &str, id: Option<RequestId>) -> Result<(), ClientError> {
        self.delete(&below(space, ""), id).await
    }

    /// Says what an account may do in a space; none: it is not a member any more.
    pub async fn set_member(
        &self,
        space: &str,
        account: &str,
        access: Option<Access>,
        id: Option<RequestId>,
    ) -> Result<Space, ClientError> {
        let path = below(space, &format!("/members/{}", escape(account)));
        match access {
            Some(access) => self.put(&path, &SetMember { access }, id).await,
            None => self.delete(&path, id).await,
        }
    }

    /// A file or folder.
    pub async fn find_file(&self, space: &str, path: &FilePath) -> Result<Entry, ClientError> {
        self.get(&Target::new(below(space, "/file")).with("path", Some(path)).path).await
    }

    /// What lies in a folder, by name.
    pub async fn list_folder(
        &self,
        space: &str,
        path: &FilePath,
        list: ListOf<'_>,
    ) -> Result<Entries, ClientError> {
        self.get(&Target::new(below(space, "/files")).with("path", Some(path)).page(list)).await
    }

    /// Everything in a space whose path begins with `prefix`, at whatever depth, in the order of the paths' bytes; folders
    /// only if they were made to stay. A page may have fewer than asked for, or none, and still lead on.
    pub async fn walk_files(
        &self,
        space: &str,
        prefix: &str,
        list: ListOf<'_>,
    ) -> Result<Entries, ClientError> {
        self.get(&Target::new(below(space, "/walk")).with("prefix", Some(prefix)).page(list)).await
    }

    /// Gives files new contents, each on its own.
    pub async fn put_files(
        &self,
        space: &str,
        files: &PutFiles,
        id: Option<RequestId>,
    ) -> Result<FileResults, ClientError> {
        self.post(&below(space, "/files"), files, id).await
    }

    /// The bytes of a file, of one of its versions when one is given; part of them when a range is given. Bytes that are
    /// damaged in the store end early: compare their number, or their hash, with what [`HubClient::find_file`] says.
    pub async fn read_file(
        &self,
        space: &str,
        path: &FilePath,
        version: Option<VersionId>,
        range: Option<Range<u64>>,
    ) -> Result<Download, ClientError> {
        let target = Target::new(below(space, "/content")).with("path", Some(path)).with("version", version);
        self.stream_range(&target.path, range).await
    }

    /// The bytes of many small files, in one answer.
    pub async fn read_files(&self, space: &str, paths: Vec<FilePath>) -> Result<ReadFiles, ClientError> {
        let path = below(space, "/read");
        let mut call = Call::new(Method::POST, &path);
        call.json = Some(self.json(&call, &FilePaths { paths })?);
        let download = Download { client: self.clone(), body: Some(self.open(&call).await?) };
        Ok(ReadFiles { download, begun: BytesMut::new() })
    }

    /// Makes a folder to stay.
    pub async fn make_folder(
        &self,
        space: &str,
        path: FilePath,
        id: Option<RequestId>,
    ) -> Result<Entry, ClientError> {
        self.post(&below(space, "/folders"), &MakeFolder { path }, id).await
    }

    /// Moves a file or folder within its space.
    pub async fn move_file(
        &self,
        space: &str,
        what: &MoveFile,
        id: Option<RequestId>,
    ) -> Result<Moved, ClientError> {
        self.post(&below(space, "/move"), what, id).await
    }

    /// Copies a file or folder into a space.
    pub async fn copy_file(
        &self,
        space: &str,
        what: &CopyFile,
        id: Option<RequestId>,
    ) -> Result<Copied, ClientError> {
        self.post(&below(space, "/copy"), what, id).await
    }

    /// Removes files and folders.
    pub async fn remove_files(
        &self,
        space: &str,
        what: &RemoveFiles,
        id: Option<RequestId>,
    ) -> Result<FileResults, ClientError> {
        self.post(&below(space, "/remove"), what, id).await
    }

    /// What lies in the trash of a space, the last first.
    pub async fn trash(&self, space: &str, after: Option<FileId>) -> Result<Trash, ClientError> {
        self.get(&Target::new(below(space, "/trash")).with("after", after).path).await
    }

    /// Takes something back out of the trash.
    pub async fn restore_file(
        &self,
        space: &str,
        what: &Restore,
        id: Option<RequestId>,
    ) -> Result<Moved, ClientError> {
        self.post(&below(space, "/trash/restore"), what, id).await
    }

    /// Empties the trash, of all or of one thing.
    pub async fn empty_trash(
        &self,
        space: &str,
        file: Option<FileId>,
        id: Option<RequestId>,
    ) -> Result<(), ClientError> {
        self.post(&below(space, "/trash/empty"), &EmptyTrash { id: file }, id).await
    }

    /// All versions of a file, the newest first.
    pub async fn file_versions(&self, space: &str, path: &FilePath) -> Result<Versions, ClientError> {
        self.get(&Target::new(below(space, "/versions")).with("path", Some(path)).path).await
    }

    /// Makes an older version of a file its newest again.
    pub async fn revert_file(
        &self,
        space: &str,
        what: &Revert,
        id: Option<RequestId>,
    ) -> Result<Entry, ClientError> {
        self.post(&below(space, "/revert"), what, id).await
    }

    /// Claims the blobs of files that the caller may read: for 48 hours it may give them to files and jobs.
    pub async fn claim_files(
        &self,
        space: &str,
        paths: Vec<FilePath>,
        id: Option<RequestId>,
    ) -> Result<ClaimedFiles, ClientError> {
        self.post(&below(space, "/claim"), &FilePaths { paths }, id).await
    }

    /// All links of a space.
    pub async fn links(&self, space: &str) -> Result<Links, ClientError> {
        let mut all = Links { links: Vec::new(), next: None };
        loop {
            let target = Target::new(below(space, "/links")).with("after", all.next);
            let page: Links = self.get(&target.path).await?;
            all.links.extend(page.links);
            all.next = page.next;
            if all.next.is_none() {
                return Ok(all);
            }
        }
    }

    /// Makes a link. The same request id answers with the same secret again.
    pub async fn add_link(
        &self,
        space: &str,
        new: &NewLink,
        id: Option<RequestId>,
    ) -> Result<MadeLink, ClientError> {
        self.post(&below(space, "/links"), new, id).await
    }

    /// Ends a link.
    pub async fn remove_link(
        &self,
        space: &str,
        link: LinkId,
        id: Option<RequestId>,
    ) -> Result<(), ClientError> {
        self.delete(&below(space, &format!("/links/{link}")), id).await
    }

    /// Stores many small blobs at the price of one: at most [`MANY_BLOBS`], which with [`FRAME_LENGTH_BYTES`] for each
    /// have at most [`MANY_BYTES`].
    pub async fn put_blobs(&self, blobs: &[Bytes]) -> Result<Vec<StoredBlob>, ClientError> {
        let (source, progress): (_, Progress) = (Source::Bytes(frame(blobs)), std::sync::Arc::new(|_| {}));
        let call = Call { upload: Some((&source, progress)), ..Call::new(Method::POST, "/v1/blobs/many") };
        let stored: StoredBlobs = self.parse(&call, self.collect(&call, JSON_BYTES_MAX).await?)?;
        if stored.blobs.len() != blobs.len() {
            return Err(self.strange(&call, format!("{} blobs of {}", stored.blobs.len(), blobs.len())));
        }
        for (blob, stored) in blobs.iter().zip(&stored.blobs) {
            let (expected, seen) = (Hash::of(blob), stored.hash);
            if expected != seen {
                return Err(ClientError::Damaged { expected, seen });
            }
        }
        Ok(stored.blobs)
    }

    /// Some bytes of a blob that the caller holds; see [`HubClient::read_file`].
    pub async fn read_blob(&self, hash: Hash, range: Option<Range<u64>>) -> Result<Download, ClientError> {
        self.stream_range(&format!("/v1/blobs/{hash}"), range).await
    }

    /// How much the hub's store holds; operators only.
    pub async fn store_stats(&self) -> Result<StoreStats, ClientError> {
        self.get("/v1/store").await
    }

    /// A page of what spaces need of the hub's store, behind the space `after`; operators only. Counted anew without `count`;
    /// ask again with that of the answer while that has no spaces yet, and for the next page.
    pub async fn store_spaces(
        &self,
        count: Option<u64>,
        after: Option<SpaceId>,
    ) -> Result<StoreSpaces, ClientError> {
        let target = Target::new("/v1/store/spaces".to_owned()).with("count", count);
        self.get(&target.with("after", after).path).await
    }

    /// A page of who read and listed what, and who was refused, the newest first: in a space that the caller manages, or
    /// everywhere for operators. `before` is the `next` of the page before; a page can be empty and still lead on.
    pub async fn accesses(
        &self,
        space: Option<&str>,
        before: Option<u64>,
        limit: usize,
    ) -> Result<AccessEntries, ClientError> {
        let target = Target::new("/v1/store/access".to_owned()).with("space", space);
        self.get(&target.with("before", before).with("limit", Some(limit)).path).await
    }

    /// Removes from the hub's store what nobody needs any more; operators only. Others can go on meanwhile.
    pub async fn collect_store(&self) -> Result<Collected, ClientError> {
        loop {
            let collection: Collection = self.post("/v1/store/collect", &(), None).await?;
            if let Some(done) = collection.done {
                return Ok(done);
            }
        }
    }

    /// Bytes at `path`, or a part of them.
    async fn stream_range(&self, path: &str, range: Option<Range<u64>>) -> Result<Download, ClientError> {
        let body = match &range {
            Some(range) if range.is_empty() => None,
            _ => Some(self.open(&Call { range, ..Call::new(Method::GET, path) }).await?),
        };
        Ok(Download { client: self.clone(), body })
    }
}
