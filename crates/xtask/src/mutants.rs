//! Breaks the real code in known ways, one at a time in a copy, and shows that the simulator notices each.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::Outcome;
use crate::build::{cargo, root};

/// One way to break the code.
struct Mutant {
    what: &'static str,
    file: &'static str,
    /// Occurs once in the file.
    from: &'static str,
    to: &'static str,
}

const MUTANTS: &[Mutant] = &[
    Mutant {
        what: "answers leave before the log is durable",
        file: "crates/cell/src/cell.rs",
        from: "        self.log.wait(self.log.head().seq)?;\n        let settled",
        to: "        let settled",
    },
    Mutant {
        what: "a run can be reported again",
        file: "crates/core/src/compute/report.rs",
        from: "(worker.owner, worker.runs.remove(&run)?)",
        to: "(worker.owner, worker.runs.get(&run).copied()?)",
    },
    Mutant {
        what: "a snapshot forgets which requests were done",
        file: "crates/core/src/state.rs",
        from: "    requests: Requests,\n    timers",
        to: "    #[serde(skip)]\n    requests: Requests,\n    timers",
    },
    Mutant {
        what: "a snapshot forgets what is due",
        file: "crates/core/src/state.rs",
        from: "    timers: Timers,\n",
        to: "    #[serde(skip)]\n    timers: Timers,\n",
    },
    Mutant {
        what: "the first result counts, whatever the quorum",
        file: "crates/core/src/compute/ballot.rs",
        from: "self.needs.saturating_sub(votes).max(",
        to: "1_u8.saturating_sub(votes).max(",
    },
    Mutant {
        what: "a hidden check that disagrees is ignored",
        file: "crates/core/src/compute/trust.rs",
        from: "if check.vote.finding != vote.finding {",
        to: "if false {",
    },
    Mutant {
        what: "proven owners are paid before any check",
        file: "crates/core/src/compute/trust.rs",
        from: "let place = if !checked || ordered_it || vouched {",
        to: "let place = if true {",
    },
    Mutant {
        what: "a lost run is not queued again",
        file: "crates/core/src/compute/report.rs",
        from: "        job.run_returned(owner, index);\n",
        to: "",
    },
    Mutant {
        what: "deadlines pass unnoticed",
        file: "crates/core/src/state.rs",
        from: "Timer::Deadline(job) => compute.expire(job, &mut ctx),",
        to: "Timer::Deadline(_) => {}",
    },
    Mutant {
        what: "a snapshot does not wait for the journal",
        file: "crates/cell/src/snapshots.rs",
        from: "    derived.sync()?;\n    let file",
        to: "    let file",
    },
    Mutant {
        what: "a restart does not write the journal again",
        file: "crates/cell/src/restore.rs",
        from: "|effects| derived.write(&effects))?;",
        to: "|_| Ok(()))?;",
    },
    Mutant {
        what: "a torn tail stays in the log",
        file: "crates/log/src/recover.rs",
        from: "if remains.data_end > walk.offset {",
        to: "if false {",
    },
    Mutant {
        what: "a damaged entry is cut off though later ones are intact",
        file: "crates/log/src/recover.rs",
        from: "acknowledged(&walk, bad, &remains, mark) {",
        to: "acknowledged(&walk, bad, &remains, mark).filter(|_| false) {",
    },
];

/// So many worlds have to be enough to notice one.
const WORLDS: &str = "200";

/// Runs all mutants.
pub(crate) fn run() -> Outcome {
    let copy = root().join("target/mutants");
    copy_sources(&copy)?;
    let mut missed = 0;
    for mutant in MUTANTS {
        let path = copy.join(mutant.file);
        let sound = fs::read_to_string(&path)?;
        fs::write(&path, sound.replacen(mutant.from, mutant.to, 1))?;
        let noticed = noticed(&copy);
        fs::write(&path, sound)?;
        let noticed = noticed?;
        missed += u32::from(noticed.is_none());
        match noticed {
            Some(by) => println!("noticed: {}\n         {by}", mutant.what),
            None => println!("MISSED:  {}", mutant.what),
        }
    }
    if missed == 0 {
        Ok(())
    } else {
        Err(format!("{missed} of {} mutants were missed", MUTANTS.len()).into())
    }
}

/// By which broken promise the simulator notices what was done to the copy; none when it does not.
fn noticed(copy: &Path) -> Outcome<Option<String>> {
    let target = root().join("target/mutants-build");
    let built = cargo()
        .current_dir(copy)
        .env("CARGO_TARGET_DIR", &target)
        .args(["build", "--release", "--quiet", "--package", "pumasi-sim"])
        .status()?;
    if !built.success() {
        return Err("a mutant does not compile; its errors stand above".into());
    }
    let ran = Command::new(target.join("release/pumasi-sim"))
        .args(["--seeds", WORLDS, "--from", "1", "--first-failure", "--json"])
        .stderr(std::process::Stdio::null())
        .output()?;
    let report: serde_json::Value = serde_json::from_slice(&ran.stdout)?;
    let broken = report["failures"][0]["broken"].as_str();
    Ok(broken.map(|broken| format!("world {}: {broken}", report["worlds"])))
}

/// Copies what git knows, so that nothing of a mutant is left in the working copy whatever happens. Files that
/// did not change keep their time, and so what was built of them.
fn copy_sources(copy: &Path) -> Outcome {
    let listed = Command::new("git").current_dir(root()).args(["ls-files", "-z"]).output()?;
    for name in String::from_utf8(listed.stdout)?.split_terminator('\0') {
        let (from, to) = (root().join(name), copy.join(name));
        let Ok(bytes) = fs::read(&from) else { continue };
        if fs::read(&to).ok().as_deref() == Some(&bytes) {
            continue;
        }
        fs::create_dir_all(to.parent().unwrap_or(copy))?;
        fs::write(&to, bytes)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mutant_still_fits_the_code() {
        for mutant in MUTANTS {
            let code = fs::read_to_string(root().join(mutant.file)).expect("a file of the repository");
            let places = code.matches(mutant.from).count();
            assert_eq!(places, 1, "'{}' must fit one place in {}", mutant.what, mutant.file);
        }
    }
}
