//! Work in the background on segments that are closed: their indexes, and their compression.
//!
//! One thread of low priority does it, a segment at a time and a MiB of it at a time, and rests after each as long as it has
//! worked. It never touches the newest segment.

#[cfg(feature = "zstd")]
mod packer;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

#[cfg(feature = "zstd")]
pub(super) use self::packer::Packer;
use super::index::build_missing;
use super::segments::Segments;
use super::{Compression, LogConfig};

/// The thread, held by the writer: it ends before the lock of the directory is given up.
pub(super) struct Upkeep {
    is_ending: Arc<AtomicBool>,
    /// Told when a segment is closed; `None` at the end.
    closed: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Upkeep {
    /// Starts the thread. It ends as soon as `is_ending` says so.
    pub(super) fn start(
        segments: Arc<Segments>,
        config: &LogConfig,
        is_ending: Arc<AtomicBool>,
    ) -> io::Result<Self> {
        // That there is something to do is told, and not how much.
        let (closed, told) = sync_channel(1);
        let work = Work {
            segments,
            compression: config.compression,
            is_ending: Arc::clone(&is_ending),
        };
        let thread = thread::Builder::new()
            .name("log-upkeep".into())
            .spawn(move || work.run(&told))?;

        Ok(Self {
            is_ending,
            closed: Some(closed),
            thread: Some(thread),
        })
    }

    /// Notes that a segment was closed.
    pub(super) fn segment_closed(&self) {
        if let Some(closed) = &self.closed {
            // What is full has been told.
            let _ = closed.try_send(());
        }
    }
}

impl Drop for Upkeep {
    fn drop(&mut self) {
        // Relaxed: the flag is the only thing that is told.
        self.is_ending.store(true, Ordering::Relaxed);
        self.closed = None;
        if let Some(thread) = self.thread.take() {
            // A panic of it has been printed by its hook.
            let _ = thread.join();
        }
    }
}

/// What the thread works with.
struct Work {
    segments: Arc<Segments>,
    compression: Compression,
    is_ending: Arc<AtomicBool>,
}

impl Work {
    fn run(self, closed: &Receiver<()>) {
        lower_priority();
        let is_over = || self.is_ending.load(Ordering::Relaxed);
        build_missing(&self.segments, &is_over);

        match self.compression {
            Compression::None => {}
            #[cfg(feature = "zstd")]
            Compression::Zstd => Packer::new(&self.segments).run(closed, &is_over),
        }
        // The writer goes on to tell what it closes, until it ends.
        while closed.recv().is_ok() {
            self.segments.delete_plain_again();
        }
    }
}

/// Lets all other threads go first. Where the system refuses, the rests have to do.
#[cfg(feature = "program")]
fn lower_priority() {
    // A tenth of what others get on a processor that is busy: it must not stop altogether there.
    const NICE: i32 = 10;
    // Of `None`, Linux takes the calling thread.
    let _ = rustix::process::setpriority_process(None, NICE);
}

#[cfg(not(feature = "program"))]
fn lower_priority() {}
