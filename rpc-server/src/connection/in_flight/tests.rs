//! Tests of the calls in flight.

use std::future::{Future, pending, ready};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};
use std::time::Duration;

use futures::FutureExt;

use super::*;
use crate::access::Beginnings;
use crate::connection::call::{Arrival, CALL_BYTES};
use rpc_core::{Code, RawJson, Reply, Request};
use tokio::time::Instant;

fn terms(line: &[u8]) -> Terms {
    let arrival = Arrival {
        received: Instant::now(),
        line_bytes: line.len(),
    };
    Terms::of(&Request::decode(line).unwrap(), arrival, 0)
}

fn add(
    calls: &mut InFlight,
    peer: &Arc<Peer>,
    line: &[u8],
    future: impl Future<Output = Outcome> + Send + 'static,
) {
    calls.add_call(
        peer,
        terms(line),
        Box::pin(future),
        LazyCancellation::default(),
    );
}

fn peer() -> Arc<Peer> {
    Arc::new(Peer::new("a test", 1))
}

fn poll(calls: &mut InFlight) -> Poll<Option<(Terms, Outcome)>> {
    calls.poll_call(&mut Context::from_waker(Waker::noop()))
}

const CALL: &[u8] = br#"{"id":7,"cmdid":100}"#;
const ORDERED: &[u8] = br#"{"cmdid":100}"#;
const ONEWAY: &[u8] = br#"{"id":8,"cmdid":100,"oneway":true}"#;

#[test]
fn a_call_counts_until_its_future_is_gone() {
    let (mut calls, peer) = (InFlight::default(), peer());
    add(&mut calls, &peer, CALL, pending());
    assert!(calls.has(7) && calls.len() == 1);
    assert_eq!(peer.held_bytes(), CALL_BYTES + CALL.len());

    // Its id is free at once, and what it holds is given back when it is dropped.
    assert_eq!(calls.abort(7).unwrap().place, ReplyOrder::Multiplexed(7));
    assert!(!calls.has(7) && peer.held_bytes() > 0);
    assert!(poll(&mut calls).is_ready());
    assert_eq!((calls.len(), peer.held_bytes()), (0, 0));
    assert!(calls.release());
}

#[test]
fn ordered_calls_wait_for_their_turn_and_count_meanwhile() {
    let (mut calls, peer) = (InFlight::default(), peer());
    add(&mut calls, &peer, ORDERED, ready(Ok(Reply::empty())));
    assert!(!calls.is_next_in_order());

    let arrival = Arrival {
        received: Instant::now(),
        line_bytes: ORDERED.len(),
    };
    let request = Request::decode(ORDERED).unwrap().into_owned();
    calls.wait_in_order(Ordered::Call(Box::new(request), arrival));
    assert!(calls.next_in_order().is_none());
    assert_eq!(calls.waiting_bytes(), CALL_BYTES + ORDERED.len());

    let Poll::Ready(Some((first, _))) = poll(&mut calls) else {
        panic!("it is ready");
    };
    calls.vacate(first.place);
    assert!(matches!(calls.next_in_order(), Some(Ordered::Call(..))));
    assert!(calls.is_next_in_order() && calls.waiting_bytes() == 0);
}

#[test]
fn all_kinds_of_calls_can_be_ended_together() {
    let (mut calls, peer) = (InFlight::default(), peer());
    for line in [CALL, ORDERED, ONEWAY, ONEWAY] {
        add(&mut calls, &peer, line, pending());
    }

    let ended = calls.abort_all(|_| true);
    assert_eq!((ended.len(), calls.len()), (4, 4));
    assert!(ended.is_sorted_by_key(|terms| terms.received));

    calls.sweep(&mut Context::from_waker(Waker::noop()));
    assert_eq!((calls.len(), peer.held_bytes()), (0, 0));
}

const ITEM_BYTES: usize = 10_000;
const CALLS_MAX: usize = 80_000;
/// Room for first items.
const FIRST_MAX: usize = 60_000;

/// Adds streams without credit that have these numbers, and a single item that is ready or comes when `gate` opens.
fn add_streams(
    calls: &mut InFlight,
    peer: &Arc<Peer>,
    ids: std::ops::RangeInclusive<u64>,
    gate: impl Future<Output = ()> + Clone + Send + 'static,
) {
    let rules = StreamRules {
        item_bytes_max: ITEM_BYTES,
        calls_bytes_max: CALLS_MAX,
        beginnings: Beginnings::default(),
    };
    for id in ids {
        let line = format!("{{\"id\":{id},\"cmdid\":100,\"credit\":0}}");
        let gate = gate.clone();
        let items = futures::stream::once(async move {
            gate.await;
            Ok(RawJson::serialize(&"x".repeat(ITEM_BYTES - 2)).unwrap())
        });
        let credit = Some(Credit::new(0));
        calls.add_stream(peer, terms(line.as_bytes()), items.boxed(), credit, rules);
    }
}

/// What streams have come to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Streamed {
    items: usize,
    ends: usize,
    refused: usize,
}

/// A task that notes that it was woken.
#[derive(Default)]
struct Task(AtomicBool);

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Polls the streams as a connection does, until none of them goes on. They never hold more than they may.
fn run_streams(calls: &mut InFlight, peer: &Peer) -> Streamed {
    let task = Arc::<Task>::default();
    let waker = Arc::clone(&task).into();
    let mut context = Context::from_waker(&waker);
    let mut streamed = Streamed::default();
    loop {
        match calls.poll_stream(&mut context) {
            Poll::Ready(Some((_, StreamStep::Items { items, .. }))) => {
                streamed.items += items.len();
            }
            Poll::Ready(Some((_, StreamStep::Begun | StreamStep::Looked(_)))) => {}
            Poll::Ready(Some((terms, StreamStep::End(end)))) => {
                calls.vacate(terms.place);
                match end {
                    Ok(()) => streamed.ends += 1,
                    Err(status) => {
                        assert_eq!(status.code(), Code::RESOURCE_EXHAUSTED, "{status}");
                        streamed.refused += 1;
                    }
                }
            }
            Poll::Pending if task.0.swap(false, Ordering::Relaxed) => {}
            Poll::Ready(None) | Poll::Pending if calls.wake_for_room() => {}
            Poll::Ready(None) | Poll::Pending => return streamed,
        }
        assert!(peer.held_bytes() < CALLS_MAX + ITEM_BYTES);
    }
}

#[test]
fn streams_without_credit_have_items_ready_as_far_as_their_connection_has_room() {
    let (mut calls, peer) = (InFlight::default(), peer());
    add_streams(&mut calls, &peer, 1..=40, ready(()));

    // None may send, and those that have an item ready leave no room for the others.
    assert_eq!(run_streams(&mut calls, &peer), Streamed::default());
    let full = peer.held_bytes();
    assert!((FIRST_MAX..CALLS_MAX).contains(&full), "{full}");

    // Those with credit come to their ends before the others begin.
    for id in 1..=10 {
        calls.give_credit(id, 1);
    }
    let some = Streamed {
        items: 10,
        ends: 10,
        refused: 0,
    };
    assert_eq!(run_streams(&mut calls, &peer), some);
    assert!(peer.held_bytes() >= FIRST_MAX);

    // With credit each comes to its item and its end, whether it had one ready or not.
    for id in 11..=40 {
        calls.give_credit(id, 1);
    }
    let rest = Streamed {
        items: 30,
        ends: 30,
        refused: 0,
    };
    assert_eq!(run_streams(&mut calls, &peer), rest);
    assert_eq!(peer.held_bytes(), 0);
}

/// Takes this time of its thread.
#[derive(Clone)]
struct Work(Duration);

impl Future for Work {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        let begun = std::time::Instant::now();
        while begun.elapsed() < self.0 {
            std::hint::spin_loop();
        }
        Poll::Ready(())
    }
}

#[test]
fn a_look_of_a_stream_without_credit_is_a_step_whose_time_counts() {
    let (mut calls, peer) = (InFlight::default(), peer());
    let work = Duration::from_micros(100);
    add_streams(&mut calls, &peer, 1..=3, Work(work));

    let mut context = Context::from_waker(Waker::noop());
    for stream in 1..=3 {
        let step = calls.poll_stream(&mut context);
        let Poll::Ready(Some((_, StreamStep::Looked(time)))) = step else {
            panic!("the item of stream {stream} was found in the turn of another one");
        };
        assert!(time.now - time.begun >= work);
    }
    assert!(calls.poll_stream(&mut context).is_pending());
}

#[test]
fn streams_without_credit_that_find_expected_items_when_calls_fill_their_connection_go_on() {
    let (mut calls, peer) = (InFlight::default(), peer());
    let (open, opened) = futures::channel::oneshot::channel::<()>();
    let gate = opened.map(drop).shared();
    add_streams(&mut calls, &peer, 1..=1, gate.clone());
    assert_eq!(run_streams(&mut calls, &peer), Streamed::default());

    // One has begun to look for its item; meanwhile the connection becomes full.
    let call = peer.hold(CALLS_MAX - ITEM_BYTES);
    calls.ahead().unwrap().set_bytes_max(0);
    add_streams(&mut calls, &peer, 2..=2, gate);
    open.send(()).unwrap();
    assert_eq!(run_streams(&mut calls, &peer), Streamed::default());
    assert!(calls.has(1) && calls.has(2));
    assert!(
        peer.held_bytes() >= CALLS_MAX,
        "the item is kept, and counts"
    );

    // A stream that is cancelled does not keep its place.
    assert!(
        calls.ahead().unwrap().has_waiting(),
        "the other has not begun"
    );
    calls.abort(2);
    run_streams(&mut calls, &peer);
    assert!(!calls.ahead().unwrap().has_waiting());

    drop(call);
    calls.ahead().unwrap().set_bytes_max(CALLS_MAX);
    calls.give_credit(1, 1);
    let sent = Streamed {
        items: 1,
        ends: 1,
        refused: 0,
    };
    assert_eq!(run_streams(&mut calls, &peer), sent);
    assert_eq!(peer.held_bytes(), 0);
}

#[test]
fn items_longer_than_expected_have_no_room_in_a_full_connection() {
    let peer = peer();
    let ahead = Arc::new(Ahead::new(&peer, CALLS_MAX));
    let first = ahead.begin(None).unwrap().bytes();
    let next = ahead.begin(Some(200)).unwrap().bytes();
    assert!(next > 300, "items of a stream differ a little");
    assert_eq!(ahead.begin(Some(ITEM_BYTES)).unwrap().bytes(), ITEM_BYTES);

    ahead.check_room(first + 1, first).unwrap();
    let call = peer.hold(CALLS_MAX);
    ahead.check_room(first, first).unwrap();
    let refused = ahead.check_room(first + 1, first).unwrap_err();
    assert_eq!(refused.code(), Code::RESOURCE_EXHAUSTED);

    drop(call);
    ahead.check_room(first + 1, first).unwrap();
}

#[test]
fn streams_that_look_for_items_have_room_for_items_as_long_as_their_last_ones() {
    let peer = peer();
    let ahead = Arc::new(Ahead::new(&peer, CALLS_MAX));
    let looking: Vec<_> = (0..8)
        .map(|_| ahead.begin(Some(ITEM_BYTES)).unwrap())
        .collect();
    assert!(ahead.begin(Some(1)).is_none());

    let credit = Arc::new(Credit::new(0));
    let (first, second) = (ahead.wait(None, &credit), ahead.wait(Some(1), &credit));
    assert!(!ahead.is_turn() && !ahead.wake_next());
    drop((looking, first));
    assert!(ahead.is_turn() && ahead.wake_next());
    assert!(!ahead.has_waiting() && !ahead.wake_next());
    drop(second);
}
