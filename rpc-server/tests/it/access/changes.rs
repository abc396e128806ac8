//! Tokens and grants that change while connections are open.

use rpc_server::Grants;
use serde_json::json;
use tokio::net::TcpStream;

use super::{
    BILLING, Guarded, ORDERS, READ, SECRET, WAIT, WHO, authenticate, both, grants, quick, router,
    tokens,
};
use crate::support::{Client, Probe, TestServer, call};

#[tokio::test]
async fn grants_and_tokens_change_for_open_connections_too() {
    let guarded = Guarded::start(quick()).await;
    let mut client = guarded.connect().await;
    assert_eq!(client.ask(&authenticate(ORDERS)).await["code"], 0);
    let ask = async |client: &mut Client<TcpStream>, cmdid: u32| -> u64 {
        client.ask(call(1, cmdid, "").trim_end()).await["code"]
            .as_u64()
            .unwrap()
    };
    assert_eq!(
        ask(&mut client, SECRET).await,
        0,
        "without any grant all is granted"
    );
    guarded.server.handle.set_grants(Some(grants()));
    assert_eq!(
        (ask(&mut client, SECRET).await, ask(&mut client, READ).await),
        (7, 0)
    );
    guarded
        .server
        .handle
        .set_grants(Some(grants().grant("*", ["102"]).unwrap()));
    assert_eq!(ask(&mut client, SECRET).await, 0);
    guarded.server.handle.set_grants(Some(Grants::new()));
    assert_eq!(
        ask(&mut client, WHO).await,
        7,
        "an empty list is one that grants nothing"
    );
    guarded.server.handle.set_grants(None);
    assert_eq!(ask(&mut client, SECRET).await, 0);
    let next = "the-next-token-of-orders-0123456789";
    guarded
        .server
        .handle
        .set_tokens(Some(tokens(&[("orders", next)])));
    assert_eq!(ask(&mut client, WHO).await, 16, "its token holds no more");
    assert_eq!(client.ask(&authenticate(ORDERS)).await["code"], 16);
    assert_eq!(client.ask(&authenticate(next)).await["code"], 0);
    assert_eq!(ask(&mut client, WHO).await, 0);
}

#[tokio::test]
async fn calls_in_flight_end_when_the_right_to_them_does() {
    let server = TestServer::start(router(&Probe::default())).await;
    server.handle.set_tokens(Some(both()));
    let mut client = server.connect();
    assert_eq!(client.ask(&authenticate(ORDERS)).await["code"], 0);

    // One waits, an ordered one does, and one waits behind that for its turn.
    client.send(call(1, WAIT, "") + &call(2, WAIT, "")).await;
    client
        .send(format!("{{\"cmdid\":{WAIT}}}\n{{\"cmdid\":{WHO}}}\n"))
        .await;
    assert_eq!(client.ask("{\"id\":3,\"cmdid\":0}").await["id"], 3);

    let all_but_waiting = grants().grant("*", ["100-102"]).unwrap();
    server.handle.set_grants(Some(all_but_waiting));
    let mut ended = Vec::new();
    for _ in 0..3 {
        let reply = client.reply().await;
        assert_eq!(reply["code"], 7, "{reply}");
        ended.push(reply["id"].as_u64());
    }
    ended.sort_unstable();
    assert_eq!(ended, [None, Some(1), Some(2)]);
    assert_eq!(client.reply().await["data"], "orders");
    assert_eq!(server.stats().in_flight, 0);

    // Without its token the connection has no right to anything.
    server.handle.set_grants(None);
    client.send(call(4, WAIT, "") + &call(5, WHO, "")).await;
    assert_eq!(client.reply().await["id"], 5);
    server
        .handle
        .set_tokens(Some(tokens(&[("billing", BILLING)])));
    let reply = client.reply().await;
    assert_eq!((&reply["id"], &reply["code"]), (&json!(4), &json!(16)));
}
