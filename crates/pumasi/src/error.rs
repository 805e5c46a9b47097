//! Why a command failed: what was tried, on what, why not, and what helps.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use arrow_flight::error::FlightError;
use pumasi_api::client::ClientError;
use pumasi_api::tls::HubAddress;
use pumasi_hub::proof::ProofFailure;
use pumasi_log::LogError;
use pumasi_types::ByteSize;
use pumasi_worker::JoinError;
use tonic::Code;

use crate::exit::Exit;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// The hub did not do it.
    #[error("cannot {operation}")]
    Hub {
        /// What was asked, as `submit job 'x'`.
        operation: String,
        /// Why not.
        source: ClientError,
    },
    /// The hub did not send tables, or not all of them.
    #[error("cannot {operation}: {problem}")]
    Flight {
        /// What was asked.
        operation: String,
        /// Why not.
        problem: String,
        /// How the program ends.
        exit: Exit,
    },
    /// A file of this machine.
    #[error("cannot {operation} {}", path.display())]
    File {
        /// `read`, `write`, `create`.
        operation: &'static str,
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// What was asked for makes no sense.
    #[error("{problem}")]
    Usage {
        /// What is wrong.
        problem: String,
        /// What is right.
        hint: &'static str,
    },
    /// The profiles are not what `pumasi login` wrote.
    #[error("cannot read the profiles in {}: {problem}", path.display())]
    Profiles {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A profile that does not exist.
    #[error("there is no profile '{name}'")]
    NoProfile {
        /// Its name.
        name: String,
    },
    /// A key that is not on this machine.
    #[error("there is no key '{name}' on this machine")]
    NoKey {
        /// Its name.
        name: String,
    },
    /// A key on this machine that is needed and cannot be read.
    #[error("cannot read key {}: {problem}", path.display())]
    BadKey {
        /// Its file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// An encrypted file of which this machine cannot make anything.
    #[error("cannot read {place}: {why}")]
    Closed {
        /// Which.
        place: String,
        /// Why not.
        why: crate::keys::Closed,
    },
    /// Something that the hub does not have.
    #[error("there is no {what}")]
    Missing {
        /// What was asked for, as `article 'tea' of yours`.
        what: String,
    },
    /// What is to be put does not fit; nothing was sent.
    #[error("cannot put {needed} to {place}: {left} of {quota} are left there")]
    NoRoom {
        /// Where to.
        place: String,
        /// How much is left.
        left: ByteSize,
        /// Of how much.
        quota: ByteSize,
        /// How much it would be.
        needed: ByteSize,
    },
    /// A file of the store ended early.
    #[error("cannot read {place}: it ended {left} too early")]
    Incomplete {
        /// Which.
        place: String,
        /// What is missing.
        left: ByteSize,
    },
    /// Some of what was to be moved was not.
    #[error("{problem}")]
    Partly {
        /// What was refused first, and how much more.
        problem: String,
        /// The hub's code for the first.
        code: String,
    },
    /// A folder that was kept the same lost so much that it looks like a mistake.
    #[error("{count} of {known} files would be removed {side}")]
    ManyRemoved {
        /// How many.
        count: usize,
        /// Of how many.
        known: usize,
        /// `here` or `in SPACE:path`.
        side: String,
    },
    /// Somebody else is at it.
    #[error("{} is being kept the same by another `pumasi sync`", path.display())]
    Busy {
        /// The folder.
        path: PathBuf,
    },
    /// Nobody said which hub.
    #[error("no hub is given")]
    NoHub,
    /// Nobody said which certificate the hub must show.
    #[error("the certificate of the hub at {address} is not known yet")]
    NoFingerprint {
        /// Where the hub is.
        address: HubAddress,
    },
    /// Neither HOME nor the XDG variable says where files belong.
    #[error("cannot find your home folder: HOME is not set")]
    NoHome,
    /// The estimate is beyond the budget.
    #[error("the job would cost about {estimate} CRD, but its budget is {budget} CRD")]
    TooExpensive {
        /// Credits that it would cost.
        estimate: String,
        /// Credits that it may cost.
        budget: String,
    },
    /// Every task that was tried here fails.
    #[error("{tried} of {tried} tasks that were tried here fail: {example}")]
    AllSamplesFail {
        /// How many were tried.
        tried: usize,
        /// Which one, and how.
        example: String,
    },
    /// The program is not a guest.
    #[error("cannot run {}", path.display())]
    BadModule {
        /// Its file.
        path: PathBuf,
        /// Why not.
        source: pumasi_worker::engine::ModuleError,
    },
    /// An output of a task cannot be read, or is not what was agreed on.
    #[error("the output of task {task} of job {job} {problem}")]
    BadOutput {
        /// The job.
        job: pumasi_types::JobId,
        /// The task.
        task: pumasi_types::TaskIndex,
        /// What is wrong with it.
        problem: String,
    },
    /// A file that says something else than it should.
    #[error("{} cannot be used: {problem}", path.display())]
    Content {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The keys that the hub on this machine proves its payments with.
    #[error("cannot change the keys in {}", data.display())]
    ProofKeys {
        /// The hub's data folder.
        data: PathBuf,
        /// Why not.
        source: ProofFailure,
    },
    /// The log cannot be read.
    #[error("cannot read the log in {}", dir.display())]
    Log {
        /// The folder.
        dir: PathBuf,
        /// Why not.
        source: LogError,
    },
    /// A store on this machine did not do it.
    #[error("the store in {}", dir.display())]
    Store {
        /// Its folder.
        dir: PathBuf,
        /// Why not.
        source: Box<pumasi_blobs::BlobError>,
    },
    /// Nothing in a store has that name.
    #[error("the store in {} has nothing named {name:?}", dir.display())]
    NoName {
        /// Its folder.
        dir: PathBuf,
        /// The name.
        name: String,
    },
    /// A store whose names are kept elsewhere.
    #[error("the store in {} has no names, so nothing in it can be told to be garbage", dir.display())]
    NoNames {
        /// Its folder.
        dir: PathBuf,
    },
    /// The hub on this machine does not start or go on.
    #[error("cannot serve")]
    Serve {
        /// Why.
        source: pumasi_hub::ServeError,
    },
    /// This machine cannot join, or cannot stay.
    #[error("cannot join")]
    Join {
        /// Why.
        source: JoinError,
    },
    /// An audit cannot go on, for a reason that is not the hub's.
    #[error("cannot audit")]
    Audit {
        /// Why.
        source: pumasi_audit::AuditError,
    },
    /// A witness cannot remember, or cannot serve.
    #[error("cannot witness")]
    Witness {
        /// Why.
        source: pumasi_witness::StoreError,
    },
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
    /// Ctrl-C while the hub was asked to take a job.
    #[error("interrupted while the job was submitted")]
    InterruptedSubmission,
}

impl CliError {
    /// Names the operation that the hub was asked for.
    pub(crate) fn hub(operation: impl Into<String>) -> impl FnOnce(ClientError) -> CliError {
        let operation = operation.into();
        move |source| CliError::Hub { operation, source }
    }

    /// Names the operation that the hub was asked for tables in.
    pub(crate) fn flight(operation: impl Into<String>) -> impl FnOnce(FlightError) -> CliError {
        let operation = operation.into();
        move |error| {
            let (problem, exit) = match error {
                FlightError::Tonic(status) => (status.message().to_owned(), exit_of_code(status.code())),
                error => (error.to_string(), Exit::Unreachable),
            };
            CliError::Flight { operation, problem, exit }
        }
    }

    /// Names the file that something was tried on.
    pub(crate) fn file(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CliError {
        let path = path.to_owned();
        move |source| CliError::File { operation, path, source }
    }

    /// Names the file whose content cannot be used.
    pub(crate) fn content<E: Error>(path: &Path) -> impl FnOnce(E) -> CliError {
        let path = path.to_owned();
        move |error| CliError::Content { path, problem: error.to_string() }
    }

    /// A command line that makes no sense.
    pub(crate) fn usage(problem: impl Into<String>, hint: &'static str) -> CliError {
        CliError::Usage { problem: problem.into(), hint }
    }

    /// What the person at the keyboard can do.
    pub(crate) fn hint(&self) -> Option<&str> {
        Some(match self {
            CliError::Hub { source, .. } => source.remedy(),
            CliError::Flight { exit: Exit::NotAllowed, .. } => {
                "use an account that may do this, or ask an operator"
            }
            CliError::Flight { .. } => "try again; what was written before is not touched",
            CliError::File { .. } => "check the path, its permissions and the free space",
            CliError::Usage { hint, .. } => hint,
            CliError::Profiles { .. } => "repair or remove the file, then `pumasi login` again",
            CliError::NoProfile { .. } => "`pumasi login HUB --profile NAME` makes one",
            CliError::NoKey { .. } => "`pumasi key ls` lists the keys here, `pumasi key new` makes one",
            CliError::Closed { why: crate::keys::Closed::NoKey(_), .. } => {
                "ask whoever has the key for `pumasi key show`, and add it with `pumasi key add`"
            }
            CliError::Closed { why: crate::keys::Closed::Version(_), .. } => {
                "install the version of pumasi that made it, or a later one"
            }
            CliError::BadKey { .. } => {
                "move the file elsewhere, and bring the key back with `pumasi key add` and its recovery text"
            }
            CliError::Closed { .. } => "`pumasi versions` may have an older one that is whole",
            CliError::Missing { .. } => "check the name or number",
            CliError::NoRoom { .. } => {
                "empty its trash with `pumasi trash --empty`, remove something, or ask an operator for more"
            }
            CliError::Incomplete { .. } => "try again; if it stays so, tell the hub's operator",
            CliError::Partly { code, .. } => match code.as_str() {
                "folder_not_empty" => "add --recursive to remove a folder with all that lies in it",
                "no_file" => "`pumasi ls` shows what is there",
                _ => "change the request as the message says",
            },
            CliError::ManyRemoved { .. } => {
                "look whether the right folder is meant and mounted; --delete-many removes them all the same"
            }
            CliError::Busy { .. } => "wait for it, or end it",
            CliError::NoHub => "`pumasi login HUB` once, or give --hub or PUMASI_HUB",
            CliError::NoFingerprint { .. } => {
                "`pumasi login HUB` once, or give --fingerprint or PUMASI_FINGERPRINT; the hub prints it when it starts"
            }
            CliError::NoHome => {
                "set HOME, XDG_CONFIG_HOME and XDG_DATA_HOME, or give the folder as an option"
            }
            CliError::TooExpensive { .. } => {
                "raise --budget, lower --quorum or --bid, or add --yes to start anyway: it never costs more than its budget"
            }
            CliError::AllSamplesFail { .. } => {
                "correct the program or its input, or add --yes to start anyway"
            }
            CliError::Content { .. } => "get the file again from where it came",
            CliError::ProofKeys { .. } => "give the hub's data folder with --data",
            CliError::BadModule { .. } => "compile it to a WASI command: docs/guests.md tells how",
            CliError::BadOutput { .. } => "fetch it again; if it stays so, tell the hub's operator",
            CliError::Log { .. } => "check the folder: it is `log` inside the hub's data folder",
            CliError::Audit { .. } | CliError::Witness { .. } => {
                "check the folder given with --data, and the free space there"
            }
            CliError::NoName { .. } => "`pumasi store ls` shows the names",
            CliError::NoNames { .. } => "leave the store of a hub to the hub",
            CliError::InterruptedSubmission => "the hub may have taken it: `pumasi jobs` shows",
            CliError::Store { .. }
            | CliError::Serve { .. }
            | CliError::Join { .. }
            | CliError::Interrupted => return None,
        })
    }

    /// How the program ends.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            CliError::Hub { source, .. } => exit_of(source),
            CliError::Flight { exit, .. } => *exit,
            CliError::Usage { .. } | CliError::NoHub | CliError::NoFingerprint { .. } => Exit::Usage,
            CliError::File { .. }
            | CliError::Profiles { .. }
            | CliError::BadKey { .. }
            | CliError::NoHome
            | CliError::Log { .. }
            | CliError::Store { .. }
            | CliError::NoNames { .. }
            | CliError::Busy { .. }
            | CliError::ProofKeys { .. }
            | CliError::Audit { .. }
            | CliError::Witness { .. } => Exit::LocalFile,
            CliError::NoProfile { .. }
            | CliError::NoKey { .. }
            | CliError::Missing { .. }
            | CliError::NoName { .. } => Exit::NotFound,
            CliError::Closed { why: crate::keys::Closed::NoKey(_), .. } => Exit::NotAllowed,
            CliError::Join { source } => exit_of_join(source),
            CliError::Partly { code, .. } if code == "no_file" => Exit::NotFound,
            CliError::Partly { code, .. } if code == "no_access" => Exit::NotAllowed,
            CliError::TooExpensive { .. }
            | CliError::NoRoom { .. }
            | CliError::Partly { .. }
            | CliError::ManyRemoved { .. } => Exit::Refused,
            CliError::Incomplete { .. } => Exit::Unreachable,
            CliError::AllSamplesFail { .. }
            | CliError::BadModule { .. }
            | CliError::BadOutput { .. }
            | CliError::Closed { .. }
            | CliError::Content { .. }
            | CliError::Serve { .. } => Exit::Failed,
            CliError::Interrupted | CliError::InterruptedSubmission => Exit::Interrupted,
        }
    }

    /// The error and its causes on one line, each said once.
    pub(crate) fn line(&self) -> String {
        let mut line = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            let text = error.to_string();
            if !line.contains(&text) {
                line = format!("{line}: {text}");
            }
            cause = error.source();
        }
        line
    }
}

fn exit_of(error: &ClientError) -> Exit {
    match error {
        ClientError::Refused { status, body } => match status.as_u16() {
            401 | 403 => Exit::NotAllowed,
            404 => Exit::NotFound,
            // A quota, unless it is the disk, on which there may be room later.
            507 if body.code != "disk_full" => Exit::Refused,
            500.. => Exit::Unreachable,
            _ => Exit::Refused,
        },
        ClientError::Local { .. } => Exit::LocalFile,
        ClientError::TooLarge { .. } => Exit::Refused,
        ClientError::Unreachable { .. }
        | ClientError::Pinned { .. }
        | ClientError::Protocol { .. }
        | ClientError::Damaged { .. } => Exit::Unreachable,
    }
}

fn exit_of_code(code: Code) -> Exit {
    match code {
        Code::Unauthenticated | Code::PermissionDenied => Exit::NotAllowed,
        Code::NotFound => Exit::NotFound,
        Code::InvalidArgument | Code::ResourceExhausted => Exit::Refused,
        _ => Exit::Unreachable,
    }
}

fn exit_of_join(error: &JoinError) -> Exit {
    match error {
        JoinError::Refused(_) => Exit::NotAllowed,
        JoinError::Option { .. } | JoinError::NoIdleness => Exit::Usage,
        JoinError::Data { .. } | JoinError::InUse { .. } | JoinError::MachineKey { .. } => Exit::LocalFile,
        JoinError::Engine(_) | JoinError::Calibrate(_) | JoinError::System { .. } => Exit::Failed,
    }
}
