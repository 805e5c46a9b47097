//! Numbers, records and memory access of the WASI preview 1 interface.
//!
//! Source: `wasi_snapshot_preview1.witx` of the WASI repository, legacy/preview1.

use super::Halt;

/// Why a call of the guest failed, as preview 1 numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum Errno {
    /// An open file descriptor of that number does not exist.
    Badf = 8,
    /// The file exists already.
    Exist = 20,
    /// An address outside the guest's memory.
    Fault = 21,
    /// A path that is not UTF-8 or has a control character.
    Ilseq = 25,
    /// An argument that makes no sense.
    Inval = 28,
    /// A folder where a file is needed.
    Isdir = 31,
    /// Too many open files.
    Mfile = 33,
    /// A name or path is too long.
    Nametoolong = 37,
    /// No such file or folder.
    Noent = 44,
    /// A file where a folder is needed.
    Notdir = 54,
    /// The folder is not empty.
    Notempty = 55,
    /// The descriptor is not a socket.
    Notsock = 57,
    /// Not offered here.
    Notsup = 58,
    /// A position or count that does not fit.
    Overflow = 61,
    /// The folder cannot be changed.
    Rofs = 69,
    /// The descriptor cannot be positioned.
    Spipe = 70,
    /// The path leads out of what the guest may see.
    Notcapable = 76,
}

/// How a host function can fail to answer with success.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The guest gets an error number and goes on.
    Errno(Errno),
    /// The run ends.
    Halt(Halt),
}

impl From<Errno> for Fault {
    fn from(errno: Errno) -> Fault {
        Fault::Errno(errno)
    }
}

impl From<Halt> for Fault {
    fn from(halt: Halt) -> Fault {
        Fault::Halt(halt)
    }
}

/// What host functions return; success is error number 0.
pub(crate) type Answer<T = ()> = Result<T, Fault>;

/// Kinds of files (`filetype`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum FileType {
    /// A stream: neither file nor terminal, so that no library buffers by lines.
    Unknown = 0,
    /// A folder.
    Directory = 3,
    /// A file.
    RegularFile = 4,
}

/// Bits of `oflags`.
pub(crate) mod oflags {
    pub(crate) const CREAT: u32 = 1;
    pub(crate) const DIRECTORY: u32 = 2;
    pub(crate) const EXCL: u32 = 4;
    pub(crate) const TRUNC: u32 = 8;
}

/// Bits of `fdflags`.
pub(crate) mod fdflags {
    pub(crate) const APPEND: u32 = 1;
    /// Every flag that preview 1 names: append, dsync, nonblock, rsync, sync.
    pub(crate) const ALL: u32 = 31;
}

/// Bits of `rights`.
pub(crate) mod rights {
    pub(crate) const FD_READ: u64 = 1 << 1;
    pub(crate) const FD_WRITE: u64 = 1 << 6;
    /// What streams allow: reading or writing, and polling.
    pub(crate) const POLL: u64 = 1 << 27;
    /// Positions, sizes and times of files.
    pub(crate) const FILE: u64 = 1 << 2 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 7 | 1 << 21 | POLL;
    /// What changes a file besides writing.
    pub(crate) const FILE_CHANGE: u64 = 1 | 1 << 8 | 1 << 22 | 1 << 23;
    /// All that concerns paths in a folder.
    pub(crate) const DIRECTORY: u64 =
        1 << 3 | 1 << 4 | 1 << 9 | 1 << 10 | 0x7f_ffff & !0x7ff | 1 << 23 | 1 << 25 | 1 << 26;
    /// Every right, which is what files opened below a folder may have at most.
    pub(crate) const ALL: u64 = (1 << 30) - 1;
}

/// The guest's memory, where every access outside is answered with [`Errno::Fault`].
pub(crate) struct Memory<'a>(pub(crate) &'a mut [u8]);

impl Memory<'_> {
    /// `len` bytes at `at`.
    pub(crate) fn bytes(&self, at: u32, len: u32) -> Result<&[u8], Errno> {
        self.0.get(at as usize..at as usize + len as usize).ok_or(Errno::Fault)
    }

    /// `len` bytes at `at`, to be written.
    pub(crate) fn bytes_mut(&mut self, at: u32, len: u32) -> Result<&mut [u8], Errno> {
        self.0.get_mut(at as usize..at as usize + len as usize).ok_or(Errno::Fault)
    }

    /// Copies `bytes` to `at`.
    pub(crate) fn put(&mut self, at: u32, bytes: &[u8]) -> Result<(), Errno> {
        let len = u32::try_from(bytes.len()).map_err(|_| Errno::Fault)?;
        self.bytes_mut(at, len)?.copy_from_slice(bytes);
        Ok(())
    }

    /// Stores a little-endian u32.
    pub(crate) fn put_u32(&mut self, at: u32, value: u32) -> Result<(), Errno> {
        self.put(at, &value.to_le_bytes())
    }

    /// Stores a little-endian u64.
    pub(crate) fn put_u64(&mut self, at: u32, value: u64) -> Result<(), Errno> {
        self.put(at, &value.to_le_bytes())
    }

    /// Loads a little-endian u32.
    pub(crate) fn get_u32(&self, at: u32) -> Result<u32, Errno> {
        let bytes = self.bytes(at, 4)?;
        Ok(u32::from_le_bytes(bytes.try_into().expect("four bytes")))
    }

    /// A path, which must be UTF-8.
    pub(crate) fn path(&self, at: u32, len: u32) -> Result<&str, Errno> {
        if len as usize > pumasi_api::output::PATH_LEN_MAX {
            return Err(Errno::Nametoolong);
        }
        std::str::from_utf8(self.bytes(at, len)?).map_err(|_| Errno::Ilseq)
    }

    /// The n-th address and length of a list of `iovec`.
    pub(crate) fn iovec(&self, list: u32, n: u32) -> Result<(u32, u32), Errno> {
        let at = n.checked_mul(8).and_then(|offset| list.checked_add(offset)).ok_or(Errno::Fault)?;
        let pointers = at.checked_add(4).ok_or(Errno::Fault)?;
        Ok((self.get_u32(at)?, self.get_u32(pointers)?))
    }
}

/// Builds the fixed-layout records that host functions store.
pub(crate) struct Record<const N: usize>(pub(crate) [u8; N]);

impl<const N: usize> Record<N> {
    /// All zero.
    pub(crate) fn new() -> Record<N> {
        Record([0; N])
    }

    /// Puts little-endian bytes at an offset.
    pub(crate) fn with<const M: usize>(mut self, at: usize, bytes: [u8; M]) -> Record<N> {
        self.0[at..at + M].copy_from_slice(&bytes);
        self
    }
}
