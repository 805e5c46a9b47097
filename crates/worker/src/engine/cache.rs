//! Compiled modules kept on disk, found by the hash of their WebAssembly.
//!
//! A file is `PMSC` and a version byte, BLAKE3 of the rest, and the rest as wasmtime serialises a module.
//! Losing any of it only costs a compilation, so failures here are logged and never end a run.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use pumasi_types::Hash;

use super::{Engine, EngineError};

const MAGIC: [u8; 5] = *b"PMSC\x01";
const HEADER_LEN: usize = MAGIC.len() + 32;
/// Bytes of compiled modules that are kept; the least recently used ones go first.
const KEPT_BYTES_MAX: u64 = 1 << 30;
/// A temporary file older than this belongs to no living writer.
const STALE: Duration = Duration::from_secs(3600);

/// A folder of compiled modules; several processes may share it.
pub(super) struct Cache {
    dir: PathBuf,
    /// Hash of wasmtime's version, its settings and the processor it compiles for.
    compatible_with: u64,
    writes: AtomicU64,
}

impl Cache {
    /// Makes the folder when it is missing.
    pub(super) fn open(dir: &Path, engine: &wasmtime::Engine) -> Result<Cache, EngineError> {
        make_private_dir(dir).map_err(|source| EngineError::CacheDir { path: dir.to_owned(), source })?;
        let mut hasher = DefaultHasher::new();
        Engine::id().hash(&mut hasher);
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Ok(Cache { dir: dir.to_owned(), compatible_with: hasher.finish(), writes: AtomicU64::new(0) })
    }

    fn path(&self, module: Hash) -> PathBuf {
        self.dir.join(format!("{module}-{:016x}.cwasm", self.compatible_with))
    }

    /// The compiled module; none when it is missing or damaged.
    pub(super) fn get(&self, module: Hash, engine: &wasmtime::Engine) -> Option<wasmtime::Module> {
        let path = self.path(module);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "cannot read a compiled module");
                return None;
            }
        };
        let Some(compiled) = checked(&bytes) else {
            tracing::warn!(path = %path.display(), "a compiled module is damaged and will be replaced");
            return None;
        };
        // SAFETY: the bytes are as `put` wrote them, which their hash proves against damage; the folder is
        // writable by this user alone, who could as well replace this program.
        #[allow(unsafe_code)]
        let loaded = unsafe { wasmtime::Module::deserialize(engine, compiled) };
        match loaded {
            Ok(loaded) => {
                mark_used(&path);
                Some(loaded)
            }
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "a compiled module does not fit this engine");
                None
            }
        }
    }

    /// Keeps a compiled module.
    pub(super) fn put(&self, module: Hash, compiled: &wasmtime::Module) {
        let path = self.path(module);
        let written = compiled
            .serialize()
            .map_err(|error| io::Error::other(error.to_string()))
            .and_then(|bytes| self.write(&path, &bytes))
            .and_then(|()| self.prune());
        if let Err(error) = written {
            tracing::warn!(path = %path.display(), %error, "cannot keep a compiled module");
        }
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let number = self.writes.fetch_add(1, Ordering::Relaxed);
        let temporary = self.dir.join(format!("{}-{number}.tmp", std::process::id()));
        let written = std::fs::File::create(&temporary).and_then(|mut file| {
            file.write_all(&MAGIC)?;
            file.write_all(Hash::of(bytes).as_bytes())?;
            file.write_all(bytes)?;
            std::fs::rename(&temporary, path)
        });
        written.inspect_err(|_| drop(std::fs::remove_file(&temporary)))
    }

    /// Removes what was not used for longest beyond [`KEPT_BYTES_MAX`], and what dead writers left.
    fn prune(&self) -> io::Result<()> {
        let now = SystemTime::now();
        let mut kept = Vec::new();
        for entry in std::fs::read_dir(&self.dir)? {
            let entry = entry?;
            let path = entry.path();
            // Another process may have removed it since.
            let Ok(about) = entry.metadata() else { continue };
            let used = about.modified()?;
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("tmp") if now.duration_since(used).is_ok_and(|age| age > STALE) => {
                    std::fs::remove_file(path)?;
                }
                Some("cwasm") => kept.push((used, about.len(), path)),
                _ => {}
            }
        }
        kept.sort_unstable();
        let mut sum: u64 = kept.iter().map(|(_, len, _)| len).sum();
        for (_, len, path) in kept {
            if sum <= KEPT_BYTES_MAX {
                break;
            }
            std::fs::remove_file(path)?;
            sum -= len;
        }
        Ok(())
    }
}

/// The part of a file that its header vouches for.
fn checked(bytes: &[u8]) -> Option<&[u8]> {
    let (header, compiled) = bytes.split_at_checked(HEADER_LEN)?;
    let (magic, hash) = header.split_at(MAGIC.len());
    (magic == MAGIC && hash == Hash::of(compiled).as_bytes()).then_some(compiled)
}

/// Remembers that a file was used; that this can fail on a read-only folder does not matter.
fn mark_used(path: &Path) {
    if let Ok(file) = std::fs::File::options().append(true).open(path) {
        let _ = file.set_modified(SystemTime::now());
    }
}

#[cfg(unix)]
fn make_private_dir(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

#[cfg(not(unix))]
fn make_private_dir(dir: &Path) -> io::Result<()> {
    std::fs::create_dir_all(dir)
}
