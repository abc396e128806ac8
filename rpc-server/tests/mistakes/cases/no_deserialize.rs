//~ `Add` cannot be read from the params of a call
//~ write `#[derive(serde::Deserialize)]` at `Add` and at each type that it holds

use rpc_server::{Params, Router, Status};

struct Add {
    a: i64,
    b: i64,
}

async fn add(Params(Add { a, b }): Params<Add>) -> Result<i64, Status> {
    Ok(a + b)
}

fn main() {
    let _ = Router::new().route(100, add);
}
