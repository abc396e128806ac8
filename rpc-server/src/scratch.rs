//! The buffer that a thread's connections read into: one for all of them, so that an idle
//! connection holds none.

use std::cell::Cell;

/// What one read takes at most.
const SCRATCH_BYTES: usize = 64 * 1024;

thread_local! {
    static SCRATCH: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
}

/// The thread's buffer; a new one where it is in use further up the stack, by a handler that runs
/// another connection itself.
pub(crate) fn take() -> Box<[u8]> {
    SCRATCH.take().unwrap_or_else(|| vec![0; SCRATCH_BYTES].into_boxed_slice())
}

pub(crate) fn give_back(scratch: Box<[u8]>) {
    SCRATCH.set(Some(scratch));
}
