//! Snapshots of what is known: lines of JSON, whose last one has a fingerprint of those before.
//!
//! A snapshot knows nothing of what a write has left that failed. It names the segments of such writes, and a start reads
//! them, too.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rpc_core::Fingerprint;
use serde::{Deserialize, Serialize};

use super::super::segment::{self, FILE_MODE};
use super::super::{Durability, StoreError};
use super::Repeats;
use super::keys;
use super::known::{KnownKey, hex};
use super::producers::KnownProducer;

const EXTENSION: &str = "known";

/// All that is written down.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) keys: keys::Snapshot,
    pub(super) producers: Vec<KnownProducer>,
    /// The segments of writes that have failed, from the oldest on.
    pub(super) failed: Vec<FailedSegment>,
}

/// A segment with bytes at its end that a write has left which failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FailedSegment {
    /// The first number of the segment.
    pub(super) segment: u64,
    /// The bytes before those that were left.
    pub(super) kept: u64,
}

/// The first line.
#[derive(Serialize, Deserialize)]
struct Head {
    /// The number before which all is known: that of the snapshot's segment, or of the first one that a failed write has
    /// left something in. Older versions believe only the former, and otherwise read all segments.
    before: u64,
    /// The number of the snapshot's segment, if `before` is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    of: Option<u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    failed: Vec<FailedSegment>,
    /// When the youngest key was received that is not known any more, in milliseconds since the snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lost_ms: Option<i64>,
}

/// The last line.
#[derive(Serialize, Deserialize)]
struct End {
    #[serde(with = "hex")]
    check: u128,
}

/// The snapshots of a directory.
#[derive(Debug)]
pub(in crate::store) struct Snapshots {
    dir: PathBuf,
    /// That of the newest segment that readers know of.
    newest: Option<u64>,
    /// That of a segment which is being made.
    next: Option<u64>,
    /// The segments that writes of this process have left something in, and the bytes before that.
    failed: BTreeMap<u64, u64>,
}

impl Snapshots {
    /// Those of a directory whose newest segment is this one. All others are deleted: what they say was before the
    /// segments that are there now.
    pub(in crate::store) fn of(dir: &Path, newest: Option<u64>) -> io::Result<Self> {
        let kept = newest.map(|newest| path(dir, newest));
        for entry in fs::read_dir(dir)? {
            let file = entry?.path();
            let is_snapshot = file.extension().is_some_and(|found| found == EXTENSION);
            if is_snapshot && Some(&file) != kept.as_ref() {
                fs::remove_file(file)?;
            }
        }

        Ok(Self {
            dir: dir.into(),
            newest,
            next: None,
            failed: BTreeMap::new(),
        })
    }

    /// Notes that a write has failed with this error; returns whether it has left something in its segment.
    pub(in crate::store) fn note_failure(&mut self, error: &StoreError) -> bool {
        let StoreError::LeftBehind { path, kept, .. } = error else {
            return false;
        };

        let name = path.file_name().and_then(|name| name.to_str());
        if let Some((segment, _)) = name.and_then(segment::parse) {
            self.failed.insert(segment, *kept);
        }
        true
    }

    /// Writes what is known before the segment `first` is made. Without it, a start reads older segments.
    pub(in crate::store) fn write(
        &mut self,
        first: u64,
        repeats: &Repeats,
        durability: Durability,
    ) {
        if let Some(old) = self.next.replace(first)
            && old != first
        {
            self.delete(old);
        }

        let known = repeats.known(self.failed_segments());
        if write(&self.dir, first, &known, durability).is_err() {
            // One that is there is of a segment that was taken back.
            self.delete(first);
        }
    }

    /// The segments with something that was left. It is gone with the plain file: by retention, or as only what readers see is
    /// compressed.
    fn failed_segments(&mut self) -> Vec<FailedSegment> {
        self.failed
            .retain(|segment, _| segment::path(&self.dir, *segment).exists());
        let failed = self.failed.iter();
        failed
            .map(|(&segment, &kept)| FailedSegment { segment, kept })
            .collect()
    }

    /// Notes that readers know of a segment: the snapshot of the one before is not needed any more.
    pub(in crate::store) fn settle(&mut self, first: u64) {
        if self.next != Some(first) {
            return;
        }

        self.next = None;
        if let Some(old) = self.newest.replace(first) {
            self.delete(old);
        }
    }

    /// Deletes a snapshot. What is left of it is deleted at the next start.
    fn delete(&self, first: u64) {
        let _ = fs::remove_file(path(&self.dir, first));
    }
}

pub(super) fn path(dir: &Path, first: u64) -> PathBuf {
    segment::path(dir, first).with_extension(EXTENSION)
}

/// A snapshot on its way to `path`.
fn unfinished(path: &Path) -> PathBuf {
    path.with_extension("known.new")
}

/// Writes what is known before the segment `first`. That it fails is logged.
pub(super) fn write(
    dir: &Path,
    first: u64,
    known: &Known,
    durability: Durability,
) -> io::Result<()> {
    let path = path(dir, first);
    try_to_write(&path, first, known, durability).inspect_err(|error| {
        tracing::warn!(file = %path.display(), %error, "the record of the appends so far, which finds repeated ones, cannot be written");
        let _ = fs::remove_file(unfinished(&path));
    })
}

fn try_to_write(path: &Path, first: u64, known: &Known, durability: Durability) -> io::Result<()> {
    let new = unfinished(path);
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(FILE_MODE)
        .open(&new)?;
    let mut lines = Checked {
        inner: BufWriter::new(file),
        check: Fingerprint::default(),
    };

    let before = known.failed.first().map(|failed| failed.segment);
    let head = Head {
        before: before.unwrap_or(first),
        of: before.map(|_| first),
        failed: known.failed.clone(),
        lost_ms: known.keys.lost,
    };
    lines.line(&head)?;
    for key in &known.keys.keys {
        lines.line(key)?;
    }
    for producer in &known.producers {
        lines.line(producer)?;
    }

    let check = lines.check.number();
    lines.line(&End { check })?;
    let file = lines.inner.into_inner().map_err(io::Error::from)?;
    if durability == Durability::Power {
        file.sync_data()?;
    }

    fs::rename(new, path)
}

/// What was known before the segment `first`.
pub(super) fn read(dir: &Path, first: u64) -> io::Result<Known> {
    let mut reader = BufReader::new(File::open(path(dir, first))?);
    let mut check = Fingerprint::default();
    let mut known = Known::default();
    let mut line = String::new();
    let mut is_head = true;

    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Err(damaged());
        }

        if let Ok(end) = serde_json::from_str::<End>(&line) {
            let is_whole = end.check == check.number() && reader.read_line(&mut line)? == 0;
            return if is_whole { Ok(known) } else { Err(damaged()) };
        }

        check = check.with(line.as_bytes());
        if std::mem::take(&mut is_head) {
            let head: Head = serde_json::from_str(&line)?;
            if head.of.unwrap_or(head.before) != first {
                return Err(damaged());
            }
            known.keys.lost = head.lost_ms;
            known.failed = head.failed;
        } else if line.starts_with("{\"producer\"") {
            known.producers.push(serde_json::from_str(&line)?);
        } else {
            let key: KnownKey<'_> = serde_json::from_str(&line)?;
            known.keys.keys.push(key.into_owned());
        }
    }
}

fn damaged() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "it is damaged, or was not written to its end",
    )
}

/// Lines that are written, with their fingerprint.
struct Checked<W> {
    inner: W,
    check: Fingerprint,
}

impl<W: Write> Checked<W> {
    fn line(&mut self, value: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(value)?;
        line.push(b'\n');
        self.check = self.check.with(&line);
        self.inner.write_all(&line)
    }
}
