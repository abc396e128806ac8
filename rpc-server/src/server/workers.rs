//! Threads with a single-threaded runtime each, for a server that spreads its connections over cores
//! without moving them between threads. The kernel hands new ones out (`SO_REUSEPORT`).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;

use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::ServerHandle;
use super::shared::Shared;
use crate::access::Policy;
use crate::listen::{Listener, Origin};

/// The listeners of one worker, one for each address of the server.
pub(crate) type WorkerListeners = Vec<(std::net::TcpListener, SocketAddr, Origin, Arc<Policy>)>;

/// Worker threads at work. Dropping this ends them, and cuts their connections.
pub(crate) struct Workers {
    accepting: TaskTracker,
    threads: TaskTracker,
    accept: DropGuard,
    live: DropGuard,
}

impl Workers {
    /// Starts a thread for each set of listeners, and returns when all of them accept. `server` serves the
    /// connections of a listener with that policy.
    pub(crate) async fn start(
        workers: Vec<WorkerListeners>,
        shared: &Arc<Shared>,
        server: impl Fn(&Arc<Policy>) -> ServerHandle,
    ) -> io::Result<Self> {
        let (accept, live) = (CancellationToken::new(), CancellationToken::new());
        let started = Self {
            accepting: TaskTracker::new(),
            threads: TaskTracker::new(),
            accept: accept.clone().drop_guard(),
            live: live.clone().drop_guard(),
        };

        for (number, listeners) in workers.into_iter().enumerate() {
            let (tell, told) = oneshot::channel();
            let (accepting, accept, live) =
                (started.accepting.clone(), accept.clone(), live.clone());
            let (shared, alive) = (Arc::clone(shared), started.threads.token());
            let listeners: Vec<_> = listeners
                .into_iter()
                .map(|(listener, address, origin, policy)| {
                    (listener, address, origin, server(&policy))
                })
                .collect();

            let run = move || {
                let runtime = match tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                {
                    Ok(runtime) => runtime,
                    Err(error) => return drop(tell.send(Err(error))),
                };

                runtime.block_on(async {
                    let accept_all = || -> io::Result<()> {
                        for (listener, address, origin, server) in listeners {
                            let listener =
                                Listener::Tcp(TcpListener::from_std(listener)?, address, origin);
                            accepting.spawn(listener.accept_until(
                                accept.clone(),
                                Arc::clone(&shared.intake),
                                server,
                            ));
                        }
                        Ok(())
                    };

                    let result = accept_all();
                    let metrics = Arc::clone(&shared.metrics);

                    // It ends with the runtime.
                    tokio::spawn(async move { metrics.beat().await });

                    let goes_on = result.is_ok();

                    // The task that waited for this has gone only if it has given the server up.
                    let _ = tell.send(result);

                    if goes_on {
                        live.cancelled().await;
                    }
                });

                // A function that blocks may never end: the drain has waited for it as long as it may.
                runtime.shutdown_background();
                drop(alive);
            };

            thread::Builder::new()
                .name(format!("rpc-worker-{number}"))
                .spawn(run)?;
            told.await
                .map_err(|_| io::Error::other("a worker thread ended before it began"))??;
        }

        Ok(started)
    }

    /// Drops the listeners; connections go on.
    pub(crate) async fn stop_accepting(self) -> Ending {
        let Self {
            accepting,
            threads,
            accept,
            live,
        } = self;

        drop(accept);
        accepting.close();
        accepting.wait().await;

        Ending { threads, live }
    }
}

/// Workers that accept no more.
pub(crate) struct Ending {
    threads: TaskTracker,
    live: DropGuard,
}

impl Ending {
    /// Ends the threads and what is left on them.
    pub(crate) async fn end(self) {
        drop(self.live);
        self.threads.close();
        self.threads.wait().await;
    }
}
