//! Typed services from end to end: one trait, served by a router, called over anything that answers.

mod clients;
mod wire;

use std::sync::{Arc, Mutex};

use futures::stream;
use futures::stream::{Stream, StreamExt};
use rpc_client::{Client, Config};
use rpc_server::{Context, Router, Server, Status, rpc_error, service};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) item: String,
    pub(crate) count: u32,
}

/// Why an order is not placed.
#[rpc_error]
#[derive(Debug)]
pub(crate) enum OrderError {
    /// There are fewer of the item.
    #[rpc(code = 1001, message = "only {left} of `{item}` are left")]
    SoldOut { item: String, left: u32 },
    /// The shop is closed.
    #[rpc(code = 1002)]
    Closed,
    /// The item is not known.
    #[rpc(code = 1003, message = "no item is called `{value}`")]
    Unknown(String),
    #[rpc(other)]
    Other(Status),
}

/// A shop.
#[service]
pub(crate) trait Orders {
    /// Places an order.
    ///
    /// It answers once the order is stored.
    #[rpc(cmdid = 2001, dedup, timeout_ms = 700)]
    async fn place(&self, order: Order) -> Result<u64, OrderError>;

    /// Counts a page view; nothing is answered.
    #[rpc(cmdid = 2002, oneway)]
    async fn viewed(&self, page: &str);

    /// Orders as they come.
    #[rpc(cmdid = 2003, idempotent, no_timeout)]
    fn watch(&self, from: u64) -> impl Stream<Item = Result<Order, Status>> + Send;

    /// How many orders there are of an item.
    #[rpc(
        cmdid = 2004,
        name = "count_of",
        idempotent,
        deprecated = "use `watch`"
    )]
    async fn count(
        &self,
        context: Context,
        item: &str,
        #[serde(default)] least: u32,
    ) -> Result<usize, Status>;

    /// Forgets all orders.
    #[rpc(cmdid = 2005, dedup(by_caller))]
    async fn forget(&self) -> Result<(), Status>;
}

#[derive(Default)]
pub(crate) struct Shop {
    orders: Mutex<Vec<Order>>,
    pages: Mutex<Vec<String>>,
}

impl Orders for Shop {
    async fn place(&self, order: Order) -> Result<u64, OrderError> {
        match order.item.as_str() {
            "pear" => Err(OrderError::SoldOut {
                item: order.item,
                left: 2,
            }),
            "door" => Err(OrderError::Closed),
            "car" => Err(OrderError::Unknown(order.item)),
            "ghost" => Err(Status::data_loss("gone").into()),
            _ => {
                let mut orders = self.orders.lock().unwrap();
                orders.push(order);
                Ok(orders.len() as u64)
            }
        }
    }

    async fn viewed(&self, page: &str) {
        self.pages.lock().unwrap().push(page.to_owned());
    }

    fn watch(&self, from: u64) -> impl Stream<Item = Result<Order, Status>> + Send {
        // It borrows the shop: the stream's owner keeps it.
        stream::iter(from..).map(|number| {
            let orders = self.orders.lock().unwrap();
            let order = usize::try_from(number).ok().and_then(|at| orders.get(at));
            order
                .cloned()
                .ok_or_else(|| Status::out_of_range(format!("there is no order {number}")))
        })
    }

    async fn count(&self, context: Context, item: &str, least: u32) -> Result<usize, Status> {
        assert_eq!(context.cmdid(), OrdersService::COUNT);
        let orders = self.orders.lock().unwrap();
        let counted = orders
            .iter()
            .filter(|order| order.item == item && order.count >= least);
        Ok(counted.count())
    }

    async fn forget(&self) -> Result<(), Status> {
        self.orders.lock().unwrap().clear();
        Ok(())
    }
}

fn order(item: &str, count: u32) -> Order {
    Order {
        item: item.to_owned(),
        count,
    }
}

fn router(shop: &Arc<Shop>) -> Router {
    Router::new().serve(OrdersServer(Arc::clone(shop))).unwrap()
}

async fn over_a_connection(shop: &Arc<Shop>) -> Client {
    let server = Server::builder().router(router(shop)).bind().await.unwrap();
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    tokio::spawn(server.handle().serve_connection(theirs, "test"));
    Client::over(ours, "test", Config::default())
}
