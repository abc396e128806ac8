//! The article's tests: how many requests succeed in a second, and how long 10,000 and 50,000 of them take.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rpc_examples::web::{Connections, Http};
use tokio::task::JoinSet;

use crate::Error;

/// Callers at once, each with one request at a time over a connection that it keeps.
const CALLERS: usize = 64;

/// How much is measured.
#[derive(Clone, Copy)]
pub(crate) enum Length {
    /// What the article has.
    Whole,
    /// A hundredth of it, for the tests.
    Quick,
}

/// When the callers stop.
#[derive(Clone, Copy)]
enum Until {
    Time(Duration),
    Requests(u64),
}

/// What came of one test.
struct Outcome {
    succeeded: u64,
    failed: u64,
    elapsed: Duration,
}

/// A row of the table.
pub(crate) struct Load {
    name: &'static str,
    outcomes: [Outcome; 3],
}

impl Load {
    pub(crate) const HEAD: &str =
        "service behind the front  in a second      10,000 requests      50,000 requests";

    /// Runs the tests against the front at this address.
    pub(crate) async fn run(
        name: &'static str,
        front: SocketAddr,
        length: Length,
    ) -> Result<Self, Error> {
        let part = match length {
            Length::Whole => 1,
            Length::Quick => 100,
        };
        Ok(Self {
            name,
            outcomes: [
                measure(front, Until::Time(Duration::from_secs(1) / part)).await?,
                measure(front, Until::Requests(10_000 / u64::from(part))).await?,
                measure(front, Until::Requests(50_000 / u64::from(part))).await?,
            ],
        })
    }
}

async fn measure(front: SocketAddr, until: Until) -> Result<Outcome, Error> {
    let http = Http::new(Connections::Kept);
    let (begun, started) = (Arc::new(AtomicU64::new(0)), Instant::now());
    let url: Arc<str> = format!("http://{front}/").into();

    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (http, begun, url) = (http.clone(), Arc::clone(&begun), Arc::clone(&url));
        callers.spawn(async move {
            let (mut succeeded, mut failed) = (0, 0);
            loop {
                // Relaxed: that each request is counted once is all that matters.
                let number = begun.fetch_add(1, Ordering::Relaxed);
                let is_over = match until {
                    Until::Time(limit) => started.elapsed() >= limit,
                    Until::Requests(requests) => number >= requests,
                };
                if is_over {
                    return Ok::<_, Error>((succeeded, failed));
                }

                match http.get(&url).await {
                    Ok(_) => succeeded += 1,
                    Err(_) => failed += 1,
                }
            }
        });
    }

    let (mut succeeded, mut failed) = (0, 0);
    while let Some(caller) = callers.join_next().await {
        let (of_one, failed_of_one) = caller??;
        succeeded += of_one;
        failed += failed_of_one;
    }
    Ok(Outcome {
        succeeded,
        failed,
        elapsed: started.elapsed(),
    })
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:24}", self.name)?;
        let [second, rest @ ..] = &self.outcomes;
        write!(f, "  {second:#15}")?;
        rest.iter()
            .try_for_each(|outcome| write!(f, "  {outcome:19}"))
    }
}

/// How many succeeded, how many failed if any did, and, unless it was given (`#`), how long that took.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failed = match self.failed {
            0 => String::new(),
            failed => format!(", {failed} failed"),
        };
        let took = match f.alternate() {
            true => String::new(),
            false => format!(" in {:.2} s", self.elapsed.as_secs_f64()),
        };
        let text = format!("{}{failed}{took}", self.succeeded);
        f.pad(&text)
    }
}
