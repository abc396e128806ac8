"""The items of a streaming call, and of those that go on where it was lost."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from . import frames
from .connection import Call, Connection
from .errors import Code, RpcError
from .settings import Settings

Item = TypeVar("Item")

# Calls in a row that bring no item and are not open for long, before a stream that is resumable fails.
_REOPENINGS_MAX = 16
# A call that was open for longer, in seconds, counts as one that brought an item: the server was there, and had nothing to say.
_OPEN_LONG = 30.0
# What a server says of a place behind which it has no items any more.
_GAPS = (Code.FAILED_PRECONDITION, Code.OUT_OF_RANGE)


class StreamCall(Call):
    """The items of a stream that its reader has not taken, and its end."""

    __slots__ = ("items", "size", "credit", "size_max", "waiter", "error", "began", "ended")

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self.connection: Connection = connection
        # Each with the bytes of its line.
        self.items: deque[tuple[Any, int]] = deque()
        self.size = 0
        self.credit, self.size_max = connection.settings.stream_credit, connection.settings.stream_bytes_max
        self.waiter: asyncio.Future[None] | None = None
        self.error: RpcError | None = None
        self.began = self.ended = connection.loop.time()

    def take_item(self, item: Any, size: int) -> RpcError | None:
        if len(self.items) > self.credit:
            return RpcError(Code.INTERNAL, "the stream sent more items than it had `credit` for")
        if self.size >= self.size_max:
            message = f"items of more than `stream_bytes_max` of {self.size_max} bytes wait for their reader"
            return RpcError(Code.RESOURCE_EXHAUSTED, message)
        self.items.append((item, size))
        self.size += size
        self.wake()
        return None

    def finish(self, data: Any, error: RpcError | None) -> None:
        if error is None and data is not None:
            # A command with one result is taken for a stream of one item.
            self.items.append((data, 0))
        self.error = error
        self.ended = self.connection.loop.time()
        self.wake()

    def wake(self) -> None:
        """Tells the reader."""
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)


class Resumption:
    """The place in a stream behind which a further call goes on, and the way to make that call."""

    def __init__(
        self,
        begin: Callable[[object, RpcError | None], Awaitable[StreamCall]],
        params: object,
        members: Sequence[tuple[str, str]],
        deadline: float | None,
        closing: asyncio.Event,
        settings: Settings,
    ) -> None:
        self._begin, self._params, self._members = begin, params, members
        # Of all calls, as a time of the loop.
        self._deadline, self._settings = deadline, settings
        # Of the client.
        self._closing = closing
        # The params that the last item stands for, once there was one.
        self._cursor: dict[str, object] = {}
        # Calls since the last item, or since the last one that was open for long.
        self._reopenings = 0

    async def begin(self) -> StreamCall:
        """The first call. One that cannot be begun is lost as any other. Raises the failure where the stream ends with it."""
        try:
            return await self._begin(self._params, None)
        except RpcError as error:
            return await self.reopen(error)

    def passed(self, item: Any) -> None:
        """Notes an item that its reader gets. One without a cursor leaves the place where it was."""
        self._reopenings = 0
        if isinstance(item, dict) and all(cursor in item for cursor, _ in self._members):
            self._cursor = {param: item[cursor] for cursor, param in self._members}

    def was_open(self, seconds: float) -> None:
        """Notes for how long a call was open that was lost."""
        if seconds > _OPEN_LONG:
            self._reopenings = 0

    async def reopen(self, failed: RpcError) -> StreamCall:
        """The call that goes on. Raises the failure where the stream ends with it."""
        while failed.code == Code.UNAVAILABLE and not failed.is_final and self._reopenings < _REOPENINGS_MAX:
            self._reopenings += 1
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pause(failed)):
                    await self._closing.wait()
            try:
                return await self._begin(self._next_params(), failed)
            except RpcError as error:
                failed = error
        if self._reopenings and self._cursor and failed.answered and failed.code in _GAPS:
            failed.message = (
                f"the stream was lost and cannot continue from {json.dumps(self._cursor)}, so items may be missing: "
                + failed.message
            )
        raise failed

    def _pause(self, failed: RpcError) -> float:
        """How long to wait before the next call, in seconds, but not past the deadline: before the first one as long as the
        server asks for, and longer before each that follows one which brought nothing."""
        base, cap = self._settings.reconnect_base_ms / 1000, self._settings.reconnect_cap_ms / 1000
        pause = min(cap, (failed.retry_after_ms or 0) / 1000)
        if self._reopenings > 1:
            pause += random.uniform(0, min(cap, base * 2.0 ** (self._reopenings - 2)))
        if self._deadline is not None:
            pause = min(pause, self._deadline - asyncio.get_running_loop().time())
        return max(0.0, pause)

    def _next_params(self) -> object:
        if isinstance(self._params, Mapping):
            return {**self._params, **self._cursor}
        # Params that are not an object are the value of a cursor that has only one.
        return next(iter(self._cursor.values())) if len(self._cursor) == 1 else self._params


class Stream(Generic[Item]):
    """The items of a streaming call: `async for item in stream`."""

    def __init__(
        self, call: StreamCall, resumption: Resumption | None, errors: Mapping[int, type[RpcError]] | None
    ) -> None:
        self.call = call
        self._resumption = resumption
        self._errors = errors
        self._taken = 0
        self._is_closed = False
        # Makes the call that goes on; the end of the stream ends it, too.
        self._reopening: asyncio.Task[StreamCall] | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Item:
        while True:
            call = self.call
            while not call.items and not call.is_over:
                call.waiter = call.connection.loop.create_future()
                await call.waiter
            if call.items:
                return self._take(call)
            if call.error is None:
                raise StopAsyncIteration
            await self._go_on(call.error)

    def _take(self, call: StreamCall) -> Item:
        item: Item
        item, size = call.items.popleft()
        call.size -= size
        self._taken += 1
        if self._resumption is not None:
            self._resumption.passed(item)
        # Credit is given back by halves: few lines, and the server never runs dry.
        if self._taken * 2 >= call.credit and not call.is_over and call.id is not None:
            call.connection.write(frames.credit(call.id, self._taken))
            self._taken = 0
        return item

    async def _go_on(self, error: RpcError) -> None:
        """Takes a call that goes on after the one that has failed. Raises where that is the end."""
        try:
            if self._resumption is None:
                raise error
            self._resumption.was_open(self.call.ended - self.call.began)
            self._reopening = asyncio.create_task(self._resumption.reopen(error))
            call = await self._reopening
        except asyncio.CancelledError:
            reader = asyncio.current_task()
            if not self._is_closed or (reader is not None and reader.cancelling()):
                raise
            # The stream was closed, not its reader cancelled: that is its end.
            return
        except RpcError as failure:
            # Told once; the stream is over behind it.
            self.call.error = None
            raise failure.become(self._errors) from None
        self.call, self._taken = call, 0
        if self._is_closed:
            call.connection.give_up(call)

    async def aclose(self) -> None:
        """Gives the stream up, if it is not over: the server is told. A reader that waits in another task is at the end."""
        self._is_closed = True
        self.call.error = None
        if self._reopening is not None:
            self._reopening.cancel()
        self.call.connection.give_up(self.call)
        self.call.items.clear()
        self.call.wake()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        # A reader that was dropped in the middle; its thread may be another one.
        connection = self.call.connection
        if not self.call.is_over and not connection.loop.is_closed():
            connection.loop.call_soon_threadsafe(connection.give_up, self.call)
