//! Serves the trait of the crate `api`, and calls it over a connection in memory.
#![deny(warnings)]

use api::{Greeter, GreeterClient, GreeterServer, Greeting};
use futures::{Stream, StreamExt, stream};
use rpc_client::{Client, Config};
use rpc_server::{Context, Router, Server, Status};

struct Polite {
    form: &'static str,
}

impl Greeter for Polite {
    async fn greet(&self, name: &str, context: Context) -> Result<Greeting, Status> {
        Ok(Greeting {
            text: format!("{}, {name}", self.form),
            cmdid: context.cmdid().number(),
        })
    }

    fn greet_all(&self, names: Vec<String>) -> impl Stream<Item = Result<String, Status>> + Send {
        stream::iter(names).map(|name| Ok(format!("{}, {name}", self.form)))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let polite = Polite { form: "Good day" };
    let router = Router::new().serve(GreeterServer(polite))?;
    let server = Server::builder().router(router).bind().await?;
    let (ours, theirs) = tokio::io::duplex(4096);
    tokio::spawn(server.handle().serve_connection(theirs, "in memory"));

    let greeter = GreeterClient::new(Client::over(ours, "in memory", Config::default()));
    let greeting = greeter.greet("world").await?;
    assert_eq!(greeting.text, "Good day, world");
    assert_eq!(greeting.cmdid, 100);

    let names = ["a", "b"].map(str::to_owned).to_vec();
    let greetings: Vec<_> = greeter.greet_all(names).await?.collect().await;
    assert_eq!(greetings.len(), 2);
    println!("{}", greeting.text);
    Ok(())
}
