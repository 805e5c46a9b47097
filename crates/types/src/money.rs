//! Money: whole minor units of a currency. No floating point anywhere.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::Fuel;

/// What can go wrong with money before any account is asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// The text is not an amount of this currency.
    #[error("'{text}' is not an amount: expected digits with at most {decimals} decimals, like 12.5")]
    Amount {
        /// What was given.
        text: String,
        /// How many decimals the currency has.
        decimals: u32,
    },
    /// The text is not a currency.
    #[error("'{0}' is not a currency this hub knows: use {known}", known = Currency::known())]
    Currency(String),
}

/// A currency: three letters of ISO 4217, or `CRD`, the compute credit.
///
/// `CRD` is not assigned by ISO 4217; a credit buys one standard core-second at a price of 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency([u8; 3]);

impl Currency {
    /// The compute credit, with six decimals.
    pub const CREDIT: Currency = Currency(*b"CRD");

    /// Code and number of decimals (ISO 4217 list one) of each currency that a hub can keep.
    const TABLE: [(&'static [u8; 3], u32); 8] = [
        (b"CRD", 6),
        (b"CNY", 2),
        (b"EUR", 2),
        (b"GBP", 2),
        (b"JPY", 0),
        (b"KRW", 0),
        (b"USD", 2),
        (b"XTS", 2),
    ];

    /// How many decimals people write it with: an amount of 1 is 10 to the minus this.
    pub fn decimals(self) -> u32 {
        Self::TABLE.iter().find(|(code, _)| **code == self.0).map_or(0, |(_, decimals)| *decimals)
    }

    /// The currency of this code, if a hub can keep it.
    pub fn from_code(code: [u8; 3]) -> Option<Currency> {
        Self::TABLE.iter().find(|(known, _)| **known == code).map(|_| Currency(code))
    }

    /// The three letters.
    pub fn code(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("???")
    }

    fn known() -> String {
        let codes: Vec<_> = Self::TABLE.iter().map(|(code, _)| String::from_utf8_lossy(*code)).collect();
        codes.join(", ")
    }

    /// Parses digits with an optional sign and decimal point into an amount of this currency.
    pub fn parse_amount(self, text: &str) -> Result<Amount, MoneyError> {
        let error =
            || MoneyError::Amount { text: text.chars().take(40).collect(), decimals: self.decimals() };
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let decimals = self.decimals() as usize;
        let all_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        if (whole.is_empty() && fraction.is_empty())
            || fraction.len() > decimals
            || !all_digits(whole)
            || !all_digits(fraction)
        {
            return Err(error());
        }
        let padded = format!("{whole}{fraction:0<decimals$}");
        let minor: i64 =
            format!("{}{padded}", if negative { "-" } else { "" }).parse().map_err(|_| error())?;
        Ok(Amount(minor))
    }

    /// Writes an amount the way people do, without trailing zeros behind the second decimal: `1234.50`.
    pub fn format_amount(self, amount: Amount) -> String {
        let decimals = self.decimals() as usize;
        let sign = if amount.0 < 0 { "-" } else { "" };
        let digits = format!("{:0>width$}", amount.0.unsigned_abs(), width = decimals + 1);
        let (whole, fraction) = digits.split_at(digits.len() - decimals);
        let shown = fraction.trim_end_matches('0').len().max(decimals.min(2));
        match &fraction[..shown] {
            "" => format!("{sign}{whole}"),
            fraction => format!("{sign}{whole}.{fraction}"),
        }
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl FromStr for Currency {
    type Err = MoneyError;

    fn from_str(text: &str) -> Result<Currency, MoneyError> {
        <[u8; 3]>::try_from(text.as_bytes())
            .ok()
            .and_then(Currency::from_code)
            .ok_or_else(|| MoneyError::Currency(text.chars().take(10).collect()))
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Currency, D::Error> {
        struct Code;

        impl de::Visitor<'_> for Code {
            type Value = Currency;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the code of a currency")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Currency, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_str(Code)
    }
}

/// An amount of money in minor units of its currency.
///
/// Range: ±9.2 × 10^18 minor units, which for the compute credit is 9.2 × 10^12 credits, or 292,000
/// core-years at a price of 1. Arithmetic is checked: an overflow is a refusal, never a wrap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Amount(pub i64);

impl Amount {
    /// No money.
    pub const ZERO: Amount = Amount(0);

    /// The sum, or `None` beyond the range.
    pub fn checked_add(self, other: Amount) -> Option<Amount> {
        self.0.checked_add(other.0).map(Amount)
    }

    /// The difference, or `None` beyond the range.
    pub fn checked_sub(self, other: Amount) -> Option<Amount> {
        self.0.checked_sub(other.0).map(Amount)
    }

    /// So many times this amount, or `None` beyond the range.
    pub fn checked_mul(self, times: u64) -> Option<Amount> {
        i64::try_from(times).ok().and_then(|times| self.0.checked_mul(times)).map(Amount)
    }

    /// Whether it is more than nothing.
    pub fn is_positive(self) -> bool {
        self.0 > 0
    }
}

/// Minor units of credit for one standard core-second (10^9 fuel). Never negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Price(pub u64);

impl Price {
    /// One credit for a core-second, the price when nobody says another.
    pub const ONE_CREDIT: Price = Price(1_000_000);

    /// What `fuel` costs at this price, rounded up to a whole minor unit; `None` beyond the range.
    pub fn cost(self, fuel: Fuel) -> Option<Amount> {
        let minor = (self.0 as u128 * fuel.0 as u128).div_ceil(Fuel::PER_CORE_SECOND.0 as u128);
        i64::try_from(minor).ok().map(Amount)
    }

    /// The price as an amount of credit, to show it.
    pub fn as_amount(self) -> Amount {
        Amount(i64::try_from(self.0).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn amounts_are_written_as_people_do() {
        let krw: Currency = "KRW".parse().unwrap();
        assert_eq!(Currency::CREDIT.format_amount(Amount(1_500_000)), "1.50");
        assert_eq!(Currency::CREDIT.format_amount(Amount(-1)), "-0.000001");
        assert_eq!(krw.format_amount(Amount(12_000)), "12000");
        assert_eq!(Currency::CREDIT.parse_amount("0.25").unwrap(), Amount(250_000));
        assert_eq!(Currency::CREDIT.parse_amount(".5").unwrap(), Amount(500_000));
    }

    #[test]
    fn refuses_what_is_not_an_amount() {
        for text in ["", ".", "-", "1.2345678", "1e3", "1,5", "+1", "99999999999999999999", "1.-1", "٣"] {
            assert!(Currency::CREDIT.parse_amount(text).is_err(), "{text}");
        }
        assert!("krw".parse::<Currency>().is_err());
    }

    #[test]
    fn cost_rounds_up_and_refuses_overflow() {
        assert_eq!(Price::ONE_CREDIT.cost(Fuel(1)), Some(Amount(1)));
        assert_eq!(Price::ONE_CREDIT.cost(Fuel(1_000_000_000)), Some(Amount(1_000_000)));
        assert_eq!(Price::ONE_CREDIT.cost(Fuel(0)), Some(Amount(0)));
        assert_eq!(Price(u64::MAX).cost(Fuel(u64::MAX)), None);
    }

    proptest! {
        #[test]
        fn amount_text_round_trips(minor: i64) {
            prop_assume!(minor != i64::MIN);
            for code in ["CRD", "KRW", "USD"] {
                let currency: Currency = code.parse().unwrap();
                let text = currency.format_amount(Amount(minor));
                prop_assert_eq!(currency.parse_amount(&text).unwrap(), Amount(minor));
            }
        }
    }
}
