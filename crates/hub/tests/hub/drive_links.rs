//! Links: who has the secret reads what was shared, as often and as long as its maker said, and nothing else.

use pumasi_api::client::HubClient;
use pumasi_api::wire::files::*;
use pumasi_types::FilePath;

use crate::common::*;
use crate::drive::{path, put_at};

fn link(at: &str) -> NewLink {
    NewLink { path: path(at), password: None, expires_ms: None, downloads: None }
}

#[tokio::test]
async fn a_page_shows_what_was_shared_in_two_languages() {
    let hub = TestHub::new().await;
    let alice = hub.researcher("alice", "1").await;
    let odd = "<img src=x onerror=alert(1)> & \"q\".html";
    put_at(&alice, HOME, &format!("out/{odd}"), b"<script>alert(1)</script>").await;
    put_at(&alice, HOME, "out/sub/물개.txt", b"seal").await;
    put_at(&alice, HOME, "private", b"not shared").await;
    let made = alice.add_link(HOME, &link("out"), None).await.unwrap();
    let page = hub.raw("GET", &made.page, &[("accept-language", "ko-KR,ko;q=0.9")], b"").await;
    assert_eq!(page.status, 200, "{page:?}");
    assert!(page.body.contains("<html lang=\"ko\">") && page.body.contains("sub/</a>"), "{}", page.body);
    assert!(!page.body.contains("<img") && page.body.contains("&lt;img"), "{}", page.body);
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("script"), "{policy}");
    for (name, value) in [
        ("referrer-policy", "no-referrer"),
        ("x-robots-tag", "noindex, nofollow"),
        ("x-content-type-options", "nosniff"),
        ("cache-control", "private, no-store"),
    ] {
        assert_eq!(page.header(name), Some(value), "{page:?}");
    }
    let english = hub.raw("GET", &format!("{}?path=sub&lang=en", made.page), &[], b"").await;
    assert!(
        english.body.contains("<html lang=\"en\">") && english.body.contains("물개.txt"),
        "{}",
        english.body
    );

    let raw = format!("{}/raw", made.page);
    let target = format!("{raw}?path={}", pumasi_api::client::escape(odd));
    let bytes = hub.raw("GET", &target, &[("range", "bytes=1-6")], b"").await;
    assert_eq!((bytes.status, bytes.body.as_str()), (206, "script"));
    assert_eq!(bytes.header("content-type"), Some("application/octet-stream"));
    let name = bytes.header("content-disposition").unwrap();
    assert!(name.starts_with("attachment; ") && !name.contains('<'), "{name}");
    let korean = hub.raw("GET", &format!("{raw}?path=sub%2F%EB%AC%BC%EA%B0%9C.txt"), &[], b"").await;
    assert!(
        korean.header("content-disposition").unwrap().ends_with("filename*=UTF-8''%EB%AC%BC%EA%B0%9C.txt")
    );
    assert_eq!(korean.body, "seal");

    // Nothing beside it, above it or in its place.
    for outside in ["private", "..%2Fprivate", "%2F..%2Fprivate", "sub%2F..%2F..%2Fprivate", "sub", ""] {
        let answer = hub.raw("GET", &format!("{raw}?path={outside}"), &[], b"").await;
        assert!([400, 404].contains(&answer.status), "{outside}: {answer:?}");
    }
    for wrong in ["/s/", "/s/x", &made.page[..made.page.len() - 1], &format!("{}x", made.page)] {
        let answer = hub.raw("GET", wrong, &[], b"").await;
        assert!([404, 410].contains(&answer.status), "{wrong}: {answer:?}");
    }
    // It follows what it is to, and ends with it.
    let moved = MoveFile { from: path("out"), to: path("elsewhere"), replace: false };
    alice.move_file(HOME, &moved, None).await.unwrap();
    assert_eq!(hub.raw("GET", &made.page, &[], b"").await.status, 200);
    let remove = RemoveFiles { paths: vec![path("elsewhere")], recursive: true, forever: false };
    alice.remove_files(HOME, &remove, None).await.unwrap();
    assert_eq!(hub.raw("GET", &made.page, &[], b"").await.status, 410);
}

#[tokio::test]
async fn a_password_is_asked_kept_slowly_and_guessed_slowly() {
    let hub = TestHub::new().await;
    let alice = hub.researcher("alice", "1").await;
    put_at(&alice, HOME, "f", b"hidden").await;
    let new = NewLink { password: Some("물개 & 바다".to_owned()), ..link("f") };
    // The same request makes the same link.
    let id = Some(HubClient::new_request_id());
    let made = alice.add_link(HOME, &new, id).await.unwrap();
    assert_eq!(alice.add_link(HOME, &new, id).await.unwrap(), made);
    let links = alice.links(HOME).await.unwrap().links;
    assert!(links.len() == 1 && links[0].password, "{links:?}");
    assert!(!serde_json::to_string(&links).unwrap().contains("argon2"));

    let closed = hub.raw("GET", &made.page, &[], b"").await;
    assert_eq!(closed.status, 403);
    assert!(closed.body.contains("type=\"password\"") && !closed.body.contains(">f<"), "{}", closed.body);
    let raw = format!("{}/raw", made.page);
    let closed = hub.raw("GET", &raw, &[], b"").await;
    assert_eq!((closed.status, closed.body.contains("hidden")), (401, false));
    assert!(closed.header("www-authenticate").unwrap().starts_with("Basic"));

    let form = [("content-type", "application/x-www-form-urlencoded")];
    let wrong = hub.raw("POST", &made.page, &form, b"password=wrong").await;
    assert_eq!((wrong.status, wrong.header("set-cookie")), (403, None));
    let typed = "password=%EB%AC%BC%EA%B0%9C+%26+%EB%B0%94%EB%8B%A4";
    let right = hub.raw("POST", &made.page, &form, typed.as_bytes()).await;
    assert_eq!((right.status, right.header("location")), (303, Some(made.page.as_str())));
    let cookie = right.header("set-cookie").unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains(&format!("Path={}", made.page)), "{cookie}");
    let cookie = cookie.split(';').next().unwrap();
    let open = hub.raw("GET", &made.page, &[("cookie", cookie)], b"").await;
    assert_eq!(open.status, 200, "{open:?}");
    assert_eq!(hub.raw("GET", &raw, &[("cookie", cookie)], b"").await.body, "hidden");
    let another = alice.add_link(HOME, &new, None).await.unwrap();
    let other = hub.raw("GET", &format!("{}/raw", another.page), &[("cookie", cookie)], b"").await;
    assert_eq!(other.status, 401, "a pass is for one link");

    let basic = [("authorization", "Basic eDrrrLzqsJwgJiDrsJTri6Q=")];
    assert_eq!(hub.raw("GET", &format!("{}/raw", another.page), &basic, b"").await.body, "hidden");
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(hub.raw("POST", &another.page, &form, b"password=guess").await.status);
    }
    assert!(statuses.contains(&429), "{statuses:?}");
    for bad in ["", "x".repeat(129).as_str()] {
        let new = NewLink { password: Some(bad.to_owned()), ..link("f") };
        assert_eq!(refusal(alice.add_link(HOME, &new, None).await).0, 400);
    }
}

#[tokio::test]
async fn downloads_are_counted_down_and_links_end() {
    let hub = TestHub::new().await;
    let alice = hub.researcher("alice", "1").await;
    put_at(&alice, HOME, "f", b"0123456789").await;
    let made = alice.add_link(HOME, &NewLink { downloads: Some(5), ..link("f") }, None).await.unwrap();
    let raw = format!("{}/raw", made.page);
    assert_eq!(hub.raw("HEAD", &raw, &[], b"").await.status, 200);
    assert!(hub.raw("GET", &made.page, &[], b"").await.body.contains("5</p>"), "neither page nor HEAD count");
    // In parts it could be had more often than allowed.
    let part = hub.raw("GET", &raw, &[("range", "bytes=1-3")], b"").await;
    assert_eq!((part.status, part.body.as_str()), (200, "0123456789"));
    assert_eq!(part.header("accept-ranges"), Some("none"));
    let asked: Vec<_> = (0..12).map(|_| hub.raw("GET", &raw, &[], b"")).collect();
    let had = futures_util::future::join_all(asked).await;
    let had: Vec<_> =
        had.into_iter().map(|answer| (answer.status, answer.body.contains("0123456789"))).collect();
    assert_eq!(had.iter().filter(|had| **had == (200, true)).count(), 4, "{had:?}");
    assert!(had.iter().all(|had| [(200, true), (410, false)].contains(had)), "{had:?}");
    assert_eq!(hub.raw("GET", &made.page, &[], b"").await.status, 410);

    let soon = pumasi_types::Time(0);
    assert_eq!(
        refusal(alice.add_link(HOME, &NewLink { expires_ms: Some(soon.0 + 1), ..link("f") }, None).await).0,
        400
    );
    let now =
        || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64;
    let ends = now() + 2_000;
    let short = alice.add_link(HOME, &NewLink { expires_ms: Some(ends), ..link("f") }, None).await.unwrap();
    let early = hub.raw("GET", &short.page, &[], b"").await.status;
    assert!(early == 200 || now() >= ends, "{early}");
    tokio::time::sleep(std::time::Duration::from_millis(2_100)).await;
    assert_eq!(hub.raw("GET", &short.page, &[], b"").await.status, 410);

    let whole = alice.add_link(HOME, &NewLink { path: FilePath::root(), ..link("f") }, None).await.unwrap();
    assert!(hub.raw("GET", &whole.page, &[], b"").await.body.contains(">f</a>"), "a link to a whole space");
    let bob = hub.researcher("bob", "1").await;
    assert_eq!(refusal(bob.remove_link(HOME, whole.id, None).await).0, 404);
    alice.remove_link(HOME, whole.id, None).await.unwrap();
    assert_eq!(hub.raw("GET", &whole.page, &[], b"").await.status, 410);
}
