//! `rpc health` and `rpc stats`: what a server says of itself.

use clap::Args;
use rpc_client::{CmdId, RawJson};
use serde::Deserialize;
use serde_json::json;

use crate::Target;
use crate::exit::Failure;
use crate::output::Output;

/// Show whether the server, or one of its services, accepts calls
///
/// Prints `serving`, `not_serving` or `draining`, and exits with 0 for `serving` only.
#[derive(Args)]
#[command(after_help = "\
Example:
  until rpc health log; do sleep 1; done")]
pub(crate) struct Health {
    /// The service, for example `log`; by default the whole server
    service: Option<String>,
}

impl Health {
    pub(crate) async fn run(self, target: &Target) -> Result<(), Failure> {
        #[derive(Deserialize)]
        struct Reported {
            status: String,
        }

        let params = match self.service {
            Some(service) => json!({ "service": service }),
            None => json!({}),
        };
        let Reported { status } = target.client().call(CmdId::HEALTH, &params).await?;

        let mut output = Output::new();
        output.text(&status)?;
        output.flush()?;

        if status == "serving" {
            Ok(())
        } else {
            Err(Failure::Answered)
        }
    }
}

/// Print the counters of the server and of this connection
///
/// On a terminal the output is indented and coloured; elsewhere it is one line of JSON.
#[derive(Args)]
#[command(after_help = "\
Example:
  rpc stats | jq .server.requests")]
pub(crate) struct Stats {
    /// Print one line of JSON even on a terminal
    #[arg(long)]
    json: bool,
}

impl Stats {
    pub(crate) async fn run(self, target: &Target) -> Result<(), Failure> {
        let stats = target
            .client()
            .command(CmdId::STATS)
            .call_raw(&json!({}))
            .await?;
        let stats = stats.unwrap_or(RawJson::NULL);

        let mut output = Output::new();
        if self.json {
            output.json(stats.as_str())?;
        } else {
            output.value(stats.as_str())?;
        }
        output.flush()
    }
}
