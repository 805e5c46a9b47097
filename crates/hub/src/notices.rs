//! What customers are told of their orders, in Korean and English.

use pumasi_api::wire::market::Notice;
use pumasi_core::{Event, EventKind, OrderState, ParcelStatus};

/// What a customer is told of an event.
pub(crate) fn notice(event: &Event) -> Notice {
    let (ko, en) = texts(event);
    Notice { ko, en }
}

fn texts(event: &Event) -> (String, String) {
    let Event { order, kind, state, .. } = *event;
    let money = format!("{} {}", event.currency.format_amount(event.amount), event.currency);
    let back = event.amount.is_positive();
    let both = |ko: &str, en: &str| (format!("주문 {order}번{ko}"), format!("Order {order} {en}"));
    match kind {
        EventKind::Placed if state == OrderState::Placed => both(
            &format!("이 접수되었습니다. 결제하실 금액: {money}."),
            &format!("was placed. To be paid: {money}."),
        ),
        EventKind::Placed => both(
            &format!("이 접수되고 결제되었습니다. 결제 금액: {money}."),
            &format!("was placed and paid: {money}."),
        ),
        EventKind::Paid => {
            both(&format!("이 결제되었습니다. 결제 금액: {money}."), &format!("was paid: {money}."))
        }
        EventKind::Allocated => both("의 상품을 준비하고 있습니다.", "is being got ready."),
        EventKind::Shipped => parcel(event, "가 발송되었습니다.", "was sent."),
        EventKind::Scanned => scanned(event),
        EventKind::Delivered => parcel(event, "가 배송 완료되었습니다.", "was delivered."),
        EventKind::Completed => {
            both("이 완료되었습니다. 이용해 주셔서 감사합니다.", "is completed. Thank you.")
        }
        EventKind::Cancelled => cancelled(event, back.then_some(&money)),
        EventKind::Expired => {
            both("은 결제 기한이 지나 취소되었습니다.", "expired, because it was not paid in time.")
        }
        EventKind::ReturnRequested => {
            both("의 반품이 신청되었습니다.", "is to be returned, as you asked for.")
        }
        EventKind::Returned => {
            both("의 반품 상품이 판매자에게 도착했습니다.", "has come back to the merchant.")
        }
        EventKind::ReturnRefused => {
            both("의 반품을 판매자가 받아들이지 않았습니다.", "was not taken back by the merchant.")
        }
        EventKind::Refunded => both(
            &format!("의 대금이 환불되었습니다. 환불 금액: {money}."),
            &format!("was refunded: {money}."),
        ),
    }
}

/// Something of a parcel.
fn parcel(event: &Event, ko: &str, en: &str) -> (String, String) {
    let Event { order, parcel, .. } = event;
    (format!("주문 {order}번의 소포 {parcel}호{ko}"), format!("Parcel {parcel} of order {order} {en}"))
}

fn scanned(event: &Event) -> (String, String) {
    let (ko, en) = match event.scan.map(|scan| scan.status()) {
        Some(ParcelStatus::Accepted) => ("를 택배사가 접수했습니다.", "is with the carrier."),
        Some(ParcelStatus::Customs) => ("가 통관 중입니다.", "is at customs."),
        Some(ParcelStatus::AtDeliveryOffice) => {
            ("가 배송 지점에 도착했습니다.", "has reached the office that delivers it.")
        }
        Some(ParcelStatus::OutForDelivery) => ("가 배송을 위해 출발했습니다.", "is out for delivery."),
        Some(ParcelStatus::DeliveryAttempted) => (
            "를 전해 드리지 못했습니다. 다시 방문하겠습니다.",
            "could not be handed over. The carrier comes again.",
        ),
        Some(ParcelStatus::ReadyToCollect) => {
            ("를 수령 장소에서 찾아가실 수 있습니다.", "waits for you where you collect it.")
        }
        Some(ParcelStatus::Delivered) => ("가 배송 완료되었습니다.", "was delivered."),
        Some(ParcelStatus::ReturnedToSender) => {
            ("가 판매자에게 반송되고 있습니다.", "goes back to the merchant.")
        }
        Some(ParcelStatus::InTransit) | None => ("가 이동 중입니다.", "is on its way."),
    };
    parcel(event, ko, en)
}

/// All of an order, or what was not shipped of it; with what goes back.
fn cancelled(event: &Event, money: Option<&String>) -> (String, String) {
    let order = event.order;
    let (ko, en) = match event.state {
        OrderState::Cancelled => {
            (format!("주문 {order}번이 취소되었습니다."), format!("Order {order} was cancelled."))
        }
        _ => (
            format!("주문 {order}번에서 발송되지 않은 상품이 취소되었습니다."),
            format!("What was not sent of order {order} was cancelled."),
        ),
    };
    match money {
        Some(money) => (format!("{ko} 환불 금액: {money}."), format!("{en} You get back {money}.")),
        None => (ko, en),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use pumasi_core::ScanCode;
    use pumasi_types::{AccountId, Amount, EventId, OrderId, ParcelId, Time};

    use super::*;

    fn event(kind: EventKind, state: OrderState, amount: i64, scan: Option<ScanCode>) -> Event {
        let about_parcel = matches!(kind, EventKind::Shipped | EventKind::Scanned | EventKind::Delivered);
        Event {
            id: EventId(1),
            time: Time(0),
            order: OrderId(12),
            kind,
            state,
            parcel: ParcelId(if about_parcel { 2 } else { 0 }),
            scan,
            customer: AccountId(1),
            merchant: AccountId(2),
            carrier: AccountId(3),
            amount: Amount(amount),
            currency: "KRW".parse().unwrap(),
            customer_prev: EventId(0),
            merchant_prev: EventId(0),
            carrier_prev: EventId(0),
        }
    }

    /// Every kind of event, and every status of a parcel.
    #[test]
    fn customers_read_this() {
        use OrderState::{Cancelled, Paid, Placed, Shipped};
        let mut events = vec![
            event(EventKind::Placed, Placed, 5_000, None),
            event(EventKind::Cancelled, Cancelled, 0, None),
            event(EventKind::Cancelled, Shipped, 3_000, None),
        ];
        let kinds = EventKind::ALL.into_iter();
        events.extend(kinds.map(|kind| match kind {
            EventKind::Cancelled => event(kind, Cancelled, 5_000, None),
            _ => event(kind, Paid, 5_000, None),
        }));
        events.extend(ScanCode::ALL.map(|scan| event(EventKind::Scanned, Shipped, 0, Some(scan))));
        let told: BTreeSet<_> = events.iter().map(texts).collect();
        let lines = told.into_iter().map(|(ko, en)| format!("{ko} | {en}\n")).collect::<String>();
        assert_eq!(
            lines,
            include_str!("notices.txt"),
            "write what is told now into src/notices.txt, and read it"
        );
    }
}
