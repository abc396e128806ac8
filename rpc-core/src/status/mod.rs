//! Status codes, from one table, and [`Status`], the failure of a call.

mod io;

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::frame::ByName;

/// The outcome of a call as a number: 0 is success, 1-16 are gRPC's canonical codes with their
/// meaning, 1000 and up belong to services. 17-999 are kept for the protocol.
///
/// Source: docs/protocol.md, "Reply"; the canonical codes are those of
/// `google/rpc/code.proto`.
///
/// ```
/// use rpc_core::Code;
///
/// const NUMBER_REFUSED: Code = Code::new(1042);
/// assert_eq!((Code::NOT_FOUND.number(), Code::NOT_FOUND.name()), (5, Some("NOT_FOUND")));
/// assert_eq!(NUMBER_REFUSED.name(), None);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Code(u32);

/// The one table of codes: the constants, their names, the constructors of [`Status`] and the
/// text of [`Code::meaning`] all come from here. Append-only: a released number never changes.
macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $constant:ident $constructor:ident = $number:literal;)+) => {
        impl Code {
            $($(#[doc = $doc])+ pub const $constant: Self = Self($number);)+

            /// Every code that the protocol names, in numerical order.
            pub const CANONICAL: &[Self] = &[$(Self::$constant),+];

            /// The name of a canonical code, as `"DEADLINE_EXCEEDED"`; `None` for a service's own.
            pub fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($number => Some(stringify!($constant)),)+
                    _ => None,
                }
            }

            /// One sentence on what a canonical code says.
            pub fn meaning(self) -> Option<&'static str> {
                match self.0 {
                    $($number => Some(concat!($($doc),+).trim_ascii()),)+
                    _ => None,
                }
            }
        }

        impl Status {
            $($(#[doc = $doc])+ pub fn $constructor(message: impl Into<Cow<'static, str>>) -> Self {
                Self::new(Code::$constant, message)
            })+
        }
    };
}

codes! {
    /// The call succeeded.
    OK ok = 0;
    /// The caller gave the call up.
    CANCELLED cancelled = 1;
    /// The cause is not known, or came from a place without codes of this table.
    UNKNOWN unknown = 2;
    /// The frame or its params are not what the command takes; sending it again does not help.
    INVALID_ARGUMENT invalid_argument = 3;
    /// The time of the call was up before its result; it may have run.
    DEADLINE_EXCEEDED deadline_exceeded = 4;
    /// What was asked for does not exist.
    NOT_FOUND not_found = 5;
    /// What was to be made exists already.
    ALREADY_EXISTS already_exists = 6;
    /// The caller is known and may not do this.
    PERMISSION_DENIED permission_denied = 7;
    /// A limit, a quota or a disk is full.
    RESOURCE_EXHAUSTED resource_exhausted = 8;
    /// The system is not in the state that the call needs.
    FAILED_PRECONDITION failed_precondition = 9;
    /// The call lost against another one; a retry of the whole transaction may succeed.
    ABORTED aborted = 10;
    /// A position lies outside what exists.
    OUT_OF_RANGE out_of_range = 11;
    /// The server has no such command.
    UNIMPLEMENTED unimplemented = 12;
    /// The server broke an invariant of its own.
    INTERNAL internal = 13;
    /// The service cannot be reached now; a retry may succeed.
    UNAVAILABLE unavailable = 14;
    /// Data was lost or is damaged beyond repair.
    DATA_LOSS data_loss = 15;
    /// The caller is not known: no credentials, or wrong ones.
    UNAUTHENTICATED unauthenticated = 16;
}

impl Code {
    /// The lowest code that belongs to services.
    pub const FIRST_OF_SERVICES: u32 = 1000;

    /// The code with this number, known or not: a newer peer's code passes through unchanged.
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// The number as it is on the wire.
    pub const fn number(self) -> u32 {
        self.0
    }

    /// Whether this is 0.
    pub const fn is_ok(self) -> bool {
        self.0 == 0
    }
}

impl From<u32> for Code {
    fn from(number: u32) -> Self {
        Self(number)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{} {name}", self.0),
            None => write!(f, "{}", self.0),
        }
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Code({self})")
    }
}

/// The failure of a call: what travels in a reply whose `code` is not 0.
///
/// On the wire it is `{"code":3,"message":"…","details":…,"rejected":true,"retry_after_ms":200}`,
/// all but `code` left out where empty. The [`source`](Error::source) never travels: it is for the
/// log on this side.
///
/// ```
/// use std::time::Duration;
/// use rpc_core::{Code, Status};
///
/// let status = Status::resource_exhausted("no table is free")
///     .with_details(&["lunch", "dinner"])
///     .with_rejected()
///     .with_retry_after(Duration::from_secs(60));
/// assert_eq!(status.code(), Code::RESOURCE_EXHAUSTED);
/// assert!(status.is_rejected(), "a client may send the call again");
/// assert_eq!(status.details_as::<Vec<String>>()?.unwrap(), ["lunch", "dinner"]);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone)]
pub struct Status(Box<Inner>);

#[derive(Clone)]
struct Inner {
    code: Code,
    message: Cow<'static, str>,
    details: Option<Box<RawValue>>,
    rejected: bool,
    retry_after: Option<Duration>,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

impl Status {
    /// A failure with this code and a message for people, which says what was wrong and what
    /// would be right.
    ///
    /// ```
    /// use rpc_core::{Code, Status};
    ///
    /// let status = Status::new(Code::new(1042), "the SMS gateway refused the number");
    /// assert_eq!(status.to_string(), "code 1042: the SMS gateway refused the number");
    /// ```
    pub fn new(code: impl Into<Code>, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner {
            code: code.into(),
            message: message.into(),
            details: None,
            rejected: false,
            retry_after: None,
            source: None,
        }))
    }

    /// Adds `details` for programs: any JSON value.
    ///
    /// Details that cannot be written as JSON (a map whose keys are no strings) are left out; the
    /// failure itself matters more than its details.
    #[must_use]
    pub fn with_details(mut self, details: &(impl Serialize + ?Sized)) -> Self {
        self.0.details = serde_json::value::to_raw_value(details).ok();
        self
    }

    /// Promises that the call did not run, so that a caller may send it again, here or elsewhere,
    /// whatever the command.
    #[must_use]
    pub fn with_rejected(mut self) -> Self {
        self.0.rejected = true;
        self
    }

    /// Takes that promise back: for a status of another call that a handler hands on, although it has itself
    /// run until then.
    #[must_use]
    pub fn without_rejected(mut self) -> Self {
        self.0.rejected = false;
        self
    }

    /// Says when a retry makes sense, with a resolution of milliseconds.
    #[must_use]
    pub fn with_retry_after(mut self, after: Duration) -> Self {
        self.0.retry_after = Some(after);
        self
    }

    /// Keeps the cause for the log of this side. It never travels.
    #[must_use]
    pub fn with_source(mut self, source: impl Error + Send + Sync + 'static) -> Self {
        self.0.source = Some(Arc::new(source));
        self
    }

    /// The code.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// The text for people.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The JSON value for programs, where there is one.
    pub fn details(&self) -> Option<&RawValue> {
        self.0.details.as_deref()
    }

    /// The [`details`](Self::details), decoded into a type; `None` if there are no details.
    ///
    /// ```
    /// use rpc_core::Status;
    ///
    /// #[derive(serde::Serialize, serde::Deserialize)]
    /// struct Quota {
    ///     left: u32,
    /// }
    ///
    /// let status = Status::resource_exhausted("no quota is left").with_details(&Quota { left: 0 });
    /// let quota: Quota = status.details_as()?.expect("the service gives details");
    /// assert_eq!(quota.left, 0);
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    ///
    /// # Errors
    /// The details are not of this type.
    pub fn details_as<T: DeserializeOwned>(&self) -> Result<Option<T>, serde_json::Error> {
        self.details()
            .map(|details| T::deserialize(ByName(details)))
            .transpose()
    }

    /// Whether the server promised that the call did not run.
    pub fn is_rejected(&self) -> bool {
        self.0.rejected
    }

    /// When a retry makes sense, where the server said so.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "code {}", self.0.code)?;
        if !self.0.message.is_empty() {
            write!(f, ": {}", self.0.message)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Status")
            .field("code", &self.0.code)
            .field("message", &self.0.message)
            .field("details", &self.0.details)
            .field("rejected", &self.0.rejected)
            .field("retry_after", &self.0.retry_after)
            .field("source", &self.0.source)
            .finish()
    }
}

impl Error for Status {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests;
