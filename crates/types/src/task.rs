//! What bounds a run of a task, and how a run can end.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{ByteSize, Duration, Fuel};

/// What one run of a task may use; the same on every worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Fuel after which the run ends with [`Ending::OutOfFuel`].
    pub fuel: Fuel,
    /// Linear memory that the guest may grow to.
    pub memory: ByteSize,
    /// Wall-clock time after which the run ends with [`Ending::TimedOut`].
    pub wall: Duration,
    /// Bytes of stdout, stderr and files in /out together.
    pub output: ByteSize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            fuel: Fuel(10 * Fuel::PER_CORE_SECOND.0),
            memory: ByteSize::mib(512),
            wall: Duration::from_secs(600),
            output: ByteSize::mib(64),
        }
    }
}

/// How a run ended.
///
/// The first six depend only on the task and its engine: every honest worker gets the same one, so they
/// can be verified by agreement and are paid alike. The last two depend on the machine: the run counts
/// as lost, is not paid, and the task is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Ending {
    /// The guest returned from `_start` (code 0) or called `proc_exit`.
    Exited {
        /// The exit code; 0 is success.
        code: u32,
    },
    /// The guest trapped: it broke a rule of WebAssembly.
    Trapped {
        /// Which rule.
        trap: Trap,
    },
    /// The guest burnt all the fuel it was given.
    OutOfFuel,
    /// The guest asked for more memory than its limit.
    OutOfMemory,
    /// The guest wrote more than its output limit.
    OutputTooLarge,
    /// The module cannot be run: it does not validate, lacks `_start` or imports what is not offered.
    BadModule,
    /// The wall-clock limit passed.
    TimedOut,
    /// The worker itself failed (disk, network, shutdown, cancel).
    Faulted,
}

impl Ending {
    /// Whether the task did what it should: exit code 0.
    pub fn is_success(self) -> bool {
        self == Ending::Exited { code: 0 }
    }

    /// Whether every honest worker must get the same ending, so that agreement means something.
    pub fn is_deterministic(self) -> bool {
        !matches!(self, Ending::TimedOut | Ending::Faulted)
    }

    /// The ending as one number, for wire formats with packed columns; see [`Ending::from_code`].
    ///
    /// The low byte is the kind, the rest its detail.
    pub fn to_code(self) -> u64 {
        match self {
            Ending::Exited { code } => u64::from(code) << 8,
            Ending::Trapped { trap } => 1 | (trap as u64) << 8,
            Ending::OutOfFuel => 2,
            Ending::OutOfMemory => 3,
            Ending::OutputTooLarge => 4,
            Ending::BadModule => 5,
            Ending::TimedOut => 6,
            Ending::Faulted => 7,
        }
    }

    /// Reads what [`Ending::to_code`] wrote; `None` for any other number.
    pub fn from_code(code: u64) -> Option<Ending> {
        let detail = code >> 8;
        let ending = match code & 0xff {
            0 => Ending::Exited { code: u32::try_from(detail).ok()? },
            1 => Ending::Trapped { trap: *Trap::ALL.get(usize::try_from(detail).ok()?)? },
            2 => Ending::OutOfFuel,
            3 => Ending::OutOfMemory,
            4 => Ending::OutputTooLarge,
            5 => Ending::BadModule,
            6 => Ending::TimedOut,
            7 => Ending::Faulted,
            _ => return None,
        };
        (ending.to_code() == code).then_some(ending)
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ending::Exited { code: 0 } => f.write_str("succeeded"),
            Ending::Exited { code } => write!(f, "exit code {code}"),
            Ending::Trapped { trap } => write!(f, "trapped: {trap}"),
            Ending::OutOfFuel => f.write_str("out of fuel"),
            Ending::OutOfMemory => f.write_str("out of memory"),
            Ending::OutputTooLarge => f.write_str("output too large"),
            Ending::BadModule => f.write_str("bad module"),
            Ending::TimedOut => f.write_str("wall-clock limit passed"),
            Ending::Faulted => f.write_str("worker failed"),
        }
    }
}

/// The rule of WebAssembly that a guest broke (core specification 2.0, section 4.4 and appendix).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trap {
    /// An `unreachable` instruction, as after a failed assertion.
    Unreachable,
    /// The call stack grew beyond its fixed limit.
    StackOverflow,
    /// A load or store outside linear memory.
    MemoryOutOfBounds,
    /// An access outside a table.
    TableOutOfBounds,
    /// An indirect call to an empty slot or with the wrong signature.
    BadCall,
    /// Integer division by zero.
    DivisionByZero,
    /// An integer result that does not fit, or a float that is no integer.
    BadConversion,
    /// Any other rule.
    Other,
}

impl Trap {
    const ALL: [Trap; 8] = [
        Trap::Unreachable,
        Trap::StackOverflow,
        Trap::MemoryOutOfBounds,
        Trap::TableOutOfBounds,
        Trap::BadCall,
        Trap::DivisionByZero,
        Trap::BadConversion,
        Trap::Other,
    ];
}

impl fmt::Display for Trap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Trap::Unreachable => "unreachable code reached",
            Trap::StackOverflow => "call stack exhausted",
            Trap::MemoryOutOfBounds => "memory access out of bounds",
            Trap::TableOutOfBounds => "table access out of bounds",
            Trap::BadCall => "bad indirect call",
            Trap::DivisionByZero => "integer division by zero",
            Trap::BadConversion => "number does not fit",
            Trap::Other => "a rule of WebAssembly broken",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_round_trip_and_refuse_the_rest() {
        for code in (0..9 << 8).chain([u64::from(u32::MAX) << 8, u64::MAX]) {
            if let Some(ending) = Ending::from_code(code) {
                assert_eq!(ending.to_code(), code);
            }
        }
        for trap in Trap::ALL {
            let ending = Ending::Trapped { trap };
            assert_eq!(Ending::from_code(ending.to_code()), Some(ending));
        }
        assert_eq!(Ending::from_code(8), None);
        assert_eq!(Ending::from_code(2 | 1 << 8), None);
        assert_eq!(Ending::from_code(u64::MAX << 8), None);
    }
}
