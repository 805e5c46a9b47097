//! An ordered map whose subtrees know what their entries have in common, so that a search passes by whole
//! subtrees that cannot hold what it looks for.
//!
//! A B+ tree (Comer 1979, "The Ubiquitous B-Tree") whose inner nodes keep a [`Summary`] of each child. A
//! summary must never rule out a subtree that holds what is looked for; how sharp it is decides only how
//! fast the search is. What is found never depends on the tree's shape.

use std::fmt;

use serde::de::{Deserialize, Deserializer};
use serde::ser::{Serialize, Serializer};

/// What is known of all entries of a subtree together.
pub(crate) trait Summary<V>: Clone {
    /// Of a single entry.
    fn of(value: &V) -> Self;
    /// Of two subtrees; associative and commutative.
    fn merge(&mut self, other: &Self);
}

/// Entries of a leaf and children of an inner node at most.
const WIDTH: usize = 32;

/// The map.
#[derive(Clone)]
pub(crate) struct Tree<K, V, S> {
    root: Option<Subtree<K, V, S>>,
    len: usize,
}

#[derive(Clone)]
struct Subtree<K, V, S> {
    /// The largest key in it.
    last: K,
    summary: S,
    node: Node<K, V, S>,
}

#[derive(Clone)]
enum Node<K, V, S> {
    Leaf(Vec<(K, V)>),
    Inner(Vec<Subtree<K, V, S>>),
}

impl<K, V, S> Default for Tree<K, V, S> {
    fn default() -> Self {
        Tree { root: None, len: 0 }
    }
}

impl<K: Ord + Copy, V, S: Summary<V>> Tree<K, V, S> {
    pub(crate) fn is_empty(&self) -> bool {
        self.root.is_none()
    }

    /// What is known of all entries; `None` if there are none.
    pub(crate) fn summary(&self) -> Option<&S> {
        self.root.as_ref().map(|root| &root.summary)
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        let mut node = &self.root.as_ref()?.node;
        loop {
            match node {
                Node::Inner(children) => node = &children.get(place(children, key))?.node,
                Node::Leaf(entries) => {
                    return entries.binary_search_by(|(k, _)| k.cmp(key)).ok().map(|at| &entries[at].1);
                }
            }
        }
    }

    /// Puts an entry in; the value that stood there before.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let Some(root) = &mut self.root else {
            self.root = Some(Subtree::of(Node::Leaf(vec![(key, value)])));
            self.len = 1;
            return None;
        };
        let (before, split) = root.insert(key, value);
        if let Some(right) = split
            && let Some(left) = self.root.take()
        {
            self.root = Some(Subtree::of(Node::Inner(vec![left, right])));
        }
        self.len += usize::from(before.is_none());
        before
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        let root = self.root.as_mut()?;
        let removed = root.remove(key)?;
        self.len -= 1;
        match &mut root.node {
            Node::Leaf(entries) if entries.is_empty() => self.root = None,
            Node::Inner(children) if children.len() == 1 => self.root = children.pop(),
            _ => {}
        }
        Some(removed)
    }

    /// The first entry behind `after` that is `wanted`; subtrees that `may_hold` none are passed by.
    pub(crate) fn first_after(
        &self,
        after: Option<K>,
        may_hold: impl Fn(&S) -> bool,
        wanted: impl Fn(&K, &V) -> bool,
    ) -> Option<(K, &V)> {
        self.first_between((after, None), may_hold, wanted)
    }

    /// The same, but none behind `end`.
    pub(crate) fn first_between(
        &self,
        (after, end): (Option<K>, Option<K>),
        may_hold: impl Fn(&S) -> bool,
        wanted: impl Fn(&K, &V) -> bool,
    ) -> Option<(K, &V)> {
        self.root.as_ref()?.first_between((after, end), &may_hold, &wanted)
    }

    /// All entries in order.
    pub(crate) fn iter(&self) -> Iter<'_, K, V, S> {
        Iter { open: self.root.as_ref().map(std::slice::from_ref).into_iter().collect(), leaf: [].iter() }
    }
}

/// The child in which a key stands or belongs.
fn place<K: Ord, V, S>(children: &[Subtree<K, V, S>], key: &K) -> usize {
    children.partition_point(|child| child.last < *key)
}

/// Splits an overfull list: behind all but the last if that was just appended, for keys mostly rise.
fn split<T>(list: &mut Vec<T>, appended: bool) -> Vec<T> {
    list.split_off(if appended { list.len() - 1 } else { list.len() / 2 })
}

impl<K: Ord + Copy, V, S: Summary<V>> Subtree<K, V, S> {
    /// A subtree of a node that is not empty.
    fn of(node: Node<K, V, S>) -> Self {
        let (last, summary) = match &node {
            Node::Leaf(entries) => {
                let mut summary = S::of(&entries[0].1);
                entries[1..].iter().for_each(|(_, value)| summary.merge(&S::of(value)));
                (entries[entries.len() - 1].0, summary)
            }
            Node::Inner(children) => {
                let mut summary = children[0].summary.clone();
                children[1..].iter().for_each(|child| summary.merge(&child.summary));
                (children[children.len() - 1].last, summary)
            }
        };
        Subtree { last, summary, node }
    }

    /// Brings its summary up to date after its node changed; the node is not empty.
    fn refresh(&mut self) {
        let node = std::mem::replace(&mut self.node, Node::Leaf(Vec::new()));
        *self = Subtree::of(node);
    }

    /// The value that stood there before, and the right half if it had to be split.
    fn insert(&mut self, key: K, value: V) -> (Option<V>, Option<Self>) {
        let added = S::of(&value);
        let (before, right) = match &mut self.node {
            Node::Leaf(entries) => match entries.binary_search_by(|(k, _)| k.cmp(&key)) {
                Ok(at) => (Some(std::mem::replace(&mut entries[at].1, value)), None),
                Err(at) => {
                    let appended = at == entries.len();
                    let full = entries.len() == WIDTH;
                    entries.insert(at, (key, value));
                    (None, full.then(|| Subtree::of(Node::Leaf(split(entries, appended)))))
                }
            },
            Node::Inner(children) => {
                let at = place(children, &key).min(children.len() - 1);
                let (before, right) = children[at].insert(key, value);
                let full = children.len() == WIDTH && right.is_some();
                let appended = at + 1 == children.len();
                if let Some(right) = right {
                    children.insert(at + 1, right);
                }
                (before, full.then(|| Subtree::of(Node::Inner(split(children, appended)))))
            }
        };
        if before.is_none() && right.is_none() {
            self.summary.merge(&added);
            self.last = self.last.max(key);
        } else {
            self.refresh();
        }
        (before, right)
    }

    /// Takes an entry out; may leave the node empty.
    fn remove(&mut self, key: &K) -> Option<V> {
        let (removed, empty) = match &mut self.node {
            Node::Leaf(entries) => {
                let at = entries.binary_search_by(|(k, _)| k.cmp(key)).ok()?;
                (entries.remove(at).1, entries.is_empty())
            }
            Node::Inner(children) => {
                let at = place(children, key);
                let removed = children.get_mut(at)?.remove(key)?;
                if children[at].width() == 0 {
                    children.remove(at);
                } else if children[at].width() < WIDTH / 4 {
                    join(children, at);
                }
                (removed, children.is_empty())
            }
        };
        if !empty {
            self.refresh();
        }
        Some(removed)
    }

    fn width(&self) -> usize {
        match &self.node {
            Node::Leaf(entries) => entries.len(),
            Node::Inner(children) => children.len(),
        }
    }

    fn first_between(
        &self,
        (after, end): (Option<K>, Option<K>),
        may_hold: &impl Fn(&S) -> bool,
        wanted: &impl Fn(&K, &V) -> bool,
    ) -> Option<(K, &V)> {
        #[cfg(test)]
        crate::growth::look();
        if !may_hold(&self.summary) {
            return None;
        }
        match &self.node {
            Node::Leaf(entries) => {
                let from = after.map_or(0, |after| entries.partition_point(|(key, _)| *key <= after));
                #[cfg(test)]
                let wanted = |key: &K, value: &V| (crate::growth::look(), wanted(key, value)).1;
                let within = |(key, _): &&(K, V)| end.is_none_or(|end| *key <= end);
                let mut entries = entries[from..].iter().take_while(within);
                entries.find(|(key, value)| wanted(key, value)).map(|(key, value)| (*key, value))
            }
            Node::Inner(children) => {
                let from = after.map_or(0, |after| children.partition_point(|child| child.last <= after));
                let upto = end.map_or(children.len(), |end| (place(children, &end) + 1).min(children.len()));
                let mut children = children.get(from..upto)?.iter();
                children.find_map(|child| child.first_between((after, end), may_hold, wanted))
            }
        }
    }
}

/// Puts a thin child and a neighbour together if both fit into one.
fn join<K: Ord + Copy, V, S: Summary<V>>(children: &mut Vec<Subtree<K, V, S>>, at: usize) {
    let left = at.saturating_sub(1);
    if left + 1 >= children.len() || children[left].width() + children[left + 1].width() > WIDTH {
        return;
    }
    let right = children.remove(left + 1);
    match (&mut children[left].node, right.node) {
        (Node::Leaf(into), Node::Leaf(from)) => into.extend(from),
        (Node::Inner(into), Node::Inner(from)) => into.extend(from),
        _ => unreachable!("all leaves are equally deep"),
    }
    children[left].refresh();
}

/// Walks all entries in order.
pub(crate) struct Iter<'a, K, V, S> {
    /// What is left of each inner level, the root first.
    open: Vec<&'a [Subtree<K, V, S>]>,
    leaf: std::slice::Iter<'a, (K, V)>,
}

impl<'a, K, V, S> Iterator for Iter<'a, K, V, S> {
    type Item = (&'a K, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((key, value)) = self.leaf.next() {
                return Some((key, value));
            }
            let level = self.open.last_mut()?;
            match level.split_first() {
                None => drop(self.open.pop()),
                Some((child, rest)) => {
                    *level = rest;
                    match &child.node {
                        Node::Leaf(entries) => self.leaf = entries.iter(),
                        Node::Inner(children) => self.open.push(children),
                    }
                }
            }
        }
    }
}

impl<K: Ord + Copy, V: PartialEq, S: Summary<V>> PartialEq for Tree<K, V, S> {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.iter().eq(other.iter())
    }
}

impl<K: Ord + Copy, V: Eq, S: Summary<V>> Eq for Tree<K, V, S> {}

impl<K: Ord + Copy + fmt::Debug, V: fmt::Debug, S: Summary<V>> fmt::Debug for Tree<K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<K: Ord + Copy, V, S: Summary<V>> FromIterator<(K, V)> for Tree<K, V, S> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut tree = Tree::default();
        for (key, value) in entries {
            tree.insert(key, value);
        }
        tree
    }
}

impl<K: Ord + Copy + Serialize, V: Serialize, S: Summary<V>> Serialize for Tree<K, V, S> {
    fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        use serde::ser::SerializeSeq;
        let mut entries = serializer.serialize_seq(Some(self.len))?;
        self.iter().try_for_each(|entry| entries.serialize_element(&entry))?;
        entries.end()
    }
}

impl<'de, K, V, S> Deserialize<'de> for Tree<K, V, S>
where
    K: Ord + Copy + Deserialize<'de>,
    V: Deserialize<'de>,
    S: Summary<V>,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Vec::<(K, V)>::deserialize(deserializer)?.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::ops::Bound::{Excluded, Included, Unbounded};

    use proptest::option;
    use proptest::prelude::*;

    use super::*;

    /// The greatest and the least value.
    #[derive(Clone, Debug, PartialEq)]
    struct Range(u16, u16);

    impl Summary<u16> for Range {
        fn of(value: &u16) -> Range {
            Range(*value, *value)
        }

        fn merge(&mut self, other: &Range) {
            *self = Range(self.0.min(other.0), self.1.max(other.1));
        }
    }

    type Numbers = Tree<u16, u16, Range>;

    impl Subtree<u16, u16, Range> {
        /// How deep its leaves lie, all alike; panics where a rule does not hold.
        fn check(&self) -> usize {
            assert!(self.width() >= 1 && self.width() <= WIDTH);
            let (fresh, depth) = match &self.node {
                Node::Leaf(entries) => {
                    assert!(entries.is_sorted_by(|a, b| a.0 < b.0));
                    (Subtree::of(Node::Leaf(entries.clone())), 0)
                }
                Node::Inner(children) => {
                    assert!(children.is_sorted_by(|a, b| a.last < b.last));
                    let depths: Vec<usize> = children.iter().map(Subtree::check).collect();
                    assert!(depths.iter().all(|depth| *depth == depths[0]));
                    (Subtree::of(Node::Inner(children.clone())), depths[0] + 1)
                }
            };
            assert_eq!((self.last, &self.summary), (fresh.last, &fresh.summary));
            depth
        }
    }

    fn check(tree: &Numbers, model: &BTreeMap<u16, u16>) {
        if let Some(root) = &tree.root {
            let depth = root.check();
            // Thin neighbours are joined, so that a tree that shrank is not deep.
            assert!(depth <= 4, "{} entries lie {depth} deep", tree.len);
        }
        assert!(tree.iter().eq(model.iter()));
        assert_eq!((tree.len, tree.is_empty()), (model.len(), model.is_empty()));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u16, u16),
        Remove(u16),
        /// The first behind a key, and up to one that much greater, whose value is at least so much.
        Find(Option<u16>, Option<u16>, u16),
        /// Rising keys from here.
        Append(u16, u16),
        /// All keys from here are removed.
        Clear(u16, u16),
    }

    fn step() -> impl Strategy<Value = Step> {
        let key = 0..2_000_u16;
        prop_oneof![
            4 => (key.clone(), 0..100_u16).prop_map(|(key, value)| Step::Insert(key, value)),
            4 => key.clone().prop_map(Step::Remove),
            4 => (option::of(key.clone()), option::of(0..600_u16), 0..110_u16).prop_map(|(a, b, c)| Step::Find(a, b, c)),
            1 => (key.clone(), 1..400_u16).prop_map(|(from, count)| Step::Append(from, count)),
            1 => (key, 1..400_u16).prop_map(|(from, count)| Step::Clear(from, count)),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn it_is_an_ordered_map_that_finds_what_a_walk_finds(steps in proptest::collection::vec(step(), 1..60)) {
            let (mut tree, mut model) = (Numbers::default(), BTreeMap::new());
            for step in steps {
                match step {
                    Step::Insert(key, value) => assert_eq!(tree.insert(key, value), model.insert(key, value)),
                    Step::Remove(key) => {
                        assert_eq!(tree.remove(&key), model.remove(&key));
                    }
                    Step::Find(after, reach, least) => {
                        let end = reach.map(|reach| after.unwrap_or(0) + reach);
                        let found =
                            tree.first_between((after, end), |range| range.1 >= least, |_, value| *value >= least);
                        let between = (after.map_or(Unbounded, Excluded), end.map_or(Unbounded, Included));
                        let walked = model.range(between).find(|(_, value)| **value >= least);
                        assert_eq!(found, walked.map(|(key, value)| (*key, value)));
                    }
                    Step::Append(from, count) => (from..from + count).for_each(|key| {
                        assert_eq!(tree.insert(key, key % 100), model.insert(key, key % 100));
                    }),
                    Step::Clear(from, count) => (from..from + count).for_each(|key| {
                        assert_eq!(tree.remove(&key), model.remove(&key));
                    }),
                }
                check(&tree, &model);
                for key in [0, 7, 500, 1_999] {
                    assert_eq!(tree.get(&key), model.get(&key));
                }
            }
            let least_and_most = model.values().min().zip(model.values().max()).map(|(a, b)| Range(*a, *b));
            assert_eq!(tree.summary(), least_and_most.as_ref());
            let bytes = postcard::to_stdvec(&tree).expect("it serialises");
            let back: Numbers = postcard::from_bytes(&bytes).expect("written above");
            assert!(back == tree);
        }
    }

    #[test]
    fn a_search_passes_by_what_cannot_hold_it() {
        let tree: Numbers = (0..10_000_u16).map(|key| (key, key / 5_000)).collect();
        let looked = std::cell::Cell::new(0);
        let found = tree.first_after(
            None,
            |range| range.1 >= 1,
            |_, value| {
                looked.set(looked.get() + 1);
                *value == 1
            },
        );
        assert_eq!(found, Some((5_000, &1)));
        assert!(looked.get() <= WIDTH, "looked at {} entries", looked.get());
    }
}
