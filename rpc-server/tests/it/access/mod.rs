//! Access: tokens, authentication, grants.

mod changes;
mod grants;
mod tokens;

use rpc_server::{
    Config, Context, Grants, ListenOptions, Params, Reply, Router, Server, Status, Tokens,
};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::support::{Client, Probe, TestServer};

const ORDERS: &str = "token-of-orders-0123456789abcdef";

const BILLING: &str = "token-of-billing-0123456789abcdef";

/// Tells the identity of its caller.
const WHO: u32 = 100;

/// Counts who got that far: the params are read before it runs.
const READ: u32 = 101;

/// Granted to no identity.
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
