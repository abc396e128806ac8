//! The client's process: calls, and measures what becomes of its calls.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use rpc_client::{Client, Config, ConnectionEvent};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::Result;
use crate::server::ECHO;

/// What the client does while the network breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Load {
    /// Nothing: its connection is open.
    Idle,
    /// Several callers, each with another timeout.
    Busy,
    /// The same, and a kilobyte every 10 ms that wants no answer.
    Sending,
}

/// The timeouts of the callers.
const TIMEOUTS_MS: [u64; 6] = [100, 300, 700, 1_500, 2_500, 4_000];

/// What the client reports, each as a line of JSON.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    /// Its first call has succeeded.
    Ready,
    /// The connection is known to be lost, this number of milliseconds after the fault.
    Found { ms: u64, reason: String },
    /// A call has succeeded, this number of milliseconds after all was healed.
    Back { ms: u64 },
    /// A call has ended, this number of milliseconds after it was asked for; and whether a connection was lost since the
    /// client was ready.
    Called { ms: u64, is_lost: bool },
    /// How late calls failed that failed by their deadline, in milliseconds; and how late any ended.
    Deadlines {
        late_ms: Vec<u64>,
        overrun_max_ms: u64,
    },
}

/// Follows the lines of its input: `fault`, `healed`, and ends with it.
pub(crate) async fn run(address: &str, load: Load) -> Result<()> {
    let client = Client::new(address);
    let mut events = client.events();
    client.call::<_, String>(ECHO, "hello").await?;
    let (phase, phases) = watch::channel(Phase::Sound);
    let measured = Arc::new(Mutex::new(Measured::default()));
    if load != Load::Idle {
        for timeout_ms in TIMEOUTS_MS {
            let caller = Caller {
                client: client.clone(),
                measured: Arc::clone(&measured),
                phases: phases.clone(),
            };
            tokio::spawn(caller.call_on(Duration::from_millis(timeout_ms)));
        }
    }
    if load == Load::Sending {
        tokio::spawn(keep_sending(client.clone()));
    }
    say(&Report::Ready);

    let mut input = BufReader::new(tokio::io::stdin()).lines();
    input.next_line().await?;
    let fault = Instant::now();
    phase.send_replace(Phase::Broken);
    let found = async {
        while let Some(event) = events.next().await {
            if let ConnectionEvent::Disconnected { reason, .. } = event {
                say(&Report::Found {
                    ms: milliseconds(fault.elapsed()),
                    reason: reason.to_string(),
                });
                return;
            }
        }
    };
    tokio::select! {
        () = found => { input.next_line().await?; }
        _ = input.next_line() => {}
    }
    let healed = Instant::now();
    phase.send_replace(Phase::Healed(healed));
    if load == Load::Idle {
        let caller = Caller {
            client,
            measured: Arc::clone(&measured),
            phases,
        };
        tokio::spawn(caller.call_on(Duration::from_millis(300)));
    }
    input.next_line().await?;
    let measured = measured.lock().expect("no thread panics with it");
    let late_ms = measured.late.iter().copied().map(milliseconds).collect();
    say(&Report::Deadlines {
        late_ms,
        overrun_max_ms: milliseconds(measured.overrun_max),
    });
    Ok(())
}

/// Opens a connection without pings and leaves it alone, until a line of input asks for a call. Says when the connection
/// is lost before that.
pub(crate) async fn run_without_pings(address: &str) -> Result<()> {
    let config = Config::default().with(|config| {
        config.liveness.ping_interval_ms = 0;
        config.retry.attempts_max = 1;
    });
    let client = Client::with_config(address, config);
    let mut events = client.events();
    client.call::<_, String>(ECHO, "hello").await?;
    let ready = Instant::now();
    say(&Report::Ready);
    let Some(ConnectionEvent::Connected { .. }) = events.next().await else {
        return Err("it is not connected".into());
    };

    let mut input = BufReader::new(tokio::io::stdin()).lines();
    tokio::select! {
        Some(ConnectionEvent::Disconnected { reason, .. }) = events.next() => {
            let ms = milliseconds(ready.elapsed());
            say(&Report::Found { ms, reason: reason.to_string() });
        }
        line = input.next_line() => {
            line?;
            let asked = Instant::now();
            let patient = client.command(ECHO).timeout(Duration::from_secs(25));
            let result: std::result::Result<String, _> = patient.call("hello").await;
            let is_lost = result.is_err() || events.next().now_or_never().is_some();
            say(&Report::Called { ms: milliseconds(asked.elapsed()), is_lost });
        }
    }

    input.next_line().await?;
    Ok(())
}

#[derive(Clone, Copy)]
enum Phase {
    Sound,
    Broken,
    Healed(Instant),
}

#[derive(Default)]
struct Measured {
    late: Vec<Duration>,
    overrun_max: Duration,
    is_back: bool,
}

struct Caller {
    client: Client,
    measured: Arc<Mutex<Measured>>,
    phases: watch::Receiver<Phase>,
}

impl Caller {
    /// Calls one time after another, for as long as the process runs.
    async fn call_on(self, timeout: Duration) {
        loop {
            let (began, phase) = (Instant::now(), *self.phases.borrow());
            let result: std::result::Result<String, _> = self
                .client
                .command(ECHO)
                .timeout(timeout)
                .call("hello")
                .await;
            let late = began.elapsed().saturating_sub(timeout);
            {
                let mut measured = self.measured.lock().expect("no thread panics with it");
                measured.overrun_max = measured.overrun_max.max(late);
                match (&result, phase) {
                    (Ok(_), Phase::Healed(healed)) if !measured.is_back => {
                        measured.is_back = true;
                        say(&Report::Back {
                            ms: milliseconds(healed.elapsed()),
                        });
                    }
                    (Err(error), Phase::Sound | Phase::Broken) if error.is_deadline() => {
                        measured.late.push(late);
                    }
                    _ => {}
                }
            }
            // A caller that is refused at once comes again like one that was answered.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// What is sent while the server takes nothing waits, within the limits of the connection.
async fn keep_sending(client: Client) {
    let kilobyte = "x".repeat(1_000);
    loop {
        let _ = client.notify(ECHO, &kilobyte).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn say(report: &Report) {
    println!(
        "{}",
        serde_json::to_string(report).expect("a report is JSON")
    );
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Load {
    pub(crate) const ALL: [Self; 3] = [Self::Idle, Self::Busy, Self::Sending];
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Idle => "idle",
            Self::Busy => "busy",
            Self::Sending => "sending",
        })
    }
}

impl FromStr for Load {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let named = Self::ALL.into_iter().find(|load| load.to_string() == text);
        named.ok_or_else(|| format!("`{text}` is no load"))
    }
}
