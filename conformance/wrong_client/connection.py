"""One connection of the small client: lines out, replies in, and a place for each call that waits."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import deque
from typing import Any, Deque, Dict, List, Optional, Tuple

PLAIN_ID = re.compile(rb'\s*\{\s*"id"\s*:\s*(\d+)\s*[,}]')


FIELDS = {"id", "code", "data", "more", "message", "details", "rejected", "retry_after_ms", "event"}


class Unnamed(ValueError):
    """Nonsense whose id cannot be read, whatever it looks like."""


class Object(Dict[str, Any]):
    """A JSON object that remembers which known fields were repeated."""

    def __init__(self, pairs: List[Tuple[str, Any]]) -> None:
        super().__init__(pairs)
        names = [name for name, _ in pairs]
        self.repeated = {name for name in FIELDS if names.count(name) > 1}


class Failure(Exception):
    """How a call failed: what the driver tells of it."""

    def __init__(self, code: int, text: str, **told: Any) -> None:
        super().__init__(text)
        self.told: Dict[str, Any] = {"code": code, "answered": False, "sent": True, "rejected": False, **told}
        self.told.setdefault("may_have_run", self.told["sent"] and not self.told["rejected"])
        self.retry_after_ms: Optional[int] = self.told.get("retry_after_ms")


class Call:
    """One call in flight, unary or stream."""

    def __init__(self, is_stream: bool, times: Optional[Dict[str, Any]] = None) -> None:
        self.is_stream = is_stream
        # Where its times are put, for the caller who asks.
        self.times = times
        self.id: Optional[int] = None
        self.items: Deque[Any] = deque()
        self.size = 0
        self.changed = asyncio.Event()
        self.is_over = False
        self.failure: Optional[Failure] = None
        self.data: Any = None

    def end(self, failure: Optional[Failure] = None, data: Any = None) -> None:
        """The one end that a call has."""
        if not self.is_over:
            self.is_over, self.failure, self.data = True, failure, data
        self.changed.set()


class Connection:
    """One connection: its calls by id, and the ordered ones in their order."""

    def __init__(self, wrong: Optional[str], settings: Dict[str, Any]) -> None:
        self.wrong = wrong
        self.settings = settings
        self.calls: Dict[int, Call] = {}
        self.ordered: Deque[Call] = deque()
        self.last_id = self.last_oneway = 0
        self.is_leaving = False
        self.has_answered = False
        # Whether a oneway call was sent that no answer shows to have been read.
        self.has_unread = False
        self.turned_away: Optional[Failure] = None
        self.ended: Optional[str] = None
        self.end_seen = asyncio.Event()

    async def open(self, host: str, port: int) -> None:
        """Connects and begins to read. Raises `OSError`."""
        limit = self.settings.get("frame_bytes_max", 16 * 1024 * 1024)
        self.limit: int = 1 << 40 if self.wrong == "reads-any-length" else limit
        self.reader, self.writer = await asyncio.open_connection(host, port)
        self.reading = asyncio.create_task(self.read())
        if self.wrong == "speaks-first":
            self.write({"id": 1 << 40, "cmdid": 0})

    # Out

    def write(self, request: Dict[str, Any]) -> None:
        """One line, in one piece."""
        text = json.dumps(request, ensure_ascii=False, indent=1 if self.wrong == "pretty-prints" else None)
        data = text.encode("latin-1", "replace") if self.wrong == "latin-1" else text.encode("utf-8")
        self.writer.write(data + b"\n")

    def send(self, call: Call, request: Dict[str, Any], is_ordered: bool) -> None:
        """Takes a place for the call, and writes it."""
        if is_ordered and self.wrong != "ids-for-all":
            self.ordered.append(call)
        else:
            call.id = self.next_id()
            self.calls[call.id] = call
            request = {"id": call.id, **request}
        self.write(request)

    def next_id(self) -> int:
        """An id that is not in flight."""
        if self.wrong == "same-id":
            return 1
        if self.wrong == "reuses-ids":
            return next(number for number in range(1, 1 << 20) if number not in self.calls)
        self.last_id += 1
        return self.last_id

    def give_up(self, call: Call) -> None:
        """Nothing waits for the call any more."""
        if call.id is None:
            if self.wrong == "forgets-ordered-place" and call in self.ordered:
                self.ordered.remove(call)
        elif self.calls.pop(call.id, None) is not None or self.wrong == "cancels-what-is-over":
            if self.wrong != "never-cancels" and self.ended is None:
                self.write({"cmdid": 4, "oneway": True, "params": {"id": call.id}})
        call.is_over = True
        self.close_if_done()

    # In

    async def read(self) -> None:
        """Delivers lines until the connection ends, however it does."""
        buffer = b""
        why = "the server closed the connection"
        try:
            while self.ended is None:
                data = await self.reader.read(65536)
                buffer += data
                if self.wrong == "segments-are-lines" and data and not buffer.endswith(b"\n"):
                    buffer += b"\n"
                if self.wrong == "takes-part-lines" and not data and buffer:
                    buffer += b"\n"
                *lines, buffer = buffer.split(b"\n")
                for line in lines:
                    self.take_line(line[:-1] if line.endswith(b"\r") else line)
                if len(buffer) > self.limit:
                    raise ValueError("a line over the limit")
                if not data:
                    break
        except (OSError, ValueError) as error:
            why = str(error)
        self.end(why)

    def take_line(self, line: bytes) -> None:
        """One line. Raises `ValueError` where it makes no sense and names no call."""
        if not line:
            if self.wrong == "closes-at-heartbeats":
                raise ValueError("an empty line")
            return
        if len(line) > self.limit:
            raise ValueError("a line over the limit")
        number: Optional[int] = None
        try:
            number, reply = self.parse(line)
            self.deliver(number, reply)
        except (ValueError, RecursionError) as error:
            named = PLAIN_ID.match(line)
            number = int(named[1]) if named and number is None and not isinstance(error, Unnamed) else number
            if self.wrong == "ignores-nonsense":
                return
            if number is None or self.wrong == "nonsense-ends-all":
                raise ValueError(f"nonsense: {error}") from error
            if number in self.calls:
                self.calls.pop(number).end(Failure(13, f"nonsense: {error}"))

    def parse(self, line: bytes) -> Tuple[Optional[int], Dict[str, Any]]:
        """The fields of one line, each of the right type."""
        text = line.decode("utf-8", "replace" if self.wrong == "lax-utf8" else "strict")
        hook = None if self.wrong == "takes-repeated-fields" else Object
        constant = None if self.wrong == "lax-json" else no_constant
        reply = json.loads(text, parse_constant=constant, object_pairs_hook=hook)
        if not isinstance(reply, dict):
            raise ValueError("it is no object")
        if self.wrong == "fields-in-order" and list(reply)[:1] != ["id"]:
            raise ValueError("the id does not stand first")
        repeated = getattr(reply, "repeated", set())
        if "id" in repeated:
            raise Unnamed("id is repeated")
        number = reply.get("id")
        if self.wrong == "lax-ids" and isinstance(number, str):
            number = int(number)
        if "id" in reply and (type(number) is not int or number < 0):
            raise Unnamed("id is no integer")
        if repeated:
            raise ValueError(f"{sorted(repeated)} are repeated")
        return number, reply

    def deliver(self, number: Optional[int], reply: Dict[str, Any]) -> None:
        """One reply or notice, to what it is for."""
        if "code" not in reply and isinstance(reply.get("event"), str):
            if reply["event"] == "goaway":
                self.leave()
            return
        check_types(reply)
        if number is None:
            call = self.ordered[0] if self.ordered else None
            if call is None:
                self.turned_away = failure_of(reply) if reply["code"] else None
                return
            if reply.get("more") is not True:
                self.ordered.popleft()
        else:
            found = self.calls.get(number)
            if self.wrong == "answers-in-order" and self.calls:
                number = next(iter(self.calls))
                found = self.calls[number]
            if found is None:
                return
            call = found
        self.has_answered = True
        if reply["code"] == 0 and reply.get("more") is True:
            self.take_item(call, reply.get("data"))
            return
        if call.id is None or call.id > self.last_oneway:
            self.has_unread = False
        if number is not None:
            del self.calls[number]
        self.tell_times(call, reply.get("timing"))
        call.end(self.adjusted(failure_of(reply)) if reply["code"] else None, reply.get("data"))
        self.close_if_done()

    def tell_times(self, call: Call, timing: Any) -> None:
        """What the last line of a call says of its times, where it says something that can be read."""
        if call.times is None:
            return
        call.times.clear()
        times = timing if isinstance(timing, dict) else {}
        told = {name: times.get(name) for name in ("queue_us", "run_us")}
        is_told = all(type(us) is int and us >= 0 for us in told.values())
        if self.wrong == "timing-made-up" and not is_told:
            told, is_told = {"queue_us": 0, "run_us": 0}, True
        if is_told and not (self.wrong == "timing-of-replies-only" and call.is_stream):
            call.times["timing"] = told

    def take_item(self, call: Call, item: Any) -> None:
        """One item of a stream; one too many, or one of no stream, is the end of the call."""
        credit = self.settings.get("stream_credit", 64)
        is_flood = call.is_stream and call.size >= self.settings.get("stream_bytes_max", 1 << 24)
        if not call.is_stream or ((len(call.items) > credit or is_flood) and self.wrong != "no-stream-limit"):
            call.end(Failure(8 if is_flood else 13, "items that were not asked for"))
            self.give_up(call)
            return
        call.items.append(item)
        call.size += len(json.dumps(item))
        call.changed.set()
        if self.wrong == "credit-before-reading":
            self.write({"cmdid": 5, "oneway": True, "params": {"id": call.id, "n": 1}})

    def took_item(self, call: Call, item: Any) -> None:
        """An item was read: there is room for another one."""
        call.size -= len(json.dumps(item))
        if self.wrong not in ("never-gives-credit", "credit-before-reading") and call.id in self.calls:
            self.write({"cmdid": 5, "oneway": True, "params": {"id": call.id, "n": 1}})

    def adjusted(self, failure: Failure) -> Failure:
        """What the faults leave of a failure."""
        for fault, name, instead in (
            ("drops-details", "details", None),
            ("drops-retry-after", "retry_after_ms", None),
            ("hides-rejected", "rejected", False),
        ):
            if self.wrong == fault and name in failure.told:
                failure.told[name] = instead
        return failure

    # The end

    def leave(self) -> None:
        """The server drains: no new calls."""
        if self.wrong == "ignores-goaway":
            return
        self.is_leaving = True
        if self.wrong == "closes-at-goaway":
            self.writer.close()
        self.close_if_done()

    def close_if_done(self) -> None:
        """A connection that is left is closed when nothing waits for it."""
        if self.is_leaving and not self.calls and not self.ordered:
            self.writer.close()

    def end(self, why: str) -> None:
        """The connection is over, and so are its calls."""
        self.ended = why
        self.writer.close()
        has_run = self.turned_away is None or not self.turned_away.told["rejected"] or self.has_answered
        if self.wrong == "lost-is-unsent":
            has_run = False
        for call in [*self.calls.values(), *self.ordered]:
            call.end(Failure(14, why, sent=has_run, lost=True))
        self.had_calls = bool(self.calls or self.ordered)
        self.calls.clear()
        self.ordered.clear()
        self.ended_at = time.monotonic()
        self.end_seen.set()


def no_constant(text: str) -> Any:
    """For what Python takes for a number and JSON does not."""
    raise ValueError(f"{text} is no JSON")


def check_types(reply: Dict[str, Any]) -> None:
    """Raises `ValueError` for a field of the wrong type."""
    for name in ("code", "retry_after_ms"):
        if name in reply and (type(reply[name]) is not int or reply[name] < 0):
            raise ValueError(f"{name} is no integer")
    if "code" not in reply:
        raise ValueError("code is missing")
    for name in ("more", "rejected"):
        if name in reply and type(reply[name]) is not bool:
            raise ValueError(f"{name} is no boolean")
    if not isinstance(reply.get("message", ""), str):
        raise ValueError("message is no string")


def failure_of(reply: Dict[str, Any]) -> Failure:
    """The failure that a reply tells."""
    told = {name: reply[name] for name in ("message", "details", "retry_after_ms") if name in reply}
    rejected = reply.get("rejected") is True
    return Failure(reply["code"], reply.get("message", ""), answered=True, rejected=rejected, **told)
