//! Many connections, and more than there may be.

use std::net::SocketAddr;
use std::time::Duration;

use rpc_server::{Config, Server};

use crate::rig::Rig;
use crate::support::{Client, TestServer};

async fn tcp(config: Config) -> (TestServer, SocketAddr) {
    let router = Rig::new().router();
    let server = Server::builder()
        .listen("127.0.0.1:0")
        .config(config)
        .router(router)
        .bind()
        .await
        .unwrap();
    let address = server.addresses()[0].tcp().unwrap();
    (TestServer::of(server), address)
}

async fn connect(address: SocketAddr) -> Client<tokio::net::TcpStream> {
    Client::new(tokio::net::TcpStream::connect(address).await.unwrap())
}

const PING: &str = "{\"cmdid\":0,\"params\":1}";
/// A full server answers a ping all the same.
const CALL: &str = "{\"cmdid\":100,\"params\":1}";

#[tokio::test]
async fn a_thousand_connections_at_once_are_all_accepted_and_answered() {
    let (server, address) = tcp(Config::default()).await;
    let all = futures::future::join_all((0..1_000).map(|_| async move {
        let mut client = connect(address).await;
        assert_eq!(client.ask(PING).await["data"], 1);
        client
    }));
    let clients = all.await;
    assert_eq!(
        (
            server.stats().connections_accepted,
            server.stats().connections_open
        ),
        (1_000, 1_000)
    );
    drop(clients);
}

#[tokio::test]
async fn an_address_has_so_many_connections_and_other_addresses_and_streams_have_theirs() {
    let (server, address) =
        tcp(Config::default().with(|config| config.limits.connections_per_address = 2)).await;
    let mut first = connect(address).await;
    let mut second = connect(address).await;
    for client in [&mut first, &mut second] {
        assert_eq!(client.ask(PING).await["data"], 1);
    }
    let mut third = connect(address).await;
    let refused = third.ask(CALL).await;
    assert!(
        refused["message"]
            .as_str()
            .unwrap()
            .contains("`limits.connections_per_address` of 2"),
        "{refused}"
    );
    assert_eq!(
        (&refused["code"], &refused["rejected"]),
        (&8.into(), &true.into())
    );
    assert_eq!(refused["retry_after_ms"], 1_000);
    third.expect_end().await;
    assert_eq!(server.stats().limits.connections_over_address_max, 1);
    // All of 127.0.0.0/8 is this machine.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut other = Client::new(socket.connect(address).await.unwrap());
    assert_eq!(other.ask(PING).await["data"], 1);
    for _ in 0..3 {
        assert_eq!(server.connect().ask(PING).await["data"], 1);
    }
    // Who leaves makes room.
    drop(first);
    let waits = async {
        loop {
            let mut next = connect(address).await;
            let reply = next.ask(CALL).await;
            if reply["code"] == 0 {
                break;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waits)
        .await
        .expect("there is room");
    assert_eq!(second.ask(PING).await["data"], 1);
}

#[tokio::test]
async fn so_many_are_told_that_there_is_no_place_and_the_rest_is_closed() {
    let config = Config::default().with(|config| {
        config.limits.connections_max = 1;
        config.accept.refusals_max = 2;
        config.timeouts.linger_timeout_ms = 60_000;
    });
    let (server, address) = tcp(config).await;
    let mut first = connect(address).await;
    assert_eq!(first.ask(PING).await["data"], 1);
    // Both are told, and stay: they hold the two turns.
    let (mut one, mut other) = (connect(address).await, connect(address).await);
    for client in [&mut one, &mut other] {
        assert_eq!(client.ask(CALL).await["code"], 8);
    }
    let mut third = connect(address).await;
    third.send(format!("{CALL}\n")).await;
    third.expect_end().await;
    assert_eq!(
        (
            server.stats().limits.connections_over_max,
            server.stats().limits.refusals_unsaid
        ),
        (3, 1)
    );
}
