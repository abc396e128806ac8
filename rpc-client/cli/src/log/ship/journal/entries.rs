//! The output of `journalctl`: entries, in batches, and its own words.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStdout};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use super::batch::{Batch, Sealed};
use super::entry::Entry;
use super::journalctl::Run;
use super::state::Place;
use crate::exit::Failure;
use crate::output::complain;

/// Maximum length of a line in bytes. The entry of a longer one is left out.
const LINE_BYTES_MAX: usize = 8 << 20;

/// Maximum length of a line of the program's own words; the rest of a longer one is the next line.
const WORDS_BYTES_MAX: u64 = 1 << 10;

/// Maximum number of lines that are not sent and are reported.
const REPORTS_MAX: u32 = 10;

/// How long an entry waits for further ones of its batch.
const BATCH_AGE_MAX: Duration = Duration::from_millis(200);

/// The entries that a run of `journalctl` prints.
pub(super) struct Entries {
    child: Child,
    stdout: BufReader<ChildStdout>,
    /// Passes on what it says on standard error.
    words: JoinHandle<()>,
    /// What has come of the next line.
    line: Vec<u8>,
    /// Whether the line is one that is too long.
    is_skipping: bool,
    /// The cursor behind which it was to begin, until its first entry has come: that may be the one at the cursor.
    behind: Option<String>,
    /// An entry that is the first one of the next batch.
    held: Option<Entry>,
    /// Lines that were not sent.
    reports: u32,
}

/// A line of standard output.
enum Line {
    Whole(Vec<u8>),
    TooLong,
}

impl Entries {
    /// What this run prints, whose output is piped. If it was to begin behind a cursor, the entry there is left out.
    pub(super) fn of(mut child: Child, behind: Option<String>) -> Self {
        let stdout = child.stdout.take().expect("it is piped");
        let stderr = child.stderr.take().expect("it is piped");
        Self {
            child,
            stdout: BufReader::with_capacity(64 << 10, stdout),
            words: tokio::spawn(pass_on(stderr)),
            line: Vec::new(),
            is_skipping: false,
            behind,
            held: None,
            reports: 0,
        }
    }

    /// The next batch, once it is full or its first entry has waited long enough; `None` at the end.
    pub(super) async fn next_batch(&mut self) -> Result<Option<Sealed>, Failure> {
        let mut batch = Batch::default();
        let mut full_at: Option<Instant> = None;
        loop {
            let entry = match (self.held.take(), full_at) {
                (Some(entry), _) => Some(entry),
                (None, None) => self.next_entry().await?,
                (None, Some(at)) => match timeout_at(at, self.next_entry()).await {
                    Ok(entry) => entry?,
                    Err(_) => return Ok(batch.seal()),
                },
            };
            let Some(entry) = entry else {
                return Ok(batch.seal());
            };

            if !batch.has_room_for(&entry) {
                self.held = Some(entry);
                return Ok(batch.seal());
            }
            batch.push(entry);
            full_at.get_or_insert(Instant::now() + BATCH_AGE_MAX);
        }
    }

    /// Whether a further entry comes at once. What was read already may be the beginning of a line, or not an entry.
    pub(super) async fn has_next(&mut self) -> Result<bool, Failure> {
        if self.held.is_none() && !self.stdout.buffer().is_empty() {
            let next = timeout(BATCH_AGE_MAX, self.next_entry()).await;
            self.held = next.unwrap_or(Ok(None))?;
        }
        Ok(self.held.is_some())
    }

    /// The place of the first entry, if there is one. The rest is not read.
    pub(super) async fn into_first(mut self) -> Result<Option<Place>, Failure> {
        match self.next_entry().await? {
            Some(entry) => Ok(Some(entry.place)),
            None => self.end(Run::ToEnd).await.map(|()| None),
        }
    }

    /// Waits until the program has ended.
    ///
    /// # Errors
    /// It did not reach what it was to read.
    pub(super) async fn end(mut self, run: Run) -> Result<(), Failure> {
        let status = self.child.wait().await;
        let status = status.map_err(|error| Failure::io("cannot wait for journalctl", &error))?;
        // Its words come before those about it.
        let _ = self.words.await;

        match run {
            Run::ToEnd if status.success() => Ok(()),
            _ => Err(Failure::Io(format!(
                "journalctl has ended ({status}), although there may be more entries; start ship again: it continues after the \
                 last entry that it has sent"
            ))),
        }
    }

    /// The next entry; `None` at the end.
    ///
    /// # Cancel safety
    /// What was read until then is kept.
    async fn next_entry(&mut self) -> Result<Option<Entry>, Failure> {
        loop {
            let line = self.next_line().await;
            let line = line.map_err(|error| Failure::io("cannot read from journalctl", &error))?;
            let line = match line {
                None => return Ok(None),
                Some(Line::TooLong) => {
                    self.report(&format!(
                        "an entry of the journal is not sent: it has more than {LINE_BYTES_MAX} bytes as JSON"
                    ));
                    continue;
                }
                Some(Line::Whole(line)) => line,
            };

            let Some(entry) = Entry::parse(&line) else {
                self.report_stranger(&line);
                continue;
            };
            if self.behind.take().as_ref() != Some(&entry.place.cursor) {
                return Ok(Some(entry));
            }
        }
    }

    async fn next_line(&mut self) -> io::Result<Option<Line>> {
        loop {
            let room = LINE_BYTES_MAX - self.line.len();
            if room == 0 {
                self.is_skipping = true;
                self.line.clear();
                continue;
            }

            let mut bounded = (&mut self.stdout).take(room as u64);
            let read = bounded.read_until(b'\n', &mut self.line).await?;
            if self.line.last() == Some(&b'\n') {
                let line = std::mem::take(&mut self.line);
                return Ok(Some(match std::mem::take(&mut self.is_skipping) {
                    true => Line::TooLong,
                    false => Line::Whole(line),
                }));
            }
            // A piece of a line is all that a program that was killed has left of it.
            if read == 0 {
                return Ok(None);
            }
        }
    }

    /// Says that a line is not an entry. Of its own remarks, such as that the machine was started, there is nothing to say.
    fn report_stranger(&mut self, line: &[u8]) {
        if line.starts_with(b"-- ") {
            return;
        }

        let begin = String::from_utf8_lossy(&line[..line.len().min(80)]);
        self.report(&format!(
            "journalctl has printed a line that is not an entry as JSON, which is not sent: `{}`",
            begin.trim_end()
        ));
    }

    fn report(&mut self, what: &str) {
        self.reports = self.reports.saturating_add(1);
        if self.reports <= REPORTS_MAX {
            complain(&format!("rpc: {what}"));
        } else if self.reports == REPORTS_MAX + 1 {
            complain("rpc: further lines of journalctl that are not sent are not reported");
        }
    }
}

/// Passes on the program's own words, line by line.
async fn pass_on(stderr: impl AsyncRead + Unpin) {
    let mut stderr = BufReader::new(stderr);
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut bounded = (&mut stderr).take(WORDS_BYTES_MAX);
        match bounded.read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                let line = String::from_utf8_lossy(&line);
                complain(&format!("rpc: journalctl: {}", line.trim_end()));
            }
        }
    }
}
