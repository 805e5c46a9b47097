//! The small parts that all text formats here share.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A text that is not what its format says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a valid {what}: {problem}")]
pub struct Malformed {
    /// Which format.
    pub what: &'static str,
    /// What is wrong.
    pub problem: String,
}

impl Malformed {
    pub(crate) fn new(what: &'static str, problem: impl Into<String>) -> Malformed {
        Malformed { what, problem: problem.into() }
    }
}

pub(crate) fn to_base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Strict: padded, and no bit that is not used.
pub(crate) fn from_base64(what: &'static str, text: &str) -> Result<Vec<u8>, Malformed> {
    STANDARD.decode(text).map_err(|error| Malformed::new(what, format!("no base64: {error}")))
}

/// A decimal number without sign or leading zeros.
pub(crate) fn decimal(what: &'static str, text: &str) -> Result<u64, Malformed> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse::<u64>().ok().filter(|_| plain && (text == "0" || !text.starts_with('0')));
    number.ok_or_else(|| {
        let shown: String = text.chars().take(40).collect();
        Malformed::new(what, format!("'{shown}' is not a decimal number without leading zeros"))
    })
}

/// Takes the line before the next newline.
pub(crate) fn take_line<'a>(what: &'static str, rest: &mut &'a str) -> Result<&'a str, Malformed> {
    let (line, after) =
        rest.split_once('\n').ok_or_else(|| Malformed::new(what, "it ends in the middle of a line"))?;
    *rest = after;
    Ok(line)
}

/// A name of a key: not empty, without spaces and plus signs.
pub(crate) fn is_key_name(name: &str) -> bool {
    let bad = |c: char| c.is_whitespace() || c == '+' || c.is_control();
    !name.is_empty() && !name.contains(bad)
}
