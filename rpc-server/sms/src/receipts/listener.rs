//! The listener: a small HTTP server that knows only the paths of receipts.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use rpc_server::LogThrottle;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::Level;

use super::ReceiptPaths;
use super::path::ReceiptPath;
use super::report::Report;
use crate::outbox::{OpenError, Outbox};
use crate::store::{Receipt, StoreError};

/// Maximum number of connections. Further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 64;

/// Longest body of a request in bytes.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// Largest buffer of a connection, and so the longest head of a request, in bytes.
const BUFFER_BYTES_MAX: usize = 16 * 1024;

/// Time that the head of a request may take, and that a connection may rest between two.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Time that the body of a request may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Time before the next attempt to accept, where the system refuses.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Lines a second about receipts that are not taken.
const LINES_PER_SECOND: u32 = 5;

/// A listener for receipts, bound to its address.
pub struct ReceiptListener {
    listener: TcpListener,
    paths: ReceiptPaths,
}

/// What the connections share.
struct Shared {
    outbox: Outbox,
    paths: ReceiptPaths,
    refused: LogThrottle,
}

impl ReceiptListener {
    /// Binds the listener to an address, which was checked.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub async fn bind(address: &str, paths: ReceiptPaths) -> Result<Self, OpenError> {
        let listener = TcpListener::bind(address).await;
        let listener = listener.map_err(|error| OpenError::Listen {
            address: address.to_owned(),
            error,
        })?;
        Ok(Self { listener, paths })
    }

    /// Its address, with the port that the system chose.
    ///
    /// # Errors
    /// The system does not know it.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Begins to take receipts, until the outbox stops.
    pub fn start(self, outbox: &Outbox) {
        let shared = Arc::new(Shared {
            outbox: outbox.clone(),
            paths: self.paths,
            refused: LogThrottle::new(
                "receipts that were not taken",
                Level::WARN,
                LINES_PER_SECOND,
            ),
        });
        outbox.tasks().spawn(accept(self.listener, shared));
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    if let Ok(address) = listener.local_addr() {
        tracing::info!("receipts are taken on {address}");
    }

    let (room, stop) = (
        Arc::new(Semaphore::new(CONNECTIONS_MAX)),
        shared.outbox.stopped().clone(),
    );
    loop {
        let accepted = async {
            let place = Arc::clone(&room).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            accepted = accepted => accepted,
            () = stop.cancelled() => return,
        };

        let Ok((stream, peer)) = accepted else {
            sleep(ACCEPT_AGAIN).await;
            continue;
        };
        let (shared, stop) = (Arc::clone(&shared), stop.clone());
        let tasks = shared.outbox.tasks().clone();
        tasks.spawn(async move {
            serve(stream, peer.ip(), shared, stop).await;
            drop(place);
        });
    }
}

async fn serve(stream: TcpStream, peer: IpAddr, shared: Arc<Shared>, stop: CancellationToken) {
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(answer(&shared, peer, request).await) }
    });
    let connection = Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(BUFFER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);

    // What fails here is the peer's: it asks again.
    tokio::select! {
        _ = &mut connection => {}
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _ = timeout(HEAD_TIMEOUT, connection).await;
        }
    }
}

/// Answers a request. Receipts are on disk when their sender is told that they were taken.
async fn answer(
    shared: &Shared,
    peer: IpAddr,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let Some(path) = shared.paths.find(head.uri.path(), &head.method) else {
        return empty(StatusCode::NOT_FOUND);
    };
    let gateway = path.gateway.as_str();
    if !path.allows(peer) {
        shared.refused.write(|| {
            tracing::warn!(gateway, %peer, "a receipt from an address that is not in `verify.allow` was refused");
        });
        return empty(StatusCode::FORBIDDEN);
    }

    let body = match timeout(BODY_TIMEOUT, Limited::new(body, BODY_BYTES_MAX).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            return empty(StatusCode::PAYLOAD_TOO_LARGE);
        }
        Ok(Err(_)) => return empty(StatusCode::BAD_REQUEST),
        Err(_) => return empty(StatusCode::REQUEST_TIMEOUT),
    };
    if !path.is_providers(head.uri.query(), &head.headers, &body) {
        shared.refused.write(|| {
            tracing::warn!(
                gateway,
                "a receipt without the provider's signature was refused"
            );
        });
        return empty(StatusCode::FORBIDDEN);
    }

    let Some(reports) = path.read(head.uri.query(), &body) else {
        shared.refused.write(|| {
            tracing::warn!(
                gateway,
                "a receipt cannot be read as [sms.gateways.receipt] describes it"
            );
        });
        return empty(StatusCode::BAD_REQUEST);
    };
    if !take(shared, path, reports).await {
        return empty(StatusCode::SERVICE_UNAVAILABLE);
    }
    taken(&path.settings.answer)
}

/// Records reports. `false` if the outbox does not take them now.
async fn take(shared: &Shared, path: &ReceiptPath, reports: Vec<Report>) -> bool {
    let gateway = path.gateway.as_str();
    let receipts = reports.into_iter().filter_map(|report| match report {
        Report::Receipt(receipt) => Some(receipt),
        Report::Ignored => None,
        Report::UnknownState => {
            shared.refused.write(|| {
                tracing::warn!(
                    gateway,
                    "a receipt has a state that `map` of [sms.gateways.receipt] does not name"
                );
            });
            None
        }
    });

    // Together, so that they share a commit.
    let recorded = join_all(receipts.map(|receipt| record(&shared.outbox, receipt))).await;
    recorded.iter().all(|is_recorded| *is_recorded)
}

async fn record(outbox: &Outbox, receipt: Receipt) -> bool {
    let now = outbox.now_ms();
    let recorded = outbox
        .store()
        .run(move |store| store.receipt(&receipt, now))
        .await;
    matches!(recorded, Ok(_) | Err(StoreError::Refused(_)))
}

fn empty(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

fn taken(answer: &str) -> Response<Full<Bytes>> {
    let content_type = match answer.starts_with(['{', '[']) {
        true => "application/json",
        false => "text/plain; charset=utf-8",
    };
    let mut response = Response::new(Full::from(answer.to_owned()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
