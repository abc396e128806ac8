//! The broadcast by itself: what each policy does to those who are slow, and to those who are not.

use std::time::Duration;

use futures::{FutureExt, StreamExt};
use rpc_core::Code;
use tokio::time::Instant;

use super::*;

fn broadcast(items_max: usize, slow: SlowSubscriber) -> Broadcast<u64> {
    let config = BroadcastConfig {
        items_max,
        slow,
        ..BroadcastConfig::default()
    };
    Broadcast::new(config).unwrap()
}

/// Publishes where that has to wait for nothing.
#[track_caller]
fn publish<T: Clone + Serialize>(broadcast: &Broadcast<T>, item: T) {
    let published = broadcast.publish(item).now_or_never();
    published.expect("there is room").unwrap();
}

/// What is there to take.
fn take<T: Clone + Unpin>(subscription: &mut Subscription<T>) -> Vec<Received<T>> {
    let next = || subscription.next().now_or_never().flatten();
    std::iter::from_fn(next).map(Result::unwrap).collect()
}

#[test]
fn a_subscriber_gets_what_is_published_while_it_listens() {
    let broadcast = broadcast(8, SlowSubscriber::DropOldest);
    publish(&broadcast, 0);
    assert_eq!(broadcast.stats().items, 0, "it is for no subscriber");

    let mut early = broadcast.subscribe();
    publish(&broadcast, 1);
    let mut late = broadcast.subscribe();
    publish(&broadcast, 2);
    assert_eq!(take(&mut early), [Received::Item(1), Received::Item(2)]);
    assert_eq!(broadcast.stats().items, 1, "one has not taken it");
    assert_eq!(take(&mut late), [Received::Item(2)]);
    assert_eq!((broadcast.stats().items, broadcast.stats().bytes), (0, 0));

    publish(&broadcast, 3);
    drop(early);
    drop(late);
    let stats = broadcast.stats();
    assert_eq!((stats.subscribers, stats.items, stats.published), (0, 0, 4));
}

#[test]
fn the_oldest_items_are_dropped_and_the_subscriber_is_told_how_many() {
    let broadcast = broadcast(3, SlowSubscriber::DropOldest);
    let (mut slow, mut fast) = (broadcast.subscribe(), broadcast.subscribe());
    for n in 0..10 {
        publish(&broadcast, n);
        assert_eq!(take(&mut fast), [Received::Item(n)]);
    }

    let kept = [7, 8, 9].map(Received::Item);
    let told: Vec<_> = [Received::Dropped(7)].into_iter().chain(kept).collect();
    assert_eq!(broadcast.stats().items, 3);
    assert_eq!(take(&mut slow), told);
    assert_eq!((broadcast.stats().dropped, broadcast.stats().ended), (7, 0));
}

#[test]
fn bytes_are_bounded_as_items_are() {
    let config = BroadcastConfig {
        bytes_max: 100,
        ..BroadcastConfig::default()
    };
    let broadcast = Broadcast::new(config).unwrap();
    let mut slow = broadcast.subscribe();
    for length in [30, 30, 30] {
        publish(&broadcast, "x".repeat(length));
    }
    // 32 bytes each, with their quotes: of three and 60 more the first two are too many.
    publish(&broadcast, "y".repeat(58));
    assert_eq!((broadcast.stats().items, broadcast.stats().bytes), (2, 92));
    assert_eq!(take(&mut slow)[0], Received::Dropped(2));

    let refused = broadcast.publish("z".repeat(99)).now_or_never().unwrap();
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Code::RESOURCE_EXHAUSTED);
    assert!(refused.message().contains("101 bytes"), "{refused}");
    assert_eq!(broadcast.stats().published, 4);
}

#[test]
fn a_slow_stream_ends_with_code_8_and_says_what_it_missed() {
    let broadcast = broadcast(3, SlowSubscriber::End);
    let (mut slow, mut fast) = (broadcast.subscribe(), broadcast.subscribe());
    for n in 0..5 {
        publish(&broadcast, n);
        assert_eq!(take(&mut fast), [Received::Item(n)]);
    }

    let end = slow.next().now_or_never().unwrap().unwrap().unwrap_err();
    assert_eq!(end.code(), Code::RESOURCE_EXHAUSTED);
    assert!(end.message().contains("3 items"), "{end}");
    assert!(slow.next().now_or_never().unwrap().is_none());
    let stats = broadcast.stats();
    assert_eq!(
        (stats.subscribers, stats.dropped, stats.ended, stats.items),
        (1, 3, 1, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn who_publishes_waits_for_the_slow_as_long_as_it_is_told_to() {
    let patience = Duration::from_secs(3);
    let broadcast = broadcast(2, SlowSubscriber::Wait(patience));
    let (mut slow, mut fast) = (broadcast.subscribe(), broadcast.subscribe());
    publish(&broadcast, 0);
    publish(&broadcast, 1);
    take(&mut fast);

    // One item is taken meanwhile: that is room enough.
    let (begun, publishing) = (Instant::now(), broadcast.publish(2));
    let taking = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        slow.next().await.unwrap().unwrap()
    };
    let (published, taken) = tokio::join!(publishing, taking);
    published.unwrap();
    assert_eq!((taken, begun.elapsed().as_secs()), (Received::Item(0), 1));

    // Nothing is taken in time: the stream ends, and the other one misses nothing.
    broadcast.publish(3).await.unwrap();
    assert_eq!(begun.elapsed().as_secs(), 4);
    let end = slow.next().await.unwrap().unwrap_err();
    assert_eq!(end.code(), Code::RESOURCE_EXHAUSTED);
    assert_eq!(take(&mut fast), [Received::Item(2), Received::Item(3)]);
    assert_eq!((broadcast.stats().dropped, broadcast.stats().ended), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn publishers_that_wait_keep_their_order_and_one_that_is_dropped_publishes_nothing() {
    let broadcast = broadcast(1, SlowSubscriber::Wait(Duration::from_secs(60)));
    let mut slow = broadcast.subscribe();
    publish(&broadcast, 0);
    let given_up = broadcast.publish(1).now_or_never();
    assert!(given_up.is_none());

    let publishers = (2..10).map(|n| broadcast.publish(n));
    let publishing = futures::future::try_join_all(publishers);
    let taking = slow.by_ref().take(9).collect::<Vec<_>>();
    let (published, taken) = tokio::join!(publishing, taking);
    published.unwrap();
    let taken = taken.into_iter().map(Result::unwrap);
    let wanted = [0].into_iter().chain(2..10).map(Received::Item);
    assert!(taken.eq(wanted));
}

#[test]
fn a_subscriber_that_leaves_makes_room() {
    let broadcast = broadcast(1, SlowSubscriber::Wait(Duration::from_secs(60)));
    let slow = broadcast.subscribe();
    publish(&broadcast, 0);
    drop(slow);
    publish(&broadcast, 1);
    assert_eq!(broadcast.stats().dropped, 0);
}

#[test]
fn at_the_end_subscribers_get_what_waits_and_no_further_item_is_published() {
    let broadcast = broadcast(8, SlowSubscriber::DropOldest);
    let (mut first, mut second) = (broadcast.subscribe(), broadcast.subscribe());
    publish(&broadcast, 0);
    broadcast.close();
    let refused = broadcast.publish(1).now_or_never().unwrap().unwrap_err();
    assert_eq!(refused.code(), Code::FAILED_PRECONDITION);
    assert_eq!(take(&mut first), [Received::Item(0)]);

    // The last clone closes it, too.
    drop(broadcast);
    assert_eq!(take(&mut second), [Received::Item(0)]);
    assert!(second.next().now_or_never().unwrap().is_none());
}

#[test]
fn a_limit_of_0_is_refused() {
    let config = BroadcastConfig {
        items_max: 0,
        ..BroadcastConfig::default()
    };
    let error = Broadcast::<u64>::new(config).unwrap_err();
    assert_eq!(error.to_string(), "`items_max` is 0 and must be at least 1");
}
