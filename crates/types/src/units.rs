//! Measures of computation: fuel, speed, bytes, and the engine they are comparable for.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Deterministic work of a WebAssembly guest, as its engine counts it.
///
/// Comparable only for the same [`EngineId`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fuel(pub u64);

impl Fuel {
    /// The definition of the standard core-second: 10^9 fuel.
    pub const PER_CORE_SECOND: Fuel = Fuel(1_000_000_000);
}

/// How fast one core of a machine burns fuel, in fuel per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Speed(pub u64);

/// Engine version and settings, such as `wasmtime-48.0.8/c911e9e6`: what fuel and results are comparable for.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EngineId(pub String);

impl fmt::Display for EngineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl EngineId {
    /// Its short form, for records of fixed size.
    pub fn tag(&self) -> EngineTag {
        let hash = blake3::hash(self.0.as_bytes());
        EngineTag(std::array::from_fn(|i| hash.as_bytes()[i]))
    }
}

/// An [`EngineId`] in 16 bytes: the first of the BLAKE3 hash of its text. All zeros: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EngineTag(pub [u8; 16]);

impl fmt::Display for EngineTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A number of bytes; written with binary units, as `64 MiB`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ByteSize(pub u64);

impl ByteSize {
    const UNITS: [&'static str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];

    /// So many times 2^20 bytes.
    pub const fn mib(n: u64) -> ByteSize {
        ByteSize(n << 20)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut unit, mut scale) = (0, 1_u64);
        while unit + 1 < Self::UNITS.len() && self.0 / scale >= 1024 {
            (unit, scale) = (unit + 1, scale * 1024);
        }
        let tenths = (self.0 as u128 * 10 + scale as u128 / 2) / scale as u128;
        match tenths % 10 {
            0 => write!(f, "{} {}", tenths / 10, Self::UNITS[unit]),
            tenth => write!(f, "{}.{tenth} {}", tenths / 10, Self::UNITS[unit]),
        }
    }
}

/// A text that is not a size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a size: expected a whole number with B, KiB, MiB, GiB or TiB, like 64MiB")]
pub struct ParseUnitError(String);

impl FromStr for ByteSize {
    type Err = ParseUnitError;

    fn from_str(text: &str) -> Result<ByteSize, ParseUnitError> {
        let error = || ParseUnitError(text.chars().take(40).collect());
        let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (digits, unit) = text.split_at(split);
        let number: u64 = digits.parse().map_err(|_| error())?;
        let unit = unit.trim().to_ascii_lowercase();
        let power = match unit.as_str() {
            "" | "b" => 0,
            "k" | "kib" => 1,
            "m" | "mib" => 2,
            "g" | "gib" => 3,
            "t" | "tib" => 4,
            _ => return Err(error()),
        };
        number.checked_mul(1 << (10 * power)).map(ByteSize).ok_or_else(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_and_write() {
        assert_eq!("64MiB".parse::<ByteSize>().unwrap(), ByteSize::mib(64));
        assert_eq!("2 g".parse::<ByteSize>().unwrap(), ByteSize(2 << 30));
        assert_eq!(ByteSize(1536).to_string(), "1.5 KiB");
        assert_eq!(ByteSize(0).to_string(), "0 B");
        assert_eq!(ByteSize(u64::MAX).to_string(), "16777216 TiB");
        for text in ["", "MiB", "-1", "1.5GiB", "99999999999TiB", "5 parsecs"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }
}
