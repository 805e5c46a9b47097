//! Rows that were not taken: some are shown, all are written to a file that can be corrected and loaded.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::error::CliError;
use crate::rows::Row;

/// How many of them are shown.
const SHOWN: u64 = 10;

/// The file of rows that were not taken; made with the first of them.
pub(super) struct Rejects {
    table: PathBuf,
    path: PathBuf,
    names: Vec<String>,
    writer: Option<csv::Writer<File>>,
    count: u64,
}

impl Rejects {
    /// Its columns in front of the table's own.
    pub(super) const COLUMNS: [&str; 2] = ["rejected_row", "problem"];

    /// Rejects of `table`, which are written beside it unless `path` says where.
    pub(super) fn new(table: &Path, path: Option<&Path>, names: &[String]) -> Rejects {
        let path = path.map_or_else(|| table.with_extension("rejects.csv"), Path::to_owned);
        Rejects { table: table.to_owned(), path, names: names.to_owned(), writer: None, count: 0 }
    }

    /// Writes a row down; what to show of it, if it is one of the first.
    pub(super) fn add(&mut self, row: &Row, problem: &str) -> Result<Option<String>, CliError> {
        // A table of rejects has these columns already.
        let own = |at: usize| !Rejects::COLUMNS.contains(&self.names[at].as_str());
        let pick = |texts: &[String], first: [&str; 2]| {
            let kept = texts.iter().enumerate().filter(|(at, _)| own(*at)).map(|(_, text)| text.clone());
            first.into_iter().map(str::to_owned).chain(kept).collect::<Vec<_>>()
        };
        let failed = CliError::content::<csv::Error>;
        let writer = match &mut self.writer {
            Some(writer) => writer,
            none => {
                let mut writer = csv::Writer::from_path(&self.path).map_err(failed(&self.path))?;
                writer.write_record(pick(&self.names, Rejects::COLUMNS)).map_err(failed(&self.path))?;
                none.insert(writer)
            }
        };
        let number = row.number.to_string();
        writer.write_record(pick(&row.cells, [&number, problem])).map_err(failed(&self.path))?;
        self.count += 1;
        Ok((self.count <= SHOWN).then(|| format!("{}:{}: {problem}", self.table.display(), row.number)))
    }

    /// Ends the file; how many rows it has, and where it is if there are any.
    pub(super) fn finish(&mut self) -> Result<(u64, Option<PathBuf>), CliError> {
        let Some(mut writer) = self.writer.take() else { return Ok((0, None)) };
        writer.flush().map_err(CliError::file("write", &self.path))?;
        Ok((self.count, Some(self.path.clone())))
    }
}
