//! A count of bytes that their owners hold: each byte counts for as long as its owner lives.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::sync::AtomicUsize;

/// Bytes that the calls of one connection hold.
#[derive(Debug, Default)]
pub(super) struct Held(AtomicUsize);

impl Held {
    // Relaxed, here and below: only the task of the connection counts, wherever it runs.
    pub(super) fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// Bytes of one owner. They count until this is dropped.
#[derive(Debug)]
pub(super) struct HeldBytes {
    all: Arc<Held>,
    bytes: usize,
}

impl HeldBytes {
    pub(super) fn new(all: &Arc<Held>, bytes: usize) -> Self {
        all.0.fetch_add(bytes, Ordering::Relaxed);
        Self {
            all: Arc::clone(all),
            bytes,
        }
    }

    /// So many more bytes of the same connection.
    pub(super) fn another(&self, bytes: usize) -> Self {
        Self::new(&self.all, bytes)
    }
}

impl Drop for HeldBytes {
    fn drop(&mut self) {
        self.all.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_count_for_as_long_as_their_owner_lives() {
        let all = Arc::new(Held::default());
        let call = HeldBytes::new(&all, 100);
        let item = call.another(20);
        assert_eq!(all.bytes(), 120);

        drop(call);
        assert_eq!(all.bytes(), 20);
        drop(item);
        assert_eq!(all.bytes(), 0);
    }
}
