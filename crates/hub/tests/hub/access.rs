//! The access log: who read what and who was refused, told to those whom it concerns, within its bounds.

use std::collections::BTreeSet;

use pumasi_api::client::HubClient;
use pumasi_api::wire::access::{AccessBy, AccessEntry, AccessWhat};
use pumasi_api::wire::files::*;
use pumasi_api::wire::results::ResultPart;
use pumasi_types::ByteSize;

use crate::common::*;
use crate::drive::{all, file, path, put_at};
use crate::results::{claim, deliver, done_job};

/// Everything that is told, the newest first, page by page.
async fn accesses(client: &HubClient, space: Option<&str>) -> Vec<AccessEntry> {
    let (mut told, mut before) = (Vec::new(), None);
    loop {
        let page = client.accesses(space, before, 50).await.unwrap();
        assert!(page.entries.len() <= 50);
        told.extend(page.entries);
        before = page.next;
        if before.is_none() {
            return told;
        }
    }
}

/// Who did what, where, and why not.
fn deed(entry: &AccessEntry) -> (&str, AccessWhat, &str, &str) {
    fn text(text: &Option<String>) -> &str {
        text.as_deref().unwrap_or_default()
    }
    (text(&entry.account_name), entry.what, text(&entry.path), text(&entry.refused))
}

fn log_of(hub: &TestHub) -> String {
    std::fs::read_to_string(hub.data().join("access.log")).unwrap()
}

#[tokio::test]
async fn who_manages_a_space_sees_who_reads_there_and_nobody_else_does() {
    let hub = TestHub::new().await;
    let token = hub.open("eve", &["researcher"]).await;
    let (alice, bob, eve) =
        (hub.researcher("alice", "1").await, hub.researcher("bob", "1").await, hub.client(&token));
    alice.make_space(&NewSpace { name: "lab".to_owned(), keep_ms: None }, None).await.unwrap();
    alice.set_member("lab", "bob", Some(Access::Read), None).await.unwrap();
    let blob = put_at(&alice, "lab", "f/one", b"read by members").await;
    assert!(blob.error.is_none());
    put_at(&alice, HOME, "private", b"not in the lab").await;
    all(alice.read_file(HOME, &path("private"), None, None).await.unwrap()).await;
    for _ in 0..2 {
        all(bob.read_file("lab", &path("f/one"), None, None).await.unwrap()).await;
    }
    let blob = put(&bob, b"new").await;
    let files = PutFiles { files: vec![file("new", blob)] };
    assert_eq!(refusal(bob.put_files("lab", &files, None).await).1, "no_access");
    assert_eq!(refusal(eve.find_file("lab", &path("f/one")).await).1, "no_space");

    let told = accesses(&alice, Some("lab")).await;
    let read = told.iter().find(|entry| deed(entry) == ("bob", AccessWhat::Read, "f/one", "")).unwrap();
    assert_eq!((read.times, read.by), (2, Some(AccessBy::Files)), "what is alike is one line");
    assert!(read.at_ms > 0 && read.until_ms >= read.at_ms, "{read:?}");
    let deeds: Vec<_> = told.iter().map(deed).collect();
    for wanted in
        [("bob", AccessWhat::Change, "", "no_access"), ("eve", AccessWhat::List, "f/one", "no_space")]
    {
        assert!(deeds.contains(&wanted), "{wanted:?}: {told:?}");
    }
    for entry in &told {
        assert_eq!((entry.space.as_deref(), entry.address.as_deref()), (Some("lab"), Some("127.0.0.1")));
        assert!(["bob", "eve"].contains(&deed(entry).0), "what alice changed is in the log of commands");
    }
    assert_eq!(refusal(eve.accesses(Some("lab"), None, 9).await).1, "no_space");
    assert_eq!(refusal(bob.accesses(Some("lab"), None, 9).await).1, "no_access");
    assert_eq!(refusal(bob.accesses(None, None, 9).await).0, 403);
    let own = accesses(&alice, Some(HOME)).await;
    assert!(own.iter().any(|entry| deed(entry) == ("alice", AccessWhat::Read, "private", "")), "{own:?}");
    assert!(own.iter().all(|entry| entry.space.as_deref() == Some("alice")), "{own:?}");

    // A later space of the same name is another.
    let remove = RemoveFiles { paths: vec![path("f")], recursive: true, forever: true };
    alice.remove_files("lab", &remove, None).await.unwrap();
    alice.remove_space("lab", None).await.unwrap();
    eve.make_space(&NewSpace { name: "lab".to_owned(), keep_ms: None }, None).await.unwrap();
    let new = accesses(&eve, Some("lab")).await;
    assert!(!new.iter().any(|entry| deed(entry).0 == "bob"), "{new:?}");

    let _ = eve.find_file(&"x".repeat(4_000), &path("f")).await;
    let hub = hub.restarted().await;
    let told = accesses(&hub.operator(), None).await;
    assert!(told.iter().any(|entry| deed(entry) == ("bob", AccessWhat::Read, "f/one", "")), "{told:?}");
    let names = told.iter().filter_map(|entry| entry.space.as_ref()).map(|name| name.chars().count());
    assert!(names.max().unwrap() <= 257, "names of strangers are cut");
    let log = log_of(&hub);
    assert!(!log.contains(token.trim()) && !log.contains("pumasi_"), "no tokens");
}

#[tokio::test]
async fn links_are_told_by_their_numbers_and_wrong_passwords_are_counted() {
    let hub = TestHub::new().await;
    let alice = hub.researcher("alice", "1").await;
    put_at(&alice, HOME, "out/f", b"shared").await;
    let new = NewLink { path: path("out"), password: None, expires_ms: None, downloads: None };
    let open = alice.add_link(HOME, &new, None).await.unwrap();
    let new = NewLink { password: Some("zebra".to_owned()), ..new };
    let closed = alice.add_link(HOME, &new, None).await.unwrap();
    let raw = format!("{}/raw?path=f", open.page);
    assert_eq!(hub.raw("GET", &raw, &[], b"").await.body, "shared");
    let form = [("content-type", "application/x-www-form-urlencoded")];
    for _ in 0..2 {
        assert_eq!(hub.raw("POST", &closed.page, &form, b"password=giraffe").await.status, 403);
    }
    assert_eq!(hub.raw("GET", "/s/never-made", &[], b"").await.status, 410);
    let told = accesses(&alice, Some(HOME)).await;
    let of = |link| told.iter().filter(move |entry| entry.link == Some(link)).collect::<Vec<_>>();
    let read = of(open.id);
    assert_eq!((read.len(), deed(read[0])), (1, ("", AccessWhat::Read, "out/f", "")), "{told:?}");
    let wrong = of(closed.id);
    assert_eq!((wrong.len(), deed(wrong[0])), (1, ("", AccessWhat::Open, "out", "wrong_password")));
    assert_eq!((wrong[0].times, wrong[0].by), (2, Some(AccessBy::Link)));
    let all = accesses(&hub.operator(), None).await;
    assert!(all.iter().any(|entry| deed(entry) == ("", AccessWhat::List, "", "no_link")), "{all:?}");
    let log = log_of(&hub);
    for secret in ["giraffe", "zebra", &open.page[3..], &closed.page[3..], "never-made"] {
        assert!(!log.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn who_reads_results_of_a_job_is_told_to_operators() {
    let hub = TestHub::new().await;
    let (alice, eve, operator) =
        (hub.researcher("alice", "200").await, hub.researcher("eve", "1").await, hub.operator());
    let job = done_job(&hub, &alice).await;
    let stdout = format!("/v1/jobs/{job}/tasks/0/stdout");
    for client in [&alice, &operator] {
        assert_eq!(client.get_bytes(&stdout, 100).await.unwrap(), "first");
    }
    assert_eq!(refusal(eve.get_bytes(&stdout, 100).await).0, 403);
    alice.make_space(&NewSpace { name: "lab".to_owned(), keep_ms: None }, None).await.unwrap();
    deliver(&alice, "lab", job, &[(0, "x")]).await;
    claim(&alice, job, &[(0, ResultPart::Stdout), (1, ResultPart::Output)]).await;
    let told = accesses(&operator, None).await;
    let mut of_job: Vec<_> =
        told.iter().filter(|entry| entry.job == Some(job)).map(|entry| (deed(entry), entry.times)).collect();
    of_job.sort_by_key(|((name, ..), _)| *name);
    let read = |name, times, refused| ((name, AccessWhat::Read, "results", refused), times);
    let wanted = [read("alice", 3, ""), read("eve", 1, "not_yours"), read("operator", 1, "")];
    assert_eq!(of_job, wanted, "{told:?}");
    let lab = accesses(&alice, Some("lab")).await;
    assert!(lab.iter().all(|entry| entry.job.is_none()), "{lab:?}");
}

#[tokio::test]
async fn keys_of_s3_that_are_none_are_told() {
    let hub = TestHub::new().await;
    let signed = "AWS4-HMAC-SHA256 Credential=NOBODY/20260101/us-east-1/s3/aws4_request, \
                  SignedHeaders=host, Signature=5ec3e7";
    let answer = hub.raw("GET", "/bucket/key?secret=5ec3e7", &[("authorization", signed)], b"").await;
    assert_eq!(answer.status, 403, "{answer:?}");
    let told = accesses(&hub.operator(), None).await;
    let told = told.iter().find(|entry| entry.by == Some(AccessBy::S3)).unwrap();
    assert_eq!(deed(told), ("", AccessWhat::Read, "/bucket/key", "InvalidAccessKeyId"));
    assert!(!log_of(&hub).contains("5ec3e7"), "neither signatures nor queries");
    // Whatever is answered has a name, and no link is good for longer than a week.
    let link = "/bucket/key?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=NOBODY&X-Amz-Expires=604801";
    let refused = hub.raw("GET", link, &[], b"").await;
    assert!(refused.status == 403 && refused.body.contains("<Code>AccessDenied</Code>"), "{refused:?}");
    let names = [&answer, &refused].map(|answer| answer.header("x-amz-request-id").map(str::to_owned));
    assert!(names[0].is_some() && names[1].is_some() && names[0] != names[1], "{names:?}");
}

#[tokio::test]
async fn a_flood_of_strangers_has_some_lines_and_a_count() {
    let hub = TestHub::new().await;
    // Known from now on: whoever comes new from a flooding neighbourhood waits.
    let operator = hub.operator();
    assert!(accesses(&operator, None).await.is_empty());
    for number in 0..150 {
        let answer = hub.raw("GET", &format!("/v1/spaces/none-{number}/files"), &[], b"").await;
        assert!([401, 429].contains(&answer.status), "{answer:?}");
    }
    assert_eq!(accesses(&operator, None).await.len(), 64);
    let hub = hub.restarted().await;
    let told = accesses(&hub.operator(), None).await;
    assert_eq!(told.iter().map(|entry| entry.times).sum::<u64>(), 150, "each is counted");
    let more = told.iter().find(|entry| entry.what == AccessWhat::More).unwrap();
    assert_eq!((more.times, more.address.as_deref()), (150 - 64, Some("127.0.0.1")));
}

#[tokio::test]
async fn the_log_is_as_long_as_the_operator_says() {
    let hub = TestHub::with(|options| options.access_log_size = Some(ByteSize(0))).await;
    let alice = hub.researcher("alice", "1").await;
    for number in 0..300 {
        assert_eq!(refusal(alice.find_file(HOME, &path(&format!("p-{number}"))).await).1, "no_file");
    }
    let told = accesses(&alice, Some(HOME)).await;
    let paths: BTreeSet<&str> = told.iter().filter_map(|entry| entry.path.as_deref()).collect();
    assert!(paths.len() > 50 && paths.len() < 300, "{}", paths.len());
    assert!(paths.contains("p-299") && !paths.contains("p-0"), "the oldest give way: {paths:?}");
    for name in ["access.log", "access.log.1"] {
        let size = std::fs::metadata(hub.data().join(name)).unwrap().len();
        assert!((1..=16 << 10).contains(&size), "{name}: {size}");
    }
    let off = TestHub::with(|options| options.access_log_size = None).await;
    assert_eq!(refusal(off.operator().accesses(None, None, 9).await).1, "no_access_log");
    assert!(!off.data().join("access.log").exists());
}
