//! Rows of a table that somebody made, CSV or Parquet, as texts: what is wrong with one row is told with that row.

use std::fs::File;
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use csv::{ByteRecord, Trim};
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use crate::error::CliError;

/// Bytes of one cell at most: nothing that can be loaded is longer.
const CELL_BYTES: usize = 1_000;
/// Rows of a Parquet file that are decoded at once.
const DECODED: usize = 4_096;

/// A table that is read row by row.
pub(crate) struct Rows {
    path: PathBuf,
    names: Vec<String>,
    /// How many bytes (CSV) or rows (Parquet) there are.
    total: u64,
    source: Source,
}

enum Source {
    Csv(Box<csv::Reader<File>>),
    Parquet {
        batches: ParquetRecordBatchReader,
        /// Rows of the batch that was decoded last, the next one last.
        decoded: Vec<Vec<String>>,
        /// How many rows were given out.
        rows: u64,
    },
}

/// One row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// Its number from 1. The header of a CSV file is its row 1; a row can have several lines, and empty lines are none.
    pub(crate) number: u64,
    /// Its cells, as many as there are columns; empty where there is nothing.
    pub(crate) cells: Vec<String>,
    /// Why it cannot be used, if that is so.
    pub(crate) problem: Option<String>,
}

impl Rows {
    /// Opens a table; the ending of its name says what it is.
    pub(crate) fn open(path: &Path) -> Result<Rows, CliError> {
        let file = File::open(path).map_err(CliError::file("read", path))?;
        let ending = path.extension().unwrap_or_default().to_ascii_lowercase();
        match ending.to_str() {
            Some("csv") => Rows::csv(path, file),
            Some("parquet" | "pq") => Rows::parquet(path, file),
            _ => Err(CliError::usage(
                format!("{} is neither .csv nor .parquet", path.display()),
                "give a table whose name ends with .csv or .parquet",
            )),
        }
    }

    fn csv(path: &Path, file: File) -> Result<Rows, CliError> {
        let total = file.metadata().map_err(CliError::file("read", path))?.len();
        let mut reader = csv::ReaderBuilder::new().trim(Trim::All).flexible(true).from_reader(file);
        let header = reader.headers().map_err(CliError::content(path))?;
        // Spreadsheets put a byte order mark in front.
        let names = header.iter().map(|name| name.trim_start_matches('\u{feff}').to_owned()).collect();
        Ok(Rows { path: path.to_owned(), names, total, source: Source::Csv(Box::new(reader)) })
    }

    fn parquet(path: &Path, file: File) -> Result<Rows, CliError> {
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(CliError::content(path))?;
        let names = builder.schema().fields().iter().map(|field| field.name().clone()).collect();
        let total = u64::try_from(builder.metadata().file_metadata().num_rows()).unwrap_or(0);
        let batches = builder.with_batch_size(DECODED).build().map_err(CliError::content(path))?;
        let source = Source::Parquet { batches, decoded: Vec::new(), rows: 0 };
        Ok(Rows { path: path.to_owned(), names, total, source })
    }

    /// What the columns are called.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// How far it is read, and how far that goes: bytes of a CSV file, rows of a Parquet file.
    pub(crate) fn position(&self) -> (u64, u64) {
        match &self.source {
            Source::Csv(reader) => (reader.position().byte(), self.total),
            Source::Parquet { rows, .. } => (*rows, self.total),
        }
    }

    /// Whether [`Rows::position`] counts bytes.
    pub(crate) fn counts_bytes(&self) -> bool {
        matches!(self.source, Source::Csv(_))
    }

    /// The next row; none at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Row>, CliError> {
        let columns = self.names.len();
        let row = match &mut self.source {
            Source::Csv(reader) => {
                let mut record = ByteRecord::new();
                let read = reader.read_byte_record(&mut record);
                if !read.map_err(CliError::content(&self.path))? {
                    return Ok(None);
                }
                csv_row(&record, columns)
            }
            Source::Parquet { batches, decoded, rows } => {
                while decoded.is_empty() {
                    let Some(batch) = batches.next() else { return Ok(None) };
                    let texts = batch.and_then(|batch| texts(&batch)).map_err(CliError::content(&self.path));
                    *decoded = texts?;
                }
                *rows += 1;
                Row { number: *rows, cells: decoded.pop().unwrap_or_default(), problem: None }
            }
        };
        Ok(Some(row.checked(&self.names)))
    }
}

impl Row {
    fn checked(mut self, names: &[String]) -> Row {
        let long = self.cells.iter().zip(names).find(|(cell, _)| cell.len() > CELL_BYTES);
        if let Some((cell, name)) = long {
            let problem =
                format!("{name} has {} bytes: nothing here can have more than {CELL_BYTES}", cell.len());
            self.problem.get_or_insert(problem);
        }
        self
    }
}

fn csv_row(record: &ByteRecord, columns: usize) -> Row {
    let number = record.position().map_or(0, csv::Position::record) + 1;
    let mut problem = None;
    if record.len() != columns {
        problem = Some(format!("has {} fields, but there are {columns} columns", record.len()));
    }
    let text = |cell: &[u8]| {
        std::str::from_utf8(cell).map(str::to_owned).unwrap_or_else(|_| {
            problem.get_or_insert_with(|| "is not UTF-8 text".to_owned());
            String::from_utf8_lossy(cell).into_owned()
        })
    };
    let mut cells: Vec<String> = record.iter().map(text).collect();
    cells.resize(columns, String::new());
    Row { number, cells, problem }
}

/// The rows of a batch as texts, the first one last.
fn texts(batch: &RecordBatch) -> Result<Vec<Vec<String>>, arrow_schema::ArrowError> {
    let options = FormatOptions::default();
    let columns: Result<Vec<_>, _> =
        batch.columns().iter().map(|column| ArrayFormatter::try_new(column.as_ref(), &options)).collect();
    let columns = columns?;
    let cell = |column: &ArrayFormatter<'_>, at: usize| column.value(at).try_to_string();
    let row = |at| columns.iter().map(|column| cell(column, at)).collect();
    (0..batch.num_rows()).rev().map(row).collect()
}

#[cfg(test)]
mod tests;
