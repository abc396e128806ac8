//! The system's figures of this process, from Linux's /proc; other systems have no such figures.

use std::fs;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

/// Clock ticks in a second as /proc counts them (`USER_HZ`): part of Linux's interface on all platforms
/// that Rust's std supports.
const TICKS_PER_SECOND: f64 = 100.0;

/// How long figures are shown before the system is asked again, so that asking often costs little.
const FRESH_FOR: Duration = Duration::from_millis(250);

/// What the system says of the process. A figure that it does not tell is not there.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ProcessReport {
    /// Its number.
    pub pid: u32,
    /// Memory that it has in use, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resident_bytes: Option<u64>,
    /// Open descriptors: sockets, files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_descriptors: Option<u64>,
    /// How many of them it may have; none without a limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub descriptors_max: Option<u64>,
    /// Threads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads: Option<u64>,
    /// Time of processors that it has used, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_seconds: Option<f64>,
    /// When it began, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<f64>,
}

/// The figures, and when they were read.
#[derive(Debug, Default)]
pub(crate) struct Process(Mutex<Option<(Instant, ProcessReport)>>);

impl Process {
    /// The figures, at most a quarter of a second old.
    pub(crate) fn report(&self) -> ProcessReport {
        // Held while a few files in memory are read, so that many who ask at once have them read once.
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some((read, report)) if read.elapsed() < FRESH_FOR => report.clone(),
            _ => {
                let report = read();
                *last = Some((Instant::now(), report.clone()));
                report
            }
        }
    }
}

fn read() -> ProcessReport {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let boot = fs::read_to_string("/proc/stat").unwrap_or_default();

    let ticks = Ticks::of(&stat);
    let seconds = |ticks: f64| ticks / TICKS_PER_SECOND;

    ProcessReport {
        pid: std::process::id(),
        resident_bytes: number_behind(&status, "VmRSS:").map(|kilobytes| kilobytes * 1024),
        open_descriptors: open_descriptors(),
        descriptors_max: number_behind(&limits, "Max open files"),
        threads: number_behind(&status, "Threads:"),
        cpu_seconds: ticks.as_ref().map(|ticks| seconds(ticks.used)),
        started_at: ticks
            .zip(boot_time(&boot))
            .map(|(ticks, boot)| boot + seconds(ticks.started)),
    }
}

/// Since Linux 6.2 the directory's size is their number; before, they are counted.
fn open_descriptors() -> Option<u64> {
    let size = fs::metadata("/proc/self/fd").ok()?.len();
    if size > 0 {
        return Some(size);
    }

    // One of them is the directory itself, as it is read.
    let entries = fs::read_dir("/proc/self/fd").ok()?.count() as u64;
    Some(entries.saturating_sub(1))
}

/// The first number on the line that begins with `label`.
fn number_behind(text: &str, label: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(label))?;
    line.split_whitespace().next()?.parse().ok()
}

struct Ticks {
    used: f64,
    /// Since the system began.
    started: f64,
}

impl Ticks {
    /// Out of /proc/self/stat, `proc_pid_stat(5)`: the name, in brackets, may hold anything.
    fn of(stat: &str) -> Option<Self> {
        let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();

        // Field 3 is the first here.
        let field = |number: usize| -> Option<f64> { fields.get(number - 3)?.parse().ok() };

        Some(Self {
            used: field(14)? + field(15)?,
            started: field(22)?,
        })
    }
}

/// When the system began, in seconds since 1970. The kernel prints a negative number, where its clock is before that
/// year, as one without a sign.
fn boot_time(stat: &str) -> Option<f64> {
    let line = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    let seconds = line.trim().parse::<u64>().ok()?.cast_signed();

    // Far below 2^52.
    #[expect(clippy::cast_precision_loss)]
    Some(seconds as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_spaces_moves_no_field() {
        let stat =
            "42 (a) b (c) S 1 42 42 0 -1 4194304 100 0 1 0 250 50 0 0 20 0 7 0 1275647 3133440 382";
        let ticks = Ticks::of(stat).unwrap();
        assert_eq!(format!("{} {}", ticks.used, ticks.started), "300 1275647");
        assert!(Ticks::of("").is_none() && Ticks::of("42 (a) S").is_none());
    }

    #[test]
    fn limits_and_sizes_are_read_from_their_lines() {
        let limits = "Limit   Soft Limit  Hard Limit  Units\nMax open files            1024                 524288               files\n";
        assert_eq!(number_behind(limits, "Max open files"), Some(1024));

        assert_eq!(
            number_behind(
                "Max open files   unlimited  unlimited files",
                "Max open files"
            ),
            None
        );
        assert_eq!(
            number_behind("VmPeak: 1 kB\nVmRSS:\t    1756 kB\n", "VmRSS:"),
            Some(1756)
        );
    }

    #[test]
    fn a_system_whose_clock_is_before_1970_began_before_1970() {
        assert_eq!(boot_time("cpu 1\nbtime 1700000000\n"), Some(1.7e9));
        assert_eq!(boot_time("btime 18446744073709550616\n"), Some(-1_000.0));
        assert_eq!(boot_time("btime soon\n"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_is_told_of() {
        let report = Process::default().report();
        assert!(
            report.resident_bytes > Some(1 << 20) && report.threads >= Some(1),
            "{report:?}"
        );
        assert!(
            report.open_descriptors >= Some(3) && report.cpu_seconds >= Some(0.0),
            "{report:?}"
        );

        let now = std::time::SystemTime::UNIX_EPOCH
            .elapsed()
            .unwrap()
            .as_secs_f64();
        let age = now - report.started_at.unwrap();
        assert!((-5.0..86_400.0).contains(&age), "{age} s");
    }
}
