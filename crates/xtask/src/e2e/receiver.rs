//! The server of somebody who takes webhooks: HTTP as far as the hub speaks it, and signatures.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

/// Answers the requests of a connection with a status, without a body.
pub(super) fn serve(
    stream: TcpStream,
    mut answer: impl FnMut(&str, &BTreeMap<String, String>, &[u8]) -> u16,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        let mut headers = BTreeMap::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        let length = headers.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let status = answer(&path, &headers, &body);
        write!(stream, "HTTP/1.1 {status} -\r\nContent-Length: 0\r\n\r\n")?;
    }
}

/// As a receiver checks a request, after the specification.
pub(super) fn check(secret: &str, headers: &BTreeMap<String, String>, body: &[u8]) {
    let key = STANDARD.decode(secret.strip_prefix("whsec_").expect("a secret")).expect("base64");
    let mut signed = format!("{}.{}.", headers["webhook-id"], headers["webhook-timestamp"]).into_bytes();
    signed.extend_from_slice(body);
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    let is_good = |signature: &str| {
        let signature = signature.strip_prefix("v1,").expect("a signature of version 1");
        hmac::verify(&key, &signed, &STANDARD.decode(signature).expect("base64")).is_ok()
    };
    // There are two while a secret is changed.
    assert!(headers["webhook-signature"].split(' ').any(is_good), "it is signed");
}
