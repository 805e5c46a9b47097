//! Listings, page by page, in the order of the keys' bytes.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pumasi_core::{Access, FileKind, FileView, Files};
use pumasi_types::{AccountId, FilePath};
use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result, s3_error};

use crate::about;
use crate::backend::Backend;
use crate::buckets::{initiator, owner};
use crate::conditions::{strong, timestamp};
use crate::gateway::Gateway;
use crate::key::{encoded, key_of};
use crate::objects::EMPTY;

/// Keys and prefixes in one answer.
const KEYS: usize = 1_000;
/// Pieces of a listing that are looked at for one answer, which only an unusual delimiter takes.
const LOOKS: usize = 64;

/// What is to be listed.
struct Wanted {
    bucket: String,
    prefix: String,
    delimiter: Option<String>,
    after: Option<String>,
    most: usize,
}

/// What is there of it.
#[derive(Default)]
struct Listing {
    objects: Vec<FileView>,
    prefixes: Vec<String>,
    /// The last key or prefix.
    last: Option<String>,
    /// The same, if there is more.
    next: Option<String>,
}

impl Listing {
    fn len(&self) -> usize {
        self.objects.len() + self.prefixes.len()
    }

    /// Enters what was found, unless it lies below a prefix that is there already. Whether there was room.
    fn enter(&mut self, wanted: &Wanted, key: &str, view: FileView) -> bool {
        let folded = folded(wanted, key, &view);
        if folded.is_some() && folded == self.prefixes.last().map(String::as_str) {
            return true;
        }
        if self.len() >= wanted.most {
            return false;
        }
        self.last = Some(folded.unwrap_or(key).to_owned());
        match folded {
            Some(prefix) => self.prefixes.push(prefix.to_owned()),
            None => self.objects.push(view),
        }
        true
    }

    /// There is more than this.
    fn cut(mut self) -> Listing {
        self.next = self.last.take();
        self
    }
}

impl Wanted {
    /// Whether the state folds what is below a prefix.
    fn is_folded_below(&self) -> bool {
        self.delimiter.as_deref() == Some("/")
    }

    /// Where to go on behind a key or prefix that was told: what lies below a prefix is told with it.
    fn behind(&self, told: String) -> String {
        let delimiter = self.delimiter.as_deref().filter(|_| !self.is_folded_below());
        let rest = told.strip_prefix(self.prefix.as_str());
        let end =
            delimiter.zip(rest).and_then(|(delimiter, rest)| Some(rest.find(delimiter)? + delimiter.len()));
        match end {
            Some(end) => behind_all(&told[..self.prefix.len() + end]),
            None => told,
        }
    }
}

/// The common prefix below which a key is folded.
fn folded<'a>(wanted: &Wanted, key: &'a str, view: &FileView) -> Option<&'a str> {
    let delimiter = wanted.delimiter.as_deref()?;
    // A folder comes folded already.
    if let (FileKind::Folder(_), "/", false) = (&view.kind, delimiter, key.len() == wanted.prefix.len()) {
        return Some(key);
    }
    folded_at(key, &wanted.prefix, delimiter)
}

/// The part of a key up to the first delimiter behind a prefix.
pub(crate) fn folded_at<'a>(key: &'a str, prefix: &str, delimiter: &str) -> Option<&'a str> {
    let end = prefix.len() + key.get(prefix.len()..)?.find(delimiter)? + delimiter.len();
    key.get(..end)
}

/// What lies behind all keys that begin with a prefix: it is longer than a key can be, of the last letter there is.
pub(crate) fn behind_all(prefix: &str) -> String {
    let last = char::MAX;
    format!("{prefix}{}", last.to_string().repeat(FilePath::BYTES / last.len_utf8() + 1))
}

/// How many are wanted.
pub(crate) fn most(asked: Option<i32>) -> S3Result<usize> {
    match asked.map(usize::try_from) {
        None => Ok(KEYS),
        Some(Ok(most)) => Ok(most.min(KEYS)),
        Some(Err(_)) => Err(s3_error!(InvalidArgument, "max-keys is less than nothing")),
    }
}

/// Texts of an answer, encoded if that was asked for.
#[derive(Clone, Copy)]
pub(crate) struct Encoding(bool);

impl Encoding {
    pub(crate) fn of(asked: Option<&EncodingType>) -> S3Result<Encoding> {
        match asked.map(EncodingType::as_str) {
            None => Ok(Encoding(false)),
            Some(EncodingType::URL) => Ok(Encoding(true)),
            Some(_) => Err(s3_error!(InvalidArgument, "encoding-type can be url")),
        }
    }

    pub(crate) fn text(self, text: String) -> String {
        if self.0 { encoded(&text) } else { text }
    }

    pub(crate) fn prefixes(self, prefixes: Vec<String>) -> Option<Vec<CommonPrefix>> {
        let one = |prefix| CommonPrefix { prefix: Some(self.text(prefix)) };
        Some(prefixes.into_iter().map(one).collect())
    }

    fn objects(self, views: Vec<FileView>, owner: Option<Owner>) -> Option<Vec<Object>> {
        let object = |view: FileView| {
            let (tag, size) = match &view.kind {
                FileKind::File(version) => (about::tag_of(version), version.size.0),
                FileKind::Folder(_) => (EMPTY.to_owned(), 0),
            };
            Object {
                e_tag: strong(tag),
                key: Some(self.text(key_of(&view))),
                last_modified: Some(timestamp(view.changed)),
                owner: owner.clone(),
                size: i64::try_from(size).ok(),
                storage_class: Some(ObjectStorageClass::from_static(ObjectStorageClass::STANDARD)),
                ..Object::default()
            }
        };
        Some(views.into_iter().map(object).collect())
    }
}

impl<B: Backend> Gateway<B> {
    async fn list(&self, caller: AccountId, wanted: &Wanted) -> S3Result<Listing> {
        let is_folded = wanted.is_folded_below();
        let (mut listing, mut after) = (Listing::default(), wanted.after.clone());
        for _ in 0..LOOKS {
            let (prefix, from) = (wanted.prefix.clone(), after.take().map(|told| wanted.behind(told)));
            let limit = (wanted.most + 1 - listing.len()).min(KEYS);
            let walk =
                move |files: &Files, space| files.walk(space, &prefix, from.as_deref(), is_folded, limit);
            let page = self.look_in(caller, &wanted.bucket, Access::Read, walk).await?;
            for view in page.items {
                let key = key_of(&view);
                if !listing.enter(wanted, &key, view) {
                    return Ok(listing.cut());
                }
                after = Some(key);
            }
            if !page.more || after.is_none() {
                return Ok(listing);
            }
        }
        Ok(listing.cut())
    }

    pub(crate) async fn list_objects(
        &self,
        caller: AccountId,
        request: S3Request<ListObjectsInput>,
    ) -> S3Result<S3Response<ListObjectsOutput>> {
        let input = request.input;
        let encoding = Encoding::of(input.encoding_type.as_ref())?;
        let wanted = Wanted {
            bucket: input.bucket.clone(),
            prefix: input.prefix.clone().unwrap_or_default(),
            delimiter: input.delimiter.clone().filter(|text| !text.is_empty()),
            after: input.marker.clone().filter(|text| !text.is_empty()),
            most: most(input.max_keys)?,
        };
        let listing = self.list(caller, &wanted).await?;
        Ok(S3Response::new(ListObjectsOutput {
            name: Some(input.bucket),
            prefix: Some(encoding.text(wanted.prefix)),
            marker: Some(encoding.text(input.marker.unwrap_or_default())),
            max_keys: Some(wanted.most as i32),
            is_truncated: Some(listing.next.is_some()),
            contents: encoding.objects(listing.objects, Some(owner(caller))),
            common_prefixes: encoding.prefixes(listing.prefixes),
            delimiter: wanted.delimiter.map(|text| encoding.text(text)),
            next_marker: listing.next.map(|text| encoding.text(text)),
            encoding_type: input.encoding_type,
            ..ListObjectsOutput::default()
        }))
    }

    pub(crate) async fn list_objects_v2(
        &self,
        caller: AccountId,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = request.input;
        let encoding = Encoding::of(input.encoding_type.as_ref())?;
        let from = match &input.continuation_token {
            None => input.start_after.clone().filter(|text| !text.is_empty()),
            Some(token) => Some(untoken(token)?),
        };
        let wanted = Wanted {
            bucket: input.bucket.clone(),
            prefix: input.prefix.clone().unwrap_or_default(),
            delimiter: input.delimiter.clone().filter(|text| !text.is_empty()),
            after: from,
            most: most(input.max_keys)?,
        };
        let listing = self.list(caller, &wanted).await?;
        let owner = (input.fetch_owner == Some(true)).then(|| owner(caller));
        Ok(S3Response::new(ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: Some(encoding.text(wanted.prefix)),
            max_keys: Some(wanted.most as i32),
            key_count: Some(listing.len() as i32),
            continuation_token: input.continuation_token,
            is_truncated: Some(listing.next.is_some()),
            next_continuation_token: listing.next.as_deref().map(token),
            contents: encoding.objects(listing.objects, owner),
            common_prefixes: encoding.prefixes(listing.prefixes),
            delimiter: wanted.delimiter.map(|text| encoding.text(text)),
            encoding_type: input.encoding_type,
            start_after: input.start_after.map(|text| encoding.text(text)),
            ..ListObjectsV2Output::default()
        }))
    }

    pub(crate) async fn list_multipart_uploads(
        &self,
        caller: AccountId,
        request: S3Request<ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
        let input = request.input;
        about::refuse(&[(
            "delimiters of uploads",
            input.delimiter.as_ref().is_some_and(|text| !text.is_empty()),
        )])?;
        let encoding = Encoding::of(input.encoding_type.as_ref())?;
        let most = most(input.max_uploads)?;
        let prefix = input.prefix.clone().unwrap_or_default();
        let marker = input.key_marker.clone().unwrap_or_default();
        let id_marker: Option<u64> = input.upload_id_marker.as_deref().and_then(|text| text.parse().ok());
        let look = move |files: &Files, space| {
            let uploads = files.uploads(space).into_iter();
            let behind = |path: &str, id: u64| match (path.cmp(&marker), id_marker) {
                (std::cmp::Ordering::Equal, Some(last)) => id > last,
                (order, _) => order.is_gt(),
            };
            let wanted = uploads.filter(|(id, upload)| {
                upload.path.as_str().starts_with(&prefix) && behind(upload.path.as_str(), id.0)
            });
            let told = wanted.map(|(id, upload)| (upload.path.to_string(), id, upload.begun, upload.by));
            told.take(most + 1).collect::<Vec<_>>()
        };
        let mut uploads = self.look_in(caller, &input.bucket, Access::Read, look).await?;
        // Nobody can go on behind nothing.
        let more = uploads.len() > most && most > 0;
        uploads.truncate(most);
        let last = uploads.last().filter(|_| more).map(|(path, id, ..)| (path.clone(), id.to_string()));
        let (next_key_marker, next_upload_id_marker) = last.unzip();
        let one = |(path, id, begun, by): (String, pumasi_types::UploadId, pumasi_types::Time, AccountId)| {
            MultipartUpload {
                initiated: Some(timestamp(begun)),
                initiator: Some(initiator(by)),
                key: Some(encoding.text(path)),
                owner: Some(owner(by)),
                storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
                upload_id: Some(id.to_string()),
                ..MultipartUpload::default()
            }
        };
        Ok(S3Response::new(ListMultipartUploadsOutput {
            bucket: Some(input.bucket),
            encoding_type: input.encoding_type,
            is_truncated: Some(more),
            key_marker: input.key_marker.map(|text| encoding.text(text)),
            max_uploads: Some(most as i32),
            next_key_marker: next_key_marker.map(|text| encoding.text(text)),
            next_upload_id_marker,
            prefix: input.prefix.map(|text| encoding.text(text)),
            upload_id_marker: input.upload_id_marker,
            uploads: Some(uploads.into_iter().map(one).collect()),
            ..ListMultipartUploadsOutput::default()
        }))
    }
}

/// Where a listing goes on, in a form that nobody takes for a key.
fn token(key: &str) -> String {
    URL_SAFE_NO_PAD.encode(key)
}

fn untoken(token: &str) -> S3Result<String> {
    let bytes = URL_SAFE_NO_PAD.decode(token).ok();
    let key = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    key.ok_or_else(|| s3_error!(InvalidArgument, "this continuation token was not made here"))
}
