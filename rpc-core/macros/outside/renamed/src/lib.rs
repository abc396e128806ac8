//! Typed services in a crate that has other names for rpc-server and rpc-client.
#![deny(warnings, missing_docs)]

/// By the name that the compiler was given.
#[serves::service]
pub trait Sums {
    /// Adds two numbers.
    #[rpc(cmdid = 200, idempotent)]
    async fn add(&self, a: i64, b: i64) -> Result<i64, serves::Status>;
}

/// The same of the client.
#[calls::service]
pub trait Products {
    /// Multiplies two numbers.
    #[rpc(cmdid = 201, idempotent)]
    async fn multiply(&self, a: i64, b: i64) -> Result<i64, calls::Status>;
}

mod inner {
    pub(crate) use serves as wire;
}

/// By a path that is said.
#[serves::service(crate = crate::inner::wire)]
pub trait Differences {
    /// Subtracts two numbers.
    #[rpc(cmdid = 202, idempotent)]
    async fn subtract(&self, a: i64, b: i64) -> Result<i64, serves::Status>;
}

/// Errors, too.
#[serves::rpc_error]
#[derive(Debug)]
pub enum SumError {
    /// The sum is too large.
    #[rpc(code = 1001)]
    TooLarge {
        /// What was to be added.
        a: i64,
    },
    /// All else.
    #[rpc(other)]
    Other(serves::Status),
}
