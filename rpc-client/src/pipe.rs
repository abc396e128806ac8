//! Request lines in, reply lines out: the client for programs that make JSON themselves.

use std::future::ready;
use std::io;

use futures::FutureExt;
use futures::future::Either;
use futures::stream::{FuturesUnordered, StreamExt};
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
/// Where `input` or `output` fails. A line that is no request is answered with code 3, like a server
/// would.
pub async fn pipe(
    client: &Client,
    mut input: impl AsyncBufRead + Unpin,
    mut output: impl AsyncWrite + Unpin,
    mut progress: impl FnMut(Piped),
) -> io::Result<Piped> {
    let mut piped = Piped::default();
    let mut calls = FuturesUnordered::new();
    let mut line = Vec::new();
    let mut lines = Vec::new();
    let mut is_open = true;
    while is_open || !calls.is_empty() {
        tokio::select! {
            // Replies first: they make room.
            biased;
            Some((id, result)) = calls.next(), if !calls.is_empty() => {
                write_reply(&mut lines, id, &result, &mut piped);
                // What else has arrived goes out in the same write.
                while let Some(Some((id, result))) = calls.next().now_or_never() {
                    write_reply(&mut lines, id, &result, &mut piped);
                }
                output.write_all(&lines).await?;
                lines.clear();
                output.flush().await?;
            }
            read = input.read_until(b'\n', &mut line), if is_open && calls.len() < IN_FLIGHT_MAX => {
                is_open = read? > 0;
                let request = line.trim_ascii();
                if request.is_empty() {
                    line.clear();
                    continue;
                }
                match Request::decode(request) {
                    Ok(request) => {
                        piped.requests += 1;
                        let request = request.into_owned();
                        let id = request.id;
                        // Begun one after another, so that ordered calls keep the order of their lines.
                        match client.start(request).await {
                            Ok(Some(pending)) => calls.push(Either::Left(pending.map(move |result| (id, result)))),
                            Ok(None) => {}
                            Err(error) => calls.push(Either::Right(ready((id, Err(error))))),
                        }
                    }
                    Err(bad) => {
                        encode_failure(&mut lines, bad.id, &Status::invalid_argument(bad.message));
                        piped.replies += 1;
                        piped.failures += 1;
                        output.write_all(&lines).await?;
                        lines.clear();
                    }
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

fn write_reply(
    out: &mut Vec<u8>,
    id: Option<u64>,
    result: &Result<Option<RawJson<'static>>, Error>,
    piped: &mut Piped,
) {
    piped.replies += 1;
    match result {
        Ok(data) => encode_reply(out, id, data.as_ref()),
        Err(error) => {
            piped.failures += 1;
            encode_failure(out, id, &error.clone().into_status());
        }
    }
}
