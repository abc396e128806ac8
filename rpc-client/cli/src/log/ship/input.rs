//! The lines of standard input, which are there once: they wait in the pipe while the log is away.

use std::pin::pin;
use std::time::Duration;

use rpc_client::Client;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::identity::now_ms;
use super::lines::{BATCH_BYTES_MAX, Origin, Tail, batch_len, entries, lines};
use super::sender::Sender;
use crate::exit::{DEADLINE, Failure};

/// That time unless another one is given.
const END_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a line waits for further ones of its batch.
const BATCH_AGE_MAX: Duration = Duration::from_millis(200);

struct Input<R> {
    from: R,
    /// Bytes that were read and are not acknowledged.
    bytes: Vec<u8>,
    is_over: bool,
    sender: Sender,
    /// The number of the last batch.
    batch: u64,
    begun: Option<Begun>,
    origin: Origin,
}

/// A batch that is not acknowledged yet: its JSON, and its length in the bytes.
struct Begun {
    entries: String,
    length: usize,
}

/// `end_timeout` is how long to try for the lines that are left at the end of the input, or after Ctrl-C.
pub(super) async fn ship(
    client: Client,
    origin: Origin,
    end_timeout: Option<Duration>,
) -> Result<(), Failure> {
    let mut input = Input {
        from: tokio::io::stdin(),
        bytes: Vec::new(),
        is_over: false,
        sender: Sender::new(client, Sender::new_producer()),
        batch: 0,
        begun: None,
        origin,
    };
    let mut interrupted = pin!(tokio::signal::ctrl_c());

    while !input.is_over {
        tokio::select! {
            filled = input.fill() => filled?,
            _ = &mut interrupted => break,
        }
        if input.is_over {
            break;
        }

        tokio::select! {
            sent = input.send_next(Tail::Open) => sent?,
            _ = &mut interrupted => break,
        }
    }
    input.end(end_timeout.unwrap_or(END_TIMEOUT)).await
}

impl<R: AsyncRead + Unpin> Input<R> {
    /// Reads until a batch is full, or what there is has waited long enough.
    async fn fill(&mut self) -> Result<(), Failure> {
        let age = tokio::time::sleep(BATCH_AGE_MAX);
        let mut age = pin!(age);
        let mut has_waited = false;
        while self.bytes.len() < BATCH_BYTES_MAX {
            if has_waited && batch_len(&self.bytes, Tail::Open) > 0 {
                return Ok(());
            }

            let room = BATCH_BYTES_MAX - self.bytes.len();
            let mut bounded = (&mut self.from).take(room as u64);
            tokio::select! {
                read = bounded.read_buf(&mut self.bytes) => {
                    if read.map_err(|error| Failure::stdin(&error))? == 0 {
                        self.is_over = true;
                        return Ok(());
                    }
                }
                () = &mut age, if !has_waited => has_waited = true,
            }
        }
        Ok(())
    }

    /// Sends a batch. One that was given up while it was sent is sent again as it was, so that it is not doubled.
    async fn send_next(&mut self, tail: Tail) -> Result<(), Failure> {
        if self.begun.is_none() {
            let length = batch_len(&self.bytes, tail);
            if length == 0 {
                return Ok(());
            }
            self.batch += 1;
            self.begun = Some(Begun {
                entries: entries(&self.bytes[..length], &self.origin, now_ms()),
                length,
            });
        }

        if let Some(begun) = &self.begun {
            let length = begun.length;
            self.sender.send(self.batch, begun.entries.clone()).await?;
            self.bytes.drain(..length);
            self.begun = None;
        }
        Ok(())
    }

    /// Sends what is left, and says what the log has not acknowledged.
    async fn end(mut self, timeout: Duration) -> Result<(), Failure> {
        let rest = async {
            while !self.bytes.is_empty() {
                self.send_next(Tail::Closed).await?;
            }
            Ok::<(), Failure>(())
        };
        let result = tokio::time::timeout(timeout, rest).await;
        let left = lines(&self.bytes).count();
        let message = match left {
            1 => "a line was not acknowledged".to_owned(),
            _ => format!("{left} lines were not acknowledged"),
        };

        match result {
            Ok(Ok(())) => Ok(()),
            Ok(Err(failure)) => {
                crate::output::complain(&format!("rpc: {message}"));
                Err(failure)
            }
            Err(_) => Err(Failure::Lines {
                message,
                exit: DEADLINE,
            }),
        }
    }
}
