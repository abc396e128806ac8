//! One fault tried out on a daemon: the rounds, what is measured in them, and the verdict.

use std::time::{Duration, Instant};

use rpc_examples::process::Usage;

use crate::attack::{Attack, Told};
use crate::daemon::Daemon;
use crate::good::{Load, milliseconds};
use crate::holding::memory_mib_max;
use crate::report::Row;
use crate::rows::P99::{OfAlone, OfBeside};
use crate::rows::{Fault, start_daemon};
use crate::times::Times;
use crate::{Options, Outcome};

const MIB: f64 = 1_048_576.0;

/// What the rounds of a fault have come to.
pub(crate) struct Tried {
    pub(crate) row: Row,
    /// What the peers of the daemon have done, in all rounds together.
    pub(crate) done: u64,
}

/// Runs the rounds of a fault.
pub(crate) async fn run(
    options: &Options,
    fault: &Fault,
    daemon: &Daemon,
    load: &Load,
) -> Outcome<Tried> {
    let schedule = Schedule::of(options, fault);
    let mut trial = Trial::start(options, fault, daemon, load).await?;

    for _ in 0..schedule.rounds {
        trial.round(&schedule).await?;
    }

    trial.take_figures();
    trial.row.held_peak_mib = Some(mib(daemon.held_peak_bytes().await?));
    trial.judge();
    Ok(Tried {
        row: trial.row,
        done: trial.done,
    })
}

/// How often a fault is looked at, and for how long.
struct Schedule {
    rounds: usize,
    /// How long the good client is measured, alone and under the fault.
    length: Duration,
    /// How long the peers have to come before that.
    onset: Duration,
}

impl Schedule {
    fn of(options: &Options, fault: &Fault) -> Self {
        // A flood is slowed down first, and ended after `throttle.timeout_ms` of 10 s.
        let (rounds, seconds) = match () {
            () if options.quick => (1, 0.7),
            () if fault.is_flood() => (1, 12.0),
            // Each of their rounds is three times as long: it has a neighbour that is attacked first.
            () if fault.is_holding() => (3, 2.0),
            // One stall of the machine moves the p99 of a round: the median of the rounds counts.
            () => (7, 2.0),
        };
        let onset = if options.quick {
            Duration::ZERO
        } else {
            Duration::from_secs(1)
        };

        Self {
            rounds,
            length: Duration::from_secs_f64(seconds),
            onset,
        }
    }
}

/// A fault that is tried out on a daemon, and what was seen of that in all rounds so far.
struct Trial<'a> {
    options: &'a Options,
    fault: &'a Fault,
    daemon: &'a Daemon,
    load: &'a Load,
    /// What the daemon held before the first attack.
    before: Usage,
    /// The good client's p99 in each round: alone, and under the fault.
    pairs: Vec<(f64, f64)>,
    /// Its p99 in each round beside the fault at another daemon, where that is what counts.
    besides: Vec<f64>,
    /// Its longest call while the peers came, in milliseconds.
    slowest_ms: f64,
    errors: u64,
    last_error: Option<String>,
    rss_peak: u64,
    done: u64,
    /// Another daemon with the same fault, from the first round on that needs it.
    neighbour: Option<Daemon>,
    row: Row,
}

impl<'a> Trial<'a> {
    /// Warms up, and looks at what the daemon holds then.
    async fn start(
        options: &'a Options,
        fault: &'a Fault,
        daemon: &'a Daemon,
        load: &'a Load,
    ) -> Outcome<Self> {
        // Warm: connected, and every path taken once.
        let errors = load.window(Duration::from_millis(300)).await.failures();

        Ok(Self {
            options,
            fault,
            daemon,
            load,
            before: daemon.process.usage()?,
            pairs: Vec::new(),
            besides: Vec::new(),
            slowest_ms: 0.0,
            errors,
            last_error: None,
            rss_peak: 0,
            done: 0,
            neighbour: None,
            row: Row {
                name: fault.name.into(),
                ..Row::default()
            },
        })
    }

    /// Measures the good client alone, beside the fault where that is what counts, and under the fault.
    async fn round(&mut self, schedule: &Schedule) -> Outcome<()> {
        let alone = self.load.window(schedule.length).await;
        // In short no speed is judged.
        if let (Some(OfBeside(_)), false) = (self.fault.p99, self.options.quick) {
            self.beside(schedule).await?;
        }

        self.daemon.process.reset_peak();
        let attack = Attack::start(self.fault.name, self.daemon)?;

        // They do their worst as they come: what fails then counts, and the longest call is told apart.
        let onset = self.load.window(schedule.onset).await;
        self.slowest_ms = self.slowest_ms.max(milliseconds(&onset.answered, 100.0));

        let under = self.load.window(schedule.length).await;
        self.rss_peak = self.rss_peak.max(self.daemon.process.rss_peak_bytes()?);
        self.row.descriptors_peak = self
            .row
            .descriptors_peak
            .max(self.daemon.process.usage()?.descriptors);

        self.pairs.push((alone.p99(), under.p99()));
        for window in [alone, onset, under] {
            self.errors += window.failures();
            self.last_error = window.last_error.or(self.last_error.take());
        }

        self.hear_peers(&attack.end()?);
        wait_for_descriptors(self.daemon, self.before.descriptors, &mut self.row).await
    }

    /// Measures the good client while the same peers do the same to another daemon.
    async fn beside(&mut self, schedule: &Schedule) -> Outcome<()> {
        let neighbour = match self.neighbour.take() {
            Some(neighbour) => neighbour,
            None => start_daemon(self.options, self.fault).await?,
        };
        let attack = Attack::start(self.fault.name, &neighbour)?;

        let onset = self.load.window(schedule.onset).await;
        let beside = self.load.window(schedule.length).await;
        self.besides.push(beside.p99());
        self.errors += onset.failures() + beside.failures();

        attack.end()?;
        self.neighbour = Some(neighbour);
        Ok(())
    }

    /// Notes what the peers have seen, and what they should have.
    fn hear_peers(&mut self, told: &Told) {
        self.done += told.done;
        let (text, slowest) = (&told.text, self.slowest_ms);
        self.row.notes = format!("{text}; the longest call as they came: {slowest:.0} ms");

        // A quick round is over before the daemon ends one.
        let must_end = !self.options.quick && self.fault.is_flood();
        self.row
            .bound(!must_end || told.ended > 0, || "no flood was ended".into());
        judge_peers(&mut self.row, told);
    }

    /// Fills the row from what the rounds have shown.
    fn take_figures(&mut self) {
        let times = Times::of(&self.pairs, &self.besides);
        self.row.alone = times.alone;
        self.row.under = times.under;
        self.row.beside = times.beside;
        self.row.ratio = times.ratio();

        self.row.rss_peak_mib = mib(self.rss_peak);
        self.row.errors = self.errors;
    }

    /// Holds the figures against the fault's bounds.
    fn judge(&mut self) {
        let Self { fault, row, .. } = self;

        let errors = row.errors;
        let last = self.last_error.take().unwrap_or_default();
        row.bound(errors == 0, || {
            format!("the good client had {errors} errors {last}")
        });

        let grown = row.rss_peak_mib - mib(self.before.rss_bytes);
        let most = fault.memory.mib_max();
        row.bound(grown <= most, || {
            format!("{grown:.0} MiB more, {most:.0} allowed")
        });

        let (held, most) = (row.held_peak_mib.unwrap_or_default(), memory_mib_max());
        row.bound(held <= most, || {
            format!("{held:.1} MiB counted, {most:.0} allowed")
        });

        let descriptors = row.descriptors_peak;
        row.bound(descriptors <= fault.descriptors_max, || {
            format!("{descriptors} descriptors")
        });

        if let (false, Some(OfAlone(most) | OfBeside(most))) = (self.options.quick, fault.p99) {
            let ratio = row.ratio;
            row.bound(ratio <= most, || {
                format!("p99 is {ratio:.2} times what it is otherwise, {most} allowed")
            });
        }
    }
}

/// Holds what peers of any kind have seen in a round against what they must have.
fn judge_peers(row: &mut Row, told: &Told) {
    // An attack of which nothing reaches the daemon says nothing of it.
    row.bound(told.done > 0, || {
        format!("no peer could do anything: {}", told.text)
    });

    let faults = told.faults;
    row.bound(faults == 0, || {
        format!("{faults} of the peers were not served as they must be")
    });
}

/// What the peers had is given back once they are gone: within the time of a lingering close and more.
async fn wait_for_descriptors(daemon: &Daemon, before: usize, row: &mut Row) -> Outcome<()> {
    let end = Instant::now() + Duration::from_secs(15);
    loop {
        let now = daemon.process.usage()?.descriptors;
        if now <= before {
            return Ok(());
        }

        if Instant::now() > end {
            row.bound(false, || format!("{} descriptors were kept", now - before));
            return Ok(());
        }

        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
pub(crate) fn mib(bytes: u64) -> f64 {
    bytes as f64 / MIB
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attack_that_is_refused_altogether_is_a_miss() {
        let missed = |done| {
            let mut row = Row::default();
            let told = Told {
                faults: 0,
                ended: 0,
                done,
                text: format!("{done} done"),
            };
            judge_peers(&mut row, &told);
            row.missed
        };
        assert_eq!(missed(0), ["no peer could do anything: 0 done"]);
        assert!(missed(1).is_empty());
    }
}
