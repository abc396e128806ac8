//! Streams whose connections are cut or retire.

use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::stream::StreamExt;
use rpc_client::{CallOptions, Code, layers};
use rpc_server::Config;
use tokio::time::Instant;

use super::NumbersClient;
use super::breaking::client;

/// A setting of the environment.
fn setting(name: &str) -> Option<u64> {
    let set = std::env::var(name).ok()?;
    Some(set.parse().expect(name))
}

/// 1,000 cuts by default; `STREAM_CUTS=100000` are more. `STREAM_SEED` cuts again where a run has.
#[tokio::test(start_paused = true)]
async fn of_a_stream_that_is_cut_at_random_each_item_comes_once() {
    let cuts = setting("STREAM_CUTS").unwrap_or(1_000);
    let seed = setting("STREAM_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("STREAM_SEED={seed}");
    let random = Mutex::new(fastrand::Rng::with_seed(seed));
    let bytes = move || random.lock().unwrap().usize(60..900);

    let (client, breaks) = client(Config::default(), bytes).await;
    let numbers = NumbersClient::new(client);
    let mut items = numbers.follow(0, u64::MAX).await.unwrap();
    let mut last = 0;
    while (breaks.load(Ordering::Relaxed) as u64) < cuts {
        last += 1;
        assert_eq!(items.next().await.unwrap().unwrap().n, last);
    }
    drop(items);

    // The end comes once, too, wherever the last cut was.
    let mut items = numbers.follow(0, last).await.unwrap();
    for wanted in 1..=last {
        assert_eq!(items.next().await.unwrap().unwrap().n, wanted);
    }
    assert!(items.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn the_calls_of_a_stream_behind_layers_share_its_one_deadline() {
    let (client, breaks) = client(Config::default(), || 600).await;
    let options = CallOptions::new().timeout(Duration::from_secs(3));
    let numbers = NumbersClient::new(client.layer(layers::Trace)).with(options);
    let begun = Instant::now();

    let mut items = numbers.follow(0, u64::MAX).await.unwrap();
    let failure = loop {
        match items.next().await.unwrap() {
            Ok(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            Err(failure) => break failure,
        }
    };
    assert_eq!(failure.code(), Code::DEADLINE_EXCEEDED);
    assert!(begun.elapsed() < Duration::from_millis(3_500));
    assert!(breaks.load(Ordering::Relaxed) > 1);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_not_resumable_ends_with_its_connection() {
    let (client, _) = client(Config::default(), || 2_000).await;
    let numbers = NumbersClient::new(client);
    let items: Vec<_> = numbers.once(0, 1_000).await.unwrap().collect().await;
    let (last, before) = items.split_last().unwrap();
    assert_eq!(last.as_ref().unwrap_err().code(), Code::UNAVAILABLE);
    assert!(before.iter().all(Result::is_ok) && before.len() < 1_000);
}

#[tokio::test(start_paused = true)]
async fn a_stream_goes_on_over_another_connection_when_its_own_retires() {
    // An age of a moment: each connection goes away soon after its first item.
    let mut config = Config::default();
    config.drain.connection_age_max_ms = 1;
    config.drain.goaway_grace_ms = 1;
    let (client, breaks) = client(config, || usize::MAX).await;
    let numbers = NumbersClient::new(client);
    let mut items = numbers.follow(0, 50).await.unwrap();
    for wanted in 1..=50 {
        assert_eq!(items.next().await.unwrap().unwrap().n, wanted);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert!(items.next().await.is_none());
    assert_eq!(breaks.load(Ordering::Relaxed), 0);
}
