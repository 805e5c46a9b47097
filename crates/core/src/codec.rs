//! The bytes of entries and snapshots: postcard (<https://postcard.jamesmunns.com/wire-format>) behind a
//! version number.
//!
//! An entry's payload is the version, then requests one behind the other until its end.

use std::io::{self, Write};

use postcard::ser_flavors::Flavor;

use crate::{Request, State};

/// Version of the requests in an entry.
const ENTRY_VERSION: u8 = 2;
/// The version whose jobs do not say whether owners are checked; they were not.
const ENTRY_UNCHECKED: u8 = 1;
/// Version of the state in a snapshot.
pub const STATE_VERSION: u32 = 16;

/// Bytes that are not an entry or a snapshot of a version that this program reads.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// A version that this program does not read.
    #[error("{what} has version {found}, this program reads version {known}: use the program that wrote it")]
    Version {
        /// Entry or snapshot.
        what: &'static str,
        /// What the bytes say.
        found: u32,
        /// What is known here.
        known: u32,
    },
    /// Malformed bytes.
    #[error("{what} cannot be decoded: it was not written by this program")]
    Malformed {
        /// Entry or snapshot.
        what: &'static str,
        /// Where it went wrong.
        source: postcard::Error,
    },
}

/// Appends a request to an entry's payload, and the version before the first.
pub fn encode_request(payload: &mut Vec<u8>, request: &Request) {
    if payload.is_empty() {
        payload.push(ENTRY_VERSION);
    }
    let taken = std::mem::take(payload);
    *payload = postcard::to_extend(request, taken).expect("a request serialises into a growing buffer");
}

/// Reads all requests of an entry's payload.
pub fn decode_requests(payload: &[u8]) -> Result<Vec<Request>, CodecError> {
    let what = "entry";
    let Some((version, mut rest)) = payload.split_first() else { return Ok(Vec::new()) };
    if *version != ENTRY_VERSION && *version != ENTRY_UNCHECKED {
        return Err(CodecError::Version {
            what,
            found: u32::from(*version),
            known: u32::from(ENTRY_VERSION),
        });
    }
    let mut requests = Vec::new();
    while !rest.is_empty() {
        let read =
            if *version == ENTRY_VERSION { postcard::take_from_bytes(rest) } else { unchecked::take(rest) };
        let (request, after) = read.map_err(|source| CodecError::Malformed { what, source })?;
        requests.push(request);
        rest = after;
    }
    Ok(requests)
}

/// The whole state, as a snapshot of version [`STATE_VERSION`] has it.
pub fn encode_state(state: &State) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_state(state, &mut bytes).expect("memory takes what it is given");
    bytes
}

/// Writes the whole state, for a snapshot of version [`STATE_VERSION`]; mostly a few bytes at once, so that `out` should
/// have a buffer.
///
/// # Errors
/// Those of `out`.
pub fn write_state(state: &State, out: &mut dyn Write) -> io::Result<()> {
    let mut failure = None;
    let written = postcard::serialize_with_flavor(state, Written { out, failure: &mut failure });
    written.map_err(|error| failure.unwrap_or_else(|| io::Error::other(error)))
}

/// Serialised bytes on their way to a writer, whose error is kept: the serialiser's own says less.
struct Written<'a> {
    out: &'a mut dyn Write,
    failure: &'a mut Option<io::Error>,
}

impl Flavor for Written<'_> {
    type Output = ();

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.out.write_all(bytes).map_err(|error| {
            *self.failure = Some(error);
            postcard::Error::SerializeBufferFull
        })
    }

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.try_extend(&[byte])
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// Reads a snapshot's state.
pub fn decode_state(version: u32, bytes: &[u8]) -> Result<State, CodecError> {
    let what = "snapshot";
    if version != STATE_VERSION {
        return Err(CodecError::Version { what, found: version, known: STATE_VERSION });
    }
    match postcard::take_from_bytes(bytes) {
        Ok((state, [])) => Ok(state),
        Ok(_) => Err(CodecError::Malformed { what, source: postcard::Error::DeserializeBadEncoding }),
        Err(source) => Err(CodecError::Malformed { what, source }),
    }
}

/// Requests of [`ENTRY_UNCHECKED`]: only those that order a job differ.
mod unchecked {
    use std::sync::Arc;

    use pumasi_types::{AccountId, Amount, EngineId, Hash, JobId, Limits, Price, RequestId, Time};
    use serde::Deserialize;

    use crate::{Checks, Command, InputFile, JobSpec, Request};

    /// The place of [`Command::SubmitJob`] among the commands.
    const SUBMIT_JOB: u32 = 10;

    pub(super) fn take(bytes: &[u8]) -> postcard::Result<(Request, &[u8])> {
        let ((caller, id, kind), rest) =
            postcard::take_from_bytes::<(AccountId, Option<RequestId>, u32)>(bytes)?;
        if kind != SUBMIT_JOB {
            return postcard::take_from_bytes(bytes);
        }
        let (spec, rest) = postcard::take_from_bytes::<Spec>(rest)?;
        Ok((Request { caller, id, command: Command::SubmitJob(Arc::new(spec.into())) }, rest))
    }

    /// A job without the choice of checks.
    #[derive(Deserialize)]
    struct Spec {
        name: String,
        module: Hash,
        args: Vec<String>,
        env: Vec<String>,
        files: Vec<InputFile>,
        task_list: Option<Hash>,
        tasks: u32,
        limits: Limits,
        engine: EngineId,
        quorum: u8,
        priority: i16,
        bid: Price,
        budget: Amount,
        deadline: Option<Time>,
        max_losses: u8,
        max_failures: Option<u32>,
        after: Vec<JobId>,
        seed: u64,
        clock: Option<Time>,
    }

    impl From<Spec> for JobSpec {
        fn from(spec: Spec) -> JobSpec {
            JobSpec {
                name: spec.name,
                module: spec.module,
                args: spec.args,
                env: spec.env,
                files: spec.files,
                task_list: spec.task_list,
                tasks: spec.tasks,
                limits: spec.limits,
                engine: spec.engine,
                quorum: spec.quorum,
                priority: spec.priority,
                bid: spec.bid,
                budget: spec.budget,
                deadline: spec.deadline,
                max_losses: spec.max_losses,
                max_failures: spec.max_failures,
                after: spec.after,
                seed: spec.seed,
                clock: spec.clock,
                checks: Checks::Off,
            }
        }
    }
}

/// An [`Ending`](pumasi_types::Ending) as its code: its own form is made for JSON, and postcard, which does
/// not describe itself, cannot read that back.
pub(crate) mod ending_code {
    use pumasi_types::Ending;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(crate) fn serialize<S: Serializer>(ending: &Ending, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(ending.to_code())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Ending, D::Error> {
        let code = u64::deserialize(deserializer)?;
        Ending::from_code(code).ok_or_else(|| de::Error::custom("not the code of an ending"))
    }

    /// The same, and 0 for none.
    pub(crate) mod or_none {
        use pumasi_types::Ending;
        use serde::{Deserialize, Deserializer, Serializer, de};

        pub(crate) fn serialize<S: Serializer>(
            ending: &Option<Ending>,
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            serializer.serialize_u64(ending.map_or(0, |ending| ending.to_code() + 1))
        }

        pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
            deserializer: D,
        ) -> Result<Option<Ending>, D::Error> {
            match u64::deserialize(deserializer)?.checked_sub(1).map(Ending::from_code) {
                None => Ok(None),
                Some(Some(ending)) => Ok(Some(ending)),
                Some(None) => Err(de::Error::custom("not the code of an ending")),
            }
        }
    }
}
