//! A small service, its server and a call of it, with this project.

use std::sync::Mutex;
use std::time::Duration;

use rpc_client::{CallOptions, Client};
use rpc_core::{Status, service};
use rpc_server::{Router, Server};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Order {
    item: String,
    count: u32,
}

#[service]
trait Orders {
    /// Places an order, and replies with its number.
    #[rpc(cmdid = 2001)]
    async fn place(&self, order: Order) -> Result<u64, Status>;

    /// Orders of an item.
    #[rpc(cmdid = 2002, idempotent)]
    async fn find(&self, item: &str) -> Result<Vec<Order>, Status>;
}

#[derive(Default)]
struct Shop(Mutex<Vec<Order>>);

impl Orders for Shop {
    async fn place(&self, order: Order) -> Result<u64, Status> {
        if order.count == 0 {
            return Err(Status::invalid_argument("`count` is 0; order one or more"));
        }
        let mut orders = self.0.lock().unwrap();
        orders.push(order);
        Ok(orders.len() as u64)
    }

    async fn find(&self, item: &str) -> Result<Vec<Order>, Status> {
        let orders = self.0.lock().unwrap();
        Ok(orders
            .iter()
            .filter(|order| order.item == item)
            .cloned()
            .collect())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let router = Router::new().serve(OrdersServer(Shop::default()))?;
    let server = Server::builder()
        .listen("127.0.0.1:0")
        .router(router)
        .bind()
        .await?;
    let address = server.addresses()[0].to_string();
    tokio::spawn(server.serve(std::future::pending()));

    let orders = OrdersClient::new(Client::new(address.as_str()));
    let orders = orders.with(CallOptions::new().timeout(Duration::from_secs(1)));
    let number = orders
        .place(Order {
            item: "pear".into(),
            count: 2,
        })
        .await?;
    let refused = orders
        .place(Order {
            item: "plum".into(),
            count: 0,
        })
        .await
        .unwrap_err();
    println!(
        "{number}: {:?}; {}",
        orders.find("pear").await?,
        refused.message()
    );
    Ok(())
}
