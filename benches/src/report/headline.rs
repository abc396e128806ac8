//! Headlines: the message of a plot in a sentence.

use super::{Figures, Row, number, time};
use crate::scenario::{Extra, Kind, Scenario};

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Better {
    /// Throughput.
    More,
    /// The scenario's own figure.
    Less,
}

/// What the plot shows, in a sentence.
pub(super) fn headline(scenario: &Scenario, rows: &[&Row]) -> String {
    match (scenario.kind, scenario.extra) {
        (Kind::OpenLoop(_), _) => open_loop_headline(rows),
        (Kind::Loads, _) if rows.iter().any(|row| row.x.is_some()) => knee_headline(rows),
        (_, Extra::P99Over(_)) => {
            let beside = match scenario.name {
                "stalled-stream" => "a stream that is not read",
                _ => "a slow call",
            };
            beside_headline(scenario.name, beside, rows)
        }
        (_, Extra::KibPerConnection) => compared(
            rows,
            "A resting connection costs rpc's server",
            " KiB",
            Better::Less,
        ),
        (_, Extra::AllocationsPerCall) => {
            let count = |name: &str| {
                rows.iter()
                    .find(|row| row.contender == name)?
                    .outcome
                    .as_ref()
                    .ok()?
                    .extra
            };

            match (count("rpc-client"), count("rpc-server"), count("params")) {
                (Some(client), Some(server), Some(params)) => format!(
                    "A call of rpc allocates {client:.2} times in the client, {server:.2} times in the server, \
                     and {params:.2} times for the strings of its params."
                ),
                _ => NOTHING.into(),
            }
        }
        (Kind::Loads, Extra::Seconds(calls)) => {
            let begin = format!("rpc makes {} calls in", number(calls));
            compared(rows, &begin, " s", Better::Less)
        }
        (Kind::Idle(_), _) => compared(
            rows,
            "rpc opens, with a first call each,",
            " connections a second",
            Better::More,
        ),
        _ if scenario.name == "stream" => {
            compared(rows, "rpc passes", " items a second", Better::More)
        }
        _ => compared(rows, "rpc makes", " calls a second", Better::More),
    }
}

const NOTHING: &str = "rpc has no figures here.";

/// Our figure, and how it relates to the limit, to the best and to the last of the others.
fn compared(rows: &[&Row], begin: &str, unit: &str, better: Better) -> String {
    let of = |row: &&&Row| row.outcome.clone().ok();
    let Some(ours) = rows
        .iter()
        .find(|row| row.contender == "rpc")
        .as_ref()
        .and_then(of)
    else {
        return NOTHING.into();
    };

    // How many times better ours is.
    let times = |row: &&&Row| match better {
        Better::More => ours.throughput_over(&of(row)?),
        Better::Less => Some(of(row)?.extra? / ours.extra?),
    };

    let others = rows.iter().filter(|row| !row.is_ours() && !row.is_limit());
    let mut others: Vec<(f64, &str)> = others
        .filter_map(|row| Some((times(&row)?, row.contender.as_str())))
        .collect();
    others.sort_by(|(a, _), (b, _)| a.total_cmp(b));

    let limit = rows
        .iter()
        .find(|row| row.contender == "limit")
        .as_ref()
        .and_then(times);

    let is_alone = others.len() == 1;
    let best = others.first().map(|(times, name)| {
        (
            *times,
            *name,
            if is_alone {
                ""
            } else {
                " (best of the others)"
            },
        )
    });
    let last = others
        .last()
        .filter(|_| !is_alone)
        .map(|(times, name)| (*times, *name, " (last)"));

    let all = limit
        .map(|times| (times, "limit", ""))
        .into_iter()
        .chain(best)
        .chain(last);

    let parts: Vec<String> = all
        .map(|(times, name, rank)| match better {
            Better::More => format!("{} × {name}{rank}", number(times)),
            Better::Less => format!("{name}{rank} {} × that", number(times)),
        })
        .collect();

    let value = match better {
        Better::More => ours.rps.map(|rps| rps.median),
        Better::Less => ours.extra,
    };
    let Some(value) = value else {
        return NOTHING.into();
    };

    let ours = format!("{begin} {}{unit}", number(value));
    if parts.is_empty() {
        ours + "."
    } else {
        format!("{ours}: {}.", parts.join(", "))
    }
}

pub(super) fn latency_headline(rows: &[&Row]) -> String {
    let of = |row: &Row| {
        let figures = row.outcome.as_ref().ok()?;
        Some((figures.p50_us?, figures.p999_us?))
    };
    let Some((p50, p999)) = rows
        .iter()
        .find(|row| row.contender == "rpc")
        .and_then(|row| of(row))
    else {
        return NOTHING.into();
    };

    let begin = format!(
        "Half of rpc's calls take at most {}, 999 of 1,000 at most {}",
        time(p50),
        time(p999)
    );

    let others = rows.iter().filter(|row| !row.is_ours() && !row.is_limit());
    let best = others
        .filter_map(|row| Some((of(row)?, row)))
        .min_by(|((a, _), _), ((b, _), _)| a.total_cmp(b));

    match best {
        Some(((p50, p999), row)) => {
            format!(
                "{begin}; with {}, the quickest of the others, {} and {}.",
                row.contender,
                time(p50),
                time(p999)
            )
        }
        None => begin + ".",
    }
}

/// A contender's points, where it has figures.
fn points<'a>(rows: &'a [&Row], contender: &'a str) -> impl Iterator<Item = (f64, &'a Figures)> {
    let of_contender = rows.iter().filter(move |row| row.contender == contender);
    of_contender.filter_map(|row| Some((row.x?, row.outcome.as_ref().ok()?)))
}

fn knee_headline(rows: &[&Row]) -> String {
    let throughput = |contender| {
        points(rows, contender).filter_map(|(x, figures)| Some((figures.rps?.median, x)))
    };
    let peak = |contender| throughput(contender).max_by(|(a, _), (b, _)| a.total_cmp(b));

    let (Some((most, callers)), Some((last, last_callers))) =
        (peak("rpc"), throughput("rpc").last())
    else {
        return NOTHING.into();
    };

    let http = peak("http").map(|(most, callers)| {
        format!(
            "; http makes at most {}, with {}",
            number(most),
            count(callers)
        )
    });
    let kept = (callers < last_callers).then(|| {
        format!(
            ", and {:.0} % of that with {}",
            last / most * 100.0,
            count(last_callers)
        )
    });

    format!(
        "On one connection rpc makes most calls with {} callers: {} a second{}{}.",
        count(callers),
        number(most),
        kept.unwrap_or_default(),
        http.unwrap_or_default()
    )
}

/// Of whole things.
fn count(callers: f64) -> String {
    if callers < 100.0 {
        callers.to_string()
    } else {
        number(callers)
    }
}

pub(super) fn knee_latency_headline(rows: &[&Row]) -> String {
    let last = |contender| {
        points(rows, contender)
            .filter_map(|(x, figures)| Some((x, figures.p99_us?)))
            .last()
    };
    let Some((callers, p99)) = last("rpc") else {
        return NOTHING.into();
    };

    let http = last("http")
        .filter(|(at, _)| *at >= callers)
        .map(|(_, p99)| format!(", of http {}", time(p99)));

    format!(
        "With {} callers, 99 of 100 calls of rpc take at most {}{}.",
        count(callers),
        time(p99),
        http.unwrap_or_default()
    )
}

fn open_loop_headline(rows: &[&Row]) -> String {
    const P99_US: f64 = 10_000.0;

    let mut names: Vec<&str> = Vec::new();
    for row in rows {
        if !names.contains(&row.contender.as_str()) {
            names.push(&row.contender);
        }
    }

    let keeps_up = |rate: f64, figures: &Figures| {
        figures.p99_us.is_some_and(|p99| p99 < P99_US)
            && figures.rps.is_some_and(|rps| rps.median >= 0.9 * rate)
    };

    let mut rates: Vec<(f64, &str)> = names
        .into_iter()
        .map(|name| {
            let kept = points(rows, name).filter(|(rate, figures)| keeps_up(*rate, figures));
            (kept.map(|(rate, _)| rate).fold(0.0, f64::max), name)
        })
        .collect();
    rates.sort_by(|(a, _), (b, _)| b.total_cmp(a));

    let (able, unable): (Vec<_>, Vec<_>) = rates.into_iter().partition(|(rate, _)| *rate > 0.0);
    let mut parts: Vec<String> = able
        .iter()
        .map(|(rate, name)| format!("{name} up to {} calls a second", number(*rate)))
        .collect();
    if !unable.is_empty() {
        let names: Vec<&str> = unable.iter().map(|(_, name)| *name).collect();
        parts.push(format!("{} at none of the rates tried", names.join(", ")));
    }

    format!(
        "99 of 100 calls take less than {} with {}.",
        time(P99_US),
        parts.join("; ")
    )
}

/// How much longer the calls of this step take than those of `beside`, which have no stream next to them.
fn beside_headline(step: &str, beside: &str, rows: &[&Row]) -> String {
    let growth = rows
        .iter()
        .filter(|row| row.step == step)
        .filter_map(|row| {
            let figures = row.outcome.as_ref().ok()?;
            Some((figures.extra?, figures.p99_us?, row.contender.as_str()))
        });
    let Some((ours, ..)) = growth.clone().find(|(.., name)| *name == "rpc") else {
        return NOTHING.into();
    };

    let begin = format!(
        "Beside {beside} the p99 of rpc's fast calls is {} times what it is without",
        number(ours)
    );

    match growth
        .filter(|(.., name)| *name != "rpc")
        .max_by(|(a, ..), (b, ..)| a.total_cmp(b))
    {
        Some((most, p99, name)) => {
            format!(
                "{begin}; the most of the others is {} times, with {name} ({}).",
                number(most),
                time(p99)
            )
        }
        None => begin + ".",
    }
}

#[cfg(test)]
mod tests;
