//! Listings, against a naive model of them.

use std::collections::BTreeSet;

use proptest::prelude::*;

use crate::hub::{Client, Memory};

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

/// As a signature wants it in a query.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let one = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(one).collect()
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
        let folded: Vec<String> = folded.collect();
        assert!(keys.len() + folded.len() <= most);
        objects.extend(keys.into_iter().map(str::to_owned));
        prefixes.extend(folded);
        if page.element("IsTruncated") == "false" {
            return (objects, prefixes);
        }
        let next = if two { "NextContinuationToken" } else { "NextMarker" };
        from = page.element(next).to_owned();
        assert!(!from.is_empty(), "{page:?}");
    }
    panic!("a listing without end");
}

/// Keys of which no one lies below another.
fn keys() -> impl Strategy<Value = BTreeSet<String>> {
    let name = prop::sample::select(vec!["a", "b", "a-", "a.b", "ab", "물", "0"]);
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
        prefix in prop::sample::select(vec!["", "a", "a/", "a/b", "b/a/", "a-", "물/", "x"]),
        delimiter in prop::sample::select(vec!["", "/", "b", "a/"]),
        most in prop::sample::select(vec![1_usize, 2, 3, 1000]),
        after in prop::sample::select(vec!["", "a", "a/", "a/b", "b"]),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let client = Memory::new(&["ann"]).client("ann");
            client.put("/bucket", "").await.ok();
            for key in &keys {
                client.put(&format!("/bucket/{}", encoded(key).replace("%2F", "/")), "").await.ok();
            }
            let expected_all = expected(&keys, prefix, delimiter, "");
            prop_assert_eq!(listed(&client, true, prefix, delimiter, most).await, expected_all.clone());
            prop_assert_eq!(listed(&client, false, prefix, delimiter, most).await, expected_all);
            let to = format!("/bucket?list-type=2&prefix={}&start-after={}", encoded(prefix), encoded(after));
            let told = client.get(&to).await.ok();
            let told: Vec<String> = told.elements("Key").into_iter().map(str::to_owned).collect();
            prop_assert_eq!(told, expected(&keys, prefix, "", after).0);
            Ok(())
        })?;
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
}
