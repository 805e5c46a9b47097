//! All blobs that files, uploads, downloads and claims refer to, piece by piece; and which of them lie in which space.
//!
//! What refers to a blob changes while the pieces are taken: a claim becomes a file, a file is copied, moved over another,
//! removed, and claimed by its reader. Files are taken in the order of their ids, so a new file that is a copy comes behind
//! its original. A file that is given a content of one with a higher id may have been passed, and that one may be gone before
//! it is reached: whoever moved or copied it gets a claim of the content then. Everything else that comes to refer to a blob
//! has a claim of it, and claims come last: they count for [`Bounds::CLAIM_ROOT`](crate::Bounds) longer than anybody can use
//! them, so that what was made of one shortly before it ended is not missed either.

use pumasi_types::{AccountId, DownloadId, FileId, Hash, SpaceId, UploadId};

use super::Files;
use super::tree::What;

/// Where a walk over the roots is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RootCursor(At);

/// Behind what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    File(FileId),
    Upload(UploadId),
    /// A part of an upload.
    Part(UploadId, u16),
    Download(DownloadId),
    /// None: before the first.
    Claim(Option<(AccountId, Hash)>),
}

impl Default for At {
    fn default() -> At {
        At::File(FileId(0))
    }
}

/// A piece of the roots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roots {
    /// Blobs that are referred to; some come several times.
    pub blobs: Vec<Hash>,
    /// Where to go on; `None`: these were the last.
    pub next: Option<RootCursor>,
}

/// A piece of what lies in spaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// Blobs with the spaces they lie in, as often as they do: as versions, in the trash, as parts of uploads.
    pub blobs: Vec<(SpaceId, Hash)>,
    /// Where to go on; `None`: these were the last.
    pub next: Option<RootCursor>,
}

impl Files {
    /// Blobs that something refers to, piece by piece: pass the last one's `next` as `from`. Nothing that is referred
    /// to during the whole walk is left out, whatever changes between the pieces, as long as they take less than
    /// [`Bounds::CLAIM_ROOT`](crate::Bounds::CLAIM_ROOT) of log time. Some `limit` things are looked at.
    pub fn roots(&self, from: RootCursor, limit: usize) -> Roots {
        let (mut blobs, mut left) = (Vec::new(), limit.max(1));
        let mut at = Some(from.0);
        while left > 0
            && let Some(behind) = at
        {
            let mut found = |_: SpaceId, blob: Hash| blobs.push(blob);
            at = match behind {
                At::File(last) => Some(self.roots_in_files(last, &mut left, &mut found)),
                At::Upload(last) => Some(self.roots_in_uploads(last, None, &mut left, &mut found)),
                At::Part(last, part) => Some(self.roots_in_uploads(last, Some(part), &mut left, &mut found)),
                At::Download(last) => Some(self.roots_in_downloads(last, &mut left, &mut blobs)),
                At::Claim(last) => self.roots_in_claims(last, &mut left, &mut blobs),
            };
        }
        Roots { blobs, next: at.map(RootCursor) }
    }

    /// What lies in spaces, piece by piece as [`Files::roots`]. What is put, moved, copied or removed during the walk may be
    /// told or not. Some `limit` things are looked at.
    pub fn contents(&self, from: RootCursor, limit: usize) -> Contents {
        let (mut blobs, mut left) = (Vec::new(), limit.max(1));
        let mut found = |space: SpaceId, blob: Hash| {
            // What is erased little by little may be of a space that is gone.
            if self.spaces.contains_key(&space) {
                blobs.push((space, blob));
            }
        };
        let mut at = Some(from.0);
        while left > 0
            && let Some(behind) = at
        {
            at = match behind {
                At::File(last) => Some(self.roots_in_files(last, &mut left, &mut found)),
                At::Upload(last) => Some(self.roots_in_uploads(last, None, &mut left, &mut found)),
                At::Part(last, part) => Some(self.roots_in_uploads(last, Some(part), &mut left, &mut found)),
                At::Download(_) | At::Claim(_) => None,
            };
        }
        Contents { blobs, next: at.map(RootCursor) }
    }

    fn roots_in_files(&self, last: FileId, left: &mut usize, found: &mut impl FnMut(SpaceId, Hash)) -> At {
        let mut last = last.0;
        while let Some(id) = self.tree.nodes().next_after(last) {
            if *left == 0 {
                return At::File(FileId(last));
            }
            if let Some(node) = self.tree.node(FileId(id))
                && let What::File(file) = &node.what
            {
                file.contents().for_each(|content| found(node.space, content.blob));
                *left = left.saturating_sub(file.older.len());
            }
            *left = left.saturating_sub(1);
            last = id;
        }
        At::Upload(UploadId(0))
    }

    fn roots_in_uploads(
        &self,
        last: UploadId,
        part: Option<u16>,
        left: &mut usize,
        found: &mut impl FnMut(SpaceId, Hash),
    ) -> At {
        let first = if part.is_some() { last } else { UploadId(last.0.saturating_add(1)) };
        for (id, upload) in self.uploads.from(first) {
            let from = part.filter(|_| id == last).map_or(0, |part| part.saturating_add(1));
            for (number, part) in upload.parts.range(from..) {
                if *left == 0 {
                    return At::Part(id, number - 1);
                }
                *left -= 1;
                found(upload.space, part.blob);
            }
            if *left == 0 {
                return At::Upload(id);
            }
            *left -= 1;
        }
        At::Download(DownloadId(0))
    }

    fn roots_in_downloads(&self, last: DownloadId, left: &mut usize, blobs: &mut Vec<Hash>) -> At {
        let mut last = last;
        for (id, torrent) in self.downloads.torrents(last) {
            if *left == 0 {
                return At::Download(last);
            }
            *left -= 1;
            blobs.extend(torrent);
            last = id;
        }
        At::Claim(None)
    }

    fn roots_in_claims(
        &self,
        last: Option<(AccountId, Hash)>,
        left: &mut usize,
        blobs: &mut Vec<Hash>,
    ) -> Option<At> {
        let mut last = last;
        for key in self.claims.behind(last) {
            if *left == 0 {
                return Some(At::Claim(last));
            }
            *left -= 1;
            blobs.push(key.1);
            last = Some(key);
        }
        None
    }
}
