//! Receipts with our id, of gateways that make parts of a message: they may come before the answer, and without the name
//! of a part.

use super::*;
use crate::message::AttemptId;

/// A text of two segments.
fn long() -> NewMessage {
    message(&"a".repeat(200))
}

fn of_part(id: MessageId, name: Option<&str>, state: ReceiptState) -> Receipt {
    Receipt {
        gateway: "one".into(),
        reference: name.map(str::to_owned),
        id: Some(AttemptId { id, attempt: 1 }),
        scope: ReceiptScope::Part,
        state,
        error: None,
    }
}

fn accepted(count: u32, names: &[&str]) -> AttemptEvent {
    AttemptEvent::Accepted {
        parts: Parts {
            count,
            accepted: names.iter().map(|name| Some((*name).to_owned())).collect(),
        },
    }
}

fn no_answer(resend: bool) -> AttemptEvent {
    AttemptEvent::NoAnswer {
        error: "no answer in time".into(),
        resend,
        parts: Parts::default(),
    }
}

/// A message that is being sent.
async fn sending(outbox: &Outbox, message: NewMessage) -> (MessageId, Claimed) {
    let id = outbox.accepted(message).await;
    let claimed = outbox.claim(1, NOW).await.remove(0);
    (id, claimed)
}

impl Outbox {
    /// Takes receipts of parts, and checks the state after them.
    async fn check(&self, id: MessageId, receipts: &[(Option<&str>, ReceiptState)], state: State) {
        for (name, said) in receipts {
            assert!(self.receipt(of_part(id, *name, *said)).await);
        }
        assert_eq!(self.state(id), state, "{receipts:?}");
    }
}

use ReceiptState::{Delivered, Undelivered};

#[tokio::test]
async fn a_receipt_that_comes_before_the_answer_is_of_its_part_alone() {
    let outbox = Outbox::new();
    let (id, claimed) = sending(&outbox, long()).await;
    let first = [(Some("a"), Delivered), (Some("a"), ReceiptState::Sent)];
    outbox.check(id, &first, State::Sending).await;

    let state = outbox.finish(&claimed, accepted(3, &["a", "b", "c"]), NOW);
    assert_eq!(state.await, State::Sent);
    outbox
        .check(id, &[(Some("b"), Delivered)], State::Sent)
        .await;
    outbox
        .check(id, &[(Some("c"), Delivered)], State::Delivered)
        .await;
}

#[tokio::test]
async fn receipts_of_all_parts_that_come_before_the_answer_count_once_it_is_there() {
    let outbox = Outbox::new();
    let (id, claimed) = sending(&outbox, long()).await;
    let both = [(Some("a"), Delivered), (Some("b"), Delivered)];
    outbox.check(id, &both, State::Sending).await;
    let state = outbox.finish(&claimed, accepted(2, &["a", "b"]), NOW);
    assert_eq!(state.await, State::Delivered);

    // The provider made one part of what might have been two.
    let (id, claimed) = sending(&outbox, long()).await;
    outbox
        .check(id, &[(Some("d"), Delivered)], State::Sending)
        .await;
    let state = outbox.finish(&claimed, accepted_as("d"), NOW);
    assert_eq!(state.await, State::Delivered);
}

#[tokio::test]
async fn a_receipt_of_a_part_beyond_those_that_were_assumed_counts_once_the_answer_tells_of_it() {
    let outbox = Outbox::new();
    let (id, claimed) = sending(&outbox, long()).await;
    let first = [
        (Some("a"), ReceiptState::Sent),
        (Some("b"), Delivered),
        (Some("c"), Delivered),
    ];
    outbox.check(id, &first, State::Sending).await;

    let state = outbox.finish(&claimed, accepted(3, &["a", "b", "c"]), NOW);
    assert_eq!(state.await, State::Sent);
    outbox
        .check(id, &[(Some("a"), Delivered)], State::Delivered)
        .await;
}

#[tokio::test]
async fn a_part_that_did_not_arrive_decides_also_before_the_answer() {
    let outbox = Outbox::new();
    let (id, claimed) = sending(&outbox, long()).await;
    outbox
        .check(id, &[(Some("a"), Undelivered)], State::Undelivered)
        .await;
    let state = outbox.finish(&claimed, accepted(2, &["a", "b"]), NOW);
    assert_eq!(state.await, State::Undelivered);
}

#[tokio::test]
async fn without_an_answer_a_message_is_delivered_once_as_many_parts_are_as_it_has_segments() {
    let mut outbox = Outbox::new();
    let (lost, claimed) = sending(&outbox, long()).await;
    outbox
        .check(lost, &[(Some("a"), Delivered)], State::Sending)
        .await;
    let state = outbox.finish(&claimed, no_answer(false), NOW);
    assert_eq!(state.await, State::Unknown);
    let twice = [(Some("a"), Delivered)];
    outbox.check(lost, &twice, State::Unknown).await;
    outbox
        .check(lost, &[(Some("b"), Delivered)], State::Delivered)
        .await;

    // The same with a process that ends in between.
    let (crashed, _) = sending(&outbox, long()).await;
    let both = [(Some("c"), Delivered), (Some("d"), Delivered)];
    outbox.check(crashed, &both, State::Sending).await;
    outbox.reopen(NOW + 1);
    assert_eq!(outbox.state(crashed), State::Delivered);
}

#[tokio::test]
async fn a_receipt_that_names_no_part_says_only_that_one_did_not_arrive() {
    let outbox = Outbox::new();
    let (id, claimed) = sending(&outbox, long()).await;
    outbox.check(id, &[(None, Delivered)], State::Sending).await;
    outbox.finish(&claimed, accepted(2, &["a", "b"]), NOW).await;
    let unnamed = [(None, ReceiptState::Sent), (None, Delivered)];
    outbox.check(id, &unnamed, State::Sent).await;
    outbox
        .check(id, &[(None, Undelivered)], State::Undelivered)
        .await;

    // A message of one segment has no other part.
    let (short, _) = sending(&outbox, message("short")).await;
    outbox
        .check(short, &[(None, Delivered)], State::Delivered)
        .await;
}

#[tokio::test]
async fn a_part_without_a_name_is_delivered_by_a_receipt_of_its_own() {
    let outbox = Outbox::new();
    let (id, claimed) = sending(&outbox, long()).await;
    let one_named = AttemptEvent::Accepted {
        parts: Parts {
            count: 2,
            accepted: vec![Some("a".into()), None],
        },
    };
    outbox.finish(&claimed, one_named, NOW).await;

    outbox
        .check(id, &[(Some("a"), Delivered)], State::Sent)
        .await;
    let other = [(Some("b"), Delivered), (Some("c"), Delivered)];
    outbox.check(id, &other, State::Delivered).await;
}

#[tokio::test]
async fn a_message_is_not_sent_again_by_itself_once_a_receipt_tells_of_a_part() {
    let outbox = Outbox::new();
    let (id, claimed) = sending(&outbox, long()).await;
    outbox
        .check(id, &[(Some("a"), Delivered)], State::Sending)
        .await;
    let state = outbox.finish(&claimed, no_answer(true), NOW);
    assert_eq!(state.await, State::Unknown);

    let (id, claimed) = sending(&outbox, long()).await;
    let state = outbox.finish(&claimed, no_answer(true), NOW);
    assert_eq!(state.await, State::Queued);
    assert_eq!(outbox.state(id), State::Queued);
}

#[tokio::test]
async fn the_receipt_of_one_part_does_not_end_a_message_that_waits_for_its_next_attempt() {
    let outbox = Outbox::new();
    let first = [(Some("a"), Delivered), (None, Delivered)];
    let both = [(Some("a"), Delivered), (Some("b"), Delivered)];

    // By the rule `on_unknown`.
    let (by_rule, claimed) = sending(&outbox, long()).await;
    let state = outbox.finish(&claimed, no_answer(true), NOW);
    assert_eq!(state.await, State::Queued);
    outbox.check(by_rule, &first, State::Queued).await;
    // That a part has arrived does not take the decision back.
    assert_eq!(ids(&outbox.claim(1, NOW).await), [by_rule]);

    // By an operator.
    let (by_person, claimed) = sending(&outbox, long()).await;
    outbox.finish(&claimed, no_answer(false), NOW).await;
    outbox.resend_doubtful(by_person).await.unwrap();
    outbox.check(by_person, &first, State::Queued).await;
    outbox.check(by_person, &both, State::Delivered).await;

    // After an answer that was a refusal.
    let (refused, claimed) = sending(&outbox, long()).await;
    let refusal = AttemptEvent::Refused {
        error: "HTTP 503".into(),
        retry_at: NOW + 1,
        gateway: "one".into(),
    };
    let state = outbox.finish(&claimed, refusal, NOW);
    assert_eq!(state.await, State::Queued);
    outbox.check(refused, &first, State::Queued).await;
    outbox.check(refused, &both, State::Delivered).await;
}

#[tokio::test]
async fn names_of_parts_that_each_message_has_are_told_apart_by_its_id() {
    let outbox = Outbox::new();
    let (first, claimed) = sending(&outbox, long()).await;
    outbox.finish(&claimed, accepted(2, &["1", "2"]), NOW).await;
    let (second, claimed) = sending(&outbox, long()).await;
    outbox.finish(&claimed, accepted(2, &["1", "2"]), NOW).await;
    let (lost, claimed) = sending(&outbox, long()).await;
    outbox.finish(&claimed, no_answer(false), NOW).await;

    let one = [(Some("1"), Delivered)];
    outbox.check(first, &one, State::Sent).await;
    outbox.check(second, &one, State::Sent).await;
    outbox.check(lost, &one, State::Unknown).await;

    let other = [(Some("2"), Delivered)];
    outbox.check(second, &other, State::Delivered).await;
    outbox.check(first, &other, State::Delivered).await;
    let other = [(Some("2"), Undelivered)];
    outbox.check(lost, &other, State::Undelivered).await;
}

#[tokio::test]
async fn a_receipt_without_our_id_is_of_the_newest_message_with_its_name() {
    let outbox = Outbox::new();
    let (first, claimed) = sending(&outbox, message("hello")).await;
    outbox.finish(&claimed, accepted_as("1"), NOW).await;
    let (second, claimed) = sending(&outbox, message("hello")).await;
    outbox.finish(&claimed, accepted_as("1"), NOW).await;

    assert!(outbox.receipt(receipt_of("1", Delivered)).await);
    let states = (outbox.state(first), outbox.state(second));
    assert_eq!(states, (State::Sent, State::Delivered));
}

#[tokio::test]
async fn a_part_that_did_not_arrive_decides_also_if_there_are_more_parts_than_were_assumed() {
    let outbox = Outbox::new();
    let (id, _) = sending(&outbox, long()).await;
    let both = [(Some("a"), Delivered), (Some("b"), Delivered)];
    outbox.check(id, &both, State::Sending).await;
    // The first final receipt of a part holds.
    outbox
        .check(id, &[(Some("b"), Undelivered)], State::Sending)
        .await;
    outbox
        .check(id, &[(Some("c"), Undelivered)], State::Undelivered)
        .await;
}

#[tokio::test]
async fn how_many_parts_a_template_makes_is_told_by_the_answer_alone() {
    let outbox = Outbox::new();
    let template = NewMessage {
        content: Content::Template {
            name: "login".into(),
            vars: "{}".into(),
        },
        ..message("")
    };
    let (id, claimed) = sending(&outbox, template).await;
    outbox
        .check(id, &[(Some("a"), Delivered)], State::Sending)
        .await;
    let state = outbox.finish(&claimed, no_answer(false), NOW);
    assert_eq!(state.await, State::Unknown);
}

#[tokio::test]
async fn the_id_of_a_first_attempt_is_not_that_of_the_second() {
    let outbox = Outbox::new();
    let (id, claimed) = sending(&outbox, message("hello")).await;
    outbox.finish(&claimed, no_answer(false), NOW).await;
    outbox.resend_doubtful(id).await.unwrap();
    outbox.claim(1, NOW).await;

    let receipt = |text: String| Receipt {
        id: Some(text.parse().unwrap()),
        scope: ReceiptScope::Message,
        ..of_part(id, None, Undelivered)
    };
    assert!(outbox.receipt(receipt(id.to_string())).await);
    assert_eq!(outbox.state(id), State::Sending);
    assert!(!outbox.receipt(receipt(format!("{id}-3"))).await);
    assert!(outbox.receipt(receipt(format!("{id}-2"))).await);
    assert_eq!(outbox.state(id), State::Undelivered);
}
