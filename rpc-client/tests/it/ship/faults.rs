//! Networks and logs that are lost while entries are sent.

use std::time::Duration;

use rpc_client::log::{Append, Dropped, Level, Shipped, ShipperConfig};
use rpc_core::Status;

use super::{Answer, LONG, Log, entry, small_batches};

#[tokio::test(start_paused = true)]
async fn entries_wait_for_others_for_the_age_of_a_batch_and_no_longer() {
    let log = Log::default();
    let shipper = log.shipper(ShipperConfig::default()).await;
    let started = tokio::time::Instant::now();
    for number in 0..3 {
        shipper.push(&entry(number)).unwrap();
    }

    while shipper.stats().sent < 3 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let waited = started.elapsed().as_millis();
    assert!((200..=210).contains(&waited), "{waited} ms");
    assert_eq!(log.calls(), 1);
    assert!(
        log.book.lock().unwrap().entries[0].ts.is_some(),
        "the time of the push"
    );
}

#[tokio::test(start_paused = true)]
async fn batches_whose_answers_are_lost_are_sent_again_and_are_in_the_log_once() {
    let mut count = 0;
    let log = Log::with(move |_| {
        count += 1;
        match count % 4 {
            0 => Answer::Write,
            1 => Answer::WriteAndCut,
            2 => Answer::Cut,
            _ => Answer::Fail(Status::unavailable("the disk failed")),
        }
    });
    let shipper = log.shipper(small_batches()).await;
    for number in 0..400 {
        shipper.push(&entry(number)).unwrap();
    }

    let end = shipper.close(LONG).await;
    let expected = Shipped {
        sent: 400,
        dropped: 0,
        unsent: 0,
    };
    assert_eq!(end, expected);
    assert_eq!(log.each_once().len(), 400);
    assert!(log.calls() > 100 && shipper.stats().last_error.is_some());
}

#[tokio::test(start_paused = true)]
async fn faults_at_random_neither_lose_nor_double_an_entry() {
    for seed in 0..20 {
        let mut random = fastrand::Rng::with_seed(seed);
        let log = Log::with(move |_| match random.u32(0..10) {
            0 => Answer::Cut,
            1 => Answer::WriteAndCut,
            2 => Answer::Fail(Status::unavailable("ends")),
            3 => Answer::Fail(
                Status::resource_exhausted("over the budget")
                    .with_rejected()
                    .with_retry_after(Duration::from_millis(300)),
            ),
            _ => Answer::Write,
        });
        let shipper = log.shipper(small_batches()).await;
        for number in 0..2_000 {
            shipper.push(&entry(number)).unwrap();
        }

        let end = shipper.close(LONG * 10).await;
        assert_eq!((end.sent, end.unsent), (2_000, 0), "seed {seed}");
        assert_eq!(log.each_once().len(), 2_000, "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_network_that_is_away_for_a_minute_costs_what_the_queue_cannot_hold_and_the_log_says_how_many()
 {
    let log = Log::default();
    let config = ShipperConfig {
        queue_entries_max: 80,
        ..small_batches()
    };
    let shipper = log.shipper(config).await;
    shipper.push(&entry(0)).unwrap();
    assert_eq!(shipper.flush(LONG).await.sent, 1);

    log.go_down();
    let mut dropped = 0;
    for number in 1..=600 {
        match shipper.push(&entry(number)) {
            Ok(()) => {}
            Err(reason) => {
                assert_eq!(reason, Dropped::Full);
                dropped += 1;
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(
        dropped,
        600 - 70,
        "an eighth of the room is kept for errors"
    );
    let grave = Append::new(Level::Error, "order", "no payment");
    shipper.push(&grave).expect("which an error finds");

    log.come_up();
    let back = tokio::time::Instant::now();
    shipper.flush(LONG).await;
    assert!(
        back.elapsed() < Duration::from_secs(5),
        "{:?}",
        back.elapsed()
    );
    shipper.push(&entry(601)).unwrap();
    let end = shipper.close(LONG).await;

    assert_eq!((end.dropped, end.unsent), (dropped, 0));
    assert_eq!(log.told(), dropped);
    let entries = log.each_once();
    assert!((entries.len() as u64) < end.sent);
    assert!(
        (0..=70)
            .chain([601])
            .all(|number| entries.contains_key(&format!("entry {number}")))
    );
}

#[tokio::test(start_paused = true)]
async fn a_close_waits_for_a_log_that_is_away_until_its_deadline_and_says_what_is_left() {
    let log = Log::default();
    log.go_down();
    let shipper = log.shipper(small_batches()).await;
    for number in 0..10 {
        shipper.push(&entry(number)).unwrap();
    }

    let started = tokio::time::Instant::now();
    let end = shipper.close(Duration::from_secs(3)).await;
    let waited = started.elapsed().as_millis();
    assert!((3_000..3_100).contains(&waited), "{waited} ms");
    assert_eq!(end.unsent, 10);
    assert_eq!(shipper.push(&entry(10)), Err(Dropped::Closed));
    assert_eq!(shipper.close(LONG).await.dropped, 1, "at once, from now on");
}

#[tokio::test(start_paused = true)]
async fn a_close_ends_with_the_last_entry_though_others_still_push() {
    let log = Log::default();
    let shipper = log.shipper(small_batches()).await;
    shipper.push(&entry(0)).unwrap();

    // Another thread logs while the batch is under way, and whenever the log takes one.
    let (other, mut left) = (shipper.clone(), 50);
    log.set_rule(move |_| {
        if left > 0 {
            left -= 1;
            assert_eq!(other.push(&entry(1)), Err(Dropped::Closed));
        }
        Answer::Write
    });
    let end = shipper.close(LONG).await;
    assert_eq!((end.sent, end.dropped, end.unsent), (1, 1, 0));
    assert_eq!((log.calls(), log.told()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn times_that_no_clock_counts_are_as_good_as_never() {
    let log = Log::default();
    let config = ShipperConfig {
        batch_age_max_ms: u64::MAX,
        batch_timeout_ms: u64::MAX,
        ..ShipperConfig::default()
    };
    let shipper = log.shipper(config).await;
    shipper.push(&entry(0)).unwrap();
    assert_eq!(shipper.flush(Duration::MAX).await.sent, 1);
    assert_eq!(shipper.close(Duration::MAX).await.unsent, 0);

    let never = Status::unavailable("closed").with_retry_after(Duration::from_millis(u64::MAX));
    log.set_rule(move |_| Answer::Fail(never.clone()));
    let shipper = log.shipper(small_batches()).await;
    shipper.push(&entry(1)).unwrap();
    let started = tokio::time::Instant::now();
    assert_eq!(shipper.flush(Duration::from_secs(1)).await.unsent, 1);
    assert_eq!(shipper.close(Duration::from_secs(3)).await.unsent, 1);
    let waited = started.elapsed().as_millis();
    assert!((4_000..4_100).contains(&waited), "{waited} ms");
}

#[tokio::test(start_paused = true)]
async fn a_flush_that_is_given_up_and_a_handle_that_is_dropped_leave_no_entry_behind() {
    let log = Log::default();
    let shipper = log.shipper(ShipperConfig::default()).await;
    shipper.push(&entry(0)).unwrap();

    // Given up at its first wait.
    let flush = futures::FutureExt::now_or_never(shipper.flush(LONG));
    assert_eq!(flush, None);
    while log.messages().is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    shipper.push(&entry(1)).unwrap();
    drop(shipper);
    while log.messages().len() < 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(log.each_once().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_gets_no_answer_is_not_left_behind_further_than_the_log_remembers() {
    let log = Log::with(|batch| match batch.batch {
        1 => Answer::Fail(Status::unavailable("not now")),
        _ => Answer::Write,
    });
    let shipper = log.shipper(small_batches()).await;
    for number in 0..4_000 {
        shipper.push(&entry(number)).unwrap();
    }

    tokio::time::sleep(Duration::from_secs(30)).await;
    let newest = {
        let book = log.book.lock().unwrap();
        book.batches.keys().map(|(_, number)| *number).max()
    };
    assert!(newest.is_none_or(|newest| newest <= 64), "{newest:?}");
    log.set_rule(|_| Answer::Write);
    assert_eq!(shipper.close(LONG).await.sent, 4_000);
}
