//! What is measured: the list of scenarios, and who does what in each.

use std::path::{Path, PathBuf};

use crate::contenders::Contender;

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
    /// So many connections that do nothing, each to a server of its own.
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
    /// The time that so many calls, or connections, take.
    Seconds(f64),
    /// Params of so many bytes.
    Megabytes(f64),
    /// How late 99 of 100 calls were started, at most.
    Late,
    /// The p99 over that of the same contender in another step.
    P99Over(&'static str),
    KibPerConnection,
    AllocationsPerCall,
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
    /// For the limit only: both sides write after so many frames.
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

/// The params of the smallest entry.
const ENTRY_BYTES: f64 = 176.0;

/// All scenarios, for these contenders. `is_quick`: as few steps as show the same things.
#[allow(clippy::too_many_lines, reason = "a list")]
pub(crate) fn all(contenders: &[Contender], is_quick: bool) -> Vec<Scenario> {
    use Contender::{Http, HttpReqwest, HttpShort, Limit, Rpc, Tornado};

    let pick = |wanted: &[Contender]| -> Vec<Contender> {
        wanted
            .iter()
            .copied()
            .filter(|contender| contenders.contains(contender))
            .collect()
    };
    let without = |others: &[Contender]| -> Vec<Contender> {
        contenders
            .iter()
            .copied()
            .filter(|contender| !others.contains(contender))
            .collect()
    };
    let same = |contenders: &[Contender], load: &str| -> Vec<Entrant> {
        contenders
            .iter()
            .map(|contender| Entrant::new(*contender, load))
            .collect()
    };

    // The limit in each of these ways to write: its figure is the best of them.
    let with_limit = |load: &str, write_every: &[usize]| -> Vec<Entrant> {
        let mut entrants = same(&without(&[HttpShort, Limit]), load);
        if contenders.contains(&Limit) {
            // Beside ours, which is the first: the two are compared round by round.
            let ours = entrants.len().min(1);
            let ways = write_every.iter().map(|frames| {
                let name = if write_every.len() == 1 {
                    "limit".into()
                } else {
                    format!("limit-w{frames}")
                };
                Entrant {
                    write_every: Some(*frames),
                    ..Entrant::named(&name, Limit, load)
                }
            });
            entrants.splice(ours..ours, ways);
        }

        entrants
    };

    let write_every: &[usize] = if is_quick {
        &[16, 64]
    } else {
        &[8, 16, 32, 64, 0]
    };
    let in_flight = |calls: u32| with_limit(&format!("--in-flight {calls}"), write_every);

    let one = |name: &'static str, about: &'static str, entrants: Vec<Entrant>| Scenario {
        name,
        about,
        kind: Kind::Loads,
        is_pinned: true,
        weight: Weight::Usual,
        extra: Extra::None,
        steps: vec![Step {
            name: name.into(),
            x: None,
            entrants,
        }],
    };

    let sized = |name, about, bytes: f64, in_flight: u32, write_every: &[usize]| {
        let load = format!("--in-flight {in_flight} --bytes {bytes}");
        Scenario {
            extra: Extra::Megabytes(bytes.max(ENTRY_BYTES)),
            ..one(name, about, with_limit(&load, write_every))
        }
    };

    let unpinned = |name, about, calls| {
        let load = format!("--in-flight {calls}");
        let mut entrants = with_limit(&load, &[16, 64]);
        if contenders.contains(&Rpc) {
            let pinned = Entrant {
                is_pinned: true,
                ..Entrant::named("rpc-pinned", Rpc, load)
            };
            entrants.insert(1, pinned);
        }

        Scenario {
            is_pinned: false,
            weight: Weight::Target,
            ..one(name, about, entrants)
        }
    };

    let callers: &[u32] = if is_quick {
        &[1, 64, 500, 4000]
    } else {
        &[1, 10, 50, 64, 200, 500, 1000, 2000, 4000]
    };
    let percents: &'static [u16] = if is_quick {
        &[1, 10, 50, 90]
    } else {
        &[1, 5, 10, 25, 50, 75, 90, 110]
    };

    // The slow ones would take most of the time here.
    let many_calls = without(if is_quick {
        &[Tornado, HttpReqwest]
    } else {
        &[Tornado]
    });
    let idle = if is_quick { 2_000 } else { 10_000 };

    // Not the limit: it has no clock and no slow call.
    let each_but_limit = without(&[HttpShort, Limit]);

    vec![
        Scenario {
            weight: Weight::Target,
            extra: Extra::P50Ratio,
            ..one("inflight-1", "one connection, one call at a time", {
                let mut entrants = with_limit("--in-flight 1", &[16]);
                if contenders.contains(&Rpc) {
                    entrants.push(Entrant {
                        serve: "--spin-us 200".into(),
                        ..Entrant::named("rpc-spin", Rpc, "--in-flight 1 --spin-us 200")
                    });
                }
                entrants
            })
        },
        Scenario {
            weight: Weight::Target,
            ..one(
                "inflight-64",
                "one connection, 64 calls in flight",
                in_flight(64),
            )
        },
        Scenario {
            weight: Weight::Target,
            ..one(
                "inflight-512",
                "one connection, 512 calls in flight",
                in_flight(512),
            )
        },
        unpinned(
            "inflight-64-unpinned",
            "one connection, 64 calls in flight, two workers on each side and no pinning",
            64,
        ),
        unpinned(
            "inflight-512-unpinned",
            "one connection, 512 calls in flight, two workers on each side and no pinning",
            512,
        ),
        Scenario {
            weight: Weight::Target,
            ..one(
                "connections-64",
                "64 connections, one call in flight on each",
                same(&without(&[HttpShort]), "--connections 64 --in-flight 1"),
            )
        },
        Scenario {
            weight: Weight::Target,
            ..one(
                "short",
                "a new connection for each call, 16 callers",
                same(&pick(&[Rpc, Limit, HttpShort]), "--in-flight 16 --short"),
            )
        },
        Scenario {
            is_pinned: false,
            ..one(
                "workers",
                "two client processes, each with 8 connections and 8 calls in flight on each, and a server on both cores",
                workers(&pick(&[Rpc, Http])),
            )
        },
        Scenario {
            weight: Weight::Light,
            ..one(
                "count-1s",
                "how many calls 64 callers make in one second, from a cold start",
                same(contenders, "--in-flight 64 --seconds 1 --warm-up 0"),
            )
        },
        Scenario {
            extra: Extra::Seconds(10_000.0),
            ..one(
                "count-10k",
                "how long 64 callers need for 10,000 calls, from a cold start",
                same(contenders, "--in-flight 64 --calls 10000"),
            )
        },
        Scenario {
            weight: Weight::Light,
            extra: Extra::Seconds(50_000.0),
            ..one(
                "count-50k",
                "how long 64 callers need for 50,000 calls, from a cold start",
                same(&many_calls, "--in-flight 64 --calls 50000"),
            )
        },
        Scenario {
            steps: callers
                .iter()
                .map(|callers| knee_step(contenders, *callers))
                .collect(),
            ..one(
                "knee",
                "throughput and latency against the number of concurrent callers",
                Vec::new(),
            )
        },
        Scenario {
            weight: Weight::Light,
            kind: Kind::OpenLoop(percents),
            extra: Extra::Late,
            ..one(
                "open-loop",
                "calls at fixed times, 512 callers: latency counted from when each call was due",
                same(
                    &without(&[HttpShort, Limit, HttpReqwest]),
                    "--in-flight 512 --seconds 0.5",
                ),
            )
        },
        sized(
            "size-100",
            "params of the smallest size (176 bytes), 64 calls in flight",
            0.0,
            64,
            &[16],
        ),
        sized(
            "size-1k",
            "params of 1 kB, 64 calls in flight",
            1_000.0,
            64,
            &[16],
        ),
        sized(
            "size-16k",
            "params of 16 kB, 64 calls in flight",
            16_000.0,
            64,
            &[8, 16],
        ),
        sized(
            "size-256k",
            "params of 256 kB, 8 calls in flight",
            256_000.0,
            8,
            &[4, 8],
        ),
        Scenario {
            weight: Weight::Light,
            extra: Extra::P99Over("slow-call-without"),
            steps: [
                ("slow-call-without", ""),
                ("slow-call", " --seconds 1.1 --slow"),
            ]
            .into_iter()
            .map(|(name, slow_one)| Step {
                name: name.into(),
                x: None,
                entrants: same(&each_but_limit, &format!("--in-flight 63{slow_one}")),
            })
            .collect(),
            ..one(
                "slow-call",
                "one call of a second at a time among 63 fast ones",
                Vec::new(),
            )
        },
        Scenario {
            kind: Kind::Idle(idle),
            extra: Extra::KibPerConnection,
            ..one(
                "idle",
                "the server's memory for a connection that has made one call and rests",
                same(&each_but_limit, ""),
            )
        },
        Scenario {
            weight: Weight::Light,
            kind: Kind::Idle(idle),
            #[allow(clippy::cast_precision_loss, reason = "a few thousand")]
            extra: Extra::Seconds(idle as f64),
            ..one(
                "connects",
                "many connects, each with a first call, 64 at a time",
                same(&each_but_limit, ""),
            )
        },
        Scenario {
            kind: Kind::Allocations,
            extra: Extra::AllocationsPerCall,
            ..one(
                "allocations",
                "heap allocations a call on each side of this project, and for the strings of the params that its handler takes",
                same(&pick(&[Rpc]), ""),
            )
        },
    ]
}

/// So many callers: on one connection, on four, on one each, on one for each call.
fn knee_step(contenders: &[Contender], callers: u32) -> Step {
    use Contender::{Http, HttpShort, Rpc};

    // Where thousands wait for a connection each, a round takes its time.
    let time = if callers < 1000 {
        ""
    } else {
        " --seconds 0.5 --warm-up 0.2"
    };
    let shared = format!("--in-flight {callers}{time}");
    let each = format!("--connections {callers} --in-flight 1{time}");

    let mut entrants = Vec::new();
    if contenders.contains(&Rpc) {
        entrants.push(Entrant::new(Rpc, shared.clone()));
        if callers.is_multiple_of(4) {
            let load = format!("--connections 4 --in-flight {}{time}", callers / 4);
            entrants.push(Entrant::named("rpc-4conn", Rpc, load));
        }

        entrants.push(Entrant::named("rpc-conn-each", Rpc, each));
        entrants.push(Entrant::named(
            "rpc-short",
            Rpc,
            format!("{shared} --short"),
        ));
    }

    let http = [Http, HttpShort]
        .into_iter()
        .filter(|contender| contenders.contains(contender));
    entrants.extend(http.map(|contender| Entrant::new(contender, shared.clone())));

    Step {
        name: format!("knee-{callers}"),
        x: Some(f64::from(callers)),
        entrants,
    }
}

/// A server on both cores in each way that there is, under two clients that have one thread each.
fn workers(contenders: &[Contender]) -> Vec<Entrant> {
    let load = "--workers 1 --connections 8 --in-flight 8";
    let mut entrants = Vec::new();
    for contender in contenders {
        let of = |name: &str, serve: &str| Entrant {
            serve: serve.into(),
            clients: 2,
            ..Entrant::named(name, *contender, load)
        };

        entrants.push(of(contender.name(), "--workers 2"));
        if *contender == Contender::Rpc {
            entrants.push(of("rpc-workers-2", "--workers 1 --runtimes 2"));
            entrants.push(of("rpc-one-thread", "--workers 1"));
        }
    }

    entrants
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;

    #[test]
    fn each_step_has_a_name_of_its_own_and_the_scenarios_as_its_beginning() {
        let scenarios = all(Contender::value_variants(), false);
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
        let mut scenarios = all(&[Contender::Rpc, Contender::Limit], false);
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
        let scenarios = all(Contender::value_variants(), false);
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
