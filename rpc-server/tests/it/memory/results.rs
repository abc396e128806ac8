//! Results that wait outside of their connection's task.

use std::sync::{Arc, Mutex, OnceLock};

use rpc_server::{Reply, Route, Router, ServerHandle, State};
use tokio::sync::Notify;

use super::little_memory;
use crate::rig::filled;
use crate::support::{TestServer, call, settle};

/// Length of each result.
const RESULT_BYTES: usize = 9_998;

/// Handlers that wait together, and the most bytes that each saw its server hold when it was done.
#[derive(Clone, Default)]
struct Together {
    ready: Arc<Notify>,
    server: Arc<OnceLock<ServerHandle>>,
    held: Arc<Mutex<Vec<u64>>>,
}

async fn together(State(together): State<Together>) -> Reply {
    together.ready.notified().await;
    let stats = together.server.get().unwrap().stats();
    together
        .held
        .lock()
        .unwrap()
        .push(stats.limits.memory_bytes_peak);
    Reply::raw(filled(RESULT_BYTES))
}

#[tokio::test(start_paused = true)]
async fn results_of_handlers_in_tasks_of_their_own_count_until_their_connection_takes_them() {
    let check = async |route: Route<_, _>| {
        let seen = Together::default();
        let router = Router::with_state(seen.clone()).route(200, route).unwrap();
        let server = TestServer::with(little_memory(), router).await;
        assert!(seen.server.set(server.handle.clone()).is_ok());
        let mut client = server.connect();

        // All are done before the task of the connection has its turn.
        client
            .send((0..16).map(|id| call(id, 200, "")).collect::<String>())
            .await;
        settle().await;
        seen.ready.notify_waiters();
        let (mut taken, mut refused) = (0, 0);
        for _ in 0..16 {
            let reply = client.reply().await;
            if reply["code"] == 0 {
                taken += 1;
            } else {
                let message = reply["message"].as_str().unwrap();
                assert!(message.contains("`limits.memory_bytes_max`"), "{reply}");
                assert!(reply["rejected"].is_null(), "it has run: {reply}");
                refused += 1;
            }
        }

        let held = seen.held.lock().unwrap().clone();
        assert!(held[4] >= held[0] + 4 * RESULT_BYTES as u64, "{held:?}");
        assert!(held.iter().all(|held| *held < 120_000), "{held:?}");
        assert!(taken > 4 && refused > 4, "{taken} taken, {refused} refused");
    };

    check(Route::new(together).spawned()).await;
    check(Route::new(together).detached()).await;
}
