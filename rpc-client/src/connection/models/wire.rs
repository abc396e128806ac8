//! The other side of a modelled connection: a pipe with little room, and a server at its end.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use rpc_core::frame::{encode_item, encode_notice, encode_reply};
use rpc_core::{CmdId, RawJson, Request};
use serde::Deserialize;
use shuttle::rand::{Rng, thread_rng};
use shuttle::sync::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

/// The bytes on their way in one direction.
#[derive(Default)]
struct Direction {
    bytes: VecDeque<u8>,
    room: usize,
    /// Bytes that were ever taken.
    taken: u64,
    /// One of its ends is gone.
    is_over: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// One end of a pipe whose locks are points at which others may run.
pub(super) struct End {
    incoming: Arc<Mutex<Direction>>,
    outgoing: Arc<Mutex<Direction>>,
}

/// How many bytes a pipe has taken from one of its ends.
#[derive(Clone)]
pub(super) struct Taken(Arc<Mutex<Direction>>);

impl Taken {
    pub(super) fn bytes(&self) -> u64 {
        self.0.lock().unwrap().taken
    }
}

/// A pipe that holds `room` bytes in each direction.
pub(super) fn pipe(room: usize) -> (End, End) {
    let direction = || {
        Arc::new(Mutex::new(Direction {
            room,
            ..Direction::default()
        }))
    };

    let (there, back) = (direction(), direction());
    let near = End {
        incoming: Arc::clone(&back),
        outgoing: Arc::clone(&there),
    };

    (
        near,
        End {
            incoming: there,
            outgoing: back,
        },
    )
}

impl End {
    pub(super) fn taken(&self) -> Taken {
        Taken(Arc::clone(&self.outgoing))
    }
}

impl AsyncRead for End {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut direction = self.incoming.lock().unwrap();
        if direction.bytes.is_empty() && !direction.is_over {
            direction.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }

        let count = direction.bytes.len().min(buffer.remaining());
        buffer.put_slice(&direction.bytes.drain(..count).collect::<Vec<_>>());

        let writer = direction.writer.take();
        drop(direction);
        wake(writer);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for End {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut direction = self.outgoing.lock().unwrap();
        if direction.is_over {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }

        let count = bytes.len().min(direction.room - direction.bytes.len());
        if count == 0 {
            direction.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }

        direction.bytes.extend(&bytes[..count]);
        direction.taken += count as u64;

        let reader = direction.reader.take();
        drop(direction);
        wake(reader);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        close(&self.outgoing);
        Poll::Ready(Ok(()))
    }
}

impl Drop for End {
    fn drop(&mut self) {
        close(&self.outgoing);
        close(&self.incoming);
    }
}

fn close(direction: &Mutex<Direction>) {
    let mut direction = direction.lock().unwrap();
    direction.is_over = true;
    let wakers = (direction.reader.take(), direction.writer.take());
    drop(direction);
    wake(wakers.0);
    wake(wakers.1);
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// Calls that the model's server answers with their params; those with this command are streams of the items
/// below their params.
pub(super) const ECHO: u32 = 100;
pub(super) const COUNT: u32 = 101;

/// What the server does beside answering.
#[derive(Clone, Copy, Default)]
pub(super) struct Behaviour {
    /// Says goaway once it has read this number of calls.
    pub(super) goaway_after: Option<usize>,
    /// Drops the connection once it has read this number of calls, before it answers the last of them.
    pub(super) gone_after: Option<usize>,
}

/// What the server has seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The params of all calls that it has read, in their order.
    pub(super) calls: Vec<u64>,
}

/// Answers until the end of the stream: calls with an id in any order, the others in theirs.
pub(super) async fn serve(mut end: End, behaviour: Behaviour) -> Seen {
    let (mut server, mut input) = (Peer::new(behaviour), Vec::new());
    loop {
        let mut output = server.take_output();
        if server.is_gone() {
            return server.seen;
        }

        // The reader may be gone.
        let _ = end.write_all(&output).await;
        output.clear();

        let before = input.len();
        input.resize(before + 64, 0);
        let Ok(read) = end.read(&mut input[before..]).await else {
            return server.seen;
        };
        input.truncate(before + read);
        if read == 0 {
            return server.seen;
        }

        while let Some(line_end) = input.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = input.drain(..=line_end).collect();
            server.take_line(&line[..line_end]);
        }
    }
}

/// The server's state, without its bytes.
struct Peer {
    behaviour: Behaviour,
    seen: Seen,
    has_said_goaway: bool,
    multiplexed: Vec<(u64, u64)>,
    ordered: VecDeque<u64>,
    /// By id: the next item, the end of the items, and the credit.
    streams: BTreeMap<u64, (u64, u64, u64)>,
}

#[derive(Deserialize)]
struct OfCall {
    id: u64,
    n: Option<u64>,
}

impl Peer {
    fn new(behaviour: Behaviour) -> Self {
        Self {
            behaviour,
            seen: Seen::default(),
            has_said_goaway: false,
            multiplexed: Vec::new(),
            ordered: VecDeque::new(),
            streams: BTreeMap::new(),
        }
    }

    fn is_gone(&self) -> bool {
        self.behaviour
            .gone_after
            .is_some_and(|calls| self.seen.calls.len() >= calls)
    }

    fn take_line(&mut self, line: &[u8]) {
        let request = Request::decode(line).expect("the client sends requests");

        if request.cmdid == CmdId::CANCEL {
            let call: OfCall = request.params.decode().unwrap();
            self.streams.remove(&call.id);
            self.multiplexed.retain(|(id, _)| *id != call.id);
            return;
        }

        if request.cmdid == CmdId::CREDIT {
            let more: OfCall = request.params.decode().unwrap();
            if let Some((_, _, credit)) = self.streams.get_mut(&more.id) {
                *credit += more.n.unwrap();
            }
            return;
        }

        if request.cmdid == CmdId::PING {
            let id = request.id.expect("a ping has an id");
            self.multiplexed.push((id, 0));
            return;
        }

        let params: u64 = request.params.decode().unwrap();
        self.seen.calls.push(params);
        match request.id {
            _ if request.oneway => {}
            Some(id) if request.cmdid == CmdId::from(COUNT) => {
                self.streams
                    .insert(id, (0, params, request.credit.unwrap()));
            }
            Some(id) => self.multiplexed.push((id, params)),
            None => self.ordered.push_back(params),
        }
    }

    fn take_output(&mut self) -> Vec<u8> {
        let mut output = Vec::new();
        if !self.has_said_goaway
            && self
                .behaviour
                .goaway_after
                .is_some_and(|calls| self.seen.calls.len() >= calls)
        {
            self.has_said_goaway = true;
            encode_notice(&mut output, "goaway", "for the model");
        }

        while let Some(params) = self.ordered.pop_front() {
            encode_reply(&mut output, None, Some(&json(params)));
        }

        while !self.multiplexed.is_empty() {
            let any = thread_rng().gen_range(0..self.multiplexed.len());
            let (id, params) = self.multiplexed.swap_remove(any);
            encode_reply(&mut output, Some(id), Some(&json(params)));
        }

        self.streams.retain(|id, (next, items, credit)| {
            while *next < *items && *credit > 0 {
                encode_item(&mut output, Some(*id), &json(*next));
                *next += 1;
                *credit -= 1;
            }
            if next == items {
                encode_reply(&mut output, Some(*id), None);
            }
            next != items
        });

        output
    }
}

pub(super) fn json(number: u64) -> RawJson<'static> {
    RawJson::serialize(&number)
        .expect("a number is JSON")
        .into_owned()
}
