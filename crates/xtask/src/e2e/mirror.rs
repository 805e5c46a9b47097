//! A log as an outsider keeps it: a folder with everything that a hub publishes, and ways to falsify one.

use std::path::{Path, PathBuf};

use pumasi_api::client::HubClient;
use pumasi_proof::{Checkpoint, Frontier, Note, SignerKey, TilePath, TreeHash, bundle, unbundle};

use crate::pool::block_on;

/// The folder; `checkpoint`, `tile/…` and `tile/entries/…` are in it (c2sp.org/tlog-tiles).
pub(super) struct Mirror(pub(super) PathBuf);

/// No tile is larger: 256 entries of 65,535 bytes.
const TILE_BYTES_MAX: u64 = 1 << 25;

impl Mirror {
    /// Copies what a hub serves to an auditor, over HTTP.
    pub(super) fn fetch(auditor: &HubClient, folder: PathBuf) -> Mirror {
        let mirror = Mirror(folder);
        let get = |path: &str| {
            let bytes = block_on(auditor.get_bytes(&format!("/{path}"), TILE_BYTES_MAX));
            bytes.unwrap_or_else(|error| panic!("{path}: {error}"))
        };
        mirror.write("checkpoint", &get("checkpoint"));
        mirror.tiles().iter().for_each(|tile| mirror.write(&tile.to_string(), &get(&tile.to_string())));
        mirror
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a name in a folder")).expect("a folder");
        std::fs::write(path, bytes).expect("the folder can be written");
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// What its checkpoint says.
    pub(super) fn checkpoint(&self) -> Checkpoint {
        let note = Note::parse(&String::from_utf8(self.read("checkpoint")).expect("text")).expect("a note");
        Checkpoint::parse(note.text()).expect("a checkpoint")
    }

    /// All tiles of its tree.
    pub(super) fn tiles(&self) -> Vec<TilePath> {
        let size = self.checkpoint().size;
        let hashes = |level| (0..).map_while(move |index| TilePath::of_hashes(level, index, size));
        let bundles = (0..).map_while(|index| TilePath::of_entries(index, size));
        (0..8).flat_map(hashes).chain(bundles).collect()
    }

    /// The leaf at a place.
    pub(super) fn leaf(&self, index: u64) -> Vec<u8> {
        self.leaves().swap_remove(index as usize)
    }

    fn leaves(&self) -> Vec<Vec<u8>> {
        let size = self.checkpoint().size;
        let bundles = (0..).map_while(|index| TilePath::of_entries(index, size));
        let bundles = bundles.map(|path| self.read(&path.to_string()));
        bundles
            .flat_map(|bytes| {
                unbundle(&bytes).expect("a bundle").into_iter().map(<[u8]>::to_vec).collect::<Vec<_>>()
            })
            .collect()
    }

    /// A copy with one bit changed in one of its files.
    pub(super) fn damaged(&self, folder: PathBuf, name: &str) -> Mirror {
        let copied = std::process::Command::new("cp").arg("-r").arg(&self.0).arg(&folder).status();
        assert!(copied.is_ok_and(|status| status.success()));
        let mirror = Mirror(folder);
        let mut bytes = mirror.read(name);
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        mirror.write(name, &bytes);
        mirror
    }

    /// Another history, as only the hub itself could make it: one leaf changed, some appended, everything
    /// computed anew and signed with the hub's own key.
    pub(super) fn rewritten(&self, folder: &Path, changed: u64, appended: usize, key: &SignerKey) -> Mirror {
        let mut leaves = self.leaves();
        // The amount: 8 bytes from the 33rd on.
        leaves[changed as usize][32] ^= 1;
        leaves.extend((0..appended).map(|n| leaves[n].clone()).collect::<Vec<_>>());
        let mirror = Mirror(folder.to_owned());
        let (mut frontier, mut levels) = (Frontier::new(), [const { Vec::new() }; 8]);
        for leaf in &leaves {
            frontier.push(TreeHash::of_leaf(leaf), |level, hash| {
                if level % 8 == 0 {
                    levels[usize::from(level / 8)].extend_from_slice(hash.as_bytes());
                }
            });
        }
        let checkpoint = Checkpoint { size: frontier.size(), root: frontier.root(), ..self.checkpoint() };
        let mut note = Note::new(checkpoint.to_string()).expect("a checkpoint is a note's text");
        note.add(key.sign(note.text(), 0));
        mirror.write("checkpoint", note.to_string().as_bytes());
        for tile in mirror.tiles() {
            let (from, width) = (tile.first() as usize, usize::from(tile.width));
            let bytes = match tile.kind {
                pumasi_proof::TileKind::Hashes { level } => {
                    levels[usize::from(level)][32 * from..32 * (from + width)].to_vec()
                }
                pumasi_proof::TileKind::Entries => {
                    bundle(leaves[from..from + width].iter().map(Vec::as_slice)).expect("short leaves")
                }
            };
            mirror.write(&tile.to_string(), &bytes);
        }
        mirror
    }
}
