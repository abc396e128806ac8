//! A server in a process of its own, for examples that look at what it holds.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt;

/// What went wrong, for a person.
pub type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// A process that serves until its standard input ends. It ends with this.
pub struct Process {
    child: Child,
    /// Where it serves.
    pub address: Arc<str>,
}

/// What a process holds.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// Resident memory.
    pub rss_bytes: u64,
    /// Open descriptors.
    pub descriptors: usize,
    /// Processor time since its start.
    pub cpu: Duration,
}

impl Process {
    /// Starts one, which prints its address as its first line.
    ///
    /// # Errors
    /// Where it cannot be started, or ends without an address.
    pub fn start(command: &mut Command) -> Outcome<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;

        let mut address = String::new();
        BufReader::new(child.stdout.take().expect("it is piped")).read_line(&mut address)?;
        if address.trim().is_empty() {
            child.wait()?;
            return Err("the server did not start".into());
        }

        Ok(Self {
            child,
            address: address.trim().into(),
        })
    }

    /// What it holds now, as Linux tells it.
    ///
    /// # Errors
    /// Where it has ended.
    pub fn usage(&self) -> Outcome<Usage> {
        let rss_bytes = self.rss_bytes()?;
        let proc = format!("/proc/{}", self.child.id());
        let stat = std::fs::read_to_string(format!("{proc}/stat"))?;

        // The name may hold anything; behind it, `utime` and `stime` are the 12th and 13th.
        let fields = stat
            .rsplit_once(')')
            .ok_or("no name")?
            .1
            .split_whitespace()
            .skip(11);
        let ticks: u64 = fields
            .take(2)
            .filter_map(|field| field.parse::<u64>().ok())
            .sum();

        Ok(Usage {
            rss_bytes,
            descriptors: std::fs::read_dir(format!("{proc}/fd"))?.count(),
            // Linux counts in hundredths of a second towards programs.
            cpu: Duration::from_millis(ticks * 10),
        })
    }

    /// Its resident memory alone: the rest takes milliseconds where there are thousands of descriptors.
    ///
    /// # Errors
    /// Where it has ended.
    pub fn rss_bytes(&self) -> Outcome<u64> {
        self.memory("VmRSS:")
    }

    /// The most resident memory that it has had since its start, or since [`reset_peak`](Self::reset_peak).
    ///
    /// # Errors
    /// Where it has ended.
    pub fn rss_peak_bytes(&self) -> Outcome<u64> {
        self.memory("VmHWM:")
    }

    /// Lets the peak of its memory begin again with what it has now. A system that does not allow that leaves
    /// the peak since the start, which is no less.
    pub fn reset_peak(&self) {
        // 5 resets the peak (proc_pid_clear_refs(5)).
        drop(std::fs::write(
            format!("/proc/{}/clear_refs", self.child.id()),
            "5",
        ));
    }

    /// The figure behind a label of /proc/PID/status.
    fn memory(&self, label: &str) -> Outcome<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let figure = status
            .lines()
            .find_map(|line| line.strip_prefix(label))
            .ok_or_else(|| format!("the process has ended: it has no {label}"))?;
        Ok(figure.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Ready when the process that has started this one is gone, or wants it to end.
pub async fn parent_is_gone() {
    let mut rest = Vec::new();
    drop(tokio::io::stdin().read_to_end(&mut rest).await);
}
