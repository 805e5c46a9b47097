//! Which results may be believed, who may be paid for them and who may be caught, by what machines really said.
//!
//! The rules, with `quorum` as the job says it:
//!
//! 1. A job with a quorum of 2 or more, or without hidden checks, accepts a wrong result only if at least
//!    `quorum` owners said the same wrong thing.
//! 2. A job with hidden checks and a quorum of 1 accepts a wrong result only if two owners said the same wrong
//!    thing; or if one did that was trusted when it said so, or ordered the job itself, and nobody said the
//!    truth in a run that counted and was not taken back. So what somebody honest checked never stands.
//! 3. That one, unless an operator answers for it, is not paid for it before its owner was confirmed in
//!    something else or two check windows passed.
//! 4. Only an owner that said something wrong is caught, unless owners said the same wrong thing together.
//! 5. Whoever is caught is paid nothing more by jobs with hidden checks until an operator vouches for it.

use std::collections::{BTreeMap, BTreeSet};

use pumasi_core::{Action, Checks, Done, Job, Owner, Request, RunReport, Standing, State, Transfer};
use pumasi_core::{Answer, Command};
use pumasi_types::{AccountId, Ending, Hash, JobId, RunId, TaskIndex, Time};

use crate::oracle::{Finding, Holds, require};

/// A task of a job.
type Place = (JobId, TaskIndex);

/// A wrong result that one trusted owner is believed.
#[derive(Clone, Copy, Debug)]
struct Provisional {
    owner: AccountId,
    vouched: bool,
    /// How often others had confirmed its owner before.
    agreed: u64,
    at: Time,
}

/// An owner's record before an entry.
#[derive(Clone, Copy, Debug, Default)]
struct Before {
    trusted: bool,
    vouched: bool,
    agreed: u64,
}

/// What machines said, and what came of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Judge {
    /// Wrong findings of a task of the job with this seed, and which owners said them.
    lies: BTreeMap<(u64, u32, Finding), BTreeSet<AccountId>>,
    /// Findings that owners made up without knowing the task.
    forged: BTreeMap<Finding, BTreeSet<AccountId>>,
    /// Who ever said something wrong.
    liars: BTreeSet<AccountId>,
    /// Whether two owners ever said the same wrong thing.
    collusion: bool,
    /// Which task a run is of.
    runs: BTreeMap<RunId, Place>,
    /// Who said the truth of a task, in a run that counted.
    truthful: BTreeMap<Place, BTreeSet<AccountId>>,
    provisional: BTreeMap<Place, Provisional>,
    /// Who was caught before the entry that is followed.
    caught: BTreeSet<AccountId>,
    /// Who was proven before the entry that is followed.
    proven: BTreeSet<AccountId>,
    /// Whose findings were taken back ever: whoever was caught, or was proven and had to begin anew.
    discounted: BTreeSet<AccountId>,
    /// How many tasks got a wrong result because enough owners said it.
    pub(crate) deceived: BTreeSet<Place>,
    /// How many wrong results of one trusted owner were believed.
    pub(crate) believed: u64,
    /// Whose wrong results were accepted or believed.
    pub(crate) winners: BTreeSet<AccountId>,
    /// How often an owner was caught.
    pub(crate) catches: u64,
}

/// Records of whoever reports in an entry, before it is applied.
#[derive(Default)]
pub(crate) struct Records(BTreeMap<AccountId, Before>);

impl Records {
    /// The records of whoever reports in these requests.
    pub(crate) fn of(state: &State, requests: &[Request]) -> Records {
        let callers = requests.iter().filter_map(|request| match request.command {
            Command::Report { .. } => Some(request.caller),
            _ => None,
        });
        Records(callers.map(|caller| (caller, record(state, caller))).collect())
    }
}

fn record(state: &State, owner: AccountId) -> Before {
    state.owner(owner).map_or_else(Before::default, |owner| Before {
        trusted: owner.is_trusted(),
        vouched: owner.is_vouched(),
        agreed: owner.agreed,
    })
}

/// Whether one owner may decide a task of this job.
fn is_checked(job: &Job) -> bool {
    job.spec.quorum == 1 && job.spec.checks == Checks::Hidden
}

impl Judge {
    /// An owner's machine said what is not true of a task of the job with this seed.
    pub(crate) fn lie(&mut self, job: u64, task: u32, finding: Finding, owner: AccountId) {
        let liars = self.lies.entry((job, task, finding)).or_default();
        liars.insert(owner);
        self.collusion |= liars.len() > 1;
        self.liars.insert(owner);
    }

    /// An owner's machine made a finding up.
    pub(crate) fn forge(&mut self, finding: Finding, owner: AccountId) {
        self.forged.entry(finding).or_default().insert(owner);
        self.liars.insert(owner);
    }

    /// Who said this wrong finding of a task.
    fn who_said(&self, seed: u64, task: TaskIndex, finding: Finding) -> BTreeSet<AccountId> {
        let lied = self.lies.get(&(seed, task.0, finding)).into_iter().flatten();
        lied.chain(self.forged.get(&finding).into_iter().flatten()).copied().collect()
    }

    /// Runs were given out.
    pub(crate) fn assigned(&mut self, actions: &[Action]) {
        for action in actions {
            if let Action::Assign { job, runs, .. } = action {
                self.runs.extend(runs.iter().map(|run| (run.run, (*job, run.task))));
            }
        }
    }

    /// Reports were applied.
    pub(crate) fn reported(
        &mut self,
        state: &State,
        before: &Records,
        (request, answer): (&Request, &Answer),
        truth: &dyn Fn(u64, u32) -> Finding,
    ) -> Holds {
        let (Command::Report { runs, .. }, Ok(Done::Reported { refused })) = (&request.command, answer)
        else {
            return Ok(());
        };
        for report in runs {
            let Some(place) = self.runs.remove(&report.run) else { continue };
            if refused.contains(&report.run) || !report.ending.is_deterministic() {
                continue;
            }
            self.counted(state, before, (request.caller, place), report, truth)?;
        }
        Ok(())
    }

    /// A report counted: what its task became may be wrong only as the rules say.
    fn counted(
        &mut self,
        state: &State,
        before: &Records,
        (owner, place): (AccountId, Place),
        report: &RunReport,
        truth: &dyn Fn(u64, u32) -> Finding,
    ) -> Holds {
        let Some(job) = state.job(place.0) else { return Ok(()) };
        let true_finding = truth(job.spec.seed, place.1.0);
        let said = (report.ending.to_code(), report.fuel.0, report.result);
        if is_checked(job) && said == true_finding {
            self.truthful.entry(place).or_default().insert(owner);
        }
        let Some(accepted) = accepted(job, place.1).filter(|accepted| *accepted != true_finding) else {
            self.provisional.remove(&place);
            return Ok(());
        };
        let liars = self.who_said(job.spec.seed, place.1, accepted);
        self.judge(job, place, &liars)?;
        if is_checked(job) && liars.len() == 1 && owner != job.owner {
            let (before, after) = (before.0.get(&owner).copied().unwrap_or_default(), record(state, owner));
            require(before.trusted || after.trusted, || {
                format!(
                    "task {} of job {} has a wrong result on the word of account {owner} alone, which is not \
                     trusted",
                    place.1, place.0
                )
            })?;
            self.believed += 1;
            self.winners.insert(owner);
            let vouched = before.vouched || after.vouched;
            let provisional = Provisional { owner, vouched, agreed: before.agreed, at: state.now() };
            self.provisional.insert(place, provisional);
        }
        Ok(())
    }

    /// Rules 1 and 2, as far as they hold at any time, for a task whose result is wrong.
    fn judge(&mut self, job: &Job, place: Place, liars: &BTreeSet<AccountId>) -> Holds {
        let needs = if is_checked(job) { 2 } else { usize::from(job.spec.quorum) };
        if liars.len() >= needs {
            self.deceived.insert(place);
            self.winners.extend(liars);
            return Ok(());
        }
        require(is_checked(job) && !liars.is_empty(), || {
            format!(
                "job {} accepted a wrong result of task {} that {} of {needs} owners agreed on",
                place.0,
                place.1,
                liars.len()
            )
        })?;
        let truthful = self.truthful.get(&place).into_iter().flatten();
        let honest = truthful.copied().find(|owner| !self.discounted.contains(owner));
        require(honest.is_none(), || {
            format!(
                "task {} of job {} has the wrong result of one owner, though account {honest:?} found the truth",
                place.1, place.0
            )
        })
    }

    /// Every decided task of a state, and every deadline.
    pub(crate) fn judge_all(&mut self, state: &State, truth: &dyn Fn(u64, u32) -> Finding) -> Holds {
        for (id, job) in state.jobs() {
            let deadline = job.spec.deadline.filter(|_| job.outcome().is_none());
            require(deadline.is_none_or(|at| at > state.now()), || {
                format!("job {id} outlives its deadline")
            })?;
            for task in job.spec.task_indices() {
                let Some(accepted) = accepted(job, task) else { continue };
                if accepted != truth(job.spec.seed, task.0) {
                    let liars = self.who_said(job.spec.seed, task, accepted);
                    self.judge(job, (*id, task), &liars)?;
                }
            }
        }
        Ok(())
    }

    /// A run was paid for in an entry that was just applied.
    pub(crate) fn paid(&mut self, state: &State, transfer: &Transfer, place: Place) -> Holds {
        let Some(job) = state.job(place.0) else { return Ok(()) };
        let payee = transfer.payee;
        let is_caught = |owner: &Owner| owner.standing == Standing::Caught;
        let caught = self.caught.contains(&payee) && state.owner(payee).is_some_and(is_caught);
        require(!caught || job.spec.checks == Checks::Off, || {
            format!("account {payee} was paid for task {} of job {} after it was caught", place.1, place.0)
        })?;
        let Some(it) = self.provisional.get(&place).filter(|it| it.owner == payee && !it.vouched) else {
            return Ok(());
        };
        let confirmed = state.owner(payee).is_some_and(|owner| owner.agreed > it.agreed);
        let waited = it.at.after(Owner::CHECK_WINDOW).after(Owner::CHECK_WINDOW) <= state.now();
        require(confirmed || waited, || {
            format!(
                "account {payee} was paid for its wrong result of task {} of job {} before any check",
                place.1, place.0
            )
        })
    }

    /// Rule 4, after an entry.
    pub(crate) fn standings(&mut self, state: &State) -> Holds {
        for (id, owner) in state.owners() {
            let was_proven = self.proven.remove(id);
            match owner.standing {
                Standing::Proven => {
                    self.proven.insert(*id);
                }
                Standing::New if was_proven => {
                    self.discounted.insert(*id);
                }
                _ => {}
            }
            if owner.standing != Standing::Caught {
                self.caught.remove(id);
                continue;
            }
            if !self.caught.insert(*id) {
                continue;
            }
            self.discounted.insert(*id);
            self.catches += 1;
            require(self.collusion || self.liars.contains(id), || {
                format!("account {id} was caught and had said nothing wrong")
            })?;
        }
        Ok(())
    }

    /// How many wrong results of one owner's word stand.
    pub(crate) fn standing_lies(&self, state: &State, truth: &dyn Fn(u64, u32) -> Finding) -> u64 {
        let stands = |place: &&Place| {
            let found = state.job(place.0).and_then(|job| Some((job.spec.seed, accepted(job, place.1)?)));
            found.is_some_and(|(seed, accepted)| accepted != truth(seed, place.1.0))
        };
        self.provisional.keys().filter(stands).count() as u64
    }
}

/// What a task was decided to result in; none when it is open or was given up.
fn accepted(job: &Job, task: TaskIndex) -> Option<(u64, u64, Hash)> {
    let record = job.task(task)?;
    let ending = record.ending.filter(|ending: &Ending| ending.is_deterministic())?;
    Some((ending.to_code(), record.fuel.0, record.result))
}
