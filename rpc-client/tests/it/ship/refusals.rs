//! Entries that a log does not take.

use std::time::Duration;

use rpc_client::log::{Append, Dropped, Level, ShipperConfig};
use rpc_core::{Code, Status};
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
