//! Child processes that never outlive us.

use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::Outcome;

/// A process that is ended when this is dropped.
pub(crate) struct Guarded {
    child: Child,
}

impl Guarded {
    pub(crate) fn spawn(command: &mut Command) -> Outcome<Guarded> {
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command.spawn().map_err(|error| format!("cannot start {program}: {error}"))?;
        Ok(Guarded { child })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it writes, if it was spawned with a pipe; once.
    #[cfg(test)]
    pub(crate) fn stdout(&mut self) -> Option<std::process::ChildStdout> {
        self.child.stdout.take()
    }

    /// Ends it at once, as a power cut would.
    pub(crate) fn kill(&mut self) -> Outcome {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks it to end and waits; after `patience` it is killed.
    pub(crate) fn stop(&mut self, patience: Duration) -> Outcome<Option<ExitStatus>> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(Some(status));
        }
        // It may have ended by itself a moment ago, and what is frozen hears nothing.
        let _ = self.thaw().and_then(|()| self.signal(Signal::TERM));
        if let Some(status) = self.wait(patience)? {
            return Ok(Some(status));
        }
        self.kill()?;
        Ok(None)
    }

    /// Stops all its threads where they are, as a machine that sleeps would.
    pub(crate) fn freeze(&self) -> Outcome {
        self.signal(Signal::STOP)
    }

    /// Lets it go on after [`Guarded::freeze`].
    pub(crate) fn thaw(&self) -> Outcome {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Outcome {
        let pid = Pid::from_raw(self.child.id().cast_signed()).ok_or("no such process")?;
        Ok(kill_process(pid, signal)?)
    }

    /// Waits until it ends by itself; none when `patience` is over first.
    pub(crate) fn wait(&mut self, patience: Duration) -> Outcome<Option<ExitStatus>> {
        let until = Instant::now() + patience;
        loop {
            match self.child.try_wait()? {
                None if Instant::now() < until => std::thread::sleep(Duration::from_millis(10)),
                status => return Ok(status),
            }
        }
    }

    /// Whether it still runs.
    pub(crate) fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // Nothing is left to do for a process that cannot be ended.
        let _ = self.stop(Duration::from_secs(5));
    }
}

/// Resident memory of a process, in bytes.
pub(crate) fn resident_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) << 10
}
