"""A handler of `logging` that sends records to the log service without ever blocking the code that logs."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import threading
import time
import uuid
import weakref
from collections import deque
from typing import Any

from . import frames
from .client import Client
from .errors import Code, RpcError
from .settings import Settings

APPEND, APPEND_BATCH = 1001, 1003
# Entries and bytes of a batch, and batches under way at once, so that a slow disk does not slow shipping down to one a flush.
_BATCH_MAX, _BATCH_BYTES_MAX, _IN_FLIGHT = 256, 65_536, 4
# Numbers from the oldest batch under way to the newest: the log remembers the last 64 of a producer.
_WINDOW = 32
# Longest message in characters: with its fields it stays below the server's limit of a line.
_MESSAGE_MAX = 65_536
# Longest entry in bytes; servers take a line of 1 MiB.
_ENTRY_MAX = 1_000_000
# What a server says where it has refused entries for what they are, or for whose they are.
_REFUSED = (Code.INVALID_ARGUMENT, Code.PERMISSION_DENIED, Code.UNIMPLEMENTED, Code.UNAUTHENTICATED)
_USUAL = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName", "trace"}

_handlers: weakref.WeakSet[LogHandler] = weakref.WeakSet()


class LogHandler(logging.Handler):
    """Sends records to the log service: what is acknowledged is on disk.

    Records wait in a queue for a thread with a connection of its own. They leave in batches that the log knows again, so that
    one whose answer was lost is sent again and is in the log once. At exit the handler waits `close_timeout` seconds at
    most for what is left.

    The handler holds `queue_max` entries and `queue_bytes_max` bytes of them, as JSON, until they are acknowledged. What comes
    when it holds so much is dropped and counted, and the log says how many. The last eighth of both is for errors.

        logging.getLogger().addHandler(rpc_client.logs.LogHandler("127.0.0.1:8889", service="order"))

    `extra` becomes fields; `extra={"trace": …}` is the entry's trace.
    """

    def __init__(
        self,
        target: str,
        service: str,
        *,
        level: int = logging.NOTSET,
        queue_max: int = 10_000,
        queue_bytes_max: int = 8_388_608,
        close_timeout: float = 2.0,
        settings: Settings | None = None,
    ) -> None:
        super().__init__(level)
        self.target, self.service = target, service
        self.queue_max, self.queue_bytes_max, self.close_timeout = queue_max, queue_bytes_max, close_timeout
        self.settings = settings or Settings(call_timeout_ms=10_000)
        # Entries that were acknowledged; that were dropped; and of which it is not known, since no answer came to the end.
        self.sent = self.dropped = self.unknown = 0
        self._begin()
        _handlers.add(self)

    def _begin(self) -> None:
        # Entries as JSON, so that they hold what they are counted for.
        self._queue: deque[bytes] = deque()
        self._under_way = 0
        # Entries that wait or are under way, and their bytes. Several threads count: the lock keeps each of them right.
        self._held = self._held_bytes = 0
        self._counting = threading.Lock()
        # The name and the last number of the batches. A server that knows no batches gets each entry by itself.
        self._producer, self._batch = uuid.uuid4().hex, 0
        # The numbers under way. One that fails again and again is not left far behind the others.
        self._numbers: set[int] = set()
        # Until that is known one batch is under way, so that the entries keep their order.
        self._has_batches, self._is_known = True, False
        self._told_dropped = self.dropped
        self._is_closing = False
        self._start = threading.Lock()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake: asyncio.Event | None = None
        self._is_idle = threading.Event()
        self._is_idle.set()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            entry = _line_of(self._entry(record))
        except Exception:
            self.handleError(record)
            return

        # In this order: the thread, which is woken behind it, says when it is idle again. It is told of drops, too.
        self._keep(entry, record.levelno >= logging.ERROR)
        if self._is_closing:
            return
        self._is_idle.clear()

        if self._thread is None:
            with self._start:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="rpc-log-handler", daemon=True)
                    self._thread.start()
        elif self._loop is not None and self._wake is not None and not self._wake.is_set():
            self._loop.call_soon_threadsafe(self._wake.set)

    def _keep(self, entry: bytes, is_error: bool) -> None:
        """Puts an entry into the queue; one that finds no room there is dropped."""
        with self._counting:
            held, held_bytes = self._held + 1, self._held_bytes + len(entry)
            entries_max, bytes_max = self.queue_max, self.queue_bytes_max
            if not is_error:
                entries_max, bytes_max = entries_max - entries_max // 8, bytes_max - bytes_max // 8
            if self._is_closing or len(entry) > _ENTRY_MAX or held > entries_max or held_bytes > bytes_max:
                self.dropped += 1
                return
            self._held, self._held_bytes = held, held_bytes
            self._queue.append(entry)

    def _let_go(self, entries: int, size: int) -> None:
        """These are no longer held."""
        with self._counting:
            self._held -= entries
            self._held_bytes -= size

    def _entry(self, record: logging.LogRecord) -> dict[str, Any]:
        levels = (
            (logging.CRITICAL, "fatal"),
            (logging.ERROR, "error"),
            (logging.WARNING, "warn"),
            (logging.INFO, "info"),
        )
        level = next((name for least, name in levels if record.levelno >= least), "debug")
        fields: dict[str, Any] = {"logger": record.name}
        for name, value in record.__dict__.items():
            if name not in _USUAL:
                fields[name] = _as_json(value)
        if record.exc_info:
            fields["exception"] = (self.formatter or logging.Formatter()).formatException(record.exc_info)[
                :_MESSAGE_MAX
            ]
        entry = {
            "level": level if record.levelno >= logging.DEBUG else "trace",
            "service": self.service,
            "message": (self.format(record) if self.formatter else record.getMessage())[:_MESSAGE_MAX],
            "ts": int(record.created * 1000),
            "fields": fields,
        }
        trace = getattr(record, "trace", None)
        return entry if trace is None else {**entry, "trace": str(trace)}

    # The thread

    def _run(self) -> None:
        asyncio.run(self._ship())

    async def _ship(self) -> None:
        self._loop, self._wake = asyncio.get_running_loop(), asyncio.Event()
        room = asyncio.Semaphore(_IN_FLIGHT)
        # Held here, since the loop itself holds tasks only weakly.
        tasks: set[asyncio.Task[None]] = set()
        async with Client(self.target, self.settings) as client:
            while not (self._is_closing and not self._queue and not self._under_way):
                self._wake.clear()
                while self._queue and self._may_send:
                    await room.acquire()
                    # None where the handler was closed meanwhile.
                    entries = self._next_entries()
                    self._under_way += len(entries)
                    task = asyncio.create_task(self._send(client, entries, room))
                    tasks.add(task)
                    task.add_done_callback(tasks.discard)
                if not self._under_way and not self._queue:
                    self._tell_of_dropped()
                    if not self._queue:
                        self._is_idle.set()
                if not self._queue or not self._may_send:
                    await self._wake.wait()

    @property
    def _may_send(self) -> bool:
        is_near = not self._numbers or self._batch - min(self._numbers) < _WINDOW
        return is_near and (self._is_known or not self._under_way)

    def _next_entries(self) -> list[bytes]:
        """The entries at the front of the queue, up to the size of a batch."""
        entries: list[bytes] = []
        size = 0
        while len(entries) < _BATCH_MAX and size < _BATCH_BYTES_MAX:
            try:
                entry = self._queue.popleft()
            except IndexError:  # `close` takes away, too
                break
            if size + len(entry) > _ENTRY_MAX:
                self._queue.appendleft(entry)
                break
            size += len(entry)
            entries.append(entry)
        return entries

    async def _send(self, client: Client, entries: list[bytes], room: asyncio.Semaphore) -> None:
        count, size = len(entries), sum(map(len, entries))
        try:
            while entries and self._has_batches:
                self._batch += 1
                number = self._batch
                self._numbers.add(number)
                try:
                    entries = await self._send_batch(client, number, entries)
                finally:
                    self._numbers.discard(number)
            if entries:
                sending = asyncio.gather(*(self._send_entry(client, entry) for entry in entries))
                await asyncio.sleep(0)  # their lines come before those of the next ones
                self._is_known = True
                await sending
        finally:
            self._under_way -= count
            self._let_go(count, size)
            room.release()
            if self._wake is not None:
                self._wake.set()

    async def _send_batch(self, client: Client, number: int, entries: list[bytes]) -> list[bytes]:
        """Sends a batch until it is known what became of it; the entries that are still to be sent, in another way."""
        head = f'{{"producer":"{self._producer}","batch":{number},"entries":['
        batch = frames.Json(head + b",".join(entries).decode() + "]}")
        pause = 0.1
        while True:
            try:
                # It may run twice: the log knows the batch by its number.
                await client.call(APPEND_BATCH, batch, idempotent=True)
                self.sent += len(entries)
                self._is_known = True
                return []
            except RpcError as error:
                if error.answered and error.code == Code.UNIMPLEMENTED:
                    self._has_batches = False
                    return entries  # known when they are sent
                index = error.details.get("index") if isinstance(error.details, dict) else None
                if error.answered and error.code == Code.INVALID_ARGUMENT and isinstance(index, int) and len(entries) > 1:
                    self.dropped += 1
                    return entries[:index] + entries[index + 1 :]
                if self._is_closing or error.code >= 1000 or (error.answered and error.code in _REFUSED):
                    self._give_up(len(entries), error)
                    return []
            await asyncio.sleep(pause)
            pause = min(5.0, pause * 2)

    async def _send_entry(self, client: Client, entry: bytes) -> None:
        """As `_send_batch`, for a server that knows no batches: what may have run is not sent again."""
        params = frames.Json(entry.decode())
        pause = 0.1
        while True:
            try:
                await client.call(APPEND, params)
                self.sent += 1
                return
            except RpcError as error:
                # Not sent, or rejected: the log is away, or takes no more for now.
                if error.may_have_run or self._is_closing:
                    return self._give_up(1, error)
            await asyncio.sleep(pause)
            pause = min(5.0, pause * 2)

    def _give_up(self, entries: int, error: RpcError) -> None:
        if error.may_have_run and not (error.answered and error.code in _REFUSED):
            self.unknown += entries
        else:
            self.dropped += entries

    def _tell_of_dropped(self) -> None:
        dropped = self.dropped - self._told_dropped
        if dropped > 0:
            message = f"{dropped} entries of `{self.service}` were dropped"
            entry = {"level": "warn", "service": self.service, "message": message, "ts": int(time.time() * 1000)}
            # Nothing is held by now. Where it is dropped itself, since the handler is closing, none comes after it.
            self._told_dropped += dropped
            self._keep(_line_of(entry), is_error=True)

    # The end

    def flush(self) -> None:
        """Waits until everything is acknowledged, for `close_timeout` at most."""
        self._is_idle.wait(self.close_timeout)

    def close(self) -> None:
        """Sends what is left, for `close_timeout` at most; what is not sent by then is dropped."""
        if not self._is_closing:
            self.flush()
            self._is_closing = True
            self._drop_the_rest()
            if self._loop is not None and self._wake is not None and not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._wake.set)
        super().close()

    def _drop_the_rest(self) -> None:
        """The thread may take from the queue at the same time: what it has taken is its own to count."""
        while True:
            try:
                entry = self._queue.popleft()
            except IndexError:
                return
            self.dropped += 1
            self._let_go(1, len(entry))

    def _after_fork(self) -> None:
        # What waits is the parent's to send; the thread that would send is not here.
        self._begin()
        self.sent = self.dropped = self.unknown = self._told_dropped = 0


def _line_of(entry: dict[str, Any]) -> bytes:
    """An entry as JSON. A lone surrogate, which has no UTF-8, becomes a question mark: the log would refuse it."""
    return json.dumps(entry, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


def _as_json(value: object) -> object:
    """The value, or its text where it has no JSON form."""
    try:
        json.dumps(value, allow_nan=False)
        return value
    except (TypeError, ValueError, RecursionError):
        return str(value)[:_MESSAGE_MAX]


def _begin_anew_after_fork() -> None:
    for handler in list(_handlers):
        handler._after_fork()


os.register_at_fork(after_in_child=_begin_anew_after_fork)
