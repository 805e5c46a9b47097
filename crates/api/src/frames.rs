//! Many blobs in one body: each is its length in eight bytes, little-endian, and its bytes.

use bytes::{Buf, Bytes, BytesMut};

use crate::wire::files::{FRAME_LENGTH_BYTES, MANY_BLOBS};

/// Puts blobs behind each other.
pub fn frame(blobs: &[Bytes]) -> Bytes {
    let mut body = BytesMut::new();
    for blob in blobs {
        body.extend_from_slice(&(blob.len() as u64).to_le_bytes());
        body.extend_from_slice(blob);
    }
    body.freeze()
}

/// Takes blobs that stand behind each other apart; they share the memory of the body.
///
/// # Errors
/// Says which blob is cut short, or that there are more than [`MANY_BLOBS`].
pub fn unframe(mut body: Bytes) -> Result<Vec<Bytes>, String> {
    let mut blobs = Vec::new();
    while !body.is_empty() {
        if blobs.len() == MANY_BLOBS {
            return Err(format!("the body has more than {MANY_BLOBS} blobs: send them in several requests"));
        }
        let cut = || {
            format!(
                "blob {} of the body is cut short: each is its length in 8 bytes and its bytes",
                blobs.len()
            )
        };
        if body.len() < FRAME_LENGTH_BYTES {
            return Err(cut());
        }
        let length = body.get_u64_le();
        let length = usize::try_from(length).ok().filter(|length| *length <= body.len()).ok_or_else(cut)?;
        blobs.push(body.split_to(length));
    }
    Ok(blobs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(lengths: &[u64], bytes: &[u8]) -> Bytes {
        let frames = lengths.iter().flat_map(|length| [&length.to_le_bytes()[..], bytes].concat());
        frames.collect::<Vec<u8>>().into()
    }

    #[test]
    fn a_body_of_many_blobs_is_whole_or_refused() {
        assert_eq!(unframe(Bytes::new()), Ok(Vec::new()));
        let two = vec![Bytes::from("ab"), Bytes::from("ab")];
        assert_eq!(unframe(frame(&two)), Ok(two.clone()));
        assert_eq!(frame(&two), framed(&[2, 2], b"ab"));
        assert_eq!(unframe(framed(&[0, 0], b"")).map(|blobs| blobs.len()), Ok(2));
        assert!(unframe(framed(&[3], b"ab")).unwrap_err().contains("blob 0"));
        assert!(unframe(framed(&[2, u64::MAX], b"ab")).unwrap_err().contains("blob 1"));
        assert!(unframe(Bytes::from_static(b"1234567")).is_err());
        assert!(unframe(framed(&[0; MANY_BLOBS], b"")).is_ok());
        assert!(unframe(framed(&[0; MANY_BLOBS + 1], b"")).unwrap_err().contains("more than 1000"));
    }
}
