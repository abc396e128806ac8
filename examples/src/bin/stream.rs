//! Streams: a command that answers with many items, read by a caller that stops when it has enough.

use futures::{Stream, StreamExt, stream};
use rpc_server::{Router, Server, Status, service};

#[service]
trait Numbers {
    /// The prime numbers from `from` on, without end.
    #[rpc(cmdid = 100, idempotent, no_timeout)]
    fn primes(&self, from: u64) -> impl Stream<Item = Result<u64, Status>> + Send;
}

struct Arithmetic;

impl Numbers for Arithmetic {
    // The server asks for an item only when the caller has room for it: a slow caller stops this one stream, and no
    // other call on the connection.
    fn primes(&self, from: u64) -> impl Stream<Item = Result<u64, Status>> + Send {
        let is_prime =
            |number: &u64| *number > 1 && (2..*number).all(|by| !number.is_multiple_of(by));
        stream::iter((from..).filter(is_prime).map(Ok))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let router = Router::new().serve(NumbersServer(Arithmetic))?;
    let server = Server::builder()
        .listen("127.0.0.1:0")
        .router(router)
        .bind()
        .await?;
    let address = server.addresses()[0].to_string();
    tokio::spawn(server.serve(rpc_server::shutdown_signal()));

    let numbers = NumbersClient::new(rpc_client::shared(&address));
    let mut primes = numbers.primes(1_000).await?;
    while let Some(prime) = primes.next().await {
        let prime = prime?;
        println!("{prime}");
        if prime > 1_030 {
            // Dropping the stream cancels the call at the server.
            break;
        }
    }
    Ok(())
}
