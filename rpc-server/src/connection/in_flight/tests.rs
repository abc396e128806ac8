//! Tests of the calls in flight.

use std::future::{Future, pending, ready};
use std::task::Waker;

use super::*;
use crate::connection::call::{Arrival, CALL_BYTES};
use rpc_core::{Reply, Request};
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
