//! Bencoding (BEP 3), read without copies and within bounds: it comes from anybody.

use std::ops::Range;

/// How deep lists and dictionaries may lie in each other.
const DEPTH: usize = 32;
/// How many values there may be: one of three bytes takes twenty times its room in memory.
const VALUES: usize = 2_000_000;

/// A value, with its bytes still where they were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Int(i64),
    Bytes(&'a [u8]),
    List(Vec<Value<'a>>),
    /// Keys in their order, and where each value stands.
    Dict(Vec<(&'a [u8], Value<'a>, Range<usize>)>),
}

impl<'a> Value<'a> {
    /// Reads one value that takes all the bytes.
    pub(crate) fn read(bytes: &'a [u8]) -> Option<Value<'a>> {
        let mut reader = Reader { bytes, at: 0, left: VALUES };
        let value = reader.value(DEPTH)?;
        (reader.at == bytes.len()).then_some(value)
    }

    /// Reads one value, and gives the bytes behind it.
    pub(crate) fn read_first(bytes: &'a [u8]) -> Option<(Value<'a>, &'a [u8])> {
        let mut reader = Reader { bytes, at: 0, left: VALUES };
        let value = reader.value(DEPTH)?;
        Some((value, &bytes[reader.at..]))
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Value<'a>> {
        let Value::Dict(pairs) = self else { return None };
        pairs.iter().find(|(name, ..)| *name == key.as_bytes()).map(|(_, value, _)| value)
    }

    /// Where the value of a key stands.
    pub(crate) fn place(&self, key: &str) -> Option<Range<usize>> {
        let Value::Dict(pairs) = self else { return None };
        pairs.iter().find(|(name, ..)| *name == key.as_bytes()).map(|(.., place)| place.clone())
    }

    pub(crate) fn bytes(&self) -> Option<&'a [u8]> {
        if let Value::Bytes(bytes) = self { Some(bytes) } else { None }
    }

    /// As text; what is no UTF-8 is replaced.
    pub(crate) fn text(&self) -> Option<String> {
        self.bytes().map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    pub(crate) fn int(&self) -> Option<i64> {
        if let Value::Int(int) = self { Some(*int) } else { None }
    }

    pub(crate) fn list(&self) -> Option<&[Value<'a>]> {
        if let Value::List(list) = self { Some(list) } else { None }
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Values that may still come.
    left: usize,
}

impl<'a> Reader<'a> {
    fn value(&mut self, depth: usize) -> Option<Value<'a>> {
        let depth = depth.checked_sub(1)?;
        self.left = self.left.checked_sub(1)?;
        match *self.bytes.get(self.at)? {
            b'i' => {
                self.at += 1;
                self.number(b'e').map(Value::Int)
            }
            b'l' => {
                self.at += 1;
                let mut list = Vec::new();
                while !self.ends()? {
                    list.push(self.value(depth)?);
                }
                Some(Value::List(list))
            }
            b'd' => {
                self.at += 1;
                let mut pairs = Vec::new();
                while !self.ends()? {
                    let key = self.string()?;
                    let start = self.at;
                    let value = self.value(depth)?;
                    pairs.push((key, value, start..self.at));
                }
                Some(Value::Dict(pairs))
            }
            b'0'..=b'9' => self.string().map(Value::Bytes),
            _ => None,
        }
    }

    /// Whether a list or dictionary ends here; then behind it.
    fn ends(&mut self) -> Option<bool> {
        let ends = *self.bytes.get(self.at)? == b'e';
        self.at += usize::from(ends);
        Some(ends)
    }

    fn string(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number(b':')?).ok()?;
        let end = self.at.checked_add(length)?;
        let bytes = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(bytes)
    }

    fn number(&mut self, end: u8) -> Option<i64> {
        // 20 digits and a sign are more than fit.
        let rest = self.bytes.get(self.at..)?;
        let length = rest.iter().take(22).position(|byte| *byte == end)?;
        let number = std::str::from_utf8(&rest[..length]).ok()?;
        if number.starts_with('+') {
            return None;
        }
        self.at += length + 1;
        number.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_to_their_last_byte_and_no_further() {
        let value = Value::read(b"d1:ai-7e1:bl2:xyi0ee1:cd0:1:zee").unwrap();
        assert_eq!(value.get("a").and_then(Value::int), Some(-7));
        assert_eq!(value.get("b").and_then(Value::list).map(<[_]>::len), Some(2));
        assert_eq!(value.place("b"), Some(11..20));
        assert_eq!(
            value.get("c").and_then(|inner| inner.get("")).and_then(Value::text).as_deref(),
            Some("z")
        );
        for bad in [
            &b""[..],
            b"i",
            b"ie",
            b"i1",
            b"i+1e",
            b"i99999999999999999999e",
            b"5:abc",
            b"-1:",
            b"l",
            b"d1:a",
            b"di1ei1ee",
            b"1:ab",
            b"x",
            b"99999999999999999999:a",
            b"9223372036854775807:a",
        ] {
            assert_eq!(Value::read(bad), None, "{}", String::from_utf8_lossy(bad));
        }
        let deep = [vec![b'l'; 100_000], vec![b'e'; 100_000]].concat();
        assert_eq!(Value::read(&deep), None);
        let list = |inner: usize| [&b"l"[..], &b"le".repeat(inner), b"e"].concat();
        assert!(Value::read(&list(1_999_999)).is_some());
        assert_eq!(Value::read(&list(2_000_000)), None, "each takes memory");
    }
}
