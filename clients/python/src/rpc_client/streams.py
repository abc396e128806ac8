"""The items of a streaming call."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from . import frames
from .connection import Call, Connection
from .errors import Code, RpcError

Item = TypeVar("Item")


class StreamCall(Call):
    """The items of a stream that its reader has not taken, and its end."""

    __slots__ = ("items", "size", "credit", "size_max", "waiter", "error")

    def __init__(self, credit: int, size_max: int) -> None:
        super().__init__()
        # Each with the bytes of its line.
        self.items: deque[tuple[Any, int]] = deque()
        self.size = 0
        self.credit, self.size_max = credit, size_max
        self.waiter: asyncio.Future[None] | None = None
        self.error: RpcError | None = None

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
        self.wake()

    def wake(self) -> None:
        """Tells the reader."""
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)


class Stream(Generic[Item]):
    """The items of a streaming call: `async for item in stream`."""

    def __init__(self, connection: Connection, errors: Mapping[int, type[RpcError]] | None) -> None:
        settings = connection.settings
        self._errors = errors
        self.call = StreamCall(settings.stream_credit, settings.stream_bytes_max)
        self._connection = connection
        self._taken = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Item:
        call = self.call
        while not call.items and not call.is_over:
            call.waiter = self._connection.loop.create_future()
            await call.waiter
        if call.items:
            item: Item
            item, size = call.items.popleft()
            call.size -= size
            self._taken += 1
            # Credit is given back by halves: few lines, and the server never runs dry.
            if self._taken * 2 >= call.credit and not call.is_over and call.id is not None:
                self._connection.write(frames.credit(call.id, self._taken))
                self._taken = 0
            return item
        error, call.error = call.error, None
        if error is not None:
            raise error.become(self._errors)
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Gives the stream up, if it is not over: the server is told."""
        self._connection.give_up(self.call)
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
        if not self.call.is_over and not self._connection.loop.is_closed():
            self._connection.loop.call_soon_threadsafe(self._connection.give_up, self.call)
