//! The pages: who is shown them, and who is not.

use std::time::Duration;

use rpc_server::{AdminConfig, Config, ListenOptions, Server};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::{Response, ask, get, start, start_usual};
use crate::rig::HOLD;
use crate::support::{Client, TestServer, call, settle};

#[tokio::test(start_paused = true)]
async fn every_page_is_there_closed_to_other_sites_and_the_last_of_its_connection() {
    let (_rig, server) = start_usual().await;
    let pages = [
        ("/", "text/html"),
        ("/status.css", "text/css"),
        ("/status.js", "text/javascript"),
        ("/page.js", "text/javascript"),
        ("/favicon.svg", "image/svg+xml"),
        ("/healthz", "text/plain"),
        ("/readyz", "text/plain"),
        ("/metrics", "text/plain; version=0.0.4"),
        ("/stats.json", "application/json"),
    ];
    for (path, kind) in pages {
        let response = ask(&server, &get(path)).await;
        assert_eq!(response.status, 200, "{path}");
        let header = |name: &str| response.headers.get(name).map_or("", String::as_str);
        assert!(
            header("content-type").starts_with(kind),
            "{path}: {:?}",
            response.headers
        );
        assert!(
            header("content-security-policy").starts_with("default-src 'none'; script-src 'self';")
        );
        assert!(!header("content-security-policy").contains("unsafe"));
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert_eq!(
            (header("cache-control"), header("connection")),
            ("no-store", "close")
        );
        assert!(
            response
                .headers
                .keys()
                .all(|name| !name.starts_with("access-control"))
        );
        assert_eq!(
            header("content-length").parse(),
            Ok(response.body.len()),
            "{path}"
        );
        let head = ask(&server, &get(path).replace("GET", "HEAD")).await;
        assert_eq!((head.status, &*head.body), (200, ""), "{path}");
    }
    let page = ask(&server, &get("/")).await.body;
    assert!(
        !page.contains("http:")
            && !page.contains("https:")
            && !page.contains(" style=")
            && !page.contains(" on")
    );
    assert_eq!(ask(&server, &get("/etc/passwd")).await.status, 404);
    assert_eq!(server.stats().requests, 0);
}

#[tokio::test(start_paused = true)]
async fn however_a_request_is_cut_its_answer_is_the_same() {
    let (_rig, server) = start_usual().await;
    let request = get("/healthz");
    let whole = ask(&server, &request).await;
    for cut in 1..request.len() {
        let mut client = server.connect();
        client.send(&request[..cut]).await;
        settle().await;
        client.send(&request[cut..]).await;
        assert_eq!(
            Response::of(&client.read_to_end().await),
            whole,
            "cut at {cut}"
        );
    }
    // Only the first bytes of a connection are a request, and that does not hang on how they came, either.
    for together in [true, false] {
        let mut client = server.connect();
        client.send("\n").await;
        if !together {
            settle().await;
        }
        client.send(&request).await;
        assert_eq!(Response::of(&client.read_to_end().await).status, 400);
    }
}

#[tokio::test(start_paused = true)]
async fn a_web_page_that_posts_to_the_port_runs_nothing_and_nor_do_lines_behind_a_get() {
    let (rig, server) = start_usual().await;
    let lines = call(1, HOLD, "").repeat(3);
    for method in ["POST", "PUT", "OPTIONS", "DELETE", "PATCH"] {
        let request = format!(
            "{method} / HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n\
             Content-Type: text/plain\r\nContent-Length: {}\r\n\r\n{lines}",
            lines.len()
        );
        // Without the headers, the lines stand right behind the one that tells what it is.
        for request in [request, format!("{method} / HTTP/1.1\r\n{lines}")] {
            let response = ask(&server, &request).await;
            if method == "POST" {
                // The pages' own calls are of that method.
                assert!([400, 403, 405].contains(&response.status), "{response:?}");
                continue;
            }
            assert_eq!(response.status, 400, "{method}");
            assert!(
                response.body.ends_with("Nothing was executed.\n"),
                "{}",
                response.body
            );
        }
    }
    for behind in [
        get("/healthz") + &lines,
        get("/healthz").replace("\r\n\r\n", &format!("\r\n{lines}\r\n")),
    ] {
        let response = ask(&server, &behind).await;
        assert!(
            response.status == 200 || response.status == 400,
            "{response:?}"
        );
    }
    let with_body = get("/healthz").replace(
        "\r\n\r\n",
        &format!("\r\nContent-Length: 900000\r\n\r\n{lines}"),
    );
    assert_eq!(ask(&server, &with_body).await.status, 200);
    settle().await;
    assert_eq!((rig.probe.started(), server.stats().requests), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_name_that_points_here_without_being_ours_reads_nothing() {
    let admin = AdminConfig {
        hosts: vec!["rpc.internal".into()],
        ..AdminConfig::default()
    };
    let (_rig, server) = start(Config::default(), admin).await;
    for path in ["/", "/metrics", "/stats.json", "/healthz"] {
        for strange in [
            "Host: evil.example",
            "Host: evil.example:8889",
            "Host: localhost\r\nHost: evil.example",
        ] {
            let response = ask(
                &server,
                &format!("GET {path} HTTP/1.1\r\n{strange}\r\n\r\n"),
            )
            .await;
            assert!(
                [400, 421].contains(&response.status),
                "{strange}: {response:?}"
            );
            assert!(!response.body.contains("connections"), "{response:?}");
        }
    }
    let absolute = "GET http://evil.example/stats.json HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert_eq!(ask(&server, absolute).await.status, 421);

    let by_name = "GET /metrics HTTP/1.1\r\nHost: rpc-1.example:8889\r\n\r\n";
    let response = ask(&server, by_name).await;
    assert_eq!(response.status, 421);
    assert!(
        response
            .body
            .contains("`hosts = [\"rpc-1.example\"]` in the section [admin]")
            && response
                .body
                .contains("RPC_SERVER_ADMIN_HOSTS=rpc-1.example"),
        "{}",
        response.body
    );
    let no_name = "GET /metrics HTTP/1.1\r\nHost: <script>\r\n\r\n";
    let response = ask(&server, no_name).await;
    assert!(
        response.status == 421 && !response.body.contains("<script>"),
        "{response:?}"
    );

    for ours in [
        "Host: rpc.internal:8889",
        "Host: 10.1.2.3:8889",
        "Host: [::1]:8889",
    ] {
        assert_eq!(
            ask(&server, &format!("GET /healthz HTTP/1.1\r\n{ours}\r\n\r\n"))
                .await
                .status,
            200
        );
    }
    // A health check that speaks HTTP/1.0; browsers always send a name.
    assert_eq!(
        Response::of(&ask_text(&server, "GET /healthz HTTP/1.0\r\n\r\n").await).status,
        200
    );
}

async fn ask_text(server: &TestServer, request: &str) -> String {
    let mut client = server.connect();
    client.send(request).await;
    client.read_to_end().await.replace("HTTP/1.0", "HTTP/1.1")
}

#[tokio::test(start_paused = true)]
async fn without_pages_a_get_is_refused_like_any_http() {
    let off = AdminConfig {
        enabled: false,
        ..AdminConfig::default()
    };
    let (_rig, server) = start(Config::default(), off).await;
    let response = ask(&server, &get("/")).await;
    assert_eq!(response.status, 400);
    assert!(
        response.body.contains("does not speak HTTP"),
        "{}",
        response.body
    );
}

#[tokio::test]
async fn a_listener_may_be_without_pages_or_show_them_to_who_is_known_only() {
    let hidden = ListenOptions::new("127.0.0.1:0").admin_pages(false);
    let private = ListenOptions::new("127.0.0.1:0").require_authentication(true);
    let builder = Server::builder()
        .listen("127.0.0.1:0")
        .listen_with(hidden)
        .listen_with(private);
    let server = builder.admin(AdminConfig::default()).bind().await.unwrap();
    let addresses: Vec<_> = server
        .addresses()
        .iter()
        .map(|address| address.tcp().unwrap())
        .collect();
    let _server = TestServer::of(server);
    for (address, status) in addresses.into_iter().zip([200, 400, 400]) {
        let mut client = Client::new(TcpStream::connect(address).await.unwrap());
        client.send(get("/healthz")).await;
        assert_eq!(Response::of(&client.read_to_end().await).status, status);
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_slow_to_ask_or_asks_at_length_does_not_stay() {
    let (_rig, server) = start_usual().await;
    let begun = Instant::now();
    let mut client = server.connect();
    client.send("GET / HTTP/1.1\r\n").await;
    for n in 0..9 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        client.send(format!("X-{n}: y\r\n")).await;
    }
    client.expect_end().await;
    assert_eq!(begun.elapsed().as_secs(), 10);
    settle().await;
    assert_eq!(server.stats().connections_open, 0);
    let long = get("/").replace(
        "\r\n\r\n",
        &format!("\r\nX: {}\r\n\r\n", "y".repeat(20_000)),
    );
    assert_eq!(ask(&server, &long).await.status, 431);
    let many = get("/").replace("\r\n\r\n", &format!("\r\n{}\r\n", "X: y\r\n".repeat(500)));
    assert_eq!(ask(&server, &many).await.status, 431);
}
