//! Hello: a service, its server, and a client that calls it, in one program.
//!
//! Two programs look the same: the trait is then in a crate that both depend on.

use rpc_server::{Router, Server, Status, service};

#[service]
trait Greeter {
    /// Greets a person by name.
    #[rpc(cmdid = 100, idempotent)]
    async fn greet(&self, name: &str) -> Result<String, Status>;
}

struct English;

impl Greeter for English {
    async fn greet(&self, name: &str) -> Result<String, Status> {
        if name.is_empty() {
            return Err(Status::invalid_argument("`name` is empty; give a name"));
        }

        Ok(format!("Hello {name}!"))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // The server. A fixed port, as "127.0.0.1:8889", is what clients would be configured with.
    let router = Router::new().serve(GreeterServer(English))?;
    let server = Server::builder()
        .listen("127.0.0.1:0")
        .router(router)
        .bind()
        .await?;
    let address = server.addresses()[0].to_string();
    tokio::spawn(server.serve(rpc_server::shutdown_signal()));

    // The client. Its first call opens the connection; all calls of the process share it.
    let greeter = GreeterClient::new(rpc_client::shared(&address));
    println!("{}", greeter.greet("world").await?);

    let error = greeter
        .greet("")
        .await
        .expect_err("the service refuses an empty name");
    println!("refused: {error}");
    Ok(())
}
