//! The limit: the same bytes and only the same typed parsing on both sides.
//!
//! No table, no tasks, no deadlines; replies are expected in order. What it does have is the best
//! way to write that was found: after every `write_every` frames, and at the end of what one read
//! brought.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::load::{Load, Recorder, Samples};
use rpc_benches::log_call::{Check, Counter, Entry, LOG, Receipt};

/// Room for one read at first, so that a connection for one call is not slowed down by it; more once
/// a read has filled it.
const READ_BYTES: usize = 4 * 1024;
/// As much as ours at a time; more only for a line that is longer.
const READ_BYTES_MAX: usize = 64 * 1024;
/// For the rest of a long line: as much as the system has is read at once.
const READ_BYTES_LONG: usize = 512 * 1024;

#[derive(Deserialize)]
struct RequestLine {
    id: u64,
    cmdid: u32,
    #[allow(dead_code, reason = "parsed because the others parse it")]
    timeout_ms: u64,
    params: Entry,
}

#[derive(Serialize)]
struct RequestOut<'a> {
    id: u64,
    cmdid: u32,
    timeout_ms: u64,
    params: &'a Entry,
}

#[derive(Serialize, Deserialize)]
struct ReplyLine {
    id: u64,
    code: u32,
    data: Receipt,
}

/// What was read and not yet consumed.
#[derive(Default)]
struct Input {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// How far there is no newline: a long line is looked through once, however many reads it takes.
    scanned: usize,
    /// How much room the next read should have in all.
    wanted: usize,
}

impl Input {
    async fn read(&mut self, stream: &mut TcpStream) -> Result<usize> {
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.scanned -= self.start;
            self.start = 0;
        }

        let long = if self.end >= READ_BYTES_MAX {
            self.end + READ_BYTES_LONG
        } else {
            self.end * 2
        };
        let wanted = self.wanted.max(READ_BYTES).max(long);
        if self.bytes.len() < wanted {
            self.bytes.resize(wanted, 0);
        }

        let read = stream.read(&mut self.bytes[self.end..]).await?;
        if self.end + read == self.bytes.len() {
            self.wanted = (self.bytes.len() * 2).min(READ_BYTES_MAX);
        }

        self.end += read;
        Ok(read)
    }

    fn line(&mut self) -> Result<Option<&str>> {
        let Some(more) = memchr::memchr(b'\n', &self.bytes[self.scanned..self.end]) else {
            self.scanned = self.end;
            return Ok(None);
        };

        let line = self.start..self.scanned + more;
        self.start = line.end + 1;
        self.scanned = self.start;
        Ok(Some(std::str::from_utf8(&self.bytes[line])?))
    }
}

/// Serves until the process ends.
pub(crate) async fn serve(listen: SocketAddr, write_every: usize) -> Result<()> {
    let listener = TcpListener::bind(listen).await?;
    super::announce(&listener.local_addr()?);
    let counter = Arc::new(Counter::default());

    loop {
        let (stream, _) = listener.accept().await?;
        let counter = Arc::clone(&counter);
        tokio::spawn(async move {
            if let Err(error) = serve_connection(stream, &counter, write_every).await {
                eprintln!("limit: {error:#}");
            }
        });
    }
}

async fn serve_connection(
    mut stream: TcpStream,
    counter: &Counter,
    write_every: usize,
) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut input = Input::default();
    let mut output = Vec::new();

    while input.read(&mut stream).await? > 0 {
        let mut frames = 0;
        while let Some(line) = input.line()? {
            let request: RequestLine = serde_json::from_str(line)?;
            ensure!(request.cmdid == LOG, "unknown cmdid");

            let reply = ReplyLine {
                id: request.id,
                code: 0,
                data: counter.accept(&request.params),
            };
            serde_json::to_writer(&mut output, &reply)?;
            output.push(b'\n');

            frames += 1;
            if frames % write_every == 0 {
                stream.write_all(&output).await?;
                output.clear();
            }
        }

        stream.write_all(&output).await?;
        output.clear();
    }

    Ok(())
}

/// Loads a server over one connection with `in_flight` calls at a time, or with one call at a time
/// and a connection for each.
pub(crate) async fn load(
    address: SocketAddr,
    load: Arc<Load>,
    recorder: Arc<Recorder>,
) -> Result<()> {
    if load.short {
        return load_short(address, &load, &recorder).await;
    }

    let mut connection = ClientSide::connect(address, &load.entry).await?;
    let mut samples = Samples::new(&recorder);
    let write_every = load.write_every;

    for n in 1..=load.in_flight {
        if load.take_ticket() {
            connection.put(Instant::now())?;
        }
        if n % write_every == 0 {
            connection.write().await?;
        }
    }
    connection.write().await?;

    while !connection.starts.is_empty() {
        ensure!(
            connection.input.read(&mut connection.stream).await? > 0,
            "the server closed the connection"
        );

        let mut frames = 0;
        while let Some((started, now)) = connection.take()? {
            samples.add(started, now);
            if now < load.end() && load.take_ticket() {
                connection.put(now)?;
                frames += 1;
                if frames % write_every == 0 {
                    connection.write().await?;
                }
            }
        }

        connection.write().await?;
    }

    Ok(())
}

async fn load_short(address: SocketAddr, load: &Load, recorder: &Recorder) -> Result<()> {
    let mut samples = Samples::new(recorder);
    let mut started = Instant::now();

    while started < load.end() && load.take_ticket() {
        let mut connection = ClientSide::connect(address, &load.entry).await?;
        connection.put(started)?;
        connection.write().await?;

        let (_, now) = loop {
            ensure!(
                connection.input.read(&mut connection.stream).await? > 0,
                "closed before the reply"
            );
            if let Some(taken) = connection.take()? {
                break taken;
            }
        };

        samples.add(started, now);
        started = now;
    }

    Ok(())
}

struct ClientSide<'a> {
    stream: TcpStream,
    entry: &'a Entry,
    input: Input,
    output: Vec<u8>,
    starts: VecDeque<Instant>,
    next_id: u64,
    check: Check,
}

impl<'a> ClientSide<'a> {
    async fn connect(address: SocketAddr, entry: &'a Entry) -> Result<Self> {
        let stream = TcpStream::connect(address)
            .await
            .context("cannot connect")?;
        stream.set_nodelay(true)?;

        Ok(Self {
            stream,
            entry,
            input: Input::default(),
            output: Vec::new(),
            starts: VecDeque::new(),
            next_id: 0,
            check: Check::default(),
        })
    }

    fn put(&mut self, now: Instant) -> Result<()> {
        let request = RequestOut {
            id: self.next_id,
            cmdid: LOG,
            timeout_ms: 5000,
            params: self.entry,
        };

        serde_json::to_writer(&mut self.output, &request)?;
        self.output.push(b'\n');
        self.starts.push_back(now);
        self.next_id += 1;
        Ok(())
    }

    async fn write(&mut self) -> Result<()> {
        self.stream.write_all(&self.output).await?;
        self.output.clear();
        Ok(())
    }

    fn take(&mut self) -> Result<Option<(Instant, Instant)>> {
        let expected = self.next_id - self.starts.len() as u64;
        let Some(line) = self.input.line()? else {
            return Ok(None);
        };

        let reply: ReplyLine = serde_json::from_str(line)?;
        ensure!(reply.id == expected && reply.code == 0, "wrong reply");
        self.check.take(reply.data)?;

        let started = self.starts.pop_front().context("a reply to no call")?;
        Ok(Some((started, Instant::now())))
    }
}
