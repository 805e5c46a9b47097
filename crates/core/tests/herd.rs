//! What is too much for one entry goes on in the next ones: nobody is forgotten and nothing is done twice.

#[path = "common/mod.rs"]
mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use common::{BEGIN, ask, job, machine, open, success};
use pumasi_core::{
    Action, Applied, Checks, Command, Done, Owner, Request, Role, STATE_VERSION, State, decode_state,
    encode_state,
};
use pumasi_types::{AccountId, Amount, Currency, Duration, Hash, JobId, RunId, Time, WorkerId};

const RESEARCHER: AccountId = AccountId(1);
/// The only owner; for what follows it does not matter whose the machines are.
const OWNER: AccountId = AccountId(2);
const WORKERS: u64 = 4_000;

/// The state, and the runs that each worker has.
struct Herd {
    state: State,
    now: Time,
    hands: BTreeMap<WorkerId, BTreeSet<RunId>>,
}

impl Herd {
    /// Many idle machines.
    fn new() -> Herd {
        let mut herd = Herd { state: State::new(), now: BEGIN, hands: BTreeMap::new() };
        let issue = Command::Issue { to: RESEARCHER, currency: Currency::CREDIT, amount: Amount(1 << 60) };
        let mut requests = vec![
            ask(State::SYSTEM, open("ann", &[Role::Researcher])),
            ask(State::SYSTEM, open("bob", &[Role::Owner])),
            ask(State::SYSTEM, issue),
        ];
        let attach = |key| ask(OWNER, Command::AttachWorker(machine(u128::from(key), 4)));
        requests.extend((0..WORKERS).map(attach));
        herd.apply(&requests);
        assert!(!herd.state.is_behind(), "nothing is there to give out");
        herd
    }

    /// Applies an entry, and the same to the state as a snapshot would restore it.
    fn apply(&mut self, requests: &[Request]) -> Applied {
        let mut twin = decode_state(STATE_VERSION, &encode_state(&self.state)).expect("encoded here");
        let applied = self.state.apply(self.now, requests);
        assert_eq!(applied, twin.apply(self.now, requests), "a snapshot in between changes nothing");
        assert!(applied.answers.iter().all(Result::is_ok));
        for action in &applied.effects.actions {
            match action {
                Action::Assign { worker, runs, .. } => {
                    let hand = self.hands.entry(*worker).or_default();
                    runs.iter().for_each(|run| assert!(hand.insert(run.run), "run {} twice", run.run));
                }
                Action::Stop { worker, runs } => {
                    let hand = self.hands.entry(*worker).or_default();
                    runs.iter().for_each(|run| assert!(hand.remove(run), "run {} was not there", run));
                }
                _ => {}
            }
        }
        self.state.sanity_check();
        applied
    }

    fn submit(&mut self) {
        let mut spec = job("large", 200_000, Amount(1 << 50));
        spec.limits.fuel.0 = 1_000_000_000;
        self.apply(&[ask(RESEARCHER, Command::SubmitJob(Arc::new(spec)))]);
    }

    fn tick(&mut self) {
        self.apply(&[ask(State::SYSTEM, Command::Tick)]);
    }

    /// How many entries it takes until nothing is left to do.
    fn settle(&mut self) -> usize {
        let mut entries = 0;
        while self.state.is_behind() {
            assert_eq!(self.state.next_due(), Some(self.state.now()), "the hub is told to go on");
            self.tick();
            entries += 1;
        }
        entries
    }

    fn busy(&self) -> usize {
        self.hands.values().filter(|hand| !hand.is_empty()).count()
    }

    fn report(&mut self, worker: WorkerId) -> Request {
        self.report_of(worker, OWNER)
    }

    fn report_of(&mut self, worker: WorkerId, owner: AccountId) -> Request {
        let runs = std::mem::take(self.hands.entry(worker).or_default());
        let runs = runs.into_iter().map(|run| success(run, Hash::of(b"result"))).collect();
        ask(owner, Command::Report { worker, runs })
    }
}

#[test]
fn a_herd_is_fed_over_several_entries() {
    let mut herd = Herd::new();
    herd.submit();
    let first = herd.busy();
    assert!(herd.state.is_behind() && first > 0 && first < WORKERS as usize, "{first} workers at once");
    assert!((1..20).contains(&herd.settle()));
    assert_eq!(herd.busy(), WORKERS as usize);
}

#[test]
fn who_reports_all_the_time_takes_nobodys_turn() {
    let mut herd = Herd::new();
    herd.submit();
    // The first ones to be fed are the quickest to come again.
    let quick: Vec<WorkerId> = herd.hands.keys().copied().take(500).collect();
    let mut entries = 0;
    while herd.busy() < WORKERS as usize - quick.len() {
        let requests: Vec<Request> = quick.iter().map(|worker| herd.report(*worker)).collect();
        herd.apply(&requests);
        entries += 1;
        assert!(entries < 20, "{} workers have work after {entries} entries", herd.busy());
    }
}

#[test]
fn a_large_job_is_recalled_over_several_entries() {
    let mut herd = Herd::new();
    herd.submit();
    herd.settle();
    herd.apply(&[ask(RESEARCHER, Command::CancelJob { job: JobId(1) })]);
    assert!(herd.state.is_behind());
    assert_eq!(herd.state.ledger().account(RESEARCHER).expect("opened").balance(Currency::CREDIT).held.0, 0);
    // Whoever is not told yet may still report, in vain.
    let (last, hand) = herd.hands.last_key_value().expect("all have runs");
    let (last, count) = (*last, hand.len());
    let report = herd.report(last);
    let applied = herd.apply(&[report]);
    assert!(count > 0 && applied.effects.transfers.is_empty());
    assert!(matches!(&applied.answers[0], Ok(Done::Reported { refused }) if refused.len() == count));
    // And the machines are free for the next one at once.
    herd.submit();
    assert!((1..20).contains(&herd.settle()));
    assert_eq!(herd.busy(), WORKERS as usize);
    assert!(herd.state.job(JobId(1)).is_some_and(|job| job.counts.running == 0));
}

#[test]
fn runs_that_are_overdue_together_are_lost_over_several_entries() {
    let mut herd = Herd::new();
    herd.submit();
    herd.settle();
    let runs: usize = herd.hands.values().map(BTreeSet::len).sum();
    let wall = herd.state.job(JobId(1)).expect("ordered").spec.limits.wall;
    herd.now = herd.now.after(Duration(3 * wall.0)).after(Duration::from_secs(60));
    let (mut late, mut entries) = (0, 0);
    while herd.state.next_due().is_some_and(|due| due <= herd.now) {
        let applied = herd.apply(&[ask(State::SYSTEM, Command::Tick)]);
        let stopped = applied.effects.actions.iter().map(|action| match action {
            Action::Stop { runs, .. } => runs.len(),
            _ => 0,
        });
        let stopped: usize = stopped.sum();
        assert!(stopped <= 1 << 13, "{stopped} runs in one entry");
        (late, entries) = (late + stopped, entries + 1);
        assert!(entries < 50, "{late} of {runs} runs were taken back after {entries} entries");
    }
    assert!(entries > 1 && late == runs, "{late} of {runs} runs in {entries} entries");
}

/// Only two machines: one of an owner that is proven then, one of an owner that is vouched for and pauses.
/// The first one delivers six thousand findings that nobody checks, with this result.
fn long_tab(result: &[u8]) -> (Herd, WorkerId, WorkerId) {
    let mut herd = Herd { state: State::new(), now: BEGIN, hands: BTreeMap::new() };
    let issue = Command::Issue { to: RESEARCHER, currency: Currency::CREDIT, amount: Amount(1 << 60) };
    let vouched = AccountId(3);
    herd.apply(&[
        ask(State::SYSTEM, open("ann", &[Role::Researcher])),
        ask(State::SYSTEM, open("bob", &[Role::Owner])),
        ask(State::SYSTEM, open("eve", &[Role::Owner])),
        ask(State::SYSTEM, issue),
        ask(State::SYSTEM, Command::Vouch { account: vouched, vouched: true }),
        ask(OWNER, Command::AttachWorker(machine(0, 1_000))),
        ask(vouched, Command::AttachWorker(machine(0, 1_000))),
    ]);
    let (proven, checker) = (WorkerId(1), WorkerId(2));
    let order = |herd: &mut Herd, tasks| {
        let mut spec = job("checked", tasks, Amount(1 << 50));
        spec.checks = Checks::Hidden;
        herd.apply(&[ask(RESEARCHER, Command::SubmitJob(Arc::new(spec)))]);
    };
    order(&mut herd, 20);
    while herd.state.job(JobId(1)).is_some_and(|job| job.outcome().is_none()) {
        let both = [(proven, OWNER), (checker, vouched)].map(|(worker, owner)| herd.report_of(worker, owner));
        herd.apply(&both);
    }
    let pause = Command::SetWorker { worker: checker, accepting: false, returned: Vec::new() };
    herd.apply(&[ask(vouched, pause)]);
    order(&mut herd, 12_000);
    while herd.state.owner(OWNER).is_some_and(|owner| owner.unpaid_findings() < 6_000) {
        let mut report = herd.report(proven);
        if let Command::Report { runs, .. } = &mut report.command {
            runs.iter_mut().for_each(|run| run.result = Hash::of(result));
        }
        herd.apply(&[report]);
    }
    (herd, proven, checker)
}

/// How much the owner with the tab was paid.
fn paid(applied: &Applied) -> usize {
    applied.effects.transfers.iter().filter(|transfer| transfer.payee == OWNER).count()
}

impl Herd {
    /// Goes on until nothing is due; how many findings were paid, and in how many entries.
    fn pay(&mut self) -> (usize, usize) {
        let (mut sum, mut entries) = (0, 0);
        while self.state.next_due().is_some_and(|due| due <= self.now) {
            let count = paid(&self.apply(&[ask(State::SYSTEM, Command::Tick)]));
            assert!(count <= 1 << 13, "{count} payments in one entry");
            (sum, entries) = (sum + count, entries + 1);
        }
        (sum, entries)
    }
}

#[test]
fn what_nobody_could_check_is_paid_over_several_entries() {
    let (mut herd, ..) = long_tab(b"result");
    let unpaid = herd.state.owner(OWNER).expect("has a machine").unpaid_findings();
    herd.apply(&[ask(RESEARCHER, Command::CancelJob { job: JobId(2) })]);
    herd.settle();
    herd.now = herd.now.after(Duration::from_secs(2 * 3_600 + 1));
    let (paid, entries) = herd.pay();
    assert!(paid == unpaid && entries > 1, "{paid} of {unpaid} in {entries} entries");
}

#[test]
fn what_a_good_check_confirms_is_paid_over_several_entries() {
    let (mut herd, proven, checker) = long_tab(b"result");
    let resume = Command::SetWorker { worker: checker, accepting: true, returned: Vec::new() };
    herd.apply(&[ask(AccountId(3), resume)]);
    let before = herd.state.owner(OWNER).expect("has a machine").passed;
    let mut sum = 0;
    while herd.state.owner(OWNER).is_some_and(|owner| owner.passed < before + 3) {
        // Its own checks of the other one are paid at once and do not count here.
        let report = herd.report(proven);
        herd.apply(&[report]);
        let before = herd.state.owner(OWNER).expect("has a machine").passed;
        let report = herd.report_of(checker, AccountId(3));
        let count = paid(&herd.apply(&[report]));
        let checks = herd.state.owner(OWNER).expect("has a machine").passed - before;
        assert!(count <= 64 * checks as usize, "{count} payments after {checks} good checks in one entry");
        sum += count + herd.pay().0;
    }
    assert!(sum > 1 << 12, "{sum} findings were paid");
}

#[test]
fn what_a_liar_found_is_taken_back_over_several_entries_and_nothing_of_it_is_paid() {
    let (mut herd, liar, checker) = long_tab(b"a lie");
    let (vouched, third) = (AccountId(3), AccountId(4));
    herd.apply(&[
        ask(State::SYSTEM, open("joe", &[Role::Owner])),
        ask(third, Command::AttachWorker(machine(0, 4))),
        ask(vouched, Command::SetWorker { worker: checker, accepting: true, returned: Vec::new() }),
    ]);
    let others = |herd: &mut Herd| [herd.report_of(checker, vouched), herd.report_of(WorkerId(3), third)];
    let record = |herd: &Herd| herd.state.owner(OWNER).cloned().expect("has a machine");
    while record(&herd).caught_at.is_none() {
        // Whenever it reports, a check that is due is made of one of its findings.
        let report = herd.report(liar);
        herd.apply(&[report]);
        let reports = others(&mut herd);
        herd.apply(&reports);
    }
    let withdrawn = |herd: &Herd| herd.state.job(JobId(2)).map_or(0, |job| u64::from(job.withdrawn));
    let void = record(&herd).withdrawn;
    assert_eq!((record(&herd).unpaid(), record(&herd).unpaid_findings()), (Amount::ZERO, 0));
    assert!(herd.hands[&liar].is_empty(), "it has no runs any more");
    let mut entries = 0;
    while herd.state.next_due().is_some_and(|due| due <= herd.now) {
        let before = withdrawn(&herd);
        // Checks of what is void already come to an end meanwhile.
        let reports = others(&mut herd);
        assert_eq!(paid(&herd.apply(&reports)), 0);
        let taken = withdrawn(&herd) - before;
        assert!(taken <= 1 << 13, "{taken} findings in one entry");
        entries += 1;
    }
    let job = herd.state.job(JobId(2)).expect("ordered");
    assert!(void > 1 << 12 && entries > 1, "{void} findings in {entries} entries");
    // Who helps to find it out may become proven meanwhile, with a tab of its own.
    let others = herd.state.owner(third).map_or(0, Owner::unpaid_findings);
    assert_eq!((job.provisional as usize, record(&herd).withdrawn), (others, void));
}
