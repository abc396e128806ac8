//! The peer of the fuzzed connection: what it sends, and what it makes of what comes.

use std::fmt::{Arguments, Write as _};
use std::time::Duration;

use rpc_fuzz::line::{Ending, Part};
use rpc_fuzz::pipe::Far;
use rpc_fuzz::polled::Polled;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{CONFIG, commands};

/// How a call is sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    Multiplexed(u64),
    Ordered,
    Oneway(Option<u64>),
}

/// Which fields a request has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Fields {
    /// Those that its kind needs.
    Needed,
    /// Also the credit of a stream, or the timeout of another call.
    Limit,
}

impl Fields {
    /// The choice of the lowest bit.
    pub(crate) fn chosen_by(bits: u8) -> Self {
        match bits & 1 {
            1 => Self::Limit,
            _ => Self::Needed,
        }
    }
}

/// When the server ends a connection by itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Retirement {
    Never,
    /// After a few requests; what goes on in it is given a time.
    Early,
}

#[derive(Debug)]
struct Sent {
    kind: Kind,
    is_stream: bool,
    /// Whether nothing stood before it that may have ended the service.
    is_certain: bool,
    is_answered: bool,
}

pub(crate) struct Peer {
    far: Far,
    connection: Polled<()>,
    /// The calls; their numbers are their places.
    sent: Vec<Sent>,
    /// The ordered call that comes next; those before it were answered.
    next_ordered: usize,
    /// Nothing was sent yet that may end the service.
    is_certain: bool,
    /// Bytes of any kind were sent: the replies may be to calls that they hold.
    is_raw: bool,
    /// The connection may be cut without its replies.
    may_be_cut: bool,
    has_ended: bool,
    has_reset: bool,
    /// The time of the connection.
    passed: Duration,
    /// Where the peer does not read: how many calls had been started by then.
    stopped_at: Option<u64>,
    /// What is sent with the next line in one segment, and how many more lines are held back.
    held: String,
    hold: u8,
    /// The first call that is held back.
    held_from: usize,
}

#[derive(Deserialize)]
struct Line<'a> {
    id: Option<u64>,
    code: Option<u32>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(default)]
    more: bool,
    details: Option<&'a RawValue>,
    event: Option<&'a str>,
}

impl Peer {
    pub(crate) fn new(far: Far, connection: Polled<()>, retirement: Retirement) -> Self {
        Self {
            far,
            connection,
            sent: Vec::new(),
            next_ordered: 0,
            is_certain: true,
            is_raw: false,
            may_be_cut: retirement == Retirement::Early,
            has_ended: false,
            has_reset: false,
            passed: Duration::ZERO,
            stopped_at: None,
            held: String::new(),
            hold: 0,
            held_from: 0,
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.connection.is_over()
    }

    pub(crate) fn call(&mut self, kind: Kind, argument: u8, fields: Fields) {
        // The server has said that it takes no more, and need not answer.
        self.is_certain &= !self.far.state().is_shut_down;

        if let Kind::Multiplexed(id) | Kind::Oneway(Some(id)) = kind {
            let is_open = |sent: &Sent| sent.kind == Kind::Multiplexed(id) && !sent.is_answered;
            if self.sent.iter().any(is_open) {
                // Still in flight, for all that is known here: the connection is closed for that.
                self.is_certain = false;
            }
        }

        let n = self.sent.len();
        let cmdid = commands::FIRST + u32::from(argument % commands::COUNT);
        let a = argument / commands::COUNT;
        let is_stream = commands::STREAMS.contains(&cmdid);
        self.sent.push(Sent {
            kind,
            is_stream,
            is_certain: self.is_certain,
            is_answered: false,
        });

        let mut line = std::mem::take(&mut self.held);
        line.push('{');
        if let Kind::Multiplexed(id) | Kind::Oneway(Some(id)) = kind {
            let _ = write!(line, "\"id\":{id},");
        }
        let _ = write!(line, "\"cmdid\":{cmdid}");

        match fields {
            Fields::Needed => {}
            Fields::Limit if is_stream => {
                let _ = write!(line, ",\"credit\":{}", a & 3);
            }
            Fields::Limit => {
                let _ = write!(line, ",\"timeout_ms\":{}", u32::from(a) * 10);
            }
        }
        if let Kind::Oneway(_) = kind {
            line.push_str(",\"oneway\":true");
        }

        let _ = write!(line, ",\"params\":{{\"n\":{n},\"a\":{a}}}}}");
        self.held = line;
        self.end_line();
    }

    /// A line that has no reply and ends nothing.
    pub(crate) fn line(&mut self, line: Arguments<'_>) {
        let _ = self.held.write_fmt(line);
        self.end_line();
    }

    fn end_line(&mut self) {
        self.held.push('\n');
        if self.hold > 0 {
            self.hold -= 1;
            return;
        }

        self.send_held();
    }

    fn send_held(&mut self) {
        if self.far.state().is_shut_down {
            // What was held back comes too late.
            self.sent[self.held_from..]
                .iter_mut()
                .for_each(|sent| sent.is_certain = false);
        }

        self.held_from = self.sent.len();
        if !self.has_ended {
            self.far.send(self.held.as_bytes());
        }

        self.held.clear();
        self.hold = 0;
    }

    pub(crate) fn hold_back(&mut self, lines: u8) {
        self.hold = lines;
    }

    /// Bytes of any kind. They may be anything: nothing behind them is certain.
    pub(crate) fn raw(&mut self, bytes: &[u8], ending: Ending) {
        self.send_held();
        self.is_certain = false;
        self.is_raw = true;

        if !self.has_ended {
            self.far.send(bytes);
            if ending == Ending::LineBreak {
                self.far.send(b"\n");
            }
        }
    }

    pub(crate) fn half_close(&mut self) {
        self.send_held();
        self.has_ended = true;
        self.is_certain = false;
        self.far.end();
    }

    pub(crate) fn reset(&mut self) {
        self.has_reset = true;
        self.may_be_cut = true;
        self.is_certain = false;
        self.far.reset();
    }

    pub(crate) fn stop_reading(&mut self, room: usize) {
        self.send_held();
        self.turn();
        self.may_be_cut = true;
        self.stopped_at = (room == 0).then(commands::started);
        self.far.set_room(room);
    }

    pub(crate) fn read_on(&mut self) {
        self.stopped_at = None;
        self.far.set_room(usize::MAX);
    }

    pub(crate) fn expect_a_drain(&mut self) {
        self.send_held();
        self.turn();

        // What still arrives is answered for a while, and then no more; and a drain has its time.
        self.is_certain = false;
        self.may_be_cut = true;
    }

    pub(crate) async fn let_pass(&mut self, time: Duration, server: &mut Polled<()>) {
        self.send_held();
        self.turn();
        tokio::time::advance(time).await;
        self.passed += time;
        server.turn();
    }

    /// Lets the connection do what it can, and looks at what it wrote.
    pub(crate) fn turn(&mut self) {
        self.connection.turn();

        let waiting = commands::waiting() as usize;
        assert!(
            waiting <= CONFIG.admission.in_flight_per_connection,
            "{waiting} calls run at once"
        );

        if let Some(stopped_at) = self.stopped_at
            && !self.is_raw
            && self
                .sent
                .iter()
                .all(|sent| !matches!(sent.kind, Kind::Oneway(_)))
        {
            // The shortest reply has 13 bytes; those that wait stay below the limit, and one more.
            let most = CONFIG.limits.output_bytes_soft_max / 13
                + CONFIG.admission.in_flight_per_connection
                + 1;
            let started = commands::started() - stopped_at;
            assert!(
                started <= most as u64,
                "{started} calls were started for a peer that does not read"
            );
        }

        let out = std::mem::take(&mut self.far.state().outgoing);
        if out.is_empty() {
            return;
        }

        let mut rest = &out[..];
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, behind) = rest.split_at(end);
            self.take(line);
            rest = &behind[1..];
        }

        // A part of a line waits for the rest of it.
        let kept = rest.len();
        let at = out.len() - kept;
        let mut state = self.far.state();
        let newer = std::mem::replace(&mut state.outgoing, out);
        state.outgoing.drain(..at);
        state.outgoing.extend_from_slice(&newer);
    }

    fn take(&mut self, line: &[u8]) {
        if line.starts_with(b"HTTP/1.1 ") || self.is_raw && !line.starts_with(b"{") {
            assert!(self.is_raw);
            return;
        }
        if line.is_empty() {
            // A heartbeat.
            return;
        }

        let line: Line<'_> =
            serde_json::from_slice(line).expect("a line of the server is an object");
        let Some(code) = line.code else {
            assert_eq!(line.event, Some("goaway"));
            return;
        };

        // Calls that answer say which call they are: by their data, or the details of their failure.
        let carried = line
            .data
            .or(line.details.filter(|_| line.more || code != 0));
        let named = carried.and_then(|carried| {
            let text = carried.get().trim_start_matches('[');
            text.split([',', ']']).next()?.parse::<usize>().ok()
        });

        if self.is_raw {
            return;
        }

        let part = match line.more {
            true => Part::Item,
            false => Part::Last,
        };
        match line.id {
            Some(id) => self.take_multiplexed(id, named, part),
            None => self.take_ordered(code, named, part),
        }
    }

    fn take_multiplexed(&mut self, id: u64, named: Option<usize>, part: Part) {
        let is_it = |sent: &Sent| sent.kind == Kind::Multiplexed(id) && !sent.is_answered;
        let place = self
            .sent
            .iter()
            .position(is_it)
            .expect("a reply answers a call that waits");

        if let Some(named) = named {
            assert_eq!(named, place, "the reply is the call's own");
        }

        let sent = &mut self.sent[place];
        assert!(part == Part::Last || sent.is_stream);
        sent.is_answered = part == Part::Last;
    }

    fn take_ordered(&mut self, code: u32, named: Option<usize>, part: Part) {
        let is_ordered = |sent: &Sent| sent.kind == Kind::Ordered;
        let next = self.sent[self.next_ordered..]
            .iter()
            .position(is_ordered)
            .map(|at| at + self.next_ordered);

        // Of an id that is in flight twice.
        let is_verdict = code == 3 && named.is_none() && !self.is_certain;
        let Some(place) = next.filter(|_| !is_verdict) else {
            assert!(
                is_verdict,
                "a reply without an id answers a call without one"
            );
            return;
        };

        if let Some(named) = named {
            assert_eq!(named, place, "ordered calls are answered in their order");
        }

        let sent = &mut self.sent[place];
        assert!(part == Part::Last || sent.is_stream);
        if part == Part::Last {
            sent.is_answered = true;
            self.next_ordered = place + 1;
        }
    }

    /// Reads all, ends its side, and waits.
    pub(crate) async fn finish(&mut self, server: &mut Polled<()>) {
        self.read_on();
        self.turn();
        self.half_close();
        self.turn();

        // Longer than every limit, in steps: each item of a stream takes one, and the streams of
        // ordered calls follow one another.
        let count = 100 + self.sent.len() * commands::DRIP_ITEMS_MAX;
        let steps = [0, 10, 100, 100, 400, 500]
            .into_iter()
            .chain(std::iter::repeat_n(2_500, count));
        for milliseconds in steps {
            if self.is_over() {
                break;
            }

            self.let_pass(Duration::from_millis(milliseconds), server)
                .await;
            self.turn();
        }

        assert!(self.is_over(), "the connection ends");
        self.turn();
        assert_eq!(commands::waiting(), 0, "nothing runs on");

        if self.has_reset || self.is_raw {
            return;
        }

        let state = self.far.state();
        if state.is_shut_down {
            assert!(state.outgoing.is_empty(), "it ends behind a whole line");

            // At the end of a drain's time what is in flight is answered, and what was not read is not.
            let drain_timeout = Duration::from_millis(CONFIG.drain.timeout_ms);
            let has_been_cut = self.may_be_cut && self.passed >= drain_timeout;
            for (n, sent) in self.sent.iter().enumerate() {
                let wants_reply =
                    sent.is_certain && !has_been_cut && !matches!(sent.kind, Kind::Oneway(_));
                assert!(
                    !wants_reply || sent.is_answered,
                    "call {n} has no reply: {sent:?}"
                );
            }
        } else {
            assert!(self.may_be_cut, "it was cut for no reason");
        }
    }
}
