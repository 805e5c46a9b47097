//! Pages of links: what whoever has a link's secret sees in a browser, and the bytes behind it.
//!
//! A page never holds anything that stored files could make it do: names are escaped, scripts are forbidden, and bytes come
//! as downloads only. The secret is not told to other sites, to search engines or to the hub's log.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Form;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pumasi_core::{
    FileKind, FileView, Files, FilesCommand, FilesRefusal, Link, Page, Refusal, State as Cell,
};
use pumasi_types::{FilePath, Hash, LinkId, SpaceId};
use serde::Deserialize;

use super::extract::{Path, Query};
use super::file_bytes::content_of;
use super::files::name_of;
use super::page_html::{self as html, Language};
use super::{ApiError, Peer};
use crate::access::{self, Refused};
use crate::cell;
use crate::drive::{DriveError, NoCheck, PASS};
use crate::server::{Hub, neighbourhood};

/// Entries of a folder on one page.
const ENTRIES: usize = 500;
/// Who knows a link's password.
const COOKIE: &str = "pumasi-link";

/// What is asked of a page.
#[derive(Deserialize)]
pub(super) struct PageQuery {
    /// Below what the link is to.
    #[serde(default)]
    path: FilePath,
    after: Option<String>,
    lang: Option<String>,
}

/// A password that was typed in.
#[derive(Deserialize)]
pub(super) struct PasswordForm {
    password: String,
}

/// Who asks for what through a link, without a token: within the rate of its neighbourhood.
pub(super) struct Visit {
    peer: IpAddr,
    secret: String,
    query: PageQuery,
    headers: HeaderMap,
    language: Language,
}

impl FromRequestParts<Arc<Hub>> for Visit {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, hub: &Arc<Hub>) -> Result<Visit, ApiError> {
        let peer = parts.extensions.get::<Peer>().map_or(IpAddr::from([0; 4]), |peer| neighbourhood(peer.0));
        if let Err(wait) = hub.public.take(peer, std::time::Instant::now()) {
            return Err(ApiError::too_many("too many requests: try again").retry_after(wait));
        }
        let Path(secret) = Path::from_request_parts(parts, hub).await?;
        let Query(query) = Query::<PageQuery>::from_request_parts(parts, hub).await?;
        let headers = parts.headers.clone();
        let language = Language::of(query.lang.as_deref(), &headers);
        Ok(Visit { peer, secret, query, headers, language })
    }
}

/// A link that is good, and what it is to.
struct Shared {
    id: LinkId,
    link: Link,
    space: SpaceId,
    target: FileView,
}

/// Why nothing is shown.
enum NotShown {
    /// No such link, it is over, or what it was to is gone: all look alike.
    Gone,
    /// The password is needed; whether a wrong one was given.
    Password { wrong: bool },
    /// Something in its folder that is not there.
    NoFile,
    /// Passwords come too fast.
    TooMany,
    /// A fault of ours.
    Fault(ApiError),
}

impl<E: Into<DriveError>> From<E> for NotShown {
    fn from(error: E) -> NotShown {
        match error.into() {
            DriveError::Refused(Refusal::Files(FilesRefusal::LinkOver | FilesRefusal::NoLink { .. })) => {
                NotShown::Gone
            }
            DriveError::Refused(Refusal::Files(
                FilesRefusal::NoFile { .. } | FilesRefusal::IsFolder { .. } | FilesRefusal::NotAFolder { .. },
            )) => NotShown::NoFile,
            other => NotShown::Fault(other.into()),
        }
    }
}

impl NotShown {
    /// What the access log calls it.
    fn code(&self) -> &'static str {
        match self {
            NotShown::Gone => "no_link",
            NotShown::Password { wrong: true } => "wrong_password",
            NotShown::Password { wrong: false } => "password_needed",
            NotShown::NoFile => "no_file",
            NotShown::TooMany => "too_many_requests",
            NotShown::Fault(_) => "fault",
        }
    }

    /// A page that says so; `raw`: to a program that may know how to give a password.
    fn page(self, language: Language, raw: bool) -> Response {
        let code = self.code();
        let (status, body) = match self {
            NotShown::Gone => (StatusCode::GONE, html::message(language, |words| words.gone)),
            NotShown::NoFile => (StatusCode::NOT_FOUND, html::message(language, |words| words.no_file)),
            NotShown::TooMany => {
                (StatusCode::TOO_MANY_REQUESTS, html::message(language, |words| words.too_many))
            }
            NotShown::Password { wrong } if raw => {
                (StatusCode::UNAUTHORIZED, html::password(language, wrong))
            }
            NotShown::Password { wrong } => (StatusCode::FORBIDDEN, html::password(language, wrong)),
            NotShown::Fault(error) => return error.into_response(),
        };
        let mut response = page(status, body);
        response.extensions_mut().insert(Refused(code));
        if status == StatusCode::UNAUTHORIZED {
            let basic = HeaderValue::from_static("Basic realm=\"link\", charset=\"UTF-8\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, basic);
        }
        response
    }
}

/// A page with what protects its reader.
fn page(status: StatusCode, body: String) -> Response {
    let policy = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; \
                  frame-ancestors 'none'";
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "private, no-store"),
        (header::HeaderName::from_static("x-robots-tag"), "noindex, nofollow"),
    ];
    (status, headers, body).into_response()
}

/// A path as the log may tell it: without the secret of a link.
pub(super) fn without_secret(path: &str) -> &str {
    if path.starts_with("/s/") { "/s/…" } else { path }
}

/// The page of a link: a file with its size, or what lies in a folder; the form for the password when it has one. Korean
/// or English, as the browser asks or `lang` says.
#[utoipa::path(get, path = "/s/{secret}", operation_id = "link_page",
    params(("secret" = String, Path), ("path" = Option<String>, Query), ("after" = Option<String>, Query),
        ("lang" = Option<String>, Query)),
    responses((status = 200, content_type = "text/html"), (status = 403, content_type = "text/html"),
        (status = 410, content_type = "text/html")))]
pub(super) async fn get(State(hub): State<Arc<Hub>>, visit: Visit) -> Response {
    let Visit { secret, query, language, .. } = &visit;
    let shown = async {
        let (shared, path) = visit.admitted(&hub).await?;
        let (space, after) = (shared.space, query.after.clone());
        let look = move |state: &Cell| -> Option<(FileView, Page<FileView>)> {
            let files: &Files = state.files();
            let file = files.find(space, &path)?;
            let page = match file.kind {
                FileKind::Folder(_) => files.list(file.id, after.as_deref(), ENTRIES),
                FileKind::File(_) => Page { items: Vec::new(), more: false },
            };
            Some((file, page))
        };
        let (file, entries) = hub.cell.read(look).await?.ok_or(NotShown::NoFile)?;
        let next = entries.items.last().filter(|_| entries.more).map(name_of);
        let what = html::Shown {
            secret,
            link: &shared.link,
            at: &query.path,
            file: &file,
            entries: &entries.items,
            next: next.as_deref(),
        };
        Ok::<_, NotShown>(page(StatusCode::OK, html::shared(*language, query.lang.as_deref(), &what)))
    };
    shown.await.unwrap_or_else(|not_shown| not_shown.page(*language, false))
}

/// Gives a link's password; leads back to its page, where it is known for an hour.
#[utoipa::path(post, path = "/s/{secret}", operation_id = "open_link",
    params(("secret" = String, Path)),
    request_body(content = String, content_type = "application/x-www-form-urlencoded"),
    responses((status = 303), (status = 403, content_type = "text/html"), (status = 429, content_type = "text/html")))]
pub(super) async fn open(
    State(hub): State<Arc<Hub>>,
    visit: Visit,
    Form(form): Form<PasswordForm>,
) -> Response {
    let Visit { peer, secret, query, language, .. } = visit;
    let opened = async {
        let shared = find(&hub, &secret).await?;
        let home = html::address(&secret, None, &query.path, None, query.lang.as_deref());
        let Some(kept) = &shared.link.password else { return Ok(see(&home, None)) };
        if !right(&hub, &shared, kept, form.password, peer).await? {
            return Err(NotShown::Password { wrong: true });
        }
        let pass = hub.link_passes.pass(shared.id, kept, cell::now());
        let secure = if hub.options.tls { "; Secure" } else { "" };
        let age = PASS.as_secs();
        let cookie =
            format!("{COOKIE}={pass}; Path=/s/{secret}; Max-Age={age}; HttpOnly; SameSite=Lax{secure}");
        Ok::<_, NotShown>(see(&home, Some(cookie)))
    };
    opened.await.unwrap_or_else(|not_shown| not_shown.page(language, false))
}

/// Leads to a page.
fn see(address: &str, cookie: Option<String>) -> Response {
    let mut response = page(StatusCode::SEE_OTHER, String::new());
    let mut set = |name, value: String| {
        if let Ok(value) = HeaderValue::try_from(value) {
            response.headers_mut().insert(name, value);
        }
    };
    set(header::LOCATION, address.to_owned());
    if let Some(cookie) = cookie {
        set(header::SET_COOKIE, cookie);
    }
    response
}

/// The bytes behind a link: of its file, or of one in its folder. Each time counts as a download; where downloads are
/// counted down, they come whole only. Programs give a password as that of HTTP's Basic authentication, with any name.
#[utoipa::path(get, path = "/s/{secret}/raw", operation_id = "link_bytes",
    params(("secret" = String, Path), ("path" = Option<String>, Query), ("range" = Option<String>, Header)),
    responses((status = 200, content_type = "application/octet-stream"),
        (status = 206, content_type = "application/octet-stream"), (status = 401, content_type = "text/html"),
        (status = 404, content_type = "text/html"), (status = 410, content_type = "text/html")))]
pub(super) async fn raw(State(hub): State<Arc<Hub>>, visit: Visit, method: Method) -> Response {
    let headers = &visit.headers;
    let bytes = async {
        let (shared, path) = visit.admitted(&hub).await?;
        let name = path.name().unwrap_or_default().to_owned();
        let space = shared.space;
        let mut content = hub.cell.read(move |state| content_of(state.files(), space, &path, None)).await??;
        content.in_parts = shared.link.left.is_none();
        if content.sends(&method, headers) {
            hub.files(Cell::SYSTEM, None, FilesCommand::UseLink { link: shared.id }).await?;
        }
        let mut response = content.answer(&hub, &method, headers).await.map_err(NotShown::Fault)?;
        if let Ok(value) = HeaderValue::try_from(attachment(&name)) {
            response.headers_mut().insert(header::CONTENT_DISPOSITION, value);
        }
        Ok::<_, NotShown>(response)
    };
    bytes.await.unwrap_or_else(|not_shown| not_shown.page(visit.language, true))
}

/// The name under which a browser keeps a download (RFC 6266).
fn attachment(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_. ".contains(c) { c } else { '_' };
    let ascii: String = name.chars().map(plain).collect();
    format!("attachment; filename=\"{ascii}\"; filename*=UTF-8''{}", pumasi_api::client::escape(name))
}

/// A path below the link's target.
fn below(target: &FilePath, path: &FilePath) -> Result<FilePath, NotShown> {
    let joined = match (target.is_root(), path.is_root()) {
        (true, _) => Ok(path.clone()),
        (_, true) => Ok(target.clone()),
        (false, false) => format!("{target}/{path}").parse(),
    };
    joined.map_err(|_| NotShown::NoFile)
}

/// The link with this secret, and what it is to.
async fn find(hub: &Hub, secret: &str) -> Result<Shared, NotShown> {
    let hash = Hash::of(secret.as_bytes());
    let look = move |state: &Cell| {
        let (id, link) = state.files().link_of(&hash)?;
        let (space, target) = state.files().by_id(link.file)?;
        Some(Shared { id, link: link.clone(), space, target })
    };
    let shared = hub.cell.read(look).await?.ok_or(NotShown::Gone)?;
    access::came_by(shared.id, shared.space, &shared.target.path);
    Ok(shared)
}

impl Visit {
    /// The link for who knows its password, if it has one, by a cookie or by HTTP's Basic authentication; and the path that is
    /// asked for.
    async fn admitted(&self, hub: &Hub) -> Result<(Shared, FilePath), NotShown> {
        let shared = find(hub, &self.secret).await?;
        if let Some(kept) = shared.link.password.clone() {
            let now = cell::now();
            let is_known =
                cookies(&self.headers).any(|pass| hub.link_passes.admits(shared.id, &kept, pass, now));
            if !is_known {
                let Some(password) = basic(&self.headers) else {
                    return Err(NotShown::Password { wrong: false });
                };
                if !right(hub, &shared, &kept, password, self.peer).await? {
                    return Err(NotShown::Password { wrong: true });
                }
            }
        }
        let path = below(&shared.target.path, &self.query.path)?;
        access::came_by(shared.id, shared.space, &path);
        Ok((shared, path))
    }
}

async fn right(
    hub: &Hub,
    shared: &Shared,
    kept: &str,
    password: String,
    peer: IpAddr,
) -> Result<bool, NotShown> {
    let checked = hub.link_passes.check(shared.id, kept, password, peer).await;
    checked.map_err(|error| match error {
        NoCheck::TooMany(_) => NotShown::TooMany,
        error => NotShown::Fault(error.into()),
    })
}

/// The passes that a browser shows.
fn cookies(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let all = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let pairs = all.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.filter(|(name, _)| *name == COOKIE).map(|(_, value)| value)
}

/// The password that a program gives (RFC 7617).
fn basic(headers: &HeaderMap) -> Option<String> {
    let (scheme, credentials) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = String::from_utf8(STANDARD.decode(credentials.trim()).ok()?).ok()?;
    let (_, password) = pair.split_once(':')?;
    (password.len() <= super::links::PASSWORD_BYTES).then(|| password.to_owned())
}
