//! Buffers that belong to the thread: one that its connections read into, one for a long line, a few that they
//! gather replies in, and the header of the last line, so that an idle connection holds none and a busy one allocates
//! none.

use std::cell::{Cell, RefCell};

use rpc_core::codec::FRAME_BYTES_MAX;
use rpc_core::frame::fast::HeaderCache;

/// What one read takes at most, and the largest buffer of replies that a thread keeps.
pub(super) const SCRATCH_BYTES: usize = 64 * 1024;

thread_local! {
    static SCRATCH: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
    static LONG: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    static LAST_HEADER: Cell<Option<Box<HeaderCache>>> = const { Cell::new(None) };
    static OUTPUTS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// What a thread keeps for long lines, at most: one of the default limit, with its line break.
pub(super) const LONG_KEPT_MAX: usize = FRAME_BYTES_MAX + 2;

/// Connections of a thread that have replies to write at one time; as a rule it is one.
const OUTPUTS_KEPT_MAX: usize = 8;

/// The thread's buffer; a new one where it is in use further up the stack, by a handler that runs
/// another connection itself.
pub(super) fn take() -> Box<[u8]> {
    SCRATCH
        .take()
        .unwrap_or_else(|| vec![0; SCRATCH_BYTES].into_boxed_slice())
}

pub(super) fn give_back(scratch: Box<[u8]>) {
    SCRATCH.set(Some(scratch));
}

/// A buffer for a line that does not fit into [`take`]'s, empty, with room where the thread has one: to have its
/// pages from the system anew costs more than to read the line.
pub(super) fn take_long() -> Vec<u8> {
    LONG.take()
}

/// Of several, the thread keeps the last one; none that is small, as new ones are cheap.
pub(super) fn give_back_long(mut line: Vec<u8>) {
    if (SCRATCH_BYTES..=LONG_KEPT_MAX).contains(&line.capacity()) {
        line.clear();
        LONG.set(line);
    }
}

/// The header of the last line of the thread, whichever connection it came on: clients of one kind write alike.
pub(super) fn take_last_header() -> Option<Box<HeaderCache>> {
    LAST_HEADER.take()
}

pub(super) fn give_back_last_header(header: Option<Box<HeaderCache>>) {
    if header.is_some() {
        LAST_HEADER.set(header);
    }
}

/// A buffer for replies, empty, with room where the thread has one.
pub(super) fn take_output() -> Vec<u8> {
    OUTPUTS.with_borrow_mut(Vec::pop).unwrap_or_default()
}

pub(super) fn give_back_output(output: Vec<u8>) {
    if output.capacity() == 0 {
        return;
    }

    OUTPUTS.with_borrow_mut(|kept| {
        // One that once held a large reply goes back to the allocator.
        if kept.len() < OUTPUTS_KEPT_MAX && output.capacity() <= SCRATCH_BYTES {
            kept.push(output);
        }
    });
}
