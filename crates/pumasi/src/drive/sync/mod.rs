//! Keeping a folder of this machine and one of a space the same, whichever side was changed.

mod base;
mod forms;
mod plan;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use jiff::Zoned;
use pumasi_api::client::HubClient;
use pumasi_api::wire::files::{Condition, Entry, RemoveFiles};
use pumasi_seal::{Key, KeyId};
use pumasi_types::{FilePath, Hash};

use self::base::{Base, folders_above};
use self::forms::{LAID_OPEN, forms};
use self::plan::{Action, Content, Plan, View, plan};
use super::LINK;
use super::below::{Below, There};
use super::hashes::Hashes;
use super::place::Place;
use super::receive::{self, Receiver};
use super::remote::{self, Walk};
use super::report::{Counts, Tally};
use super::scan::{Kind, LeftOut, Scan, Stamp};
use super::send::{self, Local, Sender, What, blocking};
use crate::error::CliError;
use crate::keys::{Closed, Keys, sealed_with};
use crate::output::Output;
use crate::progress::{Count, Progress};

/// So many removals are always believed.
const BELIEVED: usize = 10;
/// Names that are tried for a file that both sides changed.
const NAMES: u32 = 1_000;
/// Paths that are removed by one request.
const REMOVED_AT_ONCE: usize = 1_000;

/// What to do beside the usual.
#[derive(Clone, Debug)]
pub(crate) struct Wishes {
    /// Links are kept the same as well.
    pub(crate) links: bool,
    /// However much one side lost, the other loses it, too.
    pub(crate) delete_many: bool,
    /// Only say what would be done.
    pub(crate) dry_run: bool,
    /// What all files are encrypted with; none: each stays as it is, and new ones are not encrypted.
    pub(crate) key: Option<Arc<Key>>,
    /// The keys that are here.
    pub(crate) keys: Arc<Keys>,
}

/// What `dry_run` says would be done, a line for each.
pub(crate) type Lines = Vec<String>;

/// Both sides as they are.
struct Sides {
    here: View,
    stamps: HashMap<FilePath, (Stamp, bool)>,
    there: View,
    entries: HashMap<FilePath, Entry>,
    left_out: Vec<LeftOut>,
}

/// Makes both sides the same.
pub(crate) async fn sync(
    client: &HubClient,
    out: &Output,
    folder: &Path,
    place: &Place,
    wishes: Wishes,
) -> Result<(Counts, Lines), CliError> {
    let mut base = Base::open(folder, &client.address().to_string(), place)?;
    let below = Arc::new(Below::open(folder)?);
    let hashes = Arc::new(Hashes::of(folder)?);
    let sides = look(client, folder, place, &hashes, base.view(), &wishes).await?;
    let plan = plan(&sides.here, &sides.there, base.view());
    if !wishes.delete_many {
        believe(&plan, base.view(), place)?;
    }
    if wishes.dry_run {
        return Ok((Counts::default(), plan.actions.iter().map(describe).collect()));
    }
    let sync = Sync { client, place, folder, below: below.clone(), hashes, sides, wishes };
    let done = sync.carry_out(out, plan, &mut base).await;
    // What was done until it broke off is remembered, too.
    blocking(move || base.save(&below)).await??;
    Ok((done?, Vec::new()))
}

/// Looks at both sides. Only what can be compared with something is read.
async fn look(
    client: &HubClient,
    folder: &Path,
    place: &Place,
    hashes: &Arc<Hashes>,
    before: &View,
    wishes: &Wishes,
) -> Result<Sides, CliError> {
    let entries = match remote::find(client, place).await? {
        Some(entry) if entry.folder.is_some() => Walk::below(client, place).all().await?,
        Some(_) => {
            return Err(CliError::usage(
                format!("{place} is a file"),
                "`pumasi sync` keeps folders the same",
            ));
        }
        None => HashMap::new(),
    };
    let (there, unclear) = view_of(&entries, wishes.links);
    let (root, known, wishes) = (folder.to_owned(), hashes.clone(), wishes.clone());
    let (forms, mut closed) = forms(&there, before, &wishes.keys, &wishes.key);
    closed.extend(unclear);
    let read = move || -> Result<_, CliError> {
        let mut scan = Scan::of(&root)?;
        let local = Arc::new(Local::open(&root)?);
        for (path, why) in closed {
            scan.left_out.push(LeftOut { path: root.join(path.as_str()), why: why.to_string() });
        }
        let (mut here, mut stamps) = (View::new(), HashMap::new());
        for found in std::mem::take(&mut scan.found) {
            let content = match found.kind {
                Kind::Folder { .. } => Content::Folder,
                Kind::Link(target) if wishes.links => Content::Link(target),
                Kind::Link(_) => continue,
                Kind::File { stamp, executable } => {
                    stamps.insert(found.path.clone(), (stamp, executable));
                    let hash = |key: Option<&Key>| hash(&local, &known, &found.path, key, &stamp);
                    let content = match forms.get(&found.path) {
                        Some(form) => form.content(executable, hash),
                        // What nothing can be compared with need not be read.
                        None => {
                            let key = wishes.key.as_ref().map(|key| key.id());
                            Ok(Content::File { hash: Hash::ZERO, executable, key })
                        }
                    };
                    match content {
                        Ok(content) => content,
                        Err(why) => {
                            scan.left_out.push(LeftOut { path: root.join(found.path.as_str()), why });
                            continue;
                        }
                    }
                }
            };
            here.insert(found.path, content);
        }
        // What was removed here is not fetched again as what somebody else laid there.
        for (path, _) in
            forms.iter().filter(|(path, form)| form.is_laid_open() && !stamps.contains_key(*path))
        {
            scan.left_out.push(LeftOut { path: root.join(path.as_str()), why: LAID_OPEN.to_owned() });
        }
        // What cannot be read is not removed because of that.
        let blocked: Vec<FilePath> = scan
            .left_out
            .iter()
            .filter_map(|left| left.path.strip_prefix(&root).ok()?.to_str()?.parse().ok())
            .collect();
        Ok((here, stamps, scan.left_out, blocked))
    };
    let (mut here, stamps, left_out, blocked) = blocking(read).await??;
    let mut there = there;
    let is_blocked = |path: &FilePath| blocked.iter().any(|blocked| path.is_below(blocked));
    for path in before.keys().chain(there.clone().keys()).filter(|path| is_blocked(path)) {
        // As before on both sides: nothing is to be done.
        match before.get(path) {
            Some(content) => {
                here.insert(path.clone(), content.clone());
                there.insert(path.clone(), content.clone());
            }
            None => {
                here.remove(path);
                there.remove(path);
            }
        }
    }
    Ok(Sides { here, stamps, there, entries, left_out })
}

/// The hash that a file here has when it is sent; it is read only if it was changed since it was last read.
fn hash(
    local: &Arc<Local>,
    hashes: &Hashes,
    path: &FilePath,
    key: Option<&Key>,
    stamp: &Stamp,
) -> Result<Hash, String> {
    let id = key.map(Key::id);
    if let Some(hash) = hashes.get(path, id, stamp) {
        return Ok(hash);
    }
    let begun = SystemTime::now();
    let hash = send::sent_hash(local, path, key)?;
    hashes.set(path, id, *stamp, hash, begun);
    Ok(hash)
}

/// What lies in the space, folders above files included, and files of which it is not clear how they are encrypted.
fn view_of(entries: &HashMap<FilePath, Entry>, links: bool) -> (View, Vec<(FilePath, Closed)>) {
    let (mut view, mut unclear) = (View::new(), Vec::new());
    for (path, entry) in entries {
        let content = match &entry.file {
            None => Content::Folder,
            Some(file) => match file.about.labels.get(LINK) {
                Some(target) if links => Content::Link(target.clone()),
                Some(_) => continue,
                None => match sealed_with(file) {
                    Ok(key) => Content::File { hash: file.blob, executable: file.about.executable, key },
                    Err(why) => {
                        unclear.push((path.clone(), why));
                        continue;
                    }
                },
            },
        };
        view.extend(folders_above(path).into_iter().map(|folder| (folder, Content::Folder)));
        view.insert(path.clone(), content);
    }
    (view, unclear)
}

/// Refuses to remove most of what there is: a disk that is not mounted looks like a folder without files.
fn believe(plan: &Plan, before: &View, place: &Place) -> Result<(), CliError> {
    let is_file = |path: &FilePath| before.get(path).is_some_and(|content| *content != Content::Folder);
    let known = before.values().filter(|content| **content != Content::Folder).count();
    let (mut here, mut there) = (0, 0);
    for action in &plan.actions {
        match action {
            Action::RemoveHere(path) if is_file(path) => here += 1,
            Action::RemoveThere(path) if is_file(path) => there += 1,
            _ => {}
        }
    }
    for (count, side) in [(here, "here".to_owned()), (there, format!("in {place}"))] {
        if count > BELIEVED && count > known / 2 {
            return Err(CliError::ManyRemoved { count, known, side });
        }
    }
    Ok(())
}

fn describe(action: &Action) -> String {
    match action {
        Action::RemoveThere(path) => format!("remove there  {path}"),
        Action::RemoveHere(path) => format!("remove here   {path}"),
        Action::Both(path) => format!("keep both     {path}"),
        Action::Pull(path) => format!("fetch         {path}"),
        Action::Push(path) => format!("send          {path}"),
        Action::Clash(path) => format!("cannot do     {path}"),
    }
}

/// One run.
struct Sync<'a> {
    client: &'a HubClient,
    place: &'a Place,
    folder: &'a Path,
    below: Arc<Below>,
    hashes: Arc<Hashes>,
    sides: Sides,
    wishes: Wishes,
}

/// What is to be done, by its kind.
#[derive(Default)]
struct Todo {
    pull: Vec<receive::Job>,
    push: Vec<send::Job>,
    folders_here: Vec<FilePath>,
    folders_there: Vec<FilePath>,
}

impl Sync<'_> {
    async fn carry_out(&self, out: &Output, plan: Plan, base: &mut Base) -> Result<Counts, CliError> {
        for path in plan.gone {
            base.forget(&path);
        }
        for path in plan.same {
            if let Some(content) = self.sides.here.get(&path) {
                base.set(path, content.clone());
            }
        }
        let bytes = plan.actions.iter().map(|action| self.size(action)).sum();
        let progress = Progress::start(out, "syncing", Count::Bytes, bytes);
        let tally = Tally::new(progress, plan.actions.len() as u64);
        for left in &self.sides.left_out {
            tally.left_out(left.clone(), 0);
        }
        self.remove(&plan.actions, base, &tally).await?;
        let todo = self.todo(&plan.actions, &tally)?;
        let news = Mutex::new(BTreeMap::new());
        let moved = self.transfer(todo, &tally, &news).await;
        for (path, content) in news.into_inner().unwrap_or_else(PoisonError::into_inner) {
            base.set(path, content);
        }
        moved.map(|()| tally.finish())
    }

    fn size(&self, action: &Action) -> u64 {
        let here = |path| self.sides.stamps.get(path).map_or(0, |(stamp, _)| stamp.size);
        let there = |path| self.version(path).map_or(0, |version| version.size);
        match action {
            Action::Push(path) => here(path),
            Action::Pull(path) => there(path),
            Action::Both(path) => here(path) + there(path),
            Action::RemoveHere(_) | Action::RemoveThere(_) | Action::Clash(_) => 0,
        }
    }

    fn version(&self, path: &FilePath) -> Option<&pumasi_api::wire::files::Version> {
        self.sides.entries.get(path)?.file.as_ref()
    }

    /// What was removed on one side is removed on the other.
    async fn remove(&self, actions: &[Action], base: &mut Base, tally: &Tally) -> Result<(), CliError> {
        let mut there = Vec::new();
        for action in actions {
            match action {
                Action::RemoveHere(path) => match self.remove_here(path) {
                    Ok(()) => {
                        base.forget(path);
                        tally.count(|counts| counts.removed += 1);
                    }
                    Err(why) => tally.left_out(LeftOut { path: self.below.name(path), why }, 0),
                },
                Action::RemoveThere(path) => there.push(path),
                _ => {}
            }
        }
        for some in there.chunks(REMOVED_AT_ONCE) {
            let paths = some.iter().map(|path| self.target(path)).collect::<Result<_, _>>()?;
            let what = RemoveFiles { paths, recursive: false, forever: false };
            let removed = self.client.remove_files(self.place.space(), &what, None).await;
            let removed = removed.map_err(CliError::hub(format!("remove files of {}", self.place)))?;
            for (path, result) in some.iter().zip(removed.results) {
                match result.error {
                    // The last file in a folder takes the folder along.
                    Some(error) if error.code != "no_file" => {
                        tally.refused(result.path.to_string(), error, 0)
                    }
                    _ => {
                        base.forget(path);
                        tally.count(|counts| counts.removed += 1);
                    }
                }
            }
        }
        Ok(())
    }

    /// Removes a file that is as it was looked at, or a folder in which nothing lies.
    fn remove_here(&self, path: &FilePath) -> Result<(), String> {
        if self.sides.here.get(path) == Some(&Content::Folder) {
            return self.below.remove(path, true).map_err(|error| error.line());
        }
        let seen = self.sides.stamps.get(path).map(|(stamp, _)| There::File(*stamp));
        let now = self.below.look(path).map_err(|error| error.line())?;
        if seen.is_some() && now != seen {
            return Err("it was changed here while it was to be removed: sync again".to_owned());
        }
        self.below.remove(path, false).map_err(|error| error.line())
    }

    /// Makes jobs of actions; what both sides changed gets its other name here.
    fn todo(&self, actions: &[Action], tally: &Tally) -> Result<Todo, CliError> {
        let mut todo = Todo::default();
        for action in actions {
            match action {
                Action::RemoveHere(_) | Action::RemoveThere(_) => {}
                Action::Clash(path) => {
                    let why = "a file on one side and a folder on the other: rename one of them".to_owned();
                    tally.left_out(LeftOut { path: self.below.name(path), why }, 0);
                }
                Action::Push(path) => self.push(path, path, &mut todo)?,
                Action::Pull(path) => self.pull(path, &mut todo)?,
                Action::Both(path) => {
                    let other = self.other_name(path)?;
                    self.below.rename(path, &other)?;
                    tally.count(|counts| counts.conflicts += 1);
                    self.push(path, &other, &mut todo)?;
                    self.pull(path, &mut todo)?;
                }
            }
        }
        Ok(todo)
    }

    /// What was `seen` here under one name goes there under `path`, where it lies now.
    fn push(&self, seen: &FilePath, path: &FilePath, todo: &mut Todo) -> Result<(), CliError> {
        let target = self.target(path)?;
        let mut key = None;
        let what = match self.sides.here.get(seen) {
            Some(Content::Link(to)) => What::Link(to.clone()),
            Some(Content::File { executable, key: with, .. }) => {
                key = self.wishes.key.clone();
                if let (None, Some(id)) = (&key, with) {
                    key = Some(self.key(*id)?);
                }
                let Some((stamp, _)) = self.sides.stamps.get(seen) else { return Ok(()) };
                let mut stamp = *stamp;
                if let (true, Some(There::File(now))) = (seen != path, self.below.look(path)?) {
                    // A new name changes nothing but this.
                    stamp.changed_ns = now.changed_ns;
                }
                What::File { stamp, executable: *executable }
            }
            Some(Content::Folder) => {
                // One in which something lies comes with it.
                let next = self.sides.here.range(path.clone()..).nth(1);
                if next.is_none_or(|(next, _)| !next.is_below(path)) {
                    todo.folders_there.push(path.clone());
                }
                return Ok(());
            }
            None => return Ok(()),
        };
        let there = self.version(path).cloned();
        let condition = there.as_ref().map_or(Condition::Absent, |there| Condition::Version(there.version));
        todo.push.push(send::Job { local: path.clone(), what, target, condition, there, key });
        Ok(())
    }

    /// A key that something here was compared with.
    fn key(&self, id: KeyId) -> Result<Arc<Key>, CliError> {
        let named = self.wishes.keys.find(id).ok_or_else(|| CliError::NoKey { name: id.to_string() })?;
        Ok(named.key.clone())
    }

    fn pull(&self, path: &FilePath, todo: &mut Todo) -> Result<(), CliError> {
        match self.version(path) {
            None => todo.folders_here.push(path.clone()),
            Some(version) => {
                let expected = self.sides.stamps.get(path).map(|(stamp, _)| *stamp);
                let expected = match self.below.look(path)? {
                    Some(There::File(_)) => Some(expected),
                    // One that both sides changed was just given another name.
                    None => Some(None),
                    Some(There::Folder | There::Other) => None,
                };
                let (remote, version) = (self.target(path)?, version.clone());
                todo.pull.push(receive::Job::new(remote, version, path.clone(), expected));
            }
        }
        Ok(())
    }

    async fn transfer(
        &self,
        todo: Todo,
        tally: &Tally,
        news: &Mutex<BTreeMap<FilePath, Content>>,
    ) -> Result<(), CliError> {
        let tell = |path: &FilePath, content| {
            news.lock().unwrap_or_else(PoisonError::into_inner).insert(path.clone(), content);
        };
        for path in &todo.folders_here {
            self.below.make_folder(path)?;
            tell(path, Content::Folder);
        }
        for path in &todo.folders_there {
            let made = self.client.make_folder(self.place.space(), self.target(path)?, None).await;
            made.map_err(CliError::hub(format!("make a folder in {}", self.place)))?;
            tell(path, Content::Folder);
        }
        let written = |job: &receive::Job, _| {
            let about = &job.version.about;
            let content = match (about.labels.get(LINK), sealed_with(&job.version)) {
                (Some(target), _) => Content::Link(target.clone()),
                (None, Ok(key)) => {
                    Content::File { hash: job.version.blob, executable: about.executable, key }
                }
                // It could not be decrypted, so it was not written.
                (None, Err(_)) => return,
            };
            tell(&job.local, content);
        };
        let receiver = Receiver {
            client: self.client,
            space: self.place.space(),
            below: self.below.clone(),
            hashes: self.hashes.clone(),
            keys: Some(&self.wishes.keys),
            links: self.wishes.links,
            tally,
            written: &written,
            fresh: Mutex::default(),
        };
        let received = receiver.receive(todo.pull).await;
        receiver.settle().await?;
        received?;
        let placed = |job: &send::Job, placed: send::Placed| {
            let content = match &job.what {
                What::Link(target) => Content::Link(target.clone()),
                What::File { executable, .. } => {
                    let key = job.key.as_ref().map(|key| key.id());
                    Content::File { hash: placed.hash, executable: *executable, key }
                }
            };
            tell(&job.local, content);
        };
        let local = Local::open(self.folder)?;
        let space = self.place.space();
        Sender::new(self.client, space, local, self.hashes.clone(), tally, &placed).send(todo.push).await
    }

    fn target(&self, path: &FilePath) -> Result<FilePath, CliError> {
        remote::absolute(&self.place.path, path).map_err(|problem| {
            CliError::usage(problem, "choose a shorter name, or a place with a shorter path")
        })
    }

    /// A name that nothing has on either side.
    fn other_name(&self, path: &FilePath) -> Result<FilePath, CliError> {
        for n in 1..=NAMES {
            let Some(other) = conflict_name(path, n) else { break };
            if !self.sides.there.contains_key(&other) && self.below.look(&other)?.is_none() {
                return Ok(other);
            }
        }
        let name = self.below.name(path);
        let problem =
            format!("{} was changed on both sides, and no name is left for one of them", name.display());
        Err(CliError::usage(problem, "rename it, then sync again"))
    }
}

/// The name that a file gets when somebody else changed it meanwhile: it tells where it comes from and when. The `n`th
/// such name, from 1; none when the path would be too long.
pub(crate) fn conflict_name(path: &FilePath, n: u32) -> Option<FilePath> {
    let name = path.name()?;
    let (stem, ending) = match name.rfind('.').filter(|dot| *dot > 0) {
        Some(dot) => name.split_at(dot),
        None => (name, ""),
    };
    let machine = rustix::system::uname().nodename().to_string_lossy().replace('/', "_");
    let when = Zoned::now().strftime("%Y-%m-%d %H.%M").to_string();
    let again = if n == 1 { String::new() } else { format!(" {n}") };
    let remark = format!(" (conflict {when} {machine}{again})");
    let room = FilePath::NAME_BYTES.saturating_sub(remark.len() + ending.len());
    let stem = &stem[..stem.floor_char_boundary(room)];
    path.parent()?.join(&format!("{stem}{remark}{ending}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conflict_keeps_the_ending_and_fits() {
        let name = |path: &str, n| conflict_name(&path.parse().unwrap(), n).unwrap().to_string();
        let first = name("a/report.tar.gz", 1);
        assert!(first.starts_with("a/report.tar (conflict 20") && first.ends_with(").gz"), "{first}");
        assert!(name("a", 2).ends_with(" 2)") && name(".hidden", 1).starts_with(".hidden (conflict"));
        let long = format!("{}.txt", "\u{d55c}".repeat(83));
        assert!(name(&long, 1).len() <= FilePath::NAME_BYTES);
    }
}
