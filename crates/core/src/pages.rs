//! Records numbered from 0 that never leave, in pages that never move: growing copies little, and a record that
//! is as large as its alignment never lies in two cache lines.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};

/// The records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pages<T>(Vec<Vec<T>>);

impl<T> Default for Pages<T> {
    fn default() -> Pages<T> {
        Pages(Vec::new())
    }
}

impl<T> Pages<T> {
    /// Records of a page.
    pub(crate) const PAGE: usize = 1 << 16;

    /// How many records there are.
    pub(crate) fn len(&self) -> usize {
        self.0.split_last().map_or(0, |(last, full)| full.len() * Self::PAGE + last.len())
    }

    pub(crate) fn get(&self, at: usize) -> Option<&T> {
        self.0.get(at / Self::PAGE)?.get(at % Self::PAGE)
    }

    pub(crate) fn get_mut(&mut self, at: usize) -> Option<&mut T> {
        self.0.get_mut(at / Self::PAGE)?.get_mut(at % Self::PAGE)
    }

    /// Adds a record behind all others.
    pub(crate) fn push(&mut self, record: T) {
        if self.0.last().is_none_or(|page| page.len() == Self::PAGE) {
            // The first page begins small, as most states stay small.
            let room = if self.0.is_empty() { 0 } else { Self::PAGE };
            self.0.push(Vec::with_capacity(room));
        }
        if let Some(page) = self.0.last_mut() {
            page.push(record);
        }
    }

    /// All records, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().flatten()
    }
}

/// As one list: where pages end is no part of the format.
impl<T: Serialize> Serialize for Pages<T> {
    fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        use serde::ser::SerializeSeq;
        let mut list = serializer.serialize_seq(Some(self.len()))?;
        self.iter().try_for_each(|record| list.serialize_element(record))?;
        list.end()
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Pages<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Pages<T>, D::Error> {
        struct List<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for List<T> {
            type Value = Pages<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of records")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Pages<T>, A::Error> {
                let mut pages = Pages::default();
                while let Some(record) = list.next_element()? {
                    pages.push(record);
                }
                Ok(pages)
            }
        }

        deserializer.deserialize_seq(List(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_where_they_were_put() {
        let count = 2 * Pages::<u32>::PAGE + 3;
        let mut pages = Pages::default();
        for number in 0..count {
            assert_eq!(pages.len(), number);
            pages.push(number as u32);
        }
        for at in [0, 1, count / 2, Pages::<u32>::PAGE - 1, Pages::<u32>::PAGE, count - 1] {
            assert_eq!(pages.get(at), Some(&(at as u32)));
        }
        assert_eq!((pages.get(count), pages.get(usize::MAX)), (None, None));
        assert_eq!(pages.get_mut(count), None);
        *pages.get_mut(Pages::<u32>::PAGE).expect("there") = 7;
        assert_eq!(pages.iter().filter(|record| **record == 7).count(), 2);
        let bytes = postcard::to_stdvec(&pages).expect("it serialises");
        assert_eq!(postcard::from_bytes::<Pages<u32>>(&bytes).expect("written above"), pages);
    }
}
