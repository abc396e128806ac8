//! The server: a process of this same program.

use rpc_core::Status;
use rpc_examples::process::{Outcome, parent_is_gone};
use rpc_server::{Config, Router, Server, State};
use tokio::sync::watch;

/// A call that takes until [`RELEASE`] is called.
pub(crate) const HOLD: u32 = 100;
pub(crate) const RELEASE: u32 = 101;

/// How long a connection has been idle when it may be asked to make room.
const MAKE_ROOM_AFTER_MS: u64 = 100;

pub(crate) async fn serve(connections_max: usize) -> Outcome<()> {
    let config = Config::default().with(|config| {
        config.limits.connections_max = connections_max;
        config.limits.connections_per_address = 0;
        config.limits.make_room_after_ms = MAKE_ROOM_AFTER_MS;
        config.timeouts.handler_timeout_ms = 300_000;
    });
    let router = Router::with_state(watch::Sender::new(false))
        .route(HOLD, hold)?
        .route(RELEASE, release)?;

    let server = Server::builder()
        .listen("127.0.0.1:0")
        .config(config)
        .router(router)
        .bind()
        .await?;
    println!("{}", server.addresses()[0]);
    server.serve(parent_is_gone()).await?;
    Ok(())
}

async fn hold(State(released): State<watch::Sender<bool>>) -> Result<(), Status> {
    let mut released = released.subscribe();
    // It fails if the server has gone, and this call with it.
    let _ = released.wait_for(|&is_released| is_released).await;
    Ok(())
}

async fn release(State(released): State<watch::Sender<bool>>) -> Result<(), Status> {
    released.send_replace(true);
    Ok(())
}
