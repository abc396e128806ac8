use super::*;
use crate::report::Spread;
use crate::report::tests::row;

fn at(x: f64, contender: &str, rps: f64, p99_us: f64) -> Row {
    let mut row = row("a", contender, rps);
    row.x = Some(x);
    row.outcome = Ok(Figures {
        rps: Spread::of([rps]),
        p99_us: Some(p99_us),
        ..Figures::default()
    });
    row
}

#[test]
fn a_headline_names_the_limit_the_best_and_the_last() {
    let rows = [
        row("a", "rpc", 8e5),
        row("a", "limit", 1e6),
        row("a", "limit-w8", 9e5),
        row("a", "http", 4e4),
        row("a", "grpc", 2e4),
    ];
    let rows: Vec<&Row> = rows.iter().collect();

    assert_eq!(
        compared(&rows, "rpc makes", " calls a second", Better::More),
        "rpc makes 800,000 calls a second: 0.80 × limit, 20.0 × http (best of the others), 40.0 × grpc (last)."
    );
    assert_eq!(
        compared(&rows[..1], "rpc makes", " calls a second", Better::More),
        "rpc makes 800,000 calls a second."
    );
    assert_eq!(
        compared(&rows[1..], "rpc makes", " calls a second", Better::More),
        NOTHING
    );
}

#[test]
fn the_knees_headline_says_what_is_left_at_the_end() {
    let rows = [
        at(1.0, "rpc", 100.0, 1.0),
        at(64.0, "rpc", 400.0, 1.0),
        at(4000.0, "rpc", 300.0, 1.0),
    ];

    assert_eq!(
        knee_headline(&rows.iter().collect::<Vec<_>>()),
        "On one connection rpc makes most calls with 64 callers: 400 a second, and 75 % of that with 4,000."
    );
}

#[test]
fn who_does_not_keep_up_is_not_said_to() {
    let rows = [
        at(100.0, "rpc", 100.0, 500.0),
        at(200.0, "rpc", 150.0, 500.0),
        at(100.0, "http", 100.0, 20_000.0),
    ];

    assert_eq!(
        open_loop_headline(&rows.iter().collect::<Vec<_>>()),
        "99 of 100 calls take less than 10.0 ms with rpc up to 100 calls a second; http at none of the rates tried."
    );
}
