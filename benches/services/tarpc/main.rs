//! The same with tarpc.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::StreamExt;
use serde::{Deserialize, Serialize};
use tarpc::context::{self, Context};
use tarpc::server::{BaseChannel, Channel};
use tarpc::tokio_serde::formats::Json;
use tarpc::tokio_util::codec::LengthDelimitedCodec;
use tarpc::{client, serde_transport};
use tokio::net::{TcpListener, TcpStream};

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Order {
    item: String,
    count: u32,
}

#[tarpc::service]
trait Orders {
    /// Places an order, and replies with its number.
    async fn place(order: Order) -> Result<u64, String>;

    /// Orders of an item.
    async fn find(item: String) -> Vec<Order>;
}

#[derive(Clone, Default)]
struct Shop(Arc<Mutex<Vec<Order>>>);

impl Orders for Shop {
    async fn place(self, _: Context, order: Order) -> Result<u64, String> {
        if order.count == 0 {
            return Err("`count` is 0; order one or more".into());
        }
        let mut orders = self.0.lock().unwrap();
        orders.push(order);
        Ok(orders.len() as u64)
    }

    async fn find(self, _: Context, item: String) -> Vec<Order> {
        let orders = self.0.lock().unwrap();
        orders
            .iter()
            .filter(|order| order.item == item)
            .cloned()
            .collect()
    }
}

async fn serve(listener: TcpListener) -> std::io::Result<()> {
    let shop = Shop::default();
    loop {
        let (stream, _) = listener.accept().await?;
        let framed = LengthDelimitedCodec::builder().new_framed(stream);
        let transport = serde_transport::new(framed, Json::default());
        let calls = BaseChannel::with_defaults(transport).execute(shop.clone().serve());
        tokio::spawn(calls.for_each(|call| async {
            tokio::spawn(call);
        }));
    }
}

fn within_a_second() -> Context {
    let mut context = context::current();
    context.deadline = Instant::now() + Duration::from_secs(1);
    context
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(serve(listener));

    let stream = TcpStream::connect(address).await?;
    let framed = LengthDelimitedCodec::builder().new_framed(stream);
    let transport = serde_transport::new(framed, Json::default());
    let orders = OrdersClient::new(client::Config::default(), transport).spawn();
    let pear = Order {
        item: "pear".into(),
        count: 2,
    };
    let number = orders.place(within_a_second(), pear).await??;
    let plum = Order {
        item: "plum".into(),
        count: 0,
    };
    let refused = orders.place(within_a_second(), plum).await?.unwrap_err();
    let found = orders.find(within_a_second(), "pear".into()).await?;
    println!("{number}: {found:?}; {refused}");
    Ok(())
}
