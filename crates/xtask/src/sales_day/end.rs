//! How it all ended, as the hub tells it: every balance, every shelf, every order.

use pumasi_api::wire;
use serde_json::json;

use super::folder::Folder;
use super::stage::Stage;
use crate::Outcome;
use crate::pool::Pool;

/// Accounts that are no customers: the issuer by its number, whom nobody named.
const OTHERS: [(&str, &str); 4] =
    [("issuer", "0"), (super::stage::MERCHANT, super::stage::MERCHANT), ("fees", "fees"), ("taxes", "taxes")];

/// Writes everything down.
pub(super) async fn write(pool: &Pool, stage: &Stage, folder: &Folder) -> Outcome {
    let books: Vec<wire::Books> = stage.operator.get("/v1/books").await?;
    if !books.iter().all(|line| line.balanced) {
        return Err(format!("the books do not balance: {books:?}").into());
    }
    balances(stage, folder).await?;
    let articles = stage.articles().await?;
    let article = |article: &wire::market::Article| json!({"id": article.id, "sku": article.sku, "price": article.price, "stock": article.stock});
    folder.lines("articles.end", articles.iter().map(article))?;
    let exported = stage.ask(pool, &["export", "orders", "--out"], &folder.file("orders.parquet"))?;
    let count = &exported["rows"];
    println!(
        "{} accounts, {} articles and {count} orders were read",
        stage.customers.len() + OTHERS.len(),
        articles.len()
    );
    Ok(())
}

async fn balances(stage: &Stage, folder: &Folder) -> Outcome {
    let names = OTHERS.iter().map(|(name, account)| ((*name).to_owned(), (*account).to_owned()));
    let customers = stage.customers.keys().map(|name| (name.clone(), name.clone()));
    let (names, paths): (Vec<_>, Vec<_>) =
        names.chain(customers).map(|(name, account)| (name, format!("/v1/accounts/{account}"))).unzip();
    let accounts: Vec<wire::Account> = stage.each(&stage.operator, paths.into_iter()).await?;
    let row = |(name, account): (&String, &wire::Account)| {
        let balance = account.balances.iter().find(|balance| balance.currency == "KRW");
        let (available, held) = balance.map_or(("0", "0"), |balance| (&balance.available, &balance.held));
        json!({"name": name, "id": account.id, "available": available, "held": held})
    };
    folder.lines("balances.end", names.iter().zip(&accounts).map(row))
}
