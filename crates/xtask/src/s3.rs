//! A client of S3 that measures and counts: plain HTTP/1.1, a connection of its own, no second try that nobody sees.

use pumasi_sigv4::Signer;
use pumasi_types::Hash;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::Outcome;

/// A server, and who speaks to it.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    /// `host:port`.
    pub(crate) address: String,
    pub(crate) signer: Signer,
}

/// A connection to it.
pub(crate) struct Link {
    endpoint: Endpoint,
    stream: BufReader<TcpStream>,
    /// Room for the next body.
    room: Vec<u8>,
}

/// What was answered.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The body, if the request was done.
    pub(crate) fn done(self) -> Outcome<Vec<u8>> {
        if (200..300).contains(&self.status) {
            return Ok(self.body);
        }
        Err(format!("status {}: {}", self.status, String::from_utf8_lossy(&self.body)).into())
    }
}

impl Endpoint {
    pub(crate) async fn connect(&self) -> Outcome<Link> {
        let stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        let stream = BufReader::with_capacity(256 << 10, stream);
        Ok(Link { endpoint: self.clone(), stream, room: Vec::new() })
    }
}

impl Link {
    /// Sends a request and reads its answer. Path and query are encoded already.
    pub(crate) async fn ask(
        &mut self,
        method: &str,
        path: &str,
        query: &str,
        body: &[u8],
    ) -> Outcome<Answer> {
        let mut request = self.head(method, path, query, body.len()).into_bytes();
        // A small body goes with its head.
        let rest = if body.len() <= 64 << 10 {
            request.extend_from_slice(body);
            &[][..]
        } else {
            body
        };
        self.stream.get_mut().write_all(&request).await?;
        self.stream.get_mut().write_all(rest).await?;
        self.answer().await
    }

    /// Takes back the body of an answer, so that the next one needs no fresh memory: the first touch of a page costs more
    /// than the bytes on it, and is no server's fault.
    pub(crate) fn take_back(&mut self, mut body: Vec<u8>) {
        body.clear();
        self.room = body;
    }

    /// The signed head of a request with a body of so many bytes.
    fn head(&self, method: &str, path: &str, query: &str, length: usize) -> String {
        let time = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
        let address = &self.endpoint.address;
        let mark = if query.is_empty() { "" } else { "?" };
        let mut head = format!("{method} {path}{mark}{query} HTTP/1.1\r\nhost: {address}\r\n");
        for (name, value) in self.endpoint.signer.sign(method, address, path, query, &time) {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("content-length: {length}\r\n\r\n"));
        head
    }

    /// Sends a request with half of its body and goes away, as a client that is killed.
    #[cfg(test)]
    pub(crate) async fn break_off(mut self, method: &str, path: &str, query: &str, body: &[u8]) -> Outcome {
        let head = self.head(method, path, query, body.len());
        self.stream.get_mut().write_all(head.as_bytes()).await?;
        self.stream.get_mut().write_all(&body[..body.len() / 2]).await?;
        self.stream.get_mut().shutdown().await?;
        Ok(())
    }

    async fn answer(&mut self) -> Outcome<Answer> {
        let mut line = String::new();
        self.stream.read_line(&mut line).await?;
        let status = line.split(' ').nth(1).and_then(|text| text.parse().ok());
        let status: u16 = status.ok_or_else(|| format!("the answer begins with '{line}'"))?;
        let (mut length, mut chunked) = (0, false);
        loop {
            line.clear();
            self.stream.read_line(&mut line).await?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse()?,
                "transfer-encoding" => chunked = true,
                _ => {}
            }
        }
        let mut body = std::mem::take(&mut self.room);
        if chunked {
            loop {
                line.clear();
                self.stream.read_line(&mut line).await?;
                let size = usize::from_str_radix(line.trim(), 16)?;
                self.read(&mut body, size).await?;
                line.clear();
                self.stream.read_line(&mut line).await?;
                if size == 0 {
                    break;
                }
            }
        } else {
            self.read(&mut body, length).await?;
        }
        Ok(Answer { status, body })
    }

    async fn read(&mut self, body: &mut Vec<u8>, more: usize) -> Outcome {
        let end = body.len() + more;
        body.reserve(more);
        (&mut self.stream).take(more as u64).read_to_end(body).await?;
        match body.len() == end {
            true => Ok(()),
            false => Err(format!("the answer ends {} bytes too early", end - body.len()).into()),
        }
    }
}

/// Bytes that nobody stored before and that cannot be compressed; the same for the same name.
pub(crate) fn noise(name: &str, length: usize) -> Vec<u8> {
    let mut state = Hash::of(name.as_bytes()).as_bytes().chunks_exact(8).fold(1_u64, |state, bytes| {
        state.rotate_left(13) ^ bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    });
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        // xorshift64*, Marsaglia and Vigna.
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
