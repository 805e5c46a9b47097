//! Opening a cell's folder.

use std::path::Path;
use std::time::Instant;

use pumasi_cell::{CellFailure, Derived, Restored};
use pumasi_log::{FileLog, FileLogOptions, SnapshotStore};
use pumasi_types::CellId;

/// Opens a cell's folder and restores its state.
pub(crate) fn restore(dir: &Path) -> Result<Restored<FileLog>, CellFailure> {
    let started = Instant::now();
    let opened = FileLog::open(&dir.join("log"), FileLogOptions::new(CellId(0)))?;
    for note in &opened.notes {
        tracing::warn!("{note}");
    }
    let snapshots = SnapshotStore::open(&dir.join("snapshots"))?;
    let derived = Derived::open(dir)?;
    let restored = pumasi_cell::restore(opened.log, snapshots, derived)?;
    for note in &restored.notes {
        tracing::warn!("{note}");
    }
    tracing::info!(
        snapshot = restored.snapshot.seq.0,
        replayed = restored.replayed,
        ms = started.elapsed().as_millis() as u64,
        "state restored"
    );
    Ok(restored)
}
