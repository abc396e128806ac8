//! Request lines in, reply lines out: the client for programs that make JSON themselves.

use std::future::{Future, ready};
use std::io;

use futures::future::{BoxFuture, FutureExt, TryFutureExt};
use futures::stream::{FuturesOrdered, FuturesUnordered, StreamExt};
use rpc_core::frame::{encode_failure, encode_reply};
use rpc_core::{RawJson, Request, Status};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncWrite, AsyncWriteExt};

use crate::client::Client;
use crate::error::Error;

/// Requests that are under way at one time; more lines are not read until some are answered.
const IN_FLIGHT_MAX: usize = 4096;

/// What a pipe has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Piped {
    /// Lines that were requests.
    pub requests: u64,
    /// Reply lines written.
    pub replies: u64,
    /// Of those, the ones whose code is not 0.
    pub failures: u64,
}

/// Sends each line of `input` as a request and writes each reply as a line to `output`, in the order
/// of their arrival, until all are answered.
///
/// Requests with an `id` are answered under it, whatever ids the connection uses itself; those
/// without are run one after another. Every request gets one line, a oneway one none: where the server
/// gives no reply, because it cannot be reached for example, the line says so with a code.
/// `progress` is told after each change.
///
/// # Errors
/// `input` or `output` fails. A line that is not a request is answered with code 3, like a server
/// would.
///
/// # Cancel safety
/// Not cancel-safe: dropping the future gives the calls up that are under way, and may lose a line that was read, or
/// leave half a line written.
///
/// ```no_run
/// use rpc_client::{Client, pipe::pipe};
/// use tokio::io::BufReader;
///
/// # async fn example() -> std::io::Result<()> {
/// let client = Client::new("127.0.0.1:8889");
/// let lines = BufReader::new(&b"{\"id\":1,\"cmdid\":0,\"params\":7}\n"[..]);
/// let mut replies = Vec::new();
/// let piped = pipe(&client, lines, &mut replies, |_| {}).await?;
/// assert_eq!((piped.requests, piped.failures), (1, 0));
/// # Ok(())
/// # }
/// ```
pub async fn pipe(
    client: &Client,
    mut input: impl AsyncBufRead + Unpin,
    mut output: impl AsyncWrite + Unpin,
    mut progress: impl FnMut(Piped),
) -> io::Result<Piped> {
    let mut piped = Piped::default();
    let mut pending = Pending::default();
    let mut line = Vec::new();
    let mut is_open = true;

    while is_open || !pending.is_empty() {
        tokio::select! {
            // Replies first: they make room.
            biased;
            Some(reply) = pending.next(), if !pending.is_empty() => {
                let mut lines = Vec::new();
                piped.write(&mut lines, &reply);

                // What else has arrived goes out in the same write.
                while let Some(Some(reply)) = pending.next().now_or_never() {
                    piped.write(&mut lines, &reply);
                }

                output.write_all(&lines).await?;
                output.flush().await?;
            }

            read = input.read_until(b'\n', &mut line), if is_open && pending.len() < IN_FLIGHT_MAX => {
                is_open = read? > 0;
                let request = line.trim_ascii();
                if !request.is_empty() {
                    // Begun one after another, so that ordered calls keep the order of their lines.
                    pending.begin(client, request, &mut piped).await;
                }
                line.clear();
            }
        }

        progress(piped);
    }

    client.flush().await.map_err(io::Error::other)?;
    output.flush().await?;
    Ok(piped)
}

/// What a line comes to: the id that it had, and its result.
type Reply = (Option<u64>, Result<Option<RawJson<'static>>, Status>);

/// The lines that are not answered. Those without an id are answered in their order, whatever becomes of
/// them.
#[derive(Default)]
struct Pending {
    multiplexed: FuturesUnordered<BoxFuture<'static, Reply>>,
    ordered: FuturesOrdered<BoxFuture<'static, Reply>>,
}

impl Pending {
    async fn begin(&mut self, client: &Client, line: &[u8], piped: &mut Piped) {
        let request = match Request::decode(line) {
            Ok(request) => request.into_owned(),
            Err(bad) => {
                return self.push(bad.id, ready(Err(Status::invalid_argument(bad.message))));
            }
        };

        piped.requests += 1;
        let id = request.id;
        match client.start(request).await {
            Ok(Some(call)) => self.push(id, call.map_err(Error::into_status)),
            Ok(None) => {}
            Err(error) => self.push(id, ready(Err(error.into_status()))),
        }
    }

    fn push(
        &mut self,
        id: Option<u64>,
        result: impl Future<Output = Result<Option<RawJson<'static>>, Status>> + Send + 'static,
    ) {
        let reply = result.map(move |result| (id, result)).boxed();
        match id {
            Some(_) => self.multiplexed.push(reply),
            None => self.ordered.push_back(reply),
        }
    }

    async fn next(&mut self) -> Option<Reply> {
        let Self {
            multiplexed,
            ordered,
        } = self;

        tokio::select! {
            // In this order, and not in a random one, so that a simulated run can be repeated.
            biased;
            Some(reply) = multiplexed.next() => Some(reply),
            Some(reply) = ordered.next() => Some(reply),
            else => None,
        }
    }

    fn len(&self) -> usize {
        self.multiplexed.len() + self.ordered.len()
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Piped {
    fn write(&mut self, out: &mut Vec<u8>, (id, result): &Reply) {
        self.replies += 1;
        match result {
            Ok(data) => encode_reply(out, *id, data.as_ref()),
            Err(status) => {
                self.failures += 1;
                encode_failure(out, *id, status);
            }
        }
    }
}
