//! Typed calls of any service: a router, a mock, a client with layers around it.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use rpc_core::typed::{decode_data, unary_data};
use rpc_core::{Body, CmdId, Layer, Outcome, RawJson, Request, Service, Status};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::{ends_by, shorten, shorten_here};
use crate::call::Command;
use crate::config::Config;
use crate::time::after;

/// Calls any [`Service`] as a [`Client`](crate::Client) calls its server: a router without a socket,
/// a mock, or a client with [layers](crate::layers) around it.
///
/// Each call has a deadline, `timeouts.call_timeout_ms` of the default [`Config`] unless set, so that a service that
/// never answers holds up no caller. Failures are [`Status`]es: the service's
/// own, and for a client's connection code 14, `rejected` where the call was not sent. A handler that
/// hands such a status on has run itself, and takes that back with [`Status::without_rejected`].
///
/// It is a service itself, so it goes wherever one is taken, and needs tokio's clock.
///
/// ```
/// use rpc_client::{Client, ServiceClient, Status, layers};
/// use rpc_server::{Params, Router};
///
/// async fn double(Params(n): Params<i64>) -> Result<i64, Status> {
///     Ok(n * 2)
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // No connection and no bytes: the handler is called as a function.
/// let client = ServiceClient::new(Router::new().route(100, double)?);
/// assert_eq!(client.call::<_, i64>(100, &21).await?, 42);
///
/// // The same over a connection, with a span and an event for each call.
/// let client = Client::new("127.0.0.1:8889").layer(layers::Trace);
/// # let _ = client;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ServiceClient<S> {
    service: S,
    call_timeout: Duration,
}

impl<S: Service> ServiceClient<S> {
    /// A client of this service.
    pub fn new(service: S) -> Self {
        Self {
            service,
            call_timeout: Config::default().timeouts.call_timeout(),
        }
    }

    /// How long calls may take that do not say it themselves; 5 s without this.
    #[must_use]
    pub fn call_timeout(mut self, timeout: Duration) -> Self {
        self.call_timeout = timeout;
        self
    }

    /// Puts a layer around the service. What is added last sees a call first.
    #[must_use]
    pub fn layer<L: Layer<S>>(self, layer: L) -> ServiceClient<L::Service> {
        ServiceClient {
            service: layer.layer(self.service),
            call_timeout: self.call_timeout,
        }
    }

    /// The service inside.
    pub fn get_ref(&self) -> &S {
        &self.service
    }

    /// Calls a command and decodes its data.
    ///
    /// # Errors
    /// The service's status; code 4 at the deadline, 3 for params without a JSON form, 13 for data that is
    /// not a `T`.
    ///
    /// # Cancel safety
    /// Dropping the future gives the call up.
    pub async fn call<P, T>(&self, cmdid: impl Into<CmdId>, params: &P) -> Result<T, Status>
    where
        P: Serialize + ?Sized,
        T: DeserializeOwned,
    {
        self.command(cmdid).call(params).await
    }

    /// Calls a command without waiting for its result. Over a connection it is sent without waiting for
    /// a reply; a service that runs here is done when this returns.
    ///
    /// # Errors
    /// As [`call`](Self::call), as far as they are known at once.
    ///
    /// # Cancel safety
    /// Dropping the future gives the call up where it runs here; over a connection it may have been sent.
    pub async fn notify<P>(&self, cmdid: impl Into<CmdId>, params: &P) -> Result<(), Status>
    where
        P: Serialize + ?Sized,
    {
        self.command(cmdid).notify(params).await
    }

    /// Calls a command that answers with a stream of items; a unary result is a stream of one. There is
    /// no deadline unless [`Command::timeout`] sets one, for the beginning.
    ///
    /// # Errors
    /// As [`call`](Self::call), for the beginning; what fails later is the stream's last item.
    ///
    /// # Cancel safety
    /// Dropping the future, or the stream later, gives the call up.
    pub async fn stream<P, T>(
        &self,
        cmdid: impl Into<CmdId>,
        params: &P,
    ) -> Result<BoxStream<'static, Result<T, Status>>, Status>
    where
        P: Serialize + ?Sized,
        T: DeserializeOwned + Send + 'static,
    {
        self.command(cmdid).stream(params).await
    }

    /// A call with options of its own.
    ///
    /// ```
    /// # use rpc_client::{ServiceClient, Status};
    /// # async fn example(client: ServiceClient<rpc_client::Client>) -> Result<(), Status> {
    /// let seq: u64 = client
    ///     .command(1001)
    ///     .timeout(std::time::Duration::from_millis(200))
    ///     .meta("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    ///     .call(&"params")
    ///     .await?;
    /// # let _ = seq;
    /// # Ok(())
    /// # }
    /// ```
    pub fn command(&self, cmdid: impl Into<CmdId>) -> Command<'_, Self> {
        Command::by(self, cmdid.into())
    }
}

impl<S: Service> Service for ServiceClient<S> {
    fn call(&self, request: Request<'_>) -> impl Future<Output = Outcome> + Send + 'static {
        self.service.call(request)
    }
}

impl<S: fmt::Debug> fmt::Debug for ServiceClient<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ServiceClient").field(&self.service).finish()
    }
}

/// As a [`Client`](crate::Client)'s, but failures are [`Status`]es.
impl<S: Service> Command<'_, ServiceClient<S>> {
    /// As [`ServiceClient::call`].
    ///
    /// # Errors
    /// As [`ServiceClient::call`].
    ///
    /// # Cancel safety
    /// As [`ServiceClient::call`].
    pub async fn call<P, T>(&self, params: &P) -> Result<T, Status>
    where
        P: Serialize + ?Sized,
        T: DeserializeOwned,
    {
        let request = self.request(params)?;
        call_within(self.service(), request, self.time_limit()).await
    }

    /// As [`ServiceClient::notify`].
    ///
    /// # Errors
    /// As [`ServiceClient::notify`].
    ///
    /// # Cancel safety
    /// As [`ServiceClient::notify`].
    pub async fn notify<P>(&self, params: &P) -> Result<(), Status>
    where
        P: Serialize + ?Sized,
    {
        let mut request = self.request(params)?;
        request.oneway = true;

        let deadline = shorten_here(&mut request, self.time_limit(), Instant::now());
        ends_by(deadline, self.service().call(request))
            .await
            .map(drop)
    }

    /// As [`ServiceClient::stream`].
    ///
    /// # Errors
    /// As [`ServiceClient::stream`].
    ///
    /// # Cancel safety
    /// As [`ServiceClient::stream`].
    pub async fn stream<P, T>(
        &self,
        params: &P,
    ) -> Result<BoxStream<'static, Result<T, Status>>, Status>
    where
        P: Serialize + ?Sized,
        T: DeserializeOwned + Send + 'static,
    {
        let mut request = self.request(params)?;
        // What tells a client that this is no unary call.
        request.credit = Some(Config::default().limits.stream_credit);

        let begins = self.service().call(request);
        let reply = match self.begins_by() {
            None => begins.await?,
            // Only until the first item: what the request says would end the stream.
            Some(deadline) => ends_by(deadline, begins).await?,
        };

        Ok(match reply.into_body() {
            Body::Empty => stream::empty().boxed(),
            Body::Data(data) => stream::iter([decode_data(&data)]).boxed(),
            Body::Stream(items) => items.map(|item| decode_data(&item?)).boxed(),
        })
    }

    fn service(&self) -> &S {
        &self.caller().service
    }

    fn time_limit(&self) -> Duration {
        let timeout = self.options().timeout;
        timeout.unwrap_or(self.caller().call_timeout)
    }

    /// Until when a stream must have begun, where that was said.
    fn begins_by(&self) -> Option<Instant> {
        let timeout = self.options().timeout;
        let own = timeout.map(|timeout| after(Instant::now(), timeout));
        [own, self.options().until()].into_iter().flatten().min()
    }

    fn request<P: Serialize + ?Sized>(&self, params: &P) -> Result<Request<'static>, Status> {
        let mut request = request(self.cmdid(), params)?;
        if let Some(meta) = self.options().meta() {
            request.meta = meta;
        }

        if self.options().kind.is_ordered() {
            request.id = None;
        }
        request.scope.deadline = self.options().until().map(Instant::into_std);
        request.scope.retry = self.options().idempotency.category();
        request.scope.series = self.options().series().cloned();
        Ok(request)
    }
}

/// A multiplexed request, which holds up no other one.
fn request<P: Serialize + ?Sized>(cmdid: CmdId, params: &P) -> Result<Request<'static>, Status> {
    let params = RawJson::serialize(params).map_err(|error| {
        Status::invalid_argument(format!("the params cannot be written as JSON: {error}"))
    })?;

    let mut request = Request::new(cmdid, params);
    // Any id: a connection has ids of its own.
    request.id = Some(0);
    Ok(request)
}

async fn call_within<T: DeserializeOwned>(
    service: &impl Service,
    mut request: Request<'static>,
    timeout: Duration,
) -> Result<T, Status> {
    let deadline = shorten(&mut request, timeout);
    let reply = ends_by(deadline, service.call(request)).await?;
    decode_data(&unary_data(reply)?)
}
