//! A hub as a test wants it: it hands every link to the test and keeps blobs in memory.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::collections::HashMap;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path as UrlPath, Query, State};
use axum::http::StatusCode;
use pumasi_api::client::HubClient;
use pumasi_api::link::worker_link_server::{WorkerLink, WorkerLinkServer};
use pumasi_api::link::{self, FromHub, FromWorker, from_hub, from_worker};
use pumasi_api::output::TaskOutput;
use pumasi_api::tls::Pin as CertificatePin;
use pumasi_chunks::list::Chunk;
use pumasi_types::{Ending, Hash};
use pumasi_worker::engine::Engine;
use pumasi_worker::{JoinError, JoinOptions, join_until};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

pub(crate) const TOKEN: &str = "owner-token";

#[derive(Default)]
pub(crate) struct Blobs {
    kept: Mutex<HashMap<Hash, Bytes>>,
    /// How many bytes were sent of each.
    sent: Mutex<HashMap<Hash, u64>>,
}

impl Blobs {
    pub(crate) fn put(&self, bytes: impl Into<Bytes>) -> Hash {
        let bytes = bytes.into();
        let hash = Hash::of(&bytes);
        self.kept.lock().unwrap().insert(hash, bytes);
        hash
    }

    /// How many bytes of it workers were sent.
    pub(crate) fn sent(&self, hash: Hash) -> u64 {
        self.sent.lock().unwrap().get(&hash).copied().unwrap_or(0)
    }

    pub(crate) fn get(&self, hash: Hash) -> Option<Bytes> {
        self.kept.lock().unwrap().get(&hash).cloned()
    }

    pub(crate) fn replace(&self, hash: Hash, bytes: &'static [u8]) {
        self.kept.lock().unwrap().insert(hash, Bytes::from_static(bytes));
    }
}

/// One stream of a worker.
pub(crate) struct Link {
    pub(crate) from: Streaming<FromWorker>,
    pub(crate) to: mpsc::Sender<Result<FromHub, Status>>,
}

struct Gateway(mpsc::Sender<Link>);

#[tonic::async_trait]
impl WorkerLink for Gateway {
    type AttachStream = Pin<Box<dyn tokio_stream::Stream<Item = Result<FromHub, Status>> + Send>>;

    async fn attach(
        &self,
        request: Request<Streaming<FromWorker>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let token = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
        if token != Some(&format!("Bearer {TOKEN}")) {
            return Err(Status::unauthenticated("this token is not known"));
        }
        let (to, messages) = mpsc::channel(64);
        let link = Link { from: request.into_inner(), to };
        self.0.send(link).await.map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(Box::pin(ReceiverStream::new(messages))))
    }
}

pub(crate) struct FakeHub {
    pub(crate) blobs: Arc<Blobs>,
    links: mpsc::Receiver<Link>,
    address: String,
    server: JoinHandle<()>,
}

impl Drop for FakeHub {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl FakeHub {
    pub(crate) async fn start() -> FakeHub {
        let blobs = Arc::new(Blobs::default());
        let (to, links) = mpsc::channel(16);
        let link = tonic::service::Routes::new(WorkerLinkServer::new(Gateway(to))).into_axum_router();
        let routes = axum::Router::new()
            .route("/v1/blobs", axum::routing::post(put_blob))
            .route("/v1/jobs/{job}/inputs/{hash}", axum::routing::get(get_input))
            .route("/v1/jobs/{job}/inputs/{hash}/chunks", axum::routing::get(list_chunks))
            .layer(axum::extract::DefaultBodyLimit::max(64 << 20))
            .with_state(Arc::clone(&blobs))
            .merge(link);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        FakeHub { blobs, links, address, server }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn client(&self, token: &str) -> HubClient {
        client_of(&self.address, token)
    }

    /// The next stream that a worker opens.
    pub(crate) async fn link(&mut self) -> Link {
        soon(self.links.recv()).await.expect("the server runs")
    }

    /// The next stream, welcomed; with the runs that the worker still holds.
    pub(crate) async fn welcome(&mut self, unwanted_runs: &[u64]) -> (Link, Vec<u64>) {
        let mut link = self.link().await;
        let hello = link.hello().await;
        link.say(from_hub::Message::Welcome(link::Welcome {
            worker_id: 1,
            lease_ms: 30_000,
            unwanted_runs: unwanted_runs.to_vec(),
        }))
        .await;
        (link, hello.held_runs)
    }
}

async fn put_blob(State(blobs): State<Arc<Blobs>>, bytes: Bytes) -> (StatusCode, String) {
    let size = bytes.len();
    let hash = blobs.put(bytes);
    (StatusCode::CREATED, format!("{{\"hash\":\"{hash}\",\"size\":{size}}}"))
}

#[derive(serde::Deserialize)]
struct InputQuery {
    #[serde(default)]
    from: usize,
    length: Option<usize>,
}

async fn get_input(
    State(blobs): State<Arc<Blobs>>,
    UrlPath((_, hash)): UrlPath<(u64, Hash)>,
    Query(InputQuery { from, length }): Query<InputQuery>,
) -> Result<Bytes, (StatusCode, String)> {
    let bytes = blobs.get(hash).ok_or_else(|| no_input(hash))?;
    let end = length.map_or(bytes.len(), |length| bytes.len().min(from + length));
    // A worker that finds it too long takes nothing of it.
    if length.is_some() || bytes.len() <= 4 << 20 {
        *blobs.sent.lock().unwrap().entry(hash).or_default() += (end - from) as u64;
    }
    Ok(bytes.slice(from..end))
}

async fn list_chunks(
    State(blobs): State<Arc<Blobs>>,
    UrlPath((_, hash)): UrlPath<(u64, Hash)>,
) -> Result<Vec<u8>, (StatusCode, String)> {
    let chunks = pumasi_chunks::chunker::cut(&blobs.get(hash).ok_or_else(|| no_input(hash))?);
    let chunk = |bytes: &Bytes| Chunk { name: Hash::of(bytes), length: bytes.len() as u32 };
    Ok(pumasi_chunks::list::encode(&chunks.iter().map(chunk).collect::<Vec<_>>()))
}

fn no_input(hash: Hash) -> (StatusCode, String) {
    (StatusCode::NOT_FOUND, format!("{{\"code\":\"no_input\",\"message\":\"there is no blob {hash}\"}}"))
}

/// Fails the test when it takes absurdly long.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("nothing happened for a minute")
}

/// What a report says of a run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RunResult {
    pub(crate) ending: Ending,
    pub(crate) fuel: u64,
    pub(crate) hash: Hash,
    pub(crate) output: Vec<u8>,
    pub(crate) fault: Option<String>,
}

impl RunResult {
    pub(crate) fn stdout(&self) -> String {
        let output = TaskOutput::decode(self.output.clone().into()).unwrap();
        String::from_utf8(output.stdout.to_vec()).unwrap()
    }
}

impl Link {
    pub(crate) async fn say(&self, message: from_hub::Message) {
        self.to.send(Ok(FromHub { message: Some(message) })).await.unwrap();
    }

    pub(crate) async fn hear(&mut self) -> Option<from_worker::Message> {
        soon(self.from.message()).await.ok()??.message
    }

    pub(crate) async fn hello(&mut self) -> link::Hello {
        match self.hear().await {
            Some(from_worker::Message::Hello(hello)) => hello,
            other => panic!("no hello but {other:?}"),
        }
    }

    pub(crate) async fn assign(&self, job_id: u64, runs: &[u64], tasks: &[u32]) {
        let assign = link::Assign { job_id, runs: runs.to_vec(), tasks: tasks.to_vec() };
        self.say(from_hub::Message::Assign(assign)).await;
    }

    pub(crate) async fn ack(&self, report_id: u64) {
        self.say(from_hub::Message::Ack(link::Ack { report_id, refused_runs: Vec::new() })).await;
    }

    /// The next report; heartbeats are passed over.
    pub(crate) async fn report(&mut self) -> link::Report {
        loop {
            match self.hear().await {
                Some(from_worker::Message::Report(report)) => return report,
                Some(from_worker::Message::Status(_)) => {}
                other => panic!("no report but {other:?}"),
            }
        }
    }

    /// What became of so many runs, by run; each report is acknowledged.
    pub(crate) async fn results(&mut self, count: usize) -> HashMap<u64, RunResult> {
        let mut results = HashMap::new();
        while results.len() < count {
            let report = self.report().await;
            let mut faults = report.faults.iter();
            for (at, run) in report.runs.iter().enumerate() {
                let ending = Ending::from_code(report.endings[at]).unwrap();
                let fault = matches!(ending, Ending::Faulted | Ending::BadModule)
                    .then(|| faults.next().expect("a reason for each fault").clone());
                let hash: [u8; 32] = report.results[32 * at..32 * (at + 1)].try_into().unwrap();
                let output = report.outputs.get(at).cloned().unwrap_or_default();
                let hash = Hash::from_bytes(hash);
                let result = RunResult { ending, fuel: report.fuel[at], hash, output, fault };
                assert!(results.insert(*run, result).is_none(), "run {run} is reported twice");
            }
            self.ack(report.report_id).await;
        }
        results
    }
}

pub(crate) fn client_of(address: &str, token: &str) -> HubClient {
    HubClient::new(address.parse().unwrap(), CertificatePin::learn(), Some(token.parse().unwrap()))
}

/// Spares a worker the measuring of its speed, which takes longer than all tests together.
pub(crate) fn measured(dir: &Path) {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    std::fs::create_dir_all(dir).unwrap();
    let calibration =
        format!(r#"{{"engine":"{}","fuel_per_s":2000000000,"measured_s":{now}}}"#, Engine::id());
    std::fs::write(dir.join("calibration.json"), calibration).unwrap();
}

/// A worker in this process.
pub(crate) struct Worker {
    stop: mpsc::Sender<()>,
    pub(crate) joined: JoinHandle<Result<(), JoinError>>,
}

impl Worker {
    pub(crate) fn start(hub: &FakeHub, dir: &Path) -> Worker {
        Worker::with(JoinOptions {
            cores: Some(2),
            memory: Some("256MiB".parse().unwrap()),
            ..JoinOptions::new(hub.client(TOKEN), dir)
        })
    }

    pub(crate) fn with(options: JoinOptions) -> Worker {
        measured(&options.data_dir);
        let (stop, stopped) = mpsc::channel(3);
        let joined = tokio::spawn(join_until(options, stopped));
        Worker { stop, joined }
    }

    /// Asks it to leave; again: to end what runs; again: to go at once.
    pub(crate) fn stop(&self) {
        self.stop.try_send(()).unwrap();
    }

    pub(crate) async fn ended(self) -> Result<(), JoinError> {
        soon(self.joined).await.unwrap()
    }
}

/// A job without inputs.
pub(crate) fn job(job_id: u64, module: Hash) -> link::Job {
    link::Job {
        job_id,
        module: module.as_bytes().to_vec(),
        fuel: 1_000_000_000,
        memory_bytes: 16 << 20,
        wall_ms: 30_000,
        output_bytes: 8 << 20,
        ..link::Job::default()
    }
}

/// A guest that does nothing.
pub(crate) const NOOP: &str = r#"(module (memory (export "memory") 1) (func (export "_start")))"#;

/// A guest that never ends by itself.
pub(crate) const ENDLESS: &str =
    r#"(module (memory (export "memory") 1) (func (export "_start") (loop $again (br $again))))"#;

/// A guest that writes its arguments, each with a NUL, and then its standard input.
pub(crate) const ECHO: &str = r#"(module
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $sizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $args (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 4)
  (func $put (param $at i32) (param $len i32)
    (i32.store (i32.const 16) (local.get $at))
    (i32.store (i32.const 20) (local.get $len))
    (drop (call $write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 24))))
  (func (export "_start")
    (drop (call $sizes (i32.const 0) (i32.const 4)))
    (drop (call $args (i32.const 1024) (i32.const 65536)))
    (call $put (i32.const 65536) (i32.load (i32.const 4)))
    (loop $more
      (i32.store (i32.const 16) (i32.const 131072))
      (i32.store (i32.const 20) (i32.const 65536))
      (drop (call $read (i32.const 0) (i32.const 16) (i32.const 1) (i32.const 28)))
      (if (i32.load (i32.const 28)) (then
        (call $put (i32.const 131072) (i32.load (i32.const 28)))
        (br $more))))))"#;

pub(crate) fn wasm(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap()
}
