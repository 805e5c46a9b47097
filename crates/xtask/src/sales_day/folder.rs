//! The folder with all that was sent and answered, from which the second market is made.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use super::lives::Placed;
use crate::Outcome;

/// Every so many-th order is sent once more, and every so many-th of these as another one.
const AGAIN: usize = 25;
const OTHER: usize = 5;

/// The folder.
pub(super) struct Folder {
    path: PathBuf,
    script: File,
}

/// What one order was answered: its number, or why it was refused, and the number in that.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Answered {
    Placed(u64),
    Refused(String, Option<i64>),
}

/// A batch of orders that was placed as a whole.
#[derive(Debug, Serialize)]
pub(super) struct Batch {
    /// On which stream; those of one are placed one after the other.
    pub(super) stream: usize,
    /// The place of its first order in the file.
    pub(super) first: usize,
    pub(super) answers: Vec<Answered>,
}

/// What came of a file of orders.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) batches: Vec<Batch>,
    /// Orders that are to be taken further.
    pub(super) chosen: Vec<Placed>,
}

impl Told {
    /// How many were placed, how fast, and why others were not.
    pub(super) fn summary(&self, took: Duration) -> String {
        let (mut orders, mut placed) = (0_u64, 0_u64);
        let mut refused: BTreeMap<&str, u64> = BTreeMap::new();
        for answer in self.batches.iter().flat_map(|batch| &batch.answers) {
            orders += 1;
            match answer {
                Answered::Placed(_) => placed += 1,
                Answered::Refused(code, _) => *refused.entry(code).or_default() += 1,
            }
        }
        let refused =
            refused.iter().map(|(code, count)| format!("{count} {code}")).collect::<Vec<_>>().join(", ");
        let seconds = took.as_secs_f64();
        let rate = orders as f64 / seconds;
        format!("{orders} orders in {seconds:.1} s ({rate:.0}/s): {placed} placed, refused: {refused}")
    }
}

impl Folder {
    pub(super) fn new(path: PathBuf) -> Outcome<Folder> {
        std::fs::create_dir_all(&path)?;
        let script = File::create(path.join("script.jsonl"))?;
        Ok(Folder { path, script })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Where a file of it is.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Something was done.
    pub(super) fn phase(&mut self, phase: &Value) -> Outcome {
        Ok(writeln!(self.script, "{phase}")?)
    }

    /// Writes values as lines of JSON.
    pub(super) fn lines<T: Serialize>(&self, name: &str, values: impl Iterator<Item = T>) -> Outcome {
        let mut file = BufWriter::new(File::create(self.file(name))?);
        for value in values {
            serde_json::to_writer(&mut file, &value)?;
            file.write_all(b"\n")?;
        }
        Ok(file.flush()?)
    }

    /// The lines of a file.
    pub(super) fn read(&self, name: &str) -> Outcome<Vec<String>> {
        let lines: Result<Vec<_>, _> = BufReader::new(File::open(self.file(name))?).lines().collect();
        Ok(lines?)
    }

    /// The rows of a CSV file without quotes, behind its header.
    pub(super) fn rows(&self, name: &str) -> Outcome<Vec<Vec<String>>> {
        let cells = |line: &String| line.trim_end().split(',').map(str::to_owned).collect();
        Ok(self.read(name)?.iter().skip(1).map(cells).collect())
    }

    /// Orders were sent and answered.
    pub(super) fn answered(&mut self, orders: &str, way: &str, told: &Told) -> Outcome {
        let answers = format!("{orders}.answers");
        self.lines(&answers, told.batches.iter())?;
        self.phase(&json!({"phase": "orders", "orders": orders, "answers": answers, "way": way}))
    }

    /// Writes some orders once more, a few of them changed.
    pub(super) fn repeat(&self, orders: &str, again: &str) -> Outcome {
        let mut some: Vec<Value> = Vec::new();
        for line in self.read(orders)?.iter().step_by(AGAIN) {
            some.push(serde_json::from_str(line)?);
        }
        some.iter_mut().step_by(OTHER).for_each(|order| order["total"] = json!("1"));
        self.lines(again, some.iter())
    }
}
