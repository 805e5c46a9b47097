//! Which hub a command speaks to, as whom, and by which certificate it is known.

use clap::Args;
use pumasi_api::client::{HubClient, Token};
use pumasi_api::tls::{Fingerprint, HubAddress, Pin};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::CliError;
use crate::profile::{Profile, Profiles};

/// Options of every command that speaks to a hub. What is not given comes from the profile.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Connection")]
pub(crate) struct HubArgs {
    /// The hub's address
    #[arg(long, global = true, env = "PUMASI_HUB", hide_env_values = true, value_name = "ADDRESS")]
    pub(crate) hub: Option<HubAddress>,
    /// The token of the account
    #[arg(long, global = true, env = "PUMASI_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<Token>,
    /// SHA-256 of the certificate that the hub must show
    #[arg(long, global = true, env = "PUMASI_FINGERPRINT", hide_env_values = true, value_name = "SHA256")]
    pub(crate) fingerprint: Option<Fingerprint>,
    /// The profile that `pumasi login` wrote
    #[arg(long, global = true, env = "PUMASI_PROFILE", hide_env_values = true, value_name = "NAME")]
    pub(crate) profile: Option<String>,
}

/// A hub and how to speak to it.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// Where it is.
    pub(crate) hub: HubAddress,
    /// The certificate that it must show.
    pub(crate) pin: Pin,
    /// Who we are.
    pub(crate) token: Option<Token>,
}

impl Target {
    /// A client that speaks to it.
    pub(crate) fn into_client(self) -> HubClient {
        HubClient::new(self.hub, self.pin, self.token)
    }
}

impl HubArgs {
    /// A client of the hub that is meant.
    pub(crate) fn client(&self) -> Result<HubClient, CliError> {
        self.target().map(Target::into_client)
    }

    /// Finds out which hub is meant.
    pub(crate) fn target(&self) -> Result<Target, CliError> {
        let complete = self.hub.as_ref().is_some_and(|hub| self.fingerprint.is_some() || !hub.tls);
        // Scripts that say everything need no profile and no home.
        if complete && self.token.is_some() && self.profile.is_none() {
            return self.resolve(None);
        }
        let profiles = Profiles::load(&Profiles::path()?)?;
        self.resolve(profiles.find(self.profile.as_deref())?)
    }

    fn resolve(&self, profile: Option<&Profile>) -> Result<Target, CliError> {
        let hub = self.hub.as_ref().or(profile.map(|profile| &profile.hub)).ok_or(CliError::NoHub)?;
        // A profile's token is for its own hub only, never for another that was named on the way.
        let profile = profile.filter(|profile| profile.hub == *hub);
        let token = self.token.clone().or_else(|| profile.map(|profile| profile.token.clone()));
        let fingerprint = self.fingerprint.or_else(|| profile.and_then(|profile| profile.fingerprint));
        let pin = match fingerprint {
            Some(fingerprint) => Pin::Known(fingerprint),
            None if !hub.tls => Pin::learn(),
            None => return Err(CliError::NoFingerprint { address: hub.clone() }),
        };
        Ok(Target { hub: hub.clone(), pin, token })
    }
}

/// Asks a hub for something that changes it; once, whatever breaks on the way.
pub(crate) async fn post<B: Serialize, T: DeserializeOwned>(
    client: &HubClient,
    path: &str,
    body: &B,
    operation: String,
) -> Result<T, CliError> {
    client.post(path, body, None).await.map_err(CliError::hub(operation))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile() -> Profile {
        Profile {
            hub: "a".parse().unwrap(),
            fingerprint: Some(Fingerprint::of(b"a")),
            account: "lab".to_owned(),
            token: "secret".parse().unwrap(),
        }
    }

    #[test]
    fn a_profile_fills_in_what_is_not_given() {
        let target = HubArgs::default().resolve(Some(&profile())).unwrap();
        assert_eq!(target.hub.to_string(), "https://a:7878");
        assert_eq!(target.pin.fingerprint(), Some(Fingerprint::of(b"a")));
        assert_eq!(target.token.unwrap().secret(), "secret");
        let args = HubArgs { token: Some("other".parse().unwrap()), ..HubArgs::default() };
        assert_eq!(args.resolve(Some(&profile())).unwrap().token.unwrap().secret(), "other");
    }

    #[test]
    fn another_hub_gets_neither_token_nor_trust() {
        let args = HubArgs { hub: Some("http://b".parse().unwrap()), ..HubArgs::default() };
        let target = args.resolve(Some(&profile())).unwrap();
        assert_eq!((target.token, target.pin.fingerprint()), (None, None));
        let args = HubArgs { hub: Some("b".parse().unwrap()), ..HubArgs::default() };
        assert!(matches!(args.resolve(Some(&profile())), Err(CliError::NoFingerprint { .. })));
        assert!(matches!(HubArgs::default().resolve(None), Err(CliError::NoHub)));
    }
}
