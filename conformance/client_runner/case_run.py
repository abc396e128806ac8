"""One client case on its way through its steps."""

from __future__ import annotations

import json
import time
from typing import Any, Dict, List, Optional

from client_runner.case import VERBS, Case, step_kind
from client_runner.driver import Driver
from client_runner.request import request_mismatch
from client_runner.server import Peer, ScriptedServer
from runner.connection import Failed, shorten
from runner.reply import Context, mismatch

# Settings of a case unless it has others: pings would come between the lines that are expected.
BASE_SETTINGS: Dict[str, Any] = {"ping_interval_ms": 0, "call_timeout_ms": 10_000}


class CaseRun:
    """One client case on its way through its steps."""

    def __init__(self, case: Case, driver: Driver, timeout: float) -> None:
        self.case = case
        self.driver = driver
        self.timeout = timeout
        self.context = Context()
        self.server = ScriptedServer(case.servers, case.down, case.stores)
        self.step_began = time.monotonic()

    def run(self) -> None:
        """Raises `Failed` at the first step that does not find what it expects."""
        try:
            self.tell("open", {"as": "client", "target": self.server.target, "settings": self.case.settings})
            self.see_done("client")
            for number, step in enumerate(self.case.steps, 1):
                kind = step_kind(step)
                try:
                    self.do(kind, step)
                except Failed as failed:
                    raise Failed(f"step {number}, {describe(kind, step)}: {failed}") from failed
            self.finish()
        except OSError as error:
            raise Failed(f"a connection has failed: {error}") from error
        finally:
            self.server.close()

    def finish(self) -> None:
        """The client is closed: nothing may be left, at its caller or on the wire."""
        self.tell("close", {"as": "client"})
        self.see_done("client")
        self.server.finish(self.deadline())
        left = self.driver.left_over()
        if left:
            raise Failed(f"after the last step the caller has seen more: {left}")

    def deadline(self) -> float:
        """Until when the client has time for what is expected next."""
        return time.monotonic() + self.timeout

    def do(self, kind: str, step: Dict[str, Any]) -> None:
        """One step."""
        began, self.step_began = self.step_began, time.monotonic()
        if kind in VERBS:
            self.tell(kind, self.filled({"as": "client", **step[kind]}))
            return
        peer = self.server.named.get(step.get("on", "a"))
        getattr(self, "do_" + kind)(step, peer)
        if "after_ms" in step:
            passed = (time.monotonic() - began) * 1000
            least, most = step["after_ms"]
            if not least <= passed <= most:
                raise Failed(f"it came {passed:.0f} ms after the step before began, not {least} to {most}")
        elif kind in ("pause_ms", "expect_quiet_ms", "expect_no_connection_ms"):
            self.step_began = time.monotonic()

    def filled(self, value: Any) -> Any:
        """The value with `${...}` put in."""
        return json.loads(self.context.fill(json.dumps(value)))

    # The caller

    def tell(self, verb: str, arguments: Dict[str, Any]) -> None:
        """Has the caller do something."""
        if verb == "open":
            arguments = {**arguments, "settings": {**BASE_SETTINGS, **arguments.get("settings", {})}}
            arguments.setdefault("target", self.server.target)
        self.driver.tell(verb, arguments)

    def see_done(self, name: str) -> None:
        """What was begun under this name is done."""
        told = self.driver.see(name, self.deadline())
        if told != {"done": True}:
            raise Failed(f"the client cannot be opened or closed: {json.dumps(told)}")

    def see(self, name: str, deadline: float) -> Dict[str, Any]:
        """What the caller sees next; meanwhile what asks for a store is answered."""
        while self.case.stores and not self.driver.has_seen(name) and time.monotonic() < deadline:
            self.server.answer_describes(0.02)
        return self.driver.see(name, deadline)

    def do_see(self, step: Dict[str, Any], _peer: Optional[Peer]) -> None:
        deadline = self.deadline()
        for name, pattern in step["see"].items():
            told = self.see(name, deadline)
            while "skip_items" in step and "item" in told:
                told = self.see(name, deadline)
            reason = mismatch(pattern, told, self.context, "what the caller sees")
            if reason is not None:
                raise Failed(f"{shorten(json.dumps(told).encode())}: {reason}")

    def do_unseen(self, step: Dict[str, Any], _peer: Optional[Peer]) -> None:
        for name in step["unseen"]:
            if self.driver.has_seen(name):
                raise Failed(f"the caller has seen something of {name} already")

    # The server

    def do_accept(self, step: Dict[str, Any], _peer: Optional[Peer]) -> None:
        self.server.accept(step["accept"], self.deadline())

    def do_send(self, step: Dict[str, Any], peer: Peer) -> None:
        self.send(self.context.fill(step["send"]).encode("utf-8"), step, peer)

    def do_send_hex(self, step: Dict[str, Any], peer: Peer) -> None:
        self.send(bytes.fromhex(self.context.fill(step["send_hex"])), step, peer)

    def do_send_repeat(self, step: Dict[str, Any], peer: Peer) -> None:
        pieces: List[str] = []
        for number in range(step["send_repeat"]["times"]):
            self.context.n = number
            pieces.append(self.context.fill(step["send_repeat"]["text"]))
        self.send("".join(pieces).encode("utf-8"), step, peer)

    @staticmethod
    def send(data: bytes, step: Dict[str, Any], peer: Peer) -> None:
        """Sends bytes, whole or in pieces."""
        split = step.get("split", 0)
        peer.send(data, 1 if split == "every-byte" else split, step.get("every_ms", 0) / 1000)

    def do_half_close(self, _step: Dict[str, Any], peer: Peer) -> None:
        peer.half_close()

    def do_cut(self, _step: Dict[str, Any], peer: Peer) -> None:
        peer.cut()

    def do_reset(self, _step: Dict[str, Any], peer: Peer) -> None:
        peer.reset()

    def do_listen(self, step: Dict[str, Any], _peer: Optional[Peer]) -> None:
        self.server.listeners[step["listen"]].listen()

    def do_unlisten(self, step: Dict[str, Any], _peer: Optional[Peer]) -> None:
        self.server.listeners[step["unlisten"]].unlisten()

    def do_stores(self, step: Dict[str, Any], _peer: Optional[Peer]) -> None:
        self.server.stores.update(step["stores"])

    def do_pause_ms(self, step: Dict[str, Any], _peer: Optional[Peer]) -> None:
        time.sleep(step["pause_ms"] / 1000)

    def do_answer_all(self, step: Dict[str, Any], peer: Peer) -> None:
        """Answers every request with the same words, for a while or until no more come."""
        until, answered = time.monotonic() + step["answer_all"]["for_ms"] / 1000, 0
        while True:
            try:
                _, request = peer.next_request(min(until, time.monotonic() + 0.5))
            except Failed:
                break
            self.keep("id", request)
            self.send(self.context.fill(step["answer_all"]["send"]).encode("utf-8"), {}, peer)
            answered += 1
        self.check_number(step, answered)

    def do_turn_away_ms(self, step: Dict[str, Any], _peer: Optional[Peer]) -> None:
        self.check_number(step, self.server.turn_away(step["turn_away_ms"] / 1000, step.get("send", "").encode()))

    @staticmethod
    def check_number(step: Dict[str, Any], number: int) -> None:
        """Raises `Failed` where it is not as large as the step wants it."""
        least, most = step["between"]
        if not least <= number <= most:
            raise Failed(f"there were {number}, not {least} to {most}")

    # What is expected on the wire

    def do_expect_request(self, step: Dict[str, Any], peer: Optional[Peer]) -> None:
        deadline = self.deadline()
        for number in range(step.get("times", 1)):
            self.context.n = number
            if "first" in step and number == 0:
                peer = self.server.name_first(step["first"], deadline)
            if "anywhere" in step:
                peer = self.server.name_first(step["anywhere"], deadline, or_of=peer)
            assert peer is not None  # the self-check has looked for its name
            raw, request = peer.next_request(deadline, step["expect_request"].get("cmdid"))
            reason = request_mismatch(step["expect_request"], request, self.context) or raw_mismatch(step, raw, self.context)
            if reason is not None:
                raise Failed(f"{shorten(raw)}: {reason}")
            self.keep(step.get("as", "id"), request)

    def do_expect_requests(self, step: Dict[str, Any], peer: Optional[Peer]) -> None:
        deadline = self.deadline()
        wanted = dict(step["expect_requests"])
        if "first" in step:
            peer = self.server.name_first(step["first"], deadline)
        assert peer is not None  # the self-check has looked for its name
        while wanted:
            raw, request = peer.next_request(deadline)
            for name, pattern in wanted.items():
                if request_mismatch(pattern, request, self.context) is None:
                    self.keep(name, request)
                    del wanted[name]
                    break
            else:
                raise Failed(f"{shorten(raw)}: it matches none of what is still expected")

    def keep(self, name: str, request: Dict[str, Any]) -> None:
        """The id of a request is known by the request's name from now on."""
        if "id" in request:
            self.context.values[name] = str(request["id"])

    def do_expect_closed(self, _step: Dict[str, Any], peer: Peer) -> None:
        peer.expect_closed(self.deadline())

    def do_expect_quiet_ms(self, step: Dict[str, Any], peer: Peer) -> None:
        self.server.quiet(peer, step["expect_quiet_ms"] / 1000)

    def do_expect_no_connection_ms(self, step: Dict[str, Any], _peer: Optional[Peer]) -> None:
        self.server.quiet(None, step["expect_no_connection_ms"] / 1000)

    def do_same_server(self, step: Dict[str, Any], _peer: Optional[Peer]) -> None:
        one, other = (self.server.named[name] for name in step["same_server"])
        if one.server != other.server:
            raise Failed("they are connections to different servers")

    def do_other_server(self, step: Dict[str, Any], _peer: Optional[Peer]) -> None:
        one, other = (self.server.named[name] for name in step["other_server"])
        if one.server == other.server:
            raise Failed("they are connections to the same server")


def raw_mismatch(step: Dict[str, Any], raw: bytes, context: Context) -> Optional[str]:
    """Why the bytes are not as the step wants them, or None where they are."""
    if "raw_contains" in step and context.fill(step["raw_contains"]).encode() not in raw:
        return f"it does not contain {step['raw_contains']!r}"
    if "raw_lacks" in step and context.fill(step["raw_lacks"]).encode() in raw:
        return f"it contains {step['raw_lacks']!r}"
    return None


def describe(kind: str, step: Dict[str, Any]) -> str:
    """A step for people, in the line that reports its failure."""
    text = json.dumps(step[kind], ensure_ascii=False)
    text = text if len(text) <= 200 else text[:200] + " ..."
    return f"{kind} on {step['on']} {text}" if "on" in step else f"{kind} {text}"
