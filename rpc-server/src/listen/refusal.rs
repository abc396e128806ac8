//! Refusals of connections over a limit, each with its message.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rpc_core::Status;
use rpc_core::frame::encode_failure;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::Config;
use crate::metrics::{Metrics, add};
use crate::peer_log::PeerLog;

/// Why a connection is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    TooMany { limit: usize },
    TooManyOfAddress { limit: usize },
    NoDescriptor,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMany { limit } => {
                write!(
                    f,
                    "the limit `limits.connections_max` of {limit} is reached"
                )
            }
            Self::TooManyOfAddress { limit } => {
                write!(
                    f,
                    "the limit `limits.connections_per_address` of {limit} is reached for this address"
                )
            }
            Self::NoDescriptor => {
                f.write_str("the server has no file descriptor for another connection")
            }
        }
    }
}

impl Refusal {
    pub(crate) fn line(self) -> Vec<u8> {
        let status = Status::resource_exhausted(self.to_string());

        let mut line = Vec::new();
        encode_failure(
            &mut line,
            None,
            &status
                .with_rejected()
                .with_retry_after(Duration::from_secs(1)),
        );

        line
    }

    /// The same for a client of HTTP: with the status of code 8, as a call over HTTP has it.
    pub(crate) fn http_response(self) -> Vec<u8> {
        let body = self.line();
        let mut response = format!(
            "HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             Retry-After: 1\r\nRpc-Code: 8\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n",
            body.len()
        )
        .into_bytes();

        response.extend(body);
        response
    }
}

/// The refusals of a server: counted, logged, and bounded in number.
pub(crate) struct Refusals {
    config: Arc<Config>,
    metrics: Arc<Metrics>,
    /// The turns of those who are being told.
    turns: Arc<Semaphore>,
    log: Arc<PeerLog>,
}

impl Refusals {
    pub(super) fn new(config: &Arc<Config>, metrics: &Arc<Metrics>, log: &Arc<PeerLog>) -> Self {
        // A setting may say more than a semaphore counts.
        let turns_max = config.accept.refusals_max.min(Semaphore::MAX_PERMITS);

        Self {
            config: Arc::clone(config),
            metrics: Arc::clone(metrics),
            turns: Arc::new(Semaphore::new(turns_max)),
            log: Arc::clone(log),
        }
    }

    /// How long a connection may take to hear that it is refused.
    pub(super) fn linger(&self) -> Duration {
        self.config.timeouts.linger_timeout()
    }

    /// Notes a connection over a limit that was served at the reserve.
    pub(super) fn note_served(&self) {
        add(&self.metrics.limits.connections_at_reserve, 1);
    }

    /// Notes that a connection is refused. Returns its turn to be told: that takes time and a descriptor as well,
    /// so further ones are closed without a word.
    pub(super) fn refuse(&self, peer: &str, refusal: Refusal) -> Option<OwnedSemaphorePermit> {
        self.note(peer, refusal);

        let turn = Arc::clone(&self.turns).try_acquire_owned().ok();
        if turn.is_none() {
            add(&self.metrics.limits.refusals_unsaid, 1);
        }

        turn
    }

    /// Notes that a connection is refused without being told.
    #[cfg(feature = "tls")]
    pub(super) fn refuse_unsaid(&self, peer: &str, refusal: Refusal) {
        self.note(peer, refusal);
        add(&self.metrics.limits.refusals_unsaid, 1);
    }

    fn note(&self, peer: &str, refusal: Refusal) {
        let limits = &self.metrics.limits;
        add(&self.metrics.connections_refused, 1);
        match refusal {
            Refusal::TooMany { .. } => add(&limits.connections_over_max, 1),
            Refusal::TooManyOfAddress { .. } => add(&limits.connections_over_address_max, 1),
            Refusal::NoDescriptor => add(&limits.connections_without_descriptor, 1),
        }

        self.log
            .refusals
            .write(|| tracing::warn!(%peer, "a connection is refused: {refusal}"));
    }
}
