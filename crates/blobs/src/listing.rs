//! Listings, version 1: what a folder holds, as a blob. A tree is the listing of its top; equal folders are stored once.
//!
//! ```text
//! magic [4] "PUML"  version u16
//! per entry: kind u8 (0 file, 1 folder, 2 symbolic link)  mode u32  mtime i64 (ns since 1970)  size u64
//!            blob [32]  name length u16  name
//! ```
//!
//! Numbers are little-endian. Names are bytes, one path component each, in strictly ascending order: so none comes
//! twice, and nothing can be written through a link of the same name. The blob of a folder is its listing, that of a
//! link what it points to.

use pumasi_types::Hash;

/// First bytes of every listing.
pub const MAGIC: [u8; 4] = *b"PUML";
/// The only version there is.
pub const VERSION: u16 = 1;
/// Bytes of an entry without its name.
const ENTRY_BYTES: usize = 55;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// A regular file.
    File,
    /// A folder; its blob is a listing.
    Folder,
    /// A symbolic link; its blob is what it points to.
    Link,
}

impl What {
    /// The word for it, for people and in files of names.
    pub fn word(self) -> &'static str {
        match self {
            What::File => "file",
            What::Folder => "folder",
            What::Link => "link",
        }
    }
}

/// One name in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// One path component, in whatever encoding.
    pub name: Vec<u8>,
    /// File, folder or link.
    pub what: What,
    /// Permissions, the lower 12 bits of what Unix calls mode.
    pub mode: u32,
    /// When it was last changed, in nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Bytes of a file, or of all files below a folder.
    pub size: u64,
    /// Its bytes.
    pub blob: Hash,
}

/// Why bytes are not a listing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ListingFault {
    /// No listing, or of another version.
    #[error("it does not begin as a listing of version {VERSION} does")]
    Magic,
    /// It ends in the middle of an entry.
    #[error("it is cut off")]
    Cut,
    /// A kind that does not exist.
    #[error("it has an entry of kind {0}, there are 0 to 2")]
    Kind(u8),
    /// Empty, `.`, `..`, with a slash or a zero, or not in order.
    #[error("it has a name that no folder can have, or names out of order")]
    Name,
}

/// The stored form of entries, whatever their order.
pub fn encode(mut entries: Vec<Listed>) -> Vec<u8> {
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    for entry in entries {
        bytes.push(match entry.what {
            What::File => 0,
            What::Folder => 1,
            What::Link => 2,
        });
        bytes.extend_from_slice(&entry.mode.to_le_bytes());
        bytes.extend_from_slice(&entry.mtime_ns.to_le_bytes());
        bytes.extend_from_slice(&entry.size.to_le_bytes());
        bytes.extend_from_slice(entry.blob.as_bytes());
        let length = u16::try_from(entry.name.len()).expect("no system has longer names");
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&entry.name);
    }
    bytes
}

/// Reads the stored form.
///
/// # Errors
/// A [`ListingFault`] for whatever [`encode`] cannot have written.
pub fn decode(bytes: &[u8]) -> Result<Vec<Listed>, ListingFault> {
    let mut rest = bytes.strip_prefix(&MAGIC).ok_or(ListingFault::Magic)?;
    rest = rest.strip_prefix(&VERSION.to_le_bytes()).ok_or(ListingFault::Magic)?;
    let mut entries: Vec<Listed> = Vec::new();
    while !rest.is_empty() {
        let (head, tail) = rest.split_first_chunk::<ENTRY_BYTES>().ok_or(ListingFault::Cut)?;
        let length = usize::from(u16::from_le_bytes([head[53], head[54]]));
        let (name, tail) = tail.split_at_checked(length).ok_or(ListingFault::Cut)?;
        let what = match head[0] {
            0 => What::File,
            1 => What::Folder,
            2 => What::Link,
            other => return Err(ListingFault::Kind(other)),
        };
        let is_component = !matches!(name, b"" | b"." | b"..") && !name.iter().any(|b| matches!(b, b'/' | 0));
        if !is_component || entries.last().is_some_and(|last| last.name.as_slice() >= name) {
            return Err(ListingFault::Name);
        }
        entries.push(Listed {
            name: name.to_vec(),
            what,
            mode: u32::from_le_bytes(head[1..5].try_into().expect("4 bytes")),
            mtime_ns: i64::from_le_bytes(head[5..13].try_into().expect("8 bytes")),
            size: u64::from_le_bytes(head[13..21].try_into().expect("8 bytes")),
            blob: Hash::from_bytes(head[21..53].try_into().expect("32 bytes")),
        });
        rest = tail;
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn listed(name: &[u8], what: What) -> Listed {
        let (mode, mtime_ns, size) = (0o644, -1, 5);
        Listed { name: name.to_vec(), what, mode, mtime_ns, size, blob: Hash::from_bytes([3; 32]) }
    }

    /// Changing this snapshot makes every stored folder unreadable: raise VERSION instead.
    #[test]
    fn layout_is_fixed() {
        let bytes = encode(vec![listed("품".as_bytes(), What::Folder), listed(b"a", What::File)]);
        let text: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        insta::assert_snapshot!(text.join(" "));
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        let all = vec![listed(b"a", What::Link), listed(b"b", What::File), listed(b"\xff", What::Folder)];
        assert_eq!(decode(&encode(all.clone())), Ok(all));
        for name in [&b""[..], b".", b"..", b"a/b", b"/", b"a\0"] {
            assert_eq!(decode(&encode(vec![listed(name, What::File)])), Err(ListingFault::Name), "{name:?}");
        }
        let twice = encode(vec![listed(b"a", What::Link), listed(b"a", What::Folder)]);
        assert_eq!(decode(&twice), Err(ListingFault::Name));
        let mut kind = encode(vec![listed(b"a", What::File)]);
        kind[6] = 3;
        assert_eq!(decode(&kind), Err(ListingFault::Kind(3)));
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes);
            let framed = [&MAGIC[..], &VERSION.to_le_bytes(), &bytes].concat();
            if let Ok(entries) = decode(&framed) {
                prop_assert_eq!(encode(entries), framed);
            }
        }
    }
}
