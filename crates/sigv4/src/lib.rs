//! Signs requests by AWS Signature Version 4 as clients do, for tests and measurements.

use ring::{digest, hmac};

/// Somebody who signs.
#[derive(Clone, Debug)]
pub struct Signer {
    /// The access key.
    pub access_key: String,
    /// The secret key.
    pub secret_key: String,
}

impl Signer {
    /// The headers that a request gets: those of the signature, and those that say what was signed. `path` and `query` are
    /// encoded already, the parameters of `query` in order and each with a `=`; `time` is like `20260131T235959Z`. The body
    /// is not signed.
    pub fn sign(
        &self,
        method: &str,
        host: &str,
        path: &str,
        query: &str,
        time: &str,
    ) -> [(&'static str, String); 3] {
        const PAYLOAD: &str = "UNSIGNED-PAYLOAD";
        const SIGNED: &str = "host;x-amz-content-sha256;x-amz-date";
        let day = time.get(..8).unwrap_or(time);
        let scope = format!("{day}/us-east-1/s3/aws4_request");
        let request = format!(
            "{method}\n{path}\n{query}\nhost:{host}\nx-amz-content-sha256:{PAYLOAD}\nx-amz-date:{time}\n\n{SIGNED}\n{PAYLOAD}"
        );
        let request = digest::digest(&digest::SHA256, request.as_bytes());
        let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex(request.as_ref()));
        let mut key = format!("AWS4{}", self.secret_key).into_bytes();
        for part in [day, "us-east-1", "s3", "aws4_request", &text] {
            let signed = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), part.as_bytes());
            key = signed.as_ref().to_vec();
        }
        let signature = hex(&key);
        let access_key = &self.access_key;
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={access_key}/{scope}, SignedHeaders={SIGNED}, Signature={signature}"
        );
        [
            ("x-amz-date", time.to_owned()),
            ("x-amz-content-sha256", PAYLOAD.to_owned()),
            ("authorization", authorization),
        ]
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
