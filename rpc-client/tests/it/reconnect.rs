//! Coming back after a loss: who begins it, how often it is tried, what callers get meanwhile.

use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use rpc_client::{BoxByteStream, Connect};
use rpc_client::{Client, Config, ConnectionEvent, Mode};
use rpc_server::{Server, ServerHandle};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::support::{Seen, router};

/// A server that can be cut off, with all of its connections, and come back.
#[derive(Clone)]
struct Island(Arc<Mutex<State>>);

struct State {
    server: ServerHandle,
    is_up: bool,
    connections: JoinSet<()>,
    attempts: Vec<Instant>,
    accepted: Vec<Instant>,
}

impl Island {
    async fn new() -> Self {
        let server = Server::builder()
            .router(router(Seen::default()))
            .bind()
            .await
            .unwrap()
            .handle();
        let (connections, attempts, accepted) = (JoinSet::new(), Vec::new(), Vec::new());
        Self(Arc::new(Mutex::new(State {
            server,
            is_up: true,
            connections,
            attempts,
            accepted,
        })))
    }

    fn client(&self, config: Config) -> Client {
        Client::builder("island")
            .config(config)
            .connector(self.clone())
            .build()
    }

    /// Cuts every connection, and forgets what was counted.
    fn cut(&self, is_up: bool) {
        let mut state = self.0.lock().unwrap();
        state.is_up = is_up;
        state.connections.abort_all();
        state.attempts.clear();
        state.accepted.clear();
    }

    fn rise(&self) {
        self.0.lock().unwrap().is_up = true;
    }

    fn attempts(&self) -> Vec<Instant> {
        self.0.lock().unwrap().attempts.clone()
    }

    fn accepted(&self) -> Vec<Instant> {
        self.0.lock().unwrap().accepted.clone()
    }
}

impl Connect for Island {
    fn connect(&self, _address: &str) -> BoxFuture<'static, io::Result<BoxByteStream>> {
        let mut state = self.0.lock().unwrap();
        state.attempts.push(Instant::now());
        let result = if state.is_up {
            state.accepted.push(Instant::now());
            let (ours, theirs) = tokio::io::duplex(1024);
            let serve = state.server.serve_connection(theirs, "island");
            state.connections.spawn(serve);
            Ok(Box::new(ours) as BoxByteStream)
        } else {
            Err(io::Error::from(io::ErrorKind::ConnectionRefused))
        };
        Box::pin(std::future::ready(result))
    }
}

/// A client with a call that is never answered, so that its connection is in use.
async fn in_use(island: &Island, config: Config) -> Client {
    let client = island.client(config.with(|config| config.liveness.ping_interval_ms = 0));
    client.connect().await.unwrap();
    let caller = client.clone();
    tokio::spawn(async move {
        let patient = caller.command(101).timeout(Duration::from_secs(29));
        assert!(
            patient
                .call::<_, ()>(&json!({}))
                .await
                .unwrap_err()
                .may_have_run()
        );
    });
    client.flush().await.unwrap();
    tokio::task::yield_now().await;
    client.flush().await.unwrap();
    client
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_was_lost_with_calls_is_opened_again_without_one() {
    let island = Island::new().await;
    let client = in_use(&island, Config::default()).await;
    let mut events = client.events();
    let began = Instant::now();
    island.cut(true);
    let lost = events.next().await.unwrap();
    assert!(
        matches!(lost, ConnectionEvent::Disconnected { .. }),
        "{lost:?}"
    );
    let back = events.next().await.unwrap();
    assert!(
        matches!(back, ConnectionEvent::Connected { .. }),
        "{back:?}"
    );
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!(island.accepted().len(), 1);

    // Nobody waits for this one.
    island.cut(true);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(island.attempts().len(), 0);
    assert_eq!(
        client
            .call::<_, u64>(100, &json!({"value": 1}))
            .await
            .unwrap(),
        1
    );
}

#[tokio::test(start_paused = true)]
async fn the_first_failure_is_followed_at_once_and_the_others_after_a_window_that_grows_to_the_cap()
{
    let island = Island::new().await;
    let client = in_use(&island, Config::default()).await;
    let began = Instant::now();
    island.cut(false);
    tokio::time::sleep(Duration::from_secs(600)).await;
    let attempts = island.attempts();
    assert_eq!((attempts[0], attempts[1]), (began, began));
    for pair in attempts.windows(2) {
        let window =
            ((pair[0] - began) / 2).clamp(Duration::from_millis(50), Duration::from_secs(5));
        // The timer's own resolution is a millisecond.
        assert!(
            pair[1] - pair[0] <= window + Duration::from_millis(2),
            "{pair:?}"
        );
    }
    // Half a window on average, for ever.
    assert!((150..400).contains(&attempts.len()), "{}", attempts.len());
    island.rise();
    let back = Instant::now();
    client.events().next().await.unwrap();
    assert!(
        back.elapsed() <= Duration::from_millis(5_002),
        "{:?}",
        back.elapsed()
    );

    drop(client);
    let attempts = island.attempts().len();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(
        island.attempts().len(),
        attempts,
        "nobody connects for a client that is gone"
    );
}

#[tokio::test(start_paused = true)]
async fn while_the_server_is_down_calls_fail_at_once_and_it_is_found_again_within_two_seconds() {
    let island = Island::new().await;
    let client = in_use(&island, Config::default()).await;
    let mut events = client.events();
    // Whatever the wait for the next attempt that the end of the time falls into.
    for seconds in [60, 120, 180].into_iter().chain(60..90) {
        let unanswered = client.call::<_, ()>(101, &());
        let cut = async {
            tokio::task::yield_now().await;
            island.cut(false);
        };
        assert!(tokio::join!(unanswered, cut).0.is_err());
        assert!(matches!(
            events.next().await,
            Some(ConnectionEvent::Disconnected { .. })
        ));
        let lost = Instant::now();
        let call = async || client.call::<_, u64>(100, &json!({"value": 1})).await;
        assert!(call().await.is_err());
        assert_eq!(
            lost.elapsed().as_millis() / 10,
            100,
            "the first one waits for a second"
        );
        while lost.elapsed() < Duration::from_secs(seconds) {
            let began = Instant::now();
            let error = call().await.unwrap_err();
            assert_eq!(began.elapsed(), Duration::ZERO);
            assert!(
                error.is_unreachable() && error.address() == "island",
                "{error}"
            );
            assert!(
                error
                    .to_string()
                    .contains("cannot connect: connection refused"),
                "{error}"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        island.rise();
        let back = Instant::now();
        while call().await.is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert!(matches!(
            events.next().await,
            Some(ConnectionEvent::Connected { .. })
        ));
        assert!(
            back.elapsed() <= Duration::from_secs(2),
            "{:?}",
            back.elapsed()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_hangs_is_given_up_and_said_to_have() {
    let never = |_: String| std::future::pending::<io::Result<tokio::io::DuplexStream>>();
    let client = Client::builder("nowhere").connector(never).build();
    let began = Instant::now();
    let error = client.call::<_, ()>(100, &()).await.unwrap_err();
    assert_eq!(
        began.elapsed().as_millis() / 10,
        400,
        "three seconds, and one in which it fails"
    );
    assert!(
        error
            .to_string()
            .contains("no answer within `timeouts.connect_timeout_ms` of 3000 ms"),
        "{error}"
    );
    let again = Instant::now();
    assert!(
        client
            .call::<_, ()>(100, &())
            .await
            .unwrap_err()
            .is_unreachable()
    );
    assert_eq!(again.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_hundred_callers_after_a_loss_share_one_attempt() {
    let island = Island::new().await;
    let client = in_use(&island, Config::default()).await;
    island.cut(true);
    let params = json!({"value": 1});
    let calls = (0..100).map(|_| client.call::<_, u64>(100, &params));
    // Some may have begun on the connection that was ending; all others share what comes after.
    let answered = futures::future::join_all(calls)
        .await
        .into_iter()
        .flatten()
        .count();
    assert!(answered > 0 || client.call::<_, u64>(100, &params).await.is_ok());
    assert_eq!(island.attempts().len(), 1);
}

const CLIENTS: usize = 1_000;

/// How many of 1,000 clients that lose one server together return in each 100 ms after it is back, which
/// is after `down_ms`.
async fn stampede(down_ms: u64, have_calls: bool) -> Vec<usize> {
    let island = Island::new().await;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(in_use(&island, Config::default()).await);
    }
    island.cut(false);
    let mut calling = JoinSet::new();
    if have_calls {
        for client in &clients {
            let client = client.clone();
            calling.spawn(async move {
                loop {
                    let _ = client.call::<_, u64>(100, &json!({"value": 1})).await;
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            });
        }
    }
    tokio::time::sleep(Duration::from_millis(down_ms)).await;
    let back = Instant::now();
    island.rise();
    let limit = Duration::from_secs(if have_calls { 2 } else { 6 });
    let mut tick = pin!(tokio::time::sleep(limit));
    tick.as_mut().await;

    let accepted = island.accepted();
    assert_eq!(accepted.len(), CLIENTS, "each is back, once");
    let window = |at: &Instant| usize::try_from((*at - back).as_millis() / 100).unwrap();
    let mut windows = vec![0; accepted.iter().map(window).max().unwrap() + 1];
    for at in &accepted {
        windows[window(at)] += 1;
    }
    windows
}

#[tokio::test(start_paused = true)]
async fn a_thousand_clients_that_lose_one_server_come_back_spread_over_time() {
    fastrand::seed(1);
    for (down_ms, have_calls) in [1_000, 5_000, 20_000]
        .into_iter()
        .flat_map(|down_ms| [(down_ms, false), (down_ms, true)])
    {
        // The mean of five losses: in a single one, chance alone may bring a few more together.
        const LOSSES: usize = 5;
        let mut windows = Vec::new();
        for _ in 0..LOSSES {
            for (n, count) in stampede(down_ms, have_calls).await.into_iter().enumerate() {
                windows.resize(windows.len().max(n + 1), 0);
                windows[n] += count;
            }
        }
        let (most, count) = (*windows.iter().max().unwrap(), windows.len());
        let what = format!("down for {down_ms} ms, calls {have_calls}: {windows:?}");
        println!("{what}");
        assert!(
            most * count <= 3 * LOSSES * CLIENTS,
            "{most} in 100 ms. {what}"
        );
    }
}

/// A server whose connections say and do this for the call `ID`; a line without an end closes the connection.
fn short_lived(answer: &'static str) -> (impl Connect, Arc<Mutex<Vec<Instant>>>) {
    let opened: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let times = Arc::clone(&opened);
    let connect = move |_: String| {
        let mut times = times.lock().unwrap();
        times.push(Instant::now());
        if times.len() > 10_000 {
            return std::future::ready(Err(io::Error::other("they come without end")));
        }

        let (ours, theirs) = tokio::io::duplex(1024);
        tokio::spawn(async move {
            let mut lines = BufReader::new(theirs);
            let mut line = String::new();
            while lines.read_line(&mut line).await.is_ok_and(|read| read > 0) {
                let call: serde_json::Value = serde_json::from_str(&line).unwrap();
                let answer = answer.replace("ID", &call["id"].to_string());
                // The client may be done with it.
                let _ = lines.write_all(answer.as_bytes()).await;
                if !answer.ends_with('\n') {
                    return;
                }
                line.clear();
            }
        });
        std::future::ready(Ok(ours))
    };
    (connect, opened)
}

#[tokio::test(start_paused = true)]
async fn a_server_that_ends_each_connection_is_not_connected_to_without_a_pause() {
    const REJECTED: &str = "{\"id\":ID,\"code\":14,\"message\":\"elsewhere\",\"rejected\":true}\n";
    const SERVED: &str = "{\"id\":ID,\"code\":0,\"data\":null}\n";
    const GOAWAY: &str = "{\"event\":\"goaway\",\"message\":\"elsewhere\"}\n";
    let seconds = 60;

    for (mode, answers, per_minute) in [
        // Nothing is ever served: the back-off of failing to connect.
        (Mode::Single, vec![GOAWAY, REJECTED], 10..=140),
        (Mode::Single, vec![REJECTED, GOAWAY], 10..=140),
        (Mode::Single, vec![REJECTED, " "], 10..=140),
        (Mode::Single, vec![GOAWAY, " "], 10..=140),
        (Mode::Pooled(2), vec![REJECTED, GOAWAY], 10..=280),
        // All is served, so the calls go on, at a pace.
        (Mode::Single, vec![SERVED, GOAWAY], 1_000..=2_400),
        (Mode::Single, vec![GOAWAY, SERVED], 1_000..=2_400),
        (Mode::Single, vec![SERVED, " "], 1_000..=2_400),
    ] {
        let answer = answers.concat();
        let (connect, opened) = short_lived(answer.clone().leak());
        let client = Client::builder("memory")
            .connector(connect)
            .config(Config::default().with(|config| config.pool.mode = mode))
            .build();

        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(seconds) {
            let result = client.call::<_, ()>(100, &()).await;
            let is_served = answers.contains(&SERVED);
            assert_eq!(result.is_ok(), is_served, "{answer}: {result:?}");
            if !is_served {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }

        let opened = opened.lock().unwrap().len();
        assert!(
            per_minute.contains(&opened),
            "{mode:?} {answer}: {opened} in a minute"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_goaway_or_two_cost_the_next_call_nothing() {
    let (connect, opened) = short_lived(
        "{\"event\":\"goaway\",\"message\":\"drain\"}\n{\"id\":ID,\"code\":0,\"data\":null}\n",
    );
    let client = Client::builder("memory").connector(connect).build();
    let began = Instant::now();
    for _ in 0..2 {
        client.call::<_, ()>(100, &()).await.unwrap();
    }
    assert_eq!(began.elapsed(), Duration::ZERO);

    // Nor do more of them, where the connections had their time.
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let called = Instant::now();
        client.call::<_, ()>(100, &()).await.unwrap();
        assert_eq!(called.elapsed(), Duration::ZERO);
    }
    assert_eq!(opened.lock().unwrap().len(), 12);
}

#[tokio::test(start_paused = true)]
async fn calls_that_waited_for_a_connection_leave_in_the_order_in_which_they_were_made() {
    let (far, mut pipes) = tokio::sync::mpsc::unbounded_channel();
    let connect = move |_: String| {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        far.send(theirs).unwrap();
        async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            Ok(ours)
        }
    };
    let client = Client::builder("far").connector(connect).build();
    let mut calls = JoinSet::new();
    for n in 0..100u64 {
        let client = client.clone();
        calls.spawn(async move { client.call::<_, ()>(100, &n).await });
    }

    let mut lines = BufReader::new(pipes.recv().await.unwrap()).lines();
    for n in 0..100u64 {
        let line = lines.next_line().await.unwrap().unwrap();
        let call: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(call["params"], n);
    }
}

#[tokio::test(start_paused = true)]
async fn a_connector_that_panics_fails_the_calls_that_wait_and_is_asked_again_by_the_next_one() {
    let attempts = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&attempts);
    let connect = move |_: String| {
        let counted = Arc::clone(&counted);
        async move {
            tokio::task::yield_now().await;
            *counted.lock().unwrap() += 1;
            panic!("on purpose");
            #[allow(unreachable_code, reason = "it names the type of the stream")]
            Ok(tokio::io::duplex(64).0)
        }
    };
    let client = Client::builder("far").connector(connect).build();

    let began = Instant::now();
    for attempt in 1..=2 {
        let calls = (0..3).map(|_| client.call::<_, ()>(100, &()));
        for result in futures::future::join_all(calls).await {
            let error = result.unwrap_err();
            assert!(error.is_unreachable(), "{error}");
            assert!(
                error
                    .to_string()
                    .contains("the task that connects was stopped"),
                "{error}"
            );
        }
        assert_eq!(*attempts.lock().unwrap(), attempt);
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
}
