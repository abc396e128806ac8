//! The service: tornado-TCP's test command, and one with a result.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rpc_server::{
    Context, Drained, Params, RouteError, Router, Server, ServerHandle, State, Status,
};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::Error;

/// tornado-TCP's `TEST_CMDID`.
pub(crate) const TEST: u32 = 10_000;
pub(crate) const HANDLED: u32 = 10_001;

/// What `BaseHandler` is for: what all handlers share.
#[derive(Clone, Default)]
pub(crate) struct Base {
    handled: Arc<AtomicU64>,
}

impl Base {
    /// How often the test command has run.
    pub(crate) fn handled(&self) -> u64 {
        // Relaxed: a count orders no other memory.
        self.handled.load(Ordering::Relaxed)
    }
}

/// Params of [`TEST`], the same type for server and client.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Test {
    pub(crate) content: String,
}

/// `TestHandler`: logs its params. It returns nothing, and the reply is `{"code":0}`.
async fn test(State(base): State<Base>, context: Context, Params(Test { content }): Params<Test>) {
    base.handled.fetch_add(1, Ordering::Relaxed);

    let peer = context.peer().map(ToString::to_string).unwrap_or_default();
    println!(
        "    server: {content:?} from {peer}, made at {}",
        context.timestamp()
    );
}

/// A handler of one's own, with a result: how often `test` has run.
async fn handled(State(base): State<Base>) -> Result<u64, Status> {
    Ok(base.handled())
}

/// The table that `@urls.handler` fills. A cmdid that is taken twice is an error here.
fn router() -> Result<Router<Base>, RouteError> {
    Router::with_state(Base::default())
        .route(TEST, test)?
        .route(HANDLED, handled)
}

/// Serves at this address until Ctrl-C.
pub(crate) async fn listen(address: &str) -> Result<(), Error> {
    let server = Server::builder()
        .listen(address)
        .router(router()?)
        .bind()
        .await?;

    // Before anybody is told of the server, so that no signal is missed.
    let shutdown = rpc_server::shutdown_signal();

    println!("listening on {}; Ctrl-C ends it", server.addresses()[0]);
    server.serve(shutdown).await?;
    println!("stopped");
    Ok(())
}

/// The service on a free port.
pub(crate) struct Serving {
    pub(crate) address: String,
    handle: ServerHandle,
    stop: oneshot::Sender<()>,
    task: JoinHandle<io::Result<Drained>>,
}

impl Serving {
    pub(crate) async fn start() -> Result<Self, Error> {
        let server = Server::builder()
            .listen("127.0.0.1:0")
            .router(router()?)
            .bind()
            .await?;
        let (address, handle) = (server.addresses()[0].to_string(), server.handle());
        let (stop, stopped) = oneshot::channel::<()>();

        Ok(Self {
            address,
            handle,
            stop,
            task: tokio::spawn(server.serve(async { _ = stopped.await })),
        })
    }

    /// Requests so far.
    pub(crate) fn requests(&self) -> u64 {
        self.handle.stats().requests
    }

    /// Connections so far.
    pub(crate) fn connections(&self) -> u64 {
        self.handle.stats().connections_accepted
    }

    /// Ends it, once it has answered what it has taken.
    pub(crate) async fn stop(self) -> Result<(), Error> {
        drop(self.stop);
        self.task.await??;
        Ok(())
    }
}
