//! Compression of closed segments, one after the other.

use std::collections::BTreeMap;
use std::fs;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use super::super::StoreError;
use super::super::packed::{Packing, new_path, pack};
use super::super::segment::{Form, path_of};
use super::super::segments::{Segments, View};

/// How long a segment is left alone that could not be compressed: on a full disk, for example.
const RETRY_AFTER: Duration = Duration::from_secs(60);

/// The longest rest after a piece of work: of a disk that hangs, the time was not spent on computing.
const REST_MAX: Duration = Duration::from_millis(100);

/// What compresses segments.
pub(in crate::store) struct Packer<'a> {
    segments: &'a Segments,
    /// Segments that could not be compressed, by their first numbers, and when.
    failed: BTreeMap<u64, Instant>,
}

impl<'a> Packer<'a> {
    pub(in crate::store) fn new(segments: &'a Segments) -> Self {
        Self {
            segments,
            failed: BTreeMap::new(),
        }
    }

    /// Compresses what is closed, now and whenever it is told that there is more, until `is_over` says so.
    pub(super) fn run(mut self, closed: &Receiver<()>, is_over: &dyn Fn() -> bool) {
        while !is_over() {
            let has_left_files = self.segments.delete_plain_again();
            self.pack_all(is_over);

            let told = match self.failed.is_empty() && !has_left_files {
                true => closed.recv().map_err(RecvTimeoutError::from),
                false => closed.recv_timeout(RETRY_AFTER),
            };
            if told == Err(RecvTimeoutError::Disconnected) {
                return;
            }
        }
    }

    /// Compresses all segments that are closed and plain, from the oldest on. One that fails is left alone for a while.
    pub(in crate::store) fn pack_all(&mut self, is_over: &dyn Fn() -> bool) {
        let plain = self.segments.closed_and_plain();
        self.failed
            .retain(|first, _| plain.iter().any(|view| view.first == *first));

        for view in plain {
            let since = self.failed.get(&view.first);
            if since.is_some_and(|since| since.elapsed() < RETRY_AFTER) {
                continue;
            }
            if is_over() {
                return;
            }

            match pack_one(self.segments, &view, is_over) {
                Ok(()) => {
                    self.failed.remove(&view.first);
                }
                Err(error) => {
                    tracing::warn!(
                        file = %view.path.display(), %error,
                        "cannot compress a log segment; it stays as it is, and is tried again in a minute"
                    );
                    self.failed.insert(view.first, Instant::now());
                }
            }
        }
    }
}

fn pack_one(
    segments: &Segments,
    view: &View,
    is_over: &dyn Fn() -> bool,
) -> Result<(), StoreError> {
    let dir = view.path.parent().unwrap_or(&view.path);
    let new = new_path(&path_of(dir, view.first, Form::Packed));
    let packing = Packing {
        plain: &view.path,
        len: view.len,
        ends: segments
            .read_index(view)
            .map_or_else(Vec::new, |index| index.ends()),
        is_over,
        pause: &|worked| thread::sleep(worked.min(REST_MAX)),
    };

    let packed = pack(&packing, &new).map_err(StoreError::io("write", &new))?;
    match packed {
        Some(bytes) => segments.replace(view, &new, bytes).inspect_err(|_| {
            // It is gone, unless it could not get its name.
            let _ = fs::remove_file(&new);
        }),
        None => Ok(()),
    }
}
