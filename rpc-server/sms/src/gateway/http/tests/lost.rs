//! Messages whose request or answer is lost, and what is known of them.

use std::time::Duration;

use tokio::net::TcpListener;

use super::*;
use crate::testing::Answer;

#[track_caller]
fn assert_unknown(submission: &Submission, expected: &str) {
    let Submission::NoAnswer { error } = submission else {
        panic!("{submission:?}");
    };
    assert_eq!(error, expected);
}

#[tokio::test]
async fn without_a_connection_a_message_is_not_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);

    let submitted = simple(&url).submit(&message("hello")).await;
    let Submission::NotSent { error } = submitted else {
        panic!("{submitted:?}");
    };
    assert_eq!(error, "cannot connect: connection refused");
}

#[tokio::test]
async fn a_request_that_was_written_and_has_no_whole_answer_leaves_it_unknown() {
    for (mode, expected) in [
        (
            Mode::ResetAfter,
            "the connection was lost before the answer",
        ),
        (
            Mode::CutOff,
            "the connection was lost before the end of the gateway's answer",
        ),
    ] {
        let provider = CountingGateway::start(mode).await.unwrap();
        let submitted = simple(provider.url()).submit(&message("hello")).await;
        assert_unknown(&submitted, expected);
        assert_eq!(provider.requests().len(), 1, "it is not sent again");
    }
}

#[tokio::test]
async fn a_connection_that_is_reset_at_once_does_not_make_a_message_count_as_sent() {
    let provider = CountingGateway::start(Mode::ResetBefore).await.unwrap();
    let submitted = simple(provider.url()).submit(&message("hello")).await;

    // Whether a byte had left decides between the two; neither is an answer.
    assert!(
        matches!(
            submitted,
            Submission::NotSent { .. } | Submission::NoAnswer { .. }
        ),
        "{submitted:?}"
    );
    assert_eq!(provider.requests(), []);
}

#[tokio::test]
async fn an_answer_that_does_not_come_in_time_leaves_it_unknown() {
    let provider = CountingGateway::start(Mode::Hang).await.unwrap();
    let gateway = simple(provider.url());
    let message = message("hello");
    let submitting = tokio::spawn(async move { gateway.submit(&message).await });

    // Only when the request is there, time passes.
    provider.until(1).await;
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(15)).await;
    assert_unknown(&submitting.await.unwrap(), "no answer in time");
}

#[tokio::test]
async fn an_answer_that_is_too_long_is_not_read_to_its_end() {
    let long = "a".repeat(ANSWER_BYTES_MAX + 1);
    let provider = CountingGateway::start(Mode::answer(200, &long))
        .await
        .unwrap();
    let submitted = simple(provider.url()).submit(&message("hello")).await;
    assert_unknown(&submitted, "the answer is longer than 64 KiB");

    let head = Answer {
        status: 200,
        headers: vec![format!("x-long: {long}")],
        body: ACCEPTED.into(),
    };
    let provider = CountingGateway::start(Mode::Answer(head)).await.unwrap();
    let submitted = simple(provider.url()).submit(&message("hello")).await;
    assert_unknown(&submitted, "the connection was lost before the answer");
}

/// Submits three messages one after another, and returns the connections on which they came.
async fn connections_of_three(provider: &CountingGateway) -> Vec<usize> {
    let gateway = simple(provider.url());
    for _ in 0..3 {
        assert!(is_accepted(&gateway.submit(&message("hello")).await));
    }

    let requests = provider.requests();
    requests.iter().map(|request| request.connection).collect()
}

#[tokio::test]
async fn a_connection_is_kept_for_the_next_message() {
    let provider = CountingGateway::start(Mode::answer(200, ACCEPTED))
        .await
        .unwrap();
    assert_eq!(connections_of_three(&provider).await, [0, 0, 0]);
}

#[tokio::test]
async fn a_connection_that_the_provider_has_closed_is_replaced_and_nothing_is_sent_twice() {
    let closing = Answer {
        status: 200,
        headers: vec!["connection: close".into()],
        body: ACCEPTED.into(),
    };
    let provider = CountingGateway::start(Mode::Answer(closing)).await.unwrap();
    assert_eq!(connections_of_three(&provider).await, [0, 1, 2]);
}
