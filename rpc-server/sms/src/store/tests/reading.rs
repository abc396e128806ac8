//! Messages and events, as callers see them.

use super::*;

#[tokio::test]
async fn only_owners_see_change_and_list_their_messages() {
    let outbox = Outbox::new();
    let id = outbox.accepted(message("hello")).await;
    let other = Viewer::Owner("bank".into());
    let own = Viewer::Owner("shop".into());
    let reader = outbox.store().reader();

    assert!(reader.messages(&[id], &other).unwrap().is_empty());
    assert_eq!(reader.messages(&[id], &own).unwrap().len(), 1);
    assert!(
        reader
            .list(&Filter::new(other.clone()))
            .unwrap()
            .messages
            .is_empty()
    );

    let refused = outbox
        .run(move |outbox| outbox.cancel(id, &other, NOW))
        .await;
    assert_eq!(refused, Err(Refusal::NotFound));
    let cancelled = outbox.run(move |outbox| outbox.cancel(id, &own, NOW)).await;
    assert_eq!(cancelled, Ok(State::Cancelled));
    let again = outbox
        .run(move |outbox| outbox.cancel(id, &Viewer::All, NOW))
        .await;
    assert_eq!(again, Err(Refusal::TooLate(State::Cancelled)));
    assert_eq!(outbox.resend(id).await, Ok(1));
}

#[tokio::test]
async fn a_list_is_filtered_and_read_page_by_page_from_the_newest_on() {
    let outbox = Outbox::new();
    let mut all = Vec::new();
    for place in 0..10_u64 {
        let tags = BTreeMap::from([("parity".to_owned(), (place % 2).to_string())]);
        let to = Number::parse(&format!("+861380013800{place}"), None).unwrap();
        let message = NewMessage {
            to,
            tags,
            ..message("hello")
        };
        all.push(outbox.accept(message, NOW + place).await.unwrap().id);
    }
    let claimed = outbox.claim(1, NOW + 10).await;
    all.reverse();

    let list = |change: &dyn Fn(&mut Filter)| {
        let mut filter = Filter::new(Viewer::All);
        change(&mut filter);
        let page = outbox.store().reader().list(&filter).unwrap();
        (
            page.messages
                .iter()
                .map(|message| message.id)
                .collect::<Vec<_>>(),
            page.next,
        )
    };

    assert_eq!(list(&|_| ()), (all.clone(), None));
    let (first, next) = list(&|filter| filter.limit = 4);
    assert_eq!((&first[..], next), (&all[..4], Some(all[3])));
    assert_eq!(list(&|filter| filter.after = next).0, all[4..]);

    assert_eq!(
        list(&|filter| filter.states = vec![State::Sending]).0,
        ids(&claimed)
    );
    assert_eq!(
        list(&|filter| filter.states = vec![State::Sending, State::Queued]).0,
        all
    );
    assert_eq!(
        list(&|filter| filter.to = Number::parse("+8613800138003", None).ok()).0,
        [all[6]]
    );
    assert_eq!(
        list(&|filter| filter.tag = Some(("parity".into(), "1".into())))
            .0
            .len(),
        5
    );
    assert_eq!(list(&|filter| filter.gateway = Some("two".into())).0, []);
    assert_eq!(list(&|filter| filter.class = Some(Class::Otp)).0, []);
    assert_eq!(
        list(&|filter| (filter.since, filter.until) = (Some(NOW + 2), Some(NOW + 4))).0,
        all[6..8]
    );
}

#[tokio::test]
async fn messages_to_a_number_are_found_over_all_shelves() {
    let outbox = Outbox::new();
    let to = |number: &str| NewMessage {
        to: Number::parse(number, None).unwrap(),
        ..message("hello")
    };
    let (wanted, other) = ("+8613800138001", "+8613800138000");

    // Three shelves, of which the middle one has nothing for the number.
    let mut ids = vec![outbox.accepted(to(wanted)).await];
    let others = usize::try_from(2 * schema::SHELF).unwrap();
    let accepted = futures::future::join_all((0..others).map(|_| outbox.accepted(to(other))));
    assert_eq!(accepted.await.len(), others);
    for _ in 0..2 {
        ids.push(outbox.accepted(to(wanted)).await);
    }
    ids.reverse();

    let page = |after, limit| {
        let filter = Filter {
            to: Number::parse(wanted, None).ok(),
            after,
            limit,
            ..Filter::new(Viewer::All)
        };
        let page = outbox.store().reader().list(&filter).unwrap();
        let found = page.messages.iter().map(|message| message.id);
        (found.collect::<Vec<_>>(), page.next)
    };
    assert_eq!(page(None, 100), (ids.clone(), None));
    assert_eq!(page(None, 2), (ids[..2].to_vec(), Some(ids[1])));
    assert_eq!(page(Some(ids[1]), 2), (ids[2..].to_vec(), None));
}

#[tokio::test]
async fn events_are_read_in_their_order_behind_any_number_and_numbers_are_not_given_twice() {
    let mut outbox = Outbox::new();
    for _ in 0..5 {
        outbox.accepted(message("hello")).await;
    }
    let events = |outbox: &Outbox, after, limit| {
        let filter = EventFilter {
            viewer: Viewer::Owner("shop".into()),
            id: None,
            states: Vec::new(),
            after,
            limit,
        };
        outbox.store().events(&filter).unwrap()
    };

    let page = events(&outbox, 0, 3);
    assert_eq!((page.events.len(), page.next, page.has_more), (3, 3, true));
    let page = events(&outbox, page.next, 3);
    assert_eq!((page.events.len(), page.next, page.has_more), (2, 5, false));

    outbox.reopen(NOW);
    outbox.accepted(message("hello")).await;
    let page = events(&outbox, 5, 3);
    assert_eq!((page.events.len(), page.next), (1, 6));
}

#[tokio::test]
async fn an_event_is_shown_only_once_a_watch_can_continue_after_it() {
    let outbox = Outbox::new();
    let mut last = outbox.store().last_event();
    let filter = EventFilter {
        viewer: Viewer::All,
        id: None,
        states: Vec::new(),
        after: 0,
        limit: 3,
    };

    // The writer stops between its commit, which readers see, and its word to others.
    let counts = outbox.store().shared.counts.lock().unwrap();
    let accepted = outbox
        .store()
        .writer
        .run(|store| store.accept(&message("hello"), NOW))
        .unwrap();
    let is_committed = || {
        let listed = outbox
            .store()
            .reader()
            .list(&Filter::new(Viewer::All))
            .unwrap();
        !listed.messages.is_empty()
    };
    while !is_committed() {
        std::thread::yield_now();
    }
    let page = outbox.store().events(&filter).unwrap();
    assert_eq!((page.events.len(), page.next), (0, *last.borrow()));

    drop(counts);
    accepted.await.unwrap().unwrap();
    let page = outbox.store().events(&filter).unwrap();
    assert_eq!(
        (page.events.len(), page.next),
        (1, *last.borrow_and_update())
    );
}

#[tokio::test]
async fn the_oldest_message_that_waits_is_found_whatever_its_priority() {
    let outbox = Outbox::new();
    let oldest = |outbox: &Outbox| outbox.store().reader().oldest_ready("one").unwrap();
    assert_eq!(oldest(&outbox), None);

    for (priority, at) in [(9, NOW + 2), (0, NOW + 1), (5, NOW + 3)] {
        let message = NewMessage {
            priority,
            ..message("hello")
        };
        outbox.accept(message, at).await.unwrap();
    }
    assert_eq!(oldest(&outbox), Some(NOW + 1));
}

#[tokio::test]
async fn the_text_of_a_code_is_never_revealed() {
    let outbox = Outbox::new();
    let code = NewMessage {
        class: Class::Otp,
        ..message("4711")
    };
    let id = outbox.accepted(code).await;
    let revealed = outbox.store().reader().reveal(id).unwrap();
    assert_eq!(
        (revealed.to.as_deref(), revealed.content),
        (Some("+8613800138000"), None)
    );
}

#[tokio::test]
async fn texts_and_numbers_are_erased_in_time_and_old_messages_forgotten() {
    let outbox = Outbox::new();
    let config = outbox.config.clone();
    let id = outbox.accepted(message("a secret text")).await;
    let claimed = outbox.claim(1, NOW).await.remove(0);
    outbox
        .finish(
            &claimed,
            AttemptEvent::RefusedForGood {
                error: "number".into(),
                parts: Parts::default(),
            },
            NOW,
        )
        .await;

    let revealed = outbox.store().reader().reveal(id).unwrap();
    assert_eq!(revealed.to.as_deref(), Some("+8613800138000"));
    assert_eq!(
        revealed.content,
        Some(Content::Text("a secret text".into()))
    );

    assert_eq!(outbox.sweep(NOW + config.erase_text_ms).await.erased, 1);
    let revealed = outbox.store().reader().reveal(id).unwrap();
    assert_eq!((revealed.to.is_some(), revealed.content), (true, None));
    assert_eq!(outbox.resend(id).await, Err(Refusal::TextErased));

    assert_eq!(outbox.sweep(NOW + config.erase_number_ms).await.erased, 1);
    assert_eq!(outbox.store().reader().reveal(id).unwrap().to, None);
    // The message is still found by its number.
    let filter = Filter {
        to: Some(message("x").to),
        ..Filter::new(Viewer::All)
    };
    assert_eq!(
        outbox
            .store()
            .reader()
            .list(&filter)
            .unwrap()
            .messages
            .len(),
        1
    );

    assert_eq!(outbox.sweep(NOW + config.keep_ms).await.erased, 1);
    assert!(
        outbox
            .store()
            .reader()
            .messages(&[id], &Viewer::All)
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        outbox.sweep(NOW + 2 * config.keep_ms).await,
        Swept::default()
    );
}
