//! The messages of the protocol: the one file to read to know the wire. docs/protocol.md has the rules.
//!
//! A connection carries lines; each is one JSON object. The client sends [`Request`]s:
//!
//! ```json
//! {"id":7,"cmdid":1001,"timeout_ms":5000,"params":{"message":"hello"}}
//! ```
//!
//! The server sends one of these, [`FromServer`]: the reply to a call, an item of a stream (`more`), a
//! failure, or a notice about the connection:
//!
//! ```json
//! {"id":7,"code":0,"data":{"seq":17}}
//! {"id":7,"code":0,"more":true,"data":{"seq":18}}
//! {"id":7,"code":3,"message":"`params`: missing field `message`"}
//! {"event":"goaway","message":"the server is going away"}
//! ```
//!
//! `parse` reads lines into these types, and `encode` writes them.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};

use super::json::RawJson;
use crate::scope::Scope;
use crate::status::{Code, Status};

/// The version of the protocol, as `describe` gives it.
pub const PROTOCOL_VERSION: u32 = 1;

/// The largest `id`: 2^53-1, the last integer that every JSON reader keeps exact.
pub const ID_MAX: u64 = (1 << 53) - 1;

/// The number of a command. 0-99 are built in ([`builtins`](crate::builtins)), 100 and up belong to services.
///
/// Source: docs/protocol.md, "Request" and "Built-in commands". Append-only.
///
/// ```
/// use rpc_core::CmdId;
///
/// const APPEND: CmdId = CmdId::new(1001);
/// assert!(!APPEND.is_built_in() && CmdId::PING.is_built_in());
/// assert_eq!(APPEND.to_string(), "1001");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CmdId(u32);

impl CmdId {
    /// The lowest number that belongs to services.
    pub const FIRST_OF_SERVICES: Self = Self(100);

    /// The command with this number.
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// The number as it is on the wire.
    pub const fn number(self) -> u32 {
        self.0
    }

    /// Whether this number belongs to the protocol and not to a service.
    pub const fn is_built_in(self) -> bool {
        self.0 < Self::FIRST_OF_SERVICES.0
    }
}

impl From<u32> for CmdId {
    fn from(number: u32) -> Self {
        Self(number)
    }
}

impl fmt::Display for CmdId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for CmdId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The metadata of a request: a JSON object whose values are all strings, `traceparent` and
/// `idempotency-key` among them. It stays the text that it came as until a value is asked for.
///
/// ```
/// use rpc_core::Meta;
///
/// let meta = Meta::default().with([("tenant", "7"), ("trace", "on")]);
/// assert_eq!(meta.get("tenant").as_deref(), Some("7"));
/// assert!(meta.with([("tenant", ""), ("trace", "")]).is_empty());
/// ```
#[derive(Clone, Default)]
pub struct Meta<'a>(pub(super) Option<RawJson<'a>>);

/// One call as it reaches a service.
///
/// The fields up to `meta` are those of the line (docs/protocol.md, "Request"); `scope` is what
/// the connection knows besides.
///
/// ```
/// use std::time::Duration;
///
/// use rpc_core::{RawJson, Request};
///
/// let request = Request::decode(br#"{"id":7,"cmdid":1001,"timeout_ms":50,"params":[1]}"#)?;
/// assert_eq!((request.id, request.cmdid.number()), (Some(7), 1001));
/// assert_eq!(request.timeout, Some(Duration::from_millis(50)));
///
/// let mut request = Request::new(1001, RawJson::serialize("text").unwrap());
/// request.oneway = true;
/// # Ok::<(), rpc_core::BadFrame>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Request<'a> {
    /// Correlates the reply; without it the call is ordered.
    pub id: Option<u64>,
    /// The command.
    pub cmdid: CmdId,
    /// When the request was made, in Unix seconds by the caller's clock; diagnostic only.
    pub timestamp: Option<i64>,
    /// The arguments; `{}` where the line had none.
    pub params: RawJson<'a>,
    /// How long the caller still waits, counted from receipt.
    pub timeout: Option<Duration>,
    /// Whether no reply is sent, not even an error.
    pub oneway: bool,
    /// How many items a stream may send before it is given more; without it, any number.
    pub credit: Option<u64>,
    /// Metadata.
    pub meta: Meta<'a>,
    /// What the connection knows of the call: peer, deadline, cancellation.
    pub scope: Scope<'a>,
}

impl<'a> Request<'a> {
    /// A call of `cmdid` with only these params.
    pub fn new(cmdid: impl Into<CmdId>, params: RawJson<'a>) -> Self {
        Self {
            id: None,
            cmdid: cmdid.into(),
            timestamp: None,
            params,
            timeout: None,
            oneway: false,
            credit: None,
            meta: Meta::default(),
            scope: Scope::default(),
        }
    }

    /// The same request with what a connection knows of it.
    #[must_use]
    pub fn with_scope<'b>(self, scope: Scope<'b>) -> Request<'b>
    where
        'a: 'b,
    {
        Request { scope, ..self }
    }

    /// The same request, free of the line and the connection's borrowed state, so that it may wait.
    pub fn into_owned(self) -> Request<'static> {
        Request {
            id: self.id,
            cmdid: self.cmdid,
            timestamp: self.timestamp,
            params: self.params.into_owned(),
            timeout: self.timeout,
            oneway: self.oneway,
            credit: self.credit,
            meta: self.meta.into_owned(),
            scope: self.scope.into_owned(),
        }
    }
}

/// Where the time of a call went at the server, as its reply tells a caller that asks for it
/// (docs/protocol.md, "Timing").
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ServerTiming {
    /// From the receipt of the request to the start of its handler.
    pub queue: Duration,
    /// From the start of the handler to its result; of a stream, to the end of its items.
    pub run: Duration,
}

/// One line from a server, as a client reads it.
///
/// ```
/// use rpc_core::frame::FromServer;
///
/// match FromServer::decode(br#"{"id":7,"code":5,"message":"no user 4211"}"#)? {
///     FromServer::Reply(reply) => assert_eq!(reply.status().to_string(), "code 5 NOT_FOUND: no user 4211"),
///     FromServer::Notice { event, .. } => println!("{event}"),
///     _ => {}
/// }
/// # Ok::<(), rpc_core::frame::BadReply>(())
/// ```
#[derive(Debug)]
pub enum FromServer<'a> {
    /// The reply to a call, or one item of it.
    Reply(ReplyFrame<'a>),
    /// A line with `event` and no `code`: `goaway`, or one that this version does not know.
    Notice {
        /// What happened.
        event: Cow<'a, str>,
        /// A sentence for people.
        message: Cow<'a, str>,
    },
}

/// The fields of a reply line. Those that say nothing are empty.
#[derive(Debug)]
pub struct ReplyFrame<'a> {
    /// The call's id; none for an ordered call.
    pub id: Option<u64>,
    /// The outcome.
    pub code: Code,
    /// The result, or one item of a stream.
    pub data: Option<RawJson<'a>>,
    /// Whether this is an item and the call goes on.
    pub more: bool,
    pub(super) message: Cow<'a, str>,
    pub(super) details: Option<RawJson<'a>>,
    pub(super) rejected: bool,
    pub(super) retry_after_ms: Option<u64>,
    /// Where the time went, where the caller asked for that and the server tells it.
    pub timing: Option<ServerTiming>,
}

impl ReplyFrame<'_> {
    /// Whether the server promises that it did not run the call.
    pub fn is_rejected(&self) -> bool {
        self.rejected
    }

    /// The failure that this line carries; only meaningful where `code` is not 0.
    pub fn status(&self) -> Status {
        let mut status = Status::new(self.code, self.message.clone().into_owned());

        if let Some(details) = &self.details {
            status = status.with_details(details);
        }
        if self.rejected {
            status = status.with_rejected();
        }
        if let Some(milliseconds) = self.retry_after_ms {
            status = status.with_retry_after(Duration::from_millis(milliseconds));
        }

        status
    }
}

/// What a call comes to.
pub type Outcome = Result<Reply, Status>;

/// One item of a stream; the first failure ends it.
pub type Item = Result<RawJson<'static>, Status>;

/// The items of a streaming call.
pub type ItemStream = BoxStream<'static, Item>;

/// The success of a call: nothing, one JSON value, or a stream of them.
///
/// ```
/// use futures::stream;
/// use rpc_core::{RawJson, Reply, Status};
///
/// let nothing = Reply::empty();
/// let value = Reply::new(&[1, 2, 3])?;
/// assert_eq!(value.data(), Some(&RawJson::parse("[1,2,3]").unwrap()));
/// let items = Reply::stream(stream::iter([Ok(1), Err(Status::data_loss("the rest is gone"))]));
/// # let _ = (nothing, items);
/// # Ok::<(), Status>(())
/// ```
pub struct Reply(pub(super) Body);

/// What a [`Reply`] carries.
pub enum Body {
    /// No `data`.
    Empty,
    /// The `data` of a unary call.
    Data(RawJson<'static>),
    /// The items of a streaming call, in order.
    Stream(ItemStream),
}
