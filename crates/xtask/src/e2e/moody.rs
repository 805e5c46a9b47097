//! A server of S3 in a bad mood: a proxy before a good one that refuses requests, breaks off, lets wait, and loses answers.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

/// How it is with the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    /// Every request is answered.
    Well,
    /// Every other request meets one of the [`FAULTS`], each in its turn.
    Bad,
    /// Nobody answers.
    Down,
}

/// What it does to requests.
pub(super) const FAULTS: [&str; 6] = [
    "refused because it has too much to do (503)",
    "failed (500)",
    "broken off in the middle of the request",
    "broken off in the middle of the answer",
    "answered after seconds",
    "carried out, and the answer lost",
];
/// How long the one that waits does.
const SECONDS: Duration = Duration::from_secs(2);

/// The proxy, on threads of its own for as long as this process lives.
pub(super) struct Moody {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    mood: AtomicU8,
    requests: AtomicU64,
    /// How often each fault happened.
    faults: [AtomicU64; FAULTS.len()],
}

impl Moody {
    /// Stands before the server at this address.
    pub(super) fn before(server: &str) -> Moody {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        let (server, state) = (server.to_owned(), Arc::new(State::default()));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (server, state) = (server.clone(), Arc::clone(&shared));
                // A connection that ends is what its client has to live with.
                std::thread::spawn(move || state.serve(client, &server).ok());
            }
        });
        Moody { address, state }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) fn set(&self, mood: Mood) {
        self.state.mood.store(mood as u8, Ordering::SeqCst);
    }

    /// The faults that did not happen yet.
    pub(super) fn unseen(&self) -> Vec<&'static str> {
        let seen = |at: usize| self.state.faults[at].load(Ordering::SeqCst) > 0;
        FAULTS.iter().enumerate().filter(|(at, _)| !seen(*at)).map(|(_, name)| *name).collect()
    }
}

impl State {
    /// One request; its connection ends with the answer.
    fn serve(&self, mut client: TcpStream, server: &str) -> io::Result<()> {
        let mood = self.mood.load(Ordering::SeqCst);
        if mood == Mood::Down as u8 {
            return client.shutdown(Shutdown::Both);
        }
        let (head, begun) = read_head(&mut client)?;
        let mut rest = vec![0; length_of(&head).saturating_sub(begun.len())];
        let mut fault = None;
        if mood == Mood::Bad as u8 {
            let number = self.requests.fetch_add(1, Ordering::SeqCst);
            fault = (number % 2 == 1).then_some(number as usize / 2 % FAULTS.len());
        }
        if let Some(fault) = fault {
            self.faults[fault].fetch_add(1, Ordering::SeqCst);
        }
        if fault == Some(2) {
            let half = rest.len() / 2;
            return client.read_exact(&mut rest[..half]);
        }
        client.read_exact(&mut rest)?;
        match fault {
            Some(0) => return refuse(&mut client, "503 Slow Down", "SlowDown"),
            Some(1) => return refuse(&mut client, "500 Internal Server Error", "InternalError"),
            Some(4) => std::thread::sleep(SECONDS),
            _ => {}
        }
        let mut upstream = TcpStream::connect(server)?;
        let end = head.len() - 2;
        upstream.write_all(&head[..end])?;
        upstream.write_all(b"connection: close\r\n\r\n")?;
        upstream.write_all(&begun)?;
        upstream.write_all(&rest)?;
        let mut answer = Vec::new();
        upstream.read_to_end(&mut answer)?;
        match fault {
            Some(3) => client.write_all(&answer[..answer.len() / 2]),
            Some(5) => Ok(()),
            _ => client.write_all(&answer),
        }
    }
}

/// The head of a request with the empty line behind it, and what came with it.
fn read_head(client: &mut TcpStream) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let mut read = Vec::new();
    let mut piece = [0; 16 << 10];
    loop {
        if let Some(at) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            let begun = read.split_off(at + 4);
            return Ok((read, begun));
        }
        match client.read(&mut piece)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            length => read.extend_from_slice(&piece[..length]),
        }
    }
}

fn length_of(head: &[u8]) -> usize {
    let text = String::from_utf8_lossy(head).to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    length.unwrap_or(0)
}

fn refuse(client: &mut TcpStream, status: &str, code: &str) -> io::Result<()> {
    let body = format!("<Error><Code>{code}</Code><Message>not now</Message></Error>");
    let length = body.len();
    write!(
        client,
        "HTTP/1.1 {status}\r\ncontent-type: application/xml\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}
