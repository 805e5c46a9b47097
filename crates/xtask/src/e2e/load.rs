//! Tables that merchants load: what is wrong with rows is told, and nothing is loaded twice, whatever happens meanwhile.

use std::process::Output;

use pumasi_api::wire;
use pumasi_api::wire::market::Article;
use serde_json::{Value, json};

use super::{Scene, eventually, stderr};
use crate::pool::block_on;

/// A merchant's token.
fn shop(scene: &Scene) -> String {
    scene.pool.open_account("shop", "merchant").expect("an account opens")
}

/// The merchant loads a file.
fn load(scene: &Scene, token: &str, arguments: &[&str]) -> Output {
    let mut command = scene.pool.cli(token);
    command.arg("market").args(arguments).output().expect("the binary runs")
}

/// How many of an article are at place 1.
fn on_hand(scene: &Scene, token: &str, article: u32) -> u32 {
    let client = scene.pool.client(token).expect("a client");
    let article: Article = block_on(client.get(&format!("/v1/articles/{article}"))).expect("the article");
    article.stock.expect("its merchant sees it").first().map_or(0, |shelf| shelf.on_hand)
}

#[test]
fn refused_rows_are_reported_and_can_be_corrected() {
    let scene = Scene::new(0);
    let token = shop(&scene);
    let table = "sku,price,title_en,gtin,remark\ntea,5000,\"Tea, green\",,x\nrice,3e4,Rice,,\nsalt,500,Salt,123,\n\
        sugar,700,Sugar,,\npepper,,Pepper,,\n";
    let file = scene.file("articles.csv", table.as_bytes());
    let output = load(&scene, &token, &["articles", "load", &file, "--currency", "KRW"]);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(5), "{said}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "2 of 5 articles loaded\n");
    for part in [
        "columns that are not used: remark",
        "articles.csv:3: price: '3e4' is not an amount",
        "articles.csv:4: gtin must be 8 to 14 digits",
        "articles.csv:6: price is empty",
        "3 rows were refused",
    ] {
        assert!(said.contains(part), "no '{part}' in {said}");
    }
    let rejects = scene.path("articles.rejects.csv");
    let text = std::fs::read_to_string(&rejects).expect("rejects were written");
    assert!(text.starts_with("rejected_row,problem,sku,price,title_en,gtin,remark\n3,"), "{text}");
    // Corrected, they are loaded; the columns that say why not are no columns of articles.
    let text = text.replace("3e4", "30000").replace(",123,", ",,").replace("pepper,,", "pepper,900,");
    std::fs::write(&rejects, text).expect("it can be written");
    let output = load(
        &scene,
        &token,
        &["articles", "load", &rejects.to_string_lossy(), "--currency", "KRW", "--json"],
    );
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&report["loaded"], &report["rejected"]), (&json!(3), &json!(0)), "{}", stderr(&output));
    assert!(output.status.success());
}

#[test]
fn stock_comes_once_however_often_and_through_crashes_it_is_loaded() {
    let mut scene = Scene::new(0);
    let token = shop(&scene);
    let numbers = 1..=5_000;
    let articles: String = numbers.clone().map(|n| format!("a{n},1,KRW\n")).collect();
    let articles = scene.file("articles.csv", format!("sku,price,currency\n{articles}").as_bytes());
    assert!(load(&scene, &token, &["articles", "load", &articles]).status.success());
    let stock: String = (0..40).flat_map(|_| numbers.clone()).map(|n| format!("a{n},1,1\n")).collect();
    let stock = scene.file("stock.csv", format!("sku,place,quantity\n{stock}").as_bytes());
    // The hub is killed in the middle, and the load cannot go on.
    let mut first = scene.pool.cli(&token);
    first.args(["market", "stock", "load", &stock, "--quiet"]).stderr(std::process::Stdio::null());
    let mut first = crate::process::Guarded::spawn(&mut first).expect("the binary runs");
    eventually("some stock comes", || on_hand(&scene, &token, 1) > 2);
    scene.pool.hub().expect("a hub").kill().expect("it was alive");
    let status = first.wait(std::time::Duration::from_secs(60)).expect("it is ours").expect("it gives up");
    assert_eq!(status.code(), Some(3));
    scene.pool.start_hub().expect("it starts again");
    assert!(on_hand(&scene, &token, 5_000) < 40, "it was killed too late");
    for arguments in [
        &["stock", "load", &stock][..],
        &["stock", "load", &stock],
        &["stock", "load", &stock, "--load-id", "2"],
    ] {
        let output = load(&scene, &token, arguments);
        assert!(output.status.success(), "{}", stderr(&output));
    }
    for article in [1, 777, 5_000] {
        assert_eq!(on_hand(&scene, &token, article), 80, "forty under each of two names");
    }
}

#[test]
fn rows_that_became_right_do_not_load_their_batch_again() {
    let scene = Scene::new(0);
    let token = shop(&scene);
    let client = scene.pool.client(&token).expect("a client");
    let put = |sku: &str| {
        let article = json!({"sku": sku, "price": "1", "currency": "KRW"});
        let _: Vec<wire::market::PutArticle> =
            block_on(client.post("/v1/articles", &article, None)).expect("it is put");
    };
    put("tea");
    let table = "sku,place,quantity\ntea,1,10\nrice,1,10\nsalt,1,10\ntea,0,5\n";
    let file = scene.file("stock.csv", table.as_bytes());
    let output = load(&scene, &token, &["stock", "load", &file]);
    assert_eq!(output.status.code(), Some(5));
    let said = stderr(&output);
    for part in [
        "stock.csv:3: you have no article 'rice'",
        "stock.csv:4: you have no article 'salt'",
        "stock.csv:5: place",
    ] {
        assert!(said.contains(part), "no '{part}' in {said}");
    }
    put("rice");
    let output = load(&scene, &token, &["stock", "load", &file]);
    assert_eq!(output.status.code(), Some(5));
    assert!(stderr(&output).contains("was sent before"), "{}", stderr(&output));
    assert_eq!(on_hand(&scene, &token, 1), 10, "the tea came once");
}
