//~ a handler cannot return `impl Future<Output = Result<u8, Status>>`
//~ return `Result<T, Status>`

use rpc_server::{Context, Route, Router, Status};

async fn run(_: Context) -> Result<u8, Status> {
    Ok(1)
}

fn main() {
    let _ = Router::new().route(100, Route::blocking(run));
}
