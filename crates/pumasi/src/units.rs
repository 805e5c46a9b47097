//! Quantities as people type and read them: money, fuel, spans and moments.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp, Zoned};
use pumasi_types::{Amount, Currency, Fuel, Price};

/// An amount of credits that is more than nothing, as `5` or `0.25`.
pub(crate) fn parse_credits(text: &str) -> Result<Amount, String> {
    match Currency::CREDIT.parse_amount(text) {
        Ok(amount) if amount.is_positive() => Ok(amount),
        Ok(_) => Err("must be more than nothing".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Credits for a standard core-second; free is allowed.
pub(crate) fn parse_price(text: &str) -> Result<Price, String> {
    let amount = Currency::CREDIT.parse_amount(text).map_err(|error| error.to_string())?;
    u64::try_from(amount.0).map(Price).map_err(|_| "must not be negative".to_owned())
}

/// An amount of credits, written.
pub(crate) fn credits(amount: Amount) -> String {
    Currency::CREDIT.format_amount(amount)
}

/// An amount that is only an estimate: to the hundredth, or exactly when it is smaller; never too low.
pub(crate) fn about_credits(amount: Amount) -> String {
    const HUNDREDTH: i64 = 10_000;
    if amount.0 < HUNDREDTH || amount.0 > i64::MAX - HUNDREDTH {
        return credits(amount);
    }
    credits(Amount((amount.0 + HUNDREDTH - 1) / HUNDREDTH * HUNDREDTH))
}

/// Fuel as a whole number, with `_` between digits or a power of ten: `2_000_000`, `2e6`.
pub(crate) fn parse_fuel(text: &str) -> Result<Fuel, String> {
    let error = || format!("'{text}' is not an amount of fuel: expected a whole number like 2000000 or 2e6");
    let plain = text.replace('_', "");
    let (digits, power) = plain.split_once('e').unwrap_or((&plain, "0"));
    if !digits.bytes().chain(power.bytes()).all(|b| b.is_ascii_digit()) {
        return Err(error());
    }
    let number: u64 = digits.parse().map_err(|_| error())?;
    let power: u32 = power.parse().map_err(|_| error())?;
    let fuel = 10_u64.checked_pow(power).and_then(|scale| number.checked_mul(scale));
    fuel.filter(|fuel| *fuel > 0).map(Fuel).ok_or_else(error)
}

/// Fuel with two digits, as `1.4e6`.
pub(crate) fn about(fuel: u64) -> String {
    if fuel < 1_000 { fuel.to_string() } else { format!("{:.1e}", fuel as f64) }
}

/// A part of a hundred, as `3%` or `2.75`, with two decimals at most; in basis points, of which there are 10,000.
pub(crate) fn parse_percent(text: &str) -> Result<u16, String> {
    let error = || format!("'{text}' is not a percentage from 0 to 100: expected a number like 3% or 2.75%");
    let number = text.strip_suffix('%').unwrap_or(text);
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(part) || part.len() > 2 {
        return Err(error());
    }
    let whole: u16 = whole.parse().map_err(|_| error())?;
    let part: u16 = format!("{part:0<2}").parse().map_err(|_| error())?;
    let points = whole.checked_mul(100).and_then(|whole| whole.checked_add(part));
    points.filter(|points| *points <= 10_000).ok_or_else(error)
}

/// Basis points as a percentage, such as `2.75%`.
pub(crate) fn percent(basis_points: u16) -> String {
    let text = format!("{}.{:02}", basis_points / 100, basis_points % 100);
    format!("{}%", text.trim_end_matches('0').trim_end_matches('.'))
}

/// A span of time, as `90s`, `1h30m` or `7d` of 24 hours each; in milliseconds.
pub(crate) fn parse_span_ms(text: &str) -> Result<u64, String> {
    parse_span_or_none_ms(text).ok().filter(|ms| *ms > 0).ok_or_else(|| no_span(text))
}

/// The same, or `0s`.
pub(crate) fn parse_span_or_none_ms(text: &str) -> Result<u64, String> {
    let error = || no_span(text);
    let span: Span = text.parse().map_err(|_| error())?;
    let span = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| error())?;
    u64::try_from(span.as_millis()).map_err(|_| error())
}

fn no_span(text: &str) -> String {
    format!("'{text}' is not a span of time: expected a number with a unit, like 90s, 10m or 1h30m")
}

/// A moment, as a span from now (`2h`), a local time (`2026-03-01T18:00`) or a timestamp; ms since 1970.
pub(crate) fn parse_moment_ms(text: &str) -> Result<u64, String> {
    let error =
        || format!("'{text}' is not a moment: expected a span like 2h, or a time like 2026-03-01T18:00");
    let moment = if let Ok(span_ms) = parse_span_ms(text) {
        let span_ms = i64::try_from(span_ms).map_err(|_| error())?;
        Timestamp::now().checked_add(SignedDuration::from_millis(span_ms)).map_err(|_| error())?
    } else if let Ok(moment) = text.parse::<Timestamp>() {
        moment
    } else {
        let local: jiff::civil::DateTime = text.parse().map_err(|_| error())?;
        local.to_zoned(TimeZone::system()).map_err(|_| error())?.timestamp()
    };
    u64::try_from(moment.as_millisecond()).map_err(|_| error())
}

/// When a time in the past begins, as a date (`2026-11-11`, from its midnight on), a local time, a timestamp, or a span
/// before now (`24h`); ms since 1970.
pub(crate) fn parse_since_ms(text: &str) -> Result<u64, String> {
    parse_past_ms(text, false)
}

/// When a time in the past ends: a date counts to its end.
pub(crate) fn parse_up_to_ms(text: &str) -> Result<u64, String> {
    parse_past_ms(text, true)
}

fn parse_past_ms(text: &str, whole_day: bool) -> Result<u64, String> {
    let error = || {
        format!(
            "'{text}' is not a time: expected a date like 2026-11-11, a time like 2026-11-11T18:00, or a span \
             before now like 24h"
        )
    };
    let moment = if let Ok(span_ms) = parse_span_ms(text) {
        let span_ms = i64::try_from(span_ms).map_err(|_| error())?;
        Timestamp::now().checked_sub(SignedDuration::from_millis(span_ms)).map_err(|_| error())?
    } else if let Some(date) = parse_date(text) {
        let date = if whole_day { date.tomorrow().map_err(|_| error())? } else { date };
        date.to_zoned(TimeZone::system()).map_err(|_| error())?.timestamp()
    } else {
        return parse_moment_ms(text).map_err(|_| error());
    };
    u64::try_from(moment.as_millisecond()).map_err(|_| error())
}

/// A date without a time.
fn parse_date(text: &str) -> Option<jiff::civil::Date> {
    let is_date = text.len() == 10 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    text.parse().ok().filter(|_| is_date)
}

/// A moment in this machine's time zone, to the minute, and which zone that is.
pub(crate) fn minute(ms: u64) -> String {
    in_zone(ms, TimeZone::system(), "%Y-%m-%d %H:%M %Z")
}

/// The day that a moment is in, in UTC.
pub(crate) fn day_in_utc(ms: u64) -> String {
    in_zone(ms, TimeZone::UTC, "%Y-%m-%d UTC")
}

fn in_zone(ms: u64, zone: TimeZone, format: &str) -> String {
    let timestamp = i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    timestamp.map_or_else(|| "?".to_owned(), |moment| Zoned::new(moment, zone).strftime(format).to_string())
}

/// A moment in this machine's time zone, to the second.
pub(crate) fn moment(ms: u64) -> String {
    in_zone(ms, TimeZone::system(), "%Y-%m-%d %H:%M:%S")
}

/// A span with its two largest units, as `1m 30s`.
pub(crate) fn span(ms: u64) -> String {
    let seconds = ms / 1_000;
    match seconds {
        0..10 => format!("{}.{} s", seconds, ms % 1_000 / 100),
        10..60 => format!("{seconds} s"),
        60..3_600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h {}m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fuel_reads_as_people_write_it() {
        assert_eq!(parse_fuel("2_000_000"), Ok(Fuel(2_000_000)));
        assert_eq!(parse_fuel("2e6"), Ok(Fuel(2_000_000)));
        for text in ["", "e", "2e", "e6", "0", "-1", "1.5e6", "1e20", "2e6e6", "+1", "9e99999999999"] {
            assert!(parse_fuel(text).is_err(), "{text}");
        }
        assert_eq!((about(999), about(1_437_000)), ("999".to_owned(), "1.4e6".to_owned()));
    }

    #[test]
    fn percentages_are_exact() {
        for (text, points, said) in [
            ("3%", 300, "3%"),
            ("2.75", 275, "2.75%"),
            ("0.1%", 10, "0.1%"),
            ("100", 10_000, "100%"),
            ("0", 0, "0%"),
        ] {
            assert_eq!((parse_percent(text), percent(points).as_str()), (Ok(points), said), "{text}");
        }
        for text in ["", "%", "-1", "100.01", "1.234", "1.", ".5", "1e2", "99999999", "+1", "٣"] {
            assert!(parse_percent(text).is_err(), "{text}");
        }
    }

    #[test]
    fn spans_and_moments() {
        assert_eq!(parse_span_ms("90s"), Ok(90_000));
        assert_eq!(parse_span_ms("1h30m"), Ok(5_400_000));
        assert_eq!(parse_span_ms("7d"), Ok(7 * 86_400_000));
        assert_eq!(parse_span_ms("300ms"), Ok(300));
        assert_eq!(parse_span_or_none_ms("0s"), Ok(0));
        assert!(parse_span_ms("0s").is_err());
        for text in ["", "10", "-5s", "0s", "1month", "later", "99999999999999999999h"] {
            assert!(parse_span_ms(text).is_err(), "{text}");
        }
        assert_eq!(parse_moment_ms("1970-01-01T00:00:01Z"), Ok(1_000));
        assert!(parse_moment_ms("2h").unwrap() > 7_200_000);
        assert!(parse_moment_ms("2100-01-01T18:00").is_ok());
        for text in ["", "soon", "1900-01-01T00:00:00Z", "2026-13-01"] {
            assert!(parse_moment_ms(text).is_err(), "{text}");
        }
        assert_eq!(span(950), "0.9 s");
        assert_eq!(span(90_000), "1m 30s");
        assert_eq!(span(90_000_000), "1d 1h");
    }

    #[test]
    fn times_in_the_past_are_dates_or_before_now() {
        const DAY_MS: u64 = 86_400_000;
        let (since, up_to) = (parse_since_ms("2026-11-11").unwrap(), parse_up_to_ms("2026-11-11").unwrap());
        // A day can have 23 or 25 hours where this runs.
        assert!((up_to - since).abs_diff(DAY_MS) <= 3_600_000, "a date counts to its end");
        assert_eq!(parse_since_ms("2026-11-11T00:00"), Ok(since));
        assert_eq!(parse_up_to_ms("2026-11-11T00:00"), Ok(since));
        assert_eq!(parse_since_ms("1970-01-02T00:00Z"), Ok(DAY_MS));
        assert!(parse_since_ms("24h").unwrap() + DAY_MS <= parse_since_ms("1ms").unwrap() + 1_000);
        for text in ["", "yesterday", "2026-13-01", "11.11.2026", "99999999d", "1900-01-01"] {
            assert!(parse_since_ms(text).is_err() && parse_up_to_ms(text).is_err(), "{text}");
        }
        assert_eq!(day_in_utc(DAY_MS), "1970-01-02 UTC");
        assert!(minute(0).starts_with("19") && minute(0).split(' ').count() == 3, "{}", minute(0));
        assert_eq!((minute(u64::MAX), moment(u64::MAX)), ("?".to_owned(), "?".to_owned()));
    }

    #[test]
    fn money_is_positive_and_prices_may_be_nothing() {
        assert_eq!(parse_credits("0.25"), Ok(Amount(250_000)));
        let about: Vec<_> = [24, 10_000, 10_001, i64::MAX].map(|minor| about_credits(Amount(minor))).into();
        assert_eq!(about, ["0.000024", "0.01", "0.02", "9223372036854.775807"]);
        assert!(parse_credits("0").is_err());
        assert!(parse_credits("-1").is_err());
        assert_eq!(parse_price("0"), Ok(Price(0)));
        assert!(parse_price("-1").is_err());
    }
}
