//! A disk that fails, and a process that is killed.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use tempfile::TempDir;

use super::*;

/// A file of which writing, or making durable, fails, instead of a disk that does.
#[cfg(target_os = "linux")]
mod failing_disk {
    use super::*;
    use crate::store::segment::stand_in;

    fn open_on(device: &str) -> (TempDir, LogStore) {
        let dir = TempDir::new().unwrap();
        fs::write(segment_path(&dir, 1), "").unwrap();
        stand_in::open_instead(Path::new(device));
        let store = open(&dir);
        (dir, store)
    }

    #[tokio::test]
    async fn a_full_disk_fails_its_entries_and_the_next_ones_go_on() {
        let (dir, store) = open_on("/dev/full");
        let error = store.append(&entry("lost")).unwrap().await.unwrap_err();
        assert!(matches!(error, StoreError::Full { .. }), "{error}");
        assert!(error.to_string().contains(dir.path().to_str().unwrap()));
        assert_eq!(store.last(), 0);

        append(&store, 2..=4).await;
        assert_eq!(seqs(&read_all(&store, &query(0)).await), [2, 3, 4]);
        assert_eq!(files(dir.path()).len(), 2);

        drop(store);
        assert_eq!(open(&dir).last(), 4);
    }

    #[tokio::test]
    async fn a_full_disk_is_noted_and_so_is_its_end_though_nothing_is_appended() {
        let (dir, store) = open_on("/dev/full");
        let mut health = store.health();
        store.append(&entry("lost")).unwrap().await.unwrap_err();
        assert!(health.borrow_and_update().cannot_write);

        // The directory takes something, and a second later that is known.
        health.changed().await.unwrap();
        assert!(health.borrow_and_update().is_good());
        assert_eq!(files(dir.path()).len(), 1, "nothing is left of the attempt");
        assert!(!dir.path().join(".probe").exists());

        drop(store);
        assert!(health.changed().await.is_err(), "the writer is gone");
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_made_durable_is_not_written_to_again() {
        let (dir, store) = open_on("/dev/null");
        let error = store.append(&entry("lost")).unwrap().await.unwrap_err();
        assert!(
            matches!(
                error,
                StoreError::Io {
                    action: "fdatasync",
                    ..
                }
            ),
            "{error}"
        );
        assert!(std::error::Error::source(&error).is_some());

        append(&store, 2..=4).await;
        assert_eq!(seqs(&read_all(&store, &query(0)).await), [2, 3, 4]);
        assert_eq!(
            fs::read_to_string(segment_path(&dir, 2))
                .unwrap()
                .lines()
                .count(),
            3
        );
    }

    #[tokio::test]
    async fn a_directory_that_cannot_be_written_to_fails_each_entry_and_comes_back() {
        let (dir, store) = open_on("/dev/full");
        let away = dir.path().with_extension("away");
        fs::rename(dir.path(), &away).unwrap();

        for _ in 0..10 {
            store.append(&entry("lost")).unwrap().await.unwrap_err();
        }

        fs::rename(&away, dir.path()).unwrap();
        append(&store, [11]).await;
        assert_eq!(read_all(&store, &query(0)).await, [(11, "11".to_owned())]);
        assert_eq!(files(dir.path()).len(), 2);
    }
}

#[tokio::test]
async fn what_the_store_creates_is_for_its_own_user_alone() {
    let dir = TempDir::new().unwrap();
    let (outer, inner) = (dir.path().join("data"), dir.path().join("data/log"));
    let store = open_with(&inner, LogConfig::default()).unwrap();
    store.append(&entry("one")).unwrap().await.unwrap();

    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&outer), mode(&inner)), (0o700, 0o700));
    for file in fs::read_dir(&inner).unwrap() {
        let file = file.unwrap().path();
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

/// Runs a test of a module of this binary as a process of its own, by way of a shell if there is a script for one.
#[cfg(unix)]
pub(super) fn child(test: &str, module: &str, dir: &TempDir, script: Option<&str>) -> Command {
    let binary = std::env::current_exe().unwrap();
    let mut command = if let Some(script) = script {
        let mut shell = Command::new("sh");
        shell
            .arg("-c")
            .arg(format!("{script}; exec \"$0\" \"$@\""))
            .arg(binary);
        shell
    } else {
        Command::new(binary)
    };

    let (_crate, module) = module.split_once("::").unwrap();
    command.args([
        "--exact",
        "--ignored",
        "--nocapture",
        &format!("{module}::{test}"),
    ]);

    command
        .env(CHILD_DIR, dir.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped());

    command
}

/// Tells a test that it runs as a child, and on which directory.
pub(super) const CHILD_DIR: &str = "LOG_STORE_TEST_DIR";

/// Tells the processes of a test apart. The number that the system gives one may come again, as it does on a busy machine.
pub(super) const ROUND: &str = "LOG_STORE_TEST_ROUND";

#[cfg(unix)]
#[tokio::test]
#[ignore = "does nothing but as a child of the next test"]
async fn child_that_appends_until_it_is_killed() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else {
        return;
    };

    let config = LogConfig {
        segment_bytes: 3000,
        #[cfg(feature = "zstd")]
        compression: Compression::Zstd,
        ..LogConfig::default()
    };
    let store = Arc::new(open_with(Path::new(&dir), config).unwrap());
    let round = std::env::var(ROUND).unwrap();

    let tasks = (0..8).map(|task| {
        let (store, round) = (Arc::clone(&store), round.clone());
        tokio::spawn(async move {
            for n in 0.. {
                let message = format!("{round}-{task}-{n}");
                let seq = store.append(&entry(&message)).unwrap().await.unwrap();

                // With one write, so that it is there whole or not at all. The newline before it ends what
                // the test harness has written.
                std::io::stdout()
                    .write_all(format!("\nack {seq} {message};\n").as_bytes())
                    .unwrap();
            }
        })
    });

    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
}

#[cfg(unix)]
#[tokio::test]
async fn what_was_acknowledged_before_a_kill_is_there_exactly_once() {
    let dir = TempDir::new().unwrap();
    let mut acknowledged = BTreeMap::new();

    for round in 0..20 {
        let mut child = child(
            "child_that_appends_until_it_is_killed",
            module_path!(),
            &dir,
            None,
        )
        .env(ROUND, round.to_string())
        .spawn()
        .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();

        let mut record = |line: &str| {
            let Some(ack) = line
                .strip_prefix("ack ")
                .and_then(|rest| rest.strip_suffix(';'))
            else {
                return false;
            };

            let (seq, message) = ack.split_once(' ').unwrap();
            let before = acknowledged.insert(seq.parse::<u64>().unwrap(), message.to_owned());
            assert_eq!(before, None, "{seq} was given out twice");
            true
        };

        // Another number each time, so that the kill comes at another point of a segment.
        let mut left = 1 + round * 13 % 90;
        while left > 0 {
            left -= u32::from(record(&lines.next().expect("the child died").unwrap()));
        }

        child.kill().unwrap();
        child.wait().unwrap();
        for line in lines {
            record(&line.unwrap());
        }

        let store = open_small(&dir, 3000);
        let found = read_all(&store, &query(0)).await;
        assert_eq!(
            seqs(&found),
            (1..=store.last()).collect::<Vec<_>>(),
            "round {round}"
        );
        assert_eq!(store.damaged(), 0, "round {round}");

        let messages: HashSet<&String> = found.iter().map(|entry| &entry.1).collect();
        assert_eq!(
            messages.len(),
            found.len(),
            "round {round}: an entry is there twice"
        );

        let found: BTreeMap<u64, String> = found.into_iter().collect();
        for (seq, message) in &acknowledged {
            assert_eq!(found.get(seq), Some(message), "round {round}");
        }
    }

    assert!(segment::modified(dir.path(), 1).is_ok());
    assert!(fs::read_dir(dir.path()).unwrap().count() > 6);
}

#[cfg(unix)]
#[tokio::test]
#[ignore = "does nothing but as a child of the next test"]
async fn child_whose_files_may_not_grow() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else {
        return;
    };

    let dir = Path::new(&dir);
    let store = open_with(dir, LogConfig::default()).unwrap();

    let mut acknowledged = Vec::new();
    for round in 0..100 {
        let appended: Vec<_> = (0..=round % 17)
            .map(|n| store.append(&entry(format!("{round}-{n}"))).unwrap())
            .collect();

        for appended in appended {
            acknowledged.push(appended.await.unwrap());
        }
    }

    // One that is larger than any file may be.
    let error = store.append(&entry("x".repeat(5000))).unwrap().await;
    assert!(
        matches!(error, Err(StoreError::FileSizeLimit { .. })),
        "{error:?}"
    );

    assert!(acknowledged.len() > 400, "{}", acknowledged.len());
    assert_eq!(seqs(&read_all(&store, &query(0)).await), acknowledged);

    drop(store);
    let store = open_with(dir, LogConfig::default()).unwrap();
    assert_eq!(seqs(&read_all(&store, &query(0)).await), acknowledged);
    assert_eq!(store.damaged(), 0);
}

#[cfg(unix)]
#[test]
fn a_write_that_was_done_in_part_is_taken_back_and_goes_into_the_next_file() {
    let dir = TempDir::new().unwrap();

    // A limit on the size of each file: the write that meets it is done in part, and the next one fails.
    let limit = "trap '' XFSZ; ulimit -f 8";
    let output = child(
        "child_whose_files_may_not_grow",
        module_path!(),
        &dir,
        Some(limit),
    )
    .output()
    .unwrap();

    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
    assert!(files(dir.path()).len() > 3);
}
