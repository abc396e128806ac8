//! Stores that keep keys beyond the life of a process.

use std::time::Duration;

use futures::future::BoxFuture;
use rpc_core::{Body, Code, Outcome, RawJson, Reply, Status};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::key::KeyedCall;

/// Keeps the keys of calls, and what the calls came to, beyond the life of a process: in a file, in a database, or where
/// several servers share them.
///
/// [`Deduplicate::durable`](super::Deduplicate::durable) takes one. A call whose key this process does not know is noted by
/// [`begin`](Self::begin) before its handler runs; its outcome is noted by [`finish`](Self::finish) before it is answered.
/// Repetitions of a call that runs here wait for it and do not reach the store. An implementation bounds what it keeps by
/// count, bytes and age, and does work that blocks in a [`BlockingPool`](crate::blocking::BlockingPool).
///
/// rpc-server/tests/it/durable_keys.rs has one that writes a file.
pub trait KeyStore: Send + Sync + 'static {
    /// The name of the store, kept with its data: the same for every process that opens them, and no other store's. A
    /// client repeats a call where `describe` tells this name again.
    fn id(&self) -> &str;

    /// Says what is known of the call's key ([`KeyedCall::identity`], [`KeyedCall::cmdid`] and [`KeyedCall::key`]
    /// together). Of a key that is not known, notes that its call runs from now on, in one step: of several servers with
    /// the same key one is told [`Known::New`].
    ///
    /// # Errors
    /// What the caller is told where the store cannot be read or written. The call is not run, and the answer says so
    /// (`rejected`).
    ///
    /// # Cancel safety
    /// The future is polled to its end, unless the runtime ends.
    fn begin<'s>(&'s self, call: &'s KeyedCall) -> BoxFuture<'s, Result<Known, Status>>;

    /// Notes what a call came to.
    ///
    /// # Errors
    /// What is logged where it cannot be noted. The caller is answered in any case; after a restart a repetition is
    /// refused then, since its call has begun and has no outcome.
    ///
    /// # Cancel safety
    /// As [`begin`](Self::begin).
    fn finish<'s>(
        &'s self,
        call: &'s KeyedCall,
        outcome: &'s KeptOutcome,
    ) -> BoxFuture<'s, Result<(), Status>>;

    /// Takes the key of a call away that did not run, as if it had never been here.
    ///
    /// # Errors
    /// As [`finish`](Self::finish).
    ///
    /// # Cancel safety
    /// As [`begin`](Self::begin).
    fn forget<'s>(&'s self, call: &'s KeyedCall) -> BoxFuture<'s, Result<(), Status>>;
}

/// What a [`KeyStore`] knows of a key.
#[derive(Debug, Clone)]
pub enum Known {
    /// Nothing; it is noted now, and the call is run.
    New,
    /// A call with this [fingerprint](KeyedCall::fingerprint) has begun and has no outcome: it runs elsewhere, or was
    /// running when its server was stopped. Its repetition is refused with code 9.
    Begun {
        /// Of its params.
        fingerprint: u128,
    },
    /// A call with this [fingerprint](KeyedCall::fingerprint) has ended. Its repetition gets the outcome.
    Ended {
        /// Of its params.
        fingerprint: u128,
        /// What it came to.
        outcome: KeptOutcome,
    },
    /// Nothing, and the call may be older than what the store knows ([`KeyedCall::may_be_older_than`]). It is refused with
    /// code 9.
    Lost,
}

/// What a call came to, to be answered more than once.
#[derive(Debug, Clone)]
pub enum KeptOutcome {
    /// Success without data.
    Empty,
    /// Success with these data.
    Data(RawJson<'static>),
    /// This failure.
    Failed(Status),
}

/// The form of an outcome in a store: that of a reply.
#[derive(Default, Serialize)]
struct Stored<'a> {
    code: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
}

/// The same, read.
#[derive(Deserialize)]
struct Read {
    code: u32,
    #[serde(default)]
    message: String,
    #[serde(default)]
    details: Option<Box<RawValue>>,
    #[serde(default)]
    retry_after_ms: Option<u64>,
    #[serde(default, deserialize_with = "present")]
    data: Option<Box<RawValue>>,
}

/// A field that is there, also where it is `null`.
fn present<'de, D: Deserializer<'de>>(field: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Deserialize::deserialize(field).map(Some)
}

impl KeptOutcome {
    /// One line of JSON, for a store.
    pub fn to_json(&self) -> String {
        let mut stored = Stored::default();
        let data;

        match self {
            Self::Empty => {}
            Self::Data(raw) => {
                data = serde_json::from_str::<Box<RawValue>>(raw.as_str())
                    .expect("data that were written are JSON");
                stored.data = Some(&data);
            }
            Self::Failed(status) => {
                let after = status.retry_after();
                stored.code = status.code().number();
                stored.message = Some(status.message());
                stored.details = status.details();
                stored.retry_after_ms =
                    after.and_then(|after| u64::try_from(after.as_millis()).ok());
            }
        }

        serde_json::to_string(&stored).expect("numbers, texts and JSON have a JSON form")
    }

    /// What [`to_json`](Self::to_json) has written; `None` for other text.
    pub fn from_json(json: &str) -> Option<Self> {
        let stored: Read = serde_json::from_str(json).ok()?;
        if stored.code == Code::OK.number() {
            return match stored.data {
                None => Some(Self::Empty),
                Some(data) => Some(Self::Data(RawJson::parse(data.get()).ok()?)),
            };
        }

        let mut status = Status::new(stored.code, stored.message);
        if let Some(details) = &stored.details {
            status = status.with_details(details);
        }
        if let Some(after) = stored.retry_after_ms {
            status = status.with_retry_after(Duration::from_millis(after));
        }
        Some(Self::Failed(status))
    }

    /// Whether it says that the call did not run.
    pub(super) fn did_not_run(&self) -> bool {
        match self {
            Self::Empty | Self::Data(_) => false,
            Self::Failed(status) => {
                status.is_rejected()
                    || [Code::RESOURCE_EXHAUSTED, Code::UNAVAILABLE].contains(&status.code())
            }
        }
    }

    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Empty => 0,
            Self::Data(data) => data.as_bytes().len(),
            Self::Failed(status) => {
                let details = status.details().map_or(0, |details| details.get().len());
                status.message().len() + details
            }
        }
    }

    pub(super) fn of(outcome: Outcome) -> Self {
        match outcome.map(Reply::into_body) {
            Ok(Body::Empty) => Self::Empty,
            Ok(Body::Data(data)) => Self::Data(data),
            Ok(Body::Stream(_)) => Self::Failed(Status::internal(
                "a command with an idempotency key cannot stream, and this one returned a stream",
            )),
            Err(status) => Self::Failed(status),
        }
    }

    pub(super) fn into_outcome(self) -> Outcome {
        match self {
            Self::Empty => Ok(Reply::empty()),
            Self::Data(data) => Ok(Reply::raw(data)),
            Self::Failed(status) => Err(status),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_comes_back_from_a_store_as_it_was() {
        let failed = Status::new(1_001, "sold out")
            .with_details(&serde_json::json!({ "left": 2 }))
            .with_retry_after(Duration::from_millis(7));
        let outcomes = [
            (KeptOutcome::Empty, r#"{"code":0}"#),
            (
                KeptOutcome::Data(RawJson::parse("[1,null]").unwrap()),
                r#"{"code":0,"data":[1,null]}"#,
            ),
            (
                KeptOutcome::Data(RawJson::NULL),
                r#"{"code":0,"data":null}"#,
            ),
            (
                KeptOutcome::Failed(failed),
                r#"{"code":1001,"message":"sold out","details":{"left":2},"retry_after_ms":7}"#,
            ),
        ];

        for (outcome, json) in outcomes {
            assert_eq!(outcome.to_json(), json);
            let read = KeptOutcome::from_json(json).unwrap();
            assert_eq!(read.to_json(), json);
        }
        assert!(KeptOutcome::from_json("half a li").is_none());
    }
}
