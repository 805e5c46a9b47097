//! What an object says of itself: its headers, metadata, tags and entity tag as labels of a file.

use std::collections::BTreeMap;
use std::time::SystemTime;

use pumasi_core::{About, Version};
use pumasi_types::Time;
use s3s::dto::{Checksum, Metadata, Timestamp, TimestampFormat};
use s3s::{S3Result, s3_error};

use crate::digest::{self, Seen};
use crate::error::not_offered;
use crate::key::decoded;

/// The label of an object's entity tag.
const TAG: &str = "etag";
/// The label of the upload that an object came by, so that it is finished once however often that is asked.
const UPLOAD: &str = "s3-upload";
/// The label of the lengths of the parts that an object came in, in bytes: `5242880*3,77`.
const PARTS: &str = "s3-parts";
/// How long that may be, so that a file has room for what else it says of itself; odd parts are not remembered.
const PARTS_BYTES: usize = 1_000;
/// Labels of metadata begin with this, as their headers do.
const METADATA: &str = "x-amz-meta-";
/// Labels of tags begin with this.
const TAGS: &str = "s3-tag-";
/// The metadata in which clients keep when a file was changed, in seconds.
const MTIME: &str = "mtime";
/// Bytes of metadata, as in S3.
const METADATA_BYTES: usize = 2048;
/// Tags of one object, as in S3.
const TAGS_MOST: usize = 10;

/// What a request says of an object.
#[derive(Default)]
pub(crate) struct Described {
    pub(crate) cache_control: Option<String>,
    pub(crate) content_disposition: Option<String>,
    pub(crate) content_encoding: Option<String>,
    pub(crate) content_language: Option<String>,
    pub(crate) content_type: Option<String>,
    pub(crate) expires: Option<Timestamp>,
    pub(crate) metadata: Option<Metadata>,
    pub(crate) tagging: Option<String>,
}

/// Takes what a request says of an object, and refuses what is not offered.
macro_rules! described {
    ($input:ident) => {{
        $crate::about::refuse(&[
            ("server-side encryption", $input.server_side_encryption.is_some()),
            (
                "keys of customers",
                $input.sse_customer_key.is_some() || $input.sse_customer_algorithm.is_some(),
            ),
            (
                "object lock",
                $input.object_lock_mode.is_some() || $input.object_lock_legal_hold_status.is_some(),
            ),
            ("websites", $input.website_redirect_location.is_some()),
        ])?;
        $crate::buckets::check_acl(
            $input.acl.as_ref().map(|acl| acl.as_str()),
            $input.grant_full_control.is_some()
                || $input.grant_read.is_some()
                || $input.grant_read_acp.is_some()
                || $input.grant_write_acp.is_some(),
        )?;
        $crate::about::check_class($input.storage_class.as_ref().map(|class| class.as_str()))?;
        $crate::about::Described {
            cache_control: $input.cache_control.take(),
            content_disposition: $input.content_disposition.take(),
            content_encoding: $input.content_encoding.take(),
            content_language: $input.content_language.take(),
            content_type: $input.content_type.take(),
            expires: $input.expires.take(),
            metadata: $input.metadata.take(),
            tagging: $input.tagging.take(),
        }
    }};
}
pub(crate) use described;

/// Refuses the first thing that is wanted.
pub(crate) fn refuse(things: &[(&str, bool)]) -> S3Result<()> {
    things.iter().find(|(_, wanted)| *wanted).map_or(Ok(()), |(what, _)| Err(not_offered(what)))
}

/// There is one storage class.
pub(crate) fn check_class(class: Option<&str>) -> S3Result<()> {
    match class {
        None | Some("STANDARD") => Ok(()),
        Some(other) => Err(s3_error!(InvalidStorageClass, "'{other}': all objects are STANDARD here")),
    }
}

impl Described {
    /// As the labels of a file.
    ///
    /// # Errors
    /// `MetadataTooLarge`, `InvalidTag`.
    pub(crate) fn into_about(self) -> S3Result<About> {
        let mut labels = BTreeMap::new();
        let mut set = |name: &str, value: Option<String>| {
            value.filter(|value| !value.is_empty()).map(|value| labels.insert(name.to_owned(), value));
        };
        set("cache-control", self.cache_control);
        set("content-disposition", self.content_disposition);
        set("content-encoding", self.content_encoding.map(|text| without_framing(&text)));
        set("content-language", self.content_language);
        set("content-type", self.content_type);
        set("expires", self.expires.and_then(|time| http_date(&time)));
        let metadata = self.metadata.unwrap_or_default();
        let bytes: usize = metadata.iter().map(|(name, value)| name.len() + value.len()).sum();
        if bytes > METADATA_BYTES {
            return Err(s3_error!(MetadataTooLarge, "metadata can have {METADATA_BYTES} bytes"));
        }
        let modified = metadata.get(MTIME).and_then(|text| seconds(text));
        for (name, value) in metadata {
            labels.insert(format!("{METADATA}{}", name.to_ascii_lowercase()), value);
        }
        let mut about = About { modified, executable: false, labels };
        if let Some(tagging) = self.tagging {
            set_tags(&mut about, tags_of_query(&tagging)?)?;
        }
        Ok(about)
    }
}

/// `Content-Encoding` without what concerned the way only.
fn without_framing(text: &str) -> String {
    let parts = text.split(',').map(str::trim).filter(|part| !part.eq_ignore_ascii_case("aws-chunked"));
    parts.collect::<Vec<_>>().join(",")
}

fn http_date(time: &Timestamp) -> Option<String> {
    let mut text = Vec::new();
    time.format(TimestampFormat::HttpDate, &mut text).ok()?;
    String::from_utf8(text).ok()
}

/// A time in seconds with any digits behind the point.
fn seconds(text: &str) -> Option<Time> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let part: String = part.chars().chain("000000000".chars()).take(9).collect();
    let nanos = whole.parse::<u64>().ok()?.checked_mul(1_000_000_000)?;
    nanos.checked_add(part.parse().ok()?).map(Time)
}

/// Notes what the bytes of a new object are.
pub(crate) fn set_content(about: &mut About, tag: String, seen: &[(&'static str, String)]) {
    about.labels.retain(|name, _| name != UPLOAD && name != PARTS && !digest::is_sum(name));
    about.labels.insert(TAG.to_owned(), tag);
    about.labels.extend(seen.iter().map(|(name, sum)| ((*name).to_owned(), sum.clone())));
}

/// The same for bytes that came at once.
pub(crate) fn set_seen(about: &mut About, seen: &Seen) {
    set_content(about, digest::hex(&seen.md5), &seen.sums);
}

/// What a copy says of itself when all but its bytes is new.
pub(crate) fn with_content_of(mut about: About, original: &About) -> About {
    let is_content = |name: &str| name == TAG || name == PARTS || digest::is_sum(name);
    let labels = original.labels.iter().filter(|(name, _)| is_content(name));
    about.labels.extend(labels.map(|(name, value)| (name.clone(), value.clone())));
    about.executable = original.executable;
    about
}

/// Notes by which upload an object came.
pub(crate) fn set_upload(about: &mut About, upload: &str) {
    about.labels.insert(UPLOAD.to_owned(), upload.to_owned());
}

/// Notes in which parts an object came.
pub(crate) fn set_parts(about: &mut About, lengths: impl Iterator<Item = u64>) {
    let mut runs: Vec<(u64, u32)> = Vec::new();
    for length in lengths {
        match runs.last_mut() {
            Some((last, count)) if *last == length => *count += 1,
            _ => runs.push((length, 1)),
        }
    }
    let run = |(length, count): &(u64, u32)| match count {
        1 => length.to_string(),
        count => format!("{length}*{count}"),
    };
    let text = runs.iter().map(run).collect::<Vec<_>>().join(",");
    if text.len() <= PARTS_BYTES {
        about.labels.insert(PARTS.to_owned(), text);
    }
}

/// The lengths of the parts that an object came in, one if it came at once; none when they are not remembered.
pub(crate) fn parts_of(version: &Version) -> Option<Vec<u64>> {
    let Some(text) = version.about.labels.get(PARTS) else {
        let came_in_parts = version.about.labels.get(TAG).is_some_and(|tag| tag.contains('-'));
        return (!came_in_parts).then(|| vec![version.size.0]);
    };
    let mut lengths = Vec::new();
    for run in text.split(',') {
        let (length, count) = run.split_once('*').unwrap_or((run, "1"));
        // Others can write labels, too.
        let count = lengths.len() + usize::from(count.parse::<u16>().ok()?);
        if count > crate::uploads::PARTS {
            return None;
        }
        lengths.resize(count, length.parse().ok()?);
    }
    (lengths.iter().try_fold(0_u64, |sum, length| sum.checked_add(*length)) == Some(version.size.0))
        .then_some(lengths)
}

/// The same of an object that came in parts, if it remembers them.
pub(crate) fn remembered_parts(version: &Version) -> Option<Vec<u64>> {
    version.about.labels.contains_key(PARTS).then(|| parts_of(version)).flatten()
}

/// Whether an object came by an upload.
pub(crate) fn is_by_upload(version: &Version, upload: &str) -> bool {
    version.about.labels.get(UPLOAD).is_some_and(|by| by == upload)
}

/// An object's entity tag, without quotes: its MD5, or for what did not come by S3 the name of its bytes, with a `-` so that
/// nobody takes it for an MD5.
pub(crate) fn tag_of(version: &Version) -> String {
    version.about.labels.get(TAG).cloned().unwrap_or_else(|| format!("{}-b3", version.blob))
}

/// An object's tags.
pub(crate) fn tags_of(about: &About) -> impl Iterator<Item = (&str, &str)> {
    let labels = about.labels.iter();
    labels.filter_map(|(name, value)| Some((name.strip_prefix(TAGS)?, value.as_str())))
}

/// Gives an object other tags.
///
/// # Errors
/// `InvalidTag`.
pub(crate) fn set_tags(about: &mut About, tags: Vec<(String, String)>) -> S3Result<()> {
    if tags.len() > TAGS_MOST {
        return Err(s3_error!(InvalidTag, "an object can have {TAGS_MOST} tags"));
    }
    about.labels.retain(|name, _| !name.starts_with(TAGS));
    for (name, value) in tags {
        if name.is_empty() || name.chars().count() > 128 || value.chars().count() > 256 {
            return Err(s3_error!(InvalidTag, "a tag's name has 1 to 128 characters, its value up to 256"));
        }
        if about.labels.insert(format!("{TAGS}{name}"), value).is_some() {
            return Err(s3_error!(InvalidTag, "the tag '{name}' comes twice"));
        }
    }
    Ok(())
}

/// Tags as `x-amz-tagging` writes them.
fn tags_of_query(text: &str) -> S3Result<Vec<(String, String)>> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    let tags = pairs.map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Some((decoded(name)?, decoded(value)?))
    });
    tags.collect::<Option<_>>().ok_or_else(|| s3_error!(InvalidTag, "tags are written like a query: a=1&b=2"))
}

/// What is told of an object.
pub(crate) struct Told {
    pub(crate) described: Described,
    pub(crate) sums: Checksum,
}

/// What a file's labels tell of an object.
pub(crate) fn told(about: &About) -> Told {
    let label = |name: &str| about.labels.get(name).cloned();
    let metadata = about.labels.iter();
    let metadata =
        metadata.filter_map(|(name, value)| Some((name.strip_prefix(METADATA)?.to_owned(), value.clone())));
    let mut metadata: Metadata = metadata.collect();
    // What other programs know of the file, where clients of S3 look for it.
    if let (false, Some(Time(nanos))) = (metadata.contains_key(MTIME), about.modified) {
        let (seconds, part) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
        metadata.insert(MTIME.to_owned(), format!("{seconds}.{part:09}"));
    }
    let expires = label("expires").and_then(|text| Timestamp::parse(TimestampFormat::HttpDate, &text).ok());
    let described = Described {
        cache_control: label("cache-control"),
        content_disposition: label("content-disposition"),
        content_encoding: label("content-encoding"),
        content_language: label("content-language"),
        content_type: Some(label("content-type").unwrap_or_else(|| "binary/octet-stream".to_owned())),
        expires,
        metadata: Some(metadata),
        tagging: None,
    };
    let labels = about.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    Told { described, sums: digest::sums_of(labels) }
}

/// Now, for answers to what was just done.
pub(crate) fn now() -> Timestamp {
    SystemTime::now().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_described_is_told_again() {
        let metadata = Metadata::from([("Mtime".to_owned(), "1700000000.25".to_owned())]);
        let lower = Metadata::from([("mtime".to_owned(), "1700000000.25".to_owned())]);
        let described = Described {
            content_type: Some("text/plain".to_owned()),
            content_encoding: Some("aws-chunked, gzip".to_owned()),
            expires: Timestamp::parse(TimestampFormat::HttpDate, "Tue, 14 Nov 2023 22:13:20 GMT").ok(),
            metadata: Some(lower.clone()),
            tagging: Some("a=1&b+c=%20".to_owned()),
            ..Described::default()
        };
        let about = described.into_about().expect("all of it is offered");
        assert_eq!(about.modified, Some(Time(1_700_000_000_250_000_000)));
        assert_eq!(tags_of(&about).collect::<Vec<_>>(), [("a", "1"), ("b c", " ")]);
        let told = told(&about);
        assert_eq!(told.described.content_type.as_deref(), Some("text/plain"));
        assert_eq!(told.described.content_encoding.as_deref(), Some("gzip"));
        assert_eq!(
            told.described.expires.as_ref().and_then(http_date).as_deref(),
            Some("Tue, 14 Nov 2023 22:13:20 GMT")
        );
        assert_eq!(told.described.metadata, Some(lower));
        let about = Described { metadata: Some(metadata), ..Described::default() }.into_about();
        assert!(about.expect("names of any case").labels.contains_key("x-amz-meta-mtime"));
    }

    #[test]
    fn tags_are_bounded() {
        let mut about = About::default();
        let tags = |count: usize| (0..count).map(|n| (n.to_string(), String::new())).collect::<Vec<_>>();
        assert!(set_tags(&mut about, tags(10)).is_ok() && set_tags(&mut about, tags(11)).is_err());
        let twice = vec![("a".to_owned(), "1".to_owned()), ("a".to_owned(), "2".to_owned())];
        assert!(set_tags(&mut about, twice).is_err());
        for bad in [("", "x".to_owned()), ("a", "x".repeat(257))] {
            assert!(set_tags(&mut about, vec![(bad.0.to_owned(), bad.1)]).is_err());
        }
    }

    #[test]
    fn times_of_clients_are_read() {
        assert_eq!(seconds("1.5"), Some(Time(1_500_000_000)));
        assert_eq!(seconds("1700000000"), Some(Time(1_700_000_000_000_000_000)));
        assert_eq!(seconds("1.1234567891"), Some(Time(1_123_456_789)));
        assert_eq!((seconds("-1"), seconds("x"), seconds("99999999999999")), (None, None, None));
    }
}
