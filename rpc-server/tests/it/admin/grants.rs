//! The pages where tokens and grants decide what is shown.

use rpc_server::{AdminConfig, Grants, ListenOptions, Server, Tokens};
use serde_json::Value;
use tokio::net::TcpStream;

use super::{Response, ask, get};
use crate::rig::{ECHO, Rig};
use crate::support::{Client, TestServer, call};

#[tokio::test]
async fn where_tokens_are_wanted_the_page_reads_nothing_without_one_and_for_each_identity_what_it_may()
 {
    let token = |of: char| of.to_string().repeat(32);
    let hash = |of| Tokens::hash(&token(of)).unwrap();
    let lines = format!("operator {}\norders {}\n", hash('o'), hash('r'));
    let grants = Grants::new().grant("operator", ["3"]).unwrap();
    let options = ListenOptions::new("127.0.0.1:0").require_authentication(true);
    let builder = Server::builder()
        .listen_with(options)
        .tokens(Tokens::parse(&lines).unwrap())
        .grants(grants.grant("orders", ["100"]).unwrap())
        .admin(AdminConfig::default());
    let server = builder.bind().await.unwrap();
    let address = server.addresses()[0].tcp().unwrap();
    let _server = TestServer::of(server);
    let ask = async |request: String| {
        let mut client = Client::new(TcpStream::connect(address).await.unwrap());
        client.send(request).await;
        client.half_close().await;
        Response::of(&client.read_to_end().await)
    };

    // The page itself asks for a token, and tells nothing before.
    let page = ask(get("/")).await;
    assert_eq!(page.status, 200);
    assert!(page.body.contains("id=\"token-value\"") && !page.body.contains("uptime"));
    assert!(
        page.body
            .contains("for callers that may call the command `stats`")
    );
    for (path, status) in [
        ("/status.js", 200),
        ("/healthz", 200),
        ("/readyz", 200),
        ("/stats.json", 401),
        ("/metrics", 401),
    ] {
        let response = ask(get(path)).await;
        assert_eq!(response.status, status, "{path}");
        if status == 401 {
            assert_eq!(response.headers["www-authenticate"], "Bearer");
            assert!(!response.body.contains("connections"), "{}", response.body);
        }
    }
    let plain = get("/").replace("\r\n\r\n", "\r\nAccept: */*\r\n\r\n");
    assert_eq!(ask(plain).await.status, 401);

    // It reads by the command, from its own origin.
    let read = |token: Option<String>| {
        let token = token.map(|token| format!("Authorization: Bearer {token}\r\n"));
        let body = "{\"connections\":50}";
        format!(
            "POST /3 HTTP/1.1\r\nHost: localhost:8889\r\nOrigin: http://localhost:8889\r\nConnection: close\r\n\
             Content-Type: application/json\r\n{}Content-Length: {}\r\n\r\n{body}",
            token.unwrap_or_default(),
            body.len()
        )
    };
    assert_eq!(ask(read(None)).await.status, 401);
    assert_eq!(ask(read(Some(token('x')))).await.status, 401);

    for (of, listed) in [('o', true), ('r', false)] {
        let response = ask(read(Some(token(of)))).await;
        assert_eq!(response.status, 200, "{}", response.body);
        let report: Value = serde_json::from_str(&response.body).unwrap();
        assert_eq!(
            report["connections"].as_array().unwrap().is_empty(),
            !listed
        );
        // That of the wrong token.
        let failures = report["recent"]["failures"].as_array().unwrap();
        assert_eq!(failures.is_empty(), !listed);
        assert!(report["server"]["connections_open"].as_u64().unwrap() > 0);
    }
}

#[tokio::test(start_paused = true)]
async fn connections_are_told_to_who_has_a_grant_for_stats() {
    let grants = Grants::new().grant("*", ["100-110"]).unwrap();
    for (grants, listed) in [(None, true), (Some(grants), false)] {
        let builder = Server::builder()
            .router(Rig::new().router())
            .admin(AdminConfig::default());
        let builder = match grants {
            Some(grants) => builder.grants(grants),
            None => builder,
        };
        let server = TestServer::of(builder.bind().await.unwrap());
        let mut other = server.connect_from("10.1.2.3:4");
        other.send(call(1, ECHO, "")).await;
        other.expect_code(1, 0).await;

        let stats = ask(&server, &get("/stats.json")).await;
        assert_eq!(stats.status, 200);
        assert_eq!(stats.body.contains("10.1.2.3"), listed, "{}", stats.body);
    }
}
