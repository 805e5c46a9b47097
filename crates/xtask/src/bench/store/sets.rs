//! What is stored: noise, a real tree, a tar of it, very many small files.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::contender::succeed;
use crate::Outcome;

/// Bytes of the tree at most, so that it is like the one that others measured.
const TREE_MAX_MB: u64 = 1_500;
/// Small files that lie in one folder.
const IN_A_FOLDER: u32 = 1_000;
/// Bytes of the largest small file.
const SMALL_MAX: u64 = 4_096;
/// What their text is made of.
const WORDS: [&str; 32] = [
    "the",
    "of",
    "neighbour",
    "and",
    "a",
    "in",
    "work",
    "day",
    "to",
    "is",
    "that",
    "machine",
    "lend",
    "with",
    "as",
    "file",
    "for",
    "on",
    "result",
    "return",
    "number",
    "was",
    "at",
    "chunk",
    "from",
    "by",
    "order",
    "not",
    "are",
    "settle",
    "pool",
    "or",
];

/// Bytes without pattern, always the same: xorshift64* (Vigna 2016).
pub(super) struct Noise(u64);

impl Noise {
    pub(super) fn new() -> Noise {
        Noise(0x9e37_79b9_7f4a_7c15)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// The next bytes.
    pub(super) fn fill(&mut self, bytes: &mut [u8]) {
        for word in bytes.chunks_mut(8) {
            word.copy_from_slice(&self.next().to_le_bytes()[..word.len()]);
        }
    }
}

/// A file of noise, the same for the same size.
pub(crate) fn write_random(file: &Path, mib: u64) -> Outcome {
    let mut out = fs::File::create(file)?;
    let (mut noise, mut block) = (Noise::new(), vec![0_u8; 1 << 20]);
    for _ in 0..mib {
        noise.fill(&mut block);
        out.write_all(&block)?;
    }
    out.sync_all()?;
    Ok(())
}

/// So many files of 0 to 4 KiB in folders of a thousand, every other one text, the rest noise; always the same.
pub(super) fn grow_many(tree: &Path, count: u32) -> Outcome {
    let mut noise = Noise::new();
    let mut folder = tree.to_owned();
    for n in 0..count {
        if n % IN_A_FOLDER == 0 {
            folder = tree.join(format!("{:05}", n / IN_A_FOLDER));
            fs::create_dir_all(&folder)?;
        }
        let length = (noise.next() % (SMALL_MAX + 1)) as usize;
        let mut bytes = vec![0; length];
        if n % 2 == 0 {
            noise.fill(&mut bytes);
        } else {
            bytes = words(&mut noise, length);
        }
        fs::write(folder.join(format!("{:03}", n % IN_A_FOLDER)), bytes)?;
    }
    succeed(&mut Command::new("sync"))
}

/// Words at random, which compress as text does.
fn words(noise: &mut Noise, length: usize) -> Vec<u8> {
    let mut text = Vec::with_capacity(length + 16);
    while text.len() < length {
        text.extend_from_slice(WORDS[(noise.next() >> 32) as usize % WORDS.len()].as_bytes());
        text.push(b' ');
    }
    text.truncate(length);
    text
}

/// Copies a tree, so that nothing changes it while it is measured. Returns what it is made of.
pub(super) fn grow_tree(tree: &Path, from: Option<&Path>) -> Outcome<String> {
    fs::create_dir_all(tree)?;
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let sources = home.map(|home| home.join("registry/src"));
    let usual = ["/usr/include", "/usr/share", "/usr/lib/python3"].map(PathBuf::from);
    let parts: Vec<PathBuf> = match from {
        Some(from) => vec![from.to_owned()],
        None => sources.into_iter().chain(usual).filter(|part| part.is_dir()).collect(),
    };
    let mut taken = Vec::new();
    for part in parts {
        if from.is_none() && size_of(&part)?.1 + size_of(tree)?.1 > TREE_MAX_MB * 1_000_000 {
            continue;
        }
        let name = part.to_string_lossy().trim_matches('/').replace('/', "-");
        succeed(Command::new("cp").args(["-a", "--no-preserve=ownership"]).arg(&part).arg(tree.join(&name)))?;
        taken.push(match part.starts_with("/usr") || from.is_some() {
            true => part.display().to_string(),
            false => "sources in cargo's registry".to_owned(),
        });
    }
    let (files, bytes) = size_of(tree)?;
    Ok(format!("{}: {files} files, {} MB", taken.join(", "), bytes / 1_000_000))
}

pub(super) fn make_tar(tree: &Path, tar: &Path) -> Outcome {
    succeed(Command::new("tar").args(["--sort=name", "-cf"]).arg(tar).arg("-C").arg(tree).arg("."))
}

/// Puts a line into the middle of every hundredth file. Returns how many those are.
pub(super) fn edit_one_in_hundred(tree: &Path) -> Outcome<u64> {
    let mut files = Vec::new();
    walk(tree, &mut |path, _| files.push(path.to_owned()))?;
    files.sort();
    let mut changed = 0;
    for file in files.iter().step_by(100) {
        let mut bytes = fs::read(file)?;
        let middle = bytes.len() / 2;
        bytes.splice(middle..middle, *b"\nThis line is new here.\n");
        fs::remove_file(file)?;
        fs::write(file, bytes)?;
        changed += 1;
    }
    Ok(changed)
}

/// Regular files and their bytes.
pub(super) fn size_of(path: &Path) -> Outcome<(u64, u64)> {
    let (mut files, mut bytes) = (0, 0);
    walk(path, &mut |_, length| {
        files += 1;
        bytes += length;
    })?;
    Ok((files, bytes))
}

/// Tells of each regular file and its length.
pub(super) fn walk(path: &Path, each: &mut dyn FnMut(&Path, u64)) -> Outcome {
    let meta = fs::symlink_metadata(path)?;
    if meta.is_dir() {
        for entry in fs::read_dir(path)? {
            walk(&entry?.path(), each)?;
        }
    } else if meta.is_file() {
        each(path, meta.len());
    }
    Ok(())
}
