//~ the handler holds a value across an `.await` that cannot be sent to another thread
//~ the guard of a lock must go before the `.await`
//~ or use `tokio::sync::Mutex`
//~ to see which value it is

use std::sync::{Arc, Mutex};

use rpc_server::{Router, State, Status};

async fn count(State(count): State<Arc<Mutex<u64>>>) -> Result<u64, Status> {
    let mut count = count.lock().unwrap();
    std::future::ready(()).await;
    *count += 1;
    Ok(*count)
}

fn main() {
    let _ = Router::with_state(Arc::new(Mutex::new(0))).route(100, count);
}
