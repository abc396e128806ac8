//! The job that every transport does: tasks that take entries from one list and send each.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rpc_core::api::log::Append;
use rpc_daemon::config::LogSettings;
use tokio::task::JoinSet;

use crate::Error;

/// Tasks that send at the same time, each one entry at a time.
pub(crate) const TASKS: usize = 64;

/// The daemon's own, but for a queue that takes what all tasks may send at once: an entry has 1 MiB at
/// most.
pub(crate) fn log_settings() -> LogSettings {
    LogSettings {
        queue_bytes_max: TASKS << 20,
        ..LogSettings::default()
    }
}

/// What carries an entry to the server and its answer back.
pub(crate) trait Transport: Clone + Send + 'static {
    /// Sends one entry, and waits for the answer.
    fn append(&self, entry: &Append) -> impl Future<Output = Result<(), Error>> + Send;
}

/// A number of calls, with the entries in turn.
#[derive(Clone)]
pub(crate) struct Job {
    entries: Arc<[Append]>,
    pub(crate) calls: u64,
}

impl Job {
    /// Each entry once.
    pub(crate) fn once(entries: &Arc<[Append]>) -> Self {
        Self {
            entries: Arc::clone(entries),
            calls: entries.len() as u64,
        }
    }

    /// `calls` calls, with the entries in turn, or fewer if that would be too many bytes.
    pub(crate) fn in_turn(entries: &Arc<[Append]>, calls: u64, bytes_max: u64) -> Self {
        let once = Self::once(entries);
        let bytes: u64 = entries.iter().map(|entry| entry.message.len() as u64).sum();
        Self {
            calls: calls.min(bytes_max * once.calls / bytes.max(1)).max(1),
            ..once
        }
    }

    /// The same, ended after `calls` calls.
    pub(crate) fn at_most(&self, calls: u64) -> Self {
        Self {
            calls: self.calls.min(calls),
            ..self.clone()
        }
    }
}

/// Does the job, and tells how long it took. The first call that fails ends it.
pub(crate) async fn run(job: &Job, transport: impl Transport) -> Result<Duration, Error> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    let started = Instant::now();

    for _ in 0..TASKS {
        let (job, next, transport) = (job.clone(), Arc::clone(&next), transport.clone());
        tasks.spawn(async move {
            loop {
                // Relaxed: that each number is taken once is all that matters.
                let taken = next.fetch_add(1, Ordering::Relaxed);
                if taken as u64 >= job.calls {
                    return Ok::<(), Error>(());
                }

                transport
                    .append(&job.entries[taken % job.entries.len()])
                    .await?;
            }
        });
    }

    while let Some(ended) = tasks.join_next().await {
        ended??;
    }

    Ok(started.elapsed())
}
