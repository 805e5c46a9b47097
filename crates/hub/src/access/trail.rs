//! What is noted of one request while it is answered: who called, what for, and what was decided about it.
//!
//! What decides lies deep below the handlers, which do not pass a trail on: it belongs to the task that answers. Where there
//! is none, nothing is noted.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::{MatchedPath, Query, Request};
use axum::http::{Method, StatusCode};
use pumasi_api::wire::access::{AccessBy, AccessEntry, AccessWhat};
use pumasi_types::{AccountId, FilePath, JobId, LinkId, SpaceId};
use serde::Deserialize;

use super::table::Visitor;
use crate::server::neighbourhood;

/// Characters of a name or path that are noted.
const NAME: usize = 256;
/// What is read of a job.
const INPUTS: &str = "inputs";
const RESULTS: &str = "results";
/// Decisions that are noted of one request: copies try again when others are quicker.
const LOOKS: usize = 8;

tokio::task_local! {
    static TRAIL: Arc<Trail>;
}

/// The trail of a request.
pub(crate) struct Trail {
    by: AccessBy,
    address: IpAddr,
    noted: Mutex<Noted>,
}

/// What is known so far.
struct Noted {
    what: AccessWhat,
    /// Only what is refused is told.
    quiet: bool,
    account: Option<AccountId>,
    link: Option<LinkId>,
    /// As the request names it.
    space: Option<String>,
    job: Option<JobId>,
    path: Option<String>,
    blob: Option<String>,
    /// The code of a refusal, if that does not stand in the answer.
    refused: Option<String>,
    looks: Vec<Look>,
}

/// Somebody was let into a space, or was not.
#[derive(Default)]
struct Look {
    space: Option<String>,
    id: Option<SpaceId>,
    refused: Option<&'static str>,
    /// Something is read there, whatever becomes of the rest of the request.
    reads: bool,
    /// What, if the request does not name it.
    path: Option<String>,
    /// It is read of this job, and in no space.
    job: Option<JobId>,
}

/// The code of the refusal in an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refused(pub(crate) &'static str);

/// What a request to the hub's own API asks for in its query.
#[derive(Default, Deserialize)]
struct Asked {
    path: Option<String>,
    prefix: Option<String>,
}

impl Trail {
    pub(super) fn new(by: AccessBy, what: AccessWhat, address: IpAddr) -> Trail {
        let noted = Noted {
            what,
            quiet: what == AccessWhat::Change,
            account: None,
            link: None,
            space: None,
            job: None,
            path: None,
            blob: None,
            refused: None,
            looks: Vec::new(),
        };
        Trail { by, address, noted: Mutex::new(noted) }
    }

    /// That of a request to the hub's own API or to the page of a link; none of one that is not about the store. The secret
    /// of a link is not noted, nor is anything of the query but a path.
    pub(super) fn of(request: &Request, address: IpAddr) -> Option<Trail> {
        let route = request.extensions().get::<MatchedPath>()?.as_str();
        let (by, what) = purpose(request.method(), route)?;
        let trail = Trail::new(by, what, address);
        if by == AccessBy::Files {
            let mut noted = trail.noted();
            noted.quiet |= route.starts_with("/v1/store");
            let Query(asked) = Query::<Asked>::try_from_uri(request.uri()).unwrap_or_default();
            noted.path = asked.path.or(asked.prefix).filter(|path| !path.is_empty()).map(|path| cut(&path));
            // `/v1/spaces/NAME/…`: as it stands there, which is as it is called where such a space can be.
            let third = request.uri().path().split('/').nth(3).map(cut);
            if route.starts_with("/v1/spaces/{space}") {
                noted.space = third;
            } else if route.starts_with("/v1/blobs/{hash}") {
                noted.blob = third;
            } else if route.starts_with("/v1/jobs/{job}") {
                // One line for each job, however many tasks it has.
                noted.job = third.and_then(|job| job.parse().ok());
                noted.path = Some(if route.contains("/inputs/") { INPUTS } else { RESULTS }.to_owned());
            }
        }
        Some(trail)
    }

    /// That of a request of S3, of which nothing is known before its signature has proved right but its path.
    pub(super) fn of_s3(request: &Request, address: IpAddr) -> Trail {
        let trail = Trail::new(AccessBy::S3, AccessWhat::Change, address);
        let mut noted = trail.noted();
        noted.path = Some(cut(request.uri().path()));
        if matches!(*request.method(), Method::GET | Method::HEAD) {
            (noted.what, noted.quiet) = (AccessWhat::Read, true);
        }
        drop(noted);
        trail
    }

    /// Follows a request until it is answered.
    pub(super) async fn follow<T>(self: &Arc<Trail>, answering: impl Future<Output = T>) -> T {
        TRAIL.scope(Arc::clone(self), answering).await
    }

    /// Who came.
    pub(super) fn visitor(&self) -> Visitor {
        let stranger = || Visitor::Stranger(neighbourhood(self.address));
        self.noted().account.map_or_else(stranger, Visitor::Account)
    }

    /// What is to be told once the answer is known: what was read and listed, and what was refused.
    pub(super) fn told(&self, status: StatusCode, code: Option<&str>) -> Vec<AccessEntry> {
        let noted = self.noted();
        let refused = is_refusal(status).then(|| {
            let unnamed = if noted.account.is_some() { "refused" } else { "unproved" };
            noted.refused.as_deref().or(code).unwrap_or(unnamed).to_owned()
        });
        let done = status.as_u16() < 400;
        let all = AccessEntry {
            account: noted.account,
            link: noted.link,
            address: Some(self.address.to_string()),
            by: Some(self.by),
            job: noted.job,
            path: noted.path.clone(),
            blob: noted.blob.clone(),
            refused,
            ..super::blank(noted.what)
        };
        let looked = noted.looks.iter().map(|look| AccessEntry {
            what: if look.reads { AccessWhat::Read } else { noted.what },
            space: look.space.clone(),
            space_id: look.id,
            job: look.job.or(all.job),
            path: look.path.clone().or_else(|| all.path.clone()),
            refused: look.refused.map(str::to_owned).or_else(|| all.refused.clone()),
            ..all.clone()
        });
        let tells = |entry: &AccessEntry, quiet: bool| entry.refused.is_some() || (done && !quiet);
        let mut told: Vec<_> = looked
            .zip(&noted.looks)
            .filter(|(entry, look)| tells(entry, noted.quiet && !look.reads))
            .map(|(entry, _)| entry)
            .collect();
        let reads_bytes = noted.what == AccessWhat::Read && (noted.blob.is_some() || noted.job.is_some());
        if noted.looks.is_empty() && tells(&all, noted.quiet || !reads_bytes) {
            told.push(AccessEntry { space: noted.space.clone(), ..all });
        }
        told
    }

    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a route is for; none where nothing is noted.
fn purpose(method: &Method, route: &str) -> Option<(AccessBy, AccessWhat)> {
    const STORE: [&str; 4] = ["/v1/spaces", "/v1/blobs", "/v1/store", "/v1/downloads"];
    let looks = matches!(*method, Method::GET | Method::HEAD);
    Some(match route {
        "/s/{secret}/raw" => (AccessBy::Link, AccessWhat::Read),
        "/s/{secret}" if looks => (AccessBy::Link, AccessWhat::List),
        "/s/{secret}" => (AccessBy::Link, AccessWhat::Open),
        "/v1/spaces/{space}/read" | "/v1/spaces/{space}/claim" => (AccessBy::Files, AccessWhat::Read),
        "/v1/spaces/{space}/content" | "/v1/blobs/{hash}" | "/v1/blobs/{hash}/chunks" if looks => {
            (AccessBy::Files, AccessWhat::Read)
        }
        "/v1/jobs/{job}/results"
        | "/v1/jobs/{job}/inputs/{hash}"
        | "/v1/jobs/{job}/inputs/{hash}/chunks"
        | "/v1/jobs/{job}/tasks/{task}/output"
        | "/v1/jobs/{job}/tasks/{task}/stdout"
        | "/v1/jobs/{job}/tasks/{task}/stderr" => (AccessBy::Files, AccessWhat::Read),
        _ if !STORE.iter().any(|begin| route.starts_with(begin)) => return None,
        _ if looks => (AccessBy::Files, AccessWhat::List),
        _ => (AccessBy::Files, AccessWhat::Change),
    })
}

/// Whether somebody was not let do what he wanted; faults of the hub or of the request are told elsewhere.
fn is_refusal(status: StatusCode) -> bool {
    matches!(status.as_u16(), 401 | 403 | 404 | 410 | 429)
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(NAME) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

/// Notes something of the request that this task answers.
fn note(take: impl FnOnce(&mut Noted)) {
    // An error means that nobody follows it.
    let _ = TRAIL.try_with(|trail| take(&mut trail.noted()));
}

/// The caller proved to be this account.
pub(crate) fn called_by(account: AccountId) {
    note(|noted| noted.account = Some(account));
}

/// The caller was let into a space of this name, or was not.
pub(crate) fn looked(space: &str, id: Option<SpaceId>, refused: Option<&'static str>) {
    note(|noted| {
        if noted.looks.len() < LOOKS {
            noted.looks.push(Look { space: Some(cut(space)), id, refused, ..Look::default() });
        }
    });
}

/// Where the caller was let in last, something is read that the request does not name in its query.
pub(crate) fn reads(path: &str) {
    note(|noted| {
        if let Some(last) = noted.looks.last_mut() {
            (last.reads, last.path) = (true, Some(cut(path)));
        }
    });
}

/// Besides what the request is for, it reads results of this job.
pub(crate) fn reads_results(job: JobId) {
    note(|noted| {
        if noted.looks.len() < LOOKS {
            let path = Some(RESULTS.to_owned());
            noted.looks.push(Look { reads: true, path, job: Some(job), ..Look::default() });
        }
    });
}

/// It is a machine that reads what its runs need, and nobody: that is told only when it is refused.
pub(crate) fn by_machine() {
    note(|noted| noted.quiet = true);
}

/// Where the caller was let in last, several files are read: the folder in which all of them lie, or the one.
pub(crate) fn reads_all(paths: &[FilePath]) {
    let Some((first, others)) = paths.split_first() else { return };
    let mut common = first.as_str();
    for other in others {
        while !common.is_empty() && common != other.as_str() && !is_above(common, other.as_str()) {
            common = common.rsplit_once('/').map_or("", |(above, _)| above);
        }
    }
    reads(common);
}

fn is_above(folder: &str, path: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

/// The caller came by a link to something in this space, and asks for this path there.
pub(crate) fn came_by(link: LinkId, space: SpaceId, path: &FilePath) {
    note(|noted| {
        noted.link = Some(link);
        noted.path = Some(cut(path.as_str()));
        noted.looks = vec![Look { id: Some(space), ..Look::default() }];
    });
}

/// What a request of S3 is for, whose signature is right.
pub(crate) fn wants(operation: &str, bucket: Option<&str>, key: Option<&str>) {
    let what = match operation {
        "GetObject" | "HeadObject" | "GetObjectAttributes" | "GetObjectTagging" | "GetObjectAcl" => {
            AccessWhat::Read
        }
        other if ["Get", "Head", "List"].iter().any(|begin| other.starts_with(begin)) => AccessWhat::List,
        _ => AccessWhat::Change,
    };
    note(|noted| {
        (noted.what, noted.quiet) = (what, what == AccessWhat::Change);
        (noted.space, noted.path) = (bucket.map(cut), key.map(cut));
    });
}

/// It was refused with this code.
pub(crate) fn refused(code: &str) {
    note(|noted| noted.refused = Some(cut(code)));
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    async fn told(what: AccessWhat, status: u16, happens: impl FnOnce()) -> Vec<AccessEntry> {
        let trail = Arc::new(Trail::new(AccessBy::Files, what, HERE));
        trail.follow(async { happens() }).await;
        trail.told(StatusCode::from_u16(status).unwrap(), Some("no_space"))
    }

    #[tokio::test]
    async fn what_is_read_listed_and_refused_is_told_and_what_is_changed_is_not() {
        let seen = || looked("lab", Some(SpaceId(3)), None);
        let read = told(AccessWhat::Read, 206, seen).await;
        assert_eq!((read.len(), read[0].space_id, &read[0].refused), (1, Some(SpaceId(3)), &None));
        assert!(told(AccessWhat::Change, 200, seen).await.is_empty(), "the log of commands has it");
        assert!(told(AccessWhat::Read, 500, seen).await.is_empty(), "nothing was read");
        let refused =
            told(AccessWhat::Change, 404, || looked(&"x".repeat(500), None, Some("no_space"))).await;
        assert_eq!(refused[0].refused.as_deref(), Some("no_space"));
        assert_eq!(refused[0].space.as_ref().map(|name| name.chars().count()), Some(NAME + 1));
        assert!(told(AccessWhat::List, 200, || ()).await.is_empty(), "it was about no space");
        assert_eq!(told(AccessWhat::List, 401, || ()).await[0].refused.as_deref(), Some("no_space"));
    }

    #[tokio::test]
    async fn a_copy_reads_where_it_copies_from() {
        let copied = told(AccessWhat::Change, 200, || {
            looked("to", Some(SpaceId(1)), None);
            looked("from", Some(SpaceId(2)), None);
            reads("a/b");
        });
        let copied = copied.await;
        assert_eq!(copied.len(), 1);
        assert_eq!((copied[0].what, copied[0].path.as_deref()), (AccessWhat::Read, Some("a/b")));
        assert_eq!(copied[0].space.as_deref(), Some("from"));
    }

    #[tokio::test]
    async fn what_is_read_of_a_job_is_told_unless_a_machine_reads() {
        let read = || note(|noted| noted.job = Some(JobId(7)));
        let owner = told(AccessWhat::Read, 200, read).await;
        assert_eq!((owner.len(), owner[0].job), (1, Some(JobId(7))));
        let machine = || {
            read();
            by_machine();
        };
        assert!(told(AccessWhat::Read, 200, machine).await.is_empty());
        assert_eq!(told(AccessWhat::Read, 404, machine).await.len(), 1, "refused is refused");
        let put = told(AccessWhat::Change, 200, || {
            looked("lab", Some(SpaceId(1)), None);
            reads_results(JobId(7));
        });
        let put = put.await;
        assert_eq!((put.len(), put[0].job, put[0].space_id), (1, Some(JobId(7)), None));
        assert_eq!((put[0].what, put[0].path.as_deref()), (AccessWhat::Read, Some(RESULTS)));
    }

    #[tokio::test]
    async fn many_files_are_told_by_their_folder() {
        for (paths, folder) in [("a/b/c a/b/d", "a/b"), ("a/b a/bc", "a"), ("a", "a"), ("a b", "")] {
            let paths: Vec<FilePath> = paths.split(' ').map(|path| path.parse().unwrap()).collect();
            let read = told(AccessWhat::Read, 200, || {
                looked("lab", None, None);
                reads_all(&paths);
            });
            assert_eq!(read.await[0].path.as_deref(), Some(folder));
        }
    }
}
