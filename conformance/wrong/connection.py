"""Connections: the reader, the queue of the ordered calls, the calls in flight, and how each of them ends."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import struct
import time
from typing import Any, Awaitable, Callable, Dict, List, Optional, Set, Tuple

from wrong.commands import (
    AUTHENTICATE,
    CANCELLED,
    COMMANDS,
    DEADLINE_EXCEEDED,
    INTERNAL,
    INVALID_ARGUMENT,
    PING,
    RESOURCE_EXHAUSTED,
    UNAUTHENTICATED,
    UNAVAILABLE,
    UNIMPLEMENTED,
    Call,
    Nothing,
    Raw,
)
from wrong.frames import BadLine, Failure, Frame, Member, decode, encode, failure_pairs, id_before_break, scan

FRAME_BYTES_MAX = 1_048_576
REPLY_BYTES_MAX = 4_194_304
FRAME_TIMEOUT_S = 10.0
# Long enough for a peer to read the last reply, short enough that a peer that never closes costs little.
LINGER_S = 2.0
# Calls in flight of one connection: the default of `in_flight_per_connection`.
CALLS_MAX = 1024
COUNT = 10005
# Empty lines that a peer may send in a second, for so many seconds.
EMPTY_LINES_MAX, FLOOD_SECONDS_MAX = 3000, 10
BAD_LINES_IN_A_ROW_MAX = 16
# How long a connection that ends for a breach is read on behind its last good line, and in all.
GRACE_S = 0.5
BREACH_S = 10.0


class EndOfStream(Exception):
    """The peer has ended its stream; the argument is the part line that it has left."""


class OverLimit(Exception):
    """A line is over the limit; the argument is what of it was kept."""


class TooLate(Exception):
    """A line has begun and was not ended in time."""


class EndOfBreach(Exception):
    """No more is read of a connection that has broken the protocol."""


class NotThisProtocol(Exception):
    """The first bytes are HTTP or TLS; the argument is the answer, which is empty for TLS."""


HTTP_REQUEST = re.compile(rb"[A-Z]+ \S+ HTTP/1\.[01]\r?\Z")
HTTP_ANSWER = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n"
    b"This port speaks newline-delimited JSON over TCP, not HTTP.\n"
)


class Connection:
    """One connection: its reader, the queue of its ordered calls, and its calls in flight."""

    def __init__(self, server: "Server", reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.server = server
        self.wrong = server.wrong
        self.reader = reader
        self.writer = writer
        self.buffer = bytearray()
        self.begun: Optional[float] = None
        self.is_first_line = True
        self.is_authenticated = False
        self.good_line_seen = False
        self.bad_lines = 0
        self.requests = 0
        self.emitted = 0
        self.in_flight: Dict[str, Call] = {}
        self.input_is_over = False
        self.ordered: "asyncio.Queue[Optional[Callable[[], Awaitable[None]]]]" = asyncio.Queue()
        self.tasks: Set["asyncio.Task[None]"] = set()
        # Calls that were accepted and are not answered.
        self.under_way = 0
        self.has_used_id = False
        # Set by a breach: when reading ends.
        self.ends: Optional[float] = None
        self.last_good = 0.0
        self.places = asyncio.Semaphore(CALLS_MAX)
        # The second that runs, its empty lines, and how many seconds before it had too many.
        self.second = self.empty_lines = self.flooded = 0

    async def run(self) -> None:
        """Reads until no more may be read, answers what was accepted, and closes."""
        self.server.connections.add(self)
        ordered = asyncio.ensure_future(self.answer_ordered())
        lost = asyncio.ensure_future(self.stop_when_lost(ordered))
        try:
            await self.read()
            self.input_is_over = True
            for call in self.in_flight.values():
                call.more_credit.set()
            if self.wrong != "closes-at-half-close":
                self.ordered.put_nowait(None)
                await asyncio.gather(ordered, *self.tasks, return_exceptions=True)
            await self.close()
        except ConnectionError:
            self.take_reset()
        except asyncio.CancelledError:
            pass
        finally:
            for task in (ordered, lost, *self.tasks):
                task.cancel()
            self.server.connections.discard(self)
            self.writer.close()

    async def stop_when_lost(self, ordered: "asyncio.Future[None]") -> None:
        """Ends the calls of a connection that is gone: nobody is left to answer."""
        try:
            await self.writer.wait_closed()
        except ConnectionError:
            self.take_reset()
        for task in (ordered, *self.tasks):
            task.cancel()

    def take_reset(self) -> None:
        """The peer has sent an RST. Whichever waits of the reader and `stop_when_lost` may learn it, and end the other."""
        if self.wrong == "closes-all-after-a-reset":
            for other in self.server.connections:
                other.writer.close()

    async def close(self) -> None:
        """Ends our stream, then discards what still arrives: closing over unread bytes would send an RST."""
        self.writer.write_eof()
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self.discard(), LINGER_S)

    async def discard(self) -> None:
        """Reads to the end of the peer's stream."""
        while await self.reader.read(65536):
            pass

    def reset(self) -> None:
        """Sends what was written, and an RST behind it."""
        peer = self.writer.get_extra_info("socket")
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.close()

    # Reading

    async def read(self) -> None:
        """Takes lines until the stream ends or a rule closes the connection."""
        while True:
            try:
                line = await self.next_line()
                if not self.take(line) and not self.breach():
                    return
                if self.wrong == "reader-waits-for-writer":
                    await self.ordered.join()
                    await asyncio.gather(*self.tasks)
            except EndOfStream as end:
                part = end.args[0]
                if part:
                    failure = Failure(INVALID_ARGUMENT, "the stream has ended in the middle of a line")
                    if self.wrong == "executes-part-line":
                        self.take(part)
                    else:
                        self.fail_line(None, failure)
                return
            except OverLimit as over:
                members: List[Member] = []
                text = over.args[0].decode("utf-8", "ignore")
                with contextlib.suppress(BadLine):
                    scan(text, self.wrong, members)
                more = {"rejected": True} if self.wrong == "rejects-over-limit" else {}
                failure = Failure(RESOURCE_EXHAUSTED, f"the line is over the limit of {FRAME_BYTES_MAX} bytes", **more)
                if self.ends is None:
                    self.fail_line(id_before_break(members, text, self.wrong), failure)
                if self.wrong == "resets-over-limit":
                    await asyncio.sleep(0)
                    self.reset()
                    return
                if self.wrong == "closes-over-limit":
                    return
                if self.wrong != "forgives-over-limit" and not self.count_bad_line() and not self.breach():
                    return
                try:
                    await self.skip_line()
                except (TooLate, EndOfStream):
                    return
            except EndOfBreach:
                return
            except TooLate:
                failure = Failure(DEADLINE_EXCEEDED, f"a line was not ended within {FRAME_TIMEOUT_S:.0f} s")
                self.fail_line(None, failure)
                return
            except NotThisProtocol as other:
                self.writer.write(other.args[0])
                if self.wrong == "resets-over-http" and other.args[0]:
                    self.reset()
                if self.wrong != "executes-http-body" or not other.args[0]:
                    return
                self.good_line_seen = True

    async def next_line(self) -> bytes:
        """The next line without its ending."""
        limit = FRAME_BYTES_MAX - 1 if self.wrong == "limit-off-by-one" else FRAME_BYTES_MAX
        if self.wrong == "no-line-limit":
            limit = 10**9
        searched = 0
        while True:
            if self.is_first_line and self.buffer[:1] == b"\x16":
                raise NotThisProtocol(b'{"code":3,"message":"TLS"}\n' if self.wrong == "answers-tls" else b"")
            newline = self.buffer.find(b"\n", searched)
            if newline > limit or (newline < 0 and len(self.buffer) > limit):
                raise OverLimit(bytes(self.buffer[:limit]))
            if newline >= 0:
                line = bytes(self.buffer[:newline])
                del self.buffer[: newline + 1]
                self.begun = time.monotonic() if self.buffer else None
                if self.is_first_line and HTTP_REQUEST.match(line):
                    self.is_first_line = False
                    raise NotThisProtocol(HTTP_ANSWER)
                self.is_first_line = False
                return line[:-1] if line.endswith(b"\r") and self.wrong != "refuses-crlf" else line
            searched = len(self.buffer)
            data = await self.receive()
            if not data:
                raise EndOfStream(bytes(self.buffer))
            if self.begun is None or self.wrong == "drip-renews-timeout":
                self.begun = time.monotonic()
            self.buffer += data
            if self.wrong == "segments-are-lines" and not data.endswith(b"\n"):
                self.buffer += b"\n"

    async def skip_line(self) -> None:
        """Drops the rest of a line that is over the limit."""
        while (newline := self.buffer.find(b"\n")) < 0:
            self.buffer.clear()
            data = await self.receive()
            if not data:
                raise EndOfStream(b"")
            self.buffer += data
        del self.buffer[: newline + 1]
        self.begun = time.monotonic() if self.buffer else None

    def breach(self) -> bool:
        """Ends the connection for a breach of the protocol. True where it is read on, because calls are in flight."""
        if self.ends is not None:
            return True
        if not self.under_way or self.wrong in ("stops-at-a-breach", "closes-on-unknown-cmdid"):
            return False
        if self.has_used_id and self.wrong != "says-no-goaway-at-a-breach" or self.wrong == "always-says-goaway":
            self.writer.write(b'{"event":"goaway","message":"the protocol was broken on this connection"}\n')
        self.ends = time.monotonic() + BREACH_S
        self.last_good = time.monotonic()
        return True

    async def receive(self) -> bytes:
        """Reads once, for no longer than the frame that has begun may still take."""
        left: Optional[float] = None
        if self.ends is not None:
            left = min(self.ends, self.last_good + GRACE_S) - time.monotonic()
            try:
                return await asyncio.wait_for(self.reader.read(65536), max(left, 0))
            except asyncio.TimeoutError:
                raise EndOfBreach from None
        if self.begun is not None and self.wrong != "keeps-part-frames":
            left = self.begun + FRAME_TIMEOUT_S - time.monotonic()
        elif self.wrong == "closes-idle":
            left = FRAME_TIMEOUT_S
        try:
            return await asyncio.wait_for(self.reader.read(65536), left)
        except asyncio.TimeoutError:
            if self.wrong == "closes-idle" and self.begun is None:
                return b""
            raise TooLate from None

    def is_flood(self) -> bool:
        """Counts an empty line; true, and said, where too many have come for too long."""
        now = int(time.monotonic())
        if now != self.second:
            self.flooded = self.flooded + 1 if self.empty_lines > EMPTY_LINES_MAX else 0
            self.second, self.empty_lines = now, 0
        self.empty_lines += 1
        if self.flooded < FLOOD_SECONDS_MAX or self.wrong == "bears-floods":
            return False
        self.fail_line(None, Failure(RESOURCE_EXHAUSTED, "too many empty lines for too long"))
        return True

    def take(self, line: bytes) -> bool:
        """Executes or refuses one line. False where the connection must not be read any further."""
        if not line and self.wrong != "answers-heartbeats":
            return not self.is_flood()
        received = time.monotonic()
        try:
            frame = decode(line, self.wrong, received)
        except BadLine as bad:
            if self.ends is not None and self.wrong != "answers-bad-lines-after-a-breach":
                return True
            self.fail_line(bad.id_text, Failure(INVALID_ARGUMENT, str(bad)))
            if not bad.counts:
                return self.wrong != "closes-on-bad-id"
            return self.count_bad_line()
        self.good_line_seen = True
        self.last_good = received
        if self.wrong != "counts-all-bad-lines":
            self.bad_lines = 0
        self.requests += 1
        self.server.requests += 1
        return self.accept(frame)

    def count_bad_line(self) -> bool:
        """Counts a bad line. False where it ends the connection."""
        self.bad_lines += 1
        if self.wrong == "closes-on-bad-line":
            return False
        if not self.good_line_seen and self.wrong != "forgives-first-line":
            return False
        bad_lines_max = BAD_LINES_IN_A_ROW_MAX - (self.wrong == "closes-after-fifteen")
        return self.bad_lines < bad_lines_max or self.wrong == "never-counts-bad-lines"

    def fail_line(self, id_text: Optional[str], failure: Failure) -> None:
        """Answers a line that was not executed: without an id, in the order of the ordered calls."""
        line = encode(failure_pairs(id_text, failure), self.wrong)

        async def write() -> None:
            self.writer.write(line)

        if id_text is None and self.wrong != "swaps-error-order":
            self.ordered.put_nowait(write)
        else:
            self.writer.write(line)

    def accept(self, frame: Frame) -> bool:
        """Starts a call. False where its id is still in flight."""
        if frame.cmdid in (4, 5) and self.wrong != "answers-cancel":
            self.control(frame)
            return True
        self.has_used_id |= frame.id_text is not None
        if self.ends is not None and frame.id_text in self.in_flight:
            return True
        if self.ends is not None and frame.cmdid >= 100 and self.wrong != "runs-calls-after-a-breach":
            more = {} if self.wrong == "drops-rejected" else {"rejected": True}
            self.fail_line(frame.id_text, Failure(UNAVAILABLE, "this connection ends; the call did not run", **more))
            return True
        call = Call(frame, self, frame.credit)
        if frame.id_text is None and self.wrong != "shuffles-ordered":
            self.under_way += 1
            self.ordered.put_nowait(lambda: self.answer(call))
            return True
        if frame.id_text is not None and not frame.oneway:
            if frame.id_text in self.in_flight and self.wrong != "forgets-id-in-flight":
                failure = Failure(INVALID_ARGUMENT, f"the id {frame.id_text} is still in flight on this connection")
                self.fail_line(None, failure)
                return False
            is_full = len(self.in_flight) >= CALLS_MAX and frame.cmdid >= 100
            if is_full and not self.may_wait() and self.wrong != "no-limit-of-streams":
                more = {} if self.wrong == "drops-rejected" else {"rejected": True}
                self.fail_line(frame.id_text, Failure(RESOURCE_EXHAUSTED, "streams have taken all places", **more))
                return True
            self.in_flight[frame.id_text] = call
        self.under_way += 1
        if self.wrong == "delays-multiplexed":
            self.ordered.put_nowait(lambda: self.answer(call))
            return True
        call.task = asyncio.ensure_future(self.answer_in_a_place(call))
        self.tasks.add(call.task)
        call.task.add_done_callback(self.tasks.discard)
        return self.wrong != "closes-on-unknown-cmdid" or frame.cmdid in COMMANDS

    def may_wait(self) -> bool:
        """Whether a call waits for a place: not behind streams, which may wait for their credit."""
        has_streams = any(call.frame.cmdid == COUNT for call in self.in_flight.values())
        return not has_streams and self.wrong != "refuses-what-could-wait"

    def control(self, frame: Frame) -> None:
        """Carries out cancel and credit. What they can't read they ignore: they are oneway."""
        params = json.loads(frame.params)
        if not isinstance(params, dict):
            return
        call = self.in_flight.get(str(params.get("id")))
        if call is None:
            return
        if frame.cmdid == 4:
            if self.wrong == "ignores-cancel" or call.cancelled:
                return
            call.cancelled = True
            # A task that is cancelled before it has begun never runs at all, and nothing would answer.
            if call.task is not None and call.started:
                call.task.cancel()
        elif isinstance(params.get("n"), int) and call.credit is not None:
            call.credit += params["n"] * (2 if self.wrong == "grants-credit-twice" else 1)
            call.more_credit.set()

    # Answering

    async def answer_ordered(self) -> None:
        """Runs what has no id, one after another."""
        while True:
            step = await self.ordered.get()
            if step is None:
                return
            await step()
            self.ordered.task_done()

    async def answer_in_a_place(self, call: Call) -> None:
        """As `answer`, once there is a place; built-in commands need none."""
        if call.frame.cmdid < 100 or self.wrong == "no-limit-of-streams":
            return await self.answer(call)
        async with self.places:
            await self.answer(call)

    async def answer(self, call: Call) -> None:
        """Runs a call and writes its one reply; the id is free before the reply leaves."""
        frame = call.frame
        call.started = True
        begun = time.monotonic()
        try:
            if call.cancelled:
                raise asyncio.CancelledError
            result = await self.execute(call)
            if result is Nothing or (self.wrong == "drops-null-data" and result in ("null", "false")):
                pairs = [("code", "0"), ("data", "null")] if self.wrong == "data-of-nothing" else [("code", "0")]
            else:
                pairs = [("code", "0"), ("data", result if isinstance(result, Raw) else json.dumps(result))]
        except Failure as failure:
            pairs = failure_pairs(None, failure, self.wrong)
        except asyncio.CancelledError:
            if not call.cancelled:
                raise
            pairs = failure_pairs(None, Failure(CANCELLED, "the caller has cancelled the call"))
        except Exception as error:  # a handler may raise whatever it likes; the connection must live
            text = str(error) if self.wrong == "shows-panics" else "the handler has failed; see the server's log"
            pairs = failure_pairs(None, Failure(INTERNAL, text))
        if (frame.meta.get("timing") == "1" or self.wrong == "tells-times-unasked") and self.wrong != "tells-no-times":
            times = {"queue_us": int((begun - frame.received) * 1e6), "run_us": int((time.monotonic() - begun) * 1e6)}
            pairs.append(("timing", json.dumps(times)))
        self.under_way -= 1
        if frame.id_text is not None and self.wrong != "keeps-ids":
            self.in_flight.pop(frame.id_text, None)
        if not frame.oneway or self.wrong == "answers-oneway":
            self.reply(frame, pairs)
            if self.wrong == "answers-late-twice" and pairs[0] == ("code", str(DEADLINE_EXCEEDED)):
                self.reply(frame, pairs)

    async def execute(self, call: Call) -> Any:
        """The handler's result, within the call's deadline, which counts from receipt."""
        frame = call.frame
        command = COMMANDS.get(frame.cmdid)
        is_wanted = self.server.token is not None and self.wrong != "serves-strangers"
        if is_wanted and not self.is_authenticated and frame.cmdid not in (PING, AUTHENTICATE):
            raise Failure(UNAUTHENTICATED, f"authenticate first: command {frame.cmdid} is not for everybody")
        if command is None:
            raise Failure(UNIMPLEMENTED, f"there is no command with cmdid {frame.cmdid}")
        late = Failure(DEADLINE_EXCEEDED, f"the call's timeout of {frame.timeout_ms} ms has passed")
        left: Optional[float] = None
        if frame.timeout_ms is not None:
            # A sum that is bounded, because the clock of the event loop is not made for all of 2^53 ms.
            left = frame.received + min(frame.timeout_ms / 1000, 1e6) - time.monotonic()
            if self.wrong == "timestamps-are-deadlines":
                left += frame.timestamp - time.time()
            if left <= 0:
                if self.wrong == "executes-late-calls":
                    await command.handler(call)
                raise late
        try:
            return await asyncio.wait_for(command.handler(call), left)
        except asyncio.TimeoutError:
            raise late from None

    def reply(self, frame: Frame, pairs: List[Tuple[str, str]]) -> None:
        """Writes one reply line, or what stands in for it where it is too long."""
        with_id = [] if frame.id_text is None else [("id", frame.id_text)]
        line = encode(with_id + pairs, self.wrong)
        if len(line) > REPLY_BYTES_MAX and self.wrong != "ignores-reply-limit":
            failure = Failure(RESOURCE_EXHAUSTED, f"the reply is over the limit of {REPLY_BYTES_MAX} bytes")
            line = encode(failure_pairs(frame.id_text, failure), self.wrong)
        if not self.writer.is_closing():
            self.writer.write(line)


class Server:
    """What the connections share."""

    def __init__(self, wrong: Optional[str], token: Optional[str] = None) -> None:
        self.wrong = wrong
        # What a peer has to show before anything but a ping; `None` where that is not wanted.
        self.token = token
        self.requests = 0
        self.connections: Set[Connection] = set()
        self.tallies: Dict[str, int] = {}
        # Entries by their keys, and batches by producer and number: what was sent, and the numbers that it got.
        self.log_keys: Dict[str, Tuple[str, int]] = {}
        self.batches: Dict[str, Dict[int, Tuple[str, int, int]]] = {}
        self.kept: Dict[str, Tuple[str, Any]] = {}
        self.began = time.monotonic()
        self.log: List[Dict[str, Any]] = []
        self.log_grew = asyncio.Condition()

    async def serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """The life of one connection."""
        await Connection(self, reader, writer).run()
