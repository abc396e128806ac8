//! JSON text of a line that has not been scanned.

use std::sync::atomic::{AtomicU8, Ordering};

use serde::Deserialize;

use super::by_name;
use super::scan::Scanner;

/// Text that is one JSON value, or a sign that its line was not what it looked like.
#[derive(Debug)]
pub(crate) struct Unverified<'a> {
    text: &'a str,
    /// Relaxed throughout: the line is read by one thread, and an atomic only lets a request that
    /// borrows this be sent like any other.
    verdict: AtomicU8,
}

impl<'a> Unverified<'a> {
    const OPEN: u8 = 0;
    const SOUND: u8 = 1;
    const BROKEN: u8 = 2;

    pub(crate) fn new(text: &'a str) -> Self {
        Self {
            text,
            verdict: AtomicU8::new(Self::OPEN),
        }
    }

    /// The text as it came, which may not be JSON.
    pub(crate) fn text(&self) -> &'a str {
        self.text
    }

    pub(crate) fn is_sound(&self) -> bool {
        let mut verdict = self.verdict.load(Ordering::Relaxed);
        if verdict == Self::OPEN {
            let mut scanner = Scanner::new(self.text.as_bytes());
            let is_one_value = scanner.value(1).is_ok() && scanner.peek().is_none();
            verdict = if is_one_value {
                Self::SOUND
            } else {
                Self::BROKEN
            };
            self.verdict.store(verdict, Ordering::Relaxed);
        }

        verdict == Self::SOUND
    }

    pub(crate) fn as_str(&self) -> &'a str {
        if self.is_sound() { self.text } else { "null" }
    }

    /// A type that takes the whole text has found it to be one JSON value.
    pub(crate) fn decode<T: Deserialize<'a>>(&self) -> Result<T, serde_json::Error> {
        let decoded = by_name::decode(self.text);
        if decoded.is_ok() {
            self.note_sound();
        }
        decoded
    }

    /// As [`decode`](Self::decode), by a reader that takes the whole text.
    pub(crate) fn read_by<T>(&self, read: impl FnOnce(&'a str) -> Option<T>) -> Option<T> {
        let value = read(self.text);
        if value.is_some() {
            self.note_sound();
        }
        value
    }

    fn note_sound(&self) {
        if self.verdict.load(Ordering::Relaxed) == Self::OPEN {
            self.verdict.store(Self::SOUND, Ordering::Relaxed);
        }
    }
}
