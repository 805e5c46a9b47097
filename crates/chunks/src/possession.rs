//! Showing that one has all bytes of a blob without sending them: slices of it, at places that the hub draws, hashed under a
//! key that is good for one account, one blob and one moment.
//!
//! Whoever knows the blob's name only, or has a share `f` of its bytes, has all [`SLICES`] slices with a chance of
//! about `f` to the power of [`SLICES`]: 4 in 10^12 for 95 %, 1 in 170 for 99 %. Whoever is helped by somebody who has the
//! bytes and answers at once in his place can pass (Halevi et al. 2011 call it a relay): but such a helper could as well
//! have sent the bytes. Small blobs are always sent: their bytes can be guessed, and sending them costs nothing.

use pumasi_types::{AccountId, Hash};

/// Slices that are asked for.
pub const SLICES: usize = 512;
/// Bytes of a slice.
pub const SLICE_BYTES: u64 = 1024;
/// Shorter blobs are sent, in bytes.
pub const LEAST: u64 = 1 << 20;

const OFFSETS: &str = "pumasi 2026-11 possession: places of slices";
const KEY: &str = "pumasi 2026-11 possession: key of an answer";

/// What the hub asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Challenge {
    /// Drawn by the hub, good once.
    pub nonce: [u8; 32],
    /// Who is asked.
    pub account: AccountId,
    /// About which blob.
    pub blob: Hash,
    /// How long it is said to be; at least [`LEAST`].
    pub length: u64,
}

/// An answer in the making: hand it the slices in the order of [`Challenge::offsets`].
#[derive(Debug)]
pub struct Answer(blake3::Hasher);

impl Challenge {
    /// Where the slices begin, ascending; the same can come twice.
    pub fn offsets(&self) -> Vec<u64> {
        let mut places = blake3::Hasher::new_derive_key(OFFSETS).update(&self.nonce).finalize_xof();
        let last = self.length.saturating_sub(SLICE_BYTES);
        let mut offsets = Vec::with_capacity(SLICES);
        for _ in 0..SLICES {
            let mut number = [0; 8];
            places.fill(&mut number);
            // Lengths are so far below 2^64 that the rest of the division favours nothing.
            offsets.push(u64::from_le_bytes(number) % (last + 1));
        }
        offsets.sort_unstable();
        offsets
    }

    /// Begins an answer.
    pub fn answer(&self) -> Answer {
        let mut key = blake3::Hasher::new_derive_key(KEY);
        key.update(&self.nonce);
        key.update(&self.account.0.to_le_bytes());
        key.update(self.blob.as_bytes());
        key.update(&self.length.to_le_bytes());
        Answer(blake3::Hasher::new_keyed(key.finalize().as_bytes()))
    }
}

impl Answer {
    /// The next slice.
    pub fn slice(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The answer.
    pub fn finish(self) -> Hash {
        self.0.finalize().into()
    }
}

/// Whether two answers are equal, in a time that tells nothing of them.
pub fn is_same(a: &Hash, b: &Hash) -> bool {
    blake3::Hash::from_bytes(*a.as_bytes()) == blake3::Hash::from_bytes(*b.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(challenge: &Challenge, bytes: &[u8]) -> Hash {
        let mut answer = challenge.answer();
        for offset in challenge.offsets() {
            answer.slice(&bytes[offset as usize..(offset + SLICE_BYTES) as usize]);
        }
        answer.finish()
    }

    fn challenge(nonce: u8, bytes: &[u8]) -> Challenge {
        Challenge {
            nonce: [nonce; 32],
            account: AccountId(7),
            blob: Hash::of(bytes),
            length: bytes.len() as u64,
        }
    }

    fn noise(length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        blake3::Hasher::new().update(b"possession").finalize_xof().fill(&mut bytes);
        bytes
    }

    #[test]
    fn an_answer_is_good_for_one_account_one_blob_and_one_challenge() {
        let bytes = noise(LEAST as usize);
        let asked = challenge(1, &bytes);
        let right = answer(&asked, &bytes);
        assert!(is_same(&right, &answer(&asked, &bytes)));
        let others = [
            Challenge { nonce: [2; 32], ..asked },
            Challenge { account: AccountId(8), ..asked },
            Challenge { blob: Hash::ZERO, ..asked },
            Challenge { length: asked.length - 1, ..asked },
        ];
        for other in others {
            assert!(!is_same(&right, &answer(&other, &bytes)), "{other:?}");
        }
    }

    #[test]
    fn slices_lie_everywhere_and_never_beyond_the_end() {
        for length in [LEAST, LEAST + 1, 1 << 40] {
            let asked = Challenge { nonce: [3; 32], account: AccountId(1), blob: Hash::ZERO, length };
            let offsets = asked.offsets();
            assert_eq!(offsets.len(), SLICES);
            assert!(offsets.is_sorted() && offsets.iter().all(|offset| offset + SLICE_BYTES <= length));
            let tenths: std::collections::BTreeSet<u64> =
                offsets.iter().map(|offset| offset / (length / 10)).collect();
            assert!(tenths.len() >= 10, "{tenths:?}");
        }
    }

    /// Whoever lacks a twentieth of the bytes, wherever it lies, fails every challenge.
    #[test]
    fn nearly_all_bytes_are_not_enough() {
        let bytes = noise(LEAST as usize);
        for (start, scattered) in [(0, false), (bytes.len() / 2, false), (0, true)] {
            let mut lacking = bytes.clone();
            let lost = bytes.len() / 20;
            match scattered {
                false => lacking[start..start + lost].fill(0),
                true => lacking.chunks_mut(4096).step_by(20).for_each(|part| part.fill(0)),
            }
            for nonce in 0..=255 {
                let asked = challenge(nonce, &bytes);
                assert!(!is_same(&answer(&asked, &lacking), &answer(&asked, &bytes)), "{nonce}");
            }
        }
    }
}
