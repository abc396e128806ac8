//! The server of one run: it reads what the client writes and answers as the input says.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use rpc_fuzz::line::{Ending, Part};
use rpc_fuzz::pipe::Far;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::calls::{CMDID, Calls, Kind};

#[derive(Default)]
pub(crate) struct Server {
    ends: Arc<Mutex<Vec<Far>>>,
    /// The connection in use is the last one; what is known of it.
    connections: usize,
    frames: Vec<Frame>,
    /// The connection has been told or shown nothing that ends it.
    is_sound: bool,
    /// To which call each value was sent; those of replies that may find another one are left out.
    values: BTreeMap<u64, usize>,
    next_value: u64,
    /// Bytes of any kind were sent, or replies to nobody.
    is_raw: bool,
}

/// How many frames have come on which connection.
pub(crate) struct Frames {
    pub(crate) connection: usize,
    pub(crate) count: usize,
}

/// A call on the connection.
struct Frame {
    id: Option<u64>,
    n: usize,
    is_answered: bool,
    is_oneway: bool,
}

#[derive(Deserialize)]
struct Line<'a> {
    id: Option<u64>,
    cmdid: u32,
    #[serde(borrow)]
    params: &'a RawValue,
    #[serde(default)]
    oneway: bool,
}

impl Server {
    pub(crate) fn ends(&self) -> Arc<Mutex<Vec<Far>>> {
        Arc::clone(&self.ends)
    }

    fn far(&self) -> Option<Far> {
        self.ends
            .lock()
            .expect("nothing panics in between")
            .last()
            .cloned()
    }

    /// Reads what has been written, and begins anew with a new connection.
    pub(crate) fn read(&mut self, calls: &Calls) {
        let count = self.ends.lock().expect("nothing panics in between").len();
        if count != self.connections {
            self.connections = count;
            self.frames.clear();
            self.is_sound = true;
        }

        let Some(far) = self.far() else { return };
        let mut state = far.state();
        let end = state
            .outgoing
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |end| end + 1);

        for line in state.outgoing[..end]
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
        {
            let line: Line<'_> =
                serde_json::from_slice(line).expect("a line of the client is a request");
            if line.cmdid != CMDID {
                continue;
            }

            let n = line
                .params
                .get()
                .parse()
                .expect("the calls send their numbers");
            assert!(
                calls.kind(n).is_some(),
                "nothing is sent that was not begun"
            );

            // To a server that may know no ids, a oneway call is sent as one that is answered.
            assert!(!line.oneway || calls.kind(n) == Some(Kind::Oneway));

            let is_new = |frame: &Frame| line.id.is_none() || frame.id != line.id;
            assert!(self.frames.iter().all(is_new), "an id is used once");

            let frame = Frame {
                id: line.id,
                n,
                is_answered: false,
                is_oneway: line.oneway,
            };
            self.frames.push(frame);
        }

        state.outgoing.drain(..end);
    }

    /// The frame that a step means; of the ordered ones, the one whose turn it is.
    fn choose(&self, argument: u8) -> Option<usize> {
        let chosen = usize::from(argument) % self.frames.len().max(1);
        let frame = self.frames.get(chosen)?;
        if frame.id.is_some() {
            return Some(chosen);
        }

        let waits = |frame: &Frame| frame.id.is_none() && !frame.is_oneway && !frame.is_answered;
        self.frames.iter().position(waits)
    }

    fn send(&mut self, line: &str) {
        if let Some(far) = self.far() {
            far.send(line.as_bytes());
        }
    }

    fn reply(&mut self, argument: u8, part: Part, rest: impl FnOnce(&mut String, u64)) {
        let Some(chosen) = self.choose(argument) else {
            return;
        };

        self.next_value += 7_919;
        let value = self.next_value;
        let frame = &mut self.frames[chosen];
        self.values.insert(value, frame.n);

        let mut line = String::from("{");
        if let Some(id) = frame.id {
            let _ = write!(line, "\"id\":{id},");
        }

        frame.is_answered |= part == Part::Last;
        rest(&mut line, value);
        line.push_str("}\n");
        self.send(&line);
    }

    pub(crate) fn answer(&mut self, argument: u8) {
        let rest = |line: &mut String, value| {
            let _ = write!(line, "\"code\":0,\"data\":{value}");
        };
        self.reply(argument, Part::Last, rest);
    }

    pub(crate) fn fail(&mut self, argument: u8, how: u8) {
        let rest = |line: &mut String, _| {
            let code = how % 9 + 5;
            let _ = write!(line, "\"code\":{code},\"message\":\"told to\"");
            if how & 8 == 8 {
                line.push_str(",\"rejected\":true,\"retry_after_ms\":30");
            }
        };
        self.reply(argument, Part::Last, rest);
    }

    pub(crate) fn send_item(&mut self, argument: u8) {
        let rest = |line: &mut String, value| {
            let _ = write!(line, "\"code\":0,\"more\":true,\"data\":{value}");
        };
        self.reply(argument, Part::Item, rest);
    }

    /// A reply to an id that is nobody's, or, without an id, to whoever waits.
    pub(crate) fn answer_nobody(&mut self, argument: u8) {
        if argument == 0 {
            self.is_raw = true;
            self.is_sound = false;
            return self.send("{\"code\":0,\"data\":1}\n");
        }

        // Far from all generations of the slots that are used here; pings are answered by some.
        let id = (1_u64 << 53) - u64::from(argument);
        self.send(&format!("{{\"id\":{id},\"code\":0,\"data\":1}}\n"));
    }

    pub(crate) fn raw(&mut self, bytes: &[u8], ending: Ending) {
        self.is_raw = true;
        self.is_sound = false;

        if let Some(far) = self.far() {
            far.send(bytes);
            if ending == Ending::LineBreak {
                far.send(b"\n");
            }
        }
    }

    pub(crate) fn say_goaway(&mut self) {
        self.is_sound = false;
        self.send("{\"event\":\"goaway\",\"message\":\"bye\"}\n");
    }

    pub(crate) fn end(&mut self) {
        self.is_sound = false;
        self.far().inspect(Far::end);
    }

    pub(crate) fn reset(&mut self) {
        self.is_sound = false;
        self.far().inspect(Far::reset);
    }

    /// How much the client may write from now on.
    pub(crate) fn set_room(&mut self, argument: u8) {
        let room = if argument == u8::MAX {
            usize::MAX
        } else {
            usize::from(argument)
        };
        self.far().inspect(|far| far.set_room(room));
    }

    pub(crate) fn is_raw(&self) -> bool {
        self.is_raw
    }

    /// The call `n` was given `value`.
    pub(crate) fn check(&self, n: usize, value: u64) {
        match self.values.get(&value) {
            Some(whose) if !self.is_raw => assert_eq!(*whose, n, "a reply reached another call"),
            None => assert!(self.is_raw, "nobody sent this"),
            Some(_) => {}
        }
    }

    /// How many frames have come over the connection in use, where it is one that still takes calls.
    pub(crate) fn frames_of_a_sound_connection(&self) -> Option<Frames> {
        let is_there = self
            .far()
            .is_some_and(|far| !far.state().is_shut_down && !far.state().is_dropped);
        (is_there && self.is_sound).then_some(Frames {
            connection: self.connections,
            count: self.frames.len(),
        })
    }
}
