//! Entries that a log does not take.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rpc_client::Client;
use rpc_client::log::{Append, Dropped, Level, Shipper, ShipperConfig};
use rpc_core::{Code, Status};
use rpc_server::Server;
use rpc_server::config::Config;
use serde_json::json;

use super::{Answer, LONG, Log, entry, small_batches};

#[tokio::test(start_paused = true)]
async fn an_entry_that_the_log_refuses_is_dropped_and_the_others_of_its_batch_are_written() {
    let log = Log::with(|batch| {
        let wrong = |entry: &Append| entry.message.ends_with('7');
        match batch.entries.iter().position(wrong) {
            Some(index) => Answer::Fail(
                Status::invalid_argument("not this one").with_details(&json!({"index": index})),
            ),
            None => Answer::Write,
        }
    });
    let shipper = log.shipper(small_batches()).await;
    for number in 0..100 {
        shipper.push(&entry(number)).unwrap();
    }
    shipper.flush(LONG).await;

    let end = shipper.close(LONG).await;
    assert_eq!((end.dropped, end.unsent), (10, 0));
    assert_eq!(log.told(), 10);
    let entries = log.each_once();
    let written = |number: &u64| entries.contains_key(&format!("entry {number}"));
    assert_eq!((0..100).filter(written).count(), 90);
    assert_eq!(shipper.stats().refused, 10);
}

#[tokio::test(start_paused = true)]
async fn batches_without_their_wrong_entries_leave_no_other_further_behind_than_the_log_remembers()
{
    let newest = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&newest);
    let log = Log::with(move |batch| {
        seen.fetch_max(batch.batch, Ordering::Relaxed);
        Answer::Fail(match batch.batch {
            1 => Status::unavailable("not now"),
            _ => Status::invalid_argument("not this one").with_details(&json!({"index": 0})),
        })
    });
    let config = ShipperConfig {
        batch_entries_max: 100,
        ..ShipperConfig::default()
    };
    let shipper = log.shipper(config).await;
    for number in 0..200 {
        shipper.push(&entry(number)).unwrap();
    }

    tokio::time::sleep(Duration::from_secs(60)).await;
    let newest = newest.load(Ordering::Relaxed);
    assert!((2..=64).contains(&newest), "{newest}");
    log.set_rule(|_| Answer::Write);
    let end = shipper.close(LONG).await;
    assert_eq!(end.unsent, 0);
    assert_eq!(log.told(), end.dropped);
    assert_eq!(log.each_once().len() as u64 + end.dropped, 200);
}

#[tokio::test(start_paused = true)]
async fn a_log_that_refuses_a_service_is_not_asked_about_its_refusals() {
    let log = Log::with(|_| Answer::Fail(Status::new(Code::PERMISSION_DENIED, "not you")));
    let shipper = log.shipper(small_batches()).await;
    for number in 0..8 {
        shipper.push(&entry(number)).unwrap();
    }
    shipper.flush(LONG).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!((log.calls(), shipper.stats().refused), (2, 8));

    // Once it takes entries, it is told.
    log.set_rule(|_| Answer::Write);
    shipper.push(&entry(8)).unwrap();
    shipper.flush(LONG).await;
    let end = shipper.close(LONG).await;
    assert_eq!((end.sent, end.dropped, log.told()), (2, 8, 8));
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_no_line_can_hold_is_dropped_at_once() {
    let log = Log::default();
    let shipper = log.shipper(ShipperConfig::default()).await;
    let unsendable = Append::new(Level::Info, "order", "x".repeat(1_000_000));
    let reason = shipper.push(&unsendable).unwrap_err();
    assert!(
        matches!(reason, Dropped::TooLong { bytes } if bytes > 1_000_000),
        "{reason}"
    );

    // It is told without a further entry.
    while log.told() < 1 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let just_fits = Append::new(Level::Info, "order", "x".repeat(999_900));
    shipper.push(&just_fits).unwrap();
    assert_eq!(shipper.close(LONG).await.unsent, 0);
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_fails_each_time_is_dropped_and_does_not_hold_up_the_others() {
    for in_flight_max in [1, 4] {
        for status in [
            Status::resource_exhausted("too long"),
            Status::internal("these are written wrongly"),
        ] {
            // Two batches, so that one of them alone does not have its turn for ever.
            let log = Log::with(move |batch| {
                let fails = |entry: &Append| ["entry 5", "entry 9"].contains(&&*entry.message);
                match batch.entries.iter().any(fails) {
                    true => Answer::Fail(status.clone()),
                    false => Answer::Write,
                }
            });
            let config = ShipperConfig {
                batches_in_flight_max: in_flight_max,
                ..small_batches()
            };
            let shipper = log.shipper(config).await;
            for number in 0..400 {
                shipper.push(&entry(number)).unwrap();
            }

            let flushed = shipper.flush(Duration::from_secs(120)).await;
            assert_eq!((flushed.unsent, shipper.stats().refused), (0, 8));
            assert_eq!(log.each_once().len(), 392);
            assert_eq!(shipper.close(LONG).await.dropped, 8);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_is_full_for_an_hour_loses_no_entry() {
    let full = |_: &_| Answer::Fail(Status::resource_exhausted("the disk is full"));
    for in_flight_max in [1, 4] {
        let log = Log::with(full);
        let config = ShipperConfig {
            batches_in_flight_max: in_flight_max,
            ..small_batches()
        };
        let shipper = log.shipper(config).await;
        for number in 0..400 {
            shipper.push(&entry(number)).unwrap();
        }
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        assert_eq!(shipper.stats().queued, 400);

        log.set_rule(|_| Answer::Write);
        let end = shipper.close(LONG).await;
        assert_eq!((end.sent, end.dropped, end.unsent), (400, 0, 0));
        assert_eq!(log.each_once().len(), 400);
    }
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_is_longer_than_the_lines_of_the_server_does_not_stop_the_others() {
    let log = Log::default();
    let config = Config::default().with(|config| config.limits.frame_bytes_max = 4_096);
    let client = log.client_of(Server::builder().config(config)).await;
    let shipper = Shipper::start(client, "order", small_batches());
    let huge = Append::new(Level::Info, "order", "x".repeat(5_000));
    shipper.push(&huge).unwrap();
    for number in 0..40 {
        shipper.push(&entry(number)).unwrap();
    }

    let flushed = shipper.flush(Duration::from_secs(120)).await;
    let stats = shipper.stats();
    assert!(flushed.unsent == 0 && stats.refused >= 1, "{stats:?}");
    let why = stats.last_error.unwrap_or_default();
    assert!(why.contains("frame_bytes_max"), "{why}");

    // Once it takes entries again, it is told.
    shipper.push(&entry(40)).unwrap();
    shipper.flush(LONG).await;
    assert_eq!(shipper.close(LONG).await.unsent, 0);
    assert_eq!(log.told(), stats.refused);
}

#[tokio::test]
async fn entries_for_an_address_that_is_not_one_are_dropped_at_once() {
    let client = Client::builder("localhost").build();
    let shipper = Shipper::start(client, "order", small_batches());
    shipper.push(&entry(0)).unwrap();

    let flushed = shipper.flush(LONG).await;
    assert_eq!((flushed.dropped, flushed.unsent), (1, 0));
    let why = shipper.stats().last_error.unwrap_or_default();
    assert!(why.contains("`localhost` is not an address"), "{why}");
}
