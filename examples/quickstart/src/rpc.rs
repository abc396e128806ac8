//! The job over RPC: servers in this process, and a client that any task gets by its address.

use std::collections::HashMap;
use std::path::Path;

use rpc_client::log::LogClient;
use rpc_core::api::log::{APPEND, Append, Appended, Entry, Level, Read};
use rpc_daemon::{Daemon, DaemonConfig};
use rpc_server::{Params, Router, Server, ServerHandle, Status};

use crate::Error;
use crate::job::{Transport, log_settings};
use crate::serving::Serving;

/// A free port of this machine, reachable from it alone.
const ANY_PORT: &str = "127.0.0.1:0";

/// The most that a page holds.
const PAGE_ENTRIES: u32 = 1000;

/// A server in this process.
pub(crate) struct RpcServer {
    address: String,
    handle: ServerHandle,
    serving: Serving,
}

impl RpcServer {
    /// A whole daemon, which keeps its store in `data`.
    pub(crate) async fn daemon(data: &Path) -> Result<Self, Error> {
        let config = DaemonConfig {
            listen: vec![ANY_PORT.into()],
            data_dir: data.to_owned(),
            log: log_settings(),
            ..DaemonConfig::default()
        };

        let daemon = Daemon::bind(&config).await?;
        let (address, handle) = (daemon.addresses()[0].to_string(), daemon.handle());

        let serving = Serving::start(async move |stopped| {
            daemon.run(async { _ = stopped.await }).await?;
            Ok(())
        });

        Ok(Self {
            address,
            handle,
            serving,
        })
    }

    /// A server whose `append` decodes its params, answers, and stores nothing.
    pub(crate) async fn without_store() -> Result<Self, Error> {
        let router = Router::new().route(APPEND, decode)?;
        let server = Server::builder()
            .listen(ANY_PORT)
            .router(router)
            .bind()
            .await?;

        let (address, handle) = (server.addresses()[0].to_string(), server.handle());
        let serving = Serving::start(async move |stopped| {
            server.serve(async { _ = stopped.await }).await?;
            Ok(())
        });

        Ok(Self {
            address,
            handle,
            serving,
        })
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Connections that the server has accepted.
    pub(crate) fn connections(&self) -> u64 {
        self.handle.stats().connections_accepted
    }

    /// Requests that the server has read.
    pub(crate) fn requests(&self) -> u64 {
        self.handle.stats().requests
    }

    pub(crate) async fn stop(self) -> Result<(), Error> {
        self.serving.stop().await
    }
}

async fn decode(Params(entry): Params<Append>) -> Result<Appended, Status> {
    Ok(Appended::new(entry.message.len() as u64))
}

/// Sends entries over the process's one connection to an address.
#[derive(Clone)]
pub(crate) struct RpcTransport {
    address: String,
}

impl RpcTransport {
    pub(crate) fn new(address: &str) -> Self {
        Self {
            address: address.to_owned(),
        }
    }
}

impl Transport for RpcTransport {
    /// Asks for the client at each call, as code that knows of no other would: all get the same one.
    async fn append(&self, entry: &Append) -> Result<(), Error> {
        LogClient::new(rpc_client::shared(&self.address))
            .append(entry)
            .await?;
        Ok(())
    }
}

/// What a log holds.
pub(crate) struct Stored {
    pub(crate) entries: Vec<Entry>,
    pub(crate) pages: usize,
}

/// Reads all entries, page by page.
pub(crate) async fn read_all(address: &str) -> Result<Stored, Error> {
    let log = LogClient::new(rpc_client::shared(address));
    let mut stored = Stored {
        entries: Vec::new(),
        pages: 0,
    };

    let mut after = 0;
    loop {
        let page = log
            .read(&Read {
                after,
                limit: Some(PAGE_ENTRIES),
                ..Read::default()
            })
            .await?;
        if page.next == after {
            return Ok(stored);
        }

        stored.entries.extend(page.entries);
        stored.pages += 1;
        after = page.next;
    }
}

/// Checks that what is stored is what was sent, each line as often, in whatever order.
pub(crate) fn verify(sent: &[Append], stored: &[Entry]) -> Result<(), Error> {
    let mut missing: HashMap<(Level, &str), i64> = HashMap::new();
    for entry in sent {
        *missing.entry((entry.level, &entry.message)).or_default() += 1;
    }
    for entry in stored {
        *missing.entry((entry.level, &entry.message)).or_default() -= 1;
    }

    let Some(((_, line), count)) = missing.into_iter().find(|(_, count)| *count != 0) else {
        return Ok(());
    };

    let wrong = if count > 0 { "too few" } else { "too many" };
    let start: String = line.chars().take(80).collect();

    Err(format!(
        "{} lines were sent and {} are stored; of this one there are {wrong}: {start}",
        sent.len(),
        stored.len()
    )
    .into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(seq: u64, message: &str) -> Entry {
        serde_json::from_value(serde_json::json!({
            "seq": seq, "ts": 0, "level": "info", "service": "s", "message": message,
        }))
        .unwrap()
    }

    #[test]
    fn a_line_that_is_missing_doubled_or_changed_is_found() {
        let sent = ["a", "b", "a"].map(|message| Append::new(Level::Info, "s", message));
        assert!(verify(&sent, &[entry(1, "b"), entry(2, "a"), entry(3, "a")]).is_ok());

        for stored in [
            &["a", "b"][..],
            &["a", "b", "b"],
            &["a", "b", "a", "a"],
            &["a", "b", "A"],
        ] {
            let stored: Vec<_> = (1..)
                .zip(stored)
                .map(|(seq, message)| entry(seq, message))
                .collect();
            assert!(verify(&sent, &stored).is_err(), "{stored:?}");
        }
    }
}
