//! The clients of one trait.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use futures::stream::StreamExt;
use rpc_client::{Client, Code, Service};
use rpc_server::{Router, Server, Status, service};

use super::{
    OrderError, OrdersBlockingClient, OrdersClient, Shop, order, over_a_connection, router,
};
use crate::support::in_memory;

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
        panic!("15 is not one of its own codes");
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
