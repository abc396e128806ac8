//~ a handler cannot take the argument `State<u64>`
//~ not an extractor of a router with the state `String`
//~ for the state of the router write `State(name): State<String>`; another state is given to `Router::with_state`

use rpc_server::{Router, State, Status};

async fn count(State(count): State<u64>) -> Result<u64, Status> {
    Ok(count)
}

fn main() {
    let _ = Router::with_state(String::new()).route(100, count);
}
