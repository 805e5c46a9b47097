//! What workers say, turned into requests: pure, and doubting everything.

use bytes::Bytes;
use pumasi_api::link::{Ack, FromHub, FromWorker, Hello, Report, Status, from_hub, from_worker};
use pumasi_api::output;
use pumasi_core::{Answer, Bounds, Command, Done, Request, RunReport, WorkerSpec};
use pumasi_types::{
    AccountId, ByteSize, Duration, Ending, EngineId, Fuel, Hash, Price, RunId, Speed, WorkerId,
};

/// Runs in one report at most.
pub const REPORT_RUNS_MAX: usize = 16 << 10;
/// The largest output that travels inside a report, in bytes.
pub const INLINE_BYTES_MAX: usize = 16 << 10;

/// A message that a worker may not send: its link is closed, and nothing of it gets into the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadMessage {
    /// Something else came first.
    #[error("the first message must be Hello")]
    NotHello,
    /// A second hello, or nothing that is known.
    #[error("a message that does not belong here")]
    OutOfPlace,
    /// A machine key of another length.
    #[error("machine_key must have 16 bytes")]
    MachineKey,
    /// A name that is too long.
    #[error("name and engine must have at most {} bytes", Bounds::NAME_BYTES)]
    LongName,
    /// Too much for one message.
    #[error("a message names more than {most} runs")]
    TooManyRuns {
        /// What is taken.
        most: usize,
    },
    /// Columns do not belong together.
    #[error("the columns of a report differ in length")]
    Columns,
    /// An output that had to be uploaded.
    #[error("an output in a report is larger than 16 KiB")]
    LargeOutput,
    /// A code that stands for no ending.
    #[error("a report has an unknown ending")]
    UnknownEnding,
}

/// What an attached worker's message leads to.
#[derive(Debug)]
pub enum Heard {
    /// It is alive, nothing else.
    Heartbeat,
    /// To be asked for it; a refusal closes the link.
    Ask(Request),
    /// Runs finished.
    Report(Reported),
}

/// A report in rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reported {
    /// The report's number on its link.
    pub id: u64,
    /// What became of which run.
    pub runs: Vec<RunReport>,
    /// As many as runs; empty for empty outputs and for those that were uploaded before.
    pub outputs: Vec<Bytes>,
}

/// The request of a worker of `owner` whose first message this is.
///
/// # Errors
/// When it is no hello that a hub takes.
pub fn hello(owner: AccountId, message: FromWorker) -> Result<Request, BadMessage> {
    let Some(from_worker::Message::Hello(hello)) = message.message else { return Err(BadMessage::NotHello) };
    let command = Command::AttachWorker(worker_spec(hello)?);
    Ok(Request { caller: owner, id: None, command })
}

/// Takes in a later message of an attached worker.
///
/// # Errors
/// When it may not be sent.
pub fn hear(owner: AccountId, worker: WorkerId, message: FromWorker) -> Result<Heard, BadMessage> {
    match message.message {
        Some(from_worker::Message::Report(report)) => Reported::read(report).map(Heard::Report),
        Some(from_worker::Message::Status(status)) => {
            let command = set_worker(worker, status)?;
            let ask = |command| Heard::Ask(Request { caller: owner, id: None, command });
            Ok(command.map_or(Heard::Heartbeat, ask))
        }
        Some(from_worker::Message::Hello(_)) | None => Err(BadMessage::OutOfPlace),
    }
}

/// The acknowledgement of a report; none when it was refused as a whole: what did not count is not
/// acknowledged.
pub fn ack(report_id: u64, answer: &Answer) -> Option<FromHub> {
    let Ok(Done::Reported { refused }) = answer else { return None };
    let refused_runs = refused.iter().map(|run| run.0).collect();
    Some(FromHub { message: Some(from_hub::Message::Ack(Ack { report_id, refused_runs })) })
}

fn set_worker(worker: WorkerId, status: Status) -> Result<Option<Command>, BadMessage> {
    if !status.changed && status.returned_runs.is_empty() {
        return Ok(None);
    }
    if status.returned_runs.len() > Bounds::RUNS {
        return Err(BadMessage::TooManyRuns { most: Bounds::RUNS });
    }
    let returned = status.returned_runs.into_iter().map(RunId).collect();
    let accepting = status.accepting && !status.leaving;
    Ok(Some(Command::SetWorker { worker, accepting, returned }))
}

fn worker_spec(hello: Hello) -> Result<WorkerSpec, BadMessage> {
    let key: [u8; 16] = hello.machine_key.try_into().map_err(|_| BadMessage::MachineKey)?;
    if hello.held_runs.len() > Bounds::RUNS {
        return Err(BadMessage::TooManyRuns { most: Bounds::RUNS });
    }
    if hello.name.len() > Bounds::NAME_BYTES || hello.engine.len() > Bounds::NAME_BYTES {
        return Err(BadMessage::LongName);
    }
    Ok(WorkerSpec {
        machine_key: u128::from_le_bytes(key),
        name: hello.name,
        cores: hello.cores,
        memory: ByteSize(hello.memory_bytes),
        speed: Speed(hello.speed),
        engine: EngineId(hello.engine),
        ask: Price(hello.ask_price),
        held: hello.held_runs.into_iter().map(RunId).collect(),
    })
}

impl Reported {
    /// Columns to rows.
    ///
    /// # Errors
    /// When they are none.
    pub fn read(report: Report) -> Result<Reported, BadMessage> {
        let count = report.runs.len();
        if count > REPORT_RUNS_MAX {
            return Err(BadMessage::TooManyRuns { most: REPORT_RUNS_MAX });
        }
        let columns =
            [report.endings.len(), report.fuel.len(), report.wall_ns.len(), report.results.len() / 32];
        if columns.iter().any(|len| *len != count) || !report.results.len().is_multiple_of(32) {
            return Err(BadMessage::Columns);
        }
        let outputs = match report.outputs.len() {
            0 => vec![Bytes::new(); count],
            len if len == count => report.outputs.into_iter().map(Bytes::from).collect(),
            _ => return Err(BadMessage::Columns),
        };
        if outputs.iter().any(|output: &Bytes| output.len() > INLINE_BYTES_MAX) {
            return Err(BadMessage::LargeOutput);
        }
        let mut runs = Vec::with_capacity(count);
        for (at, result) in report.results.chunks_exact(32).enumerate() {
            let ending = Ending::from_code(report.endings[at]).ok_or(BadMessage::UnknownEnding)?;
            runs.push(RunReport {
                run: RunId(report.runs[at]),
                ending,
                fuel: Fuel(report.fuel[at]),
                wall: Duration(report.wall_ns[at]),
                result: Hash::from_bytes(result.try_into().expect("chunks of 32 bytes")),
            });
        }
        Ok(Reported { id: report.report_id, runs, outputs })
    }

    /// The outputs that came along and have to be stored.
    pub fn carried(&self) -> impl Iterator<Item = &Bytes> {
        self.outputs.iter().filter(|output| !output.is_empty())
    }

    /// The runs whose outputs came along, and how long these are.
    pub fn lengths(&self) -> impl Iterator<Item = (RunId, u64)> {
        let rows = self.runs.iter().zip(&self.outputs).filter(|(_, output)| !output.is_empty());
        rows.map(|(run, output)| (run.run, output.len() as u64))
    }

    /// Lets go of outputs that came along and are too long: such a run counts as failed. Returns those.
    pub fn cut(&mut self, is_long: impl Fn(RunId, u64) -> bool) -> Vec<RunId> {
        let mut cut = Vec::new();
        for (run, output) in self.runs.iter_mut().zip(&mut self.outputs) {
            if !output.is_empty() && is_long(run.run, output.len() as u64) {
                *output = Bytes::new();
                if run.ending.is_deterministic() {
                    run.ending = Ending::Faulted;
                }
                cut.push(run.run);
            }
        }
        cut
    }

    /// The runs whose outputs did not come along, so that they must have been uploaded before.
    pub fn uploaded(&self) -> impl Iterator<Item = (RunId, Hash)> {
        let rows = self.runs.iter().zip(&self.outputs);
        let absent = rows.filter(|(run, output)| output.is_empty() && run.result != output::EMPTY_HASH);
        absent.map(|(run, _)| (run.run, run.result))
    }

    /// Lets a run whose output is not what its hash says count as failed, and returns those. `stored` are the
    /// hashes of [`Reported::carried`]; `has` tells whether the output of a run was uploaded before.
    pub fn doubt(&mut self, stored: Vec<Hash>, has: impl Fn(RunId, &Hash) -> bool) -> Vec<RunId> {
        let mut stored = stored.into_iter();
        let mut doubted = Vec::new();
        for (run, output) in self.runs.iter_mut().zip(&self.outputs) {
            let is_there = match output.is_empty() {
                false => stored.next() == Some(run.result),
                true => run.result == output::EMPTY_HASH || has(run.run, &run.result),
            };
            if !is_there && run.ending.is_deterministic() {
                run.ending = Ending::Faulted;
                doubted.push(run.run);
            }
        }
        doubted
    }

    /// The request that the report makes.
    pub fn request(self, owner: AccountId, worker: WorkerId) -> Request {
        Request { caller: owner, id: None, command: Command::Report { worker, runs: self.runs } }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use prost::Message;

    use super::*;

    fn report(runs: usize) -> Report {
        Report {
            report_id: 1,
            runs: vec![7; runs],
            endings: vec![0; runs],
            fuel: vec![5; runs],
            wall_ns: vec![9; runs],
            results: vec![0; 32 * runs],
            ..Report::default()
        }
    }

    #[test]
    fn columns_must_have_one_length() {
        assert_eq!(Reported::read(report(3)).unwrap().runs.len(), 3);
        let spoil: [fn(&mut Report); 7] = [
            |r| r.runs.push(1),
            |r| r.endings.clear(),
            |r| r.fuel.push(1),
            |r| r.wall_ns.clear(),
            |r| r.results.push(1),
            |r| r.outputs.push(Vec::new()),
            |r| r.endings[1] = u64::MAX,
        ];
        for spoil in spoil {
            let mut bad = report(3);
            spoil(&mut bad);
            assert!(Reported::read(bad).is_err());
        }
    }

    #[test]
    fn an_output_too_large_for_a_report_is_refused() {
        let mut bad = report(1);
        bad.outputs = vec![vec![0; INLINE_BYTES_MAX + 1]];
        assert!(Reported::read(bad).is_err());
    }

    #[test]
    fn outputs_that_are_too_long_are_let_go() {
        let mut whole = Report { outputs: vec![vec![1; 100], Vec::new(), vec![1; 101]], ..report(3) };
        whole.runs = vec![1, 2, 3];
        let mut reported = Reported::read(whole).unwrap();
        assert_eq!(reported.lengths().collect::<Vec<_>>(), [(RunId(1), 100), (RunId(3), 101)]);
        assert_eq!(reported.cut(|_, length| length > 100), [RunId(3)]);
        assert_eq!(reported.carried().map(Bytes::len).collect::<Vec<_>>(), [100]);
        let faulted = reported.runs.iter().map(|run| run.ending == Ending::Faulted);
        assert_eq!(faulted.collect::<Vec<_>>(), [false, false, true]);
    }

    #[test]
    fn too_many_runs_are_refused() {
        assert!(Reported::read(report(REPORT_RUNS_MAX)).is_ok());
        assert!(Reported::read(report(REPORT_RUNS_MAX + 1)).is_err());
    }

    fn any_report() -> impl Strategy<Value = Report> {
        let codes = prop_oneof![
            0..9_u64,
            (0..9_u64, any::<u32>()).prop_map(|(k, d)| k | u64::from(d) << 8),
            any::<u64>()
        ];
        let numbers = || vec(any::<u64>(), 0..4);
        let outputs = vec(vec(any::<u8>(), 0..50), 0..4);
        (numbers(), vec(codes, 0..4), numbers(), numbers(), vec(any::<u8>(), 0..130), outputs).prop_map(
            |(runs, endings, fuel, wall_ns, results, outputs)| Report {
                report_id: 1,
                runs,
                endings,
                fuel,
                wall_ns,
                results,
                outputs,
                faults: Vec::new(),
            },
        )
    }

    proptest! {
        #[test]
        fn no_report_panics_and_what_is_taken_is_whole(report in any_report(), fit in any::<bool>()) {
            let mut report = report;
            if fit {
                report.results.resize(32 * report.runs.len(), 7);
                report.endings.resize(report.runs.len(), 0);
                report.fuel.resize(report.runs.len(), 1);
                report.wall_ns.resize(report.runs.len(), 1);
            }
            let count = report.runs.len();
            if let Ok(Reported { runs, outputs, .. }) = Reported::read(report.clone()) {
                prop_assert_eq!((runs.len(), outputs.len()), (count, count));
                for (at, run) in runs.iter().enumerate() {
                    prop_assert_eq!(run.run.0, report.runs[at]);
                    prop_assert_eq!(run.ending.to_code(), report.endings[at]);
                    prop_assert_eq!(run.result.as_bytes().as_slice(), &report.results[32 * at..32 * at + 32]);
                }
            }
        }

        #[test]
        fn no_bytes_on_the_link_panic(bytes in vec(any::<u8>(), 0..200)) {
            let Ok(message) = FromWorker::decode(bytes.as_slice()) else { return Ok(()) };
            drop(hello(AccountId(1), message.clone()));
            drop(hear(AccountId(1), WorkerId(1), message));
        }
    }
}
