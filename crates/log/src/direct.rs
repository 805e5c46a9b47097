//! A large file that is written once, from its beginning to its end, past the page cache: filling pages with what nobody
//! reads soon costs more than the writing, and takes them from what is read. Blocks of zeros become holes.

use std::io;
use std::path::Path;

use crate::buffer::AlignedBuf;
use crate::disk::{Disk, DiskFile, Mode};
use crate::format::BLOCK;
use crate::sparse::write_sparse;

/// Bytes that are written at once.
const PIECE: usize = 1 << 20;

/// A new file on its way.
pub struct DirectWriter {
    file: Box<dyn DiskFile>,
    piece: AlignedBuf,
    filled: usize,
    /// Bytes before the piece.
    written: u64,
}

impl DirectWriter {
    /// Makes a file that is not there yet.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn create(disk: &dyn Disk, path: &Path) -> io::Result<DirectWriter> {
        let file = disk.open_direct(path, Mode::CreateNew)?;
        Ok(DirectWriter { file, piece: AlignedBuf::zeroed(PIECE), filled: 0, written: 0 })
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// When the disk refuses; then the file is of no use.
    pub fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(PIECE - self.filled));
            self.piece[self.filled..][..now.len()].copy_from_slice(now);
            self.filled += now.len();
            bytes = later;
            if self.filled == PIECE {
                write_sparse(&*self.file, self.written, &self.piece)?;
                self.written += PIECE as u64;
                self.filled = 0;
            }
        }
        Ok(())
    }

    /// Writes what is left. The file is durable only after [`DiskFile::sync`].
    ///
    /// # Errors
    /// When the disk refuses; then the file is of no use.
    pub fn finish(mut self) -> io::Result<Box<dyn DiskFile>> {
        let length = self.written + self.filled as u64;
        if self.filled > 0 {
            // Whole blocks only.
            let blocks = self.filled.next_multiple_of(BLOCK as usize);
            self.piece[self.filled..blocks].fill(0);
            write_sparse(&*self.file, self.written, &self.piece[..blocks])?;
        }
        // What the last block has too much is cut off, and a hole at the end becomes part of the file.
        self.file.set_len(length)?;
        Ok(self.file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;

    #[test]
    fn a_file_of_any_length_is_what_was_written() {
        let dir = tempfile::tempdir().unwrap();
        for length in [0, 1, 4095, 4096, 4097, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE + 12_345] {
            let bytes: Vec<u8> = (0..length).map(|at| (at * 31 / 7) as u8).collect();
            let path = dir.path().join(length.to_string());
            let mut writer = DirectWriter::create(&RealDisk, &path).unwrap();
            bytes.chunks(1_000_003).for_each(|part| writer.write(part).unwrap());
            writer.finish().unwrap().sync().unwrap();
            assert!(std::fs::read(&path).unwrap() == bytes, "{length}");
        }
        assert!(DirectWriter::create(&RealDisk, &dir.path().join("1")).is_err(), "it is there");
    }

    #[test]
    fn zeros_are_holes_also_at_the_end() {
        use std::os::unix::fs::MetadataExt;

        let dir = tempfile::tempdir().unwrap();
        for length in [BLOCK as usize, 4 * PIECE, 4 * PIECE + 5] {
            let mut bytes = vec![0; length];
            bytes[100] = 1;
            bytes[length / 2] = 2;
            let path = dir.path().join(length.to_string());
            let mut writer = DirectWriter::create(&RealDisk, &path).unwrap();
            bytes.chunks(1_000_003).for_each(|part| writer.write(part).unwrap());
            writer.finish().unwrap();
            assert!(std::fs::read(&path).unwrap() == bytes, "{length}");
            let blocks = std::fs::metadata(&path).unwrap().blocks();
            assert!(blocks * 512 < 1 << 20, "{length}: {blocks} blocks of 512 bytes are on disk");
        }
    }
}
