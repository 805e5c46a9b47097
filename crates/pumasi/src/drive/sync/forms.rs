//! With which key a file here is compared with what lies there, and with what both had.
//!
//! A file that is encrypted there has the hash of its encrypted form, which whoever has the key can compute from the file here.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use pumasi_seal::Key;
use pumasi_types::{FilePath, Hash};

use super::plan::{Content, View};
use crate::keys::{Closed, Keys};

type MaybeKey = Option<Arc<Key>>;

/// Why a file is left as it is on both sides.
pub(super) const LAID_OPEN: &str = "it was encrypted there and is not any more: `pumasi put --encrypt` puts the one here in \
    its place, `pumasi get` the one there here";

/// How one file here is compared.
#[derive(Debug)]
pub(super) struct Form {
    /// It was encrypted there and is not any more: whoever did that must not have what is here sent as plain.
    laid_open: Option<Content>,
    /// What both had, and its key, when something else lies there now: if the file here is still that, it was not changed here.
    before: Option<(Content, MaybeKey)>,
    /// Otherwise it is compared under this key.
    key: MaybeKey,
}

/// How each file is compared that lies there or lay there when both were the same, and those whose keys are not here. Files
/// that were not changed there are to have the key `wanted`, if there is one.
pub(super) fn forms(
    there: &View,
    before: &View,
    keys: &Keys,
    wanted: &MaybeKey,
) -> (HashMap<FilePath, Form>, Vec<(FilePath, Closed)>) {
    let (mut forms, mut closed) = (HashMap::new(), Vec::new());
    let paths: BTreeSet<&FilePath> = there.keys().chain(before.keys()).collect();
    for path in paths {
        let (r, b) = (there.get(path), before.get(path));
        let key = match [r, b].into_iter().flatten().find_map(|content| key_of(content, keys)) {
            None => continue,
            Some(Err(why)) => {
                closed.push((path.clone(), why));
                continue;
            }
            Some(Ok(key)) => key,
        };
        let form = if r == b {
            Form { laid_open: None, before: None, key: wanted.clone().or(key) }
        } else if let (Some(Content::File { key: None, .. }), Some(Content::File { key: Some(_), .. })) =
            (r, b)
        {
            Form { laid_open: r.cloned(), before: None, key }
        } else {
            let unchanged = b.filter(|_| r.is_some());
            let unchanged = unchanged.and_then(|b| Some((b.clone(), key_of(b, keys)?.ok()?)));
            Form { laid_open: None, before: unchanged, key }
        };
        forms.insert(path.clone(), form);
    }
    (forms, closed)
}

/// The key of a file that is encrypted there; none for what is no file.
fn key_of(content: &Content, keys: &Keys) -> Option<Result<MaybeKey, Closed>> {
    match content {
        Content::File { key: None, .. } => Some(Ok(None)),
        Content::File { key: Some(id), .. } => {
            Some(keys.find(*id).map(|named| Some(named.key.clone())).ok_or(Closed::NoKey(*id)))
        }
        Content::Link(_) | Content::Folder => None,
    }
}

impl Form {
    /// Whether it was encrypted there and is not any more.
    pub(super) fn is_laid_open(&self) -> bool {
        self.laid_open.is_some()
    }

    /// What the file here is, told by its hash under a key.
    pub(super) fn content(
        &self,
        executable: bool,
        hash: impl Fn(Option<&Key>) -> Result<Hash, String>,
    ) -> Result<Content, String> {
        let as_if = |key: &MaybeKey| {
            let key = key.as_deref();
            Ok::<_, String>(Content::File { hash: hash(key)?, executable, key: key.map(Key::id) })
        };
        if let Some(there) = &self.laid_open {
            let here = as_if(&None)?;
            return if here == *there { Ok(here) } else { Err(LAID_OPEN.to_owned()) };
        }
        if let Some((before, key)) = &self.before
            && as_if(key)? == *before
        {
            return Ok(before.clone());
        }
        as_if(&self.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stand-in for the hash of an encrypted form.
    fn hash(text: &str, key: Option<&Key>) -> Hash {
        Hash::of(format!("{text} {:?}", key.map(Key::id)).as_bytes())
    }

    fn file(text: &str, key: Option<&Key>) -> View {
        let content = Content::File { hash: hash(text, key), executable: false, key: key.map(Key::id) };
        [("a".parse().unwrap(), content)].into()
    }

    #[test]
    fn a_file_is_compared_with_what_it_may_still_be() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (Key::new([1; 32]), Key::new([2; 32]));
        let keys = Keys::of([("one", &one)], dir.path());
        let (plain, k1, k2) = (None, Some(&one), Some(&two));
        let told = |there: &View, before: &View, here: &str, wanted: MaybeKey| {
            let (forms, closed) = forms(there, before, &keys, &wanted);
            let form = forms.get(&"a".parse().unwrap());
            form.map(|form| form.content(false, |key| Ok(hash(here, key)))).ok_or(closed.len())
        };
        let content = |text, key| Ok(Ok(file(text, key).into_values().next().unwrap()));
        // Nothing changed there: the key of what lies there, or the one that is wanted.
        assert_eq!(told(&file("1", k1), &file("1", k1), "2", None), content("2", k1));
        assert_eq!(
            told(&file("1", plain), &file("1", plain), "1", Some(Arc::new(one.clone()))),
            content("1", k1)
        );
        // Changed there, and under another key: what was not changed here is still what it was.
        assert_eq!(told(&file("2", k1), &file("1", plain), "1", None), content("1", plain));
        assert_eq!(told(&file("2", k1), &file("1", plain), "2", None), content("2", k1));
        assert_eq!(told(&file("2", k1), &file("1", plain), "3", None), content("3", k1));
        // Removed there, or new there.
        assert_eq!(told(&View::new(), &file("1", k1), "1", None), content("1", k1));
        assert_eq!(told(&file("1", k1), &View::new(), "1", None), content("1", k1));
        // Encrypted no more: only what lies there already is the same.
        assert_eq!(told(&file("1", plain), &file("1", k1), "1", None), content("1", plain));
        for wanted in [None, Some(Arc::new(one.clone()))] {
            assert_eq!(told(&file("1", plain), &file("0", k1), "2", wanted), Ok(Err(LAID_OPEN.to_owned())));
        }
        // A key that is not here.
        assert_eq!(told(&file("1", k2), &file("1", plain), "1", None), Err(1));
        assert_eq!(told(&View::new(), &file("1", k2), "1", None), Err(1));
        assert_eq!(told(&file("1", k1), &file("0", k2), "1", None), content("1", k1));
    }
}
