//! A typed service in a crate that depends on rpc-server alone, but for a library of schemas.
#![deny(warnings, missing_docs)]

use rpc_server::{Context, Router, Status, rpc_error, service};

/// Why there is no sum.
#[rpc_error(schema)]
#[derive(Debug)]
pub enum SumError {
    /// The sum is too large.
    #[rpc(code = 1001, message = "{value} is too large")]
    TooLarge(i64),
    /// All else.
    #[rpc(other)]
    Other(Status),
}

/// Sums.
#[service(schema)]
pub trait Sums {
    /// Adds two numbers.
    #[rpc(cmdid = 200, idempotent)]
    async fn add(
        &self,
        context: &Context,
        /// One number.
        a: i64,
        /// The other number.
        b: i64,
    ) -> Result<i64, SumError>;

    /// Forgets all sums.
    #[rpc(cmdid = 201, oneway)]
    async fn forget(&self);
}

/// Adds.
pub struct Adder;

impl Sums for Adder {
    async fn add(&self, _context: &Context, a: i64, b: i64) -> Result<i64, SumError> {
        a.checked_add(b).ok_or(SumError::TooLarge(a))
    }

    async fn forget(&self) {}
}

/// The routes.
pub fn router() -> Router {
    Router::new().serve(SumsServer(Adder)).expect("no number is taken")
}
