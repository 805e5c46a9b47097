//! What is encrypted comes back; anything else does not.

use std::io::{Cursor, Read, Seek, SeekFrom};
use std::sync::Arc;

use proptest::prelude::*;
use pumasi_seal::header::HEADER;
use pumasi_seal::seal::{BLOCK, BLOCK_EXTRA, LEAST, LENGTH_MAX};
use pumasi_seal::{Header, Key, Opener, Seal, SealError, SealedReader, padded};

/// The id of [`key`].
const GOLDEN_ID: &str = "b09bafc56f5e5af2";
/// Lengths of [`content`], and the hash of what becomes of it.
const GOLDEN: [(usize, &str); 3] = [
    (0, "e6d2becaa7c9360f9f2c700eca3f2c20b659d5fac7f797ea1ef1e9251cab1675"),
    (5, "089ef820e6524699e473a01c9fe741be5bc7228acc64f0ffc434cee6ec7a3007"),
    (200_000, "1c187a65da6a698ad99d70ea342a40f1e1ddaf2dd6c0a1d87249e4ece1b8cbfc"),
];

fn key() -> Key {
    Key::new(std::array::from_fn(|n| n as u8))
}

fn sealed(key: &Key, content: &[u8]) -> Vec<u8> {
    let seal = Arc::new(Seal::of(key, content).unwrap());
    let mut bytes = Vec::new();
    SealedReader::new(Cursor::new(content), seal.clone()).read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes.len() as u64, seal.sealed_length());
    bytes
}

fn opened(key: &Key, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
    let seal = Arc::new(Seal::open(key, &Header::decode(sealed)?)?);
    let mut opener = Opener::new(seal.clone());
    let content = opener.push(sealed)?;
    opener.finish()?;
    // A file is as long as its header says.
    if sealed.len() as u64 == seal.sealed_length() { Ok(content) } else { Err(SealError::Changed) }
}

/// A content of a pattern that repeats nowhere near a block.
fn content(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n % 251) as u8 ^ (n / 65_521) as u8).collect()
}

#[test]
fn the_bytes_of_the_format_do_not_change() {
    // Made by an independent program from docs/formats.md alone.
    for (length, hash) in GOLDEN {
        let bytes = sealed(&key(), &content(length));
        assert_eq!(blake3::hash(&bytes).to_hex().as_str(), hash, "{length}: {:02x?}", &bytes[..HEADER]);
    }
    assert_eq!(key().id().to_string(), GOLDEN_ID);
}

#[test]
fn every_length_comes_back() {
    for length in [0, 1, 255, 256, 257, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 5 * BLOCK + 77] {
        let plain = content(length);
        let bytes = sealed(&key(), &plain);
        assert!(opened(&key(), &bytes).unwrap() == plain, "{length}");
        assert_eq!(bytes, sealed(&key(), &plain), "the same again");
        assert_ne!(
            bytes[20..52],
            sealed(&Key::new([9; 32]), &plain)[20..52],
            "nothing is shared between keys"
        );
    }
}

#[test]
fn lengths_are_hidden_up_to_the_padding() {
    assert_eq!([0, 1, 256, 257, 1_000, 100_000].map(padded), [LEAST, LEAST, 256, 272, 1_024, 100_352]);
    assert_eq!(padded(LENGTH_MAX), LENGTH_MAX);
    let mut before = 0;
    for length in (0..1_000_000_u64).step_by(37).chain((1 << 40)..(1 << 40) + 5) {
        let long = padded(length);
        assert!(long >= length.max(before) && long <= length.max(LEAST) / 8 + length.max(LEAST), "{length}");
        before = long;
    }
    assert_eq!(sealed(&key(), b"").len(), sealed(&key(), &[7; 256]).len());
}

#[test]
fn the_wrong_key_is_named() {
    let bytes = sealed(&key(), b"secret");
    let other = Key::new([9; 32]);
    assert_eq!(opened(&other, &bytes), Err(SealError::OtherKey(key().id())));
    let header = Header::decode(&bytes).unwrap();
    assert_eq!((header.key(), header.to_string().parse()), (key().id(), Ok(header)));
    // A key with the same id, if anybody found one, opens nothing either.
    let mut forged = bytes;
    forged[12..20].copy_from_slice(&other.id().0);
    assert_eq!(opened(&other, &forged), Err(SealError::Changed));
    for text in ["", "AAAA", "no base64!"] {
        assert!(text.parse::<Header>().is_err(), "{text}");
    }
}

#[test]
fn a_future_version_is_told_apart_from_rubbish() {
    let mut bytes = sealed(&key(), b"");
    bytes[8] = 2;
    assert_eq!(Header::decode(&bytes).unwrap_err(), SealError::Version(2));
    assert_eq!(Header::decode(&bytes[..20]).unwrap_err(), SealError::Version(2), "whatever its length");
    // Magic and version in base64url.
    assert_eq!("UFVNQVNJU0wCAAAA".parse::<Header>().unwrap_err(), SealError::Version(2));
    assert_eq!("UFVNQVNJU0wBAAAA".parse::<Header>().unwrap_err(), SealError::NotSealed);
    assert_eq!(Header::decode(b"PK\x03\x04").unwrap_err(), SealError::NotSealed);
}

#[test]
fn blocks_are_read_alone() {
    let plain = content(3 * BLOCK + 1_000);
    let seal = Seal::of(&key(), &plain[..]).unwrap();
    let bytes = sealed(&key(), &plain);
    for range in [0..0, 0..1, 5..BLOCK, BLOCK - 1..BLOCK + 1, 2 * BLOCK..plain.len(), 0..plain.len()] {
        let wanted = range.start as u64..range.end as u64;
        let cover = seal.cover(&wanted);
        let covered = &bytes[cover.start as usize..cover.end as usize];
        assert!(seal.open_range(&wanted, covered).unwrap() == plain[range.clone()], "{range:?}");
        assert!(covered.len() <= range.len() + 2 * (BLOCK + BLOCK_EXTRA), "{range:?} needs little");
    }
    let wanted = 0..plain.len() as u64 + 1;
    assert!(seal.open_range(&wanted, &bytes[HEADER..]).is_err(), "the padding is no content");
}

#[test]
fn the_encrypted_form_can_be_read_from_anywhere() {
    let plain = content(2 * BLOCK + 5);
    let seal = Arc::new(Seal::of(&key(), &plain[..]).unwrap());
    let whole = sealed(&key(), &plain);
    let mut reader = SealedReader::new(Cursor::new(&plain), seal);
    for at in [whole.len() - 3, 0, HEADER - 1, HEADER + BLOCK, 50_000] {
        reader.seek(SeekFrom::Start(at as u64)).unwrap();
        let mut some = vec![0; 70_000.min(whole.len() - at)];
        reader.read_exact(&mut some).unwrap();
        assert!(some == whole[at..at + some.len()], "{at}");
    }
    assert_eq!(reader.seek(SeekFrom::End(0)).unwrap(), whole.len() as u64);
    assert_eq!(reader.read(&mut [0; 9]).unwrap(), 0);
}

#[test]
fn a_file_that_is_written_to_meanwhile_is_noticed() {
    let plain = content(3 * BLOCK);
    let seal = Arc::new(Seal::of(&key(), &plain[..]).unwrap());
    let mut changed = plain.clone();
    changed[BLOCK + 7] ^= 1;
    for now in [&changed[..], &plain[..2 * BLOCK]] {
        let mut bytes = Vec::new();
        let error = SealedReader::new(Cursor::new(now), seal.clone()).read_to_end(&mut bytes).unwrap_err();
        assert_eq!(error.to_string(), SealError::Moving.to_string());
    }
    assert!(seal.is_of(&plain[..]).unwrap() && !seal.is_of(&changed[..]).unwrap());
}

#[test]
fn two_contents_under_one_seal_share_no_nonce() {
    // As when a file is written to between the two looks at it, and only one block of it is sent.
    let plain = content(2 * BLOCK);
    let mut changed = plain.clone();
    changed[0] ^= 1;
    let seal = Arc::new(Seal::of(&key(), &plain[..]).unwrap());
    let block = |plain: &[u8], number: usize| {
        let mut reader = SealedReader::new(Cursor::new(plain.to_vec()), seal.clone());
        // Not from front to back, so that it is not noticed.
        reader.seek(SeekFrom::End(-1)).unwrap();
        reader.read_exact(&mut [0]).unwrap();
        reader.seek(SeekFrom::Start((HEADER + number * (BLOCK + BLOCK_EXTRA)) as u64)).unwrap();
        let mut block = vec![0; BLOCK + BLOCK_EXTRA];
        reader.read_exact(&mut block).unwrap();
        block
    };
    assert_ne!(block(&plain, 0)[..12], block(&changed, 0)[..12], "another text, another nonce");
    assert!(block(&plain, 1) == block(&changed, 1), "the same text at the same place stays the same");
}

#[test]
fn a_beginning_is_gone_on_with() {
    let plain = content(3 * BLOCK + 9);
    let bytes = sealed(&key(), &plain);
    let seal = Arc::new(Seal::open(&key(), &Header::decode(&bytes).unwrap()).unwrap());
    for has in [0, 5, BLOCK, 2 * BLOCK + 1, plain.len()] {
        let mut opener = Opener::behind(seal.clone(), &plain[..has], has as u64).unwrap();
        let kept = opener.plain() as usize;
        assert!(kept <= has && kept + BLOCK > has, "{has}");
        let (from, to) = (opener.wanted() as usize, seal.content_end() as usize);
        let mut back = plain[..kept].to_vec();
        for piece in bytes[from..to.max(from)].chunks(9_999) {
            back.extend(opener.push(piece).unwrap());
        }
        opener.finish().unwrap();
        assert!(back == plain, "{has}");
    }
    // A beginning of something else is noticed at the end.
    let other = vec![1; BLOCK];
    let mut opener = Opener::behind(seal.clone(), &other[..], BLOCK as u64).unwrap();
    let (from, to) = (opener.wanted() as usize, seal.content_end() as usize);
    opener.push(&bytes[from..to]).unwrap();
    assert_eq!(opener.finish(), Err(SealError::Changed));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Cut anywhere, one bit changed, two blocks swapped, a block of another content or place: never opened.
    #[test]
    fn no_change_passes(
        length in 0_usize..4 * BLOCK,
        at in any::<prop::sample::Index>(),
        bit in 0_u8..8,
        swap in any::<[prop::sample::Index; 2]>(),
    ) {
        let plain = content(length);
        let bytes = sealed(&key(), &plain);
        let at = at.index(bytes.len());
        prop_assert!(opened(&key(), &bytes[..at]).is_err(), "cut at {}", at);

        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << bit;
        prop_assert!(opened(&key(), &flipped).is_err(), "bit {} of byte {}", bit, at);

        let longer = [&bytes[..], b"x"].concat();
        prop_assert!(opened(&key(), &longer).is_err(), "longer");

        let whole = (bytes.len() - HEADER) / (BLOCK + BLOCK_EXTRA);
        let [a, b] = swap.map(|index| index.index(whole.max(1)));
        if a != b {
            let mut mixed = bytes.clone();
            let [a, b] = [a, b].map(|n| HEADER + n * (BLOCK + BLOCK_EXTRA));
            let block = |at: usize| bytes[at..at + BLOCK + BLOCK_EXTRA].to_vec();
            let (first, second) = (block(a), block(b));
            mixed[a..a + first.len()].copy_from_slice(&second);
            mixed[b..b + second.len()].copy_from_slice(&first);
            prop_assert!(opened(&key(), &mixed).is_err(), "swapped blocks");
        }

        let mut other = plain;
        other.push(1);
        let mut mixed = sealed(&key(), &other);
        if mixed.len() == bytes.len() {
            mixed[HEADER..].copy_from_slice(&bytes[HEADER..]);
            prop_assert!(opened(&key(), &mixed).is_err(), "blocks of another content");
        }
    }

    /// Whatever the pieces that arrive, the content is the same.
    #[test]
    fn pieces_do_not_matter(length in 0_usize..3 * BLOCK, size in 1_usize..200_000) {
        let plain = content(length);
        let bytes = sealed(&key(), &plain);
        let seal = Arc::new(Seal::open(&key(), &Header::decode(&bytes).unwrap()).unwrap());
        let mut opener = Opener::new(seal);
        let mut back = Vec::new();
        for piece in bytes.chunks(size) {
            back.extend(opener.push(piece).unwrap());
        }
        prop_assert!(opener.finish().is_ok() && back == plain);
    }
}
