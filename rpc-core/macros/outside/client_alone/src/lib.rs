//! A typed service in a crate that depends on rpc-client alone.
#![deny(warnings, missing_docs)]

use rpc_client::{Client, Status, service};

/// Sums.
#[service]
pub trait Sums {
    /// Adds two numbers.
    #[rpc(cmdid = 200, idempotent)]
    async fn add(&self, a: i64, b: i64) -> Result<i64, Status>;
}

/// Adds there.
pub async fn add(client: Client) -> Result<i64, Status> {
    SumsClient::new(client).add(1, 2).await
}

/// The same on a plain thread.
pub fn add_blocking(client: rpc_client::blocking::Client) -> Result<i64, Status> {
    SumsBlockingClient::new(client).add(1, 2)
}
