//! What happened in a world, or in many of them, as numbers.

use std::ops::AddAssign;

use crate::disk::FaultCounts;
use crate::faults::Tally;

/// How often what happened.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Events.
    pub events: u64,
    /// Steps of hubs' loops.
    pub steps: u64,
    /// Commands that became durable.
    pub commands: u64,
    /// Runs that were paid.
    pub runs: u64,
    /// Orders that were placed.
    pub orders: u64,
    /// How many of them a coupon or a promotion made cheaper.
    pub cheaper_orders: u64,
    /// How often an order was taken a step further.
    pub order_steps: u64,
    /// Letters that webhooks took.
    pub letters: u64,
    /// Files that were put.
    pub files: u64,
    /// Tasks with a wrong result that was accepted because enough owners said it.
    pub deceived: u64,
    /// Wrong results that one trusted owner was believed at first.
    pub believed: u64,
    /// How many of them stood in the end, of jobs that are remembered.
    pub standing_lies: u64,
    /// How often an owner was caught.
    pub catches: u64,
    /// Sudden ends of hubs.
    pub crashes: u64,
    /// Faults by kind.
    pub tally: Tally,
    /// What the disks did.
    pub disk: FaultCounts,
}

impl AddAssign<&Counts> for Counts {
    fn add_assign(&mut self, more: &Counts) {
        self.events += more.events;
        self.steps += more.steps;
        self.commands += more.commands;
        self.runs += more.runs;
        self.orders += more.orders;
        self.cheaper_orders += more.cheaper_orders;
        self.order_steps += more.order_steps;
        self.letters += more.letters;
        self.files += more.files;
        self.deceived += more.deceived;
        self.believed += more.believed;
        self.standing_lies += more.standing_lies;
        self.catches += more.catches;
        self.crashes += more.crashes;
        self.tally.add(&more.tally);
        self.disk += more.disk;
    }
}
