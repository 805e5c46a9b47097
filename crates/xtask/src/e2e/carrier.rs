//! From the order to the door: a carrier's program reports scans, and merchant and carrier get every event as a webhook,
//! though their receiver fails at first and the hub is killed in between.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use pumasi_api::client::HubClient;
use pumasi_api::wire;
use pumasi_api::wire::market::{Feed, FeedEvent, Order, OrderResult, OrderStepped};
use pumasi_api::wire::webhooks::{DeadLetters, Webhook};
use pumasi_types::EventId;
use serde_json::{Value, json};

use super::receiver::{check, serve};
use super::{Scene, eventually};
use crate::carrier::Carrier;
use crate::pool::{Pool, block_on};

/// Requests that the receiver answers with 500 before it takes anything.
const FAILS: usize = 7;
const ORDERS: usize = 12;

/// How often each event came by each path, and what it was.
type Came = BTreeMap<(String, u64), (usize, Value)>;

/// Somebody's server that takes webhooks, on a thread of its own.
struct Receiver {
    url: String,
    got: Arc<Mutex<Came>>,
    /// What each path's requests must be signed with.
    secrets: Arc<Mutex<BTreeMap<String, String>>>,
    requests: Arc<AtomicUsize>,
}

impl Receiver {
    fn start() -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let receiver =
            Receiver { url, got: Arc::default(), secrets: Arc::default(), requests: Arc::default() };
        let (got, secrets) = (Arc::clone(&receiver.got), Arc::clone(&receiver.secrets));
        let requests = Arc::clone(&receiver.requests);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (got, secrets, requests) =
                    (Arc::clone(&got), Arc::clone(&secrets), Arc::clone(&requests));
                std::thread::spawn(move || {
                    // A hub that is killed breaks off in the middle.
                    let _ = serve(stream, |path, headers, body| {
                        if requests.fetch_add(1, Ordering::Relaxed) < FAILS {
                            return 500;
                        }
                        let secret = secrets.lock().expect("nobody panicked")[path].clone();
                        check(&secret, headers, body);
                        let json: Value = serde_json::from_slice(body).expect("JSON");
                        let id = json["data"]["id"].as_u64().expect("an event has an id");
                        assert_eq!(headers["webhook-id"], format!("evt_{id}"));
                        let mut got = got.lock().expect("nobody panicked");
                        got.entry((path.to_owned(), id)).or_insert((0, json)).0 += 1;
                        204
                    });
                });
            }
        });
        receiver
    }

    /// Makes a webhook that leads here.
    fn hook(&self, client: &HubClient, path: &str) -> Webhook {
        let new = json!({"url": format!("{}{path}", self.url)});
        let made: Webhook = block_on(client.post("/v1/webhooks", &new, None)).expect("a webhook is made");
        let secret = made.secret.clone().expect("its owner sees its secret");
        self.secrets.lock().expect("nobody panicked").insert(path.to_owned(), secret);
        made
    }

    fn count(&self, path: &str) -> usize {
        self.got.lock().expect("nobody panicked").keys().filter(|(to, _)| to == path).count()
    }
}

/// An account with a role, and a client that speaks for it.
fn open(pool: &Pool, name: &str, roles: &[&str]) -> HubClient {
    let operator = pool.client(&pool.operator).expect("a client");
    let account = json!({"name": name, "roles": roles});
    let opened: wire::OpenedAccount =
        block_on(operator.post("/v1/accounts", &account, None)).expect("an account opens");
    pool.client(&opened.token).expect("a client")
}

fn step(client: &HubClient, order: &str, step: &str, body: &Value) {
    let path = format!("/v1/orders/{order}/{step}");
    let _: OrderStepped = block_on(client.post(&path, body, None)).expect(step);
}

/// All of a feed, by its cursor.
fn feed(client: &HubClient, party: &str) -> Vec<FeedEvent> {
    let (mut events, mut after) = (Vec::new(), EventId(0));
    loop {
        let path = format!("/v1/feeds/{party}?after={after}&limit=7");
        let page: Feed = block_on(client.get(&path)).expect("a feed");
        after = page.next;
        if page.events.is_empty() {
            return events;
        }
        events.extend(page.events);
    }
}

fn order(alice: &HubClient, number: usize) -> String {
    let order = json!({"id": format!("order-{number}"), "currency": "KRW", "total": "5000",
        "lines": [{"merchant": "shop", "sku": "tea", "quantity": 1}]});
    let placed: OrderResult = block_on(alice.post("/v1/orders", &order, None)).expect("it is placed");
    placed.order.expect("it was placed").to_string()
}

#[test]
fn everybody_is_told_of_every_step_though_receiver_and_hub_fail() {
    let mut scene = Scene::with(0, &["--webhooks-to-private", "--webhooks-over-http"]);
    let operator = scene.pool.client(&scene.pool.operator).expect("a client");
    let (shop, post) = (open(&scene.pool, "shop", &["merchant"]), open(&scene.pool, "post", &["carrier"]));
    let alice = open(&scene.pool, "alice", &[]);
    block_on(async {
        let money = json!({"to": "alice", "currency": "KRW", "amount": "1000000"});
        let _: wire::Transferred = operator.post("/v1/issue", &money, None).await.expect("money is issued");
        let tea = json!([{"sku": "tea", "price": "5000", "currency": "KRW"}]);
        let _: Value = shop.post("/v1/articles", &tea, None).await.expect("an article is put");
        let stock = json!([{"sku": "tea", "place": 1, "change": {"receive": 1_000}}]);
        let () = shop.post("/v1/stock", &stock, None).await.expect("stock comes");
    });
    let receiver = Receiver::start();
    let (sells, carries) = (receiver.hook(&shop, "/shop"), receiver.hook(&post, "/post"));

    let orders: Vec<String> = (0..ORDERS).map(|number| order(&alice, number)).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let carrier = {
        let (stop, client) = (Arc::clone(&stop), post.clone());
        std::thread::spawn(move || {
            // An hour takes a quarter of a second.
            let mut carrier = Carrier::new(client, 14_400);
            while !stop.load(Ordering::Relaxed) {
                block_on(carrier.go_on()).expect("the carrier is refused nothing");
            }
        })
    };
    for (number, order) in orders.iter().enumerate() {
        step(&shop, order, "allocate", &json!({}));
        step(&shop, order, "ship", &json!({"carrier": "post", "tracking": format!("KR-{number}")}));
        if number == ORDERS / 2 {
            scene.pool.hub().expect("a hub").kill().expect("it was alive");
            scene.pool.start_hub().expect("it starts again");
        }
    }
    let state = |order: &String| -> String {
        let shown: Order = block_on(alice.get(&format!("/v1/orders/{order}"))).expect("an order");
        shown.state
    };
    eventually("some scans came", || feed(&post, "carrier").len() > ORDERS + 10);
    scene.pool.hub().expect("a hub").kill().expect("it was alive");
    scene.pool.start_hub().expect("it starts again");
    eventually("all orders are delivered", || orders.iter().all(|order| state(order) == "delivered"));
    orders.iter().for_each(|order| step(&alice, order, "complete", &json!({})));
    stop.store(true, Ordering::Relaxed);
    carrier.join().expect("the carrier did its work");

    for (client, party, path, hook) in
        [(&shop, "merchant", "/shop", sells.id), (&post, "carrier", "/post", carries.id)]
    {
        let told = feed(client, party);
        eventually("every event was taken", || receiver.count(path) == told.len());
        let got = receiver.got.lock().expect("nobody panicked");
        for event in &told {
            let (_, json) = &got[&(path.to_owned(), event.id.0)];
            assert_eq!(json["data"], serde_json::to_value(event).expect("it is JSON"));
            assert_eq!(json["type"], event.kind);
        }
        drop(got);
        let left: DeadLetters =
            block_on(client.get(&format!("/v1/webhooks/{hook}/dead"))).expect("its letters");
        assert!(left.dead.is_empty(), "{left:?}");
    }
    assert!(receiver.requests.load(Ordering::Relaxed) > FAILS);
    let kinds: Vec<String> = feed(&alice, "customer").into_iter().map(|event| event.kind).collect();
    for kind in ["placed", "allocated", "shipped", "scanned", "delivered", "completed"] {
        assert!(kinds.contains(&format!("order.{kind}")), "{kind} is missing");
    }
    scene.check_books();
    scene.check_hub_log();
}
