//! Test doubles: services with faults drawn from a seed.
//!
//! Whatever takes a [`Service`] takes any of these:
//!
//! | stand-in | what is between it and the caller |
//! | --- | --- |
//! | a `Router` of rpc-server, or [`service_fn`](crate::service_fn) | nothing: the handler is called as a function; [`ServiceClient`](crate::ServiceClient) types the calls |
//! | either of them inside [`Faulty`] | faults by a seed: delays, failures, lost replies, silence |
//! | a `Server` joined by [`Client::over`](crate::Client::over) | the whole wire in memory, for code that takes a [`Client`](crate::Client) |
//!
//! The last one needs no port and no socket:
//!
//! ```
//! use rpc_client::{Client, Config, Status};
//! use rpc_server::{Params, Router, Server};
//!
//! async fn double(Params(n): Params<i64>) -> Result<i64, Status> {
//!     Ok(n * 2)
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = Server::builder().router(Router::new().route(100, double)?).bind().await?;
//! let (ours, theirs) = tokio::io::duplex(64 * 1024);
//! tokio::spawn(server.handle().serve_connection(theirs, "test"));
//! let client = Client::over(ours, "in memory", Config::default());
//! assert_eq!(client.call::<_, i64>(100, &21).await?, 42);
//! # Ok(())
//! # }
//! ```

use std::future::{Future, pending};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rpc_core::{Outcome, Request, Service, Status};

/// Puts faults around a service, each with a probability of its own, from a seed: the same seed gives the
/// n-th call the same fate, whatever the others do. Clones share the service, the numbering and the counts.
///
/// A call meets one fault at most, besides a delay. The messages name seed and call, so that a test that
/// fails can be repeated. It needs tokio's clock where it delays.
///
/// ```
/// use rpc_client::testing::Faulty;
/// use rpc_client::{Reply, ServiceClient, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), rpc_client::Status> {
/// let orders = service_fn(|request| async move { Ok(Reply::raw(request.params)) });
/// let faulty = Faulty::new(orders, 7).not_sent(0.2).disconnect(0.2);
/// let client = ServiceClient::new(faulty.clone());
///
/// let mut failed = 0;
/// for n in 0..100 {
///     match client.call::<_, u32>(100, &n).await {
///         Ok(reply) => assert_eq!(reply, n),
///         // Here the code under test says what it does about it.
///         Err(status) if status.is_rejected() => failed += 1,
///         Err(_may_have_run) => failed += 1,
///     }
/// }
/// let counts = faulty.counts();
/// assert_eq!(failed, counts.not_sent + counts.disconnected);
/// assert_eq!(counts.calls, 100);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Faulty<S> {
    inner: Arc<S>,
    seed: u64,
    faults: Vec<(f64, Fault)>,
    delay: Option<(f64, RangeInclusive<Duration>)>,
    counters: Arc<Counters>,
}

#[derive(Debug, Clone)]
enum Fault {
    NotSent,
    Disconnect,
    NeverAnswer,
    Fail(Status),
}

impl<S: Service> Faulty<S> {
    /// The service as it is, until faults are added.
    pub fn new(inner: S, seed: u64) -> Self {
        Self {
            inner: Arc::new(inner),
            seed,
            faults: Vec::new(),
            delay: None,
            counters: Arc::default(),
        }
    }

    /// With this probability a call is not sent: code 14, `rejected`. It does not run.
    ///
    /// # Panics
    /// Where the probability is not between 0 and 1, or those of all faults are more than 1 together.
    #[must_use]
    pub fn not_sent(self, probability: f64) -> Self {
        self.fault(probability, Fault::NotSent)
    }

    /// With this probability the connection is lost under a call: code 14, may have run. Half of these
    /// calls run to their end, and only their replies are lost.
    ///
    /// # Panics
    /// As [`not_sent`](Self::not_sent).
    #[must_use]
    pub fn disconnect(self, probability: f64) -> Self {
        self.fault(probability, Fault::Disconnect)
    }

    /// With this probability a call does not run and is never answered; its caller's deadline is all
    /// that ends it.
    ///
    /// # Panics
    /// As [`not_sent`](Self::not_sent).
    #[must_use]
    pub fn never_answer(self, probability: f64) -> Self {
        self.fault(probability, Fault::NeverAnswer)
    }

    /// With this probability a call does not run and fails with this status.
    ///
    /// # Panics
    /// As [`not_sent`](Self::not_sent).
    #[must_use]
    pub fn fail(self, probability: f64, status: Status) -> Self {
        self.fault(probability, Fault::Fail(status))
    }

    /// With this probability a call begins later, by a time from this range. What else happens to it is not
    /// changed by that.
    ///
    /// # Panics
    /// Where the probability is not between 0 and 1.
    #[must_use]
    pub fn delay(mut self, probability: f64, range: RangeInclusive<Duration>) -> Self {
        check(probability);
        self.delay = Some((probability, range));
        self
    }

    /// What it has done so far.
    pub fn counts(&self) -> Counts {
        let Counters {
            calls,
            passed,
            delayed,
            not_sent,
            disconnected,
            never_answered,
            failed,
        } = &*self.counters;

        // Relaxed: they are counts, and order nothing.
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            calls: load(calls),
            passed: load(passed),
            delayed: load(delayed),
            not_sent: load(not_sent),
            disconnected: load(disconnected),
            never_answered: load(never_answered),
            failed: load(failed),
        }
    }

    fn fault(mut self, probability: f64, fault: Fault) -> Self {
        check(probability);
        self.faults.push((probability, fault));

        let sum: f64 = self.faults.iter().map(|(probability, _)| probability).sum();
        // Sums of tenths may be a little more than they should.
        assert!(
            sum <= 1.0 + 1e-9,
            "the probabilities of all faults are {sum} together, and 1 at most"
        );

        self
    }

    /// Draws what becomes of the call with this number.
    fn fate(&self, call: u64) -> Fate {
        // An odd multiplier, so that neighbouring calls and seeds have generators that are far apart.
        let mut random =
            fastrand::Rng::with_seed(self.seed ^ call.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let (drawn, is_delayed, share, runs_first) =
            (random.f64(), random.f64(), random.f64(), random.bool());

        let mut below = 0.0;
        let hit = self.faults.iter().find(|(probability, _)| {
            below += probability;
            drawn < below
        });

        let delay = self
            .delay
            .as_ref()
            .filter(|(probability, _)| is_delayed < *probability);

        Fate {
            fault: hit.map(|(_, fault)| fault.clone()),
            delay: delay.map(|(_, range)| {
                *range.start() + range.end().saturating_sub(*range.start()).mul_f64(share)
            }),
            runs_first,
        }
    }
}

#[track_caller]
fn check(probability: f64) {
    assert!(
        (0.0..=1.0).contains(&probability),
        "a probability is between 0 and 1, and not {probability}"
    );
}

impl<S> Clone for Faulty<S> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            seed: self.seed,
            faults: self.faults.clone(),
            delay: self.delay.clone(),
            counters: Arc::clone(&self.counters),
        }
    }
}

struct Fate {
    fault: Option<Fault>,
    delay: Option<Duration>,
    /// Of a call whose connection is lost: whether it ran before that.
    runs_first: bool,
}

impl<S: Service> Service for Faulty<S> {
    fn call(&self, request: Request<'_>) -> impl Future<Output = Outcome> + Send + 'static {
        // A call that is prepared and never polled has not run, and gets no number.
        let (call, this) = (self.inner.call(request), self.clone());

        async move {
            let add = |counter: &AtomicU64| counter.fetch_add(1, Ordering::Relaxed);
            let counters = &*this.counters;
            let number = add(&counters.calls);
            let injected = || format!("injected into call {number} by seed {}", this.seed);

            let Fate {
                fault,
                delay,
                runs_first,
            } = this.fate(number);
            if let Some(delay) = delay {
                add(&counters.delayed);
                tokio::time::sleep(delay).await;
            }

            match fault {
                None => {
                    add(&counters.passed);
                    call.await
                }
                Some(Fault::NotSent) => {
                    add(&counters.not_sent);
                    Err(Status::unavailable(format!("not sent: {}", injected())).with_rejected())
                }
                Some(Fault::Disconnect) => {
                    add(&counters.disconnected);
                    if runs_first {
                        // Its reply is what is lost.
                        let _ = call.await;
                    }
                    Err(Status::unavailable(format!(
                        "sent, and may have run: {}",
                        injected()
                    )))
                }
                Some(Fault::NeverAnswer) => {
                    add(&counters.never_answered);
                    drop(call);
                    pending().await
                }
                Some(Fault::Fail(status)) => {
                    add(&counters.failed);
                    Err(status)
                }
            }
        }
    }
}

#[derive(Debug, Default)]
struct Counters {
    calls: AtomicU64,
    passed: AtomicU64,
    delayed: AtomicU64,
    not_sent: AtomicU64,
    disconnected: AtomicU64,
    never_answered: AtomicU64,
    failed: AtomicU64,
}

/// What a [`Faulty`] has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Counts {
    /// Calls that were begun.
    pub calls: u64,
    /// Of those: handed on without a fault, be they delayed.
    pub passed: u64,
    /// Of those: delayed.
    pub delayed: u64,
    /// Of those: not sent.
    pub not_sent: u64,
    /// Of those: their connection was lost.
    pub disconnected: u64,
    /// Of those: never answered.
    pub never_answered: u64,
    /// Of those: failed with the status that was given.
    pub failed: u64,
}
