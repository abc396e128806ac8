//! Access: pages of other sites, listed origins, and the token of each request.

use rpc_server::{Config, Grants, ListenOptions, Server, Tokens};
use tokio::net::TcpStream;

use super::{BILLING, Http, ORDERS, Rig, post, response, router};
use crate::support::{Client, TestServer};

#[tokio::test]
async fn what_a_page_of_another_site_can_send_runs_nothing() {
    let http = Http::with(Config::default(), |options| {
        options
            .http_origins(["https://app.example"])
            .http_hosts(["rpc.internal"])
    })
    .await;
    let own = format!("Origin: http://{}\r\n", http.address);
    let right = post("/test.echo", "", "{}");
    let typed = |kind: &str| right.replace("application/json", kind);
    let hosted = |host: &str| right.replace("127.0.0.1:8889", host);

    for (request, status) in [
        (typed("text/plain"), 415),
        (typed("application/x-www-form-urlencoded"), 415),
        (typed("multipart/form-data; boundary=x"), 415),
        (right.replace("Content-Type: application/json\r\n", ""), 415),
        (hosted("evil.example"), 421),
        (hosted("evil.example:8889"), 421),
        (right.replace("POST", "GET"), 405),
        (right.replace("POST", "PUT"), 405),
        (right.replace("POST", "OPTIONS"), 405),
        (right.replace("/test.echo", "/"), 404),
        (post("/test.echo", "Origin: null\r\n", "{}"), 403),
        (
            post("/test.echo", "Origin: http://evil.example\r\n", "{}"),
            403,
        ),
        (
            post("/test.echo", "Origin: http://127.0.0.1\r\n", "{}"),
            403,
        ),
        (
            post("/test.echo", "Sec-Fetch-Site: cross-site\r\n", "{}"),
            403,
        ),
        (
            post(
                "/test.echo",
                "Origin: https://app.example\r\nOrigin: x\r\n",
                "{}",
            ),
            403,
        ),
        (
            post(
                "/test.echo",
                "Cookie: token=1\r\nAuthorization: Basic YTpi\r\n",
                "{}",
            ),
            401,
        ),
    ] {
        let refused = http.ask(&request).await;
        assert_eq!(refused.status, status, "{request}: {refused:?}");
        assert_eq!(refused.header("connection"), "close");
        assert_eq!(refused.header("access-control-allow-origin"), "");
        assert!(refused.json()["message"].is_string());
    }
    assert_eq!(http.rig.probe.started(), 0);
    assert_eq!(
        http.server.stats().bad_frames,
        16,
        "each of them is counted"
    );

    let ours =
        hosted(&http.address.to_string()).replace("Content-Type", &format!("{own}Content-Type"));
    for request in [
        ours,
        hosted("rpc.internal:8889"),
        hosted("localhost"),
        hosted("[::1]:1"),
    ] {
        let taken = http.ask(&request).await;
        assert_eq!(taken.status, 200, "{request}: {taken:?}");
        assert_eq!(taken.header("access-control-allow-origin"), "");
    }
}

#[tokio::test]
async fn a_page_of_a_listed_origin_may_call_and_read_the_answer() {
    let http = Http::with(Config::default(), |options| {
        options.http_origins(["https://app.example"])
    })
    .await;
    let origin = "Origin: https://app.example\r\n";
    let preflight = post("/test.echo", origin, "").replace("POST", "OPTIONS");
    let preflight = http.ask(&preflight).await;
    assert_eq!(preflight.status, 204);
    assert_eq!(
        preflight.header("access-control-allow-origin"),
        "https://app.example"
    );
    assert_eq!(preflight.header("access-control-allow-methods"), "POST");
    assert!(
        preflight
            .header("access-control-allow-headers")
            .contains("authorization")
    );
    assert_eq!(preflight.header("access-control-allow-credentials"), "");

    for (path, status) in [("/test.echo", 200), ("/test.fail", 422), ("/none", 404)] {
        let reply = http.ask(&post(path, origin, "{}")).await;
        assert_eq!(reply.status, status);
        assert_eq!(
            reply.header("access-control-allow-origin"),
            "https://app.example"
        );
        assert!(
            reply
                .header("access-control-expose-headers")
                .contains("rpc-code")
        );
        assert_eq!(reply.header("vary"), "origin");
    }
}

#[tokio::test]
async fn each_request_has_the_identity_of_its_own_token_whatever_its_connection_carried_before() {
    let hash = |token| Tokens::hash(token).unwrap();
    let lines = format!("orders {}\nbilling {}\n", hash(ORDERS), hash(BILLING));
    let grants = Grants::new().grant("orders", ["100-104"]).unwrap();
    let grants = grants.grant("billing", ["104"]).unwrap();
    let config = Config::default().with(|config| config.token_failures.delay_ms = 1);
    let builder = Server::builder()
        .config(config)
        .tokens(Tokens::parse(&lines).unwrap())
        .grants(grants);
    let http = Http::of(builder, Rig::default(), |options| {
        options.require_authentication(true)
    })
    .await;

    let mut client = http.connect().await;
    let mut ask = async |path: &str, token: Option<&str>| {
        let header = token.map_or(String::new(), |token| {
            format!("Authorization: Bearer {token}\r\n")
        });
        client.send(post(path, &header, "{}")).await;
        response(&mut client).await
    };
    for (token, identity) in [(ORDERS, "orders"), (ORDERS, "orders"), (BILLING, "billing")] {
        assert_eq!(
            ask("/test.tell", Some(token)).await.json()["identity"],
            identity
        );
    }
    let refused = ask("/test.echo", Some(BILLING)).await;
    assert_eq!((refused.status, refused.code()), (403, "7"));
    let anonymous = ask("/test.tell", None).await;
    assert_eq!((anonymous.status, anonymous.code()), (401, "16"));
    assert_eq!(anonymous.header("www-authenticate"), "Bearer");
    assert_eq!(ask("/test.echo", Some(ORDERS)).await.status, 200);
    let wrong = ask("/test.echo", Some("a-token-that-is-wrong-0123456789")).await;
    assert_eq!((wrong.status, wrong.code()), (401, "16"));
    assert_eq!(wrong.header("connection"), "close");
    assert_eq!(http.rig.probe.started(), 1);

    let access = http.server.stats().access;
    assert_eq!(access.authentications, 3);
    assert_eq!(
        (access.calls_without_grant, access.unauthenticated_calls),
        (1, 1)
    );
}

#[tokio::test]
async fn without_the_setting_a_post_is_refused_and_runs_nothing() {
    let rig = Rig::default();
    let options = ListenOptions::new("127.0.0.1:0");
    let builder = Server::builder().listen_with(options).router(router(&rig));
    let server = builder.bind().await.unwrap();
    let address = server.addresses()[0].tcp().unwrap();
    let _server = TestServer::of(server);

    let mut client = Client::new(TcpStream::connect(address).await.unwrap());
    client.send(post("/test.echo", "", "{}")).await;
    let refused = response(&mut client).await;
    assert_eq!(refused.status, 400);
    assert!(refused.body.contains("Nothing was executed"));
    assert_eq!(rig.probe.started(), 0);
}
