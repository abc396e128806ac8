//! `log`: appends entries to the store and reads them back.

mod batch;
mod emit;
mod filter;
mod read;
mod status;

use std::sync::Arc;

use rpc_core::api::log::{
    APPEND, APPEND_BATCH, Append, Appended, EMIT, FLUSH, LogService, READ, STATS, TAIL,
};
use rpc_core::{CmdId, Descriptor, HeldBytes, Peer, Status};

use crate::store::{Health, LogEngine, NewEntries};
use rpc_server::layers::KeyedCall;
use rpc_server::{
    FromRequest, Params, Request, Route, RouteError, Router, ServerHandle, ServiceHealth, State,
};
use tokio::sync::watch;

/// The name of the service.
const SERVICE: &str = "log";

/// The commands of the service.
#[cfg(any(feature = "program", test))]
pub(crate) const COMMANDS: [CmdId; 7] = [APPEND, READ, APPEND_BATCH, EMIT, FLUSH, TAIL, STATS];

/// The commands of [`Log`](rpc_core::api::log::Log), as the trait describes them. It is not implemented: a page has its
/// entries as they are in the files, which its typed form would take apart and write again.
pub(crate) fn router(store: Arc<dyn LogEngine>) -> Result<Router<Arc<dyn LogEngine>>, RouteError> {
    let mut append_descriptor = descriptor(APPEND);
    if let Some(dedup) = &mut append_descriptor.dedup {
        // Keys are in the log: they are known where it is the same, whichever process serves it.
        dedup.store = Some(format!("log-{}", store.identity()).into());
    }

    Router::with_state(store)
        .route(APPEND, Route::new(append).describe(append_descriptor))?
        .route(READ, Route::new(read::read).describe(descriptor(READ)))?
        .route(
            APPEND_BATCH,
            Route::new(batch::append_batch).describe(descriptor(APPEND_BATCH)),
        )?
        .route(EMIT, Route::new(emit::emit).describe(descriptor(EMIT)))?
        .route(FLUSH, Route::new(emit::flush).describe(descriptor(FLUSH)))?
        .route(TAIL, Route::new(read::tail).describe(descriptor(TAIL)))?
        .route(STATS, Route::new(emit::stats).describe(descriptor(STATS)))
}

fn descriptor(cmdid: CmdId) -> Descriptor {
    let mut all = LogService::descriptors().into_iter();
    all.find(|descriptor| descriptor.cmdid == cmdid)
        .expect("each command of this service is one of the trait's")
}

/// Keeps the health of the service as that of its store, until the store's writer has ended: the log is not served
/// from then on.
pub(crate) async fn watch_health(mut store: watch::Receiver<Health>, server: ServerHandle) {
    loop {
        let health = match store.borrow_and_update().is_good() {
            true => ServiceHealth::Serving,
            false => ServiceHealth::NotServing,
        };
        set_health(&server, health);

        if store.changed().await.is_err() {
            tracing::error!("the writer of the log store has ended: no more entries are accepted");
            return set_health(&server, ServiceHealth::NotServing);
        }
    }
}

fn set_health(server: &ServerHandle, health: ServiceHealth) {
    if let Err(error) = server.set_service_health(SERVICE, health) {
        tracing::error!(%error, "the health of the log store cannot be set");
    }
}

/// The entry has its place in the log at the first poll, which the connection makes in the order of its
/// lines; and it is written whether or not its caller still waits.
async fn append(
    State(store): State<Arc<dyn LogEngine>>,
    Keyed(call): Keyed,
    SentEntry(entry): SentEntry,
) -> Result<Appended, Status> {
    let synced = store.is_synced();
    let Some(call) = call else {
        let seq = store.append(entry)?.await?;
        return Ok(Appended {
            synced,
            ..Appended::new(seq)
        });
    };

    let once = store.append_once(entry, &call)?;
    Ok(Appended {
        seq: once.outcome.await?,
        duplicate: once.is_repetition,
        synced,
    })
}

/// The connection that a request came over.
struct Connection(Option<Arc<Peer>>);

impl Connection {
    /// Counts bytes that a call takes beside its params.
    fn hold(&self, bytes: usize) -> Option<HeldBytes> {
        self.0.as_ref().map(|peer| peer.hold(bytes))
    }
}

impl<S> FromRequest<S> for Connection {
    fn from_request(request: &Request<'_>, _: &S) -> Result<Self, Status> {
        Ok(Self(request.scope.peer().cloned()))
    }
}

/// The entry of the params, as the line that it becomes.
struct SentEntry(NewEntries);

impl<S> FromRequest<S> for SentEntry {
    fn from_request(request: &Request<'_>, state: &S) -> Result<Self, Status> {
        if let Some(entry) = request.params.read_by(NewEntries::read_one) {
            return Ok(Self(entry));
        }

        let Params(entry) = Params::<Append>::from_request(request, state)?;
        Ok(Self(NewEntries::from(&entry)))
    }
}

/// The key of a call, if it has one.
struct Keyed(Option<KeyedCall>);

impl<S> FromRequest<S> for Keyed {
    fn from_request(request: &Request<'_>, _: &S) -> Result<Self, Status> {
        KeyedCall::of(request).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use rpc_server::blocking::BlockingPool;
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

    use super::*;
    use crate::store::{self, LogConfig};

    #[tokio::test]
    async fn the_service_is_not_served_while_its_store_is_not_well_and_once_its_writer_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let store =
            store::open(dir.path(), LogConfig::default(), &BlockingPool::default()).unwrap();
        let server = rpc_server::Server::builder()
            .listen("127.0.0.1:0")
            .router(router(store).unwrap())
            .bind()
            .await
            .unwrap();

        let (sender, receiver) = watch::channel(Health::default());
        let (watching, handle) = (watch_health(receiver, server.handle()), server.handle());
        let mut watching = Box::pin(watching);
        let (near, far) = tokio::io::duplex(4096);
        tokio::spawn(handle.serve_connection(far, "pipe"));
        let mut peer = BufReader::new(near);

        let mut status = async || {
            let ended = (&mut watching).now_or_never().is_some();
            let ask = b"{\"cmdid\":2,\"params\":{\"service\":\"log\"}}\n";
            peer.get_mut().write_all(ask).await.unwrap();
            let mut reply = String::new();
            peer.read_line(&mut reply).await.unwrap();
            (reply.contains(r#""serving""#), ended)
        };

        assert_eq!(status().await, (true, false));
        for (cannot_write, cannot_read) in [(true, false), (false, true), (true, true)] {
            sender.send_replace(Health {
                cannot_write,
                cannot_read,
            });
            assert_eq!(status().await, (false, false));
            sender.send_replace(Health::default());
            assert_eq!(status().await, (true, false));
        }

        drop(sender);
        assert_eq!(status().await, (false, true));
    }

    #[test]
    fn the_commands_of_the_service_are_those_of_its_router_and_of_its_trait() {
        let dir = tempfile::tempdir().unwrap();
        let store =
            store::open(dir.path(), LogConfig::default(), &BlockingPool::default()).unwrap();
        let router = router(store).unwrap();

        let descriptors = router.descriptors();
        let served: Vec<CmdId> = descriptors.iter().map(|command| command.cmdid).collect();
        assert_eq!(served, COMMANDS);

        let mut described = LogService::descriptors();
        for (described, served) in described.iter_mut().zip(&descriptors) {
            // The trait knows of no store.
            if let (Some(dedup), Some(of_store)) = (&mut described.dedup, &served.dedup) {
                dedup.store.clone_from(&of_store.store);
            }
        }
        assert!(
            descriptors.into_iter().eq(&described),
            "as the trait has them"
        );
    }
}
