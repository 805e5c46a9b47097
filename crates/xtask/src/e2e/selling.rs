//! What a merchant and its customers learn of orders from the command line: webhooks, sales figures, notices.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use pumasi_api::wire::market::{Feed, Sales};
use pumasi_api::wire::webhooks::{DeadLetters, Webhook, Webhooks};
use serde_json::Value;

use super::market::People;
use super::receiver::{check, serve};
use super::{eventually, stderr};

/// A request that the shop's server got: its headers and its body.
type Request = (BTreeMap<String, String>, Vec<u8>);

/// What the shop's server did so far.
#[derive(Default)]
struct Done {
    /// What it answers from now on.
    status: u16,
    /// What it took.
    taken: Vec<Request>,
}

/// The shop's server, on threads of its own.
struct Server {
    url: String,
    done: Arc<Mutex<Done>>,
}

impl Server {
    fn start() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let url = format!("http://{}/hooks", listener.local_addr().expect("it is bound"));
        let server = Server { url, done: Arc::default() };
        server.answers(204);
        let done = Arc::clone(&server.done);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let done = Arc::clone(&done);
                std::thread::spawn(move || {
                    // A hub that ends breaks off.
                    let _ = serve(stream, |_, headers, body| {
                        let mut done = done.lock().expect("nobody panicked");
                        if done.status < 300 {
                            done.taken.push((headers.clone(), body.to_vec()));
                        }
                        done.status
                    });
                });
            }
        });
        server
    }

    fn answers(&self, status: u16) {
        self.done.lock().expect("nobody panicked").status = status;
    }

    /// How often it took each event, by the events' ids.
    fn took(&self) -> BTreeMap<u64, usize> {
        let mut took = BTreeMap::new();
        for (headers, body) in &self.done.lock().expect("nobody panicked").taken {
            let json: Value = serde_json::from_slice(body).expect("JSON");
            let id = json["data"]["id"].as_u64().expect("an event has an id");
            assert_eq!(headers["webhook-id"], format!("evt_{id}"));
            *took.entry(id).or_default() += 1;
        }
        took
    }

    /// Everything that it took last is signed with this secret.
    fn check_last(&self, secret: &str) {
        let done = self.done.lock().expect("nobody panicked");
        let (headers, body) = done.taken.last().expect("it took something");
        check(secret, headers, body);
    }
}

/// The ids of all events of the shop.
fn told(people: &People) -> Vec<u64> {
    let feed: Feed = people.asks(&people.shop, "market feed --limit 1000");
    feed.events.iter().map(|event| event.id.0).collect()
}

/// A hub that gives an event up after three tries, a merchant's server, and a webhook that leads there; with its secret.
fn hooked() -> (People, Server, String) {
    let people =
        People::with(&["--webhooks-to-private", "--webhooks-over-http", "--webhook-retries", "100ms,100ms"]);
    let server = Server::start();
    let secret = people.does(&people.shop, &format!("market webhooks add {}", server.url));
    (people, server, secret.trim().to_owned())
}

#[test]
fn a_webhook_made_by_the_command_is_sent_every_event_again_if_need_be() {
    let (people, server, secret) = hooked();
    let People { shop, alice, scene, .. } = &people;
    assert!(secret.starts_with("whsec_"), "{secret}");
    let buy = || people.does(alice, "market order place shop/tea");
    let took_all = |times: usize| {
        let told = told(&people);
        eventually("every event was taken", || {
            let took = server.took();
            told.iter().all(|id| took.get(id).is_some_and(|count| *count >= times))
        });
    };
    (0..3).for_each(|_| drop(buy()));
    took_all(1);
    server.check_last(&secret);

    server.answers(500);
    buy();
    let letters = || people.asks::<DeadLetters>(shop, "market webhooks dead-letters 1");
    eventually("it is given up", || letters().dead.len() == 1);
    let lost = letters().dead[0].event.0;
    assert_eq!(Some(&lost), told(&people).last());
    let shown = people.does(shop, "market webhooks dead-letters 1");
    assert!(shown.contains("given up") && shown.contains("it answered 500"), "{shown}");
    assert!(people.does(shop, "market webhooks list").contains("takes nothing since"));
    server.answers(200);
    people.does(shop, "market webhooks replay 1");
    took_all(1);
    let well = people.types(shop, "market webhooks dead-letters 1");
    assert!(stderr(&well).contains("webhook 1 took everything"), "{}", stderr(&well));

    let before = server.took();
    people.does(shop, &format!("market webhooks replay 1 --event {lost}"));
    eventually("one comes again", || server.took()[&lost] > before[&lost]);
    assert!(before.iter().all(|(id, count)| *id == lost || server.took()[id] == *count));
    people.does(shop, "market webhooks replay 1 --since 0");
    took_all(2);

    let renewed = people.does(shop, "market webhooks rotate 1").trim().to_owned();
    assert_ne!(renewed, secret);
    buy();
    took_all(1);
    server.check_last(&renewed);
    server.check_last(&secret);
    scene.check_hub_log();
}

#[test]
fn a_webhook_is_changed_enabled_and_removed_by_its_owner_only() {
    let (people, server, secret) = hooked();
    let People { shop, post, alice, scene } = &people;
    assert!(people.fails(alice, &format!("market webhooks add {}", server.url), 4).contains("merchant"));
    let refused = people.fails(shop, "market webhooks add ftp://shop.example", 5);
    assert!(refused.contains("cannot add a webhook to ftp://shop.example: url"), "{refused}");
    let refused = people.fails(shop, "market webhooks add https://shop.example --type order.eaten", 5);
    assert!(refused.contains("'order.eaten' is none; there are order.placed"), "{refused}");
    let refused = people.fails(post, "market webhooks show 1", 6);
    assert!(refused.contains("cannot show webhook 1: you have no webhook 1"), "{refused}");
    assert!(people.fails(shop, "market webhooks replay 1 --since 99", 5).contains("99 is still to come"));

    server.answers(410);
    people.does(alice, "market order place shop/tea");
    let show = || people.asks::<Webhook>(shop, "market webhooks show 1");
    eventually("it is disabled", || show().disabled.is_some());
    assert!(people.does(shop, "market webhooks list").contains("disabled: it answered 410"));
    server.answers(200);
    people.does(shop, "market webhooks enable 1");
    eventually("it goes on", || server.took().len() == 1);

    people.does(shop, "market webhooks change 1 --type order.cancelled");
    let number = people.does(alice, "market order place shop/tea").trim().to_owned();
    people.does(alice, &format!("market order cancel {number}"));
    eventually("what is wanted comes", || server.took().len() == 2);
    let last = server.took().into_keys().last();
    assert_eq!(last, told(&people).last().copied(), "the order's placing did not come");
    assert_eq!(show().types, ["order.cancelled"]);
    people.does(shop, "market webhooks change 1 --all-types");
    assert!(people.does(shop, "market webhooks show 1").contains("all types"));

    assert_eq!(show().secret, None, "it is not shown by the way");
    assert!(people.does(shop, "market webhooks show 1 --secret").contains(&secret));
    let listed: Webhooks = Webhooks { webhooks: people.asks(shop, "market webhooks list") };
    assert!(listed.webhooks.len() == 1 && listed.webhooks[0].secret.is_none());
    people.fails(post, "market webhooks remove 1", 6);
    people.does(shop, "market webhooks remove 1");
    people.fails(shop, "market webhooks rotate 1", 6);
    let none = people.types(shop, "market webhooks list");
    assert!(none.stdout.is_empty() && stderr(&none).contains("there are no webhooks"), "{none:?}");
    scene.check_hub_log();
}

/// Quantities and revenues, each of which is a part of all.
fn figures(sales: &Sales) -> Vec<(Option<&str>, i64, i64, &str)> {
    sales
        .rows
        .iter()
        .map(|row| {
            (row.sku.as_deref().or(row.category.as_deref()), row.quantity, row.orders, &row.revenue[..])
        })
        .collect()
}

#[test]
fn sales_are_what_was_ordered_less_what_was_cancelled() {
    let people = People::new();
    let People { shop, alice, scene, .. } = &people;
    people.does(shop, "market articles put book --category media/books");
    people.does(alice, "market order place shop/tea=3");
    people.does(alice, "market order place shop/tea=2 shop/book");
    let last = people.does(alice, "market order place shop/book").trim().to_owned();
    let sales = |line: &str| people.asks::<Sales>(shop, line);
    let all = sales("market sales");
    assert_eq!(figures(&all), [(Some("book"), 2, 2, "30000"), (Some("tea"), 5, 2, "25000")]);
    assert_eq!((all.totals[0].quantity, all.totals[0].revenue.as_str()), (7, "55000"));
    people.does(alice, &format!("market order cancel {last}"));
    let by_category = sales("market sales --by category --from 3h");
    assert_eq!(figures(&by_category), [(Some(""), 5, 2, "25000"), (Some("media/books"), 1, 1, "15000")]);
    for by in ["hour", "day"] {
        let sales = sales(&format!("market sales --by {by}"));
        let revenue: i64 = sales.rows.iter().map(|row| row.revenue.parse::<i64>().expect("won")).sum();
        let quantity: i64 = sales.rows.iter().map(|row| row.quantity).sum();
        assert_eq!((quantity, revenue, sales.totals[0].revenue.as_str()), (6, 40_000, "40000"), "{by}");
    }
    let operator = &scene.pool.operator;
    assert_eq!(people.asks::<Sales>(operator, "market sales").totals, sales("market sales").totals);
    assert_eq!(people.asks::<Sales>(operator, "market sales --merchant post").rows, []);

    let typed = |line: &str| {
        let mut command = scene.pool.cli(shop);
        let output = command.env("TZ", "KST-9").args(line.split(' ')).output().expect("the binary runs");
        (String::from_utf8(output.stdout.clone()).expect("text"), stderr(&output))
    };
    let (shown, said) = typed("market sales --by hour");
    assert!(shown.contains(":00 KST") && shown.contains("40000  KRW"), "{shown}");
    assert!(said.starts_with("sales from ") && said.matches(" KST").count() == 2, "{said}");
    assert!(typed("market sales --by day").0.contains(" UTC "));
    let (shown, said) = typed("market sales --limit 1");
    assert!(shown.contains("tea") && !shown.contains("book") && shown.contains("40000"), "{shown}");
    assert!(said.contains("there are more"), "{said}");
    let (shown, said) = typed("market sales --from 2001-01-01 --to 2001-01-01");
    assert_eq!(shown, "");
    assert_eq!(said, "nothing was sold from 2001-01-01 00:00 KST to 2001-01-02 00:00 KST\n");
    people.fails(shop, "market sales --from 2001-01-02 --to 2001-01-01", 5);
    let refused = people.fails(shop, "market sales --merchant post", 4);
    assert!(refused.contains("cannot show the sales of 'post'"), "{refused}");
    people.fails(alice, "market sales", 4);
    scene.check_books();
}

#[test]
fn customers_read_notices_in_their_language() {
    let people = People::new();
    let People { shop, alice, scene, .. } = &people;
    let number = people.does(alice, "market order place shop/tea").trim().to_owned();
    let (ko, en) =
        (format!("주문 {number}번이 접수"), format!("Order {number} was placed and paid: 5000 KRW."));
    assert!(people.does(alice, "market feed --lang ko").contains(&ko));
    let english = people.does(alice, "market feed --lang en");
    assert!(english.contains(&en) && !english.contains('주'), "{english}");
    let in_locale = |locale: &str| {
        let mut command = scene.pool.cli(alice);
        let command = command.env_remove("LC_MESSAGES").env("LC_ALL", "").env("LANG", locale);
        let output = command.args(["market", "feed"]).output().expect("the binary runs");
        String::from_utf8(output.stdout).expect("text")
    };
    assert!(in_locale("ko_KR.UTF-8").contains(&ko));
    assert!(in_locale("C.UTF-8").contains(&en));
    let sold = people.does(shop, "market feed --lang ko");
    assert!(sold.contains("5000 KRW") && !sold.contains('주'), "{sold}");
}
