//! The identity of a log, and cursors that do not fit it.

use super::super::segment::stand_in;
use super::*;

#[tokio::test]
async fn a_page_names_the_log_and_what_it_holds() {
    let dir = TempDir::new().unwrap();
    let config = LogConfig {
        segment_bytes: 400,
        retention_bytes: 1500,
        fsync: false,
        ..LogConfig::default()
    };
    let store = open_with(dir.path(), config.clone()).unwrap();
    let page = store.read(query(0)).await.unwrap();
    assert_eq!((page.oldest, page.last), (1, 0));
    let log = page.log;
    assert!(log.len() == 32 && log.bytes().all(|digit| digit.is_ascii_hexdigit()));

    append(&store, 0..100).await;
    store.close().await;
    let page = store.read(query(0)).await.unwrap();
    assert_eq!((&page.log, page.last), (&log, 100));
    assert!(page.oldest > 50);
    assert_eq!(seq_of(&page.entries[0]), page.oldest);
    drop(store);

    let store = open_with(dir.path(), config).unwrap();
    assert_eq!(store.read(query(100)).await.unwrap().log, log);
}

#[tokio::test]
async fn a_cursor_of_another_log_or_past_the_end_is_refused_with_what_there_is() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    append(&store, 1..=3).await;
    let extent = store.extent();
    assert_eq!((extent.oldest, extent.last), (1, 3));

    let asking = |log: &str, after| Query {
        log: Some(log.into()),
        ..query(after)
    };
    assert!(store.read(asking(&extent.log, 3)).await.is_ok());
    for after in [0, 3, 100] {
        let error = store.read(asking("other", after)).await.unwrap_err();
        let StoreError::OtherLog {
            asked,
            extent: found,
        } = error
        else {
            panic!("{error}");
        };
        assert_eq!((asked.as_str(), found), ("other", extent.clone()));
    }

    for past in [4, u64::MAX] {
        let error = store.read(query(past)).await.unwrap_err();
        let StoreError::PastEnd {
            after,
            extent: found,
        } = error
        else {
            panic!("{error}");
        };
        assert_eq!((after, found), (past, extent.clone()));
    }
}

#[tokio::test]
async fn a_log_whose_newest_file_got_no_entry_before_a_kill_is_the_same_log() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    append(&store, 1..=3).await;
    let log = store.extent().log;
    drop(store);

    // A kill, or a loss of power, between the making of a file and its first entry.
    fs::remove_file(dir.path().join("closed.json")).unwrap();
    fs::write(segment_path(&dir, 4), "").unwrap();

    let store = open(&dir);
    assert_eq!((store.extent().log, store.last()), (log, 3));
    append(&store, [4]).await;
    assert_eq!(read_all(&store, &query(0)).await.len(), 4);
}

#[tokio::test]
async fn a_log_that_is_not_synced_is_another_one_if_its_newest_file_is_empty_after_a_loss_of_power()
{
    let dir = TempDir::new().unwrap();
    let store = open_small(&dir, 400);
    append(&store, 1..=9).await;
    let (log, newest) = (store.extent().log, files(dir.path()).pop().unwrap());
    drop(store);

    // Cleanly closed, it is what it was.
    let store = open_small(&dir, 400);
    assert_eq!(store.extent().log, log);
    drop(store);

    // What the newest had was not written yet: its numbers are given out again.
    fs::remove_file(dir.path().join("closed.json")).unwrap();
    fs::write(newest, "").unwrap();
    let store = open_small(&dir, 400);
    assert!((1..9).contains(&store.last()));
    assert_ne!(store.extent().log, log);
}

/// What a process that is killed now would leave of a log.
fn copy_of(dir: &TempDir) -> TempDir {
    let copy = TempDir::new().unwrap();
    for file in fs::read_dir(dir.path()).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    copy
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_log_that_is_not_synced_is_the_same_until_the_first_entry_of_a_file_that_was_begun_empty()
{
    let dir = TempDir::new().unwrap();
    let store = open_small(&dir, 400);
    append(&store, 1..=3).await;
    let log = store.extent().log;
    drop(store);

    // As it is left once the newest file was closed for its age.
    fs::write(segment_path(&dir, 4), "").unwrap();
    let closed = dir.path().join("closed.json");
    fs::write(&closed, r#"{"last":3,"segment":4,"bytes":0}"#).unwrap();
    let is_same_after_a_kill = |last: u64| {
        let killed = open_small(&copy_of(&dir), 400);
        assert_eq!((killed.extent().log, killed.last()), (log.clone(), last));
    };

    // The disk is full, and then has room in another file.
    stand_in::open_instead(Path::new("/dev/full"));
    let store = open_small(&dir, 400);
    is_same_after_a_kill(3);
    store.append(&entry("lost")).unwrap().await.unwrap_err();
    is_same_after_a_kill(3);
    append(&store, [5]).await;
    assert!(!closed.exists(), "the files have changed since");
    is_same_after_a_kill(5);
}

#[tokio::test]
async fn a_log_whose_files_were_taken_away_is_another_one_unless_its_numbers_go_on() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    append(&store, 1..=3).await;
    let log = store.extent().log;
    drop(store);

    // It was closed: the numbers go on.
    fs::remove_file(segment_path(&dir, 1)).unwrap();
    let store = open(&dir);
    assert_eq!((store.extent().log, store.last()), (log.clone(), 3));
    append(&store, 4..=5).await;
    drop(store);

    // As after a kill: the numbers begin anew, in another log.
    fs::remove_file(dir.path().join("closed.json")).unwrap();
    fs::remove_file(segment_path(&dir, 4)).unwrap();
    let store = open(&dir);
    assert_eq!(store.last(), 0);
    assert_ne!(store.extent().log, log);
}
