//! The bytes of tornado-TCP's old client, and a modern client, against the same server.

use rpc_client::Client;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::Error;
use crate::service::{HANDLED, Serving, TEST, Test};

/// Shows both.
pub(crate) async fn demonstrate() -> Result<(), Error> {
    let service = Serving::start().await?;

    old_client(&service.address).await?;
    modern_client(&service.address).await?;

    println!(
        "\nserver: {} requests on {} connections",
        service.requests(),
        service.connections()
    );
    service.stop().await
}

/// What tornado-TCP's client puts on the wire: no id, so that replies come in the order of the
/// requests.
const HELLO: &str = r#"{"timestamp": 1437000000, "cmdid": 10000, "params": {"content": "Hello world!"}}
"#;

/// What made the old server's handler raise, and left its client waiting.
const UNFIT: &str = r#"{"timestamp": 1437000000, "cmdid": 10000, "params": {"text": "Hello world!"}}
"#;
const UNKNOWN: &str = r#"{"timestamp": 1437000000, "cmdid": 4711, "params": {}}
"#;
const COUNT: &str = r#"{"timestamp": 1437000000, "cmdid": 10001, "params": {}}
"#;

async fn old_client(address: &str) -> Result<(), Error> {
    let mut socket = BufReader::new(TcpStream::connect(address).await?);

    println!("the old client: three requests in one packet");
    exchange(&mut socket, &[HELLO, HELLO, HELLO], &[r#"{"code":0}"#; 3]).await?;

    println!(
        "\nthe old client: every request gets its reply, in order, those that cannot succeed too"
    );
    let replies = [
        r#"{"code":0,"data":3}"#,
        r#"{"code":3,"#,
        r#"{"code":12,"#,
        r#"{"code":0}"#,
    ];
    exchange(&mut socket, &[COUNT, UNFIT, UNKNOWN, HELLO], &replies).await
}

/// Sends the requests in one write, and checks how each reply begins.
async fn exchange(
    socket: &mut BufReader<TcpStream>,
    requests: &[&str],
    expected: &[&str],
) -> Result<(), Error> {
    socket.write_all(requests.concat().as_bytes()).await?;

    for (request, expected) in requests.iter().zip(expected) {
        let mut reply = String::new();
        socket.read_line(&mut reply).await?;

        if !reply.starts_with(expected) {
            return Err(format!("expected {expected}…, got {reply:?}").into());
        }
        print!("  > {request}  < {reply}");
    }

    Ok(())
}

async fn modern_client(address: &str) -> Result<(), Error> {
    println!("\nthe modern client: typed calls, side by side on one connection");
    let client = Client::new(address);

    let mut calls = JoinSet::new();
    for n in 1..=3 {
        let client = client.clone();
        calls.spawn(async move {
            let params = Test {
                content: format!("Hello from task {n}!"),
            };
            client.call::<_, ()>(TEST, &params).await
        });
    }

    while let Some(done) = calls.join_next().await {
        done??;
    }

    let handled: u64 = client.call(HANDLED, &()).await?;
    println!("  the test command has run {handled} times");

    let Err(error) = client.call::<_, ()>(TEST, "no object").await else {
        return Err("params that do not fit were accepted".into());
    };
    println!("  params that do not fit: {error}");
    Ok(())
}
