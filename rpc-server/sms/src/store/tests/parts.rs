//! Messages of several parts: accepted in part, and the receipts of each.

use super::*;
use crate::message::AttemptId;

/// Parts of which the gateway has accepted those with these names.
fn parts(count: u32, names: &[&str]) -> Parts {
    Parts {
        count,
        accepted: names.iter().map(|name| Some((*name).to_owned())).collect(),
    }
}

fn refused(parts: Parts) -> AttemptEvent {
    AttemptEvent::RefusedForGood {
        error: "HTTP 200, code 1".into(),
        parts,
    }
}

/// A message whose first attempt has ended, and its state.
async fn ended(outbox: &Outbox, event: AttemptEvent) -> (MessageId, State) {
    let id = outbox.accepted(message("long")).await;
    let claimed = outbox.claim(1, NOW).await.remove(0);
    let state = outbox.finish(&claimed, event, NOW).await;
    (id, state)
}

fn known(outbox: &Outbox, id: MessageId) -> (State, u32, u32) {
    let message = outbox.message(id);
    (message.state, message.parts, message.parts_sent)
}

#[tokio::test]
async fn a_message_is_delivered_when_all_of_its_parts_are() {
    let outbox = Outbox::new();
    let all = AttemptEvent::Accepted {
        parts: parts(3, &["a", "b", "c"]),
    };
    // That of a part may come before the gateway's answer.
    assert!(
        !outbox
            .receipt(receipt_of("b", ReceiptState::Delivered))
            .await
    );
    let (id, state) = ended(&outbox, all).await;
    assert_eq!(state, State::Sent);
    assert_eq!(known(&outbox, id), (State::Sent, 3, 3));

    // Twice, and one behind the final one.
    for state in [
        ReceiptState::Delivered,
        ReceiptState::Delivered,
        ReceiptState::Sent,
    ] {
        assert!(outbox.receipt(receipt_of("a", state)).await);
        assert_eq!(outbox.state(id), State::Sent);
    }
    assert!(
        outbox
            .receipt(receipt_of("c", ReceiptState::Delivered))
            .await
    );
    assert_eq!(outbox.state(id), State::Delivered);
}

#[tokio::test]
async fn a_part_that_did_not_arrive_leaves_the_message_undelivered() {
    let outbox = Outbox::new();
    let all = AttemptEvent::Accepted {
        parts: parts(2, &["a", "b"]),
    };
    let (id, _) = ended(&outbox, all).await;

    outbox
        .receipt(receipt_of("a", ReceiptState::Delivered))
        .await;
    let lost = Receipt {
        error: Some("27".into()),
        ..receipt_of("b", ReceiptState::Undelivered)
    };
    outbox.receipt(lost).await;
    let found = outbox.message(id);
    assert_eq!(
        (found.state, found.error.as_deref()),
        (State::Undelivered, Some("27"))
    );

    // What a part said first holds.
    outbox
        .receipt(receipt_of("b", ReceiptState::Delivered))
        .await;
    assert_eq!(outbox.state(id), State::Undelivered);
}

#[tokio::test]
async fn a_part_that_is_refused_behind_others_fails_the_message_and_only_a_person_doubles_these() {
    let outbox = Outbox::new();
    let (id, state) = ended(&outbox, refused(parts(3, &["a", "b"]))).await;
    assert_eq!(state, State::Failed);
    assert_eq!(known(&outbox, id), (State::Failed, 3, 2));

    for name in ["a", "b"] {
        assert!(
            outbox
                .receipt(receipt_of(name, ReceiptState::Delivered))
                .await
        );
    }
    assert_eq!(
        outbox.state(id),
        State::Failed,
        "the phone has a piece of it"
    );

    let doubtful = Err(Refusal::MayDouble(State::Failed));
    assert_eq!(outbox.resend(id).await, doubtful);
    assert_eq!(outbox.resend_doubtful(id).await, Ok(2));
    let cancelled = outbox.run(move |outbox| outbox.cancel(id, &Viewer::All, NOW));
    assert_eq!(cancelled.await, Ok(State::Cancelled));
    let doubtful = Err(Refusal::MayDouble(State::Cancelled));
    assert_eq!(outbox.resend(id).await, doubtful);

    // A new attempt has parts of its own, and those of the first one stay at the gateway.
    assert_eq!(outbox.resend_doubtful(id).await, Ok(2));
    let claimed = outbox.claim(1, NOW).await.remove(0);
    assert_eq!(known(&outbox, id), (State::Sending, 0, 0));
    outbox.finish(&claimed, refused(parts(3, &[])), NOW).await;
    let doubtful = Err(Refusal::MayDouble(State::Failed));
    assert_eq!(outbox.resend(id).await, doubtful);
}

#[tokio::test]
async fn a_message_without_any_part_at_the_gateway_is_sent_again_without_a_doubt() {
    let outbox = Outbox::new();
    let (id, _) = ended(&outbox, refused(parts(2, &[]))).await;
    assert_eq!(known(&outbox, id), (State::Failed, 2, 0));
    assert_eq!(outbox.resend(id).await, Ok(2));
}

#[tokio::test]
async fn parts_that_arrived_do_not_make_a_message_delivered_of_which_others_are_in_doubt() {
    let outbox = Outbox::new();
    let doubtful = AttemptEvent::NoAnswer {
        error: "HTTP 200, code 5".into(),
        resend: false,
        parts: parts(2, &["a"]),
    };
    let (id, state) = ended(&outbox, doubtful).await;
    assert_eq!(state, State::Unknown);

    for state in [ReceiptState::Sent, ReceiptState::Delivered] {
        assert!(outbox.receipt(receipt_of("a", state)).await);
        assert_eq!(known(&outbox, id), (State::Unknown, 2, 1));
    }
}

#[tokio::test]
async fn a_receipt_with_our_id_and_the_name_of_a_part_is_of_that_part() {
    let outbox = Outbox::new();
    let all = AttemptEvent::Accepted {
        parts: parts(2, &["a", "b"]),
    };
    let (id, _) = ended(&outbox, all).await;

    let of_both = |name: &str| Receipt {
        id: Some(AttemptId { id, attempt: 1 }),
        ..receipt_of(name, ReceiptState::Delivered)
    };
    outbox.receipt(of_both("a")).await;
    assert_eq!(outbox.state(id), State::Sent);
    outbox.receipt(of_both("b")).await;
    assert_eq!(outbox.state(id), State::Delivered);
}

#[tokio::test]
async fn parts_that_share_a_name_are_delivered_by_one_receipt() {
    let outbox = Outbox::new();
    let all = AttemptEvent::Accepted {
        parts: parts(2, &["a", "a"]),
    };
    let (id, _) = ended(&outbox, all).await;
    outbox
        .receipt(receipt_of("a", ReceiptState::Delivered))
        .await;
    assert_eq!(outbox.state(id), State::Delivered);
}
