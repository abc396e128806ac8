use rpc_core::Descriptor;

use super::super::{add, code_index};
use super::*;
use rpc_core::Code;

/// Counters of one command, at place 1.
fn metrics() -> Metrics {
    Metrics::new([&Descriptor::new("test", "one")])
}

fn count(metrics: &Metrics, calls: u64, code: Code, took: Duration) {
    let command = &metrics.shard().commands[1];
    add(&command.calls[usize::from(code_index(code))], calls);
    command.latency.record(took, calls);
}

async fn pass(metrics: &Metrics, slices: u32) {
    for _ in 0..slices {
        tokio::time::advance(SLICE).await;
        metrics.recent.turn(metrics);
    }
}

#[tokio::test(start_paused = true)]
async fn percentiles_and_failures_are_those_of_the_last_minutes_and_not_since_the_start() {
    let metrics = metrics();
    count(&metrics, 100, Code::INTERNAL, Duration::from_secs(1));

    let figures = || {
        let lately = metrics.lately();
        [&lately.all.minute, &lately.all.five_minutes].map(|window| {
            (
                window.count(),
                window.failed(),
                window.latency.quantile_us(0.99),
            )
        })
    };
    let (slow, quick) = (1_015_807, 991);

    // The slice under way counts, too.
    assert_eq!(figures(), [(100, 100, slow); 2]);

    pass(&metrics, 6).await;
    assert_eq!(figures(), [(100, 100, slow); 2]);

    count(&metrics, 300, Code::OK, Duration::from_millis(1));
    pass(&metrics, 1).await;
    assert_eq!(figures(), [(300, 0, quick), (400, 100, slow)]);

    pass(&metrics, 24).await;
    assert_eq!(figures(), [(0, 0, 0), (300, 0, quick)]);

    pass(&metrics, 10).await;
    assert_eq!(figures(), [(0, 0, 0); 2]);
}

#[tokio::test(start_paused = true)]
async fn the_history_has_a_point_for_each_ten_seconds_of_half_an_hour() {
    let metrics = metrics();
    count(&metrics, 50, Code::OK, Duration::from_micros(100));
    count(&metrics, 5, Code::UNAVAILABLE, Duration::from_micros(100));
    pass(&metrics, 2).await;

    let history = metrics.lately().history;
    assert_eq!(history.calls_per_second, [5.5, 0.0]);
    assert_eq!(history.failed_per_second, [0.5, 0.0]);
    assert_eq!((history.p99_us.len(), history.interval_ms), (2, 10_000));

    pass(&metrics, 1_000).await;
    assert_eq!(metrics.lately().history.p99_us.len(), HISTORY);
    let slices = metrics.recent.lock();
    assert!(slices.ended.len() == FIVE_MINUTES && slices.history.len() == HISTORY);
}

#[tokio::test(start_paused = true)]
async fn a_command_that_is_not_called_takes_no_memory() {
    let names: Vec<String> = (0..1_000).map(|number| number.to_string()).collect();
    let all = names
        .iter()
        .map(|name| Descriptor::new("test", name.clone()));
    let all: Vec<Descriptor> = all.collect();
    let metrics = Metrics::new(&all);
    count(&metrics, 1, Code::OK, Duration::from_micros(1));
    pass(&metrics, 30).await;

    let slices = metrics.recent.lock();
    assert_eq!(slices.before.iter().flatten().count(), 1);
    let grown: usize = slices.ended.iter().map(|slice| slice.commands.len()).sum();
    assert_eq!(grown, 1);
}
