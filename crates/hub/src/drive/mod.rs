//! What every gateway of files does alike: find a space and what the caller may do there, store bytes that the caller then
//! holds, give them to files.
//!
//! Nobody reads by knowing a hash: bytes are read through a file that the caller may read, or through a claim of its own
//! ([`Hub::held`]). The state decides about both; here is nothing that could decide otherwise.

mod link_pass;
mod unfiled;

use std::error::Error;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use pumasi_blobs::{BlobError, Tally};
use pumasi_core::{
    Access, Answer, Bounds, Command, Done, FilePut, Files, FilesCommand, FilesDone, FilesRefusal, Placed,
    Refusal, Request, State,
};
use pumasi_types::{AccountId, ByteSize, Duration, Hash, RequestId, SpaceId};
use tokio::sync::oneshot;

use crate::access;
use crate::cell::CellError;
use crate::chunks::LastByte;
use crate::server::Hub;

pub(crate) use self::link_pass::{LinkPasses, NoCheck, PASS};
pub(crate) use self::unfiled::{SlowBody, UnfiledRoom};

/// How a caller names its own space, whatever that is called.
pub(crate) const HOME: &str = pumasi_api::wire::files::HOME;
/// How long what is removed or overwritten can be had back when nobody says.
pub(crate) const KEEP: Duration = Duration::from_secs(30 * 24 * 3600);

/// Bodies up to this length, in bytes, are stored together with others that come at the same time: less than a chunk.
const SMALL: u64 = 32 << 10;

/// Why something was not done with files.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DriveError {
    /// The state refused it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The cell takes no commands.
    #[error(transparent)]
    Cell(#[from] CellError),
    /// The store could not do it.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// A fault of ours.
    #[error("the cell gave a strange answer: {0}")]
    Strange(String),
}

impl From<FilesRefusal> for DriveError {
    fn from(refusal: FilesRefusal) -> DriveError {
        DriveError::Refused(refusal.into())
    }
}

impl Hub {
    /// A command of files, for this caller.
    pub(crate) async fn files(
        &self,
        caller: AccountId,
        id: Option<RequestId>,
        command: FilesCommand,
    ) -> Result<Done, DriveError> {
        Ok(self.cell.ask(caller, id, Command::Files(command)).await??)
    }

    /// The space of this name in which the caller may do this. [`HOME`] is its own, made when there is none.
    pub(crate) async fn open_space(
        &self,
        caller: AccountId,
        name: &str,
        needed: Access,
    ) -> Result<SpaceId, DriveError> {
        self.in_space(caller, name, needed, |_, space| space).await
    }

    /// The same, with a look at what lies there; `look` must be quick. All that is decided here is in the access log.
    pub(crate) async fn in_space<T: Send + 'static>(
        &self,
        caller: AccountId,
        name: &str,
        needed: Access,
        look: impl FnOnce(&Files, SpaceId) -> T + Send + 'static,
    ) -> Result<T, DriveError> {
        let wanted: String = name.chars().take(100).collect();
        let first = self.cell.read(move |state| match space_of(state, caller, &wanted, needed) {
            Ok(Some(space)) => Looked::Done(space, look(state.files(), space)),
            Ok(None) => Looked::NoHome(look),
            Err(refusal) => Looked::Refused(state.files().space_named(&wanted), refusal),
        });
        let look = match first.await? {
            Looked::Done(space, found) => {
                access::looked(name, Some(space), None);
                return Ok(found);
            }
            Looked::Refused(space, refusal) => {
                access::looked(name, space, Some(refusal.code()));
                return Err(refusal.into());
            }
            Looked::NoHome(look) => look,
        };
        self.make_home(caller).await?;
        let again = self.cell.read(move |state| {
            let space = space_of(state, caller, HOME, needed)?;
            Ok::<_, FilesRefusal>(space.map(|space| (space, look(state.files(), space))))
        });
        let found = again.await??;
        let (space, found) =
            found.ok_or_else(|| DriveError::Strange("a home that is not there".to_owned()))?;
        access::looked(name, Some(space), None);
        Ok(found)
    }

    /// Makes the space that has the caller's name.
    async fn make_home(&self, caller: AccountId) -> Result<(), DriveError> {
        let name = self.cell.read(move |state| state.ledger().account(caller).map(|it| it.name().to_owned()));
        let name = name.await?.ok_or(Refusal::NoAccount { account: caller })?;
        let make = FilesCommand::CreateSpace { name: name.clone(), keep: KEEP };
        let taken = match self.files(caller, None, make).await {
            Err(taken @ DriveError::Refused(Refusal::Files(FilesRefusal::SpaceTaken { .. }))) => taken,
            other => return other.map(drop),
        };
        // Another request of the caller made it meanwhile, or somebody had a space of this name before the caller came.
        let home = self.cell.read(move |state| state.files().home(caller, &name)).await?;
        home.map(drop).ok_or(taken)
    }

    /// Stores what a stream brings, up to `limit`, for this caller, who holds it from then on. Durable when it returns.
    pub(crate) async fn store<E>(
        &self,
        caller: AccountId,
        body: impl Stream<Item = Result<Bytes, E>>,
        limit: ByteSize,
    ) -> Result<(Hash, ByteSize), DriveError>
    where
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let (stored, claimed) = self.store_ahead(caller, body, limit).await?;
        claimed.await.map_err(|_| self.cell.why_stopped())??;
        Ok(stored)
    }

    /// The same for whoever has something done with it next: that finds the claim, and both go into the log together.
    pub(crate) async fn store_ahead<E>(
        &self,
        caller: AccountId,
        body: impl Stream<Item = Result<Bytes, E>>,
        limit: ByteSize,
    ) -> Result<((Hash, ByteSize), oneshot::Receiver<Answer>), DriveError>
    where
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let (body, last) = LastByte::of(body);
        let mut coming = self.coming(caller);
        self.keep(caller, coming.metered(body), &last, limit).await
    }

    /// As [`Hub::store`], with bytes that the caller holds or may read already, and that something counts as its.
    pub(crate) async fn store_held<E>(
        &self,
        caller: AccountId,
        body: impl Stream<Item = Result<Bytes, E>>,
        limit: ByteSize,
    ) -> Result<(Hash, ByteSize), DriveError>
    where
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let (body, last) = LastByte::of(body);
        let (stored, claimed) = self.keep(caller, body, &last, limit).await?;
        claimed.await.map_err(|_| self.cell.why_stopped())??;
        Ok(stored)
    }

    async fn keep<E>(
        &self,
        caller: AccountId,
        body: impl Stream<Item = Result<Bytes, E>>,
        last: &LastByte,
        limit: ByteSize,
    ) -> Result<((Hash, ByteSize), oneshot::Receiver<Answer>), DriveError>
    where
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let (stored, tally) = self.take_in(body, limit).await.map_err(unfiled::refused)?;
        self.chunks.disguise.settle(last, &tally).await;
        let claim = FilesCommand::Claim { account: caller, blobs: vec![stored] };
        let request = Request { caller: State::SYSTEM, id: None, command: Command::Files(claim) };
        let claimed = self.cell.send(request).await?;
        Ok((stored, claimed))
    }

    /// Stores a body; a small one with all others that come at the same time.
    async fn take_in<E>(
        &self,
        body: impl Stream<Item = Result<Bytes, E>>,
        limit: ByteSize,
    ) -> Result<((Hash, ByteSize), Tally), BlobError>
    where
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let mut body =
            std::pin::pin!(body.map(|piece| piece.map_err(|e| BlobError::Body { source: e.into() })));
        let (mut begun, mut length) = (Vec::new(), 0);
        while length <= SMALL.min(limit.0) {
            let Some(piece) = body.next().await else {
                let blob = Bytes::from(begun.concat());
                let (hash, tally) = self.blobs.put_small(blob).await?;
                return Ok(((hash, ByteSize(length)), tally));
            };
            let piece = piece?;
            length += piece.len() as u64;
            begun.push(piece);
        }
        let mut writer = self.blobs.writer();
        let whole = stream::iter(begun.into_iter().map(Ok)).chain(body);
        let stored = writer.put_stream(whole, limit).await.map_err(unwrapped)?;
        Ok((stored, writer.finish().await?))
    }

    /// Stores many small blobs at the price of one, at most [`Bounds::FILES`]; their names and lengths in their order.
    pub(crate) async fn store_many(
        &self,
        caller: AccountId,
        blobs: Vec<Bytes>,
    ) -> Result<Vec<(Hash, ByteSize)>, DriveError> {
        if blobs.is_empty() {
            return Ok(Vec::new());
        }
        let sizes: Vec<ByteSize> = blobs.iter().map(|blob| ByteSize(blob.len() as u64)).collect();
        let mut coming = self.coming(caller);
        coming.take(sizes.iter().map(|size| size.0).sum()).await?;
        let (last, mut writer) = (LastByte::now(), self.blobs.writer());
        let names = writer.put_many(blobs).await?;
        let tally = writer.finish().await?;
        self.chunks.together.settle(&last, &tally).await;
        let stored: Vec<_> = names.into_iter().zip(sizes).collect();
        self.claim(caller, stored.clone()).await?;
        Ok(stored)
    }

    /// Notes that the hub saw all bytes of these blobs come from the caller, or had it prove that it has them. They must
    /// have been put or linked just before, so that no collection takes them meanwhile.
    pub(crate) async fn claim(
        &self,
        caller: AccountId,
        mut blobs: Vec<(Hash, ByteSize)>,
    ) -> Result<(), DriveError> {
        blobs.sort_unstable();
        blobs.dedup();
        for blobs in blobs.chunks(Bounds::FILES) {
            let claim = FilesCommand::Claim { account: caller, blobs: blobs.to_vec() };
            self.files(State::SYSTEM, None, claim).await?;
        }
        Ok(())
    }

    /// How long a blob is that the caller holds; whatever it does not hold is not there for it.
    pub(crate) async fn held(&self, caller: AccountId, blob: Hash) -> Result<ByteSize, DriveError> {
        let held = self.cell.read(move |state| state.files().claimed(caller, &blob)).await?;
        held.ok_or_else(|| FilesRefusal::NotHeld { blob }.into())
    }

    /// Gives one file new contents.
    pub(crate) async fn put(
        &self,
        caller: AccountId,
        space: SpaceId,
        file: FilePut,
        id: Option<RequestId>,
    ) -> Result<Placed, DriveError> {
        let mut placed = self.put_files(caller, space, vec![file], id).await?;
        let one = placed.pop().filter(|_| placed.is_empty());
        Ok(one.ok_or_else(|| DriveError::Strange("not one answer for one file".to_owned()))??)
    }

    /// Gives files new contents, each on its own.
    pub(crate) async fn put_files(
        &self,
        caller: AccountId,
        space: SpaceId,
        files: Vec<FilePut>,
        id: Option<RequestId>,
    ) -> Result<Vec<Result<Placed, FilesRefusal>>, DriveError> {
        match self.files(caller, id, FilesCommand::PutFiles { space, files }).await? {
            Done::Files(FilesDone::Each(placed)) => Ok(placed),
            other => Err(DriveError::Strange(format!("{other:?}"))),
        }
    }
}

/// The failure of a body, which is told as one already.
fn unwrapped(error: BlobError) -> BlobError {
    match error {
        BlobError::Body { source } => match source.downcast::<BlobError>() {
            Ok(inner) => *inner,
            Err(source) => BlobError::Body { source },
        },
        other => other,
    }
}

/// What a first look brought.
enum Looked<T, F> {
    Done(SpaceId, T),
    NoHome(F),
    /// With the space of that name, if there is one.
    Refused(Option<SpaceId>, FilesRefusal),
}

/// The space of a name in which an account may do this; none for [`HOME`] when it is not there yet. Who is no member is
/// told the same as who asks for a space that is not there.
fn space_of(
    state: &State,
    caller: AccountId,
    name: &str,
    needed: Access,
) -> Result<Option<SpaceId>, FilesRefusal> {
    let no_space = || FilesRefusal::NoSpace { space: name.to_owned() };
    let files = state.files();
    let found = match name {
        HOME => {
            let account = state.ledger().account(caller).ok_or_else(no_space)?;
            let Some(home) = files.home(caller, account.name()) else { return Ok(None) };
            home
        }
        name => files.space_named(name).ok_or_else(no_space)?,
    };
    match files.check(caller, found, needed) {
        Ok(_) => Ok(Some(found)),
        Err(FilesRefusal::NoSpace { .. }) => Err(no_space()),
        Err(refusal) => Err(refusal),
    }
}
