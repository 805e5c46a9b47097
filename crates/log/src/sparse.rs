//! Files in which blocks of zeros are holes: they take no room on the disk and need not be written.

use std::io;

use crate::disk::DiskFile;
use crate::format::BLOCK;

/// Bytes that are left out when all of them are zero; what file systems allocate at least.
const HOLE: usize = BLOCK as usize;

/// Writes bytes at an offset of a file behind which nothing lies, all but blocks of zeros. The file may end up shorter than what
/// was written: whoever writes last sets its length. What begins and ends at blocks is written in whole blocks.
///
/// # Errors
/// When the disk refuses.
pub fn write_sparse(file: &dyn DiskFile, mut at: u64, mut bytes: &[u8]) -> io::Result<()> {
    let zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
    while !bytes.is_empty() {
        let to_edge = HOLE - (at % BLOCK) as usize;
        let mut length = to_edge.min(bytes.len());
        let hole = zero(&bytes[..length]);
        // As many blocks of the same kind as there are.
        while length < bytes.len() {
            let next = (length + HOLE).min(bytes.len());
            if zero(&bytes[length..next]) != hole {
                break;
            }
            length = next;
        }
        let (now, later) = bytes.split_at(length);
        if !hole {
            file.write_all_at(now, at)?;
        }
        at += length as u64;
        bytes = later;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn zeros_become_holes_and_all_else_is_written() {
        let mut bytes = vec![0; 8 << 20];
        bytes[5_000] = 1;
        bytes[(4 << 20) + 7] = 2;
        let file = tempfile::tempfile().unwrap();
        for (n, piece) in bytes.chunks(999_983).enumerate() {
            write_sparse(&file, n as u64 * 999_983, piece).unwrap();
        }
        file.set_len(bytes.len() as u64).unwrap();
        let mut read = Vec::new();
        (&file).read_to_end(&mut read).unwrap();
        assert!(read == bytes);
        assert!(file.metadata().unwrap().blocks() * 512 < 1 << 20, "most of it is not on disk");
    }
}
