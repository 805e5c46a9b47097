//! `pumasi market export`: what was ordered and what happened, as a Parquet file.

use std::fs::File;
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use arrow_flight::Ticket;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_client::FlightServiceClient;
use clap::{Args, ValueEnum};
use futures_util::TryStreamExt;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use pumasi_api::client::{HubClient, part_path};
use serde::Serialize;

use crate::error::CliError;
use crate::job::watch::Interrupt;
use crate::output::Output;
use crate::progress::{Count, Progress};

/// Bytes of one message with rows at most.
const MESSAGE_BYTES: usize = 16 << 20;

const EXAMPLES: &str = "\
Examples:
  pumasi market export orders --out orders.parquet
  pumasi market export events --out new.parquet --after 48211   what happened since";

/// Write your orders, or all that happened to them, to a Parquet file (merchants)
///
/// The last number that was written is printed: give it as --after the next time, and only what came since is written.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ExportArgs {
    /// What
    #[arg(value_enum)]
    what: What,
    /// The file; it appears complete or not at all
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Only what has a larger number
    #[arg(long, default_value_t = 0, hide_default_value = true, value_name = "NUMBER")]
    after: u64,
}

/// What can be exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// Orders as they stand, one row each.
    Orders,
    /// Events, one row each, oldest first.
    Events,
}

impl What {
    fn name(self) -> &'static str {
        match self {
            What::Orders => "orders",
            What::Events => "events",
        }
    }
}

/// What was written.
#[derive(Debug, Serialize)]
struct Exported {
    file: PathBuf,
    rows: u64,
    /// The number of the last row.
    last: u64,
}

impl ExportArgs {
    pub(crate) async fn run(self, client: &HubClient, out: &Output) -> Result<(), CliError> {
        let part = part_path(&self.out);
        let progress = Progress::start(out, &format!("exporting {}", self.what.name()), Count::Things, 0);
        let done = Interrupt::listen().guard(self.write(client, &part, &progress)).await;
        progress.clear();
        let moved = done.and_then(|exported| {
            std::fs::rename(&part, &self.out).map_err(CliError::file("write", &self.out))?;
            Ok(exported)
        });
        if moved.is_err() {
            // What failed is more telling than that its remains could not be removed.
            let _ = std::fs::remove_file(&part);
        }
        let exported = moved?;
        if out.json {
            return out.value(&exported);
        }
        let Exported { file, rows, last } = exported;
        out.line(&format!("{}: {rows} {}, the last is {last}", file.display(), self.what.name()))
    }

    async fn write(
        &self,
        client: &HubClient,
        part: &Path,
        progress: &Progress,
    ) -> Result<Exported, CliError> {
        let failed = || CliError::flight(format!("export {}", self.what.name()));
        let mut flight = FlightServiceClient::new(client.channel()).max_decoding_message_size(MESSAGE_BYTES);
        let ticket = Ticket::new(format!("{}?after={}", self.what.name(), self.after));
        let answer = flight.do_get(client.authorize(ticket)).await;
        let messages = answer.map_err(|status| failed()(status.into()))?.into_inner();
        let mut batches = FlightRecordBatchStream::new_from_flight_data(messages.map_err(FlightError::from));
        let mut exported = Exported { file: self.out.clone(), rows: 0, last: self.after };
        let mut writer = None;
        while let Some(batch) = batches.try_next().await.map_err(failed())? {
            let writer = match &mut writer {
                Some(writer) => writer,
                none => none.insert(self::writer(part, &batch)?),
            };
            writer.write(&batch).map_err(CliError::content(part))?;
            exported.rows += batch.num_rows() as u64;
            exported.last = last(&batch).unwrap_or(exported.last);
            progress.set(exported.rows, "");
        }
        let writer = match (writer, batches.schema()) {
            (Some(writer), _) => writer,
            // Nothing happened; the file has columns and no rows.
            (None, Some(schema)) => self::writer(part, &RecordBatch::new_empty(schema.clone()))?,
            (None, None) => return Err(failed()(FlightError::protocol("it sent no schema"))),
        };
        let file = writer.into_inner().map_err(CliError::content(part))?;
        file.sync_all().map_err(CliError::file("write", part))?;
        Ok(exported)
    }
}

/// A file of such rows.
fn writer(path: &Path, batch: &RecordBatch) -> Result<ArrowWriter<File>, CliError> {
    let file = File::create(path).map_err(CliError::file("create", path))?;
    let snappy = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    ArrowWriter::try_new(file, batch.schema(), Some(snappy)).map_err(CliError::content(path))
}

/// The number of the last row: it stands in the first column.
fn last(batch: &RecordBatch) -> Option<u64> {
    batch.column(0).as_primitive_opt::<UInt64Type>()?.values().last().copied()
}
