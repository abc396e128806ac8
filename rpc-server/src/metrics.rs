//! Counters of the server, as `stats` shows them.

use std::sync::atomic::{AtomicU64, Ordering};

use rpc_core::Code;
use serde::Serialize;

/// Counts since the start of the server. Each is exact; read together they may be a few calls
/// apart, since nothing stops the server to read them.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) connections_open: AtomicU64,
    pub(crate) connections_accepted: AtomicU64,
    pub(crate) connections_refused: AtomicU64,
    pub(crate) connections_retired: AtomicU64,
    pub(crate) requests: AtomicU64,
    pub(crate) in_flight: AtomicU64,
    pub(crate) bad_frames: AtomicU64,
    pub(crate) bytes_in: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
    /// By canonical code; the last one counts the codes of services.
    replies: [AtomicU64; 18],
}

impl Metrics {
    pub(crate) fn count_replies(&self, code: Code, n: u64) {
        let index = (code.number() as usize).min(self.replies.len() - 1);
        add(&self.replies[index], n);
    }

    pub(crate) fn snapshot(&self) -> ServerStats {
        let replies = self.replies.iter().enumerate().map(|(code, count)| (code, get(count)));
        let name = |code: usize| {
            let code = u32::try_from(code).expect("there are 18");
            Code::new(code).name().unwrap_or("OF_SERVICES")
        };
        ServerStats {
            connections_open: get(&self.connections_open),
            connections_accepted: get(&self.connections_accepted),
            connections_refused: get(&self.connections_refused),
            connections_retired: get(&self.connections_retired),
            requests: get(&self.requests),
            in_flight: get(&self.in_flight),
            bad_frames: get(&self.bad_frames),
            bytes_in: get(&self.bytes_in),
            bytes_out: get(&self.bytes_out),
            replies: replies
                .filter(|(_, count)| *count > 0)
                .map(|(code, count)| (name(code), count))
                .collect(),
        }
    }
}

/// Relaxed: a count orders nothing else.
pub(crate) fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

pub(crate) fn subtract(counter: &AtomicU64, n: u64) {
    counter.fetch_sub(n, Ordering::Relaxed);
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// What a server has counted since it started; the `server` part of `stats`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ServerStats {
    /// Connections that are open now.
    pub connections_open: u64,
    /// Connections that were accepted.
    pub connections_accepted: u64,
    /// Connections that were turned away at `connections_max`.
    pub connections_refused: u64,
    /// Connections that were asked to go away at `connection_age_max_ms` or
    /// `requests_per_connection_max`.
    pub connections_retired: u64,
    /// Requests that were read, oneway ones and those of built-in commands among them.
    pub requests: u64,
    /// Calls that run now, beyond their first step.
    pub in_flight: u64,
    /// Lines that were no request.
    pub bad_frames: u64,
    /// Bytes read.
    pub bytes_in: u64,
    /// Bytes written.
    pub bytes_out: u64,
    /// Calls ended, by the name of their code; oneway calls too, though nothing was sent.
    pub replies: std::collections::BTreeMap<&'static str, u64>,
}

/// What one connection has counted; the `connection` part of `stats`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct ConnectionStats {
    pub(crate) requests: u64,
    pub(crate) replies: u64,
    pub(crate) bad_frames: u64,
    pub(crate) in_flight: u64,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
}
