//! The pool as a whole, with real threads.

use std::future::Future;
use std::pin::Pin;
use std::sync::mpsc::{self, Sender};
use std::time::Duration;

use futures::{FutureExt, poll};
use rpc_core::{Code, RawJson, Status};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::*;
use crate::limit::Memory;

/// Longer than anything here may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The other connection: that of most pieces is [`Caller::default`].
fn other() -> Caller {
    Caller::new(&Arc::new(Peer::new("another test", 7)))
}

type Pending = Pin<Box<dyn Future<Output = Result<&'static str, BlockingError>> + Send>>;

/// A pool whose pieces say when they begin.
struct Rig {
    pool: BlockingPool,
    begins: UnboundedSender<&'static str>,
    begun: UnboundedReceiver<&'static str>,
}

impl Rig {
    fn new(threads_max: usize, waiting_max: usize) -> Self {
        let (begins, begun) = unbounded_channel();
        Self {
            pool: BlockingPool::new(threads_max, waiting_max),
            begins,
            begun,
        }
    }

    /// Hands over a piece that runs until its sender is gone.
    async fn holds(&self, caller: Caller, name: &'static str) -> (Pending, Sender<()>) {
        let (release, released) = mpsc::channel();
        let begins = self.begins.clone();

        let work = move |_: &CallToken| {
            let _ = begins.send(name);
            let _ = released.recv_timeout(PATIENCE);
            name
        };
        let mut piece: Pending = Box::pin(self.pool.run(caller, work));
        assert!(poll!(&mut piece).is_pending());
        (piece, release)
    }

    /// Hands over a piece that only says that it begins.
    async fn passes(&self, caller: Caller, name: &'static str) -> Pending {
        self.holds(caller, name).await.0
    }

    async fn begun(&mut self) -> &'static str {
        let begun = tokio::time::timeout(PATIENCE, self.begun.recv()).await;
        begun.expect("a piece begins").unwrap()
    }
}

#[test]
fn the_context_of_a_call_names_the_connection_of_its_work() {
    let peer = Arc::new(Peer::new("another test", 7));
    let mut request = Request::new(100, RawJson::parse("{}").unwrap());
    let without_connection = Context::of(&request, || 0);
    request.scope.set_peer(&peer);
    let context = Context::of(&request, || 0);

    assert_eq!(Caller::from(&context).id(), other().id());
    assert_eq!(
        Caller::from(&without_connection).id(),
        Caller::default().id()
    );
}

#[tokio::test]
async fn ten_thousand_pieces_of_one_connection_delay_another_one_by_those_at_work() {
    let mut rig = Rig::new(2, 10_000);
    let (_first, release) = rig.holds(Caller::default(), "first").await;
    let (_second, _held) = rig.holds(Caller::default(), "second").await;
    let mut begun = [rig.begun().await, rig.begun().await];
    begun.sort_unstable();
    assert_eq!(begun, ["first", "second"]);

    let mut many = Vec::new();
    for _ in 0..10_000 {
        many.push(rig.passes(Caller::default(), "one of many").await);
    }
    let other = rig.passes(other(), "the other").await;

    drop(release);
    assert_eq!(rig.begun().await, "the other");
    assert_eq!(other.await, Ok("the other"));
    assert_eq!(rig.begun().await, "one of many");

    for piece in many {
        assert_eq!(piece.await, Ok("one of many"));
    }
}

#[tokio::test]
async fn a_connection_that_takes_no_results_has_a_few_built_and_the_others_go_on() {
    let mut rig = Rig::new(2, 100);
    let mut pieces = Vec::new();
    for _ in 0..20 {
        pieces.push(rig.passes(Caller::default(), "one of many").await);
    }

    // The futures are not polled, as those of a connection whose peer does not read.
    for _ in 0..4 {
        rig.begun().await;
    }
    rig.pool.at_rest().await;
    let built = rig.pool.report().started;
    assert!((4..=5).contains(&built), "{built}");

    let other = rig.passes(other(), "the other").await;
    assert_eq!(other.await.unwrap(), "the other");
    assert_eq!(rig.pool.report().started, built + 1);

    // Each result that is taken, or given up, makes room for another one.
    drop(pieces.drain(..2));
    drop(pieces.split_off(16));
    for piece in pieces {
        piece.await.unwrap();
    }
    let report = rig.pool.report();
    assert_eq!(
        (report.waiting, report.started, report.abandoned),
        (0, 19, 2)
    );
}

#[tokio::test]
async fn a_piece_whose_future_is_dropped_is_not_begun() {
    let mut rig = Rig::new(1, 10);
    let (first, release) = rig.holds(Caller::default(), "first").await;
    assert_eq!(rig.begun().await, "first");

    drop(rig.passes(Caller::default(), "dropped").await);
    let last = rig.passes(Caller::default(), "last").await;
    let report = rig.pool.report();
    assert_eq!(
        (report.running, report.waiting, report.abandoned),
        (1, 1, 1)
    );

    drop(release);
    assert_eq!((first.await, last.await), (Ok("first"), Ok("last")));
    assert_eq!(rig.begun().await, "last");

    rig.pool.at_rest().await;
    let report = rig.pool.report();
    assert_eq!((report.running, report.waiting, report.started), (0, 0, 2));
}

#[tokio::test]
async fn work_learns_that_its_call_is_over_while_it_runs() {
    let pool = BlockingPool::new(1, 10);
    let (say_begun, begun) = tokio::sync::oneshot::channel();
    let (tell, told) = tokio::sync::oneshot::channel();

    let work = move |call: &CallToken| {
        say_begun.send(call.is_over()).unwrap();
        while !call.is_over() {
            std::thread::yield_now();
        }
        tell.send(()).unwrap();
    };
    let mut piece = Box::pin(pool.run(Caller::default(), work));
    assert!(poll!(&mut piece).is_pending());
    assert!(!begun.await.unwrap());

    drop(piece);
    tokio::time::timeout(PATIENCE, told).await.unwrap().unwrap();
    pool.at_rest().await;
}

#[tokio::test]
async fn as_many_pieces_run_at_one_time_as_may_and_a_limited_kind_has_its_own_maximum() {
    let mut rig = Rig::new(3, 100);
    let mut held = Vec::new();
    for _ in 0..20 {
        held.push(rig.holds(Caller::default(), "piece").await);
    }

    for _ in 0..3 {
        rig.begun().await;
    }
    let report = rig.pool.report();
    assert_eq!(
        (report.threads_max, report.running, report.waiting),
        (3, 3, 17)
    );
    assert_eq!(rig.begun.recv().now_or_never(), None);

    for (piece, release) in held {
        drop(release);
        assert_eq!(piece.await, Ok("piece"));
    }
    rig.pool.at_rest().await;
    assert_eq!(rig.pool.report().started, 20);

    // Of two pieces of a kind with one place, the second waits, though there are threads.
    let all = rig.pool.clone();
    rig.pool = all.limited(1);
    while rig.begun.recv().now_or_never().is_some() {}
    let (_first, release) = rig.holds(Caller::default(), "first").await;
    let second = rig.passes(other(), "second").await;
    assert_eq!(rig.begun().await, "first");

    rig.pool = all;
    let any = rig.passes(Caller::default(), "of another kind").await;
    assert_eq!(any.await, Ok("of another kind"));
    assert_eq!(rig.begun().await, "of another kind");
    drop(release);
    assert_eq!(second.await, Ok("second"));
}

#[tokio::test]
async fn further_pieces_of_a_connection_are_refused_with_the_limit_named() {
    let mut rig = Rig::new(1, 2);
    let (_first, release) = rig.holds(Caller::default(), "first").await;
    assert_eq!(rig.begun().await, "first");
    let waiting = [
        rig.passes(Caller::default(), "second").await,
        rig.passes(Caller::default(), "third").await,
    ];

    let refused = rig.pool.run(Caller::default(), |_| ()).await.unwrap_err();
    assert_eq!(refused, BlockingError::Refused { waiting_max: 2 });
    assert_eq!(rig.pool.report().refused, 1);

    let status = Status::from(refused);
    assert_eq!(status.code(), Code::RESOURCE_EXHAUSTED);
    assert!(status.is_rejected() && status.retry_after().is_some());
    assert!(
        status
            .message()
            .starts_with("2 calls of this connection wait")
            && status
                .message()
                .contains("`blocking.waiting_per_connection`"),
        "{status:?}"
    );

    // Another connection has places of its own.
    let other = rig.passes(other(), "other").await;
    drop(release);
    assert_eq!(other.await, Ok("other"));
    for piece in waiting {
        piece.await.unwrap();
    }
}

#[tokio::test]
async fn a_panic_goes_on_in_the_future_and_the_thread_goes_on_with_others() {
    let pool = BlockingPool::new(1, 10);
    let work = |_: &CallToken| -> u64 { panic!("as it should") };
    let panicked = std::panic::AssertUnwindSafe(pool.run(Caller::default(), work))
        .catch_unwind()
        .await;
    assert_eq!(
        panicked.unwrap_err().downcast_ref::<&str>(),
        Some(&"as it should")
    );

    assert_eq!(pool.run(Caller::default(), |_| 5).await, Ok(5));
    pool.at_rest().await;
    assert_eq!(pool.report().started, 2);
}

#[tokio::test]
async fn a_result_that_panics_in_its_drop_costs_no_thread() {
    struct Panics;

    impl Drop for Panics {
        fn drop(&mut self) {
            panic!("as it should");
        }
    }

    let pool = BlockingPool::new(1, 10);
    let (release, released) = mpsc::channel::<()>();
    let (say_begun, begun) = tokio::sync::oneshot::channel();
    let work = move |_: &CallToken| {
        say_begun.send(()).unwrap();
        let _ = released.recv_timeout(PATIENCE);
        Panics
    };
    let mut dropped = Box::pin(pool.run(Caller::default(), work));
    assert!(poll!(&mut dropped).is_pending());
    begun.await.unwrap();
    drop(dropped);

    let mut next = Box::pin(pool.run(Caller::default(), |_| 5));
    assert!(poll!(&mut next).is_pending());
    drop(release);
    assert_eq!(next.await, Ok(5));
}

#[test]
fn a_piece_whose_runtime_has_ended_fails_and_the_pool_goes_on_in_others() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
    };
    let (ended, other) = (runtime(), runtime());
    let pool = BlockingPool::new(1, 10);

    let handle = ended.handle().clone();
    ended.shutdown_background();
    {
        let _entered = handle.enter();
        let piece = pool.run(Caller::default(), |_| ()).now_or_never();
        assert_eq!(piece, Some(Err(BlockingError::ShuttingDown)));
    }

    let report = pool.report();
    assert_eq!((report.running, report.waiting, report.started), (0, 0, 0));
    assert_eq!(
        other.block_on(pool.run(Caller::default(), |_| 5)),
        Ok(5),
        "its only thread is free"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn whatever_is_dropped_and_whenever_each_piece_ends_once_and_nothing_is_left() {
    const TASKS: u64 = 8;
    const PIECES: u64 = 500;

    let pool = BlockingPool::new(3, 10_000);
    let kinds = [pool.clone(), pool.limited(1), pool.limited(2)];
    let task = |number: u64| {
        let kinds = kinds.clone();
        async move {
            for n in 0..PIECES {
                let kind = &kinds[usize::try_from(fastrand::u64(0..3)).unwrap()];
                let piece = kind.run(
                    Caller::new(&Arc::new(Peer::new("a test", number % 3))),
                    move |_| n,
                );
                let turns = fastrand::u64(0..4);
                let given_up = async {
                    for _ in 0..turns {
                        tokio::task::yield_now().await;
                    }
                };

                if turns == 0 {
                    assert_eq!(piece.await, Ok(n));
                } else {
                    tokio::select! {
                        done = piece => assert_eq!(done, Ok(n)),
                        () = given_up => {}
                    }
                }
            }
        }
    };

    let tasks: Vec<_> = (0..TASKS)
        .map(|number| tokio::spawn(task(number)))
        .collect();
    for task in tasks {
        let ended = tokio::time::timeout(PATIENCE, task).await;
        ended.expect("no piece is forgotten").unwrap();
    }

    pool.at_rest().await;
    let report = pool.report();
    assert_eq!((report.running, report.waiting, report.refused), (0, 0, 0));
    // A future that is dropped before its first poll has handed nothing over.
    assert!(report.started + report.abandoned <= TASKS * PIECES);
    assert!(report.started >= TASKS, "{report:?}");
}

#[tokio::test]
async fn results_count_for_all_connections_from_before_they_are_built_until_they_are_taken() {
    const RESULT_MAX: usize = 1_000_000;
    const RESULT: usize = 5_000;
    let size = || ResultSize {
        bytes_max: RESULT_MAX,
        of: |result: &Vec<u8>| result.len(),
    };
    let (pool, memory) = (BlockingPool::new(2, 10), Arc::new(Memory::new(1_600_000)));
    pool.bind(&memory);

    let (begins, mut begun) = unbounded_channel();
    let (release, released) = mpsc::channel::<()>();
    let work = move |_: &CallToken| {
        let _ = begins.send(());
        let _ = released.recv_timeout(PATIENCE);
        vec![0; RESULT]
    };
    let peer = Arc::new(Peer::new("a test", 1));
    let mut first = Box::pin(pool.run_sized(Caller::new(&peer), size(), work));
    assert!(poll!(&mut first).is_pending());
    let begun = tokio::time::timeout(PATIENCE, begun.recv()).await;
    begun.expect("it begins");

    // The connection has told nothing of it, and does not tell of it either.
    assert_eq!((memory.held(), peer.held_bytes()), (1_000_000, RESULT_MAX));
    assert_eq!(peer.held_beside_results(), 0);
    let second = pool.run_sized(other(), size(), |_| Vec::new()).await;
    assert_eq!(second, Err(BlockingError::NoMemory { limit: 1_600_000 }));

    drop(release);
    pool.at_rest().await;
    assert_eq!((memory.held(), peer.held_bytes()), (5_000, RESULT));
    let second = pool.run_sized(other(), size(), |_| Vec::new()).await;
    assert_eq!(second, Ok(Vec::new()));

    assert_eq!(first.await.unwrap().len(), RESULT);
    assert_eq!((memory.held(), peer.held_bytes()), (0, 0));
    assert_eq!(memory.peak(), 1_005_000);
}
