//! The simulator of Pumasi: one seed drives the real code against made-up time, network and disk.

pub mod disk;
