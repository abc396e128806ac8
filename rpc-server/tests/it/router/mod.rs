//! Routers: what they refuse, the layers around a handler, what they tell.

mod handlers;
mod routes;

use rpc_server::{Outcome, RawJson, Request, RouteError, Router, Service, Status};
use serde_json::Value;

async fn call(router: &impl Service, cmdid: u32, params: &str) -> Outcome {
    router
        .call(Request::new(cmdid, RawJson::parse(params).unwrap()))
        .await
}

async fn data(router: &impl Service, cmdid: u32, params: &str) -> Value {
    call(router, cmdid, params)
        .await
        .unwrap()
        .data()
        .map_or(Value::Null, |data| data.decode().unwrap())
}

fn message(error: Result<Router<impl Sized>, RouteError>) -> String {
    error.expect_err("it is refused").to_string()
}

/// An error of a service.
struct OutOfStock;

impl From<OutOfStock> for Status {
    fn from(_: OutOfStock) -> Self {
        Self::new(1042, "out of stock")
    }
}
