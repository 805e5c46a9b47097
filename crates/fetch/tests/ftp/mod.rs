//! FTP from servers that break off, lie, change their minds, or lead elsewhere.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pumasi_fetch::{BadUrl, FetchError, Fetched, Options};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::server::{Server, bytes, text};
use super::{Bench, LIMIT, options};

/// How a server behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Manner {
    /// Knows no EPSV, and names this address and port instead of its own; 0: its own port.
    passive: Option<([u8; 4], u16)>,
    /// Bytes after which the first data connections break off, and how many of them do.
    breaks: Option<(usize, usize)>,
    /// Tells neither length nor time.
    knows_nothing: bool,
    /// Has no REST.
    no_rest: bool,
    /// Each connection sees another time of the file.
    changes: bool,
    /// What it says in place of its greeting.
    greeting: Option<&'static str>,
    /// Sends this many bytes more than it said.
    more: usize,
    /// Sends data for ever.
    endless: bool,
    /// Sends all of it and says then that it failed.
    fails: bool,
}

/// A server with one file, `pub/a b.bin`.
#[derive(Clone)]
struct Ftp {
    address: SocketAddr,
    body: Arc<Vec<u8>>,
    manner: Manner,
    /// All commands that came.
    heard: Arc<Mutex<Vec<String>>>,
}

impl Ftp {
    async fn start(length: usize, manner: Manner) -> Ftp {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let ftp = Ftp { address, body: Arc::new(bytes(length, 9)), manner, heard: Arc::default() };
        let served = ftp.clone();
        tokio::spawn(async move {
            let mut number = 0;
            while let Ok((stream, _)) = listener.accept().await {
                let served = served.clone();
                tokio::spawn(async move { served.serve(stream, number).await });
                number += 1;
            }
        });
        ftp
    }

    fn heard(&self, command: &str) -> usize {
        self.heard.lock().unwrap().iter().filter(|line| line.starts_with(command)).count()
    }

    fn bench(&self) -> Bench {
        let options = Options { guard: guard(self.address), ..options(&[]) };
        Bench::with(options, &format!("ftp://{}/pub/a%20b.bin;type=i", self.address))
    }

    async fn serve(&self, stream: TcpStream, number: usize) -> Option<()> {
        let mut stream = BufReader::new(stream);
        let greeting = self.manner.greeting.unwrap_or("220-hello\r\n 230 not the end\r\n220 go on\r\n");
        stream.write_all(greeting.as_bytes()).await.ok()?;
        let (mut data, mut start) = (None, 0);
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.ok()? == 0 {
                return None;
            }
            let line = line.trim_end();
            self.heard.lock().unwrap().push(line.to_owned());
            let (command, argument) = line.split_once(' ').unwrap_or((line, ""));
            let is_there = argument == "pub/a b.bin";
            let answer = match command {
                "USER" => "331 who are you?".to_owned(),
                "PASS" => "230 fine".to_owned(),
                "TYPE" => "200 fine".to_owned(),
                "SIZE" | "MDTM" if self.manner.knows_nothing => "500 what?".to_owned(),
                "SIZE" if is_there => format!("213 {}", self.body.len()),
                "MDTM" if is_there && self.manner.changes => format!("213 199411060849{:02}", number % 60),
                "MDTM" if is_there => "213 19941106084937".to_owned(),
                "EPSV" if self.manner.passive.is_some() => "502 what?".to_owned(),
                "EPSV" | "PASV" => {
                    let listener = TcpListener::bind("127.0.0.1:0").await.ok()?;
                    let own = listener.local_addr().ok()?.port();
                    data = Some(listener);
                    let ([a, b, c, d], port) = self.manner.passive.unwrap_or_default();
                    let [high, low] = if port == 0 { own } else { port }.to_be_bytes();
                    match command {
                        "EPSV" => format!("229 Entering Extended Passive Mode (|||{own}|)"),
                        _ => format!("227 Entering Passive Mode ({a},{b},{c},{d},{high},{low})."),
                    }
                }
                "REST" if self.manner.no_rest => "502 what?".to_owned(),
                "REST" => {
                    start = argument.parse().ok()?;
                    "350 from there on".to_owned()
                }
                "RETR" if is_there => {
                    stream.write_all(b"150 here it comes\r\n").await.ok()?;
                    let sent = self.send(data.take()?.accept().await.ok()?.0, start, number).await;
                    start = 0;
                    match sent {
                        Some(()) if !self.manner.fails => "226 done".to_owned(),
                        _ => "426 broken off".to_owned(),
                    }
                }
                _ => "550 there is nothing".to_owned(),
            };
            stream.write_all(format!("{answer}\r\n").as_bytes()).await.ok()?;
        }
    }

    async fn send(&self, mut data: TcpStream, start: usize, number: usize) -> Option<()> {
        let rest = self.body.get(start..)?;
        if let Some((most, _)) = self.manner.breaks.filter(|(_, times)| number < *times) {
            data.write_all(&rest[..most.min(rest.len())]).await.ok()?;
            return None;
        }
        data.write_all(rest).await.ok()?;
        data.write_all(&vec![1; self.manner.more]).await.ok()?;
        if self.manner.endless {
            loop {
                data.write_all(&[7; 1 << 16]).await.ok()?;
            }
        }
        data.shutdown().await.ok()
    }
}

fn guard(address: SocketAddr) -> pumasi_fetch::address::Guard {
    pumasi_fetch::address::Guard { private: false, open: vec![address] }
}

#[tokio::test]
async fn a_file_comes_over_ftp_and_goes_on_where_it_broke_off() {
    let manner = Manner { breaks: Some((400_000, 2)), ..Manner::default() };
    let ftp = Ftp::start(1_000_000, manner).await;
    let bench = ftp.bench();
    assert_eq!(bench.fetch().await.unwrap(), Fetched::Body);
    assert!(bench.body() == *ftp.body);
    let part = bench.part().await;
    let origin = part.origin();
    assert_eq!(
        (origin.name.as_str(), origin.total, origin.changed_s),
        ("a b.bin", Some(1_000_000), Some(784_111_777))
    );
    assert_eq!((ftp.heard("REST 400000"), ftp.heard("REST 800000"), ftp.heard("RETR")), (1, 1, 3));
    // It is complete: nobody is asked again.
    bench.fetch().await.unwrap();
    assert_eq!(ftp.heard("USER anonymous"), 3);
    let empty = Ftp::start(0, Manner::default()).await;
    let bench = empty.bench();
    bench.fetch().await.unwrap();
    assert_eq!((bench.body(), empty.heard("RETR")), (Vec::new(), 0));
}

#[tokio::test]
async fn without_a_version_or_a_way_to_go_on_it_begins_anew() {
    let breaks = Some((400_000, 2));
    for manner in [
        Manner { no_rest: true, breaks, ..Manner::default() },
        Manner { changes: true, breaks, ..Manner::default() },
        Manner { knows_nothing: true, breaks, ..Manner::default() },
    ] {
        let ftp = Ftp::start(1_000_000, manner).await;
        let bench = ftp.bench();
        bench.fetch().await.unwrap();
        assert!(bench.body() == *ftp.body, "{manner:?}");
        assert_eq!(ftp.heard("RETR"), 3, "{manner:?}");
    }
}

#[tokio::test]
async fn data_comes_from_the_server_that_was_asked_and_from_nowhere_else() {
    // It names an address inside: not looked at. Its own port: the file comes.
    let lies = Manner { passive: Some(([10, 0, 0, 1], 0)), ..Manner::default() };
    let ftp = Ftp::start(100_000, lies).await;
    let bench = ftp.bench();
    bench.fetch().await.unwrap();
    assert!(bench.body() == *ftp.body);
    // A service of the machine is nothing that data comes from.
    let service = Manner { passive: Some(([127, 0, 0, 1], 22)), ..Manner::default() };
    let ftp = Ftp::start(100_000, service).await;
    let error = ftp.bench().fetch().await.unwrap_err();
    assert!(matches!(error, FetchError::Strange { .. }), "{error}");
    assert_eq!(ftp.heard("RETR"), 0);
    // A server inside, which nobody allowed.
    let inside = Ftp::start(10, Manner::default()).await;
    let bench = ftp.bench();
    let url = format!("ftp://localhost:{}/pub/a", inside.address.port());
    let named = Bench::with(bench.options.clone(), &url);
    let error = named.fetch().await.unwrap_err();
    assert!(matches!(error, FetchError::Host { .. }), "{error}");
    assert_eq!(inside.heard(""), 0);
    // Nor does a web server lead to one.
    let to = format!("HTTP/1.1 302 -\nLocation: ftp://{}/pub/a%20b.bin\n\n", ftp.address);
    let web = Server::start(move |_| vec![text(&to)]).await;
    let error = Bench::new(&web, "/").fetch().await.unwrap_err();
    assert!(matches!(error, FetchError::Url { problem: BadUrl::Private | BadUrl::Scheme, .. }), "{error}");
}

#[tokio::test]
async fn servers_that_make_no_sense_or_refuse_are_told_apart() {
    for (greeting, passing) in [
        ("421 too many users\r\n", true),
        ("530 not you\r\n", false),
        ("HTTP/1.1 200 OK\r\n\r\n", true),
        ("220-\r\n", true),
    ] {
        let ftp = Ftp::start(10, Manner { greeting: Some(greeting), ..Manner::default() }).await;
        let bench = Bench::with(
            Options { tries: 1, patience: Duration::from_millis(400), ..ftp.bench().options },
            &format!("ftp://{}/x", ftp.address),
        );
        let error = bench.fetch().await.unwrap_err();
        assert_eq!(error.is_passing(), passing, "{greeting}: {error}");
    }
    let long: &'static str = Box::leak("220-".repeat(100_000).into_boxed_str());
    let lines: &'static str = Box::leak("220-and\r\n".repeat(10_000).into_boxed_str());
    for greeting in [long, lines] {
        let ftp = Ftp::start(10, Manner { greeting: Some(greeting), ..Manner::default() }).await;
        let error = ftp.bench().fetch().await.unwrap_err();
        assert!(matches!(error, FetchError::Strange { .. }), "{error}");
    }
    let ftp = Ftp::start(10, Manner::default()).await;
    let missing = Bench::with(ftp.bench().options, &format!("ftp://{}/missing", ftp.address));
    let error = missing.fetch().await.unwrap_err();
    assert!(matches!(error, FetchError::Reply { code: 550, .. }) && !error.is_passing(), "{error}");
}

#[tokio::test]
async fn what_is_too_long_or_fails_at_its_end_is_not_taken() {
    let ftp = Ftp::start(LIMIT.0 as usize + 1, Manner::default()).await;
    let error = ftp.bench().fetch().await.unwrap_err();
    assert!(matches!(error, FetchError::TooLarge { .. }), "{error}");
    assert_eq!(ftp.heard("RETR"), 0);
    let endless = Ftp::start(10, Manner { endless: true, knows_nothing: true, ..Manner::default() }).await;
    let bench = endless.bench();
    let error = bench.fetch().await.unwrap_err();
    assert!(matches!(error, FetchError::TooLarge { .. }), "{error}");
    assert!(bench.body().is_empty(), "it takes no room");
    let more = Ftp::start(1_000, Manner { more: 5, ..Manner::default() }).await;
    let error = more.bench().fetch().await.unwrap_err();
    assert!(matches!(error, FetchError::Strange { .. }), "{error}");
    // Only its end tells that all came.
    let fails = Ftp::start(1_000, Manner { fails: true, knows_nothing: true, ..Manner::default() }).await;
    let error = fails.bench().fetch().await.unwrap_err();
    assert!(matches!(error, FetchError::Short { got: 1_000, said: None, .. }), "{error}");
}
