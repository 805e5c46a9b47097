//! What has to be done for a folder here and one in a space to become the same again: no file, no clock, no network.
//!
//! Three views of each path are compared: here, there, and what both had when they were the same for the last time. A
//! side that differs from that has changed. What only one side changed is done on the other; what both changed
//! differently stays twice. Nothing that was changed is ever removed because the other side removed it.

use std::collections::{BTreeMap, BTreeSet};

use pumasi_seal::KeyId;
use pumasi_types::{FilePath, Hash};
use serde::{Deserialize, Serialize};

/// What lies at a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Content {
    /// A file.
    File {
        /// Its bytes, as they lie there.
        hash: Hash,
        /// Whether it is a program.
        executable: bool,
        /// What it is encrypted with there.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<KeyId>,
    },
    /// A symbolic link to this.
    Link(String),
    /// A folder.
    Folder,
}

/// One view of all paths.
pub(crate) type View = BTreeMap<FilePath, Content>;

/// Something that has to be done.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Action {
    /// Remove it there: it was removed here.
    RemoveThere(FilePath),
    /// Remove it here: it was removed there.
    RemoveHere(FilePath),
    /// Give what is here another name, and that name to both sides; then fetch what is there.
    Both(FilePath),
    /// Fetch it.
    Pull(FilePath),
    /// Send it.
    Push(FilePath),
    /// A file on one side and a folder on the other, and both are new: people must choose.
    Clash(FilePath),
}

/// What has to be done, removals first.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// In the order in which it can be done.
    pub(crate) actions: Vec<Action>,
    /// Paths at which both sides are the same now.
    pub(crate) same: Vec<FilePath>,
    /// Paths at which neither side has anything any more.
    pub(crate) gone: Vec<FilePath>,
}

/// Compares here, there and before.
pub(crate) fn plan(here: &View, there: &View, before: &View) -> Plan {
    let mut plan = Plan::default();
    let paths: BTreeSet<&FilePath> = here.keys().chain(there.keys()).chain(before.keys()).collect();
    for path in paths {
        let (l, r, b) = (here.get(path), there.get(path), before.get(path));
        let path = path.clone();
        if l == r {
            if l.is_some() { plan.same.push(path) } else { plan.gone.push(path) }
        } else if r == b {
            plan.bring(path, l, r, Action::Push, Action::RemoveThere);
        } else if l == b {
            plan.bring(path, r, l, Action::Pull, Action::RemoveHere);
        } else {
            match (l, r) {
                (Some(_), None) => plan.actions.push(Action::Push(path)),
                (None, Some(_)) => plan.actions.push(Action::Pull(path)),
                (Some(l), Some(r)) if is_folder(l) != is_folder(r) => plan.actions.push(Action::Clash(path)),
                _ => plan.actions.push(Action::Both(path)),
            }
        }
    }
    plan.order();
    plan
}

impl Plan {
    /// One side has something new, or nothing any more, and the other is as before.
    fn bring(
        &mut self,
        path: FilePath,
        new: Option<&Content>,
        old: Option<&Content>,
        bring: impl FnOnce(FilePath) -> Action,
        remove: impl FnOnce(FilePath) -> Action,
    ) {
        // A file cannot take the place of a folder, nor a folder that of a file: what is there goes first.
        let in_the_way = match (new, old) {
            (Some(new), Some(old)) => is_folder(new) != is_folder(old),
            (None, _) => true,
            (_, None) => false,
        };
        if in_the_way {
            self.actions.push(remove(path.clone()));
        }
        if new.is_some() {
            self.actions.push(bring(path));
        }
    }

    /// Removals before all else, what lies deepest first; so a folder is empty when its turn comes.
    fn order(&mut self) {
        let rank = |action: &Action| match action {
            Action::RemoveThere(path) | Action::RemoveHere(path) => (0, usize::MAX - path.names().count()),
            Action::Both(_) => (1, 0),
            Action::Pull(_) | Action::Push(_) | Action::Clash(_) => (2, 0),
        };
        self.actions.sort_by_key(rank);
    }
}

fn is_folder(content: &Content) -> bool {
    *content == Content::Folder
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(files: &[(&str, &str)]) -> View {
        let content = |text: &str| match text {
            "/" => Content::Folder,
            text => match text.strip_prefix('@') {
                Some(target) => Content::Link(target.to_owned()),
                None => {
                    let (hash, executable) = (Hash::of(text.as_bytes()), text.ends_with('*'));
                    Content::File { hash, executable, key: None }
                }
            },
        };
        files.iter().map(|(path, text)| (path.parse().unwrap(), content(text))).collect()
    }

    fn actions(here: &[(&str, &str)], there: &[(&str, &str)], before: &[(&str, &str)]) -> String {
        let plan = plan(&view(here), &view(there), &view(before));
        let said: Vec<_> = plan.actions.iter().map(|action| format!("{action:?}")).collect();
        said.join(" ").replace("FilePath(\"", "").replace("\")", "")
    }

    #[test]
    fn what_one_side_changed_is_done_on_the_other() {
        assert_eq!(actions(&[("a", "2")], &[("a", "1")], &[("a", "1")]), "Push(a)");
        assert_eq!(actions(&[("a", "1")], &[("a", "2")], &[("a", "1")]), "Pull(a)");
        assert_eq!(actions(&[("a", "1*")], &[("a", "1")], &[("a", "1")]), "Push(a)");
        assert_eq!(actions(&[], &[("a", "1")], &[("a", "1")]), "RemoveThere(a)");
        assert_eq!(actions(&[("a", "1")], &[], &[("a", "1")]), "RemoveHere(a)");
        assert_eq!(actions(&[("a", "1")], &[], &[]), "Push(a)");
        assert_eq!(actions(&[], &[("a", "@x")], &[]), "Pull(a)");
        assert_eq!(actions(&[("a", "1")], &[("a", "1")], &[]), "");
        assert_eq!(actions(&[("a", "2")], &[("a", "2")], &[("a", "1")]), "");
    }

    #[test]
    fn what_both_changed_stays_twice_and_changes_win_over_removals() {
        assert_eq!(actions(&[("a", "2")], &[("a", "3")], &[("a", "1")]), "Both(a)");
        assert_eq!(actions(&[("a", "2")], &[("a", "3")], &[]), "Both(a)");
        assert_eq!(actions(&[("a", "2")], &[], &[("a", "1")]), "Push(a)");
        assert_eq!(actions(&[], &[("a", "2")], &[("a", "1")]), "Pull(a)");
    }

    #[test]
    fn a_folder_and_a_file_take_each_others_place() {
        let folder = [("a", "/"), ("a/b", "1")];
        assert_eq!(actions(&folder, &[("a", "0")], &[("a", "0")]), "RemoveThere(a) Push(a) Push(a/b)");
        assert_eq!(actions(&[("a", "0")], &folder, &folder), "RemoveThere(a/b) RemoveThere(a) Push(a)");
        assert_eq!(actions(&[("a", "0")], &folder, &[("a", "0")]), "RemoveHere(a) Pull(a) Pull(a/b)");
        assert_eq!(actions(&[("a", "0")], &[("a", "/")], &[]), "Clash(a)");
    }

    /// Does a plan as `sync` would, without conflicts of names.
    fn carry_out(plan: &Plan, here: &mut View, there: &mut View) {
        for action in &plan.actions {
            match action {
                Action::RemoveThere(path) => drop(there.remove(path)),
                Action::RemoveHere(path) => drop(here.remove(path)),
                Action::Pull(path) => drop(here.insert(path.clone(), there[path].clone())),
                Action::Push(path) => drop(there.insert(path.clone(), here[path].clone())),
                Action::Both(path) => {
                    let mine = here.insert(path.clone(), there[path].clone()).unwrap();
                    let name: FilePath = format!("{path} (conflict)").parse().unwrap();
                    there.insert(name.clone(), mine.clone());
                    here.insert(name, mine);
                }
                Action::Clash(_) => {}
            }
        }
    }

    #[test]
    fn both_sides_become_the_same_and_no_change_is_lost() {
        let contents = [None, Some("1"), Some("2"), Some("3"), Some("@x")];
        let side = |n: usize| {
            let of = |path, n: usize| contents[n % 5].map(|content| (path, content));
            view(&[of("a", n), of("b", n / 5)].into_iter().flatten().collect::<Vec<_>>())
        };
        for n in 0..25 * 25 * 25 {
            let (mut here, mut there, before) = (side(n), side(n / 25), side(n / 625));
            let changed: Vec<Content> = [&here, &there]
                .iter()
                .flat_map(|side| side.iter().filter(|(path, content)| before.get(*path) != Some(*content)))
                .map(|(_, content)| content.clone())
                .collect();
            let first = plan(&here, &there, &before);
            carry_out(&first, &mut here, &mut there);
            assert_eq!(here, there, "{first:?}");
            for content in changed {
                assert!(here.values().any(|left| *left == content), "{content:?} is lost: {first:?}");
            }
            assert_eq!(plan(&here, &there, &here).actions, []);
        }
    }
}
