//! The one place where the runner moves bytes.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rpc_server::ServerHandle;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout_at};
use tokio_util::io::poll_read_buf;

use super::reply::{Line, Members};

/// For each reply that is expected, and for each send.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Where the server is.
pub(super) enum Target {
    Tcp(SocketAddr),
    Unix(PathBuf),
    /// In this process, over a pipe that holds this number of bytes.
    Pipe {
        server: ServerHandle,
        bytes: usize,
    },
}

/// How bytes are sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    AsTheVectorSays,
    EveryByteAlone,
}

enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
    Pipe(DuplexStream),
}

trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

impl Socket {
    fn stream(&mut self) -> Pin<&mut dyn Stream> {
        match self {
            Self::Tcp(stream) => Pin::new(stream),
            Self::Unix(stream) => Pin::new(stream),
            Self::Pipe(stream) => Pin::new(stream),
        }
    }
}

/// One connection of a vector. It reads while it writes: a server need not buffer for a peer that
/// does not read.
pub(super) struct Connection {
    /// `None` once it is closed or reset.
    socket: Option<Socket>,
    buffer: Vec<u8>,
    searched: usize,
    has_ended: bool,
    broken: Option<&'static str>,
    notices: VecDeque<Line>,
    pub(super) half_closed: bool,
}

impl Connection {
    pub(super) async fn open(target: &Target) -> Result<Self, String> {
        let failed = |error: io::Error| format!("no connection: {error}");
        let socket = match target {
            Target::Tcp(address) => {
                let stream = TcpStream::connect(address).await.map_err(failed)?;
                // Each piece of a split must leave as it is.
                stream.set_nodelay(true).map_err(failed)?;
                Socket::Tcp(stream)
            }
            Target::Unix(path) => Socket::Unix(UnixStream::connect(path).await.map_err(failed)?),
            Target::Pipe { server, bytes } => {
                let (near, far) = tokio::io::duplex(*bytes);
                tokio::spawn(server.serve_connection(far, "pipe"));
                Socket::Pipe(near)
            }
        };
        Ok(Self {
            socket: Some(socket),
            buffer: Vec::new(),
            searched: 0,
            has_ended: false,
            broken: None,
            notices: VecDeque::new(),
            half_closed: false,
        })
    }

    /// Until when the server has time for what is expected next.
    pub(super) fn deadline() -> Instant {
        Instant::now() + TIMEOUT
    }

    pub(super) fn is_done(&self) -> bool {
        self.socket.is_none()
    }

    /// Sends all of it. A server that no longer takes it shows in what is expected afterwards.
    pub(super) async fn send(&mut self, data: &[u8]) -> Result<(), String> {
        let mut sent = 0;
        let deadline = Self::deadline();
        while sent < data.len() && self.broken.is_none() {
            let progress = poll_fn(|cx| {
                if !self.has_ended && self.poll_receive(cx).is_ready() {
                    return Poll::Ready(0);
                }
                let Some(socket) = &mut self.socket else {
                    return Poll::Ready(0);
                };
                Poll::Ready(
                    ready!(socket.stream().poll_write(cx, &data[sent..])).unwrap_or_else(|_| {
                        self.broken = Some("the server has reset the connection");
                        0
                    }),
                )
            });
            let written = timeout_at(deadline, progress).await;
            sent += written
                .map_err(|_| format!("the server takes no more than {sent} of {}", data.len()))?;
        }
        Ok(())
    }

    /// Reads once.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(socket) = &mut self.socket else {
            return Poll::Pending;
        };
        match ready!(poll_read_buf(socket.stream(), cx, &mut self.buffer)) {
            Ok(0) => {
                self.has_ended = true;
                // An RST that comes behind the end of the stream is kept by the kernel as the
                // socket's error.
                if let Socket::Tcp(stream) = socket
                    && stream.take_error().is_ok_and(|error| error.is_some())
                {
                    self.broken =
                        Some("the server has reset the connection behind the end of its stream");
                }
            }
            Ok(_) => {}
            Err(_) => {
                self.has_ended = true;
                self.broken = Some("the server has reset the connection");
            }
        }
        Poll::Ready(())
    }

    /// Reads once; false where nothing came until the deadline.
    pub(super) async fn wait(&mut self, deadline: Instant) -> bool {
        timeout_at(deadline, poll_fn(|cx| self.poll_receive(cx)))
            .await
            .is_ok()
    }

    async fn next_line(&mut self, deadline: Instant) -> Result<Vec<u8>, String> {
        loop {
            if let Some(found) = self.buffer[self.searched..]
                .iter()
                .position(|byte| *byte == b'\n')
            {
                let line = self.buffer.drain(..=self.searched + found).collect();
                self.searched = 0;
                return Ok(line);
            }
            self.searched = self.buffer.len();
            if self.has_ended {
                return Err(self.came(
                    self.broken
                        .unwrap_or("the server has closed the connection"),
                ));
            }
            if !self.wait(deadline).await {
                return Err(self.came("no further line came in time"));
            }
        }
    }

    fn came(&self, what: &str) -> String {
        format!("{what}, after \"{}\"", shorten(&self.buffer))
    }

    /// The next reply; heartbeats and notices are passed over.
    pub(super) async fn next_reply(&mut self, deadline: Instant) -> Result<Line, String> {
        loop {
            let line = self.next_message(deadline).await?;
            if !line.is_notice() {
                return Ok(line);
            }
            self.notices.push_back(line);
        }
    }

    /// The next notice, which may have been passed over before.
    pub(super) async fn next_notice(&mut self) -> Result<Line, String> {
        if let Some(notice) = self.notices.pop_front() {
            return Ok(notice);
        }
        let line = self.next_message(Self::deadline()).await?;
        if line.is_notice() {
            Ok(line)
        } else {
            Err(format!("{} is a reply", line.text()))
        }
    }

    async fn next_message(&mut self, deadline: Instant) -> Result<Line, String> {
        loop {
            let raw = self.next_line(deadline).await?;
            if raw == b"\n" || raw == b"\r\n" {
                continue;
            }
            let shown = shorten(&raw);
            return Line::parse(raw).map_err(|why| format!("\"{shown}\" is no proper line: {why}"));
        }
    }

    /// All that comes up to the end of the stream, which must not be an RST.
    pub(super) async fn read_to_end(&mut self) -> Result<Vec<u8>, String> {
        let deadline = Self::deadline();
        while !self.has_ended {
            if !self.wait(deadline).await {
                return Err(self.came("the stream has not ended in time"));
            }
        }
        if let Some(broken) = self.broken {
            return Err(self.came(broken));
        }
        self.searched = 0;
        Ok(std::mem::take(&mut self.buffer))
    }

    /// The end of the stream, with nothing but heartbeats and notices before it.
    pub(super) async fn expect_closed(&mut self) -> Result<(), String> {
        let came = self.read_to_end().await?;
        for line in came.split_inclusive(|byte| *byte == b'\n') {
            let is_nothing = line == b"\n" || line == b"\r\n";
            if !is_nothing && !Line::parse(line.to_vec()).is_ok_and(|line| line.is_notice()) {
                return Err(format!(
                    "\"{}\" came before the end of the stream",
                    shorten(&came)
                ));
            }
        }
        self.socket = None;
        Ok(())
    }

    /// Ends our side and goes on reading.
    pub(super) async fn half_close(&mut self) {
        self.half_closed = true;
        let Some(socket) = &mut self.socket else {
            return;
        };
        if poll_fn(|cx| socket.stream().poll_shutdown(cx))
            .await
            .is_err()
        {
            self.broken = Some("the server has reset the connection");
        }
    }

    /// Leaves with an RST, where the transport has one.
    pub(super) fn reset(&mut self) {
        if let Some(Socket::Tcp(stream)) = self.socket.take() {
            socket2::SockRef::from(&stream)
                .set_linger(Some(Duration::ZERO))
                .unwrap();
        }
    }
}

/// The commands that the server says it has.
pub(super) async fn commands_of(target: &Target) -> Vec<u64> {
    let mut connection = Connection::open(target).await.unwrap();
    connection.send(b"{\"id\":1,\"cmdid\":1}\n").await.unwrap();
    let reply = connection.next_reply(Connection::deadline()).await.unwrap();
    let data = Members::parse(reply.members.get("data").unwrap()).unwrap();
    let commands: Vec<serde_json::Value> =
        serde_json::from_str(data.get("commands").unwrap()).unwrap();
    commands
        .iter()
        .map(|command| command["cmdid"].as_u64().unwrap())
        .collect()
}

/// Bytes for people.
fn shorten(bytes: &[u8]) -> String {
    let shown = bytes[..bytes.len().min(300)].escape_ascii().to_string();
    if bytes.len() > 300 {
        format!("{shown}... ({} bytes)", bytes.len())
    } else {
        shown
    }
}
