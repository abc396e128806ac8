//! The lines of a log on their way to standard error or to a file.
//!
//! The reader of standard error may stop reading: a pipe that is full, a terminal that is held, a disk that hangs. Then
//! a write waits for as long as that takes, and with it every thread that logs. So lines go into a queue, and a thread
//! of its own writes them. What does not fit is dropped and counted, and a log says how many lines that were.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

use super::dropped::DroppedLines;

/// A buffer that has grown larger than this is given back to the system after use.
const KEPT_BYTES_MAX: usize = 64 * 1024;

/// The lines that wait, between the threads that log and the one that writes: a writer for layers of
/// `tracing_subscriber` that never waits. Clones share the lines.
///
/// ```
/// use rpc_server::loggers::LogQueue;
///
/// let queue = LogQueue::to_stderr(1 << 20)?;
/// let log = tracing_subscriber::fmt::Layer::<tracing_subscriber::Registry>::default().with_writer(queue);
/// # let _ = log;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct LogQueue(Arc<Shared>);

struct Shared {
    /// Held to copy a line in or to take all of them out, never while they are written.
    state: Mutex<State>,
    changed: Condvar,
    bytes_max: usize,
    dropped: DroppedLines,
}

#[derive(Default)]
struct State {
    lines: Vec<u8>,
    /// Lines that were dropped and not told of yet.
    untold: u64,
    /// Whether lines that were taken out are being written.
    is_writing: bool,
    /// Whether the thread ends when it has written all lines.
    is_closed: bool,
    /// Whether it has ended, and the output is closed.
    is_over: bool,
}

impl LogQueue {
    /// A queue of at most `bytes_max` bytes whose lines go to standard error. The log itself says how many were dropped.
    ///
    /// # Errors
    /// Where the system has no thread for it.
    pub fn to_stderr(bytes_max: usize) -> io::Result<Self> {
        Self::start(bytes_max, io::stderr(), |dropped| {
            // It takes the way of all lines, and there is room for it now.
            tracing::error!(
                dropped,
                "lines of this log were dropped: standard error was not read as fast as they came; read it faster, \
                 log less (`log_level`), or raise `log_lines_bytes_max`"
            );
        })
    }

    /// A queue of at most `bytes_max` bytes, and a thread that writes its lines to `output`. After each write that
    /// lines were dropped before, the thread calls `report_dropped` with their number.
    ///
    /// # Errors
    /// Where the system has no thread for it.
    pub fn start(
        bytes_max: usize,
        output: impl Write + Send + 'static,
        report_dropped: impl Fn(u64) + Send + 'static,
    ) -> io::Result<Self> {
        Self::start_counting(bytes_max, output, report_dropped, DroppedLines::default())
    }

    /// As [`start`](Self::start): what is dropped is added to `dropped`.
    pub(super) fn start_counting(
        bytes_max: usize,
        output: impl Write + Send + 'static,
        report_dropped: impl Fn(u64) + Send + 'static,
        dropped: DroppedLines,
    ) -> io::Result<Self> {
        let queue = Self(Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
            bytes_max,
            dropped,
        }));

        let lines = queue.clone();
        thread::Builder::new().name("log".into()).spawn(move || {
            let _over = Over(lines.clone());
            lines.write_to(output, report_dropped);
        })?;
        Ok(queue)
    }

    /// Returns once all lines are written, or that has taken as long as `patience`.
    pub fn flush(&self, patience: Duration) {
        let is_busy = |state: &mut State| state.is_writing || !state.lines.is_empty();
        let changed = &self.0.changed;
        // In time or not, the caller goes on.
        drop(changed.wait_timeout_while(self.state(), patience, is_busy));
    }

    /// Returns once the queue was closed, its lines are written, and its output is closed.
    pub(super) fn wait_for_end(&self) {
        let is_at_work = |state: &mut State| !state.is_over;
        drop(self.0.changed.wait_while(self.state(), is_at_work));
    }

    pub(super) fn is_over(&self) -> bool {
        self.state().is_over
    }

    /// Has the thread end when it has written the lines that wait. Further ones are dropped.
    pub fn close(&self) {
        self.state().is_closed = true;
        self.0.changed.notify_all();
    }

    /// Lines that were dropped so far, or lost because the output has failed.
    pub fn dropped(&self) -> u64 {
        self.0.dropped.count()
    }

    pub(super) fn push(&self, line: &[u8]) {
        let mut state = self.state();
        if state.is_closed || state.lines.len() + line.len() > self.0.bytes_max {
            state.untold += 1;
            self.0.dropped.add(1);
            return;
        }

        state.lines.extend_from_slice(line);
        drop(state);
        self.0.changed.notify_all();
    }

    fn write_to(&self, mut output: impl Write, report_dropped: impl Fn(u64)) {
        let mut lines = Vec::new();
        while let Some(dropped) = self.take(&mut lines) {
            let lost = write(&mut output, &lines);
            // An output that fails says so by itself, if there is somewhere to say it.
            let _ = output.flush();
            lines.clear();
            lines.shrink_to(KEPT_BYTES_MAX);

            if dropped > 0 {
                report_dropped(dropped);
            }

            let mut state = self.state();
            self.0.dropped.add(lost);
            state.is_writing = false;
            drop(state);
            self.0.changed.notify_all();
        }
    }

    /// Waits for lines and takes all there are; returns how many were dropped before they could be taken. `None` when the
    /// queue is closed and empty.
    fn take(&self, lines: &mut Vec<u8>) -> Option<u64> {
        let is_idle = |state: &mut State| state.lines.is_empty() && !state.is_closed;
        let waited = self.0.changed.wait_while(self.state(), is_idle);
        // As in `state`.
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        if state.lines.is_empty() {
            return None;
        }

        std::mem::swap(&mut state.lines, lines);
        state.is_writing = true;
        Some(std::mem::take(&mut state.untold))
    }

    /// Every step leaves the state whole, so a panic elsewhere does it no harm.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes lines; returns how many of them the output has not taken.
fn write(output: &mut impl Write, mut lines: &[u8]) -> u64 {
    while !lines.is_empty() {
        match output.write(lines) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => break,
            Ok(written) => lines = &lines[written..],
        }
    }

    lines.split_inclusive(|byte| *byte == b'\n').count() as u64
}

/// Says that the thread has ended, however it does.
struct Over(LogQueue);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.state().is_over = true;
        self.0.0.changed.notify_all();
    }
}

impl<'a> MakeWriter<'a> for LogQueue {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(self)
    }
}

/// One line on its way into the queue.
pub struct Line<'a>(&'a LogQueue);

impl Write for Line<'_> {
    /// Takes the line whole, as it is formatted: of one that does not fit, nothing is written.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::Instant;

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    /// An output that takes what it is given when it is told to.
    struct Held {
        taken: Sender<String>,
        may_take: Receiver<()>,
    }

    impl Write for Held {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // Both ends are there for as long as the test.
            let _ = self.may_take.recv();
            let _ = self.taken.send(String::from_utf8_lossy(bytes).into_owned());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn held() -> (Held, Sender<()>, Receiver<String>) {
        let (taken, text) = channel();
        let (let_take, may_take) = channel();
        (Held { taken, may_take }, let_take, text)
    }

    #[test]
    fn lines_that_do_not_fit_are_dropped_whole_and_the_log_says_how_many() {
        let (output, let_take, text) = held();
        let (tell, told) = channel();
        // The receiver is there for as long as the test.
        let report_dropped = move |dropped| {
            let _ = tell.send(dropped);
        };
        let queue = LogQueue::start(250, output, report_dropped).unwrap();
        let log = tracing_subscriber::fmt::layer()
            .without_time()
            .with_ansi(false)
            .with_writer(queue.clone());
        let subscriber = tracing_subscriber::registry().with(log);
        let _guard = tracing::subscriber::set_default(subscriber);

        tracing::info!("the first, which is being written");
        queue.flush(Duration::ZERO);
        while !queue.state().lines.is_empty() {
            thread::yield_now();
        }
        let begun = Instant::now();
        for n in 0..1000 {
            tracing::info!("line {n:04}");
        }
        assert!(begun.elapsed() < LONG, "logging does not wait");
        assert!(queue.state().lines.len() <= 250);

        let next = || {
            let_take.send(()).unwrap();
            text.recv_timeout(LONG).unwrap()
        };
        assert!(next().contains("the first"));
        let kept = next();
        let count = kept.lines().count();
        assert!(
            kept.ends_with('\n') && kept.contains("line 0000") && count < 10,
            "{kept}"
        );
        let dropped = 1000 - count as u64;
        assert_eq!(told.recv_timeout(LONG), Ok(dropped));
        assert_eq!(queue.dropped(), dropped);

        queue.flush(LONG);
        assert!(!queue.state().is_writing);
    }

    #[test]
    fn a_flush_ends_with_the_last_line_or_with_its_patience() {
        let (output, let_take, text) = held();
        let queue = LogQueue::start(250, output, |_| ()).unwrap();
        queue.push(b"a line\n");
        queue.flush(Duration::from_millis(1));

        let_take.send(()).unwrap();
        queue.flush(LONG);
        assert_eq!(text.try_recv().unwrap(), "a line\n");
    }

    #[test]
    fn lines_that_an_output_does_not_take_count_as_dropped() {
        /// It takes a line and a half, and then nothing.
        struct Failing(bool);

        impl Write for Failing {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                match std::mem::replace(&mut self.0, true) {
                    false => Ok(10),
                    true => Err(io::ErrorKind::StorageFull.into()),
                }
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }

        let queue = LogQueue::start(250, Failing(false), |_| ()).unwrap();
        queue.push(b"first\nsecond\nthird\n");
        queue.flush(Duration::MAX);
        assert_eq!(queue.dropped(), 2);
        queue.push(b"fourth\n");
        queue.flush(Duration::MAX);
        assert_eq!(queue.dropped(), 3);
    }

    #[test]
    fn a_closed_queue_writes_what_waits_and_then_its_thread_ends() {
        let (output, let_take, text) = held();
        let queue = LogQueue::start(250, output, |_| ()).unwrap();
        queue.push(b"a line\n");
        queue.close();
        queue.push(b"too late\n");

        let_take.send(()).unwrap();
        assert_eq!(text.recv_timeout(LONG).unwrap(), "a line\n");
        // The output, and with it the sender, goes with the thread.
        assert!(text.recv_timeout(LONG).is_err());
        assert_eq!(queue.dropped(), 1);
    }
}
