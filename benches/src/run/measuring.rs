//! One scenario being measured: servers, rounds, and what comes of them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use indicatif::ProgressBar;

use super::allocations;
use crate::contenders::Contender;
use crate::load::{Idle, Measured};
use crate::process::{Layout, Server};
use crate::report::{Figures, Report, Round, Row, Spread};
use crate::scenario::{Entrant, Extra, Scenario, Step, Weight};

/// The servers of a scenario, by what they are started with: arguments, whether pinned, and which build.
type Servers = HashMap<ServerKey, Result<Server, String>>;
type ServerKey = (String, bool, Option<PathBuf>);

fn server_of(entrant: &Entrant) -> ServerKey {
    (entrant.server(), entrant.is_pinned, entrant.build.clone())
}

/// What one contender's rounds saw, or why they ended.
type Rounds = Result<Vec<Taken>, String>;

/// One contender's turn.
struct Taken {
    round: usize,
    measured: Measured,
    server_cpu_us: f64,
}

/// One scenario on its way into the report.
pub(super) struct Measuring<'a> {
    pub(super) scenario: &'a Scenario,
    pub(super) layout: Layout,
    /// That of entrants who are pinned where others are not.
    pub(super) pinned: Layout,
    pub(super) rounds: usize,
    pub(super) seconds: f64,
    pub(super) warm_up: f64,
    pub(super) progress: ProgressBar,
    pub(super) report: &'a mut Report,
}

impl Measuring<'_> {
    pub(super) async fn loads(&mut self) {
        // All steps in each round, so that what one step has over another is not what the machine had.
        let all: Vec<Entrant> = self
            .scenario
            .steps
            .iter()
            .flat_map(|step| step.entrants.clone())
            .collect();

        self.progress.set_length((all.len() * self.rounds) as u64);
        let servers = self.servers().await;
        let mut taken = self.rounds(&all, &servers, "").await.into_iter();

        for step in &self.scenario.steps {
            let rounds = taken.by_ref().take(step.entrants.len()).collect();
            self.add(step, rounds);
        }
    }

    /// Raises the rate until no contender keeps up. One that does not is not asked for more.
    pub(super) async fn open_loop(&mut self, percents: &[u16]) {
        let first = &self.scenario.steps[0].entrants[0];
        self.progress.set_length(
            (self.scenario.steps[0].entrants.len() * self.rounds * percents.len()) as u64,
        );

        let servers = self.servers().await;
        let saturating = [Entrant {
            load: "--in-flight 64".into(),
            ..first.clone()
        }];
        let most = self.rounds(&saturating, &servers, "").await.remove(0);
        let most = most
            .ok()
            .and_then(|rounds| Spread::of(rounds.iter().map(|taken| taken.measured.rps)));

        let mut entrants = self.scenario.steps[0].entrants.clone();
        for percent in percents {
            let name = format!("{}-{percent}", self.scenario.name);
            let Some(most) = most else {
                let why = "the first contender's saturation is not known";
                let rounds = entrants.iter().map(|_| Err(why.to_owned())).collect();
                return self.add(
                    &Step {
                        name,
                        x: None,
                        entrants,
                    },
                    rounds,
                );
            };

            let rate = (most.median * f64::from(*percent) / 100.0).round();
            let rounds = self
                .rounds(&entrants, &servers, &format!("--rate {rate}"))
                .await;

            let step = Step {
                name,
                x: Some(rate),
                entrants: entrants.clone(),
            };
            self.add(&step, rounds);

            entrants.retain(|entrant| {
                self.report
                    .figures(&step.name, &entrant.name)
                    .is_some_and(|figures| {
                        let p99_us = figures.p99_us.unwrap_or(f64::INFINITY);
                        let achieved = figures.rps.map_or(0.0, |rps| rps.median);
                        p99_us <= 100_000.0 && achieved >= 0.9 * rate
                    })
            });
        }
    }

    /// Each contender's connections rest at a server of their own, so that its memory is new.
    #[allow(clippy::cast_precision_loss, reason = "a few thousand connections")]
    pub(super) async fn idle(&mut self, connections: usize) {
        let step = &self.scenario.steps[0];

        // Memory is the same each time.
        let rounds = if self.scenario.extra == Extra::KibPerConnection {
            1
        } else {
            self.rounds
        };

        self.progress
            .set_length((step.entrants.len() * rounds) as u64);
        let mut taken: Vec<Result<Vec<(Idle, f64)>, String>> =
            step.entrants.iter().map(|_| Ok(Vec::new())).collect();

        for (_, turn) in turns(step.entrants.len(), rounds) {
            let entrant = &step.entrants[turn];
            self.progress.set_message(entrant.name.clone());

            let rest = async {
                Server::start(entrant, self.layout)
                    .await?
                    .idle(entrant, connections)
                    .await
            };
            let rested = rest.await;
            keep(&mut taken[turn], rested);
            self.progress.inc(1);
        }

        for (entrant, taken) in step.entrants.iter().zip(taken) {
            let figures = taken.map(|taken| match self.scenario.extra {
                Extra::KibPerConnection => Figures {
                    extra: Spread::of(taken.iter().map(|(_, bytes)| bytes / 1024.0))
                        .map(|kib| kib.median),
                    ..Figures::default()
                },
                _ => Figures {
                    rps: Spread::of(
                        taken
                            .iter()
                            .map(|(idle, _)| idle.connections as f64 / idle.seconds),
                    ),
                    extra: Spread::of(taken.iter().map(|(idle, _)| idle.seconds))
                        .map(|seconds| seconds.median),
                    ..Figures::default()
                },
            });

            self.report
                .rows
                .push(self.row(step, &entrant.name, figures));
        }
    }

    pub(super) async fn allocations(&mut self) {
        let step = &self.scenario.steps[0];
        let counted = allocations::count()
            .await
            .map_err(|error| format!("{error:#}"));

        for (name, count) in [
            ("rpc-client", counted.as_ref().map(|counted| counted.client)),
            ("rpc-server", counted.as_ref().map(|counted| counted.server)),
            ("params", counted.as_ref().map(|counted| counted.params)),
        ] {
            let figures = count.map(|count| Figures {
                extra: Some(count),
                ..Figures::default()
            });
            let row = self.row(step, name, figures.map_err(Clone::clone));
            self.report.rows.push(row);
        }
    }

    /// All servers that the scenario needs.
    async fn servers(&self) -> Servers {
        let mut servers = Servers::new();
        for entrant in self.scenario.steps.iter().flat_map(|step| &step.entrants) {
            if let Entry::Vacant(vacant) = servers.entry(server_of(entrant)) {
                self.progress
                    .set_message(format!("{} starts", entrant.name));
                let server = Server::start(entrant, self.layout_of(entrant)).await;
                vacant.insert(server.map_err(|error| format!("{error:#}")));
            }
        }

        servers
    }

    fn layout_of(&self, entrant: &Entrant) -> Layout {
        if entrant.is_pinned {
            self.pinned
        } else {
            self.layout
        }
    }

    /// Each round gives everyone a turn, so that a machine that changes its pace changes it for all;
    /// and begins with another, so that no contender always follows the same.
    async fn rounds(&self, entrants: &[Entrant], servers: &Servers, more: &str) -> Vec<Rounds> {
        let mut taken: Vec<Rounds> = entrants.iter().map(|_| Ok(Vec::new())).collect();
        for (round, turn) in turns(entrants.len(), self.rounds) {
            let entrant = &entrants[turn];
            self.progress.set_message(entrant.name.clone());

            if taken[turn].is_ok() && self.takes_part(entrant, round) {
                match &servers[&server_of(entrant)] {
                    Ok(server) => keep(
                        &mut taken[turn],
                        self.load(server, entrant, more, round).await,
                    ),
                    Err(error) => taken[turn] = Err(error.clone()),
                }
            }

            self.progress.inc(1);
        }

        taken
    }

    /// Where targets are judged, ours and the limit lie closest together, and have twice as many rounds
    /// as the others.
    fn takes_part(&self, entrant: &Entrant, round: usize) -> bool {
        let is_close = matches!(entrant.contender, Contender::Rpc | Contender::Limit);
        self.scenario.weight != Weight::Target || is_close || round.is_multiple_of(2)
    }

    async fn load(
        &self,
        server: &Server,
        entrant: &Entrant,
        more: &str,
        round: usize,
    ) -> Result<Taken> {
        // A number of calls has no time of its own, and some scenarios have their own.
        const CALLS_SECONDS: f64 = 60.0;

        let has_end = entrant.load.contains("--calls") || entrant.load.contains("--seconds");
        let (time, seconds) = if has_end {
            (String::new(), CALLS_SECONDS)
        } else {
            (
                format!(" --seconds {} --warm-up {}", self.seconds, self.warm_up),
                self.seconds + self.warm_up,
            )
        };

        let arguments = format!("{}{time} {more}", entrant.load);
        let (measured, server_cpu_us) = server
            .load(entrant, &arguments, Duration::from_secs_f64(seconds))
            .await?;

        Ok(Taken {
            round,
            measured,
            server_cpu_us,
        })
    }

    /// Puts the rounds of a step into the report.
    fn add(&mut self, step: &Step, rounds: Vec<Rounds>) {
        let mut rows: Vec<Row> = Vec::new();
        for (entrant, rounds) in step.entrants.iter().zip(rounds) {
            let figures = rounds.map(|rounds| figures_of(&rounds));
            rows.push(self.row(step, &entrant.name, figures));
        }

        if let Some(best) = best_limit(&rows) {
            let first = rows.iter().position(Row::is_limit).unwrap_or(0);
            rows.insert(first, best);
        }

        let ours = rows
            .iter()
            .find(|row| row.contender == "rpc")
            .and_then(|row| row.outcome.clone().ok());
        let all = rows.clone();
        for row in &mut rows {
            let Ok(figures) = &mut row.outcome else {
                continue;
            };

            figures.extra = extra(
                self.scenario.extra,
                &row.contender,
                figures,
                ours.as_ref(),
                &all,
                self.report,
            );
        }

        self.report.rows.extend(rows);
    }

    fn row(&self, step: &Step, contender: &str, outcome: Result<Figures, String>) -> Row {
        Row {
            scenario: self.scenario.name,
            step: step.name.clone(),
            x: step.x,
            contender: contender.into(),
            note: String::new(),
            outcome,
        }
    }
}

/// Which round it is and whose turn, each round beginning one further.
fn turns(entrants: usize, rounds: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..rounds)
        .flat_map(move |round| (0..entrants).map(move |turn| (round, (turn + round) % entrants)))
}

/// The first failure stands for all rounds.
fn keep<T>(taken: &mut Result<Vec<T>, String>, new: Result<T>) {
    match (taken.as_mut(), new) {
        (Ok(all), Ok(new)) => all.push(new),
        (Ok(_), Err(error)) => *taken = Err(format!("{error:#}").replace('\n', " ")),
        (Err(_), _) => {}
    }
}

fn figures_of(rounds: &[Taken]) -> Figures {
    let median = |figure: &dyn Fn(&Taken) -> Option<f64>| {
        Spread::of(rounds.iter().filter_map(figure)).map(|of| of.median)
    };

    let round = |taken: &Taken| Round {
        number: taken.round,
        rps: taken.measured.rps,
        p50_us: taken.measured.p50_us,
    };

    Figures {
        rps: Spread::of(rounds.iter().map(|taken| taken.measured.rps)),
        p50_us: median(&|taken| Some(taken.measured.p50_us)),
        p99_us: median(&|taken| Some(taken.measured.p99_us)),
        p999_us: median(&|taken| Some(taken.measured.p999_us)),
        server_cpu_us: median(&|taken| Some(taken.server_cpu_us)),
        client_cpu_us: median(&|taken| Some(taken.measured.client_cpu_us)),
        late_p99_us: median(&|taken| taken.measured.late_p99_us),
        rounds: rounds.iter().map(round).collect(),
        extra: None,
    }
}

/// The limit in the best of its ways to write, where it has several.
fn best_limit(rows: &[Row]) -> Option<Row> {
    let rps = |row: &Row| {
        row.outcome
            .as_ref()
            .ok()
            .and_then(|figures| figures.rps)
            .map_or(0.0, |rps| rps.median)
    };

    let ways = rows
        .iter()
        .filter(|row| row.contender.starts_with("limit-"));
    let best = ways.max_by(|a, b| rps(a).total_cmp(&rps(b)))?;

    let way = best.contender.trim_start_matches("limit-");
    Some(Row {
        contender: "limit".into(),
        note: format!(" ({way})"),
        ..best.clone()
    })
}

/// The scenario's own figure of a row.
fn extra(
    extra: Extra,
    contender: &str,
    its: &Figures,
    ours: Option<&Figures>,
    step: &[Row],
    report: &Report,
) -> Option<f64> {
    let rps = its.rps?.median;
    match extra {
        Extra::P50Ratio => Some(ours?.p50_us? / its.p50_us?),
        Extra::Seconds(calls) => Some(calls / rps),
        Extra::Megabytes(bytes) => Some(rps * bytes / 1e6),
        Extra::Late => its.late_p99_us,
        Extra::P99Over(step) => Some(its.p99_us? / report.figures(step, contender)?.p99_us?),
        Extra::OverShort => its.throughput_over(short_of(contender, step)?),
        Extra::None | Extra::KibPerConnection | Extra::AllocationsPerCall => None,
    }
}

/// The figures of the same transport with a connection for each call: of `rpc-tls` and `rpc-tls-each` those of
/// `rpc-tls-short`.
fn short_of<'a>(contender: &str, step: &'a [Row]) -> Option<&'a Figures> {
    let transport = contender
        .trim_end_matches("-each")
        .trim_end_matches("-short");
    let name = format!("{transport}-short");
    let short = step.iter().find(|row| row.contender == name)?;
    short.outcome.as_ref().ok()
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "round values, which are exact")]
mod tests {
    use super::*;
    use crate::report::tests::row;

    #[test]
    fn each_round_gives_everyone_one_turn_and_begins_with_another() {
        assert_eq!(
            turns(3, 2).collect::<Vec<_>>(),
            [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (1, 0)]
        );
        assert_eq!(turns(0, 2).count(), 0);
    }

    #[test]
    fn the_limit_is_the_best_of_its_ways_to_write() {
        let rows = [
            row("a", "rpc", 9.0),
            row("a", "limit-w8", 3.0),
            row("a", "limit-w16", 5.0),
        ];

        let best = best_limit(&rows).expect("there are two");
        assert_eq!(
            (best.contender.as_str(), best.note.as_str()),
            ("limit", " (w16)")
        );
        assert_eq!(
            best.outcome
                .expect("it has figures")
                .rps
                .expect("calls")
                .median,
            5.0
        );

        assert!(best_limit(&rows[..1]).is_none());
    }

    #[test]
    fn what_is_kept_is_compared_with_the_short_connections_of_its_own_transport() {
        let rows = [
            row("tls", "rpc", 900.0),
            row("tls", "rpc-short", 30.0),
            row("tls", "rpc-tls", 600.0),
            row("tls", "rpc-tls-each", 120.0),
            row("tls", "rpc-tls-short", 10.0),
        ];

        let times = rows.each_ref().map(|row| {
            let its = row.outcome.as_ref().expect("it has figures");
            let report = Report::default();
            extra(Extra::OverShort, &row.contender, its, None, &rows, &report)
        });
        assert_eq!(times, [30.0, 1.0, 60.0, 12.0, 1.0].map(Some));
    }

    #[test]
    fn the_first_failure_stands_for_all_rounds() {
        let mut taken = Ok(vec![1]);
        keep(&mut taken, Ok(2));
        assert_eq!(taken, Ok(vec![1, 2]));

        keep(&mut taken, Err(anyhow::anyhow!("first")));
        keep(&mut taken, Ok(3));
        keep(&mut taken, Err(anyhow::anyhow!("second")));
        assert_eq!(taken, Err("first".into()));
    }
}
