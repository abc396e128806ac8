use super::*;

/// How many of `lines` a second, sent evenly for `seconds`, and the longest time over the rate.
fn send(throttle: &mut Throttle, start: Instant, lines: u64, seconds: u64) -> (u64, Duration) {
    let (mut taken, mut longest) = (0, Duration::ZERO);
    for n in 0..lines * seconds {
        let now = start + Duration::from_micros(n * 1_000_000 / lines);

        if let Some(until) = throttle.paused_until {
            if now < until {
                continue;
            }

            // A timer ends the pause at its time, whether there is more to read or not.
            longest = longest.max(throttle.resume(until));
        }

        throttle.spend(now);
        taken += 1;
    }

    (taken, longest)
}

#[test]
fn a_credit_for_each_item_is_owed_and_no_more_than_there_may_be_streams() {
    let mut throttle = Throttle::new(1_000, Instant::now());
    assert!(!throttle.is_owed_credit());
    throttle.note_items(1);
    assert!(throttle.is_owed_credit());
    assert!(!throttle.is_owed_credit());

    (0..1_000_000).for_each(|_| throttle.note_items(128));
    let owed = (0..1_000_000).filter(|_| throttle.is_owed_credit());
    assert_eq!(owed.count(), 1_024);
}

#[test]
fn a_flood_has_its_rate_and_what_is_within_it_never_waits() {
    let start = Instant::now();
    let mut good = Throttle::new(1_000, start);
    assert_eq!(send(&mut good, start, 990, 60), (990 * 60, Duration::ZERO));

    let mut flood = Throttle::new(1_000, start);
    let (taken, longest) = send(&mut flood, start, 5_000, 60);
    assert!((60_000..=62_500).contains(&taken), "{taken}");
    assert!(longest.as_secs() >= 58, "{longest:?}");

    let mut any = Throttle::new(0, start);
    assert_eq!(send(&mut any, start, 5_000, 10).0, 50_000);
}

#[test]
fn bursts_with_time_between_them_are_never_over_the_rate_for_long() {
    let start = Instant::now();
    let mut throttle = Throttle::new(1_000, start);

    for burst in 0..10 {
        let (_, longest) = send(
            &mut throttle,
            start + Duration::from_secs(10 * burst),
            3_000,
            1,
        );
        assert!(longest.as_secs() < 2, "{longest:?}");
    }
}
