"""Streams that go on where they were lost."""

from __future__ import annotations

import asyncio
import json
import random
import time
from typing import Any, Dict, List, Optional

from wrong_client.connection import Failure

REOPENINGS_MAX = 16


class Resumption:
    """The place in a stream behind which a further call goes on; none where it is not resumable."""

    def __init__(self, ask: Dict[str, Any], settings: Dict[str, Any], wrong: Optional[str]) -> None:
        self.params = ask.get("params")
        self.members: List[Dict[str, str]] = [] if wrong == "resume-never" else ask.get("resumable", [])
        self.settings = settings
        self.wrong = wrong
        self.cursor: Dict[str, Any] = {}
        self.reopenings = 0

    def passed(self, item: Any) -> None:
        """Notes an item that was told."""
        self.reopenings = 0
        if isinstance(item, dict) and all(member["cursor"] in item for member in self.members):
            self.cursor = {member["param"]: item[member["cursor"]] for member in self.members}

    async def go_on(self, failure: Failure, deadline: Optional[float]) -> Any:
        """The params of the call that goes on. Raises the failure where it is the end."""
        told = failure.told
        is_lost = told["code"] == 14 or self.wrong == "resume-after-any-failure"
        if self.wrong == "resume-after-loss-only":
            is_lost = is_lost and not told["answered"]
        if self.wrong == "resume-after-an-item-only":
            is_lost = is_lost and bool(self.cursor)
        if not self.members or not is_lost or (self.reopenings >= REOPENINGS_MAX and self.wrong != "resume-for-ever"):
            if self.members and self.reopenings and self.cursor and told["code"] in (9, 11) and self.wrong != "resume-hides-gaps":
                place = json.dumps(self.cursor)
                told["message"] = f"cannot continue from {place}, so items may be missing: {told.get('message')}"
            raise failure
        self.reopenings += 1
        await asyncio.sleep(self.pause(failure, deadline))
        if deadline is not None and deadline <= time.monotonic():
            raise Failure(4, "the stream is past its deadline")
        if self.wrong == "resume-from-the-start":
            return self.params
        if isinstance(self.params, dict):
            return {**self.params, **self.cursor}
        return next(iter(self.cursor.values())) if len(self.cursor) == 1 else self.params

    def pause(self, failure: Failure, deadline: Optional[float]) -> float:
        """How long to wait before the call that goes on, in seconds."""
        base, cap = self.settings.get("reconnect_base_ms", 50) / 1000, self.settings.get("reconnect_cap_ms", 5000) / 1000
        if self.wrong == "resume-backs-off-as-retries":
            base, cap = self.settings.get("retry_base_ms", 10) / 1000, self.settings.get("retry_cap_ms", 1000) / 1000
        asked = 0 if self.wrong == "resume-ignores-retry-after" else (failure.retry_after_ms or 0) / 1000
        pause = asked if self.wrong == "resume-waits-as-long-as-asked" else min(asked, cap)
        if self.reopenings > 1:
            pause += random.uniform(0, min(cap, base * 2.0 ** (self.reopenings - 2)))
        if deadline is not None and self.wrong != "resume-waits-past-the-deadline":
            pause = min(pause, deadline - time.monotonic())
        return max(0.0, pause)
