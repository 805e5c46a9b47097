//! The keys that a hub signs with, and how they follow each other.

use std::path::{Path, PathBuf};

use pumasi_proof::{Rotation, Rotations, SignerKey, Use, VerifierKey};

use super::ProofFailure;
use crate::auth::write_private;

/// The private keys of a hub's proofs.
pub struct ProofKeys {
    dir: PathBuf,
    /// The newest first. A second one signs along until it is retired.
    signers: Vec<SignerKey>,
    rotations: Rotations,
}

/// What a change of keys led to.
#[derive(Clone, Debug)]
pub struct KeyPair {
    /// The key that signed so far.
    pub old: VerifierKey,
    /// The key that signs from now on.
    pub new: VerifierKey,
}

impl ProofKeys {
    /// Opens the keys in a hub's data folder, or makes the first one. Without an `origin` a new hub gets one
    /// that is made from its key.
    ///
    /// # Errors
    /// When files cannot be used, or the origin is another one.
    pub fn open(data: &Path, origin: Option<&str>) -> Result<ProofKeys, ProofFailure> {
        let dir = data.join("proof");
        std::fs::create_dir_all(&dir).map_err(ProofFailure::file("create", &dir))?;
        let path = dir.join("key");
        let mut signers = Vec::new();
        for line in read(&path)?.lines() {
            signers.push(SignerKey::from_secret(line).map_err(|error| ProofFailure::unusable(&path, error))?);
        }
        let rotations_path = dir.join("rotations");
        let rotations = Rotations::parse(&read(&rotations_path)?)
            .map_err(|error| ProofFailure::unusable(&rotations_path, error))?;
        let mut keys = ProofKeys { dir, signers, rotations };
        match (keys.signers.first(), origin) {
            (None, _) if keys.dir.join("checkpoint").exists() => {
                return Err(ProofFailure::unusable(
                    &path,
                    "it is missing, but checkpoints were signed with it",
                ));
            }
            (None, origin) => {
                keys.signers.push(first_key(origin)?);
                keys.write()?;
            }
            (Some(key), Some(origin)) if key.verifier().name() != origin => {
                let (is, wanted) = (key.verifier().name().to_owned(), origin.to_owned());
                return Err(ProofFailure::OtherOrigin { is, wanted });
            }
            (Some(_), _) => keys.finish_rotation()?,
        }
        Ok(keys)
    }

    /// What the log is called.
    pub fn origin(&self) -> &str {
        self.signers[0].verifier().name()
    }

    /// The public keys that sign now, the newest first.
    pub fn verifiers(&self) -> Vec<VerifierKey> {
        self.signers.iter().map(|key| key.verifier().clone()).collect()
    }

    /// How the keys followed each other.
    pub fn rotations(&self) -> &Rotations {
        &self.rotations
    }

    /// The keys that sign now, the newest first.
    pub(super) fn signers(&self) -> &[SignerKey] {
        &self.signers
    }

    /// Every key that ever signed.
    pub(super) fn ever(&self) -> Vec<VerifierKey> {
        let mut all = self.verifiers();
        all.extend(self.rotations.0.iter().map(|rotation| rotation.old.clone()));
        all
    }

    /// Makes a new key that the old one vouches for. Both sign until [`ProofKeys::retire`].
    ///
    /// # Errors
    /// When two keys sign already, or the files cannot be written.
    pub fn rotate(&mut self) -> Result<KeyPair, ProofFailure> {
        let [old] = &self.signers[..] else {
            return Err(ProofFailure::Keys(
                "two keys sign already: retire the older one first with `pumasi proof retire-key`".to_owned(),
            ));
        };
        let pair = KeyPair { old: old.verifier().clone(), new: self.add_key()? };
        // The key is on disk before anything names it.
        self.write()?;
        self.finish_rotation()?;
        Ok(pair)
    }

    fn add_key(&mut self) -> Result<VerifierKey, ProofFailure> {
        let key = SignerKey::from_seed(self.origin(), Use::Note, random())?;
        let verifier = key.verifier().clone();
        self.signers.insert(0, key);
        Ok(verifier)
    }

    /// Lets the older of two keys go.
    ///
    /// # Errors
    /// When only one key signs, or the file cannot be written.
    pub fn retire(&mut self) -> Result<KeyPair, ProofFailure> {
        let [new, old] = &self.signers[..] else {
            return Err(ProofFailure::Keys(
                "only one key signs: make a new one first with `pumasi proof rotate-key`".to_owned(),
            ));
        };
        let pair = KeyPair { old: old.verifier().clone(), new: new.verifier().clone() };
        self.signers.truncate(1);
        self.write()?;
        Ok(pair)
    }

    /// Announces the newer of two keys, also when a crash came in between.
    fn finish_rotation(&mut self) -> Result<(), ProofFailure> {
        let [new, old] = &self.signers[..] else { return Ok(()) };
        if self.rotations.0.last().is_some_and(|last| last.new == *new.verifier()) {
            return Ok(());
        }
        self.rotations.0.push(Rotation::make(old, new)?);
        let path = self.dir.join("rotations");
        write(&path, &self.rotations.to_string())
    }

    fn write(&self) -> Result<(), ProofFailure> {
        let lines: String = self.signers.iter().map(|key| key.to_secret() + "\n").collect();
        write(&self.dir.join("key"), &lines)
    }
}

/// The first key of a hub.
fn first_key(origin: Option<&str>) -> Result<SignerKey, ProofFailure> {
    let seed = random();
    let key = SignerKey::from_seed(origin.unwrap_or("unnamed"), Use::Note, seed)?;
    if origin.is_some() {
        return Ok(key);
    }
    let digits: String = key.verifier().public()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(SignerKey::from_seed(&format!("pumasi.invalid/{digits}"), Use::Note, seed)?)
}

fn random() -> [u8; 32] {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).expect("the operating system has random numbers");
    seed
}

/// The text of a file; empty when there is none.
fn read(path: &Path) -> Result<String, ProofFailure> {
    match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        read => read.map_err(ProofFailure::file("read", path)),
    }
}

/// Writes a file durably, completely or not at all.
pub(super) fn write(path: &Path, text: &str) -> Result<(), ProofFailure> {
    write_private(path, text.as_bytes()).map_err(ProofFailure::file("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_follow_each_other_and_stay_private() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let mut keys = ProofKeys::open(dir.path(), Some("example.com/log")).unwrap();
        let mode = std::fs::metadata(dir.path().join("proof/key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(keys.retire().is_err(), "the only key stays");
        let first = keys.rotate().unwrap();
        assert!(keys.rotate().is_err(), "one change at a time");
        let keys = ProofKeys::open(dir.path(), Some("example.com/log")).unwrap();
        assert_eq!(keys.verifiers(), [first.new.clone(), first.old.clone()]);
        let mut keys = ProofKeys::open(dir.path(), None).unwrap();
        keys.retire().unwrap();
        let second = keys.rotate().unwrap();
        let keys = ProofKeys::open(dir.path(), None).unwrap();
        assert_eq!(keys.rotations().follow(&first.old), [first.old.clone(), first.new, second.new]);
        assert_eq!(keys.ever().len(), 4, "both that sign, and the old ones of two changes");
        let other = ProofKeys::open(dir.path(), Some("example.com/other"));
        assert!(matches!(other, Err(ProofFailure::OtherOrigin { .. })));
    }

    #[test]
    fn a_change_that_broke_off_is_finished() {
        let dir = tempfile::tempdir().unwrap();
        let mut keys = ProofKeys::open(dir.path(), None).unwrap();
        let old = keys.verifiers();
        keys.add_key().unwrap();
        keys.write().unwrap();
        let keys = ProofKeys::open(dir.path(), None).unwrap();
        assert_eq!(keys.rotations().follow(&old[0]).len(), 2);
    }

    #[test]
    fn a_lost_key_is_no_reason_to_make_another() {
        let dir = tempfile::tempdir().unwrap();
        drop(ProofKeys::open(dir.path(), None).unwrap());
        std::fs::write(dir.path().join("proof/checkpoint"), "signed").unwrap();
        std::fs::remove_file(dir.path().join("proof/key")).unwrap();
        assert!(matches!(ProofKeys::open(dir.path(), None), Err(ProofFailure::Unusable { .. })));
    }
}
