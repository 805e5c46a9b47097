//! Articles as people name them, and so many of one.

use std::fmt;
use std::str::FromStr;

use pumasi_api::client::{HubClient, escape};
use pumasi_api::wire::market::{Article, Articles, NewLine, Party, SomeOf};
use pumasi_types::ArticleId;

use crate::error::CliError;

/// An article: `17`, `tea` for one of the caller's own, or `shop/tea`; `/green/tea` is the caller's own `green/tea`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ArticleName {
    /// Its number.
    Id(ArticleId),
    /// What its merchant calls it; without a merchant it is the caller's.
    Sku { merchant: Option<String>, sku: String },
}

impl FromStr for ArticleName {
    type Err = String;

    fn from_str(text: &str) -> Result<ArticleName, String> {
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            let id = text.parse().map_err(|_| format!("{text} is too large for the number of an article"))?;
            return Ok(ArticleName::Id(id));
        }
        let (merchant, sku) = text.split_once('/').unwrap_or(("", text));
        if sku.is_empty() {
            return Err("expected a number, an SKU, or MERCHANT/SKU".to_owned());
        }
        let merchant = Some(merchant.to_owned()).filter(|merchant| !merchant.is_empty());
        Ok(ArticleName::Sku { merchant, sku: sku.to_owned() })
    }
}

impl fmt::Display for ArticleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ArticleName::Id(id) => write!(f, "{id}"),
            ArticleName::Sku { merchant: Some(merchant), sku } => write!(f, "'{merchant}/{sku}'"),
            ArticleName::Sku { merchant: None, sku } => write!(f, "'{sku}' of yours"),
        }
    }
}

impl ArticleName {
    /// The article of this name, if there is one.
    pub(super) async fn look_up(&self, client: &HubClient) -> Result<Option<Article>, CliError> {
        let failed = CliError::hub(format!("look up article {self}"));
        let (merchant, sku) = match self {
            ArticleName::Id(id) => {
                return client.get(&format!("/v1/articles/{id}")).await.map(Some).map_err(failed);
            }
            ArticleName::Sku { merchant, sku } => (merchant, sku),
        };
        let merchant =
            merchant.as_ref().map_or_else(String::new, |name| format!("&merchant={}", escape(name)));
        let found: Articles =
            client.get(&format!("/v1/articles?sku={}{merchant}", escape(sku))).await.map_err(failed)?;
        Ok(found.articles.into_iter().next())
    }

    /// The article of this name.
    pub(super) async fn find(&self, client: &HubClient) -> Result<Article, CliError> {
        self.look_up(client).await?.ok_or_else(|| CliError::Missing { what: format!("article {self}") })
    }

    /// Its number or its SKU, as one of them stands in requests about the caller's own articles.
    pub(super) fn own(self) -> Result<(Option<ArticleId>, Option<String>), CliError> {
        match self {
            ArticleName::Id(id) => Ok((Some(id), None)),
            ArticleName::Sku { merchant: None, sku } => Ok((None, Some(sku))),
            ArticleName::Sku { merchant: Some(merchant), sku } => Err(CliError::usage(
                format!(
                    "'{merchant}/{sku}' is an article of '{merchant}'; one of yours is '/{merchant}/{sku}'"
                ),
                "name an article of yours by its number, its SKU, or /SKU if there is a slash in it",
            )),
        }
    }
}

/// So many of an article: `shop/tea=2`, or one: `shop/tea`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Of what.
    pub(super) article: ArticleName,
    /// How many.
    pub(super) quantity: u32,
}

impl FromStr for Line {
    type Err = String;

    fn from_str(text: &str) -> Result<Line, String> {
        let (article, quantity) = text.rsplit_once('=').unwrap_or((text, "1"));
        let quantity = quantity.parse().ok().filter(|quantity| *quantity > 0);
        let quantity = quantity.ok_or("expected ARTICLE=QUANTITY with a quantity of 1 at least")?;
        Ok(Line { article: article.parse()?, quantity })
    }
}

impl Line {
    /// As it stands in a new order.
    pub(super) fn ordered(self) -> NewLine {
        let quantity = self.quantity;
        match self.article {
            ArticleName::Id(id) => NewLine { article: Some(id), merchant: None, sku: None, quantity },
            ArticleName::Sku { merchant, sku } => {
                NewLine { article: None, merchant: merchant.map(Party::Name), sku: Some(sku), quantity }
            }
        }
    }

    /// As it stands in a step of an order, which has one merchant: an SKU alone is that one's.
    pub(super) async fn of_order(self, client: &HubClient) -> Result<SomeOf, CliError> {
        let (article, sku) = match self.article {
            ArticleName::Id(id) => (Some(id), None),
            ArticleName::Sku { merchant: None, sku } => (None, Some(sku)),
            named => (Some(named.find(client).await?.id), None),
        };
        Ok(SomeOf { article, sku, quantity: self.quantity })
    }
}

/// An account as it stands in requests: digits are its id.
pub(super) fn party(text: &str) -> Party {
    text.parse().map_or_else(|_| Party::Name(text.to_owned()), Party::Id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn articles_are_named_in_three_ways() {
        let sku = |merchant: Option<&str>, sku: &str| {
            Ok(ArticleName::Sku { merchant: merchant.map(str::to_owned), sku: sku.to_owned() })
        };
        assert_eq!("17".parse(), Ok(ArticleName::Id(ArticleId(17))));
        assert_eq!("tea".parse(), sku(None, "tea"));
        assert_eq!("shop/tea".parse(), sku(Some("shop"), "tea"));
        assert_eq!("shop/4006381/x".parse(), sku(Some("shop"), "4006381/x"));
        assert_eq!("/17".parse(), sku(None, "17"));
        for text in ["", "/", "shop/", "99999999999"] {
            assert!(text.parse::<ArticleName>().is_err(), "{text}");
        }
    }

    #[test]
    fn articles_of_ones_own_have_no_merchant_before_them() {
        let own = |text: &str| text.parse::<ArticleName>().unwrap().own();
        let sku = |sku: &str| (None, Some(sku.to_owned()));
        assert_eq!(own("17").unwrap(), (Some(ArticleId(17)), None));
        assert_eq!(own("tea").unwrap(), sku("tea"));
        assert_eq!(own("/green/tea").unwrap(), sku("green/tea"));
        let error = own("other/tea").unwrap_err();
        assert!(matches!(&error, CliError::Usage { .. }), "{error:?}");
        assert!(format!("{error:?}").contains("/other/tea"), "it says how to write such an SKU: {error:?}");
    }

    #[test]
    fn a_line_is_one_unless_it_says_more() {
        let line = |text: &str| text.parse::<Line>().map(|line| (line.article.to_string(), line.quantity));
        assert_eq!(line("shop/tea"), Ok(("'shop/tea'".to_owned(), 1)));
        assert_eq!(line("7=12"), Ok(("7".to_owned(), 12)));
        assert_eq!(line("a=b=3"), Ok(("'a=b' of yours".to_owned(), 3)));
        for text in ["tea=", "tea=0", "tea=-1", "tea=x", "=1", "tea=99999999999"] {
            assert!(line(text).is_err(), "{text}");
        }
    }
}
