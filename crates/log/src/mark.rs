//! Reading and replacing the file `mark`.

use std::io::{ErrorKind, Read};

use pumasi_types::CellId;

use crate::dir::Dir;
use crate::disk::{Mode, Sequential};
use crate::format::{MARK, Malformed, Mark, VERSION};
use crate::{Damage, LogError, Seq};

const NAME: &str = "mark";

/// The mark of the log in `dir`; none when there is no such file.
pub(crate) fn read(dir: &Dir) -> Result<Option<Mark>, LogError> {
    let path = dir.join(NAME);
    let mut bytes = Vec::new();
    let read = dir.disk.open(&path, Mode::Read).and_then(|file| {
        let file = Sequential::new(&*file, 0);
        file.take(MARK as u64 + 1).read_to_end(&mut bytes)
    });
    match read {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(LogError::io("read", &path)(error)),
        Ok(_) => {}
    }
    let damaged = |expected: String, found: String| {
        LogError::Damaged(Box::new(Damage {
            segment: path.clone(),
            offset: 0,
            seq: Seq::ZERO,
            expected,
            found,
        }))
    };
    let bytes: &[u8; MARK] = bytes
        .as_slice()
        .try_into()
        .map_err(|_| damaged(format!("{MARK} bytes"), format!("{} bytes", bytes.len())))?;
    match Mark::decode(bytes) {
        Ok(mark) => Ok(Some(mark)),
        Err(Malformed::Newer(found)) => Err(LogError::NewerFormat { path, found, known: VERSION }),
        Err(Malformed::Wrong { expected, found }) => Err(damaged(expected, found)),
    }
}

pub(crate) fn check_cell(mark: &Mark, dir: &Dir, cell: CellId) -> Result<(), LogError> {
    if mark.cell == cell {
        return Ok(());
    }
    Err(LogError::ForeignCell { path: dir.join(NAME), expected: cell, found: mark.cell })
}

/// The damage that the mark names the last possible epoch, which counting cannot reach.
pub(crate) fn no_epoch_left(dir: &Dir) -> LogError {
    let (expected, found) = ("an epoch that counting reached".to_owned(), u64::MAX.to_string());
    LogError::Damaged(Box::new(Damage {
        segment: dir.join(NAME),
        offset: 16,
        seq: Seq::ZERO,
        expected,
        found,
    }))
}

pub(crate) fn write(dir: &Dir, mark: &Mark) -> Result<(), LogError> {
    dir.replace(NAME, &mark.encode())
}
