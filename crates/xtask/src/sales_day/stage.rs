//! The market that is played on: its accounts, its terms, and what was loaded into it with the command line.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use futures_util::{StreamExt, TryStreamExt, stream};
use pumasi_api::client::HubClient;
use pumasi_api::wire;
use pumasi_api::wire::market::{Article, Articles, OpenedCustomers};
use serde_json::{Value, json};

use super::folder::Folder;
use crate::Outcome;
use crate::pool::Pool;

/// Requests at once.
pub(super) const AT_ONCE: usize = 64;
/// The one merchant.
pub(super) const MERCHANT: &str = "grocer";
/// The platform's fee, in basis points.
const FEE_BP: u16 = 300;
/// Exit code of a load that refused rows.
const SOME_REFUSED: i32 = 5;

/// Who acts.
pub(super) struct Stage {
    pub(super) operator: HubClient,
    pub(super) grocer: HubClient,
    grocer_token: String,
    /// The storefront, which orders for everybody.
    pub(super) mall: HubClient,
    /// Ids of customers.
    pub(super) customers: HashMap<String, u64>,
}

impl Stage {
    /// Opens the accounts, and gives the households what they have.
    pub(super) async fn open(pool: &Pool, folder: &mut Folder) -> Outcome<Stage> {
        let operator = pool.client(&pool.operator)?;
        let open = async |name: &str, roles: &[&str]| {
            let account = json!({"name": name, "roles": roles});
            operator.post::<_, wire::OpenedAccount>("/v1/accounts", &account, None).await
        };
        let (grocer, mall) = (open(MERCHANT, &["merchant"]).await?, open("mall", &["storefront"]).await?);
        let (fees, taxes) = (open("fees", &[]).await?, open("taxes", &[]).await?);
        let terms = json!({"fee_to": fees.id.0, "tax_to": taxes.id.0, "fee_bp": FEE_BP});
        let () = operator.put("/v1/market", &terms, None).await?;
        let phase = json!({"phase": "terms", "fee_to": "fees", "tax_to": "taxes", "fee_bp": FEE_BP});
        folder.phase(&phase)?;
        let mut stage = Stage {
            grocer: pool.client(&grocer.token)?,
            mall: pool.client(&mall.token)?,
            grocer_token: grocer.token,
            customers: HashMap::new(),
            operator,
        };
        stage.customers("customers.csv", folder).await?;
        Ok(stage)
    }

    /// Opens accounts for the customers in a file, and gives them their money.
    pub(super) async fn customers(&mut self, file: &str, folder: &mut Folder) -> Outcome {
        let rows = folder.rows(file)?;
        for some in rows.chunks(10_000) {
            let names: Vec<_> = some.iter().map(|row| &row[0]).collect();
            let opened: OpenedCustomers =
                self.mall.post("/v1/customers", &json!({ "names": names }), None).await?;
            self.customers.extend(some.iter().map(|row| row[0].clone()).zip(opened.first.0..));
        }
        let rich = rows.iter().filter(|row| row[1] != "0").map(Ok::<_, Box<dyn std::error::Error>>);
        let given = stream::iter(rich).try_for_each_concurrent(AT_ONCE, async |row| {
            let money = json!({"to": row[0], "currency": "KRW", "amount": row[1]});
            let _: wire::Transferred = self.operator.post("/v1/issue", &money, None).await?;
            Ok(())
        });
        given.await?;
        folder.phase(&json!({"phase": "customers", "file": file}))
    }

    /// Says when the merchant is paid.
    pub(super) async fn settle_at(&self, when: &str) -> Outcome {
        Ok(self.grocer.put("/v1/shop", &json!({ "settle_at": when }), None).await?)
    }

    /// Loads a table as a merchant would, and says what was refused.
    pub(super) fn load(&self, what: &str, file: &str, folder: &mut Folder, pool: &Pool) -> Outcome {
        let report = self.ask(pool, &[what, "load", "--quiet"], &folder.file(file))?;
        let (loaded, rejected) = (&report["loaded"], &report["rejected"]);
        let mut why = String::new();
        if let Some(rejects) = report["rejects"].as_str() {
            why = format!(" {}", reasons(&std::fs::read_to_string(rejects)?));
        }
        println!("{file}: {loaded} rows loaded, {rejected} refused{why}");
        folder.phase(&json!({"phase": what, "file": file, "rejected": rejected}))
    }

    /// What the merchant's command about a file says.
    pub(super) fn ask(&self, pool: &Pool, words: &[&str], file: &Path) -> Outcome<Value> {
        let mut command = pool.cli(&self.grocer_token);
        let output = command.args(["market", "--json"]).args(words).arg(file).output()?;
        if !output.status.success() && output.status.code() != Some(SOME_REFUSED) {
            return Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// All articles.
    pub(super) async fn articles(&self) -> Outcome<Vec<Article>> {
        let (mut articles, mut after) = (Vec::new(), 0);
        loop {
            let path = format!("/v1/articles?merchant={MERCHANT}&limit=1000&after={after}");
            let page: Articles = self.grocer.get(&path).await?;
            articles.extend(page.articles);
            match page.next {
                Some(next) => after = next.0,
                None => return Ok(articles),
            }
        }
    }

    /// Ids of articles by SKU.
    pub(super) async fn article_ids(&self) -> Outcome<HashMap<String, u32>> {
        Ok(self.articles().await?.into_iter().map(|article| (article.sku, article.id.0)).collect())
    }

    /// Asks for something of many things, some at a time.
    pub(super) async fn each<T: serde::de::DeserializeOwned>(
        &self,
        client: &HubClient,
        paths: impl Iterator<Item = String>,
    ) -> Outcome<Vec<T>> {
        let asked = stream::iter(paths).map(|path| async move { client.get::<T>(&path).await });
        Ok(asked.buffered(AT_ONCE).try_collect().await?)
    }
}

/// What was wrong with rows, without what differs from row to row, and how often.
fn reasons(rejects: &str) -> String {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for line in rejects.lines().skip(1) {
        let problem = line.split(',').nth(1).unwrap_or_default();
        *counts.entry(problem.split(" '").next().unwrap_or_default()).or_default() += 1;
    }
    let counts: Vec<_> = counts.iter().map(|(problem, count)| format!("{count} × {problem}")).collect();
    format!("({})", counts.join("; "))
}
