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

use rpc_client::layers::Timeout;
use rpc_client::testing::Faulty;
use rpc_client::{Client, Config, Service, ServiceClient, Status};
use rpc_server::{Router, Server, service};
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize)]
struct Order {
    number: u64,
    cents: u64,
}

#[derive(Debug, Serialize, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
enum CheckedOut {
    Paid,
    NotPaid,
    /// The payment service has to be asked before it is tried again.
    Unknown,
}

/// The service.
#[service]
trait Checkout {
    /// Charges an order.
    #[rpc(cmdid = 2000)]
    async fn check_out(&self, order: Order) -> Result<CheckedOut, Status>;
}

/// The service that it calls.
#[service]
trait Payments {
    /// Charges the cents of an order.
    #[rpc(cmdid = 3000)]
    async fn charge(&self, order: &Order) -> Result<(), Status>;
}

// The service at work. It takes whatever answers as the payment service does: a `Client` outside of tests.

struct Shop<S> {
    payments: PaymentsClient<S>,
}

impl<S: Service> Checkout for Shop<S> {
    async fn check_out(&self, order: Order) -> Result<CheckedOut, Status> {
        for _ in 0..3 {
            match self.payments.charge(&order).await {
                Ok(()) => return Ok(CheckedOut::Paid),
                // It did not run, so trying again is safe.
                Err(status) if status.is_rejected() => {}
                Err(_) => return Ok(CheckedOut::Unknown),
            }
        }

        Ok(CheckedOut::NotPaid)
    }
}

fn checkout(payments: impl Service) -> Router {
    let payments = ServiceClient::new(payments).layer(Timeout::new(Duration::from_millis(50)));
    let shop = Shop {
        payments: PaymentsClient::new(payments),
    };
    Router::new()
        .serve(CheckoutServer(shop))
        .expect("there is one service")
}

// A replacement for the payment service: it writes down whom it has charged.

type Charged = Arc<Mutex<BTreeMap<u64, u32>>>;

struct Ledger(Charged);

impl Payments for Ledger {
    async fn charge(&self, order: &Order) -> Result<(), Status> {
        let mut charged = self.0.lock().expect("no thread panics with it");
        *charged.entry(order.number).or_default() += 1;
        Ok(())
    }
}

fn payments(charged: &Charged) -> Router {
    Router::new()
        .serve(PaymentsServer(Ledger(Arc::clone(charged))))
        .expect("there is one service")
}

// The tests.

async fn an_order_is_charged_once() -> Result<(), Box<dyn Error>> {
    let charged = Charged::default();
    let router = checkout(payments(&charged));
    let order = Order {
        number: 7,
        cents: 1_999,
    };
    let shop = CheckoutClient::new(router);
    let outcome = shop.check_out(order).await?;

    assert_eq!(outcome, CheckedOut::Paid);
    assert_eq!(
        *charged.lock().expect("no thread panics with it"),
        BTreeMap::from([(7, 1)])
    );
    println!("called as a function: order 7 is {outcome:?}");

    // What no typed client sends.
    let error = ServiceClient::new(checkout(payments(&charged)))
        .call::<_, CheckedOut>(CheckoutService::CHECK_OUT, "no order")
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
    let shop = CheckoutClient::new(checkout(faulty.clone()));

    let mut outcomes = BTreeMap::new();
    for number in 0..300 {
        let outcome = shop.check_out(Order { number, cents: 100 }).await?;
        let times = charged
            .lock()
            .expect("no thread panics with it")
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
    let router = checkout(payments(&charged));
    let server = Server::builder().router(router).bind().await?;

    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    tokio::spawn(server.handle().serve_connection(theirs, "in memory"));
    let client = Client::over(ours, "in memory", Config::default());

    let order = Order {
        number: 8,
        cents: 250,
    };
    let outcome = CheckoutClient::new(client).check_out(order).await?;

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
