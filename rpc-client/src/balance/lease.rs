//! A connection, lent to one call.

use std::sync::Arc;

use super::InFlightGuard;
use crate::connection::Connection;

/// A connection that most likely takes a call, and the call's place at its endpoint.
pub(crate) struct Lease {
    pub(crate) connection: Arc<Connection>,
    /// None where there is one endpoint with one connection: nothing is counted there.
    pub(crate) guard: Option<InFlightGuard>,
}

impl Lease {
    /// Of an endpoint that nothing is counted of.
    pub(crate) fn of_sole(connection: Arc<Connection>) -> Self {
        Self {
            connection,
            guard: None,
        }
    }

    pub(crate) fn counted(connection: Arc<Connection>, guard: InFlightGuard) -> Self {
        Self {
            connection,
            guard: Some(guard),
        }
    }
}
