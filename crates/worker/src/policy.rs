//! When the owner lets the machine work: always or while it is idle, and at which hours.

use std::fmt;
use std::str::FromStr;

use pumasi_types::{Duration, Time};

/// Time between two looks at the machine.
pub(crate) const LOOK: std::time::Duration = std::time::Duration::from_secs(5);
/// How long others must have been quiet for the machine to count as idle.
const QUIET: Duration = Duration::from_secs(60);
/// Share of the machine's processor time that others may use of an idle machine, in percent.
const OTHERS_PERCENT_MAX: f64 = 15.0;
/// Load of others that an idle machine may have for each core: tasks that run or wait for the disk.
const OTHERS_LOAD_MAX: f64 = 0.3;
/// Load that does not count on any machine: something always wakes up.
const OTHERS_LOAD_FREE: f64 = 0.5;

/// Under which condition the machine works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum When {
    /// At any time.
    #[default]
    Always,
    /// While nobody else uses it, and then with lowered priority.
    Idle,
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            When::Always => "always",
            When::Idle => "idle",
        })
    }
}

/// A text that is no condition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a condition: use always or idle")]
pub struct ParseWhenError(String);

impl FromStr for When {
    type Err = ParseWhenError;

    fn from_str(text: &str) -> Result<When, ParseWhenError> {
        match text {
            "always" => Ok(When::Always),
            "idle" => Ok(When::Idle),
            other => Err(ParseWhenError(other.chars().take(40).collect())),
        }
    }
}

/// Hours of the day in local time, written as `22-06` or `08:30-12:15`; they may go over midnight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hours {
    /// Minutes after midnight; the first one in.
    from: u16,
    /// Minutes after midnight; the first one out.
    to: u16,
}

/// A text that is no span of hours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' are not hours: expected from and to, like 22-06 or 08:30-12:15")]
pub struct ParseHoursError(String);

impl Hours {
    /// Minutes of a day.
    const DAY: u16 = 24 * 60;

    /// Whether a minute after midnight is within; all are when from and to are the same.
    pub fn contains(&self, minute: u16) -> bool {
        match self.from < self.to {
            true => (self.from..self.to).contains(&minute),
            false => minute >= self.from || minute < self.to,
        }
    }
}

impl FromStr for Hours {
    type Err = ParseHoursError;

    fn from_str(text: &str) -> Result<Hours, ParseHoursError> {
        let number = |digits: &str, most: u16| {
            let is_short = (1..=2).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
            digits.parse::<u16>().ok().filter(|number| is_short && *number <= most)
        };
        let moment = |text: &str| {
            let (hours, minutes) = text.split_once(':').unwrap_or((text, "0"));
            let minute = number(hours, 24)? * 60 + number(minutes, 59)?;
            (minute <= Hours::DAY).then_some(minute)
        };
        let span = text.split_once('-').and_then(|(from, to)| Some((moment(from)?, moment(to)?)));
        let (from, to) = span.ok_or_else(|| ParseHoursError(text.chars().take(40).collect()))?;
        Ok(Hours { from: from % Hours::DAY, to })
    }
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Hours { from, to } = self;
        write!(f, "{:02}:{:02}-{:02}:{:02}", from / 60, from % 60, to / 60, to % 60)
    }
}

/// When the owner lets the machine work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Under which condition.
    pub when: When,
    /// At which hours; none: all day.
    pub hours: Option<Hours>,
}

/// What a machine did since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Sample {
    /// Ticks of all cores in which they worked for anybody.
    pub(crate) busy: u64,
    /// Ticks of all cores.
    pub(crate) total: u64,
    /// Ticks in which they worked for this process.
    pub(crate) own: u64,
    /// The load average over a minute.
    pub(crate) load: f64,
}

/// Tells from samples whether nobody else uses the machine.
#[derive(Debug)]
pub(crate) struct Idleness {
    cores: u32,
    last: Option<(Time, Sample)>,
    /// This process's part of the load average, gathered as the kernel gathers the whole.
    own_load: f64,
    quiet_since: Option<Time>,
}

impl Idleness {
    pub(crate) fn new(cores: u32) -> Idleness {
        Idleness { cores: cores.max(1), last: None, own_load: 0.0, quiet_since: None }
    }

    /// Takes in a sample made while `running` runs were under way; whether the machine is idle.
    pub(crate) fn look(&mut self, now: Time, sample: Sample, running: usize) -> bool {
        let Some((before, last)) = self.last.replace((now, sample)) else { return false };
        let seconds = now.since(before).0 as f64 / 1e9;
        // The kernel's one-minute average decays by e^-(t/60) (kernel/sched/loadavg.c).
        let decay = (-seconds / 60.0).exp();
        self.own_load = self.own_load * decay + running as f64 * (1.0 - decay);
        let total = sample.total.saturating_sub(last.total).max(1);
        let busy = sample.busy.saturating_sub(last.busy);
        let others = busy.saturating_sub(sample.own.saturating_sub(last.own));
        let percent = 100.0 * others as f64 / total as f64;
        let load = sample.load - self.own_load;
        let is_quiet = percent <= OTHERS_PERCENT_MAX
            && load <= OTHERS_LOAD_FREE + OTHERS_LOAD_MAX * f64::from(self.cores);
        if !is_quiet {
            self.quiet_since = None;
            return false;
        }
        let since = *self.quiet_since.get_or_insert(before);
        now.since(since) >= QUIET
    }
}

/// Looks at this machine; none where the system does not tell (it has no /proc).
pub(crate) fn sample() -> Option<Sample> {
    let read = |path| std::fs::read_to_string(path).ok();
    parse(&read("/proc/stat")?, &read("/proc/self/stat")?, &read("/proc/loadavg")?)
}

/// Reads a sample from the texts of /proc/stat, /proc/self/stat and /proc/loadavg (proc(5)).
fn parse(stat: &str, own: &str, loadavg: &str) -> Option<Sample> {
    let cpu = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> = cpu.split_whitespace().map_while(|field| field.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq, steal; guest time is within user time.
    let [user, nice, system, idle, iowait, irq, softirq, ..] = ticks[..] else { return None };
    let steal = ticks.get(7).copied().unwrap_or(0);
    let busy = [user, nice, system, irq, softirq].into_iter().fold(0, u64::saturating_add);
    let total = [idle, iowait, steal].into_iter().fold(busy, u64::saturating_add);
    // The name of the program, in parentheses, may hold anything.
    let fields: Vec<&str> = own.rsplit_once(')')?.1.split_whitespace().collect();
    let spent = |at: usize| fields.get(at)?.parse::<u64>().ok();
    let own = spent(11)?.saturating_add(spent(12)?);
    let load = loadavg.split_whitespace().next()?.parse().ok()?;
    Some(Sample { busy, total, own, load })
}

/// Minutes after midnight, local time.
pub(crate) fn minute_of_day() -> u16 {
    let now = jiff::Zoned::now();
    u16::try_from(i32::from(now.hour()) * 60 + i32::from(now.minute())).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_go_over_midnight() {
        let check = |text: &str, inside: &[u16], outside: &[u16]| {
            let hours: Hours = text.parse().unwrap();
            assert!(inside.iter().all(|hour| hours.contains(hour * 60)), "{text}");
            assert!(!outside.iter().any(|hour| hours.contains(hour * 60)), "{text}");
        };
        check("22-06", &[22, 23, 0, 5], &[6, 7, 12, 21]);
        check("8-18", &[8, 17], &[7, 18, 0, 23]);
        check("0-24", &[0, 12, 23], &[]);
        check("24-6", &[0, 5], &[6, 23]);
        check("7-7", &[0, 7, 23], &[]);
        let precise: Hours = "08:30-12:15".parse().unwrap();
        assert!(precise.contains(510) && precise.contains(734));
        assert!(!precise.contains(509) && !precise.contains(735));
        assert_eq!(precise.to_string(), "08:30-12:15");
        assert_eq!(precise.to_string().parse(), Ok(precise));
    }

    #[test]
    fn refuses_what_are_no_hours() {
        for text in
            ["", "22", "-", "25-3", "1-2-3", "24:01-3", "1:60-2", "a-b", "+1-2", "022-3", "1 - 2", "٣-٤"]
        {
            assert!(text.parse::<Hours>().is_err(), "{text}");
        }
    }

    /// Looks every five seconds while others use so many percent of two cores and so much load.
    fn look(
        idleness: &mut Idleness,
        looks: u64,
        start: u64,
        others: u64,
        load: f64,
        running: usize,
    ) -> Vec<bool> {
        let own = running as u64 * 500;
        let tick = |at: u64| Sample {
            busy: at * (others * 10 + own),
            total: at * 1_000,
            own: at * own,
            load: load + running as f64 * (1.0 - (-(at as f64) * 5.0 / 60.0).exp()),
        };
        (start..start + looks).map(|at| idleness.look(Time(at * 5_000_000_000), tick(at), running)).collect()
    }

    #[test]
    fn a_machine_is_idle_after_a_quiet_minute() {
        let mut idleness = Idleness::new(2);
        let seen = look(&mut idleness, 20, 0, 5, 0.2, 0);
        assert_eq!(seen.iter().position(|idle| *idle), Some(12), "{seen:?}");
    }

    #[test]
    fn own_work_does_not_count_but_that_of_others_ends_it_at_once() {
        let mut idleness = Idleness::new(2);
        assert_eq!(look(&mut idleness, 30, 0, 0, 0.0, 2).last(), Some(&true));
        let mut sample = Sample { busy: 30_000, total: 30_000, own: 30_000, load: 2.0 };
        assert!(idleness.look(Time(150_000_000_000), sample, 2));
        sample = Sample { busy: 31_000, total: 31_000, own: 30_500, load: 2.2 };
        assert!(!idleness.look(Time(155_000_000_000), sample, 2), "others used half of it");
    }

    #[test]
    fn waiting_for_the_disk_is_use_too() {
        let mut idleness = Idleness::new(2);
        assert!(!look(&mut idleness, 30, 0, 2, 3.0, 0).contains(&true));
    }

    #[test]
    fn reads_what_linux_says() {
        let stat = "cpu  100 20 30 1000 50 3 2 5 0 0\ncpu0 1 2 3\n";
        let own = "42 (a) b) R 1 42 42 0 -1 4194304 100 0 0 0 77 8 0 0 20 0 1 0 1 1 1";
        let sample = parse(stat, own, "0.42 0.30 0.20 1/100 4242\n").unwrap();
        assert_eq!(sample, Sample { busy: 155, total: 1_210, own: 85, load: 0.42 });
        for (stat, own, load) in [("", own, "1"), (stat, "", "1"), (stat, own, ""), ("cpu 1 2", own, "1")] {
            assert_eq!(parse(stat, own, load), None);
        }
        if cfg!(target_os = "linux") {
            let here = super::sample().unwrap();
            assert!(here.total >= here.busy && here.busy > 0);
        }
    }
}
