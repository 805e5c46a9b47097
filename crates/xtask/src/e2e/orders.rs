//! Orders by every way in, as customers' programs send them: HTTP, lines of JSON, and Arrow Flight from plain pyarrow.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use pumasi_api::wire;
use pumasi_api::wire::market::{Article, Order, OrderResult, PutArticle};
use serde_json::json;

use super::Scene;
use crate::build::root;
use crate::pool::block_on;
use crate::python::{self, run};

/// The interpreter that has pyarrow, installed below `target` once.
fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| {
        python::with("pyarrow", "pyarrow.flight", &["pyarrow"]).expect("pyarrow can be installed")
    })
}

/// A market with tea, rice and 5,000 more articles: the token of a storefront, and the id of a customer with money.
fn market(scene: &Scene) -> (String, String) {
    let operator = scene.pool.client(&scene.pool.operator).expect("a client");
    let open = |name: &'static str, roles: &'static [&'static str]| {
        let account = json!({"name": name, "roles": roles});
        let opened = block_on(operator.post("/v1/accounts", &account, None));
        let opened: wire::OpenedAccount = opened.expect("an account opens");
        opened
    };
    let (shop, mall, alice) =
        (open("shop", &["merchant"]), open("mall", &["storefront"]), open("alice", &[]));
    let merchant = scene.pool.client(&shop.token).expect("a client");
    block_on(async {
        let money = json!({"to": "alice", "currency": "KRW", "amount": "1000000000"});
        let _: wire::Transferred = operator.post("/v1/issue", &money, None).await.expect("money is issued");
        let terms = json!({"fee_to": "operator", "tax_to": "operator", "fee_bp": 300});
        let () = operator.put("/v1/market", &terms, None).await.expect("terms are set");
        let () =
            merchant.put("/v1/shop", &json!({"settle_at": "placing"}), None).await.expect("the shop opens");
        let article =
            |sku: String, price: &str| json!({"sku": sku, "price": price, "currency": "KRW", "tax_bp": 1000});
        let named = [("tea", "5000"), ("rice", "30000")].map(|(sku, price)| article(sku.to_owned(), price));
        let more = (0..5_000).map(|n| article(format!("more-{n}"), "1"));
        let articles: Vec<_> = named.into_iter().chain(more).collect();
        let put: Vec<PutArticle> =
            merchant.post("/v1/articles", &articles, None).await.expect("articles are put");
        assert_eq!(put.len(), 5_002);
        let stock =
            ["tea", "rice"].map(|sku| json!({"sku": sku, "place": 1, "change": {"receive": 1_000_000}}));
        let () = merchant.post("/v1/stock", &stock, None).await.expect("stock comes");
    });
    (mall.token, alice.id.to_string())
}

#[test]
fn pyarrow_places_orders_and_malformed_ones_are_refused() {
    let scene = Scene::new(0);
    let (mall, alice) = market(&scene);
    let script = root().join("crates/xtask/src/e2e/orders.py");
    let address = format!("grpc+tls://{}", scene.pool.address);
    let mut python = Command::new(python());
    python.arg(script).args([address.as_str(), &mall]).arg(scene.path("hub/tls.cert.pem"));
    let said = run(python.arg(alice)).expect("what pyarrow was promised");
    assert_eq!(said.trim(), "ok");
    let client = scene.pool.client(&mall).expect("a client");
    let tea: Article = block_on(client.get("/v1/articles/1")).expect("tea");
    // 10,000 and 300 orders of one, one of one with rice, one of three, and others of one.
    let reserved = 10_000 + 300 + 1 + 3 + 1 + 1 + 1 + 1;
    assert_eq!(tea.stock.expect("a storefront sees it")[0].reserved, reserved);
    scene.check_books();
    scene.check_hub_log();
}

#[test]
fn an_order_is_the_same_by_every_way_and_after_a_crash() {
    let mut scene = Scene::new(0);
    let (mall, alice) = market(&scene);
    let id = "0190b6b5-5b2c-7c2e-8e0a-3f6a2d1c9b77";
    let order = json!({"id": id, "customer": "alice", "currency": "KRW", "total": "5000",
        "lines": [{"merchant": "shop", "sku": "tea", "quantity": 1}]});
    let client = scene.pool.client(&mall).expect("a client");
    let one: OrderResult = block_on(client.post("/v1/orders", &order, None)).expect("it is placed");
    scene.pool.hub().expect("a hub").kill().expect("it was alive");
    scene.pool.start_hub().expect("it starts again");
    let list: Vec<OrderResult> = block_on(client.post("/v1/orders", &[&order], None)).expect("a list");
    assert_eq!(list, std::slice::from_ref(&one));
    let program = r#"
import sys, uuid, pyarrow as pa, pyarrow.flight as flight
address, token, certificate, customer, id = sys.argv[1:]
client = flight.FlightClient(address, tls_root_certs=open(certificate, "rb").read(), override_hostname="localhost")
options = flight.FlightCallOptions(headers=[(b"authorization", b"Bearer " + token.encode())])
batch = pa.RecordBatch.from_pydict({"id": pa.array([uuid.UUID(id).bytes], pa.binary(16)), "currency": ["KRW"],
    "customer": pa.array([int(customer)], pa.uint64()), "total": pa.array([5000], pa.int64()),
    "article": pa.array([1], pa.uint32()), "quantity": pa.array([1], pa.uint32())})
writer, reader = client.do_exchange(flight.FlightDescriptor.for_path("orders"), options)
writer.begin(batch.schema)
writer.write_batch(batch)
print(reader.read_chunk().data.column("order")[0])
"#;
    let mut python = Command::new(python());
    python.args(["-c", program, &format!("grpc+tls://{}", scene.pool.address), &mall]);
    python.arg(scene.path("hub/tls.cert.pem")).args([&alice, id]);
    let number = run(&mut python).expect("pyarrow places it");
    let placed = one.order.expect("it was placed");
    assert_eq!(number.trim(), placed.to_string());
    let shown: Order = block_on(client.get(&format!("/v1/orders/{placed}"))).expect("the order");
    assert_eq!((shown.state.as_str(), shown.total.as_str()), ("paid", "5000"));
    scene.check_books();
}
