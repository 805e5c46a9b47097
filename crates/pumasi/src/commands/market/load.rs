//! Loading a table into the market: in batches that are done once however often they are sent, with a report of every
//! row that was not taken.

mod articles;
mod rejects;
mod stock;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use pumasi_api::client::{ClientError, HubClient, Source, hash_source};
use pumasi_types::{Hash, RequestId};
use serde::Serialize;
use serde::de::IgnoredAny;

pub(crate) use self::articles::LoadArticles;
use self::rejects::Rejects;
pub(crate) use self::stock::LoadStock;
use crate::error::CliError;
use crate::exit::Exit;
use crate::job::watch::Interrupt;
use crate::output::Output;
use crate::progress::{Count, Progress};
use crate::rows::{Row, Rows};

/// Rows that are sent together. It stays: an interrupted load goes on with the same batches.
const TOGETHER: usize = 1_000;

/// Options of every load.
#[derive(Args, Debug)]
pub(super) struct LoadArgs {
    /// The table: .csv with a header, or .parquet
    file: PathBuf,
    /// A field whose column has another name; can be given more than once
    #[arg(long, value_name = "FIELD=COLUMN", value_parser = parse_column)]
    column: Vec<(String, String)>,
    /// What this load is called: the same file is loaded once under each name
    #[arg(long, default_value = "", hide_default_value = true, value_name = "NAME")]
    load_id: String,
    /// Where refused rows are written; FILE.rejects.csv when absent
    #[arg(long, value_name = "FILE")]
    rejects: Option<PathBuf>,
}

fn parse_column(text: &str) -> Result<(String, String), String> {
    let (field, column) = text.split_once('=').ok_or("expected FIELD=COLUMN, like sku=ITEM_NO")?;
    Ok((field.trim().to_owned(), column.trim().to_owned()))
}

/// What is loaded.
pub(super) struct Kind {
    /// In the plural.
    pub(super) things: &'static str,
    /// Where it is sent.
    pub(super) path: &'static str,
    /// The columns that it can have.
    pub(super) columns: &'static [&'static str],
}

/// Where the fields of a table stand.
type Columns = BTreeMap<&'static str, usize>;

/// The fields of one row.
pub(super) struct Cells<'a> {
    columns: &'a Columns,
    cells: &'a [String],
}

impl<'a> Cells<'a> {
    /// A field; none where there is nothing.
    pub(super) fn get(&self, name: &str) -> Option<&'a str> {
        let text = self.cells.get(*self.columns.get(name)?)?.as_str();
        Some(text).filter(|text| !text.is_empty())
    }

    /// A field that must be there.
    pub(super) fn need(&self, name: &str) -> Result<&'a str, String> {
        self.get(name).ok_or_else(|| format!("{name} is empty"))
    }

    /// A whole number; also as tables write it that know fractions only, `12.0`.
    pub(super) fn number<T: FromStr>(&self, name: &str) -> Result<Option<T>, String> {
        let number = |text: &str| {
            let whole = text.strip_suffix(".0").unwrap_or(text);
            whole.parse().map_err(|_| format!("{name}: '{text}' is not a whole number in its range"))
        };
        self.get(name).map(number).transpose()
    }
}

/// What came of a load.
#[derive(Debug, Serialize)]
struct Report {
    file: PathBuf,
    rows: u64,
    loaded: u64,
    rejected: u64,
    /// Where the rejected rows are, if there are any.
    rejects: Option<PathBuf>,
}

impl LoadArgs {
    /// Loads the table; `usual` are the options that change what a row means.
    pub(super) async fn run<T: Serialize>(
        self,
        kind: &Kind,
        needed: &[&str],
        usual: &str,
        convert: impl Fn(&Cells<'_>) -> Result<T, String>,
        client: &HubClient,
        out: &Output,
    ) -> Result<Exit, CliError> {
        let mut rows = Rows::open(&self.file)?;
        let (columns, unused) = self.columns(kind, needed, rows.names())?;
        if !unused.is_empty() {
            out.note(&format!("columns that are not used: {}", unused.join(", ")));
        }
        let content = hash_source(&Source::File(self.file.clone())).await.map_err(CliError::hub("load"))?;
        let name = format!("{} {:?} {usual} {:?} {content}", kind.path, self.load_id, self.column);
        let rejects = Rejects::new(&self.file, self.rejects.as_deref(), rows.names());
        let batches = Batches { client, kind, name, number: 0 };
        let mut load = Load { batches, rejects, out, loaded: 0 };
        let mut interrupt = Interrupt::listen();
        let (_, total) = rows.position();
        let count = if rows.counts_bytes() { Count::Bytes } else { Count::Things };
        let progress = Progress::start(out, &format!("loading {}", kind.things), count, total);
        let work = async {
            while let Some(some) = read(&mut rows)? {
                load.take(some, &columns, &convert, &progress).await?;
                progress.set(rows.position().0, &format!("{} loaded", load.loaded));
            }
            Ok(())
        };
        let ended = interrupt.guard(work).await;
        progress.clear();
        let rejected = load.rejects.finish();
        ended?;
        let (rejected, rejects) = rejected?;
        let report =
            Report { file: self.file, rows: load.loaded + rejected, loaded: load.loaded, rejected, rejects };
        tell(&report, kind, out)?;
        Ok(if rejected == 0 { Exit::Ok } else { Exit::Refused })
    }

    /// Where each field stands, and which columns are of no use.
    fn columns(
        &self,
        kind: &Kind,
        needed: &[&str],
        names: &[String],
    ) -> Result<(Columns, Vec<String>), CliError> {
        let hint = "`--help` lists the columns; `--column FIELD=COLUMN` names one that is called otherwise";
        let mut columns = Columns::new();
        for field in kind.columns {
            let renamed = self.column.iter().find(|(of, _)| of == field).map(|(_, column)| column.as_str());
            match names.iter().position(|name| name == renamed.unwrap_or(field)) {
                Some(at) => {
                    columns.insert(field, at);
                }
                None if renamed.is_some() || needed.contains(field) => {
                    let problem =
                        format!("{} has no column '{}'", self.file.display(), renamed.unwrap_or(field));
                    return Err(CliError::usage(problem, hint));
                }
                None => {}
            }
        }
        if let Some((field, _)) =
            self.column.iter().find(|(field, _)| !kind.columns.contains(&field.as_str()))
        {
            return Err(CliError::usage(format!("{} have no field '{field}'", kind.things), hint));
        }
        let used: Vec<_> = columns.values().copied().collect();
        let ours = |name: &String| Rejects::COLUMNS.contains(&name.as_str());
        let unused = names.iter().enumerate().filter(|(at, name)| !used.contains(at) && !ours(name));
        Ok((columns, unused.map(|(_, name)| name.clone()).collect()))
    }
}

/// The next rows; none at the end.
fn read(rows: &mut Rows) -> Result<Option<Vec<Row>>, CliError> {
    let mut some = Vec::with_capacity(TOGETHER);
    while some.len() < TOGETHER
        && let Some(row) = rows.next()?
    {
        some.push(row);
    }
    Ok(Some(some).filter(|some| !some.is_empty()))
}

fn tell(report: &Report, kind: &Kind, out: &Output) -> Result<(), CliError> {
    if out.json {
        return out.value(report);
    }
    out.line(&format!("{} of {} {} loaded", report.loaded, report.rows, kind.things))?;
    if let Some(rejects) = &report.rejects {
        let (rejected, path) = (report.rejected, rejects.display());
        out.warn(&format!("{rejected} rows were refused: {path} has them and says why; correct and load it"));
    }
    Ok(())
}

/// A load under way.
struct Load<'a> {
    batches: Batches<'a>,
    rejects: Rejects,
    out: &'a Output,
    loaded: u64,
}

impl Load<'_> {
    /// Sends rows that were read together.
    async fn take<T: Serialize>(
        &mut self,
        rows: Vec<Row>,
        columns: &Columns,
        convert: impl Fn(&Cells<'_>) -> Result<T, String>,
        progress: &Progress,
    ) -> Result<(), CliError> {
        let mut items = Vec::with_capacity(rows.len());
        let mut refused = Vec::new();
        for row in rows {
            let cells = Cells { columns, cells: &row.cells };
            let item = row.problem.clone().map_or_else(|| convert(&cells), Err);
            match item {
                Ok(item) => items.push((row, item)),
                Err(problem) => refused.push((row, problem)),
            }
        }
        let (loaded, more) = self.batches.send(items).await?;
        self.loaded += loaded;
        refused.extend(more);
        refused.sort_by_key(|(row, _)| row.number);
        for (row, problem) in refused {
            if let Some(line) = self.rejects.add(&row, &problem)? {
                progress.suspend(|| self.out.warn(&line));
            }
        }
        Ok(())
    }
}

/// Batches on their way, each under an id that is made from the file and its number in it.
struct Batches<'a> {
    client: &'a HubClient,
    kind: &'a Kind,
    /// What file, load and options are.
    name: String,
    number: u64,
}

/// Rows that were not taken, and why.
type Refused = Vec<(Row, String)>;

impl Batches<'_> {
    /// Sends the next batch without the rows that the hub refuses; how many were taken.
    ///
    /// A refusal names a row, and the batch is sent again without it, under an id that follows from what was left out.
    /// So a load that is done again goes the same way to the same end; and if it would go another way, because a row is
    /// right now that was refused then, the hub finds that its first id stands for something else.
    async fn send<T: Serialize>(&mut self, mut items: Vec<(Row, T)>) -> Result<(u64, Refused), CliError> {
        self.number += 1;
        let mut refused = Refused::new();
        while !items.is_empty() {
            let body: Vec<&T> = items.iter().map(|(_, item)| item).collect();
            let key = self.key(&refused);
            let sent: Result<IgnoredAny, _> = self.client.post(self.kind.path, &body, Some(key)).await;
            match sent {
                Ok(_) => return Ok((items.len() as u64, refused)),
                Err(ClientError::Refused { body, .. }) if body.code == "request_conflict" => {
                    let problem = "was sent before, when other rows of its batch were refused: load those from their \
                                   rejects file, or all again with another --load-id";
                    refused.extend(items.drain(..).map(|(row, _)| (row, problem.to_owned())));
                }
                Err(error) => {
                    let at = which(&error).filter(|at| *at < items.len());
                    let Some(at) = at else { return Err(self.failed(error)) };
                    refused.push((items.remove(at).0, without_number(&error.to_string())));
                }
            }
        }
        Ok((0, refused))
    }

    /// The id of this batch without those rows.
    fn key(&self, left_out: &Refused) -> RequestId {
        let rows: Vec<u64> = left_out.iter().map(|(row, _)| row.number).collect();
        let hash = Hash::of(format!("{} {} {rows:?}", self.name, self.number).as_bytes()).to_string();
        RequestId(u128::from_str_radix(&hash[..32], 16).expect("hashes are written as hexadecimal digits"))
    }

    fn failed(&self, source: ClientError) -> CliError {
        let operation = format!(
            "load batch {} of {}; run the same command again, and what was loaded is not loaded twice",
            self.number, self.kind.things
        );
        CliError::Hub { operation, source }
    }
}

/// Which of a list was refused, from 0.
fn which(error: &ClientError) -> Option<usize> {
    match error {
        ClientError::Refused { body, .. } => (body.number? as usize).checked_sub(1),
        _ => None,
    }
}

/// What is wrong with a row; the report says which it is in its own way.
fn without_number(message: &str) -> String {
    let rest = message.strip_prefix("number ").and_then(|rest| rest.split_once(" of the list: "));
    rest.map_or(message, |(_, problem)| problem).to_owned()
}
