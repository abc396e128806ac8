use super::*;
use crate::connection::crowd::SHARE;

fn pace(bytes: usize) -> Pace {
    Pace {
        bytes,
        writes_per_read: 4,
        frames: 0,
        output_at_write: 0,
        frames_per_write: None,
    }
}

#[test]
fn a_quarter_of_the_frames_of_a_read_are_written_together() {
    let mut pace = pace(64 * 100);
    let writes: Vec<_> = (1..=64).filter(|_| pace.count(100, 0).write).collect();
    assert_eq!(writes, [16, 32, 48, 64]);
}

#[tokio::test(start_paused = true)]
async fn steps_use_up_the_share_of_a_turn_and_the_next_one_has_its_own() {
    let crowd = Crowd::default();
    let mut clock = Clock::new(Instant::now());
    tokio::time::advance(SHARE * 5).await;

    clock.begin_turn();
    clock.count_step(0, &crowd);
    assert!(
        !clock.is_share_used_up(),
        "what was before is no part of it"
    );

    for _ in 1..STEPS_PER_LOOK {
        clock.count_step(0, &crowd);
    }
    tokio::time::advance(SHARE).await;
    for _ in 1..STEPS_PER_LOOK {
        clock.count_step(0, &crowd);
        assert!(!clock.is_share_used_up(), "it looks now and then only");
    }
    clock.count_step(0, &crowd);
    assert!(clock.is_share_used_up());

    // The first ones may take long.
    clock.begin_turn();
    clock.count_step(0, &crowd);
    tokio::time::advance(SHARE).await;
    clock.count_step(0, &crowd);
    assert!(clock.is_share_used_up());

    clock.begin_turn();
    clock.count_step(0, &crowd);
    tokio::time::advance(SHARE).await;
    clock.count_step(100_000, &crowd);
    assert!(clock.is_share_used_up(), "much output is looked at at once");
}

#[tokio::test(start_paused = true)]
async fn the_share_of_a_turn_begins_before_the_first_items_of_a_stream() {
    let crowd = Crowd::default();
    let mut clock = Clock::new(Instant::now());
    tokio::time::advance(SHARE * 5).await;

    clock.begin_turn();
    let begun = Instant::now();
    let now = begun + SHARE / 2;
    clock.spend(StepTime { begun, now }, &crowd);
    assert!(!clock.is_share_used_up());

    let (begun, now) = (now, begun + SHARE);
    clock.spend(StepTime { begun, now }, &crowd);
    assert!(clock.is_share_used_up());
}

#[test]
fn the_time_is_looked_at_after_a_long_frame() {
    let mut pace = pace(64 * 1024);
    assert!(!pace.count(LONG_FRAME - 1, 0).look);
    assert!(pace.count(LONG_FRAME, 0).look);
}

#[test]
fn much_output_is_written_at_once() {
    let mut pace = pace(64 * 100);
    assert!(!pace.count(100, BYTES_PER_WRITE - 1).write);

    let due = pace.count(100, BYTES_PER_WRITE);
    assert!(due.write && due.look);

    pace.wrote(10);
    assert!(!pace.count(100, BYTES_PER_WRITE).write);
    assert!(pace.count(100, BYTES_PER_WRITE + 10).write);
}
