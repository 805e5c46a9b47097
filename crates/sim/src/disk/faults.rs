//! Which faults a simulated disk makes, and how many it made.

use std::ops::AddAssign;

/// How often operations fail: once in so many on average, never for 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// A read that fails (EIO).
    pub read_errors: u64,
    /// A write or allocation that fails (EIO), after some of it may have been done.
    pub write_errors: u64,
    /// A write that takes fewer bytes than it was given.
    pub short_writes: u64,
    /// A read or write that a signal interrupts (EINTR) before it does anything.
    pub interruptions: u64,
    /// A sync of a file that fails (EIO). Each page that it covered is then durable, still to be written,
    /// forgotten, or, as Linux does it, taken for clean though it never reached the device.
    pub sync_errors: u64,
    /// An operation on names that fails (EIO): open, list, create, rename, remove, sync of a directory.
    pub name_errors: u64,
}

macro_rules! counts {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// How many faults of each kind a simulated disk made.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct FaultCounts {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl FaultCounts {
            /// Every kind's name and count.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name),)*].into_iter()
            }
        }

        impl AddAssign for FaultCounts {
            fn add_assign(&mut self, other: FaultCounts) {
                $(self.$name += other.$name;)*
            }
        }
    };
}

counts! {
    /// Losses of power.
    crashes,
    /// Processes killed while the machine went on.
    kills,
    /// Unsynced pages that a crash threw away.
    pages_lost,
    /// Unsynced pages of which a crash left an older unsynced content.
    pages_outdated,
    /// Unsynced pages of which a crash left some sectors.
    pages_torn,
    /// Unsynced pages that survived a crash, so that nothing can rely on their loss.
    pages_kept,
    /// Unsynced lengths of files that a crash undid.
    lengths_lost,
    /// Unsynced creations, renames and removals that a crash undid.
    names_lost,
    /// Unsynced creations, renames and removals that survived a crash.
    names_kept,
    /// Reads that failed.
    read_errors,
    /// Writes and allocations that failed.
    write_errors,
    /// Writes that took less than they were given.
    short_writes,
    /// Reads and writes that were interrupted.
    interruptions,
    /// Syncs of files that failed.
    sync_errors,
    /// Pages that a failed sync forgot, or left in the cache as if they were durable.
    pages_dropped,
    /// Operations on names that failed.
    name_errors,
    /// Writes and allocations that found the disk full.
    full,
    /// Bits that rotted.
    bits_flipped,
}
