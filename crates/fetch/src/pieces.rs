//! Where the files of a torrent lie in its pieces, for whoever has bytes of it from elsewhere.
//!
//! Pieces are cut from all files behind each other (BEP 3), so that one may hold the end of a file, many small ones, and the
//! beginning of another.

use std::ops::Range;

use ring::digest;

use crate::torrent::Torrent;

/// Where files and pieces lie among all bytes of a torrent.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Where each file begins, and the length of all at the end.
    starts: Vec<u64>,
    piece_bytes: u64,
}

impl Layout {
    /// All bytes of a file.
    pub fn file(&self, number: usize) -> Range<u64> {
        self.starts[number]..self.starts[number + 1]
    }

    /// All bytes of a piece; none behind the last one.
    pub fn piece(&self, piece: usize) -> Range<u64> {
        let total = self.starts[self.starts.len() - 1];
        let start = (piece as u64).saturating_mul(self.piece_bytes).min(total);
        start..start.saturating_add(self.piece_bytes).min(total)
    }

    /// The pieces in which these bytes lie; none if there are no bytes.
    pub fn pieces_of(&self, bytes: Range<u64>) -> Range<usize> {
        if bytes.is_empty() {
            return 0..0;
        }
        (bytes.start / self.piece_bytes) as usize..((bytes.end - 1) / self.piece_bytes) as usize + 1
    }

    /// The files in which these bytes lie; empty ones may be among them.
    pub fn files_of(&self, bytes: Range<u64>) -> Range<usize> {
        let begun_before = |byte: u64| self.starts.partition_point(|start| *start <= byte);
        let files = self.starts.len() - 1;
        if bytes.is_empty() {
            return 0..0;
        }
        begun_before(bytes.start).saturating_sub(1)..begun_before(bytes.end - 1).min(files)
    }

    /// Bytes of all pieces in which these files lie. Pieces come whole, so that small files between others, or between
    /// padding, may take far more room than they have bytes.
    pub fn bytes_of_pieces(&self, files: impl IntoIterator<Item = usize>) -> u64 {
        let mut files: Vec<usize> = files.into_iter().collect();
        files.sort_unstable();
        let (mut bytes, mut counted) = (0, 0);
        for file in files {
            let pieces = self.pieces_of(self.file(file));
            let first = pieces.start.max(counted);
            if first < pieces.end {
                bytes += self.piece(pieces.end - 1).end - self.piece(first).start;
                counted = pieces.end;
            }
        }
        bytes
    }

    /// The first piece that lies in a file as a whole, if one does.
    pub fn inner_piece(&self, number: usize) -> Option<usize> {
        let file = self.file(number);
        let first = file.start.div_ceil(self.piece_bytes) as usize;
        let piece = self.piece(first);
        (!piece.is_empty() && piece.end <= file.end).then_some(first)
    }
}

impl Torrent {
    /// Where its files and pieces lie.
    pub fn layout(&self) -> Layout {
        let ends = self.files.iter().scan(0, |end, file| {
            *end += file.length;
            Some(*end)
        });
        Layout { starts: std::iter::once(0).chain(ends).collect(), piece_bytes: self.piece_bytes }
    }

    /// Whether these are the bytes of a piece.
    pub fn is_piece(&self, piece: usize, bytes: &[u8]) -> bool {
        let seen = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, bytes);
        self.pieces.get(piece).is_some_and(|expected| seen.as_ref() == expected)
    }
}

#[cfg(test)]
mod tests {
    use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

    use crate::Torrent;

    #[test]
    fn pieces_cross_from_file_to_file() {
        // Files of 5, 0 and 8 bytes in pieces of 4.
        let file = |name: &str, length: u64| format!("d6:lengthi{length}e4:pathl1:{name}ee");
        let files = [file("a", 5), file("b", 0), file("c", 8)].concat();
        let info = format!("5:filesl{files}e4:name3:dir12:piece lengthi4e6:pieces80:");
        let pieces = ["aaaa", "accc", "cccc", "c"]
            .map(|piece| digest(&SHA1_FOR_LEGACY_USE_ONLY, piece.as_bytes()).as_ref().to_vec());
        let bytes = [b"d4:infod", info.as_bytes(), &pieces.concat(), b"ee"].concat();
        let torrent = Torrent::parse(&bytes).unwrap();
        let layout = torrent.layout();
        assert_eq!((layout.file(0), layout.file(1), layout.file(2)), (0..5, 5..5, 5..13));
        assert_eq!((layout.piece(1), layout.piece(3), layout.piece(4)), (4..8, 12..13, 13..13));
        assert_eq!(layout.pieces_of(0..5), 0..2);
        assert_eq!((layout.pieces_of(5..5), layout.pieces_of(5..13)), (0..0, 1..4));
        assert_eq!(
            (layout.files_of(0..4), layout.files_of(4..8), layout.files_of(8..13)),
            (0..1, 0..3, 2..3)
        );
        assert_eq!([0, 1, 2].map(|number| layout.inner_piece(number)), [Some(0), None, Some(2)]);
        let bytes = |files: &[usize]| layout.bytes_of_pieces(files.iter().copied());
        assert_eq!((bytes(&[0]), bytes(&[1]), bytes(&[2]), bytes(&[])), (8, 0, 9, 0));
        assert_eq!((bytes(&[2, 0]), bytes(&[0, 0])), (13, 8), "a piece of both counts once");
        assert!(torrent.is_piece(1, b"accc") && torrent.is_piece(3, b"c"));
        assert!(!torrent.is_piece(0, b"accc") && !torrent.is_piece(4, b"c"));
    }
}
