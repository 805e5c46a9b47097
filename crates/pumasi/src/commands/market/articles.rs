//! `pumasi market articles`: what is sold.

use clap::{Args, Subcommand};
use pumasi_api::client::{HubClient, escape};
use pumasi_api::wire::market::{Article, Articles, NewArticle, PutArticle, Shelf, Tracking};
use pumasi_types::Currency;

use super::article::ArticleName;
use super::load::LoadArticles;
use crate::connect::post;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::{Output, Style, Table};
use crate::units;

pub(super) const EXAMPLES: &str = "\
Examples:
  pumasi market articles list --merchant shop
  pumasi market articles put tea --price 5000 --currency KRW --tax 10% --title-en 'Tea'
  pumasi market articles put tea --price 4500      the rest stays as it is
  pumasi market articles show shop/tea
  pumasi market articles load articles.csv --currency KRW";

/// Articles that are asked for at once.
const PAGE: usize = 1_000;

#[derive(Debug, Subcommand)]
pub(super) enum ArticlesCommand {
    /// List articles in the order in which they came
    List {
        /// Of this merchant only, by name or id
        #[arg(long, value_name = "NAME")]
        merchant: Option<String>,
        /// At most so many
        #[arg(long, default_value_t = 50, value_name = "N")]
        limit: usize,
    },
    /// Show an article
    Show {
        /// Its number, its SKU if it is yours, or MERCHANT/SKU
        article: ArticleName,
    },
    Put(PutArgs),
    Load(LoadArticles),
}

/// Add an article, or change the one of this SKU (merchants)
///
/// Of an article that exists, what is not given stays as it is.
#[derive(Args, Debug)]
pub(super) struct PutArgs {
    /// What you call it
    sku: String,
    /// What one costs, tax contained
    #[arg(long, value_name = "AMOUNT")]
    price: Option<String>,
    /// In which currency; it stays
    #[arg(long, value_name = "CODE")]
    currency: Option<Currency>,
    /// The tax that the price contains, on top of the net price
    #[arg(long, value_parser = units::parse_percent, value_name = "PERCENT")]
    tax: Option<u16>,
    /// Title in Korean
    #[arg(long, value_name = "TEXT")]
    title_ko: Option<String>,
    /// Title in English
    #[arg(long, value_name = "TEXT")]
    title_en: Option<String>,
    /// Where it stands among others, as `food/tea`
    #[arg(long, value_name = "PATH")]
    category: Option<String>,
    /// Global Trade Item Number, 8 to 14 digits
    #[arg(long, value_name = "DIGITS")]
    gtin: Option<String>,
    /// There is always enough of it
    #[arg(long, conflicts_with_all = ["counted", "backorder"])]
    untracked: bool,
    /// What is not there is not sold
    #[arg(long, conflicts_with = "backorder")]
    counted: bool,
    /// So many more than there are can be sold, at each place
    #[arg(long, value_name = "N")]
    backorder: Option<u32>,
    /// It can be ordered
    #[arg(long, conflicts_with = "off_sale")]
    on_sale: bool,
    /// It cannot be ordered any more
    #[arg(long)]
    off_sale: bool,
}

impl ArticlesCommand {
    pub(super) async fn run(self, client: &HubClient, out: &Output) -> Result<Exit, CliError> {
        match self {
            ArticlesCommand::List { merchant, limit } => list(client, out, merchant, limit).await?,
            ArticlesCommand::Show { article } => {
                let article = article.find(client).await?;
                out.show(&article, "", || facts(&article))?;
            }
            ArticlesCommand::Put(args) => args.run(client, out).await?,
            ArticlesCommand::Load(load) => return load.run(client, out).await,
        }
        Ok(Exit::Ok)
    }
}

/// Up to so many articles of a merchant, or of all; whether there are more.
pub(super) async fn read(
    client: &HubClient,
    merchant: Option<&str>,
    limit: usize,
) -> Result<(Vec<Article>, bool), CliError> {
    let merchant = merchant.map_or_else(String::new, |name| format!("&merchant={}", escape(name)));
    let mut articles = Vec::new();
    let mut after = String::new();
    loop {
        let limit = limit.saturating_sub(articles.len()).clamp(1, PAGE);
        let path = format!("/v1/articles?limit={limit}{merchant}{after}");
        let page: Articles = client.get(&path).await.map_err(CliError::hub("list articles"))?;
        articles.extend(page.articles);
        match page.next {
            Some(next) if articles.len() < limit => after = format!("&after={next}"),
            next => return Ok((articles, next.is_some())),
        }
    }
}

async fn list(
    client: &HubClient,
    out: &Output,
    merchant: Option<String>,
    limit: usize,
) -> Result<(), CliError> {
    let (articles, more) = read(client, merchant.as_deref(), limit).await?;
    out.show(&articles, "there are no articles: `pumasi market articles put` adds one", || {
        let mut table = Table::new(&[
            ">ARTICLE",
            "MERCHANT",
            "SKU",
            "TITLE",
            ">PRICE",
            "CURRENCY",
            ">AVAILABLE",
            "CATEGORY",
        ]);
        for article in &articles {
            let plain = |text: String| (text, Style::Plain);
            let left = available(article);
            let style = if left == "0" || !article.on_sale { Style::Bad } else { Style::Plain };
            let left = if article.on_sale { left } else { "not on sale".to_owned() };
            table.styled_row([
                plain(article.id.to_string()),
                plain(article.merchant.clone()),
                plain(article.sku.clone()),
                plain(title(article)),
                plain(article.price.clone()),
                plain(article.currency.clone()),
                (left, style),
                plain(article.category.clone()),
            ]);
        }
        table
    })?;
    if more && !out.json {
        out.note("there are more: raise --limit");
    }
    Ok(())
}

fn title(article: &Article) -> String {
    let titles = [&article.title_en, &article.title_ko];
    let given: Vec<_> = titles.into_iter().filter(|title| !title.is_empty()).map(String::as_str).collect();
    given.join(" · ")
}

/// How many can be sold still; nothing when that is not ours to know.
fn available(article: &Article) -> String {
    match (article.tracking, &article.stock) {
        (Tracking::Untracked, _) => "always".to_owned(),
        (_, None) => String::new(),
        (_, Some(shelves)) => {
            let left = |shelf: &Shelf| {
                let left = i64::from(shelf.on_hand) - i64::from(shelf.reserved);
                (left + backorder(article)).max(0)
            };
            shelves.iter().map(left).sum::<i64>().to_string()
        }
    }
}

/// How many more than there are can be sold of it at each place.
pub(super) fn backorder(article: &Article) -> i64 {
    match article.tracking {
        Tracking::Backorder(more) => more.into(),
        Tracking::Untracked | Tracking::Counted => 0,
    }
}

fn facts(article: &Article) -> Table {
    let tracking = match article.tracking {
        Tracking::Untracked => "not counted, there is always enough".to_owned(),
        Tracking::Counted => "counted, what is not there is not sold".to_owned(),
        Tracking::Backorder(more) => format!("counted, {more} more than there are can be sold at each place"),
    };
    let tax = units::percent(article.tax_bp);
    let mut facts = vec![
        ("article", article.id.to_string()),
        ("merchant", article.merchant.clone()),
        ("SKU", article.sku.clone()),
        ("title", title(article)),
        ("category", article.category.clone()),
        ("GTIN", article.gtin.clone().unwrap_or_default()),
        ("price", format!("{} {}, with {tax} tax", article.price, article.currency)),
        ("on sale", if article.on_sale { "yes" } else { "no" }.to_owned()),
        ("stock", tracking),
    ];
    for shelf in article.stock.iter().flatten() {
        let text = format!("{} at place {}, {} of them reserved", shelf.on_hand, shelf.place, shelf.reserved);
        facts.push(("", text));
    }
    facts.retain(|(_, value)| !value.is_empty());
    Table::facts(facts)
}

impl PutArgs {
    async fn run(self, client: &HubClient, out: &Output) -> Result<(), CliError> {
        let own = ArticleName::Sku { merchant: None, sku: self.sku.clone() };
        let now = own.look_up(client).await?;
        let new = now.is_none();
        let article = self.changed(now)?;
        let operation = format!("put article '{}'", article.sku);
        let put: Vec<PutArticle> = post(client, "/v1/articles", &article, operation).await?;
        let ids: Vec<_> = put.iter().map(|one| one.article.to_string()).collect();
        let verb = if new { "added" } else { "changed" };
        out.told(&put, &format!("{verb} article '{}': number {}", article.sku, ids.join(", ")))
    }

    /// What is there with what was given.
    fn changed(self, now: Option<Article>) -> Result<NewArticle, CliError> {
        let missing = |what: &str| {
            CliError::usage(
                format!("a new article needs {what}"),
                "give --price and --currency the first time",
            )
        };
        let now = now.as_ref();
        let tracking = match (self.untracked, self.counted, self.backorder) {
            (true, _, _) => Some(Tracking::Untracked),
            (_, true, _) => Some(Tracking::Counted),
            (_, _, Some(more)) => Some(Tracking::Backorder(more)),
            _ => None,
        };
        let on_sale = (self.on_sale || self.off_sale).then_some(self.on_sale);
        let currency = self.currency.map(|currency| currency.code().to_owned());
        let text = |given: Option<String>, now: Option<&String>| given.or(now.cloned()).unwrap_or_default();
        Ok(NewArticle {
            sku: self.sku,
            gtin: self.gtin.or(now.and_then(|now| now.gtin.clone())),
            title_ko: text(self.title_ko, now.map(|now| &now.title_ko)),
            title_en: text(self.title_en, now.map(|now| &now.title_en)),
            category: text(self.category, now.map(|now| &now.category)),
            price: self.price.or(now.map(|now| now.price.clone())).ok_or_else(|| missing("a price"))?,
            currency: currency
                .or(now.map(|now| now.currency.clone()))
                .ok_or_else(|| missing("a currency"))?,
            tax_bp: self.tax.or(now.map(|now| now.tax_bp)).unwrap_or_default(),
            tracking: tracking.or(now.map(|now| now.tracking)).unwrap_or_default(),
            on_sale: on_sale.or(now.map(|now| now.on_sale)).unwrap_or(true),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sold_beyond_what_is_there_counts_as_available() {
        let with = |tracking: serde_json::Value| -> Article {
            let article = serde_json::json!({
                "id": 1, "merchant": "shop", "sku": "tea", "title_ko": "", "title_en": "", "category": "",
                "price": "5000", "currency": "KRW", "tax_bp": 0, "tracking": tracking, "on_sale": true,
                "stock": [{"place": 1, "on_hand": 3, "reserved": 5}, {"place": 2, "on_hand": 4, "reserved": 0}],
            });
            serde_json::from_value(article).unwrap()
        };
        assert_eq!(available(&with("counted".into())), "4");
        assert_eq!(available(&with(serde_json::json!({"backorder": 10}))), "22");
        assert_eq!(available(&with(serde_json::json!({"backorder": 1}))), "5");
        assert_eq!(available(&with("untracked".into())), "always");
        let unknown = Article { stock: None, ..with("counted".into()) };
        assert_eq!(available(&unknown), "");
    }
}
