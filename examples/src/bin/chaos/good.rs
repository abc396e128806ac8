//! The good client: a constant load in an open loop, whatever becomes of the calls.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rpc_client::metrics::Report as ClientReport;
use rpc_client::{Client, Config, Error};
use rpc_core::Code;
use serde_json::{Value, json};
use tokio::runtime::Handle;

/// Calls in flight at most: more would say only that the server stands still.
const IN_FLIGHT_MAX: usize = 20_000;

/// The command `add` of the daemon's `conformance` service, which no bad peer calls.
pub(crate) const ADD: u32 = 10_004;

/// What became of the calls that began in some time.
pub(crate) struct Window {
    /// Microseconds from the moment at which the call should have been sent.
    pub(crate) answered: Histogram<u64>,
    /// Of those that were refused with code 8.
    pub(crate) refused: Histogram<u64>,
    /// Of those that failed otherwise, the last one.
    pub(crate) errors: u64,
    pub(crate) last_error: Option<String>,
}

impl Window {
    pub(crate) fn new() -> Self {
        // To a minute, in microseconds: no call has longer.
        let histogram =
            || Histogram::new_with_bounds(1, 60_000_000, 3).expect("these bounds are possible");

        Self {
            answered: histogram(),
            refused: histogram(),
            errors: 0,
            last_error: None,
        }
    }

    /// Notes what has become of a call, and how long that took.
    pub(crate) fn note<T>(&mut self, outcome: Result<T, Error>, took: Duration) {
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        match outcome {
            Ok(_) => self.answered.saturating_record(took),
            Err(error) if error.code() == Code::RESOURCE_EXHAUSTED => {
                self.refused.saturating_record(took);
            }
            Err(error) => {
                self.errors += 1;
                self.last_error = Some(error.to_string());
            }
        }
    }

    /// Calls that were not answered.
    pub(crate) fn failures(&self) -> u64 {
        self.errors + self.refused.len()
    }

    /// In milliseconds. Where no call was answered, it is longer than any.
    pub(crate) fn p99(&self) -> f64 {
        if self.answered.is_empty() {
            return f64::INFINITY;
        }
        milliseconds(&self.answered, 99.0)
    }
}

#[allow(
    clippy::cast_precision_loss,
    reason = "microseconds of some seconds are exact"
)]
pub(crate) fn milliseconds(histogram: &Histogram<u64>, percentile: f64) -> f64 {
    histogram.value_at_percentile(percentile) as f64 / 1_000.0
}

/// A client whose calls are tried once: a retry would hide what this is here to see.
pub(crate) fn client_that_tries_once(address: &str) -> Client {
    let config = Config::default().with(|config| config.retry.attempts_max = 1);
    Client::with_config(address, config)
}

/// A load that goes on until it is dropped.
pub(crate) struct Load {
    shared: Arc<Shared>,
    pacer: Option<JoinHandle<()>>,
}

struct Shared {
    client: Client,
    window: Mutex<Window>,
    is_over: AtomicBool,
    /// One permit for each call in flight.
    room: tokio::sync::Semaphore,
}

impl Load {
    /// Calls [`ADD`].
    pub(crate) fn of_additions(address: &str, per_second: u32) -> Self {
        let shared = Arc::new(Shared {
            client: client_that_tries_once(address),
            window: Mutex::new(Window::new()),
            is_over: AtomicBool::new(false),
            room: tokio::sync::Semaphore::new(IN_FLIGHT_MAX),
        });

        let (runtime, of_pacer) = (Handle::current(), Arc::clone(&shared));

        // A thread of its own: a runtime's timer is exact to a millisecond only.
        let pacer = std::thread::spawn(move || pace(&of_pacer, per_second, &runtime));

        Self {
            shared,
            pacer: Some(pacer),
        }
    }

    /// Takes what ended since the last time.
    pub(crate) fn take(&self) -> Window {
        std::mem::replace(&mut *self.shared.lock(), Window::new())
    }

    /// What ends in the next `time`.
    pub(crate) async fn window(&self, time: Duration) -> Window {
        drop(self.take());
        tokio::time::sleep(time).await;
        self.take()
    }
}

impl Load {
    /// Ends the load, and returns what its client has counted once no call is under way.
    pub(crate) async fn end(mut self) -> ClientReport {
        self.stop();
        let all = u32::try_from(IN_FLIGHT_MAX).expect("it is small");
        let room = self.shared.room.acquire_many(all).await;
        drop(room.expect("it is never closed"));
        self.shared.client.report()
    }

    fn stop(&mut self) {
        // Relaxed: no other memory depends on it.
        self.shared.is_over.store(true, Ordering::Relaxed);
        drop(self.pacer.take().map(JoinHandle::join));
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Window> {
        // A count is never half done.
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn call(&self, intended: Instant) {
        let outcome = self
            .client
            .call::<_, Value>(ADD, &json!({ "a": 20, "b": 22 }))
            .await;
        self.lock().note(outcome, intended.elapsed());
    }
}

fn pace(shared: &Arc<Shared>, per_second: u32, runtime: &Handle) {
    let start = Instant::now();
    let between = Duration::from_secs(1) / per_second;

    for number in 0.. {
        let intended = start + between * number;
        std::thread::sleep(intended.saturating_duration_since(Instant::now()));
        if shared.is_over.load(Ordering::Relaxed) {
            return;
        }

        let shared = Arc::clone(shared);
        runtime.spawn(async move {
            match shared.room.try_acquire() {
                Ok(_permit) => shared.call(intended).await,
                Err(_) => shared.lock().errors += 1,
            }
        });
    }
}
