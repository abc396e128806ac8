//~ `MyError` cannot be the error of a handler
//~ write `impl From<MyError> for Status`

use rpc_server::Router;

#[derive(Debug)]
struct MyError;

async fn run() -> Result<u8, MyError> {
    Err(MyError)
}

fn main() {
    let _ = Router::new().route(100, run);
}
