//! Backups: a second try elsewhere while the first one hangs.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rpc_client::{Balance, Client, Config};
use rpc_core::Status;
use rpc_server::Router;

use crate::support::Servers;

/// A server that answers at once, or, while it hangs, not at all.
#[derive(Clone, Default)]
struct Hanging {
    hangs: Arc<AtomicBool>,
    ran: Arc<AtomicU64>,
    cancelled: Arc<AtomicU64>,
}

impl Hanging {
    fn router(&self) -> Router {
        let this = self.clone();
        let answer = move || {
            let this = this.clone();
            async move {
                struct Cancelled(Hanging, bool);
                impl Drop for Cancelled {
                    fn drop(&mut self) {
                        self.0
                            .cancelled
                            .fetch_add(u64::from(self.1), Ordering::SeqCst);
                    }
                }
                this.ran.fetch_add(1, Ordering::SeqCst);
                let hangs = this.hangs.load(Ordering::SeqCst);
                let _cancelled = Cancelled(this, hangs);
                if hangs {
                    pending::<()>().await;
                }
                Ok::<u64, Status>(1)
            }
        };
        Router::new().route(100, answer).unwrap()
    }
}

fn config() -> Config {
    Config::default().with(|config| {
        config.balance.policy = Balance::RoundRobin;
        config.hedge.percentile = 95;
        config.hedge.after_min_ms = 20;
        config.hedge.percent_max = 100;
    })
}

/// A client of both, which is warmed up.
async fn client_of(first: &Hanging, second: &Hanging) -> Client {
    let servers = Servers::default();
    servers.serve("first:1", first.router()).await;
    servers.serve("second:1", second.router()).await;
    let client = servers.client_with("first:1,second:1", config());
    warm_up(&client).await;
    client
}

/// Calls until all endpoints are connected and enough answers have been seen to know what is usual.
async fn warm_up(client: &Client) {
    for _ in 0..200 {
        client
            .command(100)
            .idempotent()
            .call::<_, u64>(&())
            .await
            .unwrap();
    }
    assert!(
        client
            .endpoints()
            .iter()
            .all(|endpoint| endpoint.is_connected)
    );
}

#[tokio::test(start_paused = true)]
async fn a_backup_elsewhere_wins_and_the_one_that_hangs_is_cancelled() {
    let (first, second) = (Hanging::default(), Hanging::default());
    let client = client_of(&first, &second).await;
    let before = (
        first.ran.load(Ordering::SeqCst),
        second.ran.load(Ordering::SeqCst),
    );
    first.hangs.store(true, Ordering::SeqCst);
    for _ in 0..20 {
        client
            .command(100)
            .idempotent()
            .call::<_, u64>(&())
            .await
            .unwrap();
    }
    let hung = first.ran.load(Ordering::SeqCst) - before.0;
    assert!(hung >= 5, "{hung}");
    assert_eq!(
        second.ran.load(Ordering::SeqCst) - before.1,
        20,
        "each call was answered by the other one"
    );
    while first.cancelled.load(Ordering::SeqCst) < hung {
        tokio::task::yield_now().await;
    }
    assert!(
        client
            .endpoints()
            .iter()
            .all(|endpoint| endpoint.in_flight == 0)
    );

    // Each backup is a further try, and no further call.
    let counted = &client.report().commands[0];
    assert!(counted.hedges >= hung, "{counted:?}");
    assert_eq!((counted.calls(), counted.in_flight), (220, 0));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_idempotent_has_no_backup() {
    let (first, second) = (Hanging::default(), Hanging::default());
    let client = client_of(&first, &second).await;
    first.hangs.store(true, Ordering::SeqCst);
    second.hangs.store(true, Ordering::SeqCst);
    let before = first.ran.load(Ordering::SeqCst) + second.ran.load(Ordering::SeqCst);
    let limit = std::time::Duration::from_millis(200);
    let error = client
        .command(100)
        .timeout(limit)
        .call::<_, u64>(&())
        .await
        .unwrap_err();
    assert!(error.is_deadline() && error.may_have_run(), "{error}");
    assert_eq!(
        first.ran.load(Ordering::SeqCst) + second.ran.load(Ordering::SeqCst),
        before + 1
    );
    // One that is ends by the same deadline, with both of its requests.
    let error = client
        .command(100)
        .idempotent()
        .timeout(limit)
        .call::<_, u64>(&())
        .await
        .unwrap_err();
    assert!(
        error.is_deadline() && error.may_have_run() && error.attempts() == 2,
        "{error}"
    );
    assert_eq!(
        first.ran.load(Ordering::SeqCst) + second.ran.load(Ordering::SeqCst),
        before + 3
    );
}
