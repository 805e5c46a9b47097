//! Listings, against a naive model of them.

use std::collections::BTreeSet;

use proptest::prelude::*;

use crate::hub::{Client, Memory, encoded, key_path, unescaped};

/// What a listing should say: keys and prefixes in order, all pages together.
fn expected(
    keys: &BTreeSet<String>,
    prefix: &str,
    delimiter: &str,
    after: &str,
) -> (Vec<String>, Vec<String>) {
    let (mut objects, mut prefixes) = (Vec::new(), Vec::new());
    for key in keys.iter().filter(|key| key.starts_with(prefix) && key.as_str() > after) {
        let rest = &key[prefix.len()..];
        match rest.find(delimiter).filter(|_| !delimiter.is_empty()) {
            Some(at) => {
                let folded = format!("{prefix}{}", &rest[..at + delimiter.len()]);
                if prefixes.last() != Some(&folded) {
                    prefixes.push(folded);
                }
            }
            None => objects.push(key.clone()),
        }
    }
    (objects, prefixes)
}

/// What is told, page by page.
async fn listed(
    client: &Client,
    two: bool,
    prefix: &str,
    delimiter: &str,
    most: usize,
) -> (Vec<String>, Vec<String>) {
    let (mut objects, mut prefixes) = (Vec::new(), Vec::new());
    let mut from = String::new();
    for _ in 0..200 {
        let (delimiter, prefix) = (encoded(delimiter), encoded(prefix));
        let to = if two {
            let token = if from.is_empty() {
                String::new()
            } else {
                format!("continuation-token={}&", encoded(&from))
            };
            format!("/bucket?{token}delimiter={delimiter}&list-type=2&max-keys={most}&prefix={prefix}")
        } else {
            format!("/bucket?delimiter={delimiter}&marker={}&max-keys={most}&prefix={prefix}", encoded(&from))
        };
        let page = client.get(&to).await.ok();
        let keys = page.elements("Key");
        let folded = page.elements("CommonPrefixes");
        let folded = folded.iter().map(|text| text.replace("<Prefix>", "").replace("</Prefix>", ""));
        let folded: Vec<String> = folded.map(|text| unescaped(&text)).collect();
        assert!(keys.len() + folded.len() <= most);
        objects.extend(keys.into_iter().map(unescaped));
        prefixes.extend(folded);
        if page.element("IsTruncated") == "false" {
            return (objects, prefixes);
        }
        let next = if two { "NextContinuationToken" } else { "NextMarker" };
        from = unescaped(page.element(next));
        assert!(!from.is_empty(), "{page:?}");
    }
    panic!("a listing without end");
}

/// Keys of which no one lies below another.
fn keys() -> impl Strategy<Value = BTreeSet<String>> {
    let names = vec!["a", "b", "a-", "a.b", "ab", "물", "0", "a b+", "<&>", "%41", "\u{10ffff}"];
    let name = prop::sample::select(names);
    let key = prop::collection::vec(name, 1..4).prop_map(|names| names.join("/"));
    let is_folder = prop::bool::weighted(0.2);
    let all = prop::collection::vec((key, is_folder), 0..25);
    all.prop_map(|all| {
        let mut kept: BTreeSet<String> = BTreeSet::new();
        for (key, is_folder) in all {
            let folder = format!("{key}/");
            let is_below = |other: &String| !other.ends_with('/') && key.starts_with(&format!("{other}/"));
            let clashes = kept.iter().any(|other| {
                is_below(other) || (!is_folder && other.starts_with(&folder)) || *other == key && is_folder
            });
            if !clashes {
                kept.insert(if is_folder { folder } else { key });
            }
        }
        kept
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn listings_are_those_of_flat_keys(
        keys in keys(),
        prefix in prop::sample::select(vec!["", "a", "a/", "a/b", "b/a/", "a-", "물/", "x", "<&>/", "\u{10ffff}/"]),
        delimiter in prop::sample::select(vec!["", "/", "b", "a/", "+", "\u{10ffff}"]),
        most in prop::sample::select(vec![1_usize, 2, 3, 1000]),
        after in prop::sample::select(vec!["", "a", "a/", "a/b", "b"]),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let client = bucket(&keys).await;
            let expected_all = expected(&keys, prefix, delimiter, "");
            prop_assert_eq!(listed(&client, true, prefix, delimiter, most).await, expected_all.clone());
            prop_assert_eq!(listed(&client, false, prefix, delimiter, most).await, expected_all);
            let to = format!("/bucket?list-type=2&prefix={}&start-after={}", encoded(prefix), encoded(after));
            let told = client.get(&to).await.ok();
            let told: Vec<String> = told.elements("Key").into_iter().map(unescaped).collect();
            prop_assert_eq!(told, expected(&keys, prefix, "", after).0);
            Ok(())
        })?;
    }
}

/// A bucket with these keys.
async fn bucket(keys: &BTreeSet<String>) -> Client {
    let client = Memory::new(&["ann"]).client("ann");
    client.put("/bucket", "").await.ok();
    for key in keys {
        client.put(&key_path(key), "").await.ok();
    }
    client
}

#[tokio::test]
async fn more_prefixes_than_fit_into_a_page_are_told_once_each() {
    // Some have several keys, and other keys lie between them.
    let mut keys: BTreeSet<String> = (0..1_010).map(|n| format!("p/{n}/x")).collect();
    keys.extend((0..1_010).step_by(10).flat_map(|n| [format!("p/{n}/y"), format!("p/{n}-z")]));
    let client = bucket(&keys).await;
    let expected = expected(&keys, "p/", "/", "");
    assert_eq!((expected.0.len(), expected.1.len()), (101, 1_010));
    for (two, most) in [(true, 7), (false, 7), (true, 1_000), (false, 1_000)] {
        assert_eq!(listed(&client, two, "p/", "/", most).await, expected, "{most} in a page");
    }
    let page = client.get("/bucket?delimiter=%2F&list-type=2&prefix=p%2F").await.ok();
    assert_eq!((page.element("KeyCount"), page.element("IsTruncated")), ("1000", "true"));
}

#[tokio::test]
async fn what_begins_with_the_last_letter_there_is_lies_below_its_prefix() {
    let keys = BTreeSet::from(["xb1", "xb\u{10ffff}\u{10ffff}", "xb\u{10ffff}z", "y"].map(str::to_owned));
    let client = bucket(&keys).await;
    for two in [true, false] {
        let told = listed(&client, two, "", "b", 1).await;
        assert_eq!(told, (vec!["y".to_owned()], vec!["xb".to_owned()]));
    }
}

#[tokio::test]
async fn odd_keys_are_encoded_when_that_is_asked() {
    let client = Memory::new(&["ann"]).client("ann");
    client.put("/bucket", "").await.ok();
    client.put("/bucket/a%20b%2B%26/c", "x").await.ok();
    let plain = client.get("/bucket?list-type=2").await.ok();
    assert_eq!(plain.element("Key"), "a b+&amp;/c");
    let told = client.get("/bucket?delimiter=%2F&encoding-type=url&list-type=2").await.ok();
    assert_eq!(told.elements("Prefix").last(), Some(&"a%20b%2B%26/"));
    assert_eq!((told.element("KeyCount"), told.element("EncodingType")), ("1", "url"));
    client.get("/bucket?list-type=2&max-keys=-1").await.refused(400, "InvalidArgument");
    client.get("/bucket?continuation-token=%3F&list-type=2").await.refused(400, "InvalidArgument");
    let none = client.get("/bucket?list-type=2&max-keys=0").await.ok();
    assert_eq!((none.element("KeyCount"), none.element("IsTruncated")), ("0", "false"));
    for query in ["delimiter=", "delimiter=&list-type=2", "delimiter=&versions="] {
        let told = client.get(&format!("/bucket?{query}")).await.ok();
        assert!(!told.body.contains("Delimiter"), "{query}: an empty one is none: {told:?}");
    }
}
