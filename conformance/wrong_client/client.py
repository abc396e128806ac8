"""The small client: one server, one connection, calls that are tried again where that is safe."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from typing import Any, Dict, Optional, Tuple

from wrong_client.connection import Call, Connection, Failure
from wrong_client.resume import Resumption


class Repetition:
    """A call with dedup: its key, its first try, and the store that has the key."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.first_at: Optional[float] = None
        self.lost: Optional[Failure] = None
        self.asked: Optional[Call] = None
        self.store: Optional[str] = None
        self.is_given_up = False

    def meta(self, wrong: Optional[str]) -> Dict[str, str]:
        """The metadata of the next try."""
        key = {"dedup-one-key": "the key", "dedup-new-key": str(uuid.uuid4())}.get(wrong or "", self.key)
        if self.lost is None or wrong == "dedup-no-age" or self.first_at is None:
            return {"idempotency-key": key}
        return {"idempotency-key": key, "idempotency-age-ms": str(int((time.monotonic() - self.first_at) * 1000) + 1)}

    async def begin(self, connection: Connection, cmdid: int, deadline: float, wrong: Optional[str]) -> None:
        """A try begins on this connection; a repetition only where the store is the same."""
        self.asked = Call(is_stream=False)
        connection.send(self.asked, {"cmdid": 1, "params": {"cmdid": cmdid}}, is_ordered=False)
        if self.lost is not None and wrong != "dedup-anywhere":
            while not self.asked.is_over and time.monotonic() < deadline:
                await asyncio.wait([asyncio.ensure_future(self.asked.changed.wait())], timeout=deadline - time.monotonic())
            if self.told() != self.store:
                self.is_given_up = True
                self.lost.told["no_store"] = True
                raise self.lost
        if self.first_at is None or wrong == "dedup-age-of-the-last-try":
            self.first_at = time.monotonic()

    def description(self) -> Dict[str, Any]:
        """What the server has told of the command on this connection."""
        try:
            return dict(self.asked.data["commands"][0]) if self.asked else {}
        except (TypeError, LookupError):
            return {}

    def told(self) -> Optional[str]:
        """The store that the server has told on this connection."""
        name = self.description().get("dedup", {}).get("store")
        return name if isinstance(name, str) else None

    def ended(self, failure: Failure, wrong: Optional[str]) -> bool:
        """A try has failed: whether the call may be repeated."""
        if failure.told["may_have_run"] and self.description().get("idempotent") and wrong != "dedup-never":
            return True
        if failure.told["may_have_run"]:
            self.lost, self.store = failure, self.store or self.told()
        if wrong == "dedup-anywhere":
            return True
        return self.store is not None and not self.is_given_up and wrong != "dedup-never"


class Client:
    """Calls one server."""

    def __init__(self, wrong: Optional[str], target: str, settings: Dict[str, Any]) -> None:
        self.wrong = wrong
        self.settings = settings
        host, _, port = target.rpartition(":")
        self.address = (host, int(port))
        self.connection: Optional[Connection] = None
        self.opened = 0
        self.opening: Optional[asyncio.Task[Connection]] = None
        self.failing_since: Optional[float] = None
        self.last_failure: Optional[Failure] = None
        self.closed_without_answer = 0
        self.budget, self.budget_at = 10.0, time.monotonic()
        self.turn = asyncio.Lock()
        self.is_closed = False
        self.has_lost_oneways = False

    def setting(self, name: str, usual: float) -> float:
        """A setting, or what it usually is."""
        return float(self.settings.get(name, usual))

    # The connection

    async def connected(self) -> Connection:
        """The connection; the call that needs one waits until it is there, or until that takes too long."""
        connection = self.connection
        if connection is not None and connection.ended is None and not connection.is_leaving:
            if self.wrong != "connection-for-each-call":
                return connection
        if connection is not None and self.wrong == "never-comes-back":
            raise Failure(14, "it never comes back", sent=False)
        opening = self.reopen()
        while not opening.done():
            patience: Optional[float] = None
            if self.failing_since is not None:
                patience = self.failing_since + self.setting("fail_fast_after_ms", 1000) / 1000 - time.monotonic()
                if patience <= 0 or (self.last_failure and self.last_failure.told["code"] == 16):
                    raise self.last_failure or Failure(14, "not connected", sent=False)
            await asyncio.wait([opening], timeout=min(patience, 0.02) if patience else 0.02)
        return opening.result()

    def reopen(self) -> "asyncio.Task[Connection]":
        """The one attempt to connect that is under way; it goes on until it succeeds."""
        if self.opening is None or self.opening.done():
            self.opening = asyncio.create_task(self.open())
        return self.opening

    async def open(self) -> Connection:
        """Connects, with longer and longer pauses."""
        window = self.setting("reconnect_base_ms", 50) / 1000
        cap = self.setting("reconnect_cap_ms", 5000) / 1000
        if self.closed_without_answer > 1 and self.wrong != "no-back-off":
            window = min(cap, window * 2 ** min(16, self.closed_without_answer))
            await asyncio.sleep(window * random.uniform(0.5, 1))
        while True:
            connection = Connection(self.wrong, self.settings)
            try:
                await connection.open(*self.address)
                self.opened += 1
                if self.wrong == "calls-before-authentication":
                    asyncio.create_task(self.authenticate(connection))
                else:
                    await self.authenticate(connection)
            except (OSError, Failure) as error:
                code = error.told["code"] if isinstance(error, Failure) and error.told["answered"] else 14
                self.last_failure = Failure(code, f"cannot connect: {error}", sent=False)
                self.failing_since = self.failing_since or time.monotonic()
                await asyncio.sleep(cap if code == 16 else random.uniform(0, window))
                window = min(cap, window * 2)
                continue
            self.failing_since = None
            self.connection = connection
            asyncio.create_task(self.watch(connection))
            return connection

    async def authenticate(self, connection: Connection) -> None:
        """Says who it is, where it has a token."""
        if "token" not in self.settings or (self.wrong == "authenticates-once" and self.opened > 1):
            return
        call = Call(is_stream=False)
        connection.send(call, {"cmdid": 6, "params": {"token": self.settings["token"]}}, is_ordered=False)
        while not call.is_over:
            await call.changed.wait()
        if call.failure and call.failure.told["code"] != 12:
            connection.writer.close()
            raise call.failure

    async def watch(self, connection: Connection) -> None:
        """A connection that is lost with calls is opened again at once."""
        await connection.end_seen.wait()
        self.has_lost_oneways |= connection.has_unread
        self.closed_without_answer = 0 if connection.has_answered else self.closed_without_answer + 1
        may_open = connection.had_calls and self.wrong != "never-comes-back"
        if (may_open or self.wrong == "reconnects-idle") and self.connection is connection and not self.is_closed:
            self.reopen()

    # Calls

    def request(self, ask: Dict[str, Any], deadline: Optional[float]) -> Dict[str, Any]:
        """What is sent, but for the id."""
        request: Dict[str, Any] = {"cmdid": ask["cmdid"], "params": ask.get("params")}
        if self.settings.get("ordered"):
            return {**request, "timestamp": int(time.time())}
        if deadline is not None and self.wrong != "hides-timeouts":
            request["timeout_ms"] = max(1, int((deadline - time.monotonic()) * 1000))
        meta = dict(ask.get("meta", {}))
        if ask.get("timing") and self.wrong != "timing-unasked":
            meta["timing"] = "1"
        if isinstance(ask.get("dedup"), Repetition):
            meta.update(ask["dedup"].meta(self.wrong))
        elif ask.get("idempotency_key"):
            meta["idempotency-key"] = ask["idempotency_key"]
        return {**request, "meta": meta} if meta else request

    def is_ordered(self, ask: Dict[str, Any]) -> bool:
        """Whether the call goes without an id."""
        return bool(ask.get("ordered") or self.settings.get("ordered"))

    async def call(self, ask: Dict[str, Any]) -> Any:
        """One call with all its tries. Raises `Failure`."""
        limit = ask.get("timeout_ms", self.setting("call_timeout_ms", 5000)) / 1000
        deadline = time.monotonic() + limit
        if limit <= 0:
            raise Failure(4, "no time", sent=False)
        has_key = ask.get("dedup") or ask.get("idempotency_key")
        if has_key and not ask.get("idempotent") and not self.is_ordered(ask):
            ask = {**ask, "dedup": Repetition(ask.get("idempotency_key") or str(uuid.uuid4()))}
        attempts, may_have_run = 0, False
        while True:
            attempts += 1
            try:
                return await self.one_try(ask, deadline)
            except Failure as failure:
                attempts -= bool(failure.told.pop("no_store", False))
                pause = self.pause(failure, ask, attempts)
                if pause is None or time.monotonic() + pause >= deadline:
                    failure.told["attempts"] = attempts
                    if may_have_run:
                        failure.told.update(sent=True, may_have_run=True, rejected=False)
                    raise
                may_have_run |= failure.told["may_have_run"] and self.wrong != "forgets-first-try"
                await asyncio.sleep(pause)

    def pause(self, failure: Failure, ask: Dict[str, Any], attempts: int) -> Optional[float]:
        """How long to wait before the next try; `None` where there is none."""
        told = failure.told
        is_idempotent = ask.get("idempotent")
        if isinstance(ask.get("dedup"), Repetition):
            is_idempotent = ask["dedup"].ended(failure, self.wrong)
        is_idempotent = is_idempotent or ask["cmdid"] in self.settings.get("idempotent_cmdids", [])
        is_lost = bool(told.get("lost"))
        is_worth_it = is_lost or (told["answered"] and (told["code"] == 14 or failure.retry_after_ms is not None))
        is_safe = told["rejected"] or (is_lost and not told["sent"])
        if self.wrong == "resends-what-was-lost" and is_lost:
            is_safe = True
        if self.is_ordered(ask) or self.wrong == "no-retries" or not (is_safe or (is_idempotent and is_worth_it)):
            return None
        if attempts >= self.setting("attempts_max", 3) and self.wrong != "ignores-attempts-max":
            return None
        now = time.monotonic()
        self.budget, self.budget_at = min(10.0, self.budget + (now - self.budget_at) * 10), now
        if self.budget < 1:
            return None
        self.budget -= 1
        return 0 if self.wrong == "ignores-retry-after" else (failure.retry_after_ms or 0) / 1000

    async def one_try(self, ask: Dict[str, Any], deadline: float) -> Any:
        """One request and its reply."""
        if self.wrong == "waits-for-replies":
            async with self.turn:
                return await self.one_request(ask, deadline)
        return await self.one_request(ask, deadline)

    async def one_request(self, ask: Dict[str, Any], deadline: float) -> Any:
        """As `one_try`."""
        try:
            connection = await asyncio.wait_for(self.connected(), deadline - time.monotonic())
        except asyncio.TimeoutError:
            raise Failure(4, "not sent before the deadline", sent=False) from None
        call = Call(is_stream=False, times=ask.get("times"))
        repetition = ask.get("dedup")
        if isinstance(repetition, Repetition):
            await repetition.begin(connection, ask["cmdid"], deadline, self.wrong)
        connection.send(call, self.request(ask, deadline), self.is_ordered(ask))
        try:
            while not call.is_over:
                left = None if self.wrong == "ignores-deadlines" else deadline - time.monotonic()
                await asyncio.wait_for(call.changed.wait(), left)
        except asyncio.TimeoutError:
            raise Failure(4, "no reply before the deadline") from None
        finally:
            if not call.is_over:
                connection.give_up(call)
            elif self.wrong == "cancels-what-is-over":
                connection.give_up(call)
        if call.failure:
            raise call.failure
        return call.data

    async def notify(self, ask: Dict[str, Any]) -> None:
        """A oneway call."""
        connection = await self.connected()
        request = {**self.request(ask, None), "oneway": True}
        if self.wrong == "oneway-waits":
            call = Call(is_stream=False)
            connection.send(call, request, is_ordered=False)
            await call.changed.wait()
            return
        if not self.is_ordered(ask):
            request = {"id": connection.next_id(), **request}
        connection.write(request)
        connection.has_unread, connection.last_oneway = True, connection.last_id

    async def flush(self) -> None:
        """Waits until the server has read the oneway calls."""
        connection = self.connection
        if connection is not None and connection.ended is None and connection.has_unread and self.wrong != "flushes-nothing":
            try:
                await self.call({"cmdid": 0})
            except Failure as failure:
                if not failure.told["answered"] and not failure.told.get("lost"):
                    raise
        if self.has_lost_oneways:
            self.has_lost_oneways = False
            raise Failure(14, "oneway calls may not have been read")

    async def stream(self, ask: Dict[str, Any], wanted: "asyncio.Queue[int]", told: Any) -> None:
        """A stream: reads as many items as are wanted, and tells each."""
        limit = ask.get("timeout_ms")
        deadline = None if limit is None else time.monotonic() + limit / 1000
        resumption = Resumption(ask, self.settings, self.wrong)

        def take(item: Any) -> None:
            told({"item": item})
            resumption.passed(item)

        try:
            connection, call = await self.begin_stream(ask, deadline)
        except Failure as failure:
            if self.wrong == "resume-begun-only":
                raise
            connection, call = await self.reopen_stream(failure, resumption, ask, deadline)
        try:
            while True:
                for _ in range(await wanted.get()):
                    item_came = None
                    while item_came is None:
                        try:
                            item_came = await self.next_item(connection, call, deadline, take)
                        except Failure as failure:
                            if self.wrong == "resume-renews-the-deadline" and limit is not None:
                                deadline = time.monotonic() + limit / 1000
                            connection, call = await self.reopen_stream(failure, resumption, ask, deadline)
                    if not item_came:
                        told({"end": True, **ask.get("times", {})})
                        return
        finally:
            if not call.is_over:
                connection.give_up(call)

    async def begin_stream(self, ask: Dict[str, Any], deadline: Optional[float]) -> Tuple[Connection, Call]:
        """Asks for the stream."""
        connection = await self.connected()
        call = Call(is_stream=True, times=ask.get("times"))
        request = {**self.request(ask, deadline), "credit": int(self.setting("stream_credit", 64))}
        connection.send(call, request, is_ordered=False)
        return connection, call

    async def reopen_stream(
        self, failure: Failure, resumption: Resumption, ask: Dict[str, Any], deadline: Optional[float]
    ) -> Tuple[Connection, Call]:
        """Asks for what is left of a stream that was lost. Raises `Failure`."""
        while True:
            params = await resumption.go_on(failure, deadline)
            try:
                return await self.begin_stream({**ask, "params": params}, deadline)
            except Failure as another:
                failure = another

    async def next_item(self, connection: Connection, call: Call, deadline: Optional[float], take: Any) -> bool:
        """One item, or the end: then it is false."""
        while not call.items and not call.is_over:
            call.changed.clear()
            left = None if deadline is None else deadline - time.monotonic()
            try:
                await asyncio.wait_for(call.changed.wait(), left)
            except asyncio.TimeoutError:
                raise Failure(4, "the stream is past its deadline") from None
        if call.items:
            item = call.items.popleft()
            take(item)
            connection.took_item(call, item)
            return True
        if call.failure:
            raise call.failure
        return False

    async def close(self) -> None:
        """Closes the connection."""
        self.is_closed = True
        if self.opening is not None:
            self.opening.cancel()
        if self.connection is not None and self.connection.ended is None:
            self.connection.is_leaving = True
            self.connection.writer.close()
