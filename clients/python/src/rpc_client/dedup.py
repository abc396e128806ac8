"""Calls that the server knows again by a key: where one may have run, it is sent again, but only to the store that has its key."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from typing import Any

from . import frames
from .connection import Call, Connection
from .errors import RpcError

KEY, AGE = "idempotency-key", "idempotency-age-ms"


class StoreCall(Call):
    """The question in which store a server keeps the keys of a command."""

    __slots__ = ("is_idempotent", "store")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self.is_idempotent = False
        self.store: asyncio.Future[str | None] = loop.create_future()

    def finish(self, data: Any, error: RpcError | None) -> None:
        try:
            command = {} if error else dict(data["commands"][0])
            store = (command.get("dedup") or {}).get("store")
        except (AttributeError, LookupError, TypeError, ValueError):
            command, store = {}, None  # no description
        if not self.store.done():
            self.store.set_result(store if isinstance(store, str) else None)
            self.is_idempotent = command.get("idempotent") is True and self.store.result() is None

    @classmethod
    def of(cls, connection: Connection, cmdid: int) -> StoreCall:
        """Asked once for each connection and command, before the first call."""
        asked = connection.stores.get(cmdid)
        if not isinstance(asked, cls):
            asked = connection.stores[cmdid] = cls(connection.loop)
            connection.begin(asked, frames.request(frames.DESCRIBE, {"cmdid": cmdid}), None, False)
        return asked


class Repetition:
    """The key of a call, and what is known of its tries."""

    def __init__(self, key: str | None) -> None:
        self.key = str(uuid.uuid4()) if key is None else key
        # The failure of a try that may have run, when the first one was sent, and the store of its key.
        self.failure: RpcError | None = None
        self.store: str | None = None
        self._first_at: float | None = None
        self._asked: StoreCall | None = None

    def begin(self, connection: Connection, cmdid: int, meta: Mapping[str, str] | None) -> dict[str, str]:
        """A try begins on this connection: its metadata."""
        self._asked = StoreCall.of(connection, cmdid)
        now = connection.loop.time()
        self._first_at = now if self._first_at is None else self._first_at
        age = {AGE: str(int((now - self._first_at) * 1000) + 1)} if self.failure is not None else {}
        return {**(meta or {}), KEY: self.key, **age}

    def ended(self, failure: RpcError) -> bool:
        """A try has failed: whether another one may be sent to the store."""
        if failure.may_have_run and self._asked is not None and self._asked.is_idempotent:
            return True  # any server may run it again
        if failure.may_have_run:
            self.failure = failure
            if self._asked is not None and self._asked.store.done():
                self.store = self.store or self._asked.store.result()
        return self.store is not None
