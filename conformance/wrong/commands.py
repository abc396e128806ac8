"""The commands that the vectors use: the built-in ones, test, the log, and the conformance service."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Awaitable, Callable, Dict, List, Optional

from wrong.frames import LONE_SURROGATE, Failure, Frame

if TYPE_CHECKING:
    from wrong.connection import Connection

CANCELLED, INVALID_ARGUMENT, DEADLINE_EXCEEDED, NOT_FOUND = 1, 3, 4, 5
RESOURCE_EXHAUSTED, FAILED_PRECONDITION, OUT_OF_RANGE, UNIMPLEMENTED, INTERNAL, UNAVAILABLE = 8, 9, 11, 12, 13, 14
# The last millisecond of the year 9999.
TS_MAX = 253402300799999
ALREADY_EXISTS, UNAUTHENTICATED = 6, 16
# Commands that need no authentication.
PING, AUTHENTICATE = 0, 6
# The identity of the log that this server has.
LEVELS = ("trace", "debug", "info", "warn", "error", "fatal")
# Batches of a producer that the log remembers.
BATCHES_MAX = 64
LOG = "the log of the wrong server"
# The name of this process, and of its store of keys.
STORE = uuid.uuid4().hex


@dataclass
class Call:
    """A call that was accepted: the frame, and what cancel and credit need to reach it."""

    frame: Frame
    connection: "Connection"
    credit: Optional[int]
    more_credit: asyncio.Event = field(default_factory=asyncio.Event)
    started: bool = False
    cancelled: bool = False
    task: Optional["asyncio.Task[None]"] = None

    def params(self) -> Dict[str, Any]:
        """The params, which every command with named params wants as an object."""
        value = json.loads(self.frame.params)
        if not isinstance(value, dict):
            if self.connection.wrong == "guesses-params":
                return {}
            if self.connection.wrong == "takes-positional-params" and isinstance(value, list):
                return dict(zip(("ms", "more"), value))
            raise Failure(INVALID_ARGUMENT, f"params: expected an object, found {self.frame.params[:40]}")
        return value

    def param(self, name: str, kind: type, default: Any = ...) -> Any:
        """One param of the type `kind`. A bool is no integer, whatever Python thinks."""
        value = self.params().get(name, default)
        if self.connection.wrong == "guesses-params" and not isinstance(value, kind) and value is not None:
            return kind()
        if value is ...:
            raise Failure(INVALID_ARGUMENT, f"params.{name} is missing: expected {KIND_NAMES[kind]}")
        if value is not default and (not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool)):
            raise Failure(INVALID_ARGUMENT, f"params.{name}: expected {KIND_NAMES[kind]}, found {value!r:.40}")
        return value

    async def item(self, value: Any) -> None:
        """Sends one item of a stream, once there is credit for it."""
        while self.credit is not None and self.credit <= 0:
            connection = self.connection
            cannot_be_named = self.frame.id_text is None and connection.wrong != "waits-without-an-id"
            if cannot_be_named or (connection.input_is_over and connection.wrong != "waits-behind-the-end"):
                raise Failure(RESOURCE_EXHAUSTED, "the stream has used up its credit, and cannot be given more")
            self.more_credit.clear()
            await self.more_credit.wait()
        if self.credit is not None:
            self.credit -= 1
        if not self.frame.oneway:
            pairs = [("code", "0"), ("data", json.dumps(value)), ("more", "true")]
            self.connection.reply(self.frame, pairs)


KIND_NAMES = {int: "an integer", str: "a string", bool: "true or false", dict: "an object"}

Handler = Callable[[Call], Awaitable[Any]]


class Raw(str):
    """JSON text that goes into a reply as it is."""


class Nothing:
    """The result of a command that has none: the reply has no `data`."""


class Panic(Exception):
    """What a handler's panic is here."""


async def ping(call: Call) -> Any:
    """Echoes params as they came, character for character."""
    if call.connection.server.wrong == "recodes-numbers":
        return json.loads(call.frame.params, parse_int=float)
    if call.connection.server.wrong == "replaces-surrogates":
        return Raw(LONE_SURROGATE.sub(r"\\ufffd", call.frame.params))
    return Raw(call.frame.params)


async def describe(call: Call) -> Any:
    """Lists all commands, or the one that was asked for."""
    cmdid = call.param("cmdid", int, None)
    if cmdid is not None and cmdid not in COMMANDS:
        raise Failure(NOT_FOUND, f"there is no command with cmdid {cmdid}")
    commands = [
        {
            "cmdid": number,
            "service": command.service,
            "method": command.method,
            "doc": command.doc,
            "kind": command.kind,
            "idempotent": command.idempotent,
            **({"dedup": {"store": STORE}} if command.dedup else {}),
        }
        for number, command in COMMANDS.items()
        if cmdid in (None, number)
    ]
    server = {"name": "conformance-wrong-server", "version": "1"}
    return {"protocol": 1, "server": server, "instance": STORE, "commands": commands}


async def health(call: Call) -> Any:
    """Serving, for the server as a whole and for each service that has a command here."""
    service = call.param("service", str, None)
    if service is not None and service not in {command.service for command in COMMANDS.values()}:
        raise Failure(NOT_FOUND, f"there is no service {service!r}")
    instance = uuid.uuid4().hex if call.connection.server.wrong == "changes-its-name" else STORE
    return {"status": "serving", "instance": instance}


async def stats(call: Call) -> Any:
    """The counters that this server keeps."""
    connection = call.connection
    return {"server": {"requests": connection.server.requests}, "connection": {"requests": connection.requests}}


async def control(call: Call) -> Any:
    """Stands in for cancel and credit, which the connection's reader carries out itself."""
    return Nothing


async def authenticate(call: Call) -> Any:
    """Who the peer is, by the one token that this server may know."""
    server = call.connection.server
    if server.token is None:
        raise Failure(UNIMPLEMENTED, "cmdid 6, authenticate: no authentication is configured here")
    token = call.param("token", str)
    if token != server.token:
        shown = f": {token}" if server.wrong == "shows-wrong-tokens" else ""
        raise Failure(UNAUTHENTICATED, f"the token is not known{shown}")
    call.connection.is_authenticated = True
    instance = uuid.uuid4().hex if server.wrong == "authenticates-as-another" else STORE
    return {"identity": "a peer", "instance": instance}


def with_names_once(pairs: List[Any]) -> Dict[str, Any]:
    """An object of JSON whose names differ."""
    if len({name for name, _ in pairs}) < len(pairs):
        raise Failure(INVALID_ARGUMENT, "a name in `params.fields` comes twice")
    return dict(pairs)


def check_entry(entry: Any) -> Optional[str]:
    """The field that makes this no entry."""
    if not isinstance(entry, dict):
        return "entry"
    wanted = {"level": str, "service": str, "message": str, "ts": int, "trace": str, "fields": dict}
    for name, value in entry.items():
        if name not in wanted or not (isinstance(value, wanted[name]) or value is None):
            return name
    for name in ("level", "service", "message"):
        if not isinstance(entry.get(name), str):
            return name
    if entry["level"] not in LEVELS:
        return "level"
    if (entry.get("ts") or 0) > TS_MAX:
        return "ts"
    return "fields" if depth(entry.get("fields")) > 64 else None


async def write_entries(call: Call, entries: List[Dict[str, Any]]) -> List[int]:
    """Puts entries into the log and wakes the readers that wait; their numbers."""
    server = call.connection.server
    numbers = []
    for entry in entries:
        numbers.append(len(server.log) + 1)
        given = {name: value for name, value in entry.items() if value is not None}
        server.log.append({"seq": numbers[-1], "ts": int(time.time() * 1000), **given})
    async with server.log_grew:
        server.log_grew.notify_all()
    return numbers


async def log_append(call: Call) -> Any:
    """Appends one entry; with the key of one that is there, it is answered with its number."""
    server = call.connection.server
    json.loads(call.frame.params, object_pairs_hook=with_names_once)
    entry = call.params()
    wrong_field = check_entry(entry)
    if wrong_field is not None:
        raise Failure(INVALID_ARGUMENT, f"params.{wrong_field}: it is missing, unknown, or not what an entry has there")
    key = call.frame.meta.get("idempotency-key")
    if key in server.log_keys and server.wrong != "appends-repetitions":
        params, seq = server.log_keys[key]
        if params != call.frame.params:
            raise Failure(ALREADY_EXISTS, "the key belongs to another entry", details={"key": key})
        return {"seq": seq, "duplicate": True}
    [seq] = await write_entries(call, [entry])
    if key is not None:
        server.log_keys[key] = (call.frame.params, seq)
    return {"seq": seq}


async def log_append_batch(call: Call) -> Any:
    """Appends entries together or not at all, once by producer and number."""
    server = call.connection.server
    producer, number, entries = call.param("producer", str), call.param("batch", int), call.param("entries", list)
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", producer) or number < 1 or not 1 <= len(entries) <= 10_000:
        raise Failure(INVALID_ARGUMENT, "params: a producer of 1 to 64 letters, a batch of 1 or more, and entries are expected")
    for index, entry in enumerate(entries):
        wrong_field = check_entry(entry)
        if wrong_field is not None:
            if server.wrong == "writes-batches-in-part":
                await write_entries(call, entries[:index])
            details = {"index": index, "field": wrong_field}
            raise Failure(INVALID_ARGUMENT, f"params.entries[{index}].{wrong_field} is wrong", details=details)

    known = server.batches.setdefault(producer, {})
    text = json.dumps(entries)
    if number in known and server.wrong != "writes-batches-again":
        sent, first, last = known[number]
        if sent != text and server.wrong != "takes-other-batches":
            raise Failure(1001, "the producer has sent other entries with this number")
        return {"first": first, "last": last, "duplicate": True}
    if len(known) >= BATCHES_MAX and number < min(known) and server.wrong != "forgets-batches":
        raise Failure(1000, "the log does not remember this batch any more", details={"last_batch": max(known)})
    numbers = await write_entries(call, entries)
    known[number] = (text, numbers[0], numbers[-1])
    for forgotten in sorted(known)[:-BATCHES_MAX]:
        del known[forgotten]
    return {"first": numbers[0], "last": numbers[-1]}


def depth(value: Any) -> int:
    """How many objects and arrays stand in each other."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth, inner), default=0)


async def log_emit(call: Call) -> Any:
    """Appends entries whose caller does not wait."""
    params = call.params()
    entries = params.get("entries", [params])
    if any(check_entry(entry) is not None for entry in entries):
        raise Failure(INVALID_ARGUMENT, "params: an entry, or `entries`, is expected")
    call.connection.emitted += len(entries)
    await write_entries(call, entries)
    return Nothing


async def log_flush(call: Call) -> Any:
    """What has become of the emits of this connection."""
    connection = call.connection
    # Calls without an id are run one after the other, and may have come before this one.
    while not connection.ordered.empty():
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    return {"seq": len(connection.server.log), "emitted": connection.emitted, "dropped": 0}


async def log_tail(call: Call) -> Any:
    """The entries behind `after`, and those that come."""
    server = call.connection.server
    log, service = call.param("log", str, None), call.param("service", str, None)
    after = call.param("after", int, len(server.log))
    if log not in (None, LOG):
        raise Failure(FAILED_PRECONDITION, f"the log is {LOG!r}", details={"log": LOG, "oldest": 1, "last": len(server.log)})
    is_first = True
    while True:
        entries = [entry for entry in server.log[after:] if service in (None, entry["service"])]
        after = len(server.log)
        if entries or is_first:
            await call.item({"log": LOG, "entries": entries, "next": after})
        is_first = False
        async with server.log_grew:
            await server.log_grew.wait_for(lambda: len(server.log) > after)


async def log_stats(call: Call) -> Any:
    """What the log holds."""
    return {"log": LOG, "oldest": 1, "last": len(call.connection.server.log), "services": {}}


async def log_read(call: Call) -> Any:
    """Reads the entries behind `after`, and waits up to `wait_ms` for the first of them."""
    server = call.connection.server
    wrong = server.wrong
    after, limit, wait_ms = (call.param(name, int, usual) for name, usual in (("after", 0), ("limit", 100), ("wait_ms", 0)))
    log, level, service, text = (call.param(name, str, None) for name in ("log", "level", "service", "contains"))
    if not 1 <= limit <= 1000:
        raise Failure(INVALID_ARGUMENT, "`params.limit` must be from 1 to 1000")
    for name, most in (("service", 256), ("trace", 256), ("contains", 1024), ("text", 1024)):
        if len((call.param(name, str, None) or "").encode()) > most and wrong != "takes-long-filters":
            raise Failure(INVALID_ARGUMENT, f"`params.{name}` is longer than {most} bytes")
    trace, start, end = call.param("trace", str, None), call.param("from", int, 0), call.param("to", int, TS_MAX + 1)
    if start >= end:
        raise Failure(INVALID_ARGUMENT, "`params.to` must be above `params.from`")
    is_down, before = call.param("order", str, "asc") == "desc", call.param("before", int, None)
    if before is not None and not is_down:
        raise Failure(INVALID_ARGUMENT, "`params.before` is only for the order \"desc\"")

    def extent() -> Dict[str, Any]:
        return {"log": LOG, "oldest": 1, "last": len(server.log)}

    if log not in (None, LOG):
        raise Failure(FAILED_PRECONDITION, f"the log is {LOG!r}", details=extent())
    if after > len(server.log):
        raise Failure(OUT_OF_RANGE, f"the last entry is {len(server.log)}", details=extent())

    def wanted(entry: Dict[str, Any]) -> bool:
        grave = LEVELS[LEVELS.index(level or "trace") :] if wrong != "levels-are-exact" else (level or entry["level"],)
        right_place = entry["level"] in grave and service in (None, entry["service"])
        right_place = right_place and trace in (None, entry.get("trace")) and start <= entry["ts"] < end
        return right_place and (text or "") in entry["message"]

    def found() -> List[Dict[str, Any]]:
        if is_down:
            lower = server.log[after : len(server.log) if before is None else max(after, before - 1)]
            return [entry for entry in reversed(lower) if wanted(entry)][:limit]
        return [entry for entry in server.log[after:] if wanted(entry)][:limit]

    async with server.log_grew:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(server.log_grew.wait_for(found), wait_ms / 1000)
    entries = found()
    next_after = after if wrong == "cursors-stay" else len(server.log)
    return {**extent(), "entries": entries, "next": entries[-1]["seq"] if entries else next_after}


async def nothing(_call: Call) -> Any:
    """Success without data."""
    return Nothing


async def sleep(call: Call) -> Any:
    """Waits."""
    milliseconds = call.param("ms", int)
    if not 0 <= milliseconds <= 60_000:
        raise Failure(INVALID_ARGUMENT, "params.ms: expected an integer from 0 to 60000")
    await asyncio.sleep(milliseconds / 1000)
    return {"slept_ms": milliseconds}


async def panic(_call: Call) -> Any:
    """Fails in a way that its author has not foreseen."""
    raise Panic("a secret of the handler")


async def fill(call: Call) -> Any:
    """A reply of any length."""
    return {"fill": "x" * call.param("bytes", int)}


async def add(call: Call) -> Any:
    """Two typed params."""
    return {"sum": call.param("a", int) + call.param("b", int)}


async def count(call: Call) -> Any:
    """A stream."""
    items = [{"i": number} for number in range(call.param("n", int))]
    held_back = items.pop() if items and call.connection.server.wrong == "end-carries-data" else Nothing
    for item in items:
        await call.item(item)
    return held_back


async def fail(call: Call) -> Any:
    """Any failure."""
    params = call.params()
    more = {name: params[name] for name in ("details", "rejected", "retry_after_ms") if name in params}
    raise Failure(call.param("code", int), call.param("message", str), **more)


async def envelope(call: Call) -> Any:
    """What was understood of everything around params."""
    frame = call.frame
    return {
        "id": None if frame.id_text is None else json.loads(frame.id_text),
        "cmdid": frame.cmdid,
        "timestamp": frame.timestamp,
        "timeout_ms": frame.timeout_ms,
        "oneway": frame.oneway,
        "credit": frame.credit,
        "meta": frame.meta,
    }


async def tally(call: Call) -> Any:
    """A counter for each key: what has been executed can be seen afterwards."""
    tallies = call.connection.server.tallies
    key = call.param("key", str)
    tallies[key] = tallies.get(key, 0) + call.param("add", int, 0)
    return {"total": tallies[key]}


async def once(call: Call) -> Any:
    """Tally for calls that are repeated."""
    wrong = call.connection.server.wrong
    key, age = (call.frame.meta.get(name) for name in ("idempotency-key", "idempotency-age-ms"))
    if key is None:
        return await tally_or_fail(call)
    least = 0 if wrong == "takes-empty-keys" else 1
    if not least <= len(key.encode()) <= 128 and wrong != "takes-long-keys":
        raise Failure(INVALID_ARGUMENT, f"idempotency-key has {len(key.encode())} bytes: expected 1 to 128")

    if age is not None and not age.isdecimal():
        raise Failure(INVALID_ARGUMENT, f"idempotency-age-ms is {age!r}: expected a number of milliseconds")

    kept = call.connection.server.kept
    known = kept.get(key)
    if known is not None and wrong == "runs-beside-itself" and not known[1].done():
        known = None
    if known is not None and wrong != "runs-repetitions":
        params, running = known
        is_same = json.loads(params) == call.params() if wrong == "compares-values" else params == call.frame.params
        if not is_same and wrong != "answers-other-params":
            raise Failure(ALREADY_EXISTS, "the key belongs to a call with other params", details={"key": key})
        return await asyncio.shield(running)
    if age is not None and wrong != "forgets-its-age" and int(age) / 1000 > time.monotonic() - call.connection.server.began:
        raise Failure(FAILED_PRECONDITION, "this server is younger than the call")

    running = asyncio.ensure_future(run_keyed(call, key))
    kept[key] = (call.frame.params, running)
    return await asyncio.shield(running)


async def run_keyed(call: Call, key: str) -> Any:
    """The first call with a key, which runs on if its caller leaves."""
    wrong = call.connection.server.wrong
    try:
        return await tally_or_fail(call)
    except Failure as failure:
        did_not_run = failure.code in (RESOURCE_EXHAUSTED, UNAVAILABLE)
        if wrong == "keeps-no-failure" or (did_not_run and wrong != "keeps-what-did-not-run"):
            call.connection.server.kept.pop(key, None)
        raise


async def tally_or_fail(call: Call) -> Any:
    """Adds, and waits and fails where that is asked for."""
    total = await tally(call)
    await asyncio.sleep(call.param("ms", int, 0) / 1000)
    code = call.param("code", int, None)
    if code is not None:
        raise Failure(code, "it was told to fail")
    return total


@dataclass
class Command:
    """A row of the table of commands."""

    service: str
    method: str
    handler: Handler
    kind: str = "unary"
    idempotent: bool = True
    dedup: bool = False

    @property
    def doc(self) -> str:
        """The handler's own sentence."""
        return self.handler.__doc__ or ""


COMMANDS: Dict[int, Command] = {
    0: Command("builtin", "ping", ping),
    1: Command("builtin", "describe", describe),
    2: Command("builtin", "health", health),
    3: Command("builtin", "stats", stats),
    4: Command("builtin", "cancel", control, kind="oneway"),
    5: Command("builtin", "credit", control, kind="oneway", idempotent=False),
    6: Command("builtin", "authenticate", authenticate),
    1001: Command("log", "append", log_append, idempotent=False),
    1003: Command("log", "append_batch", log_append_batch, idempotent=False),
    1002: Command("log", "read", log_read),
    1004: Command("log", "emit", log_emit, kind="oneway", idempotent=False),
    1005: Command("log", "flush", log_flush),
    1006: Command("log", "tail", log_tail, kind="stream"),
    1007: Command("log", "stats", log_stats),
    10000: Command("test", "test", nothing),
    10001: Command("conformance", "sleep", sleep),
    10002: Command("conformance", "panic", panic),
    10003: Command("conformance", "fill", fill),
    10004: Command("conformance", "add", add),
    10005: Command("conformance", "count", count, kind="stream"),
    10006: Command("conformance", "fail", fail),
    10007: Command("conformance", "envelope", envelope),
    10008: Command("conformance", "tally", tally, idempotent=False),
    10009: Command("conformance", "once", once, idempotent=False, dedup=True),
}
