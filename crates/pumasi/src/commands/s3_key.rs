//! `pumasi s3-key`: keys for programs that speak S3.

use clap::Args;
use pumasi_api::wire::s3::{RevokeS3Key, S3Key};
use serde_json::json;

use crate::connect::{HubArgs, post};
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::Output;

const EXAMPLES: &str = "\
Examples:
  pumasi s3-key > s3.env                           a key, as variables that S3's programs read
  set -a; . ./s3.env; aws s3 ls
  pumasi s3-key --revoke PUMASI2F7K…               it is worthless from now on

Whoever has the key can do with your files what you can, and nothing else in your name. A hub with a certificate of \
its own: give the programs DATA/tls.cert.pem as AWS_CA_BUNDLE.";

/// Make a key for programs that speak S3, or revoke one
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct S3KeyArgs {
    /// Make this access key worthless
    #[arg(long, value_name = "ACCESS_KEY")]
    revoke: Option<String>,
    #[command(flatten)]
    hub: HubArgs,
}

impl S3KeyArgs {
    pub(crate) async fn run(self, out: &Output) -> Result<Exit, CliError> {
        let target = self.hub.target()?;
        let address = target.hub.to_string();
        let client = target.into_client();
        if let Some(access_key) = self.revoke {
            let operation = format!("revoke the key {access_key}");
            let () = post(&client, "/v1/s3-keys/revoke", &RevokeS3Key { access_key }, operation).await?;
            out.done("the key is worthless now")?;
            return Ok(Exit::Ok);
        }
        let key: S3Key = post(&client, "/v1/s3-keys", &(), "make a key for S3".to_owned()).await?;
        let S3Key { access_key, secret_key } = key;
        if out.json {
            out.value(&json!({"access_key": access_key, "secret_key": secret_key, "endpoint": address}))?;
        } else {
            out.line(&format!("AWS_ACCESS_KEY_ID={access_key}"))?;
            out.line(&format!("AWS_SECRET_ACCESS_KEY={secret_key}"))?;
            out.line(&format!("AWS_ENDPOINT_URL={address}"))?;
            out.line("AWS_REGION=us-east-1")?;
        }
        out.note("keep it secret: it is shown only this once");
        Ok(Exit::Ok)
    }
}
