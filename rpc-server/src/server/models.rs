//! Models of what connections share, and of the drain, under every order of events that some thousand
//! schedules come to: locks and counters are shuttle's, and the scheduler chooses which task runs at
//! each of them and at each await.
//!
//! Run by `.ci/models`. The clock stands still. tokio's own parts (`TaskTracker`, `CancellationToken`) are used as
//! they are: others run before and after each of their steps, not within one.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use futures::future::{Either, select};
use rpc_core::{RawJson, Request, Service, Status, service_fn};
use shuttle::future::{JoinHandle, block_on, spawn, yield_now};
use shuttle::rand::{Rng, thread_rng};
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Runner, thread};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, DuplexStream, duplex};

use super::*;
use crate::layers::{ConcurrencyLimit, RateLimit};
use crate::limit::Addresses;
use crate::{Config, Grants, Layer, Router, State};

/// Schedules of each kind that a model is run under, unless `MODEL_SCHEDULES` says otherwise.
const SCHEDULES: usize = 3_000;

/// The same schedules every time, unless `SHUTTLE_RANDOM_SEED` says otherwise.
const SEED: u64 = 5;

/// How many times a thread is made to wait where it would go on, in the schedules of the second kind.
const PREEMPTIONS: usize = 3;

fn explore(model: fn()) {
    let schedules =
        std::env::var("MODEL_SCHEDULES").map_or(SCHEDULES, |text| text.parse().unwrap());

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    let runtime = runtime.unwrap();

    // Shuttle runs all of a model's threads on this one.
    let _entered = runtime.enter();

    let mut config = shuttle::Config::new();
    config.stack_size = 512 * 1024;
    config.silence_warnings = true;

    Runner::new(
        RandomScheduler::new_from_seed(SEED, schedules),
        config.clone(),
    )
    .run(model);
    Runner::new(
        PctScheduler::new_from_seed(SEED, PREEMPTIONS, schedules),
        config,
    )
    .run(model);
}

/// Runs `of` in three threads.
fn in_threads(of: impl Fn(usize) + Clone + Send + 'static) {
    let start = |number| {
        let of = of.clone();
        thread::spawn(move || of(number))
    };

    let threads: Vec<_> = (0..3).map(start).collect();
    for thread in threads {
        thread.join().expect("no thread panics");
    }
}

/// Is ready after a number of turns of others, at most `most`.
async fn some_turns(most: usize) {
    for _ in 0..thread_rng().gen_range(0..most) {
        yield_now().await;
    }
}

/// Counts who is in it; seen by the model alone, so that it changes no order.
#[derive(Default)]
struct Inside {
    now: AtomicUsize,
    ended: AtomicUsize,
}

struct Visit(Arc<Inside>);

impl Inside {
    fn enter(self: &Arc<Self>, limit: usize) -> Visit {
        assert!(
            self.now.fetch_add(1, SeqCst) < limit,
            "more than {limit} are in"
        );
        Visit(Arc::clone(self))
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, SeqCst);
    }
}

#[test]
fn a_concurrency_limit_is_never_exceeded_and_its_places_come_back() {
    explore(|| {
        let (limit, inside) = (ConcurrencyLimit::new(2), Arc::<Inside>::default());
        let service = limit.layer(service_fn(move |_: Request<'_>| {
            let inside = Arc::clone(&inside);
            async move {
                let _visit = inside.enter(2);
                some_turns(3).await;
                Ok(rpc_core::Reply::empty())
            }
        }));
        let service = Arc::new(service);

        in_threads(move |_| {
            for _ in 0..2 {
                let call = Box::pin(service.call(Request::new(100, RawJson::NULL)));

                // Some are dropped while they run.
                if let Either::Left((Err(status), _)) =
                    block_on(select(call, Box::pin(some_turns(4))))
                {
                    assert!(status.is_rejected());
                }
            }
        });

        assert_eq!(limit.running(), 0);
        assert!(limit.shed() <= 6);
    });
}

#[test]
fn an_address_never_has_more_places_than_its_limit_and_all_come_back() {
    explore(|| {
        let (addresses, inside) = (Arc::<Addresses>::default(), Arc::<Inside>::default());
        let address = "192.0.2.1".parse().unwrap();
        let shared = Arc::clone(&addresses);

        in_threads(move |_| {
            for _ in 0..2 {
                if let Some(place) = shared.enter(address, 2) {
                    let visit = inside.enter(2);
                    thread::yield_now();
                    drop(visit);
                    drop(place);
                }
            }
        });

        let places = [addresses.enter(address, 2), addresses.enter(address, 2)];
        assert!(places.iter().all(Option::is_some), "a place is lost");
    });
}

#[test]
fn a_rate_limit_lets_exactly_a_second_s_worth_begin_at_one_time() {
    explore(|| {
        let (limit, ran) = (RateLimit::per_second(4), Arc::new(AtomicUsize::new(0)));
        let service = Arc::new(limit.layer(service_fn(|_: Request<'_>| async {
            Ok(rpc_core::Reply::empty())
        })));
        let count = Arc::clone(&ran);

        in_threads(move |_| {
            for _ in 0..2 {
                let call = service.call(Request::new(100, RawJson::NULL));
                count.fetch_add(usize::from(block_on(call).is_ok()), SeqCst);
            }
        });

        assert_eq!((ran.load(SeqCst), limit.shed()), (4, 2));
    });
}

async fn work(State(inside): State<Arc<Inside>>) -> Result<u64, Status> {
    let _visit = inside.enter(usize::MAX);
    some_turns(4).await;
    inside.ended.fetch_add(1, SeqCst);
    Ok(7)
}

/// The clock stands still: what is to come after some time comes at once.
fn at_once() -> Config {
    Config::default().with(|config| config.drain.goaway_grace_ms = 0)
}

/// A server without listeners.
fn server(inside: &Arc<Inside>, config: Config) -> Server {
    let router = Router::with_state(Arc::clone(inside))
        .route(100, work)
        .unwrap();
    block_on(Server::builder().router(router).config(config).bind()).unwrap()
}

/// Sends `calls` calls, and returns the codes of all that is answered before the server ends the connection.
async fn call(mut end: DuplexStream, calls: u64) -> Vec<u64> {
    for id in 0..calls {
        some_turns(3).await;
        let line = format!("{{\"id\":{id},\"cmdid\":100}}\n");
        if end.write_all(line.as_bytes()).await.is_err() {
            break;
        }
    }

    let mut text = String::new();
    let _ = end.read_to_string(&mut text).await;

    let mut codes = vec![None; usize::try_from(calls).unwrap()];
    let mut is_to_go = false;

    // One that is cut may end within a line.
    for line in text
        .split_inclusive('\n')
        .filter(|line| line.ends_with('\n'))
    {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        is_to_go |= line["event"] == "goaway";

        if let Some(id) = line["id"].as_u64() {
            let code = line["code"].as_u64().unwrap();
            // What a drain has no time for any more may have run in part.
            let message = line["message"].as_str().unwrap_or_default();
            let may_have_run = code == 0 || message.contains("drain.timeout_ms");
            assert_eq!(line["rejected"] == true, !may_have_run, "{line}");
            assert!(
                code != 14 || is_to_go,
                "it is turned away before it knows that it is to go"
            );

            let before = codes[usize::try_from(id).unwrap()].replace(code);
            assert_eq!(before, None, "a call is answered once");
        }
    }

    codes.into_iter().flatten().collect()
}

/// A connection, and two calls on it.
fn client(server: &ServerHandle) -> JoinHandle<Vec<u64>> {
    let (near, far) = duplex(256);
    spawn(server.serve_connection(near, "model"));
    spawn(call(far, 2))
}

#[test]
fn at_the_drain_timeout_nothing_is_left_of_what_is_not_done() {
    explore(|| {
        let inside = Arc::<Inside>::default();
        let server = server(
            &inside,
            at_once().with(|config| config.drain.timeout_ms = 0),
        );
        let handle = server.handle();
        let clients = [(); 2].map(|()| client(&handle));

        let drained = block_on(server.serve(some_turns(12))).unwrap();
        assert_eq!(drained.is_clean, drained.dropped == 0, "{drained:?}");
        assert_is_left_empty(&handle, &inside);

        let replies: Vec<u64> = clients
            .into_iter()
            .flat_map(|client| block_on(client).unwrap())
            .collect();
        assert!(
            replies.iter().all(|code| [0, 14].contains(code)),
            "{replies:?}"
        );
    });
}

#[test]
fn a_drain_answers_what_has_run_and_ends_with_nothing_left() {
    explore(|| {
        let inside = Arc::<Inside>::default();
        let server = server(&inside, at_once());
        let handle = server.handle();
        let clients = [(); 2].map(|()| client(&handle));

        let drained = block_on(server.serve(some_turns(12))).unwrap();
        assert!(drained.is_clean && drained.dropped == 0);

        let replies: Vec<u64> = clients
            .into_iter()
            .flat_map(|client| block_on(client).unwrap())
            .collect();
        let done = replies.iter().filter(|code| **code == 0).count();

        assert!(
            replies.iter().all(|code| [0, 14].contains(code)),
            "{replies:?}"
        );
        assert_eq!(
            done,
            inside.ended.load(SeqCst),
            "exactly what has run is answered"
        );
        assert_eq!(
            replies.len() as u64,
            handle.stats().requests,
            "what was read is answered"
        );

        assert_is_left_empty(&handle, &inside);
    });
}

#[test]
fn calls_in_flight_on_all_connections_are_shed_by_count_and_none_stays_in_the_count() {
    explore(|| {
        let inside = Arc::<Inside>::default();
        let server = server(
            &inside,
            at_once().with(|config| config.admission.in_flight_max = 2),
        );
        let handle = server.handle();

        let clients: Vec<_> = (0..3)
            .map(|number| {
                let (near, far) = duplex(256);
                let connection = spawn(handle.serve_connection(near, "model"));

                // One goes in the middle of its calls.
                let client = async move {
                    match number {
                        0 => match select(Box::pin(call(far, 2)), Box::pin(some_turns(8))).await {
                            Either::Left((codes, _)) => codes,
                            Either::Right(_) => Vec::new(),
                        },
                        _ => call(far, 3).await,
                    }
                };

                (spawn(client), connection, number)
            })
            .collect();

        block_on(some_turns(24));
        let drained = block_on(server.serve(some_turns(12))).unwrap();
        assert!(drained.is_clean);

        for (client, connection, _) in clients {
            let codes = block_on(client).unwrap();
            assert!(
                codes.iter().all(|code| [0, 8, 14].contains(code)),
                "{codes:?}"
            );

            block_on(connection).unwrap();
        }

        assert_is_left_empty(&handle, &inside);
    });
}

#[test]
fn grants_that_change_hold_for_whatever_comes_after() {
    explore(|| {
        let inside = Arc::<Inside>::default();
        let handle = server(&inside, at_once()).handle();
        let (near, far) = duplex(256);
        let connection = spawn(handle.serve_connection(near, "model"));

        let mut client = BufReader::new(far);
        let mut ask = async |id: u64| {
            let mut line = format!("{{\"id\":{id},\"cmdid\":100}}\n");
            client.write_all(line.as_bytes()).await.unwrap();
            line.clear();
            client.read_line(&mut line).await.unwrap();
            serde_json::from_str::<serde_json::Value>(&line).unwrap()["code"]
                .as_u64()
                .unwrap()
        };

        let elsewhere = handle.clone();
        let change = thread::spawn(move || elsewhere.set_grants(Some(Grants::new())));
        assert!([0, 7].contains(&block_on(ask(1))));
        change.join().unwrap();
        assert_eq!(block_on(ask(2)), 7);

        drop(client);
        block_on(connection).unwrap();
    });
}

fn assert_is_left_empty(handle: &ServerHandle, inside: &Inside) {
    let stats = handle.stats();
    assert_eq!((stats.connections_open, stats.in_flight), (0, 0));
    assert_eq!(inside.now.load(SeqCst), 0, "a handler is left");

    let admission = &handle.shared.reporter.admission;
    let most = usize::try_from(admission.limit()).unwrap();
    assert_eq!(admission.places(0, most - 1), 1, "a place is lost");
}
