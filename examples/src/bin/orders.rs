//! The service of the tutorial (docs/services.md) with all that a description can say: types of each kind, errors of its
//! own, a key for each order, a stream, a deprecated command. The tests of the clients that `rpc gen` writes call it.
//!
//! `orders [ADDRESS]` serves it until its standard input ends, and prints the address.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use futures::stream::{self, Stream};
use rpc_server::{Context, Router, Server, Status, rpc_error, service};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;

/// What is ordered.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
struct Order {
    /// The item's name.
    item: String,
    /// How many of it.
    count: u32,
    /// How fast it has to come.
    #[serde(default)]
    speed: Speed,
    /// How it is paid; later, where it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    payment: Option<Payment>,
    /// What the caller wants to find it by.
    #[serde(default)]
    labels: BTreeMap<String, String>,
    /// Gifts that come with it, each an order itself.
    #[serde(default)]
    gifts: Vec<Order>,
}

/// How fast an order has to come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Speed {
    /// Some day.
    #[default]
    Slow,
    /// By tomorrow.
    Fast,
}

/// How an order is paid.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "by", rename_all = "lowercase")]
enum Payment {
    /// On delivery.
    Cash,
    /// By a card.
    Card {
        /// Its number.
        number: String,
        /// Month and year.
        until: (u8, u16),
    },
}

/// An order with its number.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
struct Numbered {
    number: u64,
    order: Order,
}

/// The reason that an order is not placed.
#[rpc_error(schema)]
#[derive(Debug)]
enum OrderError {
    /// The shop has fewer of the item.
    #[rpc(code = 1001, message = "only {left} of `{item}` are left")]
    SoldOut { item: String, left: u32 },
    /// The shop is closed.
    #[rpc(code = 1002)]
    Closed,
    /// Every other failure.
    #[rpc(other)]
    Other(Status),
}

/// Orders of a shop.
#[service(schema)]
trait Orders {
    /// Places an order, and replies with its number once it is stored.
    #[rpc(cmdid = 2001, dedup)]
    async fn place(&self, order: Order) -> Result<u64, OrderError>;

    /// Counts a page view, without a reply.
    #[rpc(cmdid = 2002, oneway)]
    async fn viewed(&self, page: String);

    /// Finds the orders of at least `at_least` pieces of an item.
    #[rpc(cmdid = 2003, idempotent, timeout_ms = 2500)]
    async fn find(
        &self,
        /// The item's name.
        item: &str,
        #[serde(default)] at_least: u32,
        /// Only as fast as this.
        #[serde(default)]
        from: Option<Speed>,
    ) -> Result<Vec<Numbered>, Status>;

    /// Orders from a number on. It ends with code 1002 where the shop closes.
    #[rpc(cmdid = 2004, idempotent, no_timeout)]
    fn watch(&self, from: u64) -> impl Stream<Item = Result<Numbered, OrderError>> + Send;

    /// How many pages were viewed, by page.
    #[rpc(cmdid = 2005, idempotent)]
    async fn views(&self) -> Result<BTreeMap<String, u64>, Status>;

    /// The key of a call and its metadata `tenant`, as the server got them.
    #[rpc(cmdid = 2006, dedup(by_caller))]
    async fn seen(&self, context: Context) -> Result<[Option<String>; 2], Status>;

    /// The first order of an item.
    #[rpc(cmdid = 2007, idempotent, deprecated = "use `find`")]
    async fn first(&self, item: &str) -> Result<Option<Numbered>, Status>;

    /// Closes the shop: no more orders.
    #[rpc(cmdid = 2008, idempotent)]
    async fn close(&self) -> Result<(), Status>;
}

/// Orders of which there are more than this are sold out.
const IN_STOCK: u32 = 100;

#[derive(Default)]
struct Shop(Mutex<Books>);

#[derive(Default)]
struct Books {
    orders: Vec<Order>,
    views: BTreeMap<String, u64>,
    is_closed: bool,
}

impl Shop {
    fn books<T>(&self, work: impl FnOnce(&mut Books) -> T) -> T {
        // What is done with them leaves them whole, wherever it panics.
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Orders for Shop {
    async fn place(&self, order: Order) -> Result<u64, OrderError> {
        if order.count == 0 {
            let status = Status::invalid_argument("`count` is 0; order one or more");
            return Err(OrderError::Other(status));
        }
        if order.count > IN_STOCK {
            return Err(OrderError::SoldOut {
                item: order.item,
                left: IN_STOCK,
            });
        }

        self.books(|books| {
            if books.is_closed {
                return Err(OrderError::Closed);
            }
            books.orders.push(order);
            Ok(books.orders.len() as u64)
        })
    }

    async fn viewed(&self, page: String) {
        self.books(|books| *books.views.entry(page).or_default() += 1);
    }

    async fn find(
        &self,
        item: &str,
        at_least: u32,
        from: Option<Speed>,
    ) -> Result<Vec<Numbered>, Status> {
        let mut found = self.books(|books| numbered(books, 1));
        found.retain(|it| {
            it.order.item == item
                && it.order.count >= at_least
                && from.is_none_or(|speed| it.order.speed == speed)
        });
        Ok(found)
    }

    fn watch(&self, from: u64) -> impl Stream<Item = Result<Numbered, OrderError>> + Send {
        let (orders, is_closed) = self.books(|books| (numbered(books, from), books.is_closed));
        let end = is_closed.then_some(Err(OrderError::Closed));
        stream::iter(orders.into_iter().map(Ok).chain(end))
    }

    async fn views(&self) -> Result<BTreeMap<String, u64>, Status> {
        Ok(self.books(|books| books.views.clone()))
    }

    async fn seen(&self, context: Context) -> Result<[Option<String>; 2], Status> {
        let meta = |name| context.meta(name);
        Ok([meta("idempotency-key"), meta("tenant")])
    }

    async fn first(&self, item: &str) -> Result<Option<Numbered>, Status> {
        Ok(self.find(item, 0, None).await?.into_iter().next())
    }

    async fn close(&self) -> Result<(), Status> {
        self.books(|books| books.is_closed = true);
        Ok(())
    }
}

/// The orders from this number on.
fn numbered(books: &Books, from: u64) -> Vec<Numbered> {
    let orders = (1..).zip(&books.orders);
    let orders = orders.map(|(number, order)| Numbered {
        number,
        order: order.clone(),
    });
    orders.filter(|it| it.number >= from).collect()
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1);
    let address = address.unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let router = Router::new().serve(OrdersServer(Shop::default()))?;
    let server = Server::builder()
        .listen(address)
        .router(router)
        .bind()
        .await?;
    for address in server.addresses() {
        println!("{address}");
    }

    server
        .serve(async {
            // Its end, and a failure, say the same: the program that started this one is gone.
            let _ = tokio::io::stdin().read_to_end(&mut Vec::new()).await;
        })
        .await?;
    Ok(())
}
