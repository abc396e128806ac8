//! The items of one stream, on one side alone.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use anyhow::{Result, ensure};
use futures::StreamExt;
use rpc_client::{Client, Config};
use rpc_server::{Params, Reply, Router, Server};
use tokio::io::ReadBuf;

use crate::memory::{Far, Near};
use rpc_benches::log_call::{self, Entry, StreamCheck};

/// The cmdid of the stream.
const FOLLOW: u32 = 10_002;

/// The credit of the stream: what a client gives by default.
const CREDIT: u64 = 64;

/// A reader that takes each item at once, and gives credit by halves.
#[derive(Default)]
struct Reader {
    /// Lines that the server has not read.
    lines: Vec<u8>,
    /// Items since the last credit.
    uncredited: u64,
    items: Arc<AtomicU64>,
}

impl Far for Reader {
    fn give(&mut self, buf: &mut ReadBuf<'_>) -> Poll<()> {
        if self.lines.is_empty() {
            return Poll::Pending;
        }

        buf.put_slice(&self.lines);
        self.lines.clear();
        Poll::Ready(())
    }

    fn take(&mut self, bytes: &[u8]) {
        let came = memchr::memchr_iter(b'\n', bytes).count() as u64;
        self.items.fetch_add(came, Ordering::Relaxed);
        self.uncredited += came;

        if self.uncredited >= CREDIT / 2 {
            let items = std::mem::take(&mut self.uncredited);
            rpc_core::frame::encode_credit(&mut self.lines, 1, items);
        }
    }
}

/// The server sends this number of items.
pub(crate) async fn server(items: u64) -> Result<()> {
    let count = usize::try_from(items)?;
    let follow = move |Params(entry): Params<Entry>| async move {
        Reply::stream(futures::stream::iter(log_call::follow(entry).take(count)).map(Ok))
    };
    let router = Router::new().route(FOLLOW, follow)?;
    let server = Server::builder().router(router).bind().await?;

    let mut reader = Reader::default();
    let came = Arc::clone(&reader.items);
    let params = serde_json::to_string(&Entry::of(0))?;
    let line = format!("{{\"id\":1,\"cmdid\":{FOLLOW},\"credit\":{CREDIT},\"params\":{params}}}\n");
    reader.lines.extend_from_slice(line.as_bytes());

    let connection = server.handle().serve_connection(Near::of(reader), "memory");
    tokio::pin!(connection);
    // The end of the stream is a line, too.
    let all = futures::future::poll_fn(|cx| {
        assert!(
            connection.as_mut().poll(cx).is_pending(),
            "the connection is over"
        );
        match came.load(Ordering::Relaxed) > items {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    });
    all.await;
    Ok(())
}

/// The client's server: it has the lines of as many items as it is given credit for.
#[derive(Default)]
struct Items {
    /// One line without its number, in two parts.
    line: Option<(String, String)>,
    sent: u64,
    credit: u64,
    lines: String,
}

impl Far for Items {
    fn give(&mut self, buf: &mut ReadBuf<'_>) -> Poll<()> {
        let Self {
            line: Some((head, tail)),
            sent,
            credit,
            lines,
        } = self
        else {
            return Poll::Pending;
        };

        lines.clear();
        while *credit > 0 && lines.len() + head.len() + tail.len() + 20 < buf.remaining() {
            *sent += 1;
            *credit -= 1;
            writeln!(lines, "{head}{sent}{tail}").expect("a string takes everything");
        }
        if lines.is_empty() {
            return Poll::Pending;
        }

        buf.put_slice(lines.as_bytes());
        Poll::Ready(())
    }

    fn take(&mut self, bytes: &[u8]) {
        let number = |line: &str, key: &str| -> Option<u64> {
            let rest = line.split_once(key)?.1;
            let end = rest.find(|char: char| !char.is_ascii_digit())?;
            rest[..end].parse().ok()
        };

        for line in std::str::from_utf8(bytes).expect("JSON is UTF-8").lines() {
            if self.line.is_none() {
                let id = number(line, "\"id\":").expect("the first line is the call");
                let entry = serde_json::to_string(&Entry::of(0)).expect("it has a JSON form");
                let (data, _) = entry.rsplit_once(':').expect("`ts` comes last");
                let head = format!("{{\"id\":{id},\"code\":0,\"more\":true,\"data\":{data}:");
                self.line = Some((head, "}}".to_owned()));
            }

            // Credit of the call, and what is given later.
            let credit = number(line, "\"credit\":").or_else(|| number(line, "\"n\":"));
            self.credit += credit.unwrap_or_default();
        }
    }
}

/// The client reads this number of items.
pub(crate) async fn client(items: u64) -> Result<()> {
    let config = Config::default().with(|config| config.limits.stream_credit = CREDIT);
    let client = Client::over(Near::of(Items::default()), "memory", config);

    let reading = tokio::spawn(async move {
        let mut entries = client.stream::<_, Entry>(FOLLOW, &Entry::of(0)).await?;
        let mut check = StreamCheck::default();
        for _ in 0..items {
            let entry = entries.next().await.transpose()?;
            ensure!(entry.is_some(), "the stream has ended");
            check.take(&entry.unwrap_or_else(|| Entry::of(0)))?;
        }
        anyhow::Ok(())
    });
    reading.await?
}
