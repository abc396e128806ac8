//! Scenarios: what is measured, and how each contender takes part in it.

mod catalogue;

use std::path::{Path, PathBuf};

use crate::contenders::Contender;

pub(crate) use catalogue::all;

/// One thing to measure.
pub(crate) struct Scenario {
    /// As on the command line and in the results.
    pub(crate) name: &'static str,
    /// What it is, for people.
    pub(crate) about: &'static str,
    pub(crate) kind: Kind,
    /// One core for the server and one for the client; otherwise two workers on each side, anywhere.
    pub(crate) is_pinned: bool,
    pub(crate) weight: Weight,
    /// The figure that this scenario has besides those that all have.
    pub(crate) extra: Extra,
    /// Measured one after another, each with all of its rounds.
    pub(crate) steps: Vec<Step>,
}

/// How many steps the scenarios have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// All of them.
    Full,
    /// As few as show the same things.
    Quick,
}

/// How many rounds a scenario has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weight {
    /// All: targets are judged by it.
    Target,
    /// A quarter.
    Usual,
    /// A sixth: its turns are long.
    Light,
}

impl Weight {
    pub(crate) fn rounds(self, most: usize) -> usize {
        match self {
            Self::Target => most,
            Self::Usual => most.div_ceil(4),
            Self::Light => most.div_ceil(6),
        }
    }
}

/// How a scenario is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Loads against servers that last as long as the scenario.
    Loads,
    /// Fixed rates, in percent of what the first contender can do with the first step's load.
    OpenLoop(&'static [u16]),
    /// This number of connections that do nothing, each to a server of its own.
    Idle(usize),
    /// Client and server in one process that counts what it allocates.
    Allocations,
}

/// A figure besides those that all scenarios have.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Extra {
    None,
    /// The p50 of ours over that of the row.
    P50Ratio,
    /// The time that all calls, or connections, take.
    Seconds(f64),
    /// The size of the params.
    Megabytes(f64),
    /// How late 99 of 100 calls were started, at most.
    Late,
    /// The p99 over that of the same contender in another step.
    P99Over(&'static str),
    KibPerConnection,
    AllocationsPerCall,
    /// The throughput over that of the same transport with a connection for each call.
    OverShort,
}

impl Extra {
    /// The heading of its column.
    pub(crate) fn heading(self) -> &'static str {
        match self {
            Self::None => "",
            Self::P50Ratio => "p50 ours/its",
            Self::Seconds(_) => "seconds",
            Self::Megabytes(_) => "MB/s",
            Self::Late => "started late µs",
            Self::P99Over(_) => "p99/without",
            Self::KibPerConnection => "KiB/connection",
            Self::AllocationsPerCall => "allocations/call",
            Self::OverShort => "times short",
        }
    }
}

/// Part of a scenario, compared within itself.
pub(crate) struct Step {
    /// As in the results: the scenario's name, or that with a suffix.
    pub(crate) name: String,
    /// Where the step lies on the plot's axis.
    pub(crate) x: Option<f64>,
    pub(crate) entrants: Vec<Entrant>,
}

/// One contender's way to take part in a step.
#[derive(Debug, Clone)]
pub(crate) struct Entrant {
    /// As in the results: the contender's name, or that with a suffix.
    pub(crate) name: String,
    pub(crate) contender: Contender,
    /// For the limit only: the number of frames after which both sides write.
    pub(crate) write_every: Option<usize>,
    /// The arguments of `serve`, besides those of the layout.
    pub(crate) serve: String,
    /// The arguments of `load`.
    pub(crate) load: String,
    /// How many processes run that load at a time.
    pub(crate) clients: usize,
    /// On one core a side, whatever the scenario's others are.
    pub(crate) is_pinned: bool,
    /// Another build of this program, which runs both halves.
    pub(crate) build: Option<PathBuf>,
}

impl Entrant {
    fn new(contender: Contender, load: impl Into<String>) -> Self {
        Self {
            name: contender.name().into(),
            contender,
            write_every: None,
            serve: String::new(),
            load: load.into(),
            clients: 1,
            is_pinned: false,
            build: None,
        }
    }

    fn named(name: &str, contender: Contender, load: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ..Self::new(contender, load)
        }
    }

    /// What its server is started with. Entrants for which that, the build and the layout are equal share one.
    pub(crate) fn server(&self) -> String {
        let write_every = self
            .write_every
            .map(|frames| format!("--write-every {frames}"))
            .unwrap_or_default();
        [self.contender.name(), &self.serve, &write_every].join(" ")
    }
}

impl Scenario {
    /// Lets another build of this program take part beside this one's rpc, as `rpc-before`.
    pub(crate) fn add_before(&mut self, build: &Path) {
        if self.kind != Kind::Loads {
            return;
        }

        for step in &mut self.steps {
            let Some(ours) = step
                .entrants
                .iter()
                .position(|entrant| entrant.name == "rpc")
            else {
                continue;
            };

            let build = Some(build.to_owned());
            let before = Entrant {
                name: "rpc-before".into(),
                build,
                ..step.entrants[ours].clone()
            };
            step.entrants.insert(ours + 1, before);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;

    #[test]
    fn each_step_has_a_name_of_its_own_and_the_scenarios_as_its_beginning() {
        let scenarios = all(Contender::value_variants(), Extent::Full);
        let mut names: Vec<_> = Vec::new();

        for scenario in &scenarios {
            for step in &scenario.steps {
                assert!(step.name.starts_with(scenario.name), "{}", step.name);
                assert!(!names.contains(&&step.name), "{}", step.name);
                names.push(&step.name);
            }
        }
    }

    #[test]
    fn a_build_from_before_has_the_load_of_this_one_and_a_server_of_its_own() {
        let mut scenarios = all(&[Contender::Rpc, Contender::Limit], Extent::Full);
        for scenario in &mut scenarios {
            scenario.add_before(Path::new("before"));
        }

        let steps = scenarios.iter().flat_map(|scenario| &scenario.steps);
        let pairs: Vec<_> = steps
            .flat_map(|step| step.entrants.windows(2))
            .filter(|pair| pair[1].build.is_some())
            .collect();

        assert!(pairs.len() > 10, "{}", pairs.len());
        for pair in pairs {
            assert_eq!((&*pair[0].name, &*pair[1].name), ("rpc", "rpc-before"));
            assert_eq!(
                (&pair[0].load, pair[0].build.as_deref()),
                (&pair[1].load, None)
            );
        }
    }

    #[test]
    fn four_connections_are_compared_only_where_four_divides_the_callers() {
        let scenarios = all(Contender::value_variants(), Extent::Full);
        let knee = scenarios
            .iter()
            .find(|scenario| scenario.name == "knee")
            .expect("it is in the list");

        for step in &knee.steps {
            let has_four = step
                .entrants
                .iter()
                .any(|entrant| entrant.name == "rpc-4conn");

            assert_eq!(
                has_four,
                step.x.expect("callers") % 4.0 == 0.0,
                "{}",
                step.name
            );
        }
    }
}
