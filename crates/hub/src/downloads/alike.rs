//! Files that one has already, found by the hashes of a torrent's pieces.
//!
//! A file of the same length is a candidate. Its bytes are read from the store and hashed with the pieces in which it lies;
//! a piece that crosses from file to file needs the bytes of all of them, and is right only if all are. A file is linked if
//! all its pieces are right. Pieces that are right of other files need not be fetched: they are written where the fetch goes
//! on from, so that of a large file beside one that is missing only the piece between them has to come.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use futures_util::TryStreamExt;
use pumasi_core::{Access, FileKind, State};
use pumasi_fetch::{Given, Layout, Torrent};
use pumasi_types::{ByteSize, FilePath, Hash, SpaceId};

use super::origins::{Fetched, Note, Source};
use super::{Task, Trouble, known};
use crate::server::Hub;

/// Files that are looked at for one torrent, of all that its owner may read; those of the space where it is put first.
const LOOKED_AT: usize = 200_000;
/// The same in one look at the state.
const PAGE: usize = 1_000;
/// Candidates for one file with its name, and with others.
const CANDIDATES: usize = 4;
/// Bytes that are read for one torrent to choose among candidates; afterwards each piece is read once.
const CHOOSING: u64 = 4 << 30;

/// A file that must come from somewhere, by its number, and what is found of it.
pub(super) type Missing<'a> = (u32, &'a mut Option<Fetched>);

/// A file that may have the same bytes.
#[derive(Clone, Debug)]
struct Candidate {
    blob: Hash,
    space: SpaceId,
    path: FilePath,
}

/// What stands for the bytes of a file of the torrent.
#[derive(Clone, Debug)]
enum Stand {
    Nothing,
    /// Padding is all zeros (BEP 47).
    Zeros,
    Here(Candidate),
}

/// Links what is missing and here as a whole, and takes over what is here in parts into the folder of the download: so many
/// bytes. Done once for each download.
pub(super) async fn link(
    hub: &Hub,
    task: &Task<'_>,
    torrent: &Arc<Torrent>,
    folder: &Path,
    missing: &mut [Missing<'_>],
) -> Result<u64, Trouble> {
    // How many bytes were taken over when this was done.
    let done = folder.join("looked");
    if let Ok(text) = tokio::fs::read_to_string(&done).await {
        return Ok(text.parse().unwrap_or(0));
    }
    if missing.is_empty() {
        return Ok(0);
    }
    let layout = torrent.layout();
    let numbers: Vec<usize> = missing.iter().map(|(number, _)| *number as usize).collect();
    let search = Search { hub, task, torrent, layout };
    let pieces = search.pieces(&numbers);
    let candidates = search.candidates(&pieces).await?;
    let stands = search.choose(&pieces, candidates).await;
    let right = search.right(&pieces, &stands).await;
    let mut notes = Vec::new();
    for (number, here) in missing.iter_mut() {
        let bytes = search.layout.file(*number as usize);
        let is_whole = search.layout.pieces_of(bytes.clone()).all(|piece| right.contains(&piece));
        if let (Stand::Here(found), true) = (&stands[*number as usize], is_whole) {
            let fetched = found.fetched(torrent, *number, bytes.end - bytes.start);
            notes.push(Note::of(&Source::TorrentFile(torrent.info_hash, *number), &fetched));
            **here = Some(fetched);
        }
    }
    // When this is tried again, they are known.
    known::note(hub, task.by, notes).await;
    let rest: Vec<usize> =
        missing.iter().filter(|(_, here)| here.is_none()).map(|(number, _)| *number as usize).collect();
    let taken = search.take_over(&rest, &right, &stands, folder).await?;
    tokio::fs::create_dir_all(folder).await?;
    tokio::fs::write(&done, taken.to_string()).await?;
    Ok(taken)
}

impl Candidate {
    fn fetched(&self, torrent: &Torrent, number: u32, size: u64) -> Fetched {
        Fetched {
            etag: String::new(),
            blob: self.blob,
            size: ByteSize(size),
            sha256: None,
            name: torrent.files[number as usize].names.join("/"),
            media_type: None,
            changed_s: None,
            space: self.space,
            path: self.path.clone(),
        }
    }
}

/// Candidates by their length, and by their name too.
#[derive(Default)]
struct Candidates {
    named: HashMap<(u64, String), Vec<Candidate>>,
    others: HashMap<u64, Vec<Candidate>>,
}

impl Candidates {
    fn add(&mut self, size: u64, is_named: bool, candidate: Candidate) {
        let list = match candidate.path.name() {
            Some(name) if is_named => self.named.entry((size, name.to_owned())).or_default(),
            _ => self.others.entry(size).or_default(),
        };
        if list.len() < CANDIDATES && list.iter().all(|other| other.blob != candidate.blob) {
            list.push(candidate);
        }
    }

    /// Those for a file, the likeliest first.
    fn of(&self, size: u64, name: &str) -> impl Iterator<Item = &Candidate> {
        let named = self.named.get(&(size, name.to_owned()));
        named.into_iter().chain(self.others.get(&size)).flatten()
    }
}

/// Lengths and names of files.
type Looks = HashSet<(u64, String)>;

struct Search<'a> {
    hub: &'a Hub,
    task: &'a Task<'a>,
    torrent: &'a Arc<Torrent>,
    layout: Layout,
}

impl Search<'_> {
    /// The pieces in which these files lie, each once, in order.
    fn pieces(&self, numbers: &[usize]) -> Vec<usize> {
        let of_file = |number: &usize| self.layout.pieces_of(self.layout.file(*number));
        let mut pieces: Vec<usize> = numbers.iter().flat_map(of_file).collect();
        pieces.sort_unstable();
        pieces.dedup();
        pieces
    }

    /// The files in these pieces that have bytes.
    fn files(&self, pieces: &[usize]) -> Vec<usize> {
        let of_piece = |piece: &usize| self.layout.files_of(self.layout.piece(*piece));
        let mut files: Vec<usize> = pieces.iter().flat_map(of_piece).collect();
        files.dedup();
        files.retain(|number| !self.layout.file(*number).is_empty());
        files
    }

    fn size(&self, number: usize) -> u64 {
        let bytes = self.layout.file(number);
        bytes.end - bytes.start
    }

    fn name(&self, number: usize) -> &str {
        self.torrent.files[number].names.last().map_or("", String::as_str)
    }

    /// Files of the same lengths as those in the pieces, as far as the owner of the download may read them.
    async fn candidates(&self, pieces: &[usize]) -> Result<Candidates, Trouble> {
        let files = self.files(pieces);
        let looks: Looks =
            files.iter().map(|number| (self.size(*number), self.name(*number).to_owned())).collect();
        let sizes: HashSet<u64> = looks.iter().map(|(size, _)| *size).collect();
        let wanted = Arc::new((looks, sizes));
        let (by, first) = (self.task.by, self.task.spec.space);
        let spaces = self.hub.cell.read(move |state| {
            let mut spaces: Vec<SpaceId> = state.files().spaces_of(by).map(|(space, _)| space).collect();
            spaces.sort_by_key(|space| *space != first);
            spaces
        });
        let (mut found, mut left) = (Candidates::default(), LOOKED_AT / PAGE);
        for space in spaces.await.map_err(|error| Trouble::of_hub(&error))? {
            let mut after = Some(String::new());
            while left > 0
                && let Some(from) = after
            {
                left -= 1;
                let wanted = Arc::clone(&wanted);
                let look = move |state: &State| page(state, by, space, &from, &wanted);
                let (some, next) = self.hub.cell.read(look).await.map_err(|error| Trouble::of_hub(&error))?;
                some.into_iter().for_each(|(size, named, candidate)| found.add(size, named, candidate));
                after = next;
            }
        }
        Ok(found)
    }

    /// What stands for each file of the torrent. Where a whole piece lies in a file, it tells candidates from each other.
    async fn choose(&self, pieces: &[usize], candidates: Candidates) -> Vec<Stand> {
        let mut stands = vec![Stand::Nothing; self.torrent.files.len()];
        let mut left = CHOOSING;
        for number in self.files(pieces) {
            if self.torrent.files[number].is_padding {
                stands[number] = Stand::Zeros;
                continue;
            }
            let inner = self.layout.inner_piece(number);
            for candidate in candidates.of(self.size(number), self.name(number)) {
                let stand = Stand::Here(candidate.clone());
                let is_likely = match inner {
                    None => true,
                    Some(piece) => {
                        let bytes = self.layout.piece(piece);
                        let Some(rest) = left.checked_sub(bytes.end - bytes.start) else { break };
                        left = rest;
                        self.is_right(piece, |_| &stand).await.is_some()
                    }
                };
                if is_likely {
                    stands[number] = stand;
                    break;
                }
            }
        }
        stands
    }

    /// The pieces that are right.
    async fn right(&self, pieces: &[usize], stands: &[Stand]) -> HashSet<usize> {
        let mut right = HashSet::new();
        for piece in pieces {
            if self.is_right(*piece, |number| &stands[number]).await.is_some() {
                right.insert(*piece);
            }
        }
        right
    }

    /// Writes pieces that are right of these files where the fetch goes on from; how many of their bytes.
    async fn take_over(
        &self,
        numbers: &[usize],
        right: &HashSet<usize>,
        stands: &[Stand],
        folder: &Path,
    ) -> Result<u64, Trouble> {
        let pieces: Vec<usize> =
            self.pieces(numbers).into_iter().filter(|piece| right.contains(piece)).collect();
        if pieces.is_empty() {
            return Ok(0);
        }
        let given = Given::open(self.torrent, folder)?;
        let mut taken = HashSet::new();
        for piece in pieces {
            if let Some(bytes) = self.is_right(piece, |number| &stands[number]).await
                && given.put(piece, bytes).await?
            {
                taken.insert(piece);
            }
        }
        given.finish().await?;
        let common = |number: &usize| {
            let file = self.layout.file(*number);
            let pieces = self.layout.pieces_of(file.clone()).filter(|piece| taken.contains(piece));
            let bytes = pieces.map(|piece| {
                let piece = self.layout.piece(piece);
                piece.end.min(file.end) - piece.start.max(file.start)
            });
            bytes.sum::<u64>()
        };
        Ok(numbers.iter().map(common).sum())
    }

    /// The bytes of a piece as what stands for its files has them, if they are right.
    async fn is_right<'s>(&self, piece: usize, stand: impl Fn(usize) -> &'s Stand) -> Option<Vec<u8>> {
        let wanted = self.layout.piece(piece);
        let files = self.layout.files_of(wanted.clone());
        if files
            .clone()
            .any(|number| matches!(stand(number), Stand::Nothing) && !self.layout.file(number).is_empty())
        {
            return None;
        }
        let mut bytes = Vec::with_capacity((wanted.end - wanted.start) as usize);
        for number in files {
            let file = self.layout.file(number);
            let (start, end) = (wanted.start.max(file.start), wanted.end.min(file.end));
            if start >= end {
                continue;
            }
            let whole = bytes.len() + (end - start) as usize;
            match stand(number) {
                Stand::Nothing => return None,
                Stand::Zeros => bytes.resize(whole, 0),
                Stand::Here(candidate) => {
                    let range = start - file.start..end - file.start;
                    // What cannot be read is fetched.
                    let read = self.hub.blobs.stream_range(&candidate.blob, range).await.ok()?;
                    let read = read.try_for_each(|some| {
                        bytes.extend_from_slice(&some);
                        std::future::ready(Ok(()))
                    });
                    read.await.ok()?;
                    if bytes.len() != whole {
                        return None;
                    }
                }
            }
        }
        let torrent = Arc::clone(self.torrent);
        let checked =
            tokio::task::spawn_blocking(move || torrent.is_piece(piece, &bytes).then_some(bytes)).await;
        checked.ok()?
    }
}

/// Files of a space from behind a path on that have a wanted size, with it and whether the name is wanted, too; where to go
/// on, if there is more.
fn page(
    state: &State,
    by: pumasi_types::AccountId,
    space: SpaceId,
    after: &str,
    (looks, sizes): &(Looks, HashSet<u64>),
) -> (Vec<(u64, bool, Candidate)>, Option<String>) {
    let files = state.files();
    if files.check(by, space, Access::Read).is_err() {
        return (Vec::new(), None);
    }
    let walked = files.walk(space, "", Some(after), false, PAGE);
    let next = walked.items.last().filter(|_| walked.more).map(|last| match last.kind {
        FileKind::Folder(_) => format!("{}/", last.path),
        FileKind::File(_) => last.path.to_string(),
    });
    let found = walked.items.into_iter().filter_map(|view| {
        let FileKind::File(version) = view.kind else { return None };
        let size = version.size.0;
        let name = view.path.name().unwrap_or_default();
        let is_named = || looks.contains(&(size, name.to_owned()));
        let found = sizes.contains(&size).then(|| (size, is_named()));
        let candidate = Candidate { blob: version.blob, space, path: view.path };
        found.map(|(size, named)| (size, named, candidate))
    });
    (found.collect(), next)
}
