//! The client's host: many tasks that call, and what they look at.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use futures::StreamExt;
use rpc_client::{Balance, Client, Config, Error, Mode};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::ledger::{Call, End, SharedLedger};
use crate::servers::{IDEMPOTENT, NEVER, NUMBERS, ONCE, PORT, Work};
use crate::simulation::name;

/// What the callers of a run do.
#[derive(Debug, Clone)]
pub(crate) struct Traffic {
    callers: u64,
    calls: u64,
    gap_ms: u64,
    timeout_ms: u64,
    padding: usize,
    /// One client balances over all servers, instead of one client for each.
    is_balanced: bool,
    config: Config,
}

/// By how much a timer may be late: it goes by milliseconds, and so does the one that wakes it.
const GRAIN: Duration = Duration::from_millis(3);
/// How long it may take, after the last fault, until calls succeed. A server that takes few calls at a
/// time has those before it that were given up, and counts the time of each from when it reads it.
const RECOVERY_MAX: Duration = Duration::from_secs(120);
/// Successes in a row after which all is well.
const RECOVERED: u32 = 20;
/// How long handlers may take to end after their callers, for the same reason.
const SETTLE_MAX: Duration = Duration::from_secs(60);

impl Traffic {
    pub(crate) fn draw(random: &mut Rng) -> Self {
        Self {
            callers: random.u64(1..=24),
            calls: random.u64(5..=25),
            gap_ms: [0, 20, 300][random.usize(..3)],
            timeout_ms: [60, 400, 2_000][random.usize(..3)],
            padding: [0, 200, 20_000][random.usize(..3)],
            is_balanced: random.bool(),
            config: Config::default().with(|config| {
                config.pool.mode =
                    [Mode::Single, Mode::Single, Mode::Pooled(3), Mode::Short][random.usize(..4)];
                config.balance.policy =
                    [Balance::PowerOfTwo, Balance::RoundRobin][random.usize(..2)];
                config.timeouts.connect_timeout_ms = random.u64(50..1_000);
                config.reconnect.fail_fast_after_ms = [0, 100, 1_000][random.usize(..3)];
                config.reconnect.base_ms = 10;
                config.reconnect.cap_ms = random.u64(10..500);
                config.limits.in_flight_per_connection = [1, 4, 65_536][random.usize(..3)];
                config.limits.output_bytes_max = [1_000, 8 * 1024 * 1024][random.usize(..2)];
                config.limits.stream_credit = random.u64(1..8);
                config.liveness.ping_interval_ms = random.u64(100..2_000);
                config.liveness.ping_misses_max = random.u32(1..3);
                config.liveness.ping_idle = random.bool();
                config.timeouts.write_stall_timeout_ms = random.u64(200..3_000);
                config.timeouts.idle_timeout_ms = [0, 0, 300][random.usize(..3)];
                config.ejection.after_failures = random.u32(..4);
                config.ejection.base_ms = random.u64(100..1_000);
                config.ejection.cap_ms = 2_000;
            }),
        }
    }

    /// Whether many connections may be opened at one time.
    pub(crate) fn connects_often(&self) -> bool {
        self.config.pool.mode != Mode::Single
    }

    /// About how long the calls take, for faults to fall among them.
    pub(crate) fn expected_time(&self) -> Duration {
        Duration::from_millis(self.calls * (self.gap_ms + self.timeout_ms) / 4 + 200)
    }
}

/// Runs all callers, waits for calm, and looks at what is left.
pub(crate) async fn host(
    traffic: Traffic,
    servers: usize,
    seed: u64,
    calm: Arc<Notify>,
    ledger: SharedLedger,
) -> turmoil::Result {
    let addresses = (0..servers).map(|server| format!("{}:{PORT}", name(server)));
    let targets = if traffic.is_balanced {
        vec![addresses.collect::<Vec<_>>().join(",")]
    } else {
        addresses.collect()
    };
    let clients: Vec<Client> = targets
        .iter()
        .map(|target| client(target, &traffic.config))
        .collect();
    let mut callers = JoinSet::new();
    for caller in 0..traffic.callers {
        let caller = Caller {
            number: caller,
            clients: clients.clone(),
            traffic: traffic.clone(),
            random: Rng::with_seed(seed.wrapping_add(caller)),
            ledger: ledger.clone(),
        };
        callers.spawn(caller.run());
    }
    while let Some(joined) = callers.join_next().await {
        joined?;
    }
    calm.notified().await;
    for (number, client) in clients.iter().enumerate() {
        recover(number, client, &ledger).await?;
    }
    settle(&ledger).await
}

fn client(target: &str, config: &Config) -> Client {
    let connect =
        |address: String| async move { turmoil::net::TcpStream::connect(&*address).await };
    Client::builder(target)
        .config(config.clone())
        .connector(connect)
        .build()
}

/// Calls until it succeeds again and again, which it must before long.
async fn recover(number: usize, client: &Client, ledger: &SharedLedger) -> turmoil::Result {
    let started = Instant::now();
    let mut in_a_row = 0;
    for attempt in 0u64.. {
        let token = 0xffff_0000_0000 | (number as u64) << 16 | attempt;
        let work = Work {
            token,
            ms: 0,
            items: 0,
            padding: String::new(),
        };
        let command = client.command(IDEMPOTENT).timeout(Duration::from_secs(1));
        let result = command.call::<_, u64>(&work).await;
        let end = result.as_ref().map_or_else(End::of, |_| End::Succeeded);
        note(ledger, token, &format!("ends as {end:?}"));
        ledger.lock().ended(
            token,
            Call {
                is_idempotent: true,
                end,
            },
        );
        match result {
            Ok(_) if in_a_row == RECOVERED => break,
            Ok(_) => in_a_row += 1,
            Err(error) if started.elapsed() > RECOVERY_MAX => {
                return Err(format!("{} cannot be called again: {error}", client.address()).into());
            }
            Err(_) => in_a_row = 0,
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// Waits until no handler is at work any more.
async fn settle(ledger: &SharedLedger) -> turmoil::Result {
    let started = Instant::now();
    loop {
        let in_flight: u64 = ledger
            .lock()
            .servers
            .values()
            .map(|server| server.stats().in_flight)
            .sum();
        if in_flight == 0 {
            return Ok(());
        }
        if started.elapsed() > SETTLE_MAX {
            return Err(format!("the servers still have {in_flight} calls in flight").into());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn note(ledger: &SharedLedger, token: u64, what: &str) {
    let at = turmoil::sim_elapsed().unwrap_or_default();
    ledger
        .lock()
        .note(at, format_args!("call {token:x} {what}"));
}

struct Caller {
    number: u64,
    clients: Vec<Client>,
    traffic: Traffic,
    random: Rng,
    ledger: SharedLedger,
}

impl Caller {
    async fn run(mut self) {
        for call in 0..self.traffic.calls {
            if self.traffic.gap_ms > 0 {
                tokio::time::sleep(Duration::from_millis(
                    self.random.u64(..self.traffic.gap_ms),
                ))
                .await;
            }
            self.call(self.number << 16 | call).await;
        }
    }

    async fn call(&mut self, token: u64) {
        let client = self.clients[self.random.usize(..self.clients.len())].clone();
        let timeout = Duration::from_millis(self.random.u64(5..self.traffic.timeout_ms));
        let work = Work {
            token,
            ms: [
                0,
                0,
                self.random.u64(..50),
                self.random.u64(..self.traffic.timeout_ms),
            ][self.random.usize(..4)],
            items: self.random.u64(..30),
            padding: "x".repeat(self.random.usize(..=self.traffic.padding)),
        };
        let kind = self.random.u8(..16);
        note(
            &self.ledger,
            token,
            &format!("of kind {kind} begins, {} ms", timeout.as_millis()),
        );
        let started = Instant::now();
        let is_idempotent = kind == 0;
        let end = match kind {
            0 => {
                self.unary(client.command(IDEMPOTENT).timeout(timeout), &work)
                    .await
            }
            1 => {
                self.unary(client.command(NEVER).timeout(timeout), &work)
                    .await
            }
            2 => {
                self.unary(client.command(ONCE).ordered().timeout(timeout), &work)
                    .await
            }
            3 | 4 => self.stream(&client, timeout, &work).await,
            5 => match client.command(ONCE).timeout(timeout).notify(&work).await {
                Ok(()) => End::Unknown,
                Err(error) => End::of(&error),
            },
            6 | 7 => {
                // Gives up before its time, wherever the call is then.
                let patience = Duration::from_millis(self.random.u64(..=self.traffic.timeout_ms));
                let command = client.command(ONCE).timeout(timeout);
                let call = self.unary(command, &work);
                tokio::time::timeout(patience, call)
                    .await
                    .unwrap_or(End::Unknown)
            }
            8 => {
                let command = client.command(ONCE).hash_key(token.to_le_bytes());
                self.unary(command.timeout(timeout), &work).await
            }
            _ => {
                self.unary(client.command(ONCE).timeout(timeout), &work)
                    .await
            }
        };
        let took = started.elapsed();
        note(
            &self.ledger,
            token,
            &format!("ends as {end:?} after {took:?}"),
        );
        let mut ledger = self.ledger.lock();
        if took > timeout + GRAIN {
            ledger.violation(format!(
                "call {token:x} of kind {kind} had {timeout:?}, and took {took:?}"
            ));
        }
        ledger.ended(token, Call { is_idempotent, end });
    }

    async fn unary(&self, command: rpc_client::Command<'_>, work: &Work) -> End {
        match command.call::<_, u64>(work).await {
            Ok(token) => {
                if token != work.token {
                    let violation = format!("call {:x} got the reply of {token:x}", work.token);
                    self.ledger.lock().violation(violation);
                }
                End::Succeeded
            }
            Err(error) => self.failed(work.token, &error),
        }
    }

    async fn stream(&self, client: &Client, timeout: Duration, work: &Work) -> End {
        let command = client.command(NUMBERS).timeout(timeout);
        let mut items = match command.stream::<_, (u64, u64)>(work).await {
            Ok(items) => items,
            Err(error) => return self.failed(work.token, &error),
        };
        let mut expected = 0;
        while let Some(item) = items.next().await {
            match item {
                Ok(item) if item == (work.token, expected) => expected += 1,
                Ok((token, n)) => {
                    let violation = format!(
                        "stream {:x} got item {n} of {token:x} where {expected} was due",
                        work.token
                    );
                    self.ledger.lock().violation(violation);
                }
                Err(error) => return self.failed(work.token, &error),
            }
        }
        if expected != work.items {
            let violation = format!(
                "stream {:x} ended well after {expected} of {} items",
                work.token, work.items
            );
            self.ledger.lock().violation(violation);
        }
        End::Succeeded
    }

    fn failed(&self, token: u64, error: &Error) -> End {
        let end = End::of(error);
        if end == End::Failed {
            self.ledger.lock().violation(format!(
                "call {token:x} failed in a way that no fault explains: {error}"
            ));
        }
        end
    }
}
