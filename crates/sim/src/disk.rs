//! A disk in memory that fails as real ones do, as its seed decides.
