//! Numbers that the kernel knows files by, and where those files lie now.

use std::collections::HashMap;

use pumasi_types::FilePath;

/// The number of the folder that is mounted.
pub(super) const ROOT: u64 = 1;

/// All files that the kernel knows.
#[derive(Debug)]
pub(super) struct Tree {
    base: FilePath,
    nodes: HashMap<u64, Node>,
    names: HashMap<(u64, String), u64>,
    next: u64,
}

/// A file or folder.
#[derive(Debug)]
struct Node {
    /// Where it lies; none when it was removed.
    place: Option<(u64, String)>,
    /// How often the kernel was told its number.
    lookups: u64,
}

impl Tree {
    /// A tree whose root is this folder of a space.
    pub(super) fn new(base: FilePath) -> Tree {
        let root = Node { place: None, lookups: 1 };
        Tree { base, nodes: [(ROOT, root)].into(), names: HashMap::new(), next: ROOT + 1 }
    }

    /// The path in the space; none for what was removed, and for a name that cannot be one.
    pub(super) fn path(&self, number: u64) -> Option<FilePath> {
        let mut names = Vec::new();
        let mut at = number;
        while at != ROOT {
            let (parent, name) = self.nodes.get(&at)?.place.as_ref()?;
            names.push(name.as_str());
            at = *parent;
        }
        names.iter().rev().try_fold(self.base.clone(), |path, name| path.join(name).ok())
    }

    /// The path of something in a folder.
    pub(super) fn path_in(&self, folder: u64, name: &str) -> Option<FilePath> {
        self.path(folder)?.join(name).ok()
    }

    /// The folder that something lies in, and its name there.
    pub(super) fn place(&self, number: u64) -> Option<(u64, String)> {
        self.nodes.get(&number)?.place.clone()
    }

    /// The number of something in a folder, if it has one.
    pub(super) fn known(&self, folder: u64, name: &str) -> Option<u64> {
        self.names.get(&(folder, name.to_owned())).copied()
    }

    /// The number of something in a folder.
    pub(super) fn number(&mut self, folder: u64, name: &str) -> u64 {
        if let Some(number) = self.known(folder, name) {
            return number;
        }
        let number = self.next;
        self.next += 1;
        let place = (folder, name.to_owned());
        self.names.insert(place.clone(), number);
        self.nodes.insert(number, Node { place: Some(place), lookups: 0 });
        number
    }

    /// The kernel is told a number.
    pub(super) fn told(&mut self, number: u64) {
        if let Some(node) = self.nodes.get_mut(&number) {
            node.lookups += 1;
        }
    }

    /// The kernel forgets a number that it was told so often.
    pub(super) fn forget(&mut self, number: u64, times: u64) -> bool {
        let Some(node) = self.nodes.get_mut(&number) else { return false };
        node.lookups = node.lookups.saturating_sub(times);
        if node.lookups > 0 || number == ROOT {
            return false;
        }
        if let Some(place) = self.nodes.remove(&number).and_then(|node| node.place)
            && self.names.get(&place) == Some(&number)
        {
            self.names.remove(&place);
        }
        true
    }

    /// Nothing lies there any more.
    pub(super) fn remove(&mut self, folder: u64, name: &str) {
        if let Some(number) = self.names.remove(&(folder, name.to_owned()))
            && let Some(node) = self.nodes.get_mut(&number)
        {
            node.place = None;
        }
    }

    /// Something lies elsewhere, in place of what lay there.
    pub(super) fn rename(&mut self, from: (u64, &str), to: (u64, &str)) {
        self.remove(to.0, to.1);
        let Some(number) = self.names.remove(&(from.0, from.1.to_owned())) else { return };
        let place = (to.0, to.1.to_owned());
        self.names.insert(place.clone(), number);
        if let Some(node) = self.nodes.get_mut(&number) {
            node.place = Some(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_follow_what_they_stand_for() {
        let mut tree = Tree::new("base".parse().unwrap());
        let folder = tree.number(ROOT, "a");
        let file = tree.number(folder, "b");
        let path = |tree: &Tree, number| tree.path(number).map(String::from);
        assert_eq!(path(&tree, file).as_deref(), Some("base/a/b"));
        assert_eq!(tree.number(folder, "b"), file);
        tree.rename((ROOT, "a"), (ROOT, "c"));
        assert_eq!(path(&tree, file).as_deref(), Some("base/c/b"));
        let other = tree.number(folder, "x");
        tree.rename((folder, "b"), (folder, "x"));
        assert_eq!((path(&tree, other), path(&tree, file).as_deref()), (None, Some("base/c/x")));
        tree.remove(folder, "x");
        assert_eq!(path(&tree, file), None);
        assert_ne!(tree.number(folder, "x"), file, "a new file has a new number");
        tree.told(file);
        assert!(!tree.forget(file, 0) && tree.forget(file, 1) && !tree.forget(ROOT, 9));
        assert_eq!(tree.path_in(ROOT, "d").map(String::from).as_deref(), Some("base/d"));
    }
}
