//! Attempts: claimed, ended, asked for again, in their order.

use super::*;

#[tokio::test]
async fn a_message_goes_from_its_acceptance_to_its_receipt_and_every_change_is_an_event() {
    let outbox = Outbox::new();
    let id = outbox.accepted(message("hello")).await;
    assert_eq!(
        (outbox.state(id), outbox.counts().queued),
        (State::Queued, 1)
    );

    let claimed = outbox.claim(10, NOW).await;
    assert_eq!(ids(&claimed), [id]);
    assert_eq!(claimed[0].content, Content::Text("hello".into()));
    assert_eq!(
        (outbox.state(id), outbox.counts().sending),
        (State::Sending, 1)
    );
    assert!(
        outbox.claim(10, NOW).await.is_empty(),
        "an attempt is claimed once"
    );

    assert_eq!(
        outbox.finish(&claimed[0], accepted_as("m-1"), NOW).await,
        State::Sent
    );
    assert!(
        outbox
            .receipt(receipt_of("m-1", ReceiptState::Delivered))
            .await
    );
    assert_eq!(outbox.counts(), QueueCounts::default());

    let found = outbox.message(id);
    assert_eq!(
        (found.state, found.receipt.as_deref()),
        (State::Delivered, Some("delivered"))
    );
    assert_eq!((found.to.as_str(), found.attempt), ("+86138****8000", 1));

    let filter = EventFilter {
        viewer: Viewer::All,
        id: Some(id),
        states: Vec::new(),
        after: 0,
        limit: 100,
    };
    let page = outbox.store().events(&filter).unwrap();
    let states: Vec<State> = page.events.iter().map(|event| event.to).collect();
    assert_eq!(
        states,
        [State::Queued, State::Sending, State::Sent, State::Delivered]
    );
    assert_eq!(*outbox.store().last_event().borrow(), page.next);
}

#[tokio::test]
async fn a_crash_while_a_message_is_being_sent_leaves_it_unknown_and_never_resent_by_itself() {
    let mut outbox = Outbox::new();
    let id = outbox.accepted(message("hello")).await;
    let waiting = outbox.accepted(message("later")).await;
    outbox.claim(1, NOW).await;

    outbox.reopen(NOW + 1);
    assert_eq!(outbox.state(id), State::Unknown);
    assert_eq!(
        outbox.message(id).error.as_deref(),
        Some("the server ended while it was being sent")
    );
    let counts = outbox.counts();
    assert_eq!((counts.unknown, counts.queued, counts.sending), (1, 1, 0));
    assert_eq!(ids(&outbox.claim(10, NOW + 1).await), [waiting]);

    assert_eq!(
        outbox.resend(id).await,
        Err(Refusal::MayDouble(State::Unknown))
    );
    assert_eq!(outbox.resend_doubtful(id).await, Ok(2));
    let again = outbox.claim(10, NOW + 1).await;
    assert_eq!(
        (ids(&again), again[0].attempt, again[0].tries),
        (vec![id], 2, 1)
    );
}

#[tokio::test]
async fn messages_go_by_priority_and_in_the_order_of_their_acceptance_and_a_refused_one_goes_back_to_the_head()
 {
    let outbox = Outbox::new();
    let mut order = Vec::new();
    for priority in [5, 5, 9, 0, 5] {
        order.push(
            outbox
                .accepted(NewMessage {
                    priority,
                    ..message("hello")
                })
                .await,
        );
    }
    let [first, second, urgent, idle, third] = order[..] else {
        unreachable!()
    };
    assert!(order.is_sorted(), "ids sort as messages were accepted");

    let claimed = outbox.claim(2, NOW).await;
    assert_eq!(ids(&claimed), [urgent, first]);

    let refused = |retry_at| AttemptEvent::Refused {
        error: "throttled".into(),
        retry_at,
        gateway: "one".into(),
    };
    assert_eq!(
        outbox.finish(&claimed[1], refused(NOW), NOW).await,
        State::Queued
    );
    assert_eq!(ids(&outbox.claim(2, NOW).await), [first, second]);

    // One that has to wait lets others go first, until its time has come.
    assert_eq!(
        outbox.finish(&claimed[0], refused(NOW + 500), NOW).await,
        State::Queued
    );
    assert_eq!(ids(&outbox.claim(9, NOW + 499).await), [third, idle]);
    assert_eq!(outbox.sweep(NOW + 499).await.due, 0);
    assert_eq!(outbox.sweep(NOW + 500).await.due, 1);
    let again = outbox.claim(9, NOW + 500).await;
    assert_eq!((ids(&again), again[0].tries), (vec![urgent], 2));
}

#[tokio::test]
async fn a_message_moves_to_the_gateway_that_is_named_for_its_next_attempt() {
    let outbox = Outbox::new();
    let id = outbox.accepted(message("hello")).await;
    let claimed = outbox.claim(1, NOW).await.remove(0);
    let to_other = AttemptEvent::Refused {
        error: "connect".into(),
        retry_at: NOW,
        gateway: "two".into(),
    };
    outbox.finish(&claimed, to_other, NOW).await;

    assert!(outbox.claim(9, NOW).await.is_empty());
    assert_eq!(
        (
            outbox.counts().queued,
            outbox.store().counts()["two"].queued
        ),
        (0, 1)
    );
    let rules = ClaimRules::default();
    let claimed = outbox
        .run(move |outbox| outbox.claim("two", 9, &rules, NOW))
        .await
        .unwrap();
    assert_eq!(ids(&claimed), [id]);
}

#[tokio::test]
async fn what_is_scheduled_waits_for_its_time_and_what_has_expired_is_not_sent() {
    let outbox = Outbox::new();
    let later = NewMessage {
        not_before: Some(NOW + 1_000),
        ..message("later")
    };
    let accepted = outbox.accept(later, NOW).await.unwrap();
    assert_eq!(
        (accepted.state, outbox.counts().scheduled),
        (State::Scheduled, 1)
    );
    let short = NewMessage {
        expires_at: Some(NOW + 500),
        ..message("short")
    };
    let short = outbox.accepted(short).await;
    let claimed_late = NewMessage {
        expires_at: Some(NOW + 2_000),
        ..message("claimed late")
    };
    let claimed_late = outbox.accepted(claimed_late).await;

    assert_eq!(outbox.sweep(NOW + 500).await.expired, 1);
    assert_eq!(outbox.state(short), State::Expired);
    assert_eq!(outbox.sweep(NOW + 1_000).await.due, 1);

    // Without a sweep in between, the claim looks itself.
    let claimed = outbox.claim(9, NOW + 2_000).await;
    assert_eq!(ids(&claimed), [accepted.id]);
    assert_eq!(outbox.state(claimed_late), State::Expired);
}

#[tokio::test]
async fn what_is_unknown_may_be_resent_by_rule_at_once() {
    let outbox = Outbox::new();
    let id = outbox.accepted(message("hello")).await;
    let claimed = outbox.claim(1, NOW).await.remove(0);
    let lost = AttemptEvent::NoAnswer {
        error: "timeout".into(),
        resend: true,
        parts: Parts::default(),
    };
    assert_eq!(outbox.finish(&claimed, lost, NOW).await, State::Queued);
    let again = outbox.claim(1, NOW).await.remove(0);
    assert_eq!((again.id, again.attempt, again.tries), (id, 2, 2));
}

/// A message whose first attempt had no answer, and that is queued again by rule; it expires in a second.
async fn queued_again(outbox: &Outbox) -> MessageId {
    let short = NewMessage {
        expires_at: Some(NOW + 1_000),
        ..message("hello")
    };
    let id = outbox.accepted(short).await;
    let claimed = outbox.claim(1, NOW).await.remove(0);
    let lost = AttemptEvent::NoAnswer {
        error: "timeout".into(),
        resend: true,
        parts: Parts::default(),
    };
    assert_eq!(outbox.finish(&claimed, lost, NOW).await, State::Queued);
    id
}

/// Checks that a message that has ended is sent again only by a word that allows doubles.
async fn may_double(outbox: &Outbox, id: MessageId, state: State) {
    assert_eq!(outbox.state(id), state);
    assert_eq!(outbox.resend(id).await, Err(Refusal::MayDouble(state)));
    assert!(outbox.resend_doubtful(id).await.is_ok());
}

#[tokio::test]
async fn a_message_that_may_have_been_submitted_before_it_ended_is_sent_again_only_if_it_may_double()
 {
    let mut outbox = Outbox::new();
    let cancel = async |outbox: &Outbox, id| {
        let cancelled = outbox.run(move |outbox| outbox.cancel(id, &Viewer::All, NOW));
        assert_eq!(cancelled.await, Ok(State::Cancelled));
    };

    let cancelled = queued_again(&outbox).await;
    cancel(&outbox, cancelled).await;
    outbox.reopen(NOW);
    may_double(&outbox, cancelled, State::Cancelled).await;
    cancel(&outbox, cancelled).await;

    let expired = queued_again(&outbox).await;
    assert_eq!(outbox.sweep(NOW + 1_000).await.expired, 1);
    may_double(&outbox, expired, State::Expired).await;
    cancel(&outbox, expired).await;

    // That the second attempt was refused says nothing of the first one.
    let failed = queued_again(&outbox).await;
    let second = outbox.claim(1, NOW).await.remove(0);
    let refused = AttemptEvent::RefusedForGood {
        error: "number".into(),
        parts: Parts::default(),
    };
    outbox.finish(&second, refused, NOW).await;
    may_double(&outbox, failed, State::Failed).await;
    cancel(&outbox, failed).await;

    // One that was refused each time was never out.
    let fresh = outbox.accepted(message("hello")).await;
    let claimed = outbox.claim(1, NOW).await.remove(0);
    let refused = AttemptEvent::Refused {
        error: "throttled".into(),
        retry_at: NOW,
        gateway: "one".into(),
    };
    outbox.finish(&claimed, refused, NOW).await;
    cancel(&outbox, fresh).await;
    assert_eq!(outbox.resend(fresh).await, Ok(2));
}

#[tokio::test]
async fn a_gateway_stays_paused_over_a_restart() {
    let mut outbox = Outbox::new();
    outbox
        .run(|outbox| outbox.switch("one", GatewaySwitch::Paused))
        .await
        .unwrap();
    outbox.reopen(NOW);
    assert_eq!(outbox.store().reader().paused().unwrap(), ["one"]);
    outbox
        .run(|outbox| outbox.switch("one", GatewaySwitch::On))
        .await
        .unwrap();
    assert!(outbox.store().reader().paused().unwrap().is_empty());
}
