//! The connection under every order of events that some thousand schedules come to: its lock is shuttle's,
//! callers are threads, the driver and a server are tasks, and the scheduler chooses who runs at each lock and each await.
//!
//! Run by `.ci/models`. That a model ends shows that no wake-up is lost: shuttle fails where all wait.

mod wire;

use std::task::Poll;

use futures::future::{Either, pending, select};
use futures::{FutureExt, StreamExt};
use rpc_core::Request;
use shuttle::future::{JoinHandle, block_on, spawn, yield_now};
use shuttle::rand::{Rng, thread_rng};
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Runner, thread};

use self::wire::{Behaviour, COUNT, ECHO, Seen, Taken, json, pipe, serve};
use super::*;

/// Schedules of each kind that a model is run under, unless `MODEL_SCHEDULES` says otherwise.
const SCHEDULES: usize = 10_000;

/// The same schedules every time, unless `SHUTTLE_RANDOM_SEED` says otherwise.
const SEED: u64 = 5;

/// How many times a thread is made to wait where it would go on, in the schedules of the second kind.
const PREEMPTIONS: usize = 3;

fn explore(model: fn()) {
    let schedules =
        std::env::var("MODEL_SCHEDULES").map_or(SCHEDULES, |text| text.parse().unwrap());
    let mut config = shuttle::Config::new();
    config.stack_size = 256 * 1024;

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

/// A connection with its driver and a server, each a task.
struct Rig {
    connection: Arc<Connection>,
    shared: Arc<Shared>,
    driver: JoinHandle<Loss>,
    server: JoinHandle<Seen>,
    taken: Taken,
}

impl Rig {
    fn start(in_flight_max: usize, behaviour: Behaviour) -> Self {
        let config = Config::default().with(|config| {
            config.limits.in_flight_per_connection = in_flight_max;
            config.limits.output_bytes_max = 64;
            config.limits.stream_credit = 2;
            // No timers: there is no clock here.
            config.liveness.ping_interval_ms = 0;
            config.timeouts.write_stall_timeout_ms = 0;
        });

        let (near, far) = pipe(48);
        let taken = near.taken();
        let (connection, driver) =
            Connection::new(near, "model".into(), Common::new(Arc::new(config)));

        let shared = Arc::clone(&connection.0);
        let (server, driver) = (spawn(serve(far, behaviour)), spawn(driver));

        Self {
            connection,
            shared,
            driver,
            server,
            taken,
        }
    }

    /// Lets go of the connection and waits for both sides.
    fn end(self) -> (Loss, Seen) {
        let Self {
            connection,
            shared,
            driver,
            server,
            ..
        } = self;

        drop(connection);
        let loss = block_on(driver).expect("the driver ends");
        assert_is_left_empty(&shared);
        (loss, block_on(server).expect("the server ends"))
    }
}

fn assert_is_left_empty(shared: &Shared) {
    let state = shared.lock();
    assert!(state.ended.is_some(), "the end is known");
    assert!(
        state.calls.is_empty(),
        "{} calls are left",
        state.calls.len()
    );
    assert_eq!(
        state.reached.waiting(),
        0,
        "a caller still waits for a flush"
    );
}

/// Begins a call as `Command` does: when there is room, and with the waker of the task that awaits it.
async fn begin(
    connection: &Arc<Connection>,
    request: &Request<'_>,
    kind: CallKind,
) -> Option<PendingCall> {
    loop {
        let begun = poll_fn(|cx| {
            let connection = Arc::clone(connection);
            Poll::Ready(connection.try_start(request, Due::Never, kind, cx.waker()))
        });
        match begun.await {
            Ok(call) => return Some(call),
            Err(refused) => match refused.refusal {
                Refusal::Full => refused.connection.wait_for_room(kind).await,
                Refusal::Over => return None,
            },
        }
    }
}

/// A call and its reply; none where the connection takes no more calls.
async fn echo(
    connection: &Arc<Connection>,
    params: u64,
    kind: CallKind,
) -> Option<Result<u64, Error>> {
    let call = begin(connection, &Request::new(ECHO, json(params)), kind).await?;

    Some(call.await.map(|data| {
        data.expect("an echo has data")
            .decode()
            .expect("it is a number")
    }))
}

fn any_kind() -> CallKind {
    if thread_rng().r#gen() {
        CallKind::Ordered
    } else {
        CallKind::Multiplexed
    }
}

/// Is ready after `count` turns of others.
async fn turns(count: usize) {
    for _ in 0..count {
        yield_now().await;
    }
}

/// Runs `of` in `count` threads, with the connection and the thread's number, and returns what each came to.
fn in_threads<T: Send + 'static>(
    rig: &Rig,
    count: u64,
    of: impl Fn(Arc<Connection>, u64) -> T + Clone + Send + 'static,
) -> Vec<T> {
    let start = |number| {
        let (connection, of) = (Arc::clone(&rig.connection), of.clone());
        thread::spawn(move || of(connection, number))
    };
    let threads: Vec<_> = (0..count).map(start).collect();

    threads
        .into_iter()
        .map(|thread| thread.join().expect("no thread panics"))
        .collect()
}

#[test]
fn every_call_ends_once_with_its_own_reply() {
    explore(|| {
        let rig = Rig::start(2, Behaviour::default());
        in_threads(&rig, 3, |connection, number| {
            for params in [number * 2, number * 2 + 1] {
                let reply = block_on(echo(&connection, params, any_kind()));
                assert_eq!(reply.unwrap().unwrap(), params);
            }
        });

        let (loss, mut seen) = rig.end();
        assert_eq!(loss.calls, 0);
        seen.calls.sort_unstable();
        assert_eq!(seen.calls, [0, 1, 2, 3, 4, 5], "each call was sent once");
    });
}

#[test]
fn a_call_that_is_dropped_at_any_point_frees_its_place() {
    explore(|| {
        let rig = Rig::start(1, Behaviour::default());
        in_threads(&rig, 3, |connection, number| {
            let kind = any_kind();
            if number > 0 {
                let turns = turns(thread_rng().gen_range(0..6));
                let call = echo(&connection, number, kind);
                if let Either::Left((reply, _)) = block_on(select(call.boxed(), turns.boxed())) {
                    assert_eq!(reply.unwrap().unwrap(), number);
                }
            }

            assert_eq!(
                block_on(echo(&connection, 10 + number, kind))
                    .unwrap()
                    .unwrap(),
                10 + number
            );
        });

        let (loss, _) = rig.end();
        assert_eq!(loss.calls, 0);
    });
}

#[test]
fn a_connection_that_is_lost_leaves_no_call_behind_and_says_what_has_not_run() {
    explore(|| {
        let gone_after = Some(thread_rng().gen_range(0..4));
        let rig = Rig::start(
            2,
            Behaviour {
                gone_after,
                ..Behaviour::default()
            },
        );

        let outcomes = in_threads(&rig, 3, |connection, number| {
            let mut outcomes = Vec::new();
            for params in (number * 10..).take(4) {
                match block_on(echo(&connection, params, any_kind())) {
                    Some(outcome) => outcomes.push((params, outcome)),
                    None => break,
                }
            }

            // No caller waits for what will not happen.
            let _ = block_on(connection.flush());
            outcomes
        });

        let taken = rig.taken.clone();
        let (loss, seen) = rig.end();
        let outcomes: Vec<_> = outcomes.into_iter().flatten().collect();

        assert_eq!(
            outcomes
                .iter()
                .filter(|(_, outcome)| outcome.is_err())
                .count(),
            loss.calls
        );

        for (params, outcome) in outcomes {
            match outcome {
                Ok(reply) => assert_eq!(reply, params),
                Err(error) if error.may_have_run() => {
                    assert_ne!(taken.bytes(), 0, "nothing has left")
                }
                Err(_) => assert!(
                    !seen.calls.contains(&params),
                    "{params} was read by the server"
                ),
            }
        }
    });
}

#[test]
fn callers_that_wait_for_room_or_for_a_flush_are_told_that_the_connection_is_lost() {
    explore(|| {
        let gone_after = Some(thread_rng().gen_range(0..4));
        let rig = Rig::start(
            2,
            Behaviour {
                gone_after,
                ..Behaviour::default()
            },
        );

        // Of oneway calls none is in flight, whose end would make room.
        in_threads(&rig, 3, |connection, number| {
            let mut request = Request::new(ECHO, json(number));
            request.oneway = true;

            loop {
                match connection.notify(&request, CallKind::Multiplexed) {
                    Err(Refusal::Over) => return,
                    Err(Refusal::Full) => block_on(connection.wait_for_room(CallKind::Multiplexed)),
                    Ok(()) if number > 0 => {}
                    Ok(()) if block_on(connection.flush()).is_err() => return,
                    Ok(()) => {}
                }
            }
        });

        assert_eq!(rig.end().0.calls, 0);
    });
}

#[test]
fn a_driver_that_is_stopped_leaves_no_call_behind() {
    explore(|| {
        let Rig {
            connection,
            shared,
            driver,
            server,
            ..
        } = Rig::start(1, Behaviour::default());

        let callers: Vec<_> = (0..2_u64)
            .map(|number| {
                let connection = Arc::clone(&connection);
                thread::spawn(move || {
                    let mut not_run = Vec::new();
                    for params in (number * 100..).take(4) {
                        match block_on(echo(&connection, params, CallKind::Multiplexed)) {
                            Some(Ok(reply)) => assert_eq!(reply, params),
                            Some(Err(error)) if error.may_have_run() => {}
                            Some(Err(_)) => not_run.push(params),
                            None => break,
                        }
                    }

                    not_run
                })
            })
            .collect();

        block_on(turns(thread_rng().gen_range(0..8)));
        driver.abort();

        let not_run = callers
            .into_iter()
            .flat_map(|caller| caller.join().expect("no caller panics"));
        let not_run: Vec<_> = not_run.collect();

        assert!(block_on(driver).is_err());
        assert_is_left_empty(&shared);

        let seen = block_on(server).expect("the server sees the end");
        assert!(
            not_run.iter().all(|params| !seen.calls.contains(params)),
            "{not_run:?} were read by the server"
        );
    });
}

#[test]
fn after_a_goaway_calls_in_flight_are_answered_and_the_driver_ends_by_itself() {
    explore(|| {
        let goaway_after = Some(thread_rng().gen_range(0..4));
        let rig = Rig::start(
            2,
            Behaviour {
                goaway_after,
                ..Behaviour::default()
            },
        );

        in_threads(&rig, 2, |connection, number| {
            while let Some(outcome) = block_on(echo(&connection, number, CallKind::Multiplexed)) {
                assert_eq!(outcome.unwrap(), number);
            }
        });

        let Rig {
            connection,
            shared,
            driver,
            server,
            ..
        } = rig;

        let loss = block_on(driver).expect("the driver ends while there are handles");
        assert_eq!(loss.calls, 0);
        assert_is_left_empty(&shared);
        block_on(server).expect("the server sees the end");
        drop(connection);
    });
}

#[test]
fn a_stream_is_whole_and_within_its_credit_or_given_up() {
    explore(|| {
        let rig = Rig::start(1, Behaviour::default());
        in_threads(&rig, 2, |connection, number| {
            let read = async {
                let mut request = Request::new(COUNT, json(5));
                request.credit = Some(2);
                let call = begin(&connection, &request, CallKind::Stream)
                    .await
                    .unwrap();
                PendingStream::new(call.polled_elsewhere(), None)
                    .collect::<Vec<_>>()
                    .await
            };

            let patience = match number {
                0 => pending().boxed(),
                _ => turns(thread_rng().gen_range(0..12)).boxed(),
            };

            if let Either::Left((items, _)) = block_on(select(read.boxed(), patience)) {
                let items: Vec<u64> = items
                    .into_iter()
                    .map(|item| item.unwrap().decode().unwrap())
                    .collect();
                assert_eq!(items, [0, 1, 2, 3, 4]);
            }
        });

        assert_eq!(rig.end().0.calls, 0);
    });
}

#[test]
fn a_flush_ends_when_what_was_begun_before_it_has_left_and_was_read() {
    explore(|| {
        let rig = Rig::start(2, Behaviour::default());
        let taken = rig.taken.clone();

        in_threads(&rig, 2, move |connection, number| {
            let mut request = Request::new(ECHO, json(number));
            request.oneway = true;

            for _ in 0..2 {
                while let Err(refusal) = connection.notify(&request, CallKind::Multiplexed) {
                    assert!(matches!(refusal, Refusal::Full));
                    block_on(connection.wait_for_room(CallKind::Multiplexed));
                }

                // Not all that was appended: another thread's ping may follow it.
                let begun = connection.0.lock().reached.oneway;
                block_on(connection.flush()).unwrap();
                assert!(taken.bytes() >= begun);
                assert!(connection.0.lock().reached.read >= begun);
            }
        });

        assert_eq!(rig.end().1.calls.len(), 4);
    });
}
