//! Ways in which the simulator itself breaks the hub or its disk, to prove that it notices.

use std::fmt;
use std::str::FromStr;

/// What is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// Answers leave before the entry is durable.
    Hasty,
    /// Every hundredth entry is applied and answered, and never logged.
    Unlogged,
    /// Every hundredth entry is logged with another time than it is applied with.
    WrongTime,
    /// The drive says that it has what it only keeps in its cache.
    LyingDrive,
    /// After a restart the gateway does not know requests by their ids any more.
    ForgetsRequests,
    /// The gateway hands a request on twice, the second time as if it were another one.
    SendsTwice,
    /// The gateway gives the results in a report to the wrong runs.
    MixesRuns,
    /// The gateway orders every result from one owner only.
    FirstResult,
    /// After a restart nothing happens by itself any more.
    DeadClock,
}

impl Sabotage {
    /// Every way.
    pub const ALL: &[Sabotage] = &[
        Sabotage::Hasty,
        Sabotage::Unlogged,
        Sabotage::WrongTime,
        Sabotage::LyingDrive,
        Sabotage::ForgetsRequests,
        Sabotage::SendsTwice,
        Sabotage::MixesRuns,
        Sabotage::FirstResult,
        Sabotage::DeadClock,
    ];

    /// Its name, as the command line spells it.
    pub fn name(self) -> &'static str {
        match self {
            Sabotage::Hasty => "hasty",
            Sabotage::Unlogged => "unlogged",
            Sabotage::WrongTime => "wrong-time",
            Sabotage::LyingDrive => "lying-drive",
            Sabotage::ForgetsRequests => "forgets-requests",
            Sabotage::SendsTwice => "sends-twice",
            Sabotage::MixesRuns => "mixes-runs",
            Sabotage::FirstResult => "first-result",
            Sabotage::DeadClock => "dead-clock",
        }
    }
}

impl fmt::Display for Sabotage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Sabotage {
    type Err = String;

    fn from_str(text: &str) -> Result<Sabotage, String> {
        let found = Sabotage::ALL.iter().copied().find(|sabotage| sabotage.name() == text);
        found.ok_or_else(|| {
            let names: Vec<&str> = Sabotage::ALL.iter().map(|sabotage| sabotage.name()).collect();
            format!("expected one of {}", names.join(", "))
        })
    }
}
