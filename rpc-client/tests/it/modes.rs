use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rpc_client::{Client, Config, Error, Mode, OwnOptions, Registry, ServiceConfig};
use serde_json::json;
use socket2::{Domain, Socket, Type};
use tokio::io::DuplexStream;
use tokio::sync::Barrier;
use tokio::time::Instant;

use crate::support::{Seen, tcp};

/// Starts this many tasks at once, each with one call; all must succeed.
async fn call_at_once(client: &Client, tasks: u64, ms: u64) {
    let barrier = Arc::new(Barrier::new(usize::try_from(tasks).unwrap()));
    let mut calls = tokio::task::JoinSet::new();
    for value in 0..tasks {
        let (client, barrier) = (client.clone(), Arc::clone(&barrier));
        calls.spawn(async move {
            barrier.wait().await;
            let params = json!({"value": value, "ms": ms});
            assert_eq!(client.call::<_, u64>(100, &params).await.unwrap(), value);
        });
    }
    while let Some(call) = calls.join_next().await {
        call.unwrap();
    }
}

fn with_mode(address: &str, mode: Mode) -> Client {
    let config = Config::default().with(|config| {
        config.pool.mode = mode;
        config.timeouts.call_timeout_ms = 60_000;
        config.timeouts.connect_timeout_ms = 30_000;
    });
    Client::with_config(address, config)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_tasks_on_a_fresh_client_open_one_connection() {
    let (address, server) = tcp(Seen::default()).await;
    call_at_once(&with_mode(&address, Mode::Single), 1_000, 0).await;
    let stats = server.stats();
    assert_eq!((stats.connections_accepted, stats.requests), (1, 1_000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_short_calls_open_a_thousand_connections_and_leave_none() {
    let (address, server) = tcp(Seen::default()).await;
    let client = with_mode(&address, Mode::Short);
    call_at_once(&client, 1_000, 0).await;
    let stats = server.stats();
    assert_eq!((stats.connections_accepted, stats.requests), (1_000, 1_000));
    assert!(!client.is_connected());
    while server.stats().connections_open > 0 {
        tokio::task::yield_now().await;
    }
}

/// How a call of the mode `short` ends where nobody lets it in, after how many milliseconds and attempts.
async fn turned_away(answers: bool, call_timeout_ms: u64) -> (Error, u128, u32) {
    let attempts = Arc::new(AtomicU32::new(0));
    let connect = {
        let attempts = Arc::clone(&attempts);
        move |_| {
            attempts.fetch_add(1, Ordering::Relaxed);
            async move {
                if !answers {
                    std::future::pending::<()>().await;
                }
                Err::<DuplexStream, _>(io::Error::from(io::ErrorKind::ConnectionRefused))
            }
        }
    };
    let config = Config::default().with(|config| {
        config.pool.mode = Mode::Short;
        config.timeouts.connect_timeout_ms = 200;
        config.reconnect.fail_fast_after_ms = 1_000;
        config.retry.attempts_max = 1;
        config.timeouts.call_timeout_ms = call_timeout_ms;
    });
    let client = Client::builder("nowhere")
        .connector(connect)
        .config(config)
        .build();
    let begin = Instant::now();
    let error = client.call::<_, ()>(100, &()).await.unwrap_err();
    (
        error,
        begin.elapsed().as_millis(),
        attempts.load(Ordering::Relaxed),
    )
}

#[tokio::test(start_paused = true)]
async fn a_short_call_tries_to_connect_until_its_patience_or_its_time_ends() {
    for (answers, call_timeout_ms, elapsed, is_deadline) in [
        // Refused at once, so its patience begins with the call.
        (true, 60_000, 1_000..=1_010, false),
        (true, 300, 300..=310, true),
        // The first attempt takes all of `timeouts.connect_timeout_ms`, and its patience begins behind it.
        (false, 60_000, 1_200..=1_210, false),
        (false, 100, 100..=110, true),
    ] {
        let (error, took, attempts) = turned_away(answers, call_timeout_ms).await;
        assert!(elapsed.contains(&took), "{took} ms: {error}");
        assert_eq!(
            (error.is_deadline(), error.may_have_run()),
            (is_deadline, false),
            "{error}"
        );
        assert!(is_deadline || error.is_unreachable(), "{error}");
        assert!(
            (u32::from(call_timeout_ms > 100) * 2 + 1..100).contains(&attempts),
            "{attempts}: {error}"
        );
        if !answers && !is_deadline {
            assert!(
                error
                    .to_string()
                    .contains("`timeouts.connect_timeout_ms` of 200 ms"),
                "{error}"
            );
        }
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_host_that_does_not_answer_is_an_error_that_names_its_addresses_in_every_mode() {
    // One connection fills a backlog of 0; the system drops what asks for another one.
    let deaf = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    deaf.bind(&any_port.into()).unwrap();
    deaf.listen(0).unwrap();
    let address = deaf.local_addr().unwrap().as_socket().unwrap();
    let _waiting = std::net::TcpStream::connect(address).unwrap();

    for mode in [Mode::Single, Mode::Short] {
        let config = Config::default().with(|config| {
            config.pool.mode = mode;
            config.timeouts.connect_timeout_ms = 400;
            config.reconnect.fail_fast_after_ms = 0;
        });
        let client = Client::with_config(format!("localhost:{}", address.port()), config);

        let error = client.call::<_, ()>(100, &()).await.unwrap_err();

        let error = error.to_string();
        assert!(
            error.contains("within `timeouts.connect_timeout_ms` of 400 ms (")
                && error.contains(&format!("{address}: no answer")),
            "{mode:?}: {error}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_opens_its_connections_and_no_more_and_spreads_the_calls() {
    let (address, server) = tcp(Seen::default()).await;
    let client = with_mode(&address, Mode::Pooled(4));
    let mut calls = 0;
    // A connection is opened when a call finds all others busy, which may have been over before the last one was
    // open: so there are calls until it is.
    let all = async {
        while server.stats().connections_accepted < 4 {
            call_at_once(&client, 200, 5).await;
            calls += 200;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), all)
        .await
        .expect("four connections are opened");
    call_at_once(&client, 200, 5).await;
    calls += 200;
    assert_eq!(
        (server.stats().connections_accepted, server.stats().requests),
        (4, calls)
    );
    // What is over is counted as over.
    assert_eq!(client.endpoints()[0].in_flight, 0);
    assert_eq!(client.endpoints()[0].calls, calls);
}

#[tokio::test]
async fn one_call_at_a_time_keeps_a_pool_at_one_connection() {
    let (address, server) = tcp(Seen::default()).await;
    let client = with_mode(&address, Mode::Pooled(4));
    for value in 0..20u64 {
        assert_eq!(
            client
                .call::<_, u64>(100, &json!({"value": value}))
                .await
                .unwrap(),
            value
        );
    }
    assert_eq!(server.stats().connections_accepted, 1);
}

#[tokio::test]
async fn a_oneway_call_of_the_short_mode_has_left_before_its_connection_closes() {
    let (seen, count) = (Seen::default(), 20);
    let (address, server) = tcp(seen.clone()).await;
    let client = with_mode(&address, Mode::Short);
    for _ in 0..count {
        client.notify(102, &()).await.unwrap();
    }
    while seen.ran.load(Ordering::SeqCst) < count {
        tokio::task::yield_now().await;
    }
    assert_eq!(server.stats().connections_accepted, count);
}

#[tokio::test]
async fn a_stream_of_the_short_mode_has_its_connection_to_its_end() {
    use futures::StreamExt;

    let (address, server) = tcp(Seen::default()).await;
    let client = with_mode(&address, Mode::Short);
    let numbers = client
        .stream::<_, u64>(104, &json!({"value": 300}))
        .await
        .unwrap();
    let numbers: Vec<u64> = numbers.map(Result::unwrap).collect().await;
    assert_eq!(numbers, (0..300).collect::<Vec<u64>>());
    assert_eq!(server.stats().connections_accepted, 1);
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_the_next_call_opens_another() {
    let (address, server) = tcp(Seen::default()).await;
    let config = Config::default().with(|config| config.timeouts.idle_timeout_ms = 20);
    let client = Client::with_config(&address, config);
    for round in 1..=3 {
        // Longer than the idle time: what is in flight is not idle.
        let value = client
            .call::<_, u64>(100, &json!({"value": round, "ms": 60}))
            .await
            .unwrap();
        assert_eq!((value, server.stats().connections_accepted), (round, round));
        while client.is_connected() || server.stats().connections_open > 0 {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn named_services_have_their_own_target_and_mode_and_share_nothing_with_other_clients() {
    let (address, server) = tcp(Seen::default()).await;
    let file = format!(
        "[log]\ntarget = \"{address}\"\n\n[sms]\ntarget = \"{address}\"\nsettings.pool.mode = \"short\"\n\
         settings.timeouts.call_timeout_ms = 1000\n"
    );
    let services = toml::from_str(&file).unwrap();
    let registry = Registry::from_config(services);
    let one = json!({"value": 1});
    for _ in 0..3 {
        registry
            .client("log")
            .call::<_, u64>(100, &one)
            .await
            .unwrap();
    }
    assert_eq!(server.stats().connections_accepted, 1);
    for _ in 0..3 {
        registry
            .client("sms")
            .call::<_, u64>(100, &one)
            .await
            .unwrap();
    }
    assert_eq!(server.stats().connections_accepted, 4);
    // An address is not the service's name, and settings of one's own are shared with nobody.
    registry
        .client(&address)
        .call::<_, u64>(100, &one)
        .await
        .unwrap();
    with_mode(&address, Mode::Single)
        .call::<_, u64>(100, &one)
        .await
        .unwrap();
    assert_eq!(server.stats().connections_accepted, 6);
    // The service is switched over without a change in code.
    let settings = Config::default().with(|config| config.pool.mode = Mode::Short);
    registry.define(
        "log",
        ServiceConfig {
            target: address,
            settings,
            own_options: OwnOptions::Kept,
        },
    );
    for _ in 0..2 {
        registry
            .client("log")
            .call::<_, u64>(100, &one)
            .await
            .unwrap();
    }
    assert_eq!(server.stats().connections_accepted, 8);
}

#[test]
fn an_unknown_setting_or_mode_is_refused_by_name() {
    let read = |settings: &str| {
        let file = format!("target = \"a:1\"\n{settings}");
        toml::from_str::<ServiceConfig>(&file).map_err(|error| error.to_string())
    };
    assert_eq!(
        read("settings.pool.mode = { pooled = 4 }")
            .unwrap()
            .settings
            .pool
            .mode,
        Mode::Pooled(4)
    );
    assert!(
        read("settings.pool.mode = \"many\"")
            .unwrap_err()
            .contains("unknown variant `many`")
    );
    assert!(
        read("settings.moed = \"short\"")
            .unwrap_err()
            .contains("unknown field `moed`")
    );
    assert!(
        read("mode = \"short\"")
            .unwrap_err()
            .contains("unknown field `mode`")
    );
}
