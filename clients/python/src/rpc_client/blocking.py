"""The client for threads: the asyncio client behind one background thread per process, which all of them share."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Generic, Self, TypeVar

from . import client as asynchronous
from . import frames, streams
from .connection import Call
from .errors import Code, RpcError
from .settings import Settings
from .shared import resolve

T = TypeVar("T")
Item = TypeVar("Item")


class _Loop:
    """The thread that runs the event loop, and the work that other threads hand to it."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.loop = asyncio.new_event_loop()
        self._inbox: deque[Callable[[], None]] = deque()
        self._is_woken = False
        self.thread = threading.Thread(target=self.loop.run_forever, name="rpc-client", daemon=True)
        self.thread.start()

    def hand(self, work: Callable[[], None]) -> None:
        """Has the loop do something soon. Several threads that do so at once wake it once."""
        self._inbox.append(work)
        if not self._is_woken:
            self._is_woken = True
            self.loop.call_soon_threadsafe(self._take)

    def _take(self) -> None:
        # Before the inbox is looked at: what is put in behind that wakes the loop again.
        self._is_woken = False
        while self._inbox:
            self._inbox.popleft()()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine in the loop, and waits for it."""
        if threading.current_thread() is self.thread:
            work.close()
            raise RpcError(Code.FAILED_PRECONDITION, "a blocking call inside the client's own thread", sent=False)
        future = asyncio.run_coroutine_threadsafe(work, self.loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise


class _ThreadCall(Call):
    """A call whose result a thread waits for, on a lock: nothing costs less."""

    __slots__ = ("lock", "data", "error")

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()
        self.lock.acquire()
        self.data: Any = None
        self.error: RpcError | None = None

    def finish(self, data: Any, error: RpcError | None) -> None:
        self.data, self.error = data, error
        self.lock.release()


_lock = threading.Lock()
_loop: _Loop | None = None
_shared: dict[str, Client] = {}


def _running_loop() -> _Loop:
    global _loop
    with _lock:
        if _loop is None:
            _loop = _Loop()
        return _loop


def _begin_anew_after_fork() -> None:
    # The child has no such thread, and the lock may have been held by another one.
    global _lock, _loop
    _lock, _loop = threading.Lock(), None
    _shared.clear()


os.register_at_fork(after_in_child=_begin_anew_after_fork)


class Client:
    """A client for threads; `rpc_client.Client` says what it does. After a fork it opens connections of the child's own."""

    def __init__(self, target: str | list[str], settings: Settings | None = None) -> None:
        self._target, self._settings = target, settings
        self._begin()

    def _begin(self) -> None:
        async def make() -> asynchronous.Client:
            return asynchronous.Client(self._target, self._settings)

        self._loop = _running_loop()
        self._client = self._loop.run(make())

    def _run(self, work: Callable[[asynchronous.Client], Coroutine[Any, Any, T]]) -> T:
        if self._loop.pid != os.getpid():
            self._begin()
        return self._loop.run(work(self._client))

    def call(
        self,
        cmdid: int,
        params: object = asynchronous.NO_PARAMS,
        *,
        timeout: float | None = None,
        meta: Mapping[str, str] | None = None,
        idempotent: bool = False,
        idempotency_key: str | None = None,
        dedup: bool = False,
        ordered: bool = False,
        errors: Mapping[int, type[RpcError]] | None = None,
    ) -> Any:
        """Calls a command and returns its data, as `rpc_client.Client.call`. Raises `RpcError`."""
        if self._loop.pid != os.getpid():
            self._begin()
        client, settings = self._client, self._client.settings
        limit = settings.call_timeout_ms / 1000 if timeout is None else min(timeout, asynchronous.TIMEOUT_MAX)
        is_usual = not (meta or idempotent or idempotency_key is not None or dedup or ordered or settings.ordered)
        if is_usual and limit > 0 and threading.current_thread() is not self._loop.thread:
            try:
                return self._usual_call(client, cmdid, params, limit)
            except RpcError as error:
                raise error.become(errors)
        return self._run(
            lambda client: client.call(
                cmdid,
                params,
                timeout=timeout,
                meta=meta,
                idempotent=idempotent,
                idempotency_key=idempotency_key,
                dedup=dedup,
                ordered=ordered,
                errors=errors,
            )
        )

    def _usual_call(self, client: asynchronous.Client, cmdid: int, params: object, limit: float) -> Any:
        """A call without options: a coroutine only without a connection, or the first try fails."""
        rest = frames.request(cmdid, params, timeout_ms=max(1, int(limit * 1000)))
        call = _ThreadCall()
        deadline = self._loop.loop.time() + limit

        def start() -> None:
            client._budget.calls += 1
            connection = client._at_once()
            if connection is not None:
                connection.begin(call, rest, deadline, False)
            else:
                call.lock.release()

        self._loop.hand(start)
        try:
            call.lock.acquire()
        except BaseException:
            # Interrupted: the caller no longer waits for it.
            self._loop.hand(lambda: call.connection.give_up(call) if call.connection else None)
            raise
        if call.connection is not None and call.error is None:
            return call.data
        return self._loop.run(client._call(cmdid, params, deadline, failed=call.error))

    def notify(
        self,
        cmdid: int,
        params: object = asynchronous.NO_PARAMS,
        *,
        meta: Mapping[str, str] | None = None,
        ordered: bool = False,
    ) -> None:
        """Sends a command that is not answered, as `rpc_client.Client.notify`. Raises `RpcError`."""
        self._run(lambda client: client.notify(cmdid, params, meta=meta, ordered=ordered))

    def stream(
        self,
        cmdid: int,
        params: object = asynchronous.NO_PARAMS,
        *,
        timeout: float | None = None,
        meta: Mapping[str, str] | None = None,
        resumable: Sequence[tuple[str, str]] = (),
        errors: Mapping[int, type[RpcError]] | None = None,
    ) -> Stream[Any]:
        """Begins a stream of items, as `rpc_client.Client.stream`; `for` reads them. Raises `RpcError`."""
        made = self._run(
            lambda client: client.stream(
                cmdid, params, timeout=timeout, meta=meta, resumable=resumable, errors=errors
            )
        )
        return Stream(self._loop, made)

    def connect(self) -> None:
        """Opens a connection now, unless one is open. Raises `RpcError`."""
        self._run(lambda client: client.connect())

    def flush(self) -> None:
        """Waits until the servers have read all oneway calls, as `rpc_client.Client.flush`. Raises `RpcError`."""
        self._run(lambda client: client.flush())

    def close(self) -> None:
        """Closes the connections; calls in flight fail."""
        self._run(lambda client: client.close())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Stream(Generic[Item]):
    """The items of a streaming call: `for item in stream`. Leave it with `with`, or `close()`."""

    def __init__(self, loop: _Loop, stream: streams.Stream[Item]) -> None:
        self._loop, self._stream = loop, stream

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Item:
        async def next_item() -> tuple[Item, ...]:
            # A StopIteration cannot leave a coroutine.
            try:
                return (await self._stream.__anext__(),)
            except StopAsyncIteration:
                return ()

        found = self._loop.run(next_item())
        if not found:
            raise StopIteration
        return found[0]

    def close(self) -> None:
        """Gives the stream up, if it is not over."""
        self._loop.run(self._stream.aclose())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def shared(name: str) -> Client:
    """The client of this service or target that all threads of this process share."""
    with _lock:
        made = _shared.get(name)
    if made is None:
        target, settings = resolve(name)
        made = Client(target, settings)
        with _lock:
            made = _shared.setdefault(name, made)
    return made
