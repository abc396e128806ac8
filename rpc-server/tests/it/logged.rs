//! The server's log, as text.

use std::io::Write;
use std::sync::{Arc, LazyLock, Mutex};

use tracing::Dispatch;
use tracing::subscriber::{DefaultGuard, Subscriber};
use tracing_subscriber::fmt::format::FmtSpan;

/// The log of this thread for as long as this lives.
pub(crate) struct Logged {
    text: Arc<Mutex<Vec<u8>>>,
    _guard: DefaultGuard,
}

/// A subscriber that no thread uses. While there is only one, `tracing` asks the thread that first comes by an event
/// whether the event is wanted, and a thread without a subscriber would switch it off for the test that looks for it;
/// with two it asks the subscribers.
static SECOND: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(tracing_subscriber::registry()));

pub(crate) fn use_for_this_thread(subscriber: impl Subscriber + Send + Sync) -> DefaultGuard {
    LazyLock::force(&SECOND);
    tracing::subscriber::set_default(subscriber)
}

/// What was written, shared by its clones.
#[derive(Clone, Default)]
pub(crate) struct Memory(Arc<Mutex<Vec<u8>>>);

impl Memory {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Logged {
    pub(crate) fn begin() -> Self {
        let memory = Memory(Arc::default());
        let text = Arc::clone(&memory.0);
        let log = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false);
        let subscriber = log.with_writer(move || memory.clone()).finish();
        Self {
            text,
            _guard: use_for_this_thread(subscriber),
        }
    }

    /// As the daemon logs with `log_format = "json"`.
    pub(crate) fn begin_json() -> Self {
        let memory = Memory(Arc::default());
        let text = Arc::clone(&memory.0);
        let log = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE);
        let subscriber = log
            .json()
            .flatten_event(true)
            .with_writer(move || memory.clone())
            .finish();
        Self {
            text,
            _guard: use_for_this_thread(subscriber),
        }
    }

    /// With a line for each of these events of a span, and the threads that they are of.
    pub(crate) fn begin_with_spans(events: FmtSpan) -> Self {
        let memory = Memory(Arc::default());
        let text = Arc::clone(&memory.0);
        let log = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_thread_ids(true)
            .with_span_events(events);
        let subscriber = log.with_writer(move || memory.clone()).finish();
        Self {
            text,
            _guard: use_for_this_thread(subscriber),
        }
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.text.lock().unwrap().clone()).unwrap()
    }

    /// Waits until something is logged that contains `part`, and returns its line.
    pub(crate) async fn line_with(&self, part: &str) -> String {
        let find = || {
            self.text()
                .lines()
                .find(|line| line.contains(part))
                .map(str::to_owned)
        };
        let waiting = async {
            loop {
                if let Some(line) = find() {
                    return line;
                }
                tokio::task::yield_now().await;
            }
        };
        let found = tokio::time::timeout(std::time::Duration::from_secs(60), waiting).await;
        found.unwrap_or_else(|_| panic!("{part:?} is not in the log:\n{}", self.text()))
    }
}
