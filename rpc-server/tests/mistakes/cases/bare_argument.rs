//~ a handler cannot take the argument `i64`
//~ for the params of the call write `Params(name): Params<T>`

use rpc_server::{Router, Status};

async fn double(n: i64) -> Result<i64, Status> {
    Ok(n * 2)
}

fn main() {
    let _ = Router::new().route(100, double);
}
