//! What people and clients write as text: amounts, ids, hashes, sizes, addresses, spans.
#![no_main]

use std::fmt::Display;
use std::str::FromStr;

use libfuzzer_sys::fuzz_target;
use pumasi_api::client::{Token, escape};
use pumasi_api::tls::{Fingerprint, HubAddress};
use pumasi_core::Role;
use pumasi_types::{AccountId, ByteSize, Currency, Hash, JobId};

// The parsers of the command line live in its binary.
#[path = "../../crates/pumasi/src/units.rs"]
#[allow(dead_code, unreachable_pub)]
mod units;

fn check<T: FromStr<Err: std::fmt::Debug> + Display + PartialEq + std::fmt::Debug>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        assert_eq!(value.to_string().parse::<T>().expect("what is shown can be read"), value);
    }
}

fuzz_target!(|text: &str| {
    check::<AccountId>(text);
    check::<JobId>(text);
    check::<Hash>(text);
    check::<Currency>(text);
    check::<Role>(text);
    check::<Fingerprint>(text);
    check::<HubAddress>(text);
    let _ = text.parse::<ByteSize>().map(|size| size.to_string());
    let _ = text.parse::<Token>();
    assert!(escape(text).bytes().all(|byte| byte.is_ascii_graphic()));
    for currency in [Currency::CREDIT, "KRW".parse().expect("won"), "EUR".parse().expect("euro")] {
        if let Ok(amount) = currency.parse_amount(text) {
            let shown = currency.format_amount(amount);
            assert_eq!(currency.parse_amount(&shown), Ok(amount), "{shown}");
        }
    }
    let _ = units::parse_credits(text).map(units::about_credits);
    let _ = units::parse_price(text);
    let _ = units::parse_fuel(text).map(|fuel| units::about(fuel.0));
    let _ = units::parse_span_ms(text).map(units::span);
    let _ = units::parse_moment_ms(text).map(units::moment);
});
