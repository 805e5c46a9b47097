//! Who may do what.

use bytes::Bytes;
use http::Request;
use pumasi_core::{Access, Command, FilesCommand};
use pumasi_s3::{Body, RequestId};
use pumasi_sigv4::Signer;

use crate::hub::{Client, Memory};

#[tokio::test]
async fn only_members_see_a_bucket_and_only_writers_change_it() {
    let hub = Memory::new(&["ann", "ben", "cam"]);
    let (ann, ben, cam) = (hub.client("ann"), hub.client("ben"), hub.client("cam"));
    ann.put("/shared", "").await.ok();
    ann.put("/shared/k", "hello").await.ok();
    let space = pumasi_s3::Backend::look(&hub, |files| files.space_named("shared")).await;
    let space = space.expect("a look").expect("it is there");
    let (reader, access) = (hub.account("ben"), Some(Access::Read));
    let member = FilesCommand::SetMember { space, account: reader, access };
    hub.apply(hub.account("ann"), Command::Files(member)).expect("she manages it");
    assert_eq!(ben.get("/shared/k").await.ok().body, "hello");
    assert_eq!(ben.get("/").await.ok().elements("Name"), ["shared"]);
    for answer in
        [ben.put("/shared/k", "x").await, ben.delete("/shared/k").await, ben.delete("/shared").await]
    {
        answer.refused(403, "AccessDenied");
    }
    ben.send("POST", "/shared/k?uploads=", &[], "").await.refused(403, "AccessDenied");
    ben.send("PUT", "/shared/copy", &[("x-amz-copy-source", "/shared/k")], "")
        .await
        .refused(403, "AccessDenied");
    // Strangers cannot tell it from what is not there.
    for answer in [
        cam.get("/shared/k").await,
        cam.put("/shared/k", "x").await,
        cam.delete("/shared").await,
        cam.get("/shared?list-type=2").await,
    ] {
        answer.refused(404, "NoSuchBucket");
    }
    cam.put("/shared", "").await.refused(409, "BucketAlreadyExists");
    assert!(cam.get("/").await.ok().elements("Name").is_empty());
    cam.put("/mine", "").await.ok();
    let copy = [("x-amz-copy-source", "/shared/k")];
    cam.send("PUT", "/mine/copy", &copy, "").await.refused(404, "NoSuchBucket");
    ben.put("/bens", "").await.ok();
    ben.send("PUT", "/bens/copy", &copy, "").await.ok();
    assert_eq!(ben.get("/bens/copy").await.body, "hello", "who may read may copy");
}

#[tokio::test]
async fn an_upload_is_its_makers_own() {
    let hub = Memory::new(&["ann", "ben"]);
    let (ann, ben) = (hub.client("ann"), hub.client("ben"));
    ann.put("/shared", "").await.ok();
    let space = pumasi_s3::Backend::look(&hub, |files| files.space_named("shared")).await;
    let space = space.expect("a look").expect("it is there");
    let member = FilesCommand::SetMember { space, account: hub.account("ben"), access: Some(Access::Write) };
    hub.apply(hub.account("ann"), Command::Files(member)).expect("she manages it");
    let begun = ann.send("POST", "/shared/k?uploads=", &[], "").await.ok();
    let id = begun.element("UploadId").to_owned();
    ben.put(&format!("/shared/k?partNumber=1&uploadId={id}"), "x").await.refused(404, "NoSuchUpload");
    ben.get(&format!("/shared/k?uploadId={id}")).await.refused(404, "NoSuchUpload");
    ann.put(&format!("/shared/other?partNumber=1&uploadId={id}"), "x").await.refused(404, "NoSuchUpload");
    ann.put(&format!("/shared/k?partNumber=1&uploadId={id}"), "x").await.ok();
}

#[tokio::test]
async fn nobody_is_served_unsigned_or_with_a_wrong_key() {
    let hub = Memory::new(&["ann"]);
    let ann = hub.client("ann");
    ann.put("/bucket", "").await.ok();
    let liar = |access_key: &str, secret_key: &str| Client {
        service: ann.service.clone(),
        signer: Signer { access_key: access_key.to_owned(), secret_key: secret_key.to_owned() },
    };
    liar("ann", "annann2").get("/bucket").await.refused(403, "SignatureDoesNotMatch");
    liar("nobody", "x").get("/bucket").await.refused(403, "InvalidAccessKeyId");
    let request = |to: &str, header: (&'static str, &'static str)| {
        let builder = Request::builder().uri(format!("http://hub:1{to}")).header("host", "hub:1");
        builder.header(header.0, header.1).body(Body::from(Bytes::new())).expect("a request")
    };
    ann.answer(request("/bucket", ("accept", "*/*"))).await.refused(403, "AccessDenied");
    let old = ("x-amz-date", "20200101T000000Z");
    let signed = ann.signer.sign("GET", "hub:1", "/bucket", "", old.1);
    let mut late = request("/bucket", old);
    for (name, value) in signed {
        late.headers_mut().insert(name, value.parse().expect("a header"));
    }
    ann.answer(late).await.refused(403, "RequestTimeTooSkewed");
}

#[tokio::test]
async fn an_error_has_the_name_of_its_request() {
    let ann = Memory::new(&["ann"]).client("ann");
    let request = ann.signed("GET", "/none/k").extension(RequestId("4F00".to_owned()));
    let answer = ann.answer(request.body(Body::from(Bytes::new())).expect("a request")).await;
    answer.refused(404, "NoSuchBucket");
    assert_eq!(answer.element("RequestId"), "4F00");
}

#[tokio::test]
async fn a_faulty_store_is_told_and_leaves_nothing() {
    let hub = Memory::new(&["ann"]);
    let ann = hub.client("ann");
    ann.put("/bucket", "").await.ok();
    ann.put("/bucket/k", "hello").await.ok();
    hub.lose_bytes();
    ann.get("/bucket/k").await.refused(500, "InternalError");
}

#[tokio::test]
async fn whoever_keeps_a_record_is_told_who_was_let_in_and_who_was_not() {
    let hub = Memory::new(&["ann", "ben"]);
    let (ann, ben) = (hub.client("ann"), hub.client("ben"));
    ann.put("/shared", "").await.ok();
    ann.put("/shared/k", "hello").await.ok();
    hub.noted();
    ann.get("/shared/k").await.ok();
    assert_eq!(hub.noted(), ["GetObject shared k", "shared is there: let in"]);
    ben.get("/shared/k").await.refused(404, "NoSuchBucket");
    let refused = ["GetObject shared k", "shared is there: no_space", "refused: NoSuchBucket"];
    assert_eq!(hub.noted(), refused);
    let copy = [("x-amz-copy-source", "/shared/k")];
    ann.send("PUT", "/shared/copy", &copy, "").await.ok();
    let from = ["CopyObject shared copy", "shared is there: let in", "copies k", "shared is there: let in"];
    assert_eq!(hub.noted(), from);
    let liar = Signer { access_key: "ann".to_owned(), secret_key: "wrong".to_owned() };
    let liar = Client { service: ann.service.clone(), signer: liar };
    liar.get("/shared/k").await.refused(403, "SignatureDoesNotMatch");
    assert!(hub.noted().is_empty(), "nobody is named whose signature is wrong");
}
