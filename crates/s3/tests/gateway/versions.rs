//! Versions and delete markers.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::hub::{Answer, Client, Memory, encoded, key_path, unescaped};

/// A client with a bucket that has versions.
async fn client() -> Client {
    let client = Memory::new(&["ann"]).client("ann");
    client.put("/bucket", "").await.ok();
    let enabled = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    client.put("/bucket?versioning=", enabled).await.ok();
    client
}

fn version(answer: &Answer) -> String {
    answer.header("x-amz-version-id").to_owned()
}

/// A version: key, id, whether it is a marker, whether it is the latest.
type Listed = (String, String, bool, bool);

/// What is listed of all versions below a prefix, by pages of this size, and the prefixes up to a delimiter.
async fn folded(client: &Client, prefix: &str, delimiter: &str, most: usize) -> (Vec<Listed>, Vec<String>) {
    let (mut all, mut prefixes) = (Vec::new(), Vec::new());
    let (mut next, mut last) = ((String::new(), String::new()), String::new());
    for _ in 0..200 {
        // Parameters stand in the order of their names, for the signature.
        let (key, id) = &next;
        let from = if key.is_empty() { String::new() } else { format!("key-marker={}&", encoded(key)) };
        let behind = if id.is_empty() { String::new() } else { format!("version-id-marker={id}&") };
        let (delimiter, prefix) = (encoded(delimiter), encoded(prefix));
        let query = format!("delimiter={delimiter}&{from}max-keys={most}&prefix={prefix}&{behind}versions=");
        let page = client.get(&format!("/bucket?{query}")).await.ok();
        let mut told: Vec<String> = Vec::new();
        for (name, marker) in [("Version", false), ("DeleteMarker", true)] {
            for element in page.elements(name) {
                let inner = |name: &str| {
                    let rest = element.split(&format!("<{name}>")).nth(1).expect("it has one");
                    unescaped(rest.split('<').next().expect("text"))
                };
                told.push(inner("Key"));
                all.push((inner("Key"), inner("VersionId"), marker, inner("IsLatest") == "true"));
            }
        }
        for common in page.elements("CommonPrefixes") {
            let common = unescaped(&common.replace("<Prefix>", "").replace("</Prefix>", ""));
            told.push(common.clone());
            prefixes.push(common);
        }
        assert!(told.len() <= most && told.iter().all(|told| *told >= last), "{told:?} behind {last:?}");
        last = told.into_iter().max().unwrap_or(last);
        if page.element("IsTruncated") != "true" {
            return (all, prefixes);
        }
        next = (unescaped(page.element("NextKeyMarker")), page.element("NextVersionIdMarker").to_owned());
        assert!(!next.0.is_empty(), "{page:?}");
    }
    panic!("a listing without end");
}

/// The same without a delimiter.
async fn listed(client: &Client, prefix: &str, most: usize) -> Vec<Listed> {
    folded(client, prefix, "", most).await.0
}

#[tokio::test]
async fn what_was_overwritten_and_deleted_is_read_by_its_version() {
    let client = client().await;
    let suspended = "<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>";
    client.put("/bucket?versioning=", suspended).await.refused(501, "NotImplemented");
    assert_eq!(client.get("/bucket?versioning=").await.ok().element("Status"), "Enabled");
    let first = version(&client.put("/bucket/k", "one").await.ok());
    let second = version(&client.put("/bucket/k", "second").await.ok());
    let read = client.get(&format!("/bucket/k?versionId={first}")).await.ok();
    assert_eq!((read.body.as_str(), version(&read)), ("one", first.clone()));
    assert_eq!(version(&client.get("/bucket/k").await.ok()), second);
    let gone = client.delete("/bucket/k").await.ok();
    let marker = version(&gone);
    assert_eq!(gone.header("x-amz-delete-marker"), "true");
    let none = client.get("/bucket/k").await;
    none.refused(404, "NoSuchKey");
    assert_eq!((none.header("x-amz-delete-marker"), version(&none)), ("true", marker.clone()));
    client.get(&format!("/bucket/k?versionId={marker}")).await.refused(405, "MethodNotAllowed");
    assert_eq!(client.get(&format!("/bucket/k?versionId={second}")).await.ok().body, "second");
    client.delete("/bucket").await.refused(409, "BucketNotEmpty");
    let third = version(&client.put("/bucket/k", "third").await.ok());
    let all = listed(&client, "", 1_000).await;
    let of = |id: &str, marker, latest| ("k".to_owned(), id.to_owned(), marker, latest);
    assert_eq!(
        all,
        [
            of(&third, false, true),
            of(&second, false, false),
            of(&first, false, false),
            of(&marker, true, false)
        ]
    );
    // A copy of what is long gone.
    let source = format!("/bucket/k?versionId={first}");
    let copy = client.send("PUT", "/bucket/copy", &[("x-amz-copy-source", &source)], "").await.ok();
    assert_eq!(copy.header("x-amz-copy-source-version-id"), first);
    assert_eq!(client.get("/bucket/copy").await.ok().body, "one");
    // The marker lies behind something newer, and goes with the versions before it.
    client.delete(&format!("/bucket/k?versionId={marker}")).await.refused(501, "NotImplemented");
    client.delete(&format!("/bucket/k?versionId={second}")).await.ok();
    client.delete(&format!("/bucket/k?versionId={second}")).await.ok();
    client.get(&format!("/bucket/k?versionId={second}")).await.refused(404, "NoSuchVersion");
    client.delete(&format!("/bucket/k?versionId={first}")).await.ok();
    assert_eq!(listed(&client, "k", 1_000).await.len(), 1);
    client.delete(&format!("/bucket/k?versionId={third}")).await.ok();
    let none = client.get("/bucket/k").await;
    none.refused(404, "NoSuchKey");
    assert_eq!(none.header("x-amz-delete-marker"), "", "nothing is left of it");
}

#[tokio::test]
async fn a_delete_marker_that_goes_brings_the_object_back() {
    let client = client().await;
    let first = version(&client.put("/bucket/a/k", "one").await.ok());
    client.put("/bucket/a/k", "second").await.ok();
    let marker = version(&client.delete("/bucket/a/k").await.ok());
    let back = client.delete(&format!("/bucket/a/k?versionId={marker}")).await.ok();
    assert_eq!((back.header("x-amz-delete-marker"), version(&back)), ("true", marker));
    assert_eq!(client.get("/bucket/a/k").await.ok().body, "second");
    assert_eq!(client.get(&format!("/bucket/a/k?versionId={first}")).await.ok().body, "one");
    // The newest gives way to the one before it.
    let newest = version(&client.get("/bucket/a/k").await.ok());
    client.delete(&format!("/bucket/a/k?versionId={newest}")).await.ok();
    assert_eq!(client.get("/bucket/a/k").await.ok().body, "one");
    client.get("/bucket/a/k?versionId=x").await.refused(400, "InvalidArgument");
    client.get("/bucket/a/k?versionId=null").await.refused(404, "NoSuchVersion");
}

#[tokio::test]
async fn a_bucket_with_versions_is_emptied_in_one_request() {
    let client = client().await;
    for key in ["a", "b/c", "b/d"] {
        client.put(&format!("/bucket/{key}"), "one").await.ok();
        client.put(&format!("/bucket/{key}"), "two").await.ok();
        client.delete(&format!("/bucket/{key}")).await.ok();
        client.put(&format!("/bucket/{key}"), "three").await.ok();
    }
    client.delete("/bucket/b/c").await.ok();
    let one = |(key, id, ..): (String, String, bool, bool)| {
        format!("<Object><Key>{key}</Key><VersionId>{id}</VersionId></Object>")
    };
    let all: String = listed(&client, "", 1_000).await.into_iter().map(one).collect();
    let deleted = client.send("POST", "/bucket?delete=", &[], format!("<Delete>{all}</Delete>")).await.ok();
    assert_eq!(deleted.elements("Error").len(), 0, "{}", deleted.body);
    assert!(listed(&client, "", 1_000).await.is_empty());
    client.delete("/bucket").await.ok();
}

#[tokio::test]
async fn without_versions_nothing_is_kept_and_they_are_not_suspended() {
    let client = Memory::new(&["ann"]).client("ann");
    client.put("/bucket", "").await.ok();
    assert_eq!(client.get("/bucket?versioning=").await.ok().element("Status"), "");
    let put = client.put("/bucket/k", "one").await.ok();
    assert_eq!(version(&put), "");
    assert_eq!(client.get("/bucket/k?versionId=null").await.ok().body, "one");
    assert_eq!(listed(&client, "", 10).await, [("k".to_owned(), "null".to_owned(), false, true)]);
    let suspended = "<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>";
    client.put("/bucket?versioning=", suspended).await.refused(501, "NotImplemented");
    let gone = client.delete("/bucket/k?versionId=null").await.ok();
    assert_eq!(gone.header("x-amz-delete-marker"), "");
    client.delete("/bucket").await.ok();
}

#[tokio::test]
async fn others_see_and_change_no_versions() {
    let memory = Memory::new(&["ann", "ben"]);
    let (ann, ben) = (memory.client("ann"), memory.client("ben"));
    ann.put("/bucket", "").await.ok();
    let enabled = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    ben.put("/bucket?versioning=", enabled).await.refused(404, "NoSuchBucket");
    ann.put("/bucket?versioning=", enabled).await.ok();
    let first = version(&ann.put("/bucket/k", "one").await.ok());
    ben.get("/bucket?versions=").await.refused(404, "NoSuchBucket");
    ben.get(&format!("/bucket/k?versionId={first}")).await.refused(404, "NoSuchBucket");
    ben.delete(&format!("/bucket/k?versionId={first}")).await.refused(404, "NoSuchBucket");
    ben.put("/other", "").await.ok();
    ben.put("/other/k", "ben's").await.ok();
    ben.get(&format!("/other/k?versionId={first}")).await.refused(404, "NoSuchVersion");
    ben.delete(&format!("/other/k?versionId={first}")).await.ok();
    assert_eq!(ann.get("/bucket/k").await.ok().body, "one");
}

/// Keys of which some lie below common prefixes, in the order of their bytes.
const KEYS: [&str; 8] =
    ["a", "a-b", "a/c", "b/c/d", "b/d", "b/\u{10ffff}", "b/\u{10ffff}+ 물", "\u{10ffff}<&>"];

/// Something that is done to a key.
fn steps() -> impl Strategy<Value = Vec<(usize, u8)>> {
    prop::collection::vec((0..KEYS.len(), 0..5_u8), 1..30)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Listing by pages of any size tells every version of a naive model once, the newest of each key first.
    #[test]
    fn listings_tell_all_versions(
        steps in steps(),
        most in 1..6_usize,
        prefix in prop::sample::select(vec!["", "a", "b/", "b/\u{10ffff}", "x"]),
        delimiter in prop::sample::select(vec!["", "/", "c", "\u{10ffff}"]),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let client = client().await;
            // What there is of each key: ids and whether they are markers, the newest first.
            let mut model: BTreeMap<&str, Vec<(String, bool)>> = BTreeMap::new();
            for (n, (key, what)) in steps.into_iter().enumerate() {
                let key = KEYS[key];
                // `a` cannot be a file and a folder.
                if key == "a" && model.contains_key("a/c") || key == "a/c" && model.contains_key("a") {
                    continue;
                }
                let known = model.entry(key).or_default();
                let answer = match what {
                    0..=2 => client.put(&key_path(key), n.to_string()).await.ok(),
                    _ if known.first().is_none_or(|(_, marker)| *marker) => continue,
                    _ => client.delete(&key_path(key)).await.ok(),
                };
                known.insert(0, (version(&answer), what > 2));
            }
            let (mut expected, mut prefixes) = (Vec::new(), Vec::new());
            for (key, known) in model.iter().filter(|(key, _)| key.starts_with(prefix)) {
                let cut = key[prefix.len()..].find(delimiter).filter(|_| !delimiter.is_empty());
                match cut.map(|at| key[..prefix.len() + at + delimiter.len()].to_owned()) {
                    Some(common) if known.is_empty() || prefixes.last() == Some(&common) => {}
                    Some(common) => prefixes.push(common),
                    None => expected.extend(known.iter().enumerate().map(|(at, (id, marker))| {
                        ((*key).to_owned(), id.clone(), *marker, at == 0)
                    })),
                }
            }
            let (mut told, common) = folded(&client, prefix, delimiter, most).await;
            told.sort();
            expected.sort();
            assert_eq!((told, common), (expected, prefixes));
        });
    }
}
