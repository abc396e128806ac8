//! Opening byte streams: TCP and Unix sockets by default, or whatever a [`Connect`] of the user's opens.

use std::fmt;
use std::future::Future;
use std::io;
use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::authenticate::{ConnectFailure, Token, authenticate};
use super::dial::dial;
use super::tried::Tried;
use super::watched::{Watched, watch};
use crate::config::Tcp;
use crate::connection::{Common, Connection, Loss};
use crate::error::Cause;

/// What an address over TLS begins with.
pub(crate) const TLS_PREFIX: &str = "tls:";

/// What a connection can run over. Implemented by every stream that fits.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<IO: AsyncRead + AsyncWrite + Send + Unpin + 'static> ByteStream for IO {}

/// A byte stream of any type.
pub type BoxByteStream = Box<dyn ByteStream>;

/// Opens byte streams instead of TCP and Unix sockets: TLS of your own, a proxy, a simulated
/// network, a pipe in a test. Give it to [`ClientBuilder::connector`].
///
/// A function of the address is one:
///
/// ```
/// use rpc_client::Client;
///
/// // Whatever the address says, a pipe in memory; `_server` would be given to a server.
/// let client = Client::builder("memory")
///     .connector(|_address: String| async {
///         let (ours, _server) = tokio::io::duplex(64 * 1024);
///         Ok(ours)
///     })
///     .build();
/// # let _ = client;
/// ```
///
/// [`ClientBuilder::connector`]: crate::ClientBuilder::connector
pub trait Connect: Send + Sync + 'static {
    /// Opens a stream to `address`, which is what the client was made with, unread. It is dropped
    /// after `timeouts.connect_timeout_ms`, and called again, with back-off, after a failure. In the mode `short` each
    /// call's own task does this, so there it is dropped with the call, too, and panics in it.
    ///
    /// # Errors
    /// Whatever the stream's opening comes to: it is a part of the error of the calls that waited.
    fn connect(&self, address: &str) -> BoxFuture<'static, io::Result<BoxByteStream>>;
}

impl<F, Opened, IO> Connect for F
where
    F: Fn(String) -> Opened + Send + Sync + 'static,
    Opened: Future<Output = io::Result<IO>> + Send + 'static,
    IO: ByteStream,
{
    fn connect(&self, address: &str) -> BoxFuture<'static, io::Result<BoxByteStream>> {
        self(address.to_owned())
            .map(|opened| opened.map(|io| Box::new(io) as BoxByteStream))
            .boxed()
    }
}

/// Opens a TCP connection to `"HOST:PORT"` with these socket options, for a [`Connect`]
/// that puts something between it and the protocol. Its user timeout is that of an idle connection for good
/// (17.5 s with default settings), so that a lost keepalive probe never ends it; pings find a lost server sooner. A host with several addresses is dialed at each of
/// them (RFC 8305): IPv6 first, the next one 250 ms after the one before, or at once when one has failed.
///
/// # Cancel safety
/// A call that is dropped closes what it has opened.
///
/// # Errors
/// The name is unknown, no server answers, the connection leads to itself (`ConnectionRefused`), or an
/// option cannot be set.
pub async fn open_tcp(address: &str, tcp: &Tcp) -> io::Result<TcpStream> {
    let stream = dial(address, &Tried::default()).await?;
    watch(&stream, &tcp.keepalive())?;
    Ok(stream)
}

/// How an endpoint opens its connections, and who they say that they are.
#[derive(Clone, Default)]
pub(crate) struct Connector {
    pub(crate) way: Way,
    pub(crate) token: Option<Token>,
    #[cfg(feature = "tls")]
    tls: Arc<crate::endpoint::tls::Loaded>,
}

#[derive(Clone, Default)]
pub(crate) enum Way {
    /// TCP, TLS and Unix sockets, each as its own type: nothing is boxed on the way of a byte.
    #[default]
    System,
    Own(Arc<dyn Connect>),
}

impl Connector {
    /// Opens a connection whose driver runs as a task, and calls `at_end` when it is over. It has
    /// authenticated where there is a token. `tried` says how far it came, if this is dropped.
    pub(crate) async fn connect(
        &self,
        address: &Arc<str>,
        common: &Common,
        tried: &Tried,
        at_end: impl FnOnce(Loss) + Send + 'static,
    ) -> Result<Arc<Connection>, ConnectFailure> {
        let opening = Opening {
            address: Arc::clone(address),
            common: common.clone(),
            at_end,
        };
        let opened = self.open_stream(tried, opening).await;
        let connection = opened.map_err(|error| {
            ConnectFailure::Failed(Cause::with_source(
                format!("cannot connect: {error}"),
                error,
            ))
        })?;

        authenticate(&connection, &common.config, self.token.as_ref()).await?;
        Ok(connection)
    }

    async fn open_stream(
        &self,
        tried: &Tried,
        opening: Opening<impl FnOnce(Loss) + Send + 'static>,
    ) -> io::Result<Arc<Connection>> {
        let (address, config) = (&*opening.address, &*opening.common.config);
        if let Way::Own(connect) = &self.way {
            let stream = connect.connect(address).await?;
            return Ok(opening.run(stream));
        }

        if let Some(path) = address.strip_prefix("unix:") {
            let stream = UnixStream::connect(path).await?;
            return Ok(opening.run(stream));
        }

        let by_address = address.strip_prefix(TLS_PREFIX);
        if by_address.is_none() && config.tls.is_none() {
            let stream = Watched::new(dial(address, tried).await?, &config.tcp);
            return Ok(opening.run(stream));
        }

        let address = by_address.unwrap_or(address);
        #[cfg(feature = "tls")]
        {
            let stream = Watched::new(dial(address, tried).await?, &config.tcp);
            let settings = config.tls.clone().unwrap_or_default();
            let stream = self.tls.handshake(stream, address, &settings).await?;
            Ok(opening.run(stream))
        }
        #[cfg(not(feature = "tls"))]
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!("TLS to {address} needs the feature `tls` of rpc-client"),
        ))
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.way {
            Way::System => "System",
            Way::Own(_) => "Own",
        })
    }
}

/// A connection that is about to be opened, and what is called at its end.
struct Opening<E> {
    address: Arc<str>,
    common: Common,
    at_end: E,
}

impl<E: FnOnce(Loss) + Send + 'static> Opening<E> {
    fn run<IO: ByteStream>(self, stream: IO) -> Arc<Connection> {
        let Self {
            address,
            common,
            at_end,
        } = self;

        let (connection, driver) = Connection::new(stream, address, common);
        tokio::spawn(async move { at_end(driver.await) });
        connection
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};
    use std::time::Duration;

    use socket2::SockRef;

    use super::*;

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_connection_that_is_watched_has_the_options_of_the_settings() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap().to_string();

        let plain = dial(&address, &Tried::default()).await.unwrap();
        assert!(plain.nodelay().unwrap() && !SockRef::from(&plain).keepalive().unwrap());

        let watched = open_tcp(&address, &Tcp::default()).await.unwrap();
        let socket = SockRef::from(&watched);
        assert!(watched.nodelay().unwrap() && socket.keepalive().unwrap());
        let ms = |n| Duration::from_millis(n);
        assert_eq!(socket.tcp_keepalive_time().unwrap(), ms(10_000));
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), ms(3_000));
        // It is not changed later, so it is the one that a lost probe does no harm with.
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(ms(17_500)));
    }
}
