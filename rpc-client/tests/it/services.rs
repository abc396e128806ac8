//! Typed services from end to end: one trait, served by a router, called over anything that answers.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::stream::{self, Stream, StreamExt};
use rpc_client::{CallOptions, Client, Code, Config, Request, Service, service_fn};
use rpc_core::{Descriptor, Kind, Reply, RetryCategory};
use rpc_server::{Context, Router, Server, Status, rpc_error, service};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::support::in_memory;

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

/// All that a client can do, over whatever answers.
async fn shopping<S: Service>(service: S, shop: &Shop) {
    let orders = OrdersClient::new(service);
    assert_eq!(orders.place(order("apple", 3)).await.unwrap(), 1);
    assert_eq!(orders.place(order("plum", 5)).await.unwrap(), 2);

    let OrderError::SoldOut { item, left } = orders.place(order("pear", 3)).await.unwrap_err()
    else {
        panic!("pears are sold out");
    };
    assert_eq!((item.as_str(), left), ("pear", 2));
    let error = orders.place(order("door", 1)).await.unwrap_err();
    assert!(matches!(error, OrderError::Closed), "{error}");
    assert_eq!(error.to_string(), "The shop is closed");
    let error = orders.place(order("car", 1)).await.unwrap_err();
    assert_eq!(error.to_string(), "no item is called `car`");
    let OrderError::Other(status) = orders.place(order("ghost", 1)).await.unwrap_err() else {
        panic!("15 is none of its own codes");
    };
    assert_eq!(status.code(), Code::DATA_LOSS);

    orders.viewed("/apples").await.unwrap();
    #[allow(deprecated)]
    let count = orders.count("plum", 5).await.unwrap();
    assert_eq!(count, 1);

    let mut watched = orders.watch(0).await.unwrap();
    assert_eq!(watched.next().await.unwrap().unwrap(), order("apple", 3));
    assert_eq!(watched.next().await.unwrap().unwrap(), order("plum", 5));
    let last = watched.next().await.unwrap().unwrap_err();
    assert_eq!(last.code(), Code::OUT_OF_RANGE);
    assert!(watched.next().await.is_none());

    orders.forget().await.unwrap();
    assert_eq!(
        *shop.pages.lock().unwrap(),
        ["/apples"],
        "the connection carries out what was sent before"
    );
    assert!(shop.orders.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_typed_client_calls_a_router_without_a_socket() {
    let shop = Arc::new(Shop::default());
    shopping(router(&shop), &shop).await;
}

#[tokio::test]
async fn a_typed_client_calls_a_server_over_a_connection() {
    let shop = Arc::new(Shop::default());
    shopping(over_a_connection(&shop).await, &shop).await;
}

#[tokio::test]
async fn the_wire_is_as_a_hand_would_write_it() {
    let shop = Arc::new(Shop::default());
    let client = over_a_connection(&shop).await;

    // One argument is the params, none is an object without fields, several are named.
    let placed: u64 = client
        .call(2001, &json!({"item": "apple", "count": 3}))
        .await
        .unwrap();
    let count: usize = client.call(2004, &json!({"item": "apple"})).await.unwrap();
    assert_eq!((placed, count), (1, 1));
    client.call::<_, ()>(2005, &json!({})).await.unwrap();

    let error = client
        .call::<_, Value>(2004, &json!({"item": 7}))
        .await
        .unwrap_err();
    let status = error.status().unwrap();
    assert_eq!(
        (status.code(), status.message()),
        (
            Code::INVALID_ARGUMENT,
            "`params.item`: invalid type: integer `7`, expected a string"
        )
    );

    let error = client
        .call::<_, Value>(2001, &json!({"item": "pear", "count": 3}))
        .await
        .unwrap_err();
    let status = error.status().unwrap();
    assert_eq!(
        (status.code().number(), status.message()),
        (1001, "only 2 of `pear` are left")
    );
    assert_eq!(
        status.details().unwrap().get(),
        r#"{"item":"pear","left":2}"#
    );
}

/// Writes down what a client sends.
fn recorder() -> (impl Service, Arc<Mutex<Vec<Request<'static>>>>) {
    let requests = Arc::new(Mutex::new(Vec::new()));
    let written = Arc::clone(&requests);
    let service = service_fn(move |request| {
        written.lock().unwrap().push(request);
        std::future::ready(Ok(Reply::empty()))
    });
    (service, requests)
}

#[tokio::test]
async fn options_and_attributes_reach_the_request() {
    let (service, requests) = recorder();
    let orders = OrdersClient::new(service);
    let slow = orders.with(
        CallOptions::new()
            .timeout(Duration::from_secs(9))
            .meta("tenant", "a"),
    );

    // What comes back does not decode, and is not looked at.
    let _ = orders.place(order("apple", 1)).await;
    let _ = slow.place(order("apple", 1)).await;
    let _ = slow
        .with(CallOptions::new().idempotency_key("mine"))
        .forget()
        .await;
    let _ = orders.forget().await;
    let _ = orders.watch(0).await;
    orders.viewed("/").await.unwrap();

    let requests = std::mem::take(&mut *requests.lock().unwrap());
    let [first, second, with_key, without, watch, viewed] = requests.as_slice() else {
        panic!("six calls");
    };

    assert_eq!(first.timeout, Some(Duration::from_millis(700)));
    assert_eq!(first.params.as_str(), r#"{"item":"apple","count":1}"#);
    assert_eq!(first.scope.retry, RetryCategory::Dedup);
    assert_eq!(second.timeout, Some(Duration::from_secs(9)));
    assert_eq!(second.meta.get("tenant").as_deref(), Some("a"));
    assert_ne!(first.meta.get("idempotency-key"), None);
    assert_ne!(
        first.meta.get("idempotency-key"),
        second.meta.get("idempotency-key"),
        "each call has a key of its own"
    );

    assert_eq!(
        with_key.meta.get("idempotency-key").as_deref(),
        Some("mine")
    );
    assert_eq!(with_key.meta.get("tenant").as_deref(), Some("a"));
    assert_eq!(with_key.scope.retry, RetryCategory::Dedup);
    assert_eq!(with_key.params.as_str(), "{}");
    assert!(without.meta.is_empty());
    assert_eq!(without.scope.retry, RetryCategory::Neither);

    assert_eq!(watch.scope.retry, RetryCategory::Idempotent);
    assert!(watch.credit.is_some() && watch.timeout.is_none());
    assert!(viewed.oneway);
}

#[tokio::test(start_paused = true)]
async fn a_client_tries_an_idempotent_call_again_that_may_have_run_and_no_other_one() {
    /// Fails at its first calls.
    #[service]
    trait Flaky {
        /// May run twice.
        #[rpc(cmdid = 100, idempotent)]
        async fn idempotent(&self) -> Result<u32, Status>;

        /// Has a key, which the server forgets of what did not run.
        #[rpc(cmdid = 101, dedup)]
        async fn keyed(&self) -> Result<u32, Status>;

        /// Must not run twice.
        #[rpc(cmdid = 102)]
        async fn once(&self) -> Result<u32, Status>;
    }

    #[derive(Default)]
    struct Failing([AtomicU32; 3]);

    impl Failing {
        fn call(&self, place: usize) -> Result<u32, Status> {
            match self.0[place].fetch_add(1, Ordering::SeqCst) {
                0 => Err(Status::unavailable("it may have run")),
                before => Ok(before + 1),
            }
        }
    }

    impl Flaky for Failing {
        async fn idempotent(&self) -> Result<u32, Status> {
            self.call(0)
        }

        async fn keyed(&self) -> Result<u32, Status> {
            self.call(1)
        }

        async fn once(&self) -> Result<u32, Status> {
            self.call(2)
        }
    }

    let failing = Arc::new(Failing::default());
    let router = Router::new().serve(FlakyServer(Arc::clone(&failing)));
    let (connect, _server) = in_memory(router.unwrap()).await;
    let client = FlakyClient::new(Client::builder("memory").connector(connect).build());

    assert_eq!(client.idempotent().await.unwrap(), 2);
    assert_eq!(client.keyed().await.unwrap(), 2);
    assert_eq!(client.once().await.unwrap_err().code(), Code::UNAVAILABLE);
    let runs = failing.0.each_ref().map(|runs| runs.load(Ordering::SeqCst));
    assert_eq!(runs, [2, 2, 1]);
}

#[tokio::test]
async fn two_services_whose_numbers_collide_are_an_error_that_names_both() {
    /// Takes a number that the shop has.
    #[service]
    trait Stock {
        /// Takes an item out.
        #[rpc(cmdid = 2001)]
        async fn take(&self, item: String) -> Result<(), Status>;
    }

    struct Empty;

    impl Stock for Empty {
        async fn take(&self, _item: String) -> Result<(), Status> {
            Ok(())
        }
    }

    let error = router(&Arc::default())
        .serve(StockServer(Empty))
        .unwrap_err();
    let message = error.to_string();
    for part in [
        "cmdid 2001 is registered twice: ",
        "::Orders::place (at ",
        "::Stock::take (at ",
    ] {
        assert!(message.contains(part), "{message}");
    }
}

#[tokio::test]
async fn describe_tells_what_the_attributes_say() {
    let descriptors = OrdersService::descriptors();
    let names: Vec<_> = descriptors.iter().map(Descriptor::name).collect();
    assert_eq!(
        names,
        [
            "orders.place",
            "orders.viewed",
            "orders.watch",
            "orders.count_of",
            "orders.forget"
        ]
    );

    let kinds: Vec<_> = descriptors.iter().map(|command| command.kind).collect();
    assert_eq!(
        kinds,
        [
            Kind::Unary,
            Kind::Oneway,
            Kind::Stream,
            Kind::Unary,
            Kind::Unary
        ]
    );
    let place = serde_json::to_value(&descriptors[0]).unwrap();
    assert_eq!(
        place,
        json!({
            "cmdid": 2001, "service": "orders", "method": "place",
            "doc": "Places an order.\n\nIt answers once the order is stored.",
            "kind": "unary", "idempotent": false, "dedup": {}, "timeout_ms": 700,
            "errors": [
                {"code": 1001, "name": "SoldOut", "doc": "There are fewer of the item."},
                {"code": 1002, "name": "Closed", "doc": "The shop is closed."},
                {"code": 1003, "name": "Unknown", "doc": "The item is not known."},
            ],
        })
    );
    assert!(descriptors[2].no_timeout && descriptors[2].idempotent);
    assert_eq!(descriptors[3].deprecated.as_deref(), Some("use `watch`"));
    assert!(descriptors[4].dedup.as_ref().unwrap().by_caller);

    // The router has them all, and `describe` answers them.
    let client = over_a_connection(&Arc::default()).await;
    let mut description: Value = client.call(1, &json!({"cmdid": 2001})).await.unwrap();
    // The store of keys is the server's own.
    let dedup = description["commands"][0]["dedup"].as_object_mut().unwrap();
    assert!(dedup.remove("store").unwrap().is_string());
    assert_eq!(description["commands"], json!([place]));
}

#[test]
fn a_blocking_client_calls_the_same_trait() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let shop = Arc::new(Shop::default());
    let server = runtime
        .block_on(
            Server::builder()
                .listen("127.0.0.1:0")
                .router(router(&shop))
                .bind(),
        )
        .unwrap();
    let address = server.addresses()[0].to_string();
    runtime.spawn(server.serve(std::future::pending::<()>()));

    let client = rpc_client::blocking::Client::new(address.as_str());
    let orders = OrdersBlockingClient::new(client);
    assert_eq!(orders.place(order("apple", 3)).unwrap(), 1);
    assert!(matches!(
        orders.place(order("door", 1)),
        Err(OrderError::Closed)
    ));
    orders.viewed("/").unwrap();

    let watched: Vec<_> = orders.watch(0).unwrap().collect();
    assert_eq!(watched.len(), 2);
    assert_eq!(watched[0].as_ref().unwrap(), &order("apple", 3));
    assert_eq!(watched[1].as_ref().unwrap_err().code(), Code::OUT_OF_RANGE);

    // Inside a runtime it would block the runtime's thread, and says so.
    let error = runtime.block_on(async { orders.forget() }).unwrap_err();
    assert_eq!(error.code(), Code::FAILED_PRECONDITION);
}
