//! No socket: a service is tested by calling its router, and the service that it calls is replaced by a fake.
//!
//! In a crate of yours `main` is a `#[tokio::test]`. The example `checkout` goes on from here, with faults.

use rpc_client::Service;
use rpc_server::{Router, Status, service};

#[service]
trait Payments {
    /// Charges a customer.
    #[rpc(cmdid = 200)]
    async fn charge(&self, customer: &str, cents: u64) -> Result<(), Status>;
}

#[service]
trait Shop {
    /// Orders a book for a customer.
    #[rpc(cmdid = 100)]
    async fn order(&self, customer: &str) -> Result<String, Status>;
}

/// The service under test. In production `S` is `rpc_client::Client`.
struct BookShop<S>(PaymentsClient<S>);

impl<S: Service> Shop for BookShop<S> {
    async fn order(&self, customer: &str) -> Result<String, Status> {
        self.0.charge(customer, 1_999).await?;
        Ok(format!("a book for {customer}"))
    }
}

/// Replaces the payment service: one customer cannot pay.
struct FakePayments;

impl Payments for FakePayments {
    async fn charge(&self, customer: &str, _cents: u64) -> Result<(), Status> {
        match customer {
            "bob" => Err(Status::failed_precondition("bob's card has expired")),
            _ => Ok(()),
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let payments = Router::new().serve(PaymentsServer(FakePayments))?;
    let shop = BookShop(PaymentsClient::new(payments));
    let shop = ShopClient::new(Router::new().serve(ShopServer(shop))?);

    assert_eq!(shop.order("ann").await?, "a book for ann");

    let error = shop.order("bob").await.expect_err("bob cannot pay");
    assert_eq!(error.message(), "bob's card has expired");

    println!("ann has a book, and bob learns why he has none: {error}");
    Ok(())
}
