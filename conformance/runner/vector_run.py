"""One vector on its way through its steps."""

from __future__ import annotations

import json
import time
from typing import Any, Dict, List, Optional, Tuple

from runner.connection import Connection, Failed, Target, shorten
from runner.reply import Context, mismatch
from runner.vector import Vector, step_kind

SLOW_EXTRA_S = 15.0
# Ids of the runner's own pings start here, far from those that the vectors use.
OWN_ID_FIRST = 8_000_000_000


class VectorRun:
    """One vector on its way through its steps."""

    def __init__(self, vector: Vector, target: Target, timeout: float, token: Optional[str] = None) -> None:
        self.vector = vector
        self.target = target
        self.timeout = timeout + (SLOW_EXTRA_S if vector.slow else 0.0)
        self.context = Context()
        if token is not None:
            self.context.values["token"] = token
        self.connections: Dict[str, Connection] = {}
        self.own_pings = 0

    def run(self) -> None:
        """Raises `Failed` at the first step that does not find what it expects."""
        try:
            self.connections["a"] = Connection(self.target, self.timeout)
            for number, step in enumerate(self.vector.steps, 1):
                kind = step_kind(step)
                try:
                    getattr(self, "do_" + kind)(step, self.connections.get(step.get("on", "a")))
                except Failed as failed:
                    raise Failed(f"step {number}, {describe_step(kind, step)}: {failed}") from failed
            for name, connection in self.connections.items():
                self.finish(name, connection)
        except OSError as error:
            raise Failed(f"the connection has failed: {error}") from error
        finally:
            for connection in self.connections.values():
                connection.close()

    def finish(self, name: str, connection: Connection) -> None:
        """Ends our stream: the server must close its own, and must not have anything left to say."""
        if connection.done:
            return
        if not connection.half_closed:
            connection.half_close()
        try:
            connection.expect_closed()
        except Failed as failed:
            raise Failed(f"after the last step, the end of connection {name} expected: {failed}") from failed

    # Sending

    def do_send(self, step: Dict[str, Any], connection: Connection) -> None:
        self.send_split(self.context.fill(step["send"]).encode("utf-8"), step, connection)

    def do_send_hex(self, step: Dict[str, Any], connection: Connection) -> None:
        self.send_split(bytes.fromhex(step["send_hex"]), step, connection)

    def do_send_repeat(self, step: Dict[str, Any], connection: Connection) -> None:
        text, times = step["send_repeat"]["text"], step["send_repeat"]["times"]
        if "${" not in text:
            data = text.encode("utf-8") * times
        else:
            data = b"".join(self.numbered(text, n).encode("utf-8") for n in range(times))
        self.send_split(data, step, connection)

    def numbered(self, text: str, n: int) -> str:
        """The text of the n-th repetition."""
        self.context.n = n
        return self.context.fill(text)

    @staticmethod
    def send_split(data: bytes, step: Dict[str, Any], connection: Connection) -> None:
        """Sends `data` in pieces of the length that the step asks for, each with a system call of its own."""
        split = step.get("split")
        length = 1 if split == "every-byte" else int(split or len(data) or 1)
        for start in range(0, len(data), length):
            connection.send(data[start : start + length])

    def do_drip(self, step: Dict[str, Any], connection: Connection) -> None:
        """Sends a piece at a time, at a slow and even pace, until the server says something."""
        drip = step["drip"]
        data = self.context.fill(drip["text"]).encode("utf-8") * drip.get("repeat", 1)
        for _ in range(drip["times"]):
            connection.send(data)
            if connection.wait(time.monotonic() + drip["every_ms"] / 1000):
                return
        raise Failed(f"the server has waited for all {drip['times']} pieces")

    def do_pause_ms(self, step: Dict[str, Any], _connection: Connection) -> None:
        time.sleep(step["pause_ms"] / 1000)

    def do_half_close(self, _step: Dict[str, Any], connection: Connection) -> None:
        connection.half_close()

    def do_reset(self, _step: Dict[str, Any], connection: Connection) -> None:
        connection.reset()

    def do_open(self, step: Dict[str, Any], _connection: Connection) -> None:
        self.connections[step["open"]] = Connection(self.target, self.timeout)

    # Expecting

    def do_expect(self, step: Dict[str, Any], connection: Connection) -> None:
        for n in range(step.get("times", 1)):
            self.context.n = n
            raw, reply = connection.next_message()
            reason = mismatch(step["expect"], reply, self.context) or self.raw_mismatch(step, raw)
            if reason is not None:
                raise Failed(f"{shorten(raw)}: {reason}")

    def raw_mismatch(self, step: Dict[str, Any], raw: bytes) -> Optional[str]:
        """Why the bytes are not as the step wants them, or None where they are."""
        prefix, contains, lacks = (
            self.context.fill(step[name]).encode("utf-8") if name in step else None
            for name in ("raw_prefix", "raw_contains", "raw_lacks")
        )
        if prefix is not None and not raw.startswith(prefix):
            return f"it does not begin with {prefix!r}"
        if contains is not None and contains.lower() not in raw.lower():
            return f"it does not contain {contains!r}"
        if lacks is not None and lacks.lower() in raw.lower():
            return f"it contains {lacks!r}"
        return None

    def do_expect_any_order(self, step: Dict[str, Any], connection: Connection) -> None:
        """Each reply must match the head of a chain; a pattern that stands alone is a chain of one.

        All of them share one timeout: calls that are to run side by side must not take the sum of their times.
        """
        deadline = connection.deadline()
        chains: List[List[Tuple[int, Any]]] = []
        for n in range(step.get("times", 1)):
            for entry in step["expect_any_order"]:
                chains.append([(n, pattern) for pattern in (entry if isinstance(entry, list) else [entry])])
        while chains:
            raw, reply = connection.next_message(deadline=deadline)
            for chain in chains:
                self.context.n, pattern = chain[0]
                if mismatch(pattern, reply, self.context) is None:
                    del chain[0]
                    if not chain:
                        chains.remove(chain)
                    break
            else:
                raise Failed(f"{shorten(raw)}: it matches none of what is still expected")

    def do_expect_event(self, step: Dict[str, Any], connection: Connection) -> None:
        raw, notice = connection.next_message(want_notice=True)
        reason = mismatch(step["expect_event"], notice, self.context)
        if reason is not None:
            raise Failed(f"{shorten(raw)}: {reason}")

    def do_expect_raw_prefix(self, step: Dict[str, Any], connection: Connection) -> None:
        """For an answer that is not a line: all of it, up to the end of the stream."""
        came = connection.to_end()
        reason = self.raw_mismatch({**step, "raw_prefix": step["expect_raw_prefix"]}, came)
        if reason is not None:
            raise Failed(f"{shorten(came)}: {reason}")

    def do_expect_open(self, _step: Dict[str, Any], connection: Connection) -> None:
        self.ping(connection, ordered=False)

    def do_expect_silence(self, step: Dict[str, Any], connection: Connection) -> None:
        self.ping(connection, ordered=step["expect_silence"] == "ordered")

    def ping(self, connection: Connection, ordered: bool) -> None:
        """A ping whose reply must be the next one: no other line was on its way."""
        self.own_pings += 1
        number = OWN_ID_FIRST + self.own_pings
        token = f"still here {number}"
        request = {"cmdid": 0, "params": token} if ordered else {"id": number, "cmdid": 0, "params": token}
        connection.send((json.dumps(request) + "\n").encode("utf-8"))
        raw, reply = connection.next_message()
        expected = {"code": 0, "data": token} if ordered else {"id": number, "code": 0, "data": token}
        if mismatch(expected, reply, self.context) is not None:
            raise Failed(f"{shorten(raw)} came, before the reply to the ping that shows that no other line comes")

    def do_expect_closed(self, _step: Dict[str, Any], connection: Connection) -> None:
        connection.expect_closed()


def describe_step(kind: str, step: Dict[str, Any]) -> str:
    """A step for people, in the line that reports its failure."""
    text = json.dumps(step[kind], ensure_ascii=False)
    text = text if len(text) <= 200 else text[:200] + " ..."
    on = f" on {step['on']}" if "on" in step else ""
    if kind.startswith("expect"):
        return f"{kind}{on}: expected {text}, came" if text != "true" else f"{kind}{on}: came"
    return f"{kind}{on}"
