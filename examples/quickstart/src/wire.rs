//! A call by hand: one line written to a socket, one line read from it, as `nc` does it.

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::Error;

const REQUEST: &str =
    r#"{"id":1,"cmdid":1001,"params":{"level":"info","service":"quickstart","message":"hello"}}"#;

/// Appends an entry by hand, and prints both lines as they were on the wire.
pub(crate) async fn show(address: &str) -> Result<(), Error> {
    let mut socket = BufReader::new(TcpStream::connect(address).await?);
    socket.write_all(REQUEST.as_bytes()).await?;
    socket.write_all(b"\n").await?;

    let mut reply = String::new();
    socket.read_line(&mut reply).await?;

    println!("  on the wire a call is two lines of JSON:");
    println!("    → {REQUEST}");
    println!("    ← {}", reply.trim_end());
    Ok(())
}
