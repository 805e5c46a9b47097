//! Faults and refusals in the words of S3.

use pumasi_core::{FilesRefusal, Refusal};
use s3s::{S3Error, S3ErrorCode, s3_error};

use crate::backend::Failure;

/// An error that S3 has no code for.
pub(crate) fn custom(code: &'static str, status: http::StatusCode, message: String) -> S3Error {
    let mut error = S3Error::with_message(S3ErrorCode::Custom(code.into()), message);
    error.set_status_code(status);
    error
}

/// What is not offered, and would be a lie if it were passed over.
pub(crate) fn not_offered(what: &str) -> S3Error {
    s3_error!(NotImplemented, "this hub does not offer {what}: docs/s3.md tells what it does")
}

impl From<Failure> for S3Error {
    fn from(failure: Failure) -> S3Error {
        let text = failure.to_string();
        match failure {
            Failure::Refused(refusal) => refused(&refusal),
            Failure::TooMany(wait) => {
                let mut error = S3Error::with_message(S3ErrorCode::SlowDown, text);
                let seconds = http::HeaderValue::from(wait.as_secs() + 1);
                error.set_headers([(http::header::RETRY_AFTER, seconds)].into_iter().collect());
                error
            }
            Failure::TooLarge { .. } => S3Error::with_message(S3ErrorCode::EntityTooLarge, text),
            Failure::Body(_) => bad_body(text),
            Failure::Slow(_) => S3Error::with_message(S3ErrorCode::RequestTimeout, text),
            Failure::Full => custom("InsufficientStorage", http::StatusCode::INSUFFICIENT_STORAGE, text),
            Failure::Unavailable(_) => S3Error::with_message(S3ErrorCode::ServiceUnavailable, text),
            Failure::Broken(_) => S3Error::with_message(S3ErrorCode::InternalError, text),
        }
    }
}

/// What is wrong with a body. The errors of `s3s` have no types that could be asked.
fn bad_body(text: String) -> S3Error {
    if text.contains("Sha256Mismatch") {
        custom("XAmzContentSHA256Mismatch", http::StatusCode::BAD_REQUEST, text)
    } else if text.contains("SignatureMismatch") {
        S3Error::with_message(S3ErrorCode::SignatureDoesNotMatch, text)
    } else {
        S3Error::with_message(S3ErrorCode::IncompleteBody, text)
    }
}

fn refused(refusal: &Refusal) -> S3Error {
    let text = refusal.to_string();
    let Refusal::Files(refusal) = refusal else {
        return match refusal {
            Refusal::NotYours { .. } | Refusal::WrongRole { .. } | Refusal::HubOnly | Refusal::NoToken => {
                S3Error::with_message(S3ErrorCode::AccessDenied, text)
            }
            _ => S3Error::with_message(S3ErrorCode::InvalidArgument, text),
        };
    };
    let code = match refusal {
        FilesRefusal::NoSpace { .. } => S3ErrorCode::NoSuchBucket,
        FilesRefusal::SpaceTaken { .. } => S3ErrorCode::BucketAlreadyExists,
        FilesRefusal::NoAccess { .. } | FilesRefusal::LastManager => S3ErrorCode::AccessDenied,
        FilesRefusal::SpaceNotEmpty => S3ErrorCode::BucketNotEmpty,
        FilesRefusal::NoFile { .. } => S3ErrorCode::NoSuchKey,
        // Something came to a key where nothing was to be.
        FilesRefusal::Changed { .. } | FilesRefusal::Exists { .. } => S3ErrorCode::PreconditionFailed,
        FilesRefusal::NoUpload { .. } => S3ErrorCode::NoSuchUpload,
        FilesRefusal::NoVersion { .. } => S3ErrorCode::NoSuchVersion,
        FilesRefusal::QuotaExceeded { .. } | FilesRefusal::TooMuchUnfiled { .. } => {
            return custom("QuotaExceeded", http::StatusCode::FORBIDDEN, text);
        }
        FilesRefusal::IsFolder { .. }
        | FilesRefusal::NotAFolder { .. }
        | FilesRefusal::FolderNotEmpty { .. } => {
            return custom("KeyConflict", http::StatusCode::CONFLICT, text);
        }
        FilesRefusal::NotHeld { .. } => S3ErrorCode::OperationAborted,
        _ => S3ErrorCode::InvalidRequest,
    };
    S3Error::with_message(code, text)
}

/// A refusal of files as an error.
pub(crate) fn files(refusal: FilesRefusal) -> S3Error {
    refused(&Refusal::Files(refusal))
}

/// The hub answered a command with what belongs to another: a fault of ours.
pub(crate) fn unexpected(answer: &dyn std::fmt::Debug) -> S3Error {
    s3_error!(InternalError, "unexpected answer {answer:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_sends_too_slowly_may_try_again_and_who_breaks_off_is_told_so() {
        let code = |failure: Failure| S3Error::from(failure).code().as_str().to_owned();
        assert_eq!(code(Failure::Slow("slow".to_owned())), "RequestTimeout");
        assert_eq!(code(Failure::Body("cut".into())), "IncompleteBody");
    }

    #[test]
    fn other_bytes_than_were_signed_are_the_sender_s_fault() {
        let error = S3Error::from(Failure::Body("UploadStreamError: Sha256Mismatch".into()));
        let told = (error.code().as_str(), error.status_code());
        assert_eq!(told, ("XAmzContentSHA256Mismatch", Some(http::StatusCode::BAD_REQUEST)));
    }
}
