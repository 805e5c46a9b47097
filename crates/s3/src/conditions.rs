//! Conditions on what is there (RFC 9110, 13), as S3 knows them.

use std::time::{Duration, SystemTime};

use pumasi_core::{Condition, Version};
use pumasi_types::Time;
use s3s::dto::{ETag, ETagCondition, Timestamp};
use s3s::{S3Error, S3Result, s3_error};

use crate::about;

/// What a reader asks of an object.
#[derive(Default)]
pub(crate) struct Conditions {
    pub(crate) matches: Option<ETagCondition>,
    pub(crate) differs: Option<ETagCondition>,
    pub(crate) changed_since: Option<Timestamp>,
    pub(crate) unchanged_since: Option<Timestamp>,
}

/// The four conditions of a request.
macro_rules! conditions {
    ($input:ident) => {
        $crate::conditions::Conditions {
            matches: $input.if_match.take(),
            differs: $input.if_none_match.take(),
            changed_since: $input.if_modified_since.take(),
            unchanged_since: $input.if_unmodified_since.take(),
        }
    };
}
pub(crate) use conditions;

impl Conditions {
    /// Whether an object may be read.
    ///
    /// # Errors
    /// `PreconditionFailed`, and `NotModified` with the object's tag.
    pub(crate) fn check_read(&self, tag: &str, changed: Time) -> S3Result<()> {
        self.check(tag, changed).map_err(|failed| match failed {
            Failed::Precondition(what) => s3_error!(PreconditionFailed, "{what} does not hold"),
            Failed::Unchanged => {
                let mut error: S3Error = s3_error!(NotModified);
                let quoted = http::HeaderValue::from_str(&format!("\"{tag}\"")).ok();
                let headers = quoted.map(|value| (http::header::ETAG, value));
                error.set_headers(headers.into_iter().collect());
                error
            }
        })
    }

    /// Whether an object may be copied.
    ///
    /// # Errors
    /// `PreconditionFailed`.
    pub(crate) fn check_copied(&self, tag: &str, changed: Time) -> S3Result<()> {
        self.check(tag, changed).map_err(|failed| match failed {
            Failed::Precondition(what) => s3_error!(PreconditionFailed, "{what} of the source does not hold"),
            Failed::Unchanged => s3_error!(PreconditionFailed, "the source has not changed"),
        })
    }

    fn check(&self, tag: &str, changed: Time) -> Result<(), Failed> {
        let changed = whole_seconds(changed);
        match (&self.matches, &self.unchanged_since) {
            (Some(wanted), _) if !is_tag(wanted, tag) => return Err(Failed::Precondition("If-Match")),
            (None, Some(since)) if changed > *since => {
                return Err(Failed::Precondition("If-Unmodified-Since"));
            }
            _ => {}
        }
        match (&self.differs, &self.changed_since) {
            (Some(unwanted), _) if is_tag(unwanted, tag) => Err(Failed::Unchanged),
            (None, Some(since)) if changed <= *since => Err(Failed::Unchanged),
            _ => Ok(()),
        }
    }
}

enum Failed {
    Precondition(&'static str),
    Unchanged,
}

fn is_tag(condition: &ETagCondition, tag: &str) -> bool {
    condition.as_etag().is_none_or(|wanted| wanted.value() == tag)
}

/// When something happened, as headers can say it.
fn whole_seconds(time: Time) -> Timestamp {
    (SystemTime::UNIX_EPOCH + Duration::from_secs(time.0 / 1_000_000_000)).into()
}

/// When something happened, as XML can say it.
pub(crate) fn timestamp(time: Time) -> Timestamp {
    (SystemTime::UNIX_EPOCH + Duration::from_millis(time.0 / 1_000_000)).into()
}

/// What must lie at a key for a new object to be put there.
///
/// # Errors
/// `NoSuchKey` and `PreconditionFailed`, when it is clear already that it does not.
pub(crate) fn for_put(
    matches: Option<&ETagCondition>,
    differs: Option<&ETagCondition>,
    there: Option<&Version>,
) -> S3Result<Condition> {
    match (matches, differs, there) {
        (None, None, _) => Ok(Condition::Any),
        (Some(_), Some(_), _) => Err(s3_error!(NotImplemented, "If-Match together with If-None-Match")),
        (Some(_), None, None) => Err(s3_error!(NoSuchKey, "there is no object that could match")),
        (Some(wanted), None, Some(version)) if is_tag(wanted, &about::tag_of(version)) => {
            Ok(Condition::Version(version.id))
        }
        (None, Some(_), None) => Ok(Condition::Absent),
        (None, Some(unwanted), Some(version)) if !is_tag(unwanted, &about::tag_of(version)) => {
            Ok(Condition::Version(version.id))
        }
        _ => Err(s3_error!(PreconditionFailed, "the object that is there is not the one that it should be")),
    }
}

/// A tag for an answer.
pub(crate) fn strong(tag: impl Into<String>) -> Option<ETag> {
    Some(ETag::Strong(tag.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANGED: Time = Time(1_700_000_000_900_000_000);

    fn at(seconds: u64) -> Option<Timestamp> {
        Some(whole_seconds(Time(seconds * 1_000_000_000)))
    }

    fn code(conditions: &Conditions) -> Option<String> {
        conditions.check_read("abc", CHANGED).err().map(|error| error.code().as_str().to_owned())
    }

    #[test]
    fn readers_get_what_they_ask_for() {
        let tag = |text: &str| text.parse().ok();
        let none = Conditions::default;
        assert_eq!(code(&none()), None);
        assert_eq!(code(&Conditions { matches: tag("\"abc\""), ..none() }), None);
        assert_eq!(code(&Conditions { matches: tag("*"), ..none() }), None);
        let failed = Some("PreconditionFailed".to_owned());
        assert_eq!(code(&Conditions { matches: tag("\"x\""), ..none() }), failed);
        let unchanged = Some("NotModified".to_owned());
        assert_eq!(code(&Conditions { differs: tag("\"abc\""), ..none() }), unchanged);
        assert_eq!(code(&Conditions { differs: tag("\"x\""), ..none() }), None);
        assert_eq!(code(&Conditions { changed_since: at(1_700_000_000), ..none() }), unchanged);
        assert_eq!(code(&Conditions { changed_since: at(1_699_999_999), ..none() }), None);
        assert_eq!(code(&Conditions { unchanged_since: at(1_700_000_000), ..none() }), None);
        assert_eq!(code(&Conditions { unchanged_since: at(1_699_999_999), ..none() }), failed);
        // Tags are stronger than times.
        let both = Conditions { matches: tag("\"abc\""), unchanged_since: at(1), ..none() };
        assert_eq!(code(&both), None);
        let both = Conditions { differs: tag("\"x\""), changed_since: at(1_700_000_000), ..none() };
        assert_eq!(code(&both), None);
    }
}
