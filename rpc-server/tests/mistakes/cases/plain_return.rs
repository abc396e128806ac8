//~ a handler cannot return `i64`
//~ return `Result<T, Status>`, and end with `Ok(value)`

use rpc_server::{Params, Router};

async fn add(Params((a, b)): Params<(i64, i64)>) -> i64 {
    a + b
}

fn main() {
    let _ = Router::new().route(100, add);
}
