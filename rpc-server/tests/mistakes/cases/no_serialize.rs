//~ `Sum` cannot be the data of a reply
//~ write `#[derive(serde::Serialize)]` at `Sum` and at each type that it holds

use rpc_server::{Params, Router, Status};

struct Sum {
    sum: i64,
}

async fn add(Params((a, b)): Params<(i64, i64)>) -> Result<Sum, Status> {
    Ok(Sum { sum: a + b })
}

fn main() {
    let _ = Router::new().route(100, add);
}
