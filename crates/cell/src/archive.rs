//! The archive of orders: files that keep what memory forgot, and find it by the order's number.
//!
//! It is derived from the log, like the journals: where a record lies follows from the state, so a restart writes the
//! same bytes at the same places again.
//!
//! `orders.archive` is a header of 64 bytes (magic `PUMASIOA`, version u32, zeros), then the records of
//! [`Archived`], one behind the other. `orders.index` is its magic, `PUMASIOI`, and then for each order from number 1 on
//! where its last record begins, 8 bytes little-endian; 0: it is not in the archive. Entries that were never durable
//! leave places behind the archive's end; they stand for none, and are written over when their orders leave.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pumasi_core::{ArchivePlace, Archived, ArchivedOrder};
use pumasi_log::disk::Mode;
use pumasi_log::{Disk, DiskFile, FirstFailure, RealDisk, remedy};
use pumasi_types::OrderId;

const MAGIC: &[u8; 8] = b"PUMASIOA";
const VERSION: u32 = 1;
const HEADER: usize = ArchivePlace::FIRST.0 as usize;
const INDEX_MAGIC: &[u8; 8] = b"PUMASIOI";
/// Bytes of the index for each order.
const SLOT: u64 = 8;
/// Orders whose places are written at once at most.
const SPAN: u64 = 4096;
/// No file is so long.
const FAR: u64 = 1 << 60;
/// Bytes of which most records are shorter.
const USUAL: usize = 512;
/// Bytes of the longest record: 255 lines, and each of them in each of 255 parcels, with their tracking texts.
const LONGEST: u64 = 1 << 20;

/// Why the archive cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The operating system refused.
    #[error("cannot {operation} {}: {source}{}", path.display(), remedy(source))]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Not an archive, or of another version.
    #[error("{} is not an archive of version {VERSION}: restore it from a backup", path.display())]
    Foreign {
        /// Which file.
        path: PathBuf,
    },
    /// A record is not what was written.
    #[error("the record at byte {} of {} is damaged: remove the file and start again, it is made anew from a log that was never trimmed; else restore it from a backup", place.0, path.display())]
    Damaged {
        /// Which record.
        place: ArchivePlace,
        /// Which file.
        path: PathBuf,
    },
    /// The index names a record of something else.
    #[error("{} does not say where order {order} is: remove the file and start again, it is made anew from the archive", path.display())]
    IndexDamaged {
        /// Which order.
        order: OrderId,
        /// Which file.
        path: PathBuf,
    },
    /// Records are missing at the end.
    #[error("{} ends at byte {length}, and orders were archived up to byte {}: restore it from a backup", path.display(), needed.0)]
    Short {
        /// How long it is.
        length: u64,
        /// How long it was.
        needed: ArchivePlace,
        /// Which file.
        path: PathBuf,
    },
}

/// The archive; cheap to clone, for readers on other threads.
#[derive(Clone, Debug)]
pub struct Archive {
    records: Arc<dyn DiskFile>,
    path: Arc<Path>,
    index: Arc<dyn DiskFile>,
    index_path: Arc<Path>,
    /// Whether the index was not whole when it was opened.
    index_is_new: bool,
    /// Why a sync failed.
    unsynced: FirstFailure,
}

impl Archive {
    /// Opens or creates the archive in a cell's folder.
    ///
    /// # Errors
    /// When a file cannot be opened or is something else.
    pub fn open(dir: &Path) -> Result<Archive, ArchiveError> {
        Archive::open_on(&RealDisk, dir)
    }

    /// [`Archive::open`] on any disk.
    ///
    /// # Errors
    /// As [`Archive::open`].
    pub fn open_on(disk: &dyn Disk, dir: &Path) -> Result<Archive, ArchiveError> {
        let (path, index_path) = (dir.join("orders.archive"), dir.join("orders.index"));
        let mut header = [0; HEADER];
        header[..8].copy_from_slice(MAGIC);
        header[8..12].copy_from_slice(&VERSION.to_le_bytes());
        let (records, records_are_new) = open(disk, &path, &header)?;
        let (index, index_is_new) = find(disk, &index_path, INDEX_MAGIC)?;
        if records_are_new || index_is_new {
            // A snapshot relies on the records, so their files' names must last as long.
            disk.sync_dir(dir).map_err(|source| io_error("sync", dir, source))?;
        }
        let (path, index_path, unsynced) = (path.into(), index_path.into(), FirstFailure::default());
        Ok(Archive { records, path, index, index_path, index_is_new, unsynced })
    }

    /// Writes the records of an entry. Not durable before [`Archive::sync`]: the log is.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write(&self, archived: &Archived) -> Result<(), ArchiveError> {
        let Some((_, first)) = archived.orders().first() else { return Ok(()) };
        let written = self.records.write_all_at(archived.bytes(), first.0);
        written.map_err(|source| io_error("write", &self.path, source))?;
        self.put(archived.orders())
    }

    /// Puts the places of orders into the index.
    fn put(&self, orders: &[(OrderId, ArchivePlace)]) -> Result<(), ArchiveError> {
        let near = |a: &(OrderId, ArchivePlace), b: &(OrderId, ArchivePlace)| {
            a.0 < b.0 && a.0.0 / SPAN == b.0.0 / SPAN
        };
        for span in orders.chunk_by(near) {
            let (Some((first, _)), Some((last, _))) = (span.first(), span.last()) else { continue };
            let mut slots = vec![0; ((last.0 - first.0 + 1) * SLOT) as usize];
            let at = slot(*first);
            if span.len() as u64 * SLOT < slots.len() as u64 {
                // Some between them are where they were, or still in memory.
                let read = self.index.read_full_at(&mut slots, at);
                read.map_err(|source| io_error("read", &self.index_path, source))?;
            }
            for (order, place) in span {
                let at = ((order.0 - first.0) * SLOT) as usize;
                slots[at..][..SLOT as usize].copy_from_slice(&place.0.to_le_bytes());
            }
            let written = self.index.write_all_at(&slots, at);
            written.map_err(|source| io_error("write", &self.index_path, source))?;
        }
        Ok(())
    }

    /// Makes everything written durable, before a snapshot that relies on it.
    ///
    /// # Errors
    /// When the disk refuses. It is not asked again then: what a failed sync covered may be lost though a second one
    /// succeeds, and only the next start writes it again, from the log.
    pub fn sync(&self) -> Result<(), ArchiveError> {
        self.check()?;
        for (file, path) in [(&self.records, &self.path), (&self.index, &self.index_path)] {
            file.sync().map_err(|source| io_error("sync", path, self.unsynced.note(source)))?;
        }
        Ok(())
    }

    /// Whether everything written is still there.
    ///
    /// # Errors
    /// When a sync failed: systems may drop what it covered, even from memory.
    pub(crate) fn check(&self) -> Result<(), ArchiveError> {
        self.unsynced.check().map_err(|source| io_error("sync", &self.path, source))
    }

    /// Makes sure that everything up to a place is there, and the index that finds it.
    ///
    /// # Errors
    /// When the disk refuses, the file is too short, or the index had to be made anew and a record is damaged.
    pub(crate) fn complete(&self, until: ArchivePlace) -> Result<(), ArchiveError> {
        let length = self.records.len().map_err(|source| io_error("read", &self.path, source))?;
        if length < until.0 {
            return Err(ArchiveError::Short { length, needed: until, path: self.path.to_path_buf() });
        }
        if self.index_is_new {
            self.make_index(until)?;
        }
        Ok(())
    }

    /// Makes the index anew. Its header comes last: one without it is not whole.
    fn make_index(&self, until: ArchivePlace) -> Result<(), ArchiveError> {
        let (mut place, mut found) = (ArchivePlace::FIRST, Vec::new());
        while place < until {
            let (order, bytes) = self.record(place)?;
            found.push((order.id, place));
            place.0 += bytes;
            if found.len() as u64 == SPAN || place >= until {
                self.put(&found)?;
                found.clear();
            }
        }
        self.sync()?;
        let written = self.index.write_all_at(INDEX_MAGIC, 0);
        written.map_err(|source| io_error("write", &self.index_path, source))?;
        self.sync()
    }

    /// An order, if it left memory before the archive ended there, with what an earlier record has of it.
    ///
    /// # Errors
    /// When the disk refuses or a file is damaged.
    pub fn read(&self, id: OrderId, until: ArchivePlace) -> Result<Option<ArchivedOrder>, ArchiveError> {
        let place = self.place_of(id)?;
        if id == OrderId(0) || place.is_none() || place >= until {
            return Ok(None);
        }
        self.read_at(id, place).map(Some)
    }

    /// What the index says of an order.
    fn place_of(&self, id: OrderId) -> Result<ArchivePlace, ArchiveError> {
        let mut place = [0; SLOT as usize];
        let read = self.index.read_full_at(&mut place, slot(id));
        read.map_err(|source| io_error("read", &self.index_path, source))?;
        Ok(ArchivePlace(u64::from_le_bytes(place)))
    }

    /// An order whose last record is there.
    ///
    /// # Errors
    /// When the disk refuses, or there is no record of it.
    pub fn read_at(&self, id: OrderId, place: ArchivePlace) -> Result<ArchivedOrder, ArchiveError> {
        let other = || ArchiveError::IndexDamaged { order: id, path: self.index_path.to_path_buf() };
        let (mut order, _) = self.record(place).map_err(|error| match error {
            ArchiveError::Damaged { .. } if place < ArchivePlace::FIRST => other(),
            error => error,
        })?;
        if order.id != id {
            return Err(other());
        }
        if !order.before.is_none() {
            let (before, _) = self.record(order.before)?;
            order.follow(before);
        }
        Ok(order)
    }

    /// The record that begins there, and its length in bytes.
    fn record(&self, place: ArchivePlace) -> Result<(ArchivedOrder, u64), ArchiveError> {
        let damaged = || ArchiveError::Damaged { place, path: self.path.to_path_buf() };
        let read = |bytes: &mut [u8]| {
            let filled = self.records.read_full_at(bytes, place.0);
            filled.map_err(|source| io_error("read", &self.path, source))
        };
        if place < ArchivePlace::FIRST || place.0 > FAR {
            return Err(damaged());
        }
        let mut bytes = vec![0; USUAL];
        let filled = read(&mut bytes)?;
        bytes.truncate(filled);
        let length = bytes.first_chunk().map(ArchivedOrder::record_bytes).ok_or_else(damaged)?;
        if length > LONGEST {
            return Err(damaged());
        }
        let length = length as usize;
        if length > bytes.len() {
            bytes.resize(length, 0);
            let filled = read(&mut bytes)?;
            bytes.truncate(filled);
        }
        let order = bytes.get(..length).and_then(ArchivedOrder::from_record).ok_or_else(damaged)?;
        Ok((order, length as u64))
    }
}

/// Where the index says where an order is.
fn slot(id: OrderId) -> u64 {
    // No file is so long that the last numbers have a place in it.
    id.0.saturating_mul(SLOT).min(FAR)
}

/// Opens a file that begins so, or makes it; whether it was made.
fn open(disk: &dyn Disk, path: &Path, header: &[u8]) -> Result<(Arc<dyn DiskFile>, bool), ArchiveError> {
    let (file, is_new) = find(disk, path, header)?;
    if is_new {
        file.write_all_at(header, 0).map_err(|source| io_error("write", path, source))?;
        file.sync().map_err(|source| io_error("sync", path, source))?;
    }
    Ok((file, is_new))
}

/// Opens a file that begins so, or that has no header yet: a power cut can leave its name and its length only.
fn find(disk: &dyn Disk, path: &Path, header: &[u8]) -> Result<(Arc<dyn DiskFile>, bool), ArchiveError> {
    let file = disk.open(path, Mode::Create).map_err(|source| io_error("open", path, source))?;
    let mut found = vec![0; header.len()];
    file.read_full_at(&mut found, 0).map_err(|source| io_error("read", path, source))?;
    let is_new = found.iter().all(|byte| *byte == 0);
    if !is_new && found != header {
        return Err(ArchiveError::Foreign { path: path.to_owned() });
    }
    Ok((Arc::from(file), is_new))
}

fn io_error(operation: &'static str, path: &Path, source: io::Error) -> ArchiveError {
    ArchiveError::Io { operation, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use pumasi_core::{
        ArticleSpec, Command, OrderBatch, OrderLines, OrderSpec, OrderState, OrderStep, Rate, Request, Role,
        Shipment, State, Tracking,
    };
    use pumasi_types::{
        AccountId, Amount, ArticleId, CouponId, Currency, Duration, Hash, ParcelId, RequestId, Time,
    };

    use super::*;

    const SHOP: AccountId = AccountId(1);
    const ALICE: AccountId = AccountId(2);
    const BEGIN: Time = Time(1_700_000_000_000_000_000);

    /// A market of which some orders left memory: those whose numbers are multiples of three were cancelled, and of
    /// those that are one more, which were shipped and completed, the fourth came back after its key was forgotten.
    fn market() -> (State, Vec<Archived>) {
        let (mut state, mut entries) = (State::new(), Vec::new());
        let mut minutes = 0;
        let mut take = |state: &mut State, pass: u64, requests: Vec<Request>| {
            minutes += pass;
            let applied = state.apply(BEGIN.after(Duration::from_secs(60 * minutes)), &requests);
            assert!(applied.answers.iter().all(Result::is_ok), "{:?}", applied.answers);
            entries.push(applied.effects.archived);
        };
        let ask = |caller, command| Request { caller, id: None, command };
        let open = |name: &str, roles: &[Role]| {
            let (name, roles) = (name.to_owned(), roles.iter().copied().collect());
            let token = Hash::of(name.as_bytes());
            ask(State::SYSTEM, Command::OpenAccount { name, roles, token })
        };
        let article = ArticleSpec {
            sku: "pen".to_owned(),
            gtin: 0,
            title_ko: "연필".to_owned(),
            title_en: "pencil".to_owned(),
            category: "office".to_owned(),
            price: Amount(300),
            currency: Currency::CREDIT,
            tax: Rate::default(),
            tracking: Tracking::Untracked,
            on_sale: true,
        };
        let mut batch = OrderBatch::default();
        for key in 1..=2_048 {
            let (customer, total, currency) = (ALICE, Amount(300), Currency::CREDIT);
            let (coupon, place, lines) = (CouponId(0), None, OrderLines::default());
            let order = OrderSpec {
                key: RequestId(key),
                customer,
                total,
                currency,
                coupon,
                place,
                pay_later: false,
                lines,
            };
            batch.push(&order, [(ArticleId(1), 1)].into_iter());
        }
        let money = Command::Issue { to: ALICE, currency: Currency::CREDIT, amount: Amount(1_000_000_000) };
        let begin = vec![
            open("shop", &[Role::Merchant]),
            open("alice", &[]),
            ask(State::SYSTEM, money),
            ask(SHOP, Command::PutArticles(vec![article])),
            ask(ALICE, Command::PlaceOrders(batch)),
        ];
        take(&mut state, 0, begin);
        let shipment = Shipment { carrier: SHOP, tracking: "KR-7".to_owned(), lines: Vec::new() };
        let step = |by, order, step| ask(by, Command::StepOrder { order: OrderId(order), step });
        for order in (3..=2_048).step_by(3) {
            take(&mut state, 0, vec![step(SHOP, order, OrderStep::Cancel)]);
        }
        for order in (4..=2_048).step_by(3) {
            let steps = [
                step(SHOP, order, OrderStep::Allocate),
                step(SHOP, order, OrderStep::Ship(shipment.clone())),
                step(SHOP, order, OrderStep::Deliver { parcel: ParcelId(1) }),
                step(ALICE, order, OrderStep::Complete),
            ];
            take(&mut state, 0, steps.into());
        }
        (0..2 * 24 * 60 + 1).for_each(|_| take(&mut state, 1, Vec::new()));
        let back = [
            step(ALICE, 4, OrderStep::RequestReturn { lines: Vec::new() }),
            step(SHOP, 4, OrderStep::AcceptReturn { lines: Vec::new(), restock: true }),
            step(SHOP, 4, OrderStep::Refund { amount: Amount(300) }),
        ];
        take(&mut state, 0, back.into());
        entries.retain(|archived| !archived.orders().is_empty());
        (state, entries)
    }

    fn check(archive: &Archive, state: &State) {
        let until = state.market().archived_to();
        for id in (1..=2_048).map(OrderId) {
            let read = archive.read(id, until).unwrap();
            let found = read.as_ref().map(|order| (order.order.state, order.view().parcels().len()));
            let expected = match id.0 % 3 {
                _ if id.0 == 4 => Some((OrderState::Refunded, 1)),
                0 => Some((OrderState::Cancelled, 0)),
                1 if id.0 > 1 => Some((OrderState::Completed, 1)),
                _ => None,
            };
            assert_eq!(found, expected, "order {id}");
            let in_memory = id.0 % 3 > 0 && id.0 != 4;
            assert_eq!(state.market().view(id).is_some(), in_memory, "order {id}");
        }
        for id in [0, 2_049, u64::MAX / 8, u64::MAX].map(OrderId) {
            assert_eq!(archive.read(id, until).unwrap(), None);
        }
        // What stays in memory beyond its key says where the rest of it is.
        let place = state.market().archived(OrderId(7));
        assert_eq!(archive.read_at(OrderId(7), place).unwrap().id, OrderId(7));
    }

    #[test]
    fn orders_are_found_by_number_and_written_again_alike() {
        let (state, entries) = market();
        let dir = tempfile::tempdir().unwrap();
        let bytes =
            || ["orders.archive", "orders.index"].map(|name| std::fs::read(dir.path().join(name)).unwrap());
        let archive = Archive::open(dir.path()).unwrap();
        archive.complete(ArchivePlace::NONE).unwrap();
        entries.iter().for_each(|archived| archive.write(archived).unwrap());
        check(&archive, &state);
        archive.sync().unwrap();
        drop(archive);
        let before = bytes();
        let archive = Archive::open(dir.path()).unwrap();
        archive.complete(state.market().archived_to()).unwrap();
        // A restart may begin with any entry.
        entries.iter().skip(1).for_each(|archived| archive.write(archived).unwrap());
        check(&archive, &state);
        assert_eq!(bytes(), before);
    }

    #[test]
    fn what_is_damaged_or_missing_is_named() {
        let (state, entries) = market();
        let dir = tempfile::tempdir().unwrap();
        let (records, index) = (dir.path().join("orders.archive"), dir.path().join("orders.index"));
        let archive = Archive::open(dir.path()).unwrap();
        archive.complete(ArchivePlace::NONE).unwrap();
        entries.iter().for_each(|archived| archive.write(archived).unwrap());
        let until = state.market().archived_to();
        let flip = |path: &Path, at: u64| {
            let mut bytes = std::fs::read(path).unwrap();
            bytes[at as usize] ^= 1;
            std::fs::write(path, bytes).unwrap();
        };
        let place = archive.place_of(OrderId(9)).unwrap();
        for at in [0, 3, 4, 12, 40] {
            flip(&records, place.0 + at);
            let error = archive.read(OrderId(9), until).unwrap_err().to_string();
            assert!(error.contains(&format!("byte {} of", place.0)), "{error}");
            flip(&records, place.0 + at);
        }
        // Another order's place.
        let at = OrderId(9).0 * SLOT;
        let (right, mut wrong) = (std::fs::read(&index).unwrap(), std::fs::read(&index).unwrap());
        wrong.copy_within(6 * 8..7 * 8, at as usize);
        std::fs::write(&index, &wrong).unwrap();
        let error = archive.read(OrderId(9), until).unwrap_err().to_string();
        assert!(error.contains("orders.index does not say where order 9 is"), "{error}");
        // Removed, it is made anew.
        drop(archive);
        std::fs::remove_file(&index).unwrap();
        // A start that is broken off before leaves one that is not believed.
        let archive = Archive::open(dir.path()).unwrap();
        archive.put(entries[0].orders()).unwrap();
        drop(archive);
        let archive = Archive::open(dir.path()).unwrap();
        archive.complete(until).unwrap();
        check(&archive, &state);
        assert_eq!(std::fs::read(&index).unwrap(), right);
        // Shorter than it was.
        let bytes = std::fs::read(&records).unwrap();
        std::fs::write(&records, &bytes[..bytes.len() - 1]).unwrap();
        let error = archive.complete(until).unwrap_err().to_string();
        assert!(error.contains(&format!("up to byte {}", bytes.len())), "{error}");
        std::fs::write(&records, [7; HEADER]).unwrap();
        assert!(matches!(Archive::open(dir.path()), Err(ArchiveError::Foreign { .. })));
    }

    #[test]
    fn places_behind_the_end_stand_for_none() {
        let (state, entries) = market();
        let dir = tempfile::tempdir().unwrap();
        let archive = Archive::open(dir.path()).unwrap();
        entries.iter().for_each(|archived| archive.write(archived).unwrap());
        let (first, second) = (entries[0].orders(), entries[1].orders());
        assert_eq!(archive.read(second[0].0, second[0].1).unwrap(), None, "that entry was never durable");
        assert!(archive.read(first[0].0, second[0].1).unwrap().is_some());
        check(&archive, &state);
    }

    #[test]
    fn a_header_that_a_power_cut_took_is_written_again() {
        let dir = tempfile::tempdir().unwrap();
        for lost in [0, 7, 8, HEADER] {
            std::fs::write(dir.path().join("orders.archive"), vec![0; lost]).unwrap();
            std::fs::write(dir.path().join("orders.index"), vec![0; lost.min(8)]).unwrap();
            Archive::open(dir.path()).unwrap().complete(ArchivePlace::FIRST).unwrap();
        }
    }
}
