//! The order of things: which scenario, which round, whose turn.

use std::io::{IsTerminal, stderr};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::ValueEnum;
use clap::builder::PossibleValuesParser;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::signal::unix::{SignalKind, signal};

use crate::contenders::{Contender, tls};
use crate::process::{self, Layout};
use crate::report::{Report, facts, knee, table};
use crate::scenario::{self, Extent, Kind, Scenario};
use crate::targets::{self, Verdict};
use measuring::Measuring;

mod allocations;
mod measuring;

/// What is to be run.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The directory for index.html, tables.md and the CSV files.
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
    /// Another build of this program, whose rpc takes part as `rpc-before`: what a change has brought.
    #[arg(long, value_name = "PROGRAM")]
    before: Option<PathBuf>,
    /// Rounds of the scenarios that a target is judged by; the others have a quarter of them, or a sixth.
    #[arg(long)]
    rounds: Option<usize>,
    /// How long each contender is measured in each round.
    #[arg(long)]
    seconds: Option<f64>,
    /// Exit with 1 where a contender has failed.
    #[arg(long)]
    strict: bool,
    /// Exit with 1 where a target is missed.
    #[arg(long)]
    judge: bool,
}

fn names() -> Vec<&'static str> {
    scenario::all(&[], Extent::Quick)
        .iter()
        .map(|scenario| scenario.name)
        .collect()
}

/// Runs until all is measured, or until it is told to stop. Either way no process is left behind.
pub(crate) async fn run(options: Options) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;

    let done = tokio::select! {
        done = measure_all(options) => done,
        stopped = tokio::signal::ctrl_c() => stopped.map_err(Into::into).and_then(|()| bail!("stopped")),
        _ = terminate.recv() => Err(anyhow!("stopped")),
        _ = hang_up.recv() => Err(anyhow!("stopped")),
    };

    tls::remove();
    done
}

async fn measure_all(options: Options) -> Result<()> {
    let contenders = options.contenders_at_hand()?;
    let mut scenarios = options.scenarios(&contenders)?;
    if let Some(build) = &options.before {
        add_before(&mut scenarios, build, &contenders)?;
    }
    fit_to_open_files(&mut scenarios)?;

    let why_not_pinned = process::why_not_pinned().await;
    if let Some(why) = &why_not_pinned {
        eprintln!("Nothing is pinned to a core: {why}. The figures will be less steady.");
    }

    if scenarios
        .iter()
        .any(|scenario| scenario.kind == Kind::Allocations)
    {
        allocations::build().await;
    }

    let pinned = Layout {
        is_pinned: why_not_pinned.is_none(),
        workers: 1,
    };
    let turns = Turns::of(&options, pinned);
    let mut report = Report {
        facts: facts::facts(layout_in_words(why_not_pinned)),
        ..Report::default()
    };

    for (i, scenario) in scenarios.iter().enumerate() {
        if !stderr().is_terminal() {
            eprintln!("{}: {}", scenario.name, scenario.about);
        }

        let place = format!("[{}/{}]", i + 1, scenarios.len());
        let progress = progress_bar(format!("{place} {}", scenario.name))?;
        turns.measure(scenario, progress, &mut report).await;

        println!(
            "\n{}: {}\n{}",
            scenario.name,
            scenario.about,
            table::of_scenario(&report, scenario).text()
        );
        let knees = knee::knees(&report, scenario.name);
        if !knees.is_empty() {
            println!(
                "Calls in flight with which the p99 exceeds ten times its lowest:\n{}",
                knee::table(&knees).text()
            );
        }

        // After each, so that a run that is stopped leaves what it has.
        report.write(&options.out, &scenarios)?;
    }

    let verdicts = targets::judge(&report);
    print_end(&verdicts, &options);

    if options.strict {
        check_outcomes(&report)?;
    }
    if options.judge {
        check_targets(&verdicts)?;
    }
    Ok(())
}

/// # Errors
/// The first contender that has failed.
fn check_outcomes(report: &Report) -> Result<()> {
    for row in &report.rows {
        if let Err(error) = &row.outcome {
            bail!("{} has failed in {}: {error}", row.contender, row.step);
        }
    }

    Ok(())
}

/// # Errors
/// How many targets are missed. One that was not measured is not missed.
fn check_targets(verdicts: &[Verdict]) -> Result<()> {
    let missed = verdicts
        .iter()
        .filter(|verdict| verdict.found.is_some() && !verdict.is_reached)
        .count();

    ensure!(missed == 0, "targets missed: {missed}");
    Ok(())
}

impl Options {
    /// The contenders that are wanted and available. Says which of those that are wanted are not.
    fn contenders_at_hand(&self) -> Result<Vec<Contender>> {
        let wanted = |contender: &Contender| {
            self.contenders.is_empty() || self.contenders.contains(contender)
        };

        let mut contenders = Contender::value_variants().to_vec();
        contenders.retain(|contender| {
            let is_available = contender.is_available();
            if wanted(contender) && !is_available {
                eprintln!(
                    "{} does not take part: it is not available here",
                    contender.name()
                );
            }

            wanted(contender) && is_available
        });

        ensure!(!contenders.is_empty(), "no contender is left");
        Ok(contenders)
    }

    /// The scenarios that are wanted, and that one of the contenders takes part in.
    fn scenarios(&self, contenders: &[Contender]) -> Result<Vec<Scenario>> {
        let extent = match self.quick {
            true => Extent::Quick,
            false => Extent::Full,
        };

        let mut scenarios = scenario::all(contenders, extent);
        scenarios.retain(|scenario| {
            let is_wanted =
                self.only.is_empty() || self.only.iter().any(|name| name == scenario.name);
            is_wanted && scenario.steps.iter().any(|step| !step.entrants.is_empty())
        });

        ensure!(
            !scenarios.is_empty(),
            "none of these contenders takes part in these scenarios"
        );
        Ok(scenarios)
    }
}

/// Lets another build of this program take part in the scenarios.
fn add_before(scenarios: &mut [Scenario], build: &Path, contenders: &[Contender]) -> Result<()> {
    ensure!(
        contenders.contains(&Contender::Rpc),
        "--before compares rpc with rpc, which must be a contender"
    );

    let build = build
        .canonicalize()
        .with_context(|| format!("--before {}", build.display()))?;
    for scenario in scenarios {
        scenario.add_before(&build);
    }

    Ok(())
}

/// Takes connections from scenarios that have more of them than a process may open files.
fn fit_to_open_files(scenarios: &mut [Scenario]) -> Result<()> {
    let open_files = process::raise_open_files();

    // Besides the connections each process has some files of its own.
    let room = usize::try_from(open_files)?.saturating_sub(100);

    for scenario in scenarios {
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

    Ok(())
}

fn layout_in_words(why_not_pinned: Option<String>) -> String {
    match why_not_pinned {
        None => "servers on core 0, clients on core 1; the unpinned scenarios anywhere".to_owned(),
        Some(why) => format!("nothing is pinned: {why}"),
    }
}

fn progress_bar(prefix: String) -> Result<ProgressBar> {
    let style = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len} {msg}")?;
    let progress = ProgressBar::new(0).with_style(style);
    progress.set_prefix(prefix);
    Ok(progress)
}

/// How many turns each contender has, how long they are, and how processes run in them.
struct Turns {
    most_rounds: usize,
    seconds: f64,
    warm_up: f64,
    /// Of scenarios that are pinned to cores, if this machine can do that.
    pinned: Layout,
}

impl Turns {
    fn of(options: &Options, pinned: Layout) -> Self {
        let (rounds, seconds, warm_up) = if options.quick {
            (4, 0.12, 0.05)
        } else {
            (19, 0.15, 0.06)
        };

        Self {
            most_rounds: options.rounds.unwrap_or(rounds).max(1),
            seconds: options.seconds.unwrap_or(seconds),
            warm_up,
            pinned,
        }
    }

    /// Measures one scenario into the report.
    async fn measure(&self, scenario: &Scenario, progress: ProgressBar, report: &mut Report) {
        let layout = if scenario.is_pinned {
            self.pinned
        } else {
            Layout {
                is_pinned: false,
                workers: 2,
            }
        };

        let mut measuring = Measuring {
            scenario,
            layout,
            pinned: self.pinned,
            rounds: scenario.weight.rounds(self.most_rounds),
            seconds: self.seconds,
            warm_up: self.warm_up,
            progress,
            report,
        };

        match scenario.kind {
            Kind::Loads => measuring.loads().await,
            Kind::OpenLoop(percents) => measuring.open_loop(percents).await,
            Kind::Idle(connections) => measuring.idle(connections).await,
            Kind::Allocations => measuring.allocations().await,
        }

        measuring.progress.finish_and_clear();
    }
}

/// Prints whether the targets are reached, and where the figures are.
fn print_end(verdicts: &[Verdict], options: &Options) {
    if !verdicts.is_empty() {
        println!("\nThe targets:\n{}", table::of_verdicts(verdicts).text());
    }

    println!(
        "{} has the plots, results.csv beside it the figures",
        options.out.join("index.html").display()
    );
}
