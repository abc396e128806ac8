//! The load on the servers, and what became of every call.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rpc_client::{Client, Error};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::Outcome;
use crate::servers::RUN;

/// Tasks that call one after another.
const CALLERS: u64 = 16;
/// Nothing here takes so long unless something is wrong.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Load {
    shared: Arc<Shared>,
    callers: JoinSet<()>,
}

#[derive(Default)]
struct Shared {
    next_key: AtomicU64,
    is_over: AtomicBool,
    report: Mutex<Report>,
    progress: Notify,
}

/// Whether a call may run twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeats {
    /// Its command is idempotent.
    Allowed,
    Forbidden,
}

/// What became of calls.
#[derive(Default)]
pub(crate) struct Report {
    succeeded: BTreeSet<u64>,
    /// The keys of what failed, and how.
    did_not_run: BTreeMap<u64, Error>,
    may_have_run: BTreeMap<u64, Error>,
}

impl Load {
    pub(crate) fn start(client: &Client, repeats: Repeats) -> Self {
        let shared = Arc::new(Shared::default());
        let mut callers = JoinSet::new();
        for _ in 0..CALLERS {
            callers.spawn(call(client.clone(), Arc::clone(&shared), repeats));
        }
        Self { shared, callers }
    }

    /// Waits until every endpoint is connected and has answered once more.
    pub(crate) async fn until_all_answer(&self, client: &Client) -> Outcome<()> {
        let answered = |client: &Client| -> BTreeMap<String, u64> {
            client
                .endpoints()
                .into_iter()
                .map(|known| (known.address, known.calls - known.failures))
                .collect()
        };
        let before = answered(client);

        let all = async {
            loop {
                let is_connected = client
                    .endpoints()
                    .iter()
                    .all(|endpoint| endpoint.is_connected);
                let now = answered(client);
                let have_answered = now
                    .iter()
                    .all(|(address, calls)| *calls > before.get(address).copied().unwrap_or(0));

                if is_connected && have_answered && !now.is_empty() {
                    return;
                }

                self.shared.progress.notified().await;
            }
        };

        tokio::time::timeout(PATIENCE, all).await.map_err(|_| {
            format!(
                "not all servers answer after {} s: {:?}",
                PATIENCE.as_secs(),
                client.endpoints()
            )
            .into()
        })
    }

    /// Waits until a few more calls have ended.
    pub(crate) async fn some_calls(&self) -> Outcome<()> {
        tokio::time::timeout(PATIENCE, self.shared.progress.notified()).await?;
        Ok(())
    }

    /// The share of each endpoint of the next `calls` calls, in percent.
    pub(crate) async fn shares(&self, client: &Client, calls: u64) -> Outcome<Vec<(String, u64)>> {
        let before = client.endpoints();
        let ended = |now: &[rpc_client::EndpointStats]| -> Vec<(String, u64)> {
            let before = |address: &str| {
                before
                    .iter()
                    .find(|known| known.address == address)
                    .map_or(0, |known| known.calls)
            };

            now.iter()
                .map(|known| (known.address.clone(), known.calls - before(&known.address)))
                .collect()
        };

        loop {
            let counts = ended(&client.endpoints());
            let total: u64 = counts.iter().map(|(_, count)| count).sum();
            if total >= calls {
                return Ok(counts
                    .into_iter()
                    .map(|(address, count)| (address, count * 100 / total))
                    .collect());
            }

            self.some_calls().await?;
        }
    }

    /// What became of the calls since the last report.
    pub(crate) fn take_report(&self) -> Report {
        std::mem::take(
            &mut self
                .shared
                .report
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// Lets the calls that are under way end.
    pub(crate) async fn end(mut self) -> Report {
        self.shared.is_over.store(true, Ordering::Relaxed);
        while self.callers.join_next().await.is_some() {}
        self.take_report()
    }
}

async fn call(client: Client, shared: Arc<Shared>, repeats: Repeats) {
    while !shared.is_over.load(Ordering::Relaxed) {
        let key = shared.next_key.fetch_add(1, Ordering::Relaxed);
        let command = client.command(RUN);
        let command = match repeats {
            Repeats::Allowed => command.idempotent(),
            Repeats::Forbidden => command,
        };

        let result = command.call::<_, u64>(&key).await;

        let mut report = shared.report.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(same) => {
                assert_eq!(same, key, "the answer of another call");
                report.succeeded.insert(key);
            }
            Err(error) if error.may_have_run() => drop(report.may_have_run.insert(key, error)),
            Err(error) => drop(report.did_not_run.insert(key, error)),
        }

        drop(report);
        shared.progress.notify_waiters();
    }
}

impl Report {
    pub(crate) fn add(&mut self, other: Self) {
        self.succeeded.extend(other.succeeded);
        self.did_not_run.extend(other.did_not_run);
        self.may_have_run.extend(other.may_have_run);
    }

    pub(crate) fn failures(&self) -> usize {
        self.did_not_run.len() + self.may_have_run.len()
    }

    pub(crate) fn failed_elsewhere_than(&self, address: &str) -> Option<&Error> {
        self.did_not_run
            .values()
            .chain(self.may_have_run.values())
            .find(|error| error.address() != address)
    }

    /// Compares each verdict with what the handlers have recorded.
    pub(crate) fn check_against(&self, runs: &BTreeMap<u64, u64>, repeats: Repeats) -> Outcome<()> {
        let ran = |key: &u64| runs.get(key).copied().unwrap_or(0);

        if let Some((key, error)) = self.did_not_run.iter().find(|(key, _)| ran(key) > 0) {
            return Err(format!("call {key} ran, though: {error}").into());
        }

        if let Some(key) = self.succeeded.iter().find(|key| ran(key) == 0) {
            return Err(format!("call {key} has an answer and never ran").into());
        }

        match runs.iter().find(|(_, times)| **times > 1) {
            Some((key, times)) if repeats == Repeats::Forbidden => {
                Err(format!("call {key} ran {times} times").into())
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (succeeded, did_not, may) = (
            self.succeeded.len(),
            self.did_not_run.len(),
            self.may_have_run.len(),
        );

        write!(
            f,
            "{succeeded} succeeded, {did_not} did not run, {may} may have run"
        )?;

        let example = self
            .did_not_run
            .values()
            .chain(self.may_have_run.values())
            .next();
        example.map_or(Ok(()), |error| write!(f, "; as {error}"))
    }
}
