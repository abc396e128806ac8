//! Text buffers that belong to the thread: a call's data is written into one, copied into the
//! connection's output, and the buffer is used again, so that the usual call allocates none.

use std::cell::RefCell;

/// Small buffers that a thread keeps: as many as a client has replies delivered at one time between its
/// connection and its callers, and some more.
const SMALL_KEPT_MAX: usize = 320;
/// The largest capacity of a small one.
const SMALL: usize = 1024;
const LARGE_KEPT_MAX: usize = 64;
/// A buffer that once held a large reply goes back to the allocator.
const CAPACITY_KEPT_MAX: usize = 16 * 1024;

/// What a thread keeps. Apart, so that where large texts are written no small buffer has to grow for them.
#[derive(Default)]
struct Kept {
    small: Vec<Vec<u8>>,
    large: Vec<Vec<u8>>,
}

thread_local! {
    static KEPT: RefCell<Kept> = const { RefCell::new(Kept { small: Vec::new(), large: Vec::new() }) };
}

/// Bytes, of UTF-8 as a rule, in a buffer that goes back to its thread's store when dropped.
#[derive(PartialEq, Eq)]
pub(crate) struct Scratch(Vec<u8>);

impl Scratch {
    /// An empty buffer, with capacity where the thread has one.
    pub(crate) fn take() -> Self {
        Self::kept(|kept| kept.large.pop().or_else(|| kept.small.pop()))
    }

    pub(crate) fn of(bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref();
        let mut scratch = Self::kept(|kept| {
            if bytes.len() <= SMALL {
                kept.small.pop()
            } else {
                kept.large.pop()
            }
        });

        scratch.0.extend_from_slice(bytes);
        scratch
    }

    /// The store is gone while the thread ends; a new buffer serves then.
    fn kept(pop: impl FnOnce(&mut Kept) -> Option<Vec<u8>>) -> Self {
        let kept = KEPT
            .try_with(|kept| pop(&mut kept.borrow_mut()))
            .ok()
            .flatten();
        Self(kept.unwrap_or_default())
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

    /// The same bytes in a buffer of their length.
    pub(crate) fn into_compact(mut self) -> Self {
        self.0.shrink_to_fit();
        self
    }

    /// Number of bytes that the buffer takes.
    pub(crate) fn capacity(&self) -> usize {
        self.0.capacity()
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
            let Kept { small, large } = &mut *kept.borrow_mut();
            let (kept, max) = if bytes.capacity() <= SMALL {
                (small, SMALL_KEPT_MAX)
            } else {
                (large, LARGE_KEPT_MAX)
            };

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
        assert_eq!(
            (second.as_bytes().as_ptr(), second.as_str()),
            (address, "other")
        );
    }

    #[test]
    fn a_large_buffer_is_not_kept() {
        drop(Scratch::of("x".repeat(CAPACITY_KEPT_MAX + 1)));
        assert!(Scratch::take().0.capacity() <= CAPACITY_KEPT_MAX);
    }

    #[test]
    fn of_small_buffers_more_are_kept_than_of_large_ones_and_of_none_without_end() {
        KEPT.take();

        for bytes in [SMALL, SMALL + 1] {
            let buffers: Vec<Scratch> = (0..SMALL_KEPT_MAX + 50)
                .map(|_| Scratch::of("x".repeat(bytes)))
                .collect();
            drop(buffers);
        }

        let kept = KEPT.with_borrow(|kept| (kept.small.len(), kept.large.len()));
        assert_eq!(kept, (SMALL_KEPT_MAX, LARGE_KEPT_MAX));
    }

    #[test]
    fn where_large_texts_are_written_small_ones_that_come_between_do_not_take_their_buffer() {
        KEPT.take();
        drop(Scratch::of("x".repeat(SMALL + 1)));
        drop(Scratch::of("small"));
        assert!(Scratch::take().0.capacity() > SMALL);
    }
}
