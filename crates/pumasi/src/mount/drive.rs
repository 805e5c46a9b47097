//! A folder of a space as a file system: what lies where, what is open, and what the hub lacks still.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use pumasi_api::client::{HubClient, ListOf};
use pumasi_api::wire::files::{Entry, MoveFile, RemoveFiles, Version};
use pumasi_seal::{Key, Seal};
use pumasi_types::FilePath;

use super::body::{At, Body};
use super::surroundings::{Kept, Surroundings};
use super::tree::{ROOT, Tree};
use super::trouble::Trouble;
use crate::keys::{Closed, Keys};
use crate::output::Output;

/// What decrypts a version of a file, and under which key what replaces it is encrypted.
type Opener = (Arc<Seal>, Arc<Key>);

/// How long what the hub said is believed.
pub(super) const BELIEVED: Duration = Duration::from_secs(1);

/// A file or folder as programs see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// Its number.
    pub(super) number: u64,
    /// Whether it is a folder.
    pub(super) folder: bool,
    /// Bytes.
    pub(super) size: u64,
    /// When it was changed.
    pub(super) modified_ns: u64,
    /// Whether it is a program.
    pub(super) executable: bool,
}

/// What encrypts and decrypts files.
#[derive(Debug, Default)]
pub(crate) struct Ciphers {
    /// The keys that are here.
    pub(crate) keys: Keys,
    /// What new files are encrypted with; none: what lay or lies around them decides.
    pub(crate) new: Option<Arc<Key>>,
}

type SharedBody = Arc<tokio::sync::Mutex<Body>>;
type Listed = Vec<(u64, bool, String)>;

/// A folder of a space.
pub(super) struct Drive {
    client: HubClient,
    space: String,
    out: Output,
    ciphers: Ciphers,
    surroundings: Surroundings,
    /// Nothing can be changed through it.
    pub(super) read_only: bool,
    tree: Mutex<Tree>,
    /// What the hub said of a number lately.
    said: Mutex<HashMap<u64, (Entry, Instant)>>,
    /// Open files by their numbers.
    bodies: Mutex<HashMap<u64, SharedBody>>,
    handles: Mutex<HashMap<u64, (u64, SharedBody)>>,
    folders: Mutex<HashMap<u64, Arc<Listed>>>,
    next: AtomicU64,
}

impl Drive {
    /// The folder at `base` of a space.
    pub(super) fn new(
        client: HubClient,
        space: String,
        base: FilePath,
        read_only: bool,
        ciphers: Ciphers,
        out: Output,
    ) -> Drive {
        Drive {
            client,
            space,
            out,
            ciphers,
            surroundings: Surroundings::default(),
            read_only,
            tree: Mutex::new(Tree::new(base)),
            said: Mutex::default(),
            bodies: Mutex::default(),
            handles: Mutex::default(),
            folders: Mutex::default(),
            next: AtomicU64::new(1),
        }
    }

    /// The kernel was told a number.
    pub(super) fn told(&self, number: u64) {
        held(&self.tree).told(number);
    }

    /// The kernel forgets a number.
    pub(super) fn forget(&self, number: u64, times: u64) {
        if held(&self.tree).forget(number, times) {
            held(&self.said).remove(&number);
            self.surroundings.forget(number);
        }
    }

    /// What has this name in a folder.
    pub(super) async fn look_in(&self, folder: u64, name: &str) -> Result<Seen, Trouble> {
        let known = held(&self.tree).known(folder, name);
        if let Some(number) = known
            && (self.body(number).is_some() || self.fresh(number).is_some())
        {
            return self.look(number).await;
        }
        let path = held(&self.tree).path_in(folder, name).ok_or(Trouble::BadName)?;
        let entry = self.client.find_file(&self.space, &path).await?;
        let number = held(&self.tree).number(folder, name);
        self.note(number, entry);
        self.look(number).await
    }

    /// What has this number.
    pub(super) async fn look(&self, number: u64) -> Result<Seen, Trouble> {
        if let Some(body) = self.body(number) {
            let body = body.lock().await;
            let modified_ns = body.about.modified_ns.unwrap_or(0);
            let (size, executable) = (body.size(), body.about.executable);
            return Ok(Seen { number, folder: false, size, modified_ns, executable });
        }
        let entry = self.entry(number).await?;
        let modified_ns = entry.file.as_ref().and_then(|file| file.about.modified_ns);
        Ok(Seen {
            number,
            folder: entry.folder.is_some(),
            size: entry.file.as_ref().map_or(0, |file| self.size_of(file)),
            modified_ns: modified_ns.unwrap_or(entry.changed_ms.saturating_mul(1_000_000)),
            executable: entry.file.as_ref().is_some_and(|file| file.about.executable),
        })
    }

    /// How long a file is when it is decrypted; what lies there when it cannot be.
    fn size_of(&self, version: &Version) -> u64 {
        match self.ciphers.keys.seal(version) {
            Ok(Some(seal)) => seal.length(),
            Ok(None) | Err(_) => version.size,
        }
    }

    /// What decrypts a version, and encrypts what replaces it.
    fn ciphers_of(&self, path: &FilePath, version: &Version) -> Result<Option<Opener>, Trouble> {
        let keys = &self.ciphers.keys;
        let found = keys.seal(version).and_then(|seal| Ok(seal.zip(keys.kept(Some(version))?)));
        found.map_err(|why| self.closed(path, why))
    }

    /// What a file is encrypted with.
    async fn kept(&self, number: u64) -> Result<Kept, Trouble> {
        if let Some(body) = self.body(number) {
            return Ok(Ok(body.lock().await.key.clone()));
        }
        let entry = self.entry(number).await?;
        Ok(self.ciphers.keys.kept(entry.file.as_ref()))
    }

    /// What a new file is encrypted with: as all new ones, as what lay there, or as what lies beside it.
    async fn new_key(&self, folder: u64, path: &FilePath) -> Result<Option<Arc<Key>>, Trouble> {
        if let Some(key) = &self.ciphers.new {
            return Ok(Some(key.clone()));
        }
        match self.surroundings.lay_at(path) {
            Ok(None) => self.key_beside(folder).await,
            lay => lay.map_err(|why| self.closed(path, why)),
        }
    }

    /// The key of an encrypted file in a folder. One whose key is not here does not count: nobody can have its text here.
    async fn key_beside(&self, folder: u64) -> Result<Option<Arc<Key>>, Trouble> {
        if self.ciphers.keys.all().is_empty() {
            return Ok(None);
        }
        if let Some(known) = self.surroundings.beside(folder) {
            return Ok(known);
        }
        let began = Instant::now();
        let path = held(&self.tree).path(folder).ok_or(Trouble::Missing)?;
        let mut after: Option<String> = None;
        let found = loop {
            let (entries, next) = self.page(&path, after.as_deref()).await?;
            let key = |entry: &Entry| self.ciphers.keys.kept(entry.file.as_ref()).ok().flatten();
            let found = entries.iter().find_map(key);
            after = next;
            if found.is_some() || after.is_none() {
                break found;
            }
        };
        self.surroundings.note(folder, found.clone(), began.elapsed());
        Ok(found)
    }

    /// What is moved to a path becomes encrypted as what lies or lay there: programs save a file as another one, and move
    /// that over it.
    async fn keep_key(&self, seen: &Seen, there: Option<&Seen>, path: &FilePath) -> Result<(), Trouble> {
        let wanted = match there {
            Some(there) if there.folder || there.number == seen.number => return Ok(()),
            Some(there) => self.kept(there.number).await?,
            None => self.surroundings.lay_at(path),
        };
        let own = self.kept(seen.number).await?;
        match (wanted, own) {
            (Ok(None), _) | (Ok(Some(_)), Err(_)) => Ok(()),
            (Ok(Some(key)), Ok(own)) if own.as_ref().is_some_and(|own| own.id() == key.id()) => Ok(()),
            (Ok(Some(key)), Ok(_)) => self.encrypt(seen.number, key).await,
            (Err(wanted), Err(own)) if wanted == own => Ok(()),
            (Err(why), _) => Err(self.closed(path, why)),
        }
    }

    fn closed(&self, path: &FilePath, why: Closed) -> Trouble {
        self.out.warn(&format!("{path}: {why}"));
        match why {
            Closed::NoKey(_) => Trouble::NotAllowed,
            Closed::Version(_) => Trouble::Unsupported,
            Closed::Damaged | Closed::Label => Trouble::Damaged,
        }
    }

    /// Encrypts a file with this key.
    async fn encrypt(&self, number: u64, key: Arc<Key>) -> Result<(), Trouble> {
        let handle = self.open(number, true, false).await?;
        let encrypt = async {
            let (path, body) = self.opened(handle)?;
            let mut body = body.lock().await;
            body.encrypt(&self.at(&path), key).await?;
            self.store_body(&path, &mut body).await
        };
        let encrypted = encrypt.await;
        self.close(handle).await?;
        encrypted
    }

    /// Changes what a file says of itself, or how long it is.
    pub(super) async fn change(
        &self,
        number: u64,
        size: Option<u64>,
        modified_ns: Option<u64>,
        executable: Option<bool>,
    ) -> Result<Seen, Trouble> {
        let seen = self.look(number).await?;
        // Folders have neither; whoever owns them is who mounted.
        if seen.folder || (size.is_none() && modified_ns.is_none() && executable.is_none()) {
            return Ok(seen);
        }
        let handle = self.open(number, true, false).await?;
        let changed = async {
            let (path, body) = self.opened(handle)?;
            let mut body = body.lock().await;
            if let Some(size) = size {
                body.set_size(&self.at(&path), size).await?;
            }
            body.say(modified_ns, executable)?;
            // What others write to goes to the hub when they close it.
            if body.handles == 1 { self.store_body(&path, &mut body).await } else { Ok(()) }
        };
        let changed = changed.await;
        let seen = self.look(number).await;
        self.close(handle).await?;
        changed.and(seen)
    }

    /// Makes a folder.
    pub(super) async fn make_folder(&self, folder: u64, name: &str) -> Result<Seen, Trouble> {
        let path = self.changeable(folder, name)?;
        if self.look_in(folder, name).await.is_ok() {
            return Err(Trouble::Exists);
        }
        let entry = self.client.make_folder(&self.space, path, None).await?;
        let number = held(&self.tree).number(folder, name);
        self.note(number, entry);
        self.look(number).await
    }

    /// Removes a file, or a folder in which nothing lies.
    pub(super) async fn remove(&self, folder: u64, name: &str, is_folder: bool) -> Result<(), Trouble> {
        let path = self.changeable(folder, name)?;
        let known = held(&self.tree).known(folder, name);
        let seen = self.look_in(folder, name).await;
        if seen.as_ref().is_ok_and(|seen| seen.folder != is_folder) {
            return Err(if is_folder { Trouble::NotAFolder } else { Trouble::IsFolder });
        }
        if let Ok(seen) = &seen {
            self.replaceable(seen.number).await?;
        }
        let kept = match &seen {
            Ok(seen) if !seen.folder => self.kept(seen.number).await?,
            _ => Ok(None),
        };
        let removed = self.remove_path(path.clone()).await;
        let new = known.and_then(|number| self.body(number)).is_some();
        match removed {
            // A folder goes with the last thing in it, and a file that was not stored yet is nowhere else.
            Err(Trouble::Missing) if new || (is_folder && known.is_some()) => {}
            removed => removed?,
        }
        self.surroundings.leave(path, kept);
        if let Some(number) = known {
            held(&self.said).remove(&number);
        }
        held(&self.tree).remove(folder, name);
        self.keep(folder).await
    }

    /// What somebody else put in place of an open file is not removed with it, nor replaced: nobody here has seen it.
    async fn replaceable(&self, number: u64) -> Result<(), Trouble> {
        match self.body(number) {
            Some(body) => body.lock().await.changeable(),
            None => Ok(()),
        }
    }

    /// A folder stays when the last thing in it went, as programs expect.
    async fn keep(&self, folder: u64) -> Result<(), Trouble> {
        let Some(path) = held(&self.tree).path(folder).filter(|_| folder != ROOT) else { return Ok(()) };
        match self.client.find_file(&self.space, &path).await {
            Err(error) if error.code() == Some("no_file") => {
                self.client.make_folder(&self.space, path, None).await?;
                Ok(())
            }
            found => Ok(found.map(drop)?),
        }
    }

    async fn remove_path(&self, path: FilePath) -> Result<(), Trouble> {
        let what = RemoveFiles { paths: vec![path], recursive: false, forever: false };
        let removed = self.client.remove_files(&self.space, &what, None).await?;
        match removed.results.into_iter().next().and_then(|result| result.error) {
            Some(error) => Err(Trouble::of_code(&error.code)),
            None => Ok(()),
        }
    }

    /// Moves a file or folder.
    pub(super) async fn rename(
        &self,
        from: (u64, &str),
        to: (u64, &str),
        replace: bool,
    ) -> Result<(), Trouble> {
        let (path, target) = (self.changeable(from.0, from.1)?, self.changeable(to.0, to.1)?);
        let seen = self.look_in(from.0, from.1).await?;
        let there = match self.look_in(to.0, to.1).await {
            Ok(_) if !replace => return Err(Trouble::Exists),
            Ok(there) => Some(there),
            Err(Trouble::Missing) => None,
            Err(trouble) => return Err(trouble),
        };
        if let Some(there) = &there {
            self.replaceable(there.number).await?;
        }
        let mut kept = Ok(None);
        if !seen.folder {
            self.keep_key(&seen, there.as_ref(), &target).await?;
            kept = self.kept(seen.number).await?;
        }
        if let Some(there) = there.filter(|there| there.folder) {
            if !seen.folder {
                return Err(Trouble::IsFolder);
            }
            if there.number == seen.number {
                return Ok(());
            }
            self.remove(to.0, to.1, true).await?;
        }
        if let Some(body) = self.body(seen.number) {
            let mut body = body.lock().await;
            // So that there is something to be moved.
            self.store_body(&path, &mut body).await?;
            body.changeable()?;
        }
        let what = MoveFile { from: path.clone(), to: target, replace };
        self.client.move_file(&self.space, &what, None).await?;
        held(&self.tree).rename(from, to);
        held(&self.said).clear();
        // Which keys lie in a folder does not change with a file that has none: programs save every file by moving it.
        let is_plain = !seen.folder && matches!(kept, Ok(None));
        self.surroundings.leave(path, kept);
        if !is_plain {
            self.surroundings.moved();
        }
        self.keep(from.0).await
    }

    /// Opens a file; the number of the handle.
    pub(super) async fn open(&self, number: u64, writes: bool, truncate: bool) -> Result<u64, Trouble> {
        if writes && self.read_only {
            return Err(Trouble::NotAllowed);
        }
        let path = held(&self.tree).path(number).ok_or(Trouble::Missing)?;
        let body = match self.body(number) {
            Some(body) => body,
            None => {
                let entry = self.client.find_file(&self.space, &path).await?;
                let version = entry.file.clone().ok_or(Trouble::IsFolder)?;
                let ciphers = self.ciphers_of(&path, &version)?;
                self.note(number, entry);
                // Somebody else may have opened it just now.
                let new = Arc::new(tokio::sync::Mutex::new(Body::of(version, ciphers)));
                held(&self.bodies).entry(number).or_insert(new).clone()
            }
        };
        if truncate {
            body.lock().await.set_size(&self.at(&path), 0).await?;
        }
        Ok(self.handle(number, body).await)
    }

    /// Makes a file; the number of the handle.
    pub(super) async fn create(
        &self,
        folder: u64,
        name: &str,
        executable: bool,
    ) -> Result<(Seen, u64), Trouble> {
        let path = self.changeable(folder, name)?;
        if let Ok(seen) = self.look_in(folder, name).await {
            // Another program was quicker.
            let handle = self.open(seen.number, true, true).await?;
            return Ok((self.look(seen.number).await?, handle));
        }
        let key = self.new_key(folder, &path).await?;
        if key.is_some() {
            // It is not on the hub yet, and what is made beside it meanwhile may be of it.
            self.surroundings.note(folder, key.clone(), Duration::ZERO);
        }
        let number = held(&self.tree).number(folder, name);
        let body = Arc::new(tokio::sync::Mutex::new(Body::empty(executable, key)?));
        held(&self.bodies).insert(number, body.clone());
        let handle = self.handle(number, body).await;
        Ok((self.look(number).await?, handle))
    }

    async fn handle(&self, number: u64, body: SharedBody) -> u64 {
        body.lock().await.handles += 1;
        let handle = self.next.fetch_add(1, Ordering::Relaxed);
        held(&self.handles).insert(handle, (number, body));
        handle
    }

    /// Some bytes of an open file.
    pub(super) async fn read(&self, handle: u64, offset: u64, length: usize) -> Result<Bytes, Trouble> {
        let (path, body) = self.opened(handle)?;
        let mut body = body.lock().await;
        body.read(&self.at(&path), offset, length).await
    }

    /// Changes some bytes of an open file.
    pub(super) async fn write(&self, handle: u64, offset: u64, bytes: &[u8]) -> Result<(), Trouble> {
        if self.read_only {
            return Err(Trouble::NotAllowed);
        }
        let (path, body) = self.opened(handle)?;
        let mut body = body.lock().await;
        body.write(&self.at(&path), offset, bytes).await
    }

    /// Gives the hub what it lacks of an open file.
    pub(super) async fn store(&self, handle: u64) -> Result<(), Trouble> {
        let (number, body) = held(&self.handles).get(&handle).cloned().ok_or(Trouble::Io)?;
        // What was removed while it was open goes nowhere.
        let Some(path) = held(&self.tree).path(number) else { return Ok(()) };
        held(&self.said).remove(&number);
        self.store_body(&path, &mut *body.lock().await).await
    }

    async fn store_body(&self, path: &FilePath, body: &mut Body) -> Result<(), Trouble> {
        match body.store(&self.at(path)).await {
            Ok(None) => Ok(()),
            Ok(Some(other)) => {
                self.out
                    .warn(&format!("{path} was changed by somebody else: what was written here is {other}"));
                Ok(())
            }
            Err(trouble) => {
                self.out.warn(&format!("cannot store {path}: {trouble}"));
                Err(trouble)
            }
        }
    }

    /// A handle is closed; the last one takes the content along.
    pub(super) async fn close(&self, handle: u64) -> Result<(), Trouble> {
        let stored = self.store(handle).await;
        let Some((number, body)) = held(&self.handles).remove(&handle) else { return stored };
        let mut body = body.lock().await;
        body.handles = body.handles.saturating_sub(1);
        if body.handles == 0 {
            held(&self.bodies).remove(&number);
            held(&self.said).remove(&number);
        }
        stored
    }

    /// Gives the hub all that it lacks; whether that went well.
    pub(super) async fn store_all(&self) -> bool {
        let handles: Vec<u64> = held(&self.handles).keys().copied().collect();
        let mut well = true;
        for handle in handles {
            well &= self.store(handle).await.is_ok();
        }
        well
    }

    /// Lists a folder as it is now; the number of the handle.
    pub(super) async fn open_folder(&self, number: u64) -> Result<u64, Trouble> {
        let path = held(&self.tree).path(number).ok_or(Trouble::Missing)?;
        let mut listed = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let (entries, next) = self.page(&path, after.as_deref()).await?;
            for entry in entries {
                let Some(name) = entry.path.name().map(str::to_owned) else { continue };
                let is_folder = entry.folder.is_some();
                let child = held(&self.tree).number(number, &name);
                self.note(child, entry);
                listed.push((child, is_folder, name));
            }
            after = next;
            if after.is_none() {
                break;
            }
        }
        self.add_new(number, &mut listed).await;
        let handle = self.next.fetch_add(1, Ordering::Relaxed);
        held(&self.folders).insert(handle, Arc::new(listed));
        Ok(handle)
    }

    /// Some of what lies in a folder, and where the rest begins.
    async fn page(
        &self,
        path: &FilePath,
        after: Option<&str>,
    ) -> Result<(Vec<Entry>, Option<String>), Trouble> {
        match self.client.list_folder(&self.space, path, ListOf { after, limit: None }).await {
            Ok(page) => Ok((page.entries, page.next)),
            // A mounted folder that nothing lies in yet.
            Err(error) if error.code() == Some("no_file") => Ok((Vec::new(), None)),
            Err(error) => Err(error.into()),
        }
    }

    /// Files that the hub does not have yet are listed, too.
    async fn add_new(&self, folder: u64, listed: &mut Listed) {
        let bodies: Vec<_> =
            held(&self.bodies).iter().map(|(number, body)| (*number, body.clone())).collect();
        for (number, body) in bodies {
            if body.lock().await.version.is_some() || listed.iter().any(|(other, ..)| *other == number) {
                continue;
            }
            if let Some((parent, name)) = held(&self.tree).place(number)
                && parent == folder
            {
                listed.push((number, false, name));
            }
        }
    }

    /// What was listed.
    pub(super) fn folder(&self, handle: u64) -> Arc<Listed> {
        held(&self.folders).get(&handle).cloned().unwrap_or_default()
    }

    /// Forgets what was listed.
    pub(super) fn close_folder(&self, handle: u64) {
        held(&self.folders).remove(&handle);
    }

    /// Bytes that the space can hold, and that it holds.
    pub(super) async fn room(&self) -> Result<(u64, u64), Trouble> {
        let space = self.client.space(&self.space).await?;
        Ok((space.quota_bytes, space.used_bytes))
    }

    /// The path of something that is to be changed.
    fn changeable(&self, folder: u64, name: &str) -> Result<FilePath, Trouble> {
        if self.read_only {
            return Err(Trouble::NotAllowed);
        }
        held(&self.tree).path_in(folder, name).ok_or(Trouble::BadName)
    }

    fn at<'a>(&'a self, path: &'a FilePath) -> At<'a> {
        At { client: &self.client, space: &self.space, path }
    }

    fn body(&self, number: u64) -> Option<SharedBody> {
        held(&self.bodies).get(&number).cloned()
    }

    /// An open file, and where it lies or lay.
    fn opened(&self, handle: u64) -> Result<(FilePath, SharedBody), Trouble> {
        let (number, body) = held(&self.handles).get(&handle).cloned().ok_or(Trouble::Io)?;
        Ok((held(&self.tree).path(number).unwrap_or_default(), body))
    }

    /// What the hub says of a number.
    async fn entry(&self, number: u64) -> Result<Entry, Trouble> {
        if let Some(entry) = self.fresh(number) {
            return Ok(entry);
        }
        let path = held(&self.tree).path(number).ok_or(Trouble::Missing)?;
        let found = self.client.find_file(&self.space, &path).await;
        match found {
            Ok(entry) => {
                self.note(number, entry.clone());
                Ok(entry)
            }
            // The folder that is mounted is there even when nothing lies in it.
            Err(error) if number == ROOT && error.code() == Some("no_file") => Ok(Entry {
                id: Default::default(),
                path,
                changed_ms: 0,
                file: None,
                folder: Some(Default::default()),
            }),
            Err(error) => Err(error.into()),
        }
    }

    fn fresh(&self, number: u64) -> Option<Entry> {
        let said = held(&self.said);
        said.get(&number).filter(|(_, when)| when.elapsed() < BELIEVED).map(|(entry, _)| entry.clone())
    }

    fn note(&self, number: u64, entry: Entry) {
        held(&self.said).insert(number, (entry, Instant::now()));
    }
}

pub(super) fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
