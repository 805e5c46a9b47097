//! Objects: put, read, copied, tagged, deleted.

use bytes::Bytes;
use pumasi_s3::Body;

use crate::hub::{Client, Memory};

/// A client with a bucket.
async fn client() -> Client {
    let client = Memory::new(&["ann"]).client("ann");
    client.put("/bucket", "").await.ok();
    client
}

#[tokio::test]
async fn an_object_is_read_as_it_was_put() {
    let client = client().await;
    let headers = [
        ("content-type", "text/plain"),
        ("cache-control", "no-cache"),
        ("x-amz-meta-colour", "blue"),
        ("x-amz-tagging", "a=1&b=2"),
        ("content-md5", "XUFAKrxLKna5cZ2REBfFkg=="),
    ];
    let put = client.send("PUT", "/bucket/dir/key%20%2B", &headers, "hello").await.ok();
    assert_eq!(put.header("etag"), "\"5d41402abc4b2a76b9719d911017c592\"");
    let got = client.get("/bucket/dir/key%20%2B").await.ok();
    assert_eq!(got.body, "hello");
    for (name, value) in [
        ("content-type", "text/plain"),
        ("cache-control", "no-cache"),
        ("x-amz-meta-colour", "blue"),
        ("x-amz-tagging-count", "2"),
        ("content-length", "5"),
        ("accept-ranges", "bytes"),
        ("etag", "\"5d41402abc4b2a76b9719d911017c592\""),
    ] {
        assert_eq!(got.header(name), value, "{name}");
    }
    let head = client.send("HEAD", "/bucket/dir/key%20%2B", &[], "").await.ok();
    assert_eq!((head.header("content-length"), head.body.as_str()), ("5", ""));
    assert_eq!(head.header("x-amz-tagging-count"), "2");
    client.get("/bucket/dir/other").await.refused(404, "NoSuchKey");
    client.get("/bucket/dir").await.refused(404, "NoSuchKey");
    client.get("/other/dir").await.refused(404, "NoSuchBucket");
    client.delete("/bucket").await.refused(409, "BucketNotEmpty");
    client.delete("/bucket/dir/key%20%2B").await.ok();
    client.delete("/bucket/dir/key%20%2B").await.ok();
    client.delete("/bucket").await.ok();
}

#[tokio::test]
async fn parts_of_an_object_are_read() {
    let client = client().await;
    client.put("/bucket/k", "0123456789").await.ok();
    for (range, body, named) in [
        ("bytes=2-4", "234", "bytes 2-4/10"),
        ("bytes=7-", "789", "bytes 7-9/10"),
        ("bytes=-3", "789", "bytes 7-9/10"),
        ("bytes=5-99", "56789", "bytes 5-9/10"),
    ] {
        let got = client.send("GET", "/bucket/k", &[("range", range)], "").await;
        assert_eq!((got.status.as_u16(), got.body.as_str()), (206, body), "{range}");
        assert_eq!(
            (got.header("content-range"), got.header("content-length").parse()),
            (named, Ok(body.len()))
        );
    }
    client.send("GET", "/bucket/k", &[("range", "bytes=10-")], "").await.refused(416, "InvalidRange");
    client.put("/bucket/empty", "").await.ok();
    client.send("GET", "/bucket/empty", &[("range", "bytes=0-0")], "").await.refused(416, "InvalidRange");
    assert_eq!(client.get("/bucket/empty").await.ok().body, "");
}

#[tokio::test]
async fn conditions_hold_or_nothing_happens() {
    let client = client().await;
    let put = |headers: &'static [(&'static str, &'static str)], body: &'static str| {
        client.send("PUT", "/bucket/k", headers, body)
    };
    put(&[("if-match", "*")], "no").await.refused(404, "NoSuchKey");
    put(&[("if-none-match", "*")], "one").await.ok();
    put(&[("if-none-match", "*")], "two").await.refused(412, "PreconditionFailed");
    let tag = "\"f97c5d29941bfb1b2fdab0874906ab82\"";
    assert_eq!(client.get("/bucket/k").await.header("etag"), tag);
    put(&[("if-match", "\"00000000000000000000000000000000\"")], "two")
        .await
        .refused(412, "PreconditionFailed");
    put(&[("if-match", "\"f97c5d29941bfb1b2fdab0874906ab82\"")], "two").await.ok();
    assert_eq!(client.get("/bucket/k").await.body, "two");
    let tag = client.get("/bucket/k").await.header("etag").to_owned();
    let unchanged = client.send("GET", "/bucket/k", &[("if-none-match", &tag)], "").await;
    assert_eq!((unchanged.status.as_u16(), unchanged.header("etag")), (304, tag.as_str()));
    client.send("GET", "/bucket/k", &[("if-match", "\"x\"")], "").await.refused(412, "PreconditionFailed");
}

#[tokio::test]
async fn wrong_bytes_are_not_taken() {
    let client = client().await;
    let wrong: &[(&str, &str)] = &[
        ("content-md5", "AAAAAAAAAAAAAAAAAAAAAA=="),
        ("x-amz-checksum-crc32", "AAAAAA=="),
        ("x-amz-checksum-sha256", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
    ];
    for header in wrong {
        client.send("PUT", "/bucket/k", &[*header], "hello").await.refused(400, "BadDigest");
    }
    client.get("/bucket/k").await.refused(404, "NoSuchKey");
    let right =
        [("x-amz-checksum-crc32", "NhCmhg=="), ("x-amz-checksum-sha1", "qvTGHdzF6KLavt4PO0gs2a6pQ00=")];
    let put = client.send("PUT", "/bucket/k", &right, "hello").await.ok();
    assert_eq!(put.header("x-amz-checksum-crc32"), "NhCmhg==");
    let head = client.send("HEAD", "/bucket/k", &[("x-amz-checksum-mode", "ENABLED")], "").await.ok();
    assert_eq!(head.header("x-amz-checksum-sha1"), "qvTGHdzF6KLavt4PO0gs2a6pQ00=");
}

#[tokio::test]
async fn who_does_not_say_how_long_a_body_is_puts_nothing() {
    let client = client().await;
    let begun = client.send("POST", "/bucket/k?uploads=", &[], "").await.ok();
    let part = format!("/bucket/k?partNumber=1&uploadId={}", begun.element("UploadId"));
    // Nor does a part that does not say of what, or which.
    for to in ["/bucket/k?partNumber=1", "/bucket/k?uploadId=1"] {
        client.put(to, "x").await.refused(400, "InvalidArgument");
    }
    for to in ["/bucket/k", part.as_str()] {
        let request = client.signed("PUT", to).body(Body::from(Bytes::new())).expect("a request");
        client.answer(request).await.refused(411, "MissingContentLength");
    }
    client.get("/bucket/k").await.refused(404, "NoSuchKey");
}

#[tokio::test]
async fn copies_keep_or_change_what_is_said() {
    let client = client().await;
    let first = [("x-amz-meta-a", "1"), ("x-amz-tagging", "t=1"), ("content-type", "text/a")];
    client.send("PUT", "/bucket/k", &first, "hello").await.ok();
    let source = ("x-amz-copy-source", "/bucket/k");
    client.send("PUT", "/bucket/copy", &[source], "").await.ok();
    let copy = client.get("/bucket/copy").await.ok();
    assert_eq!(
        (copy.body.as_str(), copy.header("x-amz-meta-a"), copy.header("content-type")),
        ("hello", "1", "text/a")
    );
    client.send("PUT", "/bucket/k", &[source], "").await.refused(400, "InvalidRequest");
    let replace = [source, ("x-amz-metadata-directive", "REPLACE"), ("x-amz-meta-b", "2")];
    let copied = client.send("PUT", "/bucket/k", &replace, "").await.ok();
    assert!(copied.body.contains("5d41402abc4b2a76b9719d911017c592"), "{}", copied.body);
    let changed = client.get("/bucket/k").await.ok();
    assert_eq!((changed.header("x-amz-meta-a"), changed.header("x-amz-meta-b")), ("", "2"));
    assert_eq!(changed.header("etag"), "\"5d41402abc4b2a76b9719d911017c592\"");
    assert_eq!(client.get("/bucket/k?tagging=").await.ok().elements("Value"), ["1"], "tags stay");
    let strange = [source, ("x-amz-metadata-directive", "KEEP")];
    client.send("PUT", "/bucket/c2", &strange, "").await.refused(400, "InvalidArgument");
    let unwanted = [source, ("x-amz-copy-source-if-match", "\"x\"")];
    client.send("PUT", "/bucket/c2", &unwanted, "").await.refused(412, "PreconditionFailed");
    client
        .send("PUT", "/bucket/c2", &[("x-amz-copy-source", "/bucket/none")], "")
        .await
        .refused(404, "NoSuchKey");
}

#[tokio::test]
async fn tags_come_and_go() {
    let client = client().await;
    client.put("/bucket/k", "hello").await.ok();
    let tags = "<Tagging><TagSet><Tag><Key>a</Key><Value>1</Value></Tag></TagSet></Tagging>";
    client.put("/bucket/k?tagging=", tags).await.ok();
    let told = client.get("/bucket/k?tagging=").await.ok();
    assert_eq!((told.elements("Key"), told.elements("Value")), (vec!["a"], vec!["1"]));
    client.delete("/bucket/k?tagging=").await.ok();
    assert!(client.get("/bucket/k?tagging=").await.ok().elements("Key").is_empty());
    assert_eq!(client.get("/bucket/k").await.body, "hello");
    let many: String = (0..11).map(|n| format!("<Tag><Key>{n}</Key><Value/></Tag>")).collect();
    let many = format!("<Tagging><TagSet>{many}</TagSet></Tagging>");
    client.put("/bucket/k?tagging=", many).await.refused(400, "InvalidTag");
}

#[tokio::test]
async fn folders_are_empty_objects() {
    let client = client().await;
    client.put("/bucket/dir/", "").await.ok();
    let head = client.send("HEAD", "/bucket/dir/", &[], "").await.ok();
    assert_eq!(
        (head.header("content-type"), head.header("content-length")),
        ("application/x-directory", "0")
    );
    client.put("/bucket/dir/k", "x").await.ok();
    client.put("/bucket/other/k", "x").await.ok();
    assert_eq!(client.send("HEAD", "/bucket/other/", &[], "").await.status, 404, "nobody made it");
    client.put("/bucket/dir/", "x").await.refused(400, "InvalidArgument");
    // Its key goes while something lies in it.
    client.delete("/bucket/dir/").await.ok();
    assert_eq!(client.send("HEAD", "/bucket/dir/", &[], "").await.status, 404);
    assert_eq!(client.get("/bucket/dir/k").await.body, "x");
    // An object cannot be a folder, too.
    client.put("/bucket/dir", "x").await.refused(409, "KeyConflict");
    client.put("/bucket/dir/k/under", "x").await.refused(409, "KeyConflict");
    client.delete("/bucket/dir").await.ok();
    assert_eq!(client.get("/bucket/dir/k").await.body, "x", "a folder is no object");
}

#[tokio::test]
async fn many_are_deleted_at_once() {
    let client = client().await;
    client.put("/bucket/d/", "").await.ok();
    for key in ["d/a", "d/b", "e&f"] {
        client.put(&format!("/bucket/{}", key.replace('&', "%26")), "x").await.ok();
    }
    let keys = ["d/", "d/a", "d/b", "e&amp;f", "none", "not//a key"];
    let list: String = keys.iter().map(|key| format!("<Object><Key>{key}</Key></Object>")).collect();
    let body = format!("<Delete>{list}</Delete>");
    let deleted = client.send("POST", "/bucket?delete=", &[], body).await.ok();
    assert_eq!((deleted.elements("Key"), deleted.elements("Code")), (keys.to_vec(), vec![]));
    client.delete("/bucket").await.ok();
    let none = client.put("/bucket", "").await.ok();
    assert_eq!(none.header("location"), "/bucket");
    client.send("POST", "/bucket?delete=", &[], "<Delete></Delete>").await.refused(400, "MalformedXML");
    client.send("POST", "/bucket?delete=", &[], "<Delete><Obj").await.refused(400, "MalformedXML");
}

#[tokio::test]
async fn a_document_that_is_not_what_its_sender_says_does_nothing() {
    let client = client().await;
    client.put("/bucket/k", "x").await.ok();
    let delete = "<Delete><Object><Key>k</Key></Object></Delete>";
    for (header, code) in [
        (("content-md5", "AAAAAAAAAAAAAAAAAAAAAA=="), "BadDigest"),
        (("content-md5", "no"), "InvalidDigest"),
        (("x-amz-checksum-crc32", "AAAAAA=="), "BadDigest"),
    ] {
        client.send("POST", "/bucket?delete=", &[header], delete).await.refused(400, code);
    }
    client.get("/bucket/k").await.ok();
    let right = [("content-md5", "5DKh5iefM5MSKvRILIuFwQ==")];
    client.send("POST", "/bucket?delete=", &right, delete).await.ok();
    client.get("/bucket/k").await.refused(404, "NoSuchKey");
}

#[tokio::test]
async fn what_is_not_offered_is_refused() {
    let client = client().await;
    for header in [
        ("x-amz-server-side-encryption", "AES256"),
        ("x-amz-object-lock-mode", "GOVERNANCE"),
        ("x-amz-website-redirect-location", "/x"),
    ] {
        client.send("PUT", "/bucket/k", &[header], "x").await.refused(501, "NotImplemented");
    }
    for (to, header) in [
        ("/bucket/k", ("x-amz-acl", "public-read")),
        ("/bucket/k", ("x-amz-grant-read-acp", "id=2")),
        ("/bucket?acl=", ("x-amz-grant-write", "id=2")),
        ("/new", ("x-amz-grant-full-control", "id=2")),
    ] {
        client.send("PUT", to, &[header], "").await.refused(400, "AccessControlListNotSupported");
    }
    client.get("/new").await.refused(404, "NoSuchBucket");
    client
        .send("PUT", "/bucket/k", &[("x-amz-storage-class", "GLACIER")], "x")
        .await
        .refused(400, "InvalidStorageClass");
    client.put("/bucket?policy=", "{}").await.refused(501, "NotImplemented");
    client.get("/bucket/k").await.refused(404, "NoSuchKey");
    let private = [("x-amz-acl", "private"), ("x-amz-storage-class", "STANDARD")];
    client.send("PUT", "/bucket/k", &private, "x").await.ok();
    let granted = client.send("PUT", "/bucket/k?acl=", &[("x-amz-grant-read", "id=2")], "").await;
    granted.refused(400, "AccessControlListNotSupported");
    let long = format!("/bucket/{}", "x/".repeat(600));
    client.put(&long, "x").await.refused(400, "KeyTooLongError");
    client.put("/bucket/a//b", "x").await.refused(400, "InvalidArgument");
    client.put("/Bad_Name", "").await.refused(400, "InvalidBucketName");
    client.put("/bucket", "").await.refused(409, "BucketAlreadyOwnedByYou");
}
