"""The scripted server: listeners whose connections a case names, and the bytes of each of them."""

from __future__ import annotations

import json
import re
import select
import socket
import struct
import time
from typing import Any, Dict, List, Optional, Tuple, Union

from client_runner.request import CANCEL, IdsInFlight, parse_request
from runner.connection import Failed, shorten

# What is read of one line before the runner gives up on the client.
READ_BYTES_MAX = 16 * 1024 * 1024
DESCRIBE = 1

# The name of the store that a server tells for a command; `True` where it calls the command idempotent, `None` where it does
# not answer.
Stores = Dict[str, Union[str, bool, None]]


class Peer:
    """One connection that the client has opened."""

    def __init__(self, made: socket.socket, server: str, stores: Stores) -> None:
        self.socket = made
        self.server = server
        # Whether `describe` is answered aside from the script, and the store that it tells: that of the process which the
        # connection was made to.
        self.describes = server in stores
        self.store = stores.get(server)
        self.ids = IdsInFlight()
        self.buffer = bytearray()
        self.ended = False
        self.done = False

    def send(self, data: bytes, pieces: int, every_s: float) -> None:
        """Sends `data`, in pieces of this size unless that is 0."""
        self.ids.note_sent(data)
        length = pieces or len(data) or 1
        try:
            self.socket.settimeout(10)
            for start in range(0, len(data), length):
                self.socket.sendall(data[start : start + length])
                if every_s:
                    time.sleep(every_s)
        except (BrokenPipeError, ConnectionResetError):
            pass  # It shows in what is expected afterwards.
        except OSError as error:
            raise Failed(f"the client takes no more bytes: {error}") from error

    def receive(self) -> None:
        """Reads once from a socket that is readable."""
        try:
            data = self.socket.recv(262144)
        except (ConnectionResetError, BrokenPipeError):
            data = b""
        self.buffer += data
        self.ended = not data

    def has_line(self) -> bool:
        """Whether a whole line, not an empty one, is in the buffer."""
        while self.buffer[:1] == b"\n" or self.buffer[:2] == b"\r\n":
            del self.buffer[: self.buffer.index(b"\n") + 1]
        return b"\n" in self.buffer

    def take(self) -> Tuple[bytes, Dict[str, Any]]:
        """The first whole line."""
        end = self.buffer.index(b"\n") + 1
        raw = bytes(self.buffer[:end])
        del self.buffer[:end]
        try:
            request = parse_request(raw)
            self.ids.note_request(request)
        except (ValueError, RecursionError) as error:
            raise Failed(f"{shorten(raw)}, which is no proper line of a client: {error}") from error
        return raw, request

    def next_request(self, deadline: float, wanted: Optional[int] = None) -> Tuple[bytes, Dict[str, Any]]:
        """The next line; empty ones are passed over, and needless ones unless that command is wanted."""
        while True:
            while not self.has_line():
                if self.ended or len(self.buffer) > READ_BYTES_MAX:
                    raise Failed(self.came("the client has closed the connection"))
                left = deadline - time.monotonic()
                if left <= 0 or not select.select([self.socket], [], [], left)[0]:
                    raise Failed(self.came("no line came in time"))
                self.receive()
            raw, request = self.take()
            if self.describes and request["cmdid"] == DESCRIBE:
                self.describe(request)
            elif request["cmdid"] == wanted or not self.ids.is_needless(request):
                return raw, request

    def answer_describes(self) -> None:
        """Answers those that come before everything else."""
        while self.describes and not self.done and self.has_line():
            if not re.search(rb'"cmdid"\s*:\s*1\s*[,}]', self.buffer[: self.buffer.index(b"\n")]):
                return
            self.describe(self.take()[1])

    def describe(self, request: Dict[str, Any]) -> None:
        """Answers what a client asks of a command; without a store it never does, and a client may give the question up."""
        if self.store is None:
            self.ids.ids.discard(request["id"])
            return
        cmdid = request.get("params", {}).get("cmdid", 100)
        is_idempotent = self.store is True
        command = {"cmdid": cmdid, "service": "orders", "method": "place", "doc": "", "kind": "unary"}
        command["idempotent"] = is_idempotent
        name = "" if is_idempotent else self.store
        if name:
            command["dedup"] = {"store": name}
        server = {"protocol": 1, "server": {"name": "a", "version": "1"}, "instance": name.split("-")[0] or "i"}
        reply = {"id": request["id"], "code": 0, "data": {**server, "commands": [command]}}
        self.send(json.dumps(reply).encode() + b"\n", 0, 0)

    def came(self, what: str) -> str:
        """What came instead of a line."""
        return f"{what}, after {shorten(bytes(self.buffer))}" if self.buffer else what

    def expect_closed(self, deadline: float) -> None:
        """The end of the stream; only cancels and credits may come before it."""
        while True:
            while self.has_line():
                raw, request = self.take()
                if request["cmdid"] not in (CANCEL, 5) and not (self.describes and request["cmdid"] == DESCRIBE):
                    raise Failed(f"{shorten(raw)} before the end of the stream")
            if self.ended:
                break
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.socket], [], [], left)[0]:
                raise Failed("the client keeps the connection open")
            self.receive()
        if self.buffer:
            raise Failed(f"the stream ends in the middle of a line: {shorten(bytes(self.buffer))}")
        self.close()

    def half_close(self) -> None:
        """Ends this side and reads on."""
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # The client was faster; what is expected next tells.

    def reset(self) -> None:
        """Leaves with an RST: a linger of zero makes `close` send one."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def cut(self) -> None:
        """Closes in order: what was sent arrives, then the end. What is unread is read, or it would be an RST."""
        self.half_close()
        while not self.ended and select.select([self.socket], [], [], 0)[0]:
            self.receive()
        self.close()

    def close(self) -> None:
        """Gives the socket back."""
        self.done = True
        self.socket.close()


class Listener:
    """One address that may be called: bound all the time, so that no other program takes it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.socket = self.bind(0)
        self.port: int = self.socket.getsockname()[1]
        self.is_listening = False

    @staticmethod
    def bind(port: int) -> socket.socket:
        """A socket that refuses connections until it listens."""
        made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(("127.0.0.1", port))
        return made

    def listen(self) -> None:
        """From now on connections are taken."""
        self.socket.listen(64)
        self.is_listening = True

    def unlisten(self) -> None:
        """From now on connections are refused."""
        self.socket.close()
        self.socket = self.bind(self.port)
        self.is_listening = False


class ScriptedServer:
    """All listeners of a case and the connections to them."""

    def __init__(self, servers: int, down: List[str], stores: Stores) -> None:
        self.stores = dict(stores)
        self.listeners = {f"s{number + 1}": Listener(f"s{number + 1}") for number in range(servers)}
        for name, listener in self.listeners.items():
            if name not in down:
                listener.listen()
        self.named: Dict[str, Peer] = {}
        self.unnamed: List[Peer] = []

    @property
    def target(self) -> str:
        """All addresses, as a client is told them."""
        return ",".join(f"127.0.0.1:{listener.port}" for listener in self.listeners.values())

    def poll(self, left: float, wants_lines: bool) -> None:
        """Takes connections that wait; with `wants_lines` reads from those without a name, too."""
        listening = [listener.socket for listener in self.listeners.values() if listener.is_listening]
        reading = [peer.socket for peer in self.unnamed if not peer.ended] if wants_lines else []
        ready = select.select(listening + reading, [], [], max(0.0, left))[0]
        for listener in self.listeners.values():
            if listener.socket in ready:
                made, _ = listener.socket.accept()
                made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.unnamed.append(Peer(made, listener.name, self.stores))
        for peer in self.unnamed:
            if peer.socket in ready:
                peer.receive()

    def answer_describes(self, left: float) -> None:
        """Looks for a while whether clients ask for a store."""
        self.poll(left, wants_lines=True)
        for peer in self.named.values():
            if not peer.done and not peer.ended and select.select([peer.socket], [], [], 0)[0]:
                peer.receive()
        for peer in [*self.named.values(), *self.unnamed]:
            peer.answer_describes()

    def accept(self, name: str, deadline: float) -> None:
        """Names the connection that was opened first of those without a name."""
        while not self.unnamed:
            left = deadline - time.monotonic()
            if left <= 0:
                raise Failed("no connection came in time")
            self.poll(left, wants_lines=False)
        self.named[name] = self.unnamed.pop(0)

    def name_first(self, name: str, deadline: float, or_of: Optional[Peer] = None) -> Peer:
        """Names the connection on which a line comes first: one of those without a name, or `or_of`."""
        while True:
            if or_of is not None and not or_of.done and not or_of.ended:
                if select.select([or_of.socket], [], [], 0)[0]:
                    or_of.receive()
                if or_of.has_line():
                    self.named[name] = or_of
                    return or_of
            for peer in self.unnamed:
                # A client may ask several servers for their stores before it knows where its call belongs.
                peer.answer_describes()
                if peer.has_line():
                    self.unnamed.remove(peer)
                    self.named[name] = peer
                    return peer
            left = deadline - time.monotonic()
            if left <= 0:
                raise Failed("no line came in time, on no new connection")
            self.poll(min(left, 0.05) if or_of is not None else left, wants_lines=True)

    def quiet(self, peer: Optional[Peer], seconds: float) -> None:
        """Nothing comes for a while: no line on the connection, or no new connection if none is given."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if peer is None:
                self.poll(left, wants_lines=False)
                if self.unnamed:
                    raise Failed("a connection came")
                continue
            if peer.has_line():
                raise Failed(f"{shorten(peer.take()[0])} came")
            if peer.ended:
                raise Failed("the client has closed the connection")
            if select.select([peer.socket], [], [], left)[0]:
                peer.receive()

    def turn_away(self, seconds: float, farewell: bytes) -> int:
        """Closes every connection once a line has come on it, for a while; how many there were."""
        until, turned_away = time.monotonic() + seconds, 0
        while (left := until - time.monotonic()) > 0:
            self.poll(left, wants_lines=True)
            for peer in [peer for peer in self.unnamed if peer.ended or peer.has_line()]:
                if not peer.ended:
                    peer.send(farewell, 0, 0)
                peer.cut()
                self.unnamed.remove(peer)
                turned_away += 1
        return turned_away

    def finish(self, deadline: float) -> None:
        """The client was closed: every connection ends, with nothing left to say."""
        self.poll(0, wants_lines=False)
        for name, peer in [*self.named.items(), *(("without a name", peer) for peer in self.unnamed)]:
            if not peer.done:
                try:
                    peer.expect_closed(deadline)
                except Failed as failed:
                    raise Failed(f"after the last step, on the connection {name}: {failed}") from failed

    def close(self) -> None:
        """Gives all sockets back."""
        for peer in [*self.named.values(), *self.unnamed]:
            if not peer.done:
                peer.close()
        for listener in self.listeners.values():
            listener.socket.close()
