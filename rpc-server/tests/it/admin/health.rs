//! Pages and health of a server that drains, is full, or does not serve.

use std::time::Duration;

use rpc_server::{AdminConfig, Config, Descriptor, Route, Router, Server, ServiceHealth, Status};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::{Response, ask, get, start, start_usual};
use crate::rig::{ECHO, HOLD, Rig};
use crate::support::{Client, TestServer, call, settle};

#[tokio::test(start_paused = true)]
async fn a_drain_does_not_wait_for_who_is_slow_to_ask() {
    let (_rig, mut server) = start_usual().await;
    let mut client = server.connect();
    client.send("GET / HTTP/1.1\r\n").await;
    settle().await;
    let begun = Instant::now();
    server.begin_to_drain();
    assert!(server.drained().await.is_clean);
    assert!(
        begun.elapsed() < Duration::from_secs(2),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn pages_on_an_address_of_their_own_say_that_the_server_drains() {
    let rig = Rig::new();
    let admin = AdminConfig {
        listen: "127.0.0.1:0".into(),
        ..AdminConfig::default()
    };
    let builder = Server::builder()
        .listen("127.0.0.1:0")
        .router(rig.router())
        .admin(admin);
    let server = builder.bind().await.unwrap();
    let addresses: Vec<_> = server
        .addresses()
        .iter()
        .map(|address| address.tcp().unwrap())
        .collect();
    let (service, pages) = (addresses[0], addresses[1]);
    let mut server = TestServer::of(server);
    let connect = |address| async move { Client::new(TcpStream::connect(address).await.unwrap()) };
    let ask = |address, text: String| async move {
        let mut client = connect(address).await;
        client.send(text).await;
        Response::of(&client.read_to_end().await)
    };
    assert_eq!(
        ask(service, get("/readyz")).await.status,
        400,
        "the service's port has none then"
    );
    assert_eq!(ask(pages, get("/readyz")).await.status, 200);
    let post = get("/readyz").replace("GET", "POST");
    let refused = ask(pages, post).await;
    assert_eq!(
        (refused.status, &*refused.headers["allow"]),
        (405, "GET, HEAD")
    );
    // No command is answered there.
    let mut frames = connect(pages).await;
    frames.send(call(1, ECHO, "")).await;
    let answer = frames.read_to_end().await;
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 400"),
        "{answer}"
    );

    let mut client = connect(service).await;
    client.send(call(1, HOLD, "")).await;
    while rig.probe.started() == 0 {
        tokio::task::yield_now().await;
    }
    server.begin_to_drain();
    assert_eq!(client.reply().await["event"], "goaway");
    let response = ask(pages, get("/readyz")).await;
    assert_eq!(response.status, 503);
    assert!(
        response.body.contains("The server is draining"),
        "{}",
        response.body
    );
    assert_eq!(ask(pages, get("/healthz")).await.status, 200, "it lives");
    rig.gate.let_pass(1);
    client.expect_code(1, 0).await;
    assert!(server.drained().await.is_clean);
    assert!(TcpStream::connect(pages).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_is_reached_makes_the_server_unready_and_says_which() {
    let config = Config::default().with(|config| config.limits.connections_max = 2);
    let (_rig, server) = start(config, AdminConfig::default()).await;
    assert_eq!(ask(&server, &get("/readyz")).await.status, 200);
    let _idle = server.connect();
    settle().await;
    let response = ask(&server, &get("/readyz")).await;
    assert_eq!(response.status, 503);
    assert!(
        response
            .body
            .contains("`limits.connections_max` is reached (2 of 2)"),
        "{}",
        response.body
    );

    let mut other = server.connect();
    let health = other.ask("{\"cmdid\":2}").await;
    assert_eq!(health["data"]["status"], "not_serving");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_not_serving_is_told_by_health_and_by_readyz_until_it_serves_again() {
    async fn answer() -> Result<u64, Status> {
        Ok(7)
    }

    let service = |name| Route::new(answer).describe(Descriptor::new(name, "answer"));
    let router = Router::new()
        .route(100, service("orders"))
        .and_then(|router| router.route(101, service("users")))
        .unwrap();
    let server = Server::builder()
        .admin(AdminConfig::default())
        .router(router)
        .bind()
        .await
        .unwrap();
    let server = TestServer::of(server);

    let mut client = server.connect();
    let mut statuses = async || {
        let mut statuses = Vec::new();
        for params in ["{}", r#"{"service":"orders"}"#, r#"{"service":"users"}"#] {
            let line = format!("{{\"cmdid\":2,\"params\":{params}}}");
            let status = client.ask(&line).await["data"]["status"].take();
            statuses.push(status.as_str().unwrap().to_owned());
        }
        statuses
    };

    let handle = &server.handle;
    for _ in 0..2 {
        assert_eq!(statuses().await, ["serving"; 3]);
        assert_eq!(ask(&server, &get("/readyz")).await.status, 200);

        let set = handle.set_service_health("orders", ServiceHealth::NotServing);
        assert_eq!(set, Ok(()));
        assert_eq!(statuses().await, ["not_serving", "not_serving", "serving"]);
        let ready = ask(&server, &get("/readyz")).await;
        assert_eq!(ready.status, 503);
        assert!(
            ready.body.contains("The service `orders` is not serving."),
            "{}",
            ready.body
        );

        let set = handle.set_service_health("orders", ServiceHealth::Serving);
        assert_eq!(set, Ok(()));
    }

    let unknown = handle.set_service_health("order", ServiceHealth::NotServing);
    assert_eq!(
        unknown.unwrap_err().to_string(),
        "no command belongs to a service `order`; the services of this server are `orders`, `users`"
    );
    assert_eq!(statuses().await, ["serving"; 3]);
}
