//! Measures what files cost the core: time and memory for each put, and how long pages, large moves and removals take.
//!
//! `cargo run --release -p pumasi-core --example files [FILES]`
#![allow(clippy::float_arithmetic, reason = "a measurement divides")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::collections::BTreeMap;

use common::{BEGIN, ask, open};
use pumasi_core::{
    About, Bounds, Command, Condition, Done, FilePut, FilesCommand, FilesDone, RootCursor, STATE_VERSION,
    State, decode_state, encode_state,
};
use pumasi_types::{AccountId, ByteSize, Duration, FilePath, Hash, SpaceId, Time};

const ANN: AccountId = AccountId(1);
/// Files of a folder.
const FOLDER: u64 = 1_000;

/// Processor time of this thread, in nanoseconds.
fn clock() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

/// Resident memory of this process, in bytes (proc(5), statm: pages of 4 KiB).
fn memory() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<f64>().ok());
    pages.unwrap_or_default() * 4096.0
}

fn done(state: &mut State, now: Time, caller: AccountId, command: FilesCommand) -> FilesDone {
    match state.apply(now, &[ask(caller, Command::Files(command))]).answers.remove(0) {
        Ok(Done::Files(done)) => done,
        Ok(_) => FilesDone::Each(Vec::new()),
        Err(refusal) => panic!("{refusal}"),
    }
}

fn path(text: &str) -> FilePath {
    text.parse().expect("a path")
}

fn blob(number: u64) -> Hash {
    Hash::of(&number.to_le_bytes())
}

/// Puts the files of a folder; nanoseconds each to claim and to put them.
fn put(state: &mut State, space: SpaceId, top: &str, folder: u64, about: &About) -> (f64, f64) {
    let numbers = folder * FOLDER..(folder + 1) * FOLDER;
    let blobs = numbers.clone().map(|number| (blob(number), ByteSize(4_096))).collect();
    let begin = clock();
    done(state, BEGIN, State::SYSTEM, FilesCommand::Claim { account: ANN, blobs });
    let claimed = clock() - begin;
    let file = |number: u64| FilePut {
        path: path(&format!("{top}/{folder}/file-{number}.dat")),
        blob: blob(number),
        about: about.clone(),
        condition: Condition::Any,
    };
    let files: Vec<FilePut> = numbers.map(file).collect();
    let begin = clock();
    let FilesDone::Each(each) = done(state, BEGIN, ANN, FilesCommand::PutFiles { space, files }) else {
        panic!("each is answered")
    };
    assert!(each.iter().all(Result::is_ok));
    (claimed / FOLDER as f64, (clock() - begin) / FOLDER as f64)
}

/// Puts so many files; tells what each costs.
fn fill(state: &mut State, space: SpaceId, top: &str, count: u64, about: &About) {
    let before = memory();
    let (mut claimed, mut placed) = (0.0, 0.0);
    for folder in 0..count / FOLDER {
        let (claim, put) = put(state, space, top, folder, about);
        (claimed, placed) = (claimed + claim, placed + put);
    }
    let folders = (count / FOLDER) as f64;
    let bytes = (memory() - before) / count as f64;
    let (claim, put) = (claimed / folders, placed / folders);
    println!("{top}: claim {claim:.0} ns, put {put:.0} ns, {bytes:.0} bytes each with its claim");
}

/// Microseconds that something takes.
fn time<T>(what: &str, action: impl FnOnce() -> T) -> T {
    let begin = clock();
    let result = action();
    println!("{what}: {:.0} us", (clock() - begin) / 1e3);
    result
}

/// Entries until nothing is behind; tells how long the longest took.
fn catch_up(what: &str, state: &mut State, now: Time) {
    let (mut entries, mut longest) = (0, 0.0_f64);
    state.apply(now, &[]);
    while state.is_behind() || state.next_due().is_some_and(|due| due <= now) {
        let begin = clock();
        state.apply(now, &[]);
        longest = longest.max(clock() - begin);
        entries += 1;
    }
    println!("{what}: {entries} entries, the longest {:.0} us", longest / 1e3);
}

fn main() {
    let count: u64 = std::env::args().nth(1).map_or(1_000_000, |text| text.parse().expect("a whole number"));
    let mut state = State::new();
    state.apply(BEGIN, &[ask(State::SYSTEM, open("ann", &[]))]);
    let keep = Duration::from_secs(30 * 24 * 3600);
    let FilesDone::Space(space) =
        done(&mut state, BEGIN, ANN, FilesCommand::CreateSpace { name: "ann".to_owned(), keep })
    else {
        panic!("it is made")
    };
    let quota = Some(ByteSize(u64::MAX));
    done(&mut state, BEGIN, State::SYSTEM, FilesCommand::ChangeSpace { space, keep: None, quota });
    let plain = About { modified: Some(BEGIN), ..About::default() };
    fill(&mut state, space, "plain", count, &plain);
    let labels = [("content-type", "application/octet-stream"), ("etag", "d41d8cd98f00b204e9800998ecf8427e")];
    let labels: BTreeMap<String, String> =
        labels.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    fill(&mut state, space, "labelled", count / 4, &About { labels, ..plain });

    let files = state.files();
    let middle = format!("plain/{}/file-1", count / FOLDER / 2);
    time("a page of 1,000 in the middle", || files.walk(space, "", Some(&middle), false, 1_000));
    time("a page of 1,000 folders", || files.walk(space, "plain/", None, true, 1_000));
    let pieces = time("all roots in pieces of 1,000", || {
        let (mut pieces, mut next) = (0, Some(RootCursor::default()));
        while let Some(from) = next {
            next = files.roots(from, 1_000).next;
            pieces += 1;
        }
        pieces
    });
    println!("{pieces} pieces");
    let bytes = time("a snapshot", || encode_state(&state));
    let back = time("reading it", || decode_state(STATE_VERSION, &bytes).expect("encoded above"));
    println!("{:.0} MB", bytes.len() as f64 / 1e6);
    drop((back, bytes));

    let (from, to) = (path("plain"), path("moved/far/away"));
    let order = FilesCommand::Move { space, from, to, replace: false };
    time("moving all", || done(&mut state, BEGIN, ANN, order));
    let paths = vec![path("moved")];
    let order = FilesCommand::Remove { space, paths, recursive: true, forever: false };
    time("removing all", || done(&mut state, BEGIN, ANN, order));
    let later = BEGIN.after(Duration(Bounds::CLAIM.0 + Bounds::CLAIM_ROOT.0));
    catch_up("forgetting all claims", &mut state, later);
    let later = BEGIN.after(keep);
    catch_up("erasing all", &mut state, later);
}
