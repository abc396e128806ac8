//! Connections to an endpoint.

use std::path::PathBuf;

use rpc_core::config::ConfigError;
use serde::{Deserialize, Serialize};

/// Connections to an endpoint: their number, how each authenticates, and whether it has ids.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pool {
    /// How many connections there are to an endpoint: one for all calls, some, or one for each call.
    pub mode: Mode,
    /// Whether every call is sent without an id, for a server that knows none, as tornado-TCP's: calls run one
    /// after another and are answered in their order.
    pub ordered: bool,
    /// Whether a reply ends where its JSON object ends, with or without a line break behind it, for a server that is as
    /// tornado-TCP was. Needs `ordered`. Such a server leaves some calls without a reply, and the next one would be taken
    /// for theirs: so a call is sent once the one before it is answered, one that is given up takes its connection along,
    /// and there are no oneway calls. With `mode = { pooled = N }` N calls run side by side.
    pub undelimited_replies: bool,
    /// File of a token, alone on its line, by which each new connection authenticates before it takes calls
    /// (command 6, `authenticate`). It is read for each connection. A token of the program's own goes before
    /// it: [`ClientBuilder::token`](crate::ClientBuilder::token).
    pub token_file: Option<PathBuf>,
}

impl Default for Pool {
    fn default() -> Self {
        Self {
            mode: Mode::Single,
            ordered: false,
            undelimited_replies: false,
            token_file: None,
        }
    }
}

impl Pool {
    /// Checks the group by itself.
    ///
    /// # Errors
    /// The setting, its value, and what it must be.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.undelimited_replies && !self.ordered {
            return Err(ConfigError::new(
                "pool.undelimited_replies",
                "`pool.undelimited_replies` is true and needs `pool.ordered = true`: \
                 a server whose replies have no line break does not know ids",
            ));
        }

        match self.mode {
            Mode::Pooled(0) => Err(ConfigError::new(
                "pool.mode",
                "`pool.mode` is { pooled = 0 } and must be at least { pooled = 1 }",
            )),
            Mode::Pooled(_) | Mode::Single | Mode::Short => Ok(()),
        }
    }
}

/// How many connections a client has to an endpoint; docs/client.md says which is for what.
///
/// In a file: `"single"`, `{ pooled = 4 }` or `"short"`.
///
/// ```
/// use rpc_client::{Client, Config, Mode};
///
/// let short = Config::default().with(|config| config.pool.mode = Mode::Short);
/// let client = Client::with_config("10.0.0.1:8889", short);
/// # let _ = client;
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// One, opened by the first call and shared by all.
    #[default]
    Single,
    /// Up to this many, each opened when the others are busy; a call takes the one with the fewest calls
    /// in flight. At least 1.
    Pooled(u32),
    /// One for each call, closed after it.
    Short,
}
