//! Byte buffers that begin at a block boundary in memory, as direct writes need, and a pool of them.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

use crate::format::BLOCK;

/// How many idle buffers are kept, and how large one may be to be kept.
const POOLED: usize = 8;
const POOLED_BYTES_MAX: usize = 8 << 20;

/// Bytes whose address is a multiple of [`BLOCK`].
pub(crate) struct AlignedBuf {
    raw: Vec<u8>,
    start: usize,
    len: usize,
}

impl AlignedBuf {
    pub(crate) fn zeroed(len: usize) -> AlignedBuf {
        let raw = vec![0; len + BLOCK as usize];
        let start = raw.as_ptr().align_offset(BLOCK as usize);
        AlignedBuf { raw, start, len }
    }

    /// Makes it `len` bytes long, of any content.
    pub(crate) fn resize(&mut self, len: usize) {
        if self.capacity() < len {
            *self = AlignedBuf::zeroed(len);
        }
        self.len = len;
    }

    fn capacity(&self) -> usize {
        self.raw.len() - self.start
    }
}

impl Deref for AlignedBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.raw[self.start..self.start + self.len]
    }
}

impl DerefMut for AlignedBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.raw[self.start..self.start + self.len]
    }
}

/// Idle buffers: a fresh megabyte costs hundreds of page faults, a used one none.
#[derive(Default)]
pub(crate) struct Pool {
    idle: Mutex<Vec<AlignedBuf>>,
}

impl Pool {
    /// A buffer of `len` bytes of any content.
    pub(crate) fn take(&self, len: usize) -> AlignedBuf {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        match idle.iter().position(|buffer| buffer.capacity() >= len) {
            Some(place) => {
                let mut buffer = idle.swap_remove(place);
                buffer.len = len;
                buffer
            }
            None => {
                drop(idle);
                // Rounded up so that entries of similar sizes can share it.
                let mut buffer = AlignedBuf::zeroed(len.next_power_of_two());
                buffer.len = len;
                buffer
            }
        }
    }

    pub(crate) fn give_back(&self, buffer: AlignedBuf) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if buffer.capacity() > POOLED_BYTES_MAX {
            return;
        }
        if idle.len() >= POOLED {
            // Keep the large ones: they serve every request.
            let smallest = (0..idle.len()).min_by_key(|&i| idle[i].capacity());
            match smallest {
                Some(i) if idle[i].capacity() < buffer.capacity() => idle[i] = buffer,
                _ => {}
            }
            return;
        }
        idle.push(buffer);
    }
}
