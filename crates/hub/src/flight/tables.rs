//! The tables that Flight gives and takes: their schemas, answers to orders, articles.

use std::sync::{Arc, LazyLock};

use arrow_array::builder::{BooleanBuilder, PrimitiveBuilder, StringBuilder};
use arrow_array::types::{Int64Type, UInt8Type, UInt32Type, UInt64Type};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use pumasi_core::{OrderAnswer, OrderRefusal, State};
use pumasi_types::ArticleId;

pub(super) fn schema(fields: &[(&str, DataType, bool)]) -> SchemaRef {
    let field = |(name, kind, nullable): &(&str, DataType, bool)| Field::new(*name, kind.clone(), *nullable);
    Arc::new(Schema::new(fields.iter().map(field).collect::<Vec<_>>()))
}

/// Orders with one line each. Columns that can be null can also be left out, and so can `customer`, who is the caller
/// then; `id` can also be utf8; `currency` a dictionary, or one text in the schema's metadata; and instead of `article`
/// and `quantity` there can be `lines`, a list<struct<article: uint32, quantity: uint32>>.
pub(super) static ORDERS: LazyLock<SchemaRef> = LazyLock::new(|| {
    schema(&[
        ("id", DataType::FixedSizeBinary(16), false),
        ("customer", DataType::UInt64, false),
        ("total", DataType::Int64, false),
        ("currency", DataType::Utf8, false),
        ("article", DataType::UInt32, false),
        ("quantity", DataType::UInt32, false),
        ("coupon", DataType::UInt32, true),
        ("place", DataType::UInt32, true),
        ("pay_later", DataType::Boolean, true),
    ])
});

/// One row for each order, in the order of its batch: 0 and its number, or 1, why not, and a number that tells more.
pub(super) static ANSWERS: LazyLock<SchemaRef> = LazyLock::new(|| {
    schema(&[
        ("status", DataType::UInt8, false),
        ("order", DataType::UInt64, true),
        ("code", DataType::Utf8, true),
        ("detail", DataType::Int64, true),
    ])
});

/// What is for sale.
pub(super) static ARTICLES: LazyLock<SchemaRef> = LazyLock::new(|| {
    schema(&[
        ("article", DataType::UInt32, false),
        ("merchant", DataType::UInt64, false),
        ("sku", DataType::Utf8, false),
        ("price", DataType::Int64, false),
        ("currency", DataType::Utf8, false),
        ("on_sale", DataType::Boolean, false),
    ])
});

/// Answers as a table.
pub(super) fn answers(answers: &[OrderAnswer]) -> Result<RecordBatch, ArrowError> {
    let rows = answers.len();
    let mut status = PrimitiveBuilder::<UInt8Type>::with_capacity(rows);
    let mut order = PrimitiveBuilder::<UInt64Type>::with_capacity(rows);
    let mut code = StringBuilder::with_capacity(rows, 0);
    let mut detail = PrimitiveBuilder::<Int64Type>::with_capacity(rows);
    for answer in answers {
        match answer {
            OrderAnswer::Placed(id) => {
                status.append_value(0);
                order.append_value(id.0);
                code.append_null();
                detail.append_null();
            }
            OrderAnswer::Refused(refusal) => {
                status.append_value(1);
                order.append_null();
                code.append_value(refusal.code());
                detail.append_option(number_of(refusal));
            }
        }
    }
    let columns: Vec<ArrayRef> = vec![
        Arc::new(status.finish()),
        Arc::new(order.finish()),
        Arc::new(code.finish()),
        Arc::new(detail.finish()),
    ];
    RecordBatch::try_new(Arc::clone(&ANSWERS), columns)
}

/// The number in a refusal: how many there still are, what it costs now, what there still is, what it takes at least, or
/// which article, account or coupon it was.
fn number_of(refusal: &OrderRefusal) -> Option<i64> {
    match *refusal {
        OrderRefusal::KeyConflict
        | OrderRefusal::NotYours
        | OrderRefusal::OwnArticle
        | OrderRefusal::TotalTooLarge
        | OrderRefusal::TooMany => None,
        OrderRefusal::NoCustomer { account } => i64::try_from(account.0).ok(),
        OrderRefusal::NoArticle { article }
        | OrderRefusal::BadQuantity { article }
        | OrderRefusal::SeveralMerchants { article }
        | OrderRefusal::OtherCurrency { article } => Some(article.0.into()),
        OrderRefusal::NotEnoughStock { available, .. } => Some(available.into()),
        OrderRefusal::OtherTotal { total: amount } | OrderRefusal::NotEnoughMoney { available: amount } => {
            Some(amount.0)
        }
        OrderRefusal::NoCoupon { coupon }
        | OrderRefusal::CouponNotYet { coupon, .. }
        | OrderRefusal::CouponOver { coupon }
        | OrderRefusal::CouponUsedUp { coupon }
        | OrderRefusal::CouponUsed { coupon }
        | OrderRefusal::CouponNotForThese { coupon } => Some(coupon.0.into()),
        OrderRefusal::CouponBelow { at_least, .. } => Some(at_least.0),
        OrderRefusal::CouponTooFew { at_least, .. } => Some(at_least.cast_signed()),
    }
}

/// A table as an IPC stream of its own.
pub(super) fn to_bytes(batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
    let mut writer = StreamWriter::try_new(Vec::new(), batch.schema_ref())?;
    writer.write(batch)?;
    writer.finish()?;
    writer.into_inner()
}

/// So many articles behind one, and the last of them; none at the end.
pub(super) fn articles(
    state: &State,
    after: ArticleId,
    count: usize,
) -> Result<Option<(RecordBatch, ArticleId)>, ArrowError> {
    let mut id = PrimitiveBuilder::<UInt32Type>::new();
    let mut merchant = PrimitiveBuilder::<UInt64Type>::new();
    let (mut sku, mut currency) = (StringBuilder::new(), StringBuilder::new());
    let mut price = PrimitiveBuilder::<Int64Type>::new();
    let mut on_sale = BooleanBuilder::new();
    let mut last = None;
    for article in (after.0.saturating_add(1)..=u32::MAX).map(ArticleId).take(count) {
        let market = state.market();
        let Some((known, text)) = market.article(article).zip(market.text(article)) else { break };
        id.append_value(article.0);
        merchant.append_value(known.merchant.0);
        sku.append_value(&text.sku);
        price.append_value(known.price.0);
        currency.append_value(known.currency.code());
        on_sale.append_value(known.on_sale);
        last = Some(article);
    }
    let Some(last) = last else { return Ok(None) };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(id.finish()),
        Arc::new(merchant.finish()),
        Arc::new(sku.finish()),
        Arc::new(price.finish()),
        Arc::new(currency.finish()),
        Arc::new(on_sale.finish()),
    ];
    Ok(Some((RecordBatch::try_new(Arc::clone(&ARTICLES), columns)?, last)))
}
