//! `pumasi login`: remember a hub, its certificate and a token.

use clap::Args;
use pumasi_api::client::{HubClient, Token};
use pumasi_api::tls::{Fingerprint, HubAddress, Pin};
use pumasi_api::wire::{Account, HubInfo};
use serde_json::json;

use crate::error::CliError;
use crate::exit::Exit;
use crate::output::Output;
use crate::profile::{DEFAULT_NAME, Profile, Profiles};
use crate::terminal;

const EXAMPLES: &str = "\
Examples:
  pumasi login pool.example                     asks for the token
  pumasi login pool.example:7878 --fingerprint 3f1a… < token.txt
  pumasi login https://[2001:db8::1] --profile lab --default
  pumasi login http://127.0.0.1:7878            a hub on this machine without TLS";

/// Remember a hub and a token, so that they are typed once
///
/// The first connection shows the fingerprint of the hub's certificate: compare it with the one that the
/// hub printed when it started, or that its operator told you. From then on only this certificate is
/// accepted. Profiles are kept in ~/.config/pumasi/profiles.toml, readable by you only.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct LoginArgs {
    /// The hub: host, host:port, https://host:port, or http://host:port without TLS
    hub: HubAddress,
    /// The token of the account; asked for, or read from standard input, when absent
    #[arg(long, env = "PUMASI_TOKEN", hide_env_values = true)]
    token: Option<Token>,
    /// SHA-256 of the certificate that the hub must show
    #[arg(long, env = "PUMASI_FINGERPRINT", hide_env_values = true, value_name = "SHA256")]
    fingerprint: Option<Fingerprint>,
    /// What to call it
    #[arg(long, env = "PUMASI_PROFILE", hide_env_values = true, value_name = "NAME", default_value = DEFAULT_NAME)]
    profile: String,
    /// Use it from now on when no profile is named
    #[arg(long)]
    default: bool,
    /// Accept the certificate without asking
    #[arg(short, long)]
    yes: bool,
}

impl LoginArgs {
    pub(crate) async fn run(self, out: &Output) -> Result<Exit, CliError> {
        let path = Profiles::path()?;
        let mut profiles = Profiles::load(&path)?;
        let pin = self.pin(&profiles);
        let operation = format!("log in to {}", self.hub);
        // Without the token: it is sent only once it is known to whom.
        let stranger = HubClient::new(self.hub.clone(), pin.clone(), None);
        let info: HubInfo = stranger.get("/v1/hub").await.map_err(CliError::hub(&operation))?;
        let fingerprint = if self.hub.tls { pin.fingerprint() } else { None };
        if let (Some(seen), Pin::Learn(_)) = (fingerprint, &pin) {
            self.confirm(seen, out)?;
        }
        if !self.hub.tls {
            out.warn("without TLS everybody on the way can read and change what you send");
        }
        let token = self.read_token()?;
        let known = fingerprint.map_or(pin, Pin::Known);
        let client = HubClient::new(self.hub.clone(), known, Some(token.clone()));
        let account: Account = client.get("/v1/me").await.map_err(CliError::hub(&operation))?;
        let profile = Profile { hub: self.hub.clone(), fingerprint, account: account.name.clone(), token };
        profiles.profiles.insert(self.profile.clone(), profile);
        if self.default || profiles.default.is_none() {
            profiles.default = Some(self.profile.clone());
        }
        profiles.save(&path)?;
        if out.json {
            out.value(&json!({
                "profile": self.profile, "hub": self.hub.to_string(), "account": account,
                "version": info.version, "fingerprint": fingerprint.map(|f| f.to_string()),
            }))?;
        } else {
            let roles = account.roles.join(", ");
            out.line(&format!("logged in to {} as {} ({roles})", self.hub, account.name))?;
        }
        let is_default = profiles.default.as_deref() == Some(&self.profile);
        let use_it =
            if is_default { String::new() } else { format!("; use it with --profile {}", self.profile) };
        out.note(&format!("saved as profile '{}' in {}{use_it}", self.profile, path.display()));
        Ok(Exit::Ok)
    }

    /// What the hub's certificate must be: as given, as at the last login, or whatever it is.
    fn pin(&self, profiles: &Profiles) -> Pin {
        let before = profiles.profiles.values().find(|profile| profile.hub == self.hub);
        match self.fingerprint.or_else(|| before.and_then(|profile| profile.fingerprint)) {
            Some(fingerprint) => Pin::Known(fingerprint),
            None => Pin::learn(),
        }
    }

    fn confirm(&self, seen: Fingerprint, out: &Output) -> Result<(), CliError> {
        out.note(&format!("The hub at {} shows this certificate for the first time:\n  {seen}", self.hub));
        if self.yes {
            return Ok(());
        }
        if !terminal::is_interactive() {
            out.warn("the certificate is trusted without a check; --fingerprint checks it");
            return Ok(());
        }
        match terminal::ask("Is it the fingerprint that the hub printed? [y/N]").as_deref() {
            Some("y" | "Y" | "yes") => Ok(()),
            _ => Err(CliError::usage(
                "the certificate was not accepted",
                "ask the hub's operator for the fingerprint and give it with --fingerprint",
            )),
        }
    }

    fn read_token(&self) -> Result<Token, CliError> {
        if let Some(token) = &self.token {
            return Ok(token.clone());
        }
        let text =
            if terminal::is_interactive() { terminal::ask_hidden("Token:") } else { terminal::read_line() };
        let text = text.unwrap_or_default();
        text.trim().parse().map_err(|error: pumasi_api::client::ParseTokenError| {
            CliError::usage(error.to_string(), "give it with --token, in PUMASI_TOKEN or on standard input")
        })
    }
}
