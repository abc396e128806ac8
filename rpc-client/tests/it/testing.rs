use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rpc_client::testing::{Counts, Faulty};
use rpc_client::{Code, RawJson, Reply, Request, Service, ServiceClient, Status, service_fn};
use tokio::time::Instant;

/// Counts how often it runs.
fn counted() -> (impl Service, Arc<AtomicU64>) {
    let ran = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&ran);
    let service = service_fn(move |_| {
        let n = count.fetch_add(1, Ordering::SeqCst);
        async move { Reply::new(&n) }
    });
    (service, ran)
}

/// How 200 calls end with this seed, in short.
async fn fates(seed: u64) -> (Vec<String>, Counts) {
    let (service, _) = counted();
    let faulty = Faulty::new(service, seed)
        .not_sent(0.2)
        .disconnect(0.2)
        .fail(0.1, Status::aborted("lost the race"))
        .never_answer(0.1)
        .delay(0.5, Duration::from_millis(1)..=Duration::from_millis(9));
    let client = ServiceClient::new(faulty.clone()).call_timeout(Duration::from_millis(50));
    let mut ends = Vec::new();
    for _ in 0..200 {
        let started = Instant::now();
        let end = match client.call::<_, u64>(100, &()).await {
            Ok(_) => "ok".to_owned(),
            Err(status) => format!("{status} {}", status.is_rejected()),
        };
        ends.push(format!("{end} after {:?}", started.elapsed()));
    }
    (ends, faulty.counts())
}

#[tokio::test(start_paused = true)]
async fn a_seed_gives_each_call_its_fate_and_another_seed_another() {
    let (first, counts) = fates(7).await;
    assert_eq!((&first, counts), (&fates(7).await.0, fates(7).await.1));
    assert_ne!(first, fates(8).await.0);
    assert_eq!(counts.calls, 200);
    let Counts {
        passed,
        not_sent,
        disconnected,
        never_answered,
        failed,
        ..
    } = counts;
    assert_eq!(
        passed + not_sent + disconnected + never_answered + failed,
        200
    );
    // Far from none and from all, whatever the seed.
    for (count, expected) in [
        (passed, 80),
        (not_sent, 40),
        (disconnected, 40),
        (never_answered, 20),
        (failed, 20),
        (counts.delayed, 100),
    ] {
        assert!((expected / 2..=expected * 2).contains(&count), "{counts:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_not_sent_never_runs_and_of_what_may_have_run_a_half_does() {
    let (service, ran) = counted();
    let client = ServiceClient::new(Faulty::new(service, 1).not_sent(1.0));
    for _ in 0..100 {
        let error = client.call::<_, u64>(100, &()).await.unwrap_err();
        assert!(
            error.code() == Code::UNAVAILABLE && error.is_rejected(),
            "{error}"
        );
    }
    assert_eq!(ran.load(Ordering::SeqCst), 0);

    let (service, ran) = counted();
    let client = ServiceClient::new(Faulty::new(service, 1).disconnect(1.0));
    for n in 0..100 {
        let error = client.call::<_, u64>(100, &()).await.unwrap_err();
        assert!(
            error.code() == Code::UNAVAILABLE && !error.is_rejected(),
            "{error}"
        );
        assert_eq!(
            error.message(),
            format!("sent, and may have run: injected into call {n} by seed 1")
        );
    }
    assert!((25..=75).contains(&ran.load(Ordering::SeqCst)), "{ran:?}");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_never_answered_ends_at_its_deadline_and_a_delayed_one_later() {
    let (service, ran) = counted();
    let faulty = Faulty::new(service, 3).never_answer(1.0);
    let started = Instant::now();
    let client = ServiceClient::new(faulty.clone()).call_timeout(Duration::from_millis(80));
    assert_eq!(
        client.call::<_, u64>(100, &()).await.unwrap_err().code(),
        Code::DEADLINE_EXCEEDED
    );
    assert_eq!(
        (started.elapsed().as_millis(), ran.load(Ordering::SeqCst)),
        (80, 0)
    );

    let (service, _) = counted();
    let range = Duration::from_millis(20)..=Duration::from_millis(30);
    let client = ServiceClient::new(Faulty::new(service, 3).delay(1.0, range.clone()));
    for _ in 0..20 {
        let started = Instant::now();
        client.call::<_, u64>(100, &()).await.unwrap();
        assert!(range.contains(&started.elapsed()) || started.elapsed().as_millis() == 31);
    }
}

#[tokio::test]
async fn a_call_that_is_prepared_and_never_polled_counts_for_nothing() {
    let (service, ran) = counted();
    let faulty = Faulty::new(service, 3);
    drop(faulty.call(Request::new(100, RawJson::NULL)));
    assert_eq!(
        (faulty.counts(), ran.load(Ordering::SeqCst)),
        (Counts::default(), 0)
    );
    faulty.call(Request::new(100, RawJson::NULL)).await.unwrap();
    assert_eq!((faulty.counts().calls, faulty.counts().passed), (1, 1));
}

#[test]
#[should_panic(expected = "the probabilities of all faults are 1.2 together, and 1 at most")]
fn probabilities_of_more_than_one_are_refused() {
    let _ = Faulty::new(counted().0, 0).not_sent(0.6).disconnect(0.6);
}

#[test]
#[should_panic(expected = "a probability is between 0 and 1, and not NaN")]
fn what_is_not_a_probability_is_refused() {
    let _ = Faulty::new(counted().0, 0).delay(f64::NAN, Duration::ZERO..=Duration::ZERO);
}
