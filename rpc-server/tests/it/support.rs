//! A server without a socket, and peers that speak bytes to it over in-memory pipes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rpc_server::{Config, Drained, Router, Server, ServerHandle, ServerStats};
use serde_json::Value;
use tokio::io::{
    AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, DuplexStream,
};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// What a pipe holds in each direction, unless a test says otherwise.
const PIPE_BYTES: usize = 64 * 1024;

/// Longer than every limit of a server: what has not come by then never comes. With paused time it
/// passes at once.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A server that serves what it is given, until it is told to drain.
pub(crate) struct TestServer {
    pub(crate) handle: ServerHandle,
    drain: Option<oneshot::Sender<()>>,
    serving: JoinHandle<std::io::Result<Drained>>,
}

impl TestServer {
    pub(crate) async fn start<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Self {
        Self::with(Config::default(), router).await
    }

    pub(crate) async fn with<S: Clone + Send + Sync + 'static>(
        config: Config,
        router: Router<S>,
    ) -> Self {
        Self::of(
            Server::builder()
                .config(config)
                .router(router)
                .bind()
                .await
                .unwrap(),
        )
    }

    pub(crate) fn of(server: Server) -> Self {
        let (drain, asked) = oneshot::channel();
        let handle = server.handle();
        let serving = tokio::spawn(server.serve(async {
            // A test that ends without draining is as good a reason to stop.
            let _ = asked.await;
        }));
        Self {
            handle,
            drain: Some(drain),
            serving,
        }
    }

    pub(crate) fn connect(&self) -> Client<DuplexStream> {
        self.connect_through(PIPE_BYTES)
    }

    /// A connection that comes from this address.
    pub(crate) fn connect_from(&self, address: &str) -> Client<DuplexStream> {
        let (near, far) = tokio::io::duplex(PIPE_BYTES);
        tokio::spawn(self.handle.serve_connection(far, address));
        Client::new(near)
    }

    /// A connection whose pipe holds this number of bytes in each direction.
    pub(crate) fn connect_through(&self, bytes: usize) -> Client<DuplexStream> {
        let (near, far) = tokio::io::duplex(bytes);
        tokio::spawn(self.handle.serve_connection(far, "pipe"));
        Client::new(near)
    }

    pub(crate) fn stats(&self) -> ServerStats {
        self.handle.stats()
    }

    pub(crate) fn begin_to_drain(&mut self) {
        self.drain
            .take()
            .expect("it drains once")
            .send(())
            .expect("it serves until then");
    }

    /// Whether its drain is over.
    pub(crate) fn has_drained(&self) -> bool {
        self.serving.is_finished()
    }

    /// Waits for the drain's end.
    pub(crate) async fn drained(self) -> Drained {
        timeout(PATIENCE, self.serving)
            .await
            .expect("the drain ends")
            .unwrap()
            .unwrap()
    }
}

/// A peer that reads and writes lines.
pub(crate) struct Client<IO> {
    pub(crate) io: BufReader<IO>,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Client<IO> {
    pub(crate) fn new(io: IO) -> Self {
        Self {
            io: BufReader::new(io),
        }
    }

    /// Sends the text as it is.
    pub(crate) async fn send(&mut self, text: impl AsRef<[u8]>) {
        let sent = timeout(PATIENCE, self.io.write_all(text.as_ref())).await;
        sent.expect("the server takes it").unwrap();
    }

    /// Ends this side of the stream.
    pub(crate) async fn half_close(&mut self) {
        self.io.shutdown().await.unwrap();
    }

    /// The next line with its newline; empty at the end of the stream. Heartbeats are passed over.
    pub(crate) async fn line(&mut self) -> String {
        loop {
            let line = self.line_or_heartbeat().await;
            if line != "\n" {
                return line;
            }
        }
    }

    /// As [`line`](Self::line), and a heartbeat is the newline alone.
    pub(crate) async fn line_or_heartbeat(&mut self) -> String {
        let mut line = String::new();
        let read = timeout(PATIENCE, self.io.read_line(&mut line)).await;
        read.expect("a line comes, or the end").unwrap();
        line
    }

    /// The next line as JSON.
    pub(crate) async fn reply(&mut self) -> Value {
        let line = self.line().await;
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line:?} is not a reply"))
    }

    /// Sends a line and returns the next one that comes.
    pub(crate) async fn ask(&mut self, line: &str) -> Value {
        self.send(format!("{line}\n")).await;
        self.reply().await
    }

    /// The next line is exactly this one.
    #[track_caller]
    pub(crate) fn expect(&mut self, line: &str) -> impl Future<Output = ()> {
        let place = std::panic::Location::caller();
        async move {
            let came = self.line().await;
            assert_eq!(came, format!("{line}\n"), "expected at {place}");
        }
    }

    /// The next line is the reply of the call `id` with this code; returns it.
    #[track_caller]
    pub(crate) fn expect_code(
        &mut self,
        id: impl Into<Option<u64>>,
        code: u32,
    ) -> impl Future<Output = Value> {
        let (id, place) = (id.into(), std::panic::Location::caller());
        async move {
            let reply = self.reply().await;
            assert_eq!(
                (reply["id"].as_u64(), &reply["code"]),
                (id, &code.into()),
                "{reply} came at {place}"
            );
            reply
        }
    }

    /// All lines up to the end of the stream.
    pub(crate) async fn read_to_end(&mut self) -> String {
        let mut all = Vec::new();
        let read = timeout(PATIENCE, self.io.read_to_end(&mut all)).await;
        read.expect("the stream ends").unwrap();
        String::from_utf8(all).unwrap()
    }

    /// The stream ends with nothing before its end.
    #[track_caller]
    pub(crate) fn expect_end(&mut self) -> impl Future<Output = ()> {
        let place = std::panic::Location::caller();
        async move {
            assert_eq!(self.read_to_end().await, "", "expected the end at {place}");
        }
    }

    /// Nothing but heartbeats comes for so long.
    pub(crate) async fn expect_silence_for(&mut self, time: Duration) {
        let other_line = async {
            let mut line = "\n".to_owned();
            while line == "\n" {
                line.clear();
                self.io.read_line(&mut line).await.unwrap();
            }
            line
        };

        if let Ok(line) = timeout(time, other_line).await {
            panic!("{line:?} came within {time:?}");
        }
    }
}

/// With paused time: returns when every other task waits for something that is not there.
pub(crate) async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

/// Handlers wait at it until the test lets them pass, one permit each.
#[derive(Clone)]
pub(crate) struct Gate(Arc<Semaphore>);

impl Gate {
    pub(crate) fn closed() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }

    pub(crate) fn let_pass(&self, handlers: usize) {
        self.0.add_permits(handlers);
    }

    pub(crate) async fn pass(&self) {
        self.0.acquire().await.expect("it is never closed").forget();
    }
}

/// Counts handlers at work.
#[derive(Clone, Default)]
pub(crate) struct Probe(Arc<Counts>);

#[derive(Default)]
struct Counts {
    started: AtomicUsize,
    running: AtomicUsize,
    most: AtomicUsize,
    finished: AtomicUsize,
}

/// A handler at work; dropped unfinished, it has been cancelled.
pub(crate) struct Running(Probe);

impl Probe {
    pub(crate) fn enter(&self) -> Running {
        self.0.started.fetch_add(1, Ordering::SeqCst);
        let running = self.0.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.0.most.fetch_max(running, Ordering::SeqCst);
        Running(self.clone())
    }

    pub(crate) fn started(&self) -> usize {
        self.0.started.load(Ordering::SeqCst)
    }

    pub(crate) fn running(&self) -> usize {
        self.0.running.load(Ordering::SeqCst)
    }

    /// The most that ever ran at one time.
    pub(crate) fn most(&self) -> usize {
        self.0.most.load(Ordering::SeqCst)
    }

    pub(crate) fn finished(&self) -> usize {
        self.0.finished.load(Ordering::SeqCst)
    }
}

impl Running {
    pub(crate) fn finish(self) {
        self.0.0.finished.fetch_add(1, Ordering::SeqCst);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A call of `cmdid` with an id, as a line.
pub(crate) fn call(id: u64, cmdid: u32, rest: &str) -> String {
    let comma = if rest.is_empty() { "" } else { "," };
    format!("{{\"id\":{id},\"cmdid\":{cmdid}{comma}{rest}}}\n")
}
