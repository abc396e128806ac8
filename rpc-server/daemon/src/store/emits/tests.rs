//! Emits, on a real directory and by themselves.

use std::sync::Arc;
use std::time::Duration;

use rpc_core::Peer;
use rpc_core::api::log::{Append, Level};
use rpc_server::blocking::BlockingPool;
use tempfile::TempDir;
use tokio::time::Instant;

use super::super::queue::{Batch, Queue, QueueLimits, Taken};
use super::super::{Durability, LogConfig, LogStore, NewEntries, Overflow, Query, StoreError};
use super::connections::Emitters;
use super::services::{ByService, Dropped, SERVICES_MAX, ServiceLimits, Services};
use super::{Amount, Due, Emitter, send_notices};

fn open(dir: &TempDir, config: LogConfig) -> LogStore {
    let config = LogConfig {
        fsync: false,
        ..config
    };
    LogStore::open(dir.path(), config, &BlockingPool::default()).unwrap()
}

/// Services with this budget, and a queue with room for all of them.
fn services_of(bytes_per_second: u64) -> Services {
    let limits = ServiceLimits {
        bytes_per_second,
        emit_queue_bytes_max: usize::MAX,
    };
    Services::new(limits, Instant::now())
}

fn entry(service: &str, message: impl Into<String>) -> Append {
    Append::new(Level::Info, service, message)
}

fn amount(service: &str, bytes: u64) -> Amount<'_> {
    Amount {
        service,
        entries: 1,
        bytes,
    }
}

fn counts(emitter: &Emitter) -> (u64, u64) {
    let counted = emitter.emitted();
    (counted.written, counted.dropped)
}

#[tokio::test]
async fn a_flush_covers_what_was_emitted_before_it_and_each_connection_has_its_own_counts() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir, LogConfig::default());
    let peers = [1, 2].map(|number| Arc::new(Peer::new("pipe", number)));
    let [one, two] = [0, 1].map(|of: usize| store.emitter(Some(&peers[of])));

    for n in 0..100 {
        let entries = [entry("a", n.to_string()), entry("b", n.to_string())];
        store.emit(&one, &entries, Overflow::Drop).unwrap();
    }
    store
        .emit(&two, &[entry("a", "x")], Overflow::Refuse)
        .unwrap();

    store.flushed().unwrap().await.unwrap();
    assert_eq!((counts(&one), counts(&two)), ((200, 0), (1, 0)));
    assert_eq!(store.last(), 201);
    assert_eq!(counts(&store.emitter(Some(&peers[0]))), (200, 0));

    // Nothing is left to wait for.
    store.flushed().unwrap().await.unwrap();
    let services = store.services.stats().named;
    assert_eq!((services["a"].entries, services["b"].entries), (101, 100));
}

#[tokio::test]
async fn what_does_not_fit_is_dropped_and_counted_or_refused_and_the_log_tells_of_the_drops() {
    let dir = TempDir::new().unwrap();
    let config = LogConfig {
        service_bytes_per_second: 2000,
        ..LogConfig::default()
    };
    let store = open(&dir, config);
    let emitter = store.emitter(None);

    let many: Vec<Append> = (0..50).map(|_| entry("order", "m".repeat(100))).collect();
    store.emit(&emitter, &many, Overflow::Drop).unwrap();
    store
        .emit(&emitter, &[entry("stock", "m")], Overflow::Drop)
        .unwrap();
    let refused = store.emit(&emitter, &many[..1], Overflow::Refuse);
    let error = refused.unwrap_err();
    let StoreError::OverBudget { service, wait, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(service, "order");
    assert!(*wait > Duration::ZERO && *wait < Duration::from_secs(1));
    assert!(matches!(
        store.append(&many[0]),
        Err(StoreError::OverBudget { .. })
    ));
    store.flushed().unwrap().await.unwrap();

    let (written, dropped) = counts(&emitter);
    assert_eq!(written + dropped, 51);
    assert!((10..30).contains(&written), "{written}");
    let services = store.services.stats().named;
    assert_eq!(
        (services["order"].dropped, services["stock"].dropped),
        (dropped, 0)
    );

    store.close().await;
    let page = store
        .read(Query {
            after: written,
            limit: 10,
            ..Query::default()
        })
        .await
        .unwrap();
    let [told] = page.entries.as_slice() else {
        panic!("{page:?}");
    };
    let expected = format!("\"message\":\"{dropped} entries of `order` were dropped\"");
    assert!(told.get().contains(&expected), "{told}");
    assert!(
        told.get()
            .contains("\"level\":\"warn\",\"service\":\"log\"")
    );
}

#[tokio::test]
async fn emits_have_a_queue_of_their_own_and_what_is_too_long_is_dropped_alone() {
    let dir = TempDir::new().unwrap();
    let config = LogConfig {
        emit_queue_bytes_max: 1,
        queue_bytes_max: 1,
        ..LogConfig::default()
    };
    let store = open(&dir, config);
    let emitter = store.emitter(None);

    let entries = [entry("a", "x".repeat(2 << 20)), entry("a", "short")];
    store.emit(&emitter, &entries, Overflow::Drop).unwrap();
    assert!(matches!(
        store.emit(&emitter, &entries, Overflow::Refuse),
        Err(StoreError::TooLarge { .. })
    ));
    store
        .append(&entry("a", "appended"))
        .unwrap()
        .await
        .unwrap();
    store.flushed().unwrap().await.unwrap();
    assert_eq!((counts(&emitter), store.last()), ((1, 1), 2));
}

#[tokio::test]
async fn entries_that_the_queue_never_has_room_for_together_are_refused_for_good() {
    let dir = TempDir::new().unwrap();
    let config = LogConfig {
        emit_queue_bytes_max: 4000,
        ..LogConfig::default()
    };
    let store = open(&dir, config);
    let emitter = store.emitter(None);
    let entries = ["a", "b"].map(|service| entry(service, "x".repeat(2000)));

    let refused = store.emit(&emitter, &entries, Overflow::Refuse);
    let error = refused.unwrap_err();
    assert!(
        matches!(
            error,
            StoreError::EmitTooLarge {
                bytes: 4000..5000,
                bytes_max: 3000
            }
        ),
        "{error}"
    );
    assert!(error.to_string().contains("send fewer in a call"));
    let services = store.services.stats().named;
    assert_eq!((services["a"].entries, services["b"].dropped), (0, 0));

    // Each by itself has room, and of both together the first one.
    for one in &entries {
        store.emit(&emitter, one, Overflow::Refuse).unwrap();
        store.flushed().unwrap().await.unwrap();
    }
    store.emit(&emitter, &entries, Overflow::Drop).unwrap();
    store.flushed().unwrap().await.unwrap();
    assert_eq!((counts(&emitter), store.last()), ((3, 1), 3));
}

#[tokio::test]
async fn what_a_closed_store_has_no_place_for_is_dropped() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir, LogConfig::default());
    let emitter = store.emitter(None);
    store.close().await;

    store
        .emit(&emitter, &[entry("a", "m")], Overflow::Drop)
        .unwrap();
    assert_eq!(counts(&emitter), (0, 1));
    let refused = store.emit(&emitter, &[entry("a", "m")], Overflow::Refuse);
    assert!(matches!(refused, Err(StoreError::Closed)));
    assert!(matches!(store.flushed(), Err(StoreError::Closed)));
}

#[test]
fn connections_that_are_gone_are_forgotten() {
    let emitters = Emitters::default();
    let kept = Arc::new(Peer::new("pipe", 0));
    emitters.of(Some(&kept)).count_dropped(7);
    for number in 1..10_000 {
        let gone = Arc::new(Peer::new("pipe", number));
        emitters.of(Some(&gone));
    }

    assert!(emitters.len() <= 65, "{}", emitters.len());
    assert_eq!(counts(&emitters.of(Some(&kept))), (0, 7));
}

#[tokio::test(start_paused = true)]
async fn a_budget_is_a_second_s_worth_and_fills_up_as_time_passes() {
    let services = services_of(1000);
    let take = |bytes| {
        let taken = services.take([amount("a", bytes)].into_iter(), Instant::now());
        taken.map(|_| ()).map_err(|error| match error {
            StoreError::OverBudget { wait, .. } => wait,
            other => panic!("{other}"),
        })
    };

    // What is larger than all of it is taken, and paid for afterwards.
    take(999).unwrap();
    take(501).unwrap();
    let wait = take(1).unwrap_err();
    assert!(wait > Duration::from_millis(500) && wait < Duration::from_millis(502));
    assert!(
        services
            .take([amount("b", 1)].into_iter(), Instant::now())
            .is_ok()
    );

    tokio::time::advance(wait).await;
    take(1).unwrap();
    take(1).unwrap_err();
    tokio::time::advance(Duration::from_secs(3600)).await;
    take(1000).unwrap();
    take(1).unwrap_err();
}

#[test]
fn a_caller_that_uses_a_new_name_for_each_entry_has_as_many_budgets_as_names_are_told_apart() {
    let (services, now) = (services_of(100), Instant::now());
    let taken = (0..5_000).filter(|number| {
        let name = format!("service-{number}");
        services.take([amount(&name, 100)].into_iter(), now).is_ok()
    });

    // A further one is that of all other names.
    assert_eq!(taken.count(), SERVICES_MAX + 1);
}

#[tokio::test(start_paused = true)]
async fn drops_are_told_once_they_have_ended_or_have_lasted_for_long() {
    let services = services_of(1);
    let drop_some = |count: usize| {
        let entries = std::iter::repeat_n(("a", 10), count);
        services.sift(entries, |_| false, Instant::now()).dropped
    };
    let told = |due| services.drops_to_tell(due, Instant::now());
    let of_a = |entries| {
        vec![Dropped {
            service: Some("a".to_owned()),
            entries,
        }]
    };

    assert_eq!(told(Due::Ended), []);
    assert_eq!(drop_some(4), 3);
    assert_eq!(told(Due::Ended), []);
    assert_eq!(told(Due::Ended), of_a(3));
    assert_eq!(told(Due::All), []);

    for _ in 0..30 {
        drop_some(1);
        assert_eq!(told(Due::Ended), []);
        tokio::time::advance(Duration::from_millis(100)).await;
    }
    tokio::time::advance(Duration::from_secs(60)).await;
    let before = drop_some(3);
    assert_eq!(before, 2);
    assert_eq!(told(Due::Ended).len(), 1);

    assert_eq!(drop_some(1), 1);
    assert_eq!(told(Due::All), of_a(1));
}

#[test]
fn drops_are_told_again_where_the_entry_that_tells_of_them_was_not_written() {
    let services = Arc::new(services_of(1));
    let entries = std::iter::repeat_n(("a", 10), 4);
    services.sift(entries, |_| false, Instant::now());

    let limits = QueueLimits {
        bytes_max: 1,
        emit_bytes_max: 1,
    };
    let queue = Queue::new(1, limits, Durability::Process);
    let tell = || send_notices(&services, &queue, Due::All, 1);
    let take = || match queue.take(Duration::ZERO) {
        Taken::Batch(batch) => batch,
        Taken::Nothing | Taken::End => panic!("nothing waits"),
    };
    let tells = |batch: &Batch| {
        let lines = String::from_utf8(batch.lines.clone()).unwrap();
        lines.contains("3 entries of `a` were dropped")
    };

    // The queue is full.
    let waits = queue
        .push(&NewEntries::from(&entry("b", "m")).received_at(0))
        .unwrap();
    tell();
    let batch = take();
    assert!(!tells(&batch));
    queue.finish(batch, &Ok(()));
    drop(waits);

    // The disk is full, and then it is not.
    for outcome in [Err(StoreError::Closed), Ok(())] {
        tell();
        let batch = take();
        assert!(tells(&batch));
        queue.finish(batch, &outcome);
    }

    tell();
    assert!(matches!(queue.take(Duration::ZERO), Taken::Nothing));
}

#[test]
fn a_service_that_emits_more_than_the_disk_takes_leaves_room_for_another_one() {
    let limits = ServiceLimits {
        bytes_per_second: 0,
        emit_queue_bytes_max: 2_000_000,
    };
    let services = Services::new(limits, Instant::now());
    let emit = |service, count| {
        let entries = std::iter::repeat_n((service, 100), count);
        services.sift(entries, |_| false, Instant::now())
    };

    // Of a hundred bytes each, and of what they take beside them.
    let flood = emit("flood", 20_000);
    assert!(
        (5_000..15_000).contains(&flood.dropped),
        "{}",
        flood.dropped
    );
    for another in ["a", "b", "c"] {
        assert_eq!(emit(another, 1).dropped, 0);
        assert!(emit(another, 100).dropped >= 99);
    }

    services.leave_queue(&flood.shares);
    assert_eq!(emit("d", 1_000).dropped, 0);
}

#[test]
fn entries_of_a_call_are_taken_at_once_only_where_none_of_them_would_be_dropped() {
    let limits = ServiceLimits {
        bytes_per_second: 0,
        emit_queue_bytes_max: 4000,
    };
    let services = Services::new(limits, Instant::now());
    let take = |services: &Services, bytes| {
        let amounts = ["b", "a", "b"].map(|service| amount(service, bytes));
        services.take_at_once(amounts.into_iter(), Instant::now())
    };

    // With nothing before it, the first one would be taken whatever its size, but no other.
    assert!(take(&services, 3000).is_none());
    let taken = take(&services, 500).unwrap();
    let shares: Vec<_> = taken.iter().map(|of| (of.entries, of.bytes)).collect();
    assert_eq!(shares, [(2, 1000), (1, 500)]);
    assert!(take(&services, 400).is_none());
    assert!(take(&services_of(1_000_000), 1).is_none());

    services.leave_queue(&taken);
    let taken = take(&services, 800).unwrap();
    services.leave_queue(&taken);
    let named = services.stats().named;
    let sums = ["a", "b"].map(|service| (named[service].entries, named[service].bytes));
    assert_eq!(sums, [(2, 1300), (4, 2600)]);
}

#[test]
fn what_is_taken_at_once_has_the_room_that_it_would_have_entry_by_entry() {
    let sizes = [("a", 100), ("b", 30), ("a", 7), ("c", 0), ("b", 30)];
    let amounts = sizes.map(|(service, bytes)| amount(service, bytes as u64));
    let limits = ServiceLimits {
        bytes_per_second: 0,
        emit_queue_bytes_max: 1 << 20,
    };
    let [one, other] = [0, 1].map(|_| Services::new(limits, Instant::now()));

    // Both are full after as many calls.
    let mut calls = 0;
    loop {
        let sifted = one.sift(sizes.into_iter(), |_| false, Instant::now());
        let taken = other.take_at_once(amounts.into_iter(), Instant::now());
        assert_eq!(taken.is_some(), sifted.dropped == 0, "{calls}");
        let Some(taken) = taken else {
            break;
        };
        let of = |share: &super::Share| (share.place, share.entries, share.bytes);
        assert!(taken.iter().map(of).eq(sifted.shares.iter().map(of)));
        calls += 1;
    }
    assert!(calls > 1000, "{calls}");
}

#[test]
fn services_are_told_apart_up_to_a_number_and_a_length() {
    let services = services_of(0);
    for n in 0..2000 {
        let name = format!("s{n}");
        services
            .take([amount(&name, 10)].into_iter(), Instant::now())
            .unwrap();
    }
    let long = "x".repeat(300);
    services
        .take([amount(&long, 10)].into_iter(), Instant::now())
        .unwrap();

    let ByService { named, others } = services.stats();
    assert_eq!(
        (named.len(), others.entries, others.bytes),
        (1000, 1001, 10_010)
    );
}
