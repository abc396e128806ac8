//~ the handler is not async: it returns `Result<i64, Status>`, not a future
//~ write `async fn`; a function that blocks its thread is added as `Route::blocking(function)`

use rpc_server::{Params, Router, Status};

fn add(Params((a, b)): Params<(i64, i64)>) -> Result<i64, Status> {
    Ok(a + b)
}

fn main() {
    let _ = Router::new().route(100, add);
}
