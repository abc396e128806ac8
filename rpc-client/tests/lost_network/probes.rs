//! Keepalive probes that are lost, on a connection that only they watch: no pings, no calls.

use std::fmt;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::Result;
use crate::case::{Process, SLACK};
use crate::client::Report;
use crate::fault::Fault;
use crate::namespaces::Pair;

/// What happens to an idle connection whose probes leave 10, 13 and 16 s after its last byte.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Course {
    /// This number of probes are lost, and the next one is not.
    Lost(u32),
    /// Every probe is.
    AllLost,
    /// The network breaks, and then something is sent.
    Sent,
}

impl Course {
    pub(crate) const ALL: [Self; 4] = [Self::Lost(1), Self::Lost(2), Self::AllLost, Self::Sent];

    /// Says in a line what was measured; an error says what is wrong with it.
    pub(crate) async fn run(self, number: usize) -> Result<String> {
        let pair = Pair::new(number).await?;
        let mut server = Process::new(pair.spawn(&["server"])?);
        let address = server.line().await?;
        let mut client = Process::new(pair.spawn(&["client-without-pings", &address])?);
        let Report::Ready = client.report().await? else {
            return Err("the client is not ready".into());
        };
        let ready = Instant::now();
        let at = |seconds| sleep_until(ready + Duration::from_secs_f64(seconds));

        match self {
            Self::Lost(probes) => {
                at(8.5).await;
                pair.break_with(Fault::DroppedBothWays).await?;
                at(8.5 + 3.0 * f64::from(probes)).await;
                pair.heal().await?;
                at(25.0).await;
                client.say("call").await?;
                match client.report().await? {
                    Report::Called { is_lost: false, .. } => Ok("it stays open".into()),
                    other => Err(format!("it shall live on, and {other:?}").into()),
                }
            }
            Self::AllLost => {
                pair.break_with(Fault::DroppedBothWays).await?;
                match client.report().await? {
                    Report::Found { ms, reason } => {
                        within(ms, Duration::from_secs(16), Duration::from_secs(20))
                            .map(|found| format!("{found}: {reason}"))
                    }
                    other => Err(format!("it shall be found, and {other:?}").into()),
                }
            }
            Self::Sent => {
                at(13.5).await;
                pair.break_with(Fault::DroppedBothWays).await?;
                client.say("call").await?;
                match client.report().await? {
                    Report::Called { ms, is_lost: true } => {
                        within(ms, Duration::from_secs(9), Duration::from_secs(11))
                    }
                    other => Err(format!("it shall be found, and {other:?}").into()),
                }
            }
        }
    }
}

fn within(ms: u64, least: Duration, most: Duration) -> Result<String> {
    let found = Duration::from_millis(ms);
    if (least..=most + SLACK).contains(&found) {
        Ok(format!(
            "the client detects it after {:.1} s",
            found.as_secs_f64()
        ))
    } else {
        Err(format!("found after {found:?}, which shall be {least:?} to {most:?}").into())
    }
}

impl fmt::Display for Course {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost(1) => f.write_str("one probe is lost"),
            Self::Lost(probes) => write!(f, "{probes} probes lost"),
            Self::AllLost => f.write_str("all probes lost"),
            Self::Sent => f.write_str("all are lost, and something is sent after an idle time"),
        }
    }
}
