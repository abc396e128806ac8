//! Samples of the server's resources, second by second.

use std::time::{Duration, Instant};

use rpc_client::Client;
use rpc_examples::process::Process;

use crate::Outcome;
use crate::server::TASKS;

const KIB_PER_MIB: f64 = 1024.0;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    at: Instant,
    rss_kib: u64,
    pub(crate) descriptors: usize,
    pub(crate) tasks: usize,
}

pub(crate) async fn look(server: &Process, direct: &Client) -> Outcome<Sample> {
    let tasks = direct.call(TASKS, &()).await?;
    let usage = server.usage()?;
    Ok(Sample {
        at: Instant::now(),
        rss_kib: usage.rss_bytes / 1024,
        descriptors: usage.descriptors,
        tasks,
    })
}

/// Waits until nothing is left that was not there before, for as long as connections take to end.
pub(crate) async fn until_back(
    server: &Process,
    direct: &Client,
    before: Sample,
) -> Outcome<Sample> {
    let end = Instant::now() + Duration::from_secs(40);
    loop {
        let now = look(server, direct).await?;
        if now.descriptors <= before.descriptors && now.tasks <= before.tasks
            || Instant::now() > end
        {
            return Ok(now);
        }

        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[derive(Default)]
pub(crate) struct Samples(Vec<Sample>);

impl Samples {
    pub(crate) fn add(&mut self, sample: Sample) {
        self.0.push(sample);
    }

    /// Those behind the warm-up, which is a fifth of the time.
    fn judged(&self) -> &[Sample] {
        &self.0[self.0.len() / 5..]
    }

    /// The slope of the line that lies nearest to the samples, by least squares.
    #[allow(
        clippy::cast_precision_loss,
        reason = "KiB and counts are far below 2^52"
    )]
    pub(crate) fn mib_per_ten_minutes(&self) -> f64 {
        let judged = self.judged();
        let Some(first) = judged.first() else {
            return 0.0;
        };

        let points: Vec<(f64, f64)> = judged
            .iter()
            .map(|sample| {
                (
                    (sample.at - first.at).as_secs_f64(),
                    sample.rss_kib as f64 / KIB_PER_MIB,
                )
            })
            .collect();

        let count = points.len() as f64;
        let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
        let (x, y) = (mean(|point| point.0), mean(|point| point.1));
        let spread: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
        let common: f64 = points
            .iter()
            .map(|point| (point.0 - x) * (point.1 - y))
            .sum();

        if spread > 0.0 {
            common / spread * 600.0
        } else {
            0.0
        }
    }

    #[allow(clippy::cast_precision_loss, reason = "KiB are far below 2^52")]
    pub(crate) fn memory(&self) -> String {
        let mib = |kib: Option<u64>| kib.unwrap_or_default() as f64 / KIB_PER_MIB;
        let all = || self.judged().iter().map(|sample| sample.rss_kib);
        format!(
            "{:.1} to {:.1} MiB behind the warm-up",
            mib(all().min()),
            mib(all().max())
        )
    }
}
