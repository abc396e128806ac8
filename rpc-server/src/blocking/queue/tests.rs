use super::*;

const A: CallerId = CallerId(Some(1));
const B: CallerId = CallerId(Some(2));
const C: CallerId = CallerId(Some(3));

fn taken(queue: &mut Queue<&'static str>) -> Option<&'static str> {
    queue.take().map(|taken| taken.piece)
}

#[test]
fn connections_take_turns_and_a_new_one_comes_before_the_one_that_was_served_last() {
    let mut queue = Queue::new(100);
    let group = queue.add_group(100);
    for piece in ["a1", "a2", "a3", "a4"] {
        queue.push(group, A, 0, piece).unwrap();
    }

    assert_eq!(taken(&mut queue), Some("a1"));
    for (caller, piece) in [(B, "b1"), (B, "b2"), (C, "c1")] {
        queue.push(group, caller, 0, piece).unwrap();
    }

    let order: Vec<_> = std::iter::from_fn(|| taken(&mut queue)).collect();
    assert_eq!(order, ["b1", "c1", "a2", "b2", "a3", "a4"]);
    assert_eq!((queue.waiting(), queue.at_work()), (0, 7));
    assert!(queue.waiting_of.is_empty() && queue.groups[0].lines.is_empty());
}

#[test]
fn a_full_group_waits_and_the_others_go_on() {
    let mut queue = Queue::new(100);
    let (one, any) = (queue.add_group(1), queue.add_group(100));
    for (group, caller, piece) in [
        (one, A, "one1"),
        (one, B, "one2"),
        (any, A, "any1"),
        (any, A, "any2"),
    ] {
        queue.push(group, caller, 0, piece).unwrap();
    }

    let first: Vec<_> = std::iter::from_fn(|| taken(&mut queue)).collect();
    assert_eq!(first, ["one1", "any1", "any2"]);
    queue.push(any, B, 0, "any3").unwrap();
    assert_eq!((queue.waiting(), queue.startable()), (2, 1));

    queue.finish(one, A);
    assert_eq!(queue.startable(), 2);
    assert_eq!(taken(&mut queue), Some("one2"));
}

#[test]
fn a_connection_whose_results_wait_begins_no_further_piece_until_one_is_taken() {
    let mut queue = Queue::new(100);
    let group = queue.add_group(100);
    let push = |queue: &mut Queue<&'static str>, caller, piece| {
        queue.push(group, caller, 0, piece).unwrap()
    };

    let tickets: Vec<_> = (0..RESULTS_MAX + 2)
        .map(|_| push(&mut queue, A, "a"))
        .collect();
    for _ in 0..RESULTS_MAX {
        assert_eq!(taken(&mut queue), Some("a"));
        queue.finish(group, A);
    }
    assert_eq!((queue.waiting(), queue.startable()), (2, 0));
    assert_eq!(taken(&mut queue), None);

    // Other connections go on, and what waits may be given up.
    push(&mut queue, B, "b");
    assert_eq!(taken(&mut queue), Some("b"));
    let given_up = push(&mut queue, A, "given up");
    assert_eq!(queue.remove(&given_up), Some("given up"));
    assert_eq!((queue.waiting(), queue.startable()), (2, 0));

    queue.release(&tickets[0]);
    assert_eq!(queue.startable(), 2);
    assert_eq!(taken(&mut queue), Some("a"));

    // What is released twice counts once.
    queue.release(&tickets[0]);
    for ticket in &tickets[1..] {
        queue.release(ticket);
    }
    queue.finish(group, A);
    queue.finish(group, B);
    assert_eq!(taken(&mut queue), Some("a"));
}

#[test]
fn results_that_may_be_large_are_built_a_few_at_a_time() {
    let mut queue = Queue::new(100);
    let (group, other) = (queue.add_group(100), queue.add_group(100));
    let half = RESULT_BYTES_MAX / 2;
    let tickets: Vec<_> = (0..4)
        .map(|_| queue.push(group, A, half, "large").unwrap())
        .collect();

    // Two at work may become as much as may wait, and no other piece of the connection begins.
    assert_eq!(
        (taken(&mut queue), taken(&mut queue)),
        (Some("large"), Some("large"))
    );
    queue.push(other, A, 0, "small").unwrap();
    assert_eq!((taken(&mut queue), queue.startable()), (None, 0));
    queue
        .push(group, B, 10 * RESULT_BYTES_MAX, "larger than may be")
        .unwrap();
    assert_eq!(taken(&mut queue), Some("larger than may be"));

    queue.finish(group, A);
    assert_eq!(taken(&mut queue), None, "its result waits");
    queue.release(&tickets[0]);
    let next: Vec<_> = std::iter::from_fn(|| taken(&mut queue)).collect();
    assert_eq!(next, ["large"], "it fills the room again");
}

#[test]
fn a_take_in_vain_does_not_change_whose_turn_it_is() {
    let mut queue = Queue::new(100);
    let group = queue.add_group(1);
    for piece in ["a1", "a2"] {
        queue.push(group, A, 0, piece).unwrap();
    }
    assert_eq!(taken(&mut queue), Some("a1"));
    assert_eq!(taken(&mut queue), None);

    queue.push(group, B, 0, "b1").unwrap();
    queue.finish(group, A);
    assert_eq!(taken(&mut queue), Some("b1"));
}

#[test]
fn what_is_removed_leaves_nothing_behind() {
    let mut queue = Queue::new(2);
    let group = queue.add_group(1);

    for _ in 0..10_000 {
        let ticket = queue.push(group, A, 0, "a").unwrap();
        assert_eq!(queue.remove(&ticket), Some("a"));
        assert_eq!(queue.remove(&ticket), None);
    }

    assert!(queue.groups[0].ring.is_empty() && queue.groups[0].lines.is_empty());
    assert_eq!(taken(&mut queue), None);

    // Of a line that was served last, too.
    queue.push(group, A, 0, "a1").unwrap();
    let second = queue.push(group, A, 0, "a2").unwrap();
    assert_eq!(taken(&mut queue), Some("a1"));
    queue.remove(&second);
    queue.push(group, A, 0, "a3").unwrap();
    queue.finish(group, A);
    assert_eq!(taken(&mut queue), Some("a3"));
    assert_eq!(taken(&mut queue), None);
    assert!(queue.groups[0].ring.is_empty());
}

#[test]
fn one_connection_has_a_limited_number_of_waiting_pieces_and_another_one_has_its_own() {
    let mut queue = Queue::new(2);
    let (one, other) = (queue.add_group(1), queue.add_group(1));
    queue.push(one, A, 0, "a1").unwrap();
    queue.push(other, A, 0, "a2").unwrap();
    assert_eq!(queue.push(one, A, 0, "a3").unwrap_err(), "a3");
    queue.push(one, B, 0, "b1").unwrap();

    assert_eq!(taken(&mut queue), Some("a1"));
    queue.push(one, A, 0, "a3").unwrap();

    let mut left = queue.clear();
    left.sort_unstable();
    assert_eq!(left, ["a2", "a3", "b1"]);
    assert_eq!((queue.waiting(), taken(&mut queue)), (0, None));
}
