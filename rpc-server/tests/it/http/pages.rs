//! Pages of services, and the calls that they make.

use rpc_server::{AdminConfig, AdminPage, Server, Tokens};
use serde_json::json;

use super::{ECHO, Http, ORDERS, Rig, post};
use crate::support::call;

#[tokio::test]
async fn pages_win_where_there_are_any_and_calls_go_on_beside_them() {
    let builder = Server::builder().admin(AdminConfig::default());
    let http = Http::of(builder, Rig::default(), |options| options).await;
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    for (path, status) in [
        ("/healthz", 200),
        ("/metrics", 200),
        ("/", 200),
        ("/test.echo", 405),
    ] {
        assert_eq!(http.ask(&get(path)).await.status, status, "{path}");
    }
    assert_eq!(http.ask(&post("/healthz", "", "{}")).await.status, 404);
    assert_eq!(http.ask(&post("/test.echo", "", "{}")).await.status, 200);

    // Lines are lines.
    let mut lines = http.connect().await;
    let reply = lines.ask(call(1, ECHO, "\"params\":7").trim_end()).await;
    assert_eq!(reply, json!({"id": 1, "code": 0, "data": 7}));
}

#[tokio::test]
async fn the_page_of_a_service_has_its_files_and_calls_its_own_commands_without_a_token() {
    let page = AdminPage::new("/echo", "Echo", "<!doctype html><title>Echo</title>")
        .file(
            "/echo.js",
            "text/javascript; charset=utf-8",
            "\"use strict\";",
        )
        .calls([ECHO.into()]);
    let builder = Server::builder()
        .admin(AdminConfig::default())
        .admin_page(page);
    let http = Http::of(builder, Rig::default(), |options| options.http_calls(false)).await;

    let get =
        |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\n\r\n");
    let shown = http.ask(&get("/echo")).await;
    assert_eq!(
        (shown.status, shown.header("content-type")),
        (200, "text/html; charset=utf-8")
    );
    assert!(
        shown
            .header("content-security-policy")
            .starts_with("default-src 'none'")
    );
    assert_eq!(http.ask(&get("/echo.js")).await.body, "\"use strict\";");
    let status = http.ask(&get("/")).await;
    assert!(status.body.contains("<a href=\"/echo\">Echo</a>"));
    let nothing = http.ask(&get("/nothing")).await;
    assert_eq!(nothing.status, 404);
    assert!(nothing.body.contains(", /echo."), "{}", nothing.body);

    let own = "Origin: http://127.0.0.1:8889\r\n";
    for (path, headers, status) in [
        ("/test.echo", own, 200),
        ("/test.echo", "", 403),
        ("/test.echo", "Origin: http://evil.example\r\n", 403),
        ("/test.fail", own, 401),
    ] {
        let reply = http.ask(&post(path, headers, "{}")).await;
        assert_eq!(reply.status, status, "{path} {headers}: {reply:?}");
    }
}

#[tokio::test]
async fn two_pages_at_one_path_are_refused_by_name() {
    let page = || AdminPage::new("/echo", "Echo", "");
    let bound = Server::builder()
        .admin_page(page())
        .admin_page(page())
        .bind();
    let Err(error) = bound.await else {
        panic!("two pages have one path");
    };
    assert_eq!(
        error.to_string(),
        "the page Echo: the path \"/echo\" belongs to another page or file"
    );
}

#[tokio::test]
async fn pages_may_read_by_calls_of_their_own_origin_and_change_with_a_token_where_calls_are_off() {
    let lines = format!("orders {}\n", Tokens::hash(ORDERS).unwrap());
    let builder = Server::builder()
        .admin(AdminConfig::default())
        .tokens(Tokens::parse(&lines).unwrap());
    let http = Http::of(builder, Rig::default(), |options| options.http_calls(false)).await;

    let own = "Origin: http://127.0.0.1:8889\r\n";
    let with_token = format!("{own}Authorization: Bearer {ORDERS}\r\n");
    for (path, headers, status) in [
        ("/rpc.stats", own, 200),
        ("/rpc.health", "Sec-Fetch-Site: same-origin\r\n", 200),
        ("/test.echo", own, 401),
        ("/test.echo", &*with_token, 200),
        ("/rpc.stats", "", 403),
        ("/test.echo", "", 403),
        ("/rpc.stats", "Origin: http://evil.example\r\n", 403),
        ("/rpc.stats", "Origin: http://127.0.0.1:8890\r\n", 403),
    ] {
        let reply = http.ask(&post(path, headers, "{}")).await;
        assert_eq!(reply.status, status, "{path} {headers}: {reply:?}");
    }
    let rebound = post("/rpc.stats", "Origin: http://evil.example\r\n", "{}");
    let rebound = http
        .ask(&rebound.replace("127.0.0.1:8889", "evil.example"))
        .await;
    assert_eq!(rebound.status, 421);
    assert_eq!(http.rig.probe.started(), 1);
}
