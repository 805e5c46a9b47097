//! Orders that leave memory, as the bytes that a cell's archive keeps of them.
//!
//! A record is, little-endian: length of its body u32, order u64, body, and the first 8 bytes of the BLAKE3 hash of all
//! before. The body is a version, 1, and in postcard: who sent the order, the order, its lines, what became of it, and
//! where the archive's record of it before this one begins.
//!
//! An order that is plainly done is archived when its key is forgotten, though it can still be returned; if it is, it
//! is archived once more when it is over. Parcels stand in the first of the two records then.

use pumasi_types::{AccountId, Hash, OrderId};
use serde::{Deserialize, Serialize};

use super::orders::{Line, Order};
use super::parcels::{Course, OrderView};

/// Version of a record's body.
const VERSION: u8 = 1;
/// Bytes of a record before and behind its body.
const FRAME: usize = ArchivedOrder::HEAD_BYTES + CHECK;
const CHECK: usize = 8;

/// Where a record of the archive begins, in bytes from the beginning of its file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ArchivePlace(pub u64);

impl ArchivePlace {
    /// There is no record.
    pub const NONE: ArchivePlace = ArchivePlace(0);
    /// The first record's, behind the file's own header.
    pub const FIRST: ArchivePlace = ArchivePlace(64);

    /// Whether there is no record.
    pub fn is_none(self) -> bool {
        self == ArchivePlace::NONE
    }
}

/// The records that an entry adds to the archive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Archived {
    bytes: Vec<u8>,
    orders: Vec<(OrderId, ArchivePlace)>,
}

impl Archived {
    /// The records, one behind the other.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Which orders they are of, and where each begins; the first is where all begin.
    pub fn orders(&self) -> &[(OrderId, ArchivePlace)] {
        &self.orders
    }

    /// Adds a record at a place, behind the one before; the place behind it.
    pub(super) fn add(&mut self, place: ArchivePlace, order: &ArchivedOrder) -> ArchivePlace {
        let from = self.bytes.len();
        order.write(&mut self.bytes);
        self.orders.push((order.id, place));
        ArchivePlace(place.0 + (self.bytes.len() - from) as u64)
    }
}

/// An order that left memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchivedOrder {
    /// Which.
    pub id: OrderId,
    /// Who sent it: its customer, or a storefront.
    pub sent_by: AccountId,
    /// How it stood.
    pub order: Order,
    /// Its lines.
    pub lines: Vec<Line>,
    /// What became of it.
    pub course: Option<Course>,
    /// The record of it before this one, if there is one; that one has its parcels.
    pub before: ArchivePlace,
}

impl ArchivedOrder {
    /// Bytes of a record that tell how long it is.
    pub const HEAD_BYTES: usize = 12;

    /// The order as it looked in memory.
    pub fn view(&self) -> OrderView<'_> {
        OrderView { order: &self.order, lines: &self.lines, course: self.course.as_ref(), due: None }
    }

    /// Completes the record with the one before it, which has the parcels.
    pub fn follow(&mut self, before: ArchivedOrder) {
        if let (Some(course), Some(before)) = (&mut self.course, before.course) {
            course.parcels = before.parcels;
        }
    }

    /// How long the record is that begins so.
    pub fn record_bytes(head: &[u8; ArchivedOrder::HEAD_BYTES]) -> u64 {
        let body = u32::from_le_bytes(head[..4].try_into().expect("four bytes"));
        u64::from(body) + FRAME as u64
    }

    /// Reads a whole record; `None` for any other bytes than those of a record.
    pub fn from_record(record: &[u8]) -> Option<ArchivedOrder> {
        let (head, rest) = record.split_first_chunk()?;
        let (body, check) = rest.split_last_chunk::<CHECK>()?;
        if ArchivedOrder::record_bytes(head) != record.len() as u64
            || Hash::of(&record[..record.len() - CHECK]).as_bytes()[..CHECK] != *check
        {
            return None;
        }
        let id = OrderId(u64::from_le_bytes(head[4..].try_into().expect("eight bytes")));
        let body = body.strip_prefix(&[VERSION])?;
        let ((sent_by, order, lines, course, before), []) = postcard::take_from_bytes(body).ok()? else {
            return None;
        };
        let read = ArchivedOrder { id, sent_by, order, lines, course, before };
        let fits = |course: &Course| course.lines.len() == read.lines.len();
        let fits = read.order.lines_count() == read.lines.len() && read.course.as_ref().is_none_or(fits);
        fits.then_some(read)
    }

    fn write(&self, out: &mut Vec<u8>) {
        let from = out.len();
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.id.0.to_le_bytes());
        out.push(VERSION);
        let body = (self.sent_by, &self.order, &self.lines, &self.course, self.before);
        *out = postcard::to_extend(&body, std::mem::take(out)).expect("it serialises into a growing buffer");
        let length = out.len() - from - ArchivedOrder::HEAD_BYTES;
        let length = u32::try_from(length).expect("lines and parcels of an order are bounded");
        out[from..from + 4].copy_from_slice(&length.to_le_bytes());
        let check = Hash::of(&out[from..]);
        out.extend_from_slice(&check.as_bytes()[..CHECK]);
    }
}
