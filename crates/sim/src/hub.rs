//! The hub of a world: a real cell on a simulated disk, and the gateways' part in between.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use pumasi_api::link::{FromHub, FromWorker};
use pumasi_cell::link::{self, Heard};
use pumasi_cell::{Batch, Cell, CellFailure, Derived, Outlet, Restored, restore};
use pumasi_core::{Answer, Command, Done, Request, State};
use pumasi_log::{FileLog, FileLogOptions, Head, SnapshotStore};
use pumasi_types::{AccountId, CellId, Duration, Hash, JobId, RunId, Time, WorkerId};

use crate::disk::SimDisk;
use crate::sabotage::Sabotage;
use crate::tap::{TapLog, Tapped};

/// Heartbeats come three times in it.
pub(crate) const LEASE: Duration = Duration::from_secs(30);
/// How long a worker may be away before its runs go to others.
pub(crate) const GRACE: Duration = Duration::from_secs(15);

/// A link, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LinkNumber(pub(crate) u64);

/// Which attempt of a client waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attempt {
    pub(crate) client: usize,
    /// Which of its requests.
    pub(crate) request: u64,
}

/// Who waits for an answer.
#[derive(Debug)]
pub(crate) enum Reply {
    /// A client.
    Client(Attempt),
    /// A link whose worker said hello.
    Attach(LinkNumber),
    /// A link whose worker reported.
    Report(LinkNumber, u64),
    /// A link whose worker said something else.
    Status(LinkNumber),
    /// The hub itself.
    Own,
    /// The hub itself, which may be refused: of what it fetches, which nobody may want any more, and of visitors.
    Try,
}

/// What leaves the cell.
#[derive(Debug)]
pub(crate) enum Out {
    Answer(Reply, Answer),
    Message(LinkNumber, FromHub),
    Over(Attempt, JobId),
}

/// The cell's end of a link; says when the cell drops it.
pub(crate) struct End {
    number: LinkNumber,
    cut: Rc<RefCell<Vec<LinkNumber>>>,
}

impl Drop for End {
    fn drop(&mut self) {
        self.cut.borrow_mut().push(self.number);
    }
}

/// Gathers what leaves the cell.
#[derive(Default)]
pub(crate) struct Post {
    out: Vec<Out>,
}

impl Outlet for Post {
    type Reply = Reply;
    type Link = End;
    type Waiter = (Attempt, JobId);

    fn answer(&mut self, reply: Reply, answer: Answer) {
        self.out.push(Out::Answer(reply, answer));
    }

    fn send(&mut self, link: &End, message: FromHub) -> bool {
        self.out.push(Out::Message(link.number, message));
        true
    }

    fn over(&mut self, (attempt, job): (Attempt, JobId)) {
        self.out.push(Out::Over(attempt, job));
    }
}

/// What the gateway knows of a link.
#[derive(Clone, Copy, Debug)]
struct Session {
    owner: AccountId,
    /// Which worker it is and the number of its link in the state, once attached.
    attached: Option<(WorkerId, u64)>,
    /// Whether it said hello.
    greeted: bool,
    /// When it last said something.
    heard: u64,
}

/// Why a hub ends a link.
pub(crate) type Ended = &'static str;

/// A hub's process.
pub(crate) struct Hub {
    pub(crate) cell: Cell<TapLog, Post>,
    inbox: Batch<Post>,
    pub(crate) is_asked: bool,
    post: Post,
    sessions: BTreeMap<LinkNumber, Session>,
    cut: Rc<RefCell<Vec<LinkNumber>>>,
    sabotage: Option<Sabotage>,
    /// How often it was started before.
    starts: u64,
}

/// What a link's end means for the state.
pub(crate) struct Gone {
    pub(crate) worker: WorkerId,
    pub(crate) link: u64,
}

/// Opens what a disk holds.
pub(crate) fn open(
    disk: &SimDisk,
    segment_bytes: u64,
) -> Result<(Restored<FileLog>, Vec<pumasi_log::Note>), CellFailure> {
    let process = disk.process();
    let options = FileLogOptions { cell: CellId(0), segment_bytes, background: false };
    let opened = FileLog::open_on(Arc::clone(&process), Path::new("/hub/log"), options)?;
    let snapshots = SnapshotStore::open_on(Arc::clone(&process), Path::new("/hub/snapshots"))?;
    let derived = Derived::open_on(&*process, Path::new("/hub"))?;
    Ok((restore(opened.log, snapshots, derived)?, opened.notes))
}

impl Hub {
    /// Goes on from what was restored.
    pub(crate) fn start(
        restored: Restored<FileLog>,
        tapped: Tapped,
        sabotage: Option<Sabotage>,
        starts: u64,
    ) -> Hub {
        let Restored { log, state, derived, snapshots, snapshot, replayed, notes } = restored;
        let log = TapLog::new(log, tapped, sabotage);
        let restored = Restored { log, state, derived, snapshots, snapshot, replayed, notes };
        let mut hub = Hub {
            cell: Cell::new(restored, LEASE),
            inbox: Batch::default(),
            is_asked: false,
            post: Post::default(),
            sessions: BTreeMap::new(),
            cut: Rc::default(),
            sabotage,
            starts,
        };
        hub.tell(Command::Start);
        hub
    }

    /// Workers that have runs, with their links: they get a grace to come back after a start.
    pub(crate) fn busy(&self) -> Vec<Gone> {
        let busy = self.cell.state().workers().filter(|(_, worker)| worker.running() > 0);
        busy.map(|(worker, record)| Gone { worker, link: record.link }).collect()
    }

    /// A command of the hub itself.
    pub(crate) fn tell(&mut self, command: Command) {
        self.ask(Request { caller: State::SYSTEM, id: None, command }, Reply::Own);
    }

    /// A command of the hub itself that may be refused.
    pub(crate) fn attempt(&mut self, command: Command) {
        self.ask(Request { caller: State::SYSTEM, id: None, command }, Reply::Try);
    }

    /// Whether it is broken in this way, and not only started for the first time.
    pub(crate) fn breaks_late(&self, way: Sabotage) -> bool {
        self.sabotage == Some(way) && self.starts > 0
    }

    pub(crate) fn ask(&mut self, mut request: Request, reply: Reply) {
        if self.breaks_late(Sabotage::ForgetsRequests) {
            request.id = None;
        }
        match &mut request.command {
            Command::SubmitJob(spec) if self.sabotage == Some(Sabotage::FirstResult) => {
                Arc::make_mut(spec).quorum = 1;
            }
            Command::Report { runs, .. } if self.sabotage == Some(Sabotage::MixesRuns) => {
                let last = runs.last().map(|run| run.result);
                for run in runs {
                    run.result = last.unwrap_or(run.result);
                }
            }
            Command::Transfer { .. } if self.sabotage == Some(Sabotage::SendsTwice) => {
                let again = Request { id: None, ..request.clone() };
                self.inbox.ask(again, Reply::Status(LinkNumber(0)));
            }
            _ => {}
        }
        self.is_asked = true;
        self.inbox.ask(request, reply);
    }

    pub(crate) fn wait_for(&mut self, job: JobId, attempt: Attempt) {
        self.is_asked = true;
        self.inbox.wait_for(job, (attempt, job));
    }

    /// One step of the cell with all that was asked for.
    pub(crate) fn step(
        &mut self,
        clock: Time,
        seed: &mut dyn FnMut() -> u128,
    ) -> Result<Vec<Out>, CellFailure> {
        self.is_asked = false;
        let mut batch = std::mem::take(&mut self.inbox);
        self.cell.step(clock, seed, &mut batch, &mut self.post)?;
        Ok(std::mem::take(&mut self.post.out))
    }

    /// A worker of `owner` opened a link.
    pub(crate) fn opened(&mut self, now: u64, number: LinkNumber, owner: AccountId) {
        let session = Session { owner, attached: None, greeted: false, heard: now };
        self.sessions.insert(number, session);
    }

    /// When a link was last heard of.
    pub(crate) fn heard(&self, number: LinkNumber) -> Option<u64> {
        self.sessions.get(&number).map(|session| session.heard)
    }

    /// A worker says something on its link; why the link has to end, if so.
    pub(crate) fn hear(
        &mut self,
        now: u64,
        number: LinkNumber,
        message: FromWorker,
        blobs: &mut BTreeSet<Hash>,
        doubted: &mut Vec<RunId>,
    ) -> Result<(), Ended> {
        let Some(session) = self.sessions.get_mut(&number) else { return Ok(()) };
        session.heard = now;
        let owner = session.owner;
        if !std::mem::replace(&mut session.greeted, true) {
            let request = link::hello(owner, message).map_err(|_| "a bad hello")?;
            self.is_asked = true;
            let end = End { number, cut: Rc::clone(&self.cut) };
            self.inbox.attach(request, end, Reply::Attach(number));
            return Ok(());
        }
        // The hub reads on only when the hello is durable; a worker does not speak before its welcome.
        let Some((worker, _)) = session.attached else { return Err("spoke before the welcome") };
        match link::hear(owner, worker, message).map_err(|_| "a bad message")? {
            Heard::Heartbeat => {}
            Heard::Ask(request) => self.ask(request, Reply::Status(number)),
            Heard::Report(mut report) => {
                let stored: Vec<Hash> = report.carried().map(|output| Hash::of(output)).collect();
                blobs.extend(&stored);
                doubted.extend(report.doubt(stored, |_, hash| blobs.contains(hash)));
                let id = report.id;
                self.ask(report.request(owner, worker), Reply::Report(number, id));
            }
        }
        Ok(())
    }

    /// A hello was answered; whether the link goes on.
    pub(crate) fn attached(&mut self, number: LinkNumber, answer: &Answer) -> bool {
        let Ok(Done::Attached { worker, link, .. }) = answer else { return false };
        match self.sessions.get_mut(&number) {
            Some(session) => session.attached = Some((*worker, *link)),
            // The link ended while its hello was on the way to the log.
            None => self.tell(Command::DetachWorker { worker: *worker, link: *link }),
        }
        true
    }

    /// A link ended on this side; the worker that has to be given up after a grace.
    pub(crate) fn ended(&mut self, number: LinkNumber) -> Option<Gone> {
        let (worker, link) = self.sessions.remove(&number)?.attached?;
        self.tell(Command::DetachWorker { worker, link });
        Some(Gone { worker, link })
    }

    /// Links that the cell cut off since the last time.
    pub(crate) fn cut_off(&mut self) -> Vec<LinkNumber> {
        let cut = std::mem::take(&mut *self.cut.borrow_mut());
        cut.into_iter().filter(|number| self.sessions.contains_key(number)).collect()
    }

    /// Makes a snapshot when `every` bytes were logged, and trims the log behind it if `trim`.
    pub(crate) fn keep_house(&mut self, every: u64, trim: bool) -> Result<Option<Head>, CellFailure> {
        let Some(work) = self.cell.due_snapshot(every)? else { return Ok(None) };
        let made = work.run();
        self.cell.snapshot_done(made.as_ref().ok().map(|(head, _)| *head));
        let (head, _) = made?;
        if trim {
            self.cell.trim()?;
        }
        Ok(Some(head))
    }
}
