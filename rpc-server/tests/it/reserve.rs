//! A server that is full, and its operator.

use std::net::SocketAddr;

use rpc_server::{AdminConfig, Config, ListenOptions, Server};
use tokio::net::{TcpSocket, TcpStream};

use crate::rig::{ECHO, HOLD, Rig};
use crate::sockets::connect;
use crate::support::{Client, TestServer, call};

const PING: &str = "{\"cmdid\":0,\"params\":1}";

/// Seats of the reserve for each address, and on the listener for pages.
const RESERVE_PER_ADDRESS: usize = 4;
const PAGE_CONNECTIONS_MAX: usize = 64;

/// A server that takes this number of connections and has as many, its address, and that of its pages.
struct Full {
    server: TestServer,
    rig: Rig,
    service: SocketAddr,
    pages: SocketAddr,
    connections: Vec<Client<TcpStream>>,
}

impl Full {
    async fn of(connections_max: usize, pages_at: &str) -> Self {
        let rig = Rig::new();
        let admin = AdminConfig {
            listen: pages_at.into(),
            ..AdminConfig::default()
        };
        let server = Server::builder()
            .listen("127.0.0.1:0")
            .config(
                Config::default().with(|config| config.limits.connections_max = connections_max),
            )
            .router(rig.router())
            .admin(admin)
            .bind()
            .await
            .unwrap();
        let addresses = server.addresses();
        let service = addresses[0].tcp().unwrap();
        let pages = addresses[addresses.len() - 1].tcp().unwrap();

        let mut full = Self {
            server: TestServer::of(server),
            rig,
            service,
            pages,
            connections: Vec::new(),
        };
        for _ in 0..connections_max {
            let mut client = connect(service).await;
            assert_eq!(client.ask(PING).await["data"], 1);
            full.connections.push(client);
        }
        full
    }
}

/// From another address of this machine: all of 127.0.0.0/8 are its own.
async fn connect_from(from: &str, address: SocketAddr) -> Client<TcpStream> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(from.parse().unwrap()).unwrap();
    Client::new(socket.connect(address).await.unwrap())
}

/// The status line and the body of a page.
async fn get(client: &mut Client<TcpStream>, path: &str) -> (String, String) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    client.send(request).await;
    let response = client.read_to_end().await;
    let (head, body) = response
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("{response:?} is no response"));
    (head.lines().next().unwrap().into(), body.into())
}

#[tokio::test]
async fn a_full_server_shows_its_pages_on_both_ports_and_is_alive() {
    for pages_at in ["", "127.0.0.1:0"] {
        let full = Full::of(2, pages_at).await;

        for (path, status, part) in [
            ("/healthz", "200", "alive"),
            (
                "/readyz",
                "503",
                "`limits.connections_max` is reached (2 of 2)",
            ),
            ("/metrics", "200", "rpc_server_limit_used"),
            ("/", "200", ""),
        ] {
            let (head, body) = get(&mut connect(full.pages).await, path).await;
            assert!(head.contains(status), "{path} at {pages_at:?}: {head}");
            assert!(body.contains(part), "{path} at {pages_at:?}: {body}");
        }

        let stats = full.server.stats();
        let at_reserve = if pages_at.is_empty() { 4 } else { 0 };
        assert_eq!(
            (
                stats.connections_refused,
                stats.limits.connections_at_reserve
            ),
            (0, at_reserve)
        );
    }
}

#[tokio::test]
async fn a_full_server_answers_built_in_commands_and_refuses_every_other_call() {
    let full = Full::of(1, "").await;

    let mut operator = connect(full.service).await;
    let stats = operator.ask("{\"id\":1,\"cmdid\":3}").await;
    assert_eq!(
        stats["data"]["server"]["connections_accepted"], 2,
        "{stats}"
    );
    let health = operator.ask("{\"id\":2,\"cmdid\":2}").await;
    assert_eq!(health["data"]["status"], "not_serving");
    assert_eq!(operator.ask(PING).await["data"], 1);

    // A call does not run, whether it is the first line or not, alone or behind others.
    operator.send(call(3, ECHO, "")).await;
    operator.expect_code(None, 8).await;
    operator.expect_end().await;

    let mut caller = connect(full.service).await;
    caller.send(format!("{PING}\n{}", call(1, ECHO, ""))).await;
    assert_eq!(caller.reply().await["data"], 1);
    let refused = caller.expect_code(None, 8).await;
    assert_eq!(refused["rejected"], true);
    caller.expect_end().await;

    assert_eq!(full.rig.probe.started(), 0);
    let stats = full.server.stats();
    assert_eq!(
        (stats.connections_refused, stats.limits.connections_over_max),
        (2, 2)
    );
}

#[tokio::test]
async fn a_full_server_makes_no_call_over_http_also_behind_a_page_and_says_so_in_http() {
    let rig = Rig::new();
    let server = Server::builder()
        .listen_with(ListenOptions::new("127.0.0.1:0").http_calls(true))
        .config(Config::default().with(|config| config.limits.connections_max = 1))
        .router(rig.router())
        .admin(AdminConfig::default())
        .bind()
        .await
        .unwrap();
    let address = server.addresses()[0].tcp().unwrap();
    let server = TestServer::of(server);
    let mut first = connect(address).await;
    assert_eq!(first.ask(PING).await["data"], 1);

    let post = format!("POST /{HOLD} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
    let mut caller = connect(address).await;
    caller.send(&post).await;
    let refused = caller.read_to_end().await;
    assert!(refused.starts_with("HTTP/1.1 429 "), "{refused}");
    assert!(
        refused.contains("`limits.connections_max` of 1"),
        "{refused}"
    );

    let mut caller = connect(address).await;
    let page = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    caller.send(format!("{page}{post}")).await;
    let shown = caller.read_to_end().await;
    assert!(shown.starts_with("HTTP/1.1 200 "), "{shown}");
    assert_eq!(shown.matches("HTTP/1.1").count(), 1, "{shown}");

    assert_eq!(rig.probe.started(), 0);
    assert_eq!(server.stats().limits.connections_at_reserve, 1);
}

#[tokio::test]
async fn at_the_limit_of_an_address_its_operator_is_answered_too() {
    let rig = Rig::new();
    let server = Server::builder()
        .listen("127.0.0.1:0")
        .config(Config::default().with(|config| config.limits.connections_per_address = 1))
        .router(rig.router())
        .admin(AdminConfig::default())
        .bind()
        .await
        .unwrap();
    let address = server.addresses()[0].tcp().unwrap();
    let _server = TestServer::of(server);
    let mut first = connect(address).await;
    assert_eq!(first.ask(PING).await["data"], 1);

    let (head, _) = get(&mut connect(address).await, "/healthz").await;
    assert!(head.contains("200"), "{head}");
    connect(address).await.ask(PING).await["data"]
        .as_u64()
        .expect("a ping is answered");
}

#[tokio::test]
async fn peers_that_say_nothing_do_not_keep_the_reserve() {
    let full = Full::of(1, "").await;

    // More than there are seats, from several addresses; each that comes takes the seat of the oldest.
    let mut silent = Vec::new();
    for n in 0..10 * RESERVE_PER_ADDRESS {
        let from = format!("127.0.0.{}:0", 2 + n % 5);
        silent.push(connect_from(&from, full.service).await);
    }
    for from in ["127.0.0.1:0", "127.0.0.2:0", "127.0.0.99:0"] {
        let mut operator = connect_from(from, full.service).await;
        let (head, _) = get(&mut operator, "/healthz").await;
        assert!(head.contains("200"), "{from}: {head}");
    }

    // Those that have lost their seats are told why, and so are the others once their time is up.
    for client in &mut silent {
        client.expect_code(None, 8).await;
        client.expect_end().await;
    }
    let stats = full.server.stats();
    assert_eq!(stats.limits.connections_at_reserve, 3);
    assert_eq!(stats.connections_refused, 10 * RESERVE_PER_ADDRESS as u64);
}

#[tokio::test]
async fn peers_that_ask_slowly_do_not_keep_the_reserve_either() {
    let full = Full::of(1, "").await;

    let mut slow = Vec::new();
    for _ in 0..RESERVE_PER_ADDRESS {
        let mut client = connect(full.service).await;
        client.send("GET /healthz HTTP/1.1\r\n").await;
        slow.push(client);
    }
    let (head, _) = get(&mut connect(full.service).await, "/healthz").await;
    assert!(head.contains("200"), "{head}");
    for client in &mut slow {
        let refused = client.read_to_end().await;
        assert!(refused.starts_with("HTTP/1.1 429 "), "{refused}");
    }
}

#[tokio::test]
async fn the_listener_for_pages_has_a_limit_of_its_own_and_the_newest_is_shown_its_page() {
    let full = Full::of(1, "127.0.0.1:0").await;

    let mut silent = Vec::new();
    for _ in 0..PAGE_CONNECTIONS_MAX {
        silent.push(connect(full.pages).await);
    }
    let (head, _) = get(&mut connect(full.pages).await, "/healthz").await;
    assert!(head.contains("200"), "{head}");
    assert_eq!(full.server.stats().limits.page_connections_over_max, 1);
    silent[0].expect_end().await;
}

#[tokio::test]
async fn connections_for_pages_do_not_count_as_those_of_the_service() {
    let mut full = Full::of(2, "127.0.0.1:0").await;
    full.connections.pop();
    while full.server.stats().connections_open > 1 {
        tokio::task::yield_now().await;
    }

    let (head, body) = get(&mut connect(full.pages).await, "/readyz").await;
    assert!(head.contains("200"), "{head}: {body}");
    let _silent = [connect(full.pages).await, connect(full.pages).await];
    let mut client = connect(full.service).await;
    client.send(call(1, ECHO, "")).await;
    client.expect_code(1, 0).await;
}
