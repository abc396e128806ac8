use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rpc_client::{Code, blocking};
use rpc_server::ServerHandle;
use serde_json::json;

use crate::support::{Nowhere, PATIENCE, Seen, tcp};

/// A server on a runtime of its own, as long as that is kept.
fn server(seen: Seen) -> (tokio::runtime::Runtime, String, ServerHandle) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let (address, handle) = runtime.block_on(tcp(seen));
    (runtime, address, handle)
}

/// Waits until it is so: until the server has seen what the client did.
#[track_caller]
fn until(is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "it becomes so");
        std::thread::yield_now();
    }
}

#[test]
fn plain_threads_share_one_connection_and_get_each_their_own_replies() {
    let (_runtime, address, server) = server(Seen::default());
    let client = blocking::Client::new(&address);
    std::thread::scope(|scope| {
        for thread in 0..16u64 {
            let client = client.clone();
            scope.spawn(move || {
                for n in 0..100u64 {
                    let value = thread << 32 | n;
                    assert_eq!(
                        client
                            .call::<_, u64>(100, &json!({"value": value}))
                            .unwrap(),
                        value
                    );
                }
            });
        }
    });
    assert!(client.is_connected());
    assert_eq!(server.stats().connections_accepted, 1);
}

#[test]
fn a_blocking_call_ends_at_its_deadline_and_cancels_at_the_server() {
    let seen = Seen::default();
    let (_runtime, address, server) = server(seen.clone());
    let client = blocking::Client::new(&address);
    client.call::<_, u64>(100, &json!({"value": 1})).unwrap();
    let error = client
        .command(101)
        .timeout(Duration::from_millis(30))
        .call::<_, ()>(&json!({}))
        .unwrap_err();
    assert!(error.is_deadline(), "{error}");
    until(|| seen.dropped.load(Ordering::SeqCst) > 0 && server.stats().in_flight == 0);
}

#[test]
fn oneway_calls_have_left_after_a_flush_and_metadata_arrives() {
    let seen = Seen::default();
    let (_runtime, address, _server) = server(seen.clone());
    let client = blocking::Client::new(&address);
    for _ in 0..100 {
        client.notify(102, &json!({})).unwrap();
    }
    client.flush().unwrap();
    assert_eq!(
        client
            .command(102)
            .ordered()
            .call::<_, u64>(&json!({}))
            .unwrap(),
        101
    );
    let meta: (Option<String>, bool) = client
        .command(105)
        .meta("traceparent", "00-ab")
        .call(&())
        .unwrap();
    assert_eq!(meta.0.as_deref(), Some("00-ab"));
    let raw = client
        .command(100)
        .call_raw(&json!({"value": 7}))
        .unwrap()
        .unwrap();
    assert_eq!(raw.as_str(), "7");
}

#[test]
fn a_stream_is_an_iterator_and_dropping_it_gives_the_call_up() {
    let seen = Seen::default();
    let (_runtime, address, _server) = server(seen.clone());
    let client = blocking::Client::new(&address);
    let items = client
        .stream::<_, u64>(104, &json!({"value": 1000}))
        .unwrap();
    assert_eq!(items.map(Result::unwrap).sum::<u64>(), 499_500);

    let mut failing = client.stream::<_, u64>(106, &json!({})).unwrap();
    assert_eq!(failing.next().unwrap().unwrap_err().code(), Code::INTERNAL);
    assert!(failing.next().is_none() && failing.next().is_none());

    drop(client.stream::<_, u64>(101, &json!({})).unwrap());
    client.call::<_, u64>(100, &json!({"value": 1})).unwrap();
    // The server works on the cancel and on the call in tasks of their own.
    until(|| seen.dropped.load(Ordering::SeqCst) >= seen.ran.load(Ordering::SeqCst));
}

#[test]
fn inside_an_async_runtime_a_blocking_call_is_refused_in_words() {
    let (_runtime, address, server) = server(Seen::default());
    let client = blocking::Client::new(&address);
    let refused = |client: &blocking::Client| {
        let error = client
            .call::<_, u64>(100, &json!({"value": 1}))
            .unwrap_err();
        assert_eq!(
            (error.code(), error.was_sent(), error.is_retryable()),
            (Code::FAILED_PRECONDITION, false, false)
        );
        assert!(
            error.to_string().contains("inside an async runtime"),
            "{error}"
        );
        assert_eq!(
            client.flush().unwrap_err().code(),
            Code::FAILED_PRECONDITION
        );
        assert_eq!(
            client.notify(102, &()).unwrap_err().code(),
            Code::FAILED_PRECONDITION
        );
        assert!(client.stream::<_, u64>(104, &json!({"value": 1})).is_err());
    };
    let single = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    single.block_on(async { refused(&client) });
    let several = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .build()
        .unwrap();
    let elsewhere = client.clone();
    several.block_on(async move {
        tokio::spawn(async move { refused(&elsewhere) })
            .await
            .unwrap();
    });
    assert_eq!(server.stats().connections_accepted, 0);

    // The stream of a plain thread, taken into a runtime, says so as its last item.
    let mut items = client.stream::<_, u64>(104, &json!({"value": 3})).unwrap();
    single.block_on(async {
        assert_eq!(
            items.next().unwrap().unwrap_err().code(),
            Code::FAILED_PRECONDITION
        );
        assert!(items.next().is_none());
    });
    assert_eq!(client.call::<_, u64>(100, &json!({"value": 2})).unwrap(), 2);
}

#[test]
fn a_blocking_client_of_a_dead_address_fails_with_the_reason() {
    let nowhere = Nowhere::new();
    let address = nowhere.address.to_string();
    let config =
        rpc_client::Config::default().with(|config| config.reconnect.fail_fast_after_ms = 0);
    let error = blocking::Client::with_config(&address, config)
        .call::<_, ()>(100, &())
        .unwrap_err();
    assert!(
        error.is_unreachable() && error.address() == address,
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn async_and_blocking_callers_share_the_connection() {
    let (address, server) = tcp(Seen::default()).await;
    let client = rpc_client::Client::new(&address);
    assert_eq!(
        client
            .call::<_, u64>(100, &json!({"value": 1}))
            .await
            .unwrap(),
        1
    );
    let blocking = client.blocking();
    let called = std::thread::spawn(move || {
        assert_eq!(blocking.as_async().address(), blocking.address());
        blocking.call::<_, u64>(100, &json!({"value": 2})).unwrap()
    });
    assert_eq!(called.join().unwrap(), 2);
    assert_eq!(server.stats().connections_accepted, 1);
}

/// The process that the test below starts makes a call, and ends while the client is still there.
#[test]
fn a_process_ends_with_a_blocking_client_in_use() {
    const ADDRESS: &str = "RPC_CLIENT_TEST_ADDRESS";
    if let Ok(address) = std::env::var(ADDRESS) {
        let client = rpc_client::blocking::shared(&address);
        assert_eq!(client.call::<_, u64>(100, &json!({"value": 9})).unwrap(), 9);
        return;
    }
    let (_runtime, address, server) = server(Seen::default());
    let itself = std::env::current_exe().unwrap();
    let name = "blocking::a_process_ends_with_a_blocking_client_in_use";
    let output = std::process::Command::new(itself)
        .args(["--exact", name])
        .env(ADDRESS, address)
        .output();
    let output = output.unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(server.stats().connections_accepted, 1);
}
