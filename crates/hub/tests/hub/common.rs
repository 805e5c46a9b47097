//! A real hub in this process, callers of its API, and a worker that speaks the link but computes nothing.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pumasi_api::client::{ClientError, HubClient, Source};
use pumasi_api::link::worker_link_client::WorkerLinkClient;
use pumasi_api::link::{Ack, FromHub, FromWorker, Hello, Report, Status, Welcome, from_hub, from_worker};
use pumasi_api::output::TaskOutput;
use pumasi_api::tls::{Fingerprint, HubAddress, Pin};
use pumasi_api::wire;
use pumasi_hub::{Running, ServeOptions, start};
use pumasi_types::{Ending, Hash};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

/// Nothing in these tests takes as long unless it hangs, however busy the machine is; less than the minute that readers wait.
pub(crate) const PATIENCE: Duration = Duration::from_secs(50);
/// The smallest module there is; the hub runs none.
pub(crate) const MODULE: &[u8] = b"\0asm\x01\0\0\0";

/// A hub and the folder it lives in.
pub(crate) struct TestHub {
    pub(crate) dir: Arc<tempfile::TempDir>,
    pub(crate) running: Running,
    pub(crate) options: ServeOptions,
}

impl TestHub {
    pub(crate) async fn new() -> TestHub {
        TestHub::with(|_| ()).await
    }

    pub(crate) async fn with(choose: impl FnOnce(&mut ServeOptions)) -> TestHub {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let mut options = options(&dir.path().join("data"));
        choose(&mut options);
        let running = start(options.clone()).await.unwrap();
        TestHub { dir, running, options }
    }

    /// Stops it and starts it again on the same folder.
    pub(crate) async fn restarted(self) -> TestHub {
        let TestHub { dir, running, options } = self;
        running.stop().await.unwrap();
        let running = start(options.clone()).await.unwrap();
        TestHub { dir, running, options }
    }

    pub(crate) fn data(&self) -> &Path {
        &self.options.data
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.running.address()
    }

    pub(crate) fn operator_token(&self) -> String {
        std::fs::read_to_string(self.data().join("operator.token")).unwrap()
    }

    pub(crate) fn operator(&self) -> HubClient {
        self.client(&self.operator_token())
    }

    pub(crate) fn client(&self, token: &str) -> HubClient {
        let scheme = if self.options.tls { "https" } else { "http" };
        let address: HubAddress = format!("{scheme}://{}", self.address()).parse().unwrap();
        let pin = match self.running.fingerprint() {
            "" => Pin::learn(),
            print => Pin::Known(print.parse::<Fingerprint>().unwrap()),
        };
        HubClient::new(address, pin, Some(token.parse().unwrap()))
    }

    /// Opens an account; its token.
    pub(crate) async fn open(&self, name: &str, roles: &[&str]) -> String {
        let body = json!({"name": name, "roles": roles});
        let opened: wire::OpenedAccount = self.operator().post("/v1/accounts", &body, None).await.unwrap();
        opened.token
    }

    /// A researcher with money.
    pub(crate) async fn researcher(&self, name: &str, amount: &str) -> HubClient {
        let token = self.open(name, &["researcher"]).await;
        let body = json!({"to": name, "amount": amount});
        let _: wire::Transferred = self.operator().post("/v1/issue", &body, None).await.unwrap();
        self.client(&token)
    }

    /// Another token of an account.
    pub(crate) async fn new_token(&self, name: &str) -> String {
        let path = format!("/v1/accounts/{name}/tokens");
        let made: wire::NewToken = self.operator().post(&path, &json!({}), None).await.unwrap();
        made.token
    }

    pub(crate) async fn owner(&self, name: &str) -> HubClient {
        self.client(&self.open(name, &["owner"]).await)
    }

    /// One HTTP/1.1 request as it stands on the wire.
    pub(crate) async fn raw(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> RawAnswer {
        raw(self.address(), method, path, headers, body).await
    }

    /// The same with a token and JSON.
    pub(crate) async fn json(&self, token: &str, method: &str, path: &str, body: &str) -> RawAnswer {
        let bearer = format!("Bearer {token}");
        let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
        self.raw(method, path, &headers, body.as_bytes()).await
    }
}

/// Bytes that nothing compresses and that are others for each seed.
pub(crate) fn noise(seed: &str, length: usize) -> Bytes {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(seed.as_bytes()).finalize_xof().fill(&mut bytes);
    bytes.into()
}

pub(crate) fn options(data: &Path) -> ServeOptions {
    let mut options = ServeOptions::new(data.to_owned(), "127.0.0.1:0".parse().unwrap());
    options.tls = false;
    options.checkpoint_every = Duration::from_millis(50);
    options.audit_lag = Duration::ZERO;
    options
}

/// Copies a data folder as it is at this moment, as a crash would leave it.
pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for item in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(item.file_name());
        if item.file_type().unwrap().is_dir() {
            copy(&item.path(), &target);
        } else if let Err(error) = std::fs::copy(item.path(), &target) {
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "a spare file may be renamed meanwhile");
        }
    }
}

pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for item in std::fs::read_dir(dir).into_iter().flatten().map(Result::unwrap) {
        match item.file_type().unwrap().is_dir() {
            true => all.extend(files(&item.path())),
            false => all.push(item.path()),
        }
    }
    all.sort();
    all
}

/// An answer, taken apart.
#[derive(Debug)]
pub(crate) struct RawAnswer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl RawAnswer {
    pub(crate) fn code(&self) -> String {
        let body: Value = serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"));
        body["code"].as_str().unwrap_or_else(|| panic!("no code: {self:?}")).to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }

    /// Fails unless it has this status and code, and says something.
    #[track_caller]
    pub(crate) fn expect(&self, status: u16, code: &str) {
        assert_eq!((self.status, self.code().as_str()), (status, code), "{self:?}");
        let body: wire::ErrorBody = serde_json::from_str(&self.body).unwrap();
        assert!(body.message.len() > 10, "{self:?}");
    }
}

pub(crate) async fn raw(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> RawAnswer {
    let mut head = format!(
        "{method} {path} HTTP/1.1\r\nhost: hub\r\nconnection: close\r\ncontent-length: {}\r\n",
        body.len()
    );
    headers.iter().for_each(|(name, value)| head += &format!("{name}: {value}\r\n"));
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("{head}\r\n").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let (mut from, mut to) = stream.split();
    // A hub that refuses need not read all of it.
    let sent = async { drop(to.write_all(body).await) };
    let both = async { tokio::join!(from.read_to_end(&mut answer), sent) };
    drop(tokio::time::timeout(PATIENCE, both).await.expect("an answer in time"));
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    RawAnswer { status, head: head.to_owned(), body: body.to_owned() }
}

pub(crate) async fn put(client: &HubClient, bytes: &[u8]) -> Hash {
    let bytes = Bytes::copy_from_slice(bytes);
    let hash = Hash::of(&bytes);
    client.put_blob(&Source::Bytes(bytes), hash, Arc::new(|_| ())).await.unwrap().hash
}

/// A job of `tasks` tasks that may burn one credit each, and believes every owner.
pub(crate) fn job(module: Hash, tasks: u32, budget: &str) -> wire::SubmitJob {
    wire::SubmitJob {
        module,
        tasks,
        quorum: 1,
        budget: budget.to_owned(),
        checks: wire::Checks::Off,
        limits: wire::Limits { fuel: Some(1_000_000_000), memory_bytes: Some(1 << 20), ..Default::default() },
        ..Default::default()
    }
}

/// Puts the module and orders a job of it.
pub(crate) async fn submit(client: &HubClient, tasks: u32, budget: &str) -> wire::Job {
    let module = put(client, MODULE).await;
    client.post("/v1/jobs", &job(module, tasks, budget), None).await.unwrap()
}

pub(crate) async fn show(client: &HubClient, job: &wire::Job) -> wire::Job {
    client.get(&format!("/v1/jobs/{}", job.id)).await.unwrap()
}

pub(crate) async fn wait(client: &HubClient, job: &wire::Job) -> wire::Job {
    client.get(&format!("/v1/jobs/{}?wait_ms=10000", job.id)).await.unwrap()
}

/// What an account can spend and what is set aside, in credits.
pub(crate) async fn money(client: &HubClient) -> (String, String) {
    let me: wire::Account = client.get("/v1/me").await.unwrap();
    let credits = me.balances.into_iter().find(|balance| balance.currency == "CRD");
    credits.map(|balance| (balance.available, balance.held)).unwrap_or_default()
}

pub(crate) async fn assert_balanced(operator: &HubClient) {
    let books: Vec<wire::Books> = operator.get("/v1/books").await.unwrap();
    assert!(!books.is_empty() && books.iter().all(|one| one.balanced && one.sum_minor == 0), "{books:?}");
}

pub(crate) fn refusal<T: std::fmt::Debug>(result: Result<T, ClientError>) -> (u16, String, String) {
    match result {
        Err(ClientError::Refused { status, body }) => (status.as_u16(), body.code, body.message),
        other => panic!("expected a refusal, got {other:?}"),
    }
}

/// What a run came to.
#[derive(Clone)]
pub(crate) struct Finding {
    pub(crate) ending: Ending,
    pub(crate) fuel: u64,
    pub(crate) result: Hash,
    pub(crate) output: Vec<u8>,
}

impl Finding {
    /// It succeeded, burnt this fuel and printed this.
    pub(crate) fn printed(fuel: u64, text: &str) -> Finding {
        let output = TaskOutput { stdout: Bytes::copy_from_slice(text.as_bytes()), ..TaskOutput::default() };
        let output = output.encode();
        Finding { ending: Ending::Exited { code: 0 }, fuel, result: Hash::of(&output), output }
    }
}

/// A worker whose runs the test ends as it likes.
pub(crate) struct FakeWorker {
    pub(crate) id: u64,
    pub(crate) welcome: Welcome,
    to: Option<mpsc::Sender<FromWorker>>,
    from: Streaming<FromHub>,
    assigned: VecDeque<Run>,
    pub(crate) jobs: Vec<pumasi_api::link::Job>,
    pub(crate) stopped: Vec<u64>,
    reports: u64,
}

/// A run that was assigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Run {
    pub(crate) job: u64,
    pub(crate) run: u64,
    pub(crate) task: u32,
}

pub(crate) fn hello(key: u8, cores: u32) -> Hello {
    Hello {
        machine_key: vec![key; 16],
        name: format!("machine-{key}"),
        cores,
        memory_bytes: 1 << 30,
        speed: 1_000_000_000,
        engine: wire::ENGINE.to_owned(),
        ask_price: 1_000_000,
        held_runs: Vec::new(),
    }
}

pub(crate) fn message(message: from_worker::Message) -> FromWorker {
    FromWorker { message: Some(message) }
}

/// Opens the stream and sends a first message.
pub(crate) async fn open_link(
    client: &HubClient,
    first: FromWorker,
) -> Result<(mpsc::Sender<FromWorker>, Streaming<FromHub>), tonic::Status> {
    open_link_on(client, client.channel(), first).await
}

/// The same on a channel of one's own.
pub(crate) async fn open_link_on(
    client: &HubClient,
    channel: tonic::transport::Channel,
    first: FromWorker,
) -> Result<(mpsc::Sender<FromWorker>, Streaming<FromHub>), tonic::Status> {
    let (to, messages) = mpsc::channel(64);
    to.send(first).await.unwrap();
    let request = client.authorize(ReceiverStream::new(messages));
    let mut link = WorkerLinkClient::new(channel);
    let opened = tokio::time::timeout(PATIENCE, link.attach(request)).await;
    Ok((to, opened.expect("the stream opens or not")?.into_inner()))
}

/// The status that a stream ends with.
pub(crate) async fn end_of(mut from: Streaming<FromHub>) -> tonic::Status {
    loop {
        match tokio::time::timeout(PATIENCE, from.message()).await.expect("the hub ends the link") {
            Ok(Some(_)) => {}
            Ok(None) => return tonic::Status::ok("ended"),
            Err(status) => return status,
        }
    }
}

impl FakeWorker {
    pub(crate) async fn attach(client: &HubClient, hello: Hello) -> FakeWorker {
        let (to, mut from) = open_link(client, message(from_worker::Message::Hello(hello))).await.unwrap();
        let first = tokio::time::timeout(PATIENCE, from.message()).await.expect("a welcome").unwrap();
        let Some(from_hub::Message::Welcome(welcome)) = first.and_then(|first| first.message) else {
            panic!("the first message must be Welcome");
        };
        FakeWorker {
            id: welcome.worker_id,
            welcome,
            to: Some(to),
            from,
            assigned: VecDeque::new(),
            jobs: Vec::new(),
            stopped: Vec::new(),
            reports: 0,
        }
    }

    pub(crate) async fn send(&self, what: from_worker::Message) {
        self.to.as_ref().unwrap().send(message(what)).await.unwrap();
    }

    /// The next acknowledgement if one came first; takes note of everything else on the way.
    async fn hear(&mut self) -> Result<Option<Ack>, tonic::Status> {
        let heard =
            tokio::time::timeout(PATIENCE, self.from.message()).await.expect("the hub says something");
        match heard?.and_then(|message| message.message) {
            Some(from_hub::Message::Ack(ack)) => return Ok(Some(ack)),
            Some(from_hub::Message::Job(job)) => self.jobs.push(job),
            Some(from_hub::Message::Assign(assign)) => {
                let described = self.jobs.iter().any(|job| job.job_id == assign.job_id);
                assert!(described, "a job is described before its runs");
                let runs = assign.runs.iter().zip(&assign.tasks);
                self.assigned.extend(runs.map(|(run, task)| Run {
                    job: assign.job_id,
                    run: *run,
                    task: *task,
                }));
            }
            Some(from_hub::Message::Stop(stop)) => self.stopped.extend(stop.runs),
            Some(from_hub::Message::Welcome(_)) => panic!("a second welcome"),
            None => return Err(tonic::Status::ok("ended")),
        }
        Ok(None)
    }

    /// The next run.
    pub(crate) async fn run(&mut self) -> Run {
        loop {
            if let Some(run) = self.assigned.pop_front() {
                return run;
            }
            self.hear().await.unwrap();
        }
    }

    pub(crate) async fn runs(&mut self, count: usize) -> Vec<Run> {
        let mut runs = Vec::new();
        while runs.len() < count {
            runs.push(self.run().await);
        }
        runs
    }

    /// What was assigned and not taken by the test yet.
    pub(crate) fn waiting(&self) -> usize {
        self.assigned.len()
    }

    pub(crate) fn report_of(&mut self, runs: &[(u64, Finding)]) -> Report {
        self.reports += 1;
        let mut report = Report { report_id: self.reports, ..Report::default() };
        for (run, finding) in runs {
            report.runs.push(*run);
            report.endings.push(finding.ending.to_code());
            report.fuel.push(finding.fuel);
            report.wall_ns.push(1_000_000_000);
            report.results.extend_from_slice(finding.result.as_bytes());
            report.outputs.push(finding.output.clone());
        }
        report
    }

    /// Reports runs and waits for the acknowledgement; the runs that were refused.
    pub(crate) async fn report(&mut self, runs: &[(u64, Finding)]) -> Vec<u64> {
        let report = self.report_of(runs);
        let id = report.report_id;
        self.send(from_worker::Message::Report(report)).await;
        let ack = self.ack().await;
        assert_eq!(ack.report_id, id);
        ack.refused_runs
    }

    pub(crate) async fn ack(&mut self) -> Ack {
        loop {
            if let Some(ack) = self.hear().await.unwrap() {
                return ack;
            }
        }
    }

    pub(crate) async fn status(&self, status: Status) {
        self.send(from_worker::Message::Status(status)).await;
    }

    /// Does whatever comes until so many runs are done.
    pub(crate) async fn work(&mut self, count: usize, finding: impl Fn(Run) -> Finding) {
        for _ in 0..count {
            let run = self.run().await;
            assert_eq!(self.report(&[(run.run, finding(run))]).await, Vec::<u64>::new());
        }
    }

    /// Leaves without a word, as a machine whose cable is pulled.
    pub(crate) fn vanish(self) {}

    /// Why the hub ended the link.
    pub(crate) async fn end(mut self) -> tonic::Status {
        loop {
            if let Err(status) = self.hear().await {
                return status;
            }
        }
    }

    /// Sends a heartbeat every 50 ms from now on, as long as the link is open.
    pub(crate) fn beating(self) -> FakeWorker {
        let to = self.to.clone().unwrap().downgrade();
        tokio::spawn(async move {
            while let Some(to) = to.upgrade() {
                // Full is as good as sent.
                let _ = to.try_send(message(from_worker::Message::Status(Status::default())));
                drop(to);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        self
    }

    /// Takes the stream apart.
    pub(crate) fn into_parts(self) -> (mpsc::Sender<FromWorker>, Streaming<FromHub>) {
        (self.to.unwrap(), self.from)
    }
}
