//! The store as a whole, on a real directory.

mod append;
mod backward;
mod batches;
mod clock;
#[cfg(feature = "zstd")]
mod compression;
mod cursor;
mod damage;
mod disk;
mod follow;
mod holes;
mod index;
mod keys;
#[cfg(unix)]
mod kill;
mod left_behind;
#[path = "../../../../tests/needs/mod.rs"]
mod needs;
#[cfg(target_os = "linux")]
mod power;
mod read;
mod receipt;
mod rotation;
mod scan;
mod tail;
mod waiting;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rpc_core::api::log::{Append, Level};
use rpc_server::blocking::BlockingPool;
use serde_json::Value;
use tempfile::TempDir;

use super::queue::Appended;
use super::*;

/// How long a test waits for what must happen: never that long, if it happens.
const LONG: Duration = Duration::from_secs(60);

fn open_with(dir: &Path, config: LogConfig) -> Result<LogStore, StoreError> {
    LogStore::open(dir, config, &BlockingPool::default())
}

fn open(dir: &TempDir) -> LogStore {
    open_with(dir.path(), LogConfig::default()).unwrap()
}

/// A store with segments of this number of bytes, which does not wait for the disk.
fn open_small(dir: &TempDir, segment_bytes: u64) -> LogStore {
    let config = LogConfig {
        segment_bytes,
        fsync: false,
        ..LogConfig::default()
    };
    open_with(dir.path(), config).unwrap()
}

fn entry(message: impl Into<String>) -> Append {
    Append {
        level: Level::Info,
        service: "order".into(),
        message: message.into(),
        ts: Some(1),
        trace: None,
        fields: None,
    }
}

/// Appends entries one after the other, each as a batch of its own.
async fn append(store: &LogStore, messages: impl IntoIterator<Item = u64>) {
    for message in messages {
        store
            .append(&entry(message.to_string()))
            .unwrap()
            .await
            .unwrap();
    }
}

fn query(after: u64) -> Query {
    Query {
        after,
        limit: 1000,
        ..Query::default()
    }
}

fn containing(text: &str) -> Filter {
    Filter {
        contains: Some(text.into()),
        ..Filter::default()
    }
}

fn of_service(service: &str) -> Filter {
    Filter {
        service: Some(service.into()),
        ..Filter::default()
    }
}

fn seq_of(raw: &serde_json::value::RawValue) -> u64 {
    serde_json::from_str::<Value>(raw.get()).unwrap()["seq"]
        .as_u64()
        .unwrap()
}

fn message_of(raw: &serde_json::value::RawValue) -> String {
    serde_json::from_str::<Value>(raw.get()).unwrap()["message"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// All entries a query matches, page by page, as sequence numbers and messages.
async fn read_all(store: &LogStore, query: &Query) -> Vec<(u64, String)> {
    let mut query = query.clone();
    let mut all: Vec<(u64, String)> = Vec::new();

    loop {
        let page = store.read(query.clone()).await.unwrap();
        assert!(page.entries.len() <= query.limit);

        for raw in &page.entries {
            let seq = seq_of(raw);
            assert!(
                seq > query.after && seq <= page.next && all.last().is_none_or(|last| seq > last.0)
            );
            all.push((seq, message_of(raw)));
        }

        if page.next == query.after {
            return all;
        }
        query.after = page.next;
    }
}

fn seqs(entries: &[(u64, String)]) -> Vec<u64> {
    entries.iter().map(|entry| entry.0).collect()
}

/// The segments of a directory, from oldest to newest.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();

    files.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "ndjson")
    });

    files.sort();
    files
}

fn segment_path(dir: &TempDir, first: u64) -> PathBuf {
    dir.path().join(format!("{first:020}.ndjson"))
}

/// The record of what was known before the newest segment, the only one that is kept.
fn known_file(dir: &TempDir) -> PathBuf {
    let files = fs::read_dir(dir.path()).unwrap();
    let mut known: Vec<PathBuf> = files.map(|entry| entry.unwrap().path()).collect();
    known.retain(|path| path.extension().is_some_and(|found| found == "known"));
    assert_eq!(known.len(), 1);
    known.remove(0)
}
