//! A typed service for both sides: this crate depends on rpc-core alone, and knows neither of them.
#![deny(warnings, missing_docs)]

use rpc_core::typed::Stream;
use rpc_core::{Context, Status, service};
use serde::{Deserialize, Serialize};

/// A greeting.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Greeting {
    /// What is said.
    pub text: String,
    /// The number of the call's command.
    pub cmdid: u32,
}

/// Greets.
#[service]
pub trait Greeter {
    /// Greets someone by name.
    #[rpc(cmdid = 100, idempotent)]
    async fn greet(&self, name: &str, context: Context) -> Result<Greeting, Status>;

    /// Greets everyone.
    #[rpc(cmdid = 101, idempotent)]
    fn greet_all(&self, names: Vec<String>) -> impl Stream<Item = Result<String, Status>> + Send;
}
