//! The signals that ask a process to end.

use std::future::{Future, pending};

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Ready at SIGTERM, as service managers and Kubernetes send it, or at SIGINT (Ctrl-C): what
/// [`Server::serve`](crate::Server::serve) takes to drain the server then.
///
/// The handlers are installed by the call itself, not by the first poll, so a signal that comes
/// between both is not missed. They stay for the life of the process: further signals do not end it,
/// and the drain goes on within `drain.timeout_ms`. A program that wants to end at a second signal
/// calls this function again once the first future is ready, and exits when the second one is.
///
/// A handler that cannot be installed is logged as an error; its signal ends the process at once,
/// without a drain, as it does by default. Without both handlers the future is never ready.
///
/// ```no_run
/// # use rpc_server::{Router, Server};
/// # async fn example() -> std::io::Result<()> {
/// let server = Server::builder().listen("127.0.0.1:8889").router(Router::new()).bind().await?;
/// server.serve(rpc_server::shutdown_signal()).await?;
/// # Ok(())
/// # }
/// ```
///
/// # Panics
/// Outside of a tokio runtime, or in one without its I/O driver.
///
/// # Cancel safety
/// Dropping the future loses the signals that came before, not later ones for other futures.
pub fn shutdown_signal() -> impl Future<Output = ()> + Send + 'static {
    let terminate = install("SIGTERM", SignalKind::terminate());
    let interrupt = install("SIGINT", SignalKind::interrupt());

    async move {
        let name = tokio::select! {
            () = next(terminate) => "SIGTERM",
            () = next(interrupt) => "SIGINT",
        };

        tracing::info!("{name}: asked to end");
    }
}

fn install(name: &str, kind: SignalKind) -> Option<Signal> {
    signal(kind)
        .inspect_err(|error| {
            tracing::error!(%error, "no handler for {name} can be installed; {name} ends the process without a drain");
        })
        .ok()
}

async fn next(signal: Option<Signal>) {
    match signal {
        Some(mut signal) => _ = signal.recv().await,
        None => pending().await,
    }
}
