//! A connection by hand: lines out, lines in.

use std::time::Duration;

use rpc_examples::process::Outcome;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
    /// Whether it was asked to go.
    pub(crate) is_asked: bool,
}

/// A line of the server, as far as it is needed.
#[derive(Deserialize)]
struct Line {
    event: Option<String>,
    code: Option<u32>,
    #[serde(default)]
    message: String,
}

impl Connection {
    pub(crate) async fn open(address: &str) -> Outcome<Self> {
        let stream = TcpStream::connect(address).await?;
        // Ten thousand of them have a small buffer each.
        Ok(Self {
            stream: BufReader::with_capacity(256, stream),
            is_asked: false,
        })
    }

    pub(crate) async fn send(&mut self, line: &str) -> Outcome<()> {
        // In one piece: the system would hold a second one back until the first is acknowledged.
        self.stream
            .write_all(format!("{line}\n").as_bytes())
            .await?;
        Ok(())
    }

    /// Waits for the reply to the only call under way.
    pub(crate) async fn reply(&mut self) -> Result<(), String> {
        loop {
            match self.line().await? {
                Line { event: Some(_), .. } => self.is_asked = true,
                Line { code: Some(0), .. } => return Ok(()),
                Line { code, message, .. } => return Err(format!("code {code:?}: {message}")),
            }
        }
    }

    /// Sends a line and waits for its reply.
    pub(crate) async fn call(&mut self, line: &str) -> Result<(), String> {
        self.send(line).await.map_err(|error| error.to_string())?;
        self.reply().await
    }

    /// Ready when the server asks it to go, or has closed it.
    pub(crate) async fn asked(&mut self) {
        while let Ok(bytes) = self.stream.fill_buf().await {
            let length = bytes.len();
            self.is_asked |= bytes.starts_with(b"{\"event\":\"goaway\"");
            if self.is_asked || length == 0 {
                return;
            }
            self.stream.consume(length);
        }
    }

    /// Ends this side, as a client does that has read its goaway.
    pub(crate) async fn close(&mut self) {
        // The server may have closed it already.
        let _ = self.stream.shutdown().await;
    }

    async fn line(&mut self) -> Result<Line, String> {
        let mut line = String::new();
        let read = async {
            // Empty lines are heartbeats.
            while line.trim().is_empty() && self.stream.read_line(&mut line).await? > 0 {}
            Ok::<_, std::io::Error>(line.trim().len())
        };
        match timeout(PATIENCE, read).await {
            Err(_) => Err(format!("no reply within {PATIENCE:?}")),
            Ok(Err(error)) => Err(error.to_string()),
            Ok(Ok(0)) => Err("the server has closed the connection".into()),
            Ok(Ok(_)) => serde_json::from_str(&line).map_err(|error| format!("{error}: {line}")),
        }
    }
}
