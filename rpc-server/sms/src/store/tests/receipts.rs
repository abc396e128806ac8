//! Receipts: early, late, twice, and missing.

use super::*;
use crate::message::AttemptId;

#[tokio::test]
async fn a_receipt_may_come_before_the_response_twice_or_late() {
    let outbox = Outbox::new();
    let id = outbox.accepted(message("hello")).await;
    let claimed = outbox.claim(1, NOW).await.remove(0);

    assert!(
        !outbox
            .receipt(receipt_of("m-1", ReceiptState::Delivered))
            .await
    );
    assert!(!outbox.receipt(receipt_of("m-1", ReceiptState::Sent)).await);
    assert_eq!(outbox.state(id), State::Sending);
    outbox.finish(&claimed, accepted_as("m-1"), NOW).await;
    assert_eq!(outbox.state(id), State::Delivered);

    // Late and doubled ones change nothing any more.
    assert!(outbox.receipt(receipt_of("m-1", ReceiptState::Sent)).await);
    assert!(
        outbox
            .receipt(receipt_of("m-1", ReceiptState::Undelivered))
            .await
    );
    assert_eq!(outbox.state(id), State::Delivered);
}

#[tokio::test]
async fn a_receipt_of_an_earlier_attempt_stops_the_next_one_if_it_arrived() {
    let outbox = Outbox::new();
    let id = outbox.accepted(message("hello")).await;
    let claimed = outbox.claim(1, NOW).await.remove(0);
    let lost = AttemptEvent::NoAnswer {
        error: "timeout".into(),
        resend: false,
        parts: Parts::default(),
    };
    assert_eq!(outbox.finish(&claimed, lost, NOW).await, State::Unknown);
    outbox.resend_doubtful(id).await.unwrap();

    let of_attempt = |attempt, state| Receipt {
        gateway: "one".into(),
        reference: None,
        id: Some(AttemptId { id, attempt }),
        scope: ReceiptScope::Message,
        state,
        error: None,
    };
    assert!(
        outbox
            .receipt(of_attempt(1, ReceiptState::Undelivered))
            .await
    );
    assert_eq!(
        outbox.state(id),
        State::Queued,
        "the second attempt is made"
    );
    assert!(outbox.receipt(of_attempt(1, ReceiptState::Delivered)).await);
    assert_eq!(outbox.state(id), State::Delivered);
    assert!(outbox.claim(1, NOW).await.is_empty());
}

#[tokio::test]
async fn a_sent_message_without_a_receipt_says_so_after_a_while() {
    let outbox = Outbox::new();
    let id = outbox.accepted(message("hello")).await;
    let claimed = outbox.claim(1, NOW).await.remove(0);
    outbox.finish(&claimed, accepted_as("m-1"), NOW).await;

    let wait = outbox.config.receipt_wait_ms;
    assert_eq!(outbox.sweep(NOW + wait - 1).await.without_receipt, 0);
    assert_eq!(outbox.sweep(NOW + wait).await.without_receipt, 1);
    let found = outbox.message(id);
    assert_eq!(
        (found.state, found.receipt.as_deref()),
        (State::Sent, Some("none"))
    );
    // It may still come.
    assert!(
        outbox
            .receipt(receipt_of("m-1", ReceiptState::Delivered))
            .await
    );
    assert_eq!(outbox.state(id), State::Delivered);
}
