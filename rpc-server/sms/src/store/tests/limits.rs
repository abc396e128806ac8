//! Messages that may not go, or not yet.

use super::*;

#[tokio::test]
async fn marketing_waits_for_the_end_of_quiet_hours() {
    let outbox = Outbox::new();
    let marketing = NewMessage {
        class: Class::Marketing,
        ..message("sale")
    };
    let marketing = outbox.accepted(marketing).await;
    let other = outbox.accepted(message("code")).await;

    let quiet = ClaimRules {
        marketing_not_before: Some(NOW + 60_000),
    };
    assert_eq!(ids(&outbox.claim_with(quiet, 9, NOW).await), [other]);
    assert_eq!(outbox.state(marketing), State::Queued);
    assert!(outbox.claim(9, NOW).await.is_empty());

    outbox.sweep(NOW + 60_000).await;
    assert_eq!(ids(&outbox.claim(9, NOW + 60_000).await), [marketing]);
}

#[tokio::test]
async fn a_number_that_opted_out_gets_nothing_also_if_the_message_waits_already() {
    let outbox = Outbox::new();
    let waiting = outbox.accepted(message("hello")).await;
    let number = message("x").to;

    let opt_out = |scope, now| {
        let number = number.clone();
        outbox.run(move |outbox| outbox.opt_out(&number, scope, now))
    };
    let set = opt_out(Some(OptOutScope::Marketing), NOW).await.unwrap();
    assert_eq!(set.map(|set| set.since), Some(NOW));
    outbox.accept(message("still"), NOW).await.unwrap();
    let marketing = NewMessage {
        class: Class::Marketing,
        ..message("sale")
    };
    assert_eq!(outbox.accept(marketing, NOW).await, Err(Refusal::OptedOut));

    opt_out(Some(OptOutScope::All), NOW + 5).await.unwrap();
    let again = opt_out(Some(OptOutScope::All), NOW + 9).await.unwrap();
    assert_eq!(again.map(|set| set.since), Some(NOW + 5));
    assert_eq!(
        outbox.accept(message("hello"), NOW).await,
        Err(Refusal::OptedOut)
    );

    assert!(outbox.claim(9, NOW).await.is_empty());
    let refused = outbox.message(waiting);
    assert_eq!(
        (refused.state, refused.error.as_deref()),
        (State::Failed, Some("opted_out"))
    );

    assert_eq!(opt_out(None, NOW).await, Ok(None));
    assert_eq!(outbox.store().reader().opt_out(&number).unwrap(), None);
    outbox.accept(message("hello"), NOW).await.unwrap();
}

#[tokio::test]
async fn a_limit_that_is_set_later_counts_the_messages_before_it() {
    let mut outbox = Outbox::new();
    let code = || NewMessage {
        class: Class::Otp,
        ..message("4711")
    };
    for _ in 0..2 {
        outbox.accept(code(), NOW).await.unwrap();
    }

    outbox.config = otp_limits(&["2/60s"], &[]);
    outbox.reopen(NOW + 1);
    let limited = Err(Refusal::NumberLimit {
        retry_after_ms: 59_999,
    });
    assert_eq!(outbox.accept(code(), NOW + 1).await, limited);
    assert!(outbox.accept(message("hello"), NOW + 1).await.is_ok());

    // And taken away again.
    outbox.config = StoreConfig::default();
    outbox.reopen(NOW + 2);
    assert!(outbox.accept(code(), NOW + 2).await.is_ok());
}

#[tokio::test]
async fn limits_by_number_and_calling_code_hold_over_restarts() {
    let mut outbox = Outbox::with(otp_limits(&["1/60s", "2/1h"], &["3/1m"]));
    let code = |to: &str| NewMessage {
        class: Class::Otp,
        to: Number::parse(to, None).unwrap(),
        ..message("4711")
    };

    outbox.accept(code("+8613800138000"), NOW).await.unwrap();
    outbox.reopen(NOW + 10_000);
    let limited = outbox.accept(code("+8613800138000"), NOW + 10_000).await;
    assert_eq!(
        limited,
        Err(Refusal::NumberLimit {
            retry_after_ms: 50_000
        })
    );
    // Other classes have limits of their own: none here.
    outbox.accept(message("hello"), NOW + 10_000).await.unwrap();

    outbox
        .accept(code("+8613800138000"), NOW + 60_000)
        .await
        .unwrap();
    let limited = outbox.accept(code("+8613800138000"), NOW + 130_000).await;
    assert_eq!(
        limited,
        Err(Refusal::NumberLimit {
            retry_after_ms: 3_470_000
        })
    );

    for last in 1..=3 {
        outbox
            .accept(code(&format!("+861380013800{last}")), NOW + 200_000)
            .await
            .unwrap();
    }
    outbox.reopen(NOW + 201_000);
    let flood = outbox.accept(code("+8613800138009"), NOW + 201_000).await;
    assert_eq!(
        flood,
        Err(Refusal::PrefixLimit {
            retry_after_ms: 59_000
        })
    );
    outbox
        .accept(code("+4915123456789"), NOW + 201_000)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_full_queue_refuses_further_messages_until_some_are_sent() {
    let config = StoreConfig {
        queue_max: 2,
        ..StoreConfig::default()
    };
    let outbox = Outbox::with(config);
    outbox.accepted(message("one")).await;
    outbox.accepted(message("two")).await;
    assert_eq!(
        outbox.accept(message("three"), NOW).await,
        Err(Refusal::QueueFull)
    );

    outbox.claim(1, NOW).await;
    outbox.accepted(message("three")).await;
}
