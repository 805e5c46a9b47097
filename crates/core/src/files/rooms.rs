//! All spaces, and what takes memory in those of each account.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};

use pumasi_types::{AccountId, SpaceId};
use serde::{Deserialize, Serialize};

use super::Space;

/// What takes memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Room {
    /// Files and folders.
    pub(super) things: u64,
    /// Bytes of what contents say of themselves.
    pub(super) about: u64,
}

impl Space {
    fn room(&self) -> Room {
        Room { things: self.things, about: self.about }
    }
}

/// All spaces by their ids. They are read as a map, and changed by nothing that the sums do not see.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<SpaceId, Space>")]
pub(super) struct Spaces {
    all: BTreeMap<SpaceId, Space>,
    /// What the spaces of an account hold together, by who made them; of accounts whose spaces hold something. A snapshot
    /// does not have it: each space says it.
    #[serde(skip)]
    sums: BTreeMap<AccountId, Room>,
}

/// A space that is being changed; its maker's sum follows when this is over.
pub(super) struct Counted<'a> {
    space: &'a mut Space,
    sums: &'a mut BTreeMap<AccountId, Room>,
    before: Room,
}

/// A space of this maker held one and holds the other.
fn recount(sums: &mut BTreeMap<AccountId, Room>, maker: AccountId, before: Room, after: Room) {
    if before == after {
        return;
    }
    let sum = sums.entry(maker).or_default();
    sum.things = sum.things - before.things + after.things;
    sum.about = sum.about - before.about + after.about;
    if *sum == Room::default() {
        sums.remove(&maker);
    }
}

impl Counted<'_> {
    /// What its maker has in other spaces.
    pub(super) fn others(&self) -> Room {
        // The sum does not know of changes yet.
        let sum = self.sums.get(&self.space.maker).copied().unwrap_or_default();
        Room { things: sum.things - self.before.things, about: sum.about - self.before.about }
    }
}

impl Deref for Counted<'_> {
    type Target = Space;

    fn deref(&self) -> &Space {
        self.space
    }
}

impl DerefMut for Counted<'_> {
    fn deref_mut(&mut self) -> &mut Space {
        self.space
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        recount(self.sums, self.space.maker, self.before, self.space.room());
    }
}

impl Deref for Spaces {
    type Target = BTreeMap<SpaceId, Space>;

    fn deref(&self) -> &BTreeMap<SpaceId, Space> {
        &self.all
    }
}

impl Spaces {
    /// A space, to be changed.
    pub(super) fn get_mut(&mut self, id: &SpaceId) -> Option<Counted<'_>> {
        let space = self.all.get_mut(id)?;
        let before = space.room();
        Some(Counted { space, sums: &mut self.sums, before })
    }

    /// Adds a space under an id that no other has.
    pub(super) fn insert(&mut self, id: SpaceId, space: Space) {
        recount(&mut self.sums, space.maker, Room::default(), space.room());
        self.all.insert(id, space);
    }

    /// Forgets a space; what it held counts for nobody any more.
    pub(super) fn remove(&mut self, id: &SpaceId) -> Option<Space> {
        let space = self.all.remove(id)?;
        recount(&mut self.sums, space.maker, space.room(), Room::default());
        Some(space)
    }

    /// The sums of all spaces, none if one is out of range.
    fn summed(all: &BTreeMap<SpaceId, Space>) -> Option<BTreeMap<AccountId, Room>> {
        let mut sums: BTreeMap<AccountId, Room> = BTreeMap::new();
        for space in all.values().filter(|space| space.room() != Room::default()) {
            let sum = sums.entry(space.maker).or_default();
            sum.things = sum.things.checked_add(space.things)?;
            sum.about = sum.about.checked_add(space.about)?;
        }
        Some(sums)
    }

    /// Panics unless the sums are those of the spaces.
    pub(super) fn sanity_check(&self) {
        let sums = Spaces::summed(&self.all);
        assert_eq!(sums.as_ref(), Some(&self.sums), "it is known what each account has in its spaces");
    }
}

impl TryFrom<BTreeMap<SpaceId, Space>> for Spaces {
    type Error = &'static str;

    fn try_from(all: BTreeMap<SpaceId, Space>) -> Result<Spaces, &'static str> {
        let sums = Spaces::summed(&all).ok_or("what the spaces of an account hold is in range")?;
        Ok(Spaces { all, sums })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use pumasi_types::{ByteSize, Duration, FileId, Time};

    use super::super::trash::Trash;
    use super::*;

    const ANN: AccountId = AccountId(1);
    const BOB: AccountId = AccountId(2);

    fn space(maker: AccountId, things: u64, about: u64) -> Space {
        Space {
            name: "a".to_owned(),
            made: Time(0),
            keep: Duration(0),
            quota: ByteSize(0),
            used: ByteSize(0),
            members: BTreeMap::new(),
            maker,
            root: FileId(1),
            things,
            about,
            trash: Trash::default(),
            older: BTreeSet::new(),
            uploads: BTreeSet::new(),
            due: None,
        }
    }

    /// Two spaces of ann, the first and the third, and one of bob.
    fn three() -> Spaces {
        let mut spaces = Spaces::default();
        for (id, maker, things, about) in [(1, ANN, 5, 70), (2, BOB, 3, 0), (3, ANN, 0, 0)] {
            spaces.insert(SpaceId(id), space(maker, things, about));
        }
        spaces
    }

    fn others(spaces: &mut Spaces, id: u32) -> (u64, u64) {
        let Room { things, about } = spaces.get_mut(&SpaceId(id)).expect("it is there").others();
        (things, about)
    }

    #[test]
    fn sums_follow_every_change() {
        let mut spaces = three();
        assert_eq!([1, 2, 3].map(|id| others(&mut spaces, id)), [(0, 0), (0, 0), (5, 70)]);
        let mut changed = spaces.get_mut(&SpaceId(3)).expect("it is there");
        (changed.things, changed.about) = (4, 8);
        assert_eq!(changed.others(), Room { things: 5, about: 70 }, "its own changes are no others'");
        drop(changed);
        assert_eq!([1, 2, 3].map(|id| others(&mut spaces, id)), [(4, 8), (0, 0), (5, 70)]);
        spaces.sanity_check();
        assert_eq!(spaces.remove(&SpaceId(1)).map(|space| space.things), Some(5));
        assert_eq!(others(&mut spaces, 3), (0, 0));
        let mut changed = spaces.get_mut(&SpaceId(3)).expect("it is there");
        (changed.things, changed.about) = (0, 0);
        drop(changed);
        spaces.remove(&SpaceId(2));
        spaces.sanity_check();
        assert!(spaces.sums.is_empty(), "who has nothing leaves nothing");
    }

    #[test]
    fn a_snapshot_has_the_spaces_only() {
        let spaces = three();
        let bytes = postcard::to_stdvec(&spaces).expect("it is written");
        assert_eq!(bytes, postcard::to_stdvec(&*spaces).expect("it is written"));
        let back: Spaces = postcard::from_bytes(&bytes).expect("it is read");
        assert_eq!(back, spaces);
        let mut all = spaces.all;
        all.insert(SpaceId(4), space(ANN, u64::MAX, 0));
        let bytes = postcard::to_stdvec(&all).expect("it is written");
        assert!(postcard::from_bytes::<Spaces>(&bytes).is_err(), "nothing has so many files");
    }

    #[test]
    #[should_panic(expected = "what each account has")]
    fn a_wrong_sum_is_noticed() {
        let mut spaces = three();
        spaces.sums.insert(BOB, Room { things: 4, about: 0 });
        spaces.sanity_check();
    }
}
