use super::*;
use crate::report::tests::{report, row};

fn verdict(rows: Vec<crate::report::Row>, step: &str, what: &str) -> Verdict {
    let all = judge(&report(rows));
    all.into_iter()
        .find(|verdict| verdict.step == step && verdict.what.contains(what))
        .expect("there is such a target")
}

#[test]
fn a_ratio_at_its_bound_passes_and_one_below_misses() {
    let at = vec![
        row("inflight-64", "rpc", 80.0),
        row("inflight-64", "limit", 100.0),
    ];
    assert_eq!(verdict(at, "inflight-64", "limit").word(), "pass");

    let below = vec![
        row("inflight-64", "rpc", 79.0),
        row("inflight-64", "limit", 100.0),
    ];
    assert_eq!(verdict(below, "inflight-64", "limit").word(), "miss");
}

#[test]
fn what_was_not_measured_is_neither_passed_nor_missed() {
    assert_eq!(
        verdict(
            vec![row("inflight-64", "rpc", 80.0)],
            "inflight-64",
            "limit"
        )
        .word(),
        "----"
    );
}

#[test]
fn the_limit_is_not_among_all_others() {
    let rows = vec![
        row("inflight-64-unpinned", "rpc", 50.0),
        row("inflight-64-unpinned", "limit", 99.0),
        row("inflight-64-unpinned", "limit-w8", 99.0),
        row("inflight-64-unpinned", "http", 10.0),
    ];
    assert_eq!(
        verdict(rows, "inflight-64-unpinned", "all others").found,
        Some(5.0)
    );
}

#[test]
fn a_latency_must_be_at_most_its_bound() {
    let mut slow = row("inflight-1", "rpc", 1.0);
    let mut fast = row("inflight-1", "http", 1.0);
    slow.outcome.as_mut().expect("it has figures").p50_us = Some(30.0);
    fast.outcome.as_mut().expect("it has figures").p50_us = Some(20.0);

    for row in [&mut slow, &mut fast] {
        let figures = row.outcome.as_mut().expect("it has figures");

        // As where rounds are not kept.
        figures.rounds.clear();
    }

    let verdict = verdict(vec![slow, fast], "inflight-1", "all others");
    assert_eq!((verdict.found, verdict.word()), (Some(1.5), "miss"));
}
