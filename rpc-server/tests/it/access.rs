//! Access: tokens, authentication, grants.

use std::io::Write;

use rpc_core::Kind;
use rpc_core::builtins::{self, Builtin, Callers};
use rpc_server::{
    Config, Context, Grants, ListenOptions, Params, Reply, Router, Server, Status, Tokens,
};
use serde_json::{Value, json};
use tokio::net::{TcpStream, UnixStream};

use crate::logged::Logged;
use crate::support::{Client, Probe, TestServer, call};

const ORDERS: &str = "token-of-orders-0123456789abcdef";
const BILLING: &str = "token-of-billing-0123456789abcdef";
const WRONG: &str = "a-token-of-nobody-0123456789abcd";

/// Says who calls.
const WHO: u32 = 100;
/// Counts who got that far: the params are read before it runs.
const READ: u32 = 101;
/// Granted to nobody.
const SECRET: u32 = 102;
/// Never ends.
const WAIT: u32 = 103;

fn tokens(lines: &[(&str, &str)]) -> Tokens {
    let line =
        |(identity, token): &(&str, &str)| format!("{identity} {}\n", Tokens::hash(token).unwrap());
    Tokens::parse(&lines.iter().map(line).collect::<String>()).unwrap()
}

fn both() -> Tokens {
    tokens(&[("orders", ORDERS), ("billing", BILLING)])
}

fn grants() -> Grants {
    let grants = Grants::new().grant("orders", ["100-101"]).unwrap();
    grants.grant("billing", ["100"]).unwrap()
}

async fn who(context: Context) -> Result<Reply, Status> {
    context.identity().map_or(Ok(Reply::empty()), Reply::new)
}

fn router(probe: &Probe) -> Router<()> {
    let probe = probe.clone();
    let read = move |Params(params): Params<Value>| {
        probe.enter().finish();
        std::future::ready(Ok::<Value, Status>(params))
    };
    let secret = |_: Params<Value>| std::future::ready(Ok::<u32, Status>(42));
    Router::new()
        .route(WHO, who)
        .unwrap()
        .route(READ, read)
        .unwrap()
        .route(SECRET, secret)
        .unwrap()
        .route(WAIT, std::future::pending::<Result<u32, Status>>)
        .unwrap()
}

/// A server whose listener wants authentication, on TCP.
struct Guarded {
    server: TestServer,
    address: std::net::SocketAddr,
    probe: Probe,
}

impl Guarded {
    async fn start(config: Config) -> Self {
        let probe = Probe::default();
        let server = Server::builder()
            .listen_with(ListenOptions::new("127.0.0.1:0").require_authentication(true))
            .config(config)
            .tokens(both())
            .router(router(&probe))
            .bind()
            .await
            .unwrap();
        let address = server.addresses()[0].tcp().unwrap();
        Self {
            server: TestServer::of(server),
            address,
            probe,
        }
    }

    async fn connect(&self) -> Client<TcpStream> {
        Client::new(TcpStream::connect(self.address).await.unwrap())
    }
}

fn quick() -> Config {
    Config::default().with(|config| config.token_failures.delay_ms = 1)
}

fn authenticate(token: &str) -> String {
    json!({ "id": 9, "cmdid": 6, "params": { "token": token } }).to_string()
}

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
async fn calls_behind_a_right_token_in_the_same_write_are_served() {
    let guarded = Guarded::start(quick()).await;
    let mut client = guarded.connect().await;
    let token = json!({ "cmdid": 6, "params": { "token": BILLING } });
    client
        .send(format!(
            "{token}\n{}{{\"cmdid\":{WHO}}}\n",
            call(1, WHO, "")
        ))
        .await;
    client
        .expect(&format!(
            "{{\"code\":0,\"data\":{{\"identity\":\"billing\",\"instance\":\"{}\"}}}}",
            rpc_server::instance()
        ))
        .await;
    client
        .expect("{\"id\":1,\"code\":0,\"data\":\"billing\"}")
        .await;
    client.expect("{\"code\":0,\"data\":\"billing\"}").await;
}

#[tokio::test(start_paused = true)]
async fn a_wrong_token_is_answered_late_and_never_with_a_word_of_it() {
    let logged = Logged::begin();
    let server = TestServer::with(Config::default(), router(&Probe::default())).await;
    server.handle.set_tokens(Some(both()));
    let mut client = server.connect();
    let start = tokio::time::Instant::now();
    let reply = client.ask(&authenticate(WRONG)).await;
    assert_eq!(reply["code"], 16, "{reply}");
    assert!(!reply.to_string().contains(WRONG), "{reply}");
    assert_eq!(start.elapsed().as_millis(), 1_000);
    // Others of the connection do not wait for it.
    client.send(format!("{}\n", authenticate(WRONG))).await;
    client.send(call(1, WHO, "")).await;
    assert_eq!(client.reply().await["id"], 1);
    assert_eq!(client.reply().await["id"], 9);
    for wrong in [
        json!(WRONG),
        json!({ "token": 5 }),
        json!({ "tokens": WRONG }),
        Value::Null,
    ] {
        let reply = client
            .ask(&json!({ "id": 9, "cmdid": 6, "params": wrong }).to_string())
            .await;
        assert_eq!(reply["code"], 3, "{reply}");
        assert!(!reply.to_string().contains(WRONG), "{reply}");
    }
    assert_eq!(
        client.ask(&authenticate(ORDERS)).await["data"]["identity"],
        "orders"
    );
    let text = logged.text();
    assert!(!text.contains(WRONG) && !text.contains(ORDERS), "{text}");
    assert!(
        text.contains("rpc_server::audit") && text.contains("wrong token"),
        "{text}"
    );
    assert!(text.contains("identity=orders by=\"token\""), "{text}");
}

#[tokio::test]
async fn too_many_wrong_tokens_from_one_address_are_not_looked_at_any_more() {
    let guarded =
        Guarded::start(quick().with(|config| config.token_failures.per_address = 3)).await;
    let mut early = guarded.connect().await;
    assert_eq!(early.ask(&authenticate(ORDERS)).await["code"], 0);
    for _ in 0..3 {
        let mut client = guarded.connect().await;
        assert_eq!(client.ask(&authenticate(WRONG)).await["code"], 16);
    }
    let mut client = guarded.connect().await;
    for token in [WRONG, ORDERS] {
        let reply = client.ask(&authenticate(token)).await;
        assert_eq!(
            (&reply["code"], &reply["rejected"]),
            (&json!(8), &json!(true)),
            "{reply}"
        );
        assert!(
            reply["message"]
                .as_str()
                .unwrap()
                .contains("`token_failures.per_address` (3)"),
            "{reply}"
        );
        assert!(reply["retry_after_ms"].as_u64().unwrap() > 0);
    }
    assert_eq!(
        early.ask("{\"id\":1,\"cmdid\":100}").await["data"],
        "orders",
        "those who are in stay in"
    );
    let stats = guarded.server.stats().access;
    assert_eq!((stats.token_failures, stats.token_failures_limited), (3, 2));
}

#[tokio::test]
async fn who_does_not_authenticate_in_time_is_told_so_and_closed() {
    let logged = Logged::begin();
    let guarded =
        Guarded::start(quick().with(|config| config.accept.authentication_timeout_ms = 50)).await;
    let mut silent = guarded.connect().await;
    let reply = silent.reply().await;
    assert_eq!(reply["code"], 16);
    assert!(
        reply["message"]
            .as_str()
            .unwrap()
            .contains("`accept.authentication_timeout_ms` of 50 ms"),
        "{reply}"
    );
    silent.expect_end().await;
    let mut known = guarded.connect().await;
    assert_eq!(known.ask(&authenticate(ORDERS)).await["code"], 0);
    let mut silent = guarded.connect().await;
    assert_eq!(silent.reply().await["code"], 16);
    assert_eq!(
        known.ask("{\"id\":1,\"cmdid\":100}").await["data"],
        "orders",
        "its time has passed, too"
    );
    assert_eq!(guarded.server.stats().access.authentication_timeouts, 2);
    logged
        .line_with("closed: not authenticated within `accept.authentication_timeout_ms`")
        .await;
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
        "nobody in particular may nothing"
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
async fn a_token_in_an_array_does_not_authenticate() {
    let guarded = Guarded::start(quick()).await;
    let mut client = guarded.connect().await;

    // In the usual order of fields, and in another one.
    for line in [
        json!({ "id": 9, "cmdid": 6, "params": [ORDERS] }).to_string(),
        format!("{{\"cmdid\":6,\"id\":9,\"params\":[\"{ORDERS}\"],\"credit\":1}}"),
    ] {
        let reply = client.ask(&line).await;
        assert_eq!(
            (&reply["id"], &reply["code"]),
            (&json!(9), &json!(3)),
            "{reply}"
        );
        let message = reply["message"].as_str().unwrap();
        assert!(
            message.contains("must be an object") && !message.contains(ORDERS),
            "{message}"
        );
    }

    assert_eq!(client.ask(&call(1, READ, "")).await["code"], 16);
    assert_eq!(client.ask(&authenticate(ORDERS)).await["code"], 0);
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

#[tokio::test]
async fn peers_of_a_unix_socket_are_held_back_but_never_locked_out_by_others() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let options =
        ListenOptions::new(format!("unix:{}", path.display())).require_authentication(true);
    let config = quick().with(|config| config.token_failures.per_address = 1);
    let server = Server::builder()
        .listen_with(options)
        .config(config)
        .tokens(both());
    let server = TestServer::of(
        server
            .router(router(&Probe::default()))
            .bind()
            .await
            .unwrap(),
    );
    let mut client = Client::new(UnixStream::connect(&path).await.unwrap());
    for _ in 0..3 {
        assert_eq!(client.ask(&authenticate(WRONG)).await["code"], 16);
    }
    assert_eq!(client.ask(&authenticate(ORDERS)).await["code"], 0);
    assert_eq!(server.stats().access.token_failures, 3);
}

#[test]
fn a_file_of_tokens_that_everybody_may_write_is_refused() {
    use std::os::unix::fs::PermissionsExt;

    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "orders {}", Tokens::hash(ORDERS).unwrap()).unwrap();
    assert_eq!(
        Tokens::load(file.path()).unwrap(),
        tokens(&[("orders", ORDERS)])
    );
    std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o666)).unwrap();
    let message = Tokens::load(file.path()).unwrap_err().to_string();
    assert!(
        message.contains("other users may write it (mode 0666)"),
        "{message}"
    );
}
