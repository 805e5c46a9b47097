//! XML from S3's clients, through the whole gateway: signed right, so that only the document is wrong.

#![no_main]

use std::cell::RefCell;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use futures_util::{Stream, StreamExt};
use libfuzzer_sys::fuzz_target;
use pumasi_core::{Command, Done, Files, FilesCommand, Request, Roles, State};
use pumasi_s3::{Backend, Body, BoxError, Failure, Pieces, S3Service};
use pumasi_sigv4::Signer;
use pumasi_types::{AccountId, ByteSize, Hash, Time};

/// A hub that keeps no bytes.
#[derive(Clone)]
struct Hollow(Arc<Mutex<State>>);

impl Backend for Hollow {
    async fn secret(&self, _: &str) -> Result<Option<String>, Failure> {
        Ok(Some("secret".to_owned()))
    }

    async fn enter(&self, _: &str) -> Result<AccountId, Failure> {
        Ok(AccountId(1))
    }

    async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Files) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        Ok(look(self.0.lock().unwrap().files()))
    }

    async fn ask(&self, caller: AccountId, command: FilesCommand) -> Result<Done, Failure> {
        let request = Request { caller, id: None, command: Command::Files(command) };
        let mut applied = self.0.lock().unwrap().apply(Time(1), &[request]);
        applied.answers.pop().unwrap().map_err(Failure::Refused)
    }

    async fn store(
        &self,
        _: AccountId,
        bytes: impl Stream<Item = Result<bytes::Bytes, BoxError>> + Send + 'static,
    ) -> Result<(Hash, ByteSize), Failure> {
        bytes.for_each(|_| async {}).await;
        Ok((Hash::of(b""), ByteSize(0)))
    }

    async fn join(&self, _: AccountId, _: Vec<(Hash, ByteSize)>) -> Result<(Hash, ByteSize), Failure> {
        Ok((Hash::of(b""), ByteSize(0)))
    }

    async fn claim(&self, _: AccountId, _: (Hash, ByteSize)) -> Result<(), Failure> {
        Ok(())
    }

    async fn read(&self, _: Hash, _: Option<Range<u64>>) -> Result<Pieces, Failure> {
        Ok(futures_util::stream::empty().boxed())
    }
}

/// A gateway to a hub in which a bucket, an object and an upload are.
fn service() -> S3Service {
    let mut state = State::new();
    let token = Hash::of(b"token");
    let open = Command::OpenAccount { name: "ann".to_owned(), roles: Roles::default(), token };
    let request = Request { caller: State::SYSTEM, id: None, command: open };
    state.apply(Time(1), &[request]).answers.pop().unwrap().unwrap();
    let hollow = Hollow(Arc::new(Mutex::new(state)));
    let ask =
        |command| futures_util::FutureExt::now_or_never(hollow.ask(AccountId(1), command)).unwrap().unwrap();
    ask(FilesCommand::CreateSpace { name: "bucket".to_owned(), keep: pumasi_types::Duration(0) });
    let (space, path) = (pumasi_types::SpaceId(1), "k".parse().unwrap());
    ask(FilesCommand::BeginUpload { space, path, about: pumasi_core::About::default() });
    pumasi_s3::service(hollow, None)
}

/// Where documents are sent.
const PLACES: [(&str, &str, &str); 6] = [
    ("POST", "/bucket", "delete="),
    ("POST", "/bucket/k", "uploadId=1"),
    ("PUT", "/bucket/k", "tagging="),
    ("PUT", "/other", ""),
    ("PUT", "/bucket", "acl="),
    ("PUT", "/bucket", "versioning="),
];

thread_local! {
    static SERVICE: RefCell<Option<(tokio::runtime::Runtime, S3Service)>> = const { RefCell::new(None) };
}

fuzz_target!(|bytes: &[u8]| {
    let Some((first, document)) = bytes.split_first() else { return };
    let (method, path, query) = PLACES[usize::from(*first) % PLACES.len()];
    let signer = Signer { access_key: "K".to_owned(), secret_key: "secret".to_owned() };
    let time = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    let mut request = http::Request::builder().method(method).uri(format!("http://hub{path}?{query}"));
    request = request.header("host", "hub").header("content-length", document.len());
    for (name, value) in signer.sign(method, "hub", path, query, &time) {
        request = request.header(name, value);
    }
    let request = request.body(Body::from(document.to_vec())).unwrap();
    SERVICE.with_borrow_mut(|made| {
        let (runtime, service) = made.get_or_insert_with(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            (runtime, service())
        });
        let response = runtime.block_on(service.call(request)).unwrap();
        assert!(!response.status().is_server_error() || response.status() == 501, "{:?}", response.status());
    });
});
