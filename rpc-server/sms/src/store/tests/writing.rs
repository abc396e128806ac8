//! The file and its writer.

use super::*;

#[tokio::test]
async fn an_outbox_is_open_once_and_its_files_are_readable_by_their_user_alone() {
    use std::os::unix::fs::PermissionsExt;

    let outbox = Outbox::new();
    outbox.accepted(message("hello")).await;
    let second = Store::open(&outbox.file(), StoreConfig::default(), NOW)
        .err()
        .unwrap();
    assert!(matches!(second, StoreError::Locked(_)), "{second}");

    for entry in std::fs::read_dir(outbox.dir.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{:?}", entry.file_name());
    }
}

#[tokio::test]
async fn a_file_of_another_program_or_a_later_version_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("sms.sqlite");
    let open = || Store::open(&file, StoreConfig::default(), NOW).err();

    let other = rusqlite::Connection::open(&file).unwrap();
    other
        .execute_batch("CREATE TABLE songs (name TEXT)")
        .unwrap();
    drop(other);
    assert!(matches!(open(), Some(StoreError::Foreign(_))));

    std::fs::remove_file(&file).unwrap();
    assert!(open().is_none());
    let later = rusqlite::Connection::open(&file).unwrap();
    later.pragma_update(None, "user_version", 99).unwrap();
    drop(later);
    assert!(matches!(open(), Some(StoreError::Newer { found: 99, .. })));
}

#[tokio::test]
async fn an_outbox_with_numbers_is_not_opened_without_their_key_and_is_again_with_it() {
    let mut outbox = Outbox::new();
    let key = outbox.file().with_extension("key");
    let saved = std::fs::read(&key).unwrap();
    let open = |outbox: &mut Outbox| {
        outbox.store = None;
        Store::open(&outbox.file(), StoreConfig::default(), NOW)
    };

    // An empty one has nothing that belongs to the key.
    outbox.store = None;
    std::fs::remove_file(&key).unwrap();
    outbox.reopen(NOW);
    let made = std::fs::read(&key).unwrap();
    assert_ne!(made, saved);

    let number = Number::parse("+8613800138000", None).unwrap();
    let opt_out = number.clone();
    outbox
        .run(move |store| store.opt_out(&opt_out, Some(OptOutScope::All), NOW))
        .await
        .unwrap();
    std::fs::remove_file(&key).unwrap();
    let refused = open(&mut outbox).err().unwrap();
    assert!(
        matches!(refused, StoreError::KeyMissing { .. }),
        "{refused}"
    );
    assert!(refused.to_string().contains("restore it from a backup"));
    assert!(!key.exists());

    std::fs::write(&key, made).unwrap();
    outbox.reopen(NOW);
    let found = outbox.store().reader().opt_out(&number).unwrap();
    assert_eq!(found.map(|found| found.scope), Some(OptOutScope::All));

    outbox
        .run(move |store| store.opt_out(&number, None, NOW))
        .await
        .unwrap();
    outbox.accepted(message("hello")).await;
    std::fs::remove_file(&key).unwrap();
    let refused = open(&mut outbox).err().unwrap();
    assert!(
        matches!(refused, StoreError::KeyMissing { .. }),
        "{refused}"
    );
}

#[tokio::test]
async fn an_outbox_is_opened_only_by_its_own_key_once_it_has_numbers() {
    let mut outbox = Outbox::new();
    let key = outbox.dir.path().join("sms.key");
    let other = [7; 32];
    let refusal = |outbox: &mut Outbox| {
        outbox.store = None;
        let opened = Store::open(&outbox.file(), StoreConfig::default(), NOW);
        opened.err().expect("the key is another one").to_string()
    };
    let change = |outbox: &mut Outbox, statement: &str| {
        outbox.store = None;
        let connection = rusqlite::Connection::open(outbox.file()).unwrap();
        assert_eq!(connection.execute(statement, []), Ok(1));
    };
    // One of an earlier version does not know its key.
    let make_old = |outbox: &mut Outbox| {
        change(outbox, "DELETE FROM meta WHERE name = 'key_check'");
    };

    // An empty one has nothing that belongs to the key.
    outbox.store = None;
    std::fs::write(&key, [8; 32]).unwrap();
    outbox.reopen(NOW);
    outbox.accepted(message("hello")).await;

    std::fs::write(&key, other).unwrap();
    let refused = refusal(&mut outbox);
    assert!(
        refused.contains("sms.key is the key of another SMS outbox") && refused.contains("backup"),
        "{refused}"
    );
    std::fs::write(&key, [8; 32]).unwrap();
    outbox.reopen(NOW);

    // One of an earlier version tells its key by a number, and learns it at its next start.
    make_old(&mut outbox);
    std::fs::write(&key, other).unwrap();
    assert_eq!(refusal(&mut outbox), refused);
    std::fs::write(&key, [8; 32]).unwrap();
    outbox.reopen(NOW);
    std::fs::write(&key, other).unwrap();
    assert_eq!(refusal(&mut outbox), refused);

    // A lost key is replaced as the message says.
    let forget = "INSERT OR REPLACE INTO meta VALUES ('key_check', '')";
    assert!(refused.contains(forget), "{refused}");
    change(&mut outbox, forget);
    outbox.reopen(NOW);
    std::fs::write(&key, [8; 32]).unwrap();
    assert_eq!(refusal(&mut outbox), refused);
}

#[tokio::test]
async fn an_outbox_of_an_earlier_version_takes_the_key_that_it_finds_once_all_its_numbers_are_erased()
 {
    let mut outbox = Outbox::new();
    outbox.accepted(message("hello")).await;
    outbox.store = None;
    let connection = rusqlite::Connection::open(outbox.file()).unwrap();
    let statements = "UPDATE messages SET number = NULL; DELETE FROM meta WHERE name = 'key_check'";
    connection.execute_batch(statements).unwrap();
    drop(connection);

    std::fs::write(outbox.dir.path().join("sms.key"), [7; 32]).unwrap();
    outbox.reopen(NOW);
}

#[tokio::test]
async fn the_messages_that_wait_are_counted_at_the_start_without_sorting_them() {
    let mut outbox = Outbox::new();
    let first = outbox.accepted(message("a")).await;
    outbox.accepted(message("b")).await;
    let of_two = NewMessage {
        gateway: "two".into(),
        not_before: Some(NOW + 1),
        ..message("c")
    };
    outbox.accepted(of_two).await;
    outbox.claim(1, NOW).await;
    outbox.reopen(NOW);

    let counts = outbox.store().counts();
    assert_eq!(outbox.state(first), State::Unknown);
    let one = QueueCounts {
        queued: 1,
        unknown: 1,
        ..QueueCounts::default()
    };
    let two = QueueCounts {
        scheduled: 1,
        ..QueueCounts::default()
    };
    assert_eq!((counts["one"], counts["two"]), (one, two));

    let connection = rusqlite::Connection::open(outbox.file()).unwrap();
    let plan: Vec<String> = connection
        .prepare(&format!("EXPLAIN QUERY PLAN {}", tables::WAITING))
        .unwrap()
        .query_map([], |row| row.get(3))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    assert!(
        plan.iter()
            .all(|step| step.contains("COVERING INDEX messages_by_state")),
        "{plan:?}"
    );
}

#[tokio::test]
async fn transitions_that_wait_together_are_answered_each_by_its_own_result() {
    let outbox = Outbox::new();
    let sends = (0..500).map(|place| {
        let key = Some(format!("key-{}", place % 250));
        outbox.accept(
            NewMessage {
                key,
                ..message("hello")
            },
            NOW,
        )
    });
    let accepted = futures::future::join_all(sends).await;
    let duplicates = accepted
        .iter()
        .filter(|accepted| accepted.as_ref().unwrap().is_duplicate);
    assert_eq!(duplicates.count(), 250);
    assert_eq!(outbox.counts().queued, 250);
}

#[tokio::test]
async fn a_transaction_that_fails_is_taken_back_as_a_whole_and_the_next_one_works() {
    let outbox = Outbox::new();
    let kept = outbox.accepted(message("hello")).await;

    // Another process holds the outbox, against all rules, for longer than the writer waits.
    let held = rusqlite::Connection::open(outbox.file()).unwrap();
    held.execute_batch("BEGIN IMMEDIATE").unwrap();
    let failed = outbox
        .store()
        .run(move |outbox| outbox.accept(&message("lost"), NOW))
        .await;
    assert!(
        matches!(failed, Err(StoreError::Sqlite(_) | StoreError::Broken)),
        "{failed:?}"
    );
    held.execute_batch("ROLLBACK").unwrap();

    assert_eq!(outbox.counts().queued, 1);
    let next = outbox.accepted(message("hello")).await;
    assert_eq!(ids(&outbox.claim(9, NOW).await), [kept, next]);
}
