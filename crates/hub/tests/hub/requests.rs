//! The HTTP API against callers who are strangers, ask for too much, repeat themselves or write nonsense.

use std::time::Duration;

use crate::common::*;
use pumasi_api::client::{ClientError, HubClient};
use pumasi_api::wire;
use pumasi_types::{ByteSize, Hash, RequestId};
use serde_json::{Value, json};

/// Every endpoint that changes something or tells of somebody, with a body that it would take.
const GUARDED: [(&str, &str, &str); 32] = [
    ("GET", "/v1/me", ""),
    ("GET", "/v1/workers", ""),
    ("GET", "/v1/books", ""),
    ("GET", "/v1/accounts", ""),
    ("POST", "/v1/accounts", r#"{"name":"eve","roles":["operator"]}"#),
    ("GET", "/v1/accounts/operator", ""),
    ("POST", "/v1/accounts/operator/tokens", "{}"),
    ("POST", "/v1/tokens/revoke", r#"{"token":"x"}"#),
    ("POST", "/v1/issue", r#"{"to":"operator","amount":"1"}"#),
    ("POST", "/v1/transfers", r#"{"to":"operator","amount":"1"}"#),
    ("POST", "/v1/holds", r#"{"amount":"1"}"#),
    ("POST", "/v1/holds/1/settle", r#"{"to":"operator","amount":"1"}"#),
    ("POST", "/v1/holds/1/release", "{}"),
    ("GET", "/v1/statement", ""),
    ("POST", "/v1/blobs", "bytes"),
    ("GET", "/v1/blobs/0000000000000000000000000000000000000000000000000000000000000000", ""),
    ("GET", "/v1/jobs", ""),
    ("POST", "/v1/jobs", "{}"),
    ("GET", "/v1/jobs/1", ""),
    ("POST", "/v1/jobs/1/cancel", "{}"),
    ("GET", "/v1/jobs/1/tasks", ""),
    ("GET", "/v1/jobs/1/tasks/0/stdout", ""),
    ("PUT", "/v1/market", r#"{"fee_to":"operator","tax_to":"operator","fee_bp":0}"#),
    ("PUT", "/v1/shop", r#"{"settle_at":"placing"}"#),
    ("GET", "/v1/articles", ""),
    ("POST", "/v1/articles", "[]"),
    ("GET", "/v1/articles/1", ""),
    ("POST", "/v1/stock", "[]"),
    ("POST", "/v1/orders", "[]"),
    ("POST", "/v1/customers", r#"{"names":["eve"]}"#),
    ("POST", "/v1/orders/stream", ""),
    ("GET", "/v1/orders/1", ""),
];

#[tokio::test]
async fn strangers_are_refused_everywhere_and_guessing_is_slowed_down() {
    let hub = TestHub::new().await;
    for (method, path, body) in GUARDED {
        let answer = hub.raw(method, path, &[("content-type", "application/json")], body.as_bytes()).await;
        answer.expect(401, "unknown_token");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    }
    let mut last = hub.json("pumasi_guess", "GET", "/v1/me", "").await;
    last.expect(401, "unknown_token");
    for _ in 0..100 {
        last = hub.json("pumasi_guess", "GET", "/v1/me", "").await;
        if last.status == 429 {
            break;
        }
    }
    last.expect(429, "too_many_requests");
    assert!(last.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    assert_eq!(hub.raw("GET", "/v1/hub", &[], b"").await.status, 200, "what is open to all stays open");
}

#[tokio::test]
async fn what_a_role_is_needed_for_is_refused_to_others() {
    let hub = TestHub::new().await;
    let (researcher, owner) = (hub.open("alice", &["researcher"]).await, hub.open("bob", &["owner"]).await);
    let order = json!({"module": Hash::of(b""), "tasks": 1, "budget": "1"}).to_string();
    for (token, method, path, body, code) in [
        (&owner, "POST", "/v1/jobs", order.as_str(), "wrong_role"),
        (&researcher, "POST", "/v1/accounts", r#"{"name":"eve","roles":["operator"]}"#, "wrong_role"),
        (&researcher, "POST", "/v1/issue", r#"{"to":"alice","amount":"1"}"#, "wrong_role"),
        (&owner, "POST", "/v1/issue", r#"{"to":"bob","amount":"1"}"#, "wrong_role"),
        (&researcher, "GET", "/v1/accounts", "", "not_yours"),
        (&researcher, "GET", "/v1/accounts/bob", "", "not_yours"),
        (&researcher, "POST", "/v1/accounts/bob/tokens", "{}", "not_yours"),
        (&researcher, "POST", "/v1/accounts/pumasi/tokens", "{}", "not_yours"),
        (&researcher, "GET", "/v1/books", "", "not_yours"),
        (&researcher, "GET", "/v1/statement?account=bob", "", "not_yours"),
    ] {
        hub.json(token, method, path, body).await.expect(403, code);
    }
    let stolen = json!({ "token": owner }).to_string();
    hub.json(&researcher, "POST", "/v1/tokens/revoke", &stolen).await.expect(403, "not_yours");
    // Not even an operator gets a token that speaks for the hub itself.
    let operator = hub.operator_token();
    hub.json(&operator, "POST", "/v1/accounts/pumasi/tokens", "{}").await.expect(403, "not_yours");
}

#[tokio::test]
async fn the_jobs_and_holds_of_others_are_closed() {
    let hub = TestHub::new().await;
    let alice = hub.researcher("alice", "100").await;
    let eve = hub.open("eve", &["researcher"]).await;
    let ordered = submit(&alice, 1, "10").await;
    let held: wire::Held = alice.post("/v1/holds", &json!({"amount": "5"}), None).await.unwrap();
    let job = format!("/v1/jobs/{}", ordered.id);
    // Waiting for it must not be possible either: it would tell when it is over.
    let waited = std::time::Instant::now();
    for path in ["", "?wait_ms=30000", "/tasks", "/tasks/0", "/tasks/0/output", "/tasks/0/stdout"] {
        hub.json(&eve, "GET", &format!("{job}{path}"), "").await.expect(403, "not_yours");
    }
    assert!(waited.elapsed() < Duration::from_secs(20));
    hub.json(&eve, "POST", &format!("{job}/cancel"), "{}").await.expect(403, "not_yours");
    let settle = r#"{"to":"eve","amount":"5"}"#;
    let hold = format!("/v1/holds/{}", held.hold);
    hub.json(&eve, "POST", &format!("{hold}/settle"), settle).await.expect(403, "not_yours");
    hub.json(&eve, "POST", &format!("{hold}/release"), "{}").await.expect(403, "not_yours");
    let module = put(&hub.client(&eve), MODULE).await;
    let after = json!({"module": module, "tasks": 1, "budget": "20", "after": [ordered.id]});
    let eves = hub.json(&eve, "POST", "/v1/jobs", &after.to_string()).await;
    eves.expect(403, "not_yours");
    let jobs: wire::Jobs = hub.client(&eve).get("/v1/jobs?all=true").await.unwrap();
    assert_eq!(jobs.jobs, []);
    let all: wire::Jobs = hub.operator().get("/v1/jobs?all=true").await.unwrap();
    assert_eq!(all.jobs.len(), 1);
    // The budget of a job is nobody's to settle by hand, not even its owner's.
    let budget = refusal(alice.post::<_, Value>("/v1/holds/1/release", &json!({}), None).await);
    assert_eq!((budget.0, budget.1.as_str()), (409, "hold_in_use"));
}

#[tokio::test]
async fn malformed_requests_are_told_what_is_wrong() {
    let hub = TestHub::new().await;
    let alice = hub.researcher("alice", "100").await;
    let module = put(&alice, MODULE).await;
    let token: wire::NewToken = alice.post("/v1/accounts/alice/tokens", &json!({}), None).await.unwrap();
    let token = token.token;
    let good = json!({"module": module, "tasks": 1, "budget": "20"});
    let order = |field: &str, value: Value| {
        let mut order = good.clone();
        order[field] = value;
        order.to_string()
    };
    let jobs = [
        "{".to_owned(),
        "[]".to_owned(),
        "nonsense".to_owned(),
        "\u{0}".to_owned(),
        "[".repeat(100_000),
        "{}".to_owned(),
        order("taks", json!(1)),
        order("tasks", json!("one")),
        order("tasks", json!(-1)),
        order("tasks", json!(0)),
        order("tasks", json!(4_294_967_296_u64)),
        order("tasks", json!(4_294_967_295_u64)),
        order("module", json!("../../etc/passwd")),
        order("module", json!("zz".repeat(32))),
        order("quorum", json!(0)),
        order("quorum", json!(200)),
        order("priority", json!(40_000)),
        order("budget", json!(20)),
        order("budget", json!("-20")),
        order("budget", json!("0")),
        order("budget", json!("1e9")),
        order("budget", json!("99999999999999999999")),
        order("budget", json!("0.0000001")),
        order("bid", json!("-1")),
        order("bid", json!("9223372036854.775807")),
        order("limits", json!({"fuel": 0})),
        order("limits", json!({"fuel": 18_446_744_073_709_551_615_u64})),
        order("limits", json!({"memory_bytes": 0})),
        order("limits", json!({"memory_bytes": 1_u64 << 60})),
        order("limits", json!({"wall_ms": 18_446_744_073_709_551_615_u64})),
        order("limits", json!({"wall_ms": 0})),
        order("limits", json!({"output_bytes": 1_u64 << 60})),
        order("limits", json!({"cpu": 1})),
        order("deadline_ms", json!(1)),
        order("deadline_ms", json!(18_446_744_073_709_551_615_u64)),
        order("engine", json!("")),
        order("engine", json!("wasmtime\n")),
        order("name", json!("x".repeat(1000))),
        order("name", json!("\u{1b}[31m")),
        order("args", json!(["a\u{0}b"])),
        order("args", json!(vec!["x"; 1001])),
        order("args", json!(["x".repeat(200_000)])),
        order("env", json!(["NAME"])),
        order("env", json!(["=x"])),
        order("max_losses", json!(256)),
        order("after", json!(vec![1; 2000])),
    ];
    for body in jobs {
        let answer = hub.json(&token, "POST", "/v1/jobs", &body).await;
        assert!(
            matches!(answer.code().as_str(), "invalid" | "bad_engine" | "budget_too_small"),
            "{body:.100}: {answer:?}"
        );
        assert_eq!(answer.status, 400, "{body:.100}: {answer:?}");
    }
    for (path, body) in [
        ("/v1/transfers", r#"{"to":"operator","amount":"-1"}"#),
        ("/v1/transfers", r#"{"to":"operator","amount":"0"}"#),
        ("/v1/transfers", r#"{"to":"operator","amount":"9223372036854775808"}"#),
        ("/v1/transfers", r#"{"to":"operator","amount":"1","currency":"DOGE"}"#),
        ("/v1/transfers", r#"{"to":"alice","amount":"1"}"#),
        ("/v1/holds", r#"{"amount":"-1"}"#),
        ("/v1/holds", r#"{"amount":"1","expires_ms":1}"#),
        ("/v1/holds", r#"{"amount":"1","expires_ms":18446744073709551615}"#),
    ] {
        let answer = hub.json(&token, "POST", path, body).await;
        assert_eq!(answer.status, 400, "{body}: {answer:?}");
        answer.code();
    }
    for path in [
        "/v1/jobs/x",
        "/v1/jobs/-1",
        "/v1/jobs/99999999999999999999",
        "/v1/jobs/1?wait_ms=-1",
        "/v1/jobs?limit=x",
        "/v1/jobs/1/tasks/4294967296",
        "/v1/jobs/1/tasks?state=odd",
        "/v1/statement?before=x",
        "/v1/statement?currency=DOGE",
        "/v1/blobs/abc",
        "/v1/blobs/..%2f..%2foperator.token",
    ] {
        hub.json(&token, "GET", path, "").await.expect(400, "invalid");
    }
    let bearer = format!("Bearer {token}");
    let text = [("authorization", bearer.as_str()), ("content-type", "text/plain")];
    hub.raw("POST", "/v1/jobs", &text, b"{}").await.expect(415, "invalid");
    let long_key = "k".repeat(201);
    let keyed = [text[0], ("content-type", "application/json"), ("idempotency-key", long_key.as_str())];
    hub.raw("POST", "/v1/holds", &keyed, br#"{"amount":"1"}"#).await.expect(400, "invalid");
    assert_eq!(money(&alice).await, ("100.00".into(), "0.00".into()));
    let jobs: wire::Jobs = alice.get("/v1/jobs").await.unwrap();
    assert_eq!(jobs.jobs, []);
}

#[tokio::test]
async fn unknown_names_routes_and_methods_are_told_apart() {
    let hub = TestHub::new().await;
    let operator = hub.operator_token();
    for (method, path, body, status, code) in [
        ("GET", "/", "", 404, "no_route"),
        ("GET", "/v2/jobs", "", 404, "no_route"),
        ("GET", "/v1/jobs/1/../../me", "", 404, "no_route"),
        ("POST", "/pumasi.worker.v1.WorkerLink/Nothing", "", 404, "no_route"),
        ("DELETE", "/v1/me", "", 405, "no_method"),
        ("PUT", "/v1/blobs", "", 405, "no_method"),
        ("GET", "/v1/jobs/7", "", 404, "no_job"),
        ("GET", "/v1/accounts/nobody", "", 404, "no_account"),
        ("POST", "/v1/transfers", r#"{"to":"nobody","amount":"1"}"#, 404, "no_account"),
        ("POST", "/v1/tokens/revoke", r#"{"token":"x"}"#, 404, "no_token"),
        ("POST", "/v1/holds/9/release", "{}", 404, "no_hold"),
        ("POST", "/v1/accounts", r#"{"name":"operator","roles":[]}"#, 409, "name_taken"),
        ("POST", "/v1/accounts", r#"{"name":"Big","roles":[]}"#, 400, "invalid"),
        ("POST", "/v1/accounts", r#"{"name":"ok","roles":["king"]}"#, 400, "invalid"),
        ("POST", "/v1/transfers", r#"{"to":"pumasi","amount":"1"}"#, 402, "not_enough_money"),
    ] {
        let answer = hub.json(&operator, method, path, body).await;
        if path.contains("Nothing") {
            assert!(answer.status == 200 || answer.status == 404, "gRPC has its own words: {answer:?}");
            continue;
        }
        answer.expect(status, code);
    }
    let absent = Hash::of(b"absent");
    hub.json(&operator, "GET", &format!("/v1/blobs/{absent}"), "").await.expect(404, "no_blob");
    assert!(!hub.operator().has_blob(absent).await.unwrap());
    let present = put(&hub.operator(), b"present").await;
    assert!(hub.operator().has_blob(present).await.unwrap());
}

#[tokio::test]
async fn what_is_too_large_is_refused_and_nothing_of_it_kept() {
    let hub = TestHub::with(|options| options.max_upload = ByteSize(100_000)).await;
    let alice = hub.researcher("alice", "1").await;
    let blobs = hub.data().join("blobs");
    let before = files(&blobs);
    let large = vec![7; 100_001];
    let hash = Hash::of(&large);
    let source = pumasi_api::client::Source::Bytes(large.clone().into());
    let announced = alice.put_blob(&source, hash, std::sync::Arc::new(|_| ())).await;
    assert_eq!(refusal(announced).0, 413);
    // One that does not say how long it is (RFC 9112, section 7.1).
    let token: wire::NewToken = alice.post("/v1/accounts/alice/tokens", &json!({}), None).await.unwrap();
    let chunk = [format!("{:x}\r\n", large.len()).as_bytes(), &large, b"\r\n0\r\n\r\n"].concat();
    let answer = chunked(&hub, &token.token, "/v1/blobs", &chunk).await;
    answer.expect(413, "too_large");
    assert_eq!(files(&blobs), before);
    assert!(!alice.has_blob(hash).await.unwrap());
    let fits = put(&alice, &large[1..]).await;
    assert_eq!(alice.get_blob(fits, 1 << 20, std::sync::Arc::new(|_| ())).await.unwrap().len(), 100_000);
    // A body that breaks off is not kept either.
    let broken = chunked(&hub, &token.token, "/v1/blobs", b"zz\r\n").await;
    assert_eq!(broken.status, 400, "{broken:?}");

    let body = format!(r#"{{"name":"{}","roles":[]}}"#, "x".repeat(2 << 20));
    hub.json(&hub.operator_token(), "POST", "/v1/accounts", &body).await.expect(413, "too_large");
    let long = "x".repeat(200_000);
    let answer = hub.raw("GET", "/v1/hub", &[("x-long", &long)], b"").await;
    assert_eq!(answer.status, 431);
}

async fn chunked(hub: &TestHub, token: &str, path: &str, body: &[u8]) -> RawAnswer {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(hub.address()).await.unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: hub\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\
         transfer-encoding: chunked\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let _ = stream.write_all(body).await;
    let mut answer = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap().ok();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    RawAnswer { status, head: head.to_owned(), body: body.to_owned() }
}

#[tokio::test]
async fn a_job_must_name_what_is_there_and_is_what_it_should_be() {
    let hub = TestHub::new().await;
    let alice = hub.researcher("alice", "100").await;
    let module = put(&alice, MODULE).await;
    let file = put(&alice, b"data").await;
    let missing = Hash::of(b"missing");
    let refused = async |order: wire::SubmitJob| {
        let (status, code, message) = refusal(alice.post::<_, wire::Job>("/v1/jobs", &order, None).await);
        assert!(message.len() > 10);
        (status, code, message)
    };
    let codes = async |order| {
        let (status, code, _) = refused(order).await;
        (status, code)
    };
    let order = || job(module, 1, "10");
    let conflict = (409, "no_blob".to_owned());
    assert_eq!(codes(job(missing, 1, "10")).await, conflict);
    assert_eq!(codes(job(file, 1, "10")).await, (400, "bad_module".to_owned()));
    let empty = put(&alice, b"").await;
    assert_eq!(codes(job(empty, 1, "10")).await, (400, "bad_module".to_owned()));
    assert_eq!(codes(wire::SubmitJob { task_list: Some(missing), ..order() }).await, conflict);
    let input = |name: &str, hash| vec![wire::InputFile { name: name.to_owned(), hash }];
    assert_eq!(codes(wire::SubmitJob { files: input("a", missing), ..order() }).await, conflict);
    let long = "x".repeat(5000);
    for name in ["", "/etc/passwd", "../a", "a/../b", "a//b", "a/", ".", "a\0b", "a\nb", long.as_str()] {
        let (status, code, _) = refused(wire::SubmitJob { files: input(name, file), ..order() }).await;
        assert_eq!((status, code.as_str()), (400, "invalid"), "{name:.20?}");
        let line = json!({"name": name, "file": file}).to_string();
        let list = put(&alice, line.as_bytes()).await;
        let answer = refused(wire::SubmitJob { task_list: Some(list), ..order() }).await;
        assert!(answer.0 == 400 && answer.2.contains("line 1"), "{name:.20?}: {answer:?}");
    }
    for list in
        ["{}", "{\"name\":1}", "{\"name\":\"a\",\"file\":\"short\"}", "\n", "\u{feff}{\"name\":\"a\"}"]
    {
        let list = put(&alice, list.as_bytes()).await;
        let (status, code, _) = refused(wire::SubmitJob { task_list: Some(list), ..order() }).await;
        assert_eq!((status, code.as_str()), (400, "invalid"));
    }
    let list = put(&alice, format!("{{\"name\":\"a\",\"file\":\"{missing}\"}}").as_bytes()).await;
    assert_eq!(codes(wire::SubmitJob { task_list: Some(list), ..order() }).await, conflict);
    assert_eq!(codes(job(module, 1, "0.5")).await, (400, "budget_too_small".to_owned()));
    assert_eq!(codes(job(module, 1, "101")).await, (402, "not_enough_money".to_owned()));
    assert_eq!(codes(wire::SubmitJob { after: vec![pumasi_types::JobId(9)], ..order() }).await.0, 404);
}

#[tokio::test]
async fn the_same_request_is_done_once_and_answered_alike() {
    let hub = TestHub::new().await;
    let alice = hub.researcher("alice", "100").await;
    let bob = hub.researcher("bob", "100").await;
    let id = || Some(RequestId(42));
    let pay = json!({"to": "bob", "amount": "10"});
    let first: wire::Transferred = alice.post("/v1/transfers", &pay, id()).await.unwrap();
    // Often, and at the same time.
    let again = (0..20).map(|_| alice.post::<_, wire::Transferred>("/v1/transfers", &pay, id()));
    for answer in futures_util::future::join_all(again).await {
        assert_eq!(answer.unwrap(), first);
    }
    assert_eq!(money(&alice).await.0, "90.00");
    let other = json!({"to": "bob", "amount": "11"});
    let (status, code, _) = refusal(alice.post::<_, Value>("/v1/transfers", &other, id()).await);
    assert_eq!((status, code.as_str()), (409, "request_conflict"));
    // Ids are each account's own.
    let bobs: wire::Transferred =
        bob.post("/v1/transfers", &json!({"to": "alice", "amount": "1"}), id()).await.unwrap();
    assert_ne!(bobs, first);

    // A refusal is an answer too: it stays, even when the reason is gone.
    let much = json!({"to": "bob", "amount": "500"});
    let key = || Some(RequestId(43));
    assert_eq!(refusal(alice.post::<_, Value>("/v1/transfers", &much, key()).await).0, 402);
    let body = json!({"to": "alice", "amount": "1000"});
    let _: wire::Transferred = hub.operator().post("/v1/issue", &body, None).await.unwrap();
    assert_eq!(refusal(alice.post::<_, Value>("/v1/transfers", &much, key()).await).0, 402);

    // An account opened twice is one account, and its token is made again the same.
    let open = json!({"name": "carol", "roles": ["owner"]});
    let mut answers = Vec::new();
    for _ in 0..2 {
        let opened: wire::OpenedAccount = hub.operator().post("/v1/accounts", &open, id()).await.unwrap();
        answers.push(opened);
    }
    assert_eq!(answers[0], answers[1]);
    hub.client(&answers[0].token).get::<wire::Account>("/v1/me").await.unwrap();

    // A job ordered twice is one job, and its budget is held once.
    let order = job(put(&alice, MODULE).await, 1, "10");
    let one: wire::Job = alice.post("/v1/jobs", &order, Some(RequestId(44))).await.unwrap();
    let two: wire::Job = alice.post("/v1/jobs", &order, Some(RequestId(44))).await.unwrap();
    assert_eq!((one.id, money(&alice).await.1.as_str()), (two.id, "10.00"));

    // The same across a restart.
    let (token, hub) = (answers[0].token.clone(), hub.restarted().await);
    let opened: wire::OpenedAccount = hub.operator().post("/v1/accounts", &open, id()).await.unwrap();
    assert_eq!(opened.token, token);
}

#[tokio::test]
async fn who_asks_too_often_must_wait() {
    let hub = TestHub::with(|options| options.requests_per_s = 5).await;
    let token = hub.operator_token();
    let mut answers = Vec::new();
    for _ in 0..30 {
        answers.push(hub.json(&token, "GET", "/v1/me", "").await);
    }
    assert!(answers.iter().filter(|answer| answer.status == 200).count() >= 10, "bursts are fine");
    let refused = answers.iter().find(|answer| answer.status == 429).expect("30 at once are too many");
    refused.expect(429, "too_many_requests");
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=2).contains(&wait), "{wait}");
    // A client that waits as it is told gets through.
    hub.operator().get::<wire::Account>("/v1/me").await.unwrap();
}

#[tokio::test]
async fn statements_are_read_page_by_page() {
    let hub = TestHub::new().await;
    let alice = hub.researcher("alice", "100").await;
    hub.researcher("bob", "100").await;
    for cents in 1..=7 {
        let pay = json!({"to": "bob", "amount": format!("0.0{cents}")});
        let _: wire::Transferred = alice.post("/v1/transfers", &pay, None).await.unwrap();
    }
    let (mut amounts, mut path) = (Vec::new(), "/v1/statement?limit=3".to_owned());
    loop {
        let page: wire::Statement = alice.get(&path).await.unwrap();
        assert!(page.lines.len() <= 3);
        amounts.extend(page.lines.into_iter().map(|line| line.amount));
        let Some(next) = page.next else { break };
        path = format!("/v1/statement?limit=3&before={next}");
    }
    assert_eq!(amounts, ["-0.07", "-0.06", "-0.05", "-0.04", "-0.03", "-0.02", "-0.01", "100.00"]);
    // Beyond the newest is the newest; in the middle of somebody else's chain is nowhere.
    let newest: wire::Statement = alice.get(&format!("/v1/statement?before={}", u64::MAX)).await.unwrap();
    assert_eq!(newest.lines.len(), 8);
    let nothing: wire::Statement = alice.get("/v1/statement?before=0").await.unwrap();
    assert_eq!((nothing.lines.len(), nothing.next), (0, None));
    assert_eq!(refusal(alice.get::<wire::Statement>("/v1/statement?before=2").await).0, 400);
    let empty: wire::Statement = alice.get("/v1/statement?currency=EUR").await.unwrap();
    assert_eq!((empty.available.as_str(), empty.lines.len()), ("0.00", 0));
    let operators: wire::Statement = hub.operator().get("/v1/statement?account=alice&limit=0").await.unwrap();
    assert_eq!(operators.lines.len(), 1);
}

#[tokio::test]
async fn revoked_tokens_are_worthless_at_once() {
    let hub = TestHub::new().await;
    for round in 0..10 {
        let token = hub.open(&format!("mallory{round}"), &["owner"]).await;
        let mallory = hub.client(&token);
        // Uses of it race with its revocation.
        let uses = tokio::spawn({
            let mallory = mallory.clone();
            async move { while mallory.get::<wire::Account>("/v1/me").await.is_ok() {} }
        });
        tokio::task::yield_now().await;
        let revoke = json!({ "token": token });
        let () = hub.operator().post("/v1/tokens/revoke", &revoke, None).await.unwrap();
        let after = mallory.get::<wire::Account>("/v1/me").await;
        assert!(matches!(after, Err(ClientError::Refused { status, .. }) if status == 401), "{after:?}");
        tokio::time::timeout(PATIENCE, uses).await.expect("it stays revoked").unwrap();
    }
}

#[tokio::test]
async fn a_refused_revocation_forgets_nobody() {
    let hub = TestHub::new().await;
    let (alice, bob) = (hub.open("alice", &[]).await, hub.open("bob", &[]).await);
    for token in [&alice, &bob] {
        assert_eq!(hub.json(token, "GET", "/v1/me", "").await.status, 200);
    }
    let unknown = json!({"token": "pumasi_unknown"}).to_string();
    let bobs = json!({"token": bob}).to_string();
    for (body, status) in [(&unknown, 404), (&bobs, 403), (&bobs, 204)] {
        // A hub that does not know a token by heart does not look it up while somebody guesses.
        while hub.json("pumasi_guess", "GET", "/v1/me", "").await.status != 429 {}
        let who = if status == 204 { &bob } else { &alice };
        let answer = hub.json(who, "POST", "/v1/tokens/revoke", body).await;
        assert_eq!(answer.status, status, "{answer:?}");
        while hub.json("pumasi_guess", "GET", "/v1/me", "").await.status != 429 {}
        let me = hub.json(&alice, "GET", "/v1/me", "").await;
        assert_eq!(me.status, 200, "{me:?}");
    }
}

/// Begins a request whose body of so many bytes does not come.
async fn begin_body(hub: &TestHub, token: &str, path: &str, bytes: usize) -> tokio::net::TcpStream {
    use tokio::io::AsyncWriteExt;
    let mut stream = tokio::net::TcpStream::connect(hub.address()).await.unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: hub\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\ncontent-length: {bytes}\r\n\r\n["
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    use tokio::io::AsyncReadExt;
    let hub = TestHub::with(|options| options.body_patience = Duration::from_millis(300)).await;
    let token = hub.open("alice", &[]).await;
    let mut stream = begin_body(&hub, &token, "/v1/orders", 1_000).await;
    let mut answer = String::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await;
    read.expect("an answer in time").unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains(r#""code":"slow_body""#) && answer.contains("0.3 s"), "{answer}");
}

#[tokio::test]
async fn a_file_that_hardly_comes_is_not_waited_for() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let hub = TestHub::with(|options| options.body_patience = Duration::from_millis(300)).await;
    let token = hub.open("alice", &[]).await;
    let mut stream = begin_body(&hub, &token, "/v1/blobs", 1 << 20).await;
    let mut answer = String::new();
    let trickle = async {
        // Whatever comes now and then does not keep it open.
        while stream.write_all(b"x").await.is_ok() {
            if let Ok(read) =
                tokio::time::timeout(Duration::from_millis(50), stream.read_to_string(&mut answer)).await
            {
                return drop(read);
            }
        }
    };
    tokio::time::timeout(PATIENCE, trickle).await.expect("an answer in time");
    assert!(answer.contains("less than 65536 bytes came in 300ms"), "{answer}");
}

#[tokio::test]
async fn bodies_on_their_way_have_only_so_much_room() {
    let hub = TestHub::new().await;
    let eve = hub.open("eve", &[]).await;
    let mut open = Vec::new();
    let empty = |token: String| {
        let hub = &hub;
        async move { hub.json(&token, "POST", "/v1/orders", "[]").await }
    };
    let until = async |token: &str, status: u16| {
        let asking = async { while empty(token.to_owned()).await.status != status {} };
        tokio::time::timeout(PATIENCE, asking).await.expect("the hub notices in time");
    };
    for name in ["a", "b", "c", "d"] {
        let token = hub.open(name, &[]).await;
        assert_eq!(empty(token.clone()).await.status, 200);
        for _ in 0..16 {
            open.push(begin_body(&hub, &token, "/v1/orders", 4 << 20).await);
        }
        until(&token, 429).await;
        empty(token).await.expect(429, "too_many_requests");
    }
    // All of the room is taken, and nobody had more than a part of it; what needs no room is answered.
    empty(eve.clone()).await.expect(503, "overloaded");
    assert_eq!(hub.json(&eve, "GET", "/v1/me", "").await.status, 200);
    drop(open);
    until(&eve, 200).await;
}

/// The answer to a request of nobody, who may not ask for much at once.
async fn patiently(hub: &TestHub, method: &str, path: &str) -> RawAnswer {
    loop {
        let answer = hub.raw(method, path, &[], b"").await;
        if answer.status != 429 {
            break answer;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn the_document_names_every_route_and_metrics_are_in_the_format_of_prometheus() {
    let hub = TestHub::new().await;
    let text = hub.raw("GET", "/openapi.json", &[], b"").await;
    let document: Value = serde_json::from_str(&text.body).unwrap();
    assert!(document["openapi"].as_str().unwrap().starts_with("3."));
    let documented: Vec<&String> = document["paths"].as_object().unwrap().keys().collect();
    // The router's source is the list of what there is.
    let source = include_str!("../../src/http/mod.rs");
    let routes: Vec<&str> =
        source.split(".route(\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    assert!(routes.len() > 25, "{routes:?}");
    for route in &routes {
        // A parameter that takes the rest of a path is written in the router's own way.
        let route = route.replace("{*", "{");
        assert!(documented.iter().any(|path| **path == route), "{route} is not documented");
    }
    assert_eq!(documented.len(), routes.len());
    let named = |text: &str| document.pointer(text).is_some();
    let mut stack = vec![&document];
    while let Some(value) = stack.pop() {
        match value {
            Value::Object(fields) => {
                if let Some(Value::String(reference)) = fields.get("$ref") {
                    assert!(named(reference.trim_start_matches('#')), "{reference} leads nowhere");
                }
                stack.extend(fields.values());
            }
            Value::Array(items) => stack.extend(items),
            _ => {}
        }
    }
    let mut operations = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        let methods = methods.as_object().unwrap();
        operations.extend(methods.values().map(|one| one["operationId"].as_str().expect("a name")));
        let path = path.replace("{hash}", &Hash::ZERO.to_string()).replace("{account}", "operator");
        let path = ["{job}", "{task}", "{hold}", "{article}", "{order}", "{webhook}", "{transfer}"]
            .iter()
            .fold(path, |path, name| path.replace(name, "1"));
        for method in ["get", "put", "post", "delete", "patch"] {
            let answer = patiently(&hub, &method.to_uppercase(), &path).await;
            assert_eq!(answer.status != 405, methods.contains_key(method), "{method} {path}: {answer:?}");
        }
    }
    // Programs are made from the document, with a function of its own for each.
    let all = operations.len();
    operations.sort_unstable();
    operations.dedup();
    assert_eq!(operations.len(), all, "{operations:?}");

    patiently(&hub, "GET", "/metrics").await.expect(401, "unknown_token");
    let owner = hub.open("owner", &["owner"]).await;
    hub.json(&owner, "GET", "/metrics", "").await.expect(403, "not_yours");
    let answer = hub.json(&hub.operator_token(), "GET", "/metrics", "").await;
    assert!(answer.header("content-type").unwrap().starts_with("application/openmetrics-text"));
    assert!(answer.body.ends_with("# EOF\n"));
    let mut names = Vec::new();
    for line in answer.body.lines() {
        if let Some(rest) = line.strip_prefix("# ") {
            names.extend(rest.strip_prefix("TYPE ").and_then(|rest| rest.split(' ').next()));
            continue;
        }
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
        assert!(names.iter().any(|known| name.starts_with(known)), "{line} has no type");
    }
    assert!(names.contains(&"pumasi_entries") && names.contains(&"pumasi_http_request_seconds"), "{names:?}");
}

#[tokio::test]
async fn a_client_without_a_token_learns_who_the_hub_is() {
    let hub = TestHub::new().await;
    let operator = hub.operator();
    let nobody = HubClient::new(operator.address().clone(), operator.pin().clone(), None);
    let info: wire::HubInfo = nobody.get("/v1/hub").await.unwrap();
    assert_eq!((info.name.as_str(), info.fingerprint.as_str()), ("pumasi", ""));
    assert_eq!(hub.raw("GET", "/healthz", &[], b"").await.body, "ok\n");
}
