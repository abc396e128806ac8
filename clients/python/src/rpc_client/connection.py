"""One connection: lines out in one write, replies to the calls that wait for them, and its own end."""

from __future__ import annotations

import asyncio
import heapq
import socket
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any, cast

from . import frames
from .errors import Code, RpcError
from .settings import Settings
from .timing import Timing

# Ids of pings, which no call comes to.
_PING_IDS = (frames.ID_MAX, frames.ID_MAX - 1)


# Number of lines that leave at once: the server is at work on them while further ones are made.
_LINES_A_WRITE = 16

# All that are open in this process, for a child that must not use them.
open_connections: weakref.WeakSet[Connection] = weakref.WeakSet()


class Call:
    """One call in flight. `finish` is called exactly once, unless the caller gives the call up before that."""

    __slots__ = ("id", "is_over", "written_at", "deadline", "connection", "timing")

    def __init__(self) -> None:
        self.id: int | None = None
        self.is_over = False
        # Where its line ends in the count of all bytes of the connection.
        self.written_at = 0
        self.deadline: float | None = None
        self.connection: Connection | None = None
        self.timing: Timing | None = None

    def ask_for(self, timing: Timing | None) -> None:
        """Has this told where the time of the call went. What it was told of an earlier call holds no longer."""
        self.timing = timing
        if timing is not None:
            timing.take(None)

    def finish(self, data: Any, error: RpcError | None) -> None:
        """The result, or the failure."""
        raise NotImplementedError

    def take_item(self, item: Any, size: int) -> RpcError | None:
        """An item of a stream, from a line of this number of bytes; the failure of the call where it is not wanted."""
        return RpcError(Code.INTERNAL, "the server sent an item that was not asked for")


class FutureCall(Call):
    """A call whose result is awaited."""

    __slots__ = ("future",)

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self.future: asyncio.Future[Any] = loop.create_future()

    def finish(self, data: Any, error: RpcError | None) -> None:
        if self.future.done():
            return
        if error is None:
            self.future.set_result(data)
        else:
            self.future.set_exception(error)


class Connection(asyncio.Protocol):
    """One connection. Everything happens in the thread of its event loop."""

    def __init__(self, address: str, settings: Settings, on_end: Callable[[Connection, bool], None]) -> None:
        self.address = address
        self.settings = settings
        self.loop = asyncio.get_running_loop()
        # Told at the end, with whether calls were lost.
        self.on_end = on_end
        self.calls: dict[int, Call] = {}
        # Calls without an id, in their order; one that was given up keeps its place.
        self.ordered: deque[Call] = deque()
        # Which store has the keys of a command, for those that were asked about.
        self.stores: dict[int, Call] = {}
        self.is_leaving = False
        self.began = self.loop.time()
        # Whether anything was answered, and whether any of it was more than a rejection.
        self.has_answered = self.has_served = False
        # Oneway calls that no answer shows to have been read, and where the last one ends.
        self.unread_oneways = 0
        self._oneway_at = 0
        # What the server last said to no call: why it closes, as a rule.
        self.farewell: RpcError | None = None
        self.ended: str | None = None
        self._last_id = 0
        self._output: list[bytes] = []
        self._output_bytes = 0
        self._appended = self._handed_over = 0
        self._is_paused = self._is_flush_due = False
        self._rest = bytearray()
        self._deadlines: list[tuple[float, int, Call]] = []
        self._deadline_timer: asyncio.TimerHandle | None = None
        self._room: list[asyncio.Future[None]] = []
        self._uses_ids = False
        self._heard_at = 0.0
        self._pings = 0
        self._watch: asyncio.TimerHandle | None = None
        self._stall: asyncio.TimerHandle | None = None

    # Calls

    @property
    def is_usable(self) -> bool:
        """Whether it takes new calls."""
        return self.ended is None and not self.is_leaving

    @property
    def has_room(self) -> bool:
        """Whether a call may begin now; `room` waits for it."""
        settings = self.settings
        in_flight = len(self.calls) + len(self.ordered)
        return self._output_bytes < settings.output_bytes_max and in_flight < settings.in_flight_per_connection

    async def room(self) -> None:
        """Waits until there may be room, or the connection is over."""
        waiter: asyncio.Future[None] = self.loop.create_future()
        self._room.append(waiter)
        await waiter

    def begin(self, call: Call, rest: str, deadline: float | None, is_ordered: bool) -> None:
        """Sends a call. `rest` is what `frames.request` made; it is late at `deadline`, a time of the loop."""
        call.connection = self
        if is_ordered:
            self.ordered.append(call)
            line = frames.line(None, rest)
        else:
            call_id = call.id = self._next_id()
            self.calls[call_id] = call
            line = frames.line(call_id, rest)
        self.write(line)
        call.written_at = self._appended
        if deadline is not None:
            call.deadline = deadline
            self._note_deadline(deadline, call)

    def notify(self, rest: str, is_ordered: bool) -> None:
        """Sends a oneway call."""
        self.write(frames.line(None if is_ordered else self._next_id(), rest))
        self.unread_oneways += 1
        self._oneway_at = self._appended

    def give_up(self, call: Call) -> None:
        """The caller has lost interest: tells the server, and drops what still comes."""
        if call.is_over:
            return
        call.is_over = True
        # An ordered call keeps its place, and cannot be named.
        if call.id is not None and self.calls.pop(call.id, None) is not None and self.ended is None:
            self.write(frames.cancel(call.id))
        self._after_a_call()

    def write(self, line: bytes) -> None:
        """Puts a line into the output; what gathers in one turn of the loop leaves in one write."""
        self._output.append(line)
        self._output_bytes += len(line)
        self._appended += len(line)
        if len(self._output) >= _LINES_A_WRITE:
            self._flush()
        elif not self._is_flush_due:
            self._is_flush_due = True
            self.loop.call_soon(self._flush)

    @property
    def is_flushed(self) -> bool:
        """Whether the system has everything that was sent."""
        return not self._output and not self._is_paused

    def _next_id(self) -> int:
        if not self._uses_ids:
            self._uses_ids = True
            self._heard_at = self.loop.time()
            self._begin_to_watch()
        self._last_id = self._last_id % (frames.ID_MAX - 2) + 1
        return self._last_id

    def _flush(self) -> None:
        self._is_flush_due = False
        if self._is_paused or not self._output or self.ended is not None:
            return
        data = b"".join(self._output)
        self._output.clear()
        self._output_bytes = 0
        self._handed_over += len(data)
        self._transport.write(data)
        self._tell_of_room()

    # Deadlines: one timer for all calls

    def _note_deadline(self, deadline: float, call: Call) -> None:
        deadlines = self._deadlines
        # Calls that are over leave their entries behind; these never outnumber the others by much.
        if len(deadlines) > 64 + 4 * len(self.calls) + 4 * len(self.ordered):
            deadlines[:] = [entry for entry in deadlines if not entry[2].is_over]
            heapq.heapify(deadlines)
        heapq.heappush(deadlines, (deadline, id(call), call))
        timer = self._deadline_timer
        if timer is None or deadline < timer.when():
            if timer is not None:
                timer.cancel()
            self._deadline_timer = self.loop.call_at(deadline, self._expire)

    def _expire(self) -> None:
        self._deadline_timer = None
        now = self.loop.time()
        deadlines = self._deadlines
        while deadlines and (deadlines[0][2].is_over or deadlines[0][0] <= now):
            call = heapq.heappop(deadlines)[2]
            if not call.is_over:
                # Even a line that waits still leaves when the server reads again.
                message = "no reply before the deadline"
                self.give_up(call)
                call.finish(None, RpcError(Code.DEADLINE_EXCEEDED, message, address=self.address))
        if deadlines:
            self._deadline_timer = self.loop.call_at(deadlines[0][0], self._expire)

    # Replies

    def data_received(self, data: bytes) -> None:
        self._heard_at = self.loop.time()
        self._pings = 0
        limit = self.settings.frame_bytes_max
        if self._rest:
            end = data.find(b"\n")
            if end < 0:
                self._rest += data
                if len(self._rest) > limit + 1:
                    self._too_long()
                return
            self._rest += data[: end + 1]
            data = bytes(self._rest) + data[end + 1 :]
            self._rest.clear()
        *lines, rest = data.split(b"\n")
        for raw in lines:
            if raw.endswith(b"\r"):
                raw = raw[:-1]
            if len(raw) > limit:
                return self._too_long()
            if raw and not self._take(raw):
                return
        self._rest += rest
        if len(rest) > limit + 1:
            self._too_long()

    def _too_long(self) -> None:
        self.end(f"a reply is longer than `frame_bytes_max` of {self.settings.frame_bytes_max} bytes")

    def _take(self, raw: bytes) -> bool:
        """One line; false where it has ended the connection."""
        try:
            reply = frames.parse(raw)
        except frames.Nonsense as nonsense:
            if nonsense.id is None:
                self.end(f"nonsense came: {nonsense}")
                return False
            call = self.calls.get(nonsense.id)
            if call is not None:
                self._fail(call, str(nonsense))
            return True
        if "code" not in reply:
            if reply["event"] == "goaway":
                self.leave()
            return self.ended is None
        self._deliver(reply, len(raw))
        return self.ended is None

    def _deliver(self, reply: dict[str, Any], size: int) -> None:
        call_id = reply.get("id")
        if call_id is not None:
            call = self.calls.get(call_id)
        elif self.ordered:
            call = self.ordered[0]
        else:
            self.farewell = frames.failure(reply, self.address) if reply["code"] else None
            return
        self.has_answered = True
        self.has_served |= not reply.get("rejected", False)
        if call is None:
            return  # Its caller has gone, or it was a ping.
        if call.written_at > self._oneway_at:
            # The server reads line by line: it has read what was sent before this call.
            self.unread_oneways = 0
        if reply["code"] == 0 and reply.get("more"):
            if not call.is_over and (refusal := call.take_item(reply.get("data"), size)) is not None:
                refusal.address = self.address
                self.give_up(call)
                call.finish(None, refusal)
            return
        if call_id is None:
            self.ordered.popleft()
        else:
            del self.calls[call_id]
        if not call.is_over:
            call.is_over = True
            if call.timing is not None:
                call.timing.take(reply.get(frames.TIMING))
            if reply["code"] == 0:
                call.finish(reply.get("data"), None)
            else:
                call.finish(None, frames.failure(reply, self.address))
        if self.is_leaving or self._room:
            self._after_a_call()

    def _fail(self, call: Call, message: str) -> None:
        """What came for this call makes no sense."""
        self.give_up(call)
        call.finish(None, RpcError(Code.INTERNAL, message, address=self.address))

    def _after_a_call(self) -> None:
        self._tell_of_room()
        if self.is_leaving and not self.calls and not self.ordered and self.ended is None:
            self._flush()
            self._transport.close()

    def _tell_of_room(self) -> None:
        if self._room and (self.has_room or self.ended is not None):
            room, self._room = self._room, []
            for waiter in room:
                if not waiter.done():
                    waiter.set_result(None)

    # Liveness: pings after received silence, and bytes that are not taken

    def _begin_to_watch(self) -> None:
        if self.settings.ping_interval_ms > 0:
            self._watch = self.loop.call_later(self.settings.ping_interval_ms / 1000, self._look)

    def _look(self) -> None:
        interval = self.settings.ping_interval_ms / 1000
        now = self.loop.time()
        due = self._heard_at + interval * (self._pings + 1)
        if now < due:
            self._watch = self.loop.call_at(due, self._look)
            return
        if self._pings >= self.settings.ping_misses_max:
            silence = now - self._heard_at
            return self.end(f"nothing was received for {silence:.1f} s, in spite of {self._pings} pings")
        self.write(frames.line(_PING_IDS[self._pings % 2], '"cmdid":0,"params":null}\n'))
        self._pings += 1
        # After a process that stood still, the ping still has its whole interval.
        self._heard_at = max(self._heard_at, now - interval * self._pings)
        self._watch = self.loop.call_later(interval, self._look)

    def pause_writing(self) -> None:
        self._is_paused = True
        self._watch_stall()

    def _watch_stall(self) -> None:
        limit = self.settings.write_stall_timeout_ms / 1000
        left = self._transport.get_write_buffer_size()

        def look() -> None:
            if self._transport.get_write_buffer_size() < left:
                self._watch_stall()
            else:
                self.end(f"the server took no bytes for {limit:g} s")

        if limit:
            self._stall = self.loop.call_later(limit, look)

    def resume_writing(self) -> None:
        self._is_paused = False
        if self._stall is not None:
            self._stall.cancel()
        self._flush()

    # Beginning and end

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        open_connections.add(self)
        # Paused as soon as the system does not take everything: what waits then is known not to have been sent.
        # asyncio's TLS pauses when so much waits, and not when more does: with 0 it would pause when nothing waits.
        is_tls = transport.get_extra_info("sslcontext") is not None
        self._transport.set_write_buffer_limits(high=1 if is_tls else 0)

    def fileno(self) -> int:
        """The number of its socket; -1 once that is closed."""
        made: socket.socket | None = self._transport.get_extra_info("socket")
        return -1 if made is None else made.fileno()

    def leave(self) -> None:
        """Takes no new calls, and closes when those in flight are done."""
        self.is_leaving = True
        self._tell_of_room()
        self._after_a_call()

    def eof_received(self) -> None:
        self.end("the server closed the connection")

    def connection_lost(self, error: Exception | None) -> None:
        self.end(f"the connection was lost: {error}" if error else "the connection was closed")

    def end(self, why: str) -> None:
        """Ends the connection, and with it its calls: each learns whether it may have run."""
        if self.ended is not None:
            return
        if self.farewell is not None:
            why += f", after saying: code {self.farewell.code}: {self.farewell.message}"
        self.ended = why
        for timer in (self._watch, self._stall, self._deadline_timer):
            if timer is not None:
                timer.cancel()
        # A server that turns the connection away has run none of its calls; one that has answered some may have meant
        # another one.
        is_turned_away = self.farewell is not None and self.farewell.rejected and not self.has_answered
        lost = [call for call in [*self.calls.values(), *self.ordered] if not call.is_over]
        self.calls.clear()
        self.ordered.clear()
        self._deadlines.clear()
        for call in lost:
            call.is_over = True
            sent = call.written_at <= self._handed_over and not is_turned_away
            call.finish(None, RpcError(Code.UNAVAILABLE, why, address=self.address, sent=sent, is_lost=True))
        self._tell_of_room()
        self._transport.abort() if self._is_paused else self._transport.close()
        self.on_end(self, bool(lost))
