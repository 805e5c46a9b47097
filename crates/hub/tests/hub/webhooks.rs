//! Webhooks over real sockets: what receivers get, when they fail, and where nothing is sent.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pumasi_api::client::HubClient;
use pumasi_api::wire::market::OrderResult;
use pumasi_api::wire::webhooks::{DeadLetters, Webhook, Webhooks};
use pumasi_hub::ServeOptions;
use ring::hmac;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::common::*;
use crate::market::Market;

/// What a receiver answers to everything: a status, and how it goes on after the status line.
type Answer = (u16, String);

/// A request that a receiver got.
#[derive(Clone, Debug)]
struct Got {
    path: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
    answered: u16,
}

impl Got {
    fn event(&self) -> u64 {
        let json: Value = serde_json::from_slice(&self.body).expect("JSON");
        json["data"]["id"].as_u64().expect("the id of an event")
    }

    /// Which of these secrets signed it, as a receiver checks it.
    fn signed_by(&self, secrets: &[&str]) -> Vec<bool> {
        let mut signed =
            format!("{}.{}.", self.headers["webhook-id"], self.headers["webhook-timestamp"]).into_bytes();
        signed.extend_from_slice(&self.body);
        let is_good = |signature: &str, secret: &str| {
            let key = STANDARD.decode(secret.strip_prefix("whsec_").expect("a secret")).expect("base64");
            let signature = signature.strip_prefix("v1,").expect("a signature of version 1");
            let signature = STANDARD.decode(signature).expect("base64");
            hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, &key), &signed, &signature).is_ok()
        };
        let signatures: Vec<&str> = self.headers["webhook-signature"].split(' ').collect();
        secrets.iter().map(|secret| signatures.iter().any(|one| is_good(one, secret))).collect()
    }
}

/// Somebody's server.
#[derive(Clone)]
struct Receiver {
    url: String,
    got: Arc<Mutex<Vec<Got>>>,
    answer: Arc<Mutex<Answer>>,
    /// What it answers to some events instead.
    answer_to: Arc<Mutex<BTreeMap<u64, Answer>>>,
    /// How long it takes until it answers, also what it got already.
    delay: Arc<Mutex<Duration>>,
}

impl Receiver {
    async fn start() -> Receiver {
        Receiver::behind(None).await
    }

    async fn behind(tls: Option<TlsAcceptor>) -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://localhost:{}/hooks?a=1", listener.local_addr().unwrap().port());
        let receiver = Receiver {
            url,
            got: Arc::default(),
            answer: Arc::default(),
            answer_to: Arc::default(),
            delay: Arc::default(),
        };
        receiver.answers(200, "");
        let server = receiver.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (server, tls) = (server.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => server.serve(stream).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => server.serve(stream).await,
                            Err(_) => None,
                        },
                    }
                });
            }
        });
        receiver
    }

    /// From now on.
    fn answers(&self, status: u16, more: &str) {
        *self.answer.lock().unwrap() = (status, more.to_owned());
    }

    async fn serve(&self, stream: impl AsyncRead + AsyncWrite + Unpin) -> Option<()> {
        let mut stream = BufReader::new(stream);
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).await.ok()?;
            let path = line.split(' ').nth(1)?.to_owned();
            let mut headers = BTreeMap::new();
            loop {
                let mut line = String::new();
                stream.read_line(&mut line).await.ok()?;
                let Some((name, value)) = line.trim_end().split_once(": ") else { break };
                headers.insert(name.to_ascii_lowercase(), value.to_owned());
            }
            let mut body = vec![0; headers.get("content-length")?.parse().ok()?];
            stream.read_exact(&mut body).await.ok()?;
            let mut got = Got { path, headers, body, answered: 0 };
            let special = self.answer_to.lock().unwrap().get(&got.event()).cloned();
            let (answered, more) = special.unwrap_or_else(|| self.answer.lock().unwrap().clone());
            got.answered = answered;
            self.got.lock().unwrap().push(got);
            let came = Instant::now();
            while came.elapsed() < *self.delay.lock().unwrap() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let more = if more.is_empty() { "Content-Length: 0\r\n\r\n".to_owned() } else { more };
            stream.write_all(format!("HTTP/1.1 {answered} -\r\n{more}").as_bytes()).await.ok()?;
        }
    }

    /// How much it got.
    fn count(&self) -> usize {
        self.got.lock().unwrap().len()
    }

    /// What it took.
    fn taken(&self) -> Vec<Got> {
        let got = self.got.lock().unwrap();
        got.iter().filter(|got| (200..300).contains(&got.answered)).cloned().collect()
    }
}

async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(Instant::now() < until, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Webhooks may lead to this machine, and what failed is soon tried again.
fn quick(options: &mut ServeOptions) {
    options.webhooks.to_private = true;
    options.webhooks.plain = true;
    options.webhooks.retries = vec![Duration::from_millis(100); 2];
}

async fn hook(client: &HubClient, url: &str) -> Webhook {
    client.post("/v1/webhooks", &json!({"url": url}), None).await.unwrap()
}

async fn buy(market: &Market, count: usize) {
    let book = json!({"customer": "alice", "currency": "KRW", "total": "0",
        "lines": [{"merchant": "shop", "sku": "gift", "quantity": 1}]});
    let many = vec![book; count];
    let placed: Vec<OrderResult> = market.mall.post("/v1/orders", &many, None).await.unwrap();
    assert!(placed.iter().all(|one| one.order.is_some()), "{placed:?}");
}

async fn market(choose: impl FnOnce(&mut ServeOptions)) -> Market {
    let market = Market::with(choose).await;
    let gift = json!([{"sku": "gift", "price": "0", "currency": "KRW", "tracking": "untracked"}]);
    let _: Value = market.merchant.post("/v1/articles", &gift, None).await.unwrap();
    market
}

async fn letters(client: &HubClient, webhook: &Webhook) -> DeadLetters {
    client.get(&format!("/v1/webhooks/{}/dead", webhook.id)).await.unwrap()
}

async fn show(client: &HubClient, webhook: &Webhook) -> Webhook {
    client.get(&format!("/v1/webhooks/{}", webhook.id)).await.unwrap()
}

#[tokio::test]
async fn a_merchant_gets_each_event_signed_and_once() {
    let market = market(quick).await;
    buy(&market, 1).await;
    let receiver = Receiver::start().await;
    let made = hook(&market.merchant, &receiver.url).await;
    buy(&market, 300).await;
    eventually("300 events came", async || receiver.taken().len() == 300).await;
    let taken = receiver.taken();
    let events: BTreeSet<u64> = taken.iter().map(Got::event).collect();
    // The event before it was made is not sent.
    assert_eq!(events, (2..=301).collect());
    let secret = made.secret.clone().expect("its owner sees it");
    for got in &taken {
        assert_eq!(got.signed_by(&[&secret]), [true]);
        assert_eq!(
            (got.path.as_str(), got.headers["content-type"].as_str()),
            ("/hooks?a=1", "application/json")
        );
        assert_eq!(got.headers["webhook-id"], format!("evt_{}", got.event()));
        let json: Value = serde_json::from_slice(&got.body).unwrap();
        assert_eq!((json["type"].as_str(), &json["data"]["type"]), (Some("order.placed"), &json["type"]));
        assert!(json["timestamp"].as_str().unwrap().ends_with('Z'), "{json}");
        assert!(!String::from_utf8_lossy(&got.body).contains("notice"), "notices are for customers");
    }
    eventually("it has passed all", async || show(&market.merchant, &made).await.passed.0 == 301).await;
    // After a restart it goes on where it was.
    let Market { hub, merchant, .. } = market;
    drop(merchant);
    let hub = hub.restarted().await;
    assert_eq!((hub.running.settled().0 > 0, receiver.taken().len()), (true, 300));
}

#[tokio::test]
async fn what_fails_is_tried_again_given_up_and_sent_again_when_asked() {
    let market = market(quick).await;
    let receiver = Receiver::start().await;
    let made = hook(&market.merchant, &receiver.url).await;
    let path = format!("/v1/webhooks/{}", made.id);
    receiver.answers(500, "");
    buy(&market, 3).await;
    eventually("three letters are dead", async || letters(&market.merchant, &made).await.dead.len() == 3)
        .await;
    let dead = letters(&market.merchant, &made).await.dead;
    assert!(dead.iter().all(|letter| letter.tries == 3), "{dead:?}");
    assert_eq!(dead[0].why.as_deref(), Some("it answered 500"));
    assert!(show(&market.merchant, &made).await.failing_since_ms.is_some());
    // The same event has the same id however often it is tried.
    let ids: BTreeSet<_> =
        receiver.got.lock().unwrap().iter().map(|got| got.headers["webhook-id"].clone()).collect();
    assert_eq!((ids.len(), receiver.got.lock().unwrap().len()), (3, 9));

    receiver.answers(204, "");
    let replay = format!("{path}/replay");
    let () = market.merchant.post(&replay, &json!({"event": 2}), None).await.unwrap();
    eventually("one came again", async || receiver.taken().len() == 1).await;
    let () = market.merchant.post(&replay, &json!({}), None).await.unwrap();
    eventually("the others came", async || receiver.taken().len() == 3).await;
    eventually("nothing is left", async || {
        let left = letters(&market.merchant, &made).await;
        left.dead.is_empty() && left.waiting.is_empty()
    })
    .await;
    let () = market.merchant.post(&replay, &json!({"since": 1}), None).await.unwrap();
    eventually("two came again", async || receiver.taken().len() == 5).await;
    assert_eq!(receiver.taken().iter().map(Got::event).collect::<Vec<_>>()[0], 2);

    // Whoever asks for events that are not theirs gets none.
    assert_eq!(refusal(market.merchant.post::<_, ()>(&replay, &json!({"event": 99}), None).await).0, 404);
    let mall = refusal(market.mall.post::<_, ()>(&replay, &json!({}), None).await);
    assert_eq!((mall.0, mall.1.as_str()), (404, "no_webhook"));

    // A new secret signs along with the one before.
    let renewed: Webhook = market.merchant.post(&format!("{path}/secret"), &json!({}), None).await.unwrap();
    let (old, new) = (made.secret.unwrap(), renewed.secret.unwrap());
    assert_ne!(old, new);
    buy(&market, 1).await;
    eventually("it came", async || receiver.taken().len() == 6).await;
    assert_eq!(receiver.taken()[5].signed_by(&[&new, &old]), [true, true]);
    // No list shows a secret, and nobody else sees anything.
    let list: Webhooks = market.merchant.get("/v1/webhooks").await.unwrap();
    assert!(list.webhooks.len() == 1 && list.webhooks[0].secret.is_none());
    assert_eq!(refusal(market.hub.operator().get::<Webhook>(&path).await).0, 404);
    assert!(market.hub.operator().get::<Webhooks>("/v1/webhooks").await.unwrap().webhooks.is_empty());
}

#[tokio::test]
async fn a_receiver_that_wants_no_more_is_left_alone_until_it_is_put_again() {
    let market = market(quick).await;
    let receiver = Receiver::start().await;
    let made = hook(&market.merchant, &receiver.url).await;
    receiver.answers(410, "");
    buy(&market, 20).await;
    eventually("it is disabled", async || show(&market.merchant, &made).await.disabled.is_some()).await;
    assert_eq!(show(&market.merchant, &made).await.disabled.as_deref(), Some("gone"));
    let asked = receiver.got.lock().unwrap().len();
    // Not everything was tried, only what was under way.
    assert!(asked < 20, "{asked}");
    receiver.answers(200, "");
    let put = json!({"url": receiver.url, "types": ["order.placed"]});
    let path = format!("/v1/webhooks/{}", made.id);
    let changed: Webhook = market.merchant.put(&path, &put, None).await.unwrap();
    assert_eq!((changed.disabled, changed.types.len()), (None, 1));
    eventually("all came", async || {
        receiver.taken().iter().map(Got::event).collect::<BTreeSet<_>>().len() == 20
    })
    .await;
}

#[tokio::test]
async fn answers_are_not_followed_and_not_read() {
    let market = market(quick).await;
    let (receiver, elsewhere) = (Receiver::start().await, Receiver::start().await);
    let made = hook(&market.merchant, &receiver.url).await;
    receiver.answers(307, &format!("Location: {}\r\nContent-Length: 0\r\n\r\n", elsewhere.url));
    buy(&market, 1).await;
    eventually("it is dead", async || letters(&market.merchant, &made).await.dead.len() == 1).await;
    assert!(elsewhere.got.lock().unwrap().is_empty(), "redirects are not followed");
    // An answer that never ends takes what was sent all the same.
    receiver.answers(200, "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
    buy(&market, 1).await;
    eventually("it was taken", async || show(&market.merchant, &made).await.passed.0 == 2).await;
    let long = "x".repeat(1 << 20);
    receiver.answers(200, &format!("Content-Length: {}\r\n\r\n{long}", long.len()));
    buy(&market, 1).await;
    eventually("it was taken", async || show(&market.merchant, &made).await.passed.0 == 3).await;
    assert!(letters(&market.merchant, &made).await.waiting.is_empty());
}

#[tokio::test]
async fn nothing_is_sent_where_only_the_hub_can_reach() {
    let market = market(|options| options.webhooks.plain = true).await;
    let receiver = Receiver::start().await;
    for url in
        ["http://127.0.0.1:80/", "https://[::1]/", "http://169.254.169.254/latest", "gopher://x/", "https://"]
    {
        let refused =
            refusal(market.merchant.post::<_, Webhook>("/v1/webhooks", &json!({"url": url}), None).await);
        assert_eq!((refused.0, refused.1.as_str()), (400, "invalid"), "{url}: {}", refused.2);
    }
    // A name is looked up when something is sent.
    let made = hook(&market.merchant, &receiver.url).await;
    buy(&market, 1).await;
    eventually("it waits", async || letters(&market.merchant, &made).await.waiting.len() == 1).await;
    let why = letters(&market.merchant, &made).await.waiting[0].why.clone();
    assert_eq!(why.as_deref(), Some("the hub sends nothing there"));
    assert!(receiver.got.lock().unwrap().is_empty());
    // Who is no merchant and no carrier has no webhooks, and unknown types are named.
    let body = json!({"url": "https://shop.example/"});
    assert_eq!(refusal(market.alice.post::<_, Webhook>("/v1/webhooks", &body, None).await).0, 403);
    let body = json!({"url": "https://shop.example/", "types": ["order.sold"]});
    let refused = refusal(market.merchant.post::<_, Webhook>("/v1/webhooks", &body, None).await);
    assert!(refused.0 == 400 && refused.2.contains("order.shipped"), "{}", refused.2);
}

#[tokio::test]
async fn certificates_are_trusted_when_their_authority_is() {
    let dir = tempfile::tempdir().unwrap();
    let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let roots = dir.path().join("roots.pem");
    std::fs::write(&roots, own.cert.pem()).unwrap();
    let chain = vec![CertificateDer::from(own.cert.der().to_vec())];
    let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let receiver = Receiver::behind(Some(TlsAcceptor::from(Arc::new(config)))).await;

    let trusting = market(|options| {
        options.webhooks.to_private = true;
        options.webhooks.roots = Some(roots);
    })
    .await;
    hook(&trusting.merchant, &receiver.url).await;
    buy(&trusting, 3).await;
    eventually("they came", async || receiver.taken().len() == 3).await;

    let doubting = market(|options| options.webhooks.to_private = true).await;
    let made = hook(&doubting.merchant, &receiver.url).await;
    buy(&doubting, 1).await;
    eventually("it waits", async || letters(&doubting.merchant, &made).await.waiting.len() == 1).await;
    let why = letters(&doubting.merchant, &made).await.waiting[0].why.clone();
    assert_eq!(why.as_deref(), Some("its certificate is not trusted"));
    assert_eq!(receiver.taken().len(), 3);
    // Plain HTTP is another permission.
    let body = json!({"url": "http://localhost:9/"});
    assert_eq!(refusal(doubting.merchant.post::<_, Webhook>("/v1/webhooks", &body, None).await).0, 400);
}

#[tokio::test]
async fn who_asks_for_a_rest_gets_nothing_until_it_is_over() {
    let market = market(quick).await;
    let receiver = Receiver::start().await;
    hook(&market.merchant, &receiver.url).await;
    let begun = Instant::now();
    let soon = "Retry-After: 2\r\nContent-Length: 0\r\n\r\n".to_owned();
    receiver.answer_to.lock().unwrap().extend([(1, (500, String::new())), (2, (429, soon))]);
    buy(&market, 2).await;
    eventually("both were tried", async || receiver.count() == 2).await;
    buy(&market, 1).await;
    receiver.answer_to.lock().unwrap().clear();
    // The first would be tried again after a tenth of a second.
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    let count = receiver.count();
    assert!(count == 2 || begun.elapsed() > Duration::from_secs(2), "{count} came before its rest was over");
    eventually("all came", async || receiver.taken().len() == 3).await;
}

#[tokio::test]
async fn a_webhook_that_is_taken_away_gets_nothing_more() {
    let for_ever = Duration::from_secs(600);
    let market = market(|options| {
        quick(options);
        options.webhooks.patience = for_ever;
    })
    .await;
    let receiver = Receiver::start().await;
    *receiver.delay.lock().unwrap() = for_ever;
    let made = hook(&market.merchant, &receiver.url).await;
    buy(&market, 400).await;
    eventually("it begins", async || receiver.count() > 0).await;
    let () = market.merchant.delete(&format!("/v1/webhooks/{}", made.id), None).await.unwrap();
    // Each of its connections may have one event under way that nobody answered, and brings no other.
    *receiver.delay.lock().unwrap() = Duration::ZERO;
    tokio::time::sleep(Duration::from_millis(1_000)).await;
    assert!((1..=8).contains(&receiver.count()), "{}", receiver.count());
}

#[tokio::test]
async fn what_its_old_receiver_says_does_not_touch_a_changed_webhook() {
    let market = market(quick).await;
    let (old, new) = (Receiver::start().await, Receiver::start().await);
    *old.delay.lock().unwrap() = Duration::from_secs(3);
    old.answers(410, "");
    let made = hook(&market.merchant, &old.url).await;
    buy(&market, 3).await;
    eventually("it begins", async || old.count() > 0).await;
    let put = json!({"url": new.url});
    let _: Webhook = market.merchant.put(&format!("/v1/webhooks/{}", made.id), &put, None).await.unwrap();
    eventually("all come where they belong now", async || new.taken().len() == 3).await;
    let shown = show(&market.merchant, &made).await;
    assert_eq!((shown.disabled, shown.failing_since_ms), (None, None));
    assert!(letters(&market.merchant, &made).await.waiting.is_empty());
}

#[tokio::test]
async fn slow_receivers_of_one_account_leave_room_for_others() {
    let market = market(quick).await;
    let (slow, quick) = (Receiver::start().await, Receiver::start().await);
    *slow.delay.lock().unwrap() = Duration::from_secs(60);
    for _ in 0..8 {
        hook(&market.merchant, &slow.url).await;
    }
    buy(&market, 1).await;
    eventually("some are served", async || slow.count() == 4).await;
    let token = market.hub.open("rival", &["merchant"]).await;
    let rival = market.hub.client(&token);
    let gift = json!([{"sku": "gift", "price": "0", "currency": "KRW", "tracking": "untracked"}]);
    let _: Value = rival.post("/v1/articles", &gift, None).await.unwrap();
    hook(&rival, &quick.url).await;
    let order = json!({"customer": "bob", "currency": "KRW", "total": "0",
        "lines": [{"merchant": "rival", "sku": "gift", "quantity": 1}]});
    let _: OrderResult = market.mall.post("/v1/orders", &order, None).await.unwrap();
    eventually("others are served", async || quick.taken().len() == 1).await;
    assert_eq!(slow.count(), 4);
}

#[tokio::test]
async fn an_answer_that_began_in_time_counts_however_long_its_body_takes() {
    let market = market(|options| {
        quick(options);
        options.webhooks.patience = Duration::from_secs(3);
    })
    .await;
    let receiver = Receiver::start().await;
    *receiver.delay.lock().unwrap() = Duration::from_millis(400);
    receiver.answers(200, "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
    let made = hook(&market.merchant, &receiver.url).await;
    buy(&market, 1).await;
    eventually("it was taken", async || show(&market.merchant, &made).await.passed.0 == 1).await;
    assert_eq!((letters(&market.merchant, &made).await.waiting.len(), receiver.count()), (0, 1));
    // One whose answer does not begin in time did not take it.
    *receiver.delay.lock().unwrap() = Duration::from_secs(30);
    buy(&market, 1).await;
    eventually("it waits or is dead", async || {
        let letters = letters(&market.merchant, &made).await;
        let why = letters.waiting.iter().chain(&letters.dead).find_map(|letter| letter.why.clone());
        why.as_deref() == Some("it took too long")
    })
    .await;
}

#[tokio::test]
async fn what_speaks_no_tls_is_no_matter_of_trust() {
    let market = market(|options| {
        options.webhooks.to_private = true;
        options.webhooks.retries = vec![Duration::from_secs(60)];
    })
    .await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}/", listener.local_addr().unwrap().port());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
            // What the client said is read, so that it is told this and no reset.
            let _ = stream.read(&mut [0; 4096]).await;
        }
    });
    let made = hook(&market.merchant, &url).await;
    buy(&market, 1).await;
    eventually("it waits", async || letters(&market.merchant, &made).await.waiting.len() == 1).await;
    let why = letters(&market.merchant, &made).await.waiting[0].why.clone();
    assert_eq!(why.as_deref(), Some("there was no connection"));
}
