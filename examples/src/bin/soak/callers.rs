//! The load: calls of every kind, each reply looked at.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use rpc_client::{Client, Config, Error, Mode};
use tokio::task::JoinSet;

use crate::Outcome;
use crate::ledger::Expected;
use crate::server::{COUNT, ECHO, NOTE, NUMBERS, Numbered, SLOW, answer_to};

const CALLERS: usize = 24;

/// Runs until it is stopped.
pub(crate) struct Callers {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

struct Shared {
    is_over: AtomicBool,
    next: AtomicUsize,
    counted: Mutex<Counted>,
}

/// Whether a call may run twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Repeats {
    /// Its command is idempotent.
    Allowed,
    Forbidden,
}

/// What became of the calls.
#[derive(Default)]
pub(crate) struct Counted {
    /// What the server's book must say of each number.
    pub(crate) expected: Vec<Expected>,
    kinds: BTreeMap<&'static str, u64>,
    failures: BTreeMap<String, u64>,
    pub(crate) wrong: u64,
    pub(crate) first_wrong: String,
}

impl Counted {
    pub(crate) fn calls(&self) -> u64 {
        self.kinds.values().sum()
    }

    pub(crate) fn kinds(&self) -> String {
        let kinds: Vec<String> = self
            .kinds
            .iter()
            .map(|(kind, count)| format!("{kind} {count}"))
            .collect();
        format!("{}: {}", self.calls(), kinds.join(", "))
    }

    pub(crate) fn failures(&self) -> String {
        let failures: Vec<String> = self
            .failures
            .iter()
            .map(|(how, count)| format!("{how} {count}"))
            .collect();
        failures.join(", ")
    }

    fn check(&mut self, is_right: bool, what: impl FnOnce() -> String) {
        if !is_right {
            self.wrong += 1;
            if self.wrong == 1 {
                self.first_wrong = what();
            }
        }
    }
}

impl Callers {
    pub(crate) fn start(address: &str) -> Self {
        let shared = Arc::new(Shared {
            is_over: AtomicBool::new(false),
            next: AtomicUsize::new(0),
            counted: Mutex::new(Counted::default()),
        });

        let quick = Config::default().with(|config| {
            config.reconnect.base_ms = 5;
            config.reconnect.cap_ms = 100;
        });
        let clients = [
            quick.clone().with(|config| config.hedge.percentile = 90),
            quick
                .clone()
                .with(|config| config.pool.mode = Mode::Pooled(3)),
            quick.with(|config| config.pool.mode = Mode::Short),
        ]
        .map(|config| Client::with_config(address, config));

        let mut tasks = JoinSet::new();
        for caller in 0..CALLERS {
            // A connection for each call is for few of them.
            let client = if caller % 12 == 11 {
                &clients[2]
            } else {
                &clients[caller % 2]
            };

            tasks.spawn(call_on(client.clone(), Arc::clone(&shared)));
        }

        Self { shared, tasks }
    }

    /// Lets every call come to its end.
    pub(crate) async fn stop(mut self) -> Outcome<Counted> {
        self.shared.is_over.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended?;
        }
        Ok(std::mem::take(&mut *self.shared.lock()))
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number of its own, which no other caller uses.
    fn number(&self) -> usize {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        let mut counted = self.lock();
        if counted.expected.len() <= n {
            counted.expected.resize(n + 1, Expected::Any);
        }
        n
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
            || self.next.load(Ordering::Relaxed) + CALLERS >= NUMBERS
    }

    /// Notes how a call with a number ended.
    fn note(&self, kind: &'static str, n: usize, outcome: Result<usize, Error>, repeats: Repeats) {
        let mut counted = self.lock();
        *counted.kinds.entry(kind).or_default() += 1;

        counted.expected[n] = match outcome {
            Ok(answer) => {
                counted.check(answer == answer_to(n), || {
                    format!("{answer} was the answer to {n}")
                });

                match repeats {
                    Repeats::Allowed => Expected::AtLeastOnce,
                    Repeats::Forbidden => Expected::Once,
                }
            }
            Err(error) => {
                let how = if error.may_have_run() {
                    "may have run"
                } else {
                    "did not run"
                };

                *counted
                    .failures
                    .entry(format!("{how} (code {})", error.code()))
                    .or_default() += 1;

                match (error.may_have_run(), repeats) {
                    (true, Repeats::Allowed) => Expected::Any,
                    (true, Repeats::Forbidden) => Expected::AtMostOnce,
                    (false, _) => Expected::Never,
                }
            }
        };
    }
}

async fn call_on(client: Client, shared: Arc<Shared>) {
    while !shared.is_over() {
        match fastrand::u8(0..100) {
            0..=39 => {
                let n = shared.number();
                let outcome = client.call(NOTE, &Numbered { n, ms: 0 }).await;
                shared.note("unary", n, outcome, Repeats::Forbidden);
            }
            40..=54 => {
                let n = shared.number();
                let outcome = client
                    .command(NOTE)
                    .ordered()
                    .call(&Numbered { n, ms: 0 })
                    .await;
                shared.note("ordered", n, outcome, Repeats::Forbidden);
            }
            55..=64 => {
                let (n, ms) = (shared.number(), fastrand::u64(0..30));
                let outcome = client
                    .command(SLOW)
                    .idempotent()
                    .call(&Numbered { n, ms })
                    .await;
                shared.note("idempotent, hedged", n, outcome, Repeats::Allowed);
            }
            65..=72 => {
                // A deadline that some of them miss.
                let (n, ms) = (shared.number(), fastrand::u64(0..20));
                let command = client.command(SLOW).timeout(Duration::from_millis(10));
                let outcome = command.call(&Numbered { n, ms }).await;
                shared.note("with a short deadline", n, outcome, Repeats::Forbidden);
            }
            73..=80 => give_up(&client, &shared).await,
            81..=88 => {
                let n = shared.number();
                let outcome = client.notify(NOTE, &Numbered { n, ms: 0 }).await;

                let mut counted = shared.lock();
                *counted.kinds.entry("oneway").or_default() += 1;
                counted.expected[n] = match outcome {
                    Err(error) if !error.may_have_run() => Expected::Never,
                    _ => Expected::AtMostOnce,
                };
            }
            89..=94 => stream(&client, &shared).await,
            _ => echo(&client, &shared).await,
        }

        // A load, not a race.
        tokio::time::sleep(Duration::from_millis(fastrand::u64(2..10))).await;
    }
}

/// A call whose caller loses interest.
async fn give_up(client: &Client, shared: &Shared) {
    let (n, ms) = (shared.number(), fastrand::u64(0..40));
    let params = Numbered { n, ms };
    let call = client.call(SLOW, &params);
    if let Ok(outcome) = tokio::time::timeout(Duration::from_millis(15), call).await {
        return shared.note("given up", n, outcome, Repeats::Forbidden);
    }

    let mut counted = shared.lock();
    *counted.kinds.entry("given up").or_default() += 1;
    counted.expected[n] = Expected::AtMostOnce;
}

async fn stream(client: &Client, shared: &Shared) {
    let items = fastrand::u64(0..300);
    let began = client.stream::<_, u64>(COUNT, &items).await;
    let mut came = 0;
    let mut outcome = began.as_ref().err().map(ToString::to_string);

    if let Ok(mut stream) = began {
        while let Some(item) = stream.next().await {
            match item {
                Ok(item) if item == came => came += 1,
                Ok(item) => {
                    return shared
                        .lock()
                        .check(false, || format!("item {item} came as item {came}"));
                }
                Err(error) => outcome = Some(error.to_string()),
            }
        }
    }

    let mut counted = shared.lock();
    *counted.kinds.entry("stream").or_default() += 1;
    match outcome {
        None => counted.check(came == items, || {
            format!("{came} items of {items} came, and an end")
        }),
        Some(_) => {
            *counted
                .failures
                .entry("stream broken off".into())
                .or_default() += 1;
        }
    }
}

async fn echo(client: &Client, shared: &Shared) {
    let length = if fastrand::u8(0..10) == 0 {
        fastrand::usize(0..500_000)
    } else {
        fastrand::usize(0..4_000)
    };

    let text: String = std::iter::repeat_with(fastrand::alphanumeric)
        .take(64)
        .collect::<String>()
        .repeat(length / 64 + 1);

    let outcome = client
        .command(ECHO)
        .idempotent()
        .call::<_, String>(&text)
        .await;

    let mut counted = shared.lock();
    *counted.kinds.entry("large and small").or_default() += 1;
    match outcome {
        Ok(answer) => {
            counted.check(answer == text, || {
                format!("another text of {} bytes came back", answer.len())
            });
        }
        Err(error) => {
            *counted
                .failures
                .entry(format!("echo (code {})", error.code()))
                .or_default() += 1;
        }
    }
}
