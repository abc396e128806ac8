//~ cannot be added to a router with the state `()`
//~ not a function of at most eight extractors
//~ with at most eight arguments

use rpc_server::{Context, Router, Status};

async fn run(
    _: Context,
    _: Context,
    _: Context,
    _: Context,
    _: Context,
    _: Context,
    _: Context,
    _: Context,
    _: Context,
) -> Result<u8, Status> {
    Ok(1)
}

fn main() {
    let _ = Router::new().route(100, run);
}
