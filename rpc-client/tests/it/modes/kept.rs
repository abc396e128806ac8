//! Connections that are kept: one, or a pool.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rpc_client::{Client, Config, Connect, Mode, OwnOptions, Registry, ServiceConfig};
use serde_json::json;
use socket2::{Domain, Socket, Type};
use tokio::time::timeout;

use super::{call_at_once, with_mode};
use crate::support::{PATIENCE, Seen, in_memory, router, tcp};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_tasks_on_a_fresh_client_open_one_connection() {
    let (address, server) = tcp(Seen::default()).await;
    call_at_once(&with_mode(&address, Mode::Single), 1_000, 0).await;
    let stats = server.stats();
    assert_eq!((stats.connections_accepted, stats.requests), (1, 1_000));
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
    timeout(PATIENCE, all)
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

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed_and_the_next_call_opens_another() {
    let (connect, server) = in_memory(router(Seen::default())).await;
    let opened = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&opened);
    let counted = move |address: String| {
        count.fetch_add(1, Ordering::Relaxed);
        connect.connect(&address)
    };
    let config = Config::default().with(|config| config.timeouts.idle_timeout_ms = 20);
    let builder = Client::builder("memory").connector(counted);
    let client = builder.config(config).build();
    for round in 1..=3 {
        // Longer than the idle time: what is in flight is not idle.
        let value = client
            .call::<_, u64>(100, &json!({"value": round, "ms": 60}))
            .await
            .unwrap();
        assert_eq!((value, opened.load(Ordering::Relaxed)), (round, round));
        let closed = async {
            while client.is_connected() || server.stats().connections_open > 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(PATIENCE, closed)
            .await
            .expect("the idle connection is closed");
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
    // An address is not the service's name, and a client with settings of its own is not shared.
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
