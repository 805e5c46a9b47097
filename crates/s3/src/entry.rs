//! The way in: which requests are meant for S3, and whose they are.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Uri, header};
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::{S3Auth, SecretKey};
use s3s::config::{S3Config, StaticConfigProvider};
use s3s::dto::{Timestamp, TimestampFormat};
use s3s::host::{S3Host, VirtualHost};
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::validation::NameValidation;
use s3s::{Body, HttpError, HttpRequest, HttpResponse, S3Error, S3ErrorCode, S3Result, s3_error};

use crate::backend::{Backend, Failure, Noted};
use crate::documents;
use crate::gateway::{Caller, Gateway, RequestId};
use crate::key::decoded;

/// XML that a request can have: the longest list of parts, or of keys that are to be deleted.
const XML_BYTES: usize = 4 << 20;
/// How long a link may be good, in seconds, as in S3: a week.
const LINK_S: u32 = 7 * 24 * 3600;
/// How signatures of version 4 begin.
const SCHEME: &str = "AWS4-HMAC-SHA256";
/// How those of version 2 begin, which are refused in S3's words.
const OLD_SCHEME: &str = "AWS ";
/// When a request was signed.
const SIGNED_AT: &str = "x-amz-date";

/// Everything that is offered of S3, for a hub; buckets are also hosts below `domain`, if there is one.
pub fn service<B: Backend>(backend: B, domain: Option<String>) -> S3Service {
    let gateway = Gateway::new(backend);
    let mut builder = S3ServiceBuilder::new(gateway.clone());
    builder.set_auth(Keys(Arc::clone(&gateway.backend)));
    builder.set_access(Entrance(Arc::clone(&gateway.backend)));
    builder.set_validation(AnyName);
    if let Some(domain) = domain {
        builder.set_host(Below(domain));
    }
    let mut config = S3Config::default();
    config.xml_max_body_size = XML_BYTES;
    builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(config))));
    builder.build()
}

/// Whether a request is meant for S3: it is signed as those are, by whichever version, or its host is the domain of S3 or lies
/// below it.
pub fn is_for_s3(headers: &HeaderMap, uri: &Uri, domain: Option<&str>) -> bool {
    let is_signed = headers.get(header::AUTHORIZATION).is_some_and(|value| {
        [SCHEME, OLD_SCHEME].iter().any(|scheme| value.as_bytes().starts_with(scheme.as_bytes()))
    });
    let has = |name: &str| uri.query().is_some_and(|query| parameter(query, name).is_some());
    let is_presigned = || has("X-Amz-Algorithm") || has("AWSAccessKeyId");
    let is_there = || {
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let host = host.or_else(|| uri.authority().map(|authority| authority.as_str()));
        domain.zip(host).is_some_and(|(domain, host)| below(domain, host).is_some())
    };
    is_signed || is_presigned() || is_there()
}

/// The access key with which a request is signed by version 4, before anything is proved; none when it is signed otherwise
/// or not at all.
pub fn access_key(headers: &HeaderMap, uri: &Uri) -> Option<String> {
    let credential = match headers.get(header::AUTHORIZATION) {
        Some(value) => {
            let fields = value.to_str().ok()?.strip_prefix(SCHEME)?;
            let fields = fields.split(',').map(str::trim);
            fields.filter_map(|field| field.strip_prefix("Credential=")).next()?.to_owned()
        }
        None => parameter(uri.query()?, "X-Amz-Credential")?,
    };
    credential.split('/').next().map(str::to_owned)
}

/// Looks at how long a signed link says that it is good. A request that is no link passes.
///
/// # Errors
/// [`Denied::Link`]: no time at all, less, or more than a week.
pub fn check_link(uri: &Uri) -> Result<(), Denied> {
    let expires = uri.query().and_then(|query| parameter(query, "X-Amz-Expires"));
    let is_good = |text: String| text.parse().is_ok_and(|seconds: u32| (1..=LINK_S).contains(&seconds));
    if expires.is_none_or(is_good) { Ok(()) } else { Err(Denied::Link) }
}

/// Lets a request that is signed by its `Date`, as some clients' are, say so in the header in which it is looked for.
fn tell_date(headers: &mut HeaderMap) {
    if headers.contains_key(SIGNED_AT) {
        return;
    }
    let date = headers.get(header::DATE).and_then(|date| date.to_str().ok()).and_then(basic);
    if let Some(date) = date {
        headers.insert(SIGNED_AT, date);
    }
}

/// A date of HTTP, or of mail in Greenwich's time as boto3 writes it, as signatures write it: `20231114T221320Z`.
fn basic(date: &str) -> Option<HeaderValue> {
    let mut text = Vec::new();
    let mail = date.strip_suffix("-0000").or_else(|| date.strip_suffix("+0000"));
    let date = mail.map_or_else(|| date.to_owned(), |time| format!("{time}GMT"));
    let time = Timestamp::parse(TimestampFormat::HttpDate, &date).ok()?;
    time.format(TimestampFormat::DateTime, &mut text).ok()?;
    let seconds = text.split(|byte| *byte == b'.').next()?;
    let mut basic: Vec<u8> = seconds.iter().copied().filter(|byte| !b"-:".contains(byte)).collect();
    basic.push(b'Z');
    HeaderValue::from_bytes(&basic).ok()
}

/// A parameter of a query.
fn parameter(query: &str, name: &str) -> Option<String> {
    let values = query.split('&').filter_map(|pair| pair.split_once('='));
    values.filter(|(key, _)| *key == name).find_map(|(_, value)| decoded(value))
}

/// Why a request is answered before it is looked at.
#[derive(Debug)]
pub enum Denied {
    /// It is not signed by version 4.
    Unsigned,
    /// There is no such access key.
    UnknownKey,
    /// It is a link that can be good at no time, or for too long.
    Link,
    /// Something else.
    Failed(Failure),
}

/// What such a request is answered.
pub fn denied(why: Denied) -> HttpResponse {
    let error: S3Error = match why {
        Denied::Unsigned => s3_error!(AccessDenied, "sign the request by AWS Signature Version 4"),
        Denied::UnknownKey => unknown_key(),
        Denied::Link => s3_error!(AccessDenied, "links are good for 1 to {LINK_S} seconds: X-Amz-Expires"),
        Denied::Failed(failure) => failure.into(),
    };
    written(error)
}

/// Answers a request that is meant for S3.
///
/// # Errors
/// When no answer can be made of it at all.
pub async fn answer(service: &S3Service, mut request: HttpRequest) -> Result<HttpResponse, HttpError> {
    tell_date(request.headers_mut());
    let id = request.extensions().get::<RequestId>().cloned();
    let (request, doubt) = documents::watched(request);
    let response = service.call(request).await?;
    let Some(mut error) = doubt.take() else { return Ok(response) };
    if let Some(RequestId(id)) = id {
        error.set_request_id(id);
    }
    Ok(written(error))
}

fn written(error: S3Error) -> HttpResponse {
    error.to_http_response().unwrap_or_else(|_| {
        let mut response = HttpResponse::new(Body::empty());
        *response.status_mut() = http::StatusCode::FORBIDDEN;
        response
    })
}

fn unknown_key() -> S3Error {
    let text = "there is no such access key: `pumasi s3-key` makes one";
    S3Error::with_message(S3ErrorCode::InvalidAccessKeyId, text)
}

/// Secret keys.
struct Keys<B>(Arc<B>);

#[async_trait::async_trait]
impl<B: Backend> S3Auth for Keys<B> {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        self.0.secret(access_key).await?.map(SecretKey::from).ok_or_else(unknown_key)
    }
}

/// Lets requests in whose signature is right.
struct Entrance<B>(Arc<B>);

#[async_trait::async_trait]
impl<B: Backend> S3Access for Entrance<B> {
    async fn check(&self, context: &mut S3AccessContext<'_>) -> S3Result<()> {
        let Some(credentials) = context.credentials() else {
            return Err(s3_error!(AccessDenied, "sign the request by AWS Signature Version 4"));
        };
        let path = context.s3_path();
        let (bucket, key) = match path.as_object() {
            Some((bucket, key)) => (Some(bucket), Some(key)),
            None => (path.as_bucket(), None),
        };
        self.0.note(Noted::Wants { operation: context.s3_op().name(), bucket, key });
        let caller = self.0.enter(&credentials.access_key).await?;
        context.extensions_mut().insert(Caller(caller));
        Ok(())
    }
}

/// The hub says itself which names spaces can have.
struct AnyName;

impl NameValidation for AnyName {
    fn validate_bucket_name(&self, name: &str) -> bool {
        !name.is_empty()
    }
}

/// Buckets as hosts below a domain; with any other host, the bucket stands in the path.
struct Below(String);

impl S3Host for Below {
    fn parse_host_header<'a>(&'a self, host: &'a str) -> S3Result<VirtualHost<'a>> {
        Ok(match below(&self.0, host) {
            Some(Some(bucket)) => VirtualHost::new(self.0.as_str()).with_bucket(bucket.to_ascii_lowercase()),
            Some(None) | None => VirtualHost::new(host),
        })
    }
}

/// The name below a domain that a host has, if it is the domain or lies below it.
fn below<'a>(domain: &str, host: &'a str) -> Option<Option<&'a str>> {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let split = name.len().checked_sub(domain.len()).filter(|at| name.is_char_boundary(*at))?;
    let (front, back) = name.split_at(split);
    match (back.eq_ignore_ascii_case(domain), front.strip_suffix('.')) {
        (true, _) if front.is_empty() => Some(None),
        (true, Some(bucket)) if !bucket.is_empty() => Some(Some(bucket)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGNED: &str = "AWS4-HMAC-SHA256 Credential=AK1/20260101/us-east-1/s3/aws4_request, \
                          SignedHeaders=host, Signature=0";

    fn with(name: header::HeaderName, value: &'static str) -> HeaderMap {
        [(name, HeaderValue::from_static(value))].into_iter().collect()
    }

    #[test]
    fn requests_for_s3_are_told_from_others() {
        let uri = |text: &str| text.parse::<Uri>().expect("a URI");
        let plain = uri("/v1/me");
        assert!(is_for_s3(&with(header::AUTHORIZATION, SIGNED), &plain, None));
        assert!(!is_for_s3(&with(header::AUTHORIZATION, "Bearer AWS4-HMAC-SHA256"), &plain, None));
        let presigned = uri("/b/k?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AK2%2F2026%2Fs3");
        assert!(is_for_s3(&HeaderMap::new(), &presigned, None));
        assert_eq!(access_key(&HeaderMap::new(), &presigned).as_deref(), Some("AK2"));
        assert_eq!(access_key(&with(header::AUTHORIZATION, SIGNED), &presigned).as_deref(), Some("AK1"));
        assert_eq!(access_key(&with(header::AUTHORIZATION, "AWS AK:sig"), &presigned), None);
        let old = uri("/b/k?AWSAccessKeyId=AK3&Expires=1&Signature=x");
        for (headers, uri) in [(with(header::AUTHORIZATION, "AWS AK:sig"), &plain), (HeaderMap::new(), &old)]
        {
            assert!(
                is_for_s3(&headers, uri, None) && access_key(&headers, uri).is_none(),
                "refused as S3 does"
            );
        }
        let hosts =
            [("s3.example", true), ("b.S3.example:7878", true), ("xs3.example", false), ("example", false)];
        for (host, is_ours) in hosts {
            let headers = with(header::HOST, host);
            assert_eq!(is_for_s3(&headers, &plain, Some("s3.example")), is_ours, "{host}");
            assert!(!is_for_s3(&headers, &plain, None));
        }
    }

    #[test]
    fn links_are_good_for_a_week_at_most() {
        for (query, is_good) in [
            ("list-type=2", true),
            ("X-Amz-Expires=1", true),
            ("a=b&X-Amz-Expires=604800", true),
            ("X-Amz-Expires=604801", false),
            ("X-Amz-Expires=0", false),
            ("X-Amz-Expires=-7", false),
            ("X-Amz-Expires=", false),
        ] {
            let uri: Uri = format!("/b/k?{query}").parse().expect("a URI");
            assert_eq!(check_link(&uri).is_ok(), is_good, "{query}");
        }
    }

    #[test]
    fn a_date_of_http_is_told_as_signatures_want_it() {
        let told = |mut headers: HeaderMap| {
            tell_date(&mut headers);
            headers.remove(SIGNED_AT).map(|value| value.to_str().expect("text").to_owned())
        };
        let date = || with(header::DATE, "Tue, 14 Nov 2023 22:13:20 GMT");
        let of_mail = with(header::DATE, "Tue, 14 Nov 2023 22:13:20 -0000");
        for headers in [date(), of_mail] {
            assert_eq!(told(headers).as_deref(), Some("20231114T221320Z"));
        }
        let mut both = date();
        both.insert(SIGNED_AT, HeaderValue::from_static("20260101T000000Z"));
        assert_eq!(told(both).as_deref(), Some("20260101T000000Z"), "its own word is stronger");
        assert_eq!(told(with(header::DATE, "yesterday")), None);
        assert_eq!(told(HeaderMap::new()), None);
    }

    #[test]
    fn buckets_are_hosts_below_the_domain_only() {
        let domain = Below("s3.example".to_owned());
        let bucket = |host: &str| {
            let host = domain.parse_host_header(host).expect("any host will do");
            host.bucket().map(str::to_owned)
        };
        assert_eq!(bucket("a.b.s3.example:443").as_deref(), Some("a.b"));
        assert_eq!((bucket("s3.example"), bucket("hub.example"), bucket(".s3.example")), (None, None, None));
    }
}
