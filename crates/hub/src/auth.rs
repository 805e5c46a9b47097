//! Who is calling: bearer tokens (RFC 6750) resolved to accounts.

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;
use std::sync::{PoisonError, RwLock};

use pumasi_core::{Role, Roles};
use pumasi_types::{AccountId, Hash, RequestId};

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
}

/// Remembers whose token is whose, so that requests need no look at the state.
#[derive(Default)]
pub(crate) struct Tokens {
    known: RwLock<HashMap<Hash, Caller>>,
}

impl Tokens {
    /// Tokens remembered at most; then all are looked up anew.
    const MOST: usize = 100_000;

    /// The caller behind a token, or none.
    pub(crate) async fn resolve(&self, cell: &Cell, token: &str) -> Result<Option<Caller>, CellError> {
        let hash = hash_of(token);
        if let Some(caller) = self.known.read().unwrap_or_else(PoisonError::into_inner).get(&hash) {
            return Ok(Some(caller.clone()));
        }
        let caller = cell
            .read(move |state| {
                let account = state.account_of_token(&hash)?;
                let roles = state.ledger().account(account)?.roles;
                Some(Caller { account, roles })
            })
            .await?;
        if let Some(caller) = &caller {
            let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
            if known.len() >= Self::MOST {
                known.clear();
            }
            known.insert(hash, caller.clone());
        }
        Ok(caller)
    }

    /// A token was revoked.
    pub(crate) fn forget(&self) {
        self.known.write().unwrap_or_else(PoisonError::into_inner).clear();
    }
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
        let path = dir.join("token.secret");
        let secret = match std::fs::read(&path) {
            Ok(bytes) => bytes.try_into().map_err(|_| {
                let source = std::io::Error::other("it must have 32 bytes; remove it to make a new one");
                ServeError::file("use the token secret", &path)(source)
            })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let secret = random();
                write_secret(&path, &secret)?;
                secret
            }
            Err(error) => return Err(ServeError::file("read", &path)(error)),
        };
        Ok(TokenMaker { secret })
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

fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).expect("the operating system has random numbers");
    bytes
}

/// Writes a file that only its owner can read, completely or not at all.
pub(crate) fn write_secret(path: &Path, bytes: &[u8]) -> Result<(), ServeError> {
    use std::os::unix::fs::OpenOptionsExt;
    let temporary = path.with_extension("tmp");
    let write = || {
        let mut options = std::fs::File::options();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    };
    write().map_err(ServeError::file("write", path))
}
