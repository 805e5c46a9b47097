//! Records numbered from 1 in the order in which they came, of which old ones may be forgotten.
//!
//! A number is never given twice, and a page of records that are all forgotten leaves nothing behind.

use std::collections::BTreeMap;

use serde::de::{Deserialize, Deserializer};
use serde::ser::{Serialize, SerializeTuple, Serializer};

/// Records of a page.
const PAGE: usize = 64;

/// The records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Table<T> {
    pages: BTreeMap<u64, Box<Page<T>>>,
    /// The newest number.
    last: u64,
    len: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Page<T> {
    records: [Option<Box<T>>; PAGE],
    len: usize,
}

impl<T> Default for Table<T> {
    fn default() -> Table<T> {
        Table { pages: BTreeMap::new(), last: 0, len: 0 }
    }
}

/// Page and place of a number.
fn place(number: u64) -> (u64, usize) {
    (number / PAGE as u64, (number % PAGE as u64) as usize)
}

impl<T> Table<T> {
    /// How many records there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn get(&self, number: u64) -> Option<&T> {
        let (page, at) = place(number);
        self.pages.get(&page)?.records[at].as_deref()
    }

    pub(crate) fn get_mut(&mut self, number: u64) -> Option<&mut T> {
        let (page, at) = place(number);
        self.pages.get_mut(&page)?.records[at].as_deref_mut()
    }

    /// The first number above this one whose record is there.
    pub(crate) fn next_after(&self, number: u64) -> Option<u64> {
        let (first, at) = place(number);
        self.pages.range(first..).find_map(|(page_at, page)| {
            let from = if *page_at == first { at + 1 } else { 0 };
            let found = (from..PAGE).find(|at| page.records[*at].is_some())?;
            Some(page_at * PAGE as u64 + found as u64)
        })
    }

    /// Adds a record; its number.
    pub(crate) fn push(&mut self, record: T) -> u64 {
        let number = self.last + 1;
        self.put(number, record);
        number
    }

    /// Adds a record under a number above all others.
    fn put(&mut self, number: u64, record: T) {
        let (page, at) = place(number);
        self.last = number;
        self.len += 1;
        let empty = || Box::new(Page { records: std::array::from_fn(|_| None), len: 0 });
        let page = self.pages.entry(page).or_insert_with(empty);
        page.records[at] = Some(Box::new(record));
        page.len += 1;
    }

    /// Forgets a record.
    pub(crate) fn remove(&mut self, number: u64) -> Option<T> {
        let (page_at, at) = place(number);
        let page = self.pages.get_mut(&page_at)?;
        let record = page.records[at].take()?;
        page.len -= 1;
        self.len -= 1;
        if page.len == 0 {
            self.pages.remove(&page_at);
        }
        Some(*record)
    }

    /// All records and their numbers, in order.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (u64, &T)> {
        let records = self.pages.iter().flat_map(|(page_at, page)| {
            let numbers = page_at * PAGE as u64..;
            numbers.zip(&page.records).filter_map(|(number, record)| Some((number, record.as_deref()?)))
        });
        Exactly { records, left: self.len }
    }

    /// All records, to be changed.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (u64, &mut T)> {
        self.pages.iter_mut().flat_map(|(page_at, page)| {
            let numbers = page_at * PAGE as u64..;
            numbers
                .zip(&mut page.records)
                .filter_map(|(number, record)| Some((number, record.as_deref_mut()?)))
        })
    }
}

/// An iterator whose length is known.
struct Exactly<I> {
    records: I,
    left: usize,
}

impl<I: Iterator> Iterator for Exactly<I> {
    type Item = I::Item;

    fn next(&mut self) -> Option<I::Item> {
        self.left = self.left.saturating_sub(1);
        self.records.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<I: Iterator> ExactSizeIterator for Exactly<I> {}

impl<T: Serialize> Serialize for Table<T> {
    fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        let mut tuple = serializer.serialize_tuple(2)?;
        tuple.serialize_element(&self.last)?;
        tuple.serialize_element(&Records(self))?;
        tuple.end()
    }
}

/// The records as a list of numbers and records.
struct Records<'a, T>(&'a Table<T>);

impl<T: Serialize> Serialize for Records<'_, T> {
    fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        serializer.collect_seq(self.0.iter())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Table<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Table<T>, D::Error> {
        use serde::de::Error;
        let (last, records) = <(u64, Vec<(u64, T)>)>::deserialize(deserializer)?;
        let mut table = Table::default();
        for (number, record) in records {
            if number <= table.last || number > last {
                return Err(D::Error::custom("numbers of records do not rise"));
            }
            table.put(number, record);
        }
        table.last = last;
        Ok(table)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Push(u16),
        Remove(u64),
        /// Everything up to here.
        Clear(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (1..200_u16).prop_map(Step::Push),
            (0..500_u64).prop_map(Step::Remove),
            (0..500_u64).prop_map(Step::Clear),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn it_keeps_what_is_not_forgotten(steps in proptest::collection::vec(step(), 1..20)) {
            let (mut table, mut model, mut last) = (Table::default(), BTreeMap::new(), 0);
            for step in steps {
                match step {
                    Step::Push(count) => for _ in 0..count {
                        last += 1;
                        assert_eq!(table.push(last * 7), last);
                        model.insert(last, last * 7);
                    },
                    Step::Remove(number) => assert_eq!(table.remove(number), model.remove(&number)),
                    Step::Clear(end) => for number in 0..end {
                        assert_eq!(table.remove(number), model.remove(&number));
                    },
                }
                assert!(table.iter().eq(model.iter().map(|(number, record)| (*number, record))));
                assert_eq!((table.len(), table.iter().len(), table.last), (model.len(), model.len(), last));
                assert_eq!(table.get(last), model.get(&last));
                let next = |after: u64| model.range(after + 1..).next().map(|(number, _)| *number);
                assert!((0..last + 2).all(|after| table.next_after(after) == next(after)));
                assert_eq!(table.get_mut(70), model.get_mut(&70));
                assert_eq!(table.iter_mut().count(), model.len());
                let bytes = postcard::to_stdvec(&table).expect("it serialises");
                let mut back: Table<u64> = postcard::from_bytes(&bytes).expect("written above");
                assert!(back.iter().eq(table.iter()));
                assert_eq!(back.push(1), last + 1, "a number is never given twice");
                let kept = table.pages.len();
                assert!(kept <= model.len(), "{kept} pages for {} records", model.len());
            }
        }
    }

    #[test]
    fn numbers_that_do_not_rise_are_refused() {
        for records in [vec![(2, 'a'), (2, 'b')], vec![(0, 'a')], vec![(4, 'a')]] {
            let bytes = postcard::to_stdvec(&(3_u64, &records)).expect("it serialises");
            assert!(postcard::from_bytes::<Table<char>>(&bytes).is_err(), "{records:?}");
        }
    }
}
