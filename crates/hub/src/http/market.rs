//! What is sold, and on which terms: articles, stock, and what the platform takes.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use pumasi_api::wire;
use pumasi_api::wire::market::{Article, Articles, NewArticle, NewStock, OneOrMany, Party, PutArticle};
use pumasi_core::{Command, Done, Refusal, Role};
use pumasi_types::{AccountId, ArticleId, Currency, Duration, PlaceId};
use serde::Deserialize;

use super::accounts::unexpected;
use super::extract::{Body, Caller, IdempotencyKey, Path, Query};
use super::{ApiError, views};
use crate::auth;
use crate::directory::{Found, Missing, Reader};
use crate::server::Hub;

/// Most articles in one answer.
const ARTICLES_MAX: usize = 1_000;
/// Articles that are looked at for one answer at most: the loop waits meanwhile.
const LOOKED_AT: u32 = 10_000;

/// The account that is meant.
pub(super) async fn party(hub: &Hub, party: Party) -> Result<AccountId, ApiError> {
    let name = match party {
        Party::Id(id) => return Ok(AccountId(id)),
        Party::Name(name) => name,
    };
    let wanted: String = name.chars().take(100).collect();
    let found = hub.cell.read(move |state| state.ledger().account_named(&name)).await?;
    found.ok_or_else(|| ApiError::not_found("no_account", format!("there is no account '{wanted}'")))
}

fn rate(field: &str, parts: u16) -> Result<pumasi_core::Rate, ApiError> {
    pumasi_core::Rate::new(parts)
        .ok_or_else(|| ApiError::invalid(format!("{field} must be at most {}", pumasi_core::Rate::WHOLE)))
}

/// Says what the platform takes of sales; operators only.
#[utoipa::path(put, path = "/v1/market", request_body = wire::market::MarketTerms, responses((status = 204)))]
pub(super) async fn set_market(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    key: IdempotencyKey,
    Body(body): Body<wire::market::MarketTerms>,
) -> Result<StatusCode, ApiError> {
    caller.needs(Role::Operator)?;
    let terms = pumasi_core::MarketTerms {
        fee_to: party(&hub, body.fee_to).await?,
        tax_to: party(&hub, body.tax_to).await?,
        fee: rate("fee_bp", body.fee_bp)?,
    };
    hub.cell.ask(caller.account, key.of(caller.account), Command::SetMarket(terms)).await??;
    Ok(StatusCode::NO_CONTENT)
}

/// What the platform takes of sales; anybody who has an account may know.
#[utoipa::path(get, path = "/v1/market",
    responses((status = 200, body = wire::market::MarketTerms), (status = 404, body = wire::ErrorBody)))]
pub(super) async fn get_market(
    State(hub): State<Arc<Hub>>,
    Caller(_): Caller,
) -> Result<Json<wire::market::MarketTerms>, ApiError> {
    let look = |state: &pumasi_core::State| {
        let terms = state.market().terms()?;
        let name = |account| Party::Name(views::account_name(state, account));
        let (fee_to, tax_to) = (name(terms.fee_to), name(terms.tax_to));
        Some(wire::market::MarketTerms { fee_to, tax_to, fee_bp: terms.fee.parts() })
    };
    let none = || ApiError::not_found("no_terms", "operators have not said yet what the platform takes");
    hub.cell.read(look).await?.map(Json).ok_or_else(none)
}

/// Whose shop.
#[derive(Deserialize)]
pub(super) struct ShopQuery {
    merchant: Option<String>,
}

/// How a merchant sells, the caller when none is named.
#[utoipa::path(get, path = "/v1/shop", params(("merchant" = Option<String>, Query)),
    responses((status = 200, body = wire::market::ShopTerms), (status = 404, body = wire::ErrorBody)))]
pub(super) async fn get_shop(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    Query(query): Query<ShopQuery>,
) -> Result<Json<wire::market::ShopTerms>, ApiError> {
    let merchant = match &query.merchant {
        Some(text) => super::accounts::resolve(&hub, text).await?,
        None => caller.account,
    };
    let terms = hub.cell.read(move |state| state.market().shop(merchant)).await?;
    let seconds = |span: Duration| Some(span.0 / 1_000_000_000);
    Ok(Json(wire::market::ShopTerms {
        settle_at: match terms.settle_at {
            pumasi_core::SettleAt::Placing => wire::market::SettleAt::Placing,
            pumasi_core::SettleAt::Shipping => wire::market::SettleAt::Shipping,
        },
        reservation_s: seconds(terms.reservation),
        completion_s: seconds(terms.completion),
        returns_s: seconds(terms.returns),
    }))
}

/// Says how the caller sells; merchants only.
#[utoipa::path(put, path = "/v1/shop", request_body = wire::market::ShopTerms, responses((status = 204)))]
pub(super) async fn set_shop(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    key: IdempotencyKey,
    Body(body): Body<wire::market::ShopTerms>,
) -> Result<StatusCode, ApiError> {
    let usual = pumasi_core::ShopTerms::default();
    let seconds = |given: Option<u64>, usual| {
        given.map_or(usual, |seconds| Duration(seconds.saturating_mul(1_000_000_000)))
    };
    let terms = pumasi_core::ShopTerms {
        settle_at: match body.settle_at {
            wire::market::SettleAt::Placing => pumasi_core::SettleAt::Placing,
            wire::market::SettleAt::Shipping => pumasi_core::SettleAt::Shipping,
        },
        reservation: seconds(body.reservation_s, usual.reservation),
        completion: seconds(body.completion_s, usual.completion),
        returns: seconds(body.returns_s, usual.returns),
    };
    hub.cell.ask(caller.account, key.of(caller.account), Command::SetShop(terms)).await??;
    Ok(StatusCode::NO_CONTENT)
}

/// Adds articles of the caller, or changes those of the same SKUs: all of them or none; merchants only.
#[utoipa::path(post, path = "/v1/articles", operation_id = "put_articles", request_body = OneOrMany<NewArticle>,
    responses((status = 200, body = [PutArticle]), (status = 400, body = wire::ErrorBody)))]
pub(super) async fn put(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    key: IdempotencyKey,
    Body(body): Body<OneOrMany<NewArticle>>,
) -> Result<Json<Vec<PutArticle>>, ApiError> {
    caller.needs(Role::Merchant)?;
    let specs = in_list(Vec::from(body), article_spec)?;
    let skus: Vec<String> = specs.iter().map(|spec| spec.sku.clone()).collect();
    let command = Command::PutArticles(specs);
    match hub.cell.ask(caller.account, key.of(caller.account), command).await?? {
        Done::Articles(ids) if ids.len() == skus.len() => {
            let put = skus.into_iter().zip(ids).map(|(sku, article)| PutArticle { sku, article });
            Ok(Json(put.collect()))
        }
        other => Err(unexpected(&other)),
    }
}

/// Converts each of a list; says which of them is wrong.
pub(super) fn in_list<T, U>(
    list: Vec<T>,
    mut convert: impl FnMut(T) -> Result<U, String>,
) -> Result<Vec<U>, ApiError> {
    let numbered = (1..).zip(list);
    numbered
        .map(|(number, item)| {
            convert(item).map_err(|problem| {
                ApiError::invalid(format!("number {number} of the list: {problem}")).of_number(number)
            })
        })
        .collect()
}

fn article_spec(new: NewArticle) -> Result<pumasi_core::ArticleSpec, String> {
    let currency: Currency = new.currency.parse().map_err(|error| format!("currency: {error}"))?;
    let gtin = match new.gtin.as_deref() {
        None => 0,
        Some(text) if (8..=14).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()) => {
            text.parse().map_err(|_| "gtin must be a number")?
        }
        Some(_) => return Err("gtin must be 8 to 14 digits".to_owned()),
    };
    Ok(pumasi_core::ArticleSpec {
        sku: new.sku,
        gtin,
        title_ko: new.title_ko,
        title_en: new.title_en,
        category: new.category,
        price: currency.parse_amount(&new.price).map_err(|error| format!("price: {error}"))?,
        currency,
        tax: pumasi_core::Rate::new(new.tax_bp).ok_or("tax_bp must be at most 10000")?,
        tracking: match new.tracking {
            wire::market::Tracking::Untracked => pumasi_core::Tracking::Untracked,
            wire::market::Tracking::Counted => pumasi_core::Tracking::Counted,
            wire::market::Tracking::Backorder(more) => pumasi_core::Tracking::Backorder(more),
        },
        on_sale: new.on_sale,
    })
}

/// Changes what there is of the caller's articles: all of it or nothing; merchants only.
#[utoipa::path(post, path = "/v1/stock", request_body = OneOrMany<NewStock>,
    responses((status = 204), (status = 400, body = wire::ErrorBody)))]
pub(super) async fn change_stock(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    key: IdempotencyKey,
    Body(body): Body<OneOrMany<NewStock>>,
) -> Result<StatusCode, ApiError> {
    caller.needs(Role::Merchant)?;
    let list = Vec::from(body);
    let mut found = Found::default();
    let changes = loop {
        let (changes, missing) = changes(hub.directory.reader(&found), caller.account, &list);
        if missing.is_empty() {
            break changes?;
        }
        hub.directory.look_up(&hub.cell, missing, &mut found).await?;
    };
    let done = hub.cell.ask(caller.account, key.of(caller.account), Command::ChangeStock(changes)).await?;
    done.map_err(|refusal| named(refusal, &list))?;
    Ok(StatusCode::NO_CONTENT)
}

/// What stands for an article that the merchant has not.
const NO_ARTICLE: ArticleId = ArticleId(0);

/// A refusal that names an unknown article as the caller did.
fn named(refusal: Refusal, list: &[NewStock]) -> ApiError {
    if let Refusal::InList { number, problem } = &refusal
        && let Refusal::NoOwnArticle { article: NO_ARTICLE } = **problem
        && let Some(sku) = list.get(*number as usize - 1).and_then(|item| item.sku.as_ref())
    {
        let sku: String = sku.chars().take(100).collect();
        let message = format!("number {number} of the list: you have no article '{sku}'");
        return ApiError::not_found("no_article", message).of_number(*number);
    }
    refusal.into()
}

type Changes = Vec<(ArticleId, PlaceId, pumasi_core::StockChange)>;

/// One pass over the changes with the names that are known now. Unknown articles are for the cell to refuse, so that
/// the request's id stands for what it was when it came.
fn changes(
    mut names: Reader<'_>,
    merchant: AccountId,
    list: &[NewStock],
) -> (Result<Changes, ApiError>, Missing) {
    let article = |item: &NewStock| match (item.article, &item.sku) {
        (Some(id), None) => Ok(id),
        (None, Some(sku)) => Ok(names.article(merchant, sku).unwrap_or(NO_ARTICLE)),
        _ => Err("give either `article` or `sku`".to_owned()),
    };
    // All of them are looked at, so that all names are looked up at once.
    let articles: Vec<_> = list.iter().map(article).collect();
    let changes = in_list(list.iter().zip(articles).collect(), |(item, article)| {
        Ok((article?, item.place, stock_change(item.change)))
    });
    (changes, names.missing())
}

fn stock_change(change: wire::market::StockChange) -> pumasi_core::StockChange {
    match change {
        wire::market::StockChange::Receive(more) => pumasi_core::StockChange::Receive(more),
        wire::market::StockChange::Count(counted) => pumasi_core::StockChange::Count(counted),
        wire::market::StockChange::Move { quantity, to } => pumasi_core::StockChange::Move { quantity, to },
        wire::market::StockChange::Correct(by) => pumasi_core::StockChange::Correct(by),
    }
}

/// Whether a caller sees what lies where.
fn may_count(caller: &auth::Caller, article: &pumasi_core::Article) -> bool {
    caller.is_operator() || caller.roles.contains(Role::Storefront) || article.merchant == caller.account
}

/// Which articles.
#[derive(Deserialize)]
pub(super) struct ArticlesQuery {
    merchant: Option<String>,
    sku: Option<String>,
    after: Option<ArticleId>,
    limit: Option<usize>,
}

/// Articles in the order in which they came, of one merchant or of all; or a merchant's, by default the caller's, that
/// has this SKU.
#[utoipa::path(get, path = "/v1/articles", operation_id = "list_articles",
    params(("merchant" = Option<String>, Query), ("sku" = Option<String>, Query),
        ("after" = Option<u32>, Query), ("limit" = Option<u32>, Query)),
    responses((status = 200, body = Articles)))]
pub(super) async fn list(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    Query(query): Query<ArticlesQuery>,
) -> Result<Json<Articles>, ApiError> {
    let merchant = match &query.merchant {
        Some(text) => Some(super::accounts::resolve(&hub, text).await?),
        None => None,
    };
    if let Some(sku) = query.sku {
        let look = move |state: &pumasi_core::State| {
            let id = state.market().by_sku(merchant.unwrap_or(caller.account), &sku);
            let articles = id.and_then(|id| show(state, &caller, id)).into_iter().collect();
            Articles { articles, next: None }
        };
        return Ok(Json(hub.cell.read(look).await?));
    }
    let limit = query.limit.unwrap_or(100).clamp(1, ARTICLES_MAX);
    let after = query.after.unwrap_or_default().0;
    let look = move |state: &pumasi_core::State| page(state, &caller, merchant, after, limit);
    Ok(Json(hub.cell.read(look).await?))
}

fn page(
    state: &pumasi_core::State,
    caller: &auth::Caller,
    merchant: Option<AccountId>,
    after: u32,
    limit: usize,
) -> Articles {
    let market = state.market();
    let (mut articles, mut parts) = (Vec::new(), 0);
    for id in (after.saturating_add(1)..=u32::MAX).map(ArticleId).take(LOOKED_AT as usize) {
        let Some((article, text)) = market.article(id).zip(market.text(id)) else {
            return Articles { articles, next: None };
        };
        if merchant.is_none_or(|merchant| merchant == article.merchant) {
            let article = views::article(state, (id, article, text), may_count(caller, article));
            parts += 1 + article.stock.as_ref().map_or(0, Vec::len);
            articles.push(article);
        }
        if articles.len() == limit || parts >= views::PARTS {
            return Articles { articles, next: Some(id) };
        }
    }
    Articles { articles, next: Some(ArticleId(after.saturating_add(LOOKED_AT))) }
}

fn show(state: &pumasi_core::State, caller: &auth::Caller, id: ArticleId) -> Option<Article> {
    let (article, text) = state.market().article(id).zip(state.market().text(id))?;
    Some(views::article(state, (id, article, text), may_count(caller, article)))
}

/// One article.
#[utoipa::path(get, path = "/v1/articles/{article}", operation_id = "get_article", params(("article" = u32, Path)),
    responses((status = 200, body = Article), (status = 404, body = wire::ErrorBody)))]
pub(super) async fn get(
    State(hub): State<Arc<Hub>>,
    Caller(caller): Caller,
    Path(id): Path<ArticleId>,
) -> Result<Json<Article>, ApiError> {
    let look = move |state: &pumasi_core::State| show(state, &caller, id);
    let found = hub.cell.read(look).await?;
    found.map(Json).ok_or_else(|| ApiError::not_found("no_article", format!("there is no article {id}")))
}
