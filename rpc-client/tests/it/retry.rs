use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rpc_client::{Client, Code, Config};
use rpc_core::{RawJson, Request, Service, Status};
use rpc_server::{Router, State};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use crate::support::{Seen, in_memory, tcp};

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

#[tokio::test(start_paused = true)]
async fn what_was_rejected_is_tried_again_after_the_time_that_the_server_asks_for() {
    let tries = Arc::default();
    let (connect, _server) = in_memory(rejecting(&tries, 3, 300)).await;
    let client = Client::builder("memory").connector(connect).build();
    let begin = Instant::now();
    assert_eq!(client.call::<_, u64>(100, &()).await.unwrap(), 3);
    let elapsed = begin.elapsed().as_millis();
    assert!(
        (600..=650).contains(&elapsed),
        "twice the time, and less than 10 ms of jitter: {elapsed}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_deadline_stays_the_same_over_all_tries() {
    let tries = Arc::default();
    let (connect, _server) = in_memory(rejecting(&tries, u64::MAX, 300)).await;
    let config = Config::default().with(|config| config.retry.attempts_max = 100);
    let client = Client::builder("memory")
        .connector(connect)
        .config(config)
        .build();
    let begin = Instant::now();
    let command = client.command(100).timeout(Duration::from_secs(1));
    let error = command.call::<_, u64>(&()).await.unwrap_err();
    assert!(begin.elapsed() <= Duration::from_secs(1));
    // A fourth pause would have ended after the deadline, so the last rejection is told, not a timeout.
    assert!(
        error.is_rejected() && (2..=4).contains(&error.attempts()),
        "{error}"
    );
    assert_eq!(u64::from(error.attempts()), tries.load(Ordering::SeqCst));
    assert!(
        error
            .to_string()
            .ends_with(&format!("({} attempts)", error.attempts())),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn when_all_calls_fail_a_fifth_of_them_is_tried_again() {
    let tries = Arc::default();
    let (connect, _server) = in_memory(rejecting(&tries, u64::MAX, 0)).await;
    let client = Client::builder("memory").connector(connect).build();
    let (calls, begin) = (5_000, Instant::now());
    for _ in 0..calls {
        let error = client.call::<_, u64>(100, &()).await.unwrap_err();
        assert!(error.is_rejected() && error.attempts() <= 3);
    }
    let extra = tries.load(Ordering::SeqCst) - calls;
    let besides = 10 * (begin.elapsed().as_secs() + 2);
    println!("{extra} retries of {calls} calls in {:?}", begin.elapsed());
    assert!(
        extra <= calls / 5 + besides && extra >= calls / 6,
        "{extra}, {besides}"
    );
}

#[tokio::test]
async fn a_rejection_here_is_tried_elsewhere_at_once() {
    let tries = Arc::new(AtomicU64::new(0));
    let router = rejecting(&tries, u64::MAX, 60_000);
    let server = rpc_server::Server::builder()
        .listen("127.0.0.1:0")
        .router(router)
        .bind()
        .await
        .unwrap();
    let full = server.addresses()[0].to_string();
    tokio::spawn(server.serve(std::future::pending()));
    let (free, _server) = tcp(Seen::default()).await;
    // Enough for every call to be tried twice.
    let config = Config::default().with(|config| {
        config.retry.budget_percent = 100;
        config.ejection.after_failures = 0;
    });
    let client = Client::with_config(format!("{full},{free}"), config);
    while !client
        .endpoints()
        .iter()
        .all(|endpoint| endpoint.is_connected)
    {
        client
            .call::<_, u64>(100, &json!({"value": 1}))
            .await
            .unwrap();
    }
    for value in 0..100 {
        assert_eq!(
            client
                .call::<_, u64>(100, &json!({"value": value}))
                .await
                .unwrap(),
            value
        );
    }
    assert!(tries.load(Ordering::SeqCst) > 0);
}

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

/// Takes a connection and reads one request from it.
async fn request(listener: &TcpListener) -> (Value, BufReader<TcpStream>) {
    let mut stream = BufReader::new(listener.accept().await.unwrap().0);
    let mut line = String::new();
    stream.read_line(&mut line).await.unwrap();
    (serde_json::from_str(&line).unwrap(), stream)
}

/// A connection on which the request arrives and is lost, and one on which the next is answered.
async fn lose_and_answer(listener: &TcpListener) -> (Value, Value) {
    let (first, stream) = request(listener).await;
    drop(stream);
    let (second, mut stream) = request(listener).await;
    let reply = format!("{{\"id\":{},\"code\":0,\"data\":7}}\n", second["id"]);
    stream.write_all(reply.as_bytes()).await.unwrap();
    // The client closes first.
    let _ = stream.read_line(&mut String::new()).await;
    (first, second)
}

#[tokio::test]
async fn what_may_have_run_is_tried_again_only_where_the_command_is_idempotent() {
    // Each client has a listener of its own: one that has lost a connection opens another.
    let (listener, address) = listen().await;
    let client = Client::new(&address);
    let lose = async { drop(request(&listener).await) };
    let call = async { client.call::<_, u64>(100, &()).await.unwrap_err() };
    let (error, ()) = tokio::join!(call, lose);
    assert!(
        error.may_have_run() && error.attempts() == 1 && !error.is_retryable(),
        "{error}"
    );

    let (listener, address) = listen().await;
    let with_key = async |client: Client| {
        client
            .command(100)
            .idempotent()
            .idempotency_key("order-4711")
            .call::<_, u64>(&json!({"a": 1}))
            .await
    };
    let client = Client::new(&address);
    let (answer, (first, second)) = tokio::join!(
        async {
            let answer = with_key(client.clone()).await;
            drop(client);
            answer
        },
        lose_and_answer(&listener)
    );
    assert_eq!(answer.unwrap(), 7);
    assert_eq!(first["meta"]["idempotency-key"], "order-4711");
    assert_eq!(
        (&first["meta"], &first["params"]),
        (&second["meta"], &second["params"])
    );
    assert!(second["timeout_ms"].as_u64() <= first["timeout_ms"].as_u64());

    let (listener, address) = listen().await;
    let config = Config::default().with(|config| config.retry.idempotent_cmdids = vec![100]);
    let client = Client::with_config(&address, config);
    let (answer, _) = tokio::join!(
        async {
            let answer = client.call::<_, u64>(100, &()).await;
            drop(client);
            answer
        },
        lose_and_answer(&listener)
    );
    assert_eq!(answer.unwrap(), 7);
}

#[tokio::test]
async fn that_an_earlier_try_may_have_run_is_not_forgotten() {
    let (listener, address) = listen().await;
    let client = Client::with_config(
        &address,
        Config::default().with(|config| config.reconnect.fail_fast_after_ms = 0),
    );
    let lose = async {
        let (_, stream) = request(&listener).await;
        // Nobody is there for the second try.
        drop(listener);
        drop(stream);
    };
    let call = async {
        client
            .command(100)
            .idempotent()
            .call::<_, u64>(&())
            .await
            .unwrap_err()
    };
    let (error, ()) = tokio::join!(call, lose);
    assert!(error.is_unreachable() && error.attempts() == 2, "{error}");
    assert!(
        error.may_have_run() && error.was_sent() && !error.is_retryable(),
        "{error}"
    );
    assert!(
        error
            .to_string()
            .ends_with("(2 attempts; one before the last may have run)"),
        "{error}"
    );
    let status = error.into_status();
    assert!(
        status.code() == Code::UNAVAILABLE && !status.is_rejected(),
        "{status}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_call_in_order_keeps_its_place_and_is_not_tried_again() {
    let tries = Arc::default();
    let (connect, _server) = in_memory(rejecting(&tries, 2, 0)).await;
    let client = Client::builder("memory").connector(connect).build();
    let error = client
        .command(100)
        .ordered()
        .call::<_, u64>(&())
        .await
        .unwrap_err();
    assert!(error.is_rejected() && error.attempts() == 1, "{error}");
}

#[tokio::test(start_paused = true)]
async fn one_try_is_all_where_that_is_set() {
    let tries = Arc::default();
    let (connect, _server) = in_memory(rejecting(&tries, 2, 0)).await;
    let config = Config::default().with(|config| config.retry.attempts_max = 1);
    let client = Client::builder("memory")
        .connector(connect)
        .config(config)
        .build();
    let error = client.call::<_, u64>(100, &()).await.unwrap_err();
    assert!(error.is_rejected() && error.attempts() == 1, "{error}");
    assert!(!error.to_string().contains("attempts"), "{error}");
}

async fn runs_and_asks_another(
    State((ran, other)): State<(Arc<AtomicU64>, Client)>,
) -> Result<u64, Status> {
    ran.fetch_add(1, Ordering::SeqCst);
    Ok(other.call(103, &()).await?)
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_ran_and_was_itself_rejected_elsewhere_is_not_run_again() {
    let (connect, _other) = in_memory(crate::support::router(Seen::default())).await;
    let other = Client::builder("other").connector(connect).build();
    let ran: Arc<AtomicU64> = Arc::default();
    let router =
        Router::with_state((Arc::clone(&ran), other.clone())).route(100, runs_and_asks_another);
    let (connect, _server) = in_memory(router.unwrap()).await;
    let client = Client::builder("memory").connector(connect).build();
    let error = client.call::<_, u64>(100, &()).await.unwrap_err();
    assert!(
        error.code() == Code::RESOURCE_EXHAUSTED && !error.is_rejected(),
        "{error}"
    );
    assert_eq!((ran.load(Ordering::SeqCst), error.attempts()), (1, 1));
    // A client that stands in for its server keeps the server's promise.
    let status = Service::call(&other, Request::new(103, RawJson::NULL))
        .await
        .err()
        .unwrap();
    assert!(status.is_rejected(), "{status}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_accepts_and_closes_at_once_is_not_stormed() {
    let opened: Arc<AtomicU64> = Arc::default();
    let count = Arc::clone(&opened);
    let connect = move |_address: String| {
        count.fetch_add(1, Ordering::SeqCst);
        std::future::ready(Ok(tokio::io::duplex(64).0))
    };
    let client = Client::builder("memory").connector(connect).build();
    let end = Instant::now() + Duration::from_secs(60);
    while Instant::now() < end {
        assert!(client.call::<_, ()>(100, &()).await.is_err());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // With somebody who calls all the time: within `reconnect.wanted_ms` of 1 s, half of it at least.
    let opened = opened.load(Ordering::SeqCst);
    assert!(
        (10..=140).contains(&opened),
        "{opened} connections in a minute"
    );
}

#[tokio::test(start_paused = true)]
async fn who_is_turned_away_comes_back_when_the_server_said_and_calls_fail_fast_meanwhile() {
    let opened: Arc<std::sync::Mutex<Vec<Instant>>> = Arc::default();
    let times = Arc::clone(&opened);
    let connect = move |_address: String| {
        let mut times = times.lock().unwrap();
        times.push(Instant::now());
        if times.len() > 1_000 {
            return std::future::ready(Err(std::io::Error::other("they come without end")));
        }
        let (ours, mut theirs) = tokio::io::duplex(1024);
        tokio::spawn(async move {
            let full =
                "{\"code\":8,\"message\":\"full\",\"rejected\":true,\"retry_after_ms\":3000}\n";
            // A client that has gone need not be told.
            let _ = theirs.write_all(full.as_bytes()).await;
        });
        std::future::ready(Ok(ours))
    };
    let client = Client::builder("memory").connector(connect).build();
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(60) {
        let error = client.call::<_, ()>(100, &()).await.unwrap_err();
        assert!(!error.may_have_run(), "{error}");
        let called = Instant::now();
        // Known to be full for longer than `reconnect.fail_fast_after_ms`: a call does not wait for its deadline.
        if begin.elapsed() > Duration::from_secs(10) {
            let error = client.call::<_, ()>(100, &()).await.unwrap_err();
            assert!(
                called.elapsed() < Duration::from_millis(10),
                "{error} after {:?}",
                called.elapsed()
            );
            assert!(error.to_string().contains("full"), "{error}");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let opened = opened.lock().unwrap();
    assert!(opened.len() > 8, "{} connections in a minute", opened.len());
    assert!(
        opened
            .windows(2)
            .all(|two| two[1] - two[0] >= Duration::from_secs(3)),
        "{opened:?}"
    );
}
