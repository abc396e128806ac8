//! Authentication: a client shows a token, the server knows whose it is, and grants say what that identity may call.

use rpc_client::Client;
use rpc_server::{Context, Grants, ListenOptions, Router, Server, Status, Tokens, service};

/// In production from a file that only the client can read. `rpc token` makes one.
const TOKEN: &str = "token-of-orders-0123456789abcdef";

#[service]
trait Account {
    /// Returns the caller's identity.
    #[rpc(cmdid = 100, idempotent)]
    async fn identity(&self, context: Context) -> Result<Option<String>, Status>;

    /// Closes the account.
    #[rpc(cmdid = 101)]
    async fn close(&self) -> Result<(), Status>;
}

struct Accounts;

impl Account for Accounts {
    async fn identity(&self, context: Context) -> Result<Option<String>, Status> {
        Ok(context.identity().map(str::to_owned))
    }

    async fn close(&self) -> Result<(), Status> {
        unreachable!("it is granted to no identity")
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // The server keeps hashes only. `Tokens::load` reads them from a file.
    let hash = Tokens::hash(TOKEN).ok_or("the token is too short")?;
    let server = Server::builder()
        .listen_with(ListenOptions::new("127.0.0.1:0").require_authentication(true))
        .tokens(Tokens::parse(&format!("orders {hash}"))?)
        .grants(Grants::new().grant("orders", ["100"])?)
        .router(Router::new().serve(AccountServer(Accounts))?)
        .bind()
        .await?;
    let address = server.addresses()[0].to_string();
    tokio::spawn(server.serve(rpc_server::shutdown_signal()));

    let known = AccountClient::new(Client::builder(&*address).token(TOKEN).build());
    println!("with the token: {:?}", known.identity().await?);
    println!("not granted: {}", known.close().await.unwrap_err());

    let unknown = AccountClient::new(Client::new(&*address));
    println!("without a token: {}", unknown.identity().await.unwrap_err());
    Ok(())
}
