"""The asyncio client: calls and oneway calls, a deadline for each, and retries where they are safe; the beginning of streams."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from . import frames
from .connection import Call, Connection, FutureCall
from .dedup import KEY, Repetition, StoreCall
from .endpoint import Endpoint, RetryBudget
from .errors import Code, RpcError
from .settings import Settings
from .streams import Resumption, Stream, StreamCall
from .timing import Timing

# Most commands take their params by name: none are an empty object.
NO_PARAMS: dict[str, object] = {}
# Longer times than this, in seconds, are this one: 30 years.
TIMEOUT_MAX = 946_080_000.0


class Client:
    """A client of one service: one connection to each of its servers, shared by all calls.

    `target` is `HOST:PORT`, `tls:HOST:PORT`, `unix:PATH`, or several of them with commas or as a list. It belongs to the
    event loop in which it is first used.
    """

    def __init__(self, target: str | list[str], settings: Settings | None = None) -> None:
        addresses = target.split(",") if isinstance(target, str) else target
        self.settings = settings or Settings()
        self.target = ",".join(addresses)
        self._endpoints = [Endpoint(address.strip(), self.settings) for address in addresses]
        self._sole = self._endpoints[0] if len(self._endpoints) == 1 else None
        self._budget = RetryBudget(self.settings)
        self._closing = asyncio.Event()

    # Calls

    async def call(
        self,
        cmdid: int,
        params: object = NO_PARAMS,
        *,
        timeout: float | None = None,
        meta: Mapping[str, str] | None = None,
        idempotent: bool = False,
        idempotency_key: str | None = None,
        dedup: bool = False,
        ordered: bool = False,
        errors: Mapping[int, type[RpcError]] | None = None,
    ) -> Any:
        """Calls a command and returns its data.

        `timeout` in seconds covers connecting, waiting, all tries and the reply (`call_timeout_ms` where it is left out).
        What was not sent or was rejected is tried again, and so is what may have run of an `idempotent` command. A call with
        an `idempotency_key` that may have run is sent again only where its key is known, which takes a command that the
        server describes as one with dedup; `dedup` gives it a key of its own. With `idempotent` too, it is sent again
        anywhere. Cancelling the task gives the call up: the server is told. `errors` are the classes of the service's own
        codes.

        Raises `RpcError`.
        """
        limit = self.settings.call_timeout_ms / 1000 if timeout is None else min(timeout, TIMEOUT_MAX)
        timing = meta if isinstance(meta, Timing) else None
        has_key = idempotency_key is not None and cmdid not in self.settings.idempotent_cmdids
        is_keyed = (dedup or has_key) and not (idempotent or ordered or self.settings.ordered)
        repetition = Repetition(idempotency_key) if is_keyed else None
        if idempotency_key is not None and repetition is None:
            meta = {**(meta or {}), KEY: idempotency_key}
        self._budget.calls += 1
        deadline = asyncio.get_running_loop().time() + limit
        is_ordered = ordered or self.settings.ordered
        tells_timeout = timeout is not None or not self.settings.ordered
        try:
            return await self._call(
                cmdid, params, deadline, tells_timeout, meta, idempotent, is_ordered, repetition, timing=timing
            )
        except RpcError as error:
            raise error.become(errors)

    async def _call(
        self,
        cmdid: int,
        params: object,
        deadline: float,
        tells_timeout: bool = True,
        meta: Mapping[str, str] | None = None,
        idempotent: bool = False,
        is_ordered: bool = False,
        repetition: Repetition | None = None,
        failed: RpcError | None = None,
        timing: Timing | None = None,
    ) -> Any:
        """All tries of a call. `failed` is how a first one went that was made elsewhere. `timing` is told of the last one."""
        loop = asyncio.get_running_loop()
        is_idempotent = (idempotent or cmdid in self.settings.idempotent_cmdids) and not is_ordered
        avoid: list[Endpoint] = []
        attempts, may_have_run = 0, False
        while True:
            attempts += 1
            try:
                if failed is not None:
                    raise failed
                if deadline <= loop.time():
                    raise self._late()
                if repetition is not None and repetition.failure is not None:
                    connection = await self._with_store(repetition, cmdid, deadline)
                else:
                    connection = self._at_once() or await self._connection(deadline, avoid)
                sent_meta = meta if repetition is None else repetition.begin(connection, cmdid, meta)
                left_ms = max(1, int((deadline - loop.time()) * 1000)) if tells_timeout else None
                rest = frames.request(cmdid, params, timeout_ms=left_ms, meta=sent_meta, with_timestamp=is_ordered)
                call = FutureCall(loop)
                call.ask_for(timing)
                connection.begin(call, rest, deadline, is_ordered)
                try:
                    return await call.future
                except asyncio.CancelledError:
                    connection.give_up(call)
                    raise
            except RpcError as error:
                failed = None
                if repetition is not None:
                    if repetition.failure is error:
                        raise error.of_several(attempts - 1, True) from None  # no server has the key
                    is_idempotent = repetition.ended(error)
                avoid += [endpoint for endpoint in self._endpoints if endpoint.address == error.address]
                # A call without an id has its place in an order, which a later try would not have.
                pause = None if is_ordered else self._pause(error, attempts, is_idempotent, avoid)
                if pause is None or loop.time() + pause >= deadline or not self._budget.withdraw():
                    raise error.of_several(attempts, may_have_run) from None
                may_have_run |= error.may_have_run
                await asyncio.sleep(pause)

    async def notify(
        self, cmdid: int, params: object = NO_PARAMS, *, meta: Mapping[str, str] | None = None, ordered: bool = False
    ) -> None:
        """Sends a command that is not answered. Returns when it is in the output; `flush` waits until it was read.

        Raises `RpcError` without a connection within `call_timeout_ms`.
        """
        deadline = asyncio.get_running_loop().time() + self.settings.call_timeout_ms / 1000
        connection = self._at_once() or await self._connection(deadline, [])
        ordered = ordered or self.settings.ordered
        if self.settings.ordered:
            # The field is newer than the servers that want every call in order: their answer finds a call given up.
            call = Call()
            connection.begin(call, frames.request(cmdid, params, with_timestamp=True), None, True)
            connection.give_up(call)
        else:
            connection.notify(frames.request(cmdid, params, oneway=True, meta=meta, with_timestamp=ordered), ordered)

    async def stream(
        self,
        cmdid: int,
        params: object = NO_PARAMS,
        *,
        timeout: float | None = None,
        meta: Mapping[str, str] | None = None,
        resumable: Sequence[tuple[str, str]] = (),
        errors: Mapping[int, type[RpcError]] | None = None,
    ) -> Stream[Any]:
        """Begins a command that answers with a stream of items; `async for` reads them.

        It has no deadline but `timeout`, in seconds. Leave it with `async with`, or `aclose()`, so that the server learns of it.
        `errors` are the classes of the service's own codes. `resumable`, for commands that the server describes so, has pairs
        of a member of each item and the param that takes it: where the connection is lost or cannot be made, or its
        server goes away, the command is called again behind the last item. A place that the server does not know any more ends the stream with the
        server's code, 9 or 11.

        Raises `RpcError` where it cannot begin; what fails later is raised behind the items that came before.
        """
        loop = asyncio.get_running_loop()
        deadline = None if timeout is None else loop.time() + min(timeout, TIMEOUT_MAX)
        timing = meta if isinstance(meta, Timing) else None

        async def begin(params: object, failed: RpcError | None) -> StreamCall:
            limit = loop.time() + self.settings.call_timeout_ms / 1000 if deadline is None else deadline
            if limit <= loop.time():
                raise self._late()
            avoid = [endpoint for endpoint in self._endpoints if failed and endpoint.address == failed.address]
            connection = self._at_once() or await self._connection(limit, avoid)
            left_ms = None if deadline is None else max(1, int((deadline - loop.time()) * 1000))
            call = StreamCall(connection)
            call.ask_for(timing)
            rest = frames.request(cmdid, params, timeout_ms=left_ms, credit=call.credit, meta=meta)
            connection.begin(call, rest, deadline, False)
            return call

        if not resumable:
            return Stream(await begin(params, None), None, errors)
        resumption = Resumption(begin, params, resumable, deadline, self._closing, self.settings)
        return Stream(await resumption.begin(), resumption, errors)

    async def connect(self) -> None:
        """Opens a connection now, unless one is open. Calls open it by themselves. Raises `RpcError`."""
        await self._connection(asyncio.get_running_loop().time() + self.settings.call_timeout_ms / 1000, [])

    async def flush(self) -> None:
        """Waits until the servers have read all oneway calls, for `call_timeout_ms` at most: by a ping behind the last one, where
        no call behind it was answered. Where calls have no ids, it waits for the system only.

        Raises `RpcError` where the answer does not come, and once for oneway calls that an earlier connection has taken along.
        """
        deadline = asyncio.get_running_loop().time() + self.settings.call_timeout_ms / 1000
        for endpoint in self._endpoints:
            connection = endpoint.connection
            if connection is not None and connection.ended is None and connection.unread_oneways:
                await self._flush(connection, deadline)
            lost, endpoint.lost_oneways = endpoint.lost_oneways, None
            if lost is not None:
                raise lost

    async def _flush(self, connection: Connection, deadline: float) -> None:
        if self.settings.ordered:
            while not connection.is_flushed and connection.ended is None:
                await asyncio.sleep(0.001)
            return
        call = FutureCall(connection.loop)
        connection.begin(call, frames.request(frames.PING, None), deadline, False)
        try:
            await call.future
        except RpcError as error:
            # An answer is one, whatever it says. A lost connection has left its oneway calls to be told of.
            if not error.answered and not error.is_lost:
                raise
        finally:
            connection.give_up(call)

    @property
    def is_connected(self) -> bool:
        """Whether a connection takes calls right now."""
        return any(endpoint.is_usable for endpoint in self._endpoints)

    async def close(self) -> None:
        """Closes the connections; calls in flight and streams fail, also those that are resumable."""
        self._closing.set()
        for endpoint in self._endpoints:
            endpoint.close()
        # The transports close in the next turn of the loop.
        await asyncio.sleep(0)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # Which connection

    def _at_once(self) -> Connection | None:
        """The connection that nearly all calls find."""
        if self._sole is not None:
            connection = self._sole.connection
            if connection is not None and connection.is_usable and connection.has_room:
                return connection
        return None

    async def _connection(self, deadline: float, avoid: list[Endpoint]) -> Connection:
        """A connection with room for a call, as soon as there is one."""
        while True:
            connection = await self._choose(deadline, avoid)
            if connection.has_room:
                return connection
            try:
                async with asyncio.timeout_at(deadline):
                    await connection.room()
            except TimeoutError:
                raise self._late() from None

    async def _choose(self, deadline: float, avoid: list[Endpoint]) -> Connection:
        """Of two random servers that are connected, the one with fewer calls; the others are connected meanwhile."""
        if self._sole is not None:
            return await self._sole.ready(deadline)
        # An address that is not one never becomes usable.
        able = [endpoint for endpoint in self._endpoints if endpoint.is_address] or self._endpoints
        others = [endpoint for endpoint in able if endpoint not in avoid] or able
        usable = [endpoint for endpoint in others if endpoint.is_usable]
        for endpoint in self._endpoints:
            endpoint.open()
        if usable:
            chosen = min(random.sample(usable, min(2, len(usable))), key=lambda endpoint: endpoint.in_flight)
            return await chosen.ready(deadline)
        waiting = {asyncio.create_task(endpoint.ready(deadline)) for endpoint in others}
        failure: BaseException | None = None
        try:
            while waiting:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    if (failure := task.exception()) is None:
                        return task.result()
        finally:
            for task in waiting:
                task.cancel()
        raise failure or self._late()

    async def _with_store(self, repetition: Repetition, cmdid: int, deadline: float) -> Connection:
        """A connection to the store that has the key: that of the last try first. Raises that try's failure."""
        assert repetition.failure is not None  # there was a try
        last = repetition.failure.address
        for endpoint in sorted(self._endpoints, key=lambda endpoint: endpoint.address != last):
            try:
                connection = await endpoint.ready(deadline)
                async with asyncio.timeout_at(deadline):
                    store = await asyncio.shield(StoreCall.of(connection, cmdid).store)
            except (RpcError, TimeoutError):
                continue
            if store == repetition.store and connection.is_usable:
                return connection
        raise repetition.failure

    # Retries

    def _late(self) -> RpcError:
        return RpcError(Code.DEADLINE_EXCEEDED, "no time left before it could be sent", address=self.target, sent=False)

    def _pause(self, error: RpcError, attempts: int, is_idempotent: bool, avoid: list[Endpoint]) -> float | None:
        """How long to wait before the next try, in seconds; `None` where the call must not be tried again."""
        if attempts >= self.settings.attempts_max:
            return None
        if error.rejected or (error.is_lost and not error.sent):
            is_allowed = True
        else:
            is_unavailable = error.is_lost or (error.answered and error.code == Code.UNAVAILABLE)
            is_allowed = is_idempotent and (is_unavailable or (error.answered and error.retry_after_ms is not None))
        if not is_allowed:
            return None
        window = min(self.settings.retry_cap_ms, self.settings.retry_base_ms * 2.0 ** max(0, attempts - 2))
        pause = 0.0 if attempts == 1 else random.uniform(0, window / 1000)
        # What a server asks for does not concern the others.
        if all(endpoint in avoid for endpoint in self._endpoints):
            pause += (error.retry_after_ms or 0) / 1000
        return pause
