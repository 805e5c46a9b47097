//! The market from the command line: the whole life of an order, each step typed by whom it belongs to.

use std::process::Output;

use pumasi_api::wire;
use pumasi_api::wire::market::{Article, MarketLive, Order, OrderResult, PutArticle};

use super::{Scene, stderr};

/// People of a market and their tokens.
pub(super) struct People {
    pub(super) scene: Scene,
    pub(super) shop: String,
    pub(super) post: String,
    pub(super) alice: String,
}

impl People {
    /// A shop sells tea and books to alice, who has ₩100,000.
    pub(super) fn new() -> People {
        People::with(&[])
    }

    /// The same with options of the hub.
    pub(super) fn with(hub_arguments: &[&str]) -> People {
        let scene = Scene::with(0, hub_arguments);
        let open = |name, role| scene.pool.open_account(name, role).expect("an account opens");
        let (shop, post) = (open("shop", "merchant"), open("post", "carrier"));
        let alice = open("alice", "researcher");
        let people = People { scene, shop, post, alice };
        let operator = people.scene.pool.operator.clone();
        people.does(&operator, "account issue alice 100000 --currency KRW");
        people.does(&operator, "market terms --fee 3% --fee-to operator --tax-to operator");
        people.does(&people.shop, "market shop --settle-at shipping --reserve 10m");
        people.does(
            &people.shop,
            "market articles put tea --price 5000 --currency KRW --tax 10% --title-ko 녹차",
        );
        people.does(&people.shop, "market articles put book --price 15000 --currency KRW --untracked");
        people.does(&people.shop, "market stock receive tea 10 --place 2");
        people
    }

    pub(super) fn types(&self, who: &str, line: &str) -> Output {
        self.scene.pool.cli(who).args(line.split(' ')).output().expect("the binary runs")
    }

    /// Somebody types a command that succeeds; what it prints.
    pub(super) fn does(&self, who: &str, line: &str) -> String {
        let output = self.types(who, line);
        assert!(output.status.success(), "pumasi {line}: {}", stderr(&output));
        String::from_utf8(output.stdout).expect("text")
    }

    /// Somebody types a command that is refused with this exit code; what it says.
    pub(super) fn fails(&self, who: &str, line: &str, code: i32) -> String {
        let output = self.types(who, line);
        assert_eq!(output.status.code(), Some(code), "pumasi {line}: {}", stderr(&output));
        stderr(&output)
    }

    pub(super) fn asks<T: serde::de::DeserializeOwned>(&self, who: &str, line: &str) -> T {
        let words: Vec<_> = line.split(' ').collect();
        self.scene.pool.ask(who, &words).expect("an answer")
    }

    fn order(&self, id: &str) -> Order {
        self.asks(&self.alice, &format!("market order show {id}"))
    }

    fn won(&self, who: &str) -> String {
        let accounts: wire::Account = self.asks(who, "account");
        let won = accounts.balances.into_iter().find(|balance| balance.currency == "KRW");
        won.map_or_else(String::new, |balance| balance.available)
    }
}

#[test]
fn the_whole_life_of_an_order_from_the_command_line() {
    let people = People::new();
    let People { shop, post, alice, scene } = &people;
    let id =
        people.does(alice, "market order place shop/tea=3 shop/book --id first --later").trim().to_owned();
    let again: OrderResult = people.asks(
        alice,
        "market order place shop/tea=3 shop/book --id first --later --total 30000 --currency KRW",
    );
    assert_eq!(again.order.map(|order| order.to_string()), Some(id.clone()));
    assert_eq!((people.order(&id).state.as_str(), people.order(&id).total.as_str()), ("placed", "30000"));
    let step = |who: &str, line: &str| people.does(who, &format!("market order {}", line.replace("ID", &id)));
    let refused = people.fails(shop, &format!("market order ship {id}"), 5);
    assert!(refused.contains("is placed") && refused.contains("you can cancel it"), "{refused}");
    assert_eq!(step(alice, "pay ID"), format!("paid order {id}\n"));
    step(shop, "allocate ID");
    assert_eq!(
        step(shop, "ship ID tea=2 --carrier post --tracking EE123456789KR"),
        format!("shipped order {id}: parcel 1\n")
    );
    assert_eq!(people.order(&id).state, "partly_shipped");
    step(shop, "ship ID --carrier post");
    step(post, "deliver ID 1");
    assert!(people.fails(alice, &format!("market order deliver {id} 2"), 4).contains("another account"));
    step(post, "deliver ID 2");
    let shown = people.does(alice, &format!("market order show {id}"));
    for part in ["state", "delivered", "EE123456789KR", "2 tea", "1 tea, 1 book", "returns until"] {
        assert!(shown.contains(part), "no '{part}' in:\n{shown}");
    }
    step(alice, "return ID tea=1");
    step(shop, "accept-return ID --restock");
    assert!(step(shop, "refund ID 5000").contains("transfer"));
    let order = people.order(&id);
    assert_eq!((order.state.as_str(), order.refunded.as_str()), ("refunded", "5000"));
    assert_eq!(people.won(alice), "75000");
    let tea: Article = people.asks(shop, "market articles show tea");
    let shelf = tea.stock.expect("the merchant sees it")[0];
    assert_eq!((shelf.place.0, shelf.on_hand, shelf.reserved), (2, 8, 0));
    let all: MarketLive = people.asks(&scene.pool.operator, "market watch --every 2s --for 1s");
    let counted = all.orders.expect("an operator sees them");
    assert!(counted.placed >= 1 && counted.refused.is_empty(), "{counted:?}");
    let mine: MarketLive = people.asks(shop, "market watch --every 2s --for 1s");
    assert_eq!((mine.orders, mine.revenue[0].amount.as_str()), (None, "25000"));
    let lines = people.does(shop, "market watch --every 100ms --for 300ms");
    assert!(lines.lines().count() >= 2 && lines.contains("25,000 KRW"), "{lines}");
    scene.check_books();
    scene.check_hub_log();
}

#[test]
fn what_the_market_refuses_is_said_with_a_way_out() {
    let people = People::new();
    let People { shop, alice, .. } = &people;
    people.fails(alice, "market articles put tea --price 1 --currency KRW", 4);
    people.fails(alice, "market stock receive tea 1", 4);
    assert!(people.fails(shop, "market stock receive other/tea 1", 2).contains("/other/tea"));
    people.fails(shop, "market articles put new --price 1", 2);
    people.fails(shop, "market articles put tea --currency EUR", 5);
    assert!(people.fails(shop, "market articles show coffee", 6).contains("article 'coffee' of yours"));
    assert!(people.fails(alice, "market order place tea", 2).contains("MERCHANT/SKU"));
    people.fails(alice, "market order place shop/coffee", 6);
    people.fails(alice, "market order show 99", 6);
    let refused = people.fails(alice, "market order place shop/tea --total 4000 --currency KRW", 5);
    assert!(refused.contains("5000"), "it says what it costs: {refused}");
    assert!(
        people.fails(alice, "market order place shop/tea=11", 5).contains("10"),
        "it says how many there are"
    );
    people.fails(alice, "market order place shop/book=7", 5);
    // What is not given stays as it was.
    let _: Vec<PutArticle> = people.asks(shop, "market articles put tea --price 4500 --off-sale");
    let tea: Article = people.asks(alice, "market articles show shop/tea");
    assert_eq!(
        (tea.price.as_str(), tea.title_ko.as_str(), tea.tax_bp, tea.on_sale),
        ("4500", "녹차", 1_000, false)
    );
    people.fails(alice, "market order place shop/tea", 6);
    people.does(shop, "market articles put tea --on-sale");
    people.does(shop, "market coupons put SPRING --percent 10% --until 30d --uses-each 1");
    let listed = people.does(shop, "market coupons list");
    assert!(listed.contains("SPRING") && listed.contains("10%"), "{listed}");
    let refused =
        people.fails(alice, "market order place shop/tea --coupon SPRING --total 4500 --currency KRW", 5);
    assert!(refused.contains("4050"), "it says what is left: {refused}");
    people.does(alice, "market order place shop/tea --coupon SPRING --total 4050 --currency KRW");
    let refused =
        people.fails(alice, "market order place shop/tea --coupon SPRING --total 4050 --currency KRW", 5);
    assert!(refused.contains("has used coupon 'SPRING' before"), "{refused}");
    people.fails(shop, "market coupons put WINTER --until 30d", 2);
    let id = people.does(alice, "market order place shop/tea=2").trim().to_owned();
    people.does(alice, &format!("market order cancel {id}"));
    assert_eq!(people.won(alice), "95950");
    let table = people.does(shop, "market stock show");
    assert!(table.lines().nth(1).is_some_and(|line| line.contains("tea") && line.contains("10")), "{table}");
    assert!(people.does(alice, "market articles list --merchant shop").contains("녹차"));
    assert!(people.does(alice, "market shop --merchant shop").contains("each for its part"));
    assert!(people.does(alice, "market terms").contains("3%"));
    people.scene.check_books();
}
