//! Whether a job or a worker may be taken in as it presents itself.

use std::collections::BTreeSet;

use pumasi_types::{EngineId, Time};

use crate::bounds::Bounds;
use crate::{Checks, JobSpec, Refusal, WorkerSpec};

impl JobSpec {
    /// Whether one finding decides a task if its owner is trusted, and is checked now and then.
    pub(super) fn is_checked(&self) -> bool {
        self.quorum == 1 && self.checks == Checks::Hidden
    }

    /// How many runs the budget must afford for a task to be started: those that it needs, which are two if
    /// its owner is new, or one and its check.
    pub(super) fn runs_affordable(&self) -> u8 {
        if self.is_checked() { 2 } else { self.quorum }
    }

    pub(super) fn check(&self, now: Time) -> Result<(), Refusal> {
        self.check_texts()?;
        self.check_limits()?;
        check_engine(&self.engine)?;
        if self.tasks == 0 || self.tasks > Bounds::TASKS {
            return Err(Refusal::invalid("tasks", format!("must be 1 to {}", Bounds::TASKS)));
        }
        if self.quorum == 0 || self.quorum > Bounds::QUORUM {
            return Err(Refusal::invalid("quorum", format!("must be 1 to {}", Bounds::QUORUM)));
        }
        if self.after.len() > Bounds::DEPENDENCIES {
            let problem = format!("must name {} jobs at most", Bounds::DEPENDENCIES);
            return Err(Refusal::invalid("after", problem));
        }
        if self.after.iter().enumerate().any(|(i, job)| self.after[..i].contains(job)) {
            return Err(Refusal::invalid("after", "must name each job once"));
        }
        if self.deadline.is_some_and(|at| at <= now || at > now.after(Bounds::HORIZON)) {
            return Err(Refusal::invalid("deadline", "must lie in the future and within ten years"));
        }
        if !self.budget.is_positive() {
            return Err(Refusal::invalid("budget", "must be more than nothing"));
        }
        let runs = u64::from(self.runs_affordable());
        let cost = self.bid.cost(self.limits.fuel).and_then(|run| run.checked_mul(runs));
        let task =
            cost.ok_or_else(|| Refusal::invalid("bid", "times the fuel limit leaves the range of money"))?;
        if task > self.budget {
            return Err(Refusal::BudgetTooSmall { budget: self.budget, task });
        }
        Ok(())
    }

    fn check_texts(&self) -> Result<(), Refusal> {
        check_name("job name", &self.name)?;
        for (field, list) in [("args", &self.args), ("env", &self.env)] {
            if list.len() > Bounds::LIST {
                return Err(Refusal::invalid(field, format!("must be {} at most", Bounds::LIST)));
            }
            if list.iter().any(|text| text.contains('\0')) {
                return Err(Refusal::invalid(field, "must not contain NUL"));
            }
        }
        if self.env.iter().any(|text| text.find('=').is_none_or(|at| at == 0)) {
            return Err(Refusal::invalid("env", "must be NAME=VALUE"));
        }
        let bytes: usize = self.args.iter().chain(&self.env).map(String::len).sum();
        if bytes > Bounds::TEXT_BYTES {
            return Err(Refusal::invalid(
                "args and env",
                format!("must be {} bytes at most", Bounds::TEXT_BYTES),
            ));
        }
        if self.files.len() > Bounds::LIST {
            return Err(Refusal::invalid("files", format!("must be {} at most", Bounds::LIST)));
        }
        self.files.iter().try_for_each(|file| check_path(&file.name))?;
        let names: BTreeSet<&str> = self.files.iter().map(|file| file.name.as_str()).collect();
        let is_below_a_file =
            |name: &&str| name.match_indices('/').any(|(at, _)| names.contains(&name[..at]));
        if names.len() < self.files.len() || names.iter().any(is_below_a_file) {
            return Err(Refusal::invalid(
                "files",
                "must have different names, none of which is a folder of another",
            ));
        }
        Ok(())
    }

    fn check_limits(&self) -> Result<(), Refusal> {
        let limits = &self.limits;
        if limits.fuel.0 == 0 {
            return Err(Refusal::invalid("fuel limit", "must be more than nothing"));
        }
        if limits.memory.0 == 0 || limits.memory > Bounds::RUN_MEMORY {
            let problem = format!("must be more than nothing and at most {}", Bounds::RUN_MEMORY);
            return Err(Refusal::invalid("memory limit", problem));
        }
        if limits.output > Bounds::RUN_OUTPUT {
            return Err(Refusal::invalid("output limit", format!("must be at most {}", Bounds::RUN_OUTPUT)));
        }
        if limits.wall.0 == 0 || limits.wall > Bounds::RUN_WALL {
            return Err(Refusal::invalid(
                "wall-clock limit",
                "must be more than nothing and at most 30 days",
            ));
        }
        Ok(())
    }
}

impl WorkerSpec {
    pub(super) fn check(&self) -> Result<(), Refusal> {
        check_name("worker name", &self.name)?;
        check_engine(&self.engine)?;
        super::check_runs(self.held.len())?;
        if self.cores == 0 || self.cores > Bounds::CORES {
            return Err(Refusal::invalid("cores", format!("must be 1 to {}", Bounds::CORES)));
        }
        Ok(())
    }
}

fn check_name(field: &str, name: &str) -> Result<(), Refusal> {
    if name.is_empty() || name.len() > Bounds::NAME_BYTES || name.chars().any(char::is_control) {
        let problem = format!("must be 1 to {} bytes without control characters", Bounds::NAME_BYTES);
        return Err(Refusal::invalid(field, problem));
    }
    Ok(())
}

fn check_engine(engine: &EngineId) -> Result<(), Refusal> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-./+_".contains(c);
    if engine.0.is_empty() || engine.0.len() > 64 || !engine.0.chars().all(allowed) {
        let engine = EngineId(engine.0.chars().take(64).collect());
        return Err(Refusal::BadEngine { engine });
    }
    Ok(())
}

/// A path below /in: relative, of plain components.
fn check_path(path: &str) -> Result<(), Refusal> {
    check_name("file name", path)?;
    if path.split('/').any(|part| part.is_empty() || part == "." || part == "..") || path.contains('\\') {
        let problem = "must be a relative path of plain names: no '..', no leading or double '/', no '\\'";
        return Err(Refusal::invalid("file name", problem));
    }
    Ok(())
}
