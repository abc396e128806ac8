//! Failures of a call, and what may be done about them.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use rpc_core::frame::ServerTiming;
use rpc_core::{Code, Status};
use serde::de::DeserializeOwned;

/// The failure of a call.
///
/// It is exactly one of: the server answered a failure ([`status`](Self::status), perhaps
/// [rejected](Self::is_rejected)); the call was not sent; the connection was lost and the call may
/// have run; its deadline passed; what was to be sent or what came back is not what it should be.
/// Its `Display` is one line for an operator: address, code, and what happened.
///
/// ```no_run
/// # async fn example(client: rpc_client::Client) {
/// match client.call::<_, u64>(1001, &"params").await {
///     Ok(seq) => println!("{seq}"),
///     Err(error) if error.is_retryable() => println!("later, then: {error}"),
///     Err(error) if error.may_have_run() => println!("look before trying again: {error}"),
///     Err(error) => println!("{error}"),
/// }
/// # }
/// ```
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: Kind,
    address: Arc<str>,
    connection: Option<u64>,
    attempts: u32,
    /// Whether a try before this one may have run.
    may_have_run_before: bool,
    timing: Option<ServerTiming>,
}

#[derive(Clone)]
pub(crate) enum Kind {
    /// Never left this process whole, so it cannot have run.
    NotSent(Cause),
    /// The server's own word.
    Status(Status),
    /// Left, and the connection ended before the reply.
    MayHaveRun(Cause),
    /// Too late.
    Deadline { was_sent: bool },
    /// The params cannot be written as JSON.
    Params(Arc<serde_json::Error>),
    /// The reply is not what was asked for.
    Data(Cause),
    /// A stream's items came faster than they were read.
    Unread(String),
    /// Called from where it cannot be called; nothing was sent.
    Misused(Cause),
}

/// What happened, in words, and the error behind it where there is one.
#[derive(Clone)]
pub(crate) struct Cause {
    pub(crate) message: String,
    pub(crate) source: Option<Arc<dyn StdError + Send + Sync>>,
    /// Replaces the code of a connection that failed.
    pub(crate) code: Option<Code>,
}

impl Cause {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            source: None,
            code: None,
        }
    }

    pub(crate) fn with_source(
        message: impl Into<String>,
        source: impl StdError + Send + Sync + 'static,
    ) -> Self {
        Self {
            message: message.into(),
            source: Some(Arc::new(source)),
            code: None,
        }
    }

    pub(crate) fn with_code(self, code: Code) -> Self {
        Self {
            code: Some(code),
            ..self
        }
    }
}

/// The tries of one call, all of which have failed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tries {
    pub(crate) attempts: u32,
    /// Whether one before the last may have run.
    pub(crate) may_have_run_before: bool,
}

impl Error {
    pub(crate) fn new(kind: Kind, address: &Arc<str>, connection: Option<u64>) -> Self {
        let address = Arc::clone(address);
        Self(Box::new(Inner {
            kind,
            address,
            connection,
            attempts: 1,
            may_have_run_before: false,
            timing: None,
        }))
    }

    /// With where the time of the call went at the server.
    pub(crate) fn with_timing(mut self, timing: Option<ServerTiming>) -> Self {
        self.0.timing = timing;
        self
    }

    pub(crate) fn timing(&self) -> Option<ServerTiming> {
        self.0.timing
    }

    /// As the failure of the last of these tries.
    pub(crate) fn of_several(mut self, tries: Tries) -> Self {
        self.0.attempts = tries.attempts;
        self.0.may_have_run_before |= tries.may_have_run_before;
        self
    }

    pub(crate) fn shared_address(&self) -> &Arc<str> {
        &self.0.address
    }

    /// Whether the connection was lost before the reply came.
    pub(crate) fn is_lost(&self) -> bool {
        matches!(self.0.kind, Kind::MayHaveRun(_))
    }

    /// The failure as a code: the server's own, 4 past the deadline, 14 where the connection failed, the
    /// server's, as a rule 16, where it refused this client's token,
    /// 3 and 13 for params and data that do not fit, 8 for a stream that is read too slowly, 9 for a blocking call inside an async runtime.
    pub fn code(&self) -> Code {
        match &self.0.kind {
            Kind::Status(status) => status.code(),
            Kind::NotSent(cause) | Kind::MayHaveRun(cause) => {
                cause.code.unwrap_or(Code::UNAVAILABLE)
            }
            Kind::Deadline { .. } => Code::DEADLINE_EXCEEDED,
            Kind::Params(_) => Code::INVALID_ARGUMENT,
            Kind::Data(_) => Code::INTERNAL,
            Kind::Unread(_) => Code::RESOURCE_EXHAUSTED,
            Kind::Misused(_) => Code::FAILED_PRECONDITION,
        }
    }

    /// What the server answered, where it did.
    pub fn status(&self) -> Option<&Status> {
        match &self.0.kind {
            Kind::Status(status) => Some(status),
            _ => None,
        }
    }

    /// The details that the server gave with its failure, decoded into a type; `None` where it gave none,
    /// and where the failure is not the server's.
    ///
    /// ```no_run
    /// #[derive(serde::Deserialize)]
    /// struct Quota {
    ///     resets_at: u64,
    /// }
    ///
    /// # async fn example(client: rpc_client::Client) {
    /// if let Err(error) = client.call::<_, ()>(1001, &"params").await {
    ///     match error.details::<Quota>() {
    ///         Ok(Some(quota)) => println!("again at {}", quota.resets_at),
    ///         Ok(None) => println!("{error}"),
    ///         Err(unknown) => println!("{error}, with details of another kind: {unknown}"),
    ///     }
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    /// The details are not of this type.
    pub fn details<T: DeserializeOwned>(&self) -> Result<Option<T>, serde_json::Error> {
        match self.status() {
            Some(status) => status.details_as(),
            None => Ok(None),
        }
    }

    /// Why the connection failed, where it did.
    pub(crate) fn cause(&self) -> Option<&Cause> {
        match &self.0.kind {
            Kind::NotSent(cause) | Kind::MayHaveRun(cause) => Some(cause),
            _ => None,
        }
    }

    /// How often the call was tried: 1 without a retry. All else is said of the last try, but for
    /// [`may_have_run`](Self::may_have_run).
    pub fn attempts(&self) -> u32 {
        self.0.attempts
    }

    /// The address that was called.
    pub fn address(&self) -> &str {
        &self.0.address
    }

    /// The number of the connection within this process, where there was one.
    pub fn connection(&self) -> Option<u64> {
        self.0.connection
    }

    /// Whether the whole request may have left this process.
    pub fn was_sent(&self) -> bool {
        match &self.0.kind {
            _ if self.0.may_have_run_before => true,
            Kind::NotSent(_) | Kind::Params(_) | Kind::Misused(_) => false,
            Kind::Deadline { was_sent } => *was_sent,
            Kind::Status(_) | Kind::MayHaveRun(_) | Kind::Data(_) | Kind::Unread(_) => true,
        }
    }

    /// Whether the server promised that the call did not run.
    pub fn is_rejected(&self) -> bool {
        self.status().is_some_and(Status::is_rejected) && !self.0.may_have_run_before
    }

    /// Whether the command may have done its work, or part of it, though there is no result: in the last
    /// try or in one before it.
    pub fn may_have_run(&self) -> bool {
        self.was_sent() && !self.is_rejected()
    }

    /// Whether the call was cancelled at the server: by a `cancel` that named it, or because the call that it was made
    /// for was cancelled. A call whose future is dropped has no result at all.
    pub fn is_cancelled(&self) -> bool {
        self.code() == Code::CANCELLED
    }

    /// Whether the deadline passed, here or at the server.
    pub fn is_deadline(&self) -> bool {
        self.code() == Code::DEADLINE_EXCEEDED
    }

    /// Whether the server could not be reached: nothing was sent, in the last try.
    pub fn is_unreachable(&self) -> bool {
        matches!(self.0.kind, Kind::NotSent(_))
    }

    /// Whether sending the call again is safe whatever the command, and makes sense: it was not
    /// sent, or it was rejected.
    pub fn is_retryable(&self) -> bool {
        self.is_rejected() || self.is_unreachable() && !self.0.may_have_run_before
    }

    /// Whether the connection was lost, before the call had left it or after.
    pub(crate) fn is_connection_lost(&self) -> bool {
        matches!(self.0.kind, Kind::MayHaveRun(_) | Kind::NotSent(_))
    }

    /// Whether it speaks against the endpoint, and not only against the call.
    pub(crate) fn is_of_endpoint(&self) -> bool {
        match &self.0.kind {
            Kind::NotSent(_)
            | Kind::MayHaveRun(_)
            | Kind::Deadline { was_sent: true }
            | Kind::Data(_) => true,
            Kind::Deadline { was_sent: false }
            | Kind::Params(_)
            | Kind::Unread(_)
            | Kind::Misused(_) => false,
            Kind::Status(status) => {
                status.is_rejected()
                    || [
                        Code::UNAVAILABLE,
                        Code::INTERNAL,
                        Code::UNKNOWN,
                        Code::DATA_LOSS,
                    ]
                    .contains(&status.code())
            }
        }
    }

    /// The same failure as a [`Status`], for code that replaces the server behind the [`Service`] trait:
    /// a call that was not sent, or was rejected, is rejected here too.
    ///
    /// A handler that calls another service has run until then, and cannot promise that. It uses `?`,
    /// which leaves the promise out.
    ///
    /// [`Service`]: rpc_core::Service
    pub fn into_status(self) -> Status {
        if let Kind::Status(status) = &self.0.kind
            // Only the last try was rejected.
            && !(status.is_rejected() && self.0.may_have_run_before)
        {
            return status.clone();
        }

        let not_sent = self.is_unreachable() && !self.0.may_have_run_before;
        let status = Status::new(self.code(), self.to_string()).with_source(self);
        if not_sent {
            status.with_rejected()
        } else {
            status
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.0.address)?;
        if self.status().is_none() {
            // A status says its code itself.
            write!(f, "code {}: ", self.code())?;
        }

        match &self.0.kind {
            Kind::NotSent(cause) | Kind::Misused(cause) => {
                write!(f, "not sent: {}", cause.message)?;
            }
            Kind::MayHaveRun(cause) => write!(f, "sent, and may have run: {}", cause.message)?,
            Kind::Deadline { was_sent: true } => {
                f.write_str("no reply before the deadline; the call may have run")?;
            }
            Kind::Deadline { was_sent: false } => f.write_str("not sent before the deadline")?,
            Kind::Params(error) => {
                write!(f, "not sent: the params cannot be written as JSON: {error}")?;
            }
            Kind::Data(cause) => f.write_str(&cause.message)?,
            Kind::Unread(message) => f.write_str(message)?,
            Kind::Status(status) => {
                status.fmt(f)?;
                if status.is_rejected() {
                    f.write_str(" (rejected: it did not run)")?;
                }
                if let Some(after) = status.retry_after() {
                    write!(f, " (retry after {} ms)", after.as_millis())?;
                }
            }
        }

        match (self.0.attempts, self.0.may_have_run_before) {
            (0 | 1, _) => Ok(()),
            (attempts, false) => write!(f, " ({attempts} attempts)"),
            (attempts, true) => write!(f, " ({attempts} attempts; an earlier one may have run)"),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error({self}")?;
        if let Some(connection) = self.0.connection {
            write!(f, ", connection {connection}")?;
        }
        f.write_str(")")
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.0.kind {
            Kind::NotSent(cause)
            | Kind::MayHaveRun(cause)
            | Kind::Data(cause)
            | Kind::Misused(cause) => cause.source.as_deref().map(|source| source as _),
            Kind::Status(status) => Some(status),
            Kind::Params(error) => Some(error),
            Kind::Deadline { .. } | Kind::Unread(_) => None,
        }
    }
}

/// For the `?` of a handler: the call that failed may not have run, but the handler has.
impl From<Error> for Status {
    fn from(error: Error) -> Self {
        error.into_status().without_rejected()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_of_the_servers_failure_are_decoded_into_a_type() {
        let address = Arc::from("127.0.0.1:1");
        let details = |kind| Error::new(kind, &address, None).details::<Vec<u32>>();

        let with = Status::unknown("x").with_details(&[1, 2]);
        assert_eq!(details(Kind::Status(with)).unwrap(), Some(vec![1, 2]));

        let other = Status::unknown("x").with_details("text");
        details(Kind::Status(other)).unwrap_err();

        for without in [
            Kind::Status(Status::unknown("x")),
            Kind::NotSent(Cause::new("x")),
        ] {
            assert_eq!(details(without).unwrap(), None);
        }
    }
}
