//! The calls in flight: a slot for each, and which one a line from the server is for. Its twin is rpc-server's
//! `connection::in_flight`.

use std::task::Waker;

use rpc_core::frame::fast::{self, Settled, UnverifiedData};
use rpc_core::frame::{FromServer, ReplyFrame, ServerTiming};
use rpc_core::in_flight::OrderedReply;
use rpc_core::{CmdId, RawJson, Status};
use tokio::time::Instant;

use super::flush;
use super::shared::{ConnectionState, Leaving, Shared};
use super::start::CallKind;
use super::stream::{Items, StreamItem};
use crate::config::Config;
use crate::error::Cause;
use crate::metrics::{End, Tally};

pub(super) const NO_STREAM_EXPECTED: &str =
    "the command answers with a stream; call it as a stream";

/// What a server's replies come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Answers {
    /// No call was answered.
    None,
    /// Every one said that its call was rejected.
    Rejected,
    /// A call has run, or failed for a reason of its own.
    Served,
}

/// What a line was that was only glanced at.
pub(super) enum Taken {
    /// The reply of a call.
    Reply,
    /// An item of a stream.
    Item,
    /// Not usual, or for no call that waits for it: it has to be read.
    Nothing,
}

/// One call, from its first byte to its end.
pub(super) struct Slot {
    pub(super) progress: Progress,
    pub(super) waker: Option<Waker>,
    pub(super) deadline: Option<Instant>,
    /// Where its frame ends in the count of `ConnectionState::appended`.
    pub(super) frame_end: u64,
    pub(super) kind: CallKind,
    pub(super) cmdid: CmdId,
    /// When the driver saw it first.
    pub(super) begun: Option<Instant>,
    /// The items of a stream that its reader has not taken.
    pub(super) items: Items,
}

impl Default for Slot {
    fn default() -> Self {
        Self {
            progress: Progress::Waiting,
            waker: None,
            deadline: None,
            frame_end: 0,
            kind: CallKind::default(),
            cmdid: CmdId::PING,
            begun: None,
            items: Items::default(),
        }
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
    /// With where its time went, which few calls ask for.
    Timed(Box<Settled>),
    /// Of a line that was only glanced at: the code that decodes the data checks it.
    Unverified(UnverifiedData),
}

pub(super) enum Failure {
    Status {
        status: Status,
        timing: Option<ServerTiming>,
    },
    Nonsense(String),
    /// The reader of a stream is slower than its items, which nothing keeps.
    Unread(String),
    Lost {
        may_have_run: bool,
        cause: Cause,
    },
    Expired,
}

impl ConnectionState {
    /// Gives a usual line to the call that waits for it.
    #[inline]
    pub(super) fn take_fast(
        &mut self,
        line: &[u8],
        config: &Config,
        woken: &mut Vec<Waker>,
    ) -> Taken {
        match fast::Line::read(line) {
            Some(fast::Line::Reply(reply)) => self.take_fast_reply(&reply, woken),
            Some(fast::Line::Item(item)) => self.take_fast_item(&item, config, woken),
            None => Taken::Nothing,
        }
    }

    #[inline]
    fn take_fast_reply(&mut self, reply: &fast::Reply<'_>, woken: &mut Vec<Waker>) -> Taken {
        match self.calls.get_mut(reply.id()) {
            Some(slot) if slot.kind != CallKind::Stream => {
                let data = Data::Unverified(reply.data());
                slot.finish(Ok(data), End::OK, &mut self.tally, woken);
                self.reached.read = self.reached.read.max(slot.frame_end);
                self.answers = Answers::Served;
                Taken::Reply
            }
            _ => Taken::Nothing,
        }
    }

    fn take_fast_item(
        &mut self,
        item: &fast::Item<'_>,
        config: &Config,
        woken: &mut Vec<Waker>,
    ) -> Taken {
        match self.calls.get_mut(item.id()) {
            Some(slot) if slot.kind == CallKind::Stream => {
                if matches!(slot.progress, Progress::Waiting) {
                    let item = StreamItem::Unverified(item.data());
                    slot.take_item(item, config, &mut self.tally, woken);
                }
                self.reached.read = self.reached.read.max(slot.frame_end);
                self.answers = Answers::Served;
                Taken::Item
            }
            _ => Taken::Nothing,
        }
    }

    /// Gives one line to the call that it is for. An error ends the connection.
    pub(super) fn take_line(
        &mut self,
        line: Result<FromServer<'_>, rpc_core::frame::BadReply>,
        shared: &Shared,
        woken: &mut Vec<Waker>,
        close_reason: &mut Option<Status>,
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
            Err(bad) if shared.common.config.pool.undelimited_replies => {
                return self.fail_next_in_order(bad.message, woken);
            }
            Err(bad) => {
                // It fails the call that it names, where it names one, and otherwise the connection: it is not known
                // which call it was for.
                let slot = bad.id.and_then(|id| self.calls.get_mut(id));
                return match slot {
                    Some(slot) => {
                        let failure = Failure::Nonsense(bad.message);
                        slot.fail(failure, End::UNREADABLE, &mut self.tally, woken);
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
                    *close_reason = Some(status);
                    return Ok(());
                }
            },
        };

        self.answers = self.answers.max(Answers::of(&reply));
        if let Some(slot) = self.calls.get_mut(id) {
            slot.take_reply(&reply, &shared.common.config, &mut self.tally, woken);
            self.reached.read = self.reached.read.max(slot.frame_end);
        } else if id == flush::ID {
            self.reached.is_answered();
        } else {
            // Its caller has gone.
            tracing::trace!(address = %shared.address, id, "a late reply");
        }

        Ok(())
    }

    /// Fails the call whose reply was found and makes no sense, where replies end with their objects: the next one is found
    /// anyway.
    fn fail_next_in_order(
        &mut self,
        message: String,
        woken: &mut Vec<Waker>,
    ) -> Result<(), String> {
        let OrderedReply::For(id) = self.calls.next_ordered() else {
            return Err(message);
        };

        self.answers = Answers::Served;
        if let Some(slot) = self.calls.get_mut(id) {
            let failure = Failure::Nonsense(message);
            slot.fail(failure, End::UNREADABLE, &mut self.tally, woken);
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
        if config.pool.ordered && self.calls.peek_ordered() == OrderedReply::Unexpected {
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
    fn take_reply(
        &mut self,
        reply: &ReplyFrame<'_>,
        config: &Config,
        tally: &mut Tally,
        woken: &mut Vec<Waker>,
    ) {
        if !matches!(self.progress, Progress::Waiting) {
            // Over, though its caller does not know yet: an item now would follow a gap.
            return;
        }

        let data = reply.data.clone().map(RawJson::into_owned);
        if !reply.code.is_ok() {
            let (status, timing) = (reply.status(), reply.timing);
            let end = End::answered(reply.code);
            self.finish(Err(Failure::Status { status, timing }), end, tally, woken);
        } else if !reply.more {
            let data = match reply.timing {
                None => Data::Sound(data),
                timing => Data::Timed(Box::new(Settled {
                    data,
                    more: false,
                    timing,
                })),
            };
            self.finish(Ok(data), End::OK, tally, woken);
        } else if self.kind != CallKind::Stream {
            let failure = Failure::Nonsense(NO_STREAM_EXPECTED.into());
            self.fail(failure, End::UNREADABLE, tally, woken);
        } else if let Some(item) = data {
            self.take_item(StreamItem::Sound(item), config, tally, woken);
        }
    }

    fn take_item(
        &mut self,
        item: StreamItem,
        config: &Config,
        tally: &mut Tally,
        woken: &mut Vec<Waker>,
    ) {
        if let Err(failure) = self.items.check_room(config) {
            self.fail(failure, End::UNREADABLE, tally, woken);
            return;
        }

        self.items.add(item);
        woken.extend(self.waker.take());
    }

    /// Ends the call by its reply, unless it is over.
    // As a call of its own it would copy the result: 40 instructions for each reply.
    #[expect(clippy::inline_always, reason = "the hottest path has it once")]
    #[inline(always)]
    fn finish(
        &mut self,
        done: Result<Data, Failure>,
        end: End,
        tally: &mut Tally,
        woken: &mut Vec<Waker>,
    ) {
        if matches!(self.progress, Progress::Waiting) {
            self.progress = Progress::Done(done);
            woken.extend(self.waker.take());
            tally.answered(self.cmdid, end, self.begun);
        }
    }

    /// Ends the call without a reply, unless it is over. Returns whether it was not.
    pub(super) fn fail(
        &mut self,
        failure: Failure,
        end: End,
        tally: &mut Tally,
        woken: &mut Vec<Waker>,
    ) -> bool {
        let is_waiting = matches!(self.progress, Progress::Waiting);
        if is_waiting {
            self.progress = Progress::Done(Err(failure));
            woken.extend(self.waker.take());
            tally.unanswered(self.cmdid, end);
        }
        is_waiting
    }
}
