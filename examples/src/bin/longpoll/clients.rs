//! Clients that wait over HTTP, each over a connection of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use rpc_examples::process::Outcome;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::mpsc::UnboundedSender;

/// What a client asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// A request for each answer, of this program's server.
    LongPoll,
    /// One request for all messages.
    Events,
    /// A request for each answer, of the article's program.
    Original,
}

/// What all clients share.
pub(crate) struct Waiting {
    pub(crate) address: Arc<str>,
    pub(crate) way: Way,
    /// How many have asked for the first time.
    pub(crate) asked: AtomicUsize,
    /// Messages that have come.
    pub(crate) got: AtomicUsize,
    /// Whether what comes is measured.
    pub(crate) is_measured: AtomicBool,
}

/// The label of the time at which a message was posted.
const AT: &[u8] = b"\"at\":";

/// Waits for the messages of client `to`, and sends how long each has taken, in microseconds.
pub(crate) async fn wait(
    shared: Arc<Waiting>,
    to: usize,
    took: UnboundedSender<u64>,
) -> Outcome<()> {
    let stream = TcpStream::connect(&*shared.address).await?;
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);

    let mut after = 0;
    let mut is_first = true;
    loop {
        let request = request(shared.way, to, after);
        stream.write_all(request.as_bytes()).await?;
        if std::mem::take(&mut is_first) {
            // Relaxed, here and below: numbers and a switch, which order nothing.
            shared.asked.fetch_add(1, Ordering::Relaxed);
        }

        if shared.way == Way::Events {
            return follow(&mut stream, &shared, &took).await;
        }
        let body = response(&mut stream).await?;
        after += note(&body, &shared, &took)?;
    }
}

fn request(way: Way, to: usize, after: u64) -> String {
    if way == Way::Original {
        return format!("GET /wait?to={to} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    }

    let params = format!("{{\"to\":{to},\"after\":{after}}}");
    let (path, accept) = match way {
        Way::Events => ("301", "Accept: text/event-stream\r\n"),
        Way::LongPoll | Way::Original => ("300", ""),
    };
    format!(
        "POST /{path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{accept}Content-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{params}",
        params.len()
    )
}

/// The body of a response that says its length.
async fn response(stream: &mut BufReader<TcpStream>) -> Outcome<Vec<u8>> {
    let mut length = 0;
    let mut line = String::new();
    let mut is_first = true;
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Err("the server has closed a connection".into());
        }
        if std::mem::take(&mut is_first) && !line.starts_with("HTTP/1.1 200") {
            return Err(format!("a client was answered {}", line.trim_end()).into());
        }

        if line.trim_end().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse()?;
        }
    }

    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok(body)
}

/// Reads events until the server ends.
async fn follow(
    stream: &mut BufReader<TcpStream>,
    shared: &Waiting,
    took: &UnboundedSender<u64>,
) -> Outcome<()> {
    let mut line = Vec::new();
    loop {
        line.clear();
        if stream.read_until(b'\n', &mut line).await? == 0 {
            return Err("the server has closed a connection".into());
        }
        if line.starts_with(b"data:") {
            note(&line, shared, took)?;
        }
    }
}

/// Notes the messages in a text, and returns how many there are.
fn note(text: &[u8], shared: &Waiting, took: &UnboundedSender<u64>) -> Outcome<u64> {
    let now = now_us();
    let mut messages = 0;
    let mut rest = text;
    while let Some(place) = rest.windows(AT.len()).position(|window| window == AT) {
        rest = rest[place + AT.len()..].trim_ascii_start();
        let end = rest
            .iter()
            .position(|byte| !byte.is_ascii_digit())
            .unwrap_or(rest.len());
        let at: u64 = std::str::from_utf8(&rest[..end])?.parse()?;
        messages += 1;
        shared.got.fetch_add(1, Ordering::Relaxed);

        if shared.is_measured.load(Ordering::Relaxed) {
            took.send(now.saturating_sub(at))?;
        }
    }
    Ok(messages)
}

/// Microseconds since 1970.
pub(crate) fn now_us() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
