//! The same with tonic: `cargo run` of a package with these files, tonic, tonic-prost, prost, tokio, tokio-stream and
//! tonic-prost-build, and protoc.

use std::sync::Mutex;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Endpoint, Server};
use tonic::{Request, Response, Status};

use proto::orders_client::OrdersClient;
use proto::orders_server::{Orders, OrdersServer};
use proto::{Found, Item, Order, Placed};

mod proto {
    tonic::include_proto!("orders");
}

#[derive(Default)]
struct Shop(Mutex<Vec<Order>>);

#[tonic::async_trait]
impl Orders for Shop {
    async fn place(&self, request: Request<Order>) -> Result<Response<Placed>, Status> {
        let order = request.into_inner();
        if order.count == 0 {
            return Err(Status::invalid_argument("`count` is 0; order one or more"));
        }
        let mut orders = self.0.lock().unwrap();
        orders.push(order);
        let number = orders.len() as u64;
        Ok(Response::new(Placed { number }))
    }

    async fn find(&self, request: Request<Item>) -> Result<Response<Found>, Status> {
        let Item { item } = request.into_inner();
        let orders = self.0.lock().unwrap();
        let orders = orders
            .iter()
            .filter(|order| order.item == item)
            .cloned()
            .collect();
        Ok(Response::new(Found { orders }))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let service = OrdersServer::new(Shop::default());
    let incoming = TcpListenerStream::new(listener);
    tokio::spawn(
        Server::builder()
            .add_service(service)
            .serve_with_incoming(incoming),
    );

    let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
    let endpoint = endpoint.timeout(Duration::from_secs(1));
    let mut orders = OrdersClient::new(endpoint.connect().await?);
    let pear = Order {
        item: "pear".into(),
        count: 2,
    };
    let number = orders.place(pear).await?.into_inner().number;
    let plum = Order {
        item: "plum".into(),
        count: 0,
    };
    let refused = orders.place(plum).await.unwrap_err();
    let found = orders
        .find(Item {
            item: "pear".into(),
        })
        .await?
        .into_inner()
        .orders;
    println!("{number}: {found:?}; {}", refused.message());
    Ok(())
}
