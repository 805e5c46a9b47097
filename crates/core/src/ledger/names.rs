//! Names of accounts: all letters one behind the other, found by a hash.

use serde::{Deserialize, Serialize};

use crate::index::{Index, KeyHash};
use crate::pages::Pages;

/// Names whose letters are one text, so that none is too long for its ends and growing copies little.
const PAGE: usize = Pages::<u32>::PAGE;

/// The names, numbered from 0.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(try_from = "Stored")]
pub(super) struct Names {
    texts: Vec<String>,
    /// Where each name ends in its text.
    ends: Pages<u32>,
    #[serde(skip)]
    index: Index,
    /// Unforeseeable once it is chosen; 0 before.
    seed: u64,
}

/// What a snapshot has of them.
#[derive(Deserialize)]
struct Stored {
    texts: Vec<String>,
    ends: Pages<u32>,
    seed: u64,
}

impl TryFrom<Stored> for Names {
    type Error = &'static str;

    fn try_from(stored: Stored) -> Result<Names, &'static str> {
        let Stored { texts, ends, seed } = stored;
        let mut names = Names { texts, ends, index: Index::default(), seed };
        if !(0..names.len()).all(|at| names.slice(at).is_some()) {
            return Err("names must follow one another in their text");
        }
        names.build();
        Ok(names)
    }
}

/// The index follows from the rest.
impl PartialEq for Names {
    fn eq(&self, other: &Names) -> bool {
        (&self.texts, &self.ends, self.seed) == (&other.texts, &other.ends, other.seed)
    }
}

impl Eq for Names {}

impl Names {
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    fn slice(&self, at: usize) -> Option<&str> {
        let begin = if at.is_multiple_of(PAGE) { 0 } else { *self.ends.get(at - 1)? };
        self.texts.get(at / PAGE)?.get(begin as usize..*self.ends.get(at)? as usize)
    }

    /// A name; nothing for a number that there is not.
    pub(super) fn get(&self, at: usize) -> &str {
        self.slice(at).unwrap_or_default()
    }

    /// The number of a name.
    pub(super) fn find(&self, name: &str) -> Option<usize> {
        let found = self.index.find(KeyHash::of_text(self.seed, name), 0, |at| self.get(at as usize) == name);
        found.map(|at| at as usize)
    }

    /// Adds a name, which must be new and short.
    pub(super) fn push(&mut self, name: &str) {
        let at = self.len();
        if at.is_multiple_of(PAGE) {
            if let Some(full) = self.texts.last_mut() {
                full.shrink_to_fit();
            }
            self.texts.push(String::new());
        }
        if let Some(text) = self.texts.last_mut() {
            text.push_str(name);
            self.ends.push(u32::try_from(text.len()).expect("names are short"));
        }
        self.index.insert(KeyHash::of_text(self.seed, name), at as u64);
    }

    /// Chooses where names lie, if that was not done and there are few.
    pub(super) fn scatter(&mut self, seed: u64) {
        if self.seed == 0 && self.len() <= Index::FEW {
            self.seed = seed;
            self.build();
        }
    }

    fn build(&mut self) {
        let hashed = (0..self.len()).map(|at| (KeyHash::of_text(self.seed, self.get(at)), at as u64));
        self.index = hashed.collect();
    }

    pub(super) fn sanity_check(&self) {
        assert_eq!((self.index.len(), self.texts.len()), (self.len(), self.len().div_ceil(PAGE)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_names_are_found() {
        let name = |number: usize| format!("customer-{}", "x".repeat(number % 50)) + &number.to_string();
        let mut names = Names::default();
        let count = PAGE + Index::FEW;
        for number in 0..count {
            if number == Index::FEW / 2 {
                names.scatter(7);
            }
            assert_eq!(names.find(&name(number)), None);
            names.push(&name(number));
        }
        names.scatter(8);
        assert_eq!(names.seed, 7, "where names lie is chosen once");
        let bytes = postcard::to_stdvec(&names).expect("it serialises");
        let back: Names = postcard::from_bytes(&bytes).expect("written above");
        for names in [&names, &back] {
            assert!((0..count).all(|number| names.get(number) == name(number)));
            assert!((0..count).all(|number| names.find(&name(number)) == Some(number)));
            assert_eq!((names.find("customer-"), names.get(count)), (None, ""));
            names.sanity_check();
        }
        assert_eq!(names, back);
    }

    #[test]
    fn names_that_are_no_text_are_refused() {
        for (texts, ends) in
            [(vec!["ab"], vec![1_u32, 3]), (vec!["ab"], vec![2, 1]), (vec![], vec![0]), (vec!["é"], vec![1])]
        {
            let bytes = postcard::to_stdvec(&(&texts, &ends, 0_u64)).expect("it serialises");
            assert!(postcard::from_bytes::<Names>(&bytes).is_err(), "{texts:?} {ends:?}");
        }
    }
}
