//! Objects that come in parts.

use crate::hub::{Client, Memory, encoded, key_path, unescaped};

const PART: usize = 5 << 20;

/// A client with a bucket, and an upload of `/bucket/k`.
async fn begin() -> (Client, String) {
    let client = Memory::new(&["ann"]).client("ann");
    client.put("/bucket", "").await.ok();
    let begun = client.send("POST", "/bucket/k?uploads=", &[("x-amz-meta-a", "1")], "").await.ok();
    let id = begun.element("UploadId").to_owned();
    (client, id)
}

async fn part(client: &Client, id: &str, number: usize, body: Vec<u8>) -> String {
    let put = client.put(&format!("/bucket/k?partNumber={number}&uploadId={id}"), body).await.ok();
    put.header("etag").to_owned()
}

fn list(parts: &[(usize, &str)]) -> String {
    let part = |(number, tag): &(usize, &str)| {
        format!("<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>")
    };
    let parts: String = parts.iter().map(part).collect();
    format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>")
}

#[tokio::test]
async fn parts_become_one_object_once() {
    let (client, id) = begin().await;
    let second = part(&client, &id, 2, vec![b'b'; 10]).await;
    let wrong = part(&client, &id, 1, vec![b'x'; PART]).await;
    let first = part(&client, &id, 1, vec![b'a'; PART]).await;
    let told = client.get(&format!("/bucket/k?uploadId={id}")).await.ok();
    assert_eq!(told.elements("PartNumber"), ["1", "2"]);
    assert_eq!(told.elements("Size"), ["5242880", "10"]);
    let uploads = client.get("/bucket?uploads=").await.ok();
    assert_eq!((uploads.element("Key"), uploads.element("UploadId")), ("k", id.as_str()));
    assert!(uploads.element("Initiator").contains("<ID>"), "{uploads:?}");
    let complete = |parts: String| {
        let to = format!("/bucket/k?uploadId={id}");
        let client = &client;
        async move { client.send("POST", &to, &[], parts).await }
    };
    complete(list(&[(2, &second), (1, &first)])).await.refused(400, "InvalidPartOrder");
    complete(list(&[(1, &wrong), (2, &second)])).await.refused(400, "InvalidPart");
    complete(list(&[(1, &first), (3, &second)])).await.refused(400, "InvalidPart");
    complete(list(&[])).await.refused(400, "MalformedXML");
    client.get("/bucket/k").await.refused(404, "NoSuchKey");
    let done = complete(list(&[(1, &first), (2, &second)])).await.ok();
    let tag = done.element("ETag").replace("&quot;", "\"");
    assert!(tag.ends_with("-2\""), "{tag}");
    let got = client.get("/bucket/k").await.ok();
    assert_eq!(
        (got.body.len(), got.header("etag"), got.header("x-amz-meta-a")),
        (PART + 10, tag.as_str(), "1")
    );
    assert!(got.body.ends_with("abbbbbbbbbb"));
    let second_part = client.get("/bucket/k?partNumber=2").await.ok();
    assert_eq!((second_part.status.as_u16(), second_part.body.as_str()), (206, "bbbbbbbbbb"));
    assert_eq!(second_part.header("x-amz-mp-parts-count"), "2");
    client.get("/bucket/k?partNumber=3").await.refused(416, "InvalidPartNumber");
    for (page, sizes, next) in [("0", ["5242880"], "1"), ("1", ["10"], "")] {
        let asked = [
            ("x-amz-object-attributes", "ObjectParts"),
            ("x-amz-max-parts", "1"),
            ("x-amz-part-number-marker", page),
        ];
        let told = client.send("GET", "/bucket/k?attributes=", &asked, "").await.ok();
        assert_eq!((told.element("PartsCount"), told.elements("Size").as_slice()), ("2", &sizes[..]));
        assert_eq!(told.element("NextPartNumberMarker"), next);
    }
    // Who did not hear the answer asks again.
    let again = complete(list(&[(1, &first), (2, &second)])).await.ok();
    assert_eq!(again.element("ETag").replace("&quot;", "\""), tag);
    complete(list(&[(1, &first)])).await.refused(404, "NoSuchUpload");
    client.put("/bucket/k", "new").await.ok();
    complete(list(&[(1, &first), (2, &second)])).await.refused(404, "NoSuchUpload");
    assert_eq!(client.get("/bucket/k").await.body, "new");
}

#[tokio::test]
async fn small_parts_come_last_only() {
    let (client, id) = begin().await;
    let (first, second) =
        (part(&client, &id, 1, vec![1; 10]).await, part(&client, &id, 2, vec![2; 10]).await);
    let to = format!("/bucket/k?uploadId={id}");
    client.send("POST", &to, &[], list(&[(1, &first), (2, &second)])).await.refused(400, "EntityTooSmall");
    client.send("POST", &to, &[("if-match", "\"x\"")], list(&[(1, &first)])).await.refused(404, "NoSuchKey");
    client.send("POST", &to, &[], list(&[(1, &first)])).await.ok();
    assert_eq!(client.get("/bucket/k").await.body.len(), 10);
}

#[tokio::test]
async fn an_upload_can_be_given_up() {
    let (client, id) = begin().await;
    part(&client, &id, 1, vec![1; 10]).await;
    for number in ["0", "10001", "x"] {
        let answer = client.put(&format!("/bucket/k?partNumber={number}&uploadId={id}"), "x").await;
        assert_eq!(answer.status.as_u16(), 400, "{answer:?}");
    }
    client.delete(&format!("/bucket/k?uploadId={id}")).await.ok();
    client.put(&format!("/bucket/k?partNumber=1&uploadId={id}"), "x").await.refused(404, "NoSuchUpload");
    client.delete(&format!("/bucket/k?uploadId={id}")).await.refused(404, "NoSuchUpload");
    assert!(client.get("/bucket?uploads=").await.ok().elements("Key").is_empty());
    client.delete("/bucket").await.ok();
}

#[tokio::test]
async fn parts_are_copied_from_objects() {
    let (client, id) = begin().await;
    client.put("/bucket/source", "0123456789").await.ok();
    let to = format!("/bucket/k?partNumber=1&uploadId={id}");
    let source = ("x-amz-copy-source", "/bucket/source");
    let copied = client.send("PUT", &to, &[source, ("x-amz-copy-source-range", "bytes=2-4")], "").await.ok();
    client
        .send("PUT", &to, &[source, ("x-amz-copy-source-range", "bytes=5-10")], "")
        .await
        .refused(416, "InvalidRange");
    client
        .send("PUT", &to, &[source, ("x-amz-copy-source-range", "bytes=-3")], "")
        .await
        .refused(400, "InvalidArgument");
    let tag = copied.element("ETag").to_owned();
    client.send("POST", &format!("/bucket/k?uploadId={id}"), &[], list(&[(1, &tag)])).await.ok();
    assert_eq!(client.get("/bucket/k").await.body, "234");
}

/// What is listed of all uploads below a prefix, by pages of this size: keys and ids.
async fn listed(client: &Client, prefix: &str, most: usize) -> Vec<(String, String)> {
    let (mut all, mut next) = (Vec::new(), None::<(String, String)>);
    for _ in 0..100 {
        // Parameters stand in the order of their names, for the signature.
        let (from, behind) = next.map_or_else(Default::default, |(key, id)| {
            (format!("key-marker={}&", encoded(&key)), format!("upload-id-marker={id}&"))
        });
        let query = format!("{from}max-uploads={most}&prefix={}&{behind}uploads=", encoded(prefix));
        let page = client.get(&format!("/bucket?{query}")).await.ok();
        let (keys, ids) = (page.elements("Key"), page.elements("UploadId"));
        assert!(keys.len() == ids.len() && keys.len() <= most, "{page:?}");
        all.extend(keys.into_iter().map(unescaped).zip(ids.into_iter().map(str::to_owned)));
        if page.element("IsTruncated") == "false" {
            return all;
        }
        let id = page.element("NextUploadIdMarker").to_owned();
        next = Some((unescaped(page.element("NextKeyMarker")), id));
    }
    panic!("a listing without end");
}

#[tokio::test]
async fn uploads_are_told_once_each_whatever_fits_into_a_page() {
    let client = Memory::new(&["ann"]).client("ann");
    client.put("/bucket", "").await.ok();
    let mut begun = Vec::new();
    for key in ["b/c", "a", "물", "a-b", "a b+", "\u{10ffff}", "<&>", "a", "b/c", "a"] {
        let answer = client.send("POST", &format!("{}?uploads=", key_path(key)), &[], "").await.ok();
        begun.push((key.to_owned(), answer.element("UploadId").to_owned()));
    }
    // By key, and those of one key as they were begun.
    begun.sort_by(|one, other| one.0.cmp(&other.0));
    for prefix in ["", "a", "b/", "<", "x"] {
        let expected: Vec<_> = begun.iter().filter(|(key, _)| key.starts_with(prefix)).cloned().collect();
        for most in [1, 2, 3, 1_000] {
            assert_eq!(listed(&client, prefix, most).await, expected, "{most} of {prefix:?}");
        }
    }
    let behind = client.get("/bucket?key-marker=a&uploads=").await.ok();
    assert_eq!(behind.element("Key"), "a b+", "behind all of that key");
    let none = client.get("/bucket?max-uploads=0&uploads=").await.ok();
    assert_eq!((none.elements("Key").len(), none.element("IsTruncated")), (0, "false"));
}

#[tokio::test]
async fn parts_are_told_once_each_whatever_fits_into_a_page() {
    let (client, id) = begin().await;
    for number in [7, 1, 10_000, 2, 3] {
        part(&client, &id, number, vec![b'x']).await;
    }
    for most in [1, 2, 4, 5, 6] {
        let (mut all, mut behind) = (Vec::new(), "0".to_owned());
        while !behind.is_empty() {
            let query = format!("max-parts={most}&part-number-marker={behind}&uploadId={id}");
            let page = client.get(&format!("/bucket/k?{query}")).await.ok();
            let parts = page.elements("PartNumber");
            assert!(parts.len() <= most, "{page:?}");
            all.extend(parts.into_iter().map(str::to_owned));
            assert!(all.len() <= 5, "{all:?}");
            behind = page.element("NextPartNumberMarker").to_owned();
            assert_eq!(page.element("IsTruncated") == "true", !behind.is_empty(), "{page:?}");
        }
        assert_eq!(all, ["1", "2", "3", "7", "10000"], "{most} in a page");
    }
    for query in ["max-parts=0&", "part-number-marker=10000&", "part-number-marker=70000&"] {
        let page = client.get(&format!("/bucket/k?{query}uploadId={id}")).await.ok();
        assert_eq!((page.elements("PartNumber").len(), page.element("IsTruncated")), (0, "false"), "{query}");
    }
}
