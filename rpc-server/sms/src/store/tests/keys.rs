//! Messages that are sent again with their keys.

use super::*;

#[tokio::test]
async fn one_key_is_one_message_for_as_long_as_it_holds() {
    let mut outbox = Outbox::new();
    let keyed = |text: &str| NewMessage {
        key: Some("order-7".into()),
        ..message(text)
    };

    let first = outbox.accept(keyed("hello"), NOW).await.unwrap();
    outbox.reopen(NOW);
    let second = outbox.accept(keyed("hello"), NOW + 1).await.unwrap();
    assert_eq!((first.is_duplicate, second.is_duplicate), (false, true));
    assert_eq!((first.id, first.state), (second.id, second.state));

    assert_eq!(
        outbox.accept(keyed("other text"), NOW).await,
        Err(Refusal::KeyReused)
    );
    let of_another = NewMessage {
        owner: "bank".into(),
        ..keyed("other text")
    };
    assert!(!outbox.accept(of_another, NOW).await.unwrap().is_duplicate);

    let found = outbox
        .store()
        .reader()
        .message_of_key("shop", "order-7")
        .unwrap();
    assert_eq!(found.map(|message| message.id), Some(first.id));

    let later = NOW + outbox.config.key_ms;
    let third = outbox.accept(keyed("other text"), later).await.unwrap();
    assert!(!third.is_duplicate && third.id != first.id);
}

#[tokio::test]
async fn a_repetition_that_is_older_than_the_keys_is_refused_since_it_may_have_been_accepted() {
    let mut outbox = Outbox::new();
    let repeated = |first_sent_at| NewMessage {
        key: Some("order-7".into()),
        first_sent_at: Some(first_sent_at),
        ..message("hello")
    };

    // Before there was an outbox, or before the keys that it still has.
    let late = outbox.accept(repeated(NOW - 10_001), NOW).await;
    assert_eq!(late, Err(Refusal::KeyTooOld));
    let name = outbox.store().name().to_owned();
    outbox.reopen(NOW + 5);
    assert_eq!(outbox.store().name(), name);
    let later = NOW + 2 * outbox.config.key_ms;
    let late = outbox.accept(repeated(NOW), later).await;
    assert_eq!(late, Err(Refusal::KeyTooOld));

    assert!(
        !outbox
            .accept(repeated(later - 1), later)
            .await
            .unwrap()
            .is_duplicate
    );
    assert!(
        outbox
            .accept(repeated(NOW), later)
            .await
            .unwrap()
            .is_duplicate
    );
}
