//! Who may do what with files: every route, tried by everybody.

use std::collections::BTreeSet;

use pumasi_api::client::HubClient;
use pumasi_api::wire::files::*;
use pumasi_types::Hash;
use serde_json::Value;

use crate::common::*;
use crate::drive::{file, path, put_at};

/// What a route takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Needs {
    /// An account.
    Account,
    /// An account; what more it takes is tried elsewhere.
    AccountAndMore,
    Read,
    Write,
    Manage,
    /// To be an operator, or a member who may read.
    ReadOrOperator,
    Operator,
}

/// Who calls: an account that is no member, members, and an operator who is no member.
const CALLERS: [&str; 5] = ["outsider", "reader", "writer", "manager", "operator"];

/// Every route of spaces, blobs and the store, with a body that it would take, and what is needed for it. Capitals stand
/// for what is in the space at hand.
const ROUTES: &[(&str, &str, &str, &str, Needs)] = &[
    ("get", "/v1/spaces", "", "", Needs::Account),
    ("post", "/v1/spaces", "", r#"{"name":"NEW"}"#, Needs::Account),
    ("get", "/v1/spaces/{space}", "", "", Needs::ReadOrOperator),
    ("put", "/v1/spaces/{space}", "", r#"{"keep_ms":1000}"#, Needs::Manage),
    ("put", "/v1/spaces/{space}/members/{account}", "", r#"{"access":"read"}"#, Needs::Manage),
    ("delete", "/v1/spaces/{space}/members/{account}", "", "null", Needs::Manage),
    ("get", "/v1/spaces/{space}/file", "path=f", "", Needs::Read),
    ("get", "/v1/spaces/{space}/files", "", "", Needs::Read),
    ("get", "/v1/spaces/{space}/walk", "", "", Needs::Read),
    ("get", "/v1/spaces/{space}/content", "path=f", "", Needs::Read),
    ("get", "/v1/spaces/{space}/versions", "path=f", "", Needs::Read),
    ("get", "/v1/spaces/{space}/trash", "", "", Needs::Read),
    ("post", "/v1/spaces/{space}/read", "", r#"{"paths":["f"]}"#, Needs::Read),
    ("post", "/v1/spaces/{space}/claim", "", r#"{"paths":["f"]}"#, Needs::Read),
    ("post", "/v1/spaces/{space}/files", "", r#"{"files":[]}"#, Needs::Write),
    ("put", "/v1/spaces/{space}/content", "path=n", "bytes", Needs::Write),
    ("post", "/v1/spaces/{space}/folders", "", r#"{"path":"d"}"#, Needs::Write),
    ("post", "/v1/spaces/{space}/move", "", r#"{"from":"f","to":"g"}"#, Needs::Write),
    ("post", "/v1/spaces/{space}/copy", "", r#"{"from":"f","to":"g"}"#, Needs::Write),
    ("post", "/v1/spaces/{space}/remove", "", r#"{"paths":["f"]}"#, Needs::Write),
    ("post", "/v1/spaces/{space}/trash/restore", "", r#"{"id":TRASHED}"#, Needs::Write),
    ("post", "/v1/spaces/{space}/trash/empty", "", "{}", Needs::Write),
    ("post", "/v1/spaces/{space}/revert", "", r#"{"path":"f","version":VERSION}"#, Needs::Write),
    ("post", "/v1/spaces/{space}/results", "", r#"{"job":1,"tasks":[]}"#, Needs::Write),
    ("get", "/v1/spaces/{space}/links", "", "", Needs::Write),
    ("post", "/v1/spaces/{space}/links", "", r#"{"path":"f"}"#, Needs::Write),
    ("delete", "/v1/spaces/{space}/links/{link}", "", "null", Needs::Manage),
    ("delete", "/v1/spaces/{space}", "", "null", Needs::Manage),
    ("post", "/v1/blobs", "", "bytes", Needs::Account),
    ("post", "/v1/blobs/many", "", "", Needs::Account),
    ("get", "/v1/blobs/{hash}", "", "", Needs::Manage),
    ("get", "/v1/blobs/{hash}/chunks", "", "", Needs::Manage),
    ("post", "/v1/blobs/held", "", r#"{"blobs":["BLOB"]}"#, Needs::Account),
    ("post", "/v1/blobs/joined", "", r#"{"parts":["BLOB","BLOB"]}"#, Needs::Manage),
    ("post", "/v1/blobs/composed", "", "", Needs::AccountAndMore),
    ("post", "/v1/blobs/{hash}/challenge", "", r#"{"length":6}"#, Needs::AccountAndMore),
    ("post", "/v1/blobs/{hash}/proof", "", r#"{"nonce":"BLOB","answer":"BLOB"}"#, Needs::AccountAndMore),
    ("get", "/v1/store", "", "", Needs::Operator),
    ("get", "/v1/store/spaces", "", "", Needs::Operator),
    ("post", "/v1/store/collect", "", "null", Needs::Operator),
    ("get", "/v1/store/access", "", "", Needs::Operator),
    ("put", "/v1/spaces/{space}", "quota", r#"{"quota_bytes":1000000}"#, Needs::Operator),
];

fn may(caller: &str, needs: Needs) -> bool {
    match needs {
        Needs::Account | Needs::AccountAndMore => true,
        Needs::Read => ["reader", "writer", "manager"].contains(&caller),
        Needs::Write => ["writer", "manager"].contains(&caller),
        Needs::Manage => caller == "manager",
        Needs::ReadOrOperator => caller != "outsider",
        Needs::Operator => caller == "operator",
    }
}

/// A space with a file of two versions, something in the trash, and a link.
struct Setting {
    space: String,
    blob: Hash,
    version: u64,
    trashed: u64,
    link: u64,
}

async fn setting(manager: &HubClient, number: usize, empty: bool) -> Setting {
    let space = format!("space-{number}");
    manager.make_space(&NewSpace { name: space.clone(), keep_ms: None }, None).await.unwrap();
    for (name, access) in [("reader", Access::Read), ("writer", Access::Write)] {
        manager.set_member(&space, name, Some(access), None).await.unwrap();
    }
    let second = format!("second {number}");
    let blob = put(manager, second.as_bytes()).await;
    if empty {
        return Setting { space, blob, version: 0, trashed: 0, link: 0 };
    }
    let first = put_at(manager, &space, "f", b"first").await;
    let gone = put_at(manager, &space, "gone", second.as_bytes()).await;
    let files = PutFiles { files: vec![file("f", blob)] };
    manager.put_files(&space, &files, None).await.unwrap();
    let remove = RemoveFiles { paths: vec![path("gone")], recursive: false, forever: false };
    manager.remove_files(&space, &remove, None).await.unwrap();
    let new = NewLink { path: path("f"), password: None, expires_ms: None, downloads: None };
    let link = manager.add_link(&space, &new, None).await.unwrap().id.0;
    Setting { space, blob, version: first.version.unwrap().0, trashed: gone.id.unwrap().0, link }
}

#[tokio::test]
async fn every_route_of_files_asks_who_is_calling() {
    let hub = TestHub::new().await;
    let mut tokens = Vec::new();
    for caller in &CALLERS[..4] {
        tokens.push(hub.open(caller, &[]).await);
    }
    tokens.push(hub.operator_token());
    let manager = hub.client(&tokens[3]);
    let mut number = 0;
    for &(method, route, query, body, needs) in ROUTES {
        for (caller, token) in
            [("stranger", None)].into_iter().chain(CALLERS.into_iter().zip(tokens.iter().map(Some)))
        {
            number += 1;
            let empties = (method, route) == ("delete", "/v1/spaces/{space}");
            let setting = setting(&manager, number, empties).await;
            let path = route
                .replace("{space}", &setting.space)
                .replace("{account}", "reader")
                .replace("{link}", &setting.link.to_string())
                .replace("{hash}", &setting.blob.to_string());
            let query = if query.contains('=') { format!("?{query}") } else { String::new() };
            let body = body
                .replace("NEW", &format!("new-{number}"))
                .replace("BLOB", &setting.blob.to_string())
                .replace("TRASHED", &setting.trashed.to_string())
                .replace("VERSION", &setting.version.to_string());
            let bearer = token.map(|token| format!("Bearer {token}"));
            let mut headers = vec![("content-type", "application/json")];
            headers.extend(bearer.as_deref().map(|bearer| ("authorization", bearer)));
            let (verb, target) = (method.to_uppercase(), format!("{path}{query}"));
            let answer = hub.raw(&verb, &target, &headers, body.as_bytes()).await;
            let case = format!("{caller}: {verb} {target}: {answer:?}");
            match caller {
                "stranger" => assert_eq!(answer.status, 401, "{case}"),
                // Changing oneself is leaving, which everybody may.
                "reader" if (method, route) == ("delete", "/v1/spaces/{space}/members/{account}") => {
                    assert_eq!(answer.status, 200, "{case}");
                }
                _ if needs == Needs::AccountAndMore => {
                    assert!(![401, 403].contains(&answer.status), "{case}");
                }
                _ if may(caller, needs) => assert!(answer.status < 300, "{case}"),
                // To who is no member it is as if there were no such space.
                "outsider" if route.contains("{space}") => {
                    assert_eq!((answer.status, answer.code().as_str()), (404, "no_space"), "{case}");
                    assert!(!answer.body.contains("f\""), "{case}");
                }
                _ if answer.status == 409 => assert_eq!(answer.code(), "not_held", "{case}"),
                _ => assert!([403, 404].contains(&answer.status), "{case}"),
            }
        }
    }
}

#[test]
fn no_route_of_files_is_forgotten() {
    let document: Value = serde_json::from_str(&pumasi_hub::openapi_json()).unwrap();
    let mut there = BTreeSet::new();
    for (route, methods) in document["paths"].as_object().unwrap() {
        let ours = ["/v1/spaces", "/v1/store", "/v1/blobs"].iter().any(|begin| route.starts_with(begin));
        if ours {
            there.extend(methods.as_object().unwrap().keys().map(|method| (method.clone(), route.clone())));
        }
    }
    let tried: BTreeSet<_> =
        ROUTES.iter().map(|(method, route, ..)| ((*method).to_owned(), (*route).to_owned())).collect();
    let untried: Vec<_> = there.difference(&tried).collect();
    assert!(untried.is_empty(), "these need a line in ROUTES: {untried:?}");
}

#[tokio::test]
async fn nobody_reads_by_knowing_a_hash() {
    let hub = TestHub::new().await;
    let (alice, bob) = (hub.researcher("alice", "1").await, hub.researcher("bob", "1").await);
    let secret = b"what only alice has".repeat(10_000);
    let placed = put_at(&alice, HOME, "secret", &secret).await;
    assert!(placed.error.is_none());
    let blob = Hash::of(&secret);
    let quiet = || std::sync::Arc::new(|_| ());
    assert!(!bob.has_blob(blob).await.unwrap());
    let unknown = refusal(bob.get_blob(Hash::of(b"nothing"), 1 << 20, quiet()).await);
    let known = refusal(bob.get_blob(blob, 1 << 20, quiet()).await);
    let shown = |text: &str, hash: &Hash| text.replace(&hash.to_string(), "HASH");
    assert_eq!(shown(&known.2, &blob), shown(&unknown.2, &Hash::of(b"nothing")), "both look alike");
    assert_eq!((known.0, known.1.as_str()), (404, "no_blob"));
    assert_eq!(refusal(hub.operator().get_blob(blob, 1 << 20, quiet()).await).0, 404, "operators neither");
    // Nor does it become anybody's file.
    let files = PutFiles { files: vec![file("stolen", blob)] };
    let done = bob.put_files(HOME, &files, None).await.unwrap();
    assert_eq!(done.results[0].error.as_ref().unwrap().code, "not_held");
    let copy = CopyFile {
        from_space: Some("alice".to_owned()),
        from: path("secret"),
        to: path("s"),
        replace: false,
    };
    assert_eq!(refusal(bob.copy_file(HOME, &copy, None).await).1, "no_space");

    // Shared, it can be claimed; and what was claimed stays readable for a while, as what was read could be kept.
    alice.make_space(&NewSpace { name: "both".to_owned(), keep_ms: None }, None).await.unwrap();
    put_at(&alice, "both", "secret", &secret).await;
    alice.set_member("both", "bob", Some(Access::Read), None).await.unwrap();
    let claimed = bob.claim_files("both", vec![path("secret"), path("none")], None).await.unwrap().files;
    assert_eq!((claimed[0].blob, claimed[0].size), (Some(blob), Some(secret.len() as u64)));
    assert_eq!(claimed[1].error.as_ref().unwrap().code, "no_file");
    assert_eq!(bob.get_blob(blob, 1 << 20, quiet()).await.unwrap(), secret);
    let done = bob.put_files(HOME, &files, None).await.unwrap();
    assert!(done.results[0].error.is_none(), "{done:?}");
    alice.set_member("both", "bob", None, None).await.unwrap();
    assert_eq!(refusal(bob.find_file("both", &path("secret")).await).1, "no_space");
    assert_eq!(refusal(bob.claim_files("both", vec![path("secret")], None).await).1, "no_space");
}

#[tokio::test]
async fn homes_belong_to_their_accounts() {
    let hub = TestHub::new().await;
    let eve = hub.researcher("eve", "1").await;
    eve.make_space(&NewSpace { name: "later".to_owned(), keep_ms: None }, None).await.unwrap();
    assert_eq!(
        refusal(eve.make_space(&NewSpace { name: "operator".to_owned(), keep_ms: None }, None).await).1,
        "space_taken"
    );
    let later = hub.researcher("later", "1").await;
    // Somebody had a space of this name before there was such an account: it is not its home.
    assert_eq!(refusal(later.space(HOME).await).1, "space_taken");
    assert_eq!(refusal(later.space("later").await).1, "no_space");
    let mine = hub.operator().spaces(true, None).await.unwrap().spaces;
    assert_eq!(
        mine.iter().map(|space| (space.name.as_str(), space.access)).collect::<Vec<_>>(),
        [("later", None)]
    );
    assert_eq!(refusal(eve.spaces(true, None).await).0, 403);
    let both = tokio::join!(eve.space(HOME), eve.space(HOME));
    assert_eq!(both.0.unwrap().id, both.1.unwrap().id, "two first uses at once");
    let own = eve.spaces(false, None).await.unwrap().spaces;
    assert_eq!(own.iter().map(|space| space.name.as_str()).collect::<Vec<_>>(), ["later", "eve"]);
}
