//! `rpc ping`: round trips, one after another.

use std::time::Duration;

use clap::Args;
use rpc_client::{Client, CmdId, Error};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;
use tokio::time::Instant;

use crate::exit::{Failure, describe};
use crate::output::{Output, complain};
use crate::{Target, duration};

/// How long the server may take to say whether it has held the pings back.
const PATIENCE: Duration = Duration::from_secs(1);

/// Up to this number of pings, each has its line.
const LINES_MAX: u64 = 20;

/// Measure the round trip to the server
///
/// Sends pings one after another over one connection, which is opened first. Exits with 0 only if all of them were
/// answered.
#[derive(Args)]
#[command(after_help = "\
Examples:
  rpc ping
  rpc ping -c 10000 -i 0                           one at a time, without a pause")]
pub(crate) struct Ping {
    /// Number of pings; above 20 only the summary is printed
    #[arg(short, long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,
    /// Time between two pings
    #[arg(short, long, value_name = "TIME", default_value = "1s", value_parser = duration)]
    interval: Duration,
    /// Print each round trip, even of more than 20 pings
    #[arg(short, long)]
    verbose: bool,
}

impl Ping {
    pub(crate) async fn run(self, target: &Target) -> Result<(), Failure> {
        let client = target.client();
        client.connect().await?;

        let mut output = Output::new();
        let mut round_trips = RoundTrips::default();
        let started = Instant::now();

        tokio::select! {
            result = self.ping(&client, &mut output, &mut round_trips) => result?,
            // What was measured until then is worth a summary.
            _ = tokio::signal::ctrl_c() => {}
        }

        round_trips.summarise(&mut output, client.address(), started.elapsed())?;
        if !round_trips.answered.is_empty() {
            tell_if_held_back(&client).await;
        }
        round_trips
            .failure
            .map_or(Ok(()), |error| Err(error.into()))
    }

    async fn ping(
        &self,
        client: &Client,
        output: &mut Output,
        round_trips: &mut RoundTrips,
    ) -> Result<(), Failure> {
        let has_lines = self.verbose || self.count <= LINES_MAX;
        let params = json!({});
        let mut next = Instant::now();

        for number in 1..=self.count {
            tokio::time::sleep_until(next).await;
            let sent = Instant::now();
            next = sent + self.interval;

            let result = client.call::<_, IgnoredAny>(CmdId::PING, &params).await;
            round_trips.sent += 1;
            match result {
                Ok(IgnoredAny) => {
                    let time = sent.elapsed();
                    round_trips.answered.push(time);
                    if has_lines {
                        let address = client.address();
                        output.text(&format!(
                            "{address}: ping {number} answered in {} ms",
                            ms(time)
                        ))?;
                        output.flush()?;
                    }
                }
                Err(error) => {
                    // The last one is reported at the end.
                    let earlier = round_trips.failure.replace(error);
                    if let Some(earlier) = earlier.filter(|_| has_lines) {
                        complain(&format!("rpc: {}", describe(&earlier)));
                    }
                }
            }
        }

        Ok(())
    }
}

/// Says where the server has read the pings later than they came: then the round trips are not those of the network.
/// What cannot be asked, as before authentication, is not said.
async fn tell_if_held_back(client: &Client) {
    #[derive(Deserialize)]
    struct Stats {
        connection: Connection,
    }

    /// Servers of before have no such count.
    #[derive(Deserialize)]
    struct Connection {
        #[serde(default)]
        held_back: u64,
    }

    let params = json!({});
    let asked = client.call::<_, Stats>(CmdId::STATS, &params);
    let Ok(Ok(stats)) = tokio::time::timeout(PATIENCE, asked).await else {
        return;
    };

    let held_back = stats.connection.held_back;
    if held_back > 0 {
        complain(&format!(
            "rpc: the server held this connection back (`held_back` {held_back}): more pings a second than its `throttle.frames_per_second`; \
             longer intervals (`--interval`) show the network's round trips"
        ));
    }
}

#[derive(Default)]
struct RoundTrips {
    sent: u64,
    answered: Vec<Duration>,
    /// Of those that were not answered, the last one's.
    failure: Option<Error>,
}

impl RoundTrips {
    fn summarise(
        &mut self,
        output: &mut Output,
        address: &str,
        elapsed: Duration,
    ) -> Result<(), Failure> {
        let answered = self.answered.len() as u64;
        // Sent is 0 where the first one was interrupted.
        let lost_per_mille = (self.sent - answered) * 1_000 / self.sent.max(1);
        output.text(&format!(
            "{address}: {} sent, {answered} answered, {}.{}% lost, {} ms in all",
            self.sent,
            lost_per_mille / 10,
            lost_per_mille % 10,
            ms(elapsed)
        ))?;

        self.answered.sort_unstable();
        if let [min, .., max] | [min @ max] = self.answered.as_slice() {
            let sum: Duration = self.answered.iter().sum();
            let mean = sum / u32::try_from(self.answered.len()).unwrap_or(u32::MAX);
            let [p50, p99] = [50, 99].map(|percent| self.percentile(percent));
            let [min, p50, p99, max, mean] = [*min, p50, p99, *max, mean].map(ms);

            output.text(&format!(
                "min {min}  p50 {p50}  p99 {p99}  max {max}  mean {mean} ms"
            ))?;
        }

        output.flush()
    }

    /// The smallest round trip that `percent` % of the sorted ones do not exceed.
    fn percentile(&self, percent: usize) -> Duration {
        let rank = (self.answered.len() * percent).div_ceil(100);
        self.answered[rank.saturating_sub(1)]
    }
}

fn ms(time: Duration) -> String {
    format!("{:.3}", time.as_secs_f64() * 1_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_round_trip_that_was_measured() {
        let check = |count: u64, percent, expected| {
            let answered = (1..=count).map(Duration::from_millis).collect();
            let round_trips = RoundTrips {
                sent: count,
                answered,
                failure: None,
            };

            assert_eq!(
                round_trips.percentile(percent),
                Duration::from_millis(expected),
                "{count} {percent}"
            );
        };

        check(1, 50, 1);
        check(1, 99, 1);
        check(4, 50, 2);
        check(4, 99, 4);
        check(1000, 50, 500);
        check(1000, 99, 990);
    }
}
