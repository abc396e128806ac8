//! A provider over HTTP on loopback that records each request before it does anything with it.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

/// What the gateway does with a request that it has recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// Answers, and keeps the connection.
    Answer(Answer),
    /// Says nothing.
    Hang,
    /// Resets the connection before it reads, and records nothing.
    ResetBefore,
    /// Resets the connection behind the request.
    ResetAfter,
    /// Ends the connection within the answer.
    CutOff,
}

impl Mode {
    /// Answers with this status and body.
    pub fn answer(status: u16, body: &str) -> Self {
        Self::Answer(Answer {
            status,
            headers: Vec::new(),
            body: body.to_owned(),
        })
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status of HTTP.
    pub status: u16,
    /// Headers, as `retry-after: 7`.
    pub headers: Vec<String>,
    /// The body.
    pub body: String,
}

/// A request as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Request line and headers.
    pub head: String,
    /// The body.
    pub body: String,
    /// The number of the connection, from 0.
    pub connection: usize,
}

/// A provider that counts. It ends when it is dropped, and its connections with it.
pub struct CountingGateway {
    url: String,
    shared: Arc<Shared>,
    accepting: AbortHandle,
}

struct Shared {
    /// Locked for an assignment.
    mode: Mutex<Mode>,
    requests: watch::Sender<Vec<Recorded>>,
}

impl Shared {
    fn mode(&self) -> MutexGuard<'_, Mode> {
        self.mode.lock().expect("no holder panics")
    }
}

impl CountingGateway {
    /// Begins to listen on loopback.
    ///
    /// # Errors
    /// The system has no port for it.
    pub async fn start(mode: Mode) -> io::Result<Self> {
        Self::start_on("127.0.0.1:0", mode).await
    }

    /// Begins to listen on an address, as that of one that has ended.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub async fn start_on(address: &str, mode: Mode) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let shared = Arc::new(Shared {
            mode: Mutex::new(mode),
            requests: watch::Sender::new(Vec::new()),
        });

        let served = Arc::clone(&shared);
        let accepting = tokio::spawn(async move {
            let (mut connections, mut serving) = (0, JoinSet::new());
            while let Ok((stream, _)) = listener.accept().await {
                serving.spawn(serve(stream, connections, Arc::clone(&served)));
                connections += 1;
            }
        });
        Ok(Self {
            url,
            shared,
            accepting: accepting.abort_handle(),
        })
    }

    /// Its address, as `http://127.0.0.1:PORT`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Changes what it does with the requests to come.
    pub fn set_mode(&self, mode: Mode) {
        *self.shared.mode() = mode;
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<Recorded> {
        self.shared.requests.borrow().clone()
    }

    /// Waits until it has recorded as many requests.
    pub async fn until(&self, count: usize) -> Vec<Recorded> {
        let mut requests = self.shared.requests.subscribe();
        let found = requests.wait_for(|requests| requests.len() >= count).await;
        found.expect("its sender lives as long as this").clone()
    }
}

impl Drop for CountingGateway {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(mut stream: TcpStream, connection: usize, shared: Arc<Shared>) {
    if *shared.mode() == Mode::ResetBefore {
        // The end of the connection is a reset then.
        let _ = stream.set_zero_linger();
        return;
    }

    let mut read = Vec::new();
    while let Ok(Some(request)) = next_request(&mut stream, &mut read, connection).await {
        shared
            .requests
            .send_modify(|requests| requests.push(request));

        let mode = shared.mode().clone();
        let written = match mode {
            Mode::Answer(answer) => stream.write_all(answer.to_string().as_bytes()).await,
            Mode::Hang => std::future::pending().await,
            Mode::ResetBefore | Mode::ResetAfter => {
                let _ = stream.set_zero_linger();
                return;
            }
            Mode::CutOff => {
                let begin = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"id\":";
                let _ = stream.write_all(begin).await;
                return;
            }
        };
        if written.is_err() {
            return;
        }
    }
}

/// The next request of a connection; `None` at its end. What is read beyond it stays in `read`.
async fn next_request(
    stream: &mut TcpStream,
    read: &mut Vec<u8>,
    connection: usize,
) -> io::Result<Option<Recorded>> {
    loop {
        let end = read.windows(4).position(|bytes| bytes == b"\r\n\r\n");
        if let Some(end) = end.map(|at| at + 4) {
            let head = String::from_utf8_lossy(&read[..end]).into_owned();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .and_then(|length| length.parse::<usize>().ok());
            let whole = end + length.unwrap_or(0);
            if read.len() >= whole {
                let body = String::from_utf8_lossy(&read[end..whole]).into_owned();
                read.drain(..whole);
                return Ok(Some(Recorded {
                    head,
                    body,
                    connection,
                }));
            }
        }

        if stream.read_buf(read).await? == 0 {
            return Ok(None);
        }
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HTTP/1.1 {} Answer\r\n", self.status)?;
        for header in &self.headers {
            write!(f, "{header}\r\n")?;
        }
        write!(
            f,
            "content-length: {}\r\n\r\n{}",
            self.body.len(),
            self.body
        )
    }
}
