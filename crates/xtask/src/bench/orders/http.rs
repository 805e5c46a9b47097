//! Orders over HTTP/1.1: bodies that were made before, on many connections that each wait for their answer.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use pumasi_api::tls::{ALPN_HTTP1, Connection, dial};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::market::{Market, Numbers, PRICE};
use crate::Outcome;

/// Requests of one connection that are made before anything is measured; then they begin anew with other ids.
const PREPARED: usize = 64;

/// Orders that were placed in a second, `together` in each request.
pub(super) async fn measure(
    market: &Market,
    numbers: &mut Numbers,
    connections: usize,
    together: usize,
    during: Duration,
) -> Outcome<f64> {
    let mut clients = Vec::new();
    for _ in 0..connections {
        let stream = dial(market.client.address(), market.client.pin(), None, ALPN_HTTP1).await?;
        let requests = (0..PREPARED).map(|_| Request::new(market, numbers, together)).collect();
        clients.push(Client { stream, requests, answer: Vec::new() });
    }
    let began = Instant::now();
    let until = began + during;
    let placed = clients.iter_mut().map(|client| client.place_until(until));
    let placed: u64 = futures_util::future::try_join_all(placed).await?.into_iter().sum();
    Ok(placed as f64 / began.elapsed().as_secs_f64())
}

/// A request whose orders get new ids each time it is sent.
struct Request {
    bytes: Vec<u8>,
    /// Where the last four digits of each id stand.
    ids: Vec<usize>,
    orders: u64,
    sent: u32,
}

impl Request {
    fn new(market: &Market, numbers: &mut Numbers, together: usize) -> Request {
        let (mut body, mut ids) = (String::new(), Vec::new());
        for n in 0..together {
            let (high, low) = (numbers.next(), numbers.next());
            body += if n > 0 { "," } else { "" };
            let id = format!(
                "{:08x}-{:04x}-{:04x}-{:04x}-{:08x}0000",
                high >> 32,
                high as u16,
                low >> 48,
                low as u16,
                (low >> 16) as u32
            );
            body += "{\"id\":\"";
            ids.push(body.len() + id.len() - 4);
            let customer = market.first_customer + u64::from(numbers.below(market.customers));
            let article = 1 + numbers.below(market.articles);
            write!(
                body,
                "{id}\",\"customer\":{customer},\"currency\":\"KRW\",\"total\":\"{PRICE}\",\
                 \"lines\":[{{\"article\":{article},\"quantity\":1}}]}}"
            )
            .expect("a string takes every text");
        }
        if together > 1 {
            body = format!("[{body}]");
            ids.iter_mut().for_each(|at| *at += 1);
        }
        let head = format!(
            "POST /v1/orders HTTP/1.1\r\nhost: hub\r\nauthorization: Bearer {}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n",
            market.token,
            body.len()
        );
        ids.iter_mut().for_each(|at| *at += head.len());
        Request { bytes: (head + &body).into_bytes(), ids, orders: together as u64, sent: 0 }
    }

    /// Its bytes for the next time.
    fn next(&mut self) -> &[u8] {
        let digits = format!("{:04x}", self.sent & 0xffff);
        self.sent += 1;
        for at in &self.ids {
            self.bytes[*at..*at + 4].copy_from_slice(digits.as_bytes());
        }
        &self.bytes
    }
}

struct Client {
    stream: Connection,
    requests: Vec<Request>,
    answer: Vec<u8>,
}

impl Client {
    async fn place_until(&mut self, until: Instant) -> Outcome<u64> {
        let mut placed = 0;
        for at in (0..self.requests.len()).cycle() {
            if Instant::now() >= until {
                break;
            }
            self.stream.write_all(self.requests[at].next()).await?;
            let body = read_answer(&mut self.stream, &mut self.answer).await?;
            let orders = self.requests[at].orders;
            let good = body.windows(8).filter(|part| part == b"\"placed\"").count() as u64;
            if good != orders {
                let said = String::from_utf8_lossy(body);
                return Err(format!("{good} of {orders} orders were placed: {said}").into());
            }
            placed += good;
        }
        Ok(placed)
    }
}

/// Requests that come whether earlier ones are answered or not.
pub(super) struct OpenLoop {
    pub(super) connections: usize,
    pub(super) together: usize,
    pub(super) requests_per_s: f64,
    /// How long, before anything is counted: as many requests are begun then as are under way ever after.
    pub(super) warming: Duration,
    /// How long, altogether.
    pub(super) during: Duration,
}

/// What came of them.
#[derive(Default)]
pub(super) struct Overloaded {
    /// Orders that were placed within the time that counts.
    pub(super) placed: u64,
    /// Orders that were sent within that time: no more than there are connections wait at once.
    pub(super) sent: u64,
    /// How long their requests waited once they were sent, in milliseconds.
    pub(super) placed_ms: Vec<f64>,
    /// The same of requests that were sent away, and told when to come again.
    pub(super) refused_ms: Vec<f64>,
}

/// Sends requests when they are due, each on a connection that is free; late when none is.
pub(super) async fn open_loop(
    market: &Market,
    numbers: &mut Numbers,
    load: &OpenLoop,
) -> Outcome<Overloaded> {
    let mut clients = Vec::new();
    for _ in 0..load.connections {
        let stream = dial(market.client.address(), market.client.pin(), None, ALPN_HTTP1).await?;
        let requests = vec![Request::new(market, numbers, load.together)];
        clients.push(Client { stream, requests, answer: Vec::new() });
    }
    let found = std::cell::RefCell::new((0_u32, Overloaded::default()));
    let began = Instant::now();
    let until = began + load.during;
    let all = clients.iter_mut().map(async |client: &mut Client| {
        loop {
            let due = {
                let (next, _) = &mut *found.borrow_mut();
                *next += 1;
                began + Duration::from_secs_f64(f64::from(*next) / load.requests_per_s)
            };
            if due >= until || Instant::now() >= until {
                return Outcome::Ok(());
            }
            tokio::time::sleep_until(due.into()).await;
            let sent = Instant::now();
            let placed = client.place_or_be_refused().await?;
            let (_, found) = &mut *found.borrow_mut();
            if sent >= began + load.warming {
                found.sent += load.together as u64;
            }
            let waited = sent.elapsed().as_secs_f64() * 1000.0;
            match placed {
                Some(orders) if (began + load.warming..until).contains(&Instant::now()) => {
                    found.placed += orders;
                    found.placed_ms.push(waited);
                }
                Some(_) => {}
                None => found.refused_ms.push(waited),
            }
        }
    });
    futures_util::future::try_join_all(all).await?;
    Ok(found.into_inner().1)
}

impl Client {
    /// Sends the next request: how many orders were placed, or none when it was told to come again.
    async fn place_or_be_refused(&mut self) -> Outcome<Option<u64>> {
        let Client { stream, requests, answer } = self;
        let request = &mut requests[0];
        stream.write_all(request.next()).await?;
        let orders = request.orders;
        let body = read_answer(stream, answer).await?.len();
        let head = &answer[..answer.len() - body];
        if head.starts_with(b"HTTP/1.1 503") {
            let told = head.to_ascii_lowercase().windows(12).any(|part| part == b"retry-after:");
            return if told { Ok(None) } else { Err("a 503 without Retry-After".into()) };
        }
        let good = answer.windows(8).filter(|part| part == b"\"placed\"").count() as u64;
        if good == orders {
            return Ok(Some(good));
        }
        Err(format!("{good} of {orders} orders were placed: {}", String::from_utf8_lossy(answer)).into())
    }
}

/// Reads one answer; its body.
async fn read_answer<'a>(stream: &mut Connection, answer: &'a mut Vec<u8>) -> Outcome<&'a [u8]> {
    answer.clear();
    loop {
        if stream.read_buf(answer).await? == 0 {
            return Err("the hub hung up".into());
        }
        let Some(head) = answer.windows(4).position(|part| part == b"\r\n\r\n") else { continue };
        let text = std::str::from_utf8(&answer[..head])?.to_ascii_lowercase();
        let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
        let end = head + 4 + length.ok_or("an answer without a length")?.parse::<usize>()?;
        while answer.len() < end {
            if stream.read_buf(answer).await? == 0 {
                return Err("the hub hung up".into());
            }
        }
        return Ok(&answer[head + 4..end]);
    }
}
