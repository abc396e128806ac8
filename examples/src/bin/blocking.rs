//! Blocking code on both sides: a handler that reads files, and a caller without an async runtime.

use rpc_server::{Params, Route, Router, Server, Status};

const SIZE: u32 = 100;

/// A function that blocks its thread. `Route::blocking` runs it on a thread of a bounded pool, so that it does not hold
/// up the calls of others.
fn size(Params(path): Params<String>) -> Result<u64, Status> {
    Ok(std::fs::metadata(path)?.len())
}

/// Serves until the process ends, and tells where.
fn serve(address: std::sync::mpsc::Sender<String>) -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let router = Router::new().route(SIZE, Route::blocking(size))?;
        let server = Server::builder()
            .listen("127.0.0.1:0")
            .router(router)
            .bind()
            .await?;

        address.send(server.addresses()[0].to_string())?;
        server.serve(rpc_server::shutdown_signal()).await?;
        Ok(())
    })
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (sender, address) = std::sync::mpsc::channel();
    std::thread::spawn(|| serve(sender).expect("the server serves"));

    // All threads of the process share the client's one connection.
    let files = rpc_client::blocking::shared(&address.recv()?);
    let program = std::env::current_exe()?;
    let bytes: u64 = files.call(SIZE, &program)?;
    println!("this program has {bytes} bytes");

    let error = files
        .call::<_, u64>(SIZE, "/no/such/file")
        .expect_err("it is missing");
    println!("refused: {error}");
    Ok(())
}
