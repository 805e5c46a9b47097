//! The files of a world: what people and the hub do with spaces, and what must hold of what they were told.
//!
//! `wishes.rs` is what people ask for and `gateway.rs` what the hub does for them by itself. `model.rs` follows what was asked
//! and answered on `shelf.rs`, a flat map of paths; `rules.rs` says from it how each request must be answered, and `check.rs`
//! compares it with the state.

mod check;
mod gateway;
mod model;
mod rules;
mod shelf;
mod wishes;

use pumasi_types::{ByteSize, FilePath, Hash};

use crate::dice::Dice;

pub(crate) use gateway::{report, seen, visit};
pub(crate) use model::Shelves;
pub(crate) use wishes::{Belongings, Neighbours, wish};

/// How many different blobs there are.
const BLOBS: u64 = 60;
/// How many names a folder can have.
const NAMES: u64 = 4;

fn blob(number: u64) -> Hash {
    Hash::of(&number.to_le_bytes())
}

fn any_blob(dice: &mut Dice) -> Hash {
    blob(dice.below(BLOBS))
}

/// The blobs of a world know their sizes.
fn size(blob: &Hash) -> ByteSize {
    ByteSize(u64::from(blob.as_bytes()[0]) * 1_000)
}

fn any_path(dice: &mut Dice) -> FilePath {
    let names = (0..dice.between(1, 3)).map(|_| dice.below(NAMES).to_string());
    names.collect::<Vec<_>>().join("/").parse().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use pumasi_core::{Access, Command, Done, FilesCommand, Request, Role, Roles, State};
    use pumasi_types::{AccountId, Duration, LinkId, SpaceId, Time};

    use super::*;
    use crate::oracle::Holds;

    /// Some people and their hub, without anything that goes wrong.
    struct Village {
        state: State,
        shelves: Shelves,
        people: Vec<(AccountId, Belongings)>,
        time: Time,
        dice: Dice,
        /// How often something was done, and how often it was refused.
        counts: BTreeMap<String, (u64, u64)>,
    }

    impl Village {
        fn new(seed: u64) -> Village {
            let (state, shelves, dice) = (State::new(), Shelves::default(), Dice::new(seed));
            let (people, counts) = (Vec::new(), BTreeMap::new());
            let mut village = Village { state, shelves, people, time: Time(1), dice, counts };
            for (caller, name) in [(State::SYSTEM, "operator"), (AccountId(1), "ann"), (AccountId(1), "bob")]
            {
                let command = Command::OpenAccount {
                    name: name.to_owned(),
                    roles: Roles::from_iter(Role::ALL),
                    token: Hash::of(name.as_bytes()),
                };
                let applied = village.state.apply(Time(1), &[Request { caller, id: None, command }]);
                let Ok(Done::Account(account)) = applied.answers[0] else { panic!("{:?}", applied.answers) };
                village.people.push((account, Belongings::default()));
            }
            village
        }

        /// An entry of the log.
        fn apply(&mut self, requests: &[Request]) -> Holds {
            let answers = self.state.apply(self.time, requests).answers;
            self.shelves.pass(self.state.now());
            for (request, answer) in requests.iter().zip(&answers) {
                self.shelves.follow(request, answer)?;
                let text = format!("{:?}", request.command);
                let text = text.strip_prefix("Files(").unwrap_or(&text);
                let name = text.split([' ', '(', '{']).next().unwrap_or_default().to_owned();
                let (done, refused) = self.counts.entry(name).or_default();
                *(if answer.is_ok() { done } else { refused }) += 1;
                let Ok(done) = answer else { continue };
                if let Command::Files(FilesCommand::SetMember { space, account, access: Some(_) }) =
                    &request.command
                {
                    let member = self.people.iter_mut().filter(|(id, _)| id == account);
                    member.for_each(|(_, own)| own.let_in(*space));
                }
                let caller = self.people.iter_mut().filter(|(id, _)| *id == request.caller);
                caller.for_each(|(_, own)| own.told(&request.command, done));
            }
            Ok(())
        }

        /// Somebody does something, and the hub does.
        fn live(&mut self) -> Holds {
            let most = if self.dice.once_in(100) { 3 * 86_400 } else { 600 };
            self.time = self.time.after(Duration::from_secs(self.dice.spread(1, most)));
            let of_hub = [report(&self.state, &mut self.dice), visit(&self.state, &mut self.dice)];
            let by_hub = |command| Request { caller: State::SYSTEM, id: None, command };
            self.apply(&of_hub.into_iter().flatten().map(by_hub).collect::<Vec<_>>())?;
            let accounts: Vec<AccountId> = self.people.iter().map(|(account, _)| *account).collect();
            let near = Neighbours { accounts: &accounts, researchers: &accounts };
            let who = self.dice.below(accounts.len() as u64) as usize;
            let (caller, own) = &mut self.people[who];
            let request =
                Request { caller: *caller, id: None, command: wish(own, near, self.time, &mut self.dice) };
            let mut requests: Vec<Request> = seen(&self.state, &request).into_iter().map(by_hub).collect();
            requests.push(request);
            self.apply(&requests)
        }
    }

    #[test]
    fn every_answer_is_foreseen_and_every_wish_is_granted_and_refused_some_day() {
        let mut village = Village::new(1);
        for step in 1..=6_000 {
            village.live().unwrap_or_else(|broken| panic!("step {step}: {broken:?}"));
            if step % 500 == 0 {
                village.state.sanity_check();
                village
                    .shelves
                    .check(&village.state)
                    .unwrap_or_else(|broken| panic!("step {step}: {broken:?}"));
            }
        }
        // What answers of each file on its own is refused to those who may not do it.
        let names = "ChangeSpace RemoveSpace SetMember ClaimFiles PutFiles MakeFolder ReleaseFolder Move Copy Remove Restore \
                     EmptyTrash Revert RemoveVersion AddLink RemoveLink UseLink BeginUpload PutPart FinishUpload AbortUpload \
                     AddDownload ControlDownload ReportDownload";
        for name in names.split_whitespace() {
            let (done, refused) = village.counts.get(name).copied().unwrap_or_default();
            assert!(done > 0 && refused > 0, "{name} was done {done} and refused {refused} times");
        }
        for name in ["Joined", "SeeDownloads"] {
            assert!(village.counts.get(name).is_some_and(|(done, _)| *done > 0), "{:?}", village.counts);
        }
    }

    #[test]
    fn what_nobody_was_told_is_noticed() {
        let mut village = Village::new(2);
        (0..300).for_each(|_| village.live().expect("all is foreseen"));
        let Village { state, shelves, time, .. } = village;
        shelves.check(&state).expect("all is there");
        let spaces = state.files().spaces().iter();
        let mut managed = spaces
            .flat_map(|(id, space)| space.members.iter().map(move |(member, has)| (*id, *member, *has)));
        let (space, caller, _) = managed.find(|(.., has)| *has == Access::Manage).expect("there is one");
        let path: FilePath = "new".parse().expect("a path");
        let silent = [
            FilesCommand::MakeFolder { space, path: path.clone() },
            FilesCommand::BeginUpload { space, path, about: Default::default() },
            FilesCommand::SetMember { space, account: AccountId(1), access: Some(Access::Read) },
            FilesCommand::SetMember { space, account: AccountId(2), access: Some(Access::Read) },
            FilesCommand::SetMember { space, account: AccountId(3), access: Some(Access::Read) },
        ];
        let mut changed = 0;
        for command in silent {
            let mut state = state.clone();
            let before = state.files().spaces()[&space].members.clone();
            let is_member = matches!(command, FilesCommand::SetMember { .. });
            let request = Request { caller, id: None, command: Command::Files(command) };
            let answers = state.apply(time, &[request]).answers;
            if answers[0].is_err() || (is_member && state.files().spaces()[&space].members == before) {
                continue;
            }
            changed += 1;
            assert!(shelves.check(&state).is_err());
        }
        assert!(changed >= 2, "folders and uploads can be made");
        for command in [
            FilesCommand::RemoveSpace { space: SpaceId(1_000) },
            FilesCommand::UseLink { link: LinkId(1_000_000) },
            FilesCommand::EmptyTrash { space: SpaceId(1_000), file: None },
        ] {
            let request = Request { caller, id: None, command: Command::Files(command) };
            assert!(shelves.clone().follow(&request, &Ok(Done::Ok)).is_err());
        }
    }
}
