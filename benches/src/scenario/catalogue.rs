//! The catalogue: every scenario, for the contenders that take part.

use super::{Entrant, Extent, Extra, Kind, Scenario, Step, Weight};
use crate::contenders::Contender;
use crate::contenders::Contender::{Http, HttpReqwest, HttpShort, Limit, Rpc, Tornado};
use crate::contenders::tls;

/// The params of the smallest entry.
const ENTRY_BYTES: f64 = 176.0;

/// All scenarios, for these contenders.
pub(crate) fn all(contenders: &[Contender], extent: Extent) -> Vec<Scenario> {
    let catalogue = Catalogue { contenders, extent };

    [
        catalogue.in_flight(),
        catalogue.connections(),
        catalogue.counts(),
        catalogue.curves(),
        catalogue.sizes(),
        catalogue.mixed(),
        catalogue.streams(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Makes the scenarios.
struct Catalogue<'a> {
    contenders: &'a [Contender],
    extent: Extent,
}

impl Catalogue<'_> {
    /// Scenarios of one connection with a number of calls in flight.
    fn in_flight(&self) -> Vec<Scenario> {
        vec![
            Scenario {
                weight: Weight::Target,
                extra: Extra::P50Ratio,
                ..one("inflight-1", "one connection, one call at a time", {
                    let mut entrants = self.with_limit("--in-flight 1", &[16]);
                    if self.contenders.contains(&Rpc) {
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
                    self.in_flight_entrants(64),
                )
            },
            Scenario {
                weight: Weight::Target,
                ..one(
                    "inflight-512",
                    "one connection, 512 calls in flight",
                    self.in_flight_entrants(512),
                )
            },
            self.unpinned(
                "inflight-64-unpinned",
                "one connection, 64 calls in flight, two workers on each side and no pinning",
                64,
            ),
            self.unpinned(
                "inflight-512-unpinned",
                "one connection, 512 calls in flight, two workers on each side and no pinning",
                512,
            ),
        ]
    }

    /// Scenarios of many connections, or of a connection for each call.
    fn connections(&self) -> Vec<Scenario> {
        vec![
            Scenario {
                weight: Weight::Target,
                ..one(
                    "connections-64",
                    "64 connections, one call in flight on each",
                    same(
                        &self.without(&[HttpShort]),
                        "--connections 64 --in-flight 1",
                    ),
                )
            },
            Scenario {
                weight: Weight::Target,
                ..one(
                    "short",
                    "a new connection for each call, 16 callers",
                    same(
                        &self.pick(&[Rpc, Limit, HttpShort]),
                        "--in-flight 16 --short",
                    ),
                )
            },
            Scenario {
                extra: Extra::OverShort,
                ..one(
                    "tls",
                    "100 callers without and with TLS: on one connection, on one each, on one for each call",
                    self.tls_entrants(),
                )
            },
            Scenario {
                is_pinned: false,
                ..one(
                    "workers",
                    "two client processes, each with 8 connections and 8 calls in flight on each, and a server on both cores",
                    workers(&self.pick(&[Rpc, Http])),
                )
            },
        ]
    }

    /// Scenarios from a cold start: calls in a second, seconds for a number of calls.
    fn counts(&self) -> Vec<Scenario> {
        vec![
            Scenario {
                weight: Weight::Light,
                ..one(
                    "count-1s",
                    "how many calls 64 callers make in one second, from a cold start",
                    same(self.contenders, "--in-flight 64 --seconds 1 --warm-up 0"),
                )
            },
            Scenario {
                extra: Extra::Seconds(10_000.0),
                ..one(
                    "count-10k",
                    "how long 64 callers need for 10,000 calls, from a cold start",
                    same(self.contenders, "--in-flight 64 --calls 10000"),
                )
            },
            Scenario {
                weight: Weight::Light,
                extra: Extra::Seconds(50_000.0),
                ..one(
                    "count-50k",
                    "how long 64 callers need for 50,000 calls, from a cold start",
                    same(&self.fast(), "--in-flight 64 --calls 50000"),
                )
            },
        ]
    }

    /// Scenarios over the number of callers and over the rate of calls.
    fn curves(&self) -> Vec<Scenario> {
        vec![
            Scenario {
                steps: self
                    .callers()
                    .iter()
                    .map(|callers| knee_step(self.contenders, *callers))
                    .collect(),
                ..one(
                    "knee",
                    "throughput and latency against the number of concurrent callers",
                    Vec::new(),
                )
            },
            Scenario {
                weight: Weight::Light,
                kind: Kind::OpenLoop(self.percents()),
                extra: Extra::Late,
                ..one(
                    "open-loop",
                    "calls at fixed times, 512 callers: latency counted from when each call was due",
                    same(
                        &self.without(&[HttpShort, Limit, HttpReqwest]),
                        "--in-flight 512 --seconds 0.5",
                    ),
                )
            },
        ]
    }

    /// Scenarios of larger params.
    fn sizes(&self) -> Vec<Scenario> {
        vec![
            self.sized(
                "size-100",
                "params of the smallest size (176 bytes), 64 calls in flight",
                0.0,
                64,
                &[16],
            ),
            self.sized(
                "size-1k",
                "params of 1 kB, 64 calls in flight",
                1_000.0,
                64,
                &[16],
            ),
            self.sized(
                "size-16k",
                "params of 16 kB, 64 calls in flight",
                16_000.0,
                64,
                &[8, 16],
            ),
            self.sized(
                "size-256k",
                "params of 256 kB, 8 calls in flight",
                256_000.0,
                8,
                &[4, 8],
            ),
        ]
    }

    /// A slow call among fast ones, connections that rest, and allocations.
    fn mixed(&self) -> Vec<Scenario> {
        vec![
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
                    entrants: same(&self.each_but_limit(), &format!("--in-flight 63{slow_one}")),
                })
                .collect(),
                ..one(
                    "slow-call",
                    "one call of a second at a time among 63 fast ones",
                    Vec::new(),
                )
            },
            Scenario {
                kind: Kind::Idle(self.idle()),
                extra: Extra::KibPerConnection,
                ..one(
                    "idle",
                    "the server's memory for a connection that has made one call and rests",
                    same(&self.each_but_limit(), ""),
                )
            },
            Scenario {
                weight: Weight::Light,
                kind: Kind::Idle(self.idle()),
                #[allow(clippy::cast_precision_loss, reason = "a few thousand")]
                extra: Extra::Seconds(self.idle() as f64),
                ..one(
                    "connects",
                    "many connects, each with a first call, 64 at a time",
                    same(&self.each_but_limit(), ""),
                )
            },
            Scenario {
                kind: Kind::Allocations,
                extra: Extra::AllocationsPerCall,
                ..one(
                    "allocations",
                    "heap allocations a call on each side of this project, and for the strings of the params that its handler takes",
                    same(&self.pick(&[Rpc]), ""),
                )
            },
        ]
    }

    /// A stream that is read as fast as it comes, and one that is not read beside calls.
    fn streams(&self) -> Vec<Scenario> {
        let contenders = self.pick(&streaming());
        vec![
            Scenario {
                weight: Weight::Target,
                extra: Extra::Megabytes(ENTRY_BYTES),
                ..one(
                    "stream",
                    "one stream of log entries, read as fast as they come",
                    same(&contenders, "--in-flight 1 --stream"),
                )
            },
            Scenario {
                weight: Weight::Target,
                extra: Extra::P99Over("stalled-stream-without"),
                steps: [
                    ("stalled-stream-without", ""),
                    ("stalled-stream", " --stalled"),
                ]
                .into_iter()
                .map(|(name, stalled)| Step {
                    name: name.into(),
                    x: None,
                    entrants: same(&contenders, &format!("--in-flight 63{stalled}")),
                })
                .collect(),
                ..one(
                    "stalled-stream",
                    "a stream whose reader has stopped among 63 callers on the same connection",
                    Vec::new(),
                )
            },
        ]
    }

    /// Of these contenders those that take part.
    fn pick(&self, wanted: &[Contender]) -> Vec<Contender> {
        wanted
            .iter()
            .copied()
            .filter(|contender| self.contenders.contains(contender))
            .collect()
    }

    /// All contenders but these.
    fn without(&self, others: &[Contender]) -> Vec<Contender> {
        self.contenders
            .iter()
            .copied()
            .filter(|contender| !others.contains(contender))
            .collect()
    }

    /// All but the limit, which has no clock and no slow call.
    fn each_but_limit(&self) -> Vec<Contender> {
        self.without(&[HttpShort, Limit])
    }

    /// All but those that would take most of the time of many calls.
    fn fast(&self) -> Vec<Contender> {
        self.without(match self.extent {
            Extent::Quick => &[Tornado, HttpReqwest],
            Extent::Full => &[Tornado],
        })
    }

    /// Numbers of concurrent callers.
    fn callers(&self) -> &'static [u32] {
        match self.extent {
            Extent::Quick => &[1, 64, 500, 4000],
            Extent::Full => &[1, 10, 50, 64, 200, 500, 1000, 2000, 4000],
        }
    }

    /// Rates, in percent of what the first contender can do.
    fn percents(&self) -> &'static [u16] {
        match self.extent {
            Extent::Quick => &[1, 10, 50, 90],
            Extent::Full => &[1, 5, 10, 25, 50, 75, 90, 110],
        }
    }

    /// Connections that rest.
    fn idle(&self) -> usize {
        match self.extent {
            Extent::Quick => 2_000,
            Extent::Full => 10_000,
        }
    }

    /// All with this load, the limit in each of these ways to write: its figure is the best of them.
    fn with_limit(&self, load: &str, write_every: &[usize]) -> Vec<Entrant> {
        let mut entrants = same(&self.each_but_limit(), load);

        if self.contenders.contains(&Limit) {
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
    }

    /// All with a number of calls in flight on one connection.
    fn in_flight_entrants(&self, calls: u32) -> Vec<Entrant> {
        let write_every: &[usize] = match self.extent {
            Extent::Quick => &[16, 64],
            Extent::Full => &[8, 16, 32, 64, 0],
        };
        self.with_limit(&format!("--in-flight {calls}"), write_every)
    }

    /// Ours on each transport, with connections that are kept and with those that are not.
    fn tls_entrants(&self) -> Vec<Entrant> {
        if !self.contenders.contains(&Rpc) {
            return Vec::new();
        }

        let directory = tls::directory();
        let with_tls = format!("--tls {}", directory.display());
        let ways = [
            ("", "--in-flight 100"),
            ("-each", "--connections 100 --in-flight 1"),
            // A hundred handshakes take their time before the first call ends.
            (
                "-short",
                "--in-flight 100 --short --seconds 0.5 --warm-up 0.2",
            ),
        ];
        [("rpc", ""), ("rpc-tls", with_tls.as_str())]
            .into_iter()
            .flat_map(|(name, serve)| {
                ways.map(|(way, load)| Entrant {
                    serve: serve.to_owned(),
                    ..Entrant::named(&format!("{name}{way}"), Rpc, format!("{load} {serve}"))
                })
            })
            .collect()
    }

    /// A scenario of params of a size.
    fn sized(
        &self,
        name: &'static str,
        about: &'static str,
        bytes: f64,
        in_flight: u32,
        write_every: &[usize],
    ) -> Scenario {
        let load = format!("--in-flight {in_flight} --bytes {bytes}");
        Scenario {
            extra: Extra::Megabytes(bytes.max(ENTRY_BYTES)),
            ..one(name, about, self.with_limit(&load, write_every))
        }
    }

    /// A scenario with two workers on each side and no pinning.
    fn unpinned(&self, name: &'static str, about: &'static str, calls: u32) -> Scenario {
        let load = format!("--in-flight {calls}");
        let mut entrants = self.with_limit(&load, &[16, 64]);
        if self.contenders.contains(&Rpc) {
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
    }
}

/// These contenders with one load.
fn same(contenders: &[Contender], load: &str) -> Vec<Entrant> {
    contenders
        .iter()
        .map(|contender| Entrant::new(*contender, load))
        .collect()
}

/// A scenario of one step with the usual weight.
fn one(name: &'static str, about: &'static str, entrants: Vec<Entrant>) -> Scenario {
    Scenario {
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
    }
}

/// This number of callers: on one connection, on four, on one each, on one for each call.
fn knee_step(contenders: &[Contender], callers: u32) -> Step {
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

    let http = knee_peers()
        .into_iter()
        .filter(|contender| contenders.contains(contender));
    entrants.extend(http.map(|contender| Entrant::new(contender, shared.clone())));

    Step {
        name: format!("knee-{callers}"),
        x: Some(f64::from(callers)),
        entrants,
    }
}

/// Whom the knee compares ours with.
fn knee_peers() -> Vec<Contender> {
    vec![
        Http,
        HttpShort,
        #[cfg(feature = "peers")]
        Contender::Grpc,
    ]
}

/// Who has streams.
fn streaming() -> Vec<Contender> {
    vec![
        Rpc,
        #[cfg(feature = "peers")]
        Contender::Grpc,
    ]
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
