"""One server: its connection, opened when it is first needed and again after it was lost, by one attempt at a time."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import time
from pathlib import Path

from . import frames
from .connection import Connection, FutureCall
from .errors import Code, RpcError
from .settings import Settings, Tls

# Longest file of a token, in bytes; no token comes near it.
_TOKEN_BYTES_MAX = 4096


def _is_address(address: str) -> bool:
    if address.startswith("unix:"):
        return address != "unix:"
    host, _, port = address.rpartition(":")
    return bool(host.strip("[]")) and port.isdecimal() and 1 <= int(port) <= 65_535


class Endpoint:
    """One server and the connection to it. Everything happens in the thread of its event loop."""

    def __init__(self, address: str, settings: Settings) -> None:
        self.is_tls = settings.tls is not None or address.startswith("tls:")
        self.address = address.removeprefix("tls:")
        self.settings = settings
        self.is_address = _is_address(self.address)
        self.connection: Connection | None = None
        self.is_closed = False
        self._leaving: set[Connection] = set()
        self._opening: asyncio.Task[None] | None = None
        # Since when connecting has failed, why, and whether waiting is of use.
        self._failing_since: float | None = None
        self._failure: RpcError | None = None
        self._is_final = False
        # A loss of oneway calls that no flush has told of.
        self.lost_oneways: RpcError | None = None
        # Connections in a row that the server ended before it served anything: no better than no connection. And those that
        # it ended soon, though it did serve.
        self._turned_away = self._short_lived = 0
        self._come_back_ms = 0
        self._progress: asyncio.Event = asyncio.Event()

    @property
    def is_usable(self) -> bool:
        """Whether there is a connection that takes calls."""
        return self.connection is not None and self.connection.is_usable

    @property
    def in_flight(self) -> int:
        """Calls under way."""
        return len(self.connection.calls) if self.connection is not None else 0

    def open(self) -> None:
        """Begins to connect, where that is not under way and there is no connection."""
        if self.is_closed or not self.is_address or self.is_usable or (self._opening is not None and not self._opening.done()):
            return
        self._progress.clear()
        self._opening = asyncio.create_task(self._open())

    async def ready(self, deadline: float | None) -> Connection:
        """A connection that takes calls.

        Raises `RpcError`, of a call that was not sent: the last failure to connect, where that has lasted for longer than
        `fail_fast_after_ms`, or the deadline.
        """
        loop = asyncio.get_running_loop()
        while True:
            if self.is_closed:
                raise self._not_sent(Code.UNAVAILABLE, "the client was closed", is_final=True)
            if not self.is_address:
                right = "write HOST:PORT or unix:PATH, for example 127.0.0.1:8889"
                raise self._not_sent(Code.UNAVAILABLE, f"`{self.address}` is not an address: {right}", is_final=True)
            if self.connection is not None and self.connection.is_usable:
                return self.connection
            self.open()
            patience: float | None = None
            if self._failing_since is not None and self._failure is not None:
                patience = self._failing_since + self.settings.fail_fast_after_ms / 1000 - loop.time()
                if self._is_final or patience <= 0:
                    raise self._not_sent(self._failure.code, self._failure.message)
            left = None if deadline is None else deadline - loop.time()
            if left is not None and left <= 0:
                raise self._not_sent(Code.DEADLINE_EXCEEDED, "no connection before the deadline")
            waits = [time for time in (patience, left) if time is not None]
            try:
                async with asyncio.timeout(min(waits) if waits else None):
                    await self._progress.wait()
            except TimeoutError:
                continue
            # Others are told of the next change.
            self._progress.clear()

    def _not_sent(self, code: int, message: str, is_final: bool = False) -> RpcError:
        return RpcError(code, message, address=self.address, sent=False, is_final=is_final)

    # Connecting

    async def _open(self) -> None:
        """Tries until it succeeds, with full jitter in a window that grows with the time of failing."""
        settings, loop = self.settings, asyncio.get_running_loop()
        base, cap = settings.reconnect_base_ms / 1000, settings.reconnect_cap_ms / 1000
        window = base
        if self._come_back_ms:
            pause = min(self._come_back_ms / 1000, cap)
            self._come_back_ms = 0
            await asyncio.sleep(random.uniform(pause, 2 * pause))
        elif self._turned_away > 1:
            window = min(cap, base * 2.0 ** min(self._turned_away, 16))
            self._failing_since = self._failing_since or loop.time()
            await asyncio.sleep(random.uniform(0, window))
        elif self._short_lived > 1:
            await asyncio.sleep(random.uniform(base / 2, base))
        while not self.is_closed:
            try:
                async with asyncio.timeout(settings.connect_timeout_ms / 1000):
                    connection = await self._connect()
                    try:
                        await self._authenticate(connection)
                    except BaseException:
                        connection.end("it could not be authenticated")
                        raise
            except (OSError, RpcError, ValueError) as error:  # a host that no name can be is a ValueError
                is_refused = isinstance(error, RpcError) and error.answered
                self._failed(error, is_final=is_refused)
                pause = cap if is_refused else random.uniform(0, window)
                window = min(cap, window * 2)
                await asyncio.sleep(pause)
                continue
            self._failing_since, self._failure, self._is_final = None, None, False
            if connection.is_usable:
                self.connection = connection
            self._progress.set()
            return

    def _failed(self, error: OSError | RpcError | ValueError, is_final: bool) -> None:
        code = error.code if isinstance(error, RpcError) else Code.UNAVAILABLE
        if isinstance(error, RpcError):
            message = f"the server refuses this client's token: {error.message}" if is_final else error.message
        elif isinstance(error, TimeoutError) and not str(error):
            message = f"cannot connect: no answer within `connect_timeout_ms` of {self.settings.connect_timeout_ms} ms"
        elif isinstance(error, ConnectionError) and error.errno:
            # asyncio's own text leaves out what the system said.
            message = f"cannot connect: {os.strerror(error.errno)}"
        else:
            message = f"cannot connect: {error}"
        self._failure, self._is_final = self._not_sent(code, message), is_final
        if self._failing_since is None:
            self._failing_since = asyncio.get_running_loop().time()
        self._progress.set()

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()

        def make() -> Connection:
            return Connection(self.address, self.settings, self._ended)

        tls = self.settings.tls or Tls()
        context = tls.context() if self.is_tls else None
        if self.address.startswith("unix:"):
            return (await loop.create_unix_connection(make, self.address[5:]))[1]
        host, _, port = self.address.rpartition(":")
        host = host.strip("[]")
        server_name = (tls.server_name or host) if context else None
        # Several addresses of a name are dialed one shortly after another, so that one that does not answer hides no other.
        delay = None if ":" in host or host.replace(".", "").isdecimal() else 0.25
        transport, connection = await loop.create_connection(
            make, host, int(port), ssl=context, server_hostname=server_name, happy_eyeballs_delay=delay
        )
        made: socket.socket = transport.get_extra_info("socket")
        if made.getsockname() == made.getpeername():
            connection.end("it was connected to itself")
            raise OSError("connection refused: it was connected to itself, so no server listens there")
        self._watch_by_system(made)
        return connection

    def _watch_by_system(self, made: socket.socket) -> None:
        """Has the system look after a connection, too: it knows of hosts that vanish without a word."""
        settings = self.settings
        options = [(socket.SOL_SOCKET, "SO_KEEPALIVE", int(settings.keepalive_idle_ms > 0))]
        if settings.keepalive_idle_ms > 0:
            options.append((socket.IPPROTO_TCP, "TCP_KEEPIDLE", -(-settings.keepalive_idle_ms // 1000)))
            options.append((socket.IPPROTO_TCP, "TCP_KEEPINTVL", -(-settings.keepalive_interval_ms // 1000)))
            options.append((socket.IPPROTO_TCP, "TCP_KEEPCNT", settings.keepalive_probes))
        if settings.tcp_user_timeout_ms > 0:
            # Linux lets it override the number of probes (tcp(7)): it must leave time for all of them.
            probing = settings.keepalive_interval_ms * settings.keepalive_probes - settings.keepalive_interval_ms // 2
            least = settings.keepalive_idle_ms + probing if settings.keepalive_idle_ms > 0 else 0
            options.append((socket.IPPROTO_TCP, "TCP_USER_TIMEOUT", max(settings.tcp_user_timeout_ms, least)))
        for level, name, value in options:
            if hasattr(socket, name):  # not every system has each
                made.setsockopt(level, getattr(socket, name), value)

    async def _authenticate(self, connection: Connection) -> None:
        """Authenticates the connection, if there is a token. A server that knows no tokens (code 12) is called without."""
        token = self._token()
        if token is None:
            return
        call = FutureCall(connection.loop)
        request = frames.request(frames.AUTHENTICATE, {"token": token})
        connection.begin(call, request, None, self.settings.ordered)
        try:
            await call.future
        except RpcError as error:
            if error.code != Code.UNIMPLEMENTED:
                raise
        finally:
            connection.give_up(call)

    def _token(self) -> str | None:
        if self.settings.token is not None or self.settings.token_file is None:
            return self.settings.token
        path = Path(self.settings.token_file)
        if path.stat().st_size > _TOKEN_BYTES_MAX:
            raise OSError(f"{path} is longer than {_TOKEN_BYTES_MAX} bytes, and not a token")
        token = path.read_text(encoding="utf-8").strip()
        if not token:
            raise OSError(f"{path} is empty; it must hold the token")
        return token

    # The end

    def _ended(self, connection: Connection, has_lost_calls: bool) -> None:
        """A connection is over. One that was in use is wanted again; an idle one is opened by the next call."""
        self._leaving.discard(connection)
        if self.is_closed:
            return
        if connection.unread_oneways:
            message = (
                f"{connection.ended}; of {connection.unread_oneways} oneway calls nothing shows that they were read"
            )
            self.lost_oneways = RpcError(Code.UNAVAILABLE, message, address=self.address, is_lost=True)
        if connection.has_served:
            self._turned_away = 0
        else:
            self._turned_away += 1
            if connection.farewell is not None:
                self._come_back_ms = connection.farewell.retry_after_ms or 0
        age_ms = (connection.loop.time() - connection.began) * 1000
        self._short_lived = self._short_lived + 1 if age_ms < self.settings.reconnect_base_ms else 0
        if connection is not self.connection:
            return
        if has_lost_calls and not self.is_closed and not self.is_usable:
            self._failure = self._not_sent(Code.UNAVAILABLE, connection.ended or "")
            self._failing_since = connection.loop.time()
            self.open()

    def close(self) -> None:
        """Closes the connection; calls in flight fail."""
        self.is_closed = True
        if self._opening is not None:
            self._opening.cancel()
        if self.connection is not None:
            self.connection.end("the client was closed")
        self._progress.set()


class RetryBudget:
    """What all calls of a client together may add to the load by trying again: a share of the calls, and a few a second."""

    WINDOW_S = 10.0

    def __init__(self, settings: Settings) -> None:
        self._share = settings.retry_budget_percent / 100
        self._per_second = float(settings.retry_budget_per_second)
        self._tokens = self._per_second
        self._at = time.monotonic()
        self._rate = 0.0
        self._counted = 0
        # First tries so far.
        self.calls = 0

    def withdraw(self) -> bool:
        """Takes the right to another try, where there is one left."""
        now = time.monotonic()
        elapsed, self._at = max(now - self._at, 1e-9), now
        calls, self._counted = self.calls - self._counted, self.calls
        weight = 2.718281828 ** (-elapsed / self.WINDOW_S)
        self._rate = self._rate * weight + calls / elapsed * (1 - weight)
        # What is not used within the window is lost.
        most = self._per_second + self._rate * self._share * self.WINDOW_S
        self._tokens = min(most, self._tokens + calls * self._share + elapsed * self._per_second)
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
