//! The hashes of the tree on disk: one file for each level of tiles, so that a tile of any width is a piece of
//! it and nothing is ever written twice.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use pumasi_cell::Journal;
use pumasi_core::Transfer;
use pumasi_proof::{Checkpoint, Frontier, Nodes, TilePath, TreeHash};
use pumasi_types::TransferId;

use super::ProofFailure;

/// Levels of tiles; 256^8 transfers are never reached.
const LEVELS: usize = 8;
/// Levels of the tree in one level of tiles.
const HEIGHT: u8 = 8;
/// Transfers read from the journal at once.
const CHUNK: u64 = 8192;

/// The files with the hashes.
#[derive(Debug)]
pub(crate) struct Levels {
    dir: PathBuf,
    files: Vec<File>,
}

impl Levels {
    /// Opens the files as they are at a checkpoint; makes them anew from the journal when they are not those
    /// of its tree.
    pub(super) fn open(
        dir: &Path,
        checkpoint: &Checkpoint,
        journal: &Journal<Transfer>,
    ) -> Result<(Levels, Frontier), ProofFailure> {
        let open = |level: usize| {
            let path = dir.join(format!("level-{level}"));
            let file = File::options().read(true).write(true).create(true).truncate(false).open(&path);
            file.map_err(ProofFailure::file("open", &path))
        };
        let files = (0..LEVELS).map(open).collect::<Result<_, _>>()?;
        let levels = Levels { dir: dir.to_owned(), files };
        match levels.rewind(checkpoint.size) {
            Ok(frontier) if frontier.root() == checkpoint.root => return Ok((levels, frontier)),
            _ => tracing::warn!(
                "the hashes in {} are not those of the checkpoint: making them anew",
                dir.display()
            ),
        }
        let mut frontier = levels.rewind(0)?;
        levels.append(&mut frontier, journal, checkpoint.size)?;
        if frontier.root() != checkpoint.root {
            let difference = format!(
                "its tree has the hash {}, that of the journal of transfers {}",
                checkpoint.root,
                frontier.root()
            );
            return Err(ProofFailure::Rewritten { signed: checkpoint.size, difference, dir: dir.to_owned() });
        }
        levels.sync()?;
        Ok((levels, frontier))
    }

    /// Forgets what is behind the first `size` leaves.
    pub(super) fn rewind(&self, size: u64) -> Result<Frontier, ProofFailure> {
        for (level, file) in self.files.iter().enumerate() {
            let bytes = (size >> (level * usize::from(HEIGHT))) * TreeHash::BYTES as u64;
            let there = file.metadata().map_err(self.failed("read"))?.len();
            if there < bytes {
                return Err(self.damaged());
            }
            file.set_len(bytes).map_err(self.failed("shorten"))?;
        }
        Frontier::of(self, size)
    }

    /// Appends leaves from the journal until there are `size`.
    pub(super) fn append(
        &self,
        frontier: &mut Frontier,
        journal: &Journal<Transfer>,
        size: u64,
    ) -> Result<(), ProofFailure> {
        while frontier.size() < size {
            let first = frontier.size();
            let count = (size - first).min(CHUNK);
            let mut new: [Vec<u8>; LEVELS] = Default::default();
            journal.records(
                TransferId(first + 1),
                count as usize,
                |record: &[u8; Transfer::RECORD_BYTES]| {
                    frontier.push(TreeHash::of_leaf(record), |level, hash| {
                        if level % HEIGHT == 0 {
                            new[usize::from(level / HEIGHT)].extend_from_slice(hash.as_bytes());
                        }
                    });
                },
            )?;
            for (level, hashes) in new.iter().enumerate() {
                let place = (first >> (level * usize::from(HEIGHT))) * TreeHash::BYTES as u64;
                self.files[level].write_all_at(hashes, place).map_err(self.failed("write"))?;
            }
        }
        Ok(())
    }

    /// Makes everything written durable.
    pub(super) fn sync(&self) -> Result<(), ProofFailure> {
        self.files.iter().try_for_each(File::sync_data).map_err(self.failed("sync"))
    }

    /// The bytes of a tile that is there.
    pub(super) fn tile(&self, level: u8, path: &TilePath) -> Result<Vec<u8>, ProofFailure> {
        self.read(usize::from(level), path.first(), path.width.into())
    }

    fn read(&self, level: usize, first: u64, count: usize) -> Result<Vec<u8>, ProofFailure> {
        let mut bytes = vec![0; count * TreeHash::BYTES];
        let file = self.files.get(level).ok_or_else(|| self.damaged())?;
        file.read_exact_at(&mut bytes, first * TreeHash::BYTES as u64).map_err(self.failed("read"))?;
        Ok(bytes)
    }

    fn failed(&self, operation: &'static str) -> impl FnOnce(std::io::Error) -> ProofFailure {
        ProofFailure::file(operation, &self.dir.join("level-*"))
    }

    pub(super) fn damaged(&self) -> ProofFailure {
        ProofFailure::DamagedLevels { dir: self.dir.clone() }
    }
}

impl Nodes for Levels {
    type Error = ProofFailure;

    fn node(&self, level: u8, index: u64) -> Result<TreeHash, ProofFailure> {
        let height = level % HEIGHT;
        let bytes = self.read((level / HEIGHT).into(), index << height, 1 << height)?;
        let hashes: Vec<TreeHash> = bytes.as_chunks().0.iter().copied().map(TreeHash::from_bytes).collect();
        Ok(TreeHash::of_subtree(&hashes))
    }
}
