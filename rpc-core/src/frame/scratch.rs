//! Text buffers that belong to the thread: a call's data is written into one, copied into the
//! connection's output, and the buffer is used again, so that the usual call allocates none.

use std::cell::RefCell;
use std::fmt;
use std::ops::Deref;

/// More than a thread has replies waiting at one time between handler and output.
const KEPT_MAX: usize = 64;
/// A buffer that once held a large reply goes back to the allocator.
const CAPACITY_KEPT_MAX: usize = 16 * 1024;

thread_local! {
    static KEPT: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// A `String` that goes back to its thread's store when dropped.
#[derive(PartialEq, Eq)]
pub(crate) struct Scratch(String);

impl Scratch {
    /// An empty buffer, with capacity where the thread has one.
    pub(crate) fn take() -> Self {
        // The store is gone while the thread ends; a new buffer serves then.
        let kept = KEPT.try_with(|kept| kept.borrow_mut().pop()).ok().flatten();
        Self(kept.unwrap_or_default())
    }

    pub(crate) fn of(text: &str) -> Self {
        let mut scratch = Self::take();
        scratch.0.push_str(text);
        scratch
    }

    /// Lets `write` fill the buffer with bytes.
    ///
    /// # Errors
    /// What `write` returns.
    ///
    /// # Panics
    /// Where `write` wrote no UTF-8, which no JSON writer does.
    pub(crate) fn write<E>(write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<Self, E> {
        let mut bytes = std::mem::take(&mut Self::take().0).into_bytes();
        write(&mut bytes)?;
        Ok(Self(String::from_utf8(bytes).expect("JSON is written as UTF-8")))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let mut text = std::mem::take(&mut self.0);
        if text.capacity() == 0 || text.capacity() > CAPACITY_KEPT_MAX {
            return;
        }
        text.clear();
        // As above: without a store the buffer is simply freed.
        let _ = KEPT.try_with(|kept| {
            let mut kept = kept.borrow_mut();
            if kept.len() < KEPT_MAX {
                kept.push(text);
            }
        });
    }
}

impl Clone for Scratch {
    fn clone(&self) -> Self {
        Self::of(self)
    }
}

impl From<String> for Scratch {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl Deref for Scratch {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Scratch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_buffer_is_used_again_and_comes_back_empty() {
        let first = Scratch::of("some text");
        let address = first.as_ptr();
        drop(first);
        let second = Scratch::of("other");
        assert_eq!((second.as_ptr(), &*second), (address, "other"));
    }

    #[test]
    fn a_large_buffer_is_not_kept() {
        drop(Scratch::of(&"x".repeat(CAPACITY_KEPT_MAX + 1)));
        assert!(Scratch::take().0.capacity() <= CAPACITY_KEPT_MAX);
    }
}
