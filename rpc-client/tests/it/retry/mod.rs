//! Calls that are tried again, and those that are not.

mod may_have_run;
mod rejected;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rpc_core::Status;
use rpc_server::Router;
use tokio::net::TcpListener;

/// Rejects each call until `tries` were made, and answers how many there were; asks for a pause.
fn rejecting(tries: &Arc<AtomicU64>, until: u64, retry_after_ms: u64) -> Router<()> {
    let tries = Arc::clone(tries);
    let answer = move || {
        let count = tries.fetch_add(1, Ordering::SeqCst) + 1;
        let status = Status::unavailable("not now").with_rejected();
        std::future::ready(match (count >= until, retry_after_ms) {
            (true, _) => Ok(count),
            (false, 0) => Err(status),
            (false, ms) => Err(status.with_retry_after(Duration::from_millis(ms))),
        })
    };
    Router::new().route(100, answer).unwrap()
}

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}
