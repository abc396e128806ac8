//! One row of the table: clients that wait, messages that come, and what the server takes for that.

use std::fmt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use hdrhistogram::Histogram;
use rpc_examples::process::{Outcome, Process};
use tokio::sync::mpsc::unbounded_channel;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use crate::clients::{Waiting, Way, now_us, wait};
use crate::redis::{List, Redis};
use crate::server;

pub(crate) const HEAD: &str = "                             messages   delivered   p50 ms   p99 ms   max ms   CPU   \
                               memory, all wait   peak";

/// How many wait, and what comes for them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) clients: usize,
    pub(crate) messages_per_second: usize,
    pub(crate) time: Duration,
}

/// A way of waiting.
pub(crate) enum Kind {
    LongPoll,
    Events,
    /// The article's program, with this Python, and how many messages it pops at one time.
    Original {
        python: String,
        popped_max: usize,
    },
}

impl Kind {
    fn name(&self) -> String {
        match self {
            Self::LongPoll => "long polling".to_owned(),
            Self::Events => "server-sent events".to_owned(),
            Self::Original { popped_max, .. } => format!("tornado, pops {popped_max}"),
        }
    }

    fn way(&self) -> Way {
        match self {
            Self::LongPoll => Way::LongPoll,
            Self::Events => Way::Events,
            Self::Original { .. } => Way::Original,
        }
    }

    fn start(&self, redis: &Redis) -> Outcome<Process> {
        let Self::Original { python, popped_max } = self else {
            return server::start(&redis.socket);
        };

        let program = include_str!("original.py");
        Process::start(
            Command::new(python)
                .args(["-c", program])
                .arg(&redis.socket)
                .arg(popped_max.to_string()),
        )
    }
}

/// How long clients may take to connect, and the last messages to come.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often messages are pushed.
const TICK: Duration = Duration::from_millis(5);

/// What came of a way of waiting.
pub(crate) struct Row {
    name: String,
    sent: usize,
    took: Histogram<u64>,
    cpu: f64,
    waiting_bytes: u64,
    peak_bytes: u64,
}

pub(crate) async fn measure(kind: &Kind, load: Load, redis: &Redis) -> Outcome<Row> {
    let server = kind.start(redis)?;
    let shared = Arc::new(Waiting {
        address: Arc::clone(&server.address),
        way: kind.way(),
        asked: AtomicUsize::new(0),
        got: AtomicUsize::new(0),
        is_measured: AtomicBool::new(false),
    });

    let (noted, mut took) = unbounded_channel();
    let mut clients = JoinSet::new();
    for to in 0..load.clients {
        clients.spawn(wait(Arc::clone(&shared), to, noted.clone()));
    }
    reached(&shared.asked, load.clients, &mut clients).await?;

    // Until the server has read what they ask.
    let mut list = List::open(&redis.socket, server::LIST).await?;
    push_to_each(&mut list, load).await?;
    reached(&shared.got, load.clients, &mut clients).await?;
    let before = server.usage()?;
    shared.is_measured.store(true, Ordering::Relaxed);

    let begun = Instant::now();
    let sent = feed(&mut list, load).await?;
    let after = server.usage()?;
    let elapsed = begun.elapsed();

    let mut histogram = Histogram::new(3)?;
    while histogram.len() < sent as u64 {
        tokio::select! {
            next = timeout(PATIENCE, took.recv()) => match next {
                Ok(Some(microseconds)) => histogram.record(microseconds.max(1))?,
                _ => break,
            },
            Some(ended) = clients.join_next() => ended??,
        }
    }

    Ok(Row {
        name: kind.name(),
        sent,
        took: histogram,
        cpu: after.cpu.saturating_sub(before.cpu).as_secs_f64() / elapsed.as_secs_f64(),
        waiting_bytes: before.rss_bytes,
        peak_bytes: server.rss_peak_bytes()?,
    })
}

/// Returns when the clients have counted to `wanted`.
async fn reached(
    count: &AtomicUsize,
    wanted: usize,
    clients: &mut JoinSet<Outcome<()>>,
) -> Outcome<()> {
    let deadline = Instant::now() + PATIENCE;
    while count.load(Ordering::Relaxed) < wanted {
        if Instant::now() > deadline {
            let count = count.load(Ordering::Relaxed);
            return Err(format!(
                "after 30 s only {count} of {wanted} clients have connected and got their first \
                 message; is the machine busy?"
            )
            .into());
        }
        if let Some(ended) = clients.try_join_next() {
            ended??;
        }
        sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// Sends a message to each client, which is not measured.
async fn push_to_each(list: &mut List, load: Load) -> Outcome<()> {
    let every: Vec<usize> = (0..load.clients).collect();
    for some in every.chunks(200) {
        push(list, some).await?;
    }
    Ok(())
}

async fn push(list: &mut List, clients: &[usize]) -> Outcome<()> {
    let at = now_us();
    let message =
        |to: &usize| format!("{{\"to\":{to},\"at\":{at},\"text\":\"a message for {to}\"}}");
    let messages: Vec<String> = clients.iter().map(message).collect();
    list.push(&messages).await
}

/// Pushes messages at the rate, to one client after another, and returns how many.
async fn feed(list: &mut List, load: Load) -> Outcome<usize> {
    let begun = Instant::now();
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);

    let total = load.messages_per_second * usize::try_from(load.time.as_secs())?;
    let mut sent = 0;
    while sent < total {
        ticks.tick().await;
        let due = usize::try_from(begun.elapsed().as_millis())? * load.messages_per_second / 1_000;
        let next: Vec<usize> = (sent..due.min(total))
            .map(|number| number % load.clients)
            .collect();
        if !next.is_empty() {
            push(list, &next).await?;
        }
        sent += next.len();
    }
    Ok(sent)
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let took = |quantile| Duration::from_micros(self.took.value_at_quantile(quantile));
        let ms = |quantile| took(quantile).as_secs_f64() * 1_000.0;
        let mib = |bytes: u64| bytes >> 20;
        write!(
            f,
            "{:27}  {:8}    {:8}  {:7.1}  {:7.1}  {:7.1}  {:3.0}%  {:12} MiB  {:5} MiB",
            self.name,
            self.sent,
            self.took.len(),
            ms(0.5),
            ms(0.99),
            ms(1.0),
            self.cpu * 100.0,
            mib(self.waiting_bytes),
            mib(self.peak_bytes)
        )
    }
}
