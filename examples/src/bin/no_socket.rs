//! Testing a service without a socket: its handlers called as functions, the service that it calls
//! replaced by a stand-in, and then by one that fails as a seed says.
//!
//! The service is a checkout that charges an order through a payment service. The rule that is tested:
//! whatever goes wrong between the two, no order is charged twice, and no order is called paid that is not.
//!
//! In a crate of yours each of these functions is a `#[tokio::test]`.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rpc_client::testing::Faulty;
use rpc_client::{Client, Config, Reply, Service, ServiceClient, Status, service_fn};
use rpc_server::{Params, Router, Server, State};
use serde::{Deserialize, Serialize};

const CHECK_OUT: u32 = 2000;
const CHARGE: u32 = 3000;

#[derive(Serialize, Deserialize)]
struct Order {
    number: u64,
    cents: u64,
}

#[derive(Debug, Serialize, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
enum CheckedOut {
    Paid,
    NotPaid,
    /// Somebody has to ask the payment service before it is tried again.
    Unknown,
}

// The service. It takes whatever answers as the payment service does: a `Client` when it is at work.

fn checkout<S: Service>(payments: ServiceClient<S>) -> Router<Arc<ServiceClient<S>>> {
    Router::with_state(Arc::new(payments))
        .route(CHECK_OUT, check_out::<S>)
        .expect("there is one route")
}

async fn check_out<S: Service>(
    State(payments): State<Arc<ServiceClient<S>>>,
    Params(order): Params<Order>,
) -> Result<CheckedOut, Status> {
    for _ in 0..3 {
        let charge = payments.command(CHARGE).timeout(Duration::from_millis(50));
        match charge.call::<_, ()>(&order).await {
            Ok(()) => return Ok(CheckedOut::Paid),
            // It did not run, so trying again is safe.
            Err(status) if status.is_rejected() => {}
            Err(_) => return Ok(CheckedOut::Unknown),
        }
    }

    Ok(CheckedOut::NotPaid)
}

// What stands in for the payment service: it writes down whom it has charged.

type Charged = Arc<Mutex<BTreeMap<u64, u32>>>;

fn payments(charged: &Charged) -> impl Service + use<> {
    let charged = Arc::clone(charged);
    service_fn(move |request| {
        let charged = Arc::clone(&charged);
        async move {
            let order: Order = request
                .params
                .decode()
                .map_err(|error| Status::invalid_argument(error.to_string()))?;

            *charged
                .lock()
                .expect("nobody panics with it")
                .entry(order.number)
                .or_default() += 1;
            Ok(Reply::empty())
        }
    })
}

// The tests.

async fn an_order_is_charged_once() -> Result<(), Box<dyn Error>> {
    let charged = Charged::default();
    let shop = ServiceClient::new(checkout(ServiceClient::new(payments(&charged))));
    let outcome: CheckedOut = shop
        .call(
            CHECK_OUT,
            &Order {
                number: 7,
                cents: 1_999,
            },
        )
        .await?;

    assert_eq!(outcome, CheckedOut::Paid);
    assert_eq!(
        *charged.lock().expect("nobody panics with it"),
        BTreeMap::from([(7, 1)])
    );
    println!("called as a function: order 7 is {outcome:?}");

    let error = shop
        .call::<_, CheckedOut>(CHECK_OUT, "no order")
        .await
        .expect_err("it is no order");
    println!("params that do not fit: {error}");
    Ok(())
}

async fn no_fault_charges_an_order_twice() -> Result<(), Box<dyn Error>> {
    let charged = Charged::default();
    let seed = 7;
    let faulty = Faulty::new(payments(&charged), seed)
        .not_sent(0.3)
        .disconnect(0.1)
        .never_answer(0.05)
        .delay(0.2, Duration::from_millis(1)..=Duration::from_millis(5));
    let shop = ServiceClient::new(checkout(ServiceClient::new(faulty.clone())));

    let mut outcomes = BTreeMap::new();
    for number in 0..300 {
        let outcome: CheckedOut = shop.call(CHECK_OUT, &Order { number, cents: 100 }).await?;
        let times = charged
            .lock()
            .expect("nobody panics with it")
            .get(&number)
            .copied()
            .unwrap_or_default();

        match outcome {
            CheckedOut::Paid => assert_eq!(times, 1, "order {number}, seed {seed}"),
            CheckedOut::NotPaid => assert_eq!(times, 0, "order {number}, seed {seed}"),
            CheckedOut::Unknown => assert!(times <= 1, "order {number}, seed {seed}"),
        }

        *outcomes.entry(outcome).or_insert(0) += 1;
    }

    let counts = faulty.counts();
    println!("with faults by seed {seed}: {outcomes:?}");
    println!(
        "  of {} charges: not sent {}, connection lost {}, never answered {}",
        counts.calls, counts.not_sent, counts.disconnected, counts.never_answered
    );
    Ok(())
}

async fn the_whole_wire_in_memory() -> Result<(), Box<dyn Error>> {
    let charged = Charged::default();
    let router = checkout(ServiceClient::new(payments(&charged)));
    let server = Server::builder().router(router).bind().await?;

    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    tokio::spawn(server.handle().serve_connection(theirs, "in memory"));
    let client = Client::over(ours, "in memory", Config::default());

    let outcome: CheckedOut = client
        .call(
            CHECK_OUT,
            &Order {
                number: 8,
                cents: 250,
            },
        )
        .await?;

    println!(
        "over a connection in memory: order 8 is {outcome:?}, {} bytes received by the server",
        server.handle().stats().bytes_in
    );
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    an_order_is_charged_once().await?;
    no_fault_charges_an_order_twice().await?;
    the_whole_wire_in_memory().await
}
