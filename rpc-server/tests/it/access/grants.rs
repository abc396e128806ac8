//! Grants: the commands that an identity may call.

use rpc_core::builtins::{Builtin, Callers};
use rpc_core::{Kind, builtins};
use rpc_server::{ListenOptions, Server};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::{
    BILLING, Guarded, ORDERS, READ, SECRET, WHO, authenticate, both, grants, quick, router,
};
use crate::logged::Logged;
use crate::support::{Client, Probe, TestServer, call};

#[tokio::test]
async fn before_authentication_every_command_but_ping_is_answered_with_code_16() {
    let guarded = Guarded::start(quick()).await;
    let mut client = guarded.connect().await;
    assert_eq!(
        client.ask("{\"id\":1,\"cmdid\":0,\"params\":7}").await,
        json!({"id":1,"code":0,"data":7})
    );
    for cmdid in [1, 2, 3, WHO, READ, SECRET, 99_999] {
        let reply = client
            .ask(&format!(
                "{{\"id\":2,\"cmdid\":{cmdid},\"params\":[1e400]}}"
            ))
            .await;
        assert_eq!(
            reply["code"],
            if cmdid == 0 { 0 } else { 16 },
            "{cmdid}: {reply}"
        );
        let ordered = client.ask(&format!("{{\"cmdid\":{cmdid}}}")).await;
        assert_eq!(
            (&ordered["code"], &ordered["id"]),
            (&json!(16), &Value::Null)
        );
    }
    // Those without a reply have no effect either.
    client
        .send(format!(
            "{{\"cmdid\":{READ},\"oneway\":true}}\n{{\"cmdid\":4,\"params\":{{\"id\":1}}}}\n"
        ))
        .await;
    assert_eq!(
        client.ask(&authenticate(ORDERS)).await,
        json!({"id":9,"code":0,"data":{"identity":"orders","instance":rpc_server::instance()}})
    );
    assert_eq!(guarded.probe.started(), 0, "nothing ran before");
    assert_eq!(
        client.ask("{\"id\":3,\"cmdid\":100}").await["data"],
        "orders"
    );
    assert_eq!(
        client.ask("{\"cmdid\":101,\"params\":[5]}").await["data"],
        json!([5])
    );
    let stats = guarded.server.stats().access;
    assert_eq!(
        (stats.unauthenticated_calls, stats.authentications),
        (16, 1)
    );
}

#[tokio::test]
async fn an_identity_is_what_it_is_for_the_whole_connection() {
    let server = TestServer::start(router(&Probe::default())).await;
    let mut client = server.connect();
    assert_eq!(
        client.ask(&authenticate(ORDERS)).await["code"],
        12,
        "no tokens"
    );
    server.handle.set_tokens(Some(both()));
    assert_eq!(
        client.ask("{\"id\":1,\"cmdid\":100}").await,
        json!({"id":1,"code":0})
    );
    assert_eq!(client.ask(&authenticate(ORDERS)).await["code"], 0);
    assert_eq!(
        client.ask(&authenticate(ORDERS)).await["code"],
        0,
        "the same again"
    );
    let reply = client.ask(&authenticate(BILLING)).await;
    assert_eq!(reply["code"], 9);
    assert_eq!(
        reply["message"],
        "this connection has authenticated as `orders`, and cannot change its identity"
    );
    assert_eq!(
        client.ask("{\"id\":1,\"cmdid\":100}").await["data"],
        "orders"
    );
}

#[tokio::test]
async fn a_command_without_a_grant_is_refused_with_code_7_before_its_params_are_read() {
    let (logged, probe) = (Logged::begin(), Probe::default());
    let server = Server::builder()
        .tokens(both())
        .grants(grants())
        .router(router(&probe))
        .bind()
        .await
        .unwrap();
    let server = TestServer::of(server);
    let mut client = server.connect();
    assert_eq!(
        client.ask(&call(1, WHO, "")).await["code"],
        7,
        "a caller without an identity may call nothing"
    );
    assert_eq!(client.ask(&authenticate("x")).await["code"], 16);
    assert_eq!(client.ask(&authenticate(BILLING)).await["code"], 0);
    assert_eq!(
        client.ask("{\"id\":1,\"cmdid\":100}").await["data"],
        "billing"
    );
    // Params that no reader takes, on the short way of usual lines and on the long one.
    for rest in [
        "\"params\":{\"secret\":\"4211\"}",
        "\"params\":[1e400]",
        "\"timestamp\":1,\"params\":\"\"",
    ] {
        for cmdid in [READ, SECRET, 99_999] {
            let line = call(2, cmdid, rest);
            let reply = client.ask(line.trim_end()).await;
            assert_eq!(reply["code"], 7, "{line} {reply}");
            assert_eq!(
                reply["message"],
                format!("`billing` has no grant for command {cmdid}")
            );
            assert!(reply.get("rejected").is_none());
        }
    }
    for cmdid in [0, 1, 2, 3] {
        assert_eq!(
            client.ask(&format!("{{\"id\":3,\"cmdid\":{cmdid}}}")).await["code"],
            0,
            "{cmdid}"
        );
    }
    assert_eq!(probe.started(), 0);
    let stats = server.stats().access;
    assert_eq!(
        (stats.calls_without_grant, stats.unauthenticated_calls),
        (10, 0)
    );
    let text = logged.text();
    assert_eq!(
        text.matches("command refused").count(),
        1,
        "once a connection: {text}"
    );
    assert!(!text.contains("4211"), "{text}");
}

#[tokio::test]
async fn each_built_in_command_is_let_pass_described_and_counted_by_its_row() {
    let probe = Probe::default();
    let server = Server::builder()
        .listen_with(ListenOptions::new("127.0.0.1:0").require_authentication(true))
        .tokens(both())
        .grants(grants())
        .router(router(&probe))
        .bind()
        .await
        .unwrap();
    let address = server.addresses()[0].tcp().unwrap();
    let _server = TestServer::of(server);
    let mut client = Client::new(TcpStream::connect(address).await.unwrap());

    let with_reply = |row: &&Builtin| row.kind != Kind::Oneway;
    for row in builtins::TABLE.iter().filter(with_reply) {
        let reply = client.ask(&call(1, row.cmdid.number(), "")).await;
        let is_refused = reply["code"] == 16;
        assert_eq!(
            is_refused,
            row.callers == Callers::Authenticated,
            "{row:?}: {reply}"
        );
    }

    // Nothing below 100 is granted to this one.
    assert_eq!(client.ask(&authenticate(ORDERS)).await["code"], 0);
    for row in builtins::TABLE {
        client.send(call(2, row.cmdid.number(), "")).await;
        if with_reply(&row) {
            let reply = client.reply().await;
            assert!(
                reply["code"] != 7 && reply["code"] != 16,
                "{row:?}: {reply}"
            );
        }
    }

    let described = client.ask(&call(3, 1, "")).await["data"]["commands"].take();
    let counted = client.ask(&call(3, 3, "")).await["data"]["commands"].take();
    for row in builtins::TABLE {
        let number = row.cmdid.number();
        let of_row = |all: &Value| {
            let mut all = all.as_array().unwrap().iter();
            all.find(|command| command["cmdid"] == number).cloned()
        };

        assert_eq!(
            of_row(&described),
            Some(serde_json::to_value(row.descriptor()).unwrap())
        );

        // Calls that the connection itself carries out are counted as requests only.
        if !with_reply(&row) {
            continue;
        }
        let counted = of_row(&counted).unwrap_or_else(|| panic!("{row:?}: {counted}"));
        assert_eq!(counted["method"], row.name, "{counted}");
    }
}

#[tokio::test]
async fn describe_shows_a_caller_what_it_may_call() {
    let server = Server::builder()
        .tokens(both())
        .grants(grants())
        .router(router(&Probe::default()));
    let server = TestServer::of(server.bind().await.unwrap());
    let mut client = server.connect();
    let shown = |reply: Value| -> Vec<u64> {
        let commands = reply["data"]["commands"].as_array().unwrap().clone();
        let cmdids = commands
            .iter()
            .map(|command| command["cmdid"].as_u64().unwrap());
        cmdids.filter(|cmdid| *cmdid >= 100).collect()
    };
    assert_eq!(
        shown(client.ask("{\"id\":1,\"cmdid\":1}").await),
        [0_u64; 0]
    );
    assert_eq!(client.ask(&authenticate(ORDERS)).await["code"], 0);
    assert_eq!(
        shown(client.ask("{\"id\":1,\"cmdid\":1}").await),
        [100, 101]
    );
    assert_eq!(
        client
            .ask("{\"id\":1,\"cmdid\":1,\"params\":{\"cmdid\":102}}")
            .await["code"],
        5
    );
}
