//! The order of things: which scenario, which round, whose turn.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::env;
use std::io::{IsTerminal, stderr};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use clap::builder::PossibleValuesParser;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Deserialize;
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

use crate::contenders::Contender;
use crate::load::{Idle, Measured};
use crate::process::{self, Layout, Server};
use crate::report::{Figures, Report, Row, Spread, facts, table};
use crate::scenario::{self, Entrant, Extra, Kind, Scenario, Step};
use crate::targets;

/// What is to be run.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The directory for results.csv, extra.csv and index.html.
    #[arg(long, default_value = "target/bench")]
    out: PathBuf,
    /// All scenarios within three minutes: shorter, with fewer rounds and steps.
    #[arg(long)]
    quick: bool,
    /// Only these scenarios.
    #[arg(long, value_delimiter = ',', value_parser = PossibleValuesParser::new(names()))]
    only: Vec<String>,
    /// Only these contenders.
    #[arg(long, value_delimiter = ',')]
    contenders: Vec<Contender>,
    /// Rounds of a scenario; minor ones have about half.
    #[arg(long)]
    rounds: Option<usize>,
    /// How long each contender is measured in each round.
    #[arg(long)]
    seconds: Option<f64>,
}

fn names() -> Vec<&'static str> {
    scenario::all(&[], true).iter().map(|scenario| scenario.name).collect()
}

/// Runs until all is measured, or until it is told to stop. Either way no process is left behind.
pub(crate) async fn run(options: Options) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    tokio::select! {
        done = measure_all(options) => done,
        stopped = tokio::signal::ctrl_c() => stopped.map_err(Into::into).and_then(|()| bail!("stopped")),
        _ = terminate.recv() => bail!("stopped"),
        _ = hang_up.recv() => bail!("stopped"),
    }
}

async fn measure_all(options: Options) -> Result<()> {
    let wanted =
        |contender: &Contender| options.contenders.is_empty() || options.contenders.contains(contender);
    let mut contenders = Contender::value_variants().to_vec();
    contenders.retain(|contender| {
        let is_available = contender.is_available();
        if wanted(contender) && !is_available {
            eprintln!("{} does not take part: it is not available here", contender.name());
        }
        wanted(contender) && is_available
    });
    ensure!(!contenders.is_empty(), "no contender is left");
    let mut scenarios = scenario::all(&contenders, options.quick);
    scenarios.retain(|scenario| {
        let is_wanted = options.only.is_empty() || options.only.iter().any(|name| name == scenario.name);
        is_wanted && scenario.steps.iter().any(|step| !step.entrants.is_empty())
    });
    ensure!(!scenarios.is_empty(), "none of these contenders takes part in these scenarios");

    let open_files = process::raise_open_files();
    for scenario in &mut scenarios {
        // Besides the connections each process has some files of its own.
        let room = usize::try_from(open_files)?.saturating_sub(100);
        if let Kind::Idle(connections) = &mut scenario.kind
            && *connections > room
        {
            eprintln!(
                "{}: {room} connections, because a process may open only {open_files} files",
                scenario.name
            );
            *connections = room;
        }
    }
    let why_not_pinned = process::why_not_pinned().await;
    if let Some(why) = &why_not_pinned {
        eprintln!("Nothing is pinned to a core: {why}. The figures will be less steady.");
    }
    let layout = match &why_not_pinned {
        None => "servers on core 0, clients on core 1; the unpinned scenarios anywhere".to_owned(),
        Some(why) => format!("nothing is pinned: {why}"),
    };
    if scenarios.iter().any(|scenario| scenario.kind == Kind::Allocations) {
        build_allocations().await;
    }

    let (rounds, seconds, warm_up) = if options.quick { (2, 0.2, 0.1) } else { (5, 1.0, 0.3) };
    let rounds = options.rounds.unwrap_or(rounds).max(1);
    let seconds = options.seconds.unwrap_or(seconds);
    let mut report = Report { facts: facts::facts(layout), ..Report::default() };
    let number_of_scenarios = scenarios.len();
    for (i, scenario) in scenarios.iter().enumerate() {
        if !stderr().is_terminal() {
            eprintln!("{}: {}", scenario.name, scenario.about);
        }
        let style = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len} {msg}")?;
        let progress = ProgressBar::new(0).with_style(style);
        progress.set_prefix(format!("[{}/{number_of_scenarios}] {}", i + 1, scenario.name));
        let layout = Layout {
            is_pinned: scenario.is_pinned && why_not_pinned.is_none(),
            workers: if scenario.is_pinned { 1 } else { 2 },
        };
        let rounds = if scenario.is_minor { rounds.div_ceil(2) } else { rounds };
        let mut measuring =
            Measuring { scenario, layout, rounds, seconds, warm_up, progress, report: &mut report };
        match scenario.kind {
            Kind::Loads => measuring.loads().await,
            Kind::OpenLoop(percents) => measuring.open_loop(percents).await,
            Kind::Idle(connections) => measuring.idle(connections).await,
            Kind::Allocations => measuring.allocations().await,
        }
        measuring.progress.finish_and_clear();
        println!("\n{}: {}\n{}", scenario.name, scenario.about, table::of_scenario(&report, scenario).text());
        // After each, so that a run that is stopped leaves what it has.
        report.write(&options.out, &scenarios)?;
    }
    let verdicts = targets::judge(&report);
    if !verdicts.is_empty() {
        println!("\nThe targets:\n{}", table::of_verdicts(&verdicts).text());
    }
    println!("{} has the plots, results.csv beside it the figures", options.out.join("index.html").display());
    Ok(())
}

/// The servers of a scenario, by what they are started with.
type Servers = HashMap<(Contender, Option<usize>), Result<Server, String>>;

/// What one contender's rounds saw, with the server's microseconds a call; or why they ended.
type Rounds = Result<Vec<(Measured, f64)>, String>;

/// One scenario on its way into the report.
struct Measuring<'a> {
    scenario: &'a Scenario,
    layout: Layout,
    rounds: usize,
    seconds: f64,
    warm_up: f64,
    progress: ProgressBar,
    report: &'a mut Report,
}

impl Measuring<'_> {
    async fn loads(&mut self) {
        let loads: usize = self.scenario.steps.iter().map(|step| step.entrants.len()).sum();
        self.progress.set_length((loads * self.rounds) as u64);
        let servers = self.servers().await;
        for step in &self.scenario.steps {
            let rounds = self.rounds(&step.entrants, &servers, "").await;
            self.add(step, rounds);
        }
    }

    /// Raises the rate until nobody keeps up. Who does not is not asked for more.
    async fn open_loop(&mut self, percents: &[u16]) {
        let first = &self.scenario.steps[0].entrants[0];
        self.progress
            .set_length((self.scenario.steps[0].entrants.len() * self.rounds * percents.len()) as u64);
        let servers = self.servers().await;
        let saturating = [Entrant { load: "--in-flight 64".into(), ..first.clone() }];
        let most = self.rounds(&saturating, &servers, "").await.remove(0);
        let most = most.ok().and_then(|rounds| Spread::of(rounds.iter().map(|(measured, _)| measured.rps)));
        let mut entrants = self.scenario.steps[0].entrants.clone();
        for percent in percents {
            let name = format!("{}-{percent}", self.scenario.name);
            let Some(most) = most else {
                let why = "the first contender's saturation is not known";
                let rounds = entrants.iter().map(|_| Err(why.to_owned())).collect();
                return self.add(&Step { name, x: None, entrants }, rounds);
            };
            let rate = (most.median * f64::from(*percent) / 100.0).round();
            let rounds = self.rounds(&entrants, &servers, &format!("--rate {rate}")).await;
            let step = Step { name, x: Some(rate), entrants: entrants.clone() };
            self.add(&step, rounds);
            entrants.retain(|entrant| {
                self.report.figures(&step.name, &entrant.name).is_some_and(|figures| {
                    let p99_us = figures.p99_us.unwrap_or(f64::INFINITY);
                    let achieved = figures.rps.map_or(0.0, |rps| rps.median);
                    p99_us <= 100_000.0 && achieved >= 0.9 * rate
                })
            });
        }
    }

    /// Each contender's connections rest at a server of their own, so that its memory is new.
    #[allow(clippy::cast_precision_loss, reason = "a few thousand connections")]
    async fn idle(&mut self, connections: usize) {
        let step = &self.scenario.steps[0];
        // Memory is the same each time.
        let rounds = if self.scenario.extra == Extra::KibPerConnection { 1 } else { self.rounds };
        self.progress.set_length((step.entrants.len() * rounds) as u64);
        let mut taken: Vec<Result<Vec<(Idle, f64)>, String>> =
            step.entrants.iter().map(|_| Ok(Vec::new())).collect();
        for turn in turns(step.entrants.len(), rounds) {
            let entrant = &step.entrants[turn];
            self.progress.set_message(entrant.name.clone());
            let rest = async { Server::start(entrant, self.layout).await?.idle(entrant, connections).await };
            let rested = rest.await;
            keep(&mut taken[turn], rested);
            self.progress.inc(1);
        }
        for (entrant, taken) in step.entrants.iter().zip(taken) {
            let figures = taken.map(|taken| match self.scenario.extra {
                Extra::KibPerConnection => Figures {
                    extra: Spread::of(taken.iter().map(|(_, bytes)| bytes / 1024.0)).map(|kib| kib.median),
                    ..Figures::default()
                },
                _ => Figures {
                    rps: Spread::of(taken.iter().map(|(idle, _)| idle.connections as f64 / idle.seconds)),
                    extra: Spread::of(taken.iter().map(|(idle, _)| idle.seconds))
                        .map(|seconds| seconds.median),
                    ..Figures::default()
                },
            });
            self.report.rows.push(self.row(step, &entrant.name, figures));
        }
    }

    async fn allocations(&mut self) {
        let step = &self.scenario.steps[0];
        let counted = count_allocations().await.map_err(|error| format!("{error:#}"));
        for (name, count) in [
            ("rpc-client", counted.as_ref().map(|counted| counted.client)),
            ("rpc-server", counted.as_ref().map(|counted| counted.server)),
        ] {
            let figures = count.map(|count| Figures { extra: Some(count), ..Figures::default() });
            let row = self.row(step, name, figures.map_err(Clone::clone));
            self.report.rows.push(row);
        }
    }

    /// All servers that the scenario needs.
    async fn servers(&self) -> Servers {
        let mut servers = Servers::new();
        for entrant in self.scenario.steps.iter().flat_map(|step| &step.entrants) {
            let key = (entrant.contender, entrant.write_every);
            if let Entry::Vacant(vacant) = servers.entry(key) {
                self.progress.set_message(format!("{} starts", entrant.name));
                let server = Server::start(entrant, self.layout).await;
                vacant.insert(server.map_err(|error| format!("{error:#}")));
            }
        }
        servers
    }

    /// Each round gives everyone a turn, so that a machine that changes its pace changes it for all;
    /// and begins with another, so that nobody always follows the same.
    async fn rounds(&self, entrants: &[Entrant], servers: &Servers, more: &str) -> Vec<Rounds> {
        let mut taken: Vec<Rounds> = entrants.iter().map(|_| Ok(Vec::new())).collect();
        for turn in turns(entrants.len(), self.rounds) {
            let entrant = &entrants[turn];
            self.progress.set_message(entrant.name.clone());
            if taken[turn].is_ok() {
                match &servers[&(entrant.contender, entrant.write_every)] {
                    Ok(server) => keep(&mut taken[turn], self.load(server, entrant, more).await),
                    Err(error) => taken[turn] = Err(error.clone()),
                }
            }
            self.progress.inc(1);
        }
        taken
    }

    async fn load(&self, server: &Server, entrant: &Entrant, more: &str) -> Result<(Measured, f64)> {
        // A number of calls has no time of its own, and some scenarios have their own.
        const CALLS_SECONDS: f64 = 60.0;
        let has_end = entrant.load.contains("--calls") || entrant.load.contains("--seconds");
        let (time, seconds) = if has_end {
            (String::new(), CALLS_SECONDS)
        } else {
            (format!(" --seconds {} --warm-up {}", self.seconds, self.warm_up), self.seconds + self.warm_up)
        };
        let arguments = format!("{}{time} {more}", entrant.load);
        server.load(entrant, &arguments, Duration::from_secs_f64(seconds)).await
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
        let ours = rows.iter().find(|row| row.contender == "rpc").and_then(|row| row.outcome.clone().ok());
        for row in &mut rows {
            let Ok(figures) = &mut row.outcome else { continue };
            figures.extra = extra(self.scenario.extra, &row.contender, figures, ours.as_ref(), self.report);
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

/// Whose turn it is, round after round, each round beginning one further.
fn turns(entrants: usize, rounds: usize) -> impl Iterator<Item = usize> {
    (0..rounds).flat_map(move |round| (0..entrants).map(move |turn| (turn + round) % entrants))
}

/// The first failure stands for all rounds.
fn keep<T>(taken: &mut Result<Vec<T>, String>, new: Result<T>) {
    match (taken.as_mut(), new) {
        (Ok(all), Ok(new)) => all.push(new),
        (Ok(_), Err(error)) => *taken = Err(format!("{error:#}").replace('\n', " ")),
        (Err(_), _) => {}
    }
}

fn figures_of(rounds: &[(Measured, f64)]) -> Figures {
    let median = |figure: &dyn Fn(&(Measured, f64)) -> Option<f64>| {
        Spread::of(rounds.iter().filter_map(figure)).map(|of| of.median)
    };
    Figures {
        rps: Spread::of(rounds.iter().map(|(measured, _)| measured.rps)),
        p50_us: median(&|(measured, _)| Some(measured.p50_us)),
        p99_us: median(&|(measured, _)| Some(measured.p99_us)),
        p999_us: median(&|(measured, _)| Some(measured.p999_us)),
        server_cpu_us: median(&|(_, server_cpu_us)| Some(*server_cpu_us)),
        client_cpu_us: median(&|(measured, _)| Some(measured.client_cpu_us)),
        late_p99_us: median(&|(measured, _)| measured.late_p99_us),
        extra: None,
    }
}

/// The limit in the best of its ways to write, where it has several.
fn best_limit(rows: &[Row]) -> Option<Row> {
    let rps =
        |row: &Row| row.outcome.as_ref().ok().and_then(|figures| figures.rps).map_or(0.0, |rps| rps.median);
    let ways = rows.iter().filter(|row| row.contender.starts_with("limit-"));
    let best = ways.max_by(|a, b| rps(a).total_cmp(&rps(b)))?;
    let way = best.contender.trim_start_matches("limit-");
    Some(Row { contender: "limit".into(), note: format!(" ({way})"), ..best.clone() })
}

/// The scenario's own figure of a row.
fn extra(
    extra: Extra,
    contender: &str,
    its: &Figures,
    ours: Option<&Figures>,
    report: &Report,
) -> Option<f64> {
    let rps = its.rps?.median;
    match extra {
        Extra::P50Ratio => Some(ours?.p50_us? / its.p50_us?),
        Extra::ShareOf(pinned) if contender == "rpc" => {
            Some(rps / report.figures(pinned, "rpc")?.rps?.median)
        }
        Extra::Seconds(calls) => Some(calls / rps),
        Extra::Megabytes(bytes) => Some(rps * bytes / 1e6),
        Extra::Late => its.late_p99_us,
        Extra::P99Over(step) => Some(its.p99_us? / report.figures(step, contender)?.p99_us?),
        Extra::None | Extra::ShareOf(_) | Extra::KibPerConnection | Extra::AllocationsPerCall => None,
    }
}

#[derive(Deserialize)]
struct Allocations {
    client: f64,
    server: f64,
}

/// Where the program that counts allocations should be.
fn allocations_program() -> Result<PathBuf> {
    Ok(env::current_exe()?.with_file_name("allocations"))
}

/// Builds the program that counts, where cargo started this one: cargo builds only what it starts.
async fn build_allocations() {
    let (Some(cargo), Ok(program)) = (env::var_os("CARGO"), allocations_program()) else { return };
    let Some(target) = program.parent().and_then(|directory| directory.parent()) else { return };
    let mut build = Command::new(cargo);
    build
        .args(["build", "--quiet", "--package", "rpc-benches", "--bin", "allocations", "--target-dir"])
        .arg(target);
    build.args((!cfg!(debug_assertions)).then_some("--release"));
    // With the same features the dependencies are there already.
    build.args(cfg!(feature = "peers").then_some("--features=peers"));
    // Where it fails, that is said when it is needed.
    let _ = build.kill_on_drop(true).status().await;
}

async fn count_allocations() -> Result<Allocations> {
    const TIME: Duration = Duration::from_secs(60);
    let program = allocations_program()?;
    ensure!(
        program.exists(),
        "there is no {}; `cargo build --release -p rpc-benches --bins` makes it",
        program.display()
    );
    let mut command = Command::new(&program);
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(TIME, command.output()).await.context("counting did not end")??;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(serde_json::from_slice(&output.stdout)?)
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "round values, which are exact")]
mod tests {
    use super::*;
    use crate::report::tests::{report, row};

    #[test]
    fn each_round_gives_everyone_one_turn_and_begins_with_another() {
        assert_eq!(turns(3, 2).collect::<Vec<_>>(), [0, 1, 2, 1, 2, 0]);
        assert_eq!(turns(0, 2).count(), 0);
    }

    #[test]
    fn the_limit_is_the_best_of_its_ways_to_write() {
        let rows = [row("a", "rpc", 9.0), row("a", "limit-w8", 3.0), row("a", "limit-w16", 5.0)];
        let best = best_limit(&rows).expect("there are two");
        assert_eq!((best.contender.as_str(), best.note.as_str()), ("limit", " (w16)"));
        assert_eq!(best.outcome.expect("it has figures").rps.expect("calls").median, 5.0);
        assert!(best_limit(&rows[..1]).is_none());
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

    #[test]
    fn only_ours_is_compared_with_its_own_pinned_figure() {
        let report = report(vec![row("inflight-64", "rpc", 200.0)]);
        let its = row("inflight-64-unpinned", "rpc", 150.0).outcome.expect("it has figures");
        let share = Extra::ShareOf("inflight-64");
        assert_eq!(extra(share, "rpc", &its, Some(&its), &report), Some(0.75));
        assert_eq!(extra(share, "http", &its, Some(&its), &report), None);
    }
}
