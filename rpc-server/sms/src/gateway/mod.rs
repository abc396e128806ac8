//! Gateways: what brings messages to a provider.

#[cfg(test)]
mod claimed;
mod file;
mod http;

use futures::future::BoxFuture;
use std::time::Duration;

use crate::message::Parts;
use crate::outcome::RuleClass;
use crate::store::Claimed;

pub use file::{CodeTexts, FileGateway};
pub use http::HttpGateway;

/// Brings messages to a provider, each attempt once.
///
/// The attempt is on disk before `submit` is called. What becomes of it must be told truthfully:
/// [`NotSent`](Submission::NotSent) only where the provider cannot have the message.
pub trait Gateway: Send + Sync + 'static {
    /// Submits an attempt. It ends by itself, in bounded time.
    ///
    /// # Cancel safety
    /// Dropping the future leaves it unknown what became of the attempt.
    fn submit<'a>(&'a self, message: &'a Claimed) -> BoxFuture<'a, Submission>;

    /// Whether it sends nothing.
    fn is_dry_run(&self) -> bool {
        false
    }

    /// Whether it takes texts. A gateway of a provider that demands templates does not.
    fn takes_text(&self) -> bool {
        true
    }

    /// Whether it knows a template.
    fn takes_template(&self, _template: &str) -> bool {
        false
    }
}

/// What became of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Submission {
    /// No byte of the message has left: the provider does not have it.
    NotSent {
        /// Why, without the number and the text.
        error: String,
    },
    /// The message cannot be put into a request of this gateway, so that no attempt would succeed. No byte has left.
    Unsendable {
        /// Why, without the number and the text.
        error: String,
    },
    /// Bytes have left, and no complete answer came.
    NoAnswer {
        /// Why, without the number and the text.
        error: String,
    },
    /// The provider has answered.
    Answered {
        /// What the answer means: of several parts, that of the one that decides.
        class: RuleClass,
        /// Why, without the number and the text.
        reason: Option<String>,
        /// The parts that it has made of the message, and those that it has accepted.
        parts: Parts,
        /// How long it wants to be left alone.
        retry_after: Option<Duration>,
    },
}

impl Submission {
    /// The provider has the message.
    pub fn accepted(reference: Option<String>) -> Self {
        Self::Answered {
            class: RuleClass::Sent,
            reason: None,
            parts: Parts::whole(reference),
            retry_after: None,
        }
    }
}
