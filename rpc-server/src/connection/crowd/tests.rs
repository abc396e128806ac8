use std::task::Wake;

use super::*;

#[derive(Default)]
struct Wakes(std::sync::atomic::AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Wakes {
    fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// Connections of a thread without a runtime, and what wakes each.
fn places<const N: usize>(crowd: &Crowd) -> ([InCrowd; N], [Arc<Wakes>; N]) {
    let places = std::array::from_fn(|_| crowd.outside());
    (places, std::array::from_fn(|_| Arc::default()))
}

#[test]
fn a_turn_is_the_shorter_the_more_connections_wait_for_theirs() {
    let crowd = Crowd::default();
    assert_eq!(crowd.share(), SHARE);

    let join = |count: usize| -> Vec<_> {
        let places = (0..count).map(|_| {
            let mut place = crowd.outside();
            place.wait_again(Waker::noop());
            place
        });
        places.collect()
    };
    let three = join(3);
    assert_eq!(crowd.share(), SHARE / 4);

    let thousand = join(1_000);
    assert_eq!(crowd.share(), SHARE_MIN);
    drop((three, thousand));
    assert_eq!(crowd.share(), SHARE);
}

#[test]
fn a_few_have_their_turns_at_one_time_and_all_others_wait_in_their_order() {
    let crowd = Crowd::default();
    let (mut places, counts) = places::<5>(&crowd);
    let wakers: Vec<Waker> = counts
        .iter()
        .map(|count| Arc::clone(count).into())
        .collect();

    let turns = |places: &mut [InCrowd; 5]| {
        let turn = |(place, waker): (&mut InCrowd, &Waker)| place.poll_turn(waker) == Turn::Now;
        places.iter_mut().zip(&wakers).map(turn).collect::<Vec<_>>()
    };
    assert_eq!(turns(&mut places), [true, true, false, false, false]);
    assert_eq!(
        turns(&mut places),
        [true, true, false, false, false],
        "to ask again changes nothing"
    );

    places[0].wait_again(&wakers[0]);
    assert_eq!(turns(&mut places), [false, true, true, false, false]);
    places[1].leave();
    assert!(!places[1].is_inside() && counts[3].count() == 1);
    places[2].wait_again(&wakers[2]);
    places[3].wait_again(&wakers[3]);
    assert_eq!(
        [0, 2, 3, 4].map(|n| counts[n].count()),
        [1, 1, 1, 1],
        "each was called once, the first ones again behind the last one"
    );
}

#[test]
fn a_connection_that_ends_passes_its_turn_on_whether_it_has_begun_or_not() {
    let crowd = Crowd::default();
    let (mut places, wakes) = places::<5>(&crowd);
    for (place, wakes) in places.iter_mut().zip(&wakes) {
        place.poll_turn(&Arc::clone(wakes).into());
    }

    let [first, second, third, fourth, mut fifth] = places;
    drop(fourth);
    drop(first);
    assert_eq!(wakes[2].count(), 1);
    // It was called, and has not come.
    drop(third);
    assert_eq!(fifth.poll_turn(Waker::noop()), Turn::Now);
    drop((second, fifth));
    assert_eq!(crowd.share(), SHARE);

    let mut alone = crowd.outside();
    alone.wait_again(Waker::noop());
    assert_eq!(alone.poll_turn(Waker::noop()), Turn::Now);
}

#[test]
fn a_connection_that_was_called_and_does_not_come_loses_its_turn() {
    let crowd = Crowd::default();
    let (mut places, wakes) = places::<5>(&crowd);
    for (place, wakes) in places.iter_mut().zip(&wakes) {
        place.poll_turn(&Arc::clone(wakes).into());
    }
    let [first, second, third, fourth, fifth] = &mut places;
    let look = |lane: &Option<Arc<Lane>>| {
        let called = lane.as_ref().unwrap().turns().look();
        called.into_iter().for_each(Waker::wake);
    };

    // One comes, the other does not.
    first.leave();
    second.leave();
    assert_eq!(fourth.poll_turn(Waker::noop()), Turn::Now);
    look(&third.lane);
    assert_eq!(wakes[4].count(), 0, "it may still come");
    look(&third.lane);
    assert_eq!(wakes[4].count(), 1);
    assert_eq!(fifth.poll_turn(Waker::noop()), Turn::Now);

    // It waits behind those that have come, and has nothing to give back.
    assert_eq!(third.poll_turn(&Arc::clone(&wakes[2]).into()), Turn::Later);
    fourth.leave();
    assert_eq!(third.poll_turn(Waker::noop()), Turn::Now);
    look(&third.lane);
    look(&third.lane);
    assert_eq!(first.poll_turn(Waker::noop()), Turn::Later);
    drop(places);
    assert_eq!(crowd.share(), SHARE);
}

#[cfg(feature = "http")]
#[test]
fn a_connection_in_memory_has_no_place_and_is_never_waited_for() {
    let crowd = Crowd::default();
    let mut place = InCrowd::never();
    let wakes = Arc::<Wakes>::default();
    place.wait_again(&Arc::clone(&wakes).into());
    assert!(!place.is_inside() && wakes.count() == 1);
    assert_eq!(place.poll_turn(Waker::noop()), Turn::Now);
    assert_eq!(crowd.share(), SHARE);
}
