//! The builder: follows what is settled and durable, grows the tree, signs a checkpoint about each second and
//! has witnesses cosign it before it is shown.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use pumasi_cell::{Journal, Settled};
use pumasi_core::Transfer;
use pumasi_proof::{Checkpoint, Frontier, Note};
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::witnesses::Witnesses;
use super::{Levels, ProofFailure, ProofKeys, Prover, Published, keys};
use crate::ServeOptions;
use crate::cell::{Follow, now};

/// How often it looks whether the hub is stopping, or has settled something after a pause.
const GLANCE: Duration = Duration::from_millis(20);
/// How long it waits after a failure.
const PAUSE: Duration = Duration::from_secs(5);

/// Everything that proofs are made from.
pub(crate) struct Source {
    pub(super) dir: PathBuf,
    pub(super) keys: ProofKeys,
    pub(super) levels: Arc<Levels>,
    pub(super) frontier: Frontier,
    pub(super) journal: Journal<Transfer>,
}

/// Makes checkpoints.
pub(crate) struct Builder {
    source: Source,
    /// The last one that was signed.
    signed: Option<Published>,
    witnesses: Witnesses,
    publish: watch::Sender<Option<Arc<Published>>>,
    /// How long it waits between two checkpoints.
    every: Duration,
}

impl Builder {
    /// A builder that goes on from what was signed last, and what it shows.
    pub(crate) fn new(
        source: Source,
        signed: Option<Published>,
        options: &ServeOptions,
    ) -> (Builder, Prover) {
        let (publish, published) = watch::channel(signed.clone().map(Arc::new));
        let prover = Prover {
            levels: Arc::clone(&source.levels),
            journal: source.journal.clone(),
            published,
            keys: source.keys.verifiers().into(),
            rotations: source.keys.rotations().to_string().into(),
        };
        let witnesses = Witnesses::new(&options.witnesses);
        let every = options.checkpoint_every;
        (Builder { source, signed, witnesses, publish, every }, prover)
    }

    /// Shows the witnesses what was signed last: none may know more.
    ///
    /// # Errors
    /// When one does.
    pub(crate) async fn ask_witnesses(&mut self) -> Result<(), ProofFailure> {
        let Some(mut signed) = self.signed.clone() else { return Ok(()) };
        self.witnesses.cosign(&mut signed, &self.source.levels).await?;
        self.publish.send_replace(Some(Arc::new(signed)));
        Ok(())
    }

    /// Works on a thread of its own until the cell has stopped.
    pub(crate) fn start(mut self, cell: Follow) -> std::io::Result<thread::JoinHandle<()>> {
        let runtime = Handle::current();
        let work = move || {
            let mut last = Instant::now().checked_sub(self.every).unwrap_or_else(Instant::now);
            loop {
                // Whatever was settled before the stop is settled now.
                let stopped = cell.has_stopped();
                let settled = cell.settled();
                let due = self.signed.as_ref().is_none_or(|signed| signed.checkpoint.size < settled.last.0);
                let done = if due && (stopped || last.elapsed() >= self.every) {
                    last = Instant::now();
                    self.advance(settled, &runtime, stopped)
                } else {
                    // What was written just now is still in memory.
                    self.grow(settled)
                };
                if let Err(error) = done {
                    tracing::error!("no new checkpoint: {error}");
                    if !stopped {
                        thread::sleep(PAUSE);
                    }
                }
                if stopped {
                    return;
                }
                thread::sleep(GLANCE);
            }
        };
        thread::Builder::new().name("proofs".to_owned()).spawn(work)
    }

    /// Adds all that is settled to the tree.
    fn grow(&mut self, settled: Settled) -> Result<(), ProofFailure> {
        let Source { levels, frontier, journal, .. } = &mut self.source;
        let grown = levels.append(frontier, journal, settled.last.0);
        grown.or_else(|error| self.rewind().and(Err(error)))
    }

    /// What was written beyond the last checkpoint is in doubt.
    fn rewind(&mut self) -> Result<(), ProofFailure> {
        let size = self.signed.as_ref().map_or(0, |signed| signed.checkpoint.size);
        self.source.frontier = self.source.levels.rewind(size)?;
        Ok(())
    }

    /// Signs all that is settled, keeps it, and shows it.
    fn advance(&mut self, settled: Settled, runtime: &Handle, stopped: bool) -> Result<(), ProofFailure> {
        self.grow(settled)?;
        if let Err(error) = self.source.levels.sync() {
            self.rewind()?;
            return Err(error);
        }
        let Source { dir, keys, frontier, .. } = &mut self.source;
        let checkpoint = Checkpoint {
            origin: keys.origin().to_owned(),
            size: frontier.size(),
            root: frontier.root(),
            extensions: vec![settled.head.to_line()],
        };
        let mut note = Note::new(checkpoint.to_string())?;
        let time_s = now().0 / 1_000_000_000;
        keys.signers().iter().for_each(|key| note.add(key.sign(note.text(), time_s)));
        // It must not be forgotten once somebody may have seen it.
        write_checkpoint(dir, &note)?;
        let mut published = Published { note, checkpoint };
        self.signed = Some(published.clone());
        if !stopped {
            let cosigned = runtime.block_on(self.witnesses.cosign(&mut published, &self.source.levels));
            if let Err(error) = cosigned {
                tracing::error!("{error}");
            }
        }
        self.publish.send_replace(Some(Arc::new(published)));
        Ok(())
    }
}

fn write_checkpoint(dir: &Path, note: &Note) -> Result<(), ProofFailure> {
    keys::write(&dir.join("checkpoint"), &note.to_string())
}

/// The last checkpoint that was signed.
pub(super) fn read_checkpoint(dir: &Path, keys: &ProofKeys) -> Result<Option<Published>, ProofFailure> {
    let path = dir.join("checkpoint");
    let text = match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        read => read.map_err(ProofFailure::file("read", &path))?,
    };
    let note = Note::parse(&text).map_err(|error| ProofFailure::unusable(&path, error))?;
    note.verify(&keys.ever()).map_err(|error| ProofFailure::unusable(&path, error))?;
    let checkpoint = Checkpoint::parse(note.text()).map_err(|error| ProofFailure::unusable(&path, error))?;
    if checkpoint.origin != keys.origin() {
        return Err(ProofFailure::unusable(&path, "it is of another origin"));
    }
    Ok(Some(Published { note, checkpoint }))
}
