//! Fetching from servers that break off, lie, change their minds, never end, or lead elsewhere.

mod dht;
mod ftp;
mod giving;
mod seeder;
mod server;
mod swarm;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use pumasi_fetch::address::{Guard, NoWay};
use pumasi_fetch::{BadUrl, Client, FetchError, Fetched, Options, Part, Place, Progress, Wanted};
use pumasi_types::ByteSize;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio_rustls::TlsAcceptor;

use server::{Server, Step, bytes, good, text, up_to};

const LIMIT: ByteSize = ByteSize(8 << 20);

/// Quick, and connects only to these besides public addresses.
fn options(servers: &[&Server]) -> Options {
    Options {
        guard: Guard { private: false, open: servers.iter().map(|server| server.address).collect() },
        patience: Duration::from_secs(5),
        silence: Duration::from_millis(400),
        pace: (ByteSize(64 << 10), Duration::from_secs(1)),
        tries: 4,
        pause: Duration::from_millis(5),
        ..Options::default()
    }
}

struct Bench {
    dir: TempDir,
    options: Options,
    client: Client,
    wanted: Wanted,
    progress: Progress,
}

impl Bench {
    fn new(server: &Server, path: &str) -> Bench {
        Bench::with(options(&[server]), &server.url(path))
    }

    fn with(options: Options, url: &str) -> Bench {
        let place = Place::parse(url, &options.guard).unwrap();
        let wanted = Wanted { place, sha256: None, limit: LIMIT, known: Vec::new() };
        let client = Client::new(options.clone()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        Bench { dir, options, client, wanted, progress: Progress::default() }
    }

    async fn part(&self) -> Part {
        Part::open(self.dir.path()).await.unwrap()
    }

    /// As a process that has just begun.
    async fn fetch(&self) -> Result<Fetched, FetchError> {
        self.client.fetch(&self.wanted, &mut self.part().await, &self.progress).await
    }

    fn body(&self) -> Vec<u8> {
        std::fs::read(self.dir.path().join("body")).unwrap()
    }
}

#[tokio::test]
async fn a_file_comes_with_what_its_server_says_of_it() {
    let server = Server::start(|_| {
        vec![text(
            "HTTP/1.1 200 OK\nContent-Type: text/plain\nContent-Length: 5\nETag: \"v1\"\n\
             Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\nDate: Sun, 06 Nov 1994 09:49:37 GMT\n\
             Content-Disposition: attachment; filename=\"../a b.txt\"\n\nhello",
        )]
    })
    .await;
    let bench = Bench::new(&server, "/x?y=1");
    assert_eq!(bench.fetch().await.unwrap(), Fetched::Body);
    assert_eq!(bench.body(), b"hello");
    let part = bench.part().await;
    let origin = part.origin();
    assert_eq!((origin.name.as_str(), origin.media_type.as_deref()), ("a b.txt", Some("text/plain")));
    assert_eq!((origin.etag.as_deref(), origin.changed_s), (Some("\"v1\""), Some(784_111_777)));
    assert_eq!(bench.progress.got.load(Ordering::Relaxed), 5);
    // It is complete: nobody is asked again.
    bench.fetch().await.unwrap();
    assert_eq!(server.seen().len(), 1);
    let asked = &server.seen()[0];
    assert_eq!((asked.path.as_str(), asked.header("accept-encoding")), ("/x?y=1", Some("identity")));
}

#[tokio::test]
async fn what_came_is_not_fetched_again() {
    let body = bytes(3 << 20, 1);
    let served = body.clone();
    let server = Server::start(move |asked| up_to(good(asked, &served, "\"v1\""), 700_000)).await;
    let mut bench = Bench::new(&server, "/");
    bench.wanted.sha256 = Some(Sha256::digest(&body).into());
    bench.fetch().await.unwrap();
    assert!(bench.body() == body);
    let seen = server.seen();
    assert_eq!(seen.len(), 5, "each brings something, so it is not given up");
    for asked in &seen[1..] {
        assert_eq!(asked.from(), Some(asked.number * 700_000));
        assert_eq!(asked.header("if-range"), Some("\"v1\""));
    }
}

#[tokio::test]
async fn what_came_outlives_the_process() {
    let body = bytes(1 << 20, 2);
    let served = body.clone();
    let server = Server::start(move |asked| {
        let most = if asked.number == 0 { 600_000 } else { usize::MAX };
        up_to(good(asked, &served, "\"v1\""), most)
    })
    .await;
    let options = Options { tries: 1, ..options(&[&server]) };
    let bench = Bench::with(options, &server.url("/"));
    let broke = bench.fetch().await.unwrap_err();
    assert!(matches!(broke, FetchError::Short { got: 600_000, said: Some(1_048_576), .. }), "{broke}");
    assert!(broke.is_passing());
    bench.fetch().await.unwrap();
    assert!(bench.body() == body);
    assert_eq!(server.seen()[1].from(), Some(600_000));
}

#[tokio::test]
async fn what_came_before_a_silence_outlives_a_process_that_ends_in_it() {
    let body = bytes(1 << 20, 5);
    let served = body.clone();
    let server = Server::start(move |asked| {
        let (head, rest) = good(asked, &served, "\"v1\"");
        let most = if asked.number == 0 { 600_000 } else { rest.len() };
        let mut steps = vec![Step::Send(head.into_bytes()), Step::Send(rest[..most].to_vec())];
        if most < rest.len() {
            steps.push(Step::Wait(Duration::from_secs(600)));
        }
        steps
    })
    .await;
    let options = Options { silence: Duration::from_secs(600), ..options(&[&server]) };
    let bench = Bench::with(options, &server.url("/"));
    let durable = || {
        let note = std::fs::read(bench.dir.path().join("origin.json")).unwrap_or_default();
        let note: serde_json::Value = serde_json::from_slice(&note).unwrap_or_default();
        note["durable"].as_u64()
    };
    let noted = async {
        while durable() != Some(600_000) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        ended = bench.fetch() => panic!("{ended:?}"),
        noted = tokio::time::timeout(Duration::from_secs(60), noted) => noted.expect("it is noted"),
    }
    bench.fetch().await.unwrap();
    assert!(bench.body() == body);
    assert_eq!(server.seen()[1].from(), Some(600_000));
}

#[tokio::test]
async fn a_file_that_changed_is_fetched_from_its_beginning() {
    let (old, new) = (bytes(1 << 20, 3), bytes(1 << 20, 4));
    let expected = new.clone();
    let server = Server::start(move |asked| match asked.number {
        0 => up_to(good(asked, &old, "\"old\""), 500_000),
        _ => up_to(good(asked, &new, "\"new\""), usize::MAX),
    })
    .await;
    let bench = Bench::new(&server, "/");
    bench.fetch().await.unwrap();
    assert!(bench.body() == expected, "no byte of the old version is left");
}

#[tokio::test]
async fn a_server_that_changes_all_the_time_is_given_up() {
    let server = Server::start(|asked| {
        let body = bytes(1 << 20, asked.number as u64);
        up_to(good(asked, &body, &format!("\"{}\"", asked.number)), 500_000)
    })
    .await;
    let bench = Bench::new(&server, "/");
    assert!(matches!(bench.fetch().await, Err(FetchError::Short { .. })));
    assert_eq!(server.seen().len(), 4);
}

#[tokio::test]
async fn pieces_that_are_not_what_was_asked_for_are_thrown_away() {
    let body = bytes(1 << 20, 5);
    for lie in [
        "etag: \"v1\"\r\ncontent-range: bytes 0-1048575/1048576\r\n",
        "etag: \"v1\"\r\ncontent-range: bytes 500000-1048575/2000000\r\n",
        "etag: \"v2\"\r\ncontent-range: bytes 500000-1048575/1048576\r\n",
        "etag: \"v1\"\r\n",
    ] {
        let served = body.clone();
        let server = Server::start(move |asked| match asked.number {
            0 => up_to(good(asked, &served, "\"v1\""), 500_000),
            1 => {
                let head = format!("HTTP/1.1 206 -\r\n{lie}content-length: 548576\r\n\r\n");
                up_to((head, vec![0; 548_576]), usize::MAX)
            }
            _ => up_to(good(asked, &served, "\"v1\""), usize::MAX),
        })
        .await;
        let bench = Bench::new(&server, "/");
        bench.fetch().await.unwrap();
        assert!(bench.body() == body, "{lie}");
        assert_eq!(server.seen()[2].from(), None, "from the beginning: {lie}");
    }
}

#[tokio::test]
async fn without_a_strong_version_nothing_is_continued() {
    let body = bytes(1 << 20, 6);
    let served = body.clone();
    let server = Server::start(move |asked| {
        let most = if asked.number == 0 { 500_000 } else { usize::MAX };
        let head = "HTTP/1.1 200 -\r\netag: W/\"weak\"\r\ncontent-length: 1048576\r\n\r\n".to_owned();
        up_to((head, served.clone()), most)
    })
    .await;
    let bench = Bench::new(&server, "/");
    bench.fetch().await.unwrap();
    assert!(bench.body() == body);
    assert_eq!(server.seen()[1].from(), None);
}

#[tokio::test]
async fn a_server_that_promises_more_than_it_has_is_given_up() {
    let server = Server::start(|_| vec![text("HTTP/1.1 200 OK\nContent-Length: 1000\n\nshort")]).await;
    let bench = Bench::new(&server, "/");
    let error = bench.fetch().await.unwrap_err();
    assert!(matches!(error, FetchError::Short { got: 5, said: Some(1000), .. }), "{error}");
    assert_eq!(server.seen().len(), 4);
    // One that sends more than it said is cut there.
    let server = Server::start(|_| vec![text("HTTP/1.1 200 OK\nContent-Length: 5\n\nhello, and more")]).await;
    let bench = Bench::new(&server, "/");
    bench.fetch().await.unwrap();
    assert_eq!(bench.body(), b"hello");
}

#[tokio::test]
async fn what_is_too_long_or_never_ends_is_thrown_away() {
    let said = Server::start(|_| vec![text("HTTP/1.1 200 OK\nContent-Length: 99999999999\n\n")]).await;
    let endless = Server::start(|_| {
        let chunk = [b"10000\r\n".as_slice(), &vec![7; 1 << 16], b"\r\n"].concat();
        vec![text("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n"), Step::Forever(chunk, Duration::ZERO)]
    })
    .await;
    let unframed =
        Server::start(|_| vec![text("HTTP/1.0 200 OK\n\n"), Step::Forever(vec![7; 1 << 16], Duration::ZERO)])
            .await;
    for server in [said, endless, unframed] {
        let bench = Bench::new(&server, "/");
        let error = bench.fetch().await.unwrap_err();
        assert!(matches!(error, FetchError::TooLarge { limit: LIMIT }) && !error.is_passing(), "{error}");
        assert!(bench.body().is_empty(), "it takes no room");
        assert_eq!(server.seen().len(), 1);
    }
}

#[tokio::test]
async fn who_is_silent_or_drips_keeps_no_place() {
    let silent = Server::start(|_| {
        vec![text("HTTP/1.1 200 OK\nContent-Length: 1000\n\nab"), Step::Wait(Duration::from_secs(60))]
    })
    .await;
    let dripping = Server::start(|_| {
        let drip = Step::Forever(b"1\r\nx\r\n".to_vec(), Duration::from_millis(50));
        vec![text("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n"), drip]
    })
    .await;
    for server in [silent, dripping] {
        let options = Options { tries: 1, ..options(&[&server]) };
        let bench = Bench::with(options, &server.url("/"));
        let fetched = tokio::time::timeout(Duration::from_secs(20), bench.fetch()).await.expect("it ends");
        assert!(matches!(fetched, Err(FetchError::Slow { .. })), "{fetched:?}");
    }
}

#[tokio::test]
async fn after_a_server_that_drips_the_rest_is_asked_for_anew() {
    let body = vec![7; 200_000];
    let served = body.clone();
    let server = Server::start(move |asked| {
        let (head, rest) = good(asked, &served, "\"v1\"");
        let drips = Step::Forever(vec![7], Duration::from_millis(50));
        let rest = if asked.number == 0 { drips } else { Step::Send(rest) };
        vec![Step::Send(head.into_bytes()), rest]
    })
    .await;
    let bench = Bench::new(&server, "/");
    let fetched = tokio::time::timeout(Duration::from_secs(20), bench.fetch()).await.expect("it ends");
    assert_eq!(fetched.unwrap(), Fetched::Body);
    assert!(bench.body() == body);
    let seen = server.seen();
    assert!(seen.len() == 2 && seen[1].from() > Some(0), "what dripped stays: {seen:?}");
}

#[tokio::test]
async fn every_redirect_is_checked() {
    // A server inside, which nobody allowed.
    let inside = Server::start(|_| vec![text("HTTP/1.1 200 OK\nContent-Length: 6\n\nsecret")]).await;
    let port = inside.address.port();
    for (to, name) in [
        (format!("http://127.0.0.1:{port}/"), false),
        (format!("//127.0.0.1:{port}/"), false),
        (format!("http://127.1:{port}/"), false),
        (format!("http://2130706433:{port}/"), false),
        (format!("http://[::1]:{port}/"), false),
        (format!("http://[::ffff:127.0.0.1]:{port}/"), false),
        // Names are known only when they are looked up.
        (format!("http://localhost:{port}/"), true),
        (format!("http://LOCALHOST.:{port}/"), true),
    ] {
        let answer = format!("HTTP/1.1 302 Found\nLocation: {to}\nContent-Length: 0\n\n");
        let server = Server::start(move |_| vec![text(&answer)]).await;
        let error = Bench::new(&server, "/").fetch().await.unwrap_err();
        let refused = match &error {
            FetchError::Url { problem: BadUrl::Private, .. } => !name,
            FetchError::Host { problem: NoWay::Private, .. } => name,
            // This machine may know `localhost.` not at all.
            FetchError::Host { problem: NoWay::Unknown, .. } => to.contains("LOCALHOST."),
            _ => false,
        };
        assert!(refused, "{to}: {error:?}");
    }
    let file = Server::start(|_| vec![text("HTTP/1.1 302 -\nLocation: file:///etc/passwd\n\n")]).await;
    let error = Bench::new(&file, "/").fetch().await.unwrap_err();
    assert!(matches!(error, FetchError::Url { problem: BadUrl::Scheme, .. }), "{error}");
    assert!(inside.seen().is_empty(), "it heard nothing");
}

#[tokio::test]
async fn redirects_are_followed_as_far_as_they_lead_somewhere() {
    let end = Server::start(|asked| up_to(good(asked, b"there", "\"v1\""), usize::MAX)).await;
    let to = end.url("/a/file.txt");
    let begin = Server::start(move |asked| match asked.path.as_str() {
        "/" => vec![text("HTTP/1.1 301 -\nLocation: /next\n\n")],
        "/next" => vec![text(&format!("HTTP/1.1 307 -\nLocation: {to}\n\n"))],
        _ => vec![text("HTTP/1.1 302 -\nLocation: /loop\n\n")],
    })
    .await;
    let bench = Bench::with(options(&[&begin, &end]), &begin.url("/"));
    bench.fetch().await.unwrap();
    let part = bench.part().await;
    assert_eq!((bench.body().as_slice(), part.origin().name.as_str()), (b"there".as_slice(), "file.txt"));
    assert_eq!(part.origin().url, begin.url("/"), "what was asked for is asked for again");

    let error = Bench::new(&begin, "/loop").fetch().await.unwrap_err();
    assert!(matches!(error, FetchError::Redirects { .. }) && !error.is_passing(), "{error}");
}

#[tokio::test]
async fn only_the_wanted_bytes_are_kept() {
    let server = Server::start(|asked| up_to(good(asked, b"hello", "\"v1\""), usize::MAX)).await;
    let mut bench = Bench::new(&server, "/");
    bench.wanted.sha256 = Some(Sha256::digest(b"hellO").into());
    let error = bench.fetch().await.unwrap_err();
    assert!(matches!(error, FetchError::Sha256 { .. }) && !error.is_passing(), "{error}");
    assert!(bench.body().is_empty());
    bench.wanted.sha256 = Some(Sha256::digest(b"hello").into());
    bench.fetch().await.unwrap();
    assert_eq!(bench.body(), b"hello");
}

#[tokio::test]
async fn a_known_version_is_not_sent() {
    let server = Server::start(|asked| up_to(good(asked, b"hello", "\"v1\""), usize::MAX)).await;
    let mut bench = Bench::new(&server, "/");
    bench.wanted.known = vec!["\"v0\"".to_owned(), "\"v1\"".to_owned()];
    assert_eq!(bench.fetch().await.unwrap(), Fetched::Known("\"v1\"".to_owned()));
    bench.wanted.known = vec!["\"v0\"".to_owned()];
    assert_eq!(bench.fetch().await.unwrap(), Fetched::Body);
    // One that says so of a version that nobody named.
    let server = Server::start(|_| vec![text("HTTP/1.1 304 -\nETag: \"other\"\n\n")]).await;
    let bench = Bench::new(&server, "/");
    assert!(matches!(bench.fetch().await, Err(FetchError::Strange { .. })));
}

#[tokio::test]
async fn servers_that_are_busy_are_asked_again() {
    let server = Server::start(|asked| match asked.number {
        0 => vec![text("HTTP/1.1 503 -\nRetry-After: 1\n\n")],
        1 => Vec::new(),
        _ => up_to(good(asked, b"hello", "\"v1\""), usize::MAX),
    })
    .await;
    let began = std::time::Instant::now();
    Bench::new(&server, "/").fetch().await.unwrap();
    assert!(began.elapsed() >= Duration::from_secs(1), "as long as it asked for");
    let later = Server::start(|_| vec![text("HTTP/1.1 429 -\nRetry-After: 3600\n\n")]).await;
    let error = Bench::new(&later, "/").fetch().await.unwrap_err();
    assert!(matches!(error, FetchError::Status { wait_s: Some(3600), .. }) && error.is_passing(), "{error}");
    assert_eq!(later.seen().len(), 1);
    let gone = Server::start(|_| vec![text("HTTP/1.1 404 -\n\n")]).await;
    let error = Bench::new(&gone, "/").fetch().await.unwrap_err();
    assert!(matches!(error, FetchError::Status { status: 404, .. }) && !error.is_passing(), "{error}");
    assert_eq!(gone.seen().len(), 1);
}

#[tokio::test]
async fn only_servers_that_somebody_vouches_for_are_believed() {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let key = rustls_pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config =
        config.unwrap().with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    let tls = TlsAcceptor::from(Arc::new(config));
    let server = Server::behind(Some(tls), |asked| up_to(good(asked, b"hello", "\"v1\""), usize::MAX)).await;

    let error = Bench::new(&server, "/").fetch().await.unwrap_err();
    assert!(matches!(error, FetchError::NotTrusted { .. }) && !error.is_passing(), "{error}");
    assert!(server.seen().is_empty());

    let dir = tempfile::tempdir().unwrap();
    let roots = dir.path().join("roots.pem");
    std::fs::write(&roots, made.cert.pem()).unwrap();
    let bench = Bench::with(Options { roots: Some(roots), ..options(&[&server]) }, &server.url("/"));
    bench.fetch().await.unwrap();
    assert_eq!(bench.body(), b"hello");
}
