//! What a world is made of: all drawn from its seed, and everything can be set by hand to make it smaller.

use std::fmt;

use crate::dice::Dice;
use crate::faults::{Kind, Kinds};

/// What a world is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// Where all chance comes from.
    pub seed: u64,
    /// For how many minutes of simulated time faults are made; after that the world comes to rest.
    pub minutes: u64,
    /// Machines.
    pub workers: u64,
    /// How many jobs researchers order at most.
    pub jobs: u64,
    /// Which faults are made.
    pub kinds: Kinds,
    /// After how many events to stop, if before the end.
    pub steps: Option<u64>,
}

impl Scenario {
    /// The scenario of a seed.
    pub fn of(seed: u64) -> Scenario {
        let mut dice = Dice::of(seed, 1);
        let minutes = dice.spread(10, 240);
        let workers = if dice.once_in(3) { 50 } else { dice.spread(3, 60) };
        let jobs = dice.spread(3, 60);
        // Worlds with few kinds of faults get further, worlds with many find what they do together.
        let share = dice.between(1, 4);
        let mut kinds = Kinds::NONE;
        for kind in Kind::ALL {
            if dice.below(4) < share {
                kinds = kinds.with(*kind);
            }
        }
        Scenario { seed, minutes, workers, jobs, kinds, steps: None }
    }
}

impl fmt::Display for Scenario {
    /// The options of the command that runs it again.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let usual = Scenario::of(self.seed);
        write!(f, "--seed {}", self.seed)?;
        let numbers = [
            ("lasting", self.minutes, usual.minutes),
            ("machines", self.workers, usual.workers),
            ("orders", self.jobs, usual.jobs),
        ];
        for (name, value, _) in numbers.iter().filter(|(_, value, usual)| value != usual) {
            write!(f, " --{name} {value}")?;
        }
        if self.kinds != usual.kinds {
            let kinds: Vec<&str> =
                Kind::ALL.iter().filter(|kind| self.kinds.has(**kind)).map(|kind| kind.name()).collect();
            write!(f, " --only {}", if kinds.is_empty() { "none".to_owned() } else { kinds.join(",") })?;
        }
        match self.steps {
            Some(steps) => write!(f, " --steps {steps}"),
            None => Ok(()),
        }
    }
}
