//! Bytes that need not travel: what an account holds already is copied, and what it can show to have is linked.
//!
//! docs/store.md ("Instant upload") tells what each side learns from the other, and what hides the rest.

mod challenges;
mod compose;
mod disguise;
mod joins;

use pumasi_core::State;
use pumasi_types::{AccountId, ByteSize, Hash};

use crate::cell::{Cell, CellError};
use crate::limits::Shares;

pub(crate) use self::challenges::{Challenges, VALID};
pub(crate) use self::compose::{ComposeError, compose};
pub(crate) use self::disguise::{Disguise, LastByte};
pub(crate) use self::joins::Joins;

/// Recipes and joins of one account at once: a few bytes of a recipe make the hub read many.
const EACH: usize = 4;
/// Blobs that are looked up in one look at the state.
pub(crate) const LOOKED_AT: usize = 1_000;

/// What transfers share.
pub(crate) struct Chunks {
    /// How puts of known bytes are made to look like puts of new ones.
    pub(crate) disguise: Disguise,
    /// The same of many small blobs that come together: in one request, or with the report of a machine.
    pub(crate) together: Disguise,
    /// The same of what downloads bring.
    pub(crate) fetched: Disguise,
    /// Challenges that were not answered yet.
    pub(crate) challenges: Challenges,
    /// Blobs that are put together.
    pub(crate) joins: Joins,
    /// Places for recipes and joins.
    pub(crate) places: Shares<AccountId>,
}

impl Chunks {
    pub(crate) fn new() -> Chunks {
        Chunks {
            disguise: Disguise::of_coming(),
            together: Disguise::of_whole(),
            fetched: Disguise::of_whole(),
            challenges: Challenges::default(),
            joins: Joins::default(),
            places: Shares::new(EACH),
        }
    }
}

/// How long each of these blobs is that the account holds, in their order.
pub(crate) async fn held(
    cell: &Cell,
    account: AccountId,
    blobs: &[Hash],
) -> Result<Vec<Option<ByteSize>>, CellError> {
    let mut all = Vec::with_capacity(blobs.len());
    for blobs in blobs.chunks(LOOKED_AT) {
        let blobs = blobs.to_vec();
        let look = move |state: &State| -> Vec<Option<ByteSize>> {
            blobs.iter().map(|blob| state.files().claimed(account, blob)).collect()
        };
        all.extend(cell.read(look).await?);
    }
    Ok(all)
}

/// The first of these blobs that the account does not hold.
pub(crate) async fn not_held(
    cell: &Cell,
    account: AccountId,
    blobs: &[Hash],
) -> Result<Option<Hash>, CellError> {
    let sizes = held(cell, account, blobs).await?;
    Ok(blobs.iter().zip(sizes).find(|(_, size)| size.is_none()).map(|(blob, _)| *blob))
}
