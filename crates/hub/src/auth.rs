//! Who is calling: bearer tokens (RFC 6750) resolved to accounts.

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;
use std::sync::{PoisonError, RwLock};

use http::{HeaderMap, header};
use pumasi_core::{Refusal, Role, Roles};
use pumasi_types::{AccountId, Hash, RequestId};
use tokio::sync::watch;

use crate::ServeError;
use crate::cell::{Cell, CellError};

/// An account that proved who it is.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) account: AccountId,
    pub(crate) roles: Roles,
}

impl Caller {
    pub(crate) fn is_operator(&self) -> bool {
        self.roles.contains(Role::Operator)
    }

    /// The same check as the state's, before anything costly is done for somebody without the role.
    pub(crate) fn needs(&self, role: Role) -> Result<(), Refusal> {
        if self.roles.contains(role) { Ok(()) } else { Err(Refusal::WrongRole { needed: role }) }
    }
}

/// Remembers whose token is whose, so that requests need no look at the state.
#[derive(Default)]
pub(crate) struct Tokens {
    known: RwLock<HashMap<Hash, Caller>>,
    /// How many were revoked since the start.
    revoked: watch::Sender<u64>,
}

impl Tokens {
    /// Tokens remembered at most; then all are looked up anew.
    const MOST: usize = 100_000;

    /// The caller behind a token that was looked up before.
    pub(crate) fn known(&self, token: &Hash) -> Option<Caller> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(token).cloned()
    }

    /// The caller behind a token, or none.
    pub(crate) async fn look_up(&self, cell: &Cell, token: Hash) -> Result<Option<Caller>, CellError> {
        let before = *self.revoked.borrow();
        let caller = cell
            .read(move |state| {
                let account = state.account_of_token(&token)?;
                let roles = state.ledger().account(account)?.roles();
                Some(Caller { account, roles })
            })
            .await?;
        if let Some(caller) = &caller {
            let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
            if known.len() >= Self::MOST {
                known.clear();
            }
            // What was seen before a revocation may be what was revoked.
            if *self.revoked.borrow() == before {
                known.insert(token, caller.clone());
            }
        }
        Ok(caller)
    }

    /// A token was revoked.
    pub(crate) fn forget(&self, token: &Hash) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        self.revoked.send_modify(|count| *count += 1);
        known.remove(token);
    }

    /// Changes whenever a token is revoked.
    pub(crate) fn revocations(&self) -> watch::Receiver<u64> {
        self.revoked.subscribe()
    }
}

/// The token that a request carries.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim_start())
}

/// What the state keeps of a token.
pub(crate) fn hash_of(token: &str) -> Hash {
    Hash::of(token.as_bytes())
}

/// Makes tokens. The same request id makes the same token again, so that a repeated request gets the same
/// answer though the token itself is stored nowhere.
pub(crate) struct TokenMaker {
    secret: [u8; 32],
}

impl TokenMaker {
    /// Reads the secret from the data folder, or makes it.
    pub(crate) fn open(dir: &Path) -> Result<TokenMaker, ServeError> {
        Ok(TokenMaker { secret: open_secret(&dir.join("token.secret"))? })
    }

    /// A secret of its own for a purpose: the same for the same request, or a random one.
    pub(crate) fn secret(&self, purpose: &str, id: Option<RequestId>) -> [u8; 32] {
        let Some(id) = id else { return random() };
        let key = blake3::derive_key(purpose, &self.secret);
        *blake3::keyed_hash(&key, &id.0.to_le_bytes()).as_bytes()
    }

    /// A key of the hub's own for a purpose.
    pub(crate) fn key(&self, purpose: &str) -> [u8; 32] {
        blake3::derive_key(purpose, &self.secret)
    }

    /// A token for this request, or a random one.
    pub(crate) fn make(&self, id: Option<RequestId>) -> String {
        let bytes = match id {
            Some(id) => *blake3::keyed_hash(&self.secret, &id.0.to_le_bytes()).as_bytes(),
            None => random(),
        };
        bytes.iter().fold("pumasi_".to_owned(), |text, byte| text + &format!("{byte:02x}"))
    }
}

/// Reads a secret of 32 bytes from the data folder, or makes it.
pub(crate) fn open_secret(path: &Path) -> Result<[u8; 32], ServeError> {
    match std::fs::read(path) {
        Ok(bytes) => bytes.try_into().map_err(|_| {
            let source = std::io::Error::other("it must have 32 bytes; remove it to make a new one");
            ServeError::file("use the secret", path)(source)
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let secret = random();
            write_secret(path, &secret)?;
            Ok(secret)
        }
        Err(error) => Err(ServeError::file("read", path)(error)),
    }
}

/// 32 bytes that nobody can guess.
pub(crate) fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).expect("the operating system has random numbers");
    bytes
}

/// [`write_private`] for the hub's secrets.
pub(crate) fn write_secret(path: &Path, bytes: &[u8]) -> Result<(), ServeError> {
    write_private(path, bytes).map_err(ServeError::file("write", path))
}

/// Writes a file that only its owner can read, durably, completely or not at all.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let temporary = path.with_extension("tmp");
    let mut options = std::fs::File::options();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    std::fs::File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}
