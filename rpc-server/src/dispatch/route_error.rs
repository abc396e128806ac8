//! The reasons that a command cannot be added.

use std::fmt;
use std::panic::Location;

use rpc_core::CmdId;

/// The reason that a command could not be added, or given a layer.
///
/// ```
/// use rpc_server::{RouteError, Router};
///
/// let router = Router::new().route(100, || async {}).unwrap();
/// match router.route(100, || async {}) {
///     Err(RouteError::Twice { cmdid, first, .. }) => {
///         assert_eq!(cmdid.number(), 100);
///         println!("{cmdid} is the number of {} at {} already", first.name, first.location);
///     }
///     _ => unreachable!("100 has a handler"),
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RouteError {
    /// The cmdid is one of the protocol's own, 0-99.
    BuiltIn {
        /// The number.
        cmdid: CmdId,
        /// The handler that was to be added.
        handler: NamedHandler,
    },
    /// The cmdid has a handler already.
    Twice {
        /// The number.
        cmdid: CmdId,
        /// The handler that it has.
        first: NamedHandler,
        /// The handler that was to be added.
        second: NamedHandler,
    },
    /// No command that could be given a layer has this cmdid.
    Unknown {
        /// The number.
        cmdid: CmdId,
    },
}

/// A handler, as a [`RouteError`] names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NamedHandler {
    /// The name of the function, as the compiler gives it.
    pub name: &'static str,
    /// The place of the call that added the handler.
    pub location: &'static Location<'static>,
}

impl fmt::Display for NamedHandler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, at {}", self.name, self.location)
    }
}

impl fmt::Display for RouteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn { cmdid, handler } => write!(
                f,
                "cmdid {cmdid} ({handler}) is built in: 0-99 are the protocol's, services begin at 100"
            ),
            Self::Twice {
                cmdid,
                first,
                second,
            } => write!(
                f,
                "cmdid {cmdid} is registered twice: {} (at {}) and {} (at {})",
                first.name, first.location, second.name, second.location
            ),
            Self::Unknown { cmdid } => write!(
                f,
                "no command has cmdid {cmdid}, so the layer has nothing to wrap; add the command first"
            ),
        }
    }
}

impl std::error::Error for RouteError {}
