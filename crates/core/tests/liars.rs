//! Gangs of liars on the real state: how little they get through, and that no honest owner pays for it.
//!
//! `cargo xtask bench trust` measures the same in pools of other sizes; docs/trust.md has its table.

#[path = "../examples/trust/adaptive.rs"]
mod adaptive;
mod common;
#[path = "../examples/trust/gang.rs"]
mod gang;
#[path = "../examples/trust/pool.rs"]
mod pool;

use gang::{Figures, Kind, Scheme, Setup};
use pumasi_types::Duration;

const TASKS: u64 = 6_000;

/// Every fifth of 60 owners is in the gang; an operator answers for three of the others.
fn let_work(scheme: Scheme, kind: Kind, seed: u64) -> Figures {
    let setup = Setup { scheme, kind, hosts: 60, vouched: 3, liars: 12, tasks: TASKS as u32, seed };
    match scheme {
        Scheme::Adaptive => adaptive::run(&setup),
        _ => pool::run(&setup),
    }
}

#[test]
fn sleepers_get_through_where_trust_only_grows_and_hardly_where_it_is_checked() {
    for seed in 1..=3 {
        let hidden = let_work(Scheme::Hidden, Kind::Sleepers, seed);
        let adaptive = let_work(Scheme::Adaptive, Kind::Sleepers, seed);
        assert_eq!(hidden.tasks, TASKS);
        assert!(hidden.wrong * 200 < TASKS, "seed {seed}: {hidden:?}");
        assert!(adaptive.wrong * 50 > TASKS, "seed {seed}: {adaptive:?}");
        assert_eq!(hidden.caught, 12, "seed {seed}: {hidden:?}");
        // What they had said before they were caught was computed again, and it was not much.
        assert!(hidden.once_wrong > 2 * hidden.wrong, "seed {seed}: {hidden:?}");
        assert!(hidden.once_wrong * 50 < TASKS, "seed {seed}: {hidden:?}");
        // The window alone would catch them, too, but only after an hour, and pay would wait as long.
        assert!(hidden.waited.0 / hidden.paid < Duration::from_secs(1_800).0, "seed {seed}: {hidden:?}");
    }
}

#[test]
fn nobody_honest_is_caught_and_every_task_is_decided() {
    for kind in [Kind::Always, Kind::Sleepers, Kind::Occasional, Kind::Sybils] {
        let found = let_work(Scheme::Hidden, kind, 4);
        assert_eq!((found.wronged, found.failed), (0, 0), "{kind:?}: {found:?}");
        assert!(found.wrong * 80 < TASKS, "{kind:?}: {found:?}");
        let without = let_work(Scheme::Quorum(1), kind, 4);
        let two = let_work(Scheme::Quorum(2), kind, 4);
        // Those who only lie together cannot where nobody else has the same task.
        let more = if kind == Kind::Sybils { &two } else { &without };
        assert!(found.wrong * 3 < more.wrong, "{kind:?}: {found:?} and {more:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_figures() {
    for scheme in [Scheme::Hidden, Scheme::Adaptive, Scheme::Quorum(3)] {
        let [one, again, other] = [7, 7, 8].map(|seed| let_work(scheme, Kind::Occasional, seed));
        assert_eq!(one, again, "{scheme:?}");
        assert_ne!(one, other, "{scheme:?}");
    }
}
