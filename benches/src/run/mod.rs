//! The order of things: which scenario, which round, whose turn.

use std::io::{IsTerminal, stderr};
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use clap::builder::PossibleValuesParser;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::signal::unix::{SignalKind, signal};

use crate::contenders::Contender;
use crate::process::{self, Layout};
use crate::report::{Report, facts, table};
use crate::scenario::{self, Kind};
use crate::targets;
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
}

fn names() -> Vec<&'static str> {
    scenario::all(&[], true)
        .iter()
        .map(|scenario| scenario.name)
        .collect()
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
    let wanted = |contender: &Contender| {
        options.contenders.is_empty() || options.contenders.contains(contender)
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

    let mut scenarios = scenario::all(&contenders, options.quick);
    scenarios.retain(|scenario| {
        let is_wanted =
            options.only.is_empty() || options.only.iter().any(|name| name == scenario.name);
        is_wanted && scenario.steps.iter().any(|step| !step.entrants.is_empty())
    });
    ensure!(
        !scenarios.is_empty(),
        "none of these contenders takes part in these scenarios"
    );

    if let Some(build) = &options.before {
        ensure!(
            contenders.contains(&Contender::Rpc),
            "--before compares rpc with rpc, which must be a contender"
        );

        let build = build
            .canonicalize()
            .with_context(|| format!("--before {}", build.display()))?;

        for scenario in &mut scenarios {
            scenario.add_before(&build);
        }
    }

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

    if scenarios
        .iter()
        .any(|scenario| scenario.kind == Kind::Allocations)
    {
        allocations::build().await;
    }

    let (rounds, seconds, warm_up) = if options.quick {
        (4, 0.12, 0.05)
    } else {
        (19, 0.15, 0.06)
    };
    let most_rounds = options.rounds.unwrap_or(rounds).max(1);
    let seconds = options.seconds.unwrap_or(seconds);

    let mut report = Report {
        facts: facts::facts(layout),
        ..Report::default()
    };

    let number_of_scenarios = scenarios.len();
    for (i, scenario) in scenarios.iter().enumerate() {
        if !stderr().is_terminal() {
            eprintln!("{}: {}", scenario.name, scenario.about);
        }

        let style = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len} {msg}")?;
        let progress = ProgressBar::new(0).with_style(style);
        progress.set_prefix(format!(
            "[{}/{number_of_scenarios}] {}",
            i + 1,
            scenario.name
        ));

        let pinned = Layout {
            is_pinned: why_not_pinned.is_none(),
            workers: 1,
        };
        let layout = if scenario.is_pinned {
            pinned
        } else {
            Layout {
                is_pinned: false,
                workers: 2,
            }
        };

        let rounds = scenario.weight.rounds(most_rounds);
        let mut measuring = Measuring {
            scenario,
            layout,
            pinned,
            rounds,
            seconds,
            warm_up,
            progress,
            report: &mut report,
        };

        match scenario.kind {
            Kind::Loads => measuring.loads().await,
            Kind::OpenLoop(percents) => measuring.open_loop(percents).await,
            Kind::Idle(connections) => measuring.idle(connections).await,
            Kind::Allocations => measuring.allocations().await,
        }

        measuring.progress.finish_and_clear();
        println!(
            "\n{}: {}\n{}",
            scenario.name,
            scenario.about,
            table::of_scenario(&report, scenario).text()
        );

        // After each, so that a run that is stopped leaves what it has.
        report.write(&options.out, &scenarios)?;
    }

    let verdicts = targets::judge(&report);
    if !verdicts.is_empty() {
        println!("\nThe targets:\n{}", table::of_verdicts(&verdicts).text());
    }

    println!(
        "{} has the plots, results.csv beside it the figures",
        options.out.join("index.html").display()
    );
    Ok(())
}
