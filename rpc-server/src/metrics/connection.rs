//! Counters of one connection, and when they are added to the server's.
//!
//! Counting costs a call a few plain additions: calls of one command that end alike, of one read, are a run,
//! and a run is told at once, with one reading of the clock, just before the replies are written.

use std::cell::Cell;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rpc_core::{Code, Peer};
use serde::Serialize;
use tokio::time::Instant;

use super::connections::{Bell, OpenConnection, moment};
use super::notable::Over;
use super::{CommandIndex, Metrics, Shard, add, code_index, get, subtract};

thread_local! {
    static RUNS: Cell<Vec<Run>> = const { Cell::new(Vec::new()) };
}

/// Runs that wait to be told; a bound for those who end many calls without writing.
const RUNS_MAX: usize = 256;

/// The counters of a connection. The server knows what it has been told, at least once a turn and before
/// anybody looks; it is told the rest when this is dropped.
pub(crate) struct ConnectionMetrics {
    pub(crate) requests: u64,
    pub(crate) replies: u64,
    pub(crate) bad_frames: u64,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    runs: Vec<Run>,
    /// Calls under way, by command.
    in_flight: Vec<(CommandIndex, u32)>,
    metrics: Arc<Metrics>,
    listed: Arc<OpenConnection>,
}

/// What is counted of a call when it is over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended {
    pub(crate) command: CommandIndex,
    pub(crate) received: Instant,
    pub(crate) params_bytes: u32,
    pub(crate) is_answered: bool,
}

/// Calls of one command that came in one read and ended alike.
struct Run {
    command: CommandIndex,
    code: u8,
    received: Instant,
    calls: u64,
    params_bytes: u64,
    data_bytes: u64,
}

/// What one connection has counted; the `connection` part of `stats`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct ConnectionStats {
    requests: u64,
    replies: u64,
    bad_frames: u64,
    in_flight: u64,
    bytes_in: u64,
    bytes_out: u64,
    /// Times that it was not read from for a while, at `throttle.frames_per_second`.
    held_back: u32,
}

impl ConnectionMetrics {
    pub(crate) fn open(metrics: &Arc<Metrics>, peer: &Arc<Peer>) -> Self {
        add(&metrics.connections_open, 1);

        Self {
            requests: 0,
            replies: 0,
            bad_frames: 0,
            bytes_in: 0,
            bytes_out: 0,
            runs: Vec::new(),
            in_flight: Vec::new(),
            metrics: Arc::clone(metrics),
            listed: metrics.connections.add(peer),
        }
    }

    pub(crate) fn read(&mut self, bytes: usize) {
        self.bytes_in += bytes as u64;

        // Relaxed, here and below: these are shown, and order nothing.
        self.listed.bytes_in.store(self.bytes_in, Ordering::Relaxed);
        add(&self.metrics.shard().bytes_in, bytes as u64);
    }

    pub(crate) fn wrote(&mut self, bytes: usize) {
        self.bytes_out += bytes as u64;
        self.listed
            .bytes_out
            .store(self.bytes_out, Ordering::Relaxed);
        add(&self.metrics.shard().bytes_out, bytes as u64);
    }

    pub(crate) fn bad_frame(&mut self) {
        self.bad_frames += 1;
        add(&self.metrics.bad_frames, 1);
    }

    /// A call was not ready at once.
    pub(crate) fn parked(&mut self, command: CommandIndex) {
        match self
            .in_flight
            .iter_mut()
            .find(|(parked, _)| *parked == command)
        {
            Some((_, count)) => *count += 1,
            None => self.in_flight.push((command, 1)),
        }

        add(&self.metrics.shard().commands[command.index()].in_flight, 1);
    }

    /// One that was [`parked`](Self::parked) is so no more.
    pub(crate) fn unparked(&mut self, command: CommandIndex) {
        if let Some((_, count)) = self
            .in_flight
            .iter_mut()
            .find(|(parked, _)| *parked == command)
        {
            *count -= 1;

            // On the shard of this thread, which may not be that of `parked`: their sum is right.
            subtract(&self.metrics.shard().commands[command.index()].in_flight, 1);
        }
    }

    /// A call is over, with a reply or without one.
    pub(crate) fn ended(&mut self, call: Ended, code: Code, data_bytes: usize) {
        self.replies += u64::from(call.is_answered);

        let code = code_index(code);
        if let Some(run) = self.runs.last_mut()
            && run.command == call.command
            && run.code == code
            && run.received == call.received
        {
            run.calls += 1;
            run.params_bytes += u64::from(call.params_bytes);
            run.data_bytes += data_bytes as u64;
            return;
        }

        self.begin_run(call, code, data_bytes);
    }

    fn begin_run(&mut self, call: Ended, code: u8, data_bytes: usize) {
        if self.runs.len() >= RUNS_MAX {
            self.tell_runs();
        }

        if self.runs.capacity() == 0 {
            self.runs = take_runs();
        }

        self.runs.push(Run {
            command: call.command,
            code,
            received: call.received,
            calls: 1,
            params_bytes: u64::from(call.params_bytes),
            data_bytes: data_bytes as u64,
        });
    }

    /// Tells the calls that have ended, as of now, and the requests: their replies are about to be written.
    pub(crate) fn tell_runs(&mut self) {
        if self.runs.is_empty() {
            return;
        }

        // A peer that has its reply finds its request counted.
        self.tell_requests();

        let now = Instant::now();
        let shard = self.metrics.shard();
        for run in self.runs.drain(..) {
            let command = &shard.commands[run.command.index()];
            add(&command.calls[usize::from(run.code)], run.calls);
            add(&command.params_bytes, run.params_bytes);
            add(&command.data_bytes, run.data_bytes);

            let took = now.saturating_duration_since(run.received);
            command.latency.record(took, run.calls);

            let over = Over {
                command: run.command,
                code: run.code,
                calls: run.calls,
                took,
                peer: self.listed.peer(),
            };
            self.metrics.notable.see(over, now);
        }
    }

    fn tell_requests(&self) {
        let told = get(&self.listed.requests);
        if told != self.requests {
            self.listed.requests.store(self.requests, Ordering::Relaxed);
            add(&self.metrics.shard().requests, self.requests - told);
        }
    }

    /// Tells all there is. `in_flight`: calls under way and those that wait.
    pub(crate) fn publish(&mut self, in_flight: usize) {
        self.tell_runs();
        give_back_runs(&mut self.runs);

        self.tell_requests();

        let in_flight = u32::try_from(in_flight).unwrap_or(u32::MAX);
        self.listed.in_flight.store(in_flight, Ordering::Relaxed);
    }

    /// `held_back` as the connection's throttle has it.
    pub(crate) fn stats(&self, in_flight: usize, held_back: u32) -> ConnectionStats {
        ConnectionStats {
            requests: self.requests,
            replies: self.replies,
            bad_frames: self.bad_frames,
            in_flight: in_flight as u64,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            held_back,
        }
    }

    /// Tells how many bytes the connection holds.
    pub(crate) fn tell_held_bytes(&self, bytes: usize) {
        self.listed
            .held_bytes
            .store(bytes as u64, Ordering::Relaxed);
    }

    /// Whether the connection is going to be told that it has to end its calls.
    #[inline]
    pub(crate) fn will_have_to_shed(&self) -> bool {
        self.listed.is_to_shed.load(Ordering::Relaxed)
    }

    /// Whether the connection has to end its calls for want of memory; it is asked once.
    #[inline]
    pub(crate) fn is_to_shed(&self) -> bool {
        self.will_have_to_shed() && self.listed.is_to_shed.swap(false, Ordering::Relaxed)
    }

    /// Tells since when the connection may be asked to make room for another one, or that it may not.
    pub(crate) fn note_rest(&self, since: Option<Instant>) {
        let since = since.map_or(0, |since| moment(since.into_std()));
        self.listed.rests_since.store(since, Ordering::Relaxed);
    }

    /// Whether the connection is asked to make room for another one; it is asked once.
    #[inline]
    pub(crate) fn is_to_make_room(&self) -> bool {
        self.listed.is_to_make_room.load(Ordering::Relaxed)
            && self.listed.is_to_make_room.swap(false, Ordering::Relaxed)
    }

    /// What wakes the connection when something changes around it.
    pub(crate) fn bell(&self) -> Bell {
        Bell(Arc::clone(&self.listed))
    }

    pub(crate) fn shard(&self) -> &Shard {
        self.metrics.shard()
    }

    /// An idle connection keeps nothing that it can do without.
    pub(crate) fn release(&mut self) {
        if self.in_flight.iter().all(|(_, count)| *count == 0) {
            self.in_flight = Vec::new();
        }
    }
}

impl Drop for ConnectionMetrics {
    fn drop(&mut self) {
        self.publish(0);

        for (command, count) in self.in_flight.drain(..) {
            subtract(
                &self.metrics.shard().commands[command.index()].in_flight,
                u64::from(count),
            );
        }

        self.metrics.connections.remove(&self.listed);
        subtract(&self.metrics.connections_open, 1);
    }
}

/// The list of the thread, empty: an idle connection holds none, and a busy one allocates none.
fn take_runs() -> Vec<Run> {
    RUNS.take()
}

/// Of several, the thread keeps the last one.
fn give_back_runs(runs: &mut Vec<Run>) {
    if runs.capacity() > 0 {
        RUNS.set(mem::take(runs));
    }
}
