"""The one place where the runner moves bytes."""

from __future__ import annotations

import errno
import select
import socket
import struct
import time
from dataclasses import dataclass
from typing import List, Optional, Tuple

from runner.reply import JsonObject, parse_reply
from runner.vector import UsageError

# What is read of one line, or of a reply that is not a line, before the runner gives up on the server.
READ_BYTES_MAX = 16 * 1024 * 1024


class Failed(Exception):
    """A vector has failed; the text says what was expected and what came."""


@dataclass(frozen=True)
class Target:
    """Where the server is."""

    host: str = ""
    port: int = 0
    path: str = ""

    @staticmethod
    def parse(text: str) -> "Target":
        """`HOST:PORT`, `[V6]:PORT` or `unix:PATH`."""
        if text.startswith("unix:") and len(text) > 5:
            return Target(path=text[5:])
        host, colon, port = text.rpartition(":")
        if not colon or not host or not port.isdecimal() or not 0 < int(port) < 65536:
            raise UsageError(f"{text!r} is neither HOST:PORT nor unix:PATH")
        return Target(host=host.strip("[]"), port=int(port))

    def connect(self, timeout: float) -> socket.socket:
        """A new connection to it."""
        if self.path:
            made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            made.settimeout(timeout)
            made.connect(self.path)
        else:
            made = socket.create_connection((self.host, self.port), timeout)
            # Each piece of a split must leave as it is, not wait for an acknowledgement of the one before it.
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.setblocking(False)
        return made


class Connection:
    """One connection of a vector. It reads while it writes: a server need not buffer for a peer that does not read."""

    def __init__(self, target: Target, timeout: float) -> None:
        self.socket = target.connect(timeout)
        # For each reply, and for each send, in seconds.
        self.timeout = timeout
        self.buffer = bytearray()
        self.searched = 0
        self.ended = False
        self.broken: Optional[str] = None
        self.notices: List[Tuple[bytes, JsonObject]] = []
        self.half_closed = False
        self.done = False

    def send(self, data: bytes) -> None:
        """Sends all of `data`. A server that no longer takes it shows in what is expected afterwards."""
        view = memoryview(data)
        deadline = time.monotonic() + self.timeout
        while view and self.broken is None:
            # After the end of the server's stream the socket is always readable: there is nothing left to wait for.
            wanted = [] if self.ended else [self.socket]
            readable, writable, _ = select.select(wanted, [self.socket], [], max(0.0, deadline - time.monotonic()))
            if readable:
                self.receive()
            if writable:
                try:
                    view = view[self.socket.send(view) :]
                except BlockingIOError:
                    continue
                except (BrokenPipeError, ConnectionResetError):
                    self.broken = "the server has reset the connection"
            if not readable and not writable:
                left = f"{len(view)} of {len(data)} are left after {self.timeout:g} s"
                raise Failed(f"the server takes no more bytes: {left}")

    def receive(self) -> None:
        """Reads once from a socket that is readable."""
        try:
            data = self.socket.recv(262144)
        except BlockingIOError:
            return
        except (ConnectionResetError, BrokenPipeError):
            self.broken = "the server has reset the connection"
            self.ended = True
            return
        self.buffer += data
        if not data:
            self.ended = True
            # An RST that comes behind the end of the stream is kept by the kernel as the socket's error.
            if self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) in (errno.EPIPE, errno.ECONNRESET):
                self.broken = "the server has reset the connection behind the end of its stream"

    def wait(self, deadline: float) -> bool:
        """Reads once; false where nothing came until the deadline."""
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([self.socket], [], [], left)[0]:
            return False
        self.receive()
        return True

    def deadline(self) -> float:
        """Until when the server has time for what is expected next."""
        return time.monotonic() + self.timeout

    def next_line(self, deadline: float) -> bytes:
        """The next line with its newline."""
        while True:
            newline = self.buffer.find(b"\n", self.searched)
            if newline >= 0:
                line = bytes(self.buffer[: newline + 1])
                del self.buffer[: newline + 1]
                self.searched = 0
                return line
            self.searched = len(self.buffer)
            if self.ended or len(self.buffer) > READ_BYTES_MAX:
                raise Failed(self.came())
            if not self.wait(deadline):
                raise Failed(self.came(f"no further line within {self.timeout:g} s"))

    def came(self, what: str = "") -> str:
        """What came instead of a line."""
        what = what or self.broken or "the server has closed the connection"
        return f"{what}, after {shorten(bytes(self.buffer))}" if self.buffer else what

    def next_message(self, want_notice: bool = False, deadline: Optional[float] = None) -> Tuple[bytes, JsonObject]:
        """The next reply, or the next notice; heartbeats are passed over, and notices where a reply is wanted."""
        if want_notice and self.notices:
            return self.notices.pop(0)
        while True:
            raw = self.next_line(self.deadline() if deadline is None else deadline)
            if raw in (b"\n", b"\r\n"):
                continue
            try:
                message = parse_reply(raw)
            except (ValueError, RecursionError) as error:
                raise Failed(f"{shorten(raw)}, which is no proper line of a server: {error}") from error
            if want_notice and "code" in message:
                raise Failed(f"{shorten(raw)}, which is a reply")
            if want_notice or "code" in message:
                return raw, message
            self.notices.append((raw, message))

    def to_end(self) -> bytes:
        """All that comes up to the end of the stream."""
        deadline = self.deadline()
        while not self.ended:
            if len(self.buffer) > READ_BYTES_MAX or not self.wait(deadline):
                raise Failed(self.came(f"no end of the stream within {self.timeout:g} s"))
        if self.broken is not None:
            raise Failed(self.came())
        came = bytes(self.buffer)
        self.buffer.clear()
        self.searched = 0
        return came

    def expect_closed(self) -> None:
        """The end of the stream, nothing but heartbeats and notices before it, and no RST."""
        came = self.to_end()
        for line in came.splitlines(keepends=True):
            if line in (b"\n", b"\r\n"):
                continue
            try:
                if "code" not in parse_reply(line):
                    continue
            except (ValueError, RecursionError):
                pass
            raise Failed(f"{shorten(came)} before the end of the stream")
        self.close()

    def half_close(self) -> None:
        """Ends our stream and goes on reading."""
        self.half_closed = True
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            if error.errno != errno.ENOTCONN:
                raise
            self.broken = "the server has reset the connection"

    def reset(self) -> None:
        """Leaves with an RST: a linger of zero makes `close` send one."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        """Gives the socket back."""
        self.done = True
        self.socket.close()


def shorten(raw: bytes) -> str:
    """Bytes for people: as they came, cut where they are many."""
    return repr(raw) if len(raw) <= 300 else f"{raw[:200]!r} ... {raw[-60:]!r} ({len(raw)} bytes)"
