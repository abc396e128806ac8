//! One file a contender, each with a server and a client of the log call.

use std::fmt;
use std::future::{self, Future};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, anyhow};
use futures::stream::BoxStream;

use rpc_benches::log_call::{Entry, Receipt};

#[cfg(feature = "peers")]
pub(crate) mod grpc;
pub(crate) mod http;
pub(crate) mod http_rpc;
pub(crate) mod limit;
#[cfg(feature = "peers")]
pub(crate) mod redis;
pub(crate) mod rpc;
#[cfg(feature = "peers")]
pub(crate) mod tarpc;
pub(crate) mod tls;
pub(crate) mod tornado;

/// Who takes part. The name of each is that of the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Contender {
    /// This project's client and server.
    Rpc,
    /// A bare loop over the same bytes: what the machine can do.
    Limit,
    /// HTTP/1.1 keep-alive: axum and hyper's client, which keeps a pool of connections.
    Http,
    /// HTTP/1.1 keep-alive: axum and hyper's connections without a client around them, one a caller.
    HttpBare,
    /// HTTP/1.1 keep-alive: this project's server with its calls over HTTP, and the client of `HttpBare`.
    HttpRpc,
    /// HTTP/1.1 keep-alive: axum and reqwest.
    HttpReqwest,
    /// HTTP/1.1 with a connection for each call: axum and hyper's connections.
    HttpShort,
    /// Python's tornado and this project's client, in order on one connection.
    Tornado,
    /// gRPC: tonic, the calls of a connection multiplexed over HTTP/2.
    #[cfg(feature = "peers")]
    Grpc,
    /// tarpc, multiplexed, with JSON.
    #[cfg(feature = "peers")]
    TarpcJson,
    /// tarpc, multiplexed, with bincode.
    #[cfg(feature = "peers")]
    TarpcBincode,
    /// Redis' ECHO and redis-rs, multiplexed: the transport alone.
    #[cfg(feature = "peers")]
    Redis,
}

impl Contender {
    /// As on the command line and in the tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rpc => "rpc",
            Self::Limit => "limit",
            Self::Http => "http",
            Self::HttpBare => "http-bare",
            Self::HttpRpc => "http-rpc",
            Self::HttpReqwest => "http-reqwest",
            Self::HttpShort => "http-short",
            Self::Tornado => "tornado",
            #[cfg(feature = "peers")]
            Self::Grpc => "grpc",
            #[cfg(feature = "peers")]
            Self::TarpcJson => "tarpc-json",
            #[cfg(feature = "peers")]
            Self::TarpcBincode => "tarpc-bincode",
            #[cfg(feature = "peers")]
            Self::Redis => "redis",
        }
    }

    /// Whether it can take part on this machine.
    pub(crate) fn is_available(self) -> bool {
        match self {
            Self::Tornado => tornado::is_available(),
            #[cfg(feature = "peers")]
            Self::Redis => redis::is_available(),
            _ => true,
        }
    }

    /// Whether one connection carries many calls at a time. The others get a connection for each
    /// call in flight.
    pub(crate) fn is_multiplexed(self) -> bool {
        !matches!(
            self,
            Self::Http | Self::HttpBare | Self::HttpRpc | Self::HttpReqwest | Self::HttpShort
        )
    }

    /// Whether its client can open a connection for each call.
    pub(crate) fn can_be_short(self) -> bool {
        matches!(
            self,
            Self::Rpc | Self::Limit | Self::HttpBare | Self::HttpShort
        )
    }
}

/// One caller's access to a server: its own connection, or its share of one.
pub(crate) trait Caller: Send + 'static {
    /// Makes the log call and waits for its receipt.
    fn log(&mut self, entry: &Entry) -> impl Future<Output = Result<Receipt>> + Send;

    /// Makes a call that takes the server this long.
    fn slow(&mut self, time: Duration) -> impl Future<Output = Result<()>> + Send;

    /// Opens a stream of this entry without end, see [`follow`](rpc_benches::log_call::follow).
    fn follow(&mut self, _: &Entry) -> impl Future<Output = Result<Entries>> + Send {
        future::ready(Err(anyhow!("this contender has no streams")))
    }
}

/// The items of a stream.
pub(crate) type Entries = BoxStream<'static, Result<Entry>>;

/// How callers come by their connections.
pub(crate) trait Connect: Send + Sync + 'static {
    /// What makes the calls.
    type Caller: Caller;

    /// Opens one connection, and hands out `callers` that share it.
    fn connect(
        &self,
        address: SocketAddr,
        callers: usize,
    ) -> impl Future<Output = Result<Vec<Self::Caller>>> + Send;
}

/// Prints the address of a server; the process that started it reads this line.
pub(crate) fn announce(address: &impl fmt::Display) {
    println!("listening on {address}");
}
