//! The call that everything here makes: one log entry in, one receipt out.

use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

/// The cmdid of the log call.
pub const LOG: u32 = 10_000;

/// The params, as every server decodes them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Entry {
    /// Severity of the event.
    pub level: String,
    /// Who says it.
    pub service: String,
    /// What it says; longer where the load asks for larger messages.
    pub message: String,
    /// The trace that it belongs to.
    pub trace: String,
    /// When, in Unix milliseconds.
    pub ts: u64,
}

impl Entry {
    /// The entry of the README, its message repeated until the params have about `bytes` bytes of
    /// JSON (176 at least).
    pub fn of(bytes: usize) -> Self {
        let mut entry = Self {
            level: "info".into(),
            service: "order".into(),
            message: "user 4211 logged in from 10.1.2.3".into(),
            trace: "4bf92f3577b34da6a3ce929d0e0e4736".into(),
            ts: 1_732_233_600_123,
        };

        let length = serde_json::to_string(&entry)
            .expect("it has a JSON form")
            .len();
        let filler = "; user 4211 logged in from 10.1.2.3".chars().cycle();
        entry
            .message
            .extend(filler.take(bytes.saturating_sub(length)));

        entry
    }
}

/// What a server streams to a reader that follows its log: this entry without end, numbered in `ts` from 1.
pub fn follow(entry: Entry) -> impl Iterator<Item = Entry> + Send {
    (1..).map(move |ts| Entry {
        ts,
        ..entry.clone()
    })
}

/// The data, as every client decodes it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Receipt {
    /// Always true.
    pub accepted: bool,
    /// The number of the entry: each server counts from 1.
    pub seq: u64,
}

/// What a server does with an entry: it numbers it.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// The receipt of one entry. An entry without a level would be a decoder that lost a field.
    pub fn accept(&self, entry: &Entry) -> Receipt {
        Receipt {
            accepted: !entry.level.is_empty() && entry.ts > 0,
            seq: self.number(),
        }
    }

    /// The number of the next entry.
    pub fn number(&self) -> u64 {
        // Relaxed: only uniqueness matters.
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// Checks the entries of one stream: each is there once, in its order.
#[derive(Debug, Default)]
pub struct StreamCheck(u64);

impl StreamCheck {
    /// Takes the next entry.
    ///
    /// # Errors
    ///
    /// Says which one is missing.
    pub fn take(&mut self, entry: &Entry) -> Result<()> {
        self.0 += 1;
        ensure!(
            entry.ts == self.0,
            "entry {} came instead of {}",
            entry.ts,
            self.0
        );
        Ok(())
    }
}

/// Checks the receipts of one caller: accepted, and numbered in the order of its calls.
#[derive(Debug, Default)]
pub struct Check(u64);

impl Check {
    /// Takes the next receipt.
    ///
    /// # Errors
    ///
    /// Says what is wrong with it.
    pub fn take(&mut self, receipt: Receipt) -> Result<()> {
        ensure!(receipt.accepted, "an entry was not accepted");
        ensure!(
            receipt.seq > self.0,
            "receipt {} came after {}",
            receipt.seq,
            self.0
        );

        self.0 = receipt.seq;
        Ok(())
    }
}
