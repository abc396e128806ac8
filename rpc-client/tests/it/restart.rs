//! Connections that their server retires under load: no call is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rpc_client::{Client, Error};
use rpc_server::{Config, Drained, Server, ServerHandle};
use serde_json::json;
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use crate::support::{Nowhere, PATIENCE, Seen, router};

/// A server at an address that stays its own while it is down.
struct Place {
    reserved: Nowhere,
    seen: Seen,
    config: Config,
}

struct Running {
    handle: ServerHandle,
    drain: oneshot::Sender<()>,
    serving: JoinHandle<std::io::Result<Drained>>,
}

impl Place {
    fn new(seen: Seen, config: Config) -> Self {
        Self {
            reserved: Nowhere::new(),
            seen,
            config,
        }
    }

    async fn start(&self) -> Running {
        let builder = Server::builder()
            .listen(self.reserved.address.to_string())
            .config(self.config.clone());
        let server = builder
            .router(router(self.seen.clone()))
            .bind()
            .await
            .unwrap();
        let (drain, asked) = oneshot::channel();
        let handle = server.handle();
        let serving = tokio::spawn(server.serve(async {
            let _ = asked.await;
        }));
        Running {
            handle,
            drain,
            serving,
        }
    }
}

impl Running {
    async fn drain(self) -> Drained {
        self.drain.send(()).unwrap();
        self.serving.await.unwrap().unwrap()
    }
}

/// Tasks that call without a pause until they are told to stop.
struct Load {
    tasks: JoinSet<usize>,
    stop: Arc<AtomicBool>,
    done: watch::Receiver<u64>,
    resent: Arc<AtomicU64>,
}

impl Load {
    /// Three clients of each of these servers, and four tasks for each three.
    fn start(servers: &[&Place]) -> Self {
        let clients = || {
            servers
                .iter()
                .map(|place| Client::new(place.reserved.address.to_string()))
                .collect()
        };
        let clients: [Vec<Client>; 3] = std::array::from_fn(|_| clients());
        let (stop, resent) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (count, done) = watch::channel(0);
        let mut tasks = JoinSet::new();
        for clients in clients {
            for task in 0..4 {
                let (clients, stop, count, resent) = (
                    clients.clone(),
                    Arc::clone(&stop),
                    count.clone(),
                    Arc::clone(&resent),
                );
                tasks.spawn(async move {
                    let mut calls = 0;
                    while !stop.load(Ordering::Relaxed) {
                        call(&clients, calls, task, &resent).await;
                        count.send_modify(|count| *count += 1);
                        calls += 1;
                    }
                    if task == 0 { calls } else { 0 }
                });
            }
        }
        Self {
            tasks,
            stop,
            done,
            resent,
        }
    }

    /// Waits for this number of further calls.
    async fn goes_on(&self, calls: u64) {
        let mut done = self.done.clone();
        let until = *done.borrow() + calls;
        let wait = timeout(
            Duration::from_secs(60),
            done.wait_for(|done| *done >= until),
        );
        wait.await.expect("calls go on").unwrap();
    }

    /// How many calls of the counting command there were.
    async fn stop(mut self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        let mut calls = 0;
        while let Some(task) = self.tasks.join_next().await {
            calls += task.unwrap();
        }
        println!(
            "{} calls, {} sent again",
            *self.done.borrow(),
            self.resent.load(Ordering::Relaxed)
        );
        calls
    }
}

/// The first task of each client counts, the others are answered after a while. The servers have their
/// turns, and where one does not take a call, the next one gets it.
async fn call(clients: &[Client], turn: usize, task: u64, resent: &AtomicU64) {
    for client in clients.iter().cycle().skip(turn % clients.len()) {
        let result: Result<u64, Error> = match task {
            0 => client.call(102, &json!({})).await,
            ms => client.call(100, &json!({"value": 7, "ms": ms - 1})).await,
        };
        match result {
            Ok(_) => return,
            // What was not sent or did not run may be sent again, and only that.
            Err(error) if error.is_retryable() => resent.fetch_add(1, Ordering::Relaxed),
            Err(error) => panic!("a call is lost: {error}"),
        };
    }
}

/// Has connections retire under load, as these settings say, until at least 20 have. No call is lost.
async fn retire_under_load(retire: impl FnOnce(&mut Config)) {
    let seen = Seen::default();
    let config = Config::default().with(|config| {
        // A client leaves as soon as it has read that it is to; a machine with much else to do may take its time.
        config.drain.goaway_grace_ms = 10_000;
        config.drain.timeout_ms = 60_000;
        retire(config);
    });
    let place = Place::new(seen.clone(), config);
    let server = place.start().await;

    let load = Load::start(&[&place]);
    load.goes_on(6_000).await;
    let have_retired = async {
        while server.handle.stats().connections_retired < 20 {
            load.goes_on(100).await;
        }
    };
    timeout(PATIENCE, have_retired)
        .await
        .expect("connections retire");

    let resent = Arc::clone(&load.resent);
    let counted = load.stop().await;
    assert_eq!(
        seen.ran.load(Ordering::SeqCst),
        counted as u64,
        "each ran once"
    );
    assert_eq!(
        resent.load(Ordering::Relaxed),
        0,
        "and none had to be sent again"
    );
    assert!(server.drain().await.is_clean);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_is_lost_by_connections_that_retire() {
    retire_under_load(|config| config.drain.requests_per_connection_max = 100).await;
}

/// The age of some is over before their first call is read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_is_lost_by_connections_that_retire_by_their_age() {
    retire_under_load(|config| {
        config.drain.connection_age_max_ms = 40;
        config.drain.requests_per_connection_max = 0;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_is_lost_while_two_servers_are_restarted_in_turn() {
    let seen = Seen::default();
    // As above: a machine may take its time.
    let config = Config::default().with(|config| {
        config.drain.goaway_grace_ms = 10_000;
        config.drain.timeout_ms = 60_000;
    });
    let places = [0, 1].map(|_| Place::new(seen.clone(), config.clone()));
    let [mut first, mut second] = [places[0].start().await, places[1].start().await];
    let load = Load::start(&[&places[0], &places[1]]);
    for _ in 0..5 {
        load.goes_on(300).await;
        assert!(first.drain().await.is_clean);
        first = places[0].start().await;
        load.goes_on(300).await;
        assert!(second.drain().await.is_clean);
        second = places[1].start().await;
    }
    load.goes_on(300).await;
    let counted = load.stop().await;
    assert_eq!(
        seen.ran.load(Ordering::SeqCst),
        counted as u64,
        "each ran once"
    );
    assert!(first.drain().await.is_clean && second.drain().await.is_clean);
}
