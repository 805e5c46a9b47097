//! Keys: 32 bytes, from the system's random numbers or a passphrase; their ids, and their texts for people.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use argon2::{Algorithm, Argon2, Params, Version};
use serde::{Deserialize, Serialize};

use crate::SealError;

/// Bytes of a key.
pub const KEY_BYTES: usize = 32;
/// A passphrase has at least so many characters: whoever has one encrypted file can try as many as he can pay for.
pub const PASSPHRASE_LEAST: usize = 12;

/// What the text of a key begins with.
const TEXT: &str = "pumasi-key-1";
/// Bytes behind a key in its text, by which a mistyped one is noticed.
const TEXT_CHECK: usize = 4;
/// Argon2id with 64 MiB, three passes and four lanes: the second recommended option of RFC 9106, section 4.
const MEMORY_KIB: u32 = 64 << 10;
const PASSES: u32 = 3;
const LANES: u32 = 4;

/// What opens files. Its `Debug` shows its id only.
#[derive(Clone)]
pub struct Key {
    secret: [u8; KEY_BYTES],
    id: KeyId,
}

/// Which key a file needs. It tells nothing of the key itself, except to whoever guesses that.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyId(pub [u8; 8]);

impl Key {
    /// A key of these bytes, which must be random.
    pub fn new(secret: [u8; KEY_BYTES]) -> Key {
        let id = derive("pumasi 2026-11 seal: id of a key", &secret, &[]);
        let mut short = [0; 8];
        short.copy_from_slice(&id[..8]);
        Key { secret, id: KeyId(short) }
    }

    /// The key that a name and a passphrase make, the same on every machine. The name is the salt: one that nobody else
    /// uses makes guessing for many at once useless. Takes 64 MiB and about a second.
    ///
    /// # Errors
    /// When the passphrase has fewer than [`PASSPHRASE_LEAST`] characters, or there is no memory.
    pub fn from_passphrase(name: &str, passphrase: &str) -> Result<Key, SealError> {
        if passphrase.chars().count() < PASSPHRASE_LEAST {
            let problem = format!("it has fewer than {PASSPHRASE_LEAST} characters");
            return Err(SealError::Passphrase(problem));
        }
        let failed = |error: argon2::Error| SealError::Passphrase(error.to_string());
        let salt = blake3::derive_key("pumasi 2026-11 seal: salt of a passphrase", name.as_bytes());
        let costs = Params::new(MEMORY_KIB, PASSES, LANES, Some(KEY_BYTES)).map_err(failed)?;
        let mut secret = [0; KEY_BYTES];
        Argon2::new(Algorithm::Argon2id, Version::V0x13, costs)
            .hash_password_into(passphrase.as_bytes(), &salt, &mut secret)
            .map_err(failed)?;
        Ok(Key::new(secret))
    }

    /// Which one it is.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// The key as a line of text, to be kept on paper or elsewhere: whoever has it has the key. [`Key::from_str`] reads it.
    pub fn recovery_text(&self) -> String {
        let mut text = TEXT.to_owned();
        for (n, byte) in self.secret.iter().chain(&text_check(&self.secret)).enumerate() {
            let space = if n % 2 == 0 { " " } else { "" };
            // Writing to a text cannot fail.
            let _ = write!(text, "{space}{byte:02x}");
        }
        text
    }

    /// A secret for one purpose.
    pub(crate) fn derive(&self, purpose: &'static str, of: &[u8]) -> [u8; 32] {
        derive(purpose, &self.secret, of)
    }
}

fn derive(purpose: &'static str, secret: &[u8; KEY_BYTES], of: &[u8]) -> [u8; 32] {
    *blake3::Hasher::new_derive_key(purpose).update(secret).update(of).finalize().as_bytes()
}

fn text_check(secret: &[u8; KEY_BYTES]) -> [u8; TEXT_CHECK] {
    let check = derive("pumasi 2026-11 seal: check of a key's text", secret, &[]);
    let mut short = [0; TEXT_CHECK];
    short.copy_from_slice(&check[..TEXT_CHECK]);
    short
}

impl FromStr for Key {
    type Err = SealError;

    /// Reads a recovery text, however it is spaced and in whatever case.
    fn from_str(text: &str) -> Result<Key, SealError> {
        let plain = |c: &char| !c.is_whitespace() && *c != '-';
        let text: String = text.chars().filter(plain).map(|c| c.to_ascii_lowercase()).collect();
        let begin: String = TEXT.chars().filter(plain).collect();
        let digits = text.strip_prefix(&begin).ok_or(SealError::Text("it begins with pumasi-key-1"))?;
        let bytes = hexadecimal::<{ KEY_BYTES + TEXT_CHECK }>(digits)
            .ok_or(SealError::Text("72 hexadecimal digits follow"))?;
        let (mut secret, mut check) = ([0; KEY_BYTES], [0; TEXT_CHECK]);
        secret.copy_from_slice(&bytes[..KEY_BYTES]);
        check.copy_from_slice(&bytes[KEY_BYTES..]);
        if check != text_check(&secret) {
            return Err(SealError::Text("one of its digits is wrong"));
        }
        Ok(Key::new(secret))
    }
}

/// So many bytes, each as two hexadecimal digits.
fn hexadecimal<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        *byte = u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok()?;
    }
    Some(bytes)
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.id)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<KeyId> for String {
    fn from(id: KeyId) -> String {
        id.to_string()
    }
}

impl TryFrom<String> for KeyId {
    type Error = &'static str;

    fn try_from(text: String) -> Result<KeyId, &'static str> {
        hexadecimal(&text).map(KeyId).ok_or("the id of a key has 16 hexadecimal digits")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_being_written_down() {
        let key = Key::new([7; 32]);
        let text = key.recovery_text();
        assert_eq!(text.split(' ').count(), 1 + 18);
        let careless = format!("  {}\n", text.to_uppercase().replace(' ', "  "));
        for text in [text.clone(), careless, text.replace(' ', "-")] {
            assert_eq!(text.parse::<Key>().unwrap().secret, [7; 32], "{text}");
        }
        let mistyped = text.replacen('7', "8", 1);
        assert_eq!(mistyped.parse::<Key>().unwrap_err(), SealError::Text("one of its digits is wrong"));
        for text in
            ["", "pumasi-key-1", "hello", &text[..text.len() - 1], &format!("{text}0"), "pumasi-key-1 é"]
        {
            assert!(text.parse::<Key>().is_err(), "{text}");
        }
        assert_eq!(format!("{key:?}"), format!("Key({})", key.id()), "nothing shows it by mistake");
    }

    #[test]
    fn a_passphrase_makes_the_same_key_everywhere() {
        let key = Key::from_passphrase("family", "correct horse battery").unwrap();
        assert_eq!(key.id(), Key::from_passphrase("family", "correct horse battery").unwrap().id());
        assert_ne!(key.id(), Key::from_passphrase("others", "correct horse battery").unwrap().id());
        assert!(matches!(Key::from_passphrase("family", "too short"), Err(SealError::Passphrase(_))));
    }

    #[test]
    fn ids_are_read_as_they_are_written() {
        let id = Key::new([1; 32]).id();
        assert_eq!(KeyId::try_from(String::from(id)), Ok(id));
        for text in ["", "12", "zzzzzzzzzzzzzzzz", "00112233445566778"] {
            assert!(KeyId::try_from(text.to_owned()).is_err(), "{text}");
        }
    }
}
