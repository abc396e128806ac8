//! One fault under one load: from two processes that talk to two that talk again.

use std::fmt;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use crate::Result;
use crate::client::{Load, Report};
use crate::fault::Fault;
use crate::namespaces::Pair;

/// How long the fault lasts after it was found, so that attempts to come back have failed.
const LASTS: Duration = Duration::from_secs(3);
/// Longer than any bound.
const PATIENCE: Duration = Duration::from_secs(30);
/// What calls may take to succeed once all is healed.
const BACK: Duration = Duration::from_secs(2);
/// What a loaded machine may add to each bound.
pub(crate) const SLACK: Duration = Duration::from_millis(500);

#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    pub(crate) fault: Fault,
    pub(crate) load: Load,
}

pub(crate) struct Measured {
    found: Duration,
    pub(crate) reason: String,
    found_by_server: Option<Duration>,
    back: Duration,
    late: Vec<Duration>,
    overrun_max: Duration,
}

impl Case {
    pub(crate) fn all() -> Vec<Self> {
        let of = |load| Fault::ALL.map(|fault| Self { fault, load });
        Load::ALL.into_iter().flat_map(of).collect()
    }

    /// A slice that has each fault once, and takes half a minute: of one load only, since all faults of
    /// one are measured together.
    pub(crate) fn short() -> Vec<Self> {
        Self::all()
            .into_iter()
            .filter(|case| case.load == Load::Sending)
            .collect()
    }

    pub(crate) async fn run(&self, number: usize) -> Result<Measured> {
        let pair = Pair::new(number).await?;
        let mut server = Process::new(pair.spawn(&["server"])?);
        let address = server.line().await?;
        let mut client = Process::new(pair.spawn(&["client", &address, &self.load.to_string()])?);
        let Report::Ready = client.report().await? else {
            return Err("the client is not ready".into());
        };
        // Some traffic first, as there always is.
        tokio::time::sleep(Duration::from_secs(1)).await;

        let is_frozen = self.fault == Fault::Frozen;
        if is_frozen {
            server.signal("STOP").await?;
        } else {
            pair.break_with(self.fault).await?;
            server.say("fault").await?;
        }
        client.say("fault").await?;
        let Report::Found { ms, reason } = client.report().await? else {
            return Err("not found".into());
        };
        let found = Duration::from_millis(ms);
        let found_by_server = if is_frozen {
            None
        } else {
            Some(server.milliseconds().await?)
        };
        tokio::time::sleep(LASTS).await;

        if is_frozen {
            server.signal("CONT").await?;
        } else {
            pair.heal().await?;
        }
        client.say("healed").await?;
        let Report::Back { ms } = client.report().await? else {
            return Err("not back".into());
        };
        let back = Duration::from_millis(ms);
        client.say("end").await?;
        let Report::Deadlines {
            late_ms,
            overrun_max_ms,
        } = client.report().await?
        else {
            return Err("it has not counted".into());
        };
        let mut late: Vec<_> = late_ms.into_iter().map(Duration::from_millis).collect();
        late.sort();
        let overrun_max = Duration::from_millis(overrun_max_ms);
        Ok(Measured {
            found,
            reason,
            found_by_server,
            back,
            late,
            overrun_max,
        })
    }
}

impl Measured {
    pub(crate) fn row(&self, case: Case) -> String {
        let seconds = |duration: Duration| format!("{:.1} s", duration.as_secs_f64());
        let late = match (self.late.get(self.late.len() / 2), self.late.last()) {
            (Some(median), Some(most)) => {
                format!(
                    "{} / {} ms ({} calls)",
                    median.as_millis(),
                    most.as_millis(),
                    self.late.len()
                )
            }
            _ => "no calls".to_owned(),
        };
        format!(
            "| {} | {} | {} | {} | {} | {late} | {} ms |",
            case.fault,
            case.load,
            seconds(self.found),
            seconds(case.fault.bound(case.load)),
            self.found_by_server.map_or("-".to_owned(), seconds),
            self.back.as_millis()
        )
    }

    /// The bounds that were not kept.
    pub(crate) fn broken(&self, case: Case) -> impl Iterator<Item = String> {
        let check = |what: &str, measured: Duration, bound: Duration| {
            (measured > bound + SLACK)
                .then(|| format!("{what} after {measured:?}, which shall be {bound:?}"))
        };
        let server = self.found_by_server.unwrap_or_default();
        [
            check("found", self.found, case.fault.bound(case.load)),
            check("found by the server", server, Duration::from_secs(20)),
            check(
                "a call ended past its deadline",
                self.overrun_max,
                Duration::from_millis(100),
            ),
            check("calls succeed", self.back, BACK),
        ]
        .into_iter()
        .flatten()
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.fault, self.load)
    }
}

/// A child that is spoken to in lines.
pub(crate) struct Process {
    child: Child,
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Process {
    pub(crate) fn new(mut child: Child) -> Self {
        let input = child.stdin.take().expect("it is piped");
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        Self {
            child,
            input,
            lines,
        }
    }

    pub(crate) async fn line(&mut self) -> Result<String> {
        let line = timeout(PATIENCE, self.lines.next_line()).await;
        let line = line.map_err(|_| format!("nothing was said for {PATIENCE:?}"))??;
        line.ok_or_else(|| "the process has ended".into())
    }

    pub(crate) async fn report(&mut self) -> Result<Report> {
        Ok(serde_json::from_str(&self.line().await?)?)
    }

    async fn milliseconds(&mut self) -> Result<Duration> {
        Ok(Duration::from_millis(self.line().await?.parse()?))
    }

    pub(crate) async fn say(&mut self, line: &str) -> Result<()> {
        self.input.write_all(format!("{line}\n").as_bytes()).await?;
        Ok(())
    }

    async fn signal(&self, name: &str) -> Result<()> {
        let id = self.child.id().ok_or("the process has ended")?;
        let status = Command::new("kill")
            .args([format!("-{name}"), id.to_string()])
            .status()
            .await?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("kill -{name}: {status}").into())
        }
    }
}
