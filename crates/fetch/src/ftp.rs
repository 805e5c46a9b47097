//! Files from FTP servers (RFC 959, 2428, 3659), anonymously.
//!
//! The data connection goes to the very address of the control connection, which was checked: of what the server names only
//! the port counts, and that must be one that anybody may open. Replies are bounded in length and time.

use std::net::IpAddr;

use http::HeaderMap;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::client::{Body, Client};
use crate::error::FetchError;
use crate::fetch::{Fetched, Wanted, disk};
use crate::name::name_of;
use crate::part::{Origin, Part};
use crate::place::Place;
use crate::progress::Progress;

/// The longest line of a reply, in bytes, and lines of one reply.
const LINE_BYTES: u64 = 2_048;
const LINES: usize = 200;
/// Ports below are those of services: no data comes from there.
const PORTS: u16 = 1_024;
/// A file of a server that tells neither its length nor its time is one without a version.
const NOT_TOLD: [u16; 5] = [500, 502, 504, 550, 501];

/// A control connection.
struct Control {
    stream: BufReader<TcpStream>,
    host: String,
    address: IpAddr,
}

/// What the server says: three digits, and a text for people that sometimes matters.
struct Reply {
    code: u16,
    text: String,
}

impl Client {
    /// One connection, and as much as comes.
    pub(crate) async fn try_ftp(
        &self,
        wanted: &Wanted,
        part: &mut Part,
        progress: &Progress,
    ) -> Result<Fetched, FetchError> {
        let host = wanted.place.host();
        let slow = |_| FetchError::Slow { host: host.clone() };
        let path = wanted.place.ftp_path();
        let begun = tokio::time::timeout(self.options.patience, async {
            let mut control = Control::open(self, &wanted.place).await?;
            let origin = control.version(&wanted.place, &path).await?;
            if origin.total.is_some_and(|total| total > wanted.limit.0) {
                return Err(FetchError::TooLarge { limit: wanted.limit });
            }
            let known = part.origin();
            let same = known.date.is_some() && (&known.date, known.total) == (&origin.date, origin.total);
            if !same || origin.total.is_none_or(|total| part.len() > total) {
                part.restart(origin.clone()).await.map_err(disk("write"))?;
            }
            if origin.total == Some(part.len()) {
                return Ok((control, None));
            }
            let data = control.data().await?;
            if !part.is_empty() && !control.goes_on_at(part.len()).await? {
                part.restart(origin).await.map_err(disk("write"))?;
            }
            control.ask(b"RETR", &path, &[125, 150]).await?;
            Ok((control, Some(data)))
        });
        let (mut control, data) = begun.await.map_err(slow)??;
        if let Some(data) = data {
            self.receive(Body::Ftp(data), &host, wanted.limit, part, progress).await?;
            // Only this tells that it was not broken off.
            let end = tokio::time::timeout(self.options.silence, control.reply()).await.map_err(slow)??;
            if !matches!(end.code, 225 | 226 | 250) {
                return Err(FetchError::Short { host, got: part.len(), said: part.origin().total });
            }
        }
        part.finish().await.map_err(disk("write"))?;
        Ok(Fetched::Body)
    }
}

impl Control {
    /// Connects and logs in as anybody.
    async fn open(client: &Client, place: &Place) -> Result<Control, FetchError> {
        let host = place.host();
        let stream = client.connect(&host, place.port()).await?;
        let address = stream.peer_addr();
        let failed =
            |error: std::io::Error| FetchError::Connection { host: place.host(), problem: error.to_string() };
        let address = address.map_err(failed)?.ip();
        let mut control = Control { stream: BufReader::new(stream), host, address };
        let mut greeting = control.reply().await?;
        while greeting.code == 120 {
            greeting = control.reply().await?;
        }
        control.expect(greeting, &[220])?;
        if control.ask(b"USER", b"anonymous", &[230, 331]).await?.code == 331 {
            control.ask(b"PASS", b"anonymous@", &[230, 202]).await?;
        }
        control.ask(b"TYPE", b"I", &[200]).await?;
        Ok(control)
    }

    /// What the server says of a file. Only its length and time together name a version of it.
    async fn version(&mut self, place: &Place, path: &[u8]) -> Result<Origin, FetchError> {
        let told = |code: u16| code == 213 || NOT_TOLD.contains(&code);
        let mut values = Vec::new();
        for question in [&b"SIZE"[..], b"MDTM"] {
            let reply = self.say(question, path).await?;
            if !told(reply.code) {
                return Err(self.refused(reply));
            }
            values.push((reply.code == 213).then(|| reply.text.trim().to_owned()));
        }
        let changed = values.pop().flatten().filter(|time| time.len() <= 32);
        let total = values.pop().flatten().and_then(|size| size.parse().ok());
        let changed_s = changed.as_deref().and_then(seconds);
        Ok(Origin {
            url: place.to_string(),
            etag: None,
            date: changed.filter(|_| changed_s.is_some() && total.is_some()),
            total,
            name: name_of(&HeaderMap::new(), place),
            media_type: None,
            changed_s,
        })
    }

    /// A connection for data.
    async fn data(&mut self) -> Result<TcpStream, FetchError> {
        let reply = self.say(b"EPSV", b"").await?;
        let port = match reply.code {
            229 => extended_port(&reply.text),
            // It has to name an address as well, which is not looked at.
            500..600 if self.address.to_canonical().is_ipv4() => {
                passive_port(&self.ask(b"PASV", b"", &[227]).await?.text)
            }
            _ => return Err(self.refused(reply)),
        };
        let Some(port) = port.filter(|port| *port >= PORTS) else {
            let problem = "it names no port that data can come from";
            return Err(FetchError::Strange { host: self.host.clone(), problem });
        };
        TcpStream::connect((self.address, port)).await.map_err(|error| self.broken(&error))
    }

    /// Whether the next file comes from there on.
    async fn goes_on_at(&mut self, start: u64) -> Result<bool, FetchError> {
        let reply = self.say(b"REST", start.to_string().as_bytes()).await?;
        match reply.code {
            350 => Ok(true),
            500..600 => Ok(false),
            _ => Err(self.refused(reply)),
        }
    }

    /// What the server answers to a command, which must be one of these.
    async fn ask(&mut self, command: &[u8], argument: &[u8], good: &[u16]) -> Result<Reply, FetchError> {
        let reply = self.say(command, argument).await?;
        self.expect(reply, good)
    }

    async fn say(&mut self, command: &[u8], argument: &[u8]) -> Result<Reply, FetchError> {
        let space = if argument.is_empty() { &b""[..] } else { b" " };
        let line = [command, space, argument, b"\r\n"].concat();
        let sent = self.stream.get_mut().write_all(&line).await;
        sent.map_err(|error| self.broken(&error))?;
        self.reply().await
    }

    /// The next reply: one line, or all from `123-` to `123 `.
    async fn reply(&mut self) -> Result<Reply, FetchError> {
        let mut open = None;
        for _ in 0..LINES {
            let mut line = Vec::new();
            let read = (&mut self.stream).take(LINE_BYTES).read_until(b'\n', &mut line).await;
            read.map_err(|error| self.broken(&error))?;
            if line.is_empty() {
                return Err(self.broken(&std::io::ErrorKind::UnexpectedEof.into()));
            }
            let text = String::from_utf8_lossy(&line);
            if !line.ends_with(b"\n") {
                break;
            }
            let code =
                text.get(..3).and_then(|code| code.parse().ok()).filter(|code| (100..600).contains(code));
            match (open, code, line.get(3)) {
                (None, Some(code), Some(b'-')) => open = Some(code),
                (None, None, _) => break,
                (Some(of), Some(code), Some(b' ')) if code == of => {
                    return Ok(Reply { code, text: text[4..].trim_end().to_owned() });
                }
                (Some(_), ..) => {}
                (None, Some(code), _) => {
                    return Ok(Reply { code, text: text.get(4..).unwrap_or_default().trim_end().to_owned() });
                }
            }
        }
        let problem = "its reply is none of FTP, or does not end";
        Err(FetchError::Strange { host: self.host.clone(), problem })
    }

    fn expect(&self, reply: Reply, good: &[u16]) -> Result<Reply, FetchError> {
        if good.contains(&reply.code) { Ok(reply) } else { Err(self.refused(reply)) }
    }

    fn refused(&self, reply: Reply) -> FetchError {
        let text = reply.text.chars().filter(|char| !char.is_control()).take(100).collect();
        FetchError::Reply { host: self.host.clone(), code: reply.code, text }
    }

    fn broken(&self, error: &std::io::Error) -> FetchError {
        FetchError::Connection { host: self.host.clone(), problem: error.to_string() }
    }
}

/// The port in `Entering Extended Passive Mode (|||6446|)`.
fn extended_port(text: &str) -> Option<u16> {
    let inner = text.split_once('(')?.1;
    let mark = inner.chars().next()?;
    inner.strip_prefix([mark; 3].iter().collect::<String>().as_str())?.split_once(mark)?.0.parse().ok()
}

/// The port in `Entering Passive Mode (h1,h2,h3,h4,p1,p2)`, with brackets or without.
fn passive_port(text: &str) -> Option<u16> {
    let numbers =
        text.rsplit(|char: char| !char.is_ascii_digit() && char != ',').find(|part| part.contains(','))?;
    let numbers: Vec<u8> = numbers.split(',').map(|number| number.parse().ok()).collect::<Option<_>>()?;
    let [_, _, _, _, high, low] = numbers[..] else { return None };
    Some(u16::from_be_bytes([high, low]))
}

/// `YYYYMMDDhhmmss` and perhaps a fraction, in UTC, as seconds since 1970.
fn seconds(time: &str) -> Option<u64> {
    let digits = time.split('.').next().filter(|digits| digits.len() == 14)?;
    let number = |from: usize, to: usize| digits.get(from..to)?.parse::<u64>().ok();
    let (year, month, day) = (number(0, 4)?, number(4, 6)?, number(6, 8)?);
    let (hour, minute, second) = (number(8, 10)?, number(10, 12)?, number(12, 14)?);
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 {
        return None;
    }
    // Years begin in March, so that the leap day is their last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    // From March of the year 0 to 1970.
    Some((days.checked_sub(719_468)?) * 86_400 + hour * 3_600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_times_are_read() {
        assert_eq!(extended_port("Entering Extended Passive Mode (|||6446|)"), Some(6446));
        assert_eq!(extended_port("(!!!1!)."), Some(1));
        for bad in ["", "()", "(|||)", "(|||70000|)", "(||6446|)", "(|1|127.0.0.1|6446|)"] {
            assert_eq!(extended_port(bad), None, "{bad}");
        }
        assert_eq!(passive_port("Entering Passive Mode (127,0,0,1,25,46)."), Some(6446));
        assert_eq!(passive_port("=10,0,0,5,4,1"), Some(1025));
        for bad in ["", "(1,2,3,4,5)", "(1,2,3,4,5,256)", "(1,2,3,4,5,6,7)", "1,2"] {
            assert_eq!(passive_port(bad), None, "{bad}");
        }
        assert_eq!(seconds("19941106084937"), Some(784_111_777));
        assert_eq!(seconds("19700101000000.123"), Some(0));
        assert_eq!(seconds("20240229120000"), Some(1_709_208_000));
        for bad in ["", "1994110608493", "19941306084937", "16000101000000", "0000000000000a"] {
            assert_eq!(seconds(bad), None, "{bad}");
        }
    }
}
