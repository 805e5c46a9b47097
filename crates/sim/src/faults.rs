//! The kinds of faults that a world makes, and what came of them.

use std::fmt;
use std::str::FromStr;

macro_rules! kinds {
    ($($(#[doc = $doc:literal])* $name:ident = $text:literal,)*) => {
        /// A kind of fault.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Kind {
            $($(#[doc = $doc])* $name,)*
        }

        impl Kind {
            /// Every kind.
            pub const ALL: &[Kind] = &[$(Kind::$name,)*];

            /// Its name, as the command line spells it.
            pub fn name(self) -> &'static str {
                match self {
                    $(Kind::$name => $text,)*
                }
            }
        }
    };
}

kinds! {
    /// The hub's process is killed.
    HubKill = "hub-kill",
    /// The hub is stopped in order and started again.
    HubStop = "hub-stop",
    /// The power goes at some operation of the hub's disk: unsynced writes are lost, torn or kept.
    PowerLoss = "power-loss",
    /// The disk is full for a while.
    DiskFull = "disk-full",
    /// Reads, writes or names fail.
    DiskError = "disk-error",
    /// A sync fails, and pages with it.
    SyncError = "sync-error",
    /// A bit of a file of the hub rots while it is down.
    BitRot = "bit-rot",
    /// The hub's clock jumps ahead.
    ClockAhead = "clock-ahead",
    /// The hub's clock jumps back.
    ClockBack = "clock-back",
    /// Clocks run at different rates.
    Drift = "drift",
    /// The disk of the hub takes long.
    SlowDisk = "slow-disk",
    /// Nothing gets through to or from some workers for a while.
    Partition = "partition",
    /// A link breaks; what was on its way is lost.
    LinkReset = "link-reset",
    /// Messages take much longer for a while.
    SlowNetwork = "slow-network",
    /// A client's request is lost.
    RequestLost = "request-lost",
    /// An answer to a client is lost.
    AnswerLost = "answer-lost",
    /// A client's request arrives twice.
    RequestTwice = "request-twice",
    /// A worker's process ends and begins anew.
    WorkerCrash = "worker-crash",
    /// A worker's process stands still for a while.
    WorkerFreeze = "worker-freeze",
    /// A worker's owner takes the machine away, in order, and brings it back.
    WorkerLeave = "worker-leave",
    /// A worker pauses.
    WorkerPause = "worker-pause",
    /// Some machines are much slower than they say.
    SlowWorker = "slow-worker",
    /// A worker cannot prepare a job or fetch an input.
    WorkerFault = "worker-fault",
    /// A worker says a wrong result, by itself.
    WrongResult = "wrong-result",
    /// Several owners say the same wrong result.
    Collusion = "collusion",
    /// An owner that is honest for long and lies then.
    Sleeper = "sleeper",
    /// A worker says a wrong fuel.
    WrongFuel = "wrong-fuel",
    /// A worker reports runs that are not its own, or twice.
    ForeignRuns = "foreign-runs",
    /// A worker sends messages that are none.
    Garbage = "garbage",
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Kind, String> {
        let found = Kind::ALL.iter().copied().find(|kind| kind.name() == text);
        found.ok_or_else(|| format!("'{text}' is no kind of fault"))
    }
}

/// Which kinds a world makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kinds(u64);

impl Kinds {
    /// All of them.
    pub const ALL: Kinds = Kinds(u64::MAX);
    /// None of them.
    pub const NONE: Kinds = Kinds(0);

    /// Whether `kind` is among them.
    pub fn has(self, kind: Kind) -> bool {
        self.0 & (1 << kind as u32) != 0
    }

    /// All of these and `kind`.
    #[must_use]
    pub fn with(self, kind: Kind) -> Kinds {
        Kinds(self.0 | 1 << kind as u32)
    }

    /// All of these but `kind`.
    #[must_use]
    pub fn without(self, kind: Kind) -> Kinds {
        Kinds(self.0 & !(1 << kind as u32))
    }

    /// Those of both.
    #[must_use]
    pub fn and(self, other: Kinds) -> Kinds {
        Kinds(self.0 & other.0)
    }
}

/// How often faults were made, and how often one was seen to matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    counts: Vec<(u64, u64)>,
}

impl Tally {
    fn entry(&mut self, kind: Kind) -> &mut (u64, u64) {
        self.counts.resize(Kind::ALL.len(), (0, 0));
        &mut self.counts[kind as usize]
    }

    pub(crate) fn made(&mut self, kind: Kind) {
        self.entry(kind).0 += 1;
    }

    pub(crate) fn seen(&mut self, kind: Kind) {
        self.entry(kind).1 += 1;
    }

    /// How often it was made, and how often it was seen to matter.
    pub fn of(&self, kind: Kind) -> (u64, u64) {
        self.counts.get(kind as usize).copied().unwrap_or_default()
    }

    /// Adds another world's.
    pub fn add(&mut self, other: &Tally) {
        for kind in Kind::ALL {
            let (made, seen) = other.of(*kind);
            let mine = self.entry(*kind);
            *mine = (mine.0 + made, mine.1 + seen);
        }
    }
}
