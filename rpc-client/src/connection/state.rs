//! What callers and the driver share: the output, and a slot for each call.

use std::collections::VecDeque;
use std::mem;
use std::task::Waker;
use std::time::Duration;

use rpc_core::frame::fast::{self, UnverifiedData};
use rpc_core::frame::{FromServer, ReplyFrame, RequestEncoder};
use rpc_core::in_flight::{InFlight, OrderedReply};
use rpc_core::{RawJson, Status};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::flush::{self, Reached};
use super::start::{CallKind, Due, Frame};
use super::{NO_STREAM_EXPECTED, Refusal, Shared};
use crate::config::Config;
use crate::error::Cause;
use crate::time::after;

pub(super) struct State {
    /// Frames that the driver has not taken yet.
    pub(super) output: Vec<u8>,
    pub(super) encoder: RequestEncoder,
    /// Bytes that were ever put into `output`.
    pub(super) appended: u64,
    /// How far they have come; what the system has, the stream keeps in no buffer of its own.
    pub(super) reached: Reached,
    /// Calls that were ever admitted.
    pub(super) admitted: u64,
    pub(super) calls: InFlight<Slot>,
    /// Callers that wait for `room`.
    pub(super) waiting_for_room: usize,
    pub(super) driver: Option<Waker>,
    /// When the driver looks for calls that are past their deadline.
    pub(super) next_deadline: Option<Instant>,
    /// Calls whose time begins when the driver sees them, and how long they have.
    pub(super) untimed: Vec<(u64, Duration)>,
    /// Why it takes no new calls, though those in flight go on.
    pub(super) leaving: Option<Leaving>,
    /// The last handle is gone.
    pub(super) is_closing: bool,
    pub(super) ended: Option<Cause>,
    /// The best that the replies so far have come to.
    pub(super) answers: Answers,
    /// Whether any call had an id: the server of one that has none may know no ids.
    pub(super) uses_ids: bool,
}

pub(super) enum Leaving {
    /// There was no call for `idle_timeout_ms`.
    Idle,
    /// The server has said goaway, and this about it.
    Goaway(String),
}

/// What a server's replies come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Answers {
    /// There were none.
    None,
    /// Every one said that its call was rejected.
    Rejected,
    /// A call has run, or failed for a reason of its own.
    Served,
}

/// One call, from its first byte to its end.
#[derive(Default)]
pub(super) struct Slot {
    pub(super) progress: Progress,
    pub(super) waker: Option<Waker>,
    pub(super) deadline: Option<Instant>,
    /// Where its frame ends in the count of `State::appended`.
    pub(super) frame_end: u64,
    pub(super) kind: CallKind,
    /// The items of a stream that its reader has not taken.
    pub(super) items: Items,
}

/// The items of a stream that wait for its reader, and their bytes.
#[derive(Default)]
pub(super) struct Items {
    waiting: VecDeque<RawJson<'static>>,
    bytes: usize,
}

impl Items {
    pub(super) fn take_first(&mut self) -> Option<RawJson<'static>> {
        let item = self.waiting.pop_front()?;
        self.bytes -= item.as_bytes().len();
        Some(item)
    }

    pub(super) fn clear(&mut self) {
        self.waiting.clear();
        self.bytes = 0;
    }

    /// Whether there is room for another one.
    fn admit(&self, config: &Config) -> Result<(), Failure> {
        if self.waiting.len() as u64 > config.stream_credit {
            let message = "the stream sent more items than it had `credit` for";
            return Err(Failure::Nonsense(message.into()));
        }

        let limit = config.stream_bytes_max;
        if self.bytes >= limit {
            let (items, bytes) = (self.waiting.len(), self.bytes);
            return Err(Failure::Unread(format!(
                "{items} items with {bytes} bytes wait for the reader of this stream, and \
                 `stream_bytes_max` of {limit} bytes allows no further one; read faster, set a smaller \
                 `stream_credit`, or raise the limit"
            )));
        }

        Ok(())
    }

    fn add(&mut self, item: RawJson<'static>) {
        self.bytes += item.as_bytes().len();
        self.waiting.push_back(item);
    }
}

#[derive(Default)]
pub(super) enum Progress {
    #[default]
    Waiting,
    Done(Result<Data, Failure>),
}

/// What a successful reply carries.
pub(crate) enum Data {
    Sound(Option<RawJson<'static>>),
    /// Of a line that was only glanced at: whoever types the data checks it.
    Unverified(UnverifiedData),
}

pub(super) enum Failure {
    Status(Status),
    Nonsense(String),
    /// The reader of a stream is slower than its items, which nothing keeps.
    Unread(String),
    Lost {
        may_have_run: bool,
        cause: Cause,
    },
    Expired,
}

impl State {
    pub(super) fn admit(&mut self, config: &Config) -> Result<(), Refusal> {
        if self.is_over() {
            return Err(Refusal::Over);
        }

        if self.output.len() >= config.output_bytes_max {
            return Err(Refusal::Full);
        }

        self.admitted += 1;
        Ok(())
    }

    /// Whether it takes no new calls any more.
    pub(super) fn is_over(&self) -> bool {
        self.ended.is_some() || self.leaving.is_some()
    }

    /// Takes a slot, and puts the call's frame into the output.
    pub(super) fn open(
        &mut self,
        config: &Config,
        frame: &impl Frame,
        due: Due,
        kind: CallKind,
        waker: &Waker,
    ) -> Result<u64, Refusal> {
        self.admit(config)?;

        let is_ordered = kind.is_ordered();
        let opened = if is_ordered {
            self.calls.open_ordered()
        } else {
            self.calls.open()
        };
        let Some((id, slot)) = opened else {
            return Err(Refusal::Full);
        };

        self.uses_ids |= !is_ordered;
        let before = self.output.len();
        let sent_id = (!is_ordered).then_some(id);
        frame.write(&mut self.output, &mut self.encoder, sent_id);
        self.appended += (self.output.len() - before) as u64;

        slot.progress = Progress::Waiting;
        slot.waker = Some(waker.clone());
        slot.deadline = None;
        slot.frame_end = self.appended;
        slot.kind = kind;

        let is_news = match due {
            Due::Never => false,
            Due::In(limit) => {
                self.untimed.push((id, limit));
                self.untimed.len() == 1
            }
            Due::At(deadline) => {
                slot.deadline = Some(deadline);
                self.is_next(deadline)
            }
        };

        if before == 0 || is_news {
            self.wake_driver();
        }

        Ok(id)
    }

    /// Notes a deadline. True where it is before all others.
    fn is_next(&mut self, deadline: Instant) -> bool {
        let is_next = self.next_deadline.is_none_or(|next| deadline < next);
        if is_next {
            self.next_deadline = Some(deadline);
        }
        is_next
    }

    /// Begins the time of the calls that have come since the last look.
    pub(super) fn begin_time(&mut self) {
        if self.untimed.is_empty() {
            return;
        }

        let now = Instant::now();
        let mut untimed = mem::take(&mut self.untimed);
        let mut last = None;

        for (id, limit) in untimed.drain(..) {
            let Some(slot) = self.calls.get_mut(id) else {
                continue;
            };

            // Most calls have the same limit.
            if let Some((same, deadline)) = last
                && same == limit
            {
                slot.deadline = Some(deadline);
                continue;
            }

            let deadline = after(now, limit);
            slot.deadline = Some(deadline);
            self.is_next(deadline);
            last = Some((limit, deadline));
        }

        self.untimed = untimed;
    }

    /// Whether the server's silence says anything about it.
    pub(super) fn is_watched(&self, config: &Config, appended_when_heard: u64) -> bool {
        let is_idle = || self.calls.is_empty() && self.appended == appended_when_heard;
        self.uses_ids && (config.ping_idle || !is_idle())
    }

    pub(super) fn has_room(&self, config: &Config, kind: CallKind) -> bool {
        self.output.len() < config.output_bytes_max && self.calls.has_room(kind.is_ordered())
    }

    /// Whoever makes room calls this, under the lock.
    pub(super) fn tell_of_room(&mut self, room: &Notify) {
        if self.waiting_for_room > 0 {
            self.waiting_for_room = 0;
            room.notify_waiters();
        }
    }

    pub(super) fn append(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let before = self.output.len();
        write(&mut self.output);
        self.appended += (self.output.len() - before) as u64;
        if before == 0 {
            self.wake_driver();
        }
    }

    /// Whether there is nothing left to do: no new calls, none in flight, and nobody waits for an answer.
    pub(super) fn is_done(&self) -> bool {
        self.leaving.is_some() && self.calls.is_empty() && !self.reached.is_asking()
    }

    pub(super) fn wake_driver(&mut self) {
        if let Some(driver) = self.driver.take() {
            driver.wake();
        }
    }
}

impl State {
    /// Gives the usual success to a call that waits for one. False where the line is not that.
    pub(super) fn take_usual_line(&mut self, line: &[u8], woken: &mut Vec<Waker>) -> bool {
        let Some(reply) = fast::Reply::read(line) else {
            return false;
        };

        match self.calls.get_mut(reply.id()) {
            Some(slot) if slot.kind != CallKind::Stream => {
                slot.finish(Ok(Data::Unverified(reply.data())), woken);
                self.reached.read = self.reached.read.max(slot.frame_end);
                self.answers = Answers::Served;
                true
            }
            _ => false,
        }
    }

    /// Gives one line to the call that it is for. An error ends the connection.
    pub(super) fn take_line(
        &mut self,
        line: Result<FromServer<'_>, rpc_core::frame::BadReply>,
        shared: &Shared,
        woken: &mut Vec<Waker>,
        farewell: &mut Option<Status>,
    ) -> Result<(), String> {
        let reply = match line {
            Ok(FromServer::Reply(reply)) => reply,
            Ok(FromServer::Notice { event, message }) => {
                if event == "goaway" {
                    shared.tell_of_goaway(&message);
                    self.leaving = Some(Leaving::Goaway(message.into_owned()));
                    self.ask_whether_read();
                } else {
                    tracing::debug!(address = %shared.address, %event, "a notice that this version does not know");
                }
                return Ok(());
            }
            Err(bad) => {
                // It fails the call that it names, where it names one, and otherwise the connection:
                // nobody knows whom it was for.
                let slot = bad.id.and_then(|id| self.calls.get_mut(id));
                return match slot {
                    Some(slot) => {
                        slot.finish(Err(Failure::Nonsense(bad.message)), woken);
                        Ok(())
                    }
                    None if bad.id == Some(flush::ID) => {
                        self.reached.is_answered();
                        Ok(())
                    }
                    None if bad.id.is_some() => Ok(()),
                    None => Err(bad.message),
                };
            }
        };

        let id = match reply.id {
            Some(id) => id,
            None => match self.take_place_in_order(&reply, &shared.common.config) {
                OrderedReply::For(id) => id,
                OrderedReply::GivenUp => return Ok(()),
                OrderedReply::Unexpected => {
                    let status = reply.status();
                    tracing::debug!(address = %shared.address, connection = shared.number, %status, "a reply to no call");
                    *farewell = Some(status);
                    return Ok(());
                }
            },
        };

        self.answers = self.answers.max(Answers::of(&reply));
        if let Some(slot) = self.calls.get_mut(id) {
            slot.take_reply(&reply, &shared.common.config, woken);
            self.reached.read = self.reached.read.max(slot.frame_end);
        } else if id == flush::ID {
            self.reached.is_answered();
        } else {
            // Its caller has gone.
            tracing::trace!(address = %shared.address, id, "a late reply");
        }

        Ok(())
    }

    /// Whom a reply without an id is for.
    fn take_place_in_order(&mut self, reply: &ReplyFrame<'_>, config: &Config) -> OrderedReply {
        if reply.more {
            return self.calls.peek_ordered();
        }

        let place = self.calls.next_ordered();
        // Where every call is in order, the server has read all that it has answered, oneway or not.
        if config.ordered && self.calls.peek_ordered() == OrderedReply::Unexpected {
            self.reached.read = self.appended;
        }
        place
    }
}

impl Answers {
    fn of(reply: &ReplyFrame<'_>) -> Self {
        if reply.code.is_ok() || !reply.is_rejected() {
            Self::Served
        } else {
            Self::Rejected
        }
    }
}

impl Slot {
    fn take_reply(&mut self, reply: &ReplyFrame<'_>, config: &Config, woken: &mut Vec<Waker>) {
        if !matches!(self.progress, Progress::Waiting) {
            // Over, though its caller does not know yet: an item now would stand behind a gap.
            return;
        }

        let data = reply.data.clone().map(RawJson::into_owned);
        if !reply.code.is_ok() {
            self.finish(Err(Failure::Status(reply.status())), woken);
        } else if !reply.more {
            self.finish(Ok(Data::Sound(data)), woken);
        } else if self.kind != CallKind::Stream {
            self.finish(Err(Failure::Nonsense(NO_STREAM_EXPECTED.into())), woken);
        } else if let Err(failure) = self.items.admit(config) {
            self.finish(Err(failure), woken);
        } else if let Some(item) = data {
            self.items.add(item);
            woken.extend(self.waker.take());
        }
    }

    fn finish(&mut self, done: Result<Data, Failure>, woken: &mut Vec<Waker>) {
        if matches!(self.progress, Progress::Waiting) {
            self.progress = Progress::Done(done);
            woken.extend(self.waker.take());
        }
    }
}
