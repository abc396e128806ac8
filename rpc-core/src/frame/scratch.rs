//! Text buffers that belong to the thread: a call's data is written into one, copied into the
//! connection's output, and the buffer is used again, so that the usual call allocates none.

use std::cell::RefCell;

/// Buffers that a thread keeps, with a small capacity: as many as a client has replies delivered at one time
/// between its connection and its callers, and some more.
const KEPT_MAX: usize = 320;
/// What is no small capacity any more.
const SMALL: usize = 1024;
/// The thread keeps so many with a larger one.
const LARGE_KEPT_MAX: usize = 64;
/// A buffer that once held a large reply goes back to the allocator.
const CAPACITY_KEPT_MAX: usize = 16 * 1024;

thread_local! {
    static KEPT: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Bytes, of UTF-8 as a rule, in a buffer that goes back to its thread's store when dropped.
#[derive(PartialEq, Eq)]
pub(crate) struct Scratch(Vec<u8>);

impl Scratch {
    /// An empty buffer, with capacity where the thread has one.
    pub(crate) fn take() -> Self {
        // The store is gone while the thread ends; a new buffer serves then.
        let kept = KEPT.try_with(|kept| kept.borrow_mut().pop()).ok().flatten();
        Self(kept.unwrap_or_default())
    }

    pub(crate) fn of(bytes: impl AsRef<[u8]>) -> Self {
        let mut scratch = Self::take();
        scratch.0.extend_from_slice(bytes.as_ref());
        scratch
    }

    /// Lets `write` fill the buffer with JSON, which is UTF-8.
    ///
    /// # Errors
    /// What `write` returns.
    pub(crate) fn write<E>(write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<Self, E> {
        let mut scratch = Self::take();
        write(&mut scratch.0)?;
        Ok(scratch)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Of a buffer that holds text.
    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("it was filled from a str, or with JSON")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.0);
        if bytes.capacity() == 0 || bytes.capacity() > CAPACITY_KEPT_MAX {
            return;
        }
        bytes.clear();
        // As above: without a store the buffer is simply freed.
        let _ = KEPT.try_with(|kept| {
            let mut kept = kept.borrow_mut();
            let max = if bytes.capacity() <= SMALL { KEPT_MAX } else { LARGE_KEPT_MAX };
            if kept.len() < max {
                kept.push(bytes);
            }
        });
    }
}

impl Clone for Scratch {
    fn clone(&self) -> Self {
        Self::of(self.as_bytes())
    }
}

impl From<String> for Scratch {
    fn from(text: String) -> Self {
        Self(text.into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_buffer_is_used_again_and_comes_back_empty() {
        let first = Scratch::of("some text");
        let address = first.as_bytes().as_ptr();
        drop(first);
        let second = Scratch::of("other");
        assert_eq!((second.as_bytes().as_ptr(), second.as_str()), (address, "other"));
    }

    #[test]
    fn a_large_buffer_is_not_kept() {
        drop(Scratch::of("x".repeat(CAPACITY_KEPT_MAX + 1)));
        assert!(Scratch::take().0.capacity() <= CAPACITY_KEPT_MAX);
    }

    #[test]
    fn of_small_buffers_more_are_kept_than_of_larger_ones_and_of_none_without_end() {
        for (bytes, kept_max) in [(SMALL, KEPT_MAX), (SMALL + 1, LARGE_KEPT_MAX)] {
            KEPT.take();
            let buffers: Vec<Scratch> = (0..KEPT_MAX + 50).map(|_| Scratch::of("x".repeat(bytes))).collect();
            drop(buffers);
            assert_eq!(KEPT.with_borrow(Vec::len), kept_max);
        }
    }
}
